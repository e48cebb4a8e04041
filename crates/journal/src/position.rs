//! Where in the journal, and under whose leadership.

use std::fmt;

/// A logical byte offset in a journal.
///
/// Positions only grow, and are never used again after a trim. The distance between two of them includes the backend's own
/// framing, so it says how much was written, not how many bytes of batches there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Where the first batch of a new journal is appended.
    pub const START: Self = Self(0);

    /// The position at `offset` bytes from the start.
    pub const fn new(offset: u64) -> Self {
        Self(offset)
    }

    /// Bytes from the start.
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(crate) const fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The term of a leader: each takeover of a partition has a higher one than the takeover before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
