//! Entities, their targets and their rollouts: what people and controllers ask of them over HTTP.
//!
//! Names of entities, targets and versions may be any text, so a segment of a path may begin with `~`, which is left out:
//! `~..` is `..`, which no client would send as it is.

mod asked;
mod calls;
pub(super) mod classic;
mod entities;
mod operations;
mod reports;
mod subscribers;
mod targets;
mod verbs;
mod views;
mod watch;

pub(super) use calls::*;
pub(crate) use classic::{expected, info};
pub(super) use entities::*;
pub(super) use operations::faults_problem;
pub(crate) use operations::{act, change_options, report};
pub(crate) use reports::problem as bad_target;
pub(super) use reports::*;
pub(super) use subscribers::*;
pub(super) use targets::*;
pub(super) use verbs::*;
pub(super) use views::*;

use axum::Router;
use axum::routing::{get, post, put};

use super::Api;

/// The routes below a namespace.
pub(super) fn namespaced() -> Router<Api> {
    Router::new()
        .route("/entities", get(list_entities))
        .route("/entities/{entity}", get(get_entity))
        .route("/entities/{entity}/reports", post(report_targets))
        .route("/entities/{entity}/version", get(get_version).put(set_version))
        .route("/entities/{entity}/versions", get(list_versions))
        .route(
            "/entities/{entity}/policy",
            get(get_policy).put(set_policy).patch(patch_policy),
        )
        .route(
            "/entities/{entity}/options",
            get(get_options).put(set_options).patch(patch_options),
        )
        .route("/entities/{entity}/rollout", get(get_rollout))
        .route("/entities/{entity}/rollouts", get(list_rollouts))
        .route("/entities/{entity}/rollouts/{number}", get(get_past_rollout))
        .route("/entities/{entity}/history", get(entity_history))
        .route("/entities/{entity}/plan", post(plan))
        .route("/entities/{entity}/simulate", post(simulate))
        .route("/entities/{entity}/why", get(why))
        .route("/entities/{entity}/grid", get(grid))
        .route("/entities/{entity}/targets", get(list_targets))
        .route("/entities/{entity}/targets/{target}", get(get_target))
        .route("/entities/{entity}/targets/{target}/why", get(why_target))
        .route("/entities/{entity}/instructions", get(list_instructions))
        .route("/entities/{entity}/calls", get(list_calls))
        .route("/entities/{entity}/calls/{call}/answer", post(answer_call))
        .route("/entities/{entity}/subscribers", get(list_subscribers))
        .route(
            "/entities/{entity}/subscribers/{subscriber}",
            put(set_subscriber).delete(remove_subscriber),
        )
        .route(
            "/entities/{entity}/subscribers/{subscriber}/resume",
            post(resume_subscriber),
        )
        .route(
            "/entities/{entity}/subscribers/{subscriber}/outbox",
            get(subscriber_outbox),
        )
        .route(
            "/entities/{entity}/subscribers/{subscriber}/acknowledge",
            post(acknowledge),
        )
        .route("/entities/{entity}/{verb}", post(act_on_entity))
        .route("/freeze", post(freeze_namespace))
        .route("/thaw", post(thaw_namespace))
}

/// The routes for everything.
pub(super) fn everywhere() -> Router<Api> {
    Router::new()
        .route("/api/v1/freezes", get(list_freezes))
        .route("/api/v1/freeze", post(freeze_everything))
        .route("/api/v1/thaw", post(thaw_everything))
}
