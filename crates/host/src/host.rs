//! A host, from its making to its end.

use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::{ConfigError, HostConfig};
use crate::launcher::{Launcher, Tenure};
use crate::life::{Life, Stage};
use crate::problem::{Problem, ProblemHandle};
use crate::shutdowner::Shutdowner;
use crate::storage::Storage;

/// Runs services where it leads. See the [crate](crate) for how.
///
/// A host that is dropped shuts itself down in the background. A runtime that ends before its host is shut down stops
/// whatever renews the lease, but not the killer.
pub struct Host {
    life: Arc<Life>,
    launcher: Mutex<Option<(Launcher, oneshot::Sender<Launched>)>>,
}

/// The end of the launcher, for the shutdowner to wait for.
pub(crate) type Launched = JoinHandle<Option<Tenure>>;

/// Why a host was not launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the host was launched before; make another one to launch again")]
pub struct LaunchRefused;

/// Why a host was not shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the host was not launched, so there is nothing to shut down; launch it first, or drop it")]
pub struct NotLaunched;

impl Host {
    /// Wires a host, and starts its shutdowner only. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`ConfigError`] when there cannot be such a host.
    pub fn new(config: HostConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let life = Arc::new(Life::default());
        let storage = Storage::new(&config);
        let (launched, launch) = oneshot::channel();
        tokio::spawn(Shutdowner::new(Arc::clone(&life), storage.clone(), launch).run());
        let launcher = Launcher::new(config, Arc::clone(&life), storage);
        Ok(Self {
            life,
            launcher: Mutex::new(Some((launcher, launched))),
        })
    }

    /// Starts the launcher, and returns at once with a handle on which to await the problem.
    ///
    /// # Errors
    /// [`LaunchRefused`] when it was called before.
    pub fn launch(&self) -> Result<ProblemHandle, LaunchRefused> {
        let (launcher, launched) = self.take_launcher().ok_or(LaunchRefused)?;
        // The shutdowner waits for it as long as this host is not shut down, which it cannot be before it is launched.
        let _ = launched.send(tokio::spawn(launcher.run()));
        Ok(ProblemHandle(Arc::clone(&self.life)))
    }

    /// Stops everything, in order: the services, the monitor, the lease. Returns when nothing runs any more, with the
    /// first problem, if there was one. To call it again is harmless, and says the same.
    ///
    /// # Errors
    /// [`NotLaunched`] when there is nothing to shut down; the host can still be launched.
    pub async fn shutdown(&self) -> Result<Option<Problem>, NotLaunched> {
        if self.is_not_launched() {
            return Err(NotLaunched);
        }
        self.life.host_shutdown.cancel();
        self.life.shut_down.cancelled().await;
        Ok(self.life.problem.first())
    }

    /// How far it has come, now and whenever that changes.
    #[must_use]
    pub fn stage(&self) -> watch::Receiver<Stage> {
        self.life.stage.subscribe()
    }

    fn take_launcher(&self) -> Option<(Launcher, oneshot::Sender<Launched>)> {
        self.launcher.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_not_launched(&self) -> bool {
        self.launcher.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.life.host_shutdown.cancel();
    }
}
