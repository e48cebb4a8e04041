//! `unisono list --watch`: the list as it changes, until it is interrupted.

use futures_util::StreamExt as _;
use serde_json::json;
use unisono_client::{Client, ListEvent, OrchestrationFilter};
use unisono_model::api::OrchestrationSummary;

use crate::failure::Failure;
use crate::output::Console;

/// Clears the screen, and goes to its beginning.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Draws the list anew whenever it changes, on a terminal; elsewhere writes a line for each change.
///
/// # Errors
/// [`Failure`] when the server does not take the filter, or cannot be reached any more.
pub(super) async fn run(
    client: &Client,
    (filter, limit): (&OrchestrationFilter, u32),
    console: Console,
) -> Result<(), Failure> {
    let mut events = std::pin::pin!(client.watch_orchestrations(filter, Some(limit)));
    let draws = console.is_terminal() && !console.is_json();
    let mut shown: Vec<OrchestrationSummary> = Vec::new();
    while let Some(event) = events.next().await {
        let event = event?;
        if console.is_json() {
            console.json_line(&line(&event))?;
        } else if !draws {
            tell(&event, console);
        }
        apply(&mut shown, event);
        if draws {
            console.line(format!("{CLEAR}{}", super::table(&shown, console)));
        }
    }
    Ok(())
}

fn line(event: &ListEvent) -> serde_json::Value {
    match event {
        ListEvent::Snapshot(items) => json!({"event": "snapshot", "items": items}),
        ListEvent::Changed(item) => json!({"event": "changed", "orchestration": item}),
        ListEvent::Left(id) => json!({"event": "left", "id": id}),
    }
}

fn tell(event: &ListEvent, console: Console) {
    let said = |item: &OrchestrationSummary| format!("{}  {}  {}", item.id, item.r#type, item.state);
    match event {
        ListEvent::Snapshot(items) => items.iter().rev().for_each(|item| console.line(said(item))),
        ListEvent::Changed(item) => console.line(said(item)),
        ListEvent::Left(id) => console.line(format!("{id}  left the list")),
    }
}

/// The newest first, as lists are.
fn apply(shown: &mut Vec<OrchestrationSummary>, event: ListEvent) {
    match event {
        ListEvent::Snapshot(items) => *shown = items,
        ListEvent::Left(id) => shown.retain(|item| item.id != id),
        ListEvent::Changed(item) => match shown.iter_mut().find(|it| it.id == item.id) {
            Some(known) => *known = *item,
            None => {
                let place = shown.partition_point(|it| it.created_at > item.created_at);
                shown.insert(place, *item);
            }
        },
    }
}
