//! What can go wrong between a caller and the server.

use std::error::Error as StdError;
use std::fmt::Write as _;

use unisono_model::api::Problem;

/// Why a request has no answer of the wanted kind.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address of the server, the namespace, or an id is not usable; nothing was sent.
    #[error("{what} {given:?} is not usable: {reason}")]
    BadArgument {
        /// What it is, such as "the server address".
        what: &'static str,
        /// What was given.
        given: String,
        /// Why it is not usable, and what would be.
        reason: String,
    },
    /// There is no connection to the server, or it broke.
    #[error("cannot reach the server at {url}: {reason}; is it running? start one with `unisono server`")]
    Unreachable {
        /// The server's address.
        url: String,
        /// The innermost cause, in words.
        reason: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// The server took longer than the client waits.
    #[error("the server at {url} did not answer within {seconds} seconds; it may be overloaded, try again")]
    Timeout {
        /// The server's address.
        url: String,
        /// Seconds waited.
        seconds: u64,
    },
    /// The server refused the request, and said why.
    #[error("{}", problem_text(.0))]
    Problem(Box<Problem>),
    /// The answer is not what this client understands: the server is another program, or another release.
    #[error("the server at {url} gave an answer that this client does not understand: {reason}")]
    Unexpected {
        /// The address asked.
        url: String,
        /// What was not understood.
        reason: String,
    },
}

impl ClientError {
    /// The stable code of the server's problem, such as `orchestration-not-found`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// Whether the server could not be reached or did not answer; the same request may succeed later.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. })
    }

    /// Whether the server is away, or on its way out or in: the same request may succeed in a moment.
    pub(crate) fn may_pass(&self) -> bool {
        let passing = ["stopping", "outcome-unknown", "overloaded", "disk-full"];
        self.is_unreachable() || self.code().is_some_and(|code| passing.contains(&code))
    }
}

/// Detail, field and help on one line, each mistake on a line of its own.
fn problem_text(problem: &Problem) -> String {
    let mut text = problem.detail.clone();
    if let Some(field) = &problem.field {
        let _ = write!(text, " (field {field})");
    }
    if let Some(help) = &problem.help {
        let _ = write!(text, "; {help}");
    }
    for mistake in &problem.mistakes {
        let place = format!("{}:{}:{}", mistake.file, mistake.line, mistake.column);
        let _ = write!(
            text,
            "\n  {place} {}: {}; {}",
            mistake.path, mistake.message, mistake.help
        );
    }
    text
}

/// The innermost cause of a failed request, which is the one that says something.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if let Some(io) = cause.downcast_ref::<std::io::Error>() {
        match io.kind() {
            std::io::ErrorKind::ConnectionRefused => return "connection refused".to_owned(),
            std::io::ErrorKind::ConnectionReset => return "connection reset".to_owned(),
            _ => {}
        }
    }
    cause.to_string()
}
