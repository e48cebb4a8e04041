//! The client against small servers in the test.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use unisono_client::{
    Client, ClientError, ClientOptions, DefinitionFamily, OrchestrationFilter, PageRequest, WatchEvent,
};
use unisono_model::api::{CancelRequest, OrchestrationState, StartRequest, WaitReason};
use unisono_model::ids::Revision;

fn client(url: &str) -> Client {
    Client::new(ClientOptions {
        timeout: Duration::from_secs(5),
        ..ClientOptions::new(url, "prod")
    })
    .unwrap()
}

fn start(id: Option<&str>) -> StartRequest {
    StartRequest {
        id: id.map(str::to_owned),
        r#type: "tenant".into(),
        version: None,
        correlation_id: None,
        input: None,
        labels: Default::default(),
    }
}

type Asked = Arc<Mutex<Vec<String>>>;

/// A server that notes what it is asked and always answers the same.
async fn server(status: u16, kind: &'static str, body: String) -> (Client, Asked) {
    async fn answer(
        State((asked, status, kind, body)): State<(Asked, u16, &'static str, String)>,
        request: Request,
    ) -> Response {
        asked
            .lock()
            .unwrap()
            .push(format!("{} {}", request.method(), request.uri()));
        Response::builder()
            .status(status)
            .header("content-type", kind)
            .body(Body::from(body))
            .unwrap()
    }
    let asked = Asked::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new()
        .fallback(answer)
        .with_state((Arc::clone(&asked), status, kind, body));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (client(&url), asked)
}

/// A server that breaks the first `failures` connections after it read a request, and then answers `body`.
async fn flaky(failures: usize, body: &'static str) -> (Client, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await;
            if count.fetch_add(1, Ordering::SeqCst) >= failures {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        }
    });
    (client(&url), asked)
}

fn view(state: &str) -> Value {
    json!({
        "id": "run-1", "type": "tenant", "version": 1, "state": state, "createdAt": "2026-11-21T09:00:00Z",
        "namespace": "prod", "revision": 7, "reason": "r", "input": {}, "context": {}, "tiers": [], "activities": [],
    })
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_that_says_what_to_do() {
    let error = client("http://127.0.0.1:1").ready().await.unwrap_err();
    assert!(error.is_unreachable());
    assert_eq!(
        error.to_string(),
        "cannot reach the server at http://127.0.0.1:1: connection refused; is it running? \
         start one with `unisono server`"
    );
}

#[tokio::test]
async fn a_problem_is_shown_with_its_help_and_every_mistake() {
    let problem = json!({
        "code": "invalid-definition", "status": 422, "title": "t", "detail": "the definitions have a mistake",
        "help": "correct it and apply again",
        "mistakes": [{"code": "cycle", "file": "a.yaml", "line": 3, "column": 5, "path": "activities[0]",
                      "message": "a cycle: a -> a", "help": "remove one", "span": {"offset": 1, "length": 2}}],
    });
    let (client, _) = server(422, "application/problem+json; charset=utf-8", problem.to_string()).await;
    let error = client.start(&start(None)).await.unwrap_err();
    assert_eq!(error.code(), Some("invalid-definition"));
    assert_eq!(
        error.to_string(),
        "the definitions have a mistake; correct it and apply again\n  a.yaml:3:5 activities[0]: a cycle: a -> a; remove one"
    );
}

#[tokio::test]
async fn an_answer_of_another_program_is_shown() {
    let (client, _) = server(200, "text/html", "<html>welcome".into()).await;
    let error = client.agents().await.unwrap_err();
    assert!(matches!(error, ClientError::Unexpected { .. }));
    assert!(error.to_string().contains("\"<html>welcome\""), "{error}");
    let (client, _) = server(404, "text/plain", "nothing here".into()).await;
    let error = client.agents().await.unwrap_err().to_string();
    assert!(
        error.contains("status 404 Not Found, \"nothing here\"; is this the address of a Unisono server?"),
        "{error}"
    );
}

#[tokio::test]
async fn reads_and_starts_with_an_id_are_repeated_when_the_connection_breaks() {
    let (client, asked) = flaky(2, r#"{"items": []}"#).await;
    assert!(client.agents().await.unwrap().items.is_empty());
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let (client, asked) = flaky(1, r#"{"id": "a", "version": 1, "created": true}"#).await;
    assert_eq!(client.start(&start(Some("a"))).await.unwrap().id, "a");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_is_not_safe_to_repeat_is_sent_once_and_nothing_is_repeated_for_ever() {
    let (client, asked) = flaky(1, r#"{"id": "a", "version": 1, "created": true}"#).await;
    assert!(client.start(&start(None)).await.unwrap_err().is_unreachable());
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let (client, asked) = flaky(1, "{}").await;
    assert!(client.cancel("a", &CancelRequest::default()).await.is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let (client, asked) = flaky(100, "{}").await;
    assert!(client.agents().await.unwrap_err().is_unreachable());
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn every_filter_and_name_is_encoded() {
    let (client, asked) = server(200, "application/json", r#"{"items": []}"#.into()).await;
    let filter = OrchestrationFilter {
        states: vec![OrchestrationState::Running],
        r#type: Some("t".into()),
        version: Some(2),
        labels: vec![("a".into(), "x&y".into()), ("b".into(), "1=2".into())],
        correlation_id: Some("order 7".into()),
        created_after: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        ended_before: Some("2026-02-01T00:00:00Z".parse().unwrap()),
        waiting_for: vec![WaitReason::Time, WaitReason::NoAgent],
        ..OrchestrationFilter::default()
    };
    let page = PageRequest {
        limit: Some(5),
        page_token: Some("p/q".into()),
    };
    client.orchestrations(&filter, &page).await.unwrap();
    client.history("a b", Some(Revision(3)), None).await.unwrap();
    client
        .logs("r", Some("x"), Some(2), &PageRequest::default())
        .await
        .unwrap();
    client
        .definitions(DefinitionFamily::Activity, &PageRequest::default())
        .await
        .unwrap();
    client
        .delete_definition(DefinitionFamily::Orchestration, "t")
        .await
        .unwrap();
    let base = "/api/v1/namespaces/prod";
    assert_eq!(
        *asked.lock().unwrap(),
        [
            format!(
                "GET {base}/orchestrations?limit=5&pageToken=p%2Fq&state=running&waitingFor=time%2Cno-agent&type=t&version=2\
             &correlationId=order%207&createdAfter=2026-01-01T00%3A00%3A00.000Z\
             &endedBefore=2026-02-01T00%3A00%3A00.000Z&label=a%3Dx%26y&label=b%3D1%3D2"
            ),
            format!("GET {base}/orchestrations/a%20b/history?after=3"),
            format!("GET {base}/orchestrations/r/logs?activity=x&attempt=2"),
            format!("GET {base}/activity-definitions"),
            format!("DELETE {base}/orchestration-definitions/t"),
        ]
    );
}

/// Serves an orchestration whose stream of events breaks after each part.
async fn broken_stream(parts: Vec<String>) -> (Client, Arc<Mutex<Vec<Option<String>>>>) {
    type Shared = (Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<Option<String>>>>);
    async fn answer(State((parts, seen)): State<Shared>, request: Request) -> Response {
        let last = request
            .headers()
            .get("last-event-id")
            .map(|id| id.to_str().unwrap().to_owned());
        if request.headers()["accept"] == "text/event-stream" {
            seen.lock().unwrap().push(last);
            let part = {
                let mut parts = parts.lock().unwrap();
                if parts.is_empty() {
                    String::new()
                } else {
                    parts.remove(0)
                }
            };
            return Response::builder()
                .header("content-type", "text/event-stream")
                .body(Body::from(part))
                .unwrap();
        }
        Response::builder()
            .body(Body::from(view("completed").to_string()))
            .unwrap()
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new()
        .fallback(answer)
        .with_state((Arc::new(Mutex::new(parts)), Arc::clone(&seen)));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (client(&url), seen)
}

fn history(revision: u64) -> String {
    let entry = json!({"revision": revision, "at": "2026-11-21T09:00:00Z", "kind": "activityCompleted"});
    format!("event: history\nid: {revision}\ndata: {entry}\n\n")
}

fn parts() -> Vec<String> {
    vec![
        format!("event: snapshot\nid: 7\ndata: {}\n\n{}", view("running"), history(8)),
        history(9),
        format!(": alive\n\n{}event: end\ndata: {{}}\n\n", history(10)),
    ]
}

#[tokio::test]
async fn a_watch_goes_on_where_it_broke() {
    let (client, seen) = broken_stream(parts()).await;
    let events: Vec<_> = client.watch("run-1").collect().await;
    let names: Vec<String> = events
        .iter()
        .map(|event| match event.as_ref().unwrap() {
            WatchEvent::Snapshot(view) => format!("snapshot {}", view.revision),
            WatchEvent::History(entry) => format!("history {}", entry.revision),
            WatchEvent::End => "end".to_owned(),
        })
        .collect();
    assert_eq!(names, ["snapshot 7", "history 8", "history 9", "history 10", "end"]);
    assert_eq!(
        *seen.lock().unwrap(),
        [None, Some("8".to_owned()), Some("9".to_owned())]
    );
}

#[tokio::test]
async fn a_wait_returns_the_orchestration_as_it_ended() {
    let (client, _) = broken_stream(parts()).await;
    let view = client.wait("run-1").await.unwrap();
    assert_eq!(view.summary.state, OrchestrationState::Completed);
}

#[tokio::test]
async fn a_stream_that_only_ever_breaks_is_given_up() {
    let (client, _) = broken_stream(vec![]).await;
    let events: Vec<_> = client.watch("run-1").collect().await;
    assert_eq!(events.len(), 1);
    assert!(
        events[0]
            .as_ref()
            .unwrap_err()
            .to_string()
            .contains("ended again and again")
    );
}
