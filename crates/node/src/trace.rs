//! Spans of what the node does: the request that starts a run, the run, and each attempt.
//!
//! What is told here is durable already. A span that cannot be sent is dropped: nothing waits for it.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use unisono_engine::orchestration::{AttemptEnded, Phase, Run, Trace};
use unisono_model::api::OrchestrationState;
use unisono_model::ids::Timestamp;
use unisono_model::trace::{SpanId, TraceContext};
use unisono_telemetry::trace::{Kind, Span, Spans, Value, random_span, random_trace, sampled};

/// The fraction of starts that begin a trace when nobody says another, and spans are exported.
const DEFAULT_SAMPLE: f64 = 0.01;

/// Begins traces, and tells of what happened in them.
#[derive(Clone, Debug)]
pub(crate) struct Traces {
    spans: Spans,
    sample: f64,
}

/// A request that starts a run, while it is handled.
pub(crate) struct Request {
    context: TraceContext,
    parent: Option<SpanId>,
    began: SystemTime,
}

impl Request {
    /// What the run is to remember: a span of its own, with the request's as the parent.
    pub(crate) fn of_run(&self) -> Trace {
        Trace::new(&self.context.with_span(random_span()), Some(self.context.span))
    }
}

impl Traces {
    /// Without a word on the fraction, none begins where no spans are exported.
    pub(crate) fn new(spans: Spans, sample: Option<f64>) -> Self {
        let default = if spans.is_on() { DEFAULT_SAMPLE } else { 0.0 };
        Self {
            spans,
            sample: sample.unwrap_or(default),
        }
    }

    /// A request comes: it belongs to the caller's trace, or to a new one in a fraction of cases, or to none.
    pub(crate) fn request(&self, caller: Option<TraceContext>) -> Option<Request> {
        let (context, parent) = match caller {
            Some(caller) => (caller.with_span(random_span()), Some(caller.span)),
            None if sampled(self.sample) => (TraceContext::sampled(random_trace(), random_span()), None),
            None => return None,
        };
        Some(Request {
            context,
            parent,
            began: SystemTime::now(),
        })
    }

    /// The request is answered.
    pub(crate) fn answered(&self, request: Request, status: u16, mut attributes: Vec<(&'static str, Value)>) {
        if !self.spans.is_on() || !request.context.is_sampled() {
            return;
        }
        attributes.extend([
            ("http.request.method", "POST".into()),
            ("http.route", START_ROUTE.into()),
            ("http.response.status_code", u32::from(status).into()),
        ]);
        self.spans.send(Span {
            context: request.context,
            parent: request.parent,
            name: Cow::Borrowed(START_NAME),
            kind: Kind::Server,
            began: request.began,
            ended: SystemTime::now(),
            attributes,
            error: (status >= 500).then(|| format!("answered with status {status}")),
        });
    }

    /// An attempt is over.
    pub(crate) fn attempt(&self, attempt: AttemptEnded) {
        if !self.spans.is_on() {
            return;
        }
        let held = attempt.trace.attempt(attempt.nonce);
        let (context, parent, name, kind) = if attempt.waited {
            let span = SpanId::new(attempt.nonce.rotate_left(32) ^ u64::MAX);
            let name = format!("wait for an answer to {}", attempt.activity_type);
            (held.with_span(span), held.span, name, Kind::Internal)
        } else {
            let run = attempt.trace.context().span;
            (held, run, attempt.activity_type.to_string(), Kind::Producer)
        };
        let mut attributes = vec![
            ("unisono.namespace", attempt.namespace.as_str().into()),
            ("unisono.orchestration.id", attempt.orchestration_id.as_str().into()),
            ("unisono.activity.id", attempt.activity_id.as_str().into()),
            ("unisono.activity.type", attempt.activity_type.as_str().into()),
            ("unisono.attempt", attempt.attempt.into()),
            ("unisono.outcome", attempt.outcome.into()),
        ];
        if let Some(agent) = &attempt.agent {
            attributes.push(("unisono.agent", agent.as_str().into()));
        }
        self.spans.send(Span {
            context,
            parent: Some(parent),
            name: Cow::Owned(name),
            kind,
            began: time(attempt.began),
            ended: time(attempt.ended),
            attributes,
            error: attempt.error,
        });
    }

    /// A run has ended.
    pub(crate) fn ended(&self, run: &Run) {
        let Some(trace) = run.origin.trace.as_ref().filter(|trace| trace.is_sampled()) else {
            return;
        };
        if !self.spans.is_on() {
            return;
        }
        let attributes = vec![
            ("unisono.namespace", run.namespace.as_str().into()),
            ("unisono.orchestration.id", run.id.as_str().into()),
            ("unisono.orchestration.type", run.definition.type_name.as_str().into()),
            ("unisono.orchestration.version", run.definition.version.into()),
            ("unisono.orchestration.state", run.state.as_str().into()),
        ];
        self.spans.send(Span {
            context: trace.context(),
            parent: trace.parent(),
            name: Cow::Owned(run.definition.type_name.to_string()),
            kind: Kind::Internal,
            began: time(run.created_at),
            ended: time(run.ended_at().unwrap_or(run.created_at)),
            attributes,
            error: failure(run),
        });
    }

    /// Sends the last spans, before the process ends.
    pub(crate) async fn finish(&self) {
        self.spans.finish().await;
    }
}

const START_ROUTE: &str = "/api/v1/namespaces/{namespace}/orchestrations";
const START_NAME: &str = "POST /api/v1/namespaces/{namespace}/orchestrations";

/// What ended a run that errored.
fn failure(run: &Run) -> Option<String> {
    if run.state != OrchestrationState::Errored {
        return None;
    }
    let failed = run.activities.iter().find(|record| record.phase == Phase::Failed)?;
    Some(failed.failure.as_ref()?.message.clone())
}

fn time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or_default())
}
