//! The HTTP API: routes, bodies and errors.

mod agents;
mod backup;
mod definitions;
mod expression;
mod extract;
mod history;
mod hosts;
mod leases;
mod lines;
mod link;
mod list;
mod list_watch;
mod openapi;
mod orchestrations;
mod problem;
mod reads;
mod refusals;
mod retention;
pub(crate) mod rollouts;
mod start;
mod storage;
mod system;
mod values;
mod watch;

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use unisono_model::limits::MAX_DEFINITION_BYTES;
use unisono_telemetry::logs::LogLevels;

use crate::hub::Hub;
use crate::metrics::{Metrics, count_request};
use crate::outside::{Caller, LocalControllers, refuse_own};
use crate::partition::Partition;
use crate::sessions::Sessions;
use crate::trace::Traces;

pub(crate) use definitions::apply_definition;
pub(crate) use expression::Expressions;
pub(crate) use link::{AgentReader, AgentWriter, LinkClosed, Notes, serve_agent};
pub(crate) use problem::ApiError;
pub(crate) use reads::find_orchestration;
pub(crate) use start::start_and_wait;
pub(crate) use system::now;
pub(crate) use values::{Next, Schemas, ValueWatch};

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
    pub(crate) schemas: Schemas,
    /// Asks and tells others.
    pub(crate) caller: Caller,
    /// Controllers of rollouts that are part of this process.
    pub(crate) controllers: LocalControllers,
    pub(crate) expressions: Expressions,
    pub(crate) heartbeat_ms: u64,
    pub(crate) grace_ms: u64,
    pub(crate) stopping: CancellationToken,
    /// A rule for retention was changed.
    pub(crate) retention_changed: Notify,
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
        .route("/orchestrations", get(list::list).post(start::start))
        .route("/orchestration-counts", get(list::count))
        .route("/orchestrations/{id}", get(reads::get).delete(retention::delete))
        .route("/orchestrations/{id}/history", get(history::history))
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
        .route(
            "/retention",
            get(retention::get).put(retention::set).delete(retention::unset),
        )
        .route(
            "/retention/{type}",
            put(retention::set_of_type).delete(retention::unset_of_type),
        )
        .route("/values", get(values::list))
        .route(
            "/values/{*key}",
            get(values::get).put(values::put).delete(values::delete),
        )
        .route("/transactions", post(values::transact_all))
        .route("/futures", get(values::list_futures))
        .route(
            "/futures/{*key}",
            get(values::get_future)
                .put(values::declare_future)
                .post(values::break_future)
                .delete(values::withdraw_future),
        )
        .route("/waiters/{*key}", get(values::waiters))
        .route("/leases", get(leases::list_leases).post(leases::grant))
        .route("/leases/{lease}", get(leases::get_lease).delete(leases::revoke))
        .route("/leases/{lease}/renew", post(leases::renew))
        .route("/locks", get(leases::list_locks))
        .route("/locks/{name}", get(leases::get_lock))
        .route("/locks/{name}/acquire", post(leases::acquire))
        .route("/locks/{name}/release", post(leases::release))
        .route("/locks/{name}/steal", post(leases::steal))
        .route("/elections", get(leases::list_elections))
        .route("/elections/{name}", get(leases::get_election))
        .route("/elections/{name}/campaign", post(leases::campaign))
        .route("/elections/{name}/proclaim", post(leases::proclaim))
        .route("/elections/{name}/resign", post(leases::resign))
        .route("/elections/{name}/steal", post(leases::depose))
        .merge(rollouts::namespaced())
        .route("/hosts", get(hosts::list))
        .route("/agents", get(agents::list))
        .route("/agents/connect", get(agents::connect));
    Router::new()
        .nest("/api/v1/namespaces/{namespace}", namespaced)
        .merge(rollouts::everywhere())
        .merge(rollouts::classic::routes())
        .route("/api/v1/namespaces", get(definitions::namespaces))
        .route(
            "/api/v1/system/log",
            get(system::log_levels).put(system::set_log_levels),
        )
        .route("/api/v1/system/storage", get(storage::get))
        .route("/api/v1/system/backup", post(backup::take))
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .route("/metrics", get(system::metrics))
        .route("/openapi.json", get(openapi::document))
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(from_fn_with_state(api.clone(), refuse_own))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn_with_state(api.clone(), count_request))
        .with_state(api)
}
