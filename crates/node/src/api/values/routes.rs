//! The routes of values.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use unisono_model::ids::Revision;
use unisono_model::key::Key;
use unisono_model::name::Name;
use unisono_model::values::{
    DeleteResponse, Expectation, PutRequest, PutResponse, TransactionRequest, TransactionResponse, ValuePage, ValueView,
};

use super::watch::{Next, ValueWatch};
use super::{asked, await_value, delete_value, get_value, list_values, put_value};
use crate::api::Api;
use crate::api::extract::{Actor, Body, Params, name};
use crate::api::problem::{Answer, ApiError};
use crate::feed::Scope;

/// The namespace and the key of a path.
pub(in crate::api) fn address(namespace: &str, key: &str) -> Answer<(Name, Key)> {
    Ok((name("namespace", namespace)?, asked::key("key", key)?))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct GetParams {
    wait_ms: Option<u64>,
    party: Option<Name>,
    after: Option<Revision>,
}

/// Get a value, wait until there is one (`waitMs`), or watch it (`Accept: text/event-stream`).
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/values/{key}", tag = "values",
    params(("namespace" = String, Path), ("key" = String, Path, description = "Slashes are not encoded"),
        ("waitMs" = Option<u64>, Query, description = "Await a value for up to this many milliseconds"),
        ("party" = Option<String>, Query, description = "The party that awaits it, so that cycles of waiting are found"),
        ("after" = Option<u64>, Query, description = "Watch from the change after this revision on")),
    responses((status = 200, body = ValueView),
        (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "There is no value"),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "Waiting would close a cycle"),
        (status = 410, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The promise has expired; or what is to be watched is compacted"),
        (status = 424, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The promise is broken")))]
pub(in crate::api) async fn get(
    State(api): State<Api>,
    Path((namespace, key)): Path<(String, String)>,
    Params(params): Params<GetParams>,
    actor: Actor,
    headers: HeaderMap,
) -> Answer<Response> {
    let (namespace, key) = address(&namespace, &key)?;
    if wants_events(&headers) {
        return watch(api, namespace, Scope::Key(key), after(&headers, params.after)?).await;
    }
    let Some(wait_ms) = params.wait_ms else {
        let view = get_value(&api, namespace, key).await?;
        return Ok(([(header::ETAG, etag(view.revision))], Json(view)).into_response());
    };
    let wait = Duration::from_millis(asked::wait("waitMs", wait_ms)?);
    let who = (params.party, actor.named());
    let answer = await_value(&api, (namespace, key), who, wait).await?;
    let json = answer
        .value()
        .ok_or_else(|| ApiError::internal("an await was answered with something else"))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

fn etag(revision: Revision) -> String {
    format!("\"{revision}\"")
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct ListParams {
    #[serde(default)]
    pub(in crate::api) prefix: String,
    pub(in crate::api) limit: Option<usize>,
    pub(in crate::api) page_token: Option<String>,
    #[serde(default)]
    pub(in crate::api) keys_only: bool,
    pub(in crate::api) after: Option<Revision>,
}

/// List values by key, or watch them (`Accept: text/event-stream`).
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/values", tag = "values",
    params(("namespace" = String, Path), ("prefix" = Option<String>, Query, description = "Only keys that begin like this"),
        ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query),
        ("keysOnly" = Option<bool>, Query, description = "Without the contents"),
        ("after" = Option<u64>, Query, description = "Watch from the change after this revision on")),
    responses((status = 200, body = ValuePage),
        (status = 410, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "What is to be watched is compacted")))]
pub(in crate::api) async fn list(
    State(api): State<Api>,
    Path(namespace): Path<String>,
    Params(params): Params<ListParams>,
    headers: HeaderMap,
) -> Answer<Response> {
    let namespace = name("namespace", &namespace)?;
    if wants_events(&headers) {
        asked::prefix(&params.prefix)?;
        let scope = Scope::Prefix(params.prefix);
        return watch(api, namespace, scope, after(&headers, params.after)?).await;
    }
    let page = list_values(&api, namespace, params).await?;
    Ok(Json(page).into_response())
}

/// Write a value.
#[utoipa::path(put, path = "/api/v1/namespaces/{namespace}/values/{key}", tag = "values",
    params(("namespace" = String, Path), ("key" = String, Path, description = "Slashes are not encoded")),
    request_body = PutRequest,
    responses((status = 200, body = PutResponse), (status = 201, body = PutResponse, description = "The value is new"),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json"),
        (status = 412, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The condition does not hold"),
        (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The value does not fit its schema")))]
pub(in crate::api) async fn put(
    State(api): State<Api>,
    Path((namespace, key)): Path<(String, String)>,
    Actor(actor): Actor,
    headers: HeaderMap,
    Body(mut request): Body<PutRequest>,
) -> Answer<Response> {
    let address = address(&namespace, &key)?;
    if let Some(expected) = expected(&headers)? {
        if request.r#if.is_some() {
            return Err(bad_header(
                "a condition is given in the headers and in the body: give one of them",
            ));
        }
        request.r#if = Some(expected);
    }
    let done = put_value(&api, address, request, actor).await?;
    let status = if done.version == 1 {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, [(header::ETAG, etag(done.revision))], Json(done)).into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct DeleteParams {
    fence: Option<Revision>,
    lock: Option<Name>,
}

/// Delete a value. Deleting none is no error.
#[utoipa::path(delete, path = "/api/v1/namespaces/{namespace}/values/{key}", tag = "values",
    params(("namespace" = String, Path), ("key" = String, Path, description = "Slashes are not encoded"),
        ("fence" = Option<u64>, Query, description = "The fencing token under which it is deleted"),
        ("lock" = Option<String>, Query, description = "The lock that gave the token")),
    responses((status = 200, body = DeleteResponse),
        (status = 412, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "`If-Match` does not hold")))]
pub(in crate::api) async fn delete(
    State(api): State<Api>,
    Path((namespace, key)): Path<(String, String)>,
    Params(params): Params<DeleteParams>,
    Actor(actor): Actor,
    headers: HeaderMap,
) -> Answer<Json<DeleteResponse>> {
    let address = address(&namespace, &key)?;
    let revision = match expected(&headers)? {
        Some(Expectation { absent: Some(_), .. }) => {
            return Err(bad_header("a value that is absent cannot be deleted"));
        }
        expected => expected.and_then(|expected| expected.revision),
    };
    let fence = asked::fence(params.fence, params.lock)?;
    delete_value(&api, address, (revision, fence), actor).await.map(Json)
}

/// Several reads and writes: all conditions hold and all of them happen, or nothing does.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/transactions", tag = "values",
    params(("namespace" = String, Path)), request_body = TransactionRequest,
    responses((status = 200, body = TransactionResponse),
        (status = 412, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "A condition does not hold, and nothing was changed")))]
pub(in crate::api) async fn transact_all(
    State(api): State<Api>,
    Path(namespace): Path<String>,
    Actor(actor): Actor,
    Body(request): Body<TransactionRequest>,
) -> Answer<Json<TransactionResponse>> {
    let namespace = name("namespace", &namespace)?;
    super::transact(&api, namespace, request, actor).await.map(Json)
}

/// `If-Match` and `If-None-Match`, as they carry revisions.
fn expected(headers: &HeaderMap) -> Answer<Option<Expectation>> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => Ok(None),
        (Some(tag), None) => {
            let revision = tag.trim_matches('"').parse().ok().map(Revision);
            let revision = revision.ok_or_else(|| bad_header("If-Match is the ETag of a value, such as \"42\""))?;
            Ok(Some(Expectation::revision(revision)))
        }
        (None, Some("*")) => Ok(Some(Expectation::absent())),
        (None, Some(_)) => Err(bad_header(
            "If-None-Match is *, which means that there must be no value",
        )),
        (Some(_), Some(_)) => Err(bad_header("give one of If-Match and If-None-Match")),
    }
}

fn bad_header(detail: &str) -> ApiError {
    ApiError::bad_request("bad-header", detail).field("If-Match")
}

// ---- watching

pub(in crate::api) fn wants_events(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"))
}

/// From where on somebody watches. Who was cut off says it in a header.
fn after(headers: &HeaderMap, after: Option<Revision>) -> Answer<Option<Revision>> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(after);
    };
    let revision = value.to_str().ok().and_then(|text| text.parse().ok());
    match revision {
        Some(revision) => Ok(Some(Revision(revision))),
        None => Err(ApiError::bad_request("bad-header", "Last-Event-ID is no revision").field("Last-Event-ID")),
    }
}

async fn watch(api: Api, namespace: Name, scope: Scope, after: Option<Revision>) -> Answer<Response> {
    let watch = ValueWatch::begin(api, namespace, scope, after).await?;
    let events = stream::unfold(watch, |mut watch| async {
        let event = match watch.next().await? {
            Next::Change(change) => change.sse(),
            Next::Progress(revision) => progress(revision),
        };
        Some((Ok::<_, Infallible>(event), watch))
    });
    Ok(event_stream(HttpBody::from_stream(events)))
}

/// Nothing else has happened up to here; a follower can go on from it.
pub(in crate::api) fn progress(revision: Revision) -> Bytes {
    Bytes::from(format!("id: {revision}\nevent: progress\ndata: {{}}\n\n"))
}

/// An answer that is a stream of server-sent events.
pub(in crate::api) fn event_stream(body: HttpBody) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, body).into_response()
}
