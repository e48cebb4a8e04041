//! A lease that is kept alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use unisono_model::ids::Revision;
use unisono_model::leases::{LeaseRequest, LeaseView};
use unisono_model::name::Name;

use crate::client::Client;
use crate::error::ClientError;

/// The longest sleep before it is looked how much time has passed: timers do not count the time in which the machine was
/// suspended, and leases do.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// The shortest pause before a renewal that failed is tried again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// Milliseconds since the machine was started, also while it was suspended.
fn running_ms() -> u64 {
    let running = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (running.tv_sec.unsigned_abs(), running.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000).saturating_add(nanos / 1_000_000)
}

/// Why a lease is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseLost {
    /// The server says that it has ended.
    #[error("the server says that the lease has ended")]
    Ended,
    /// It could not be renewed in time, so that it may have ended.
    #[error("the lease could not be renewed in time{}", last.as_ref().map(|last| format!(": {last}")).unwrap_or_default())]
    NotRenewed {
        /// Why the last try failed.
        last: Option<String>,
    },
}

/// A lease that is renewed in the background, every third of its time to live, until it is dropped or lost.
///
/// It is certain to be held until its *deadline*, which is counted from before the renewal was sent, on a clock that also
/// counts the time in which the machine was suspended. Dropping it stops the renewals; [`KeptLease::end`] also gives back
/// what it holds.
#[derive(Debug)]
pub struct KeptLease {
    client: Client,
    id: Revision,
    deadline: Arc<AtomicU64>,
    state: watch::Receiver<State>,
    renewals: JoinHandle<()>,
}

/// What is known of the lease.
#[derive(Clone, Debug)]
enum State {
    Held(Arc<LeaseView>),
    Lost(LeaseLost),
}

impl Client {
    /// Asks for a lease, and keeps it alive.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn keep_lease(&self, request: &LeaseRequest) -> Result<KeptLease, ClientError> {
        let asked = running_ms();
        let lease = self.grant_lease(request).await?;
        let (id, holder) = (lease.id, lease.holder.clone());
        let deadline = Arc::new(AtomicU64::new(asked.saturating_add(request.ttl_ms)));
        let (sender, state) = watch::channel(State::Held(Arc::new(lease)));
        let keeper = Keeper {
            client: self.clone(),
            id,
            holder,
            ttl_ms: request.ttl_ms,
            deadline: Arc::clone(&deadline),
            renewed: asked,
            state: sender,
        };
        Ok(KeptLease {
            client: self.clone(),
            id,
            deadline,
            state,
            renewals: tokio::spawn(keeper.run()),
        })
    }
}

impl KeptLease {
    /// Names it in everything that is said about it.
    #[must_use]
    pub fn id(&self) -> Revision {
        self.id
    }

    /// For how long it is certain to be held from now on; nothing when it may have ended.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        if matches!(*self.state.borrow(), State::Lost(_)) {
            return Duration::ZERO;
        }
        let deadline = self.deadline.load(Ordering::Acquire);
        Duration::from_millis(deadline.saturating_sub(running_ms()))
    }

    /// Whether it is certain to be held now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// Waits until it is no longer certain to be held, and says why.
    pub async fn lost(&self) -> LeaseLost {
        let mut state = self.state.clone();
        let lost = state.wait_for(|state| matches!(state, State::Lost(_))).await;
        match lost.as_deref() {
            Ok(State::Lost(lost)) => lost.clone(),
            // The renewals ended without a word.
            Ok(State::Held(_)) | Err(_) => LeaseLost::NotRenewed { last: None },
        }
    }

    /// Waits until less than `margin` of it is certain, or it is lost, and says why: the time to stop what must not outlive
    /// it.
    pub async fn runs_short(&self, margin: Duration) -> LeaseLost {
        loop {
            let remaining = self.remaining();
            if remaining <= margin {
                return match &*self.state.borrow() {
                    State::Lost(lost) => lost.clone(),
                    State::Held(_) => LeaseLost::NotRenewed { last: None },
                };
            }
            let sleep = (remaining - margin).min(LONGEST_SLEEP);
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                lost = self.lost() => return lost,
            }
        }
    }

    /// Waits until the server, with a renewal, says that the lease does not hold this token any more; it may hold others. A
    /// lease that is lost says nothing of that: see [`KeptLease::lost`].
    pub async fn loses(&self, token: Revision) {
        let mut state = self.state.clone();
        let holds = |lease: &LeaseView| lease.holds.iter().any(|held| held.token == token);
        // What was known before the token was granted says nothing of it.
        let known = |lease: &LeaseView| lease.holds.iter().any(|held| held.token >= token);
        let mut seen = false;
        let gone = state.wait_for(|state| match state {
            State::Lost(_) => false,
            State::Held(lease) => {
                seen |= known(lease);
                seen && !holds(lease)
            }
        });
        if gone.await.is_err() {
            std::future::pending().await
        }
    }

    /// Ends it, with everything that it holds.
    ///
    /// # Errors
    /// As [`Client::revoke_lease`].
    pub async fn end(self) -> Result<(), ClientError> {
        self.renewals.abort();
        self.client.revoke_lease(self.id).await
    }
}

impl Drop for KeptLease {
    fn drop(&mut self) {
        self.renewals.abort();
    }
}

/// Renews the lease.
struct Keeper {
    client: Client,
    id: Revision,
    /// A server on other data may have given the id to somebody else.
    holder: Name,
    ttl_ms: u64,
    deadline: Arc<AtomicU64>,
    /// When the last renewal that succeeded was sent.
    renewed: u64,
    state: watch::Sender<State>,
}

impl Keeper {
    async fn run(mut self) {
        let lost = self.keep().await;
        self.state.send_replace(State::Lost(lost));
    }

    /// Until it is lost.
    async fn keep(&mut self) -> LeaseLost {
        let pause = Duration::from_millis(self.ttl_ms / 20).clamp(SHORTEST_PAUSE, LONGEST_SLEEP);
        let mut next = self.renewed + self.ttl_ms / 3;
        let mut last = None;
        loop {
            let (now, deadline) = (running_ms(), self.deadline.load(Ordering::Acquire));
            if now >= deadline {
                return LeaseLost::NotRenewed { last };
            }
            if now < next {
                let sleep = Duration::from_millis(next.min(deadline) - now);
                tokio::time::sleep(sleep.min(LONGEST_SLEEP)).await;
                continue;
            }
            match self.renew(Duration::from_millis(deadline - now)).await {
                Ok(false) => return LeaseLost::Ended,
                Ok(true) => {
                    last = None;
                    next = self.renewed + self.ttl_ms / 3;
                }
                Err(error) if error.code() == Some("lease-not-found") => return LeaseLost::Ended,
                Err(error) => {
                    last = Some(error.to_string());
                    next = running_ms() + u64::try_from(pause.as_millis()).unwrap_or(1_000);
                }
            }
        }
    }

    /// Whether it is still ours.
    async fn renew(&mut self, within: Duration) -> Result<bool, ClientError> {
        let sent = running_ms();
        // A try that takes too long leaves no time for another one.
        let patience = Duration::from_millis(self.ttl_ms / 3).min(within);
        let renewal = tokio::time::timeout(patience, self.client.renew_lease(self.id));
        let lease = renewal.await.map_err(|_| ClientError::Timeout {
            url: self.client.server().to_owned(),
            seconds: patience.as_secs(),
        })??;
        if lease.holder != self.holder {
            return Ok(false);
        }
        self.renewed = sent;
        self.deadline
            .fetch_max(sent.saturating_add(self.ttl_ms), Ordering::AcqRel);
        self.state.send_replace(State::Held(Arc::new(lease)));
        Ok(true)
    }
}
