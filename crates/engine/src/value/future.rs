//! Futures: promises of values, and how events change them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use rustc_hash::FxHashMap;
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::key::Key;
use unisono_model::name::Name;
use unisono_model::values::{FutureState, FutureView};

use super::awaits::Awaited;
use super::event::{Because, ValueEvent as E};
use super::state::Address;
use crate::clock::{Marks, Steady};
use crate::orchestration::RunKey;
use crate::payload::Payload;

/// A party's promise to give a key its value.
#[derive(Clone, Debug)]
pub struct Future {
    /// The event that declared it first; identifies it.
    pub(crate) id: Revision,
    /// The last event about it.
    pub revision: Revision,
    /// Where.
    pub namespace: Name,
    /// Which key.
    pub key: Key,
    /// Who promised.
    pub producer: Name,
    /// Which assignment this is, from 1.
    pub epoch: u32,
    /// Where it stands.
    pub state: FutureState,
    /// Since when.
    pub since: Timestamp,
    /// Why it is broken or has expired.
    pub reason: Option<String>,
    /// The JSON Schema of the value.
    pub schema: Option<Payload>,
    /// When the promise expires.
    pub(crate) deadline: Option<Steady>,
    /// The producer's lease.
    pub lease: Option<Revision>,
    /// The run whose activity is the producer.
    pub run: Option<RunKey>,
    /// The revision of the declaration that is in force.
    pub declared: Revision,
}

impl Future {
    pub(crate) fn is_pending(&self) -> bool {
        self.state == FutureState::Pending
    }

    /// What the API shows; `waiters` await it.
    #[must_use]
    pub fn view(&self, marks: &Marks, waiters: usize) -> FutureView {
        FutureView {
            key: self.key.clone(),
            producer: self.producer.clone(),
            epoch: self.epoch,
            state: self.state,
            since: self.since,
            reason: self.reason.clone(),
            schema: self
                .schema
                .as_ref()
                .map(|schema| unisono_model::api::JsonText(schema.to_raw())),
            expires_at: self
                .deadline
                .filter(|_| self.is_pending())
                .map(|deadline| marks.time(deadline)),
            lease: self.lease,
            revision: self.revision,
            waiters: waiters as u64,
        }
    }

    /// What those are told who await it; `None` while it may still have its value.
    #[must_use]
    pub fn settled(&self) -> Option<Awaited> {
        let producer = self.producer.clone();
        let reason = self.reason.clone().unwrap_or_default();
        match self.state {
            FutureState::Pending | FutureState::Kept => None,
            FutureState::Broken => Some(Awaited::Broken { producer, reason }),
            FutureState::Expired => Some(Awaited::Expired { producer, reason }),
        }
    }
}

/// The futures of a partition. All but the first table is derived.
#[derive(Debug, Default)]
pub(crate) struct Futures {
    declared: BTreeMap<Name, BTreeMap<Key, Future>>,
    ids: FxHashMap<Revision, Address>,
    deadlines: BTreeMap<(Steady, Revision), Address>,
    by_lease: FxHashMap<Revision, BTreeSet<Key>>,
    by_run: FxHashMap<RunKey, BTreeSet<Address>>,
    by_producer: FxHashMap<(Name, Name), BTreeSet<Key>>,
    pending: u64,
    /// Those that changed since the last checkpoint began.
    pub(crate) dirty: BTreeSet<Revision>,
}

impl Futures {
    pub(crate) fn get(&self, namespace: &Name, key: &Key) -> Option<&Future> {
        self.declared.get(namespace)?.get(key)
    }

    pub(crate) fn by_id(&self, id: Revision) -> Option<&Future> {
        let (namespace, key) = self.ids.get(&id)?;
        self.get(namespace, key)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Future> {
        self.declared.values().flat_map(BTreeMap::values)
    }

    /// The futures of a namespace whose keys begin with `prefix` and come after `after`.
    pub(crate) fn range<'a>(
        &'a self,
        namespace: &Name,
        prefix: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Future> + use<'a> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let space = self.declared.get(namespace);
        let futures = space.map(|space| space.range::<str, _>((from, Bound::Unbounded)));
        futures
            .into_iter()
            .flatten()
            .map(|(_, future)| future)
            .take_while(move |future| future.key.starts_with(prefix))
    }

    pub(crate) fn pending(&self) -> u64 {
        self.pending
    }

    pub(crate) fn next_deadline(&self) -> Option<Steady> {
        self.deadlines.keys().next().map(|(deadline, _)| *deadline)
    }

    /// The pending futures whose time is over.
    pub(crate) fn due(&self, now: Steady) -> impl Iterator<Item = &Address> {
        let due = self.deadlines.iter().take_while(move |((at, _), _)| *at <= now);
        due.map(|(_, address)| address)
    }

    /// The pending futures whose producer has a lease.
    pub(crate) fn of_lease(&self, lease: Revision) -> impl Iterator<Item = &Key> {
        self.by_lease.get(&lease).into_iter().flatten()
    }

    /// The pending futures whose producer is an activity of a run.
    pub(crate) fn of_run(&self, run: RunKey) -> impl Iterator<Item = &Address> {
        self.by_run.get(&run).into_iter().flatten()
    }

    /// What a party has promised and not given.
    pub(crate) fn of_producer(&self, namespace: &Name, producer: &Name) -> impl Iterator<Item = &Key> + Clone {
        let keys = self.by_producer.get(&(namespace.clone(), producer.clone()));
        keys.into_iter().flatten()
    }

    /// The key has its value.
    pub(crate) fn kept(&mut self, address: (&Name, &Key), (revision, at): (Revision, Timestamp)) -> Option<Awaited> {
        self.settle(address, (revision, at), FutureState::Kept, None, Future::is_pending)
    }

    /// The key has no value any more.
    pub(crate) fn value_gone(
        &mut self,
        address: (&Name, &Key),
        moment: (Revision, Timestamp),
        because: Because,
        who: Option<&str>,
    ) -> Option<Awaited> {
        let (state, reason) = match because {
            Because::Expired => (FutureState::Expired, "its value has expired".to_owned()),
            Because::LeaseEnded => (FutureState::Expired, "its value went with its lease".to_owned()),
            Because::Asked | Because::NewEpoch => {
                let who = who.unwrap_or("somebody");
                (FutureState::Broken, format!("its value was deleted by {who}"))
            }
        };
        let kept = |future: &Future| future.state == FutureState::Kept;
        self.settle(address, moment, state, Some(reason), kept)
    }

    /// Folds the events that are about nothing else.
    pub(crate) fn evolve(&mut self, moment: (Revision, Timestamp), event: &E) -> Option<Awaited> {
        match event {
            E::Declared { .. } => {
                self.declare(moment, event);
                None
            }
            E::Broken {
                namespace, key, reason, ..
            } => {
                let reason = Some(reason.clone());
                self.settle(
                    (namespace, key),
                    moment,
                    FutureState::Broken,
                    reason,
                    Future::is_pending,
                )
            }
            E::PromiseExpired { namespace, key } => {
                let reason = Some("its producer did not give it a value in time".to_owned());
                self.settle(
                    (namespace, key),
                    moment,
                    FutureState::Expired,
                    reason,
                    Future::is_pending,
                )
            }
            E::Withdrawn { namespace, key, actor } => self.withdraw((namespace, key), moment, actor.as_deref()),
            E::Put { .. } | E::Deleted { .. } | E::Forgotten { .. } => None,
        }
    }

    fn declare(&mut self, (revision, at): (Revision, Timestamp), event: &E) {
        let E::Declared {
            namespace,
            key,
            producer,
            epoch,
            schema,
            deadline,
            lease,
            run,
            actor: _,
        } = event
        else {
            return;
        };
        let known = self.get(namespace, key);
        if known.is_some_and(|known| known.revision >= revision) {
            return;
        }
        let id = known.map_or(revision, |known| known.id);
        self.insert(Future {
            id,
            revision,
            namespace: namespace.clone(),
            key: key.clone(),
            producer: producer.clone(),
            epoch: *epoch,
            state: FutureState::Pending,
            since: at,
            reason: None,
            schema: schema.clone(),
            deadline: deadline.map(Steady),
            lease: lease.map(Revision),
            run: run.map(RunKey),
            declared: revision,
        });
        self.dirty.insert(id);
    }

    fn settle(
        &mut self,
        (namespace, key): (&Name, &Key),
        (revision, at): (Revision, Timestamp),
        state: FutureState,
        reason: Option<String>,
        applies: impl Fn(&Future) -> bool,
    ) -> Option<Awaited> {
        let known = self.get(namespace, key)?;
        if known.revision >= revision || !applies(known) {
            return None;
        }
        let future = Future {
            state,
            reason,
            since: at,
            revision,
            ..known.clone()
        };
        let outcome = future.settled();
        self.dirty.insert(future.id);
        self.insert(future);
        outcome
    }

    fn withdraw(
        &mut self,
        (namespace, key): (&Name, &Key),
        (revision, _): (Revision, Timestamp),
        actor: Option<&str>,
    ) -> Option<Awaited> {
        if self.get(namespace, key)?.revision >= revision {
            return None;
        }
        let future = self.remove(namespace, key)?;
        self.dirty.insert(future.id);
        future.is_pending().then(|| Awaited::Broken {
            producer: future.producer,
            reason: format!("the promise was withdrawn by {}", actor.unwrap_or("somebody")),
        })
    }

    fn remove(&mut self, namespace: &Name, key: &Key) -> Option<Future> {
        let space = self.declared.get_mut(namespace)?;
        let future = space.remove(key)?;
        if space.is_empty() {
            self.declared.remove(namespace);
        }
        self.ids.remove(&future.id);
        if future.is_pending() {
            self.pending -= 1;
            self.unlink(&future);
        }
        Some(future)
    }

    fn unlink(&mut self, future: &Future) {
        let producer = (future.namespace.clone(), future.producer.clone());
        if let Some(keys) = self.by_producer.get_mut(&producer) {
            keys.remove(&future.key);
            if keys.is_empty() {
                self.by_producer.remove(&producer);
            }
        }
        if let Some(deadline) = future.deadline {
            self.deadlines.remove(&(deadline, future.id));
        }
        if let Some(lease) = future.lease
            && let Some(keys) = self.by_lease.get_mut(&lease)
        {
            keys.remove(&future.key);
            if keys.is_empty() {
                self.by_lease.remove(&lease);
            }
        }
        if let Some(run) = future.run
            && let Some(addresses) = self.by_run.get_mut(&run)
        {
            addresses.remove(&(future.namespace.clone(), future.key.clone()));
            if addresses.is_empty() {
                self.by_run.remove(&run);
            }
        }
    }

    pub(crate) fn insert(&mut self, future: Future) {
        let address = (future.namespace.clone(), future.key.clone());
        self.remove(&address.0, &address.1);
        self.ids.insert(future.id, address.clone());
        if future.is_pending() {
            self.pending += 1;
            let producer = (future.namespace.clone(), future.producer.clone());
            self.by_producer.entry(producer).or_default().insert(future.key.clone());
            if let Some(deadline) = future.deadline {
                self.deadlines.insert((deadline, future.id), address.clone());
            }
            if let Some(lease) = future.lease {
                self.by_lease.entry(lease).or_default().insert(future.key.clone());
            }
            if let Some(run) = future.run {
                self.by_run.entry(run).or_default().insert(address.clone());
            }
        }
        self.declared.entry(address.0).or_default().insert(address.1, future);
    }

    /// Puts back what a checkpoint kept. Of two rows for a key, the one that was declared later counts.
    pub(crate) fn load(&mut self, future: Future) {
        let known = self.get(&future.namespace, &future.key).map(|known| known.id);
        self.dirty.extend(known.map(|known| known.min(future.id)));
        if known.is_none_or(|known| known <= future.id) {
            self.insert(future);
        }
    }
}
