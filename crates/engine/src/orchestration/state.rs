//! How events change the open runs.

use std::sync::Arc;

use unisono_model::api::OrchestrationState;
use unisono_model::ids::{AttemptToken, Revision, Timestamp};
use unisono_model::name::Name;

use super::event::OrchestrationEvent as E;
use super::run::{ActivityRecord, NEVER, Phase, Run, RunEnd, RunKey, RunOrigin, ScheduledBecause};
use super::runs::{Runs, Saved};
use super::task::Task;
use super::trace::attempts_ended;
use crate::agent::AgentKey;
use crate::definition::Definitions;
use crate::work::Work;
use crate::{Effect, Effects};

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
            runs.start(Box::new(run));
        }
        return;
    }
    let Some(key) = event.run().map(RunKey) else {
        return;
    };
    let Some(run) = runs.change(key, revision) else {
        return;
    };
    attempts_ended(run, at, event, effects);
    let before = run.state;
    let ended = step(run, work, (revision, at), event, effects);
    if run.state != before {
        runs.list(key);
    }
    if ended && let Some(run) = runs.remove(key, revision) {
        effects.push(Effect::Ended(Arc::new(*run)));
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
    if runs.get(key).is_some() {
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
        namespace: definitions.shared(namespace),
        id: id.clone(),
        definition: Arc::clone(definition),
        origin: RunOrigin {
            digest: *digest,
            correlation_id: correlation_id.as_deref().map(Into::into),
            labels: labels.clone().unwrap_or_default().into(),
            trace: trace.clone().map(Arc::new),
        },
        input: input.clone(),
        state: OrchestrationState::Initialized,
        created_at: at,
        started_at: NEVER,
        revision,
        remaining: u32::try_from(activities.len()).unwrap_or(u32::MAX),
        saved: Saved::new(activities.len()),
        activities,
        context: None,
        end: None,
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
            let end = RunEnd {
                at,
                output: output.clone(),
                cancelled: None,
            };
            run.end(work, (OrchestrationState::Completed, end), "", effects);
            return true;
        }
        E::Errored { activity, .. } => {
            let failed = &run.plan().activities[*activity as usize].id;
            let reason = format!("activity {failed} failed, so the orchestration ended");
            let end = RunEnd {
                at,
                output: None,
                cancelled: None,
            };
            run.end(work, (OrchestrationState::Errored, end), &reason, effects);
            return true;
        }
        E::Cancelled { reason, actor, .. } => {
            let end = RunEnd {
                at,
                output: None,
                cancelled: Some((reason.clone(), actor.clone())),
            };
            run.end(work, (OrchestrationState::Cancelled, end), reason, effects);
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
        run.started_at = at;
    }
    if let Some(session) = work.agents.get(&agent).and_then(crate::agent::Agent::session) {
        effects.push(Effect::Dispatch {
            session,
            task: Box::new(Task::of(run, activity, token)),
        });
    }
}
