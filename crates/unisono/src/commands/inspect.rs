//! `unisono journal inspect`: what stands in the journal, frame by frame and event by event.

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanBytes;
use unisono_model::ids::Revision;
use unisono_node::inspect::{EventRecord, Part, Place, Record, inspect};
use unisono_node::replay::ReplayError;

use crate::cli::Global;
use crate::commands::history::{detail, words};
use crate::failure::Failure;
use crate::output::{Console, Tone, shortened};

/// What to show.
#[derive(Args, Clone, Debug)]
pub(crate) struct InspectArgs {
    /// The data directory; a server may be using it
    #[arg(
        long,
        value_name = "DIR",
        env = "UNISONO_DATA",
        hide_env_values = true,
        default_value = "unisono-data"
    )]
    data: PathBuf,
    /// Begin here: a revision, or @ and a position
    #[arg(long, value_name = "PLACE", value_parser = place)]
    from: Option<Place>,
    /// End here: a revision, or @ and a position
    #[arg(long, value_name = "PLACE", value_parser = place)]
    to: Option<Place>,
}

fn place(text: &str) -> Result<Place, String> {
    const FIX: &str = "give a revision such as 1200, or a position such as @65536";
    let number = |text: &str| {
        text.parse()
            .map_err(|_| format!("this is no place in the journal; {FIX}"))
    };
    match text.strip_prefix('@') {
        Some(position) => number(position).map(Place::Position),
        None => number(text).map(|revision| Place::Revision(Revision(revision))),
    }
}

/// Shows it.
///
/// # Errors
/// [`Failure::Work`] when there is no journal, or a file of it cannot be read.
pub(crate) fn run(args: &InspectArgs, global: &Global) -> Result<(), Failure> {
    let console = global.console();
    let part = Part {
        from: args.from,
        to: args.to,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = inspect(&args.data, part, |record| {
        if console.is_json() {
            serde_json::to_writer(&mut out, record)?;
        } else {
            out.write_all(line(record, console).as_bytes())?;
        }
        out.write_all(b"\n")
    });
    let written = match shown {
        Ok(()) => out.flush(),
        Err(ReplayError::Output(error)) => Err(error),
        Err(error) => return Err(error.into()),
    };
    match written {
        // A reader such as `head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::work(format!("cannot write to standard output: {error}"))),
    }
}

/// A record on one line.
fn line(record: &Record, console: Console) -> String {
    let strong = |word: &str| console.paint(Tone::Strong, word);
    match record {
        Record::Segment {
            file,
            position,
            bytes: length,
        } => format!(
            "{} {}  position {position}  {}",
            strong("segment"),
            name(file),
            HumanBytes(*length)
        ),
        Record::Batch {
            position,
            offset,
            bytes: length,
            revision,
            events,
        } => {
            let events = if *events == 1 {
                "1 event".to_owned()
            } else {
                format!("{events} events")
            };
            let text =
                format!("  batch  position {position}  byte {offset}  {length} bytes  revision {revision}  {events}");
            console.paint(Tone::Quiet, &text)
        }
        Record::Event(event) => format!("    {}", event_line(event, console)),
        Record::Takeover {
            position,
            offset,
            epoch,
        } => {
            format!("  takeover  position {position}  byte {offset}  epoch {epoch}")
        }
        Record::Seal { position, offset } => {
            console.paint(Tone::Quiet, &format!("  seal  position {position}  byte {offset}"))
        }
        Record::Damage {
            file,
            offset,
            position,
            problem,
        } => {
            let damage = console.paint(Tone::Bad, "damage");
            format!(
                "  {damage}  position {position}  byte {offset} of {}: {problem}",
                name(file)
            )
        }
        Record::Unreadable {
            position,
            offset,
            problem,
        } => {
            let unreadable = console.paint(Tone::Bad, "unreadable");
            format!("  {unreadable}  position {position}  byte {offset}: {problem}")
        }
        Record::Unfinished { file, offset, position } => {
            let unfinished = console.paint(Tone::Waiting, "unfinished");
            format!(
                "  {unfinished}  position {position}  byte {offset} of {}: a write that was not acknowledged",
                name(file)
            )
        }
        Record::End {
            position,
            durable,
            writer,
        } => {
            let durable = durable.map(|durable| format!("  durable for certain up to {durable}"));
            let writer = writer.map(|writer| format!("  process {writer} goes on writing"));
            let more = [durable, writer].into_iter().flatten().collect::<String>();
            format!("{}  position {position}{more}", strong("end"))
        }
    }
}

fn name(file: &Path) -> std::borrow::Cow<'_, str> {
    file.file_name().unwrap_or_default().to_string_lossy()
}

fn event_line(event: &EventRecord, console: Console) -> String {
    let (revision, at, kind, about) = match event {
        EventRecord::Run {
            namespace,
            orchestration,
            run,
            activity_index,
            entry,
        } => {
            let whose = match (namespace, orchestration) {
                (Some(namespace), Some(id)) => format!("{namespace}/{id}"),
                _ => format!("run {run}"),
            };
            let activity = entry.activity.as_ref().map(|name| format!("  {name}"));
            let activity = activity.or_else(|| activity_index.map(|index| format!("  activity {index}")));
            let attempt = entry.attempt.map(|attempt| format!("  attempt {attempt}"));
            let actor = entry.actor.as_ref().map(|actor| format!("  by {actor}"));
            let more = Some(detail(entry))
                .filter(|text| !text.is_empty())
                .map(|text| format!("  {text}"));
            let parts = [Some(whose), activity, attempt, actor, more];
            (
                entry.revision,
                entry.at,
                &*entry.kind,
                parts.into_iter().flatten().collect::<String>(),
            )
        }
        EventRecord::Other {
            revision,
            at,
            kind,
            detail,
        } => (*revision, *at, kind.as_str(), shortened(detail, 300)),
    };
    let at = console.paint(Tone::Quiet, &at.to_string());
    format!("{revision}  {at}  {:<24}  {about}", words(kind))
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_place_is_a_revision_or_a_position() {
        assert_eq!(place("12"), Ok(Place::Revision(Revision(12))));
        assert_eq!(place("@640"), Ok(Place::Position(640)));
        for bad in ["", "@", "-1", "12b", "position"] {
            assert!(place(bad).unwrap_err().contains("@65536"), "{bad}");
        }
    }
}
