//! `unisono list`: orchestrations, the newest first; or all of another kind.

mod watch;

use clap::{Args, Subcommand};
use unisono_client::{Client, OrchestrationFilter, PageRequest};
use unisono_model::api::OrchestrationSummary;

use super::filter::FilterArgs;
use super::get::labels;
use super::{hosts, locks, rollout};
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{Console, Field, Grid, Tone, ago, now, orchestration_tone, span};

/// Which orchestrations to list.
#[derive(Args, Clone, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    override_usage = "unisono list [OPTIONS]\n       unisono list entities | locks | elections | leases\n       \
        unisono list hosts [<SERVICE>]"
)]
pub(crate) struct ListArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Go on showing the newest that match, as they change, until it is interrupted
    #[arg(long, conflicts_with = "all")]
    watch: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// What else there is to list.
#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Entities, the versions that they run and how far their rollouts are
    Entities,
    /// Locks that are held or waited for, and since when
    Locks,
    /// Elections, who leads and how many stand
    Elections,
    /// Leases, what they hold and when they end
    Leases,
    /// Hosts, what they run and what they wait for
    Hosts {
        /// Only those of this service
        service: Option<String>,
    },
}

/// Lists orchestrations.
///
/// # Errors
/// [`Failure::Refused`] when the server does not take the filter.
pub(crate) async fn run(args: ListArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    match args.what {
        Some(What::Entities) => return rollout::list_entities(&client, console).await,
        Some(What::Locks) => return locks::list_locks(&client, console).await,
        Some(What::Elections) => return locks::list_elections(&client, console).await,
        Some(What::Leases) => return locks::list_leases(&client, console).await,
        Some(What::Hosts { service }) => return hosts::list(&client, service.as_deref(), console).await,
        None => {}
    }
    let wanted = if args.all { usize::MAX } else { args.limit as usize };
    let filter = args.filter.filter();
    if args.watch {
        return watch::run(&client, (&filter, args.limit), console).await;
    }
    let mut items = Vec::new();
    let more = each_page(&client, &filter, wanted, |page| {
        if console.is_lines() {
            return console.json_values(&page);
        }
        items.extend(page);
        Ok(())
    })
    .await?;
    if console.is_lines() {
        return Ok(());
    }
    if console.is_json() {
        return console.json_values(&items);
    }
    show(&items, console);
    if more {
        console.note("there are more: --limit N shows so many, --all shows all of them");
    }
    Ok(())
}

/// Takes up to so many, page by page; says whether there are more.
async fn each_page(
    client: &Client,
    filter: &OrchestrationFilter,
    wanted: usize,
    mut take: impl FnMut(Vec<OrchestrationSummary>) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    const PAGE: usize = 500;
    let (mut left, mut page_token) = (wanted, None);
    loop {
        let limit = u32::try_from(left.min(PAGE)).ok();
        let page = client
            .orchestrations(filter, &PageRequest { limit, page_token })
            .await?;
        left = left.saturating_sub(page.items.len());
        take(page.items)?;
        page_token = page.next_page_token;
        if page_token.is_none() || left == 0 {
            return Ok(page_token.is_some());
        }
    }
}

fn show(items: &[OrchestrationSummary], console: Console) {
    if items.is_empty() {
        console.note("no orchestrations");
        return;
    }
    console.line(table(items, console));
}

fn table(items: &[OrchestrationSummary], console: Console) -> String {
    let mut grid = Grid::new(
        console,
        &[
            "ID",
            "TYPE",
            "VERSION",
            "STATE",
            "WAITS FOR",
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
            waits_for(item),
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
    grid.text()
}

/// What an open orchestration waits for, in one word for each reason.
fn waits_for(item: &OrchestrationSummary) -> Field {
    if item.waiting_for.is_empty() {
        return "-".into();
    }
    let reasons: Vec<&str> = item.waiting_for.iter().map(|reason| reason.as_str()).collect();
    (Tone::Waiting, reasons.join(",")).into()
}
