//! One module for each command: its arguments, and what it does.

pub(crate) mod act;
pub(crate) mod agent;
pub(crate) mod apply;
pub(crate) mod backup;
pub(crate) mod count;
pub(crate) mod delete;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod election;
mod filter;
pub(crate) mod get;
pub(crate) mod history;
pub(crate) mod host;
mod hosts;
pub(crate) mod inspect;
pub(crate) mod journal;
pub(crate) mod keep;
pub(crate) mod list;
pub(crate) mod lock;
mod locks;
pub(crate) mod log_level;
pub(crate) mod logs;
mod payload;
pub(crate) mod replay;
pub(crate) mod restore;
pub(crate) mod retention;
pub(crate) mod rollout;
pub(crate) mod server;
pub(crate) mod start;
pub(crate) mod steal;
pub(crate) mod value;
pub(crate) mod verify;
pub(crate) mod watch;

use clap::CommandFactory as _;
use clap_complete::Shell;
use unisono_telemetry::logs::LogLevels;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

/// Runs the command.
///
/// # Errors
/// [`Failure`] says why it did not do what it was asked.
pub(crate) async fn run(cli: Cli, log: LogLevels) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        Command::Demo(args) => demo::run(args, &global).await,
        Command::Dev(args) => dev::run(args, &global, log).await,
        Command::Server(args) => server::run(args, &global, log).await,
        Command::Agent(args) => agent::run(args, &global).await,
        Command::Apply(args) => apply::run(args, &global).await,
        Command::Delete(args) => delete::run(args, &global).await,
        Command::Start(args) => start::run(args, &global).await,
        Command::Get(args) => get::run(args, &global).await,
        Command::List(args) => list::run(args, &global).await,
        Command::Count(args) => count::run(args, &global).await,
        Command::Watch(args) => watch::run(args, &global).await,
        Command::History(args) => history::run(args, &global).await,
        Command::Cancel(args) => act::cancel(args, &global).await,
        Command::Complete(args) => act::complete(args, &global).await,
        Command::Fail(args) => act::fail(args, &global).await,
        Command::Logs(args) => logs::run(args, &global).await,
        Command::Value(args) => value::run(args, &global).await,
        Command::Host(args) => host::run(args, &global).await,
        Command::Keep(args) => keep::run(args).await,
        Command::Lock(args) => lock::run(args, &global).await,
        Command::Retention(args) => retention::run(args, &global).await,
        Command::Rollout(args) => rollout::run(args, &global).await,
        Command::Election(args) => election::run(args, &global).await,
        Command::Steal(args) => steal::run(args, &global).await,
        Command::LogLevel(args) => log_level::run(args, &global).await,
        Command::Backup(args) => backup::run(args, &global).await,
        Command::Restore(args) => restore::run(args, &global).await,
        Command::Journal(args) => journal::run(args, &global),
        Command::Bench(bench) => bench.run(global.output),
        Command::Completions { shell } => completions(shell),
    }
}

/// Prints a completion script.
///
/// # Errors
/// None today; it fits the other commands.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    clap_complete::generate(shell, &mut Cli::command(), "unisono", &mut std::io::stdout());
    Ok(())
}
