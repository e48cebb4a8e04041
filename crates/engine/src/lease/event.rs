//! What was decided about leases, locks and elections.

use minicbor::{Decode, Encode};
use unisono_model::leases::LockMode;
use unisono_model::name::Name;

use super::lock::LockAddress;
use crate::payload::Payload;

/// A fact about a lease, or about a lock or an election. `lease` is the revision of the lease's `Granted` event; deadlines
/// are steady instants ([`crate::clock`]), in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LeaseEvent {
    /// An incarnation was given a lease, whose id is the revision of this event.
    #[n(0)]
    Granted {
        /// Where.
        #[cbor(n(0), with = "crate::payload::name")]
        namespace: Name,
        /// The incarnation.
        #[cbor(n(1), with = "crate::payload::name")]
        holder: Name,
        /// For how long without a renewal, in milliseconds.
        #[n(2)]
        ttl_ms: u64,
        /// When it ends unless it is renewed.
        #[n(3)]
        deadline: i64,
        /// The party that the holder is.
        #[cbor(n(4), with = "crate::payload::optional_name", has_nil)]
        party: Option<Name>,
        /// Who asked, if they said.
        #[n(5)]
        actor: Option<String>,
    },
    /// It was renewed.
    #[n(1)]
    Renewed {
        /// Which.
        #[n(0)]
        lease: u64,
        /// When it ends now.
        #[n(1)]
        deadline: i64,
    },
    /// It ended. What it held and where it waited is told by events of their own.
    #[n(2)]
    Ended {
        /// Which.
        #[n(0)]
        lease: u64,
        /// Whether its time was over; otherwise somebody revoked it.
        #[n(1)]
        expired: bool,
        /// Who revoked it, if they said.
        #[n(2)]
        actor: Option<String>,
    },
    /// A lease waits for a lock. Its ticket is the revision of this event.
    #[n(3)]
    Queued {
        /// Which lock.
        #[n(0)]
        lock: LockAddress,
        /// Which lease.
        #[n(1)]
        lease: u64,
        /// How it will be held.
        #[n(2)]
        mode: Mode,
        /// When it gives up.
        #[n(3)]
        deadline: Option<i64>,
        /// What the leader proclaims once elected, JSON.
        #[n(4)]
        value: Option<Payload>,
    },
    /// A lease was granted a lock. The fencing token is the revision of this event.
    #[n(4)]
    Acquired {
        /// Which lock.
        #[n(0)]
        lock: LockAddress,
        /// Which lease.
        #[n(1)]
        lease: u64,
        /// How it is held.
        #[n(2)]
        mode: Mode,
        /// The ticket with which it waited.
        #[n(3)]
        ticket: Option<u64>,
        /// What the leader proclaims, JSON.
        #[n(4)]
        value: Option<Payload>,
    },
    /// A lease holds a lock, or waits for it, no more.
    #[n(5)]
    Left {
        /// Which lock.
        #[n(0)]
        lock: LockAddress,
        /// Which lease.
        #[n(1)]
        lease: u64,
        /// Why.
        #[n(2)]
        because: LeftBecause,
    },
    /// A lock was taken by force from the lease that held it.
    #[n(6)]
    Stolen {
        /// Which lock.
        #[n(0)]
        lock: LockAddress,
        /// Which lease.
        #[n(1)]
        lease: u64,
        /// The incarnation that held it.
        #[cbor(n(2), with = "crate::payload::name")]
        holder: Name,
        /// The token that it had.
        #[n(3)]
        token: u64,
        /// Who took it.
        #[n(4)]
        actor: String,
        /// Why.
        #[n(5)]
        reason: String,
    },
    /// A leader said something.
    #[n(7)]
    Proclaimed {
        /// Which election.
        #[n(0)]
        election: LockAddress,
        /// The leader's lease.
        #[n(1)]
        lease: u64,
        /// What, JSON.
        #[n(2)]
        value: Payload,
    },
    /// The partition's clock was set forward. Deadlines of values and leases keep their distance.
    #[n(8)]
    ClockStepped {
        /// By how much, in milliseconds.
        #[n(0)]
        by_ms: u64,
    },
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Mode {
    /// By one alone.
    #[n(0)]
    Exclusive,
    /// By any number of readers, and no writer.
    #[n(1)]
    Shared,
    /// As one of a number of permits.
    #[n(2)]
    Permit {
        /// How many there are.
        #[n(0)]
        of: u32,
    },
}

impl Mode {
    /// The word of the API for it.
    #[must_use]
    pub fn word(self) -> LockMode {
        match self {
            Self::Exclusive => LockMode::Exclusive,
            Self::Shared => LockMode::Shared,
            Self::Permit { .. } => LockMode::Permit,
        }
    }

    /// How many permits there are, if it is one.
    #[must_use]
    pub fn permits(self) -> Option<u32> {
        match self {
            Self::Permit { of } => Some(of),
            Self::Exclusive | Self::Shared => None,
        }
    }
}

/// Why a lease holds a lock, or waits for it, no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum LeftBecause {
    /// It gave it back, or gave up.
    #[n(0)]
    Released,
    /// The lease ended.
    #[n(1)]
    LeaseEnded,
    /// It was not granted in time.
    #[n(2)]
    TimedOut,
}

impl LeaseEvent {
    /// The lock or election that it is about.
    #[must_use]
    pub fn lock(&self) -> Option<&LockAddress> {
        match self {
            Self::Queued { lock, .. }
            | Self::Acquired { lock, .. }
            | Self::Left { lock, .. }
            | Self::Stolen { lock, .. }
            | Self::Proclaimed { election: lock, .. } => Some(lock),
            Self::Granted { .. } | Self::Renewed { .. } | Self::Ended { .. } | Self::ClockStepped { .. } => None,
        }
    }
}
