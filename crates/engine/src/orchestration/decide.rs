//! The rules for runs.

use rustc_hash::FxHashSet;
use serde_json::value::RawValue;
use unisono_model::api::{ActivityState, OrchestrationState};
use unisono_model::ids::{AttemptToken, Timestamp};
use unisono_model::limits::MAX_CONTEXT_BYTES;
use unisono_model::name::Name;
use unisono_model::plan::MappedTooLarge;

use super::command::{OrchestrationCommand, Report, Start};
use super::context::Context;
use super::event::OrchestrationEvent as E;
use super::retry::mix;
use super::run::{AttemptRef, Phase, Run, RunKey, split_digest};
use crate::agent::AgentKey;
use crate::payload::{Failure, Patch, Payload};
use crate::{Event, Rejection, Reply, Settings, State};

pub(crate) fn decide(
    state: &State,
    command: OrchestrationCommand,
    at: Timestamp,
    settings: &Settings,
    events: &mut Vec<Event>,
) -> Result<Reply, Rejection> {
    match command {
        OrchestrationCommand::Start(start) => self::start(state, *start, events),
        OrchestrationCommand::Cancel {
            namespace,
            id,
            reason,
            actor,
        } => cancel(state, &namespace, &id, reason, actor, events),
        OrchestrationCommand::Report { token, report, patch } => {
            let (run, activity) = held(state, token)?;
            // Only the agent that holds the attempt has the token in this phase.
            if !matches!(run.activities[activity as usize].phase, Phase::Running { .. }) {
                return Err(stale(token));
            }
            let actor = holder(run, activity);
            Ok(conclude(run, activity, report, (patch, actor), (at, settings), events))
        }
        OrchestrationCommand::SaveContext { token, patch } => {
            let (run, activity) = held(state, token)?;
            if context_after(run, &patch) > MAX_CONTEXT_BYTES {
                return Err(Rejection::ContextTooLarge);
            }
            if patch != Patch::default() {
                events.push(Event::Orchestration(E::ContextSaved {
                    run: run.key.0,
                    activity,
                    patch,
                    attempt: run.attempt_of(activity),
                    actor: holder(run, activity),
                }));
            }
            Ok(Reply::Done)
        }
        OrchestrationCommand::Resolve {
            namespace,
            id,
            activity,
            token,
            report,
            patch,
            actor,
        } => {
            let index = address(state, &namespace, &id, &activity)?;
            let (run, held) = held(state, token)?;
            if run.id != id || run.namespace != namespace || held != index {
                return Err(Rejection::TokenOfAnother { token });
            }
            Ok(conclude(
                run,
                held,
                report,
                (patch, Some(actor)),
                (at, settings),
                events,
            ))
        }
    }
}

fn start(state: &State, start: Start, events: &mut Vec<Event>) -> Result<Reply, Rejection> {
    let known = state
        .runs
        .by_id(&start.namespace, &start.id)
        .map(|run| (run.origin.digest, run.definition.version))
        .or_else(|| {
            state
                .runs
                .ended(&start.namespace, &start.id)
                .map(|ended| (ended.digest, ended.version))
        });
    if let Some((digest, version)) = known {
        return if digest == Some(split_digest(start.digest)) {
            Ok(Reply::Started {
                id: start.id,
                version,
                created: false,
            })
        } else {
            Err(Rejection::IdTaken { id: start.id })
        };
    }
    if start
        .absent_as_of
        .is_some_and(|checked| checked < state.runs.forgotten_up_to)
    {
        return Err(Rejection::Stale);
    }
    let kind = unisono_model::api::DefinitionKind::Orchestration;
    let definitions = state.definitions.namespace(&start.namespace);
    let newest = definitions.and_then(|definitions| definitions.newest(kind, &start.type_name));
    let Some(newest) = newest else {
        return Err(Rejection::DefinitionNotFound {
            kind,
            type_name: start.type_name,
        });
    };
    if !start.pinned && newest.version != start.version {
        return Err(Rejection::Stale);
    }
    if newest.orchestration().is_some_and(|definition| !definition.active) {
        return Err(Rejection::DefinitionInactive {
            type_name: start.type_name,
        });
    }
    let version = definitions.and_then(|definitions| definitions.version(kind, &start.type_name, start.version));
    let Some(definition) = version else {
        return Err(Rejection::VersionNotFound {
            kind,
            type_name: start.type_name,
            version: start.version,
            newest: newest.version,
        });
    };
    if let Some(why) = definition.unreadable() {
        return Err(Rejection::Internal(format!(
            "version {} of \"{}\" was stored by another version of the program and cannot be run: {why}",
            start.version, start.type_name
        )));
    }
    events.push(Event::Orchestration(E::Started {
        namespace: start.namespace,
        id: start.id.clone(),
        type_name: start.type_name,
        version: start.version,
        input: start.input,
        digest: start.absent_as_of.map(|_| split_digest(start.digest)),
        correlation_id: start.correlation_id,
        labels: (!start.labels.is_empty()).then(|| start.labels.into_iter().collect()),
        actor: start.actor,
        trace: start.trace,
    }));
    Ok(Reply::Started {
        id: start.id,
        version: start.version,
        created: true,
    })
}

fn cancel(
    state: &State,
    namespace: &Name,
    id: &Name,
    reason: String,
    actor: String,
    events: &mut Vec<Event>,
) -> Result<Reply, Rejection> {
    let run = state
        .runs
        .by_id(namespace, id)
        .ok_or_else(|| Rejection::NotOpen { id: id.clone() })?;
    let (mut cancelled, mut skipped) = (Vec::new(), Vec::new());
    for (record, planned) in run.activities.iter().zip(&run.plan().activities) {
        if record.phase.state().is_terminal() {
            continue;
        }
        let list = if record.attempts == 0 {
            &mut skipped
        } else {
            &mut cancelled
        };
        list.push(planned.id.clone());
    }
    events.push(Event::Orchestration(E::Cancelled {
        run: run.key.0,
        reason,
        actor,
    }));
    Ok(Reply::Cancelled { cancelled, skipped })
}

/// Who holds the attempt of an activity, for the history.
fn holder(run: &Run, activity: u32) -> Option<String> {
    let agent = run.activity(activity)?.agent.as_ref()?;
    Some(format!("agent {agent}"))
}

fn stale(token: AttemptToken) -> Rejection {
    Rejection::StaleToken { token }
}

/// The attempt that a token entitles to, if it still is current.
fn held(state: &State, token: AttemptToken) -> Result<(&Run, u32), Rejection> {
    let attempt = state.work.attempt(token).ok_or_else(|| stale(token))?;
    let run = state.runs.get(attempt.run).ok_or_else(|| stale(token))?;
    let current = run.activity(attempt.activity).and_then(|record| record.phase.token());
    if current == Some(token) {
        Ok((run, attempt.activity))
    } else {
        Err(stale(token))
    }
}

fn address(state: &State, namespace: &Name, id: &Name, activity: &Name) -> Result<u32, Rejection> {
    let run = state
        .runs
        .by_id(namespace, id)
        .ok_or_else(|| Rejection::NotOpen { id: id.clone() })?;
    run.plan()
        .index_of(activity)
        .ok_or_else(|| Rejection::ActivityNotFound {
            id: id.clone(),
            activity: activity.clone(),
        })
}

/// Bytes of the context once the patch is in it.
fn context_after(run: &Run, patch: &Patch) -> usize {
    match &run.context {
        Some(context) => context.bytes_after(patch),
        None => Context::default().bytes_after(patch),
    }
}

/// What one of the five results leads to.
fn conclude(
    run: &Run,
    activity: u32,
    report: Report,
    (mut patch, actor): (Option<Patch>, Option<String>),
    (at, settings): (Timestamp, &Settings),
    events: &mut Vec<Event>,
) -> Reply {
    let mut report = report;
    if patch
        .as_ref()
        .is_some_and(|patch| context_after(run, patch) > MAX_CONTEXT_BYTES)
    {
        patch = None;
        report = Report::Fatal(Failure::new(
            "context-too-large",
            format!(
                "the shared context would grow past {MAX_CONTEXT_BYTES} bytes; keep large data elsewhere and put a reference to it into the context"
            ),
        ));
    }
    let key = run.key.0;
    let record = &run.activities[activity as usize];
    let becomes = match report {
        Report::Complete(output) => {
            let done = run.remaining == 1;
            let mapped = if done {
                mapped_output(run, activity, &output)
            } else {
                Ok(None)
            };
            let mapped = match mapped {
                Ok(mapped) => mapped,
                Err(error) => {
                    let message = format!("the result of the orchestration cannot be made of its outputs: {error}");
                    let failure = Failure::new("result-too-large", message);
                    return fail(run, activity, failure, (patch, actor), events);
                }
            };
            complete(run, activity, (output, mapped), (patch, actor), events);
            return Reply::Activity {
                activity: ActivityState::Completed,
                orchestration: if done { OrchestrationState::Completed } else { run.state },
            };
        }
        Report::Wait(timeout_ms) => E::Waiting {
            run: key,
            activity,
            deadline: timeout_ms.map(|timeout| at.plus_millis(timeout).0),
            patch,
            attempt: record.attempts,
            actor,
        },
        Report::Schedule(after_ms) => E::Scheduled {
            run: key,
            activity,
            due: at.plus_millis(after_ms).0,
            patch,
            attempt: record.attempts,
            actor,
        },
        Report::Retry(failure) if record.errors + 1 < settings.retry.max_errors => {
            let backoff = settings
                .retry
                .backoff_ms(record.errors + 1, mix(key) ^ u64::from(activity));
            E::Retrying {
                run: key,
                activity,
                due: at.plus_millis(backoff).0,
                failure,
                patch,
                actor,
                attempt: record.attempts,
            }
        }
        Report::Retry(failure) => {
            let failure = Failure {
                message: format!(
                    "gave up after {} errors; the last: {}",
                    record.errors + 1,
                    failure.message
                ),
                ..failure
            };
            return fail(run, activity, failure, (patch, actor), events);
        }
        Report::Fatal(failure) => return fail(run, activity, failure, (patch, actor), events),
    };
    let activity = match becomes {
        E::Waiting { .. } => ActivityState::Waiting,
        _ => ActivityState::Scheduled,
    };
    events.push(Event::Orchestration(becomes));
    Reply::Activity {
        activity,
        orchestration: run.state,
    }
}

fn complete(
    run: &Run,
    activity: u32,
    (output, mapped): (Payload, Option<Payload>),
    (patch, actor): (Option<Patch>, Option<String>),
    events: &mut Vec<Event>,
) {
    events.push(Event::Orchestration(E::Completed {
        run: run.key.0,
        activity,
        output,
        patch,
        actor,
        attempt: run.attempt_of(activity),
    }));
    if run.remaining == 1 {
        events.push(Event::Orchestration(E::Succeeded {
            run: run.key.0,
            output: mapped,
        }));
    }
}

/// The run's result by the definition's mapping, once `activity` has given its output.
fn mapped_output(run: &Run, activity: u32, output: &Payload) -> Result<Option<Payload>, MappedTooLarge> {
    let output_of = |index: u32| -> Option<&RawValue> {
        if index == activity {
            Some(output.raw())
        } else {
            run.output_of(index).map(Payload::raw)
        }
    };
    let mapped = run.plan().run_output(run.input.raw(), output_of)?;
    Ok(mapped.map(Payload::from))
}

fn fail(
    run: &Run,
    activity: u32,
    failure: Failure,
    (patch, actor): (Option<Patch>, Option<String>),
    events: &mut Vec<Event>,
) -> Reply {
    events.push(Event::Orchestration(E::Failed {
        run: run.key.0,
        activity,
        failure,
        patch,
        actor,
        attempt: run.attempt_of(activity),
    }));
    events.push(Event::Orchestration(E::Errored {
        run: run.key.0,
        activity,
    }));
    Reply::Activity {
        activity: ActivityState::Failed,
        orchestration: OrchestrationState::Errored,
    }
}

/// An attempt is taken from its agent.
pub(crate) fn returned(state: &State, run: RunKey, activity: u32, reason: &str, events: &mut Vec<Event>) {
    let Some(run) = state.runs.get(run) else {
        return;
    };
    let Some(record) = run.activity(activity) else {
        return;
    };
    if record.lost + 1 >= state.settings.retry.max_lost {
        let message = format!(
            "gave up after its agent was lost {} times; does the activity take its agent down?",
            record.lost + 1
        );
        fail(run, activity, Failure::new("agent-lost", message), (None, None), events);
        return;
    }
    events.push(Event::Orchestration(E::Returned {
        run: run.key.0,
        activity,
        reason: reason.to_owned(),
        attempt: record.attempts,
    }));
}

/// The time of an activity has come.
pub(crate) fn due(state: &State, at: AttemptRef, events: &mut Vec<Event>) {
    let Some(run) = state.runs.get(at.run) else {
        return;
    };
    match run.activity(at.activity).map(|record| &record.phase) {
        Some(Phase::Scheduled { .. }) => events.push(Event::Orchestration(E::Due {
            run: at.run.0,
            activity: at.activity,
        })),
        Some(Phase::Waiting { .. }) => {
            let failure = Failure::new(
                "wait-timeout",
                "nobody completed or failed the activity before its deadline",
            );
            fail(run, at.activity, failure, (None, None), events);
        }
        _ => {}
    }
}

/// Leaves out what would happen to a run after its end: several activities of one run may time out,
/// or lose their agent, by one command, and the first failure ends the run.
pub(crate) fn leave_out_after_end(events: &mut Vec<Event>) {
    let mut ended = FxHashSet::default();
    events.retain(|event| {
        let Event::Orchestration(event) = event else {
            return true;
        };
        let Some(run) = event.run() else { return true };
        if let E::Errored { .. } = event {
            return ended.insert(run);
        }
        !ended.contains(&run)
    });
}

/// Hands the next ready activity to an agent with room, if there are both.
pub(crate) fn dispatch(state: &mut State, nonce: u64) -> Option<Event> {
    let runs = &state.runs;
    let (at, agent) = state.work.next_assignment(|at, since| {
        runs.get(at.run)
            .and_then(|run| run.activity(at.activity))
            .is_some_and(|record| matches!(record.phase, Phase::Ready { since: since_now, .. } if since_now == since))
    })?;
    let agent_name = state.work.agents.get(&agent)?.name.clone();
    let attempt = state.runs.get(at.run)?.attempt_of(at.activity) + 1;
    Some(Event::Orchestration(E::Dispatched {
        run: at.run.0,
        activity: at.activity,
        agent: agent.0,
        agent_name,
        nonce: mix(nonce ^ state.revision.0),
        attempt,
    }))
}

impl State {
    /// Who holds the attempt that runs at an address, and its token.
    pub(crate) fn running(&self, at: AttemptRef) -> Option<(AgentKey, AttemptToken)> {
        match self.runs.get(at.run)?.activity(at.activity)?.phase {
            Phase::Running { token, agent } => Some((agent, token)),
            _ => None,
        }
    }
}
