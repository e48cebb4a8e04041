//! What is said when a command about values, futures, leases or locks is refused.

use axum::http::StatusCode;
use serde_json::{Value, json};
use unisono_engine::lease::LeaseRejection;
use unisono_engine::value::{Failed, Shown, ValueRejection};
use unisono_model::values::{FailedCondition, WaitStep};

use super::problem::ApiError;

pub(super) fn value(rejection: ValueRejection, detail: String) -> ApiError {
    use ValueRejection as R;
    let conflict = |code| ApiError::conflict(code, detail.clone());
    match rejection {
        R::ConditionFailed { failed } => condition_failed(&failed),
        R::WrittenTwice { .. } => ApiError::bad_request("written-twice", detail)
            .field("then")
            .help("write each key once: the last write alone would count"),
        R::StaleFence { token, seen, .. } => conflict("stale-fence")
            .field("fence")
            .help("somebody else has held the lock since: stop what you do, and take the lock again")
            .data(json!({"token": token, "seen": seen})),
        R::LockLost { .. } => conflict("lock-lost")
            .field("fence")
            .help("the lease ended, or the lock was released or stolen: stop what you do, and take the lock again"),
        R::FenceForgotten { .. } => conflict("fence-forgotten")
            .field("fence")
            .help("name the lock that gave the token, or take the lock again"),
        R::NoSuchFence { .. } => ApiError::bad_request("no-such-fence", detail)
            .field("fence")
            .help("give the token that came with the lock; it is the revision of the grant"),
        R::LeaseFull { .. } => conflict("lease-full")
            .field("lease")
            .help("attach the rest to another lease"),
        R::Unchecked { .. } => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "changed-meanwhile", detail)
            .help("the future is declared anew again and again just now: repeat the request"),
        R::NotJson { .. } => ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "schema-violation", detail)
            .field("value")
            .help("give the value as JSON, in `value`"),
        R::NotTheProducer { key, producer } => conflict("not-the-producer").field("party").help(format!(
            "if you are {producer}, say so with `party` (`unisono value set {key} VALUE --party {producer}`); otherwise withdraw the promise first"
        )),
        R::Settled { key, .. } => conflict("future-settled").help(format!(
            "begin a new epoch with `newEpoch` (`unisono value declare {key} --producer NAME --new-epoch`), which deletes the value that it has"
        )),
        R::Declared { producer, .. } => conflict("declared-by-another")
            .field("producer")
            .help(format!("withdraw the promise of {producer} first, or wait until it is settled")),
        R::HasValue { .. } => conflict("has-value").help(
            "delete the value first, or begin with `newEpoch`, which deletes it: a future has no value when it is declared",
        ),
        R::NotDeclared { .. } => ApiError::not_found("future-not-found", detail)
            .field("key")
            .help("only declared futures can be broken or withdrawn; `unisono value futures` lists them"),
        R::Cycle { cycle } => self::cycle(&cycle),
    }
}

pub(super) fn lease(rejection: LeaseRejection, detail: String) -> ApiError {
    use LeaseRejection as R;
    let conflict = |code| ApiError::conflict(code, detail.clone());
    match rejection {
        R::NotFound { .. } => ApiError::not_found("lease-not-found", detail)
            .field("lease")
            .help("whatever it held is gone: ask for a new lease, and acquire again"),
        R::Held { holders, queue, .. } => conflict("lock-held")
            .help("wait for it (`waitMs`, or `unisono lock --wait`), or try again later")
            .data(json!({"holders": holders, "queue": queue})),
        R::HeldOtherwise { .. } => conflict("held-otherwise")
            .field("mode")
            .help("release it first; a lease holds a lock in one way"),
        R::AnotherKind { .. } => conflict("lock-of-another-kind")
            .field("permits")
            .help("all who use a lock say the same number of permits, or none"),
        R::QueueFull { .. } => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "queue-full", detail)
            .help("try again when the queue is shorter"),
        R::NotHeld { .. } => conflict("lock-not-held")
            .field("lease")
            .help("it was released, stolen, or not granted yet; `unisono get lock NAME` shows who holds it"),
        R::NothingToSteal { .. } => conflict("lock-free")
            .field("token")
            .help("`unisono get lock NAME` shows who holds it now"),
        R::Cycle { cycle } => self::cycle(&cycle),
    }
}

/// Parties would wait for each other for ever.
pub(super) fn cycle(cycle: &[WaitStep]) -> ApiError {
    ApiError::conflict("wait-cycle", WaitStep::told(cycle))
        .help("one of them must go on without waiting; nothing has changed")
        .data(json!({ "cycle": cycle }))
}

fn condition_failed(failed: &[Failed]) -> ApiError {
    let found = |failed: &Failed| match &failed.current {
        None => format!("\"{}\" has no value", failed.key),
        Some(current) => format!("\"{}\" was last written at revision {}", failed.key, current.revision),
    };
    let detail = failed.iter().map(found).collect::<Vec<_>>().join(", ");
    let failed: Vec<Value> = failed
        .iter()
        .map(|failed| {
            let current = failed.current.as_deref().and_then(Shown::public_view).map(Box::new);
            let condition = FailedCondition {
                key: failed.key.clone(),
                current,
            };
            // It is made of types that can always be written as JSON.
            serde_json::to_value(condition).unwrap_or_default()
        })
        .collect();
    ApiError::new(
        StatusCode::PRECONDITION_FAILED,
        "condition-failed",
        format!("the condition does not hold: {detail}"),
    )
    .field("if")
    .help("nothing was changed: look what is there now, and decide anew")
    .data(json!({ "failed": failed }))
}
