//! Signals that ask the process to leave.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// `SIGTERM` and `SIGINT`, caught from the moment this exists.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to catch both.
    ///
    /// # Errors
    /// [`Failure::Work`] when the system refuses.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(|error| Failure::work(format!("cannot catch signals: {error}")));
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one, and gives its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// From now on the next signal ends the process at once.
    pub(crate) fn leave_at_once(mut self) {
        tokio::spawn(async move { self.leave().await });
    }

    /// From now on the second signal ends the process at once: the first is the one that made the parent process ask us
    /// to leave, and reaches us too when it comes from a terminal.
    pub(crate) fn leave_at_second(mut self) {
        tokio::spawn(async move {
            self.next().await;
            self.leave().await;
        });
    }

    async fn leave(&mut self) {
        let name = self.next().await;
        tracing::warn!("{name} again: leaving at once");
        std::process::exit(1);
    }
}
