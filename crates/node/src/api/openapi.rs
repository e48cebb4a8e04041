//! The OpenAPI document, generated from the handlers.

use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Unisono",
        description = "Durable orchestrations on agents. Errors are application/problem+json.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        super::definitions::apply,
        super::definitions::apply_orchestrations,
        super::definitions::apply_activities,
        super::definitions::list_orchestrations,
        super::definitions::list_activities,
        super::definitions::get_orchestration,
        super::definitions::get_activity,
        super::definitions::delete_orchestration,
        super::definitions::delete_activity,
        super::definitions::namespaces,
        super::start::start,
        super::list::list,
        super::list::count,
        super::reads::get,
        super::history::history,
        super::reads::logs,
        super::orchestrations::cancel,
        super::orchestrations::complete,
        super::orchestrations::fail,
        super::retention::delete,
        super::retention::get,
        super::retention::set,
        super::retention::unset,
        super::retention::set_of_type,
        super::retention::unset_of_type,
        super::values::get,
        super::values::list,
        super::values::put,
        super::values::delete,
        super::values::transact_all,
        super::values::list_futures,
        super::values::get_future,
        super::values::declare_future,
        super::values::break_future,
        super::values::withdraw_future,
        super::values::waiters,
        super::leases::list_leases,
        super::leases::grant,
        super::leases::get_lease,
        super::leases::renew,
        super::leases::revoke,
        super::leases::list_locks,
        super::leases::get_lock,
        super::leases::acquire,
        super::leases::release,
        super::leases::steal,
        super::leases::list_elections,
        super::leases::get_election,
        super::leases::campaign,
        super::leases::proclaim,
        super::leases::resign,
        super::leases::depose,
        super::agents::list,
        super::agents::connect,
        super::backup::take,
        super::system::healthz,
        super::system::readyz,
        super::system::metrics,
        super::storage::get,
        super::system::log_levels,
        super::system::set_log_levels,
    )
)]
struct Document;

pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
