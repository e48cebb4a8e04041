//! A lock or an election: who holds it, and who is next.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::leases::{LockFamily, StealEntry};
use unisono_model::name::Name;

use super::event::Mode;
use crate::clock::Steady;
use crate::payload::Payload;

/// Times that a lock was taken by force which are kept.
const KEPT_STEALS: usize = 16;

/// The turn of those who hold a lock; the others' is their ticket.
pub(crate) const HELD: Revision = Revision(0);
/// The turn of who comes now.
pub(crate) const BEHIND_ALL: Revision = Revision(u64::MAX);

/// Names a lock or an election.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct LockAddress {
    /// Where.
    #[cbor(n(0), with = "crate::payload::name")]
    pub namespace: Name,
    /// Whether it is an election.
    #[n(1)]
    pub election: bool,
    /// Its name.
    #[cbor(n(2), with = "crate::payload::name")]
    pub name: Name,
}

impl LockAddress {
    /// A lock.
    #[must_use]
    pub fn lock(namespace: Name, name: Name) -> Self {
        Self {
            namespace,
            election: false,
            name,
        }
    }

    /// An election.
    #[must_use]
    pub fn election(namespace: Name, name: Name) -> Self {
        Self {
            namespace,
            election: true,
            name,
        }
    }

    /// Whether it is a lock or an election.
    #[must_use]
    pub fn family(&self) -> LockFamily {
        if self.election {
            LockFamily::Election
        } else {
            LockFamily::Lock
        }
    }
}

/// A lease that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) lease: Revision,
    pub(crate) mode: Mode,
    pub(crate) since: Timestamp,
    /// What the leader has proclaimed.
    pub(crate) value: Option<Payload>,
}

/// A lease that waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) lease: Revision,
    pub(crate) mode: Mode,
    pub(crate) since: Timestamp,
    pub(crate) deadline: Option<Steady>,
    pub(crate) value: Option<Payload>,
}

/// What a lease has of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It holds it, under this token.
    Holds(Revision, Mode),
    /// It waits, with this ticket.
    Waits(Revision, Mode),
}

/// A lock or an election that somebody holds, or waits for, or that was taken by force.
#[derive(Clone, Debug)]
pub struct Lock {
    /// The event that made it; identifies it.
    pub(crate) id: Revision,
    /// The last event about it.
    pub revision: Revision,
    /// By token.
    pub(crate) holders: BTreeMap<Revision, Hold>,
    /// By ticket, which is the order of service.
    pub(crate) queue: BTreeMap<Revision, Waiting>,
    /// The tickets of those who will hold it alone; derived.
    writers: BTreeSet<Revision>,
    pub(crate) steals: Vec<StealEntry>,
}

impl Lock {
    pub(crate) fn new(id: Revision) -> Self {
        Self {
            id,
            revision: Revision(0),
            holders: BTreeMap::new(),
            queue: BTreeMap::new(),
            writers: BTreeSet::new(),
            steals: Vec::new(),
        }
    }

    pub(crate) fn join(&mut self, ticket: Revision, waiting: Waiting) {
        if waiting.mode == Mode::Exclusive {
            self.writers.insert(ticket);
        }
        self.queue.insert(ticket, waiting);
    }

    pub(crate) fn quit(&mut self, ticket: Revision) -> Option<Waiting> {
        self.writers.remove(&ticket);
        self.queue.remove(&ticket)
    }

    /// Whether nobody has anything of it, and nothing is to be remembered.
    pub(crate) fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty() && self.steals.is_empty()
    }

    /// What stands at a token or a ticket.
    pub(crate) fn place(&self, at: Revision) -> Option<Place> {
        match (self.holders.get(&at), self.queue.get(&at)) {
            (Some(hold), _) => Some(Place::Holds(at, hold.mode)),
            (None, Some(waiting)) => Some(Place::Waits(at, waiting.mode)),
            (None, None) => None,
        }
    }

    /// How those who hold it, or wait for it, do that.
    pub(crate) fn mode(&self) -> Option<Mode> {
        let holds = self.holders.values().map(|hold| hold.mode);
        holds.chain(self.queue.values().map(|waiting| waiting.mode)).next()
    }

    /// Who is granted the lock once those are gone who leave: in the order of the queue, until one does not fit.
    pub(crate) fn next<'a>(
        &'a self,
        leaves: &'a dyn Fn(Revision) -> bool,
    ) -> impl Iterator<Item = (Revision, &'a Waiting)> + use<'a> {
        let mut held = Held::default();
        for hold in self.holders.values().filter(|hold| !leaves(hold.lease)) {
            held.add(hold.mode);
        }
        let stays = self.queue.iter().filter(|(_, waiting)| !leaves(waiting.lease));
        stays.map_while(move |(ticket, waiting)| {
            if !held.admits(waiting.mode) {
                return None;
            }
            held.add(waiting.mode);
            Some((*ticket, waiting))
        })
    }

    /// Whether somebody who comes now is granted the lock at once.
    pub(crate) fn admits(&self, mode: Mode) -> bool {
        let mut held = Held::default();
        for hold in self.holders.values() {
            held.add(hold.mode);
        }
        self.queue.is_empty() && held.admits(mode)
    }

    /// Whether anybody stands behind a token or a ticket.
    pub(crate) fn is_waited_for(&self, at: Revision) -> bool {
        let turn = if self.holders.contains_key(&at) { HELD } else { at };
        self.queue.last_key_value().is_some_and(|(last, _)| *last > turn)
    }

    /// The turn before which all have to be gone for the turn of a place in the queue to come, but for what a semaphore has
    /// permits for. A reader waits for nobody that comes after the last writer before it.
    pub(crate) fn before(&self, ticket: Revision, mode: Mode) -> Revision {
        if mode != Mode::Shared {
            return ticket;
        }
        let last = self.writers.range(..ticket).next_back();
        Revision(last.unwrap_or(&HELD).0 + 1)
    }

    /// The leases from one turn on and before another, in the order of their turns.
    pub(crate) fn turns(&self, from: Revision, before: Revision) -> impl Iterator<Item = (Revision, Revision)> {
        let holders = self.holders.values().filter(move |_| from == HELD);
        let from = from.max(Revision(HELD.0 + 1)).min(before);
        let queue = self.queue.range(from..before);
        let holders = holders.map(|hold| (HELD, hold.lease));
        holders.chain(queue.map(|(ticket, waiting)| (*ticket, waiting.lease)))
    }

    pub(crate) fn remember_steal(&mut self, entry: StealEntry) {
        if self.steals.len() == KEPT_STEALS {
            self.steals.remove(0);
        }
        self.steals.push(entry);
    }
}

/// What is held, added up.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    exclusive: bool,
    count: u32,
}

impl Held {
    fn add(&mut self, mode: Mode) {
        self.exclusive |= mode == Mode::Exclusive;
        self.count = self.count.saturating_add(1);
    }

    fn admits(self, mode: Mode) -> bool {
        match mode {
            Mode::Exclusive => self.count == 0,
            Mode::Shared => !self.exclusive,
            Mode::Permit { of } => self.count < of,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(held: &[Mode], waiting: &[Mode]) -> Lock {
        let mut lock = Lock::new(Revision(1));
        let mut number = 1;
        let mut next = || {
            number += 1;
            Revision(number)
        };
        for mode in held {
            let hold = Hold {
                lease: next(),
                mode: *mode,
                since: Timestamp(0),
                value: None,
            };
            lock.holders.insert(hold.lease, hold);
        }
        for mode in waiting {
            let waiting = Waiting {
                lease: next(),
                mode: *mode,
                since: Timestamp(0),
                deadline: None,
                value: None,
            };
            lock.join(waiting.lease, waiting);
        }
        lock
    }

    fn granted(lock: &Lock, leaves: &[u64]) -> Vec<u64> {
        let leaves = |lease: Revision| leaves.contains(&lease.0);
        lock.next(&leaves).map(|(ticket, _)| ticket.0).collect()
    }

    #[test]
    fn a_reader_waits_behind_a_writer_that_waits() {
        use Mode::{Exclusive, Shared};
        let lock = lock(&[Shared], &[Exclusive, Shared, Shared]);
        assert!(!lock.admits(Shared));
        assert!(granted(&lock, &[]).is_empty());
        assert_eq!(granted(&lock, &[2]), [3], "the writer alone");
        assert_eq!(
            granted(&lock, &[3]),
            [4, 5],
            "the writer gave up, so the readers join the one that reads"
        );
    }

    #[test]
    fn a_semaphore_has_so_many_holders() {
        let permit = Mode::Permit { of: 2 };
        let lock = lock(&[permit, permit], &[permit, permit, permit]);
        assert!(granted(&lock, &[]).is_empty());
        assert_eq!(granted(&lock, &[2]), [4]);
        assert_eq!(granted(&lock, &[2, 3]), [4, 5]);
    }
}
