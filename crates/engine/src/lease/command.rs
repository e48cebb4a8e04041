//! What can be asked about leases, locks and elections.

use unisono_model::ids::Revision;
use unisono_model::name::Name;

use super::event::Mode;
use super::lock::LockAddress;
use crate::payload::Payload;

/// A request about leases, locks or elections.
#[derive(Clone, Debug)]
pub enum LeaseCommand {
    /// An incarnation asks for a lease.
    Grant(Grant),
    /// It lives still.
    Renew {
        /// Where.
        namespace: Name,
        /// Which lease.
        lease: Revision,
    },
    /// The lease ends, with all that it holds.
    Revoke {
        /// Where.
        namespace: Name,
        /// Which lease.
        lease: Revision,
        /// Who, if they said.
        actor: Option<String>,
    },
    /// A lease wants a lock.
    Acquire(Acquire),
    /// A lease gives a lock back, or leaves its queue.
    Release {
        /// Which lock.
        lock: LockAddress,
        /// Which lease.
        lease: Revision,
    },
    /// Somebody takes a lock from who holds it.
    Steal {
        /// Which lock.
        lock: LockAddress,
        /// Only from who holds it under this token.
        token: Option<Revision>,
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// A leader says something.
    Proclaim {
        /// Which election.
        election: LockAddress,
        /// The leader's lease.
        lease: Revision,
        /// What, JSON.
        value: Payload,
    },
    /// The partition's clock was found to have been set forward by so much.
    ClockStepped {
        /// Milliseconds.
        by_ms: u64,
    },
}

/// An incarnation asks for a lease.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Where.
    pub namespace: Name,
    /// The incarnation.
    pub holder: Name,
    /// The party that it is.
    pub party: Option<Name>,
    /// Who, if they said.
    pub actor: Option<String>,
    /// For how long without a renewal, in milliseconds.
    pub ttl_ms: u64,
}

/// A lease wants a lock.
#[derive(Clone, Debug)]
pub struct Acquire {
    /// Which lock.
    pub lock: LockAddress,
    /// Which lease.
    pub lease: Revision,
    /// How it will be held.
    pub mode: Mode,
    /// Milliseconds to wait in the queue; `None` only tries.
    pub wait_ms: Option<u64>,
    /// What the leader proclaims once elected, JSON.
    pub value: Option<Payload>,
}
