//! The open runs, and how events change them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use unisono_model::api::{OrchestrationState, OrchestrationSummary};
use unisono_model::ids::{AttemptToken, Revision, Timestamp};
use unisono_model::name::Name;

use super::event::OrchestrationEvent as E;
use super::run::{ActivityRecord, Phase, Run, RunKey, RunOrigin, Saved, ScheduledBecause, join_digest};
use super::task::Task;
use super::trace::attempts_ended;
use crate::agent::AgentKey;
use crate::definition::Definitions;
use crate::work::Work;
use crate::{Effect, Effects};

/// What lists show of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which run.
    pub run: RunKey,
    /// Where.
    pub namespace: Name,
    /// What they show.
    pub summary: OrchestrationSummary,
}

impl Listed {
    /// What lists show of `run`.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        Self {
            run: run.key,
            namespace: run.namespace.clone(),
            summary: run.summary(),
        }
    }
}

/// A run that ended recently enough that the store may not show it yet.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) digest: Option<u128>,
    pub(crate) version: u32,
}

/// The open runs, and the ids of those that ended last.
#[derive(Debug, Default)]
pub struct Runs {
    pub(crate) open: FxHashMap<RunKey, Run>,
    ids: FxHashMap<(Name, Name), RunKey>,
    ended: FxHashMap<(Name, Name), Ended>,
    ended_order: VecDeque<((Name, Name), Revision)>,
    /// Every run that ended up to here and is not in `ended` has been forgotten.
    pub(crate) forgotten_up_to: Revision,
    /// Open runs that changed since the last checkpoint began, each once; some may have ended since.
    changed: Vec<RunKey>,
    /// Runs that ended since, and of which there may be a row.
    gone: Vec<RunKey>,
    /// Runs that lists show differently since they were last told, more than once for some.
    listed: Vec<RunKey>,
}

/// How many ended runs are remembered by id.
const REMEMBERED: usize = 65_536;

impl Runs {
    /// An open run.
    #[must_use]
    pub fn get(&self, key: RunKey) -> Option<&Run> {
        self.open.get(&key)
    }

    /// An open run by its id.
    #[must_use]
    pub fn by_id(&self, namespace: &Name, id: &Name) -> Option<&Run> {
        let key = self.ids.get(&(namespace.clone(), id.clone()))?;
        self.open.get(key)
    }

    /// How many runs are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no run is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The runs that changed or ended since this was last asked, as far as checkpoints have to write or remove them.
    pub(crate) fn take_dirty(&mut self) -> impl Iterator<Item = RunKey> + '_ {
        let changed = std::mem::take(&mut self.changed).into_iter().filter(|key| {
            self.open.get_mut(key).is_some_and(|run| {
                run.saved = Saved {
                    dirty: false,
                    has_row: true,
                };
                true
            })
        });
        changed.chain(std::mem::take(&mut self.gone))
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.changed.is_empty() || !self.gone.is_empty()
    }

    pub(crate) fn take_listed(&mut self) -> Vec<Listed> {
        self.listed.sort_unstable();
        self.listed.dedup();
        let open = self.listed.iter().filter_map(|key| self.open.get(key));
        let listed = open.map(Listed::of).collect();
        self.listed.clear();
        listed
    }

    pub(crate) fn ended(&self, namespace: &Name, id: &Name) -> Option<&Ended> {
        self.ended.get(&(namespace.clone(), id.clone()))
    }

    pub(crate) fn insert(&mut self, run: Run) {
        // An id that was used again may have two rows for a while: the newer run counts.
        let newest = self
            .ids
            .entry((run.namespace.clone(), run.id.clone()))
            .or_insert(run.key);
        *newest = run.key.max(*newest);
        self.open.insert(run.key, run);
    }

    fn remove(&mut self, key: RunKey, revision: Revision) -> Option<Run> {
        let run = self.open.remove(&key)?;
        if run.saved.has_row {
            self.gone.push(key);
        }
        let id = (run.namespace.clone(), run.id.clone());
        if self.ids.get(&id) == Some(&key) {
            self.ids.remove(&id);
        }
        let ended = Ended {
            digest: run.origin.digest,
            version: run.definition.version,
        };
        self.ended.insert(id.clone(), ended);
        self.ended_order.push_back((id, revision));
        if self.ended_order.len() > REMEMBERED
            && let Some((oldest, at)) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
            self.forgotten_up_to = at;
        }
        Some(run)
    }
}

/// Folds one event of this room.
pub(crate) fn evolve(
    (runs, work, definitions): (&mut Runs, &mut Work, &Definitions),
    (revision, at): (Revision, Timestamp),
    event: &E,
    effects: &mut Effects,
) {
    if let E::Started { .. } = event {
        if let Some(run) = started((runs, definitions), (revision, at), event) {
            run.index(work);
            runs.listed.push(run.key);
            runs.changed.push(run.key);
            runs.insert(run);
        }
        return;
    }
    let Some(key) = event.run().map(RunKey) else {
        return;
    };
    let Some(run) = runs.open.get_mut(&key) else {
        return;
    };
    if run.revision >= revision {
        return;
    }
    run.revision = revision;
    if !run.saved.dirty {
        run.saved.dirty = true;
        runs.changed.push(key);
    }
    attempts_ended(run, at, event, effects);
    let before = run.state;
    let ended = step(run, work, (revision, at), event, effects);
    if run.state != before {
        runs.listed.push(key);
    }
    if ended && let Some(run) = runs.remove(key, revision) {
        effects.push(Effect::Ended(Arc::new(run)));
    }
}

fn started(
    (runs, definitions): (&Runs, &Definitions),
    (revision, at): (Revision, Timestamp),
    event: &E,
) -> Option<Run> {
    let E::Started {
        namespace,
        id,
        type_name,
        version,
        input,
        digest,
        correlation_id,
        labels,
        actor: _,
        trace,
    } = event
    else {
        return None;
    };
    let key = RunKey(revision.0);
    if runs.open.contains_key(&key) {
        return None;
    }
    let definition = definitions.orchestration(namespace, type_name, *version)?;
    let plan = definition.plan()?;
    let activities = plan
        .activities
        .iter()
        .map(|activity| ActivityRecord {
            phase: if activity.dependencies.is_empty() {
                Phase::Ready {
                    since: revision,
                    returned: false,
                }
            } else {
                Phase::Pending
            },
            since: at,
            blocked_by: u32::try_from(activity.dependencies.len()).unwrap_or(u32::MAX),
            attempts: 0,
            errors: 0,
            lost: 0,
            agent: None,
            failure: None,
        })
        .collect::<Box<[_]>>();
    Some(Run {
        key,
        namespace: namespace.clone(),
        id: id.clone(),
        definition: Arc::clone(definition),
        origin: Box::new(RunOrigin {
            digest: digest.map(join_digest),
            correlation_id: correlation_id.clone(),
            labels: labels.clone().unwrap_or_default(),
            trace: trace.clone().map(Arc::new),
        }),
        input: input.clone(),
        state: OrchestrationState::Initialized,
        created_at: at,
        started_at: None,
        ended_at: None,
        revision,
        remaining: u32::try_from(activities.len()).unwrap_or(u32::MAX),
        activities,
        context: BTreeMap::new(),
        context_bytes: 0,
        output: None,
        cancelled: None,
        saved: Saved {
            dirty: true,
            has_row: false,
        },
    })
}

/// Folds an event into its run; true when the run has ended.
fn step(
    run: &mut Run,
    work: &mut Work,
    (revision, at): (Revision, Timestamp),
    event: &E,
    effects: &mut Effects,
) -> bool {
    match event {
        E::Started { .. } => {}
        E::Dispatched {
            activity,
            agent,
            agent_name,
            nonce,
            ..
        } => dispatched(
            (run, work),
            (revision, at),
            *activity,
            (AgentKey(*agent), agent_name, *nonce),
            effects,
        ),
        E::Completed {
            activity,
            output,
            patch,
            ..
        } => {
            run.patch(*activity, patch.as_ref(), revision);
            run.go(work, *activity, Phase::Completed(output.clone()), at);
            run.activities[*activity as usize].failure = None;
            run.remaining = run.remaining.saturating_sub(1);
            run.release_dependents(work, *activity, at, revision);
        }
        E::Waiting {
            activity,
            deadline,
            patch,
            ..
        } => {
            run.patch(*activity, patch.as_ref(), revision);
            if let Some(token) = run.activities[*activity as usize].phase.token() {
                let deadline = deadline.map(Timestamp);
                run.go(work, *activity, Phase::Waiting { token, deadline }, at);
            }
        }
        E::Scheduled {
            activity, due, patch, ..
        } => {
            run.patch(*activity, patch.as_ref(), revision);
            let (due, because) = (Timestamp(*due), ScheduledBecause::Asked);
            run.go(work, *activity, Phase::Scheduled { due, because }, at);
        }
        E::Retrying {
            activity,
            due,
            failure,
            patch,
            ..
        } => {
            run.patch(*activity, patch.as_ref(), revision);
            let (due, because) = (Timestamp(*due), ScheduledBecause::Retry);
            run.go(work, *activity, Phase::Scheduled { due, because }, at);
            let record = &mut run.activities[*activity as usize];
            record.errors += 1;
            record.failure = Some(Box::new(failure.clone()));
        }
        E::Failed {
            activity,
            failure,
            patch,
            ..
        } => {
            run.patch(*activity, patch.as_ref(), revision);
            run.go(work, *activity, Phase::Failed, at);
            run.activities[*activity as usize].failure = Some(Box::new(failure.clone()));
        }
        E::Returned { activity, .. } => {
            let ready = Phase::Ready {
                since: revision,
                returned: true,
            };
            run.go(work, *activity, ready, at);
            run.activities[*activity as usize].lost += 1;
        }
        E::Due { activity, .. } => {
            let ready = Phase::Ready {
                since: revision,
                returned: false,
            };
            run.go(work, *activity, ready, at);
        }
        E::ContextSaved { activity, patch, .. } => run.patch(*activity, Some(patch), revision),
        E::Succeeded { output, .. } => {
            run.output.clone_from(output);
            run.end(work, OrchestrationState::Completed, at, "", effects);
            return true;
        }
        E::Errored { activity, .. } => {
            let failed = &run.plan().activities[*activity as usize].id;
            let reason = format!("activity {failed} failed, so the orchestration ended");
            run.end(work, OrchestrationState::Errored, at, &reason, effects);
            return true;
        }
        E::Cancelled { reason, actor, .. } => {
            run.cancelled = Some(Box::new((reason.clone(), actor.clone())));
            run.end(work, OrchestrationState::Cancelled, at, reason, effects);
            return true;
        }
    }
    false
}

fn dispatched(
    (run, work): (&mut Run, &mut Work),
    (revision, at): (Revision, Timestamp),
    activity: u32,
    (agent, agent_name, nonce): (AgentKey, &Name, u64),
    effects: &mut Effects,
) {
    let token = AttemptToken { revision, nonce };
    run.go(work, activity, Phase::Running { token, agent }, at);
    let record = &mut run.activities[activity as usize];
    record.attempts += 1;
    record.agent = Some(agent_name.clone());
    if run.state == OrchestrationState::Initialized {
        run.state = OrchestrationState::Running;
        run.started_at = Some(at);
    }
    if let Some(session) = work.agents.get(&agent).and_then(crate::agent::Agent::session) {
        effects.push(Effect::Dispatch {
            session,
            task: Box::new(Task::of(run, activity, token)),
        });
    }
}
