//! Watching a list of orchestrations.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use futures_util::{Stream, StreamExt as _};
use serde_json::Value;
use tokio::time::timeout;
use unisono_client::{ClientError, ListEvent, OrchestrationFilter};
use unisono_model::api::{CancelRequest, OrchestrationState, WaitReason};

use super::cli;
use crate::harness::{PATIENCE, Server, apply, eventually, finished, program, request};

const DEFINITIONS: &str = "{kind: ActivityDefinition, type: echo}\n---\n{kind: ActivityDefinition, type: never}\n---\n
{type: quick, activities: [{id: a, type: echo}]}\n---\n{type: stuck, activities: [{id: a, type: never}]}";

/// Waits for an event that is as it should be, and gives what it finds.
async fn told<T>(
    events: &mut (impl Stream<Item = Result<ListEvent, ClientError>> + Unpin),
    mut wanted: impl FnMut(ListEvent) -> Option<T>,
) -> T {
    let found = async {
        loop {
            let event = events.next().await.expect("the watch goes on").unwrap();
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    };
    timeout(PATIENCE, found).await.expect("nothing was told")
}

fn changed(id: &'static str, state: OrchestrationState) -> impl FnMut(ListEvent) -> Option<()> {
    move |event| match event {
        ListEvent::Changed(item) => (item.id.as_str() == id && item.state == state).then_some(()),
        _ => None,
    }
}

fn left(id: &'static str) -> impl FnMut(ListEvent) -> Option<()> {
    move |event| matches!(event, ListEvent::Left(left) if left.as_str() == id).then_some(())
}

fn snapshot(event: ListEvent) -> Option<Vec<String>> {
    match event {
        ListEvent::Snapshot(items) => Some(items.into_iter().map(|item| item.id.to_string()).collect()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_tells_what_comes_changes_and_leaves_also_through_a_restart() {
    let mut server = Server::start();
    let _agent = server.agent("worker").echo("echo").start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    client.start(&request("s1", "stuck")).await.unwrap();
    let open = OrchestrationFilter {
        states: vec![OrchestrationState::Initialized, OrchestrationState::Running],
        ..OrchestrationFilter::default()
    };
    let waiting = OrchestrationFilter {
        waiting_for: vec![WaitReason::NoAgent],
        ..OrchestrationFilter::default()
    };
    let blue = OrchestrationFilter {
        expression: Some("labels.team == 'blue'".to_owned()),
        ..OrchestrationFilter::default()
    };
    let mut all = Box::pin(client.watch_orchestrations(&OrchestrationFilter::default(), None));
    let mut open = Box::pin(client.watch_orchestrations(&open, Some(1)));
    let mut waiting = Box::pin(client.watch_orchestrations(&waiting, None));
    let mut blue = Box::pin(client.watch_orchestrations(&blue, None));
    assert_eq!(told(&mut all, snapshot).await, ["s1"]);
    assert_eq!(told(&mut open, snapshot).await, ["s1"]);
    assert_eq!(told(&mut waiting, snapshot).await, ["s1"]);
    assert_eq!(told(&mut blue, snapshot).await, Vec::<String>::new());

    client.start(&request("s2", "stuck")).await.unwrap();
    told(&mut all, changed("s2", OrchestrationState::Initialized)).await;
    told(&mut open, left("s1")).await;
    told(&mut open, changed("s2", OrchestrationState::Initialized)).await;
    let mut start = request("q1", "quick");
    start.labels.insert("team".to_owned(), "blue".to_owned());
    client.start(&start).await.unwrap();
    told(&mut all, changed("q1", OrchestrationState::Completed)).await;
    told(&mut blue, changed("q1", OrchestrationState::Completed)).await;
    client.cancel("s2", &CancelRequest::default()).await.unwrap();
    told(&mut all, changed("s2", OrchestrationState::Cancelled)).await;
    told(&mut open, left("s2")).await;
    told(&mut waiting, left("s2")).await;
    client.delete_orchestration("q1").await.unwrap();
    told(&mut all, left("q1")).await;
    told(&mut blue, left("q1")).await;
    let metrics = client.metrics().await.unwrap();
    assert!(metrics.contains("unisono_watchers{kind=\"list\"} 4"), "{metrics}");

    // Nothing was decided about s1: an agent that runs its activity comes.
    let _never = server.agent("other").exec("never", "sleep 60").start();
    told(&mut waiting, left("s1")).await;

    let restarted = tokio::task::spawn_blocking(move || {
        server.kill();
        server.restart();
        server
    });
    assert_eq!(told(&mut all, snapshot).await, ["s2", "s1"]);
    let server = restarted.await.unwrap();
    client.start(&request("s3", "stuck")).await.unwrap();
    told(&mut all, |event| {
        matches!(event, ListEvent::Changed(item) if item.id.as_str() == "s3").then_some(())
    })
    .await;
    drop((all, open, waiting, blue));
    eventually("nobody watches any more", || async {
        let metrics = client.metrics().await.unwrap();
        metrics.contains("unisono_watchers{kind=\"list\"} 0").then_some(())
    })
    .await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_goes_on_listing() {
    let server = Server::start();
    let _agent = server.agent("worker").echo("echo").start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    client.start(&request("q1", "quick")).await.unwrap();
    finished(&client, "q1").await;
    let mut watching = program()
        .args(["list", "--watch", "--type", "quick", "--output", "jsonl"])
        .env("UNISONO_SERVER", server.url())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = move || {
        let line = lines.next().unwrap().unwrap();
        let value: Value = serde_json::from_str(&line).unwrap();
        (value["event"].as_str().unwrap().to_owned(), value)
    };
    let (event, first) = next();
    assert_eq!(
        (event.as_str(), first["items"][0]["id"].as_str()),
        ("snapshot", Some("q1"))
    );
    client.start(&request("q2", "quick")).await.unwrap();
    loop {
        let (event, value) = next();
        assert_eq!(
            (event.as_str(), value["orchestration"]["id"].as_str()),
            ("changed", Some("q2"))
        );
        if value["orchestration"]["state"] == "completed" {
            break;
        }
    }
    client.delete_orchestration("q1").await.unwrap();
    let (event, value) = next();
    assert_eq!((event.as_str(), value["id"].as_str()), ("left", Some("q1")));
    watching.kill().unwrap();
    watching.wait().unwrap();

    let refused = cli(&server, &["list", "--watch", "--filter", "no"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no variable"));
    assert_eq!(cli(&server, &["list", "--watch", "--all"]).status.code(), Some(2));
}
