//! The port for leases: three operations, each atomic in the store.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use thiserror::Error;
use uuid::Uuid;

use crate::BoxError;

/// What a lease is on: one slot of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseKey {
    /// The name of the service.
    pub service: String,
    /// The slot, from 1.
    pub slot: u32,
}

impl fmt::Display for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {} of {}", self.slot, self.service)
    }
}

/// Who holds a lease: one host, from its making to its end, and never a machine or an address. A host that is made
/// again, on the same machine or in the same process, is another holder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder(String);

impl Holder {
    /// A holder that never was before. The label says to people who it is; it need not be unique.
    #[must_use]
    pub fn fresh(label: &str) -> Self {
        Self(format!("{label}:{}", Uuid::now_v7().simple()))
    }

    /// The holder whose text this is, as a store has kept it.
    #[must_use]
    pub fn read(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text by which stores tell holders apart.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The label that it was made with.
    #[must_use]
    pub fn label(&self) -> &str {
        self.0.rsplit_once(':').map_or(&self.0, |(label, _)| label)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Grows with every grant of a slot. What is written under a token is refused by a store that has seen a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FencingToken(pub u64);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What [`LeaseStore::insert_if_absent`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// The lease was free and is now the holder's.
    Granted(FencingToken),
    /// Someone has it.
    Held {
        /// Who.
        by: Holder,
        /// In how much time it ends if it is not renewed, where the store knows.
        ends_in: Option<Duration>,
    },
}

/// Why a store did not answer. The operation may have been done nevertheless.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The call took too long.
    #[error("the lease store did not answer within {0:?}")]
    TimedOut(Duration),
    /// The store, or the way to it, failed.
    #[error("the lease store cannot be used: {0}")]
    Unavailable(#[source] BoxError),
}

/// A call of the store under way.
pub type StoreCall<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Keeps leases: each operation happens at one moment between its call and its answer, and a call that failed, or was
/// dropped, may still happen later.
///
/// A lease must not end before its time to live has passed since the store received the operation that gave it; later
/// is no harm. The tokens of one key must grow from grant to grant, whatever happens to the store between.
pub trait LeaseStore: Send + Sync + 'static {
    /// Gives the lease to the holder if nobody has it.
    fn insert_if_absent<'a>(&'a self, key: &'a LeaseKey, holder: &'a Holder, ttl: Duration)
    -> StoreCall<'a, Insertion>;

    /// If the lease is still the holder's, begins its time to live again, and gives the token with which it was granted.
    fn compare_and_swap<'a>(
        &'a self,
        key: &'a LeaseKey,
        holder: &'a Holder,
        ttl: Duration,
    ) -> StoreCall<'a, Option<FencingToken>>;

    /// If the lease is still the holder's, ends it; says whether it was.
    fn compare_and_delete<'a>(&'a self, key: &'a LeaseKey, holder: &'a Holder) -> StoreCall<'a, bool>;

    /// Resolves when, after this call, a lease of the service may have become free, or another's; it need not be so. It need not tell of
    /// leases that end by themselves where the store says in how much time they do. Nothing where the store cannot watch,
    /// which is the default: leases are then tried for more often.
    fn changed(&self, service: &str) -> Option<BoxFuture<'static, ()>> {
        let _ = service;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_holders_of_one_label_are_two() {
        let [one, other] = [(); 2].map(|()| Holder::fresh("web-1:17"));
        assert_ne!(one, other);
        assert_eq!([one.label(), other.label()], ["web-1:17", "web-1:17"]);
    }
}
