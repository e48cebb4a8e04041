//! A program that embeds the engine, and rolls a version out without a connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use unisono_client::{Client, ClientOptions};
use unisono_model::name::Name;
use unisono_model::rollout::{
    CallRequest, CallTarget, ClassicOptions, ClassicTarget, EntityName, RolloutState, TargetId, Version,
};
use unisono_node::{LocalControllers, MonitoringController, Node, NodeOptions, Said, TargetController};

use super::Fleet;
use crate::harness::eventually;

fn at() -> (Name, EntityName) {
    (
        Name::parse("production").unwrap(),
        EntityName::parse("app-service").unwrap(),
    )
}

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

async fn started(data: &std::path::Path) -> Node {
    let listen = "127.0.0.1:0".parse().unwrap();
    Node::start(NodeOptions::new(data.to_owned(), listen)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_through_works_in_process_and_goes_on_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let node = started(data.path()).await;
    assert_eq!(node.rollout_info(at()).await.unwrap(), None);
    let options = ClassicOptions {
        batch_percent: 10,
        success_percent: 100,
        success_timeout_secs: 0,
        duration_timeout_secs: 3_600,
    };
    node.set_rollout_options(at(), &options, Some("ada".to_owned()))
        .await
        .unwrap();
    let nonsense = ClassicOptions {
        batch_percent: 101,
        ..options
    };
    let problem = node.set_rollout_options(at(), &nonsense, None).await.unwrap_err();
    assert_eq!(problem.field.as_deref(), Some("batchpercent"));
    let mut targets: Vec<ClassicTarget> = (0..10)
        .map(|number| ClassicTarget {
            name: format!("clientTarget{number}"),
            tags: "zone=a".to_owned(),
            version: Some(version("v1")),
            ..ClassicTarget::default()
        })
        .collect();
    let nameless = [ClassicTarget::default()];
    let problem = node.orchestrate(at(), &nameless).await.unwrap_err();
    assert_eq!(problem.field.as_deref(), Some("[0].name"));
    let mut node = node;
    for wanted in ["v1", "v2"] {
        let done = node
            .set_target_version(at(), version(wanted), Some("ada".to_owned()))
            .await
            .unwrap();
        assert!(done.changed, "{done:?}");
        while node.rollout_info(at()).await.unwrap().unwrap().last_known_good_version != Some(version(wanted)) {
            let expected = node.orchestrate(at(), &targets).await.unwrap();
            let moving = targets
                .iter()
                .zip(&expected)
                .filter(|(is, should)| is.version != should.version);
            assert!(moving.count() <= 1, "a tenth of ten");
            assert!(expected.iter().all(|it| it.tags == "zone=a"));
            targets = expected;
        }
        node.shutdown().await.unwrap();
        node = started(data.path()).await;
    }
    let info = node.rollout_info(at()).await.unwrap().unwrap();
    assert_eq!(
        (info.target_version, info.options),
        (Some(version("v2")), Some(options))
    );
    node.shutdown().await.unwrap();
}

/// Chooses the last one first, keeps everything that is old, and finds `t1` unwell.
#[derive(Default)]
struct Choosy {
    asked: Mutex<Vec<String>>,
}

impl TargetController for Choosy {
    fn select<'a>(&'a self, call: &'a CallRequest) -> Said<'a, Vec<TargetId>> {
        let last = call.targets.iter().max_by(|a, b| a.name.cmp(&b.name)).unwrap();
        self.asked.lock().unwrap().push(format!("select {}", last.name));
        let id = TargetId::parse(&last.group, &last.name).unwrap();
        Box::pin(async { Ok(vec![id]) })
    }

    fn monitor<'a>(&'a self, target: &'a CallTarget, _: &'a CallRequest) -> futures_util::future::BoxFuture<'a, bool> {
        self.asked.lock().unwrap().push(format!("monitor {}", target.name));
        Box::pin(async { &*target.name != "t1" })
    }
}

/// Unwell when it is asked for the first time.
#[derive(Default)]
struct Slow(AtomicUsize);

impl MonitoringController for Slow {
    fn monitor<'a>(&'a self, _: &'a CallRequest) -> Said<'a, ()> {
        let first = self.0.fetch_add(1, Ordering::Relaxed) == 0;
        Box::pin(async move { if first { Err("warming up".to_owned()) } else { Ok(()) } })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_of_the_process_choose_and_monitor() {
    let data = tempfile::tempdir().unwrap();
    let (choosy, slow) = (Arc::<Choosy>::default(), Arc::<Slow>::default());
    let mut controllers = LocalControllers::default();
    controllers.targets(Name::parse("choosy").unwrap(), choosy.clone());
    controllers.monitoring(Name::parse("slow").unwrap(), slow.clone());
    let options = NodeOptions::new(data.path().to_owned(), "127.0.0.1:0".parse().unwrap());
    let node = Node::start(NodeOptions { controllers, ..options }).await.unwrap();
    let client = Client::new(ClientOptions::new(format!("http://{}", node.address()), "default")).unwrap();
    let mut fleet = Fleet::new(&client, "app", 3);
    fleet.report().await;
    fleet.set_policy(super::QUICK).await;
    fleet.set_version("v1").await;
    fleet.in_state(RolloutState::Succeeded).await;
    let policy = r#"{"batch": 1, "onFailure": "immediate", "health": {"healthyForSeconds": 0},
        "controllers": {"selection": {"local": "choosy"}, "approval": {"local": "choosy"}, "removal": {"local": "choosy"},
            "monitoring": {"local": "choosy"}, "externalMonitoring": {"local": "slow"}, "externalMonitoringIntervalSeconds": 1}}"#;
    fleet.set_policy(policy).await;
    fleet.set_version("v2").await;
    eventually("the monitor says no", || async {
        let reasons = fleet.rollout().await.reasons;
        reasons.into_iter().find(|it| it.message.contains("warming up"))
    })
    .await;
    fleet.until(RolloutState::Failed).await;
    assert_eq!(
        *choosy.asked.lock().unwrap(),
        ["select t2", "monitor t2", "select t1", "monitor t1"]
    );
    assert!(slow.0.load(Ordering::Relaxed) >= 2);
    assert!(fleet.runs.values().all(|version| version == "v1"), "{:?}", fleet.runs);
    node.shutdown().await.unwrap();
}
