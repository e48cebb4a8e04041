//! `unisono journal`: looks into the journal of a data directory, without its server.

use clap::{Args, Subcommand};

use crate::cli::Global;
use crate::commands::inspect::{self, InspectArgs};
use crate::commands::replay::{self, ReplayArgs};
use crate::commands::verify::{self, VerifyArgs};
use crate::failure::Failure;

/// What to do with the journal.
#[derive(Args, Clone, Debug)]
pub(crate) struct JournalArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Show what stands in it, frame by frame and event by event, as far as it can be read
    Inspect(InspectArgs),
    /// Read everything, store included, and tell what is not as it was written
    Verify(VerifyArgs),
    /// Fold it again, and show the state that it leads to, or how one orchestration got where it is
    Replay(ReplayArgs),
}

/// Looks into the journal.
///
/// # Errors
/// [`Failure::Work`] when it cannot be read or is damaged.
pub(crate) fn run(args: JournalArgs, global: &Global) -> Result<(), Failure> {
    match args.what {
        What::Inspect(args) => inspect::run(&args, global),
        What::Verify(args) => verify::run(&args, global),
        What::Replay(args) => replay::run(args, global),
    }
}
