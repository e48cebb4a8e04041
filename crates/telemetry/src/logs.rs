//! The log: levels per module, as text for people or JSON for programs, changed while the process runs.

use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tracing_subscriber::filter::{Directive, LevelFilter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text {
        /// Whether levels are coloured.
        colour: bool,
    },
    /// One JSON object a line.
    Json,
}

/// What a log filter cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{directive}\" is no log directive: {reason}")]
pub struct FilterError {
    /// The part that is wrong.
    pub directive: String,
    /// Why.
    pub reason: String,
}

impl FilterError {
    /// What would be right.
    pub const HELP: &str = "give a level (off, error, warn, info, debug, trace), or levels by module such as info,unisono_node::partition=debug";
}

/// Changes what is logged.
#[derive(Clone, Debug)]
pub struct LogLevels {
    handle: reload::Handle<EnvFilter, Registry>,
    directives: Arc<Mutex<String>>,
}

impl LogLevels {
    /// What is logged now.
    #[must_use]
    pub fn get(&self) -> String {
        self.directives.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs by these directives from now on.
    ///
    /// # Errors
    /// The first directive that is not understood; nothing changes then.
    pub fn set(&self, directives: &str) -> Result<(), FilterError> {
        let filter = parse(directives)?;
        let mut current = self.directives.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.reload(filter).map_err(|error| FilterError {
            directive: directives.to_owned(),
            reason: error.to_string(),
        })?;
        directives.trim().clone_into(&mut current);
        Ok(())
    }
}

/// Begins to log to standard error. Does nothing but read the directives when something else logs already.
///
/// # Errors
/// The first directive that is not understood.
pub fn init(directives: &str, format: Format) -> Result<LogLevels, FilterError> {
    let (filter, handle) = reload::Layer::new(parse(directives)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        Format::Text { colour } => lines.with_ansi(colour).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    // A second log in one process is a test's.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(LogLevels {
        handle,
        directives: Arc::new(Mutex::new(directives.trim().to_owned())),
    })
}

/// Reads directives between commas.
///
/// # Errors
/// The first that is not understood.
pub fn parse(directives: &str) -> Result<EnvFilter, FilterError> {
    let mut parts = directives
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .peekable();
    if parts.peek().is_none() {
        return Err(wrong(directives, "it says nothing"));
    }
    let read = parts.map(directive).collect::<Result<Vec<_>, _>>()?;
    let nothing = EnvFilter::default().add_directive(LevelFilter::OFF.into());
    Ok(read.into_iter().fold(nothing, EnvFilter::add_directive))
}

fn directive(text: &str) -> Result<Directive, FilterError> {
    // The library takes a word that is no level for a module, of which it then logs everything: `inof` would do that.
    let is_word = !text.contains(['=', '[']);
    if is_word && LevelFilter::from_str(text).is_err() {
        return Err(wrong(
            text,
            "there is no such level; to log a module, write MODULE=LEVEL",
        ));
    }
    Directive::from_str(text).map_err(|error| wrong(text, &error.to_string()))
}

fn wrong(directive: &str, reason: &str) -> FilterError {
    FilterError {
        directive: directive.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn levels_and_levels_by_module_are_read() {
        for good in [
            "info",
            "OFF",
            "warn,unisono_node=debug",
            " info , unisono_node::partition=trace ",
        ] {
            parse(good).unwrap();
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_the_reason() {
        for (bad, part) in [
            ("inof", "inof"),
            ("info,unisono_node", "unisono_node"),
            ("info,unisono_node=loud", "unisono_node=loud"),
            ("", ""),
        ] {
            let error = parse(bad).unwrap_err();
            assert_eq!(error.directive, part, "{error}");
            assert!(!error.reason.is_empty());
        }
    }

    #[test]
    fn a_filter_that_is_refused_changes_nothing() {
        let levels = init("warn", Format::Text { colour: false }).unwrap();
        levels.set("debug,unisono_node=trace").unwrap();
        levels.set("nonsense").unwrap_err();
        assert_eq!(levels.get(), "debug,unisono_node=trace");
    }
}
