//! Agents that come, go, and share the work.

use std::collections::BTreeMap;

use unisono_engine::Rejection;
use unisono_engine::agent::{AgentCommand, SessionId};
use unisono_engine::orchestration::Report;
use unisono_model::api::{ActivityState, OrchestrationState};
use unisono_model::ids::AttemptToken;

use super::{handed_out, only, running, sim};
use crate::documents::{activity, name, orchestration, payload, space};
use crate::sim::{Sim, join};

#[test]
fn work_is_handed_out_in_the_order_in_which_it_became_ready() {
    let mut sim = sim();
    sim.start("r1", "fan", 1).unwrap();
    sim.start("r2", "single", 1).unwrap();
    sim.join("i", &["work"], 10);
    let order: Vec<String> = handed_out(&mut sim)
        .into_iter()
        .map(|(run, activity)| format!("{run}.{activity}"))
        .collect();
    assert_eq!(order, ["r1.a", "r1.b", "r1.c", "r2.a"]);
}

#[test]
fn agents_with_room_take_turns() {
    let mut sim = sim();
    let sessions = ["i", "j", "k"].map(|incarnation| sim.join(incarnation, &["work"], 10).1);
    for number in 0..4 {
        sim.start(&format!("r{number}"), "fan", 1).unwrap();
    }
    let mut taken: BTreeMap<SessionId, usize> = BTreeMap::new();
    let order: Vec<SessionId> = sim.dispatch().into_iter().map(|(session, _)| session).collect();
    for session in &order {
        *taken.entry(*session).or_default() += 1;
    }
    assert_eq!(taken.into_values().collect::<Vec<_>>(), [4, 4, 4]);
    assert_eq!(order[..3], sessions);
}

#[test]
fn activity_types_take_turns_on_an_agent_that_runs_several() {
    let mut sim = sim();
    sim.definitions(vec![activity("rare"), orchestration("rarely", &[("a", "rare", &[])])])
        .unwrap();
    for number in 0..50 {
        sim.start(&format!("often{number}"), "single", 1).unwrap();
    }
    sim.start("seldom", "rarely", 1).unwrap();
    sim.join("i", &["work", "rare"], 2);
    let order = handed_out(&mut sim);
    assert!(order.iter().any(|(run, _)| run == "seldom"), "{order:?}");
}

#[test]
fn an_agent_gets_no_more_than_it_is_willing_to_hold() {
    let mut sim = sim();
    let (agent, session) = sim.join("i", &["work"], 2);
    sim.start("r", "fan", 1).unwrap();
    let tasks = sim.dispatch();
    assert_eq!(tasks.len(), 2);
    assert_eq!(
        sim.view("r").activities[2].reason,
        "waits for an agent with room: 1 connected for activity type work, holding 2 of 2 attempts"
    );
    let credits = |concurrency| AgentCommand::Credits {
        agent,
        session,
        concurrency,
    };
    sim.agent(credits(0)).unwrap();
    sim.complete(tasks[0].1.token).unwrap();
    assert!(sim.dispatch().is_empty(), "it drains");
    assert_eq!(
        sim.state.agents(&space())[0].reason,
        "connected, draining: takes no new attempts"
    );
    sim.agent(credits(2)).unwrap();
    assert_eq!(sim.dispatch().len(), 1);
}

#[test]
fn a_lost_agent_keeps_its_attempts_for_its_grace_time_and_then_others_get_them() {
    let mut sim = sim();
    let lost = sim.join("i", &["work"], 1);
    sim.start("r", "single", 1).unwrap();
    let old = only(&mut sim).token;
    sim.join("j", &["work"], 1);
    sim.disconnect(lost).unwrap();
    assert_eq!(
        sim.view("r").activities[0].reason,
        "attempt 1 on agent worker; the agent is gone (the connection broke); \
         its 1 attempts go to others at 2023-11-14T22:13:35.000Z unless it comes back"
    );
    sim.advance(14_999);
    assert!(sim.dispatch().is_empty());
    sim.advance(1);
    let new = only(&mut sim);
    assert_eq!(new.attempt, 2);
    assert_eq!(sim.complete(old), Err(Rejection::StaleToken { token: old }));
    sim.complete(new.token).unwrap();
}

#[test]
fn an_agent_that_comes_back_in_time_goes_on_with_what_it_still_has() {
    let mut sim = sim();
    let link = sim.join("i", &["work"], 2);
    sim.start("r", "fan", 1).unwrap();
    let tasks = sim.dispatch();
    let [kept, forgotten] = [0, 1].map(|index: usize| tasks[index].1.token);
    sim.disconnect(link).unwrap();
    let foreign: AttemptToken = "1-1".parse().unwrap();
    let (agent, _, keep, drop) = sim.join_holding("i", &["work"], 2, vec![kept, foreign]);
    assert_eq!((agent, keep, drop), (link.0, vec![kept], vec![foreign]));
    sim.advance(60_000);
    sim.complete(kept).unwrap();
    assert!(sim.complete(forgotten).is_err());
    assert_eq!(
        sim.disconnect(link),
        Err(Rejection::SessionReplaced),
        "the old connection's end is old news"
    );
}

#[test]
fn what_an_agent_lost_goes_to_the_end_of_the_line() {
    let mut sim = sim();
    let (agent, session) = sim.join("i", &["work"], 1);
    sim.start("r", "fan", 1).unwrap();
    only(&mut sim);
    sim.agent(AgentCommand::Leave {
        agent,
        session,
        reason: "goodbye".to_owned(),
    })
    .unwrap();
    let shown = sim.view("r").activities[0].clone();
    assert_eq!(shown.state, ActivityState::Ready);
    assert!(shown.reason.starts_with("its last attempt was lost; "), "{shown:?}");
    sim.join("j", &["work"], 3);
    let order: Vec<String> = handed_out(&mut sim).into_iter().map(|(_, activity)| activity).collect();
    assert_eq!(order, ["b", "c", "a"]);
}

#[test]
fn an_activity_that_loses_its_agent_again_and_again_fails() {
    let (mut sim, _) = running();
    let limit = sim.settings.retry.max_lost;
    for lost in 1..=limit {
        sim.agent(AgentCommand::NodeStarted).unwrap();
        sim.effects.clear();
        sim.advance(sim.settings.agent_grace_ms);
        if lost < limit {
            sim.join(&format!("i{lost}"), &["work"], 1);
            only(&mut sim);
        }
    }
    let view = sim.archived("r");
    assert_eq!(view.summary.state, OrchestrationState::Errored);
    assert_eq!(view.error.unwrap().error.code.as_deref(), Some("agent-lost"));
}

#[test]
fn a_run_that_loses_its_last_chance_twice_at_once_ends_once() {
    let mut sim = Sim::with(unisono_engine::Settings {
        retry: unisono_engine::orchestration::RetryPolicy {
            max_lost: 1,
            ..unisono_engine::orchestration::RetryPolicy::DEFAULT
        },
        ..Default::default()
    });
    super::define(&mut sim);
    let (agent, session) = sim.join("i", &["work"], 3);
    sim.start("r", "fan", 1).unwrap();
    assert_eq!(sim.dispatch().len(), 3);
    let before = sim.state.revision;
    sim.agent(AgentCommand::Leave {
        agent,
        session,
        reason: "goodbye".to_owned(),
    })
    .unwrap();
    assert_eq!(sim.state.revision.0 - before.0, 3, "failed, errored, gone");
}

#[test]
fn after_a_restart_every_agent_has_its_grace_time_to_come_back() {
    let (mut sim, token) = running();
    sim.agent(AgentCommand::NodeStarted).unwrap();
    assert_eq!(sim.state.connected_agents(), 0);
    let (_, _, keep, _) = sim.join_holding("i", &["work"], 1, vec![token]);
    assert_eq!(keep, [token]);
    sim.report(token, Report::Complete(payload("1"))).unwrap();
}

#[test]
fn an_agent_works_only_for_its_namespace() {
    let mut sim = sim();
    let session = sim.session();
    let join = join(&name("elsewhere"), "i", &["work"], 1, Vec::new(), session);
    sim.agent(AgentCommand::Join(Box::new(join))).unwrap();
    sim.start("r", "single", 1).unwrap();
    assert!(sim.dispatch().is_empty());
    assert_eq!(
        sim.view("r").activities[0].reason,
        "no connected agent runs activity type work; start one that does"
    );
}
