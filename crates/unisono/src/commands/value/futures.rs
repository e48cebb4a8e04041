//! `unisono value declare`, `break`, `withdraw` and `futures`: promised values.

use std::time::Duration;

use clap::Args;
use unisono_client::PageRequest;
use unisono_model::ids::Revision;
use unisono_model::name::Name;
use unisono_model::values::{DeclareRequest, FutureState, FutureView};

use super::write::revision;
use crate::cli::{Global, duration, millis};
use crate::commands::payload;
use crate::failure::Failure;
use crate::output::{Console, Grid, Tone, ago, now, span};

/// What to promise.
#[derive(Args, Clone, Debug)]
pub(crate) struct DeclareArgs {
    /// The key that will have the value
    key: String,
    /// The party that will give it
    #[arg(long, value_name = "NAME")]
    producer: Name,
    /// A JSON Schema that it will fit: a JSON object, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON|@FILE|@-")]
    schema: Option<String>,
    /// Let the promise expire when there is no value after this time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,
    /// The producer's lease: when it ends without a value, the promise is broken
    #[arg(long, value_name = "ID", value_parser = revision)]
    lease: Option<Revision>,
    /// Begin anew when it was kept, broken, or has expired; the value that it has is deleted
    #[arg(long)]
    new_epoch: bool,
}

/// What to break.
#[derive(Args, Clone, Debug)]
pub(crate) struct BreakArgs {
    /// The key
    key: String,
    /// Why there will be no value; those who await it are told
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// What to forget.
#[derive(Args, Clone, Debug)]
pub(crate) struct WithdrawArgs {
    /// The key
    key: String,
}

/// Which promises to list.
#[derive(Args, Clone, Debug)]
pub(crate) struct FuturesArgs {
    /// Only keys that begin like this
    #[arg(default_value = "")]
    prefix: String,
}

/// Promises a value.
///
/// # Errors
/// [`Failure::Refused`] when somebody else has, or a cycle of waiting would close.
pub(crate) async fn declare(args: DeclareArgs, global: &Global) -> Result<(), Failure> {
    let schema = args.schema.as_deref();
    let request = DeclareRequest {
        producer: args.producer,
        schema: schema.map(|given| payload::read("--schema", given)).transpose()?,
        ttl_ms: args.ttl.map(millis),
        lease: args.lease,
        new_epoch: args.new_epoch,
    };
    let (client, console) = (global.client()?, global.console());
    let future = client.declare_future(&args.key, &request).await?;
    if console.is_json() {
        return console.json(&future);
    }
    let FutureView {
        key,
        producer,
        epoch,
        state,
        ..
    } = &future;
    console.line(format!(
        "{key} is {} in epoch {epoch}; {producer} gives it",
        state.as_str()
    ));
    Ok(())
}

/// Breaks a promise.
///
/// # Errors
/// [`Failure::Refused`] when there is none that is pending.
pub(crate) async fn break_promise(args: BreakArgs, global: &Global) -> Result<(), Failure> {
    global.client()?.break_future(&args.key, &args.reason).await?;
    global.console().tell(format!("{} is broken", args.key));
    Ok(())
}

/// Forgets a promise.
///
/// # Errors
/// [`Failure::Refused`] when there is none.
pub(crate) async fn withdraw(args: WithdrawArgs, global: &Global) -> Result<(), Failure> {
    global.client()?.withdraw_future(&args.key).await?;
    global.console().tell(format!("{} is withdrawn", args.key));
    Ok(())
}

/// Lists promises.
///
/// # Errors
/// [`Failure::Refused`] when no key begins like this.
pub(crate) async fn list(args: FuturesArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    let mut items = Vec::new();
    let mut page = PageRequest::default();
    loop {
        let next = client.futures(&args.prefix, &page).await?;
        items.extend(next.items);
        page.page_token = next.next_page_token;
        if page.page_token.is_none() {
            break;
        }
    }
    if console.is_json() {
        return console.json_values(&items);
    }
    show(&items, console);
    Ok(())
}

fn show(items: &[FutureView], console: Console) {
    if items.is_empty() {
        console.note("no promised values");
        return;
    }
    let heads = [
        "KEY", "PRODUCER", "STATE", "SINCE", "EPOCH", "EXPIRES", "WAITERS", "REASON",
    ];
    let mut grid = Grid::new(console, &heads);
    let now = now();
    for item in items {
        let tone = match item.state {
            FutureState::Pending => Tone::Waiting,
            FutureState::Kept => Tone::Good,
            FutureState::Broken | FutureState::Expired => Tone::Bad,
        };
        let expires = item
            .expires_at
            .map_or_else(|| "never".to_owned(), |at| format!("in {}", span(at.millis_since(now))));
        grid.row([
            item.key.as_str().into(),
            item.producer.as_str().into(),
            (tone, item.state.as_str().to_owned()).into(),
            ago(item.since, now).into(),
            item.epoch.to_string().into(),
            expires.into(),
            item.waiters.to_string().into(),
            item.reason.as_deref().unwrap_or("-").into(),
        ]);
    }
    console.line(grid.text());
}
