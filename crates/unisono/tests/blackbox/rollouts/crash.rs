//! Several controllers of one entity, and a server that is killed in the middle.

use std::time::Duration;

use futures_util::future::join_all;
use unisono_model::rollout::{Health, Report, RolloutState, TargetView};

use super::{Fleet, QUICK};
use crate::harness::{Server, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_controllers_that_report_the_same_entity_lose_nothing() {
    let server = Server::start();
    let entity = server.client().entity("app");
    let controllers = (0..4).map(|controller| {
        let entity = entity.clone();
        async move {
            for number in 0..50 {
                let own = format!("c{controller}-{number}");
                let names = [own, format!("shared-{number}")];
                let reports: Vec<Report<'_>> = names
                    .iter()
                    .map(|name| Report {
                        name: name.as_str().into(),
                        version: Some("v1".into()),
                        ..Report::default()
                    })
                    .collect();
                assert_eq!(entity.report(&reports).await.unwrap().len(), 2);
            }
        }
    });
    join_all(controllers).await;
    let mut fleet = Fleet::new(&server.client(), "app", 0);
    let names: std::collections::BTreeSet<String> = fleet
        .targets()
        .await
        .into_iter()
        .map(|it| it.name.to_string())
        .collect();
    assert_eq!(names.len(), 250);
    fleet.runs = names.into_iter().map(|name| (name, "v1".to_owned())).collect();
    fleet.set_policy(QUICK).await;
    fleet.set_version("v1").await;
    assert_eq!(fleet.until(RolloutState::Succeeded).await.summary.counts.done, 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_loses_no_decision_and_exceeds_no_budget() {
    let mut server = Server::start();
    let mut fleet = Fleet::settled(&server, 20, r#"{"batch": 3, "health": {"healthyForSeconds": 0}}"#).await;
    fleet.set_version("v2").await;
    for round in 0..40 {
        let before = fleet.rollout().await.summary;
        if before.state == RolloutState::Succeeded {
            assert!(round >= 6, "20 targets, 3 at a time, in {round} rounds");
            return;
        }
        assert!(before.counts.in_flight <= 3, "{:?}", before.counts);
        server.kill();
        server.restart();
        let after = fleet.rollout().await.summary;
        assert_eq!((after.id, after.counts.done), (before.id, before.counts.done));
        assert!(after.counts.in_flight <= 3, "{:?}", after.counts);
        fleet.obey().await;
    }
    panic!("it does not end: {:?}", fleet.rollout().await.reasons);
}

/// A server that was stopped did not listen: nobody is silent or late for it, and what was under way goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_stopped_takes_nobody_for_silent_or_late() {
    let server = Server::start();
    let policy = r#"{"batch": 1, "health": {"healthyForSeconds": 0, "deadlineSeconds": 3, "silentAfterSeconds": 3}}"#;
    let mut fleet = Fleet::settled(&server, 3, policy).await;
    fleet.set_version("v2").await;
    fleet.obey().await;
    assert_eq!(fleet.rollout().await.summary.counts.in_flight, 1);
    server.pause();
    tokio::time::sleep(Duration::from_secs(8)).await;
    server.resume();
    // It has had time to decide before anybody reports again.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let view = fleet.rollout().await;
    assert_eq!(
        (view.summary.state, view.summary.counts.in_flight),
        (RolloutState::Running, 1),
        "{:?}",
        view.reasons
    );
    let silent = |it: &TargetView| it.health == Health::Unknown;
    assert!(!fleet.targets().await.iter().any(silent));
    fleet.until(RolloutState::Succeeded).await;
    // And silence is noticed as ever.
    fleet.dead = fleet.runs.keys().cloned().collect();
    eventually("all are silent", || async {
        fleet.targets().await.iter().all(silent).then_some(())
    })
    .await;
}
