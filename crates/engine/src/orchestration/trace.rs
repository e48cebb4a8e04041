//! Traces: what a run remembers of the one that it belongs to, and the attempts that end in it.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use unisono_model::ids::Timestamp;
use unisono_model::name::Name;
use unisono_model::trace::{SpanId, TraceContext};

use super::event::OrchestrationEvent as E;
use super::run::{ActivityRecord, Phase, Run};
use crate::{Effect, Effects};

/// The trace that a run belongs to, as its `Started` event holds it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Trace {
    #[n(0)]
    trace: (u64, u64),
    /// The run's own span.
    #[n(1)]
    span: u64,
    /// The span of the request that started the run.
    #[n(2)]
    parent: Option<u64>,
    #[n(3)]
    flags: u8,
    #[n(4)]
    state: Option<String>,
}

impl Trace {
    /// A run's place in a trace: its own span, with the span of the request that started it as the parent.
    #[must_use]
    pub fn new(of_run: &TraceContext, parent: Option<SpanId>) -> Self {
        Self {
            trace: super::split_digest(of_run.trace),
            span: of_run.span.get(),
            parent: parent.map(SpanId::get),
            flags: of_run.flags,
            state: of_run.state.clone(),
        }
    }

    /// The trace, with the run's own span.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        TraceContext {
            trace: super::join_digest(self.trace),
            span: SpanId::new(self.span),
            flags: self.flags,
            state: self.state.clone(),
        }
    }

    /// The span of the request that started the run.
    #[must_use]
    pub fn parent(&self) -> Option<SpanId> {
        self.parent.map(SpanId::new)
    }

    /// The trace, with the span of the attempt whose token has this nonce.
    #[must_use]
    pub fn attempt(&self, nonce: u64) -> TraceContext {
        self.context().with_span(SpanId::new(nonce))
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        unisono_model::trace::is_sampled(self.flags)
    }
}

/// How long an attempt was held, or waited for an answer from outside, and how that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptEnded {
    /// The run's trace.
    pub trace: Arc<Trace>,
    /// The run's namespace.
    pub namespace: Name,
    /// The run's id.
    pub orchestration_id: Name,
    /// The activity.
    pub activity_id: Name,
    /// Its type.
    pub activity_type: Name,
    /// From 1.
    pub attempt: u32,
    /// Who held it.
    pub agent: Option<Name>,
    /// The random half of its token; the number of its span.
    pub nonce: u64,
    /// Whether it is over for its agent already, and waited for an answer from outside.
    pub waited: bool,
    /// When it was dispatched, or began to wait.
    pub began: Timestamp,
    /// When that ended.
    pub ended: Timestamp,
    /// A word for how: `complete`, `wait`, `schedule`, `retry`, `fatal`, `returned` or `cancelled`.
    pub outcome: &'static str,
    /// What went wrong.
    pub error: Option<String>,
}

/// Tells of the attempts of a traced run that end with this event, before it is folded.
pub(super) fn attempts_ended(run: &Run, at: Timestamp, event: &E, effects: &mut Effects) {
    let Some(trace) = run.origin.trace.as_ref().filter(|trace| trace.is_sampled()) else {
        return;
    };
    let mut tell = |activity: u32, (outcome, error): (&'static str, Option<&str>)| {
        if let Some(ended) = attempt_ended((run, trace), activity, at, (outcome, error)) {
            effects.push(Effect::AttemptEnded(Box::new(ended)));
        }
    };
    match event {
        E::Completed { activity, .. } => tell(*activity, ("complete", None)),
        E::Waiting { activity, .. } => tell(*activity, ("wait", None)),
        E::Scheduled { activity, .. } => tell(*activity, ("schedule", None)),
        E::Retrying { activity, failure, .. } => tell(*activity, ("retry", Some(&failure.message))),
        E::Failed { activity, failure, .. } => tell(*activity, ("fatal", Some(&failure.message))),
        E::Returned { activity, reason, .. } => tell(*activity, ("returned", Some(reason))),
        E::Errored { .. } | E::Cancelled { .. } => {
            for activity in 0..u32::try_from(run.activities.len()).unwrap_or(u32::MAX) {
                tell(activity, ("cancelled", None));
            }
        }
        E::Started { .. } | E::Dispatched { .. } | E::Due { .. } | E::ContextSaved { .. } | E::Succeeded { .. } => {}
    }
}

/// `None` when the activity has no attempt that could end.
fn attempt_ended(
    (run, trace): (&Run, &Arc<Trace>),
    activity: u32,
    at: Timestamp,
    (outcome, error): (&'static str, Option<&str>),
) -> Option<AttemptEnded> {
    let record: &ActivityRecord = run.activity(activity)?;
    let token = record.phase.token()?;
    let planned = run.plan().activities.get(activity as usize)?;
    Some(AttemptEnded {
        trace: Arc::clone(trace),
        namespace: run.namespace.clone(),
        orchestration_id: run.id.clone(),
        activity_id: planned.id.clone(),
        activity_type: planned.activity_type.clone(),
        attempt: record.attempts,
        agent: record.agent.clone(),
        nonce: token.nonce,
        waited: matches!(record.phase, Phase::Waiting { .. }),
        began: record.since,
        ended: at,
        outcome,
        error: error.map(str::to_owned),
    })
}
