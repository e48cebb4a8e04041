//! `unisono value`: reading, writing, watching and awaiting values, and promising them.

mod content;
mod futures;
mod read;
mod watch;
mod write;

use clap::{Args, Subcommand};

use crate::cli::Global;
use crate::failure::Failure;
pub(crate) use write::revision;

/// What to do with values.
#[derive(Args, Clone, Debug)]
pub(crate) struct ValueArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Print the value of a key
    Get(read::GetArgs),
    /// Write a value
    Set(write::SetArgs),
    /// Write a value if the key holds what is expected
    Cas(write::CasArgs),
    /// Delete a value
    Delete(write::DeleteArgs),
    /// List values by key
    List(read::ListArgs),
    /// Follow the changes of values
    Watch(watch::WatchArgs),
    /// Wait until a key has a value, and print it
    Await(read::AwaitArgs),
    /// Show who awaits a key, and since when
    Waiters(read::WaitersArgs),
    /// Promise a value: say who will give it, and of what schema
    Declare(futures::DeclareArgs),
    /// Break a promise: tell those who await the value why there will be none
    Break(futures::BreakArgs),
    /// Forget a promise; a pending one is broken by that
    Withdraw(futures::WithdrawArgs),
    /// List promised values
    Futures(futures::FuturesArgs),
}

/// Does it.
///
/// # Errors
/// [`Failure::Refused`] when the server refuses it.
pub(crate) async fn run(args: ValueArgs, global: &Global) -> Result<(), Failure> {
    match args.what {
        What::Get(args) => read::get(args, global).await,
        What::Set(args) => write::set(args, global).await,
        What::Cas(args) => write::cas(args, global).await,
        What::Delete(args) => write::delete(args, global).await,
        What::List(args) => read::list(args, global).await,
        What::Watch(args) => watch::run(args, global).await,
        What::Await(args) => read::await_value(args, global).await,
        What::Waiters(args) => read::waiters(args, global).await,
        What::Declare(args) => futures::declare(args, global).await,
        What::Break(args) => futures::break_promise(args, global).await,
        What::Withdraw(args) => futures::withdraw(args, global).await,
        What::Futures(args) => futures::list(args, global).await,
    }
}
