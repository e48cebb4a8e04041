//! Events of a run as people read them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use unisono_model::api::{ActivityState, ContextPatchText, HistoryEntry, JsonText, OrchestrationState};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;

use super::event::OrchestrationEvent as E;
use crate::payload::{Patch, Payload};

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
        output: None,
        error: None,
        context: patch(event).map(context),
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
        | E::Failed { actor, .. }
        | E::ContextSaved { actor, .. } => actor.clone(),
        E::Cancelled { actor, .. } => Some(actor.clone()),
        E::Returned { .. } | E::Due { .. } | E::Succeeded { .. } | E::Errored { .. } => None,
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

fn patch(event: &E) -> Option<&Patch> {
    match event {
        E::Completed { patch, .. }
        | E::Waiting { patch, .. }
        | E::Scheduled { patch, .. }
        | E::Retrying { patch, .. }
        | E::Failed { patch, .. } => patch.as_ref(),
        E::ContextSaved { patch, .. } => Some(patch),
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
    }
}

fn fill(entry: &mut HistoryEntry, event: &E) {
    let text = |output: &Payload| JsonText(output.to_raw());
    match event {
        E::Started { .. } => entry.state = Some(OrchestrationState::Initialized),
        E::Dispatched { .. } => entry.activity_state = Some(ActivityState::Running),
        E::Completed { output, .. } => {
            entry.activity_state = Some(ActivityState::Completed);
            entry.output = Some(text(output));
        }
        E::Waiting { deadline, .. } => {
            entry.activity_state = Some(ActivityState::Waiting);
            entry.due_at = deadline.map(Timestamp);
        }
        E::Scheduled { due, .. } => {
            entry.activity_state = Some(ActivityState::Scheduled);
            entry.due_at = Some(Timestamp(*due));
        }
        E::Retrying { due, failure, .. } => {
            entry.activity_state = Some(ActivityState::Scheduled);
            entry.due_at = Some(Timestamp(*due));
            entry.error = Some(failure.into());
        }
        E::Failed { failure, .. } => {
            entry.activity_state = Some(ActivityState::Failed);
            entry.error = Some(failure.into());
        }
        E::Returned { reason, .. } => {
            entry.activity_state = Some(ActivityState::Ready);
            entry.reason = Some(reason.clone());
        }
        E::Due { .. } => entry.activity_state = Some(ActivityState::Ready),
        E::ContextSaved { .. } => {}
        E::Succeeded { output, .. } => {
            entry.state = Some(OrchestrationState::Completed);
            entry.output = output.as_ref().map(text);
        }
        E::Errored { .. } => entry.state = Some(OrchestrationState::Errored),
        E::Cancelled { reason, .. } => {
            entry.state = Some(OrchestrationState::Cancelled);
            entry.reason = Some(reason.clone());
        }
    }
}
