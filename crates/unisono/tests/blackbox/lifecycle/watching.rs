//! Following a run as it goes on.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::header::ACCEPT;
use serde_json::Value;
use unisono_client::{Client, WatchEvent};
use unisono_model::api::{ActivityState, OrchestrationState};
use unisono_model::ids::Revision;

use crate::harness::{Server, apply, finished, history, in_state, request};

const DEFINITIONS: &str = "{kind: ActivityDefinition, type: echo}\n---\n{kind: ActivityDefinition, type: slow}\n---\n
{type: t, activities: [{id: a, type: echo}, {id: b, type: slow, dependsOn: a}, {id: c, type: echo, dependsOn: b}]}";
const SLOW: &str = r#"while [ ! -e "$SITE/go" ]; do sleep 0.02; done"#;

fn go(server: &Server) {
    std::fs::write(server.site().path("go"), "").unwrap();
}

/// Everything that a watch shows, until the run has ended.
async fn watched(client: Client, id: &'static str) -> (Revision, Vec<(Revision, String)>) {
    let mut events = std::pin::pin!(client.watch(id));
    let (mut snapshot, mut entries) = (None, Vec::new());
    loop {
        match events.next().await.unwrap().unwrap() {
            WatchEvent::Snapshot(view) => assert!(snapshot.replace(view.revision).is_none(), "a second snapshot"),
            WatchEvent::History(entry) => entries.push((entry.revision, entry.kind.to_string())),
            WatchEvent::End => break,
        }
    }
    assert!(events.next().await.is_none(), "nothing follows the end");
    (snapshot.unwrap(), entries)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_shows_everything_once_through_restarts_of_the_server() {
    let mut server = Server::start();
    let _agent = server.agent("worker").echo("echo").exec("slow", SLOW).start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    client.start(&request("r", "t")).await.unwrap();
    let watch = tokio::spawn(watched(client.clone(), "r"));
    in_state(&client, "r", "b", ActivityState::Running).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.kill();
    server.restart();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(
        server.terminate().status.success(),
        "a watch does not hold up the end of the server"
    );
    server.restart();
    go(&server);
    let (snapshot, entries) = watch.await.unwrap();
    let all = history(&client, "r").await;
    let later = all.iter().filter(|entry| entry.revision > snapshot);
    assert_eq!(
        entries,
        later
            .map(|entry| (entry.revision, entry.kind.to_string()))
            .collect::<Vec<_>>()
    );
    assert_eq!(entries.last().unwrap().1, "orchestrationCompleted");
    // Of a run that has ended there is a snapshot, and the end.
    let (snapshot, entries) = watched(client.clone(), "r").await;
    assert_eq!((snapshot, entries.len()), (all.last().unwrap().revision, 0));
}

/// The events of a raw stream: name, id and data.
async fn raw(server: &Server, id: &str, last_event: Option<&str>) -> Vec<(String, String, Value)> {
    let url = format!("{}/api/v1/namespaces/default/orchestrations/{id}", server.url());
    let mut request = reqwest::Client::new().get(url).header(ACCEPT, "text/event-stream");
    if let Some(last_event) = last_event {
        request = request.header("Last-Event-ID", last_event);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let field = |event: &str, name: &str| {
        event
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
            .unwrap_or_default()
    };
    text.split("\n\n")
        .filter(|event| event.lines().any(|line| line.starts_with("event:")))
        .map(|event| {
            let data = serde_json::from_str(&field(event, "data:")).unwrap();
            (field(event, "event:"), field(event, "id:"), data)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_after_the_last_event_id_also_after_a_restart() {
    let mut server = Server::start();
    let _agent = server.agent("worker").echo("echo").exec("slow", SLOW).start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    client.start(&request("r", "t")).await.unwrap();
    go(&server);
    assert_eq!(
        finished(&client, "r").await.summary.state,
        OrchestrationState::Completed
    );
    let all: Vec<String> = history(&client, "r")
        .await
        .iter()
        .map(|entry| entry.revision.to_string())
        .collect();
    for restarted in [false, true] {
        if restarted {
            server.kill();
            server.restart();
        }
        let whole = raw(&server, "r", None).await;
        let names: Vec<&str> = whole.iter().map(|(name, _, _)| name.as_str()).collect();
        assert_eq!(names, ["snapshot", "end"]);
        assert_eq!(whole[0].2["state"], "completed");
        for seen in 0..all.len() {
            let events = raw(&server, "r", Some(&all[seen])).await;
            let (end, entries) = events.split_last().unwrap();
            assert_eq!(end.0, "end");
            let ids: Vec<&String> = entries.iter().map(|(_, id, _)| id).collect();
            assert_eq!(ids, all[seen + 1..].iter().collect::<Vec<_>>(), "after event {seen}");
            assert!(
                entries
                    .iter()
                    .all(|(name, id, data)| name == "history" && id.parse() == Ok(data["revision"].as_u64().unwrap()))
            );
        }
    }
}
