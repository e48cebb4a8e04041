//! The leases of hosts, as values on a server.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::value::to_raw_value;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use unisono_host::{FencingToken, Holder, Insertion, LeaseKey, LeaseStore, StoreCall, StoreError};
use unisono_model::api::Page;
use unisono_model::hosts::{HostView, slot, slots_of};
use unisono_model::key::Key;
use unisono_model::values::{ChangeKind, Content, ValueChange, ValueView};

use crate::client::Client;
use crate::error::ClientError;
use crate::query::Query;
use crate::values::{Swap, ValueWatchEvent, WatchScope};

impl Client {
    /// The hosts of all services, or of one: those that lead first, by service and slot.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn hosts(&self, service: Option<&str>) -> Result<Vec<HostView>, ClientError> {
        let mut query = Query::default();
        query.option("service", service);
        let page: Page<HostView> = self.get("/hosts", query).await?;
        Ok(page.items)
    }

    /// The leases of hosts on the server, for [`unisono_host::Host`].
    #[must_use]
    pub fn host_leases(&self) -> HostLeases {
        HostLeases {
            client: self.clone(),
            watched: Mutex::default(),
        }
    }
}

/// The leases of hosts on a server. The holder of a slot is a value with a time to live; its fencing token is the revision
/// that created the value.
#[derive(Debug)]
pub struct HostLeases {
    client: Client,
    watched: Mutex<Option<Watched>>,
}

/// A watch of a service's slots.
#[derive(Debug)]
struct Watched {
    service: String,
    freed: watch::Sender<()>,
    task: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LeaseStore for HostLeases {
    fn insert_if_absent<'a>(
        &'a self,
        key: &'a LeaseKey,
        holder: &'a Holder,
        ttl: Duration,
    ) -> StoreCall<'a, Insertion> {
        async move {
            let inserted = self.client.insert_if_absent(&path(key), content(holder)?, ttl).await;
            match inserted.map_err(unavailable)? {
                Swap::Done(put) => Ok(Insertion::Granted(FencingToken(put.create_revision.0))),
                Swap::Refused(current) => Ok(Insertion::Held {
                    by: Holder::read(current.map_or_else(String::new, |value| text(&value))),
                    ends_in: None,
                }),
            }
        }
        .boxed()
    }

    fn compare_and_swap<'a>(
        &'a self,
        key: &'a LeaseKey,
        holder: &'a Holder,
        ttl: Duration,
    ) -> StoreCall<'a, Option<FencingToken>> {
        async move {
            let (expected, same) = (content(holder)?, content(holder)?);
            let swapped = self.client.compare_and_swap(&path(key), expected, same, ttl).await;
            Ok(match swapped.map_err(unavailable)? {
                Swap::Done(put) => Some(FencingToken(put.create_revision.0)),
                Swap::Refused(_) => None,
            })
        }
        .boxed()
    }

    fn compare_and_delete<'a>(&'a self, key: &'a LeaseKey, holder: &'a Holder) -> StoreCall<'a, bool> {
        async move {
            let deleted = self.client.compare_and_delete(&path(key), content(holder)?).await;
            Ok(matches!(deleted.map_err(unavailable)?, Swap::Done(())))
        }
        .boxed()
    }

    fn changed(&self, service: &str) -> Option<BoxFuture<'static, ()>> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = match &mut *watched {
            Some(watched) if watched.service == service => watched,
            other => other.insert(self.watch(service)),
        };
        let mut freed = watched.freed.subscribe();
        let changed = async move {
            if freed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        Some(changed.boxed())
    }
}

impl HostLeases {
    fn watch(&self, service: &str) -> Watched {
        let freed = watch::Sender::new(());
        let follow = follow(self.client.clone(), slots_of(service), freed.clone());
        Watched {
            service: service.to_owned(),
            freed,
            task: tokio::spawn(follow).abort_handle(),
        }
    }
}

/// What a watch has seen slots hold: nothing, or the JSON of their holder. A content that is no JSON, or is withheld, is
/// nobody's that leads.
#[derive(Debug, Default)]
struct Slots(BTreeMap<Key, Option<Option<String>>>);

impl Slots {
    /// Whether a slot may have become free, or another's, by this: by all but a renewal, and a grant of what was free.
    fn learn(&mut self, change: ValueChange) -> bool {
        let holds = (change.kind == ChangeKind::Put).then(|| change.value.map(|json| json.0.get().to_owned()));
        let is_put = holds.is_some();
        let renewed = self.0.get(&change.key) == Some(&holds);
        let held = self.0.insert(change.key, holds);
        let granted = is_put && held == Some(None);
        !(renewed && is_put || granted)
    }
}

/// Tells when a slot may have become free or was taken from who had it, and whenever a watch begins, since nobody knows what
/// was before.
async fn follow(client: Client, prefix: String, freed: watch::Sender<()>) {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        let mut begins = true;
        let mut slots = Slots::default();
        let mut events = std::pin::pin!(client.watch_values(&WatchScope::Prefix(prefix.clone()), None));
        while let Some(Ok(event)) = events.next().await {
            let tells = match event {
                ValueWatchEvent::Change(change) => slots.learn(*change),
                ValueWatchEvent::Progress(_) => std::mem::take(&mut begins),
            };
            if tells {
                freed.send_replace(());
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn path(key: &LeaseKey) -> String {
    slot(&key.service, key.slot)
}

fn content(holder: &Holder) -> Result<Content, StoreError> {
    to_raw_value(holder.as_str())
        .map(Content::Json)
        .map_err(|error| StoreError::Unavailable(error.into()))
}

/// Who holds the slot. What somebody else has written there is nobody that we know, and holds it all the same.
fn text(value: &ValueView) -> String {
    let json = value.value.as_ref().map_or("", |json| json.0.get());
    serde_json::from_str(json).unwrap_or_else(|_| "what is no host".to_owned())
}

fn unavailable(error: ClientError) -> StoreError {
    StoreError::Unavailable(error.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn change(kind: &str, slot: u8, value: Option<&str>) -> ValueChange {
        let key = format!("hosts/slots/db/{slot}");
        let change = json!({"kind": kind, "key": key, "revision": 1, "at": "2026-01-01T00:00:00Z", "value": value});
        serde_json::from_value(change).unwrap()
    }

    #[test]
    fn renewals_and_grants_of_free_slots_are_not_told_and_everything_else_is() {
        let mut slots = Slots::default();
        assert!(slots.learn(change("put", 1, Some("a"))), "nobody knows whose it was");
        assert!(!slots.learn(change("put", 1, Some("a"))), "a renewal");
        assert!(slots.learn(change("put", 2, Some("b"))), "another slot");
        assert!(slots.learn(change("put", 1, Some("thief"))));
        assert!(!slots.learn(change("put", 1, Some("thief"))));
        assert!(slots.learn(change("deleted", 1, None)));
        assert!(!slots.learn(change("put", 1, Some("c"))), "a grant");
        assert!(slots.learn(change("expired", 1, None)));
    }
}
