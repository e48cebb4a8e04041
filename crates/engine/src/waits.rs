//! Who waits for whom: where awaited values, locks and those who wait for them meet.
//!
//! A party that awaits a declared future waits for its producer. One whose lease stands in the queue of a lock waits for the
//! parties that have to be gone before its turn comes: those that hold the lock, and those before it in the queue. Of a
//! semaphore's, all but as many as there are permits, less one, may stay.
//!
//! Whoever waits gives nothing, and leaves nothing, until it has all that it waits for. A wait that would never end because
//! of that is refused to whoever begins it, with a whole cycle, the moment that it would. Nobody waits for ever otherwise: a
//! grant makes nobody wait who did not before, since those behind waited already for who has it now.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use unisono_model::ids::Revision;
use unisono_model::key::Key;
use unisono_model::name::Name;
use unisono_model::values::WaitStep;

use crate::State;
use crate::lease::{BEHIND_ALL, HELD, LockAddress, Mode};

/// The cycle that closes when a party awaits a key, if any.
pub(crate) fn cycle_of_await(state: &State, namespace: &Name, key: &Key, party: &Name) -> Option<Vec<WaitStep>> {
    let added = Added::Await { party, key };
    Graph {
        state,
        namespace,
        added,
    }
    .cycle(party)
}

/// The cycle that closes when a party is to produce the value of a key, if any. It begins with who waits for that value.
pub(crate) fn cycle_of_producer(state: &State, namespace: &Name, key: &Key, producer: &Name) -> Option<Vec<WaitStep>> {
    state.values.awaits.parties_of(namespace, key).next()?;
    let added = Added::Producer { producer, key };
    let mut cycle = Graph {
        state,
        namespace,
        added,
    }
    .cycle(producer)?;
    cycle.rotate_right(1);
    Some(cycle)
}

/// The cycle that closes when a lease waits for a lock, if any.
pub(crate) fn cycle_of_lock(state: &State, lock: &LockAddress, lease: Revision, mode: Mode) -> Option<Vec<WaitStep>> {
    let party = state.leases.get(lease)?.party.as_ref()?;
    let namespace = &lock.namespace;
    let added = Added::Place { party, lock, mode };
    Graph {
        state,
        namespace,
        added,
    }
    .cycle(party)
}

/// What is to be added to the graph, if it closes no cycle.
enum Added<'a> {
    Await {
        party: &'a Name,
        key: &'a Key,
    },
    Producer {
        producer: &'a Name,
        key: &'a Key,
    },
    Place {
        party: &'a Name,
        lock: &'a LockAddress,
        mode: Mode,
    },
}

/// What a party waits for.
enum Wait<'a> {
    Value {
        key: &'a Key,
        producer: &'a Name,
    },
    Lock {
        lock: &'a LockAddress,
        /// Those whose turn is before this have to be gone: see [`crate::lease::Lock::before`].
        before: Revision,
        /// So many of them may stay.
        spare: usize,
    },
}

impl fmt::Display for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { key, .. } => write!(f, "value {key}"),
            Self::Lock { lock, .. } => write!(f, "{} {}", lock.family().as_str(), lock.name),
        }
    }
}

/// The parties of a namespace, and what they wait for. Nothing of it is kept.
struct Graph<'a> {
    state: &'a State,
    namespace: &'a Name,
    added: Added<'a>,
}

impl<'a> Graph<'a> {
    /// The way from a party back to itself, when what is added makes it wait for ever.
    fn cycle(&self, party: &Name) -> Option<Vec<WaitStep>> {
        if !self.is_waited_for(party) {
            return None;
        }
        let reached = self.search(party, None);
        if !reached.contains_key(party) {
            return None;
        }
        let stuck = self.stuck(reached.into_keys().collect(), party)?;
        way_back(&self.search(party, Some(&stuck)), party)
    }

    /// Whether anybody may wait for a party: most who begin to wait are in nobody's way, and that is quickly seen.
    fn is_waited_for(&self, party: &Name) -> bool {
        let State { leases, values, .. } = self.state;
        let mut places = leases.places_of(self.namespace, party);
        let mut promised = values.futures.of_producer(self.namespace, party);
        match self.added {
            Added::Producer { .. } => true,
            Added::Await { key, .. } if promised.clone().any(|it| it == key) => true,
            Added::Place { lock, .. } if places.clone().any(|(it, _)| it == lock) => true,
            _ => {
                places.any(|(lock, at)| leases.lock(lock).is_some_and(|lock| lock.is_waited_for(at)))
                    || promised.any(|key| values.awaits.parties_of(self.namespace, key).next().is_some())
            }
        }
    }

    fn waits_of(&self, party: &Name) -> Vec<Wait<'a>> {
        let State { leases, values, .. } = self.state;
        let mut keys: Vec<&Key> = values.awaits.of_party(self.namespace, party).collect();
        let places = leases.places_of(self.namespace, party);
        let mut waits: Vec<Wait<'_>> = places.filter_map(|(lock, at)| self.wait_of_place(lock, at)).collect();
        match self.added {
            Added::Await { party: who, key } if who == party => keys.push(key),
            Added::Place { party: who, lock, mode } if who == party => {
                waits.extend(self.wait_for_lock(lock, BEHIND_ALL, mode));
            }
            _ => {}
        }
        waits.extend(keys.into_iter().filter_map(|key| self.wait_for_value(key)));
        waits
    }

    fn wait_for_value(&self, key: &'a Key) -> Option<Wait<'a>> {
        if let Added::Producer {
            producer,
            key: promised,
        } = self.added
            && promised == key
        {
            return Some(Wait::Value { key, producer });
        }
        let future = self.state.values.futures.get(self.namespace, key)?;
        let producer = &future.producer;
        future.is_pending().then_some(Wait::Value { key, producer })
    }

    /// What a lease waits for that has this of a lock; `None` when it holds it.
    fn wait_of_place(&self, lock: &'a LockAddress, at: Revision) -> Option<Wait<'a>> {
        let mode = self.state.leases.lock(lock)?.queue.get(&at)?.mode;
        self.wait_for_lock(lock, at, mode)
    }

    fn wait_for_lock(&self, lock: &'a LockAddress, at: Revision, mode: Mode) -> Option<Wait<'a>> {
        Some(Wait::Lock {
            lock,
            before: self.state.leases.lock(lock)?.before(at, mode),
            spare: mode.permits().map_or(0, |of| of as usize).saturating_sub(1),
        })
    }

    /// The parties at the places of a lock, in the order of their turn.
    fn parties(
        &self,
        lock: &LockAddress,
        (from, before): (Revision, Revision),
    ) -> impl Iterator<Item = (Revision, &'a Name)> + use<'a> {
        let leases = &self.state.leases;
        let places = leases.lock(lock).map(|lock| lock.turns(from, before));
        let places = places.into_iter().flatten();
        places.filter_map(|(at, lease)| Some((at, leases.get(lease)?.party.as_ref()?)))
    }

    /// The parties that can be reached from one, and the step by which each was reached first: of all waits, or of those
    /// that never end. Each place of a lock is looked at once: it does not matter from which of those behind it.
    fn search(&self, begin: &Name, stuck: Option<&Stuck<'_>>) -> BTreeMap<Name, WaitStep> {
        let mut reached = BTreeMap::new();
        let mut seen: BTreeMap<&LockAddress, Revision> = BTreeMap::new();
        let mut open = VecDeque::from([begin.clone()]);
        while let Some(party) = open.pop_front() {
            for wait in self.waits_of(&party) {
                if stuck.is_some_and(|stuck| !stuck.holds_up(&wait)) {
                    continue;
                }
                let waits_for = wait.to_string();
                let mut step = |held_by: &Name, queued: bool| {
                    let leads = stuck.is_none_or(|stuck| stuck.parties.contains(held_by));
                    if leads && !reached.contains_key(held_by) {
                        let step = WaitStep {
                            party: party.clone(),
                            waits_for: waits_for.clone(),
                            held_by: held_by.clone(),
                            queued,
                        };
                        reached.insert(held_by.clone(), step);
                        open.push_back(held_by.clone());
                    }
                };
                match wait {
                    Wait::Value { producer, .. } => step(producer, false),
                    Wait::Lock { lock, before, .. } => {
                        let from = seen.get(lock).copied().unwrap_or(HELD);
                        for (turn, other) in self.parties(lock, (from, before)) {
                            step(other, turn > HELD);
                        }
                        seen.insert(lock, from.max(before));
                    }
                }
            }
        }
        reached
    }

    /// Those among some parties that wait for ever, if one of them does: who can go on is left out, and then who can go on
    /// because of that. A cycle through a semaphore alone is no reason to wait for ever: somebody else may give a permit back.
    fn stuck(&self, mut parties: BTreeSet<Name>, one: &Name) -> Option<Stuck<'a>> {
        while parties.contains(one) {
            let stuck = Stuck {
                points: self.turning_points(&parties),
                parties,
            };
            let goes_on = |party: &&Name| !self.waits_of(party).iter().any(|wait| stuck.holds_up(wait));
            let free: Vec<Name> = stuck.parties.iter().filter(goes_on).cloned().collect();
            if free.is_empty() {
                return Some(stuck);
            }
            parties = stuck.parties;
            parties.retain(|party| free.binary_search(party).is_err());
        }
        None
    }

    /// Of each lock that such parties wait for, the turn after which none comes when they stay where they are.
    fn turning_points(&self, parties: &BTreeSet<Name>) -> BTreeMap<&'a LockAddress, Option<Revision>> {
        let mut points = BTreeMap::new();
        for wait in parties.iter().flat_map(|party| self.waits_of(party)) {
            if let Wait::Lock { lock, spare, .. } = wait {
                points.entry(lock).or_insert_with(|| {
                    let places = self.parties(lock, (HELD, BEHIND_ALL));
                    let mut stay = places.filter(|(_, party)| parties.contains(*party));
                    stay.nth(spare).map(|(turn, _)| turn)
                });
            }
        }
        points
    }
}

/// Parties that wait for ever.
struct Stuck<'a> {
    parties: BTreeSet<Name>,
    /// Of locks, the turn after which none comes.
    points: BTreeMap<&'a LockAddress, Option<Revision>>,
}

impl Stuck<'_> {
    fn holds_up(&self, wait: &Wait<'_>) -> bool {
        match wait {
            Wait::Value { producer, .. } => self.parties.contains(*producer),
            Wait::Lock { lock, before, .. } => {
                let point = self.points.get(lock).copied().flatten();
                point.is_some_and(|point| point < *before)
            }
        }
    }
}

/// The way by which a party was reached from itself.
fn way_back(reached: &BTreeMap<Name, WaitStep>, party: &Name) -> Option<Vec<WaitStep>> {
    let mut way = vec![reached.get(party)?.clone()];
    while let Some(step) = way.last().filter(|step| step.party != *party) {
        let before = reached.get(&step.party)?.clone();
        way.push(before);
    }
    way.reverse();
    Some(way)
}
