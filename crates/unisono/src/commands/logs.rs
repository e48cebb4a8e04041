//! `unisono logs`: what the activities of an orchestration wrote while they ran.

use clap::Args;
use unisono_client::{Client, PageRequest};
use unisono_model::api::LogEntry;

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{Console, Tone, clock};

/// Whose logs to show.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogsArgs {
    /// The orchestration's id
    id: String,
    /// Only of this activity
    #[arg(long, value_name = "ID")]
    activity: Option<String>,
    /// Only of this attempt, from 1
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
}

/// Shows the logs.
///
/// # Errors
/// [`Failure::Refused`] when there is no such orchestration or activity.
pub(crate) async fn run(args: LogsArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    let entries = all(&client, &args.id, args.activity.as_deref(), args.attempt).await?;
    if console.is_json() {
        return console.json_values(&entries);
    }
    if entries.is_empty() {
        console.note("nothing was logged");
    }
    for entry in &entries {
        console.line(line(entry, console));
    }
    Ok(())
}

/// Every entry, page by page.
///
/// # Errors
/// [`Failure::Refused`] when there is no such orchestration or activity.
pub(crate) async fn all(
    client: &Client,
    id: &str,
    activity: Option<&str>,
    attempt: Option<u32>,
) -> Result<Vec<LogEntry>, Failure> {
    let mut entries = Vec::new();
    let mut request = PageRequest::default();
    loop {
        let page = client.logs(id, activity, attempt, &request).await?;
        entries.extend(page.items);
        match page.next_page_token {
            Some(token) => request.page_token = Some(token),
            None => return Ok(entries),
        }
    }
}

/// An entry for people: each of its lines says when, and whose it is.
pub(crate) fn line(entry: &LogEntry, console: Console) -> String {
    let place = format!("{} {}#{}", clock(entry.at), entry.activity, entry.attempt);
    let place = console.paint(Tone::Quiet, &place);
    let lines: Vec<String> = entry
        .text
        .trim_end()
        .lines()
        .map(|text| format!("{place} {text}"))
        .collect();
    lines.join("\n")
}
