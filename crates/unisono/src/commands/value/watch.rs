//! `unisono value watch`: changes as they happen, one on each line.

use clap::Args;
use futures_util::StreamExt as _;
use unisono_client::{ValueWatchEvent, WatchScope};
use unisono_model::ids::Revision;
use unisono_model::values::{ChangeKind, ValueChange};

use super::write::revision;
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{Console, Tone, clock};

/// What to watch.
#[derive(Args, Clone, Debug)]
pub(crate) struct WatchArgs {
    /// The key
    #[arg(required_unless_present = "prefix", conflicts_with = "prefix")]
    key: Option<String>,
    /// All keys that begin like this; all keys when it is empty
    #[arg(long)]
    prefix: Option<String>,
    /// Begin with what happened after this revision [default: with what happens from now on]
    #[arg(long, value_name = "N", value_parser = revision)]
    after: Option<Revision>,
    /// End after so many changes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Watches until it is interrupted.
///
/// # Errors
/// [`Failure::Refused`] when the server no longer knows what happened after the revision.
pub(crate) async fn run(args: WatchArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    let scope = match (args.key, args.prefix) {
        (Some(key), _) => WatchScope::Key(key),
        (None, prefix) => WatchScope::Prefix(prefix.unwrap_or_default()),
    };
    let mut events = std::pin::pin!(client.watch_values(&scope, args.after));
    let mut left = args.count;
    while let Some(event) = events.next().await {
        let ValueWatchEvent::Change(change) = event? else {
            continue;
        };
        show(&change, console)?;
        left = left.map(|left| left - 1);
        if left == Some(0) {
            break;
        }
    }
    Ok(())
}

fn show(change: &ValueChange, console: Console) -> Result<(), Failure> {
    if console.is_json() {
        return console.json_line(change);
    }
    let (tone, word) = match change.kind {
        ChangeKind::Put => (Tone::Good, "put    "),
        ChangeKind::Deleted => (Tone::Bad, "deleted"),
        ChangeKind::Expired => (Tone::Waiting, "expired"),
    };
    let content = match (&change.value, &change.base64, &change.reason) {
        _ if change.sensitive => "(sensitive)".to_owned(),
        (Some(json), _, _) => json.get().replace(['\n', '\r'], " "),
        (None, Some(bytes), _) => format!("{} bytes", bytes.0.len()),
        (None, None, Some(reason)) => format!("({reason})"),
        (None, None, None) => String::new(),
    };
    let line = format!(
        "{} {} {} {} {content}",
        console.paint(Tone::Quiet, &clock(change.at)),
        console.paint(Tone::Quiet, &change.revision.to_string()),
        console.paint(tone, word),
        change.key,
    );
    console.line(line.trim_end());
    Ok(())
}
