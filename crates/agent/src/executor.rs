//! Runs one attempt in a task of its own.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::value::RawValue;
use unisono_model::protocol::{ActivityError, ActivityTask, AttemptResult, Outcome};

use crate::attempt::{AttemptEvent, AttemptHandle, floor_char_boundary};
use crate::context::ActivityContext;
use crate::processor::{ActivityResult, DynProcessor, Processed};
use crate::trace::Tracer;

/// How long a cancelled attempt may clean up before it is dropped.
pub(crate) const CANCEL_GRACE: Duration = Duration::from_secs(10);
/// Bytes of an error's message that travel; the rest is cut off.
const MAX_ERROR_BYTES: usize = unisono_model::limits::MAX_REASON_BYTES;

/// Starts the attempt. It ends with one [`AttemptEvent::Finished`], whatever the processor does.
pub(crate) fn start(processor: Arc<dyn DynProcessor>, task: ActivityTask, attempt: AttemptHandle, tracer: Tracer) {
    tokio::spawn(async move {
        let result = tokio::select! {
            result = execute(processor.as_ref(), task, &attempt, &tracer) => Some(result),
            () = overdue(&attempt) => {
                tracing::warn!(token = %attempt.token(), "a cancelled attempt did not end within {CANCEL_GRACE:?}; it is dropped");
                None
            }
        };
        attempt.tell(AttemptEvent::Finished(attempt.token(), result));
    });
}

async fn overdue(attempt: &AttemptHandle) {
    attempt.cancelled().await;
    tokio::time::sleep(CANCEL_GRACE).await;
}

async fn execute(
    processor: &dyn DynProcessor,
    task: ActivityTask,
    attempt: &AttemptHandle,
    tracer: &Tracer,
) -> AttemptResult {
    let token = task.token;
    let mut context = ActivityContext::new(task, attempt.clone());
    let span = tracer.begin(&mut context);
    let processed = AssertUnwindSafe(async { processor.process_boxed(&mut context).await })
        .catch_unwind()
        .await;
    let processed = processed.unwrap_or_else(|panic| Ok(panicked(panic.as_ref())));
    let (output, patch) = context.into_parts();
    let outcome = outcome(processed, output);
    if let Some(span) = span {
        tracer.end(span, &outcome);
    }
    AttemptResult { token, outcome, patch }
}

fn panicked(panic: &(dyn Any + Send)) -> ActivityResult {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it gave no message".to_owned());
    ActivityResult::Fatal(ActivityError::new(
        "panic",
        format!("the activity's processor panicked: {message}"),
    ))
}

fn outcome(processed: Processed, output: Option<Box<RawValue>>) -> Outcome {
    match processed.unwrap_or_else(ActivityResult::from) {
        ActivityResult::Complete => Outcome::Complete { output },
        ActivityResult::Wait { timeout } => Outcome::Wait {
            timeout_ms: timeout.map(millis),
        },
        ActivityResult::Schedule { after } => Outcome::Schedule {
            after_ms: millis(after),
        },
        ActivityResult::Retry(error) => Outcome::Retry { error: bounded(error) },
        ActivityResult::Fatal(error) => Outcome::Fatal { error: bounded(error) },
    }
}

fn bounded(mut error: ActivityError) -> ActivityError {
    error
        .message
        .truncate(floor_char_boundary(&error.message, MAX_ERROR_BYTES));
    error
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::context::tests::task;
    use crate::processor::{ActivityFailure, ActivityProcessor};
    use serde_json::json;
    use tokio::sync::mpsc;

    async fn run(processor: impl ActivityProcessor) -> Option<AttemptResult> {
        let task = task(json!({}), json!({}));
        let (events, mut received) = mpsc::unbounded_channel();
        let attempt = AttemptHandle::new(task.token, events);
        let tracer = Tracer {
            spans: unisono_telemetry::trace::Spans::default(),
            agent: unisono_model::name::Name::parse("a").unwrap(),
        };
        start(Arc::new(processor), task, attempt, tracer);
        match received.recv().await.unwrap() {
            AttemptEvent::Finished(_, result) => result,
            event => panic!("the end expected, got {event:?}"),
        }
    }

    struct Panicking;

    impl ActivityProcessor for Panicking {
        async fn process(&self, _: &mut ActivityContext) -> Processed {
            panic!("index {} out of bounds", 7)
        }
    }

    #[tokio::test]
    async fn a_panicking_processor_is_a_fatal_error_with_the_message() {
        let result = run(Panicking).await.unwrap();
        let Outcome::Fatal { error } = result.outcome else {
            panic!("{result:?}")
        };
        assert_eq!(error.code.as_deref(), Some("panic"));
        assert!(
            error.message.ends_with("panicked: index 7 out of bounds"),
            "{}",
            error.message
        );
    }

    struct Failing(bool);

    impl ActivityProcessor for Failing {
        async fn process(&self, context: &mut ActivityContext) -> Processed {
            context.set("kept", 1)?;
            if self.0 {
                return Err(ActivityFailure::retry("busy", "come back"));
            }
            context.get::<String>("kept")?;
            Ok(ActivityResult::Complete)
        }
    }

    #[tokio::test]
    async fn a_failure_by_question_mark_is_a_retry_or_fatal_and_keeps_the_context_changes() {
        let result = run(Failing(true)).await.unwrap();
        assert!(matches!(result.outcome, Outcome::Retry { .. }));
        assert_eq!(result.patch.unwrap().set["kept"].get(), "1");
        let Outcome::Fatal { error } = run(Failing(false)).await.unwrap().outcome else {
            panic!("fatal expected")
        };
        assert_eq!(
            error.message,
            "context.kept: invalid type: integer `1`, expected a string"
        );
    }
}
