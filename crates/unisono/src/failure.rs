//! Why a command did not do what it was asked, and the exit code that says so.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::process::ExitCode;

use unisono_agent::{AgentError, BuildError};
use unisono_client::ClientError;
use unisono_model::api::Problem;
use unisono_node::NodeError;
use unisono_node::backup::BackupError;
use unisono_node::replay::ReplayError;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The work failed: exit code 1.
    Work {
        /// For programs.
        code: &'static str,
        /// What went wrong.
        message: String,
        /// What to do.
        help: Option<String>,
    },
    /// The server refused, and said why: exit code 1.
    Refused(Box<Problem>),
    /// The definitions have mistakes: exit code 1. The report is ready to be shown.
    Mistakes {
        /// What the server said.
        problem: Box<Problem>,
        /// The same for a person, with the text around each mistake.
        report: String,
    },
    /// The command was used wrongly: exit code 2.
    Usage {
        /// What is wrong.
        message: String,
        /// What would be right.
        help: Option<String>,
    },
    /// The server cannot be reached: exit code 3.
    Unreachable {
        /// Why not.
        message: String,
    },
    /// A command that was run ended with this exit code, which is passed on without a word.
    Ended(u8),
}

impl Failure {
    /// The work failed, and there is no more to say than this.
    pub(crate) fn work(message: impl Into<String>) -> Self {
        Self::Work {
            code: "failed",
            message: message.into(),
            help: None,
        }
    }

    /// The command was used wrongly.
    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            help: Some(help.into()),
        }
    }

    /// The same with other words on what to do. What a server said, and a report, stand for themselves.
    pub(crate) fn with_help(self, help: String) -> Self {
        match self {
            Self::Work { code, message, .. } => Self::Work {
                code,
                message,
                help: Some(help),
            },
            other => other,
        }
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Work { .. } | Self::Refused(_) | Self::Mistakes { .. } => ExitCode::from(1),
            Self::Usage { .. } => ExitCode::from(2),
            Self::Unreachable { .. } => ExitCode::from(3),
            Self::Ended(code) => ExitCode::from(*code),
        }
    }

    /// The failure for programs. One that no server spoke of has the status 0.
    pub(crate) fn problem(&self) -> Problem {
        let local = |code: &'static str, title: &str, message: &str, help: Option<&String>| Problem {
            code: Cow::Borrowed(code),
            status: 0,
            title: title.to_owned(),
            detail: message.to_owned(),
            help: help.cloned(),
            field: None,
            mistakes: Vec::new(),
            data: None,
        };
        match self {
            Self::Work { code, message, help } => local(code, "The work failed", message, help.as_ref()),
            Self::Usage { message, help } => local("wrong-usage", "Wrong usage", message, help.as_ref()),
            Self::Unreachable { message } => local("server-unreachable", "The server cannot be reached", message, None),
            Self::Refused(problem) | Self::Mistakes { problem, .. } => Problem::clone(problem),
            Self::Ended(code) => {
                let message = format!("the command ended with exit code {code}");
                local("command-failed", "The command failed", &message, None)
            }
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::BadArgument { .. } => Self::Usage {
                message: error.to_string(),
                help: None,
            },
            ClientError::Problem(problem) => Self::Refused(problem),
            error if error.is_unreachable() => Self::Unreachable {
                message: error.to_string(),
            },
            error => Self::work(error.to_string()),
        }
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self::work(with_causes(&error))
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        Self::work(with_causes(&error))
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        Self::work(with_causes(&error))
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self::Usage {
            message: with_causes(&error),
            help: None,
        }
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        Self::work(with_causes(&error))
    }
}

/// The error and what brought it about, on one line. A cause that the error says already is not said again.
fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let said = deeper.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_failed_work_wrong_usage_and_an_absent_server_apart() {
        let unreachable = Failure::Unreachable { message: String::new() };
        let codes = [Failure::work(""), Failure::usage("", ""), unreachable].map(|failure| failure.exit_code());
        assert_eq!(codes, [1, 2, 3].map(ExitCode::from));
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = std::io::Error::other("the disk is full");
        let error = NodeError::Thread(cause);
        assert_eq!(with_causes(&error), "cannot start a thread: the disk is full");
    }
}
