//! `unisono delete`: takes a definition away.

use clap::{Args, ValueEnum};
use serde_json::json;
use unisono_client::DefinitionFamily;

use crate::cli::Global;
use crate::failure::Failure;

/// What to delete.
#[derive(Args, Clone, Debug)]
pub(crate) struct DeleteArgs {
    /// Which kind of definition
    #[arg(value_enum)]
    kind: Kind,
    /// Its type
    #[arg(value_name = "TYPE")]
    r#type: String,
}

/// The kinds of definition, as they are called in paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    OrchestrationDefinition,
    ActivityDefinition,
}

/// Deletes a definition. The server refuses it while something uses it, and says what.
///
/// # Errors
/// [`Failure::Refused`] when it is in use or does not exist.
pub(crate) async fn run(args: DeleteArgs, global: &Global) -> Result<(), Failure> {
    let (family, words) = match args.kind {
        Kind::OrchestrationDefinition => (DefinitionFamily::Orchestration, "orchestration definition"),
        Kind::ActivityDefinition => (DefinitionFamily::Activity, "activity definition"),
    };
    global.client()?.delete_definition(family, &args.r#type).await?;
    let console = global.console();
    if console.is_json() {
        return console.json(&json!({ "deleted": args.r#type }));
    }
    console.line(format!("deleted {words} {}", args.r#type));
    Ok(())
}
