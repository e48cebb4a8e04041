//! Signals that ask the process to leave.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// `SIGTERM`, `SIGINT`, and `SIGHUP` where that is not ignored, caught from the moment this exists.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Begins to catch them.
    ///
    /// # Errors
    /// [`Failure::Work`] when the system refuses.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(|error| Failure::work(format!("cannot catch signals: {error}")));
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            // As `nohup` starts it, it outlives its terminal.
            hangup: (!is_ignored(SignalKind::hangup()))
                .then(|| catch(SignalKind::hangup()))
                .transpose()?,
        })
    }

    /// Waits for the next one, and gives its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hangup => "SIGHUP",
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

/// Whether whoever started this process wants the signal to be ignored.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}
