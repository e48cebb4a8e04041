//! The routes of elections.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use unisono_engine::Command;
use unisono_engine::lease::{Acquire, LeaseCommand, LockAddress, Mode};
use unisono_model::api::{JsonText, Page};
use unisono_model::leases::{
    CampaignRequest, ElectionView, GrantView, ProclaimRequest, ReleaseRequest, StealRequest, StealResponse,
};
use unisono_model::limits::MAX_PROCLAMATION_BYTES;

use super::acquire::acquire;
use super::locks::{LocksParams, page, release_from, steal_from};
use super::watch;
use crate::api::Api;
use crate::api::extract::{Actor, Body, Names, Params};
use crate::api::problem::Answer;
use crate::api::values::{asked, wants_events};

/// Stand for an election, until elected or for so long.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/elections/{name}/campaign", tag = "elections",
    params(("namespace" = String, Path), ("name" = String, Path)), request_body = CampaignRequest,
    responses((status = 200, body = GrantView),
        (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The lease has ended"),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "Somebody else leads")))]
pub(in crate::api) async fn campaign(
    State(api): State<Api>,
    Names([namespace, name]): Names<2>,
    Body(request): Body<CampaignRequest>,
) -> Answer<Json<GrantView>> {
    if let Some(JsonText(value)) = &request.value {
        asked::bounded_json("value", value, MAX_PROCLAMATION_BYTES)?;
    }
    let command = Acquire {
        lock: LockAddress::election(namespace, name.clone()),
        lease: request.lease,
        mode: Mode::Exclusive,
        wait_ms: request.wait_ms.map(|wait| asked::wait("waitMs", wait)).transpose()?,
        value: request.value.map(|JsonText(value)| value.into()),
    };
    let token = acquire(&api, command).await?;
    let lease = request.lease;
    Ok(Json(GrantView { name, lease, token }))
}

/// The leader says something to all who observe.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/elections/{name}/proclaim", tag = "elections",
    params(("namespace" = String, Path), ("name" = String, Path)), request_body = ProclaimRequest,
    responses((status = 204),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The lease does not lead")))]
pub(in crate::api) async fn proclaim(
    State(api): State<Api>,
    Names([namespace, name]): Names<2>,
    Body(request): Body<ProclaimRequest>,
) -> Answer<StatusCode> {
    let JsonText(value) = request.value;
    asked::bounded_json("value", &value, MAX_PROCLAMATION_BYTES)?;
    let command = LeaseCommand::Proclaim {
        election: LockAddress::election(namespace, name),
        lease: request.lease,
        value: value.into(),
    };
    api.partition.command(Command::Lease(command)).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// Resign from leadership, or stand no more. Whoever is next leads at once.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/elections/{name}/resign", tag = "elections",
    params(("namespace" = String, Path), ("name" = String, Path)), request_body = ReleaseRequest,
    responses((status = 204),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The lease neither leads nor stands")))]
pub(in crate::api) async fn resign(
    State(api): State<Api>,
    Names([namespace, name]): Names<2>,
    Body(request): Body<ReleaseRequest>,
) -> Answer<StatusCode> {
    release_from(&api, LockAddress::election(namespace, name), request).await
}

/// Take leadership by force from whoever leads. That is kept, with who did it and why.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/elections/{name}/steal", tag = "elections",
    params(("namespace" = String, Path), ("name" = String, Path)), request_body = StealRequest,
    responses((status = 200, body = StealResponse),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "Nobody leads")))]
pub(in crate::api) async fn depose(
    State(api): State<Api>,
    Names([namespace, name]): Names<2>,
    actor: Actor,
    Body(request): Body<StealRequest>,
) -> Answer<Json<StealResponse>> {
    steal_from(&api, LockAddress::election(namespace, name), (request, actor)).await
}

/// Get an election, or observe it (`Accept: text/event-stream`): who leads, what they proclaimed, and who stands.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/elections/{name}", tag = "elections",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = ElectionView, description = "Without a leader when nobody leads")))]
pub(in crate::api) async fn get_election(
    State(api): State<Api>,
    Names([namespace, name]): Names<2>,
    headers: HeaderMap,
) -> Answer<Response> {
    let election = LockAddress::election(namespace, name);
    if wants_events(&headers) {
        return Ok(watch::locks(api, election, "election", read_election));
    }
    let read = election.clone();
    let view = api.partition.query(move |state| read_election(state, &read)).await?;
    let etag = format!("\"{}\"", view.revision);
    Ok(([(header::ETAG, etag)], Json(view)).into_response())
}

/// An election that nobody knows of is one that nobody stands for.
fn read_election(state: &unisono_engine::State, election: &LockAddress) -> ElectionView {
    let known = state.leases().election_view(election, state.marks());
    known.unwrap_or_else(|| ElectionView {
        name: election.name.clone(),
        leader: None,
        value: None,
        candidates: Vec::new(),
        audit: Vec::new(),
        revision: unisono_model::ids::Revision(0),
    })
}

/// List the elections that somebody leads or stands for, or whose leader was ever deposed by force.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/elections", tag = "elections",
    params(("namespace" = String, Path), ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query)),
    responses((status = 200, body = Page<ElectionView>)))]
pub(in crate::api) async fn list_elections(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    Params(params): Params<LocksParams>,
) -> Answer<Json<Page<ElectionView>>> {
    let view = |state: &unisono_engine::State, it: &LockAddress| state.leases().election_view(it, state.marks());
    page(&api, (namespace, true), params, view).await.map(Json)
}
