//! Watching an orchestration: server-sent events.
//!
//! The stream begins with `snapshot` (the whole orchestration), goes on with `history` (one entry
//! each, `id` is its revision), and ends with `end`. With `Last-Event-ID` it goes on after that
//! revision instead, and nothing in between is missing.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event as Sse, KeepAlive, Sse as SseResponse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::mpsc;
use unisono_model::api::HistoryEntry;
use unisono_model::ids::Revision;
use unisono_model::name::Name;

use super::Api;
use super::history::HistoryReader;
use super::problem::{Answer, ApiError};
use super::reads::{Located, find, locate};
use crate::hub::Followed;

/// Entries that are sent of what was missed; then the stream ends, and the follower comes again for more.
const MOST_MISSED: usize = 10_000;

pub(super) async fn watch(api: Api, namespace: Name, id: Name, headers: &HeaderMap) -> Answer<Response> {
    let after = last_event_id(headers)?;
    let mut located = locate(&api, &namespace, &id).await?;
    // From here on nothing is missed: what is decided before the snapshot is in it.
    let followed = api.hub.follow(located.key);
    let mut ready = Vec::new();
    let (last, ended) = match after {
        Some(after) => {
            api.partition.barrier().await?;
            let mut reader = HistoryReader::new(located, after);
            let missed = reader.read(&api, MOST_MISSED)?;
            located = reader.into_run();
            let last = missed.last().map_or(after, |entry| entry.revision);
            for entry in &missed {
                ready.push(history(entry));
            }
            if missed.len() >= MOST_MISSED {
                return Ok(response(Follower::of(api, located, (followed, last), ready, true)));
            }
            let (_, view) = find(&api, &namespace, &id).await?;
            (last, view.summary.state.is_terminal() && view.revision <= last)
        }
        None => {
            let (_, view) = find(&api, &namespace, &id).await?;
            ready.push(event("snapshot", view.revision, &view));
            (view.revision, view.summary.state.is_terminal())
        }
    };
    if ended {
        ready.push(event("end", last, &()));
    }
    Ok(response(Follower::of(api, located, (followed, last), ready, ended)))
}

fn response(follower: Follower) -> Response {
    let events = stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    SseResponse::new(events)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response()
}

fn last_event_id(headers: &HeaderMap) -> Answer<Option<Revision>> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .map(|revision| Some(Revision(revision)))
        .ok_or_else(|| ApiError::bad_request("bad-header", "Last-Event-ID is no revision").field("Last-Event-ID"))
}

fn event(kind: &str, revision: Revision, data: &impl Serialize) -> Sse {
    Sse::default()
        .event(kind)
        .id(revision.to_string())
        .data(self::data(data))
}

/// A value as JSON on one line.
pub(super) fn data(value: &impl Serialize) -> String {
    // What people gave as JSON is kept as they wrote it; a line break in it is white space.
    let json = serde_json::to_string(value).unwrap_or_default();
    json.replace(['\n', '\r'], " ")
}

fn history(entry: &HistoryEntry) -> Sse {
    event("history", entry.revision, entry)
}

struct Follower {
    api: Api,
    located: Located,
    followed: mpsc::Receiver<Followed>,
    last: Revision,
    ready: std::collections::VecDeque<Sse>,
    /// Nothing comes after what is ready.
    ended: bool,
}

impl Follower {
    fn of(
        api: Api,
        located: Located,
        (followed, last): (mpsc::Receiver<Followed>, Revision),
        ready: Vec<Sse>,
        ended: bool,
    ) -> Self {
        Self {
            api,
            located,
            followed,
            last,
            ready: ready.into(),
            ended,
        }
    }

    async fn next(&mut self) -> Option<Sse> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            if self.ended {
                return None;
            }
            let (revision, at, event) = tokio::select! {
                followed = self.followed.recv() => followed?,
                () = self.api.stopping.cancelled() => return None,
            };
            if revision <= self.last {
                continue;
            }
            self.last = revision;
            if let Some(entry) = self.located.entry(revision, at, &event) {
                self.ready.push_back(history(&entry));
                if entry.state.is_some_and(|state| state.is_terminal()) {
                    self.ended = true;
                    self.ready.push_back(self::event("end", revision, &()));
                }
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.followed.close();
        self.api.hub.sweep();
    }
}
