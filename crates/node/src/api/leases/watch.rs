//! Watching a lock or an election: what it is like now, and again whenever it has changed.
//!
//! Changes that follow each other fast are shown together; the last one is always shown.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::watch::Receiver;
use unisono_engine::State;
use unisono_engine::lease::LockAddress;
use unisono_model::ids::Revision;

use crate::api::Api;
use crate::api::values::event_stream;

/// After so long without a change something is sent, so that both sides know that the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Watch<F> {
    api: Api,
    lock: LockAddress,
    word: &'static str,
    read: F,
    /// Taken when dropped.
    changes: Option<Receiver<Revision>>,
    begun: bool,
}

impl<F> Drop for Watch<F> {
    fn drop(&mut self) {
        if let Some(changes) = self.changes.take() {
            self.api.hub.feed.unwatch_lock(&self.lock, changes);
        }
    }
}

/// The stream of what is read of it.
pub(super) fn locks<T, F>(api: Api, lock: LockAddress, word: &'static str, read: F) -> Response
where
    T: Serialize + Send + 'static,
    F: Fn(&State, &LockAddress) -> T + Copy + Send + Sync + 'static,
{
    let changes = Some(api.hub.feed.watch_lock(&lock));
    let watch = Watch {
        api,
        lock,
        word,
        read,
        changes,
        begun: false,
    };
    let events = stream::unfold(watch, |mut watch| async {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    event_stream(Body::from_stream(events))
}

impl<T, F> Watch<F>
where
    T: Serialize + Send + 'static,
    F: Fn(&State, &LockAddress) -> T + Copy + Send + Sync + 'static,
{
    async fn next(&mut self) -> Option<Bytes> {
        let changes = self.changes.as_mut()?;
        if self.begun {
            tokio::select! {
                changed = changes.changed() => changed.ok()?,
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(Bytes::from_static(b":\n\n")),
                () = self.api.stopping.cancelled() => return None,
            }
        }
        self.begun = true;
        // What changes from here on is shown next.
        let revision = *changes.borrow_and_update();
        let (lock, read) = (self.lock.clone(), self.read);
        let view = self.api.partition.query(move |state| read(state, &lock)).await.ok()?;
        // It is made of types that can always be written as JSON, which has no line breaks.
        let json = serde_json::to_string(&view).unwrap_or_default();
        let word = self.word;
        Some(Bytes::from(format!("id: {revision}\nevent: {word}\ndata: {json}\n\n")))
    }
}
