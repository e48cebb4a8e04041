//! The problem: why a host cannot go on, signalled once.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::BoxError;
use crate::lease::{LeaseKey, StoreError};

/// Why a host cannot go on.
#[derive(Clone, Debug, Error)]
pub enum Problem {
    /// No slot could be had in time.
    #[error("no slot of {service} was to be had within {window:?}: {reason}")]
    NotElected {
        /// The service.
        service: String,
        /// How long was waited.
        window: Duration,
        /// Who has the slots, or why the store could not be asked.
        reason: String,
        /// Why the store could not be asked, if that was it.
        error: Option<Arc<StoreError>>,
    },
    /// The process leads no longer.
    #[error("leadership of {key} is lost: {loss}")]
    LeadershipLost {
        /// The slot.
        key: LeaseKey,
        /// How.
        loss: Loss,
    },
    /// A service could not start, or failed later.
    #[error("the service {service} failed: {error}")]
    ServiceFailed {
        /// Which one.
        service: String,
        /// What it said.
        #[source]
        error: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A service ended that had not been asked to.
    #[error("the service {service} ended by itself")]
    ServiceEnded {
        /// Which one.
        service: String,
    },
    /// The process could not be killed when it had to be, so it must not lead.
    #[error("there can be no killer, and without one nothing may be led: {0}")]
    NoKiller(#[source] Arc<io::Error>),
    /// The host itself failed.
    #[error("the host failed, which is a mistake in the program: {0}")]
    Broken(String),
}

impl Problem {
    pub(crate) fn service(service: &str, error: BoxError) -> Self {
        Self::ServiceFailed {
            service: service.to_owned(),
            error: error.into(),
        }
    }
}

/// How leadership was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The lease could not be renewed in time.
    NotRenewed {
        /// What the store said last, if it said anything.
        error: Option<String>,
    },
    /// The store says that the lease is another's, or nobody's.
    Taken,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRenewed { error: Some(error) } => write!(f, "the lease could not be renewed in time: {error}"),
            Self::NotRenewed { error: None } => f.write_str(
                "the lease was not renewed in time; the process, or the whole machine, was stopped or too busy",
            ),
            Self::Taken => f.write_str("the lease was ended or taken by another"),
        }
    }
}

/// Raised once; the first error wins.
#[derive(Default)]
pub(crate) struct ProblemSignal {
    first: OnceLock<Problem>,
    raised: CancellationToken,
}

impl ProblemSignal {
    pub(crate) fn raise(&self, problem: Problem) {
        match self.first.set(problem) {
            Ok(()) => self.raised.cancel(),
            Err(later) => tracing::debug!("a further problem, after the first one: {later}"),
        }
    }

    pub(crate) fn first(&self) -> Option<Problem> {
        self.first.get().cloned()
    }
}

/// Awaits the problem of a host that was launched.
#[derive(Clone)]
pub struct ProblemHandle(pub(crate) Arc<crate::life::Life>);

impl ProblemHandle {
    /// Resolves when there is a problem; never, when there is none.
    pub async fn signalled(&self) -> Problem {
        let signal = &self.0.problem;
        signal.raised.cancelled().await;
        match signal.first() {
            Some(problem) => problem,
            // It is set before it is raised.
            None => std::future::pending().await,
        }
    }

    /// The problem, if there is one by now.
    #[must_use]
    pub fn so_far(&self) -> Option<Problem> {
        self.0.problem.first()
    }
}
