//! What people are shown of a run: where everything stands, why, and what would release it.

use unisono_model::api::{
    ActivityState, ActivityView, ContextValue, JsonText, OrchestrationError, OrchestrationState, OrchestrationSummary,
    OrchestrationView,
};
use unisono_model::name::Name;

use super::run::{ActivityRecord, Phase, Run, ScheduledBecause};
use crate::Settings;
use crate::definition::tier_names;
use crate::payload::Payload;
use crate::work::Work;

/// How many names a reason lists before it counts the rest.
const NAMED: usize = 5;

impl Run {
    /// Everything about the run. Without `live` (the run has ended) nothing is said of agents.
    #[must_use]
    pub(crate) fn view(&self, live: Option<(&Work, &Settings)>) -> OrchestrationView {
        let plan = self.plan();
        let activities: Vec<ActivityView> = (0..)
            .zip(&self.activities)
            .map(|(index, record)| self.activity_view(index, record, live))
            .collect();
        OrchestrationView {
            summary: OrchestrationSummary {
                waiting_for: live.map_or(Vec::new(), |(work, _)| self.waiting_for(&work.served())),
                ..self.summary()
            },
            namespace: self.namespace.clone(),
            revision: self.revision,
            started_at: self.started_at(),
            trace_id: self.trace_id(),
            reason: self.reason(&activities),
            input: JsonText(self.input.to_raw()),
            output: (self.state == OrchestrationState::Completed).then(|| self.result()),
            error: self.error(),
            context: self
                .context()
                .map(|(key, entry)| {
                    let value = ContextValue {
                        value: JsonText(entry.value.to_raw()),
                        written_by: plan.activities[entry.written_by as usize].id.clone(),
                        revision: entry.revision,
                    };
                    (key.clone(), value)
                })
                .collect(),
            tiers: tier_names(plan),
            activities,
        }
    }

    fn trace_id(&self) -> Option<String> {
        let trace = self.origin.trace.as_ref().filter(|trace| trace.is_sampled())?;
        Some(format!("{:032x}", trace.context().trace))
    }

    /// The mapped output, or all outputs by activity id.
    fn result(&self) -> JsonText {
        if let Some(output) = self.end.as_ref().and_then(|end| end.output.as_ref()) {
            return JsonText(output.to_raw());
        }
        let mut text = String::from("{");
        for (index, planned) in (0..).zip(&self.plan().activities) {
            if let Some(output) = self.output_of(index) {
                if text.len() > 1 {
                    text.push(',');
                }
                // Names need no escaping in JSON.
                text.push('"');
                text.push_str(&planned.id);
                text.push_str("\":");
                text.push_str(output.as_str());
            }
        }
        text.push('}');
        JsonText(serde_json::value::RawValue::from_string(text).unwrap_or_else(|_| Payload::empty_object().to_raw()))
    }

    fn failed(&self) -> Option<(&Name, &ActivityRecord)> {
        self.plan()
            .activities
            .iter()
            .zip(&self.activities)
            .find(|(_, record)| record.phase == Phase::Failed)
            .map(|(planned, record)| (&planned.id, record))
    }

    fn error(&self) -> Option<OrchestrationError> {
        let (activity, record) = self.failed()?;
        Some(OrchestrationError {
            activity: activity.clone(),
            error: record.failure.as_deref()?.into(),
        })
    }

    fn reason(&self, activities: &[ActivityView]) -> String {
        match self.state {
            OrchestrationState::Completed => "every activity completed".to_owned(),
            OrchestrationState::Errored => match self.failed() {
                Some((activity, record)) => format!(
                    "activity {activity} failed: {}",
                    record
                        .failure
                        .as_deref()
                        .map_or("no error was given", |failure| &failure.message)
                ),
                None => "an activity failed".to_owned(),
            },
            OrchestrationState::Cancelled => match self.end.as_ref().and_then(|end| end.cancelled.as_ref()) {
                Some((reason, actor)) => format!("cancelled by {actor}: {reason}"),
                None => "cancelled".to_owned(),
            },
            OrchestrationState::Initialized | OrchestrationState::Running => open_reason(activities),
        }
    }

    fn activity_view(&self, index: u32, record: &ActivityRecord, live: Option<(&Work, &Settings)>) -> ActivityView {
        let plan = self.plan();
        let planned = &plan.activities[index as usize];
        let token = record.phase.token();
        ActivityView {
            id: planned.id.clone(),
            r#type: planned.activity_type.clone(),
            discriminator: planned.discriminator.as_deref().map(str::to_owned),
            tier: planned.tier,
            depends_on: planned
                .dependencies
                .iter()
                .map(|dependency| plan.activities[*dependency as usize].id.clone())
                .collect(),
            state: record.phase.state(),
            reason: self.activity_reason(index, record, live),
            since: record.since,
            attempts: record.attempts,
            agent: record.agent.as_ref().map(ToString::to_string),
            token,
            due_at: match record.phase {
                Phase::Scheduled { due, .. } => Some(due),
                Phase::Waiting { deadline, .. } => deadline,
                _ => None,
            },
            note: None,
            output: self.output_of(index).map(|output| JsonText(output.to_raw())),
            error: record.failure.as_deref().map(Into::into),
        }
    }

    fn activity_reason(&self, index: u32, record: &ActivityRecord, live: Option<(&Work, &Settings)>) -> String {
        match &record.phase {
            Phase::Pending => format!("waits for {}", self.open_dependencies(index)),
            Phase::Ready { returned, .. } => {
                let again = if *returned { "its last attempt was lost; " } else { "" };
                format!("{again}{}", self.ready_reason(index, live))
            }
            Phase::Running { agent, .. } => {
                let by = record.agent.as_ref().map_or("an agent", |name| name.as_str());
                let gone = live
                    .and_then(|(work, _)| work.agents.get(agent))
                    .filter(|agent| agent.session().is_none())
                    .map(|agent| format!("; the agent is {}", agent.view().reason));
                format!("attempt {} on agent {by}{}", record.attempts, gone.unwrap_or_default())
            }
            Phase::Waiting { token, deadline } => match deadline {
                Some(deadline) => {
                    format!("waits for an external call with token {token}; fails at {deadline} without one")
                }
                None => {
                    format!("waits for an external call with token {token}, without a deadline")
                }
            },
            Phase::Scheduled { due, because } => match because {
                ScheduledBecause::Asked => format!("runs again at {due}, as it asked to"),
                ScheduledBecause::Retry => format!(
                    "runs again at {due} after error {}{}: {}",
                    record.errors,
                    live.map(|(_, settings)| format!(" of at most {}", settings.retry.max_errors))
                        .unwrap_or_default(),
                    record.failure.as_deref().map_or("", |failure| &failure.message)
                ),
            },
            Phase::Completed(_) => "completed".to_owned(),
            Phase::Failed => record
                .failure
                .as_deref()
                .map_or_else(|| "failed".to_owned(), |failure| failure.message.clone()),
            Phase::Skipped => format!("never ran: the orchestration ended as {}", self.state),
            Phase::Cancelled => format!("stopped: the orchestration ended as {}", self.state),
        }
    }

    fn open_dependencies(&self, index: u32) -> String {
        let plan = self.plan();
        let open = plan.activities[index as usize]
            .dependencies
            .iter()
            .filter(|dependency| self.output_of(**dependency).is_none())
            .map(|dependency| &plan.activities[*dependency as usize].id);
        listed(open)
    }

    fn ready_reason(&self, index: u32, live: Option<(&Work, &Settings)>) -> String {
        let activity_type = &self.plan().activities[index as usize].activity_type;
        let Some((work, _)) = live else {
            return "ready".to_owned();
        };
        let capacity = work.capacity(self.queue(index));
        match capacity.agents {
            0 => format!("no connected agent runs activity type {activity_type}; start one that does"),
            agents => format!(
                "waits for an agent with room: {agents} connected for activity type {activity_type}, holding {} of {} attempts",
                capacity.held, capacity.slots
            ),
        }
    }
}

/// The first few names, then how many more.
fn listed<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    let mut text = String::new();
    let mut more = 0;
    for (index, name) in names.enumerate() {
        if index >= NAMED {
            more += 1;
            continue;
        }
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(name);
    }
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// What an open run waits for: the activities in flight and the reason of the first that is stuck.
fn open_reason(activities: &[ActivityView]) -> String {
    let mut parts = Vec::new();
    for state in [
        ActivityState::Running,
        ActivityState::Ready,
        ActivityState::Waiting,
        ActivityState::Scheduled,
    ] {
        let mut of_state = activities.iter().filter(|activity| activity.state == state).peekable();
        let Some(first) = of_state.peek() else {
            continue;
        };
        let why = match state {
            ActivityState::Running => String::new(),
            _ => format!(" ({}: {})", first.id, first.reason),
        };
        parts.push(format!(
            "{state}: {}{why}",
            listed(of_state.map(|activity| &activity.id))
        ));
    }
    parts.join("; ")
}
