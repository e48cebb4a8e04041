//! Subscribers that are told the history: in order, at least once, also by a server that is killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::json;

use super::Fleet;
use crate::harness::{Listener, Server, eventually};

fn notifies(url: &str) -> String {
    json!({
        "batch": "100%", "health": {"healthyForSeconds": 0, "deadlineSeconds": 60},
        "notify": [{"name": "ops", "endpoint": {"url": url}}]
    })
    .to_string()
}

/// The entries that came, by number, each with its keys and how often it came; in the order in which each came first.
fn entries(listener: &Listener) -> (Vec<u64>, BTreeMap<u64, (String, usize)>) {
    let (mut order, mut all) = (Vec::new(), BTreeMap::<u64, (String, usize)>::new());
    for received in listener.received() {
        let sequence = received.json()["sequence"].as_u64().unwrap();
        let key = received.header("idempotency-key").to_owned();
        let entry = all.entry(sequence).or_insert_with(|| {
            order.push(sequence);
            (key.clone(), 0)
        });
        assert_eq!(entry.0, key, "an entry has one key");
        entry.1 += 1;
    }
    (order, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_sending_and_remembering_sends_again_and_loses_nothing() {
    let mut server = Server::start();
    let listener = Listener::start(|_| (200, String::new())).await;
    let mut fleet = Fleet::settled(&server, 1, &notifies(&listener.url("/"))).await;
    for round in 0..20 {
        fleet.set_version(&format!("v{}", round + 2)).await;
        fleet.obey().await;
        fleet.obey().await;
        if round % 4 == 3 {
            server.kill();
            server.restart();
        }
    }
    eventually("everything is received", || async {
        fleet.entity.outbox("ops", None).await.unwrap().is_empty().then_some(())
    })
    .await;
    let (order, all) = entries(&listener);
    let (first, last) = (order[0], *order.last().unwrap());
    assert!(last > first + 60, "{last}");
    assert_eq!(
        order,
        (first..=last).collect::<Vec<u64>>(),
        "in order and without a gap"
    );
    assert_eq!(all.len() as u64, last - first + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_down_is_told_later_in_order_and_who_is_gone_is_told_nothing_more() {
    let server = Server::start();
    let status = Arc::new(AtomicU16::new(503));
    let answered = Arc::clone(&status);
    let listener = Listener::start(move |_| (answered.load(Ordering::Relaxed), String::new())).await;
    let mut fleet = Fleet::settled(&server, 1, &notifies(&listener.url("/"))).await;
    fleet.set_version("v2").await;
    fleet.obey().await;
    eventually("it was tried more than once", || async {
        (listener.received().len() >= 2).then_some(())
    })
    .await;
    let (order, _) = entries(&listener);
    assert_eq!(order.len(), 1, "nothing overtakes what could not be delivered");
    status.store(200, Ordering::Relaxed);
    eventually("everything is received", || async {
        fleet.entity.outbox("ops", None).await.unwrap().is_empty().then_some(())
    })
    .await;
    status.store(410, Ordering::Relaxed);
    let before = listener.received().len();
    fleet.set_version("v3").await;
    eventually("it says that it is gone", || async {
        (listener.received().len() > before).then_some(())
    })
    .await;
    fleet.obey().await;
    fleet.obey().await;
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(listener.received().len(), before + 1, "it is told nothing more");
    assert!(
        !fleet.entity.outbox("ops", None).await.unwrap().is_empty(),
        "nothing is lost"
    );
}
