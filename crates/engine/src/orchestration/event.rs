//! What was decided about orchestrations.

use minicbor::{Decode, Encode};
use unisono_model::name::Name;

use super::run::RunKey;
use super::trace::Trace;
use crate::payload::{Failure, Patch, Payload};

/// A fact about a run. `run` is the revision of the run's `Started` event, `activity` an index
/// into the definition's activities, times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum OrchestrationEvent {
    /// A run was accepted.
    #[n(0)]
    Started {
        /// Where.
        #[cbor(n(0), with = "crate::payload::name")]
        namespace: Name,
        /// Its id.
        #[cbor(n(1), with = "crate::payload::name")]
        id: Name,
        /// Its definition's type.
        #[cbor(n(2), with = "crate::payload::name")]
        type_name: Name,
        /// Its definition's version.
        #[n(3)]
        version: u32,
        /// The input, JSON.
        #[n(4)]
        input: Payload,
        /// A digest of what the caller asked for; absent when the server made the id.
        #[n(5)]
        digest: Option<(u64, u64)>,
        /// The caller's correlation id.
        #[n(6)]
        correlation_id: Option<String>,
        /// The caller's labels.
        #[n(7)]
        labels: Option<Vec<(String, String)>>,
        /// Who, if they said.
        #[n(8)]
        actor: Option<String>,
        /// The trace that it belongs to; absent when it is not traced.
        #[n(9)]
        trace: Option<Trace>,
    },
    /// An attempt was handed to an agent. Its token is this event's revision and the nonce.
    #[n(1)]
    Dispatched {
        /// Which run.
        #[n(0)]
        run: u64,
        /// Which activity.
        #[n(1)]
        activity: u32,
        /// The agent's key.
        #[n(2)]
        agent: u64,
        /// The agent's name.
        #[cbor(n(3), with = "crate::payload::name")]
        agent_name: Name,
        /// The random half of the token.
        #[n(4)]
        nonce: u64,
        /// Which attempt, from 1.
        #[n(5)]
        attempt: u32,
    },
    /// An activity is done.
    #[n(2)]
    Completed {
        /// Which run.
        #[n(0)]
        run: u64,
        /// Which activity.
        #[n(1)]
        activity: u32,
        /// Its output, JSON.
        #[n(2)]
        output: Payload,
        /// Context changes.
        #[n(3)]
        patch: Option<Patch>,
        /// Who.
        #[n(4)]
        actor: Option<String>,
        /// Which attempt, from 1.
        #[n(5)]
        attempt: u32,
    },
    /// An attempt was acknowledged; an external call completes or fails the activity.
    #[n(3)]
    Waiting {
        /// Which run.
        #[n(0)]
        run: u64,
        /// Which activity.
        #[n(1)]
        activity: u32,
        /// When it fails without an answer.
        #[n(2)]
        deadline: Option<i64>,
        /// Context changes.
        #[n(3)]
        patch: Option<Patch>,
        /// Which attempt, from 1.
        #[n(4)]
        attempt: u32,
        /// Who.
        #[n(5)]
        actor: Option<String>,
    },
    /// The activity asked to run again later.
    #[n(4)]
    Scheduled {
        /// Which run.
        #[n(0)]
        run: u64,
        /// Which activity.
        #[n(1)]
        activity: u32,
        /// When.
        #[n(2)]
        due: i64,
        /// Context changes.
        #[n(3)]
        patch: Option<Patch>,
        /// Which attempt, from 1.
        #[n(4)]
        attempt: u32,
        /// Who.
        #[n(5)]
        actor: Option<String>,
    },
    /// A recoverable error: the activity runs again after a backoff.
    #[n(5)]
    Retrying {
        /// Which run.
        #[n(0)]
        run: u64,
        /// Which activity.
        #[n(1)]
        activity: u32,
        /// When.
        #[n(2)]
        due: i64,
        /// What went wrong.
        #[n(3)]
        failure: Failure,
        /// Context changes.
        #[n(4)]
        patch: Option<Patch>,
        /// Who.
        #[n(5)]
        actor: Option<String>,
        /// Which attempt, from 1.
        #[n(6)]
        attempt: u32,
    },
    /// An activity failed for good.
    #[n(6)]
    Failed {
        /// Which run.
        #[n(0)]
        run: u64,
        /// Which activity.
        #[n(1)]
        activity: u32,
        /// What went wrong.
        #[n(2)]
        failure: Failure,
        /// Context changes.
        #[n(3)]
        patch: Option<Patch>,
        /// Who.
        #[n(4)]
        actor: Option<String>,
        /// Which attempt, from 1.
        #[n(5)]
        attempt: u32,
    },
    /// An attempt was taken from its agent; the activity is ready again.
    #[n(7)]
    Returned {
        /// Which run.
        #[n(0)]
        run: u64,
        /// Which activity.
        #[n(1)]
        activity: u32,
        /// Why.
        #[n(2)]
        reason: String,
        /// Which attempt, from 1.
        #[n(3)]
        attempt: u32,
    },
    /// The time of a scheduled activity has come; it is ready.
    #[n(8)]
    Due {
        /// Which run.
        #[n(0)]
        run: u64,
        /// Which activity.
        #[n(1)]
        activity: u32,
    },
    /// An activity changed the context while it runs.
    #[n(9)]
    ContextSaved {
        /// Which run.
        #[n(0)]
        run: u64,
        /// Which activity.
        #[n(1)]
        activity: u32,
        /// The changes.
        #[n(2)]
        patch: Patch,
        /// Which attempt, from 1.
        #[n(3)]
        attempt: u32,
        /// Who.
        #[n(4)]
        actor: Option<String>,
    },
    /// Every activity is done.
    #[n(10)]
    Succeeded {
        /// Which run.
        #[n(0)]
        run: u64,
        /// The result by the definition's `output` mapping; absent when it has none.
        #[n(1)]
        output: Option<Payload>,
    },
    /// An activity failed for good, and with it the run.
    #[n(11)]
    Errored {
        /// Which run.
        #[n(0)]
        run: u64,
        /// Which activity.
        #[n(1)]
        activity: u32,
    },
    /// Someone cancelled the run.
    #[n(12)]
    Cancelled {
        /// Which run.
        #[n(0)]
        run: u64,
        /// Why.
        #[n(1)]
        reason: String,
        /// Who.
        #[n(2)]
        actor: String,
    },
}

impl OrchestrationEvent {
    /// What it changes in the shared context.
    #[must_use]
    pub fn patch(&self) -> Option<&Patch> {
        match self {
            Self::Completed { patch, .. }
            | Self::Waiting { patch, .. }
            | Self::Scheduled { patch, .. }
            | Self::Retrying { patch, .. }
            | Self::Failed { patch, .. } => patch.as_ref(),
            Self::ContextSaved { patch, .. } => Some(patch),
            _ => None,
        }
    }

    /// The run that it is about; `None` for `Started`, whose revision is the run's key.
    #[must_use]
    pub fn run(&self) -> Option<u64> {
        match self {
            Self::Started { .. } => None,
            Self::Dispatched { run, .. }
            | Self::Completed { run, .. }
            | Self::Waiting { run, .. }
            | Self::Scheduled { run, .. }
            | Self::Retrying { run, .. }
            | Self::Failed { run, .. }
            | Self::Returned { run, .. }
            | Self::Due { run, .. }
            | Self::ContextSaved { run, .. }
            | Self::Succeeded { run, .. }
            | Self::Errored { run, .. }
            | Self::Cancelled { run, .. } => Some(*run),
        }
    }

    /// The run that ends with it, and how, in a word.
    pub(crate) fn end(&self) -> Option<(RunKey, &'static str)> {
        match self {
            Self::Succeeded { run, .. } => Some((RunKey(*run), "completed")),
            Self::Errored { run, .. } => Some((RunKey(*run), "failed")),
            Self::Cancelled { run, .. } => Some((RunKey(*run), "was cancelled")),
            _ => None,
        }
    }
}
