//! Those who are told the history of an entity.

use std::time::Duration;

use clap::{Args, Subcommand};
use unisono_model::name::Name;
use unisono_model::rollout::{Endpoint, ResumeDeliveryRequest, SubscriberRequest, SubscriberState, SubscriberView};

use super::Of;
use super::act::{Because, show};
use crate::cli::{Global, duration};
use crate::failure::Failure;
use crate::output::{Console, Grid, Tone, ago, now};

/// What to do about subscribers.
#[derive(Args, Clone, Debug)]
pub(super) struct SubscriberArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// List them: what each has received, and what keeps it from receiving more
    List(Of),
    /// Add one to the policy, or change it; a new one is told what happens from now on
    Add(AddArgs),
    /// Remove one from the policy
    Remove(RemoveArgs),
    /// Tell one again, now, that failed or is parked
    Resume(ResumeArgs),
}

/// Whom to tell.
#[derive(Args, Clone, Debug)]
struct AddArgs {
    #[command(flatten)]
    of: Of,
    /// Its name
    subscriber: String,
    /// Where it is told, by a POST for each entry
    #[arg(long, value_name = "URL")]
    url: String,
    /// The name of the server's secret by which requests are signed
    #[arg(long, value_name = "NAME", value_parser = name)]
    secret: Option<Name>,
    /// The name of the server's secret that requests carry as a bearer token
    #[arg(long, value_name = "NAME", value_parser = name)]
    token: Option<Name>,
    /// How long an answer may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    timeout: Duration,
    /// After this long of nothing but refusals it is parked until someone resumes it [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    park_after: Option<Duration>,
    #[command(flatten)]
    because: Because,
}

/// Whom to tell nothing more.
#[derive(Args, Clone, Debug)]
struct RemoveArgs {
    #[command(flatten)]
    of: Of,
    /// Its name
    subscriber: String,
    #[command(flatten)]
    because: Because,
}

/// Whom to tell again.
#[derive(Args, Clone, Debug)]
struct ResumeArgs {
    #[command(flatten)]
    of: Of,
    /// Its name
    subscriber: String,
    /// What comes after this entry of the history [default: what it has not received]
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<u64>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|error| error.to_string())
}

/// Does it.
///
/// # Errors
/// [`Failure::Refused`] when the server refuses it, with the reason.
pub(super) async fn run(args: SubscriberArgs, global: &Global) -> Result<(), Failure> {
    match args.what {
        What::List(of) => list(&of, global).await,
        What::Add(args) => add(args, global).await,
        What::Remove(args) => {
            let (entity, console) = args.of.entity(global)?;
            let because = &args.because;
            let done = entity
                .remove_subscriber(&args.subscriber, because.reason.as_deref(), &because.basis())
                .await?;
            show(&done, console)
        }
        What::Resume(args) => {
            let (entity, console) = args.of.entity(global)?;
            let request = ResumeDeliveryRequest {
                after: args.after,
                reason: args.reason,
            };
            let taken = entity.resume_subscriber(&args.subscriber, &request).await?;
            if console.is_json() {
                return console.json(&taken);
            }
            console.line(&taken.message);
            Ok(())
        }
    }
}

async fn add(args: AddArgs, global: &Global) -> Result<(), Failure> {
    let (entity, console) = args.of.entity(global)?;
    let request = SubscriberRequest {
        endpoint: Endpoint {
            secret: args.secret,
            token: args.token,
            timeout_seconds: args.timeout.as_secs(),
            ..Endpoint::to_url(args.url)
        },
        park_after_seconds: args.park_after.map(|time| time.as_secs()),
        reason: args.because.reason.clone(),
    };
    let done = entity
        .set_subscriber(&args.subscriber, &request, &args.because.basis())
        .await?;
    show(&done, console)
}

async fn list(of: &Of, global: &Global) -> Result<(), Failure> {
    let (entity, console) = of.entity(global)?;
    let subscribers = entity.subscribers().await?;
    if console.is_json() {
        return console.json_values(&subscribers);
    }
    if subscribers.is_empty() {
        console.note("nobody is told the history; add a subscriber with rollout subscriber add");
        return Ok(());
    }
    table(console, &subscribers);
    Ok(())
}

fn table(console: Console, subscribers: &[SubscriberView]) {
    let mut grid = Grid::new(
        console,
        &["SUBSCRIBER", "STATE", "RECEIVED", "BEHIND", "SINCE", "ENDPOINT", "WHY"],
    );
    for it in subscribers {
        let state = match it.state {
            SubscriberState::UpToDate => (Tone::Good, "up to date"),
            SubscriberState::Behind => (Tone::Busy, "behind"),
            SubscriberState::Failing => (Tone::Waiting, "failing"),
            SubscriberState::Parked => (Tone::Bad, "parked"),
        };
        let since = it.since.map_or(String::new(), |since| ago(since, now()));
        grid.row([
            it.name.as_str().into(),
            (state.0, state.1.to_owned()).into(),
            it.received.to_string().into(),
            it.behind.to_string().into(),
            since.into(),
            endpoint(&it.endpoint).into(),
            it.error.clone().unwrap_or_default().into(),
        ]);
    }
    console.line(grid.text());
}

fn endpoint(endpoint: &Endpoint) -> String {
    let by_name = |kind: &str, name: &Option<Name>| name.as_ref().map(|name| format!("{kind} {name}"));
    let named = by_name("activity", &endpoint.activity).or_else(|| by_name("local", &endpoint.local));
    endpoint.url.clone().or(named).unwrap_or_default()
}
