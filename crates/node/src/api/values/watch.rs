//! Watching values from any revision on that is still known.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tokio::sync::mpsc;
use unisono_engine::codec::{batch_range, read_batch};
use unisono_journal::FileBatches;
use unisono_model::ids::Revision;
use unisono_model::name::Name;

use crate::api::Api;
use crate::api::problem::{Answer, ApiError};
use crate::feed::{Begin, Change, Missed, Scope, WatchId, changes_in};

/// After so long without a change a watch tells how far it is, so that it can go on from there later.
const PROGRESS: Duration = Duration::from_secs(15);
/// Changes that were read of the journal and wait to be sent.
const READ_AHEAD: usize = 256;

/// What a watch tells next.
pub(crate) enum Next {
    /// Something has changed.
    Change(Arc<Change>),
    /// Nothing else has happened up to here.
    Progress(Revision),
}

/// What is read of the journal.
enum Read {
    Change(Arc<Change>),
    UpTo(Revision),
}

/// Changes of values, in order and without gaps.
pub(crate) struct ValueWatch {
    api: Api,
    namespace: Name,
    scope: Scope,
    /// Everything up to here has been told.
    after: Revision,
    missed: VecDeque<Arc<Change>>,
    journal: Option<mpsc::Receiver<Read>>,
    coming: Option<(WatchId, mpsc::Receiver<Arc<Change>>)>,
    begun: bool,
    ended: bool,
}

impl ValueWatch {
    /// Begins after a revision, or with what happens from now on.
    pub(crate) async fn begin(api: Api, namespace: Name, scope: Scope, after: Option<Revision>) -> Answer<Self> {
        let mut watch = Self {
            after: after.unwrap_or_default(),
            api,
            namespace,
            scope,
            missed: VecDeque::new(),
            journal: None,
            coming: None,
            begun: false,
            ended: false,
        };
        watch.go_on(after).await?;
        Ok(watch)
    }

    /// From memory when it still has what comes next, and otherwise from the journal.
    async fn go_on(&mut self, after: Option<Revision>) -> Answer<()> {
        match self.api.hub.feed.watch(&self.namespace, &self.scope, after) {
            Begin::From {
                id,
                missed,
                coming,
                last,
            } => {
                self.coming = Some((id, coming));
                if after.is_none() {
                    self.after = last;
                }
                self.missed = self.read(missed).await?.into();
                Ok(())
            }
            Begin::Ahead { last } => Err(ahead(self.after, last)),
            Begin::TooOld { floor } => self.read_journal(floor).await,
        }
    }

    async fn read(&self, missed: Missed) -> Answer<Vec<Arc<Change>>> {
        if missed.is_small() {
            return Ok(missed.read(&self.namespace, &self.scope));
        }
        let (namespace, scope) = (self.namespace.clone(), self.scope.clone());
        let read = tokio::task::spawn_blocking(move || missed.read(&namespace, &scope)).await;
        read.map_err(|error| ApiError::internal(format!("changes could not be read: {error}")))
    }

    async fn read_journal(&mut self, floor: Revision) -> Answer<()> {
        let mut batches = self.api.partition.journal().await?.peekable();
        let first = match batches.peek() {
            Some(Ok((_, batch))) => batch_range(batch).map_or(floor.next(), |(first, _)| first),
            _ => floor.next(),
        };
        if self.after.next() < first {
            return Err(compacted(self.after, first));
        }
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let (namespace, scope, after) = (self.namespace.clone(), self.scope.clone(), self.after);
        tokio::task::spawn_blocking(move || read_batches(batches, (&namespace, &scope), after, &sender));
        self.journal = Some(receiver);
        Ok(())
    }

    /// What comes next; `None` when the watch has ended, and the watcher may watch again from where it is.
    pub(crate) async fn next(&mut self) -> Option<Next> {
        if !self.begun {
            self.begun = true;
            return Some(Next::Progress(self.after));
        }
        while !self.ended {
            if let Some(change) = self.missed.pop_front() {
                self.after = change.revision;
                return Some(Next::Change(change));
            }
            if let Some(journal) = &mut self.journal {
                match journal.recv().await {
                    Some(Read::Change(change)) => {
                        self.after = change.revision;
                        return Some(Next::Change(change));
                    }
                    Some(Read::UpTo(revision)) => self.after = self.after.max(revision),
                    None => {
                        self.journal = None;
                        self.go_on(Some(self.after)).await.ok()?;
                    }
                }
                continue;
            }
            if let Some(next) = self.live().await {
                return Some(next);
            }
        }
        None
    }

    async fn live(&mut self) -> Option<Next> {
        let Some((_, coming)) = &mut self.coming else {
            self.ended = true;
            return None;
        };
        tokio::select! {
            change = coming.recv() => match change {
                Some(change) if change.revision > self.after => {
                    self.after = change.revision;
                    Some(Next::Change(change))
                }
                Some(_) => None,
                // It was too slow.
                None => {
                    self.ended = true;
                    None
                }
            },
            () = tokio::time::sleep(PROGRESS) => self.progress(),
            () = self.api.stopping.cancelled() => {
                self.ended = true;
                self.progress()
            }
        }
    }

    /// How far the watch is, if nothing waits to be told.
    fn progress(&mut self) -> Option<Next> {
        let last = self.api.hub.feed.last();
        let (_, coming) = self.coming.as_ref()?;
        if !coming.is_empty() {
            self.ended = false;
            return None;
        }
        self.after = self.after.max(last);
        Some(Next::Progress(self.after))
    }
}

impl Drop for ValueWatch {
    fn drop(&mut self) {
        if let Some((id, _)) = self.coming.take() {
            self.api.hub.feed.unwatch(&self.namespace, &self.scope, id);
        }
    }
}

/// Reads until the journal's end, or until nobody wants to know any more. An error ends it as well: what comes next was
/// removed meanwhile, and the watcher is told so when it asks for it.
fn read_batches(
    batches: std::iter::Peekable<FileBatches>,
    scope: (&Name, &Scope),
    after: Revision,
    sender: &mpsc::Sender<Read>,
) {
    for batch in batches.map_while(Result::ok).map(|(_, batch)| batch) {
        let Ok((first, count)) = batch_range(&batch) else {
            return;
        };
        let last = Revision((first.0 + count).saturating_sub(1));
        if last <= after {
            continue;
        }
        let Ok(events) = read_batch(&batch) else { return };
        let changes = changes_in(events, scope, after).into_iter().map(Read::Change);
        for read in changes.chain([Read::UpTo(last)]) {
            if sender.blocking_send(read).is_err() {
                return;
            }
        }
    }
}

fn compacted(after: Revision, oldest: Revision) -> ApiError {
    ApiError::new(
        StatusCode::GONE,
        "compacted",
        format!(
            "what happened right after revision {after} is no longer kept: the oldest available revision is {oldest}"
        ),
    )
    .field("after")
    .help("list the values, and watch from the revision that the list gives")
    .data(json!({ "oldestRevision": oldest }))
}

fn ahead(after: Revision, last: Revision) -> ApiError {
    ApiError::bad_request(
        "revision-ahead",
        format!("revision {after} has not been reached: the last one is {last}"),
    )
    .field("after")
    .help("the server may have been restored from a backup: list the values, and watch from the revision that the list gives")
}
