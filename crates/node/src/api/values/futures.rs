//! Futures: promising values, breaking promises, and who waits.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use unisono_engine::orchestration::RunKey;
use unisono_engine::value::{Declare, ValueCommand};
use unisono_engine::{Command, Reply};
use unisono_model::api::Page;
use unisono_model::key::Key;
use unisono_model::limits::{MAX_FUTURE_SCHEMA_BYTES, MAX_REASON_BYTES, MAX_TTL_MS};
use unisono_model::name::Name;
use unisono_model::schema::ValueSchema;
use unisono_model::values::{BreakRequest, DeclareRequest, FutureView, WaiterView};

use super::asked;
use super::routes::address;
use crate::api::Api;
use crate::api::definitions::{DEFAULT_LIMIT, MOST_LIMIT};
use crate::api::extract::{Actor, Body, Params, name};
use crate::api::problem::{Answer, ApiError};

/// Declares a future; `run` is the one whose activity is the producer.
pub(crate) async fn declare(
    api: &Api,
    (namespace, key): (Name, Key),
    request: DeclareRequest,
    (run, actor): (Option<RunKey>, Option<String>),
) -> Answer<FutureView> {
    if let Some(schema) = &request.schema {
        asked::bounded_json("schema", schema, MAX_FUTURE_SCHEMA_BYTES)?;
        ValueSchema::parse(schema)
            .map_err(|violations| ApiError::violations("schema", "the rules of JSON Schema", &violations))?;
    }
    let ttl_ms = request
        .ttl_ms
        .map(|ttl| asked::millis("ttlMs", ttl, 1..=MAX_TTL_MS))
        .transpose()?;
    let declare = Declare {
        namespace,
        key,
        producer: request.producer,
        schema: request.schema.map(Into::into),
        ttl_ms,
        lease: request.lease,
        run,
        new_epoch: request.new_epoch,
        actor,
    };
    let command = Command::Value(ValueCommand::Declare(Box::new(declare)));
    match api.partition.command(command).await?? {
        Reply::Future(future) => Ok(*future),
        _ => Err(ApiError::internal("a declaration was answered with something else")),
    }
}

/// Breaks a promise.
pub(crate) async fn break_promise(
    api: &Api,
    (namespace, key): (Name, Key),
    request: BreakRequest,
    actor: Option<String>,
) -> Answer<()> {
    if request.reason.trim().is_empty() || request.reason.len() > MAX_REASON_BYTES {
        return Err(ApiError::bad_request(
            "bad-reason",
            "a promise is broken with a reason, for those who await it",
        )
        .field("reason")
        .help(format!("say why in up to {MAX_REASON_BYTES} bytes")));
    }
    let command = ValueCommand::Break {
        namespace,
        key,
        reason: request.reason,
        actor,
    };
    api.partition.command(Command::Value(command)).await??;
    Ok(())
}

/// Forgets a promise; a pending one is broken by that.
pub(crate) async fn withdraw(api: &Api, (namespace, key): (Name, Key), actor: Option<String>) -> Answer<()> {
    let command = ValueCommand::Withdraw { namespace, key, actor };
    api.partition.command(Command::Value(command)).await??;
    Ok(())
}

/// Declare a future: who will give a key its value, and of what schema.
#[utoipa::path(put, path = "/api/v1/namespaces/{namespace}/futures/{key}", tag = "futures",
    params(("namespace" = String, Path), ("key" = String, Path, description = "Slashes are not encoded")),
    request_body = DeclareRequest,
    responses((status = 200, body = FutureView),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json"),
        (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The schema is none")))]
pub(in crate::api) async fn declare_future(
    State(api): State<Api>,
    Path((namespace, key)): Path<(String, String)>,
    Actor(actor): Actor,
    Body(request): Body<DeclareRequest>,
) -> Answer<Json<FutureView>> {
    let address = address(&namespace, &key)?;
    declare(&api, address, request, (None, actor)).await.map(Json)
}

/// Break a promise: whoever awaits the value is told why there will be none.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/futures/{key}", tag = "futures",
    params(("namespace" = String, Path), ("key" = String, Path, description = "Slashes are not encoded")),
    request_body = BreakRequest,
    responses((status = 204),
        (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json"),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "It is settled already")))]
pub(in crate::api) async fn break_future(
    State(api): State<Api>,
    Path((namespace, key)): Path<(String, String)>,
    Actor(actor): Actor,
    Body(request): Body<BreakRequest>,
) -> Answer<StatusCode> {
    break_promise(&api, address(&namespace, &key)?, request, actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forget a future; a pending promise is broken by that. Its value stays.
#[utoipa::path(delete, path = "/api/v1/namespaces/{namespace}/futures/{key}", tag = "futures",
    params(("namespace" = String, Path), ("key" = String, Path, description = "Slashes are not encoded")),
    responses((status = 204), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn withdraw_future(
    State(api): State<Api>,
    Path((namespace, key)): Path<(String, String)>,
    Actor(actor): Actor,
) -> Answer<StatusCode> {
    withdraw(&api, address(&namespace, &key)?, actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get a future.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/futures/{key}", tag = "futures",
    params(("namespace" = String, Path), ("key" = String, Path, description = "Slashes are not encoded")),
    responses((status = 200, body = FutureView), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn get_future(
    State(api): State<Api>,
    Path((namespace, key)): Path<(String, String)>,
) -> Answer<Json<FutureView>> {
    let (namespace, key) = address(&namespace, &key)?;
    let at = key.clone();
    let future = api
        .partition
        .query(move |state| state.future_view(&namespace, &at))
        .await?;
    future.map(Json).ok_or_else(|| {
        ApiError::not_found("future-not-found", format!("nobody has declared \"{key}\""))
            .field("key")
            .help("`unisono value futures` lists what is declared")
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct FuturesParams {
    #[serde(default)]
    prefix: String,
    limit: Option<usize>,
    page_token: Option<String>,
}

/// List futures by key.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/futures", tag = "futures",
    params(("namespace" = String, Path), ("prefix" = Option<String>, Query, description = "Only keys that begin like this"),
        ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query)),
    responses((status = 200, body = Page<FutureView>)))]
pub(in crate::api) async fn list_futures(
    State(api): State<Api>,
    Path(namespace): Path<String>,
    Params(params): Params<FuturesParams>,
) -> Answer<Json<Page<FutureView>>> {
    let namespace = name("namespace", &namespace)?;
    asked::prefix(&params.prefix)?;
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MOST_LIMIT);
    let page_token = params
        .page_token
        .map(|token| asked::key("pageToken", &token))
        .transpose()?;
    let read = move |state: &unisono_engine::State| -> Vec<FutureView> {
        let futures = state.future_views(&namespace, &params.prefix, page_token.as_deref());
        futures.take(limit + 1).collect()
    };
    let mut items = api.partition.query(read).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    let next_page_token = last.map(|last| last.key.to_string());
    Ok(Json(Page { items, next_page_token }))
}

/// Who awaits a key: up to 1000 of them, who came first first.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/waiters/{key}", tag = "futures",
    params(("namespace" = String, Path), ("key" = String, Path, description = "Slashes are not encoded")),
    responses((status = 200, body = Page<WaiterView>)))]
pub(in crate::api) async fn waiters(
    State(api): State<Api>,
    Path((namespace, key)): Path<(String, String)>,
) -> Answer<Json<Page<WaiterView>>> {
    let (namespace, key) = address(&namespace, &key)?;
    let read = move |state: &unisono_engine::State| state.values().waiters(&namespace, &key, MOST_LIMIT);
    Ok(Json(Page {
        items: api.partition.query(read).await?,
        next_page_token: None,
    }))
}
