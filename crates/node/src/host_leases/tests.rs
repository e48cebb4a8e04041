#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use unisono_host::{Host, HostConfig, ServiceContext, Stage, Timing, conformance, service};

use super::*;
use crate::{Node, NodeOptions};

async fn node() -> (tempfile::TempDir, Node) {
    let directory = tempfile::tempdir().unwrap();
    let options = NodeOptions::new(directory.path().join("data"), "127.0.0.1:0".parse().unwrap());
    let node = Node::start(options).await.unwrap();
    (directory, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_keeps_leases_as_every_store_must() {
    let (_directory, node) = node().await;
    let leases = node.host_leases(Name::parse("default").unwrap());
    conformance::check(&leases, "web").await;
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_in_the_process_of_a_node_hand_over_at_once() {
    let (_directory, node) = node().await;
    let leases = Arc::new(node.host_leases(Name::parse("default").unwrap()));
    let host = || {
        let idle = service("idle", |context: ServiceContext| async move {
            context.started();
            context.stopping().await;
            Ok(())
        });
        let timing = Timing::of_lease(Duration::from_secs(20));
        let config = HostConfig::new("web", leases.clone()).with(idle);
        Host::new(HostConfig { timing, ..config }).unwrap()
    };
    let leading = |host: &Host| {
        let mut stage = host.stage();
        async move {
            let led = stage
                .wait_for(|stage| matches!(stage, Stage::Leading { .. }))
                .await
                .unwrap()
                .clone();
            let Stage::Leading { token, .. } = led else {
                unreachable!()
            };
            (token, Instant::now())
        }
    };
    let (first, second) = (host(), host());
    first.launch().unwrap();
    let (old, _) = leading(&first).await;
    second.launch().unwrap();
    second
        .stage()
        .wait_for(|stage| matches!(stage, Stage::Candidate { .. }))
        .await
        .unwrap();
    first.shutdown().await.unwrap();
    let released = Instant::now();
    let (new, since) = leading(&second).await;
    assert!(new > old);
    // On a busy machine the turn of a thread alone may take longer than that; without a watch it takes five seconds.
    assert!(since.saturating_duration_since(released) < Duration::from_millis(500));
    second.shutdown().await.unwrap();
    node.shutdown().await.unwrap();
}
