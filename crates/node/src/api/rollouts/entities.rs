//! Reading entities: which there are, their versions, policies and options.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use unisono_model::api::Page;
use unisono_model::ids::Revision;
use unisono_model::rollout::{
    ClassicOptions, EntitySummary, EntityView, Policy, VersionMark, VersionStatus, VersionView,
};

use super::asked::{At, no_entity};
use super::verbs::etag;
use super::watch::watch;
use crate::api::Api;
use crate::api::definitions::{DEFAULT_LIMIT, MOST_LIMIT};
use crate::api::extract::{Names, Params};
use crate::api::problem::{Answer, ApiError};
use crate::api::values::wants_events;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct ListParams {
    limit: Option<usize>,
    page_token: Option<String>,
}

/// List entities, by name.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities", tag = "rollouts",
    params(("namespace" = String, Path), ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query)),
    responses((status = 200, body = Page<EntitySummary>)))]
pub(in crate::api) async fn list_entities(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    Params(params): Params<ListParams>,
) -> Answer<Json<Page<EntitySummary>>> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MOST_LIMIT);
    let read = move |state: &unisono_engine::State| {
        let after = params.page_token.as_deref();
        state.rollouts().entities(&namespace, after, limit + 1)
    };
    let mut items = api.partition.query(read).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next_page_token = items.last().filter(|_| more).map(|last| last.name.to_string());
    Ok(Json(Page { items, next_page_token }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct WatchParams {
    cells: Option<usize>,
}

/// Get an entity, or watch it (`Accept: text/event-stream`): a snapshot, and then what changes.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path),
        ("cells" = Option<usize>, Query, description = "For watching: tell the fleet as a grid of so many cells as well")),
    responses((status = 200, body = EntityView), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn get_entity(
    State(api): State<Api>,
    at: At,
    Params(params): Params<WatchParams>,
    headers: HeaderMap,
) -> Answer<Response> {
    if wants_events(&headers) {
        return watch(api, at, params.cells, &headers).await;
    }
    let view = view(&api, &at).await?;
    Ok(tagged(view.revision, &view))
}

/// An answer with the revision of the last decision about its entity.
pub(super) fn tagged(revision: Revision, body: &impl Serialize) -> Response {
    ([(header::ETAG, etag(revision))], Json(body)).into_response()
}

/// The view of an entity.
pub(super) async fn view(api: &Api, at: &At) -> Answer<EntityView> {
    let (namespace, entity) = (at.namespace.clone(), at.entity.clone());
    let view = api
        .partition
        .query(move |state| state.rollouts().entity_view(&namespace, &entity))
        .await?;
    view.ok_or_else(|| no_entity(&at.entity))
}

/// Get the version that was set last, and those that are known to be good and bad.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/version", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path)),
    responses((status = 200, body = VersionStatus), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn get_version(State(api): State<Api>, at: At) -> Answer<Response> {
    let view = view(&api, &at).await?;
    let status = VersionStatus {
        target_version: view.summary.target_version,
        last_known_good: view.summary.last_known_good,
        last_known_bad: view.summary.last_known_bad,
        queued: view.queued,
        revision: view.revision,
    };
    Ok(tagged(view.revision, &status))
}

/// Get the policy in force.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/policy", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path)),
    responses((status = 200, body = Policy), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn get_policy(State(api): State<Api>, at: At) -> Answer<Response> {
    let view = view(&api, &at).await?;
    Ok(tagged(view.revision, &view.policy))
}

/// Get the four options of older controllers, if the policy was set by them.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/options", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path)),
    responses((status = 200, body = ClassicOptions),
        (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "There is no such entity, or its policy says more than they can")))]
pub(in crate::api) async fn get_options(State(api): State<Api>, at: At) -> Answer<Response> {
    let (namespace, entity) = (at.namespace, at.entity.clone());
    let read = move |state: &unisono_engine::State| {
        let fleet = state.rollouts().get(&namespace, &entity)?;
        Some((fleet.revision(), fleet.classic_info().options))
    };
    let (revision, options) = api.partition.query(read).await?.ok_or_else(|| no_entity(&at.entity))?;
    let options = options.ok_or_else(|| {
        ApiError::not_found("no-options", "the policy was not set by the four options")
            .help("get the policy, which says everything")
    })?;
    Ok(tagged(revision, &options))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct VersionsParams {
    mark: Option<VersionMark>,
    limit: Option<usize>,
    page_token: Option<usize>,
}

/// List what is known of versions, good and bad ones, the one that was marked first coming first.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/versions", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("mark" = Option<String>, Query, description = "good, bad or untried"),
        ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query)),
    responses((status = 200, body = Page<VersionView>), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn list_versions(
    State(api): State<Api>,
    at: At,
    Params(params): Params<VersionsParams>,
) -> Answer<Json<Page<VersionView>>> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MOST_LIMIT);
    let (namespace, entity) = (at.namespace, at.entity.clone());
    let read = move |state: &unisono_engine::State| Some(state.rollouts().get(&namespace, &entity)?.versions());
    let mut versions = api.partition.query(read).await?.ok_or_else(|| no_entity(&at.entity))?;
    versions.retain(|it| params.mark.is_none_or(|mark| it.mark == mark));
    let from = params.page_token.unwrap_or(0);
    let next_page_token = (versions.len() > from.saturating_add(limit)).then(|| (from + limit).to_string());
    let items = versions.into_iter().skip(from).take(limit).collect();
    Ok(Json(Page { items, next_page_token }))
}
