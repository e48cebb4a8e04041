//! The leases, locks and elections, and how events change them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use rustc_hash::FxHashMap;
use unisono_model::api::JsonText;
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::leases::{ElectionView, HeldView, HolderView, LeaseView, LockView, QueuedView, StealEntry};
use unisono_model::name::Name;

use super::decide::LeaseRejection;
use super::event::{LeaseEvent as E, LeftBecause, Mode};
use super::lock::{Hold, Lock, LockAddress, Place, Waiting};
use crate::clock::{Marks, Steady};
use crate::snapshot::Entity;
use crate::{Effect, Effects};

/// What an incarnation has as long as it renews it. Its id is the revision at which it was granted.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Where.
    pub namespace: Name,
    /// The incarnation.
    pub holder: Name,
    /// The party that it is.
    pub party: Option<Name>,
    /// Who asked for it, if they said.
    pub actor: Option<String>,
    /// For how long without a renewal, in milliseconds.
    pub ttl_ms: u64,
    /// When it was granted.
    pub granted_at: Timestamp,
    pub(crate) deadline: Steady,
    /// The last event about it.
    pub(crate) revision: Revision,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseCounts {
    /// Leases.
    pub leases: u64,
    /// Locks and elections that leases hold, each as often as it is held.
    pub held: u64,
    /// Leases that wait for a lock or an election.
    pub waiting: u64,
}

/// What became of a place in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketEnd {
    /// The lock was granted, under this token.
    Granted(Revision),
    /// There will be no grant.
    Left(LeftBecause),
}

/// The leases and locks of a partition. All but the first two tables is derived.
#[derive(Debug, Default)]
pub struct Leases {
    open: BTreeMap<Revision, Lease>,
    locks: BTreeMap<LockAddress, Lock>,
    lock_ids: FxHashMap<Revision, LockAddress>,
    deadlines: BTreeSet<(Steady, Revision)>,
    /// Places in queues that give up at some time.
    waits: BTreeMap<(Steady, Revision), LockAddress>,
    /// What each lease holds or waits for, with the token or the ticket.
    places: FxHashMap<Revision, BTreeMap<LockAddress, Revision>>,
    /// Which lock is held under a token.
    tokens: FxHashMap<Revision, LockAddress>,
    /// The leases of each party.
    parties: FxHashMap<(Name, Name), BTreeSet<Revision>>,
    waiting: u64,
}

/// Something that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A lease has not been renewed.
    Lease(Revision),
    /// A place in a queue gives up.
    Wait(LockAddress, Revision),
}

impl Leases {
    /// A lease.
    #[must_use]
    pub fn get(&self, id: Revision) -> Option<&Lease> {
        self.open.get(&id)
    }

    /// The leases, by id.
    pub fn ids(&self) -> impl Iterator<Item = Revision> {
        self.open.keys().copied()
    }

    /// The leases of a namespace that were granted after a revision, by id.
    pub fn ids_after(&self, namespace: &Name, after: Revision) -> impl Iterator<Item = Revision> + use<'_> {
        let namespace = namespace.clone();
        self.open
            .range((Bound::Excluded(after), Bound::Unbounded))
            .filter(move |(_, lease)| lease.namespace == namespace)
            .map(|(id, _)| *id)
    }

    /// A lease of a namespace.
    pub(crate) fn known(&self, namespace: &Name, id: Revision) -> Result<&Lease, LeaseRejection> {
        let lease = self.open.get(&id).filter(|lease| lease.namespace == *namespace);
        lease.ok_or(LeaseRejection::NotFound { lease: id })
    }

    pub(crate) fn lock(&self, address: &LockAddress) -> Option<&Lock> {
        self.locks.get(address)
    }

    /// What a lease has of a lock.
    pub(crate) fn place(&self, lease: Revision, address: &LockAddress) -> Option<Place> {
        let at = self.places.get(&lease)?.get(address)?;
        self.locks.get(address)?.place(*at)
    }

    /// The locks that a lease holds or waits for.
    pub(crate) fn places(&self, lease: Revision) -> impl Iterator<Item = &LockAddress> {
        self.places.get(&lease).into_iter().flat_map(BTreeMap::keys)
    }

    /// What the leases of a party have of locks, with the token or the ticket.
    pub(crate) fn places_of(
        &self,
        namespace: &Name,
        party: &Name,
    ) -> impl Iterator<Item = (&LockAddress, Revision)> + Clone {
        let leases = self.parties.get(&(namespace.clone(), party.clone()));
        let places = leases.into_iter().flatten().filter_map(|lease| self.places.get(lease));
        places.flatten().map(|(address, at)| (address, *at))
    }

    /// Whether a lock or an election of this name is held under the token.
    pub(crate) fn holds(&self, namespace: &Name, name: &Name, token: Revision) -> bool {
        let lock = self.tokens.get(&token);
        lock.is_some_and(|lock| lock.namespace == *namespace && lock.name == *name)
    }

    /// Whether anything is held under the token.
    pub(crate) fn is_held(&self, token: Revision) -> bool {
        self.tokens.contains_key(&token)
    }

    pub(crate) fn counts(&self) -> LeaseCounts {
        LeaseCounts {
            leases: self.open.len() as u64,
            held: self.tokens.len() as u64,
            waiting: self.waiting,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Steady> {
        let lease = self.deadlines.first().map(|(at, _)| *at);
        let wait = self.waits.keys().next().map(|(at, _)| *at);
        [lease, wait].into_iter().flatten().min()
    }

    /// The first of what is due.
    pub(crate) fn due(&self, now: Steady) -> Option<Due> {
        let lease = self.deadlines.first().map(|(at, id)| (*at, Due::Lease(*id)));
        let wait = self.waits.first_key_value();
        let wait = wait.map(|((at, ticket), lock)| (*at, Due::Wait(lock.clone(), *ticket)));
        let (at, due) = [wait, lease].into_iter().flatten().min_by_key(|(at, _)| *at)?;
        (at <= now).then_some(due)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (Revision, &Lease)> {
        self.open.iter().map(|(id, lease)| (*id, lease))
    }

    pub(crate) fn all_locks(&self) -> impl Iterator<Item = (&LockAddress, &Lock)> {
        self.locks.iter()
    }

    pub(crate) fn lock_by_id(&self, id: Revision) -> Option<(&LockAddress, &Lock)> {
        let (address, lock) = self.locks.get_key_value(self.lock_ids.get(&id)?)?;
        (lock.id == id).then_some((address, lock))
    }

    // ---- changes

    pub(crate) fn insert(&mut self, id: Revision, lease: Lease) {
        self.deadlines.insert((lease.deadline, id));
        if let Some(party) = lease.party.clone() {
            let party = (lease.namespace.clone(), party);
            self.parties.entry(party).or_default().insert(id);
        }
        self.open.insert(id, lease);
    }

    fn renew(&mut self, (id, revision): (Revision, Revision), deadline: Steady) {
        if let Some(lease) = self.open.get_mut(&id)
            && lease.revision < revision
        {
            self.deadlines.remove(&(lease.deadline, id));
            self.deadlines.insert((deadline, id));
            (lease.deadline, lease.revision) = (deadline, revision);
        }
    }

    fn end(&mut self, (id, revision): (Revision, Revision)) {
        if self.open.get(&id).is_some_and(|lease| lease.revision < revision)
            && let Some(lease) = self.open.remove(&id)
        {
            self.deadlines.remove(&(lease.deadline, id));
            self.forget_party(id, lease);
        }
    }

    fn forget_party(&mut self, id: Revision, lease: Lease) {
        let Some(party) = lease.party.map(|party| (lease.namespace, party)) else {
            return;
        };
        if let Some(leases) = self.parties.get_mut(&party) {
            leases.remove(&id);
            if leases.is_empty() {
                self.parties.remove(&party);
            }
        }
    }

    /// Puts a lock in its place, with what is derived from it.
    pub(crate) fn insert_lock(&mut self, address: LockAddress, lock: Lock) {
        for (token, hold) in &lock.holders {
            self.tokens.insert(*token, address.clone());
            self.places
                .entry(hold.lease)
                .or_default()
                .insert(address.clone(), *token);
        }
        for (ticket, waiting) in &lock.queue {
            self.link_waiting(&address, *ticket, waiting);
        }
        self.lock_ids.insert(lock.id, address.clone());
        self.locks.insert(address, lock);
    }

    fn link_waiting(&mut self, address: &LockAddress, ticket: Revision, waiting: &Waiting) {
        self.waiting += 1;
        self.places
            .entry(waiting.lease)
            .or_default()
            .insert(address.clone(), ticket);
        if let Some(deadline) = waiting.deadline {
            self.waits.insert((deadline, ticket), address.clone());
        }
    }

    fn unlink_waiting(&mut self, address: &LockAddress, ticket: Revision, waiting: &Waiting) {
        self.waiting -= 1;
        self.forget_place(waiting.lease, address);
        if let Some(deadline) = waiting.deadline {
            self.waits.remove(&(deadline, ticket));
        }
    }

    fn forget_place(&mut self, lease: Revision, address: &LockAddress) {
        if let Some(places) = self.places.get_mut(&lease) {
            places.remove(address);
            if places.is_empty() {
                self.places.remove(&lease);
            }
        }
    }

    /// Takes a lock out of its place, with what is derived from it.
    pub(crate) fn remove_lock(&mut self, address: &LockAddress) -> Option<Lock> {
        let lock = self.locks.remove(address)?;
        self.lock_ids.remove(&lock.id);
        for (token, hold) in &lock.holders {
            self.tokens.remove(token);
            self.forget_place(hold.lease, address);
        }
        for (ticket, waiting) in &lock.queue {
            self.unlink_waiting(address, *ticket, waiting);
        }
        Some(lock)
    }

    /// A lock that an event changes; made when there is none and the event makes one. `None` when it has seen the event.
    fn changed(&mut self, address: &LockAddress, revision: Revision, makes: bool) -> Option<&mut Lock> {
        if makes && !self.locks.contains_key(address) {
            self.lock_ids.insert(revision, address.clone());
            self.locks.insert(address.clone(), Lock::new(revision));
        }
        let lock = self.locks.get_mut(address)?;
        if lock.revision >= revision {
            return None;
        }
        lock.revision = revision;
        Some(lock)
    }

    fn queue(&mut self, address: &LockAddress, ticket: Revision, waiting: Waiting) {
        if let Some(lock) = self.changed(address, ticket, true) {
            lock.join(ticket, waiting.clone());
            self.link_waiting(address, ticket, &waiting);
        }
    }

    fn acquire(&mut self, address: &LockAddress, token: Revision, ticket: Option<Revision>, hold: Hold) -> bool {
        let Some(lock) = self.changed(address, token, true) else {
            return false;
        };
        let waited = ticket.and_then(|ticket| Some((ticket, lock.quit(ticket)?)));
        let lease = hold.lease;
        lock.holders.insert(token, hold);
        if let Some((ticket, waiting)) = waited {
            self.unlink_waiting(address, ticket, &waiting);
        }
        self.tokens.insert(token, address.clone());
        self.places.entry(lease).or_default().insert(address.clone(), token);
        true
    }

    /// The ticket with which the lease waited, if it did.
    fn leave(&mut self, address: &LockAddress, revision: Revision, lease: Revision) -> Option<Revision> {
        let at = self.places.get(&lease).and_then(|places| places.get(address)).copied();
        let lock = self.changed(address, revision, false)?;
        let at = at?;
        let waited = lock.quit(at);
        let held = lock.holders.remove(&at);
        if let Some(waiting) = &waited {
            self.unlink_waiting(address, at, waiting);
        }
        if held.is_some() {
            self.tokens.remove(&at);
            self.forget_place(lease, address);
        }
        waited.map(|_| at)
    }

    fn drop_idle(&mut self, address: &LockAddress) {
        if self.locks.get(address).is_some_and(Lock::is_idle) {
            self.remove_lock(address);
        }
    }

    // ---- views

    /// What the API shows of a lease; `values` vanish with it.
    #[must_use]
    pub fn view(&self, id: Revision, marks: &Marks, values: usize) -> Option<LeaseView> {
        let lease = self.open.get(&id)?;
        let places = self.places.get(&id).into_iter().flatten();
        let holds = places
            .filter(|(address, at)| self.tokens.get(at) == Some(address))
            .map(|(address, token)| HeldView {
                kind: address.family(),
                name: address.name.clone(),
                token: *token,
            });
        Some(LeaseView {
            id,
            holder: lease.holder.clone(),
            party: lease.party.clone(),
            actor: lease.actor.clone(),
            ttl_ms: lease.ttl_ms,
            granted_at: lease.granted_at,
            expires_at: marks.time(lease.deadline),
            values: values as u64,
            holds: holds.collect(),
        })
    }

    fn holder_view(&self, token: Revision, hold: &Hold, marks: &Marks) -> Option<HolderView> {
        let lease = self.open.get(&hold.lease)?;
        Some(HolderView {
            holder: lease.holder.clone(),
            actor: lease.actor.clone(),
            lease: hold.lease,
            mode: hold.mode.word(),
            token,
            since: hold.since,
            expires_at: marks.time(lease.deadline),
        })
    }

    fn queued_view(&self, ticket: Revision, waiting: &Waiting, marks: &Marks) -> Option<QueuedView> {
        let lease = self.open.get(&waiting.lease)?;
        Some(QueuedView {
            holder: lease.holder.clone(),
            actor: lease.actor.clone(),
            lease: waiting.lease,
            mode: waiting.mode.word(),
            ticket,
            since: waiting.since,
            until: waiting.deadline.map(|deadline| marks.time(deadline)),
        })
    }

    /// Who holds a lock.
    pub(crate) fn holders(&self, lock: &Lock, marks: &Marks) -> Vec<HolderView> {
        let holders = lock.holders.iter();
        holders
            .filter_map(|(token, hold)| self.holder_view(*token, hold, marks))
            .collect()
    }

    fn queued(&self, lock: &Lock, marks: &Marks) -> Vec<QueuedView> {
        let queue = lock.queue.iter();
        queue
            .filter_map(|(ticket, waiting)| self.queued_view(*ticket, waiting, marks))
            .collect()
    }

    /// What the API shows of a lock; `None` when nothing is known of it.
    #[must_use]
    pub fn lock_view(&self, address: &LockAddress, marks: &Marks) -> Option<LockView> {
        let lock = self.locks.get(address)?;
        Some(LockView {
            name: address.name.clone(),
            permits: lock.mode().and_then(Mode::permits),
            holders: self.holders(lock, marks),
            queue: self.queued(lock, marks),
            audit: lock.steals.clone(),
            revision: lock.revision,
        })
    }

    /// What the API shows of an election; `None` when nothing is known of it.
    #[must_use]
    pub fn election_view(&self, address: &LockAddress, marks: &Marks) -> Option<ElectionView> {
        let lock = self.locks.get(address)?;
        let leader = lock.holders.iter().next();
        let value = leader.and_then(|(_, hold)| hold.value.as_ref());
        Some(ElectionView {
            name: address.name.clone(),
            leader: leader.and_then(|(token, hold)| self.holder_view(*token, hold, marks)),
            value: value.map(|value| JsonText(value.to_raw())),
            candidates: self.queued(lock, marks),
            audit: lock.steals.clone(),
            revision: lock.revision,
        })
    }

    /// The locks, or the elections, of a namespace that come after a name.
    pub fn addresses(
        &self,
        namespace: &Name,
        election: bool,
        after: Option<&Name>,
    ) -> impl Iterator<Item = &LockAddress> + use<'_> {
        let at = |name: Name| LockAddress {
            namespace: namespace.clone(),
            election,
            name,
        };
        let from = match (after, Name::parse(FIRST_NAME)) {
            (Some(after), _) => Bound::Excluded(at(after.clone())),
            (None, Ok(first)) => Bound::Included(at(first)),
            (None, Err(_)) => Bound::Unbounded,
        };
        let namespace = namespace.clone();
        self.locks
            .range((from, Bound::Unbounded))
            .map(|(address, _)| address)
            .take_while(move |address| address.namespace == namespace && address.election == election)
    }
}

/// No name comes before it.
const FIRST_NAME: &str = "-";

/// Folds one event of this room; `dirty` learns what checkpoints have to write.
pub(crate) fn evolve(
    (leases, marks, dirty): (&mut Leases, &mut Marks, &mut BTreeSet<Entity>),
    (revision, at): (Revision, Timestamp),
    event: &E,
    effects: &mut Effects,
) {
    if let Some(address) = event.lock() {
        let before = leases.locks.get(address).map(|lock| lock.id);
        evolve_lock((leases, address), (revision, at), event, effects);
        let after = leases.locks.get(address).map(|lock| lock.id);
        dirty.extend([before, after].into_iter().flatten().map(|id| Entity::Lock(id.0)));
        leases.drop_idle(address);
        return;
    }
    match event {
        E::Granted {
            namespace,
            holder,
            ttl_ms,
            deadline,
            party,
            actor,
        } => {
            dirty.insert(Entity::Lease(revision.0));
            if leases.open.contains_key(&revision) {
                return;
            }
            leases.insert(
                revision,
                Lease {
                    namespace: namespace.clone(),
                    holder: holder.clone(),
                    party: party.clone(),
                    actor: actor.clone(),
                    ttl_ms: *ttl_ms,
                    granted_at: at,
                    deadline: Steady(*deadline),
                    revision,
                },
            );
        }
        E::Renewed { lease, deadline } => {
            dirty.insert(Entity::Lease(*lease));
            leases.renew((Revision(*lease), revision), Steady(*deadline));
        }
        E::Ended { lease, .. } => {
            dirty.insert(Entity::Lease(*lease));
            leases.end((Revision(*lease), revision));
        }
        E::ClockStepped { by_ms } => {
            dirty.insert(Entity::Marks);
            marks.step(revision, *by_ms);
        }
        E::Queued { .. } | E::Acquired { .. } | E::Left { .. } | E::Stolen { .. } | E::Proclaimed { .. } => {}
    }
}

fn evolve_lock(
    (leases, address): (&mut Leases, &LockAddress),
    (revision, at): (Revision, Timestamp),
    event: &E,
    effects: &mut Effects,
) {
    match event {
        E::Queued {
            lease,
            mode,
            deadline,
            value,
            ..
        } => leases.queue(
            address,
            revision,
            Waiting {
                lease: Revision(*lease),
                mode: *mode,
                since: at,
                deadline: deadline.map(Steady),
                value: value.clone(),
            },
        ),
        E::Acquired {
            lease,
            mode,
            ticket,
            value,
            ..
        } => {
            let ticket = ticket.map(Revision);
            let hold = Hold {
                lease: Revision(*lease),
                mode: *mode,
                since: at,
                value: value.clone(),
            };
            let granted = leases.acquire(address, revision, ticket, hold);
            if let (true, Some(ticket)) = (granted, ticket) {
                let end = TicketEnd::Granted(revision);
                effects.push(Effect::TicketEnded { ticket, end });
            }
        }
        E::Left { lease, because, .. } => {
            if let Some(ticket) = leases.leave(address, revision, Revision(*lease)) {
                let end = TicketEnd::Left(*because);
                effects.push(Effect::TicketEnded { ticket, end });
            }
        }
        E::Stolen {
            lease,
            holder,
            token,
            actor,
            reason,
            ..
        } => {
            let seen = leases.locks.get(address).is_none_or(|lock| lock.revision >= revision);
            leases.leave(address, revision, Revision(*lease));
            if !seen && let Some(lock) = leases.locks.get_mut(address) {
                lock.remember_steal(StealEntry {
                    revision,
                    at,
                    actor: actor.clone(),
                    reason: reason.clone(),
                    holder: holder.clone(),
                    token: Revision(*token),
                });
            }
        }
        E::Proclaimed { lease, value, .. } => {
            if let Some(lock) = leases.changed(address, revision, false) {
                let lease = Revision(*lease);
                for hold in lock.holders.values_mut().filter(|hold| hold.lease == lease) {
                    hold.value = Some(value.clone());
                }
            }
        }
        E::Granted { .. } | E::Renewed { .. } | E::Ended { .. } | E::ClockStepped { .. } => {}
    }
}
