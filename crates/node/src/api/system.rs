//! Health, readiness and metrics.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Api;
use super::problem::{Answer, ApiError};

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "system", responses((status = 200)))]
pub(super) async fn healthz() -> Json<serde_json::Value> {
    Json(json!({"status": "alive"}))
}

/// The partition decides and the server takes requests.
#[utoipa::path(get, path = "/readyz", tag = "system", responses((status = 200), (status = 503, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn readyz(State(api): State<Api>) -> Answer<Json<serde_json::Value>> {
    if api.stopping.is_cancelled() {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "the server is shutting down",
        ));
    }
    let revision = api.partition.query(|state| state.revision).await?;
    Ok(Json(json!({"status": "ready", "revision": revision})))
}

/// Metrics in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", tag = "system", responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(api): State<Api>) -> Answer<Response> {
    let (open, counts, depths, agents) = api
        .partition
        .query(|state| {
            (
                state.runs().len(),
                state.counts(),
                state.queue_depths(),
                state.connected_agents(),
            )
        })
        .await?;
    api.metrics.observe(open, counts);
    api.metrics.queues(depths);
    let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    api.metrics.agents.set(gauge(agents as u64));
    api.metrics.store_bytes.set(gauge(api.partition.store().size_bytes()));
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], api.metrics.text()).into_response())
}
