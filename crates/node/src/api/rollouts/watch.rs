//! Watching an entity: server-sent events.
//!
//! The stream begins with `snapshot`. Then come `history` (each entry once and in order; `id` is its number), and, put
//! together when much happens: `targets` (those that have changed, while they are few), `progress` (the entity and its
//! rollout as they are now), and `grid` when cells were asked for. With `Last-Event-ID` it begins with the entries after
//! that one; when they are no longer kept, `gap` says which are missing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::time::Instant;
use unisono_engine::State;
use unisono_model::rollout::{EntitySnapshot, Gap, HistoryEntry, TargetView, TargetsChanged};

use super::asked::{At, no_entity};
use super::views::{draw, present};
use crate::api::Api;
use crate::api::problem::{Answer, ApiError};
use crate::api::values::event_stream;
use crate::fleets::{Changes, FleetWatch};

/// Between two looks: what happens meanwhile is told together.
const TOGETHER: Duration = Duration::from_millis(200);
/// After so long without a change something is sent, so that both sides know that the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Targets that are told one by one.
const MOST_TARGETS: usize = 256;
/// Entries of the history that are told by one look.
const MOST_ENTRIES: usize = 1_000;
/// A grid may take this part of the time: one that takes long to draw is drawn less often.
const SHARE_OF_GRIDS: u32 = 20;

pub(super) async fn watch(api: Api, at: At, cells: Option<usize>, headers: &HeaderMap) -> Answer<Response> {
    let after = last_event_id(headers)?;
    let (namespace, entity) = (at.namespace.clone(), at.entity.clone());
    let number = api.partition.query(move |state| {
        let fleet = state.rollouts().get(&namespace, &entity)?;
        Some(fleet.number())
    });
    let number = number.await?.ok_or_else(|| no_entity(&at.entity))?;
    // From here on nothing is missed: what is decided before the first look is in it.
    let changes = api.hub.fleets.watch(number);
    let mut follower = Follower {
        api,
        at,
        changes,
        sequence: after.unwrap_or(0),
        cells,
        ready: VecDeque::new(),
        next_look: Instant::now(),
        next_grid: Instant::now(),
    };
    follower.begin(after.is_some()).await?;
    let events = stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Ok(event_stream(HttpBody::from_stream(events)))
}

fn last_event_id(headers: &HeaderMap) -> Answer<Option<u64>> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| {
        ApiError::bad_request("bad-header", "Last-Event-ID is no number of an entry of the history")
            .field("Last-Event-ID")
    })
}

struct Follower {
    api: Api,
    at: At,
    changes: FleetWatch,
    /// The last entry of the history that was told.
    sequence: u64,
    cells: Option<usize>,
    ready: VecDeque<Bytes>,
    next_look: Instant,
    next_grid: Instant,
}

/// What one look shows.
struct Look {
    snapshot: EntitySnapshot,
    entries: Vec<HistoryEntry>,
    /// The first entry that is kept.
    first: u64,
    targets: TargetsChanged,
}

fn event(kind: &str, id: Option<u64>, data: &impl Serialize) -> Bytes {
    // It is made of types that can always be written as JSON, which has no line breaks.
    let json = serde_json::to_string(data).unwrap_or_default();
    let id = id.map_or(String::new(), |id| format!("id: {id}\n"));
    Bytes::from(format!("{id}event: {kind}\ndata: {json}\n\n"))
}

impl Follower {
    async fn begin(&mut self, goes_on: bool) -> Answer<()> {
        let look = self.look(Changes::default()).await?;
        if goes_on {
            self.tell_history(&look);
        } else {
            self.sequence = look.snapshot.sequence;
        }
        self.ready
            .push_back(event("snapshot", Some(self.sequence), &look.snapshot));
        self.tell_grid().await
    }

    /// What comes next; `None` when the server stops or the entity cannot be read any more, and the follower comes again.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            let stopping = self.api.stopping.clone();
            tokio::select! {
                () = self.changes.changed() => {}
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(Bytes::from_static(b":\n\n")),
                () = stopping.cancelled() => return None,
            }
            tokio::select! {
                () = tokio::time::sleep_until(self.next_look) => {}
                () = stopping.cancelled() => return None,
            }
            self.tell().await.ok()?;
        }
    }

    async fn tell(&mut self) -> Answer<()> {
        self.next_look = Instant::now() + TOGETHER;
        let changes = self.changes.take();
        let look = self.look(changes).await?;
        self.tell_history(&look);
        if !look.targets.targets.is_empty() || !look.targets.complete {
            self.ready.push_back(event("targets", None, &look.targets));
        }
        self.ready.push_back(event("progress", None, &look.snapshot));
        self.tell_grid().await
    }

    /// Tells the entries after the last one that was told. More than one look has room for come with the next one.
    fn tell_history(&mut self, look: &Look) {
        if look.first > self.sequence + 1 {
            let gap = Gap {
                after: self.sequence,
                first: look.first,
            };
            self.ready.push_back(event("gap", None, &gap));
        }
        for entry in &look.entries {
            self.sequence = entry.sequence;
            self.ready.push_back(event("history", Some(entry.sequence), entry));
        }
        if look.entries.len() == MOST_ENTRIES {
            self.changes.again();
        }
    }

    async fn tell_grid(&mut self) -> Answer<()> {
        let Some(cells) = self.cells else { return Ok(()) };
        let begin = Instant::now();
        if begin < self.next_grid {
            // It is drawn later, and then shows this as well.
            self.changes.again();
            return Ok(());
        }
        let grid = draw(&self.api, &self.at, cells).await?;
        self.next_grid = Instant::now() + begin.elapsed() * SHARE_OF_GRIDS;
        self.ready.push_back(event("grid", None, &grid));
        Ok(())
    }

    async fn look(&self, changes: Changes) -> Answer<Look> {
        let (namespace, entity, after) = (self.at.namespace.clone(), self.at.entity.clone(), self.sequence);
        let read = move |state: &State| {
            let rollouts = state.rollouts();
            let fleet = rollouts.get(&namespace, &entity)?;
            let (first, last) = fleet.history_kept().unwrap_or((1, 0));
            let few = changes.slots.len() <= MOST_TARGETS;
            let slots = changes.slots.iter().filter(|_| few);
            let targets: Vec<Option<TargetView>> = slots.map(|slot| fleet.target_view(*slot)).collect();
            let complete = few && !changes.more && targets.iter().all(Option::is_some);
            Some(Look {
                snapshot: EntitySnapshot {
                    entity: rollouts.entity_view(&namespace, &entity)?,
                    rollout: rollouts.rollout_view(&namespace, &entity, present(state)),
                    sequence: last,
                },
                entries: fleet.history(after, None, MOST_ENTRIES),
                first,
                targets: TargetsChanged {
                    targets: targets.into_iter().flatten().collect(),
                    complete,
                },
            })
        };
        self.api
            .partition
            .query(read)
            .await?
            .ok_or_else(|| no_entity(&self.at.entity))
    }
}
