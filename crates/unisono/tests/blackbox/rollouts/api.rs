//! What entities, targets and rollouts are asked, and what they answer.

use reqwest::header::{ACCEPT, ETAG};
use serde_json::{Value, json};
use unisono_client::{Basis, ClientError, PageRequest, TargetQuery};
use unisono_model::ids::Revision;
use unisono_model::rollout::{
    Answer, CallKind, ClassicOptions, ClassicTarget, Health, OptionsChange, Phase, PlanRequest, ReasonCode, Report,
    RolloutState, SimulateRequest, TargetId, VerbName, VerbRequest, Version, VersionMark,
};

use super::{Fleet, QUICK};
use crate::harness::{PATIENCE, Server, eventually};

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn of(text: &str) -> VerbRequest {
    VerbRequest {
        version: Some(version(text)),
        ..VerbRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_through_of_older_controllers_works() {
    let server = Server::start();
    let client = server.client_of("production");
    let options = ClassicOptions {
        batch_percent: 10,
        success_percent: 100,
        success_timeout_secs: 0,
        duration_timeout_secs: 3_600,
    };
    client.set_rollout_options("app-service", &options).await.unwrap();
    client.set_target_version("app-service", version("v1")).await.unwrap();
    let mut targets: Vec<ClassicTarget> = (0..10)
        .map(|number| ClassicTarget {
            name: format!("clientTarget{number}"),
            version: Some(version("v1")),
            message: "running successfully".to_owned(),
            ..ClassicTarget::default()
        })
        .collect();
    for wanted in ["v1", "v2"] {
        client.set_target_version("app-service", version(wanted)).await.unwrap();
        let good = |info: &unisono_model::rollout::ClassicInfo| info.last_known_good_version == Some(version(wanted));
        while !good(&client.rollout_info("app-service").await.unwrap()) {
            let expected = client.orchestrate("app-service", &targets).await.unwrap();
            let moving = targets
                .iter()
                .zip(&expected)
                .filter(|(is, should)| is.version != should.version);
            assert!(moving.count() <= 1, "a tenth of ten");
            for (target, expected) in targets.iter_mut().zip(expected) {
                assert_eq!(target.name, expected.name);
                target.version = expected.version;
            }
        }
    }
    let info = client.rollout_info("app-service").await.unwrap();
    assert_eq!(info.options, Some(options));
    // A version that hurts goes back by itself.
    let begin = std::time::Instant::now();
    client.set_target_version("app-service", version("v3")).await.unwrap();
    let quick = ClassicOptions {
        duration_timeout_secs: 1,
        ..options
    };
    client.set_rollout_options("app-service", &quick).await.unwrap();
    let info = loop {
        for target in &mut targets {
            target.is_error = target.version == Some(version("v3"));
        }
        let expected = client.orchestrate("app-service", &targets).await.unwrap();
        for (target, expected) in targets.iter_mut().zip(expected) {
            target.version = expected.version;
        }
        let info = client.rollout_info("app-service").await.unwrap();
        let back = targets.iter().all(|target| target.version == Some(version("v2")));
        if info.last_known_bad_version.is_some() && back {
            break info;
        }
        assert!(begin.elapsed() < PATIENCE, "{info:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(info.last_known_bad_version, Some(version("v3")));
    assert_eq!(info.last_known_good_version, Some(version("v2")));
    let refused = client
        .set_target_version("app-service", version("v3"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Some("bad-version"));
}

fn in_group<'a>(name: &'a str, version: &'a str) -> Report<'a> {
    Report {
        name: name.into(),
        group: "g".into(),
        version: Some(version.into()),
        ..Report::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_planned_watched_and_explained() {
    let server = Server::start();
    let policy = r#"{"batch": 2, "waves": [{"name": "first", "select": {"groups": ["g"]}, "promotion": "manual"}],
        "health": {"healthyForSeconds": 0}}"#;
    let mut fleet = Fleet::settled(&server, 5, QUICK).await;
    let entity = fleet.entity.clone();
    for name in ["x/1", "x.2"] {
        let report = Report {
            labels: Some([("zone".to_owned(), "a".to_owned())].into()),
            ..in_group(name, "v1")
        };
        entity.report_one(&report).await.unwrap();
    }
    fleet.set_policy(policy).await;
    let plan = PlanRequest {
        version: version("v2"),
        policy: None,
    };
    let plan = entity.plan(&plan).await.unwrap();
    let waves: Vec<(&str, u64, u64)> = plan
        .waves
        .iter()
        .map(|it| (&*it.name, it.targets, it.batches[0].targets))
        .collect();
    assert_eq!(waves, [("first", 2, 2), ("rest", 5, 2)]);
    let simulated: SimulateRequest = serde_json::from_value(json!({"version": "v2", "seed": 7})).unwrap();
    let (one, two) = (
        entity.simulate(&simulated).await.unwrap(),
        entity.simulate(&simulated).await.unwrap(),
    );
    assert_eq!(one, two);
    assert_eq!((one.state, one.touched), (RolloutState::Succeeded, 7));

    let done = fleet.set_version("v2").await;
    assert!(
        done.changed && done.message.contains("rollout 2 of version v2"),
        "{done:?}"
    );
    let why = entity.why().await.unwrap();
    assert_eq!(why.state, Some(RolloutState::Running));
    let waiting = entity.why_target(&TargetId::parse("", "t0").unwrap()).await.unwrap();
    assert_eq!(waiting.phase, Some(Phase::Pending));
    assert!(waiting.summary.contains("wave \"rest\""), "{waiting:?}");
    let moving = TargetQuery {
        state: Some(Phase::InFlight),
        labels: vec![("zone".to_owned(), "a".to_owned())],
        ..TargetQuery::default()
    };
    let page = PageRequest {
        limit: Some(1),
        page_token: None,
    };
    let first = entity.targets(&moving, &page).await.unwrap();
    let page_token = first.next_page_token.clone();
    assert_eq!((first.items[0].name.as_str(), page_token.is_some()), ("x/1", true));
    let second = entity
        .targets(
            &moving,
            &PageRequest {
                limit: Some(9),
                page_token,
            },
        )
        .await
        .unwrap();
    assert_eq!((second.items[0].name.as_str(), second.next_page_token), ("x.2", None));
    let changing = TargetQuery {
        change: Some(true),
        ..TargetQuery::default()
    };
    let told = entity.instructions(&changing, &PageRequest::default()).await.unwrap();
    assert_eq!(told.items.len(), 2);
    for name in ["x/1", "x.2"] {
        let told = entity.report_one(&in_group(name, "v2")).await.unwrap();
        assert!(!told.change);
    }
    let held = fleet.in_state(RolloutState::AwaitingApproval).await;
    assert_eq!(held.reasons[0].code, ReasonCode::PromotionNeeded);
    let promote = VerbRequest {
        reason: Some("the first ones are well".to_owned()),
        ..VerbRequest::default()
    };
    entity
        .act(VerbName::Promote, &promote, &Basis::default())
        .await
        .unwrap();
    let over = fleet.until(RolloutState::Succeeded).await;
    assert_eq!((over.summary.counts.done, over.summary.id), (7, 2));

    let rollouts = entity.rollouts(&PageRequest::default()).await.unwrap().items;
    assert_eq!(rollouts.iter().map(|it| it.id).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(entity.past_rollout(1).await.unwrap().version, version("v1"));
    assert_eq!(entity.past_rollout(2).await.unwrap().state, RolloutState::Succeeded);
    let good = entity
        .versions(Some(VersionMark::Good), &PageRequest::default())
        .await
        .unwrap()
        .items;
    assert_eq!(
        good.iter().map(|it| it.version.as_str()).collect::<Vec<_>>(),
        ["v1", "v2"]
    );
    let history = entity.history(0, Some(2), &PageRequest::default()).await.unwrap().items;
    let promoted = history.iter().find(|it| it.what == "promoted").unwrap();
    assert_eq!(promoted.actor.as_deref(), Some("the-test"));
    assert_eq!(promoted.reason.as_deref(), Some("the first ones are well"));
    assert_eq!(entity.version().await.unwrap().last_known_good, Some(version("v2")));
    let grid = entity.grid(4).await.unwrap();
    assert_eq!((grid.targets, grid.targets_per_cell, grid.cells.len()), (7, 2, 4));
    let listed = server.client().entities(&PageRequest::default()).await.unwrap().items;
    assert_eq!((listed.len(), listed[0].targets), (1, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_on_something_older_is_refused_and_what_came_before_is_not_done_again() {
    let server = Server::start();
    let fleet = Fleet::settled(&server, 3, QUICK).await;
    let revision = fleet.entity.get().await.unwrap().revision;
    let old = Basis {
        revision: Some(Revision(revision.0 - 1)),
        key: None,
    };
    let refused = fleet.entity.set_version(&of("v2"), &old).await.unwrap_err();
    assert_eq!(refused.code(), Some("changed-meanwhile"));
    let basis = Basis {
        revision: Some(revision),
        key: Some("deploy-7".to_owned()),
    };
    let done = fleet.entity.set_version(&of("v2"), &basis).await.unwrap();
    fleet.act(VerbName::Abort).await;
    // The same request: the entity is not at that revision any more, and v2 would begin once more.
    assert_eq!(fleet.entity.set_version(&of("v2"), &basis).await.unwrap(), done);
    assert_eq!(fleet.rollout().await.summary.state, RolloutState::Aborted);
    let taken = fleet.entity.set_version(&of("v3"), &basis).await.unwrap_err();
    assert_eq!(taken.code(), Some("idempotency-key-taken"));
    let url = format!("{}/api/v1/namespaces/default/entities/app/rollout", server.url());
    let answer = reqwest::get(url).await.unwrap();
    let tag = answer.headers()[ETAG].to_str().unwrap().to_owned();
    let view: Value = answer.json().await.unwrap();
    assert_eq!(tag, format!("\"{}\"", view["revision"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_fleet_reports_in_one_request_and_is_listed_line_by_line() {
    let server = Server::start();
    let mut fleet = Fleet::new(&server.client(), "app", 30_000);
    let told = fleet.report().await;
    assert_eq!(told.len(), 30_000);
    assert!(
        told.iter()
            .zip(fleet.runs.keys())
            .all(|(told, name)| told.name.as_str() == name && !told.change)
    );
    let url = format!("{}/api/v1/namespaces/default/entities/app", server.url());
    let lines = async |rest: &str| {
        let client = reqwest::Client::new();
        let text = client
            .get(format!("{url}/{rest}"))
            .header(ACCEPT, "application/x-ndjson")
            .send()
            .await
            .unwrap();
        let text = text.text().await.unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(lines("targets").await.len(), 30_000);
    assert_eq!(lines("targets?version=v9").await.len(), 0);
    let told = lines("instructions?health=healthy").await;
    assert_eq!((told.len(), &told[0]["change"]), (30_000, &json!(false)));
    assert_eq!(lines("history").await[0]["what"], "entityCreated");
    let problem: Value = reqwest::Client::new()
        .get(format!("{url}x/targets"))
        .header(ACCEPT, "application/x-ndjson")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(problem["code"], "entity-not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_asked_may_come_and_answer_and_who_is_told_may_come_and_fetch() {
    let server = Server::start();
    let policy = r#"{"batch": "100%", "health": {"healthyForSeconds": 0},
        "hooks": [{"name": "gate", "on": ["start"], "endpoint": {"local": "nobody", "timeoutSeconds": 600}}],
        "notify": [{"name": "ops", "endpoint": {"local": "nobody"}}]}"#;
    let mut fleet = Fleet::settled(&server, 2, policy).await;
    fleet.set_version("v2").await;
    let call = eventually("the gate is asked", || async {
        fleet.entity.calls().await.unwrap().into_iter().next()
    })
    .await;
    assert_eq!((call.kind, &*call.name), (CallKind::Hook, "gate"));
    let wrong = Answer::Targets { targets: Vec::new() };
    let refused = fleet.entity.answer(call.id, &wrong).await.unwrap_err();
    assert_eq!(refused.code(), Some("wrong-answer"));
    fleet.entity.answer(call.id, &Answer::Go).await.unwrap();
    let again = fleet.entity.answer(call.id, &Answer::Go).await.unwrap_err();
    assert_eq!(again.code(), Some("call-not-found"));
    fleet.until(RolloutState::Succeeded).await;
    let outbox = fleet.entity.outbox("ops", Some(1_000)).await.unwrap();
    let last = outbox.last().unwrap();
    assert_eq!((&*last.entry.what, last.entity.as_str()), ("succeeded", "app"));
    fleet.entity.acknowledge("ops", last.entry.sequence).await.unwrap();
    assert!(fleet.entity.outbox("ops", None).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn freezes_of_the_namespace_and_of_everything_hold_and_end() {
    let server = Server::start();
    let mut fleet = Fleet::settled(&server, 2, QUICK).await;
    let client = server.client();
    let why = VerbRequest {
        reason: Some("a holiday".to_owned()),
        ..VerbRequest::default()
    };
    client.freeze_everything(&why).await.unwrap();
    client.freeze_namespace(&VerbRequest::default()).await.unwrap();
    fleet.set_version("v2").await;
    for thaw in [true, false] {
        let view = fleet.rollout().await;
        assert_eq!(view.reasons[0].code, ReasonCode::Freeze, "{view:?}");
        assert_eq!(client.freezes().await.unwrap().len(), if thaw { 2 } else { 1 });
        match thaw {
            true => client.thaw_everything(&VerbRequest::default()).await.unwrap(),
            false => client.thaw_namespace(&VerbRequest::default()).await.unwrap(),
        };
    }
    let none = client.thaw_namespace(&VerbRequest::default()).await.unwrap_err();
    assert_eq!(none.code(), Some("not-frozen"));
    fleet.until(RolloutState::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_that_report_the_same_entity_at_the_same_time_lose_nothing() {
    let server = Server::start();
    let client = server.client();
    let controllers: Vec<_> = (0..8)
        .map(|controller| {
            let entity = client.entity("shared");
            tokio::spawn(async move {
                for round in 0..20 {
                    let reports: Vec<Value> = (0..50)
                        .map(|number| {
                            json!({"name": format!("c{controller}-t{number}"), "group": format!("g{}", controller % 3),
                                "version": format!("v{round}"), "message": format!("round {round}")})
                        })
                        .collect();
                    let texts: Vec<String> = reports.iter().map(Value::to_string).collect();
                    let reports: Vec<_> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
                    let told = entity.report(&reports).await.unwrap();
                    assert_eq!(told.len(), 50);
                }
            })
        })
        .collect();
    for controller in controllers {
        controller.await.unwrap();
    }
    let fleet = Fleet::new(&client, "shared", 0);
    let targets = fleet.targets().await;
    assert_eq!(targets.len(), 400);
    for target in targets {
        assert_eq!(
            (target.version, &*target.message, target.health),
            (Some(version("v19")), "round 19", Health::Healthy)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_description_names_every_route_of_rollouts() {
    let server = Server::start();
    let text = server.client().openapi().await.unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let entities = paths.keys().filter(|path| path.contains("/entities")).count();
    assert!(entities >= 22, "{entities}");
    for schema in [
        "Policy",
        "RolloutView",
        "TargetView",
        "PlanView",
        "SimulationView",
        "WhyView",
        "Instruction",
    ] {
        assert!(document["components"]["schemas"][schema].is_object(), "{schema}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_rollouts_and_targets_by_where_they_stand() {
    let server = Server::start();
    let mut fleet = Fleet::settled(&server, 3, r#"{"batch": 1, "health": {"healthyForSeconds": 0}}"#).await;
    fleet.set_version("v2").await;
    let metrics = server.client().metrics().await.unwrap();
    for sample in [
        "unisono_entities 1",
        "unisono_rollouts{state=\"running\"} 1",
        "unisono_rollouts{state=\"succeeded\"} 0",
        "unisono_rollout_targets{phase=\"inFlight\"} 1",
        "unisono_rollout_targets{phase=\"pending\"} 2",
        "unisono_targets{health=\"inProgress\"} 1",
        "unisono_targets{health=\"healthy\"} 2",
        "unisono_targets{health=\"unknown\"} 0",
    ] {
        assert!(metrics.lines().any(|line| line == sample), "{sample}: {metrics}");
    }
    fleet.until(RolloutState::Succeeded).await;
    let metrics = server.client().metrics().await.unwrap();
    assert!(
        metrics
            .lines()
            .any(|line| line == "unisono_rollouts{state=\"succeeded\"} 1"),
        "{metrics}"
    );
}

/// The four options say what they say; a change of some fields says no more than these. Nothing else is lost.
#[tokio::test(flavor = "multi_thread")]
async fn options_and_changes_leave_the_rest_of_a_policy_alone() {
    let server = Server::start();
    let entity = server.client_of("prod").entity("app");
    let basis = Basis::default();
    let written = "batch: 3\ntoleranceMode: strict\nwaves: [{name: a, select: {labels: {zone: a}}}]\n\
        health: {silentAfterSeconds: 77, deadlineSeconds: 99}\nprogressDeadlineSeconds: null\n";
    entity.set_policy_text(("p", written), None, &basis).await.unwrap();
    let before = entity.policy().await.unwrap();
    let options = ClassicOptions {
        batch_percent: 20,
        success_percent: 90,
        success_timeout_secs: 3,
        duration_timeout_secs: 30,
    };
    entity.set_options(&options, &basis).await.unwrap();
    let set = entity.policy().await.unwrap();
    assert_eq!(
        (&set.waves, set.tolerance_mode, set.health.silent_after_seconds),
        (&before.waves, before.tolerance_mode, 77)
    );
    assert_eq!((set.health.healthy_for_seconds, set.health.deadline_seconds), (3, 30));
    assert_eq!(entity.options().await.unwrap(), options);

    // Some of the options.
    let change = OptionsChange {
        success_timeout_secs: Some(4),
        ..OptionsChange::default()
    };
    entity.change_options(&change, &basis).await.unwrap();
    let options = ClassicOptions {
        success_timeout_secs: 4,
        ..options
    };
    assert_eq!(entity.options().await.unwrap(), options);

    // Some fields of the policy. The options are told as long as they are true.
    let change = "health: {silentAfterSeconds: 88}\nwindows: [{cron: '0 2 * * *', durationSeconds: 3600}]\n";
    entity.change_policy_text(("c", change), None, &basis).await.unwrap();
    let changed = entity.policy().await.unwrap();
    assert_eq!(
        (changed.health.silent_after_seconds, changed.health.healthy_for_seconds),
        (88, 4)
    );
    assert_eq!((&changed.waves, changed.windows.len()), (&before.waves, 1));
    assert_eq!(entity.options().await.unwrap(), options);
    entity
        .change_policy_text(("c", "batch: {start: 1, factor: 2}"), None, &basis)
        .await
        .unwrap();
    entity
        .change_policy_text(("c", "batch: 7"), None, &basis)
        .await
        .unwrap();
    let code = entity.options().await.unwrap_err().code().map(str::to_owned);
    assert_eq!(code.as_deref(), Some("no-options"));

    // What makes no sense is told at its place, and changes nothing.
    let before = entity.policy().await.unwrap();
    for (change, field) in [
        ("batch: 1\nhealth:\n  deadlineSeconds: 0\n", "health.deadlineSeconds"),
        ("batch: 1\nwaves: [{name: b, bakeSecs: 1}]\n", "waves[0].bakeSecs"),
        ("- batch: 1\n", ""),
    ] {
        let error = entity
            .change_policy_text(("c", change), None, &basis)
            .await
            .unwrap_err();
        let ClientError::Problem(problem) = error else {
            panic!("{error:?}")
        };
        assert_eq!(problem.field.as_deref().unwrap_or(""), field, "{problem:?}");
        assert!(problem.mistakes.iter().all(|it| it.line > 0), "{problem:?}");
    }
    assert_eq!(entity.policy().await.unwrap(), before);
}
