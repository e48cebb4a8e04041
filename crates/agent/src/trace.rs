//! The agent's own span of an attempt, between the server's and those of what the processor calls.

use std::borrow::Cow;
use std::time::SystemTime;

use unisono_model::name::Name;
use unisono_model::protocol::Outcome;
use unisono_telemetry::trace::{Kind, Span, Spans, random_span};

use crate::context::ActivityContext;

/// Begins and ends spans of attempts.
#[derive(Clone, Debug)]
pub(crate) struct Tracer {
    pub(crate) spans: Spans,
    pub(crate) agent: Name,
}

impl Tracer {
    /// An attempt begins. What it calls belongs to the new span from now on.
    pub(crate) fn begin(&self, context: &mut ActivityContext) -> Option<Span> {
        let attempt = context
            .trace()
            .filter(|trace| trace.is_sampled() && self.spans.is_on())?;
        let parent = attempt.span;
        let own = attempt.with_span(random_span());
        context.set_trace(own.clone());
        let now = SystemTime::now();
        Some(Span {
            context: own,
            parent: Some(parent),
            name: Cow::Owned(context.activity_type().to_string()),
            kind: Kind::Consumer,
            began: now,
            ended: now,
            attributes: vec![
                ("unisono.namespace", context.namespace().as_str().into()),
                ("unisono.orchestration.id", context.orchestration_id().as_str().into()),
                ("unisono.activity.id", context.activity_id().as_str().into()),
                ("unisono.activity.type", context.activity_type().as_str().into()),
                ("unisono.attempt", context.attempt().into()),
                ("unisono.agent", self.agent.as_str().into()),
            ],
            error: None,
        })
    }

    /// The attempt is over.
    pub(crate) fn end(&self, mut span: Span, outcome: &Outcome) {
        let (word, error) = match outcome {
            Outcome::Complete { .. } => ("complete", None),
            Outcome::Wait { .. } => ("wait", None),
            Outcome::Schedule { .. } => ("schedule", None),
            Outcome::Retry { error } => ("retry", Some(error.message.clone())),
            Outcome::Fatal { error } => ("fatal", Some(error.message.clone())),
        };
        span.ended = SystemTime::now();
        span.attributes.push(("unisono.outcome", word.into()));
        span.error = error;
        self.spans.send(span);
    }
}
