//! The rules, one by one.

use unisono_engine::rollout::{By, RequestKey, RolloutCommand, RolloutRejection, Sample, TargetFilter, Told, Verb};
use unisono_model::ids::Revision;
use unisono_model::rollout::{
    Answer, CallKind, ClassicOptions, Health, Phase, ReasonCode, RolloutState, Said, SimulateRequest, classic_policy,
};

use super::world::{World, labelled, says, target, version};
use crate::documents::space;
use crate::sim::BEGIN;

const QUICK: &str =
    r#"{"batch": 2, "health": {"healthyForSeconds": 10, "deadlineSeconds": 60, "silentAfterSeconds": 600}}"#;

fn classic(batch: i64, success: i64, healthy: i64, deadline: i64) -> Verb {
    let options = ClassicOptions {
        batch_percent: batch,
        success_percent: success,
        success_timeout_secs: healthy,
        duration_timeout_secs: deadline,
    };
    Verb::SetPolicy {
        policy: Box::new(classic_policy(&options).unwrap()),
        classic: Some(options),
    }
}

#[test]
fn a_good_version_reaches_everyone_in_batches_and_becomes_the_last_known_good_one() {
    let mut world = World::with(5, QUICK);
    world.set_version("v2").unwrap();
    assert_eq!(
        (world.state(), world.count(Phase::InFlight)),
        (RolloutState::Running, 2)
    );
    for _ in 0..3 {
        assert!(world.count(Phase::InFlight) <= 2);
        world.obey();
        assert_eq!(world.good().as_deref(), Some("v1"));
        world.pass(10);
        world.obey();
    }
    assert_eq!(
        (world.state(), world.good().as_deref()),
        (RolloutState::Succeeded, Some("v2"))
    );
    assert_eq!(world.running(), [("v2".to_owned(), 5)].into());
}

#[test]
fn the_first_version_of_a_new_fleet_is_proven_by_targets_that_run_it() {
    let mut world = World::new();
    world.act(classic(100, 0, 0, 0)).unwrap();
    world.set_version("v1").unwrap();
    assert_eq!(
        (world.state(), world.reasons()),
        (RolloutState::Planned, vec!["noTargets".to_owned()])
    );
    let told = world.report(&[says("a", "v1", Said::Healthy), says("b", "v1", Said::Healthy)]);
    assert!(told.iter().all(|it| it.version.as_deref() == Some("v1") && !it.change));
    assert_eq!(
        (world.state(), world.good().as_deref()),
        (RolloutState::Succeeded, Some("v1"))
    );
}

#[test]
fn the_answer_to_a_report_holds_what_it_led_to() {
    let mut world = World::with(1, QUICK);
    world.set_version("v2").unwrap();
    let told = world.say("t0", "v1", Said::Healthy);
    assert_eq!((told.version.as_deref(), told.change), (Some("v2"), true));
}

#[test]
fn versions_differ_by_case() {
    let mut world = World::with(2, QUICK);
    world.set_version("V1").unwrap();
    assert_eq!(world.say("t0", "v1", Said::Healthy).version.as_deref(), Some("V1"));
}

/// Every target that takes v2 dies and never reports again.
fn everyone_dies(targets: usize, policy: Verb, first_batch: usize) {
    let mut world = World::with(targets, "{}");
    world.act(policy).unwrap();
    world.set_version("v2").unwrap();
    let told: Vec<String> = world
        .targets()
        .iter()
        .filter(|view| view.phase == Phase::InFlight)
        .map(|view| view.name.to_string())
        .collect();
    assert_eq!(told.len(), first_batch);
    for _ in 0..40 {
        let dead = told.clone();
        // They never report again, and everyone else does.
        let alive: Vec<_> = world
            .targets()
            .into_iter()
            .filter(|view| !dead.contains(&view.name.to_string()))
            .collect();
        let reports: Vec<_> = alive
            .iter()
            .map(|view| says(&view.name, view.expected.as_deref().unwrap(), Said::Healthy))
            .collect();
        world.report(&reports);
        world.pass(1);
    }
    assert_eq!(
        (world.state(), world.bad().as_deref()),
        (RolloutState::Failed, Some("v2")),
        "{:?}",
        world.reasons()
    );
    let running = world.running();
    assert_eq!(running.get("v1"), Some(&targets), "nobody who was heard ever ran v2");
    assert!(
        world
            .targets()
            .iter()
            .all(|view| view.expected.as_deref() == Some("v1"))
    );
    let refused = world.set_version("v2").unwrap_err();
    assert!(matches!(refused, RolloutRejection::BadVersion { .. }), "{refused}");
}

#[test]
fn a_fleet_where_everyone_who_takes_the_version_dies_stops_within_the_first_batch() {
    everyone_dies(5, classic(20, 100, 1, 3), 1);
    everyone_dies(400, classic(20, 100, 1, 3), 80);
}

#[test]
fn strict_tolerance_is_never_exceeded_and_soft_may_be_by_what_is_in_flight() {
    let failures = |mode: &str| {
        let policy = format!(
            r#"{{"batch": 10, "failureTolerance": 3, "toleranceMode": "{mode}", "onFailure": "immediate",
                "health": {{"healthyForSeconds": 0, "deadlineSeconds": 10, "silentAfterSeconds": 600}}}}"#
        );
        let mut world = World::with(30, &policy);
        world.set_version("v2").unwrap();
        let mut most = 0;
        for _ in 0..12 {
            world.obey_but(|view| (view.expected.as_deref() == Some("v2")).then(|| ("v1".to_owned(), Said::Healthy)));
            most = most.max(world.count(Phase::InFlight) + world.count(Phase::Failed));
            world.pass(5);
        }
        assert_eq!(world.state(), RolloutState::Failed);
        most
    };
    assert_eq!(failures("strict"), 3);
    assert_eq!(failures("soft"), 10);
}

#[test]
fn an_unhealthy_version_rolls_back_within_budgets_to_the_last_known_good_one() {
    let mut world = World::with(6, QUICK);
    world.set_version("v2").unwrap();
    world.obey();
    world.pass(10);
    world.obey();
    // t2 and t3 are in flight now, t0 and t1 are done; t2 gets sick.
    world.say("t2", "v2", Said::Unhealthy);
    assert_eq!(world.state(), RolloutState::Running, "a single word is a flap");
    world.say("t2", "v2", Said::Unhealthy);
    assert_eq!(
        (world.state(), world.bad().as_deref()),
        (RolloutState::RollingBack, Some("v2"))
    );
    for _ in 0..4 {
        assert!(world.count(Phase::RollingBack) <= 2);
        world.obey();
        world.pass(10);
    }
    assert_eq!(
        (world.state(), world.good().as_deref()),
        (RolloutState::Failed, Some("v1"))
    );
    assert_eq!(world.running(), [("v1".to_owned(), 6)].into());
}

#[test]
fn without_a_good_version_the_first_failure_freezes_and_nobody_is_told_nothing() {
    let mut world = World::new();
    world.set_policy(QUICK).unwrap();
    world.report(&[
        says("a", "v0", Said::Healthy),
        says("b", "v0", Said::Healthy),
        says("c", "v0", Said::Healthy),
    ]);
    world.set_version("v1").unwrap();
    for _ in 0..2 {
        world.say("a", "v1", Said::Unhealthy);
    }
    assert_eq!(world.state(), RolloutState::Frozen);
    assert!(world.reasons().contains(&"nothingToRollBackTo".to_owned()));
    assert!(world.targets().iter().all(|view| view.expected.is_some()));
    // Someone decides.
    world.act(Verb::Skip(vec![target("a")])).unwrap();
    world.act(Verb::Resume).unwrap();
    assert_eq!(world.state(), RolloutState::Running);
}

#[test]
fn on_failure_says_what_happens() {
    for (policy, state, told) in [
        ("none", RolloutState::Failed, "v2"),
        ("freeze", RolloutState::Frozen, "v2"),
        ("budgeted", RolloutState::RollingBack, "v1"),
        ("immediate", RolloutState::RollingBack, "v1"),
    ] {
        let mut world = World::with(4, &format!(r#"{{"batch": 4, "onFailure": "{policy}"}}"#));
        world.set_version("v2").unwrap();
        for _ in 0..2 {
            world.say("t0", "v2", Said::Unhealthy);
        }
        assert_eq!(world.state(), state, "{policy}");
        assert_eq!(world.view("t0").expected.as_deref(), Some(told), "{policy}");
    }
}

#[test]
fn a_silent_target_is_unknown_not_healthy_and_fails_the_rollout_that_it_vanishes_from() {
    let mut world = World::with(
        3,
        r#"{"batch": 1, "health": {"silentAfterSeconds": 80, "deadlineSeconds": 600}}"#,
    );
    world.set_version("v2").unwrap();
    for _ in 0..9 {
        world.say("t1", "v1", Said::Healthy);
        world.say("t2", "v1", Said::Healthy);
        world.pass(10);
    }
    assert_eq!(world.view("t0").health, Health::Unknown);
    assert_eq!(
        (world.view("t1").health, world.bad().as_deref()),
        (Health::Healthy, Some("v2"))
    );
    assert!(world.why(Some("t0")).reasons[0].message.contains("has not been heard"));
}

#[test]
fn forgetting_a_target_that_failed_changes_no_verdict() {
    let mut world = World::with(10, r#"{"batch": 2, "failureTolerance": 1, "onFailure": "freeze"}"#);
    world.set_version("v2").unwrap();
    for _ in 0..2 {
        world.say("t0", "v2", Said::Unhealthy);
    }
    world.act(Verb::Forget(vec![target("t0")])).unwrap();
    assert_eq!(
        (world.state(), world.rollout().summary.counts.failed),
        (RolloutState::Running, 1)
    );
    for _ in 0..2 {
        world.say("t1", "v2", Said::Unhealthy);
    }
    assert_eq!(world.state(), RolloutState::Frozen);
}

#[test]
fn an_unreporting_fleet_promotes_nothing() {
    let mut world = World::with(
        4,
        r#"{"batch": 4, "health": {"silentAfterSeconds": 8, "onSilent": "wait"}}"#,
    );
    world.pass(20);
    assert!(world.targets().iter().all(|view| view.health == Health::Unknown));
    world.set_version("v2").unwrap();
    world.pass(3_000);
    assert_eq!(
        (world.state(), world.good().as_deref()),
        (RolloutState::Running, Some("v1"))
    );
    assert_eq!(world.reasons(), ["targetsUnreachable"]);
    world.pass(4_000);
    assert_eq!(
        (world.state(), world.good().as_deref()),
        (RolloutState::Failed, Some("v1"))
    );
}

#[test]
fn a_paused_rollout_assigns_nothing_and_its_progress_deadline_does_not_run() {
    let mut world = World::with(
        4,
        r#"{"batch": 1, "progressDeadlineSeconds": 100, "health": {"healthyForSeconds": 0}}"#,
    );
    world.set_version("v2").unwrap();
    world.act(Verb::Pause).unwrap();
    world.say("t0", "v2", Said::Healthy);
    assert_eq!(
        (world.state(), world.count(Phase::InFlight), world.count(Phase::Done)),
        (RolloutState::Paused, 0, 1)
    );
    for _ in 0..20 {
        world.obey();
        world.pass(50);
    }
    assert_eq!(world.state(), RolloutState::Paused);
    world.act(Verb::Resume).unwrap();
    assert_eq!(
        (world.state(), world.count(Phase::InFlight)),
        (RolloutState::Running, 1)
    );
    let mut stuck = |seconds: u64| {
        for _ in 0..seconds / 10 {
            world.obey_but(|view| Some((view.version.clone().unwrap().to_string(), Said::Healthy)));
            world.pass(10);
        }
        world.state()
    };
    assert_eq!(stuck(90), RolloutState::Running);
    assert_eq!(stuck(20), RolloutState::RollingBack);
}

#[test]
fn abort_really_stops_and_takes_back_what_was_not_taken() {
    let mut world = World::with(4, QUICK);
    world.set_version("v2").unwrap();
    world.say("t0", "v2", Said::Healthy);
    world.act(Verb::Abort).unwrap();
    assert_eq!(world.state(), RolloutState::Aborted);
    // t0 has it, t1 was told and does not have it, the others were not told.
    assert_eq!(world.say("t0", "v2", Said::Healthy).version.as_deref(), Some("v2"));
    assert_eq!(world.say("t1", "v1", Said::Healthy).version.as_deref(), Some("v1"));
    world.pass(1_000);
    assert_eq!(world.running(), [("v1".to_owned(), 3), ("v2".to_owned(), 1)].into());
    assert!(matches!(
        world.act(Verb::Abort),
        Err(RolloutRejection::NoRollout { .. })
    ));
}

#[test]
fn a_new_version_queues_replaces_or_is_refused() {
    let with = |policy: &str| {
        let mut world = World::with(
            3,
            &format!(r#"{{"batch": 1, "onNewVersion": "{policy}", "health": {{"healthyForSeconds": 0}}}}"#),
        );
        world.set_version("v2").unwrap();
        let outcome = world.set_version("v3");
        (world, outcome)
    };
    let (mut world, outcome) = with("queue");
    assert!(outcome.unwrap().message.contains("waits"));
    for _ in 0..9 {
        world.obey();
    }
    assert_eq!(world.running(), [("v3".to_owned(), 3)].into());
    let (world, outcome) = with("replace");
    assert!(outcome.unwrap().message.contains("takes the place"));
    assert_eq!(world.rollout().summary.id, 3);
    assert_eq!(world.fleet().rollouts()[1].state, RolloutState::Superseded);
    let (_, outcome) = with("reject");
    assert!(matches!(outcome, Err(RolloutRejection::UnderWay { .. })));
}

#[test]
fn waves_go_in_order_with_canary_bake_and_manual_promotion() {
    let mut world = World::new();
    let reports: Vec<_> = [("a", "x"), ("b", "x"), ("c", "y"), ("d", "y"), ("e", "z")]
        .map(|(name, zone)| labelled(name, "v1", &[("zone", zone)]))
        .into();
    world.settle(
        &reports,
        r#"{"canary": {"size": 1, "select": {"labels": {"zone": "y"}}, "promotion": "manual"},
            "waves": [{"name": "x", "select": {"labels": {"zone": "x"}}, "batch": 2, "bakeSeconds": 60}],
            "batch": 5, "health": {"healthyForSeconds": 0}}"#,
    );
    world.set_version("v2").unwrap();
    let flying = |world: &World| {
        let targets = world.targets();
        targets
            .iter()
            .filter(|it| it.phase == Phase::InFlight)
            .map(|it| it.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(flying(&world), ["c"]);
    world.obey();
    assert_eq!(
        (world.state(), world.reasons()),
        (RolloutState::AwaitingApproval, vec!["promotionNeeded".to_owned()])
    );
    world.act(Verb::Promote).unwrap();
    assert_eq!(flying(&world), ["a", "b"]);
    world.obey();
    assert_eq!(world.state(), RolloutState::Baking);
    world.pass(59);
    world.obey();
    assert_eq!(world.state(), RolloutState::Baking);
    world.pass(1);
    assert_eq!(flying(&world), ["d", "e"]);
    world.obey();
    assert_eq!(world.state(), RolloutState::Succeeded);
}

#[test]
fn a_wave_that_selects_nothing_is_refused_by_its_field() {
    let mut world = World::with(3, "{}");
    let refused = world
        .set_policy(r#"{"waves": [{"name": "a", "select": {"labels": {"zone": "nowhere"}}}]}"#)
        .unwrap_err();
    let RolloutRejection::Faults(faults) = refused else {
        panic!("{refused}");
    };
    assert_eq!(
        (faults[0].field.as_str(), faults[0].code.as_ref()),
        ("waves[0].select", "selects-nothing")
    );
}

#[test]
fn domain_budgets_and_broken_targets_bound_what_moves() {
    let mut world = World::new();
    let names: Vec<(String, &str)> = (0..12)
        .map(|it| (format!("t{it}"), if it % 2 == 0 { "a" } else { "b" }))
        .collect();
    let reports: Vec<_> = names
        .iter()
        .map(|(name, zone)| labelled(name, "v1", &[("zone", zone)]))
        .collect();
    world.settle(
        &reports,
        r#"{"batch": 12, "budgets": [{"label": "zone", "maxInFlight": 2}], "maxUnavailable": 3,
            "failureTolerance": 5, "health": {"healthyForSeconds": 0}}"#,
    );
    world.set_version("v2").unwrap();
    let flying = |world: &World, zone: &str| {
        let here = |it: &&unisono_model::rollout::TargetView| it.labels["zone"] == zone && it.phase == Phase::InFlight;
        world.targets().iter().filter(here).count()
    };
    assert_eq!((flying(&world, "a") + flying(&world, "b")), 3);
    assert!(flying(&world, "a") <= 2 && flying(&world, "b") <= 2);
    // Targets that break by themselves count against what may be unavailable.
    for name in ["t10", "t11"] {
        world.say(name, "v1", Said::Unhealthy);
        world.say(name, "v1", Said::Unhealthy);
    }
    world.obey_but(|view| {
        ["t10", "t11"]
            .contains(&view.name.as_str())
            .then(|| ("v1".to_owned(), Said::Unhealthy))
    });
    assert!(world.count(Phase::InFlight) <= 3, "{}", world.count(Phase::InFlight));
}

#[test]
fn approvals_are_counted_by_person_and_expire() {
    let mut world = World::with(
        2,
        r#"{"approval": {"required": 2, "of": ["bob", "eve", "ann"], "expiresSeconds": 60, "byRequester": false}}"#,
    );
    world.set_version("v2").unwrap();
    assert_eq!(world.state(), RolloutState::AwaitingApproval);
    assert!(world.act_as("mallory", Verb::Approve).is_err());
    assert!(world.act_as("ann", Verb::Approve).is_err(), "ann asked for it");
    world.act_as("bob", Verb::Approve).unwrap();
    world.act_as("bob", Verb::Approve).unwrap();
    assert_eq!(world.state(), RolloutState::AwaitingApproval);
    world.pass(61);
    world.act_as("eve", Verb::Approve).unwrap();
    assert_eq!(
        world.state(),
        RolloutState::AwaitingApproval,
        "bob's approval has expired"
    );
    world.act_as("bob", Verb::Approve).unwrap();
    assert_eq!(world.state(), RolloutState::Running);
    assert!(world.act_as("bob", Verb::Approve).is_err(), "nothing waits for it");
}

#[test]
fn windows_open_in_the_time_zone_of_each_target() {
    // The test begins at 22:13 UTC on a Tuesday.
    assert_eq!(BEGIN.to_string(), "2023-11-14T22:13:20.000Z");
    let mut world = World::new();
    let mut reports = vec![says("berlin", "v1", Said::Healthy), says("utc", "v1", Said::Healthy)];
    reports[0].time_zone = Some("Europe/Berlin".into());
    world.settle(
        &reports,
        r#"{"batch": 2, "windows": [{"cron": "0 23 * * *", "durationSeconds": 3600}]}"#,
    );
    world.set_version("v2").unwrap();
    assert_eq!(
        (world.view("berlin").phase, world.view("utc").phase),
        (Phase::InFlight, Phase::Pending)
    );
    world.act(Verb::Abort).unwrap();
    world.pass(3_600);
    world.report(&reports);
    world.set_version("v3").unwrap();
    assert_eq!(
        (world.view("berlin").phase, world.view("utc").phase),
        (Phase::Pending, Phase::InFlight)
    );
    world.act(Verb::Abort).unwrap();
    world.pass(7_200);
    world.report(&reports);
    world.set_version("v4").unwrap();
    assert_eq!(
        (world.state(), world.reasons()),
        (RolloutState::Planned, vec!["windowClosed".to_owned()])
    );
    let reason = &world.rollout().reasons[0];
    assert_eq!(reason.until.unwrap().to_string(), "2023-11-15T22:00:00.000Z");
}

#[test]
fn a_freeze_holds_what_moves_forward_and_not_what_goes_back() {
    let mut world = World::with(4, QUICK);
    world.set_version("v2").unwrap();
    world
        .command(RolloutCommand::Freeze {
            namespace: Some(space()),
            for_ms: Some(500_000),
            by: By::default(),
        })
        .unwrap();
    world.obey();
    world.pass(10);
    world.obey();
    assert_eq!((world.count(Phase::InFlight), world.count(Phase::Done)), (0, 2));
    assert_eq!(world.reasons(), ["freeze"]);
    for _ in 0..2 {
        world.say("t0", "v2", Said::Unhealthy);
    }
    assert_eq!(world.state(), RolloutState::RollingBack);
    assert!(world.count(Phase::RollingBack) > 0);
    let nothing = world.command(RolloutCommand::Thaw {
        namespace: None,
        by: By::default(),
    });
    assert!(nothing.is_err());
}

const HOOKED: &str = r#"{"batch": 4, "health": {"healthyForSeconds": 0},
    "hooks": [{"name": "gate", "on": ["start", "promotion"], "endpoint": {"url": "http://gate/"}}]}"#;

#[test]
fn an_unreachable_hook_holds_and_says_so_and_is_asked_again() {
    let mut world = World::with(2, HOOKED);
    world.set_version("v2").unwrap();
    assert_eq!(
        (world.state(), world.reasons()),
        (RolloutState::Planned, vec!["hookPending".to_owned()])
    );
    let call = world.calls().remove(0);
    assert_eq!(
        (call.kind, call.name.as_str(), call.attempt),
        (CallKind::Hook, "gate", 1)
    );
    world.pass(11);
    assert_eq!(world.reasons(), ["hookUnreachable"]);
    assert!(world.calls().is_empty());
    world.pass(6);
    assert_eq!((world.calls()[0].id, world.calls()[0].attempt), (call.id, 2));
    let refuse = Answer::Refuse {
        message: "not on fridays".to_owned(),
    };
    world.answer(call.id, refuse).unwrap();
    assert_eq!(world.reasons(), ["hookRefused"]);
    world.pass(31);
    world.answer(call.id, Answer::Go).unwrap();
    assert_eq!(world.state(), RolloutState::Running);
    assert!(matches!(
        world.answer(call.id, Answer::Go),
        Err(RolloutRejection::CallNotFound { .. })
    ));
    world.obey();
    assert_eq!(world.state(), RolloutState::Baking);
    let promotion = world.calls().remove(0).id;
    assert!(matches!(
        world.answer(promotion, Answer::Targets { targets: vec![] }),
        Err(RolloutRejection::WrongAnswer { .. })
    ));
    world.answer(promotion, Answer::Go).unwrap();
    assert_eq!(world.state(), RolloutState::Succeeded);
}

#[test]
fn controllers_choose_approve_and_monitor_targets() {
    let mut world = World::with(
        4,
        r#"{"batch": 2, "health": {"healthyForSeconds": 0}, "controllers": {
            "selection": {"url": "http://c/s"}, "approval": {"url": "http://c/a"}, "monitoring": {"url": "http://c/m"}}}"#,
    );
    world.set_version("v2").unwrap();
    let asked = world.calls().remove(0);
    assert_eq!(
        (asked.kind, asked.subject.targets.len(), asked.subject.count),
        (CallKind::Selection, 4, 2)
    );
    let chosen = vec![target("t2"), target("t3"), target("t1")];
    world.answer(asked.id, Answer::Targets { targets: chosen }).unwrap();
    let asked = world.calls().remove(0);
    assert_eq!((asked.kind, asked.subject.targets.len()), (CallKind::Approval, 3));
    world
        .answer(
            asked.id,
            Answer::Targets {
                targets: vec![target("t3"), target("t2")],
            },
        )
        .unwrap();
    assert_eq!(
        (world.view("t2").phase, world.view("t3").phase),
        (Phase::InFlight, Phase::InFlight)
    );
    assert_eq!(world.count(Phase::InFlight), 2);
    world.say("t2", "v2", Said::Healthy);
    assert_eq!(
        world.view("t2").phase,
        Phase::InFlight,
        "its monitor has not said anything"
    );
    let asked = world.calls().remove(0);
    assert_eq!(
        (asked.kind, asked.subject.targets.clone()),
        (CallKind::Monitoring, vec![target("t2")])
    );
    world.answer(asked.id, Answer::Go).unwrap();
    assert_eq!(world.view("t2").phase, Phase::Done);
}

#[test]
fn a_selection_may_name_targets_that_are_yet_to_be_made() {
    let mut world = World::with(
        2,
        r#"{"batch": 1, "controllers": {"selection": {"url": "http://c/s"}}}"#,
    );
    world.set_version("v2").unwrap();
    let asked = world.calls().remove(0);
    world
        .answer(
            asked.id,
            Answer::Targets {
                targets: vec![target("green")],
            },
        )
        .unwrap();
    let new = world.view("green");
    assert_eq!(
        (new.phase, new.expected.as_deref(), new.version),
        (Phase::InFlight, Some("v2"), None)
    );
    world.say("green", "v2", Said::Healthy);
    world.pass(30);
    world.say("green", "v2", Said::Healthy);
    assert_eq!(world.view("green").phase, Phase::Done);
}

#[test]
fn a_worse_canary_fails_the_rollout() {
    let mut world = World::with(
        4,
        r#"{"canary": {"size": 1, "bakeSeconds": 600}, "health": {"healthyForSeconds": 0}, "analysis": [
            {"name": "errors", "query": "errors", "baselineQuery": "errors", "endpoint": {"url": "http://prom/"},
             "intervalSeconds": 60, "measurements": 2, "check": {"kind": "errors"}}]}"#,
    );
    let counts = |bad: u64| Answer::Measured {
        measured: unisono_model::rollout::Measured::Counts {
            canary_counts: unisono_model::rollout::Counted {
                errors: bad,
                total: 1_000,
            },
            baseline_counts: unisono_model::rollout::Counted {
                errors: 0,
                total: 1_000,
            },
        },
    };
    world.set_version("v2").unwrap();
    world.obey();
    world.pass(60);
    let asked = world.calls().remove(0);
    assert_eq!(
        (asked.kind, asked.subject.query.as_deref()),
        (CallKind::Analysis, Some("errors"))
    );
    world.answer(asked.id, counts(0)).unwrap();
    world.obey();
    world.pass(60);
    let again = world.calls().remove(0).id;
    world.answer(again, counts(20)).unwrap();
    assert_eq!(world.state(), RolloutState::RollingBack);
    assert!(world.reasons().contains(&"analysisFailed".to_owned()));
}

#[test]
fn joiners_do_what_the_policy_says() {
    for (joiners, during, after) in [
        ("join", Phase::Pending, "v2"),
        ("lastKnownGood", Phase::Idle, "v2"),
        ("leave", Phase::Idle, "v0"),
    ] {
        let policy = format!(r#"{{"batch": 1, "joiners": "{joiners}", "health": {{"healthyForSeconds": 0}}}}"#);
        let mut world = World::with(2, &policy);
        world.set_version("v2").unwrap();
        world.say("new", "v0", Said::Healthy);
        assert_eq!(world.view("new").phase, during, "{joiners}");
        for _ in 0..6 {
            world.obey();
        }
        assert_eq!(world.state(), RolloutState::Succeeded, "{joiners}");
        assert_eq!(world.view("new").version.as_deref(), Some(after), "{joiners}");
    }
}

#[test]
fn drift_is_reported_healed_or_ignored() {
    for (drift, drifted, told) in [("report", true, "v9"), ("heal", true, "v1"), ("ignore", false, "v9")] {
        let mut world = World::with(3, &format!(r#"{{"drift": "{drift}"}}"#));
        let told_now = world.say("t0", "v9", Said::Healthy);
        assert_eq!(world.view("t0").drifted, drifted, "{drift}");
        assert_eq!(told_now.version.as_deref(), Some(told), "{drift}");
    }
}

/// Whoever promises a version to a target takes of the same budgets, several of one report as well.
#[test]
fn targets_are_healed_and_caught_up_within_the_budgets() {
    let told = |told: Vec<unisono_model::rollout::Instruction>| told.iter().filter(|it| it.change).count();
    let mut world = World::with(3, r#"{"drift": "heal", "maxUnavailable": 1}"#);
    let strays = [says("t0", "v9", Said::Healthy), says("t1", "v9", Said::Healthy)];
    assert_eq!(told(world.report(&strays)), 1);
    assert_eq!(told(world.report(&strays)), 1);
    world.say("t0", "v1", Said::Healthy);
    let next = world.say("t1", "v9", Said::Healthy);
    assert!(next.change, "{next:?}");

    let zones = ["a", "a", "b"];
    let names = ["t0", "t1", "t2"];
    let run = |version: &'static str| -> Vec<_> {
        let each = names.iter().zip(&zones);
        each.map(|(name, zone)| labelled(name, version, &[("zone", zone)]))
            .collect()
    };
    let mut world = World::new();
    world.settle(
        &run("v1"),
        r#"{"drift": "heal", "budgets": [{"label": "zone", "maxUnavailable": 1}]}"#,
    );
    assert_eq!(told(world.report(&run("v9"))), 2, "one of each zone");

    let mut world = World::with(
        1,
        r#"{"joiners": "lastKnownGood", "maxUnavailable": 2, "health": {"healthyForSeconds": 0}}"#,
    );
    world.set_version("v2").unwrap();
    let late = ["a", "b", "c", "d"].map(|name| says(name, "v1", Said::Healthy));
    assert_eq!(told(world.report(&late)), 0);
    for _ in 0..3 {
        world.say("t0", "v2", Said::Healthy);
    }
    assert_eq!(world.state(), RolloutState::Succeeded, "{:?}", world.rollout());
    assert_eq!(told(world.report(&late)), 2);
}

#[test]
fn a_target_that_is_told_a_version_and_has_not_taken_it_is_unavailable_also_when_it_has_failed() {
    let policy = r#"{"batch": 1, "maxUnavailable": 1, "failureTolerance": 2,
        "health": {"healthyForSeconds": 0, "deadlineSeconds": 10}}"#;
    let mut world = World::with(3, policy);
    world.set_version("v2").unwrap();
    world.pass(11);
    world.say("t0", "v1", Said::Healthy);
    assert_eq!((world.count(Phase::Failed), world.count(Phase::InFlight)), (1, 0));
    assert_eq!(world.reasons(), ["budgetUsedUp"]);
    let told = world.say("t0", "v2", Said::Healthy);
    assert!(!told.change);
    assert_eq!(world.count(Phase::InFlight), 1);
}

#[test]
fn verbs_say_what_came_of_them() {
    let mut world = World::new();
    world.report(&[says("t0", "v0", Said::Healthy)]);
    world
        .set_policy(r#"{"batch": 1, "onNewVersion": "replace", "health": {"unhealthyReports": 1}}"#)
        .unwrap();
    assert_eq!(world.set_version("v1").unwrap().rollout, Some(1));
    assert_eq!(
        world.set_version("v2").unwrap().rollout,
        Some(2),
        "the one that took over"
    );
    world.say("t0", "v1", Said::Healthy);
    world.say("t0", "v2", Said::Unhealthy);
    assert_eq!(world.state(), RolloutState::Frozen);
    world.act(Verb::Pause).unwrap();
    let done = world.act(Verb::Resume).unwrap();
    assert!(done.message.contains("frozen as it was"), "{}", done.message);
    assert_eq!(world.state(), RolloutState::Frozen);
}

#[test]
fn an_entity_waits_for_what_another_one_runs() {
    let mut world = World::with(1, r#"{"batch": 1, "dependsOn": [{"entity": "db", "version": "d2"}]}"#);
    let db = unisono_model::rollout::EntityName::parse("db").unwrap();
    world.set_version("v2").unwrap();
    assert_eq!(
        (world.state(), world.reasons()),
        (RolloutState::Planned, vec!["dependencyUnmet".to_owned()])
    );
    let mut roll = |text: &str| {
        let mut reports = unisono_model::rollout::Reports::default();
        reports.push(&says("d", text, Said::Healthy)).unwrap();
        let reports = std::sync::Arc::new(reports);
        let report = || RolloutCommand::Report {
            namespace: space(),
            entity: db.clone(),
            reports: std::sync::Arc::clone(&reports),
        };
        world.command(report()).unwrap();
        world
            .command(RolloutCommand::Do {
                namespace: space(),
                entity: db.clone(),
                by: By::default(),
                verb: Verb::SetVersion {
                    version: version(text),
                    force: false,
                },
            })
            .unwrap();
        world.pass(60);
        world.command(report()).unwrap();
        world.state()
    };
    assert_eq!(roll("d1"), RolloutState::Planned);
    assert_eq!(roll("d2"), RolloutState::Running);
    let refused = world.act_as(
        "ann",
        Verb::SetPolicy {
            policy: Box::new(super::world::policy(
                r#"{"dependsOn": [{"entity": "app", "version": "v1"}]}"#,
            )),
            classic: None,
        },
    );
    assert!(
        matches!(refused, Err(RolloutRejection::Faults(_))),
        "an entity cannot wait for itself"
    );
}

#[test]
fn a_bad_version_is_refused_until_it_is_cleared_or_forced() {
    let mut world = World::with(
        2,
        r#"{"batch": 1, "onFailure": "none", "health": {"healthyForSeconds": 0}}"#,
    );
    world.set_version("v2").unwrap();
    for _ in 0..2 {
        world.say("t0", "v2", Said::Unhealthy);
    }
    assert_eq!(
        (world.state(), world.bad().as_deref()),
        (RolloutState::Failed, Some("v2"))
    );
    let refused = world.set_version("v2").unwrap_err();
    assert!(refused.to_string().contains("marked as bad"), "{refused}");
    assert!(refused.fix().contains("force"));
    world.act(Verb::ClearBad { version: version("v2") }).unwrap();
    world.set_version("v2").unwrap();
    assert_eq!(world.bad(), None);
    world.act(Verb::Fail(Vec::new())).unwrap();
    assert!(world.set_version("v2").is_err());
    world
        .act(Verb::SetVersion {
            version: version("v2"),
            force: true,
        })
        .unwrap();
    let marks: Vec<_> = world
        .fleet()
        .versions()
        .into_iter()
        .map(|it| (it.version.to_string(), it.good_order))
        .collect();
    assert_eq!(marks, [("v1".to_owned(), Some(1)), ("v2".to_owned(), None)]);
}

#[test]
fn verbs_look_at_the_revision_and_answer_what_they_did() {
    let mut world = World::with(2, QUICK);
    let done = world.set_version("v2").unwrap();
    assert!(done.changed && done.message.contains("rollout 2"), "{done:?}");
    let stale = By {
        based_on: Some(Revision(1)),
        ..By::default()
    };
    let refused = world.act_by(stale, Verb::Pause).unwrap_err();
    assert!(matches!(refused, RolloutRejection::Changed { .. }));
    let fresh = By {
        based_on: Some(world.fleet().revision()),
        ..By::default()
    };
    assert!(world.act_by(fresh, Verb::Pause).unwrap().changed);
    assert!(!world.act(Verb::Pause).unwrap().changed);
    assert!(matches!(world.act(Verb::Promote), Err(RolloutRejection::NotNow { .. })));
    let history = world.fleet().history(0, Some(2), 100);
    assert_eq!(history.last().unwrap().actor, None);
    assert!(
        history
            .iter()
            .any(|entry| entry.what == "planned" && entry.actor.as_deref() == Some("ann"))
    );
}

#[test]
fn override_pins_targets_or_gives_everyone_a_version_at_once() {
    let mut world = World::with(5, QUICK);
    world
        .act(Verb::Override {
            version: version("hot"),
            targets: vec![target("t0")],
            force: false,
        })
        .unwrap();
    assert_eq!(
        (world.view("t0").phase, world.view("t0").expected.as_deref()),
        (Phase::Pinned, Some("hot"))
    );
    world.set_version("v2").unwrap();
    world
        .act(Verb::Override {
            version: version("v3"),
            targets: Vec::new(),
            force: false,
        })
        .unwrap();
    assert_eq!(world.count(Phase::InFlight), 4);
    world.act(Verb::Unpin(Vec::new())).unwrap();
    assert_eq!(world.count(Phase::InFlight), 5);
}

#[test]
fn groups_that_are_prefixes_of_one_another_stay_apart() {
    let mut world = World::new();
    let in_group = |group: &'static str, name: &'static str| unisono_model::rollout::Report {
        group: group.into(),
        ..says(name, "v1", Said::Healthy)
    };
    world.report(&[
        in_group("we", "b/x"),
        in_group("web", "/x"),
        in_group("", "web/x"),
        in_group("web/", "x"),
    ]);
    assert_eq!(world.targets().len(), 4);
    let of = |group: &str| {
        let filter = TargetFilter {
            group: Some(group.to_owned()),
            ..TargetFilter::default()
        };
        world.fleet().find_all(0, 100, &filter).0.len()
    };
    assert_eq!([of("we"), of("web"), of(""), of("web/"), of("w")], [1, 1, 1, 1, 0]);
}

#[test]
fn steps_wait_for_each_other() {
    let mut world = World::with(10, r#"{"batch": [1, 3, "50%"], "health": {"healthyForSeconds": 0}}"#);
    world.set_version("v2").unwrap();
    let mut sizes = Vec::new();
    while world.state() == RolloutState::Running {
        sizes.push(world.count(Phase::InFlight));
        world.obey();
    }
    assert_eq!(sizes, [1, 3, 5, 1]);
}

#[test]
fn a_plan_shows_the_numbers_after_rounding_and_a_simulation_is_the_same_by_its_seed() {
    let world = World::with(
        25,
        r#"{"canary": {"size": "1%"}, "batch": "10%", "failureTolerance": "5%"}"#,
    );
    let plan = world.fleet().plan(&version("v2"), None);
    assert_eq!((plan.targets, plan.tolerated, plan.waves.len()), (25, 1, 2));
    assert_eq!((plan.waves[0].targets, plan.waves[1].targets), (1, 24));
    assert!(
        plan.waves[0].rounding.contains("never to zero"),
        "{}",
        plan.waves[0].rounding
    );
    assert!(
        plan.waves[1].rounding.contains("rounded down: 2"),
        "{}",
        plan.waves[1].rounding
    );
    assert!(plan.estimate_seconds > 0);
    let mut request: SimulateRequest = serde_json::from_str(r#"{"version": "v2", "seed": 7}"#).unwrap();
    let mut sample = Sample::default();
    assert_eq!(sample.add(world.fleet(), 0, 3), Some(3));
    assert_eq!(sample.add(world.fleet(), 3, usize::MAX), None);
    let simulate = |request: &SimulateRequest| unisono_engine::rollout::simulate(&sample, request).unwrap();
    let good = simulate(&request);
    assert_eq!(
        (good.state, good.counts.done, good.touched),
        (RolloutState::Succeeded, 25, 25)
    );
    assert!(good.most_in_flight <= 2);
    assert_eq!(good, simulate(&request));
    request.model.silent = 1.0;
    let bad = simulate(&request);
    assert_eq!((bad.state, bad.touched), (RolloutState::Failed, 1));
    request.model.silent = 2.0;
    assert!(unisono_engine::rollout::simulate(&sample, &request).is_err());
}

#[test]
fn why_says_what_would_move_it() {
    let mut world = World::with(3, r#"{"batch": 1, "start": "manual"}"#);
    world.set_version("v2").unwrap();
    let why = world.why(None);
    assert_eq!(
        (why.reasons[0].code, why.reasons[0].fix.as_deref()),
        (ReasonCode::NotStarted, Some("start it"))
    );
    world.act(Verb::Start).unwrap();
    assert_eq!(world.why(None).reasons[0].code, ReasonCode::TargetsInFlight);
    assert!(world.why(Some("t0")).summary.contains("was told v2"));
    assert!(world.why(Some("t2")).summary.contains("its turn has not come"));
}

#[test]
fn a_request_with_a_key_is_done_once_however_often_it_comes() {
    let mut world = World::with(4, QUICK);
    let by = |key: &str, digest: u64| By {
        request: Some(RequestKey {
            key: key.to_owned(),
            digest,
        }),
        ..By::default()
    };
    let set = || Verb::SetVersion {
        version: version("v2"),
        force: false,
    };
    let done = world.act_by(by("k1", 1), set()).unwrap();
    world.act(Verb::Abort).unwrap();
    // Without the key, it would begin once more.
    assert_eq!(world.act_by(by("k1", 1), set()).unwrap(), done);
    assert_eq!(world.state(), RolloutState::Aborted);
    let taken = world.act_by(by("k1", 2), Verb::Abort).unwrap_err();
    assert_eq!(taken.code(), "idempotency-key-taken");
    // What was refused may be asked again.
    let refused = world.act_by(by("k2", 3), Verb::Pause).unwrap_err();
    assert_eq!(refused.code(), "no-rollout");
    world.act_by(by("k3", 4), set()).unwrap();
    let paused = world.act_by(by("k2", 3), Verb::Pause).unwrap();
    assert!(paused.changed);
    world.act(Verb::Resume).unwrap();
    assert_eq!(world.act_by(by("k2", 3), Verb::Pause).unwrap(), paused);
    assert_eq!(world.state(), RolloutState::Running);
    // Also what changed nothing.
    let first = world
        .act_by(by("k4", 5), Verb::ClearBad { version: version("v9") })
        .unwrap();
    assert!(!first.changed);
    assert_eq!(
        world
            .act_by(by("k4", 5), Verb::ClearBad { version: version("v9") })
            .unwrap(),
        first
    );
}

#[test]
fn many_targets_are_told_what_each_is_told() {
    let mut world = World::with(7, QUICK);
    world.set_version("v2").unwrap();
    world.say("t0", "v2", Said::Healthy);
    world
        .act(Verb::Override {
            version: version("hot"),
            targets: vec![target("t5")],
            force: false,
        })
        .unwrap();
    let slots: Vec<u32> = (0..8).collect();
    let told = world.fleet().told(&slots);
    assert_eq!((told.of[7], told.what.len()), (Told::GONE, 4), "{told:?}");
    for slot in 0..7 {
        let (one, shared) = (
            world.fleet().instruction(slot).unwrap(),
            &told.what[told.of[slot as usize] as usize],
        );
        assert_eq!(
            (&one.version, one.change, one.phase, &one.message),
            (&shared.version, shared.change, shared.phase, &shared.message)
        );
    }
}

#[test]
fn of_several_reports_of_one_target_in_a_request_the_last_one_counts_whatever_their_order() {
    let mut world = World::with(5, QUICK);
    let well = |name| says(name, "v1", Said::Healthy);
    let gone = |name| says(name, "v1", Said::Offline);
    let told = world.report(&[
        gone("t4"),
        well("t2"),
        gone("new"),
        well("t4"),
        gone("t0"),
        well("t1"),
        well("new"),
        gone("t2"),
    ]);
    let names: Vec<&str> = told.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["t4", "t2", "new", "t4", "t0", "t1", "new", "t2"]);
    let health = ["t0", "t1", "t2", "t3", "t4", "new"].map(|name| world.view(name).health);
    let (well, gone) = (Health::Healthy, Health::Offline);
    assert_eq!(health, [gone, well, gone, well, well, well]);
}
