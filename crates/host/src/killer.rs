//! The killer: ends the process at a moment that only good renewals put off.

use std::io;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::clock::{Alarm, Clock, Moment};

/// What the killer does.
pub trait Deed: Send + Sync + 'static {
    /// Ends whatever must not outlive its lease, at once. `why` is for people.
    fn kill(&self, why: &str);
}

/// Ends this process: `SIGKILL`, after a line in the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndProcess;

/// How long the last line of the log may take: whatever it is written to may hang.
const LAST_WORDS: Duration = Duration::from_millis(50);

impl Deed for EndProcess {
    fn kill(&self, why: &str) {
        let why = why.to_owned();
        let (said, wait) = mpsc::channel();
        let speaker = std::thread::Builder::new().spawn(move || {
            tracing::error!("{why}");
            let _ = said.send(());
        });
        if speaker.is_ok() {
            let _ = wait.recv_timeout(LAST_WORDS);
        }
        let _ = kill_process(getpid(), Signal::KILL);
        std::process::abort();
    }
}

/// Kills at its moment, unless it is disarmed before. Dropped while it is armed, it stays so: only what is proven to
/// have ended may be let live.
pub struct Killer {
    alarm: Box<dyn Alarm>,
    target: Mutex<Target>,
}

#[derive(Default)]
struct Target {
    at: Option<Moment>,
    disarmed: bool,
}

impl Killer {
    /// A killer on the clock, not yet armed.
    ///
    /// # Errors
    /// When the clock can give no alarm.
    pub fn new(clock: &dyn Clock, deed: Arc<dyn Deed>, why: String) -> io::Result<Self> {
        Ok(Self {
            alarm: clock.alarm(Box::new(move || deed.kill(&why)))?,
            target: Mutex::default(),
        })
    }

    /// Kills at this moment, and not at the one it was armed for before.
    pub fn arm(&self, at: Moment) {
        self.aim(|_| Some(at));
    }

    /// Kills at this moment, unless it would earlier.
    pub fn hasten(&self, at: Moment) {
        self.aim(|current| current.map_or(Some(at), |current| Some(current.min(at))));
    }

    /// Lets live, for good: there is nothing left to kill.
    pub fn disarm(&self) {
        let mut target = self.lock();
        target.disarmed = true;
        self.alarm.set(None);
    }

    fn aim(&self, at: impl FnOnce(Option<Moment>) -> Option<Moment>) {
        let mut target = self.lock();
        if !target.disarmed {
            target.at = at(target.at);
            self.alarm.set(target.at);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
