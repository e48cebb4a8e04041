//! `unisono journal`: looks into the journal of a data directory, without its server.

use clap::{Args, Subcommand};

use crate::cli::Global;
use crate::commands::replay::{self, ReplayArgs};
use crate::failure::Failure;

/// What to do with the journal.
#[derive(Args, Clone, Debug)]
pub(crate) struct JournalArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Fold it again, and show the state that it leads to, or how one orchestration got where it is
    Replay(ReplayArgs),
}

/// Looks into the journal.
///
/// # Errors
/// [`Failure::Work`] when it cannot be read or is damaged.
pub(crate) fn run(args: JournalArgs, global: &Global) -> Result<(), Failure> {
    match args.what {
        What::Replay(args) => replay::run(args, global),
    }
}
