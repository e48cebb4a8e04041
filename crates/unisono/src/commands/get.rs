//! `unisono get`: one thing, or all of a kind that there are few of.

mod definitions;
mod orchestration;
mod storage;

use clap::{Args, Subcommand};
pub(crate) use orchestration::reason;
use unisono_client::{Client, DefinitionFamily};
use unisono_model::api::AgentView;

use super::{hosts, locks, rollout};
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{Console, Grid, Tone, ago, now};

/// What to show.
#[derive(Args, Clone, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "unisono get <ID>\n       unisono get definitions | agents | storage\n       \
        unisono get orchestration-definition | activity-definition <TYPE> [--version <N>]\n       \
        unisono get lock | election | entity | host <NAME>"
)]
pub(crate) struct GetArgs {
    /// The id of an orchestration
    #[arg(required = true)]
    id: Option<String>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// One orchestration, also when its id is the name of one of these commands
    Orchestration {
        /// Its id
        id: String,
    },
    /// All definitions, the newest version of each
    Definitions,
    /// One orchestration definition
    OrchestrationDefinition {
        /// Its type
        #[arg(value_name = "TYPE")]
        r#type: String,
        /// Its version [default: the newest]
        #[arg(long, value_name = "N")]
        version: Option<u32>,
    },
    /// One activity definition
    ActivityDefinition {
        /// Its type
        #[arg(value_name = "TYPE")]
        r#type: String,
        /// Its version [default: the newest]
        #[arg(long, value_name = "N")]
        version: Option<u32>,
    },
    /// The agents, connected or lately gone
    Agents,
    /// What the server's data takes on disk, and of how many orchestrations of each definition
    Storage,
    /// A lock: who holds it, who waits for it, and since when
    Lock {
        /// Its name
        name: String,
    },
    /// An entity, its rollout, and why that stands where it stands
    Entity {
        /// Its name
        name: String,
    },
    /// A service, and the hosts that run it or would
    Host {
        /// Its name
        service: String,
    },
    /// An election: who leads, what they proclaimed, and who stands
    Election {
        /// Its name
        name: String,
    },
}

/// Shows it.
///
/// # Errors
/// [`Failure::Refused`] when there is no such thing.
pub(crate) async fn run(args: GetArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    match (args.what, args.id) {
        (Some(What::Definitions), _) => definitions::all(&client, console).await,
        (Some(What::OrchestrationDefinition { r#type, version }), _) => {
            definitions::one(&client, DefinitionFamily::Orchestration, &r#type, version, console).await
        }
        (Some(What::ActivityDefinition { r#type, version }), _) => {
            definitions::one(&client, DefinitionFamily::Activity, &r#type, version, console).await
        }
        (Some(What::Agents), _) => agents(&client, console).await,
        (Some(What::Storage), _) => storage::show(&client, console).await,
        (Some(What::Lock { name }), _) => locks::show_lock(&client, &name, console).await,
        (Some(What::Entity { name }), _) => rollout::show_entity(&client, &name, console).await,
        (Some(What::Host { service }), _) => hosts::show(&client, &service, console).await,
        (Some(What::Election { name }), _) => locks::show_election(&client, &name, console).await,
        (Some(What::Orchestration { id }), _) | (None, Some(id)) => orchestration::show(&client, &id, console).await,
        (None, None) => Err(Failure::usage(
            "nothing to get",
            "name an orchestration's id, or see `unisono get --help`",
        )),
    }
}

async fn agents(client: &Client, console: Console) -> Result<(), Failure> {
    let agents = client.agents().await?.items;
    if console.is_json() {
        return console.json_values(&agents);
    }
    if agents.is_empty() {
        console.note("no agents; connect one with `unisono agent --config FILE`");
        return Ok(());
    }
    let mut grid = Grid::new(
        console,
        &["NAME", "STATE", "SINCE", "RUNNING", "TYPES", "LABELS", "REASON"],
    );
    let now = now();
    for agent in &agents {
        let state = if agent.connected {
            (Tone::Good, "connected".to_owned())
        } else {
            (Tone::Waiting, "gone".to_owned())
        };
        grid.row([
            agent.name.as_str().into(),
            state.into(),
            ago(agent.since, now).into(),
            format!("{}/{}", agent.running, agent.concurrency).into(),
            types(agent).into(),
            labels(&agent.labels).into(),
            agent.reason.as_str().into(),
        ]);
    }
    console.line(grid.text());
    Ok(())
}

fn types(agent: &AgentView) -> String {
    let types: Vec<&str> = agent.activity_types.iter().map(|name| name.as_str()).collect();
    types.join(", ")
}

/// Labels as they are given: `a=b, c=d`.
pub(crate) fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.join(", ")
}
