//! For those who are asked and come to look: the calls that wait for an answer, and what subscribers have not received.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use unisono_engine::rollout::RolloutCommand;
use unisono_model::rollout::{AcknowledgeRequest, Answer as CallAnswer, CallView, OutboxEntry, TakenView};

use super::asked::{At, no_entity};
use super::verbs::taken;
use crate::api::Api;
use crate::api::definitions::{DEFAULT_LIMIT, MOST_LIMIT};
use crate::api::extract::{Body, Params, name};
use crate::api::problem::{Answer, ApiError};

/// List the calls of an entity that wait for an answer.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/calls", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path)),
    responses((status = 200, body = Vec<CallView>), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn list_calls(State(api): State<Api>, at: At) -> Answer<Json<Vec<CallView>>> {
    let (namespace, entity) = (at.namespace, at.entity.clone());
    let read = move |state: &unisono_engine::State| Some(state.rollouts().get(&namespace, &entity)?.open_calls());
    let calls = api.partition.query(read).await?.ok_or_else(|| no_entity(&at.entity))?;
    Ok(Json(calls))
}

/// Answer a call: whoever was to be asked may come by and say it.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/entities/{entity}/calls/{call}/answer", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("call" = u64, Path)), request_body = CallAnswer,
    responses((status = 200, body = TakenView),
        (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "No such call waits for an answer"),
        (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "It is no answer to such a call")))]
pub(in crate::api) async fn answer_call(
    State(api): State<Api>,
    at: At,
    Body(answer): Body<CallAnswer>,
) -> Answer<Json<TakenView>> {
    let call = at.segment().parse().map_err(|_| {
        ApiError::bad_request("bad-parameter", format!("{:?} is no number of a call", at.segment()))
            .field("call")
            .help("list the calls of the entity; each has its number")
    })?;
    let command = RolloutCommand::Answer {
        namespace: at.namespace,
        entity: at.entity,
        call,
        answer,
    };
    taken(&api, command).await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct OutboxParams {
    limit: Option<usize>,
}

/// List what a subscriber has not received, the oldest first.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/subscribers/{subscriber}/outbox", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("subscriber" = String, Path), ("limit" = Option<usize>, Query)),
    responses((status = 200, body = Vec<OutboxEntry>), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn subscriber_outbox(
    State(api): State<Api>,
    at: At,
    Params(params): Params<OutboxParams>,
) -> Answer<Json<Vec<OutboxEntry>>> {
    let subscriber = name("subscriber", at.segment())?;
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MOST_LIMIT);
    let (namespace, entity) = (at.namespace, at.entity.clone());
    let read = move |state: &unisono_engine::State| {
        let fleet = state.rollouts().get(&namespace, &entity)?;
        Some(fleet.outbox(&subscriber, limit))
    };
    let entries = api.partition.query(read).await?.ok_or_else(|| no_entity(&at.entity))?;
    Ok(Json(entries))
}

/// A subscriber has received the history up to an entry.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/entities/{entity}/subscribers/{subscriber}/acknowledge", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("subscriber" = String, Path)), request_body = AcknowledgeRequest,
    responses((status = 200, body = TakenView), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn acknowledge(
    State(api): State<Api>,
    at: At,
    Body(request): Body<AcknowledgeRequest>,
) -> Answer<Json<TakenView>> {
    let command = RolloutCommand::Acknowledge {
        subscriber: name("subscriber", at.segment())?,
        namespace: at.namespace,
        entity: at.entity,
        sequence: request.sequence,
    };
    taken(&api, command).await
}
