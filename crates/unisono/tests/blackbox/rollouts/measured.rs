//! Analyses that a server measures by itself, of what speaks like Prometheus and of JSON documents.

use serde_json::json;
use unisono_model::rollout::RolloutState;

use super::Fleet;
use crate::harness::{Listener, Received, Server};

fn policy(analysis: &serde_json::Value) -> String {
    json!({
        "batch": 1, "onFailure": "immediate", "health": {"healthyForSeconds": 0, "deadlineSeconds": 600},
        "canary": {"size": 1}, "analysis": [analysis]
    })
    .to_string()
}

/// A Prometheus server in which v2 has no errors and v3 has many.
fn prometheus(asked: &Received) -> (u16, String) {
    let value = if asked.query.contains("v3") { "0.9" } else { "0.001" };
    let result = json!([{"metric": {"job": "app"}, "value": [1_700_000_000.5, value]}]);
    let answer = json!({"status": "success", "data": {"resultType": "vector", "result": result}});
    (200, answer.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prometheus_says_promotes_a_version_and_takes_another_back() {
    let server = Server::start();
    let metrics = Listener::start(prometheus).await;
    let analysis = json!({
        "name": "errors", "query": r#"rate(errors{version="{{version}}"}[1m])"#, "intervalSeconds": 1,
        "endpoint": {"url": metrics.url("/prom/")}, "source": {"kind": "prometheus"},
        "check": {"kind": "threshold", "max": 0.01}
    });
    let mut fleet = Fleet::settled(&server, 2, &policy(&analysis)).await;
    fleet.set_version("v2").await;
    fleet.until(RolloutState::Succeeded).await;
    let asked = metrics.received();
    assert_eq!(asked[0].path, "/prom/api/v1/query");
    assert!(asked[0].query.contains("v2"), "{}", asked[0].query);
    fleet.set_version("v3").await;
    let view = fleet.until(RolloutState::Failed).await;
    assert!(
        fleet.runs.values().all(|version| version == "v2"),
        "{:?} {view:?}",
        fleet.runs
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_of_a_document_are_compared() {
    let server = Server::start();
    let documents = Listener::start(|asked| {
        let slow = if asked.query.contains("v3") { 400 } else { 10 };
        let items: Vec<serde_json::Value> = (0..8).map(|number| json!({"ms": slow + number})).collect();
        (
            200,
            json!({"items": items, "others": [10, 11, 12, 13, 14, 15, 16, 17]}).to_string(),
        )
    })
    .await;
    let analysis = json!({
        "name": "latency", "query": "items.*.ms", "baselineQuery": "others", "intervalSeconds": 1,
        "endpoint": {"url": documents.url("/latency?of={{version}}")}, "source": {"kind": "http"},
        "check": {"kind": "compare"}
    });
    let mut fleet = Fleet::settled(&server, 2, &policy(&analysis)).await;
    fleet.set_version("v2").await;
    fleet.until(RolloutState::Succeeded).await;
    fleet.set_version("v3").await;
    fleet.until(RolloutState::Failed).await;
}
