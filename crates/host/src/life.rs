//! The signals of a host's life, by the names that its document gives them.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::lease::{FencingToken, LeaseKey};
use crate::problem::ProblemSignal;

/// What the parts of a host tell each other.
pub(crate) struct Life {
    /// Something is wrong; whoever runs the host shuts it down.
    pub(crate) problem: ProblemSignal,
    /// The host has to stop.
    pub(crate) host_shutdown: CancellationToken,
    /// The services have to stop, and the wait for leadership has to end; the monitor goes on.
    pub(crate) services_shutdown: CancellationToken,
    /// The services have stopped, and the monitor has to.
    pub(crate) monitor_shutdown: CancellationToken,
    /// All is stopped, and the lease released.
    pub(crate) shut_down: CancellationToken,
    /// How far it has come.
    pub(crate) stage: watch::Sender<Stage>,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            problem: ProblemSignal::default(),
            host_shutdown: CancellationToken::new(),
            services_shutdown: CancellationToken::new(),
            monitor_shutdown: CancellationToken::new(),
            shut_down: CancellationToken::new(),
            stage: watch::Sender::new(Stage::Created),
        }
    }
}

/// How far a host has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not yet launched.
    Created,
    /// It waits for a slot.
    Candidate {
        /// What it waits for; empty before the first try.
        reason: String,
    },
    /// It leads, and its services run or are starting.
    Leading {
        /// The slot.
        key: LeaseKey,
        /// The token of its writes.
        token: FencingToken,
    },
    /// It leads no longer, and its services are stopping.
    Lost,
    /// It was asked to stop, and does.
    Stopping,
    /// It has stopped, and the lease is released.
    ShutDown,
}
