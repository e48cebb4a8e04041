//! `unisono list`: orchestrations, the newest first.

use clap::Args;
use unisono_client::{Client, OrchestrationFilter, PageRequest};
use unisono_model::api::{OrchestrationState, OrchestrationSummary};
use unisono_model::ids::Timestamp;

use super::get::labels;
use crate::cli::{Global, duration, label, millis};
use crate::failure::Failure;
use crate::output::{Console, Grid, ago, now, orchestration_tone, span};

/// Which orchestrations to list.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    /// In this state: initialized, running, completed, errored or cancelled
    #[arg(long)]
    state: Option<OrchestrationState>,
    /// Of this type
    #[arg(long = "type", value_name = "TYPE")]
    r#type: Option<String>,
    /// Of this version of their definition
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// With this label (repeatable: with all of them)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// With this correlation id
    #[arg(long, value_name = "TEXT")]
    correlation_id: Option<String>,
    /// Started at this time or later: 2026-01-31T12:00:00Z, or a time ago such as 2h
    #[arg(long, value_name = "TIME", value_parser = instant)]
    after: Option<Timestamp>,
    /// Started before this time: 2026-01-31T12:00:00Z, or a time ago such as 2h
    #[arg(long, value_name = "TIME", value_parser = instant)]
    before: Option<Timestamp>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// An instant, or how long ago it was.
fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    let fix = "give a time such as 2026-01-31T12:00:00Z, or how long ago it was, such as 2h";
    let ago = duration(text).map_err(|_| fix.to_owned())?;
    Ok(Timestamp(
        now().0.saturating_sub(i64::try_from(millis(ago)).unwrap_or(i64::MAX)),
    ))
}

/// Lists orchestrations.
///
/// # Errors
/// [`Failure::Refused`] when the server does not take the filter.
pub(crate) async fn run(args: ListArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    let wanted = if args.all { usize::MAX } else { args.limit as usize };
    let filter = OrchestrationFilter {
        state: args.state,
        r#type: args.r#type,
        version: args.version,
        labels: args.labels,
        correlation_id: args.correlation_id,
        created_after: args.after,
        created_before: args.before,
    };
    let (items, more) = collect(&client, &filter, wanted).await?;
    if console.is_json() {
        return console.json(&items);
    }
    show(&items, console);
    if more {
        console.note("there are more: --limit N shows so many, --all shows all of them");
    }
    Ok(())
}

/// Up to so many, and whether there are more.
async fn collect(
    client: &Client,
    filter: &OrchestrationFilter,
    wanted: usize,
) -> Result<(Vec<OrchestrationSummary>, bool), Failure> {
    const PAGE: usize = 500;
    let mut items = Vec::new();
    let mut page_token = None;
    loop {
        let limit = u32::try_from((wanted - items.len()).min(PAGE)).ok();
        let page = client
            .orchestrations(filter, &PageRequest { limit, page_token })
            .await?;
        items.extend(page.items);
        page_token = page.next_page_token;
        if page_token.is_none() || items.len() >= wanted {
            return Ok((items, page_token.is_some()));
        }
    }
}

fn show(items: &[OrchestrationSummary], console: Console) {
    if items.is_empty() {
        console.note("no orchestrations");
        return;
    }
    let mut grid = Grid::new(
        console,
        &[
            "ID",
            "TYPE",
            "VERSION",
            "STATE",
            "STARTED",
            "TOOK",
            "CORRELATION",
            "LABELS",
        ],
    );
    let now = now();
    for item in items {
        let took = span(item.ended_at.unwrap_or(now).millis_since(item.created_at));
        grid.row([
            item.id.as_str().into(),
            item.r#type.as_str().into(),
            item.version.to_string().into(),
            (orchestration_tone(item.state), item.state.to_string()).into(),
            ago(item.created_at, now).into(),
            took.into(),
            item.correlation_id.as_deref().unwrap_or("-").into(),
            if item.labels.is_empty() {
                "-".to_owned()
            } else {
                labels(&item.labels)
            }
            .into(),
        ]);
    }
    console.line(grid.text());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_time_is_an_instant_or_how_long_ago_it_was() {
        assert_eq!(instant("2023-11-14T22:13:20Z"), Ok(Timestamp(1_700_000_000_000)));
        let hour_ago = instant("1h").unwrap();
        assert!((now().millis_since(hour_ago)).abs_diff(3_600_000) < 5_000);
        assert!(instant("yesterday").unwrap_err().contains("2026-01-31T12:00:00Z"));
    }
}
