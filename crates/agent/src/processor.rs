//! What an activity processor is, and how an attempt ends.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;
use unisono_model::protocol::ActivityError;

use crate::context::ActivityContext;

/// Executes the activities of a type.
///
/// One processor serves all attempts of its type, several at the same time. It must be idempotent: an attempt whose
/// agent is lost is executed again elsewhere, perhaps after it did all its work.
///
/// ```
/// use unisono_agent::{ActivityContext, ActivityProcessor, Processed, ActivityResult};
///
/// struct Greeter;
///
/// impl ActivityProcessor for Greeter {
///     async fn process(&self, context: &mut ActivityContext) -> Processed {
///         context.set_output("greeting", "hello")?;
///         Ok(ActivityResult::Complete)
///     }
/// }
/// ```
pub trait ActivityProcessor: Send + Sync + 'static {
    /// Executes one attempt. Write it as `async fn process(&self, context: &mut ActivityContext) -> Processed`.
    ///
    /// When [`ActivityContext::cancelled`] resolves the result no longer counts: clean up and return. What has not
    /// returned ten seconds later is dropped.
    fn process(&self, context: &mut ActivityContext) -> impl Future<Output = Processed> + Send;
}

/// A closure that returns a boxed future is a processor: `|context| Box::pin(async move { … })`.
impl<F> ActivityProcessor for F
where
    F: for<'a> Fn(&'a mut ActivityContext) -> BoxFuture<'a, Processed> + Send + Sync + 'static,
{
    fn process(&self, context: &mut ActivityContext) -> impl Future<Output = Processed> + Send {
        self(context)
    }
}

/// [`ActivityProcessor`] as an object, so that an agent can hold processors of many types.
pub(crate) trait DynProcessor: Send + Sync {
    fn process_boxed<'a>(&'a self, context: &'a mut ActivityContext) -> BoxFuture<'a, Processed>;
}

impl<P: ActivityProcessor> DynProcessor for P {
    fn process_boxed<'a>(&'a self, context: &'a mut ActivityContext) -> BoxFuture<'a, Processed> {
        Box::pin(self.process(context))
    }
}

/// What a processor returns: one of the five results, or a failure that `?` brought up.
pub type Processed = Result<ActivityResult, ActivityFailure>;

/// The five results of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActivityResult {
    /// The activity is done; its output is what was set with [`ActivityContext::set_output`].
    Complete,
    /// Acknowledged: someone else completes or fails the activity with [`ActivityContext::token`].
    Wait {
        /// The activity fails when nobody answered after this long; `None` waits without limit.
        timeout: Option<Duration>,
    },
    /// Run the activity again after a while, with its context kept.
    Schedule {
        /// How long to wait.
        after: Duration,
    },
    /// A recoverable error: run the activity again after a backoff.
    Retry(ActivityError),
    /// An error that no repetition mends: the orchestration ends as `errored`.
    Fatal(ActivityError),
}

/// An error on its way out of a processor, with the decision whether a repetition may mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityFailure {
    /// What went wrong.
    pub error: ActivityError,
    /// Whether to run the activity again after a backoff.
    pub retry: bool,
}

impl ActivityFailure {
    /// A recoverable failure; `code` is a stable word for programs.
    pub fn retry(code: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            error: ActivityError::new(code, message.to_string()),
            retry: true,
        }
    }

    /// A failure that no repetition mends; `code` is a stable word for programs.
    pub fn fatal(code: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            error: ActivityError::new(code, message.to_string()),
            retry: false,
        }
    }
}

impl fmt::Display for ActivityFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error.message)
    }
}

impl std::error::Error for ActivityFailure {}

impl From<ActivityFailure> for ActivityResult {
    fn from(failure: ActivityFailure) -> Self {
        if failure.retry {
            Self::Retry(failure.error)
        } else {
            Self::Fatal(failure.error)
        }
    }
}

/// Says of any error inside a processor what it means for the activity.
pub trait OrFail<T> {
    /// An error becomes a retry with this code.
    ///
    /// # Errors
    /// The failure that the error became.
    fn or_retry(self, code: &str) -> Result<T, ActivityFailure>;

    /// An error becomes a fatal failure with this code.
    ///
    /// # Errors
    /// The failure that the error became.
    fn or_fatal(self, code: &str) -> Result<T, ActivityFailure>;
}

impl<T, E: fmt::Display> OrFail<T> for Result<T, E> {
    fn or_retry(self, code: &str) -> Result<T, ActivityFailure> {
        self.map_err(|error| ActivityFailure::retry(code, error))
    }

    fn or_fatal(self, code: &str) -> Result<T, ActivityFailure> {
        self.map_err(|error| ActivityFailure::fatal(code, error))
    }
}
