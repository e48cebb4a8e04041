//! `unisono journal verify`: whether a data directory is as it was written.

use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::{Value, json};
use unisono_node::verify::{Problem, Verified, verify};

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{Console, Tone};

/// What to verify.
#[derive(Args, Clone, Debug)]
pub(crate) struct VerifyArgs {
    /// The data directory; no server may be using it
    #[arg(
        long,
        value_name = "DIR",
        env = "UNISONO_DATA",
        hide_env_values = true,
        default_value = "unisono-data"
    )]
    data: PathBuf,
}

/// Verifies, and tells what it has found.
///
/// # Errors
/// [`Failure::Work`] when something is not as it was written, or a server uses the directory.
pub(crate) fn run(args: &VerifyArgs, global: &Global) -> Result<(), Failure> {
    let verified = verify(&args.data)?;
    let console = global.console();
    if console.is_json() {
        console.json(&with_verdict(&verified)?)?;
    } else {
        console.line(described(&verified, console));
    }
    let problems = verified.problems.len() as u64 + verified.more_problems;
    match problems {
        0 => Ok(()),
        1 => Err(Failure::work("there is 1 problem")),
        many => Err(Failure::work(format!("there are {many} problems"))),
    }
}

fn with_verdict(verified: &Verified) -> Result<Value, Failure> {
    let failed = |error| Failure::work(format!("the answer cannot be written as JSON: {error}"));
    let mut value = serde_json::to_value(verified).map_err(failed)?;
    value["sound"] = json!(verified.is_sound());
    Ok(value)
}

/// What was found, for people.
fn described(verified: &Verified, console: Console) -> String {
    let journal = &verified.journal;
    let mut lines = vec![format!(
        "journal     {} in {}, {} events in {} batches, up to position {}",
        HumanBytes(journal.bytes),
        counted(journal.segments, "segment"),
        journal.events,
        journal.batches,
        journal.end
    )];
    if let (Some(first), Some(last)) = (journal.first, journal.last) {
        lines.push(format!("revisions   {first} to {last}"));
    }
    if let Some(store) = &verified.store {
        let rows: u64 = store.rows.values().sum();
        let checkpoint = match (store.checkpoint, store.position) {
            (Some(revision), Some(position)) => format!("checkpoint at revision {revision}, position {position}"),
            _ => "no checkpoint yet".to_owned(),
        };
        lines.push(format!("store       {}, {checkpoint}", counted(rows, "row")));
    }
    if let Some(state) = &verified.state {
        lines.push(format!(
            "state       {} open, hash {}",
            counted(state.open as u64, "orchestration"),
            state.hash
        ));
    }
    lines.extend(verified.notes.iter().map(|note| format!("note        {note}")));
    lines.extend(verified.problems.iter().map(|problem| told(problem, console)));
    if verified.more_problems > 0 {
        lines.push(format!("and {} more", verified.more_problems));
    }
    if verified.is_sound() {
        lines.push(console.paint(Tone::Good, "everything is as it was written"));
    }
    lines.join("\n")
}

fn told(problem: &Problem, console: Console) -> String {
    let place = [
        problem.file.as_ref().map(|file| file.display().to_string()),
        problem.offset.map(|offset| format!("byte {offset}")),
        problem.position.map(|position| format!("position {position}")),
    ];
    let place = place.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let place = if place.is_empty() { place } else { format!("{place}: ") };
    let label = |text: &str| console.paint(Tone::Quiet, text);
    format!(
        "{} {place}{}\n  {} {}\n  {} {}",
        console.paint(Tone::Bad, "problem:"),
        problem.what,
        label("it means:"),
        problem.meaning,
        label("what to do:"),
        problem.remedy
    )
}

fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
