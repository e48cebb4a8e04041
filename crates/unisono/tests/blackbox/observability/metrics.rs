//! The metrics of a running server: complete, well formed, and documented.

use std::collections::{BTreeMap, BTreeSet};

use unisono_model::api::ActivityState;

use super::openmetrics::{Family, read};
use super::text;
use crate::harness::{AgentProcess, Server, apply, eventually, finished, in_state, request};

const DEFINITIONS: &str = "{kind: ActivityDefinition, type: echo}\n---\n{kind: ActivityDefinition, type: fails}\n---\n
{kind: ActivityDefinition, type: nobody}\n---\n
{type: good, activities: [{id: a, type: echo}, {id: b, type: echo, dependsOn: a}]}\n---\n
{type: bad, activities: [{id: a, type: fails}]}\n---\n
{type: stuck, activities: [{id: a, type: nobody}]}";

/// A server with something behind it of most kinds: every family has a sample.
pub(super) async fn busy() -> (Server, AgentProcess) {
    let server = Server::start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    let agent = server.agent("worker").echo("echo").exec("fails", "exit 3").start();
    for (id, of) in [("g1", "good"), ("g2", "good"), ("b", "bad")] {
        client.start(&request(id, of)).await.unwrap();
        finished(&client, id).await;
    }
    client.start(&request("s", "stuck")).await.unwrap();
    in_state(&client, "s", "a", ActivityState::Ready).await;
    client.start(&request("x", "missing")).await.unwrap_err();
    // Requests are counted once they are answered.
    client.metrics().await.unwrap();
    (server, agent)
}

pub(super) async fn families(server: &Server) -> BTreeMap<String, Family> {
    read(&server.client().metrics().await.unwrap())
}

/// The sample of this name with these labels, as `name{label="value",…}`; 0 when it is not there.
async fn value(server: &Server, wanted: &str) -> f64 {
    let text = server.client().metrics().await.unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(wanted)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// What a person calls a family: as its samples are named.
fn shown(name: &str, family: &Family) -> String {
    let suffix = match family.kind.as_str() {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    let labels: Vec<&str> = family.labels().into_iter().collect();
    let labels = if labels.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", labels.join(","))
    };
    format!("{name}{suffix}{labels} {}", family.kind)
}

/// The rows of the guide's table, in the same form.
fn documented() -> BTreeSet<String> {
    let guide = text("docs/guides/observability.md");
    let rows = guide
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| {
            let mut cells = row.split(" | ");
            let (name, kind) = (cells.next()?.trim_end_matches('`'), cells.next()?);
            let (bare, labels) = name.trim_end_matches('}').split_once('{').unwrap_or((name, ""));
            let mut labels: Vec<&str> = labels.split(',').filter(|label| !label.is_empty()).collect();
            labels.sort_unstable();
            let labels = if labels.is_empty() {
                String::new()
            } else {
                format!("{{{}}}", labels.join(","))
            };
            let is_metric = bare.starts_with("unisono_") || bare.starts_with("process_");
            is_metric.then(|| format!("{bare}{labels} {kind}"))
        });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented_with_its_labels_and_every_documented_one_is_there() {
    let (server, _agent) = busy().await;
    let found: BTreeSet<String> = families(&server)
        .await
        .iter()
        .map(|(name, it)| shown(name, it))
        .collect();
    let documented = documented();
    let missing: Vec<_> = documented.difference(&found).collect();
    let undocumented: Vec<_> = found.difference(&documented).collect();
    assert!(
        missing.is_empty() && undocumented.is_empty(),
        "missing: {missing:#?}\nundocumented: {undocumented:#?}"
    );
    assert!(found.len() > 30, "{found:#?}");
}

#[test]
fn the_other_pages_speak_of_documented_metrics_only() {
    let rows = documented();
    let mut known: BTreeSet<&str> = rows.iter().filter_map(|row| row.split(['{', ' ']).next()).collect();
    // Crates, whose names stand in filters of logs.
    known.extend(["unisono_agent", "unisono_client", "unisono_node"]);
    for page in [
        "docs/guides/operations.md",
        "docs/guides/queries.md",
        "docs/performance.md",
        "docs/architecture.md",
    ] {
        let page_text = text(page);
        let words = page_text.split(|at: char| !at.is_ascii_alphanumeric() && at != '_');
        let unknown: Vec<_> = words
            .filter(|word| word.starts_with("unisono_") && !known.contains(word))
            .collect();
        assert!(unknown.is_empty(), "{page}: {unknown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_are_those_of_what_was_done() {
    let (mut server, mut agent) = busy().await;
    for (sample, expected) in [
        ("unisono_orchestrations_ended_total{state=\"completed\"}", 2.0),
        ("unisono_orchestrations_ended_total{state=\"errored\"}", 1.0),
        ("unisono_orchestrations_open", 1.0),
        ("unisono_attempts_total{result=\"completed\"}", 4.0),
        ("unisono_attempts_total{result=\"failed\"}", 1.0),
        ("unisono_events_total{type=\"activityDispatched\"}", 5.0),
        ("unisono_commands_total{command=\"start\",outcome=\"accepted\"}", 4.0),
        (
            "unisono_commands_total{command=\"start\",outcome=\"definition-not-found\"}",
            1.0,
        ),
        (
            "unisono_commands_total{command=\"report-result\",outcome=\"accepted\"}",
            5.0,
        ),
        ("unisono_activities_waiting{reason=\"no-agent\"}", 1.0),
        (
            "unisono_activities_ready{namespace=\"default\",activity_type=\"nobody\"}",
            1.0,
        ),
        (
            "unisono_activities_ready{namespace=\"default\",activity_type=\"echo\"}",
            0.0,
        ),
        ("unisono_agents{namespace=\"default\",state=\"connected\"}", 1.0),
        ("unisono_agent_capacity{namespace=\"default\"}", 8.0),
        ("unisono_agent_attempts{namespace=\"default\"}", 0.0),
    ] {
        assert_eq!(value(&server, sample).await, expected, "{sample}");
    }
    let route = "route=\"/api/v1/namespaces/{namespace}/orchestrations\",method=\"POST\"";
    let requests = format!("unisono_http_requests_total{{{route},status=\"201\"}}");
    assert_eq!(value(&server, &requests).await, 4.0);
    let oldest = "unisono_queue_oldest_seconds{namespace=\"default\",activity_type=\"nobody\"}";
    assert!(value(&server, oldest).await < 60.0);
    eventually("the oldest grows older", || async {
        (value(&server, oldest).await >= 0.1).then_some(())
    })
    .await;
    // Nothing is left of an agent and of activity types that are gone.
    assert!(agent.terminate().status.success());
    let client = server.client();
    client.cancel("s", &serde_json::from_str("{}").unwrap()).await.unwrap();
    for of in ["stuck", "bad"] {
        client
            .delete_definition(unisono_client::DefinitionFamily::Orchestration, of)
            .await
            .unwrap();
    }
    client
        .delete_definition(unisono_client::DefinitionFamily::Activity, "nobody")
        .await
        .unwrap();
    let text = client.metrics().await.unwrap();
    assert!(
        !text.contains("activity_type=\"nobody\"") && !text.contains("unisono_agents{"),
        "{text}"
    );
    // A checkpoint is made when the server leaves, so nothing is left to replay.
    assert!(value(&server, "unisono_checkpoint_lag_events").await > 0.0);
    assert!(server.terminate().status.success());
    server.restart();
    assert!(value(&server, "unisono_checkpoint_lag_events").await <= 1.0);
}
