//! The lease store as one host uses it: each call ends in time.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::clock::{Clock, Moment};
use crate::config::HostConfig;
use crate::lease::{FencingToken, Holder, Insertion, LeaseKey, LeaseStore, StoreCall, StoreError};
use crate::timing::Timing;

/// How often the release of a lease is tried.
const RELEASE_TRIES: u32 = 3;

/// The lease store as one host uses it.
#[derive(Clone)]
pub(crate) struct Storage {
    store: Arc<dyn LeaseStore>,
    holder: Holder,
    clock: Arc<dyn Clock>,
    timing: Timing,
}

impl Storage {
    pub(crate) fn new(config: &HostConfig) -> Self {
        Self {
            store: Arc::clone(&config.store),
            holder: config.holder.clone(),
            clock: Arc::clone(&config.clock),
            timing: config.timing,
        }
    }

    /// Takes the lease if it is free. What an earlier call took without our hearing of it counts as free.
    pub(crate) async fn take(&self, key: &LeaseKey) -> Result<Insertion, StoreError> {
        let ttl = self.timing.lease;
        let insertion = self
            .in_time(self.store.insert_if_absent(key, &self.holder, ttl))
            .await?;
        match &insertion {
            Insertion::Held { by, .. } if *by == self.holder => {}
            _ => return Ok(insertion),
        }
        Ok(match self.renew(key).await? {
            Some(token) => Insertion::Granted(token),
            None => insertion,
        })
    }

    /// Renews the lease; nothing, when it is not ours any more.
    pub(crate) async fn renew(&self, key: &LeaseKey) -> Result<Option<FencingToken>, StoreError> {
        let ttl = self.timing.lease;
        self.in_time(self.store.compare_and_swap(key, &self.holder, ttl)).await
    }

    /// Ends the lease, if it is ours; where that is not to be had, it ends by itself.
    pub(crate) async fn release(&self, key: &LeaseKey) {
        for left in (0..RELEASE_TRIES).rev() {
            match self.in_time(self.store.compare_and_delete(key, &self.holder)).await {
                Ok(_) => return,
                Err(error) if left == 0 => {
                    let lease = self.timing.lease;
                    tracing::warn!(
                        "the lease on {key} could not be released: {error}; it ends by itself within {lease:?}"
                    );
                }
                Err(_) => self.pause().await,
            }
        }
    }

    /// See [`LeaseStore::changed`].
    pub(crate) fn changed(&self, service: &str) -> Option<BoxFuture<'static, ()>> {
        self.store.changed(service)
    }

    async fn pause(&self) {
        self.clock.sleep_until(self.clock.now() + self.timing.retry_every).await;
    }

    async fn in_time<T>(&self, call: StoreCall<'_, T>) -> Result<T, StoreError> {
        let limit = self.timing.call_timeout;
        match within(&*self.clock, self.clock.now() + limit, call).await {
            Some(answer) => answer,
            None => Err(StoreError::TimedOut(limit)),
        }
    }
}

/// What the future gives, if it does before this moment.
pub(crate) async fn within<T>(clock: &dyn Clock, moment: Moment, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        value = future => Some(value),
        () = clock.sleep_until(moment) => None,
    }
}
