//! A history in which everything happens to entities that can happen, for the golden journal.

use unisono_engine::agent::AgentCommand;
use unisono_engine::rollout::{By, Failing, RequestKey, RolloutCommand, Verb};
use unisono_model::rollout::{Answer, Counted, Measured, RolloutState, Said};

use super::world::{World, entity, labelled, target, version};
use crate::documents::{name, space};
use crate::sim::Sim;

const POLICY: &str = r#"{
    "batch": [1, "50%"], "start": "manual", "failureTolerance": 2, "onFailure": "immediate",
    "budgets": [{"label": "zone", "maxInFlight": 2}], "maxUnavailable": 4,
    "waves": [{"name": "a", "select": {"labels": {"zone": "a"}}, "bakeSeconds": 20, "promotion": "manual"}],
    "approval": {"required": 1}, "health": {"healthyForSeconds": 2, "deadlineSeconds": 30, "silentAfterSeconds": 900},
    "hooks": [{"name": "gate", "on": ["wave", "rollback"], "endpoint": {"url": "http://gate/"}}],
    "analysis": [{"name": "load", "query": "load", "endpoint": {"url": "http://prom/"}, "intervalSeconds": 5,
        "failureLimit": 1, "check": {"kind": "errors"}}],
    "notify": [{"name": "ops", "endpoint": {"url": "http://ops/"}}]}"#;

/// Goes on with a partition in which other things have happened.
pub(crate) fn everything(sim: Sim) -> Sim {
    let mut world = World { sim };
    let reports: Vec<_> = [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b/1", "b"), ("b\"2\"", "b")]
        .map(|(name, zone)| labelled(name, "v1", &[("zone", zone)]))
        .into();
    world.settle(&reports, POLICY);
    forward(&mut world);
    back(&mut world);
    by_hand(&mut world);
    open_end(&mut world);
    world.sim
}

/// Every target that is in flight takes the version and is well; the others say what they said.
fn obey(world: &mut World) {
    world.obey();
    world.pass(3);
    world.obey();
}

fn measured(bad: u64) -> Answer {
    let counted = |errors| Counted { errors, total: 500 };
    Answer::Measured {
        measured: Measured::Counts {
            canary_counts: counted(bad),
            baseline_counts: counted(1),
        },
    }
}

/// Answers whatever is asked.
fn answer_all(world: &mut World, bad: u64) {
    for call in world.calls() {
        let answer = if call.name == "load" { measured(bad) } else { Answer::Go };
        world.answer(call.id, answer).unwrap();
    }
}

fn forward(world: &mut World) {
    world.set_version("v2").unwrap();
    world.set_version("v2").unwrap();
    world.act(Verb::Start).unwrap();
    world.act_as("bob", Verb::Approve).unwrap();
    world.pass(11);
    world.pass(6);
    let refuse = Answer::Refuse {
        message: "not yet".to_owned(),
    };
    let call = world.calls().remove(0).id;
    world.answer(call, refuse).unwrap();
    world.pass(31);
    answer_all(world, 0);
    world.set_version("v3").unwrap();
    assert_eq!(world.state(), RolloutState::Running);
    obey(world);
    world.act(Verb::Pause).unwrap();
    world.act(Verb::Resume).unwrap();
    world.act(Verb::Fail(vec![target("a1")])).unwrap();
    for _ in 0..3 {
        obey(world);
    }
    assert_eq!(world.state(), RolloutState::Baking);
    world.act(Verb::Retry(Vec::new())).unwrap();
    obey(world);
    obey(world);
    world.pass(6);
    answer_all(world, 0);
    world.act(Verb::Promote).unwrap();
    answer_all(world, 0);
    world.act(Verb::Freeze { for_ms: None }).unwrap();
    obey(world);
    world.act(Verb::Thaw).unwrap();
    for _ in 0..6 {
        obey(world);
        answer_all(world, 0);
    }
    world.pass(40);
}

fn back(world: &mut World) {
    world.obey();
    world.act(Verb::Abort).ok();
    world.set_version("v4").unwrap();
    world.act(Verb::Start).unwrap();
    world.act_as("bob", Verb::Approve).unwrap();
    answer_all(world, 0);
    obey(world);
    world.act(Verb::Skip(vec![target("b/1")])).unwrap();
    world.act(Verb::Fail(Vec::new())).unwrap();
    answer_all(world, 0);
    world.obey_but(|view| (view.name.as_str() == "a1").then(|| ("v4".to_owned(), Said::Unhealthy)));
    world.pass(31);
    world.obey();
    world.act(Verb::ClearBad { version: version("v4") }).unwrap();
}

fn by_hand(world: &mut World) {
    world
        .act(Verb::Override {
            version: version("hot"),
            targets: vec![target("b\"2\"")],
            force: false,
        })
        .unwrap();
    let unpin = || By {
        actor: Some("ann".to_owned()),
        request: Some(RequestKey {
            key: "unpin-1".to_owned(),
            digest: 7,
        }),
        ..By::default()
    };
    let done = world.act_by(unpin(), Verb::Unpin(Vec::new())).unwrap();
    assert_eq!(world.act_by(unpin(), Verb::Unpin(Vec::new())).unwrap(), done);
    world.act(Verb::Forget(vec![target("a3")])).unwrap();
    for namespace in [None, Some(space())] {
        let (frozen, by) = (namespace.clone(), By::default());
        world
            .command(RolloutCommand::Freeze {
                namespace: namespace.clone(),
                for_ms: Some(9_000),
                by,
            })
            .unwrap();
        if namespace.is_none() {
            world
                .command(RolloutCommand::Thaw {
                    namespace: frozen,
                    by: By::default(),
                })
                .unwrap();
        }
    }
    world
        .command(RolloutCommand::Acknowledge {
            namespace: space(),
            entity: entity(),
            subscriber: name("ops"),
            sequence: 9,
        })
        .unwrap();
    deliveries(world);
    world.sim.now = world.sim.now.plus_millis(5_000);
    world.sim.agent(AgentCommand::NodeStarted).unwrap();
}

fn deliveries(world: &mut World) {
    let failing = [Failing::Unreachable, Failing::Gone].map(|failing| RolloutCommand::Undelivered {
        namespace: space(),
        entity: entity(),
        subscriber: name("ops"),
        failing,
        detail: "no".to_owned(),
    });
    let resume = RolloutCommand::ResumeDelivery {
        namespace: space(),
        entity: entity(),
        subscriber: name("ops"),
        after: Some(10),
        by: By::default(),
    };
    for command in failing.into_iter().chain([resume]) {
        world.command(command).unwrap();
    }
}

/// A rollout that is under way, with one version waiting and one call open.
fn open_end(world: &mut World) {
    world.pass(10);
    world.obey();
    world.set_version("v5").unwrap();
    world.act(Verb::Start).unwrap();
    world.act_as("bob", Verb::Approve).unwrap();
    answer_all(world, 0);
    world.act(Verb::Freeze { for_ms: None }).unwrap();
    world.act(Verb::Thaw).unwrap();
    world.set_version("v6").unwrap();
    world.set_version("v5").unwrap();
    world.set_version("v6").unwrap();
    world.obey_but(|view| (view.name.as_str() == "b/1").then(|| ("v1".to_owned(), Said::Busy)));
}
