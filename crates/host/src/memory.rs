//! A lease store in memory, for hosts of one process and for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::clock::{Clock, Moment};
use crate::lease::{FencingToken, Holder, Insertion, LeaseKey, LeaseStore, StoreCall};

/// Leases in memory. It can watch, and does not fail.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    leases: Mutex<Leases>,
    freed: watch::Sender<()>,
}

#[derive(Default)]
struct Leases {
    held: BTreeMap<LeaseKey, Held>,
    last_token: u64,
}

#[derive(Clone)]
struct Held {
    by: Holder,
    token: FencingToken,
    until: Moment,
}

impl MemoryStore {
    /// A store without leases, that goes by this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            leases: Mutex::default(),
            freed: watch::Sender::new(()),
        }
    }

    /// Ends a lease against its holder's will.
    pub fn revoke(&self, key: &LeaseKey) {
        self.lock().held.remove(key);
        self.freed.send_replace(());
    }

    /// Who has a lease now.
    #[must_use]
    pub fn holder(&self, key: &LeaseKey) -> Option<Holder> {
        let now = self.clock.now();
        self.lock().current(key, now).map(|held| held.by.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, key: &LeaseKey, holder: &Holder, ttl: Duration) -> Insertion {
        let now = self.clock.now();
        let mut leases = self.lock();
        if let Some(held) = leases.current(key, now) {
            return Insertion::Held {
                by: held.by.clone(),
                ends_in: Some(held.until.since(now)),
            };
        }
        leases.last_token += 1;
        let token = FencingToken(leases.last_token);
        let held = Held {
            by: holder.clone(),
            token,
            until: now + ttl,
        };
        leases.held.insert(key.clone(), held);
        Insertion::Granted(token)
    }

    fn renew(&self, key: &LeaseKey, holder: &Holder, ttl: Duration) -> Option<FencingToken> {
        let now = self.clock.now();
        let mut leases = self.lock();
        let held = leases.current(key, now).filter(|held| held.by == *holder)?;
        held.until = now + ttl;
        Some(held.token)
    }

    fn delete(&self, key: &LeaseKey, holder: &Holder) -> bool {
        let now = self.clock.now();
        let mut leases = self.lock();
        let ours = leases.current(key, now).is_some_and(|held| held.by == *holder);
        if ours {
            leases.held.remove(key);
            self.freed.send_replace(());
        }
        ours
    }
}

impl Leases {
    fn current(&mut self, key: &LeaseKey, now: Moment) -> Option<&mut Held> {
        self.held.get_mut(key).filter(|held| now < held.until)
    }
}

impl LeaseStore for MemoryStore {
    fn insert_if_absent<'a>(
        &'a self,
        key: &'a LeaseKey,
        holder: &'a Holder,
        ttl: Duration,
    ) -> StoreCall<'a, Insertion> {
        async move { Ok(self.insert(key, holder, ttl)) }.boxed()
    }

    fn compare_and_swap<'a>(
        &'a self,
        key: &'a LeaseKey,
        holder: &'a Holder,
        ttl: Duration,
    ) -> StoreCall<'a, Option<FencingToken>> {
        async move { Ok(self.renew(key, holder, ttl)) }.boxed()
    }

    fn compare_and_delete<'a>(&'a self, key: &'a LeaseKey, holder: &'a Holder) -> StoreCall<'a, bool> {
        async move { Ok(self.delete(key, holder)) }.boxed()
    }

    fn changed(&self, _: &str) -> Option<BoxFuture<'static, ()>> {
        let mut freed = self.freed.subscribe();
        let changed = async move {
            // An error means that the store is gone, and nothing changes any more.
            if freed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        Some(changed.boxed())
    }
}
