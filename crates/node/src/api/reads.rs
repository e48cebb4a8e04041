//! Reading one orchestration and its logs, and what else its history says.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use unisono_engine::codec::read_history;
use unisono_engine::orchestration::{OrchestrationEvent, Replay, RunKey, history_entry};
use unisono_engine::{Event, Rejection, archived_view};
use unisono_model::api::{HistoryEntry, LogEntry, OrchestrationView, Page};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;

use super::Api;
use super::extract::{Names, Params, name};
use super::history::still_there;
use super::lines::accepts;
use super::problem::{Answer, ApiError};
use crate::partition::Unavailable;

/// The events of a run that the store shows, after a revision.
pub(super) fn events(
    api: &Api,
    key: RunKey,
    after: Revision,
) -> Answer<impl Iterator<Item = Answer<Recorded>> + use<>> {
    let chunks = api
        .partition
        .store()?
        .history(unisono_store::RunKey(key.0), after.0)
        .map_err(Unavailable::from)?;
    let mut last = after;
    let unreadable = |error| ApiError::internal(format!("the history of an orchestration cannot be read: {error}"));
    let events = chunks.flat_map(move |chunk| {
        let events = chunk
            .map_err(|error| Unavailable::from(error).into())
            .and_then(|(_, chunk)| read_history(&chunk).map_err(unreadable));
        match events {
            Ok(events) => events.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        }
    });
    // After a crash chunks may overlap.
    Ok(events.filter(move |event| match event {
        Ok((revision, ..)) => {
            let new = *revision > last;
            last = last.max(*revision);
            new
        }
        Err(_) => true,
    }))
}

pub(super) type Recorded = (Revision, Timestamp, Event);

/// What a run was started with, and its key, as far as the store shows it; open or finished.
pub(super) fn started(api: &Api, namespace: &Name, id: &Name) -> Answer<Option<(RunKey, OrchestrationEvent)>> {
    let key = api
        .partition
        .store()?
        .run_key(namespace, id)
        .map_err(Unavailable::from)?;
    let Some(key) = key.map(|key| RunKey(key.0)) else {
        return Ok(None);
    };
    match events(api, key, Revision::default())?.next().transpose()? {
        Some((_, _, Event::Orchestration(started @ OrchestrationEvent::Started { .. }))) => Ok(Some((key, started))),
        _ => Ok(None),
    }
}

/// The finished run of this id, folded from its history, as far as the store shows it.
pub(super) fn archived(api: &Api, namespace: &Name, id: &Name) -> Answer<Option<(RunKey, OrchestrationView)>> {
    let key = api
        .partition
        .store()?
        .run_key(namespace, id)
        .map_err(Unavailable::from)?;
    let Some(key) = key.map(|key| RunKey(key.0)) else {
        return Ok(None);
    };
    let definitions = api.partition.definitions();
    let mut replay = Replay::new(&definitions, key);
    for event in events(api, key, Revision::default())? {
        let (revision, at, event) = event?;
        replay.fold(revision, at, &event);
    }
    let ended = replay.run().filter(|_| replay.has_ended());
    Ok(ended.map(|run| (key, archived_view(run))))
}

/// A run, open or finished, as of now.
pub(super) async fn find(api: &Api, namespace: &Name, id: &Name) -> Answer<(RunKey, OrchestrationView)> {
    let (of, called) = (namespace.clone(), id.clone());
    let open = api.partition.query(move |state| state.view(&of, &called)).await?;
    if let Some((key, mut view)) = open {
        api.notes.add_to(&mut view);
        return Ok((key, view));
    }
    api.partition.barrier().await?;
    match archived(api, namespace, id)? {
        Some(finished) => Ok(finished),
        None => Err(not_found(id)),
    }
}

/// An orchestration, open or ended.
pub(crate) async fn find_orchestration(api: &Api, namespace: &Name, id: &Name) -> Answer<OrchestrationView> {
    find(api, namespace, id).await.map(|(_, view)| view)
}

pub(super) fn not_found(id: &Name) -> ApiError {
    ApiError::not_found(
        "orchestration-not-found",
        format!("there is no orchestration \"{id}\" in this namespace"),
    )
    .field("id")
    .help("`unisono list` shows those that there are")
}

/// Get an orchestration, or watch it with `Accept: text/event-stream`.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/orchestrations/{id}", tag = "orchestrations",
    params(("namespace" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = OrchestrationView), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn get(
    State(api): State<Api>,
    Names([namespace, id]): Names<2>,
    headers: HeaderMap,
) -> Answer<Response> {
    if accepts(&headers, "text/event-stream") {
        return super::watch::watch(api, namespace, id, &headers).await;
    }
    let (_, view) = find(&api, &namespace, &id).await?;
    let etag = format!("\"{}\"", view.revision);
    Ok(([(header::ETAG, etag)], Json(view)).into_response())
}

/// Where a run's history and logs lie, and what its activities are called.
pub(super) struct Located {
    pub(super) key: RunKey,
    activities: Vec<Name>,
}

/// Finds a run, open or finished, with everything decided so far visible in the store.
pub(super) async fn locate(api: &Api, namespace: &Name, id: &Name) -> Answer<Located> {
    let (of, called) = (namespace.clone(), id.clone());
    let open = api
        .partition
        .query(move |state| {
            state
                .runs()
                .by_id(&of, &called)
                .map(|run| (run.key, run.definition.type_name.clone(), run.definition.version))
        })
        .await?;
    api.partition.barrier().await?;
    let (key, type_name, version) = match open {
        Some(open) => open,
        None => {
            let Some((key, OrchestrationEvent::Started { type_name, version, .. })) = started(api, namespace, id)?
            else {
                return Err(not_found(id));
            };
            (key, type_name, version)
        }
    };
    let definitions = api.partition.definitions();
    let activities = definitions
        .orchestration(namespace, &type_name, version)
        .and_then(|stored| stored.plan())
        .map(|plan| plan.activities.iter().map(|activity| activity.id.clone()).collect())
        .unwrap_or_default();
    Ok(Located { key, activities })
}

impl Located {
    pub(super) fn name_of(&self, activity: u32) -> Option<Name> {
        self.activities.get(activity as usize).cloned()
    }

    pub(super) fn entry(&self, revision: Revision, at: Timestamp, event: &Event) -> Option<HistoryEntry> {
        match event {
            Event::Orchestration(event) => Some(self.history_entry(revision, at, event)),
            _ => None,
        }
    }

    pub(super) fn history_entry(&self, revision: Revision, at: Timestamp, event: &OrchestrationEvent) -> HistoryEntry {
        history_entry(revision, at, event, |index| self.name_of(index))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LogParams {
    activity: Option<String>,
    attempt: Option<u32>,
}

/// Pieces of log that one answer holds at most.
const MOST_LOGS: usize = 10_000;

/// List what the attempts of an orchestration have logged.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/orchestrations/{id}/logs", tag = "orchestrations",
    params(("namespace" = String, Path), ("id" = String, Path), ("activity" = Option<String>, Query), ("attempt" = Option<u32>, Query)),
    responses((status = 200, body = Page<LogEntry>), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn logs(
    State(api): State<Api>,
    Names([namespace, id]): Names<2>,
    Params(params): Params<LogParams>,
) -> Answer<Json<Page<LogEntry>>> {
    let run = locate(&api, &namespace, &id).await?;
    let of = id.clone();
    let activity = match params.activity {
        None => None,
        Some(activity) => {
            let activity = name("activity", &activity)?;
            let index = run
                .activities
                .iter()
                .position(|known| *known == activity)
                .ok_or(Rejection::ActivityNotFound { id, activity })?;
            Some(u32::try_from(index).unwrap_or(u32::MAX))
        }
    };
    let records = api
        .partition
        .store()?
        .logs(unisono_store::RunKey(run.key.0), activity, params.attempt)
        .map_err(Unavailable::from)?;
    let mut items: Vec<LogEntry> = Vec::new();
    for record in records.take(MOST_LOGS) {
        let record = record.map_err(Unavailable::from)?;
        let entry = serde_json::from_slice(&record.bytes)
            .map_err(|error| ApiError::internal(format!("a log entry cannot be read: {error}")))?;
        items.push(entry);
    }
    if !still_there(&api, (&namespace, &of), run.key)? {
        return Err(not_found(&of));
    }
    Ok(Json(Page {
        items,
        next_page_token: None,
    }))
}
