//! The routes of locks.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use unisono_engine::lease::{Acquire, LeaseCommand, LockAddress, Mode};
use unisono_engine::{Command, Reply};
use unisono_model::api::Page;
use unisono_model::leases::{
    AcquireRequest, GrantView, LockMode, LockView, ReleaseRequest, StealRequest, StealResponse,
};
use unisono_model::limits::{MAX_PERMITS, MAX_REASON_BYTES};
use unisono_model::name::Name;

use super::acquire::acquire as acquire_lock;
use super::watch;
use crate::api::Api;
use crate::api::definitions::{DEFAULT_LIMIT, MOST_LIMIT};
use crate::api::extract::{Actor, Body, Names, Params};
use crate::api::problem::{Answer, ApiError};
use crate::api::values::{asked, wants_events};

/// Acquire a lock, try it, or wait for it in its queue.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/locks/{name}/acquire", tag = "locks",
    params(("namespace" = String, Path), ("name" = String, Path)), request_body = AcquireRequest,
    responses((status = 200, body = GrantView),
        (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The lease has ended"),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "It is held, or was not free in time")))]
pub(in crate::api) async fn acquire(
    State(api): State<Api>,
    Names([namespace, name]): Names<2>,
    Body(request): Body<AcquireRequest>,
) -> Answer<Json<GrantView>> {
    let acquire = Acquire {
        lock: LockAddress::lock(namespace, name.clone()),
        lease: request.lease,
        mode: mode(&request)?,
        wait_ms: request.wait_ms.map(|wait| asked::wait("waitMs", wait)).transpose()?,
        value: None,
    };
    let token = acquire_lock(&api, acquire).await?;
    let lease = request.lease;
    Ok(Json(GrantView { name, lease, token }))
}

fn mode(request: &AcquireRequest) -> Answer<Mode> {
    match (request.mode, request.permits) {
        (LockMode::Exclusive, None) => Ok(Mode::Exclusive),
        (LockMode::Shared, None) => Ok(Mode::Shared),
        (LockMode::Permit, Some(of)) if (1..=MAX_PERMITS).contains(&of) => Ok(Mode::Permit { of }),
        (LockMode::Permit, _) => Err(ApiError::bad_request(
            "bad-permits",
            "a semaphore says how many may hold it at once",
        )
        .field("permits")
        .help(format!("give 1 to {MAX_PERMITS}"))),
        (_, Some(_)) => Err(ApiError::bad_request("bad-permits", "only a semaphore has permits")
            .field("permits")
            .help("leave it out, or ask with `mode` permit")),
    }
}

/// Release a lock, or leave its queue. Whoever is next has it at once.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/locks/{name}/release", tag = "locks",
    params(("namespace" = String, Path), ("name" = String, Path)), request_body = ReleaseRequest,
    responses((status = 204),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The lease does not hold it")))]
pub(in crate::api) async fn release(
    State(api): State<Api>,
    Names([namespace, name]): Names<2>,
    Body(request): Body<ReleaseRequest>,
) -> Answer<StatusCode> {
    release_from(&api, LockAddress::lock(namespace, name), request).await
}

pub(super) async fn release_from(api: &Api, lock: LockAddress, request: ReleaseRequest) -> Answer<StatusCode> {
    let lease = request.lease;
    let command = LeaseCommand::Release { lock, lease };
    api.partition.command(Command::Lease(command)).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a lock by force from whoever holds it. That is kept, with who did it and why.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/locks/{name}/steal", tag = "locks",
    params(("namespace" = String, Path), ("name" = String, Path)), request_body = StealRequest,
    responses((status = 200, body = StealResponse),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "Nobody holds it")))]
pub(in crate::api) async fn steal(
    State(api): State<Api>,
    Names([namespace, name]): Names<2>,
    actor: Actor,
    Body(request): Body<StealRequest>,
) -> Answer<Json<StealResponse>> {
    steal_from(&api, LockAddress::lock(namespace, name), (request, actor)).await
}

pub(super) async fn steal_from(
    api: &Api,
    lock: LockAddress,
    (request, actor): (StealRequest, Actor),
) -> Answer<Json<StealResponse>> {
    if request.reason.trim().is_empty() || request.reason.len() > MAX_REASON_BYTES {
        return Err(
            ApiError::bad_request("bad-reason", "a lock is taken by force for a reason")
                .field("reason")
                .help(format!("say why in up to {MAX_REASON_BYTES} bytes; it is kept")),
        );
    }
    let name = lock.name.clone();
    let actor = actor.named();
    tracing::warn!(
        namespace = %lock.namespace, kind = lock.family().as_str(), %name, actor, reason = request.reason,
        "somebody takes it by force from who holds it"
    );
    let command = LeaseCommand::Steal {
        lock,
        token: request.token,
        actor,
        reason: request.reason,
    };
    match api.partition.command(Command::Lease(command)).await?? {
        Reply::Stolen(stolen_from) => Ok(Json(StealResponse { name, stolen_from })),
        _ => Err(ApiError::internal("a theft was answered with something else")),
    }
}

/// Get a lock, or watch it (`Accept: text/event-stream`): who holds it, and who waits.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/locks/{name}", tag = "locks",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = LockView, description = "Without holders when nobody has it")))]
pub(in crate::api) async fn get_lock(
    State(api): State<Api>,
    Names([namespace, name]): Names<2>,
    headers: HeaderMap,
) -> Answer<Response> {
    let lock = LockAddress::lock(namespace, name);
    if wants_events(&headers) {
        return Ok(watch::locks(api, lock, "lock", read_lock));
    }
    let read = lock.clone();
    let view = api.partition.query(move |state| read_lock(state, &read)).await?;
    let etag = format!("\"{}\"", view.revision);
    Ok(([(header::ETAG, etag)], Json(view)).into_response())
}

/// A lock that nobody knows of is one that nobody has.
fn read_lock(state: &unisono_engine::State, lock: &LockAddress) -> LockView {
    let known = state.leases().lock_view(lock, state.marks());
    known.unwrap_or_else(|| LockView {
        name: lock.name.clone(),
        permits: None,
        holders: Vec::new(),
        queue: Vec::new(),
        audit: Vec::new(),
        revision: unisono_model::ids::Revision(0),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct LocksParams {
    pub(super) limit: Option<usize>,
    pub(super) page_token: Option<Name>,
}

/// One page of what is known of locks or elections, by name.
pub(super) async fn page<T: Send + 'static>(
    api: &Api,
    (namespace, election): (Name, bool),
    params: LocksParams,
    view: impl Fn(&unisono_engine::State, &LockAddress) -> Option<T> + Send + 'static,
) -> Answer<Page<T>> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MOST_LIMIT);
    let read = move |state: &unisono_engine::State| {
        let addresses = state
            .leases()
            .addresses(&namespace, election, params.page_token.as_ref());
        let mut addresses: Vec<&LockAddress> = addresses.take(limit + 1).collect();
        let more = addresses.len() > limit;
        addresses.truncate(limit);
        let last = addresses.last().filter(|_| more).map(|last| last.name.to_string());
        let items = addresses.into_iter().filter_map(|address| view(state, address));
        (items.collect::<Vec<T>>(), last)
    };
    let (items, next_page_token) = api.partition.query(read).await?;
    Ok(Page { items, next_page_token })
}

/// List the locks that somebody holds or waits for, or that were ever taken by force.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/locks", tag = "locks",
    params(("namespace" = String, Path), ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query)),
    responses((status = 200, body = Page<LockView>)))]
pub(in crate::api) async fn list_locks(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    Params(params): Params<LocksParams>,
) -> Answer<Json<Page<LockView>>> {
    let view = |state: &unisono_engine::State, lock: &LockAddress| state.leases().lock_view(lock, state.marks());
    page(&api, (namespace, false), params, view).await.map(Json)
}
