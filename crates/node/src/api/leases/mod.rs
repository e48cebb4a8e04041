//! Leases, locks and elections.

mod acquire;
mod elections;
mod locks;
mod watch;

pub(super) use elections::*;
pub(super) use locks::*;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use unisono_engine::lease::{Grant, LeaseCommand, LeaseRejection};
use unisono_engine::{Command, Reply};
use unisono_model::api::Page;
use unisono_model::ids::Revision;
use unisono_model::leases::{LeaseRequest, LeaseView};
use unisono_model::limits::{MAX_LEASE_MS, MIN_LEASE_MS};
use unisono_model::name::Name;

use super::Api;
use super::definitions::{DEFAULT_LIMIT, MOST_LIMIT};
use super::extract::{Actor, Body, Names, Params, name};
use super::problem::{Answer, ApiError};
use super::values::asked;

/// The namespace and the lease of a path.
fn lease_of((namespace, lease): (String, String)) -> Answer<(Name, Revision)> {
    let id = lease.parse().map(Revision).map_err(|_| {
        ApiError::bad_request("bad-lease", format!("{lease:?} is no lease"))
            .field("lease")
            .help("give the number that came as `id` when the lease was granted")
    })?;
    Ok((name("namespace", &namespace)?, id))
}

async fn lease_reply(api: &Api, command: LeaseCommand) -> Answer<LeaseView> {
    match api.partition.command(Command::Lease(command)).await?? {
        Reply::Lease(lease) => Ok(*lease),
        _ => Err(ApiError::internal("a lease was answered with something else")),
    }
}

/// Ask for a lease.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/leases", tag = "leases",
    params(("namespace" = String, Path)), request_body = LeaseRequest,
    responses((status = 201, body = LeaseView)))]
pub(super) async fn grant(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    Actor(actor): Actor,
    Body(request): Body<LeaseRequest>,
) -> Answer<(StatusCode, Json<LeaseView>)> {
    let grant = Grant {
        namespace,
        holder: request.holder,
        party: request.party,
        actor,
        ttl_ms: asked::millis("ttlMs", request.ttl_ms, MIN_LEASE_MS..=MAX_LEASE_MS)?,
    };
    let lease = lease_reply(&api, LeaseCommand::Grant(grant)).await?;
    Ok((StatusCode::CREATED, Json(lease)))
}

/// Renew a lease. The answer tells what it holds.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/leases/{lease}/renew", tag = "leases",
    params(("namespace" = String, Path), ("lease" = u64, Path)),
    responses((status = 200, body = LeaseView),
        (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "It has ended, and is not revived")))]
pub(super) async fn renew(State(api): State<Api>, Path(path): Path<(String, String)>) -> Answer<Json<LeaseView>> {
    let (namespace, lease) = lease_of(path)?;
    lease_reply(&api, LeaseCommand::Renew { namespace, lease })
        .await
        .map(Json)
}

/// End a lease, with everything that it holds.
#[utoipa::path(delete, path = "/api/v1/namespaces/{namespace}/leases/{lease}", tag = "leases",
    params(("namespace" = String, Path), ("lease" = u64, Path)),
    responses((status = 204), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke(
    State(api): State<Api>,
    Path(path): Path<(String, String)>,
    Actor(actor): Actor,
) -> Answer<StatusCode> {
    let (namespace, lease) = lease_of(path)?;
    let command = LeaseCommand::Revoke {
        namespace,
        lease,
        actor,
    };
    api.partition.command(Command::Lease(command)).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// Get a lease.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/leases/{lease}", tag = "leases",
    params(("namespace" = String, Path), ("lease" = u64, Path)),
    responses((status = 200, body = LeaseView), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn get_lease(State(api): State<Api>, Path(path): Path<(String, String)>) -> Answer<Json<LeaseView>> {
    let (namespace, lease) = lease_of(path)?;
    let read = move |state: &unisono_engine::State| {
        let of = state
            .leases()
            .get(lease)
            .is_some_and(|lease| lease.namespace == namespace);
        of.then(|| state.lease_view(lease)).flatten()
    };
    let view = api.partition.query(read).await?;
    view.map(Json)
        .ok_or_else(|| unisono_engine::Rejection::from(LeaseRejection::NotFound { lease }).into())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LeasesParams {
    limit: Option<usize>,
    page_token: Option<Revision>,
}

/// List leases, the oldest first.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/leases", tag = "leases",
    params(("namespace" = String, Path), ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query)),
    responses((status = 200, body = Page<LeaseView>)))]
pub(super) async fn list_leases(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    Params(params): Params<LeasesParams>,
) -> Answer<Json<Page<LeaseView>>> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MOST_LIMIT);
    let after = params.page_token.unwrap_or_default();
    let read = move |state: &unisono_engine::State| -> Vec<LeaseView> {
        let leases = state.leases().ids_after(&namespace, after).take(limit + 1);
        leases.filter_map(|lease| state.lease_view(lease)).collect()
    };
    let mut items = api.partition.query(read).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next_page_token = items.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(Page { items, next_page_token }))
}
