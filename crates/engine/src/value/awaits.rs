//! Who awaits which key.
//!
//! An await lives as long as the connection that it came on. So it is no fact: no event tells of it, no checkpoint keeps
//! it, and folding the journal leads to a state that nobody awaits anything of.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use unisono_model::ids::Timestamp;
use unisono_model::key::Key;
use unisono_model::name::Name;
use unisono_model::values::WaiterView;

use super::state::Address;
use super::stored::Shown;
use crate::{Effect, Effects};

/// An await, numbered by the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AwaitId(pub u64);

/// Somebody awaits a key.
#[derive(Clone, Debug)]
pub struct Await {
    /// Names it.
    pub id: AwaitId,
    /// Where.
    pub namespace: Name,
    /// Which key.
    pub key: Key,
    /// The party, if it said which.
    pub party: Option<Name>,
    /// Who it is, in words.
    pub who: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when at most.
    pub until: Option<Timestamp>,
}

/// What an await led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The value.
    Value(Box<Shown>),
    /// Its producer failed or withdrew.
    Broken {
        /// The producer.
        producer: Name,
        /// Why.
        reason: String,
    },
    /// The time of the promise, or of the value, is over.
    Expired {
        /// The producer.
        producer: Name,
        /// What is over.
        reason: String,
    },
}

/// Those who await a key.
#[derive(Debug, Default)]
pub struct Awaits {
    open: FxHashMap<AwaitId, Await>,
    by_key: FxHashMap<Address, BTreeSet<AwaitId>>,
    by_party: FxHashMap<(Name, Name), BTreeSet<AwaitId>>,
}

impl Awaits {
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn is_awaited(&self, namespace: &Name, key: &Key) -> bool {
        !self.by_key.is_empty() && self.by_key.contains_key(&(namespace.clone(), key.clone()))
    }

    pub(crate) fn add(&mut self, it: Await) {
        let key = (it.namespace.clone(), it.key.clone());
        self.by_key.entry(key).or_default().insert(it.id);
        if let Some(party) = it.party.clone() {
            let party = (it.namespace.clone(), party);
            self.by_party.entry(party).or_default().insert(it.id);
        }
        self.open.insert(it.id, it);
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn remove(&mut self, id: AwaitId) {
        let Some(it) = self.open.remove(&id) else {
            return;
        };
        let key = (it.namespace.clone(), it.key);
        if let Some(ids) = self.by_key.get_mut(&key) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_key.remove(&key);
            }
        }
        self.leave_party(id, it.namespace, it.party);
    }

    fn leave_party(&mut self, id: AwaitId, namespace: Name, party: Option<Name>) {
        let Some(party) = party.map(|party| (namespace, party)) else {
            return;
        };
        if let Some(ids) = self.by_party.get_mut(&party) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_party.remove(&party);
            }
        }
    }

    /// All who await the key have their answer.
    pub(crate) fn resolve(&mut self, namespace: &Name, key: &Key, outcome: Awaited, effects: &mut Effects) {
        if self.by_key.is_empty() {
            return;
        }
        let Some(ids) = self.by_key.remove(&(namespace.clone(), key.clone())) else {
            return;
        };
        for id in &ids {
            if let Some(it) = self.open.remove(id) {
                self.leave_party(*id, it.namespace, it.party);
            }
        }
        effects.push(Effect::Awaited {
            ids: ids.into_iter().collect(),
            outcome: Arc::new(outcome),
        });
    }

    /// The keys that a party awaits.
    pub(crate) fn of_party(&self, namespace: &Name, party: &Name) -> impl Iterator<Item = &Key> {
        let ids = self.by_party.get(&(namespace.clone(), party.clone()));
        ids.into_iter()
            .flatten()
            .filter_map(|id| self.open.get(id))
            .map(|it| &it.key)
    }

    /// The parties that await a key.
    pub(crate) fn parties_of(&self, namespace: &Name, key: &Key) -> impl Iterator<Item = &Name> {
        let ids = self.by_key.get(&(namespace.clone(), key.clone()));
        ids.into_iter()
            .flatten()
            .filter_map(|id| self.open.get(id)?.party.as_ref())
    }

    pub(crate) fn count_of(&self, namespace: &Name, key: &Key) -> usize {
        let key = (namespace.clone(), key.clone());
        self.by_key.get(&key).map_or(0, BTreeSet::len)
    }

    /// Up to so many of those who await a key, who came first first.
    pub(crate) fn of_key(&self, namespace: &Name, key: &Key, most: usize) -> Vec<WaiterView> {
        let ids = self.by_key.get(&(namespace.clone(), key.clone()));
        ids.into_iter()
            .flatten()
            .filter_map(|id| self.open.get(id))
            .take(most)
            .map(|it| WaiterView {
                key: it.key.clone(),
                party: it.party.clone(),
                who: it.who.clone(),
                since: it.since,
                until: it.until,
            })
            .collect()
    }
}
