//! `unisono value get`, `list`, `await` and `waiters`.

use std::time::Duration;

use clap::Args;
use unisono_client::{Client, PageRequest};
use unisono_model::values::ValueView;

use super::content::{print, shown};
use crate::cli::{Global, duration};
use crate::failure::Failure;
use crate::output::{Console, Grid, ago, now, shortened, span};

/// Characters of a content that a list shows.
const SHOWN: usize = 60;

/// Which value to print.
#[derive(Args, Clone, Debug)]
pub(crate) struct GetArgs {
    /// The key
    key: String,
    /// Show what is known of it instead: revisions, writer, when it expires
    #[arg(long)]
    info: bool,
}

/// Which values to list.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    /// Only keys that begin like this
    #[arg(default_value = "")]
    prefix: String,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// What to wait for.
#[derive(Args, Clone, Debug)]
pub(crate) struct AwaitArgs {
    /// The key
    key: String,
    /// For how long at most
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// Who waits, so that cycles of waiting are found
    #[arg(long, value_name = "NAME")]
    party: Option<String>,
}

/// Whose waiters to show.
#[derive(Args, Clone, Debug)]
pub(crate) struct WaitersArgs {
    /// The key
    key: String,
}

/// Prints a value.
///
/// # Errors
/// [`Failure::Refused`] when there is none.
pub(crate) async fn get(args: GetArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    let view = client.value(&args.key).await?;
    if args.info && !console.is_json() {
        info(&view, console);
        return Ok(());
    }
    print(&view, console)
}

fn info(view: &ValueView, console: Console) {
    let now = now();
    let mut grid = Grid::new(console, &["", ""]);
    let mut row = |name: &str, value: String| grid.row([name.into(), value.into()]);
    row("key", view.key.to_string());
    row("content type", view.content_type.clone());
    row("version", view.version.to_string());
    row("revision", view.revision.to_string());
    row("created at revision", view.create_revision.to_string());
    row("updated", ago(view.updated_at, now));
    row("writer", view.writer.clone().unwrap_or_else(|| "not known".to_owned()));
    row("expires", expires(view));
    let id = |id: Option<unisono_model::ids::Revision>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
    row("lease", id(view.lease));
    row("newest fencing token", id(view.fence));
    row("sensitive", if view.sensitive { "yes" } else { "no" }.to_owned());
    console.line(grid.text().trim_start());
}

fn expires(view: &ValueView) -> String {
    view.expires_at.map_or_else(
        || "never".to_owned(),
        |at| format!("in {}", span(at.millis_since(now()))),
    )
}

/// Lists values.
///
/// # Errors
/// [`Failure::Refused`] when no key begins like this.
pub(crate) async fn list(args: ListArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    let wanted = if args.all { usize::MAX } else { args.limit as usize };
    let (items, more) = collect(&client, &args.prefix, wanted).await?;
    if console.is_json() {
        return console.json_values(&items);
    }
    show(&items, console);
    if more {
        console.note("there are more: --limit N shows so many, --all shows all of them");
    }
    Ok(())
}

/// Up to so many, and whether there are more.
async fn collect(client: &Client, prefix: &str, wanted: usize) -> Result<(Vec<ValueView>, bool), Failure> {
    const PAGE: usize = 500;
    let mut items = Vec::new();
    let mut page_token = None;
    loop {
        let limit = u32::try_from((wanted - items.len()).min(PAGE)).ok();
        let page = client.values(prefix, &PageRequest { limit, page_token }).await?;
        items.extend(page.items);
        page_token = page.next_page_token;
        if page_token.is_none() || items.len() >= wanted {
            return Ok((items, page_token.is_some()));
        }
    }
}

fn show(items: &[ValueView], console: Console) {
    if items.is_empty() {
        console.note("no values");
        return;
    }
    let mut grid = Grid::new(
        console,
        &["KEY", "VALUE", "VERSION", "REVISION", "UPDATED", "EXPIRES", "WRITER"],
    );
    let now = now();
    for item in items {
        grid.row([
            item.key.as_str().into(),
            shortened(&shown(item), SHOWN).into(),
            item.version.to_string().into(),
            item.revision.to_string().into(),
            ago(item.updated_at, now).into(),
            expires(item).into(),
            item.writer.as_deref().unwrap_or("-").into(),
        ]);
    }
    console.line(grid.text());
}

/// Waits for a value, and prints it.
///
/// # Errors
/// [`Failure::Refused`] when the time is over, the promise is broken, or waiting would close a cycle.
pub(crate) async fn await_value(args: AwaitArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    let view = client
        .await_value(&args.key, args.party.as_deref(), args.timeout)
        .await?;
    print(&view, console)
}

/// Shows who awaits a key.
///
/// # Errors
/// [`Failure::Refused`] when it is no key.
pub(crate) async fn waiters(args: WaitersArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    let waiters = client.waiters(&args.key).await?;
    if console.is_json() {
        return console.json_values(&waiters);
    }
    if waiters.is_empty() {
        console.note(format!("nobody awaits {}", args.key));
        return Ok(());
    }
    let mut grid = Grid::new(console, &["PARTY", "WHO", "WAITS SINCE", "GIVES UP"]);
    let now = now();
    for waiter in &waiters {
        let until = waiter.until.map_or_else(
            || "never".to_owned(),
            |until| format!("in {}", span(until.millis_since(now))),
        );
        grid.row([
            waiter.party.as_ref().map_or("-", |party| party.as_str()).into(),
            waiter.who.as_str().into(),
            ago(waiter.since, now).into(),
            until.into(),
        ]);
    }
    console.line(grid.text());
    Ok(())
}
