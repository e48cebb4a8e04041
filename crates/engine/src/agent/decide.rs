//! The rules for agents.

use unisono_model::ids::{AttemptToken, Timestamp};

use super::command::{AgentCommand, Join};
use super::event::AgentEvent;
use super::state::{Agent, AgentKey, SessionId};
use crate::orchestration::AttemptRef;
use crate::{Event, Rejection, Reply, Settings, State};

pub(crate) fn decide(
    state: &State,
    command: AgentCommand,
    at: Timestamp,
    settings: &Settings,
    events: &mut Vec<Event>,
) -> Result<Reply, Rejection> {
    match command {
        AgentCommand::Join(join) => return Ok(self::join(state, *join, events)),
        AgentCommand::Disconnect { agent, session, reason } => {
            current(state, agent, session)?;
            events.push(disconnected(agent, at, settings, reason));
        }
        AgentCommand::Leave { agent, session, reason } => {
            current(state, agent, session)?;
            gone(state, agent, &reason, events);
        }
        AgentCommand::Credits {
            agent,
            session,
            concurrency,
        } => {
            if current(state, agent, session)?.concurrency != concurrency {
                events.push(Event::Agent(AgentEvent::CreditsChanged {
                    agent: agent.0,
                    concurrency,
                }));
            }
        }
        AgentCommand::NodeStarted => {
            let connected = state.work.agents.iter().filter(|(_, agent)| agent.session().is_some());
            for (key, _) in connected {
                events.push(disconnected(*key, at, settings, "the server restarted".to_owned()));
            }
        }
    }
    Ok(Reply::Done)
}

/// The agent, if `session` is its current connection.
fn current(state: &State, agent: AgentKey, session: SessionId) -> Result<&Agent, Rejection> {
    state
        .work
        .agents
        .get(&agent)
        .filter(|agent| agent.session() == Some(session))
        .ok_or(Rejection::SessionReplaced)
}

fn disconnected(agent: AgentKey, at: Timestamp, settings: &Settings, reason: String) -> Event {
    Event::Agent(AgentEvent::Disconnected {
        agent: agent.0,
        until: at.plus_millis(settings.agent_grace_ms).0,
        reason,
    })
}

fn join(state: &State, join: Join, events: &mut Vec<Event>) -> Reply {
    let labels: Vec<(String, String)> = join.labels.into_iter().collect();
    let known = state.work.agent_by_incarnation(&join.namespace, &join.incarnation);
    let Some(key) = known else {
        events.push(Event::Agent(AgentEvent::Joined {
            namespace: join.namespace,
            name: join.name,
            incarnation: join.incarnation,
            activity_types: join.activity_types,
            concurrency: join.concurrency,
            labels,
            session: join.session.0,
        }));
        return Reply::Joined {
            agent: AgentKey(state.revision.0 + 1),
            keep: Vec::new(),
            drop: join.holding,
        };
    };
    let (keep, drop): (Vec<AttemptToken>, Vec<AttemptToken>) =
        join.holding.iter().partition(|token| holds(state, key, **token));
    events.push(Event::Agent(AgentEvent::Rejoined {
        agent: key.0,
        activity_types: join.activity_types,
        concurrency: join.concurrency,
        labels,
        session: join.session.0,
    }));
    give_back(state, key, &keep, "its agent connected again without it", events);
    Reply::Joined { agent: key, keep, drop }
}

fn holds(state: &State, agent: AgentKey, token: AttemptToken) -> bool {
    state.work.attempt(token).is_some_and(|attempt| {
        state
            .running(attempt)
            .is_some_and(|(holder, held)| holder == agent && held == token)
    })
}

/// Returns every attempt that the agent holds, except those to keep.
fn give_back(state: &State, agent: AgentKey, keep: &[AttemptToken], reason: &str, events: &mut Vec<Event>) {
    let Some(held) = state.work.agents.get(&agent).map(|agent| &agent.held) else {
        return;
    };
    let keep: std::collections::BTreeSet<u64> = keep.iter().map(|token| token.revision.0).collect();
    for revision in held.iter().filter(|revision| !keep.contains(revision)) {
        if let Some(AttemptRef { run, activity }) = state.work.attempt_at(*revision) {
            crate::orchestration::returned(state, run, activity, reason, events);
        }
    }
}

fn gone(state: &State, agent: AgentKey, reason: &str, events: &mut Vec<Event>) {
    give_back(state, agent, &[], reason, events);
    events.push(Event::Agent(AgentEvent::Gone {
        agent: agent.0,
        reason: reason.to_owned(),
    }));
}

/// The grace time of an agent is over.
pub(crate) fn lost(state: &State, agent: AgentKey, events: &mut Vec<Event>) {
    gone(state, agent, "its agent did not come back in time", events);
}
