//! A server leads its data directory: the lock on it, as a lease for the host.
//!
//! The operating system keeps the lock as long as the process lives, so this lease does not end by itself, and a server
//! that was stopped or suspended goes on afterwards. It is lost only when the locked file is no longer the one in the
//! directory: then another server can lock what is there now, and this one has to go.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use unisono_host::{
    FencingToken, Holder, Host, HostConfig, Insertion, LeaseKey, LeaseStore, ProblemHandle, Service, StoreCall,
    StoreError, Timing,
};
use unisono_journal::{DataDirLock, LockError};

use crate::error::NodeError;

/// How the life of the lock is divided: longer than any process lives, and looked at now and then.
const TIMING: Timing = Timing {
    lease: Duration::from_secs(100 * 365 * 24 * 3600),
    renew_every: Duration::from_secs(2),
    retry_every: Duration::from_secs(2),
    call_timeout: Duration::from_secs(10),
    grace: Duration::from_secs(20),
    margin: Duration::from_secs(1),
};

/// Launches a host that runs this where it has the lock. There is one try for it: a server that finds the directory in use says
/// so at once.
pub(crate) fn launch(lease: Arc<DirectoryLease>, server: Box<dyn Service>) -> Result<(Host, ProblemHandle), NodeError> {
    let config = HostConfig::new(lease.directory.display().to_string(), lease).with(server);
    let host = Host::new(HostConfig {
        timing: TIMING,
        window: Some(Duration::ZERO),
        ..config
    })
    .map_err(misused)?;
    let problem = host.launch().map_err(misused)?;
    Ok((host, problem))
}

/// Shuts the host down, and says what was wrong with it.
pub(crate) async fn shut_down(host: &Host) -> Result<(), NodeError> {
    let problem = host.shutdown().await.map_err(misused)?;
    problem.map_or(Ok(()), |problem| Err(problem.into()))
}

/// The settings are ours, and a host is launched once and then shut down.
fn misused(error: impl std::error::Error) -> NodeError {
    NodeError::Leadership(format!("a mistake in the program: {error}"))
}

/// The lock on a data directory, as a store of one lease.
pub(crate) struct DirectoryLease {
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<(Holder, Arc<DataDirLock>)>,
    refusal: Option<LockError>,
}

impl DirectoryLease {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            state: Mutex::default(),
        }
    }

    /// Why the directory could not be locked, if it could not.
    pub(crate) fn refusal(&self) -> Option<LockError> {
        self.lock().refusal.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acquire(&self, holder: &Holder) -> Result<Insertion, StoreError> {
        let mut state = self.lock();
        match DataDirLock::acquire(&self.directory) {
            Ok(lock) => {
                let token = FencingToken(lock.number());
                state.held = Some((holder.clone(), Arc::new(lock)));
                Ok(Insertion::Granted(token))
            }
            Err(refusal) => {
                let why = refusal.to_string();
                state.refusal = Some(refusal);
                Err(StoreError::Unavailable(why.into()))
            }
        }
    }

    fn held_by(&self, holder: &Holder) -> Option<Arc<DataDirLock>> {
        let state = self.lock();
        let (by, lock) = state.held.as_ref()?;
        (by == holder).then(|| Arc::clone(lock))
    }

    fn release(&self, holder: &Holder) -> bool {
        let mut state = self.lock();
        match state.held.take_if(|(by, _)| by == holder) {
            Some((_, lock)) => {
                // A look at it that is under way must not keep it from whoever comes next.
                lock.unlock();
                true
            }
            None => false,
        }
    }
}

impl LeaseStore for DirectoryLease {
    fn insert_if_absent<'a>(&'a self, _: &'a LeaseKey, holder: &'a Holder, _: Duration) -> StoreCall<'a, Insertion> {
        async move { self.acquire(holder) }.boxed()
    }

    fn compare_and_swap<'a>(
        &'a self,
        _: &'a LeaseKey,
        holder: &'a Holder,
        _: Duration,
    ) -> StoreCall<'a, Option<FencingToken>> {
        async move {
            let Some(lock) = self.held_by(holder) else {
                return Ok(None);
            };
            // We, the state, and nobody else; or else an earlier look hangs, and one is enough.
            if Arc::strong_count(&lock) > 2 {
                return Err(StoreError::Unavailable("the file system does not answer".into()));
            }
            let token = FencingToken(lock.number());
            let look = tokio::task::spawn_blocking(move || lock.is_in_place()).await;
            let in_place = look.unwrap_or_else(|panicked| Err(std::io::Error::other(panicked)));
            let in_place = in_place.map_err(|error| StoreError::Unavailable(error.into()))?;
            Ok(in_place.then_some(token))
        }
        .boxed()
    }

    fn compare_and_delete<'a>(&'a self, _: &'a LeaseKey, holder: &'a Holder) -> StoreCall<'a, bool> {
        async move { Ok(self.release(holder)) }.boxed()
    }
}
