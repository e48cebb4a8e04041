//! A program that embeds the engine, and rolls a version out without a connection.

use unisono_model::name::Name;
use unisono_model::rollout::{ClassicOptions, ClassicTarget, EntityName, Version};
use unisono_node::{Node, NodeOptions};

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
