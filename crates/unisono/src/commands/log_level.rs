//! `unisono log-level`: shows or changes what a running server logs.

use clap::Args;
use unisono_model::api::LogFilter;

use crate::cli::Global;
use crate::failure::Failure;

/// What the server is to log.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogLevelArgs {
    /// A level (off, error, warn, info, debug, trace), or levels by module, such as info,unisono_node::partition=debug;
    /// shows what is logged when left out
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
}

/// Shows what is logged, changed before when asked to.
///
/// # Errors
/// [`Failure::Refused`] when the server does not understand the filter.
pub(crate) async fn run(args: LogLevelArgs, global: &Global) -> Result<(), Failure> {
    let (client, console) = (global.client()?, global.console());
    let now = match args.filter {
        Some(filter) => client.set_log_filter(&LogFilter { filter }).await?,
        None => client.log_filter().await?,
    };
    if console.is_json() {
        return console.json(&now);
    }
    console.line(now.filter);
    Ok(())
}
