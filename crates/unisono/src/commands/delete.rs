//! `unisono delete`: takes away a definition, or what is kept of orchestrations that have ended.

use clap::{Args, ValueEnum};
use serde_json::json;
use unisono_client::DefinitionFamily;

use crate::cli::Global;
use crate::failure::Failure;

/// What to delete.
#[derive(Args, Clone, Debug)]
pub(crate) struct DeleteArgs {
    /// Which kind
    #[arg(value_enum)]
    kind: Kind,
    /// The type of a definition, or the id of an orchestration that has ended; several are deleted in this order
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// The kinds of what can be deleted, as they are called in paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    // Summary, history and logs of an orchestration that has ended.
    Orchestration,
    OrchestrationDefinition,
    ActivityDefinition,
}

/// Deletes them one after the other, until the server refuses one: a definition while something uses it, and an
/// orchestration until it has ended.
///
/// # Errors
/// [`Failure::Refused`] when it is in use, has not ended, or does not exist.
pub(crate) async fn run(args: DeleteArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    for name in &args.names {
        let words = match args.kind {
            Kind::Orchestration => {
                client.delete_orchestration(name).await?;
                "orchestration"
            }
            Kind::OrchestrationDefinition => {
                client.delete_definition(DefinitionFamily::Orchestration, name).await?;
                "orchestration definition"
            }
            Kind::ActivityDefinition => {
                client.delete_definition(DefinitionFamily::Activity, name).await?;
                "activity definition"
            }
        };
        if console.is_json() {
            console.json(&json!({ "deleted": name }))?;
        } else {
            console.line(format!("deleted {words} {name}"));
        }
    }
    Ok(())
}
