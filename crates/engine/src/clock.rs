//! Steady time: time that passes only as fast as it really does.
//!
//! The partition's time follows the system's clock, which people and programs set forward. A time to live that ended early
//! because of that would take a lock from a holder that counts real time. So deadlines of values and leases are kept on
//! another scale: the partition's time less all the steps by which its clock was ever set forward. A step is an event;
//! between steps the two scales run alike.

use unisono_model::ids::{Revision, Timestamp};

/// An instant on the steady scale, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Steady(pub i64);

/// What the partition remembers as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// By how much the clock was ever set forward, in milliseconds.
    pub(crate) stepped_ms: i64,
    /// The newest fencing token of a key that is remembered no more.
    pub(crate) forgotten_token: Revision,
    /// The last event that changed the steps.
    pub(crate) revision: Revision,
}

impl Marks {
    /// The steady instant of a time of the partition.
    #[must_use]
    pub fn steady(&self, at: Timestamp) -> Steady {
        Steady(at.0.saturating_sub(self.stepped_ms))
    }

    /// The steady instant so many milliseconds after a time of the partition.
    #[must_use]
    pub fn steady_after(&self, at: Timestamp, millis: u64) -> Steady {
        self.steady(at.plus_millis(millis))
    }

    /// The partition's time at a steady instant, unless the clock is set forward before.
    #[must_use]
    pub fn time(&self, at: Steady) -> Timestamp {
        Timestamp(at.0.saturating_add(self.stepped_ms))
    }

    pub(crate) fn step(&mut self, revision: Revision, by_ms: u64) {
        if self.revision < revision {
            self.revision = revision;
            self.stepped_ms = self.stepped_ms.saturating_add(i64::try_from(by_ms).unwrap_or(i64::MAX));
        }
    }
}
