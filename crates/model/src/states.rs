//! The states of orchestrations and activities, and the words for them.

use serde::{Deserialize, Serialize};

/// The state of an orchestration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OrchestrationState {
    /// Accepted and durable; nothing has been dispatched yet.
    Initialized,
    /// At least one activity has been dispatched.
    Running,
    /// Every activity completed.
    Completed,
    /// An activity failed for good.
    Errored,
    /// Someone cancelled it.
    Cancelled,
}

impl OrchestrationState {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 5] = [
        Self::Initialized,
        Self::Running,
        Self::Completed,
        Self::Errored,
        Self::Cancelled,
    ];

    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Errored | Self::Cancelled)
    }

    /// The word used in JSON, on the command line and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initialized => "initialized",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Errored => "errored",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The state of an activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ActivityState {
    /// Dependencies are not done.
    Pending,
    /// Waits for an agent with room.
    Ready,
    /// An agent holds an attempt.
    Running,
    /// Acknowledged by an agent; completes or fails by an external call with its token.
    Waiting,
    /// Runs again at a known time.
    Scheduled,
    /// Done.
    Completed,
    /// Failed for good.
    Failed,
    /// Never ran, because the orchestration ended first.
    Skipped,
    /// Stopped, because the orchestration ended first.
    Cancelled,
}

impl ActivityState {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Ready,
        Self::Running,
        Self::Waiting,
        Self::Scheduled,
        Self::Completed,
        Self::Failed,
        Self::Skipped,
        Self::Cancelled,
    ];

    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Skipped | Self::Cancelled)
    }

    /// The word used in JSON, on the command line and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Scheduled => "scheduled",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What the activities of an open orchestration wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WaitReason {
    /// An agent: none that is connected runs the activity's type.
    NoAgent,
    /// An agent with room: all that run the activity's type hold as many attempts as they are willing to.
    AgentsFull,
    /// A call from outside that completes or fails it.
    ExternalCall,
    /// A time, at which it runs again.
    Time,
    /// The end of the pause after an error; it waits for a time as well.
    Retry,
}

impl WaitReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::NoAgent,
        Self::AgentsFull,
        Self::ExternalCall,
        Self::Time,
        Self::Retry,
    ];

    /// The word used in JSON and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAgent => "no-agent",
            Self::AgentsFull => "agents-full",
            Self::ExternalCall => "external-call",
            Self::Time => "time",
            Self::Retry => "retry",
        }
    }
}

/// The text is none of the words for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {what} is called \"{given}\"; it is one of {known}")]
pub struct UnknownState {
    /// What was to be named.
    pub what: &'static str,
    /// What was given.
    pub given: String,
    /// The words that are known, joined by commas.
    pub known: String,
}

macro_rules! state_text {
    ($state:ty) => {
        state_text!($state, "state");
    };
    ($state:ty, $what:literal) => {
        impl ::std::fmt::Display for $state {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ::std::str::FromStr for $state {
            type Err = $crate::states::UnknownState;

            fn from_str(text: &str) -> Result<Self, $crate::states::UnknownState> {
                Self::ALL
                    .into_iter()
                    .find(|state| state.as_str() == text)
                    .ok_or_else(|| $crate::states::UnknownState {
                        what: $what,
                        given: text.to_owned(),
                        known: Self::ALL.map(Self::as_str).join(", "),
                    })
            }
        }
    };
}
pub(crate) use state_text;
state_text!(OrchestrationState);
state_text!(ActivityState);
state_text!(WaitReason, "reason to wait");
