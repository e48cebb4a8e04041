//! `unisono history`: what happened in an orchestration, in order.

use std::pin::pin;

use clap::Args;
use futures_util::StreamExt as _;
use unisono_client::{Client, WatchEvent};
use unisono_model::api::{HistoryEntry, OrchestrationState};
use unisono_model::ids::Revision;

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{Console, Grid, Tone, activity_tone, clock, orchestration_tone, shortened};

/// Whose history to show.
#[derive(Args, Clone, Debug)]
pub(crate) struct HistoryArgs {
    /// The orchestration's id
    id: String,
    /// Go on until it ends
    #[arg(long)]
    follow: bool,
}

/// Shows the history.
///
/// # Errors
/// [`Failure::Refused`] when there is no such orchestration.
pub(crate) async fn run(args: HistoryArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    if args.follow {
        return follow(&client, &args.id, console).await;
    }
    let mut entries = Vec::new();
    each_page(&client, &args.id, Revision(0), |page| {
        if console.is_lines() {
            return console.json_values(&page);
        }
        entries.extend(page);
        Ok(())
    })
    .await?;
    if console.is_lines() {
        return Ok(());
    }
    if console.is_json() {
        return console.json_values(&entries);
    }
    let mut grid = Grid::new(console, &["AT", "EVENT", "ACTIVITY", "ATTEMPT", "BY", "DETAIL"]);
    for entry in &entries {
        let kind = match tone(entry) {
            Some(tone) => (tone, words(&entry.kind)).into(),
            None => words(&entry.kind).into(),
        };
        grid.row([
            entry.at.to_string().into(),
            kind,
            entry.activity.as_deref().unwrap_or("-").into(),
            entry
                .attempt
                .map_or_else(|| "-".to_owned(), |attempt| attempt.to_string())
                .into(),
            entry.actor.as_deref().unwrap_or("-").into(),
            detail(entry).into(),
        ]);
    }
    console.line(grid.text());
    Ok(())
}

/// One line for each entry, from the first one on, until the orchestration ends.
///
/// # Errors
/// [`Failure`] when there is no such orchestration, or the server cannot be reached any more.
pub(crate) async fn follow(client: &Client, id: &str, console: Console) -> Result<(), Failure> {
    let mut last = Revision(0);
    let mut events = pin!(client.watch(id));
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Snapshot(_) => {
                let after = last;
                each_page(client, id, after, |page| {
                    last = page.last().map_or(last, |entry| entry.revision);
                    page.iter().try_for_each(|entry| print(entry, console))
                })
                .await?;
            }
            // What the pages brought already comes again.
            WatchEvent::History(entry) if entry.revision > last => {
                print(&entry, console)?;
                last = entry.revision;
            }
            WatchEvent::History(_) => {}
            WatchEvent::End => break,
        }
    }
    Ok(())
}

/// Takes what happened after a revision, page by page.
async fn each_page(
    client: &Client,
    id: &str,
    mut after: Revision,
    mut take: impl FnMut(Vec<HistoryEntry>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        let page = client.history(id, Some(after), None).await?;
        let Some(last) = page.items.last() else { return Ok(()) };
        after = last.revision;
        take(page.items)?;
        if page.next_page_token.is_none() {
            return Ok(());
        }
    }
}

fn print(entry: &HistoryEntry, console: Console) -> Result<(), Failure> {
    if console.is_json() {
        return console.json_line(entry);
    }
    console.line(line(entry, console));
    Ok(())
}

/// An entry on one line.
fn line(entry: &HistoryEntry, console: Console) -> String {
    let kind = format!("{:<24}", words(&entry.kind));
    let kind = tone(entry).map_or(kind.clone(), |tone| console.paint(tone, &kind));
    let mut line = format!("{}  {kind}", console.paint(Tone::Quiet, &clock(entry.at)));
    if let Some(activity) = &entry.activity {
        line += &format!("  {activity}");
    }
    if let Some(attempt) = entry.attempt {
        line += &format!("  attempt {attempt}");
    }
    if let Some(actor) = &entry.actor {
        line += &format!("  by {actor}");
    }
    let detail = detail(entry);
    if !detail.is_empty() {
        line += &format!("  {detail}");
    }
    line.trim_end().to_owned()
}

/// `activityCompleted` as people write it: `activity completed`.
pub(crate) fn words(kind: &str) -> String {
    let mut words = String::with_capacity(kind.len() + 4);
    for letter in kind.chars() {
        if letter.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

fn tone(entry: &HistoryEntry) -> Option<Tone> {
    let state = entry
        .state
        .filter(|state| *state != OrchestrationState::Running)
        .map(orchestration_tone);
    state.or_else(|| entry.activity_state.map(activity_tone))
}

/// What else an entry says, on one line.
pub(crate) fn detail(entry: &HistoryEntry) -> String {
    let mut parts = Vec::new();
    if let Some(start) = &entry.start {
        parts.push(format!("{} version {}", start.r#type, start.version));
        parts.extend(start.correlation_id.as_ref().map(|id| format!("correlation id {id}")));
        parts.extend(start.labels.iter().map(|(key, value)| format!("{key}={value}")));
        parts.push(format!("input {}", shortened(start.input.get(), 120)));
    }
    if let Some(error) = &entry.error {
        let code = error.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        parts.push(format!("error{code}: {}", shortened(&error.message, 300)));
    }
    parts.extend(entry.reason.as_ref().map(|reason| shortened(reason, 300)));
    parts.extend(entry.due_at.map(|due| format!("due at {due}")));
    if let Some(context) = &entry.context {
        let was = |key: &str| {
            let previous = context.previous.get(key);
            previous.map_or(String::new(), |old| format!(" (was {})", shortened(old.get(), 60)))
        };
        let set = context.set.iter();
        parts.extend(set.map(|(key, value)| format!("sets {key}={}{}", shortened(value.get(), 60), was(key))));
        parts.extend(context.delete.iter().map(|key| format!("deletes {key}{}", was(key))));
    }
    parts.extend(
        entry
            .output
            .as_ref()
            .map(|output| format!("output {}", shortened(output.get(), 120))),
    );
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::output::{ColorChoice, Format};

    #[test]
    fn an_entry_is_one_line_whatever_it_says() {
        let entry: HistoryEntry = serde_json::from_str(
            r#"{"revision": 7, "at": "2023-11-14T22:13:20.123Z", "kind": "activityRetrying", "activity": "did",
                "attempt": 2, "actor": "agent a", "activityState": "scheduled", "dueAt": "2023-11-14T22:13:21Z",
                "error": {"code": "exit-75", "message": "the disk\nis full"},
                "context": {"set": {"k": 1}, "delete": ["l"], "previous": {"k": 0}}}"#,
        )
        .unwrap();
        let console = Console::new(Format::Table, ColorChoice::Never);
        assert_eq!(
            line(&entry, console),
            "22:13:20.123Z  activity retrying         did  attempt 2  by agent a  error (exit-75): the disk is full; \
             due at 2023-11-14T22:13:21.000Z; sets k=1 (was 0); deletes l"
        );
    }
}
