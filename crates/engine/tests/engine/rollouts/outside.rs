//! What is asked of, and told to, something outside: when it is tried again, what holds meanwhile, what is never lost.

use unisono_engine::agent::AgentCommand;
use unisono_engine::rollout::{By, Failing, RolloutCommand, RolloutRejection, Verb};
use unisono_model::ids::Timestamp;
use unisono_model::rollout::{
    Answer, CallKind, Gate, OutboxEntry, Reason, ReasonCode, RolloutState, Said, SubscriberState, SubscriberView,
};

use super::world::{World, entity, rejected};
use crate::documents::{name, space};

const NOTIFIED: &str = r#"{"notify": [{"name": "ops", "endpoint": {"url": "http://ops/"}, "parkAfterSeconds": 60}]}"#;

fn down() -> Answer {
    Answer::Unreachable {
        message: "connection refused".to_owned(),
    }
}

fn the_reason(world: &World, code: ReasonCode) -> Reason {
    let reasons = world.rollout().reasons;
    let found = reasons.iter().find(|reason| reason.code == code).cloned();
    found.unwrap_or_else(|| panic!("no {code} among {reasons:?}"))
}

fn outbox(world: &World) -> Vec<OutboxEntry> {
    let delivery = world.fleet().delivery(&name("ops"), 1_000);
    delivery.map(|it| it.entries).unwrap_or_default()
}

fn ops(world: &World) -> SubscriberView {
    world.fleet().subscribers().remove(0)
}

fn received(world: &mut World, sequence: u64) {
    let command = RolloutCommand::Acknowledge {
        namespace: space(),
        entity: entity(),
        subscriber: name("ops"),
        sequence,
    };
    world.command(command).unwrap();
}

fn failed(world: &mut World, failing: Failing) {
    let command = RolloutCommand::Undelivered {
        namespace: space(),
        entity: entity(),
        subscriber: name("ops"),
        failing,
        detail: "status 400".to_owned(),
    };
    world.command(command).unwrap();
}

fn resume(world: &mut World, after: Option<u64>) {
    let command = RolloutCommand::ResumeDelivery {
        namespace: space(),
        entity: entity(),
        subscriber: name("ops"),
        after,
        by: By::default(),
    };
    world.command(command).unwrap();
}

#[test]
fn an_unreachable_gate_says_since_when_and_does_not_flicker_while_it_is_tried_again() {
    let mut world = World::with(
        2,
        r#"{"hooks": [{"name": "gate", "on": ["start"], "endpoint": {"url": "http://gate/"}}]}"#,
    );
    world.set_version("v2").unwrap();
    let call = world.calls().remove(0).id;
    world.answer(call, down()).unwrap();
    let first = the_reason(&world, ReasonCode::HookUnreachable);
    assert!(first.message.contains("connection refused"), "{first:?}");
    for _ in 0..4 {
        world.pass(1_000);
        if !world.calls().is_empty() {
            world.answer(call, down()).unwrap();
        }
    }
    world.pass(3_600);
    world.sim.follow();
    let last = the_reason(&world, ReasonCode::HookUnreachable);
    assert!(last.until.is_some());
    let held = world.fleet().history(0, Some(world.rollout().summary.id), 1_000);
    let held: Vec<&str> = held
        .iter()
        .filter(|it| it.what == "held")
        .map(|it| &*it.message)
        .collect();
    assert_eq!(
        held.iter().filter(|it| it.contains("has not answered yet")).count(),
        1,
        "{held:#?}"
    );
}

#[test]
fn a_try_that_was_given_up_cannot_fail_once_more() {
    let mut world = World::with(
        2,
        r#"{"hooks": [{"name": "gate", "on": ["start"], "endpoint": {"url": "http://gate/"}}]}"#,
    );
    world.set_version("v2").unwrap();
    let call = world.calls().remove(0).id;
    world.answer(call, down()).unwrap();
    let late = world.answer(call, down());
    assert!(matches!(late, Err(RolloutRejection::CallNotFound { .. })), "{late:?}");
    // A yes that comes late is a yes.
    world.answer(call, Answer::Go).unwrap();
    assert_eq!(world.state(), RolloutState::Running);
}

#[test]
fn time_without_a_server_is_no_time_in_which_somebody_did_not_answer() {
    let mut world = World::with(
        2,
        r#"{"hooks": [{"name": "gate", "on": ["start"], "endpoint": {"url": "http://gate/"}}]}"#,
    );
    world.set_version("v2").unwrap();
    let before = world.calls().remove(0);
    world.sim.now = world.sim.now.plus_millis(3_600_000);
    world.sim.agent(AgentCommand::NodeStarted).unwrap();
    world.sim.follow();
    let after = world.calls().remove(0);
    assert_eq!((after.id, after.attempt), (before.id, 1));
    assert_eq!(after.due_at, Timestamp(before.due_at.0 + 3_600_000));
}

#[test]
fn a_measurement_that_cannot_be_had_counts_against_the_limit_and_is_named_as_what_holds() {
    let analysis = |limit: &str| {
        format!(
            r#"{{"health": {{"healthyForSeconds": 0, "silentAfterSeconds": 86400}}, "analysis": [{{"name": "load", "query": "q", {limit}
                "endpoint": {{"url": "http://prom/"}}, "intervalSeconds": 1, "check": {{"kind": "threshold", "max": 1}}}}]}}"#
        )
    };
    let run = |limit: &str| {
        let mut world = World::with(2, &analysis(limit));
        world.set_version("v2").unwrap();
        for _ in 0..4 {
            world.obey();
            world.pass(2);
        }
        for _ in 0..3 {
            if let Some(call) = world.calls().first() {
                let id = call.id;
                world.answer(id, down()).unwrap();
            }
            world.pass(700);
        }
        world
    };
    let world = run("");
    assert_eq!(world.state(), RolloutState::Baking);
    let why = the_reason(&world, ReasonCode::HookUnreachable);
    assert!(
        why.message.starts_with("analysis \"load\" cannot be reached"),
        "{why:?}"
    );
    assert_eq!(run(r#""inconclusiveLimit": 1,"#).bad().as_deref(), Some("v2"));
}

#[test]
fn a_monitor_that_cannot_be_reached_is_named() {
    let mut world = World::with(
        2,
        r#"{"health": {"healthyForSeconds": 0}, "controllers": {"monitoring": {"url": "http://mon/"}}}"#,
    );
    world.set_version("v2").unwrap();
    world.obey();
    let call = world.calls().remove(0);
    assert_eq!(call.kind, CallKind::Monitoring);
    world.answer(call.id, down()).unwrap();
    // Also after the target's deadline: an unreachable monitor says nothing about the target.
    for _ in 0..10 {
        world.pass(100);
        world.obey();
    }
    let why = the_reason(&world, ReasonCode::HookUnreachable);
    assert!(why.message.contains("the monitoring controller"), "{why:?}");
    assert_eq!((world.state(), world.bad()), (RolloutState::Running, None));
}

const TOLD: &str = r#"{"batch": 1, "health": {"healthyForSeconds": 0}, "onFailure": "immediate",
    "hooks": [{"name": "siren", "on": ["rollback"], "endpoint": {"url": "http://siren/"}}]}"#;

#[test]
fn a_hook_is_told_of_a_rollback_that_was_over_before_it_could_be_reached() {
    let mut world = World::with(3, TOLD);
    world.set_version("v2").unwrap();
    world.set_version("v3").unwrap();
    world.obey_but(|view| (view.name.as_str() == "t0").then(|| ("v2".to_owned(), Said::Unhealthy)));
    world.obey_but(|view| (view.name.as_str() == "t0").then(|| ("v2".to_owned(), Said::Unhealthy)));
    let call = world.calls().remove(0);
    assert_eq!(
        (call.subject.gate, call.subject.version.as_str()),
        (Some(Gate::Rollback), "v2")
    );
    world.answer(call.id, down()).unwrap();
    world.obey();
    world.obey();
    let rollout = world.rollout();
    assert_eq!(
        (rollout.summary.version.as_str(), rollout.summary.id),
        ("v3", 3),
        "the next one is under way"
    );
    world.pass(6);
    let again = world.calls().remove(0);
    assert_eq!((again.id, again.attempt, again.key()), (call.id, 2, call.key()));
    assert_eq!((again.subject.version.as_str(), again.subject.rollout), ("v2", 2));
    let wrong = world.answer(call.id, Answer::Targets { targets: vec![] });
    assert!(matches!(wrong, Err(RolloutRejection::WrongAnswer { .. })));
    world.answer(call.id, Answer::Go).unwrap();
    assert!(world.calls().is_empty());
}

#[test]
fn a_hook_that_never_can_be_told_is_given_up_and_that_is_remembered() {
    let mut world = World::with(1, TOLD);
    world.set_version("v2").unwrap();
    world.act(Verb::Fail(Vec::new())).unwrap();
    for _ in 0..60 {
        world.obey();
        world.pass(400);
    }
    assert_eq!(world.state(), RolloutState::Failed);
    assert!(world.calls().is_empty());
    let last = world.fleet().latest(1).remove(0);
    assert!(last.message.contains("given up after 20 tries"), "{last:?}");
}

#[test]
fn subscribers_receive_the_history_in_order_until_they_say_that_they_have_it() {
    let mut world = World::with(2, NOTIFIED);
    let first = outbox(&world);
    assert_eq!(first.len(), 1, "it was subscribed with this policy: {first:?}");
    world.set_version("v2").unwrap();
    let waiting = outbox(&world);
    let sequences: Vec<u64> = waiting.iter().map(|it| it.entry.sequence).collect();
    assert!(sequences.len() > 2 && sequences.is_sorted(), "{sequences:?}");
    let last = *sequences.last().unwrap();
    let revision = world.fleet().revision();
    received(&mut world, last);
    assert_eq!(
        world.fleet().revision(),
        revision,
        "nothing that a request could be based on"
    );
    assert_eq!((outbox(&world), ops(&world).state), (vec![], SubscriberState::UpToDate));
    world.act(Verb::Pause).unwrap();
    assert_eq!(outbox(&world)[0].entry.sequence, last + 1);
}

#[test]
fn an_entity_that_is_made_with_a_subscriber_tells_it_everything() {
    let mut world = World::new();
    world.set_policy(NOTIFIED).unwrap();
    let what: Vec<String> = outbox(&world).into_iter().map(|it| it.entry.what).collect();
    assert_eq!(what, ["entityCreated", "policySet"]);
}

#[test]
fn a_subscriber_that_is_away_is_tried_later_each_time_for_ever() {
    let mut world = World::with(1, NOTIFIED);
    let mut waits = Vec::new();
    for _ in 0..12 {
        failed(&mut world, Failing::Unreachable);
        let view = ops(&world);
        waits.push(view.next_try_at.unwrap().millis_since(world.sim.now) / 1_000);
        world.pass(300);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    let view = ops(&world);
    assert_eq!(
        (view.state, view.tries, view.error.as_deref()),
        (SubscriberState::Failing, 12, Some("status 400"))
    );
    assert_eq!(world.fleet().unsent().count(), 1);
    received(&mut world, 1_000);
    assert_eq!(
        (ops(&world).state, ops(&world).error),
        (SubscriberState::UpToDate, None)
    );
}

#[test]
fn a_subscriber_that_only_refuses_is_parked_until_someone_resumes_it() {
    let mut world = World::with(1, NOTIFIED);
    failed(&mut world, Failing::Refused);
    world.pass(40);
    failed(&mut world, Failing::Unreachable);
    world.pass(40);
    failed(&mut world, Failing::Refused);
    world.pass(59);
    failed(&mut world, Failing::Refused);
    assert_eq!(
        ops(&world).state,
        SubscriberState::Failing,
        "it was out of reach in between"
    );
    world.pass(1);
    failed(&mut world, Failing::Refused);
    assert_eq!(
        (ops(&world).state, ops(&world).next_try_at),
        (SubscriberState::Parked, None)
    );
    assert_eq!(world.fleet().unsent().count(), 0);
    assert_eq!(world.sim.state.rollouts().outbox_counts().parked, 1);
    let last = world.fleet().latest(1).remove(0);
    assert_eq!(
        (last.what.as_str(), last.message.contains("status 400")),
        ("subscriberParked", true)
    );
    let behind = ops(&world).behind;
    resume(&mut world, None);
    assert_eq!(
        (ops(&world).state, outbox(&world).len() as u64),
        (SubscriberState::Behind, behind + 1)
    );
    failed(&mut world, Failing::Gone);
    assert_eq!(ops(&world).state, SubscriberState::Parked);
    let skipped = ops(&world).received + 1;
    resume(&mut world, Some(skipped));
    assert_eq!(outbox(&world)[0].entry.sequence, skipped + 1);
}

#[test]
fn nobody_is_resumed_who_is_not_subscribed() {
    let mut world = World::with(1, NOTIFIED);
    let refused = world.command(RolloutCommand::ResumeDelivery {
        namespace: space(),
        entity: entity(),
        subscriber: name("nobody"),
        after: None,
        by: By::default(),
    });
    let rejection = rejected(refused.unwrap_err());
    assert!(
        matches!(rejection, RolloutRejection::SubscriberNotFound { .. }),
        "{rejection}"
    );
}

#[test]
fn an_external_monitor_is_asked_before_anything_moves_and_again_after_a_no() {
    let mut world = World::with(
        2,
        r#"{"controllers": {"externalMonitoring": {"url": "http://e/"}, "externalMonitoringIntervalSeconds": 5}}"#,
    );
    world.set_version("v2").unwrap();
    let call = world.calls().remove(0);
    assert_eq!(
        (call.kind, world.state()),
        (CallKind::ExternalMonitoring, RolloutState::Planned)
    );
    let message = "the error budget is spent".to_owned();
    world.answer(call.id, Answer::Refuse { message }).unwrap();
    let says = the_reason(&world, ReasonCode::MonitorUnwell).message;
    assert!(says.contains("the error budget is spent"), "{says}");
    world.pass(5);
    let again = world.calls().remove(0);
    world.answer(again.id, Answer::Go).unwrap();
    assert_eq!(world.state(), RolloutState::Running);
}
