//! Health, readiness and metrics.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use unisono_model::api::LogFilter;
use unisono_model::ids::Timestamp;
use unisono_store::Store;
use unisono_telemetry::logs::{FilterError, LogLevels};

use super::Api;
use super::extract::{Actor, Body};
use super::problem::{Answer, ApiError};
use crate::metrics::{Surroundings, Work};
use crate::partition::Unavailable;
use crate::space::{Free, Room};

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "system", responses((status = 200)))]
pub(super) async fn healthz() -> Json<serde_json::Value> {
    Json(json!({"status": "alive"}))
}

/// The partition decides and the server takes requests. `disk.room` is `reserve` while new work is refused for want of room.
#[utoipa::path(get, path = "/readyz", tag = "system", responses((status = 200), (status = 507, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The disk is full: nothing is written"), (status = 503, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn readyz(State(api): State<Api>) -> Answer<Json<serde_json::Value>> {
    if api.stopping.is_cancelled() {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "the server is shutting down",
        ));
    }
    let space = api.partition.space();
    let Free { free, needed } = space.free();
    let disk = match space.room() {
        Room::None => return Err(Unavailable::DiskFull(space.free()).into()),
        Room::Reserve => json!({"room": "reserve", "freeBytes": free, "neededBytes": needed}),
        Room::Enough => json!({"room": "enough"}),
    };
    let revision = api.partition.query(|state| state.revision).await?;
    Ok(Json(json!({"status": "ready", "revision": revision, "disk": disk})))
}

/// Metrics in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", tag = "system", responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(api): State<Api>) -> Answer<Response> {
    // While nothing can be written, the state may not be shown; what was counted can be.
    let work = api.partition.query(Work::read).await.ok();
    let space = api.partition.space();
    let room = space.room();
    let (commands_waiting, batches_behind) = api.partition.backlog();
    let (follow, wait) = api.hub.watchers();
    let store = api.partition.store().ok();
    let around = Surroundings {
        commands_waiting,
        batches_behind,
        projected: api.partition.projected().0,
        store_bytes: store.as_ref().map_or(0, Store::size_bytes),
        store_parts: store.map_or(Vec::new(), |store| store.part_bytes().to_vec()),
        disk: (room, space.free()),
        watchers: [
            ("follow", follow),
            ("end", wait),
            ("list", api.hub.decisions.receiver_count()),
            ("values", api.hub.feed.watchers()),
            ("entities", api.hub.fleets.count()),
        ],
        now: now(),
    };
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = api.metrics.text(work.as_ref(), &around);
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

/// The present, by this machine's clock.
pub(crate) fn now() -> Timestamp {
    let millis = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    Timestamp(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// What the server logs.
#[utoipa::path(get, path = "/api/v1/system/log", tag = "system", responses((status = 200, body = LogFilter)))]
pub(super) async fn log_levels(State(api): State<Api>) -> Answer<Json<LogFilter>> {
    let filter = levels(&api)?.get();
    Ok(Json(LogFilter { filter }))
}

/// Change what the server logs, until it is changed again or ends.
#[utoipa::path(put, path = "/api/v1/system/log", tag = "system", request_body = LogFilter,
    responses((status = 200, body = LogFilter), (status = 400, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn set_log_levels(
    State(api): State<Api>,
    Actor(actor): Actor,
    Body(wanted): Body<LogFilter>,
) -> Answer<Json<LogFilter>> {
    let levels = levels(&api)?;
    levels.set(&wanted.filter).map_err(|error| {
        ApiError::bad_request("bad-log-filter", error.to_string())
            .field("filter")
            .help(FilterError::HELP)
    })?;
    let filter = levels.get();
    tracing::warn!(filter, "{} changed what is logged", Actor(actor).named());
    Ok(Json(LogFilter { filter }))
}

fn levels(api: &Api) -> Answer<&LogLevels> {
    api.log.as_ref().ok_or_else(|| {
        ApiError::conflict(
            "log-not-ours",
            "the log belongs to the program that this server is part of",
        )
        .help("change it there")
    })
}
