//! What the process says about itself while it runs: on standard error, never on standard output.

use unisono_telemetry::logs::{self, FilterError, LogLevels};

use crate::cli::{Cli, LogFormat};
use crate::failure::Failure;

/// Begins to log. Long-running commands tell of normal events; the others only of trouble.
///
/// # Errors
/// [`Failure::Usage`] when the filter is not understood.
pub(crate) fn init(cli: &Cli) -> Result<LogLevels, Failure> {
    let default = default_filter(cli.command.tells_of_normal_events(), cli.global.verbose);
    let filter = cli
        .global
        .log
        .as_deref()
        .filter(|log| !log.trim().is_empty())
        .unwrap_or(default);
    let format = match cli.global.log_format {
        LogFormat::Text => logs::Format::Text {
            colour: cli.global.console().errors_in_colour(),
        },
        LogFormat::Json => logs::Format::Json,
    };
    logs::init(filter, format).map_err(|error| {
        Failure::usage(
            format!("--log (or the environment variable UNISONO_LOG) is {filter:?}: {error}"),
            FilterError::HELP,
        )
    })
}

fn default_filter(normal_events: bool, verbose: u8) -> &'static str {
    match u8::from(normal_events) + verbose {
        0 => "warn",
        1 => "warn,unisono=info",
        2 => "info,unisono=debug",
        _ => "debug,unisono=trace",
    }
}
