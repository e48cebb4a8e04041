//! Watches: whoever follows a run hears of each of its events once it is durable, and whoever waits
//! for its end hears of that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot, watch};
use unisono_engine::Event;
use unisono_engine::codec::read_event_bytes;
use unisono_engine::orchestration::{Run, RunKey};
use unisono_model::api::OrchestrationState;
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;

use crate::feed::Feed;
use crate::fleets::Fleets;
use crate::outside::Noted;
use crate::partition::RunEvent;
use crate::waits::Waits;

/// Events that may wait for a slow follower; then its watch ends, and it follows again from the
/// last event that it has seen.
const MAX_BEHIND: usize = 1_024;

/// One event of a run that is followed.
pub(crate) type Followed = (Revision, Timestamp, Event);

/// Who follows which run.
#[derive(Default)]
pub(crate) struct Hub {
    followers: Mutex<FxHashMap<RunKey, Vec<mpsc::Sender<Followed>>>>,
    count: AtomicUsize,
    waiters: Mutex<Waiters>,
    /// Says that something was decided, and no more than that.
    pub(crate) decisions: watch::Sender<()>,
    /// What happens to values, locks and elections.
    pub(crate) feed: Feed,
    /// Who awaits a key, or a place in the queue of a lock.
    pub(crate) waits: Waits,
    /// Who watches an entity.
    pub(crate) fleets: Arc<Fleets>,
    /// Entities that may have something to ask or to tell.
    pub(crate) outside: Noted,
}

type Waiters = FxHashMap<(Name, Name), Vec<oneshot::Sender<OrchestrationState>>>;

/// Someone who waits for the end of a run, until this is dropped.
pub(crate) struct EndWaiter {
    hub: Arc<Hub>,
    run: (Name, Name),
    receiver: oneshot::Receiver<OrchestrationState>,
}

impl EndWaiter {
    /// The state in which the run has ended.
    pub(crate) async fn end(&mut self) -> Option<OrchestrationState> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for EndWaiter {
    fn drop(&mut self) {
        self.receiver.close();
        self.hub.stop_waiting(&self.run);
    }
}

impl Hub {
    /// The end of a run, if it comes from now on.
    pub(crate) fn wait_for_end(self: &Arc<Self>, namespace: &Name, id: &Name) -> EndWaiter {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.waiters();
        let of_run = waiters.entry((namespace.clone(), id.clone())).or_default();
        of_run.retain(|waiter| !waiter.is_closed());
        of_run.push(sender);
        drop(waiters);
        EndWaiter {
            hub: Arc::clone(self),
            run: (namespace.clone(), id.clone()),
            receiver,
        }
    }

    /// Nobody waits for the end of this run any more, unless someone else does.
    fn stop_waiting(&self, run: &(Name, Name)) {
        let mut waiters = self.waiters();
        if let Some(of_run) = waiters.get_mut(run) {
            of_run.retain(|waiter| !waiter.is_closed());
            if of_run.is_empty() {
                waiters.remove(run);
            }
        }
    }

    /// These runs have ended, durably.
    pub(crate) fn ended(&self, runs: &[Arc<Run>]) {
        if runs.is_empty() {
            return;
        }
        let mut waiters = self.waiters();
        for run in runs {
            if waiters.is_empty() {
                return;
            }
            let waiting = waiters.remove(&(run.namespace.clone(), run.id.clone()));
            for waiter in waiting.into_iter().flatten() {
                let _ = waiter.send(run.state);
            }
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        match self.waiters.lock() {
            Ok(waiters) => waiters,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Follows a run from now on. The stream ends when the follower is too slow.
    pub(crate) fn follow(&self, run: RunKey) -> mpsc::Receiver<Followed> {
        let (sender, receiver) = mpsc::channel(MAX_BEHIND);
        self.with(|followers| {
            let of_run = followers.entry(run).or_default();
            of_run.retain(|sender| !sender.is_closed());
            of_run.push(sender);
        });
        receiver
    }

    /// Tells the followers of durable events; `body` holds the events' bytes.
    pub(crate) fn publish(&self, events: &[RunEvent], body: &[u8]) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.with(|followers| {
            for event in events {
                let Some(senders) = followers.get_mut(&event.run) else {
                    continue;
                };
                // What was just written can be read.
                let Ok((at, read)) = read_event_bytes(&body[event.range.clone()]) else {
                    continue;
                };
                senders.retain(|sender| sender.try_send((event.revision, at, read.clone())).is_ok());
                if senders.is_empty() {
                    followers.remove(&event.run);
                }
            }
        });
    }

    /// How many follow a run, and how many wait for the end of one.
    pub(crate) fn watchers(&self) -> (usize, usize) {
        let followers = self.with(|followers| followers.values().map(Vec::len).sum());
        (followers, self.waiters().values().map(Vec::len).sum())
    }

    /// Forgets followers that have gone.
    pub(crate) fn sweep(&self) {
        self.with(|followers| {
            followers.retain(|_, senders| {
                senders.retain(|sender| !sender.is_closed());
                !senders.is_empty()
            });
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut FxHashMap<RunKey, Vec<mpsc::Sender<Followed>>>) -> T) -> T {
        let mut followers = match self.followers.lock() {
            Ok(followers) => followers,
            Err(poisoned) => poisoned.into_inner(),
        };
        let result = change(&mut followers);
        self.count.store(followers.len(), Ordering::Relaxed);
        result
    }
}
