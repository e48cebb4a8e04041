//! The history of an orchestration: page by page, or all of it as lines.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use unisono_engine::Event;
use unisono_engine::orchestration::{ContextBefore, OrchestrationEvent, RunKey};
use unisono_model::api::{HistoryEntry, Page};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;

use super::definitions::{DEFAULT_LIMIT, MOST_LIMIT};
use super::extract::{Names, Params};
use super::problem::{Answer, ApiError};
use super::reads::{Located, events, locate, not_found};
use super::{Api, lines};
use crate::partition::Unavailable;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HistoryParams {
    after: Option<u64>,
    limit: Option<usize>,
    page_token: Option<u64>,
}

/// List what happened to an orchestration, oldest first. With `Accept: application/x-ndjson` all of it, one entry a line.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/orchestrations/{id}/history", tag = "orchestrations",
    params(("namespace" = String, Path), ("id" = String, Path), ("after" = Option<u64>, Query, description = "Only what has a greater revision"),
        ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query)),
    responses((status = 200, content((Page<HistoryEntry> = "application/json"), (HistoryEntry = "application/x-ndjson"))),
        (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn history(
    State(api): State<Api>,
    Names([namespace, id]): Names<2>,
    headers: HeaderMap,
    Params(params): Params<HistoryParams>,
) -> Answer<Response> {
    let run = locate(&api, &namespace, &id).await?;
    let after = Revision(params.page_token.or(params.after).unwrap_or(0));
    let mut reader = HistoryReader::new(run, after);
    if lines::wanted(&headers) {
        let left = params.limit.unwrap_or(usize::MAX);
        return Ok(export(api, (namespace, id), reader, left));
    }
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT * 5).clamp(1, MOST_LIMIT);
    let mut items = reader.read(&api, limit + 1)?;
    if !still_there(&api, (&namespace, &id), reader.run.key)? {
        return Err(not_found(&id));
    }
    let next_page_token = (items.len() > limit).then(|| {
        items.truncate(limit);
        items.last().map(|last| last.revision.to_string()).unwrap_or_default()
    });
    Ok(Json(Page { items, next_page_token }).into_response())
}

/// Reads on where the last reading ended, so that nothing is held between two of them.
fn export(api: Api, run: (Name, Name), reader: HistoryReader, left: usize) -> Response {
    lines::answer((reader, left), move |(mut reader, left)| {
        let (api, run) = (api.clone(), run.clone());
        async move {
            let (key, wanted) = (reader.run.key, left.min(MOST_LIMIT));
            let (entries, reader) = tokio::task::spawn_blocking({
                let api = api.clone();
                move || reader.read(&api, wanted).map(|entries| (entries, reader))
            })
            .await
            .map_err(|error| ApiError::internal(format!("the history could not be read: {error}")))??;
            if !still_there(&api, (&run.0, &run.1), key)? {
                return Err(ApiError::conflict(
                    "deleted-meanwhile",
                    "the orchestration was deleted meanwhile",
                ));
            }
            let left = left - entries.len();
            let more = entries.len() == wanted && left > 0;
            Ok((entries, more.then_some((reader, left))))
        }
    })
}

/// Whether what was read of a run is all of it: it may have been deleted meanwhile.
pub(super) fn still_there(api: &Api, (namespace, id): (&Name, &Name), key: RunKey) -> Answer<bool> {
    let found = api
        .partition
        .store()?
        .run_key(namespace, id)
        .map_err(Unavailable::from)?;
    Ok(found.map(|found| found.0) == Some(key.0))
}

/// Makes entries of the events of a run, and goes on where it ended.
pub(super) struct HistoryReader {
    run: Located,
    after: Revision,
    context: Option<ContextBefore>,
}

impl HistoryReader {
    /// Begins behind a revision.
    pub(super) fn new(run: Located, after: Revision) -> Self {
        Self {
            run,
            after,
            context: None,
        }
    }

    /// The run that is read of.
    pub(super) fn into_run(self) -> Located {
        self.run
    }

    /// The next entries that the store shows, at most `limit`.
    pub(super) fn read(&mut self, api: &Api, limit: usize) -> Answer<Vec<HistoryEntry>> {
        let read = |event| match event {
            Ok((revision, at, Event::Orchestration(event))) => Some(Ok((revision, at, event))),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        };
        let next = events(api, self.run.key, self.after)?.filter_map(read).take(limit);
        let next: Vec<(Revision, Timestamp, OrchestrationEvent)> = next.collect::<Answer<_>>()?;
        // Most runs never change their context, and cost nothing more.
        if self.context.is_none() && next.iter().any(|(_, _, event)| event.patch().is_some()) {
            self.context = Some(self.context_so_far(api)?);
        }
        let entries = next.iter().map(|(revision, at, event)| {
            let mut entry = self.run.history_entry(*revision, *at, event);
            if let Some(context) = &mut self.context {
                context.pass(event, Some(&mut entry));
            }
            self.after = *revision;
            entry
        });
        Ok(entries.collect())
    }

    /// What the context holds behind the last entry.
    fn context_so_far(&self, api: &Api) -> Answer<ContextBefore> {
        let mut context = ContextBefore::default();
        for event in events(api, self.run.key, Revision::default())? {
            match event? {
                (revision, ..) if revision > self.after => break,
                (_, _, Event::Orchestration(event)) => context.pass(&event, None),
                _ => {}
            }
        }
        Ok(context)
    }
}
