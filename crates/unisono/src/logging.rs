//! What the process says about itself while it runs: on standard error, never on standard output.

use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, LogFormat};
use crate::failure::Failure;

/// The environment variable that says what is logged, such as `debug` or `warn,unisono_node=trace`.
const VARIABLE: &str = "UNISONO_LOG";

/// Begins to log. Long-running commands tell of normal events; the others only of trouble.
///
/// # Errors
/// [`Failure::Usage`] when the environment variable is not understood.
pub(crate) fn init(cli: &Cli) -> Result<(), Failure> {
    let filter = match std::env::var(VARIABLE) {
        Ok(text) if !text.trim().is_empty() => EnvFilter::try_new(&text).map_err(|error| {
            Failure::usage(
                format!("the environment variable {VARIABLE} is {text:?}, which is no log filter: {error}"),
                "give a level (error, warn, info, debug, trace), or levels by module such as warn,unisono_node=debug",
            )
        })?,
        _ => EnvFilter::new(default_filter(cli.command.tells_of_normal_events(), cli.global.verbose)),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match cli.global.log_format {
        LogFormat::Plain => log
            .with_ansi(cli.global.console().errors_in_colour())
            .with_target(false)
            .init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

fn default_filter(normal_events: bool, verbose: u8) -> &'static str {
    match u8::from(normal_events) + verbose {
        0 => "warn",
        1 => "warn,unisono=info",
        2 => "info,unisono=debug",
        _ => "debug,unisono=trace",
    }
}
