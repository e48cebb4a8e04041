//! Backups of the running server.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use unisono_model::ids::Timestamp;

use super::Api;
use super::extract::Params;
use super::now;
use super::problem::{Answer, ApiError};
use crate::backup::{TakeError, Taking};
use crate::metrics::Metrics;
use crate::partition::Unavailable;

/// Backups that are taken at the same time at most: each keeps the store from forgetting what it removes.
const MOST_AT_ONCE: usize = 4;
const STALL_SECONDS: u64 = 60;
const LONGEST_STALL_SECONDS: u64 = 3_600;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BackupParams {
    stall_seconds: Option<u64>,
}

/// Back up everything, while the server goes on. The backup is given up when nothing is read of it for too long, and then
/// ends with the reason.
#[utoipa::path(post, path = "/api/v1/system/backup", tag = "system",
    params(("stallSeconds" = Option<u64>, Query, description = "For how long nothing may be read, 60 unless given, 3600 at most")),
    responses((status = 200, content_type = "application/vnd.unisono.backup", description = "The backup; verify it before it is relied on"),
        (status = 503, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn take(State(api): State<Api>, Params(params): Params<BackupParams>) -> Answer<Response> {
    let seconds = params.stall_seconds.unwrap_or(STALL_SECONDS);
    if !(1..=LONGEST_STALL_SECONDS).contains(&seconds) {
        let detail = format!("stallSeconds is {seconds}, and must be between 1 and {LONGEST_STALL_SECONDS}");
        return Err(ApiError::bad_request("bad-parameter", detail).field("stallSeconds"));
    }
    if api.stopping.is_cancelled() {
        return Err(Unavailable::Stopping.into());
    }
    let begun = Instant::now();
    let created_at = now();
    let export = api.partition.export(MOST_AT_ONCE).await?.ok_or_else(|| {
        let detail = format!("{MOST_AT_ONCE} backups are being taken already");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-backups", detail)
            .help("wait until one of them is done")
    })?;
    let (taking, mut frames) = Taking::new(
        export,
        (api.data_directory.to_path_buf(), created_at),
        (api.stopping.clone(), Duration::from_secs(seconds)),
    );
    let metrics = api.metrics.clone();
    std::thread::Builder::new()
        .name("backup".to_owned())
        .spawn(move || run(taking, &metrics, (created_at, begun)))
        .map_err(|error| ApiError::internal(format!("the backup cannot be started: {error}")))?;
    let body = stream::poll_fn(move |context| frames.poll_recv(context).map(|frame| frame.map(Ok::<_, TakeError>)));
    let kind = [(header::CONTENT_TYPE, "application/vnd.unisono.backup")];
    Ok((kind, Body::from_stream(body)).into_response())
}

fn run(taking: Taking, metrics: &Metrics, (created_at, begun): (Timestamp, Instant)) {
    match taking.run() {
        Ok(taken) => {
            metrics.backup(true);
            metrics.last_backup.set(created_at.0 / 1_000);
            tracing::info!(
                revision = %taken.totals.revision,
                bytes = taken.bytes,
                "a backup was taken in {:?}",
                begun.elapsed()
            );
        }
        Err(error) => {
            metrics.backup(false);
            tracing::warn!("a backup was given up after {:?}: {error}", begun.elapsed());
        }
    }
}
