//! An attempt on its way to an agent.

use std::sync::Arc;

use serde_json::value::RawValue;
use unisono_model::ids::AttemptToken;
use unisono_model::name::Name;
use unisono_model::plan::{Plan, PlannedSource};
use unisono_model::protocol::ActivityTask;
use unisono_model::schema::Violation;
use unisono_model::trace::TraceContext;

use super::context::Context;
use super::run::{Run, RunKey};
use super::trace::Trace;
use crate::definition::StoredDefinition;
use crate::payload::Payload;

/// An attempt on its way to an agent: everything its message is made of, shared and not yet put
/// together, so that putting it together costs the deciding thread nothing.
#[derive(Clone, Debug)]
pub struct Task {
    /// Names the attempt.
    pub token: AttemptToken,
    /// The run.
    pub run: RunKey,
    /// The run's namespace.
    pub namespace: Name,
    /// The run's id.
    pub orchestration_id: Name,
    /// The activity's index in the plan.
    pub activity: u32,
    /// From 1.
    pub attempt: u32,
    definition: Arc<StoredDefinition>,
    correlation_id: Option<Box<str>>,
    trace: Option<Arc<Trace>>,
    run_input: Payload,
    /// Outputs of the activities that its input is made of.
    outputs: Vec<(u32, Payload)>,
    context: Option<Arc<Context>>,
}

impl Task {
    pub(crate) fn of(run: &Run, activity: u32, token: AttemptToken) -> Self {
        let mut producers: Vec<u32> = run.plan().activities[activity as usize]
            .inputs
            .iter()
            .filter_map(|input| match input.source {
                PlannedSource::Output { activity, .. } => Some(activity),
                PlannedSource::Input(_) => None,
            })
            .collect();
        producers.sort_unstable();
        producers.dedup();
        Self {
            token,
            run: run.key,
            namespace: run.namespace.clone(),
            orchestration_id: run.id.clone(),
            activity,
            attempt: run.activities[activity as usize].attempts,
            definition: Arc::clone(&run.definition),
            correlation_id: run.origin.correlation_id.clone(),
            trace: run.origin.trace.clone(),
            run_input: run.input.clone(),
            outputs: producers
                .into_iter()
                .filter_map(|producer| Some((producer, run.output_of(producer)?.clone())))
                .collect(),
            context: run.context.clone(),
        }
    }

    /// The plan that it is part of.
    #[must_use]
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.definition.plan()
    }

    /// The message for the agent.
    ///
    /// # Errors
    /// Every way in which the mapped input does not fit the activity's input schema, or that it is too large.
    pub fn message(&self) -> Result<ActivityTask, Vec<Violation>> {
        let Some(plan) = self.definition.plan() else {
            return Err(Vec::new());
        };
        let activity = &plan.activities[self.activity as usize];
        let input = plan.activity_input(self.activity, self.run_input.raw(), |producer| {
            self.outputs
                .iter()
                .find(|(index, _)| *index == producer)
                .map(|(_, output)| output.raw())
        });
        let input = input.map_err(|error| {
            vec![Violation {
                path: String::new(),
                message: error.to_string(),
            }]
        })?;
        plan.validate_activity_input(self.activity, &input)?;
        let trace = self.trace.as_ref().map(|trace| trace.attempt(self.token.nonce));
        Ok(ActivityTask {
            token: self.token,
            namespace: self.namespace.clone(),
            orchestration_id: self.orchestration_id.clone(),
            orchestration_type: self.definition.type_name.clone(),
            correlation_id: self.correlation_id.as_deref().map(str::to_owned),
            activity_id: activity.id.clone(),
            activity_type: activity.activity_type.clone(),
            discriminator: activity.discriminator.as_deref().map(str::to_owned),
            attempt: self.attempt,
            traceparent: trace.as_ref().map(TraceContext::parent),
            tracestate: trace.and_then(|trace| trace.state),
            input,
            context: self
                .context
                .as_deref()
                .map_or_else(|| Payload::empty_object().to_raw(), object),
        })
    }
}

/// The values of a context as a JSON object.
fn object(context: &Context) -> Box<RawValue> {
    let map: std::collections::BTreeMap<&str, &RawValue> = context
        .iter()
        .map(|(key, entry)| (key.as_str(), entry.value.raw()))
        .collect();
    serde_json::value::to_raw_value(&map).unwrap_or_else(|_| Payload::empty_object().to_raw())
}
