//! Subscribers that are told the history: in order, at least once, also by a server that is killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::json;
use unisono_client::Basis;
use unisono_model::rollout::{Endpoint, ResumeDeliveryRequest, SubscriberRequest, SubscriberState};

use super::{Fleet, QUICK};
use crate::harness::{Listener, Server, eventually, program};

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
    let parked = fleet.entity.subscribers().await.unwrap().remove(0);
    assert_eq!(parked.state, SubscriberState::Parked);
    assert!(
        parked.behind > 0 && parked.error.as_deref().unwrap().contains("410 Gone"),
        "{parked:?}"
    );
    status.store(204, Ordering::Relaxed);
    let request = ResumeDeliveryRequest::default();
    fleet.entity.resume_subscriber("ops", &request).await.unwrap();
    eventually("everything is received", || async {
        let ops = fleet.entity.subscribers().await.unwrap().remove(0);
        (ops.state == SubscriberState::UpToDate).then_some(())
    })
    .await;
    let (order, _) = entries(&listener);
    assert!(order.is_sorted_by(|a, b| a + 1 == *b), "{order:?}");
    let metrics = request_text(&server, "/metrics").await;
    for line in [
        "unisono_rollout_deliveries_total{result=\"gone\"} 1",
        "unisono_rollout_subscribers{state=\"well\"} 1",
        "unisono_rollout_entries_unsent 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

async fn request_text(server: &Server, path: &str) -> String {
    let answer = reqwest::get(format!("{}{path}", server.url())).await.unwrap();
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_are_added_listed_resumed_and_removed_one_by_one() {
    let server = Server::start();
    let listener = Listener::start(|asked| (if asked.path == "/no" { 403 } else { 200 }, String::new())).await;
    let mut fleet = Fleet::settled(&server, 1, QUICK).await;
    let url = |path: &str| SubscriberRequest {
        endpoint: Endpoint::to_url(listener.url(path)),
        park_after_seconds: None,
        reason: Some("they asked for it".to_owned()),
    };
    let basis = Basis::default();
    let add = async |name: &str, path: &str| fleet.entity.set_subscriber(name, &url(path), &basis).await;
    add("yes", "/yes").await.unwrap();
    add("no", "/no").await.unwrap();
    let bad = SubscriberRequest {
        endpoint: Endpoint::to_url("ftp://x/"),
        ..url("/")
    };
    let refused = fleet.entity.set_subscriber("bad", &bad, &basis).await.unwrap_err();
    assert!(refused.to_string().contains("endpoint.url"), "{refused}");
    let stale = Basis {
        revision: Some(unisono_model::ids::Revision(1)),
        key: None,
    };
    let refused = fleet.entity.set_subscriber("yes", &url("/"), &stale).await.unwrap_err();
    assert_eq!(refused.code(), Some("changed-meanwhile"));
    let begin = listener.received().len();
    fleet.set_version("v2").await;
    fleet.obey().await;
    fleet.obey().await;
    let no = eventually("one is well and one fails", || async {
        let all = fleet.entity.subscribers().await.unwrap();
        let states: Vec<SubscriberState> = all.iter().map(|it| it.state).collect();
        (states == [SubscriberState::UpToDate, SubscriberState::Failing]).then(|| all[1].clone())
    })
    .await;
    assert!(no.error.unwrap().contains("403 Forbidden"));
    // A new one is told what happens from now on, and nothing of what was before.
    let first = listener.received_at("/yes").remove(0).json();
    assert!(
        first["what"] != "entityCreated" && begin <= listener.received().len(),
        "{first}"
    );
    let listed = program()
        .args(["--server", &server.url(), "rollout", "subscriber", "list", "app"])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains("failing") && listed.contains("403 Forbidden"),
        "{listed}"
    );
    fleet.entity.remove_subscriber("no", None, &basis).await.unwrap();
    let gone = fleet.entity.remove_subscriber("no", None, &basis).await.unwrap_err();
    assert_eq!(gone.code(), Some("subscriber-not-found"));
    let unknown = fleet
        .entity
        .resume_subscriber("no", &ResumeDeliveryRequest::default())
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Some("subscriber-not-found"));
    assert_eq!(fleet.entity.policy().await.unwrap().notify.len(), 1);
    // From an earlier entry on, everything is told again.
    let again = ResumeDeliveryRequest {
        after: Some(0),
        reason: None,
    };
    fleet.entity.resume_subscriber("yes", &again).await.unwrap();
    eventually("the history is told from its beginning", || async {
        let told = listener.received_at("/yes");
        told.iter().any(|it| it.json()["what"] == "entityCreated").then_some(())
    })
    .await;
}
