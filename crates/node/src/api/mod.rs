//! The HTTP API: routes, bodies and errors.

mod agents;
mod backup;
mod definitions;
mod extract;
mod link;
mod openapi;
mod orchestrations;
mod problem;
mod reads;
mod start;
mod system;
mod watch;

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use unisono_model::limits::MAX_DEFINITION_BYTES;
use unisono_telemetry::logs::LogLevels;

use crate::hub::Hub;
use crate::metrics::{Metrics, count_request};
use crate::partition::Partition;
use crate::sessions::Sessions;
use crate::trace::Traces;

pub(crate) use link::{AgentReader, AgentWriter, LinkClosed, Notes, serve_agent};
pub(crate) use problem::ApiError;
pub(crate) use start::start_and_wait;

/// What handlers share.
pub(crate) type Api = Arc<ApiState>;

/// See [`Api`].
pub(crate) struct ApiState {
    pub(crate) partition: Partition,
    pub(crate) sessions: Sessions,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) traces: Traces,
    pub(crate) log: Option<LogLevels>,
    pub(crate) notes: Notes,
    pub(crate) heartbeat_ms: u64,
    pub(crate) grace_ms: u64,
    pub(crate) stopping: CancellationToken,
    pub(crate) data_directory: Arc<Path>,
}

/// The largest request body, in bytes.
const MAX_BODY_BYTES: usize = MAX_DEFINITION_BYTES + 1024 * 1024;

pub(crate) fn router(api: Api) -> Router {
    let namespaced = Router::new()
        .route("/definitions", post(definitions::apply))
        .route(
            "/orchestration-definitions",
            get(definitions::list_orchestrations).post(definitions::apply_orchestrations),
        )
        .route(
            "/orchestration-definitions/{type}",
            get(definitions::get_orchestration).delete(definitions::delete_orchestration),
        )
        .route(
            "/activity-definitions",
            get(definitions::list_activities).post(definitions::apply_activities),
        )
        .route(
            "/activity-definitions/{type}",
            get(definitions::get_activity).delete(definitions::delete_activity),
        )
        .route("/orchestrations", get(reads::list).post(start::start))
        .route("/orchestrations/{id}", get(reads::get))
        .route("/orchestrations/{id}/history", get(reads::history))
        .route("/orchestrations/{id}/logs", get(reads::logs))
        .route("/orchestrations/{id}/cancel", post(orchestrations::cancel))
        .route(
            "/orchestrations/{id}/activities/{activity}/complete",
            post(orchestrations::complete),
        )
        .route(
            "/orchestrations/{id}/activities/{activity}/fail",
            post(orchestrations::fail),
        )
        .route("/agents", get(agents::list))
        .route("/agents/connect", get(agents::connect));
    Router::new()
        .nest("/api/v1/namespaces/{namespace}", namespaced)
        .route("/api/v1/namespaces", get(definitions::namespaces))
        .route(
            "/api/v1/system/log",
            get(system::log_levels).put(system::set_log_levels),
        )
        .route("/api/v1/system/backup", post(backup::take))
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .route("/metrics", get(system::metrics))
        .route("/openapi.json", get(openapi::document))
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn_with_state(api.clone(), count_request))
        .with_state(api)
}
