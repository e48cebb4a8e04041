//! Acting on an orchestration: cancel it, complete or fail an activity that waits.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use unisono_engine::orchestration::{OrchestrationCommand, Report};
use unisono_engine::payload::{Failure, Patch, Payload};
use unisono_engine::{Command, Rejection, Reply};
use unisono_model::api::{
    ActivityResponse, CancelRequest, CancelResponse, CompleteRequest, FailRequest, OrchestrationState,
};
use unisono_model::ids::AttemptToken;
use unisono_model::limits::{MAX_OUTPUT_BYTES, MAX_REASON_BYTES};
use unisono_model::name::Name;

use super::Api;
use super::extract::{Actor, Body, Names};
use super::problem::{Answer, ApiError};
use super::reads::{archived, not_found};
use super::start::check_object;

/// Cancel an orchestration.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/orchestrations/{id}/cancel", tag = "orchestrations",
    params(("namespace" = String, Path), ("id" = String, Path)), request_body = CancelRequest,
    responses((status = 200, body = CancelResponse), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json"), (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn cancel(
    State(api): State<Api>,
    Names([namespace, id]): Names<2>,
    actor: Actor,
    Body(request): Body<CancelRequest>,
) -> Answer<Json<CancelResponse>> {
    let reason = request.reason.unwrap_or_else(|| "no reason was given".to_owned());
    let command = OrchestrationCommand::Cancel {
        namespace: namespace.clone(),
        id: id.clone(),
        reason: bounded("reason", reason)?,
        actor: actor.named(),
    };
    match decide(&api, command, &namespace, &id).await? {
        Reply::Cancelled { cancelled, skipped } => Ok(Json(CancelResponse {
            state: OrchestrationState::Cancelled,
            cancelled,
            skipped,
        })),
        _ => Err(ApiError::internal("the cancel was answered with something else")),
    }
}

/// Complete an activity that waits.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/orchestrations/{id}/activities/{activity}/complete", tag = "orchestrations",
    params(("namespace" = String, Path), ("id" = String, Path), ("activity" = String, Path)), request_body = CompleteRequest,
    responses((status = 200, body = ActivityResponse), (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json"), (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn complete(
    State(api): State<Api>,
    Names([namespace, id, activity]): Names<3>,
    actor: Actor,
    Body(request): Body<CompleteRequest>,
) -> Answer<Json<ActivityResponse>> {
    let token = token(&request.token)?;
    let output = request.output.unwrap_or_else(|| Payload::empty_object().to_raw());
    check_object("output", &output, MAX_OUTPUT_BYTES)?;
    let plan = api
        .partition
        .query(move |state| {
            let (run, index) = state.attempt(token)?;
            Some((run.definition.plan().cloned()?, index))
        })
        .await?;
    if let Some((plan, index)) = plan {
        plan.validate_activity_output(index, &output).map_err(|violations| {
            ApiError::violations(
                "output",
                &format!("the output schema of activity \"{activity}\""),
                &violations,
            )
        })?;
    }
    resolve(
        &api,
        (namespace, id, activity),
        token,
        Report::Complete(Payload::from(output)),
        Patch::from_message(request.context),
        actor.named(),
    )
    .await
}

/// Fail an activity that waits.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/orchestrations/{id}/activities/{activity}/fail", tag = "orchestrations",
    params(("namespace" = String, Path), ("id" = String, Path), ("activity" = String, Path)), request_body = FailRequest,
    responses((status = 200, body = ActivityResponse), (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn fail(
    State(api): State<Api>,
    Names([namespace, id, activity]): Names<3>,
    actor: Actor,
    Body(request): Body<FailRequest>,
) -> Answer<Json<ActivityResponse>> {
    let token = token(&request.token)?;
    let mut failure = Failure::from(request.error);
    failure.message = bounded("error.message", failure.message)?;
    failure.code = failure.code.map(|code| bounded("error.code", code)).transpose()?;
    let report = if request.retry {
        Report::Retry(failure)
    } else {
        Report::Fatal(failure)
    };
    resolve(&api, (namespace, id, activity), token, report, None, actor.named()).await
}

async fn resolve(
    api: &Api,
    (namespace, id, activity): (Name, Name, Name),
    token: AttemptToken,
    report: Report,
    patch: Option<Patch>,
    actor: String,
) -> Answer<Json<ActivityResponse>> {
    let command = OrchestrationCommand::Resolve {
        namespace: namespace.clone(),
        id: id.clone(),
        activity,
        token,
        report,
        patch,
        actor,
    };
    match decide(api, command, &namespace, &id).await? {
        Reply::Activity {
            activity,
            orchestration,
        } => Ok(Json(ActivityResponse {
            activity_state: activity,
            state: orchestration,
        })),
        _ => Err(ApiError::internal("the report was answered with something else")),
    }
}

/// Decides; of a run that is not open it says whether it has ended or never was.
async fn decide(api: &Api, command: OrchestrationCommand, namespace: &Name, id: &Name) -> Answer<Reply> {
    match api.partition.command(Command::Orchestration(command)).await? {
        Ok(reply) => Ok(reply),
        Err(Rejection::NotOpen { .. }) => {
            api.partition.barrier().await?;
            let (_, view) = archived(api, namespace, id)?.ok_or_else(|| not_found(id))?;
            let ended_at = view
                .summary
                .ended_at
                .map(|at| format!(" since {at}"))
                .unwrap_or_default();
            Err(ApiError::conflict(
                "orchestration-ended",
                format!(
                    "orchestration \"{id}\" is {}{ended_at}; nothing was changed",
                    view.summary.state
                ),
            )
            .field("id"))
        }
        Err(rejection) => Err(rejection.into()),
    }
}

fn token(text: &str) -> Answer<AttemptToken> {
    text.parse().map_err(|error: unisono_model::ids::TokenError| {
        ApiError::bad_request("bad-token", format!("token {text:?} is {error}")).field("token")
    })
}

fn bounded(field: &'static str, text: String) -> Answer<String> {
    if text.len() > MAX_REASON_BYTES {
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "payload-too-large",
            format!("{field} is {} bytes long; the limit is {MAX_REASON_BYTES}", text.len()),
        )
        .field(field));
    }
    Ok(text)
}
