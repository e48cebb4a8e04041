//! What goes out to others by itself: calls that rollouts ask for, and the history for its subscribers.
//!
//! What is to be asked and told stands in the engine's state, and so does what has become of it. So this looks there
//! whenever something durable was decided about an entity, and at everything after a start; it keeps in memory only what
//! is under way. Answers and receipts are commands like those of everybody else. A server that is killed asks and tells
//! again, with the same keys.

mod activity;
mod call;
mod caller;
mod courier;
mod local;
mod measure;
mod noted;
mod secrets;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use unisono_engine::State;
use unisono_engine::rollout::{Fleet, OpenCall};
use unisono_model::name::Name;
use unisono_model::rollout::EntityName;

use crate::api::Api;
use crate::partition::Unavailable;

pub(crate) use caller::{Caller, refuse_own};
pub use local::{LocalControllers, MonitoringController, Said, TargetController};
pub(crate) use noted::Noted;
pub(crate) use secrets::NoSecrets;
pub use secrets::{SecretError, ServerSecrets};

/// An entity: where it is, and its name.
pub(crate) type At = (Name, EntityName);

/// The pause when the partition does not answer.
const LATER: Duration = Duration::from_secs(1);
/// The pause between two looks, so that much that is decided is looked at together.
const TOGETHER: Duration = Duration::from_millis(5);
/// Entities that are looked at in one turn of the deciding thread.
const AT_ONCE: usize = 256;

/// Runs until the node stops.
pub(crate) async fn run(api: Api) {
    let mut desk = Desk {
        api: Arc::clone(&api),
        calls: FxHashMap::default(),
        couriers: FxHashMap::default(),
        tasks: JoinSet::new(),
    };
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = api.stopping.cancelled() => return,
            Some(ended) = desk.tasks.join_next() => desk.ended(ended),
            () = due(&api.hub.outside, pause) => {
                pause = match desk.look().await {
                    Ok(()) => TOGETHER,
                    Err(_) => LATER,
                };
            }
        }
    }
}

async fn due(noted: &Noted, pause: Duration) {
    tokio::time::sleep(pause).await;
    noted.changed().await;
}

/// What has ended.
enum Ended {
    Call,
    /// Nothing was left to be told when it looked.
    Courier(At),
}

/// What is under way.
struct Desk {
    api: Api,
    /// By entity and call: which try, and its task.
    calls: FxHashMap<At, FxHashMap<u64, (u32, AbortHandle)>>,
    couriers: FxHashMap<(At, Name), (Arc<Notify>, AbortHandle)>,
    tasks: JoinSet<Ended>,
}

/// What an entity asks for.
struct Seen {
    at: At,
    /// Calls that are not made yet.
    new: Vec<OpenCall>,
    /// All that wait for an answer, and which try that is.
    under_way: FxHashMap<u64, u32>,
    /// Subscribers with something to receive.
    unsent: Vec<Name>,
}

impl Seen {
    fn of(fleet: &Fleet, at: At, known: &FxHashMap<u64, u32>) -> Self {
        Self {
            at,
            new: fleet.calls_to_make(|id, attempt| known.get(&id) == Some(&attempt)),
            under_way: fleet.calls_under_way().collect(),
            unsent: fleet.unsent().map(|it| it.name.clone()).collect(),
        }
    }
}

/// The entities that ask for anything.
fn busy(state: &State) -> Vec<At> {
    let asks = |it: &&Fleet| it.calls_under_way().next().is_some() || it.unsent().next().is_some();
    let busy = state.rollouts().all().filter(asks);
    busy.map(|it| (it.namespace().clone(), it.name().clone())).collect()
}

impl Desk {
    /// Looks at what has changed.
    async fn look(&mut self) -> Result<(), Unavailable> {
        let (mut changed, everywhere) = self.api.hub.outside.take();
        if everywhere {
            match self.api.partition.query(busy).await {
                Ok(busy) => changed.extend(busy.into_iter().chain(self.calls.keys().cloned())),
                Err(error) => {
                    self.api.hub.outside.everywhere();
                    return Err(error);
                }
            }
        }
        let mut left: Vec<At> = changed.into_iter().collect();
        while !left.is_empty() {
            let some = left.split_off(left.len().saturating_sub(AT_ONCE));
            if let Err(error) = self.look_at(some.clone()).await {
                self.api.hub.outside.all(left.into_iter().chain(some));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn look_at(&mut self, some: Vec<At>) -> Result<(), Unavailable> {
        let known = some.into_iter().map(|at| {
            let calls = self.calls.get(&at).into_iter().flatten();
            let known: FxHashMap<u64, u32> = calls.map(|(id, (attempt, _))| (*id, *attempt)).collect();
            (at, known)
        });
        let known: Vec<(At, FxHashMap<u64, u32>)> = known.collect();
        let read = move |state: &State| -> Vec<Seen> {
            let fleets = known.into_iter().filter_map(|(at, known)| {
                let fleet = state.rollouts().get(&at.0, &at.1)?;
                Some(Seen::of(fleet, at, &known))
            });
            fleets.collect()
        };
        for seen in self.api.partition.query(read).await? {
            self.follow(seen);
        }
        Ok(())
    }

    /// Makes new calls, gives up those that nobody waits for any more, and sends couriers.
    fn follow(&mut self, seen: Seen) {
        let Seen {
            at,
            new,
            under_way,
            unsent,
        } = seen;
        if let Some(calls) = self.calls.get_mut(&at) {
            calls.retain(|id, (attempt, task)| {
                let waits = under_way.get(id) == Some(attempt);
                if !waits {
                    task.abort();
                }
                waits
            });
            if calls.is_empty() && new.is_empty() {
                self.calls.remove(&at);
            }
        }
        for call in new {
            let (id, attempt) = (call.view.id, call.view.attempt);
            let (api, of) = (Arc::clone(&self.api), at.clone());
            let task = self.tasks.spawn(async move {
                call::make(&api, of, call).await;
                Ended::Call
            });
            self.calls.entry(at.clone()).or_default().insert(id, (attempt, task));
        }
        for subscriber in unsent {
            self.send(&at, subscriber);
        }
    }

    /// There is something for a subscriber: its courier looks again, or one begins.
    fn send(&mut self, at: &At, subscriber: Name) {
        let key = (at.clone(), subscriber);
        if let Some((wake, task)) = self.couriers.get(&key)
            && !task.is_finished()
        {
            wake.notify_one();
            return;
        }
        let (wake, api) = (Arc::<Notify>::default(), Arc::clone(&self.api));
        let (again, (of, subscriber)) = (Arc::clone(&wake), key.clone());
        let task = self.tasks.spawn(async move {
            courier::run(&api, &of, &subscriber, &again).await;
            Ended::Courier(of)
        });
        self.couriers.insert(key, (wake, task));
    }

    fn ended(&mut self, ended: Result<Ended, JoinError>) {
        match ended {
            Ok(Ended::Call) => {}
            Ok(Ended::Courier(at)) => {
                self.couriers.retain(|_, (_, task)| !task.is_finished());
                // Something may have come when it had looked for the last time.
                self.api.hub.outside.all([at]);
            }
            Err(error) if error.is_cancelled() => {}
            Err(error) => tracing::error!("a call or a delivery of a rollout panicked: {error}"),
        }
    }
}

/// Entities, each once.
type Entities = FxHashSet<At>;
