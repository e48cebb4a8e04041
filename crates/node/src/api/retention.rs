//! Rules for how long orchestrations that have ended are kept, and deleting one at once.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use unisono_engine::retention::{DeletedRun, RetentionCommand, Rule, Rules};
use unisono_engine::{Command, Rejection};
use unisono_model::name::Name;
use unisono_model::retention::{RetentionRule, RetentionView};

use super::Api;
use super::extract::{Actor, Body, Names};
use super::problem::{Answer, ApiError};
use super::reads::not_found;
use crate::partition::Unavailable;

/// Delete what is kept of an orchestration that has ended: its summary, history and logs. Its id is free then.
#[utoipa::path(delete, path = "/api/v1/namespaces/{namespace}/orchestrations/{id}", tag = "orchestrations",
    params(("namespace" = String, Path), ("id" = String, Path)),
    responses((status = 204), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json"),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "It has not ended")))]
pub(super) async fn delete(
    State(api): State<Api>,
    Names([namespace, id]): Names<2>,
    actor: Actor,
) -> Answer<StatusCode> {
    let (of, called) = (namespace.clone(), id.clone());
    let open = api
        .partition
        .query(move |state| state.runs().by_id(&of, &called).is_some())
        .await?;
    if open {
        return Err(Rejection::StillOpen { id }.into());
    }
    api.partition.barrier().await?;
    let key = api
        .partition
        .store()?
        .run_key(&namespace, &id)
        .map_err(Unavailable::from)?
        .ok_or_else(|| not_found(&id))?;
    let command = RetentionCommand::Delete {
        namespace,
        run: DeletedRun { run: key.0, id },
        actor: actor.named(),
    };
    api.partition.command(Command::Retention(command)).await??;
    // Whoever looks from now on finds nothing, wherever they look.
    api.partition.barrier().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get how long orchestrations of a namespace are kept after their end.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/retention", tag = "retention",
    params(("namespace" = String, Path)), responses((status = 200, body = RetentionView)))]
pub(super) async fn get(State(api): State<Api>, Names([namespace]): Names<1>) -> Answer<Json<RetentionView>> {
    let rules = api
        .partition
        .query(move |state| state.retention().namespace(&namespace).cloned())
        .await?;
    Ok(Json(rules.as_ref().map(view).unwrap_or_default()))
}

fn view(rules: &Rules) -> RetentionView {
    let view = |rule: &Rule| RetentionRule {
        max_age_seconds: rule.max_age_ms.map(|age| age / 1_000),
        max_count: rule.max_count,
    };
    RetentionView {
        default: rules.default.as_ref().map(view),
        definitions: rules
            .types
            .iter()
            .map(|(name, rule)| (name.clone(), view(rule)))
            .collect(),
    }
}

/// Set how long orchestrations of each definition are kept that has no rule of its own.
#[utoipa::path(put, path = "/api/v1/namespaces/{namespace}/retention", tag = "retention",
    params(("namespace" = String, Path)), request_body = RetentionRule,
    responses((status = 204), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn set(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    actor: Actor,
    Body(rule): Body<RetentionRule>,
) -> Answer<StatusCode> {
    change(&api, (namespace, None), Some(checked(rule)?), actor).await
}

/// Take away the rule of a namespace. Those of definitions stay.
#[utoipa::path(delete, path = "/api/v1/namespaces/{namespace}/retention", tag = "retention",
    params(("namespace" = String, Path)),
    responses((status = 204), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn unset(State(api): State<Api>, Names([namespace]): Names<1>, actor: Actor) -> Answer<StatusCode> {
    change(&api, (namespace, None), None, actor).await
}

/// Set how long orchestrations of a definition are kept, in place of the namespace's rule. `{}` keeps them for ever.
#[utoipa::path(put, path = "/api/v1/namespaces/{namespace}/retention/{type}", tag = "retention",
    params(("namespace" = String, Path), ("type" = String, Path)), request_body = RetentionRule,
    responses((status = 204), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn set_of_type(
    State(api): State<Api>,
    Names([namespace, type_name]): Names<2>,
    actor: Actor,
    Body(rule): Body<RetentionRule>,
) -> Answer<StatusCode> {
    change(&api, (namespace, Some(type_name)), Some(checked(rule)?), actor).await
}

/// Take away the rule of a definition: the namespace's holds.
#[utoipa::path(delete, path = "/api/v1/namespaces/{namespace}/retention/{type}", tag = "retention",
    params(("namespace" = String, Path), ("type" = String, Path)),
    responses((status = 204), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn unset_of_type(
    State(api): State<Api>,
    Names([namespace, type_name]): Names<2>,
    actor: Actor,
) -> Answer<StatusCode> {
    change(&api, (namespace, Some(type_name)), None, actor).await
}

fn checked(rule: RetentionRule) -> Answer<Rule> {
    let fields = [("maxAgeSeconds", rule.max_age_seconds), ("maxCount", rule.max_count)];
    for (field, value) in fields {
        if value == Some(0) {
            return Err(
                ApiError::bad_request("bad-retention", format!("{field} is 0, which would keep nothing"))
                    .field(field)
                    .help("give at least 1; leave it out for no limit"),
            );
        }
    }
    Ok(Rule {
        max_age_ms: rule.max_age_seconds.map(|age| age.saturating_mul(1_000)),
        max_count: rule.max_count,
    })
}

async fn change(
    api: &Api,
    (namespace, type_name): (Name, Option<Name>),
    rule: Option<Rule>,
    Actor(actor): Actor,
) -> Answer<StatusCode> {
    let command = RetentionCommand::SetRule {
        namespace,
        type_name,
        rule,
        actor,
    };
    api.partition.command(Command::Retention(command)).await??;
    api.retention_changed.notify_one();
    Ok(StatusCode::NO_CONTENT)
}
