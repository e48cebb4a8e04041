//! `unisono election …`: stands for an election, leads, speaks as the leader, and observes.

use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use serde_json::value::RawValue;
use unisono_client::Client;
use unisono_model::api::JsonText;
use unisono_model::ids::Revision;
use unisono_model::leases::{CampaignRequest, ElectionView, LockFamily, ProclaimRequest};

use super::lock::UnderArgs;
use super::value::revision;
use crate::cli::{Global, millis};
use crate::failure::Failure;
use crate::output::{Console, Tone, clock, now};

/// What to do with an election.
#[derive(Args, Clone, Debug)]
pub(crate) struct ElectionArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Stand for an election, and run a command as long as this process leads
    Campaign(CampaignArgs),
    /// Say something as the leader, to all who observe
    Proclaim(ProclaimArgs),
    /// Resign from leadership, or stand no more
    Resign(ResignArgs),
    /// Follow who leads, and what they proclaim
    Observe(ObserveArgs),
}

#[derive(Args, Clone, Debug)]
struct CampaignArgs {
    /// The election's name
    name: String,
    /// What to proclaim once elected
    #[arg(long, value_name = "JSON")]
    value: Option<String>,
    #[command(flatten)]
    under: UnderArgs,
}

#[derive(Args, Clone, Debug)]
struct ProclaimArgs {
    /// The election's name
    name: String,
    /// What to say
    #[arg(value_name = "JSON")]
    value: String,
    /// The lease of the leader
    #[arg(long, value_name = "ID", env = "UNISONO_ELECTION_LEASE", value_parser = revision)]
    lease: Revision,
}

#[derive(Args, Clone, Debug)]
struct ResignArgs {
    /// The election's name
    name: String,
    /// The lease of the leader, or of the candidate
    #[arg(long, value_name = "ID", env = "UNISONO_ELECTION_LEASE", value_parser = revision)]
    lease: Revision,
}

#[derive(Args, Clone, Debug)]
struct ObserveArgs {
    /// The election's name
    name: String,
    /// End after so many changes, what it is like at the beginning included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Does it.
///
/// # Errors
/// [`Failure::Refused`] when the server refuses it; of `campaign`, as [`super::lock::run`].
pub(crate) async fn run(args: ElectionArgs, global: &Global) -> Result<(), Failure> {
    match args.what {
        What::Campaign(args) => campaign(args, global).await,
        What::Proclaim(args) => {
            let request = ProclaimRequest {
                lease: args.lease,
                value: json(&args.value)?,
            };
            global.client()?.proclaim(&args.name, &request).await?;
            global.console().tell(format!("{} is told", args.name));
            Ok(())
        }
        What::Resign(args) => {
            global.client()?.resign(&args.name, args.lease).await?;
            global
                .console()
                .tell(format!("lease {} has resigned from {}", args.lease, args.name));
            Ok(())
        }
        What::Observe(args) => observe(args, global).await,
    }
}

fn json(text: &str) -> Result<JsonText, Failure> {
    let json: Result<Box<RawValue>, _> = serde_json::from_str(text.trim());
    json.map(JsonText).map_err(|error| {
        Failure::usage(
            format!("what is to be proclaimed is no JSON: {error}"),
            "give JSON such as '{\"url\": \"http://node-1\"}' or '\"text\"'",
        )
    })
}

async fn campaign(args: CampaignArgs, global: &Global) -> Result<(), Failure> {
    let value = args.value.as_deref().map(json).transpose()?;
    let wait_ms = args.under.wait.map(millis);
    let name = args.name.clone();
    let stand = async |client: &Client, lease| {
        let request = CampaignRequest { lease, value, wait_ms };
        client.campaign(&args.name, &request).await
    };
    args.under.run(global, (LockFamily::Election, &name), stand).await
}

async fn observe(args: ObserveArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    let mut views = std::pin::pin!(client.observe(&args.name));
    let mut left = args.count;
    while let Some(view) = views.next().await {
        show(&view?, console)?;
        left = left.map(|left| left - 1);
        if left == Some(0) {
            break;
        }
    }
    Ok(())
}

fn show(election: &ElectionView, console: Console) -> Result<(), Failure> {
    if console.is_json() {
        return console.json_line(election);
    }
    let who = match &election.leader {
        Some(leader) => format!("{} (token {})", console.paint(Tone::Good, &leader.holder), leader.token),
        None => console.paint(Tone::Waiting, "nobody"),
    };
    let says = election.value.as_ref().map_or_else(String::new, |value| {
        format!(", who says {}", value.0.get().replace(['\n', '\r'], " "))
    });
    let time = console.paint(Tone::Quiet, &clock(now()));
    console.line(format!("{time} {} leads {}{says}", who, election.name));
    Ok(())
}
