//! `unisono steal`: takes a lock, or leadership, by force.

use clap::Args;
use unisono_model::ids::Revision;
use unisono_model::leases::{LockFamily, StealRequest};

use super::value::revision;
use crate::cli::Global;
use crate::failure::Failure;

/// What to take, and why.
#[derive(Args, Clone, Debug)]
pub(crate) struct StealArgs {
    /// The lock's name
    name: String,
    /// Why; it is kept with your name, and shown by `unisono get lock`
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Only from who holds it under this fencing token
    #[arg(long, value_name = "TOKEN", value_parser = revision)]
    token: Option<Revision>,
    /// Depose the leader of the election of this name instead
    #[arg(long)]
    election: bool,
}

/// Takes it. Whoever is next in the queue has it at once.
///
/// # Errors
/// [`Failure::Refused`] when nobody holds it.
pub(crate) async fn run(args: StealArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    let request = StealRequest {
        reason: args.reason,
        token: args.token,
    };
    let (answer, family) = if args.election {
        (client.depose(&args.name, &request).await?, LockFamily::Election)
    } else {
        (client.steal_lock(&args.name, &request).await?, LockFamily::Lock)
    };
    if console.is_json() {
        return console.json(&answer);
    }
    for holder in &answer.stolen_from {
        let (family, token) = (family.as_str(), holder.token);
        console.line(format!(
            "{family} {} was taken from {} (token {token})",
            answer.name, holder.holder
        ));
    }
    Ok(())
}
