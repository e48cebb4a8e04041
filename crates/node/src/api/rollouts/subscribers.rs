//! Subscribers of an entity's history. They stand in its policy, and can be changed one by one.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use unisono_engine::rollout::{By, RolloutCommand, RolloutRejection, Verb};
use unisono_model::name::Name;
use unisono_model::rollout::{
    Policy, ResumeDeliveryRequest, Subscriber, SubscriberRequest, SubscriberView, TakenView, contradictions,
};

use super::asked::{Asker, At, no_entity};
use super::operations::{change_policy, faults_problem};
use super::verbs::{answered, reason, taken};
use crate::api::Api;
use crate::api::extract::{Params, Raw, json, name};
use crate::api::problem::{Answer, ApiError};

/// List the subscribers of an entity: what each has received, and what keeps it from receiving more.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/subscribers", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path)),
    responses((status = 200, body = Vec<SubscriberView>), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn list_subscribers(State(api): State<Api>, at: At) -> Answer<Json<Vec<SubscriberView>>> {
    let (namespace, entity) = (at.namespace, at.entity.clone());
    let read = move |state: &unisono_engine::State| Some(state.rollouts().get(&namespace, &entity)?.subscribers());
    let subscribers = api.partition.query(read).await?;
    Ok(Json(subscribers.ok_or_else(|| no_entity(&at.entity))?))
}

/// Add a subscriber to the policy, or change it. A new one is told what happens from now on. Makes the entity.
#[utoipa::path(put, path = "/api/v1/namespaces/{namespace}/entities/{entity}/subscribers/{subscriber}", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("subscriber" = String, Path),
        ("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    request_body = SubscriberRequest,
    responses((status = 200, body = unisono_model::rollout::Done),
        (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The endpoint makes no sense")))]
pub(in crate::api) async fn set_subscriber(
    State(api): State<Api>,
    at: At,
    asker: Asker,
    Raw(body): Raw,
) -> Answer<Response> {
    let subscriber = name("subscriber", at.segment())?;
    let request: SubscriberRequest = json(&body)?;
    let by = asker.by(reason(request.reason.as_deref())?, &body);
    let wanted = Subscriber {
        name: subscriber,
        endpoint: request.endpoint,
        park_after_seconds: request.park_after_seconds,
    };
    let set = |policy: &mut Policy| {
        let place = policy.notify.iter().position(|it| it.name == wanted.name);
        let place = place.unwrap_or(policy.notify.len());
        policy
            .notify
            .splice(place..(place + 1).min(policy.notify.len()), [wanted.clone()]);
        Ok(format!("notify[{place}]."))
    };
    change(&api, at, by, set).await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct RemoveParams {
    reason: Option<String>,
}

/// Remove a subscriber from the policy. What it has received stays known, should it come back.
#[utoipa::path(delete, path = "/api/v1/namespaces/{namespace}/entities/{entity}/subscribers/{subscriber}", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("subscriber" = String, Path),
        ("reason" = Option<String>, Query, description = "Why, for the history"),
        ("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = unisono_model::rollout::Done),
        (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn remove_subscriber(
    State(api): State<Api>,
    at: At,
    Params(params): Params<RemoveParams>,
    asker: Asker,
) -> Answer<Response> {
    let subscriber = name("subscriber", at.segment())?;
    let by = asker.by(reason(params.reason.as_deref())?, b"");
    let remove = |policy: &mut Policy| {
        let before = policy.notify.len();
        policy.notify.retain(|it| it.name != subscriber);
        match policy.notify.len() == before {
            true => Err(no_subscriber(&subscriber)),
            false => Ok(String::new()),
        }
    };
    change(&api, at, by, remove).await
}

fn no_subscriber(subscriber: &Name) -> ApiError {
    let subscriber = subscriber.clone();
    ApiError::from(unisono_engine::Rejection::Rollout(
        RolloutRejection::SubscriberNotFound { subscriber },
    ))
}

/// Changes the policy's subscribers. What makes no sense is told by the fields of the request.
async fn change(api: &Api, at: At, by: By, set: impl Fn(&mut Policy) -> Answer<String>) -> Answer<Response> {
    let done = change_policy(api, (at.namespace, at.entity), by, |before, classic| {
        let mut policy = before.cloned().unwrap_or_default();
        let own = set(&mut policy)?;
        let mut faults = contradictions(&policy);
        for fault in &mut faults {
            if let Some(field) = fault.field.strip_prefix(&own) {
                fault.field = field.to_owned();
            }
        }
        if !faults.is_empty() {
            return Err(faults_problem(&faults, "the subscriber makes no sense"));
        }
        Ok(Verb::SetPolicy {
            policy: Box::new(policy),
            classic,
        })
    })
    .await?;
    Ok(answered(done))
}

/// Tell a subscriber again, now, that failed or is parked: what it has not received, or what comes after an entry.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/entities/{entity}/subscribers/{subscriber}/resume", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("subscriber" = String, Path)),
    request_body = ResumeDeliveryRequest,
    responses((status = 200, body = TakenView), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn resume_subscriber(
    State(api): State<Api>,
    at: At,
    asker: Asker,
    Raw(body): Raw,
) -> Answer<Json<TakenView>> {
    let subscriber = name("subscriber", at.segment())?;
    let request: ResumeDeliveryRequest = json(&body)?;
    let by = asker.by(reason(request.reason.as_deref())?, &body);
    let command = RolloutCommand::ResumeDelivery {
        namespace: at.namespace,
        entity: at.entity,
        subscriber,
        after: request.after,
        by,
    };
    taken(&api, command).await
}
