//! Events of a run as people read them: what happened, when, who did it, in which attempt, why, and which values it
//! changed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use unisono_model::api::{ActivityState, ContextPatchText, HistoryEntry, HistoryStart, JsonText, OrchestrationState};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;

use super::event::OrchestrationEvent as E;
use crate::payload::{Patch, Payload};

/// Who does what follows by itself.
const SERVER: &str = "server";

/// The shared context of a run as its events change it, so that a change can tell what was there before.
#[derive(Debug, Default)]
pub struct ContextBefore(BTreeMap<String, Payload>);

impl ContextBefore {
    /// Passes an event, and adds to its entry, if there is one, what the context held before.
    pub fn pass(&mut self, event: &E, entry: Option<&mut HistoryEntry>) {
        let Some(patch) = event.patch() else { return };
        let mut previous = BTreeMap::new();
        let set = patch.set.iter().map(|(key, value)| (key, Some(value)));
        for (key, value) in set.chain(patch.delete.iter().map(|key| (key, None))) {
            let old = match value {
                Some(value) => self.0.insert(key.clone(), value.clone()),
                None => self.0.remove(key),
            };
            // A patch may name a key more than once.
            previous.entry(key).or_insert(old);
        }
        if let Some(context) = entry.and_then(|entry| entry.context.as_mut()) {
            let held = previous
                .into_iter()
                .filter_map(|(key, old)| Some((key.clone(), JsonText(old?.to_raw()))));
            context.previous = held.collect();
        }
    }
}

/// The history entry of an event. `name_of` gives the id of the activity at an index.
#[must_use]
pub fn history_entry(
    revision: Revision,
    at: Timestamp,
    event: &E,
    name_of: impl Fn(u32) -> Option<Name>,
) -> HistoryEntry {
    let mut entry = HistoryEntry {
        revision,
        at,
        kind: Cow::Borrowed(kind(event)),
        activity: activity(event).and_then(name_of),
        attempt: attempt(event),
        actor: actor(event),
        activity_state: None,
        state: None,
        reason: None,
        due_at: None,
        start: None,
        output: None,
        error: None,
        context: event.patch().map(context),
    };
    fill(&mut entry, event);
    entry
}

fn kind(event: &E) -> &'static str {
    match event {
        E::Started { .. } => "orchestrationStarted",
        E::Dispatched { .. } => "activityDispatched",
        E::Completed { .. } => "activityCompleted",
        E::Waiting { .. } => "activityWaiting",
        E::Scheduled { .. } => "activityScheduled",
        E::Retrying { .. } => "activityRetrying",
        E::Failed { .. } => "activityFailed",
        E::Returned { .. } => "activityReturned",
        E::Due { .. } => "activityDue",
        E::ContextSaved { .. } => "contextSaved",
        E::Succeeded { .. } => "orchestrationCompleted",
        E::Errored { .. } => "orchestrationErrored",
        E::Cancelled { .. } => "orchestrationCancelled",
    }
}

fn activity(event: &E) -> Option<u32> {
    match event {
        E::Started { .. } | E::Succeeded { .. } | E::Cancelled { .. } => None,
        E::Dispatched { activity, .. }
        | E::Completed { activity, .. }
        | E::Waiting { activity, .. }
        | E::Scheduled { activity, .. }
        | E::Retrying { activity, .. }
        | E::Failed { activity, .. }
        | E::Returned { activity, .. }
        | E::Due { activity, .. }
        | E::ContextSaved { activity, .. }
        | E::Errored { activity, .. } => Some(*activity),
    }
}

fn actor(event: &E) -> Option<String> {
    match event {
        E::Dispatched { agent_name, .. } => Some(format!("agent {agent_name}")),
        E::Started { actor, .. }
        | E::Completed { actor, .. }
        | E::Waiting { actor, .. }
        | E::Scheduled { actor, .. }
        | E::Retrying { actor, .. }
        | E::ContextSaved { actor, .. } => actor.clone(),
        E::Cancelled { actor, .. } => Some(actor.clone()),
        // A deadline that has passed, or an agent that was lost too often, is nobody's doing.
        E::Failed { actor, .. } => Some(actor.clone().unwrap_or_else(|| SERVER.to_owned())),
        E::Returned { .. } | E::Due { .. } | E::Succeeded { .. } | E::Errored { .. } => Some(SERVER.to_owned()),
    }
}

fn attempt(event: &E) -> Option<u32> {
    match event {
        E::Dispatched { attempt, .. }
        | E::Completed { attempt, .. }
        | E::Waiting { attempt, .. }
        | E::Scheduled { attempt, .. }
        | E::Retrying { attempt, .. }
        | E::Failed { attempt, .. }
        | E::Returned { attempt, .. }
        | E::ContextSaved { attempt, .. } => Some(*attempt),
        _ => None,
    }
}

fn context(patch: &Patch) -> ContextPatchText {
    ContextPatchText {
        set: patch
            .set
            .iter()
            .map(|(key, value)| (key.clone(), JsonText(value.to_raw())))
            .collect::<BTreeMap<_, _>>(),
        delete: patch.delete.clone(),
        previous: BTreeMap::new(),
    }
}

fn fill(entry: &mut HistoryEntry, event: &E) {
    let text = |output: &Payload| JsonText(output.to_raw());
    let why = |reason: &str| Some(reason.to_owned());
    match event {
        E::Started {
            type_name,
            version,
            input,
            correlation_id,
            labels,
            ..
        } => {
            entry.state = Some(OrchestrationState::Initialized);
            entry.start = Some(HistoryStart {
                r#type: type_name.clone(),
                version: *version,
                correlation_id: correlation_id.clone(),
                labels: labels.iter().flatten().cloned().collect(),
                input: text(input),
            });
        }
        E::Dispatched { .. } => entry.activity_state = Some(ActivityState::Running),
        E::Completed { output, .. } => {
            entry.activity_state = Some(ActivityState::Completed);
            entry.output = Some(text(output));
        }
        E::Waiting { deadline, .. } => {
            entry.activity_state = Some(ActivityState::Waiting);
            entry.due_at = deadline.map(Timestamp);
            entry.reason = why("it waits for an external call");
        }
        E::Scheduled { due, .. } => {
            entry.activity_state = Some(ActivityState::Scheduled);
            entry.due_at = Some(Timestamp(*due));
            entry.reason = why("it asked to run again");
        }
        E::Retrying { due, failure, .. } => {
            entry.activity_state = Some(ActivityState::Scheduled);
            entry.due_at = Some(Timestamp(*due));
            entry.error = Some(failure.into());
            entry.reason = why("it runs again after an error");
        }
        E::Failed { failure, .. } => {
            entry.activity_state = Some(ActivityState::Failed);
            entry.error = Some(failure.into());
        }
        E::Returned { reason, .. } => {
            entry.activity_state = Some(ActivityState::Ready);
            entry.reason = Some(reason.clone());
        }
        E::Due { .. } => {
            entry.activity_state = Some(ActivityState::Ready);
            entry.reason = why("its time has come");
        }
        E::ContextSaved { .. } => {}
        E::Succeeded { output, .. } => {
            entry.state = Some(OrchestrationState::Completed);
            entry.output = output.as_ref().map(text);
            entry.reason = why("every activity completed");
        }
        E::Errored { .. } => {
            entry.state = Some(OrchestrationState::Errored);
            let failed = entry.activity.as_deref().unwrap_or("an activity");
            entry.reason = Some(format!("{failed} failed"));
        }
        E::Cancelled { reason, .. } => {
            entry.state = Some(OrchestrationState::Cancelled);
            entry.reason = Some(reason.clone());
        }
    }
}
