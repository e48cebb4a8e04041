//! The `unisono` command: reads the command line, runs one command, and says with its exit code how it went.
//!
//! 0: done. 1: the work failed. 2: wrong usage. 3: the server cannot be reached.

mod bench;
mod child;
mod cli;
mod commands;
mod failure;
mod logging;
mod output;
mod secrets;
mod signals;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use tokio::runtime::{Builder, Runtime};

use cli::{Cli, Command};
use failure::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long work that no longer matters may hold up the end of the process.
const LEAVE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let console = cli.global.console();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Ended(_)) {
                console.failure(&failure);
            }
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let log = logging::init(&cli)?;
    // These need no runtime, or make one of their own.
    match cli.command {
        Command::Bench(bench) => return bench.run(cli.global.output),
        Command::Completions { shell } => return commands::completions(shell),
        _ => {}
    }
    let runtime = runtime(cli.command.is_long_running())?;
    let ended = runtime.block_on(commands::run(cli, log));
    runtime.shutdown_timeout(LEAVE);
    ended
}

fn runtime(many_threads: bool) -> Result<Runtime, Failure> {
    let mut builder = if many_threads {
        Builder::new_multi_thread()
    } else {
        Builder::new_current_thread()
    };
    builder
        .enable_all()
        .build()
        .map_err(|error| Failure::work(format!("cannot start the runtime: {error}")))
}
