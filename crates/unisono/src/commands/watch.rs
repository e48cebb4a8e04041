//! `unisono watch`: follows an orchestration until it ends. On a terminal it draws the tiers and what they wait for;
//! elsewhere it writes a line for each thing that happens.

mod frame;
mod live;

use clap::Args;
use unisono_client::Client;
use unisono_model::api::OrchestrationView;

use super::{history, rollout, start};
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::Console;

/// What to follow.
#[derive(Args, Clone, Debug)]
pub(crate) struct WatchArgs {
    /// The orchestration's id
    #[arg(required_unless_present = "entity")]
    id: Option<String>,
    /// The rollout of this entity instead
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    entity: Option<String>,
}

/// Follows an orchestration until it ends.
///
/// # Errors
/// [`Failure::Work`] when it did not complete.
pub(crate) async fn run(args: WatchArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    if let Some(entity) = args.entity {
        return rollout::follow(&client.entity(&entity), false, console).await;
    }
    let id = args.id.unwrap_or_default();
    let view = if console.can_draw() && console.is_terminal() {
        live::follow(&client, &id, console).await?
    } else {
        history::follow(&client, &id, console).await?;
        client.orchestration(&id).await?
    };
    start::completed(&view)
}

/// Waits until it has ended; draws meanwhile when a person looks at standard error.
///
/// # Errors
/// [`Failure`] when there is no such orchestration, or the server cannot be reached any more.
pub(crate) async fn until_ended(client: &Client, id: &str, console: Console) -> Result<OrchestrationView, Failure> {
    if console.can_draw() {
        live::follow(client, id, console).await
    } else {
        Ok(client.wait(id).await?)
    }
}
