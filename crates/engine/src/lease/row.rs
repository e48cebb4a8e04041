//! What a checkpoint keeps of a lease, and of a lock.

use minicbor::{Decode, Encode};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::leases::StealEntry;
use unisono_model::name::Name;

use super::event::Mode;
use super::lock::{Hold, Lock, LockAddress, Waiting};
use super::state::{Lease, Leases};
use crate::clock::Steady;
use crate::payload::Payload;
use crate::snapshot::Entity;

#[derive(Encode, Decode)]
struct LeaseRow {
    #[n(0)]
    id: u64,
    #[n(1)]
    revision: u64,
    #[cbor(n(2), with = "crate::payload::name")]
    namespace: Name,
    #[cbor(n(3), with = "crate::payload::name")]
    holder: Name,
    #[n(4)]
    ttl_ms: u64,
    #[n(5)]
    deadline: i64,
    #[n(6)]
    granted_at: i64,
    #[cbor(n(7), with = "crate::payload::optional_name", has_nil)]
    party: Option<Name>,
    #[n(8)]
    actor: Option<String>,
}

#[derive(Encode, Decode)]
struct LockRow {
    #[n(0)]
    id: u64,
    #[n(1)]
    revision: u64,
    #[n(2)]
    address: LockAddress,
    #[n(3)]
    holders: Vec<HoldRow>,
    #[n(4)]
    queue: Vec<WaitingRow>,
    #[n(5)]
    steals: Vec<StealRow>,
}

#[derive(Encode, Decode)]
struct HoldRow {
    #[n(0)]
    token: u64,
    #[n(1)]
    lease: u64,
    #[n(2)]
    mode: Mode,
    #[n(3)]
    since: i64,
    #[n(4)]
    value: Option<Payload>,
}

#[derive(Encode, Decode)]
struct WaitingRow {
    #[n(0)]
    ticket: u64,
    #[n(1)]
    lease: u64,
    #[n(2)]
    mode: Mode,
    #[n(3)]
    since: i64,
    #[n(4)]
    deadline: Option<i64>,
    #[n(5)]
    value: Option<Payload>,
}

#[derive(Encode, Decode)]
struct StealRow {
    #[n(0)]
    revision: u64,
    #[n(1)]
    at: i64,
    #[n(2)]
    actor: String,
    #[n(3)]
    reason: String,
    #[cbor(n(4), with = "crate::payload::name")]
    holder: Name,
    #[n(5)]
    token: u64,
}

impl Leases {
    pub(crate) fn lease_row(&self, id: Revision) -> Option<Vec<u8>> {
        self.get(id).map(|lease| lease_row(id, lease))
    }

    pub(crate) fn lock_row(&self, id: Revision) -> Option<Vec<u8>> {
        self.lock_by_id(id).map(|(address, lock)| lock_row(address, lock))
    }

    /// The rows of all leases and locks.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Entity, Vec<u8>)> {
        let leases = self
            .all()
            .map(|(id, lease)| (Entity::Lease(id.0), lease_row(id, lease)));
        let locks = self.all_locks();
        leases.chain(locks.map(|(address, lock)| (Entity::Lock(lock.id.0), lock_row(address, lock))))
    }

    pub(crate) fn load_lease(&mut self, row: &[u8]) -> Result<Timestamp, minicbor::decode::Error> {
        let row: LeaseRow = minicbor::decode(row)?;
        self.insert(
            Revision(row.id),
            Lease {
                namespace: row.namespace,
                holder: row.holder,
                party: row.party,
                actor: row.actor,
                ttl_ms: row.ttl_ms,
                granted_at: Timestamp(row.granted_at),
                deadline: Steady(row.deadline),
                revision: Revision(row.revision),
            },
        );
        Ok(Timestamp(row.granted_at))
    }

    /// Puts back the row of a lock. Of two rows for one address, the lock that was made later counts; the other's row is to
    /// be removed, and is returned.
    pub(crate) fn load_lock(&mut self, row: &[u8]) -> Result<Option<Entity>, minicbor::decode::Error> {
        let LockRow {
            id,
            revision,
            address,
            holders,
            queue,
            steals,
        } = minicbor::decode(row)?;
        let mut lock = Lock::new(Revision(id));
        lock.revision = Revision(revision);
        lock.holders = holders
            .into_iter()
            .map(|row| (Revision(row.token), hold(row)))
            .collect();
        for row in queue {
            lock.join(Revision(row.ticket), waiting(row));
        }
        lock.steals = steals.into_iter().map(steal).collect();
        let mut older = None;
        if let Some(other) = self.remove_lock(&address) {
            older = Some(Entity::Lock(other.id.min(lock.id).0));
            if other.id > lock.id {
                lock = other;
            }
        }
        self.insert_lock(address, lock);
        Ok(older)
    }
}

fn lease_row(id: Revision, lease: &Lease) -> Vec<u8> {
    crate::snapshot::bytes(&LeaseRow {
        id: id.0,
        revision: lease.revision.0,
        namespace: lease.namespace.clone(),
        holder: lease.holder.clone(),
        ttl_ms: lease.ttl_ms,
        deadline: lease.deadline.0,
        granted_at: lease.granted_at.0,
        party: lease.party.clone(),
        actor: lease.actor.clone(),
    })
}

fn lock_row(address: &LockAddress, lock: &Lock) -> Vec<u8> {
    let holders = lock.holders.iter().map(|(token, hold)| HoldRow {
        token: token.0,
        lease: hold.lease.0,
        mode: hold.mode,
        since: hold.since.0,
        value: hold.value.clone(),
    });
    let queue = lock.queue.iter().map(|(ticket, waiting)| WaitingRow {
        ticket: ticket.0,
        lease: waiting.lease.0,
        mode: waiting.mode,
        since: waiting.since.0,
        deadline: waiting.deadline.map(|deadline| deadline.0),
        value: waiting.value.clone(),
    });
    let steals = lock.steals.iter().map(|steal| StealRow {
        revision: steal.revision.0,
        at: steal.at.0,
        actor: steal.actor.clone(),
        reason: steal.reason.clone(),
        holder: steal.holder.clone(),
        token: steal.token.0,
    });
    crate::snapshot::bytes(&LockRow {
        id: lock.id.0,
        revision: lock.revision.0,
        address: address.clone(),
        holders: holders.collect(),
        queue: queue.collect(),
        steals: steals.collect(),
    })
}

fn hold(row: HoldRow) -> Hold {
    Hold {
        lease: Revision(row.lease),
        mode: row.mode,
        since: Timestamp(row.since),
        value: row.value,
    }
}

fn waiting(row: WaitingRow) -> Waiting {
    Waiting {
        lease: Revision(row.lease),
        mode: row.mode,
        since: Timestamp(row.since),
        deadline: row.deadline.map(Steady),
        value: row.value,
    }
}

fn steal(row: StealRow) -> StealEntry {
    StealEntry {
        revision: Revision(row.revision),
        at: Timestamp(row.at),
        actor: row.actor,
        reason: row.reason,
        holder: row.holder,
        token: Revision(row.token),
    }
}
