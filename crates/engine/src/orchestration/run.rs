//! A run and its activities: what is known of them, and the moves that they make.

use std::sync::Arc;

use unisono_model::api::{ActivityState, OrchestrationState, OrchestrationSummary};
use unisono_model::ids::{AttemptToken, Revision, Timestamp};
use unisono_model::name::Name;
use unisono_model::plan::Plan;

use super::context::{Context, ContextEntry};
use super::runs::Saved;
use super::trace::Trace;
use crate::agent::AgentKey;
use crate::definition::StoredDefinition;
use crate::payload::{Failure, Patch, Payload};
use crate::work::{QueueId, Work};
use crate::{Effect, Effects};

/// A run: the revision of the event that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey(pub u64);

/// An activity of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptRef {
    /// Which run.
    pub run: RunKey,
    /// The activity's index in the plan.
    pub activity: u32,
}

/// Why an activity runs at a later time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduledBecause {
    /// It asked to.
    Asked,
    /// It failed and is retried.
    Retry,
}

/// Where an activity stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Dependencies are not done.
    Pending,
    /// Waits for an agent with room.
    Ready {
        /// The event that made it ready; its place in the line.
        since: Revision,
        /// Whether an earlier attempt was returned.
        returned: bool,
    },
    /// An agent holds an attempt.
    Running {
        /// The attempt's token.
        token: AttemptToken,
        /// Who holds it.
        agent: AgentKey,
    },
    /// An external call completes or fails it.
    Waiting {
        /// The attempt's token.
        token: AttemptToken,
        /// When it fails without an answer.
        deadline: Option<Timestamp>,
    },
    /// Runs again later.
    Scheduled {
        /// When.
        due: Timestamp,
        /// Why.
        because: ScheduledBecause,
    },
    /// Done, with this output.
    Completed(Payload),
    /// Failed for good; the error is in the record.
    Failed,
    /// Never ran, because the run ended first.
    Skipped,
    /// Stopped, because the run ended first.
    Cancelled,
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub fn state(&self) -> ActivityState {
        match self {
            Self::Pending => ActivityState::Pending,
            Self::Ready { .. } => ActivityState::Ready,
            Self::Running { .. } => ActivityState::Running,
            Self::Waiting { .. } => ActivityState::Waiting,
            Self::Scheduled { .. } => ActivityState::Scheduled,
            Self::Completed(_) => ActivityState::Completed,
            Self::Failed => ActivityState::Failed,
            Self::Skipped => ActivityState::Skipped,
            Self::Cancelled => ActivityState::Cancelled,
        }
    }

    /// The token that entitles to report on it.
    #[must_use]
    pub fn token(&self) -> Option<AttemptToken> {
        match self {
            Self::Running { token, .. } | Self::Waiting { token, .. } => Some(*token),
            _ => None,
        }
    }
}

/// One activity of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityRecord {
    /// Where it stands.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// Dependencies that are not done.
    pub blocked_by: u32,
    /// Attempts dispatched.
    pub attempts: u32,
    /// Recoverable errors.
    pub errors: u32,
    /// Attempts returned because their agent was lost.
    pub lost: u32,
    /// Who held the last attempt.
    pub agent: Option<Name>,
    /// The last error.
    pub failure: Option<Box<Failure>>,
}

/// What a run was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOrigin {
    /// A digest of what the caller asked for, in halves; absent when the server made the id.
    pub digest: Option<(u64, u64)>,
    /// The caller's correlation id.
    pub correlation_id: Option<Box<str>>,
    /// The caller's labels.
    pub labels: Box<[(String, String)]>,
    /// The trace that it belongs to, if it is traced.
    pub trace: Option<Arc<Trace>>,
}

/// How a run has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// When.
    pub at: Timestamp,
    /// The mapped result, when it succeeded and the definition maps one.
    pub output: Option<Payload>,
    /// Why it was cancelled, and by whom.
    pub cancelled: Option<(String, String)>,
}

/// One run of an orchestration definition. There may be a million of them: what few have lies in a box of its own.
#[derive(Clone, Debug)]
pub struct Run {
    /// The revision of the event that started it.
    pub key: RunKey,
    /// Where.
    pub namespace: Name,
    /// Its id.
    pub id: Name,
    /// The version that it runs.
    pub definition: Arc<StoredDefinition>,
    /// What it was started with.
    pub origin: RunOrigin,
    /// Its input, JSON.
    pub input: Payload,
    /// Its state.
    pub state: OrchestrationState,
    /// When it was started.
    pub created_at: Timestamp,
    /// When its first activity was dispatched; [`NEVER`] before that.
    pub(crate) started_at: Timestamp,
    /// The last event about it.
    pub revision: Revision,
    /// Its activities, by index in the plan.
    pub activities: Box<[ActivityRecord]>,
    /// Activities that are not completed.
    pub remaining: u32,
    /// The shared context; absent while it is empty.
    pub(crate) context: Option<Arc<Context>>,
    /// How it ended, when it has.
    pub end: Option<Box<RunEnd>>,
    /// What checkpoints have to do with it.
    pub(crate) saved: Saved,
}

/// No time at all.
pub(crate) const NEVER: Timestamp = Timestamp(i64::MIN);

impl Run {
    /// The plan that it follows.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        // A run is only made of a definition that has a plan (`evolve`, `load_run`).
        match self.definition.plan() {
            Some(plan) => plan,
            None => unreachable!("a run has a plan"),
        }
    }

    pub(crate) fn queue(&self, activity: u32) -> QueueId {
        match self.definition.runnable() {
            Some(runnable) => runnable.queues[activity as usize],
            None => unreachable!("a run has a plan"),
        }
    }

    fn at(&self, activity: u32) -> AttemptRef {
        AttemptRef {
            run: self.key,
            activity,
        }
    }

    /// The activity at an index, if there is one.
    #[must_use]
    pub fn activity(&self, index: u32) -> Option<&ActivityRecord> {
        self.activities.get(index as usize)
    }

    /// The number of an activity's last attempt; 0 before the first.
    #[must_use]
    pub fn attempt_of(&self, index: u32) -> u32 {
        self.activity(index).map_or(0, |record| record.attempts)
    }

    /// The output of a completed activity.
    #[must_use]
    pub fn output_of(&self, index: u32) -> Option<&Payload> {
        match &self.activity(index)?.phase {
            Phase::Completed(output) => Some(output),
            _ => None,
        }
    }

    /// When its first activity was dispatched.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        (self.started_at != NEVER).then_some(self.started_at)
    }

    /// When it ended.
    #[must_use]
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.end.as_ref().map(|end| end.at)
    }

    /// The shared context, by key.
    pub fn context(&self) -> impl Iterator<Item = (&String, &ContextEntry)> {
        self.context.iter().flat_map(|context| context.iter())
    }

    /// What lists show, apart from what it waits for.
    #[must_use]
    pub fn summary(&self) -> OrchestrationSummary {
        OrchestrationSummary {
            id: self.id.clone(),
            r#type: self.definition.type_name.clone(),
            version: self.definition.version,
            state: self.state,
            correlation_id: self.origin.correlation_id.as_deref().map(str::to_owned),
            labels: self.origin.labels.iter().cloned().collect(),
            created_at: self.created_at,
            ended_at: self.ended_at(),
            waiting_for: Vec::new(),
        }
    }

    /// Moves an activity into a phase; queues, attempts and timers follow.
    pub(super) fn go(&mut self, work: &mut Work, activity: u32, phase: Phase, at: Timestamp) {
        let (address, queue) = (self.at(activity), self.queue(activity));
        self.saved.touch(activity);
        let record = &mut self.activities[activity as usize];
        work.leave(address, &record.phase, queue);
        work.enter(address, &phase, queue);
        record.phase = phase;
        record.since = at;
    }

    /// Puts every activity into the queues and timers, after the run was loaded.
    pub(crate) fn index(&self, work: &mut Work) {
        for (activity, record) in (0..).zip(&self.activities) {
            work.enter(self.at(activity), &record.phase, self.queue(activity));
        }
    }

    pub(super) fn patch(&mut self, activity: u32, patch: Option<&Patch>, revision: Revision) {
        let Some(patch) = patch else { return };
        let context = Arc::make_mut(self.context.get_or_insert_default());
        context.patch(patch, activity, revision);
        if context.is_empty() {
            self.context = None;
        }
    }

    /// Unblocks what depends on a completed activity.
    pub(super) fn release_dependents(&mut self, work: &mut Work, activity: u32, at: Timestamp, revision: Revision) {
        let definition = Arc::clone(&self.definition);
        let Some(plan) = definition.plan() else {
            return;
        };
        for dependent in &plan.activities[activity as usize].dependents {
            let record = &mut self.activities[*dependent as usize];
            record.blocked_by = record.blocked_by.saturating_sub(1);
            if record.blocked_by == 0 && record.phase == Phase::Pending {
                let ready = Phase::Ready {
                    since: revision,
                    returned: false,
                };
                self.go(work, *dependent, ready, at);
            }
        }
    }

    /// Ends the run: what has not ended is skipped or cancelled, and agents are told.
    pub(super) fn end(
        &mut self,
        work: &mut Work,
        (state, end): (OrchestrationState, RunEnd),
        reason: &str,
        effects: &mut Effects,
    ) {
        let at = end.at;
        self.state = state;
        self.end = Some(Box::new(end));
        for activity in 0..u32::try_from(self.activities.len()).unwrap_or(u32::MAX) {
            let record = &self.activities[activity as usize];
            if let Phase::Running { token, agent } = record.phase
                && let Some(session) = work.agents.get(&agent).and_then(crate::agent::Agent::session)
            {
                effects.push(Effect::CancelAttempt {
                    session,
                    token,
                    reason: reason.to_owned(),
                });
            }
            let ended = match record.phase {
                Phase::Completed(_) | Phase::Failed | Phase::Skipped | Phase::Cancelled => continue,
                _ if record.attempts == 0 => Phase::Skipped,
                _ => Phase::Cancelled,
            };
            self.go(work, activity, ended, at);
        }
    }
}

/// The halves of a digest, as events and rows hold it.
#[must_use]
pub fn split_digest(digest: u128) -> (u64, u64) {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    ((digest >> 64) as u64, digest as u64)
}

/// The digest of these halves.
pub(crate) fn join_digest((high, low): (u64, u64)) -> u128 {
    (u128::from(high) << 64) | u128::from(low)
}
