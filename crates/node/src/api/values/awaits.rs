//! Awaiting a key.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tokio::sync::oneshot;
use unisono_engine::AwaitStart;
use unisono_engine::value::{Await, AwaitId, Awaited};
use unisono_model::key::Key;
use unisono_model::name::Name;

use crate::api::Api;
use crate::api::problem::{Answer as ApiAnswer, ApiError};
use crate::api::refusals;
use crate::partition::Unavailable;
use crate::waits::Answer;

/// An await that is under way; dropped, it is no more.
struct Awaiting {
    api: Api,
    id: AwaitId,
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        if self.api.hub.waits.forget(self.id) {
            let id = self.id;
            self.api.partition.depart(move |state| state.stop_awaiting(id));
        }
    }
}

/// Waits until a key has a value, at most so long.
pub(crate) async fn await_value(
    api: &Api,
    (namespace, key): (Name, Key),
    (party, who): (Option<Name>, String),
    wait: Duration,
) -> ApiAnswer<Arc<Answer>> {
    let (sender, receiver) = oneshot::channel();
    let id = api.hub.waits.register(move |answer| {
        // Whoever waited may have gone.
        let _ = sender.send(answer);
    });
    let awaiting = Awaiting { api: api.clone(), id };
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let (of, at) = (namespace, key.clone());
    let begun = api.partition.attend(move |state, now| {
        state.await_value(Await {
            id,
            namespace: of,
            key: at,
            party,
            who,
            since: now,
            until: Some(now.plus_millis(wait_ms)),
        })
    });
    let answer = match begun.await? {
        AwaitStart::Now(awaited) => Answer::new(Arc::new(awaited)),
        AwaitStart::Cycle(cycle) => return Err(refusals::cycle(&cycle)),
        AwaitStart::Waits => tokio::select! {
            answer = receiver => answer.map_err(|_| Unavailable::Lost)?,
            () = tokio::time::sleep(wait) => return Err(timed_out(&key, wait_ms)),
            () = api.stopping.cancelled() => return Err(Unavailable::Stopping.into()),
        },
    };
    drop(awaiting);
    refuse(&key, &answer.awaited)?;
    Ok(answer)
}

fn timed_out(key: &Key, wait_ms: u64) -> ApiError {
    ApiError::not_found(
        "await-timeout",
        format!("\"{key}\" has had no value for the {wait_ms} milliseconds of the wait"),
    )
    .field("key")
    .help("wait longer, or look who has to give it: `unisono value futures` shows who has promised what")
}

/// An answer that is no value.
fn refuse(key: &Key, awaited: &Awaited) -> ApiAnswer<()> {
    match awaited {
        Awaited::Value(_) => Ok(()),
        Awaited::Broken { producer, reason } => Err(ApiError::new(
            StatusCode::FAILED_DEPENDENCY,
            "broken-promise",
            format!("{producer} will give \"{key}\" no value: {reason}"),
        )
        .field("key")
        .help("whoever declares the future again, with a new epoch, can still give it a value")
        .data(json!({"producer": producer, "reason": reason}))),
        Awaited::Expired { producer, reason } => Err(ApiError::new(
            StatusCode::GONE,
            "promise-expired",
            format!("\"{key}\" has no value any more, nor will {producer} give it one: {reason}"),
        )
        .field("key")
        .help("whoever declares the future again, with a new epoch, can still give it a value")
        .data(json!({"producer": producer, "reason": reason}))),
    }
}
