//! Reading targets: pages of them, all of them, one, and what they should do.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use unisono_engine::rollout::{Fleet, TargetFilter};
use unisono_model::api::Page;
use unisono_model::rollout::{Instruction, TargetView};

use super::asked::{At, no_entity, no_target};
use super::views::GroupParams;
use crate::api::definitions::{DEFAULT_LIMIT, MOST_LIMIT};
use crate::api::extract::Params;
use crate::api::problem::{Answer, ApiError};
use crate::api::{Api, lines};

/// Targets of one page of a stream.
pub(super) const LINES_AT_ONCE: usize = 4_096;

/// Filters of a list of targets, read by hand because some may be repeated.
#[derive(Clone, Default)]
struct TargetParams {
    filter: TargetFilter,
    limit: Option<usize>,
    from: u64,
}

impl TargetParams {
    fn read(uri: &Uri) -> Answer<Self> {
        let axum::extract::Query(pairs) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|rejection| ApiError::bad_request("bad-parameter", rejection.body_text()))?;
        let mut params = Self::default();
        for (key, value) in pairs {
            params.set(&key, value)?;
        }
        Ok(params)
    }

    fn set(&mut self, key: &str, value: String) -> Answer<()> {
        let bad =
            |why: String| ApiError::bad_request("bad-parameter", format!("{key}={value}: {why}")).field(key.to_owned());
        let filter = &mut self.filter;
        let yes = |text: &str| text.parse::<bool>().map_err(|_| bad("write true or false".to_owned()));
        match key {
            "state" => filter.phase = Some(value.parse().map_err(|error| bad(format!("{error}")))?),
            "health" => filter.health = Some(value.parse().map_err(|error| bad(format!("{error}")))?),
            "version" => filter.version = Some(value),
            "group" => filter.group = Some(value),
            "drifted" => filter.drifted = Some(yes(&value)?),
            "change" => filter.change = Some(yes(&value)?),
            "label" => {
                let label = value
                    .split_once('=')
                    .ok_or_else(|| bad("write a label as key=value".to_owned()))?;
                filter.labels.push((label.0.to_owned(), label.1.to_owned()));
            }
            "limit" => self.limit = Some(value.parse().map_err(|_| bad("not a number".to_owned()))?),
            "pageToken" => {
                self.from = value.parse().map_err(|_| {
                    bad("not the token of a page".to_owned()).help("give the nextPageToken of the page before")
                })?;
            }
            _ => {
                return Err(bad("there is no such parameter".to_owned()).help(
                    "targets are listed by state, health, version, group, label, drifted, change, limit and pageToken",
                ));
            }
        }
        Ok(())
    }
}

/// List targets, in the order in which they were first seen: a page of them, or all of them as JSON lines
/// (`Accept: application/x-ndjson`).
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/targets", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("state" = Option<String>, Query, description = "Where it stands in the rollout, such as inFlight"),
        ("health" = Option<String>, Query), ("version" = Option<String>, Query, description = "The version that it runs"), ("group" = Option<String>, Query),
        ("label" = Option<Vec<String>>, Query, description = "key=value; can be repeated"), ("drifted" = Option<bool>, Query),
        ("change" = Option<bool>, Query, description = "Told another version than it runs"),
        ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query)),
    responses((status = 200, body = Page<TargetView>), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn list_targets(
    State(api): State<Api>,
    at: At,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    list(api, at, &uri, &headers, |fleet, slots| {
        slots
            .iter()
            .filter_map(|slot| fleet.target_view(*slot))
            .collect::<Vec<TargetView>>()
    })
    .await
}

/// List what targets should do: a page of it, or all of it as JSON lines (`Accept: application/x-ndjson`). With
/// `change=true` only those that should do something.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/instructions", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("change" = Option<bool>, Query, description = "Told another version than it runs"),
        ("state" = Option<String>, Query), ("health" = Option<String>, Query), ("version" = Option<String>, Query), ("group" = Option<String>, Query),
        ("label" = Option<Vec<String>>, Query), ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query)),
    responses((status = 200, body = Page<Instruction>), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn list_instructions(
    State(api): State<Api>,
    at: At,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    list(api, at, &uri, &headers, |fleet, slots| {
        slots
            .iter()
            .filter_map(|slot| fleet.instruction(*slot))
            .collect::<Vec<Instruction>>()
    })
    .await
}

async fn list<T>(
    api: Api,
    at: At,
    uri: &Uri,
    headers: &HeaderMap,
    show: impl Fn(&Fleet, &[u32]) -> Vec<T> + Copy + Send + Sync + 'static,
) -> Answer<Response>
where
    T: serde::Serialize + Send + 'static,
{
    let params = TargetParams::read(uri)?;
    if lines::wanted(headers) {
        // A mistake is a problem, and not a list that ends early.
        some(&api, &at, (&params.filter, params.from, 0), show).await?;
        let asked = std::sync::Arc::new((at, params.filter));
        return Ok(lines::answer(params.from, move |from| {
            let (api, asked) = (api.clone(), std::sync::Arc::clone(&asked));
            async move { some(&api, &asked.0, (&asked.1, from, LINES_AT_ONCE), show).await }
        }));
    }
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MOST_LIMIT);
    let (items, next) = page(&api, &at, (&params.filter, params.from, limit), show).await?;
    let next_page_token = next.map(|next| next.to_string());
    Ok(Json(Page { items, next_page_token }).into_response())
}

/// A page that is full unless it is the last one: who searches a large fleet for few targets looks several times.
pub(super) async fn page<T: Send + 'static>(
    api: &Api,
    at: &At,
    (filter, from, limit): (&TargetFilter, u64, usize),
    show: impl Fn(&Fleet, &[u32]) -> Vec<T> + Copy + Send + 'static,
) -> Answer<(Vec<T>, Option<u64>)> {
    let (mut items, mut place) = (Vec::new(), Some(from));
    while let Some(from) = place
        && items.len() < limit
    {
        let (more, next) = some(api, at, (filter, from, limit - items.len()), show).await?;
        items.extend(more);
        place = next;
    }
    Ok((items, place))
}

async fn some<T: Send + 'static>(
    api: &Api,
    at: &At,
    (filter, from, limit): (&TargetFilter, u64, usize),
    show: impl Fn(&Fleet, &[u32]) -> Vec<T> + Send + 'static,
) -> Answer<(Vec<T>, Option<u64>)> {
    let (namespace, entity, filter) = (at.namespace.clone(), at.entity.clone(), filter.clone());
    let read = move |state: &unisono_engine::State| {
        let fleet = state.rollouts().get(&namespace, &entity)?;
        let (slots, next) = fleet.find_all(from, limit, &filter);
        Some((show(fleet, &slots), next))
    };
    api.partition.query(read).await?.ok_or_else(|| no_entity(&at.entity))
}

/// Get a target.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/targets/{target}", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("target" = String, Path), ("group" = Option<String>, Query, description = "The target's group")),
    responses((status = 200, body = TargetView), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn get_target(
    State(api): State<Api>,
    at: At,
    Params(params): Params<GroupParams>,
) -> Answer<Json<TargetView>> {
    let target = at.target(params.group.as_deref())?;
    let (namespace, entity, id) = (at.namespace, at.entity.clone(), target.clone());
    let read = move |state: &unisono_engine::State| {
        let fleet = state.rollouts().get(&namespace, &entity)?;
        Some(fleet.find(&id.group, &id.name).and_then(|slot| fleet.target_view(slot)))
    };
    let view = api.partition.query(read).await?.ok_or_else(|| no_entity(&at.entity))?;
    view.map(Json).ok_or_else(|| no_target(&target))
}
