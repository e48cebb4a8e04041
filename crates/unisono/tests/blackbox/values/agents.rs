//! Values over the connection of an agent: from processors in Rust, and message by message.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use unisono_agent::{
    ActivityContext, ActivityProcessor, ActivityResult, Agent, AskError, OrFail as _, Processed, Swap, ValueWatchEvent,
    Values, WatchScope,
};
use unisono_client::Client;
use unisono_model::api::{ApplyRequest, SourceText, StartRequest};
use unisono_model::ids::Revision;

use super::{content, put};
use crate::harness::{PATIENCE, Server};

// ---- the example of the guide

#[derive(Deserialize)]
struct Input {
    cell: String,
}

/// Gives a cell its address, and counts the cells.
struct Install;

impl ActivityProcessor for Install {
    async fn process(&self, context: &mut ActivityContext) -> Processed {
        let Input { cell } = context.input()?;
        let values = context.values();
        loop {
            // Nobody's count is lost: it is written only if nobody else has written it meanwhile.
            let known = values.get("cells/count").await?;
            let count: u32 = known.as_ref().map_or(Ok(0), |it| it.read()).or_fatal("bad-count")?;
            let revision = known.map(|it| it.revision);
            if let Swap::Done(_) = values.compare_and_swap("cells/count", revision, &(count + 1)).await? {
                break;
            }
        }
        let url = format!("http://{cell}.example.com");
        values.put(&format!("cells/{cell}/url"), &url).await?;
        Ok(ActivityResult::Complete)
    }
}

/// Waits until a cell has an address.
struct Connect;

impl ActivityProcessor for Connect {
    async fn process(&self, context: &mut ActivityContext) -> Processed {
        let Input { cell } = context.input()?;
        let key = format!("cells/{cell}/url");
        let value = context.values().await_value(&key, Duration::from_secs(60)).await?;
        context.set_output("url", value.read::<String>().or_fatal("bad-url")?)?;
        Ok(ActivityResult::Complete)
    }
}

// ---- the end of the example

const DEFINITIONS: &str = "kind: ActivityDefinition\ntype: cell.install\n---\nkind: ActivityDefinition\ntype: cell.connect\n---\n\
    kind: ActivityDefinition\ntype: hold\n---\n\
    type: install\nactivities: [{id: do, type: cell.install, inputs: [cell]}]\n---\n\
    type: connect\nactivities: [{id: do, type: cell.connect, inputs: [cell]}]\n---\n\
    type: hold\nactivities: [{id: do, type: hold}]\n";

async fn apply(client: &Client) {
    let source = SourceText {
        name: "cells.yaml".to_owned(),
        text: DEFINITIONS.to_owned(),
    };
    let request = ApplyRequest {
        sources: vec![source],
        dry_run: false,
    };
    client.apply(&request).await.unwrap();
}

async fn start(client: &Client, type_name: &str, id: &str, input: &str) {
    let request = json!({"id": id, "type": type_name}).to_string();
    let mut request: StartRequest = serde_json::from_str(&request).unwrap();
    request.input = Some(serde_json::value::RawValue::from_string(input.to_owned()).unwrap());
    client.start(&request).await.unwrap();
}

/// Runs in this process until it is dropped.
struct Running {
    _stop: oneshot::Sender<()>,
}

fn run_agent(agent: Agent) -> Running {
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(agent.run(async {
        let _ = stopped.await;
    }));
    Running { _stop: stop }
}

/// The values as an attempt sees them that goes on until it is dropped.
async fn values_of_an_attempt(server: &Server) -> (Running, Values) {
    let (sender, mut values) = mpsc::unbounded_channel();
    let agent = Agent::builder()
        .server(server.url())
        .function("hold", move |context| {
            let sender = sender.clone();
            Box::pin(async move {
                sender.send(context.values()).or_fatal("gone")?;
                context.cancelled().await;
                Ok(ActivityResult::Complete)
            })
        })
        .build()
        .unwrap();
    let running = run_agent(agent);
    let client = server.client();
    apply(&client).await;
    start(&client, "hold", "holding", "{}").await;
    (running, values.recv().await.unwrap())
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

#[test]
fn the_guide_shows_the_processors_that_are_tested_here() {
    let guide = include_str!("../../../../../docs/guides/values-and-locks.md");
    let (_, rest) = guide.split_once("```rust\n").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    assert!(
        include_str!("agents.rs").contains(shown),
        "the Rust block of the guide is not the example of this file"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn processors_write_swap_and_await_values() {
    let server = Server::start();
    let client = server.client();
    let agent = Agent::builder()
        .server(server.url())
        .activity("cell.install", |_| Ok(Install))
        .activity("cell.connect", |_| Ok(Connect))
        .build()
        .unwrap();
    let _running = run_agent(agent);
    apply(&client).await;
    start(&client, "connect", "connect-3", r#"{"cell": "c3"}"#).await;
    within(async {
        while client.waiters("cells/c3/url").await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let waiters = client.waiters("cells/c3/url").await.unwrap();
    assert_eq!(waiters[0].who, "connect-3/do");
    for number in 0..8 {
        let input = format!(r#"{{"cell": "c{number}"}}"#);
        start(&client, "install", &format!("install-{number}"), &input).await;
    }
    within(async {
        while content(&client, "cells/count").await.as_deref() != Some("8") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while client.orchestration("connect-3").await.unwrap().output.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let output = client.orchestration("connect-3").await.unwrap().output.unwrap();
    assert_eq!(output.get(), r#"{"do":{"url":"http://c3.example.com"}}"#);
    let written = client.value("cells/c3/url").await.unwrap();
    assert_eq!(written.writer.as_deref(), Some("install-3/do"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_has_no_gap_and_an_await_goes_on_across_a_kill() {
    let mut server = Server::start();
    let (_running, values) = values_of_an_attempt(&server).await;
    let client = server.client();
    let mut watch = within(values.watch(WatchScope::Prefix("w/".to_owned()), None))
        .await
        .unwrap();
    let waiting = values.clone();
    let awaiting = tokio::spawn(async move { waiting.await_value("given/later", PATIENCE).await });
    let mut written = Vec::new();
    for number in 0..3 {
        for _ in 0..20 {
            written.push(put(&client, "w/key", json!(number)).await.revision);
        }
        server.kill();
        server.restart();
    }
    written.push(put(&client, "w/last", json!("end")).await.revision);
    put(&client, "given/later", json!("here")).await;
    let mut told: Vec<Revision> = Vec::new();
    while told.last() != written.last() {
        if let ValueWatchEvent::Change(change) = within(watch.next()).await.unwrap() {
            told.push(change.revision);
        }
    }
    assert_eq!(told, written);
    let value = within(awaiting).await.unwrap().unwrap();
    assert_eq!(value.read::<String>().unwrap(), "here");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_wait_for_the_server_and_only_those_that_do_nothing_twice_are_repeated() {
    let mut server = Server::start();
    let (_running, values) = values_of_an_attempt(&server).await;
    let first = values.put("k", &1).await.unwrap();
    server.kill();
    // Let the agent see that it is alone.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let later = values.clone();
    let unsent = tokio::spawn(async move { later.put("later", &1).await });
    server.restart();
    within(unsent).await.unwrap().unwrap();
    let swapped = values.compare_and_swap("k", Some(first.revision), &2).await.unwrap();
    assert!(matches!(swapped, Swap::Done(_)), "{swapped:?}");
    match values.compare_and_swap("k", Some(first.revision), &3).await.unwrap() {
        Swap::Refused(Some(current)) => assert_eq!(current.read::<u32>().unwrap(), 2),
        other => panic!("{other:?}"),
    }
}

/// Writes one value again and again; says how often it was done, and how often that is not known.
async fn write_for(values: Values, key: String, time: Duration) -> (u32, u32) {
    let (mut done, mut unknown) = (0, 0);
    let until = Instant::now() + time;
    while Instant::now() < until {
        match values.put(&key, &done).await {
            Ok(_) => done += 1,
            Err(AskError::OutcomeUnknown) => unknown += 1,
            Err(error) => panic!("{error}"),
        }
    }
    (done, unknown)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_done_twice_and_none_that_was_answered_is_lost_across_kills() {
    let mut server = Server::start();
    let (_running, values) = values_of_an_attempt(&server).await;
    let keys: Vec<String> = (0..64).map(|number| format!("stream/{number}")).collect();
    let time = Duration::from_secs(3);
    let writers = keys
        .iter()
        .map(|key| tokio::spawn(write_for(values.clone(), key.clone(), time)));
    let writers: Vec<_> = writers.collect();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        server.kill();
        server.restart();
    }
    let client = server.client();
    for (key, writer) in keys.iter().zip(writers) {
        let (done, unknown) = within(writer).await.unwrap();
        let version = client.value(key).await.unwrap().version;
        assert!(
            (done..=done + unknown).contains(&version),
            "{key} was written {version} times: {done} were answered, {unknown} are unknown"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cancelled_attempt_waits_for_ends() {
    let server = Server::start();
    let (_running, values) = values_of_an_attempt(&server).await;
    let client = server.client();
    let waiting = values.clone();
    let awaiting = tokio::spawn(async move { waiting.await_value("never", PATIENCE).await });
    within(async {
        while client.waiters("never").await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    client.cancel("holding", &Default::default()).await.unwrap();
    assert_eq!(within(awaiting).await.unwrap().unwrap_err(), AskError::Cancelled);
    within(async {
        while !client.waiters("never").await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

// ---- message by message

struct Wire(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Wire {
    async fn connect(server: &Server) -> (Self, Value) {
        let address = server.url().replace("http://", "ws://");
        let (socket, _) = connect_async(format!("{address}/api/v1/namespaces/default/agents/connect"))
            .await
            .unwrap();
        let mut wire = Self(socket);
        wire.say(
            json!([{"hello": {"protocol": 1, "agent": "wire", "incarnation": "one", "activityTypes": ["none"],
            "concurrency": 1}}]),
        )
        .await;
        let welcome = wire.hear("welcome").await;
        (wire, welcome)
    }

    async fn say(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    async fn ask(&mut self, id: u64, what: Value) {
        self.say(json!([{"ask": {"id": id, "what": what}}])).await;
    }

    /// The next message of this kind; others are passed over.
    async fn hear(&mut self, kind: &str) -> Value {
        within(async {
            loop {
                let Message::Text(text) = self.0.next().await.unwrap().unwrap() else {
                    continue;
                };
                let frame: Vec<Value> = serde_json::from_str(&text).unwrap();
                if let Some(message) = frame.iter().find_map(|message| message.get(kind)) {
                    return message.clone();
                }
            }
        })
        .await
    }

    async fn refused(&mut self, id: u64) -> String {
        let answer = self.hear("answer").await;
        assert_eq!(answer["id"], id, "{answer}");
        answer["outcome"]["refused"]["code"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn every_ask_is_answered_or_refused_with_a_reason() {
    let server = Server::start();
    let (mut wire, welcome) = Wire::connect(&server).await;
    let most = welcome["maxAsks"].as_u64().unwrap();
    wire.ask(
        1,
        json!({"put": {"key": "a/b", "with": {"value": 1, "sensitive": true}}}),
    )
    .await;
    assert_eq!(wire.hear("answer").await["outcome"]["put"]["version"], 1);
    wire.ask(2, json!({"list": {"prefix": "a/"}})).await;
    let listed = wire.hear("answer").await["outcome"]["values"]["items"][0].clone();
    assert_eq!((&listed["writer"], &listed["value"]), (&json!("wire"), &Value::Null));
    wire.ask(3, json!({"get": {"key": "a/b"}})).await;
    assert_eq!(wire.hear("answer").await["outcome"]["value"]["value"], 1);
    for (what, code) in [
        (json!({"get": {"key": "a/c"}}), "value-not-found"),
        (json!({"get": {"key": "a//c"}}), "bad-ask"),
        (json!({"put": {"key": "a/b", "with": {}}}), "bad-content"),
        (
            json!({"put": {"key": "a/b", "with": {"value": 2, "if": {"absent": true}}}}),
            "condition-failed",
        ),
        (json!({"await": {"key": "a/c", "waitMs": 1}}), "await-timeout"),
        (json!({"watch": {}}), "bad-ask"),
        (json!({"watch": {"prefix": "", "after": 1_000_000}}), "revision-ahead"),
        (json!({"dance": {}}), "bad-ask"),
    ] {
        wire.ask(4, what.clone()).await;
        assert_eq!(wire.refused(4).await, code, "{what}");
    }
    wire.say(json!([{"ask": {"id": 5, "token": "1f3a-0123456789abcdef", "what": {"get": {"key": "a/b"}}}}]))
        .await;
    assert_eq!(wire.refused(5).await, "stale-token");
    let awaits: Vec<Value> = (0..most)
        .map(|id| json!({"ask": {"id": 100 + id, "what": {"await": {"key": "never", "waitMs": 600_000}}}}))
        .collect();
    wire.say(Value::Array(awaits)).await;
    wire.ask(6, json!({"get": {"key": "a/b"}})).await;
    assert_eq!(wire.refused(6).await, "too-many-asks");
    wire.say(json!([{"stop": {"id": 100}}, {"ask": {"id": 7, "what": {"get": {"key": "a/b"}}}}]))
        .await;
    assert_eq!(wire.hear("answer").await["id"], 7);
    wire.ask(101, json!({"get": {"key": "a/b"}})).await;
    let error = wire.hear("error").await;
    assert!(
        error["message"].as_str().unwrap().contains("ask 101 is open already"),
        "{error}"
    );
}

#[tokio::test]
async fn large_answers_come_in_frames_that_an_agent_takes() {
    let server = Server::start();
    let (mut wire, _) = Wire::connect(&server).await;
    let large = "x".repeat(1024 * 1024 - 2);
    wire.ask(1, json!({"put": {"key": "large", "with": {"value": large}}}))
        .await;
    wire.hear("answer").await;
    let asks: Vec<Value> = (0..40)
        .map(|id| json!({"ask": {"id": 10 + id, "what": {"get": {"key": "large"}}}}))
        .collect();
    wire.say(Value::Array(asks)).await;
    let (mut answers, mut largest) = (0, 0);
    within(async {
        while answers < 40 {
            if let Message::Text(text) = wire.0.next().await.unwrap().unwrap() {
                largest = largest.max(text.len());
                answers += serde_json::from_str::<Vec<Value>>(&text).unwrap().len();
            }
        }
    })
    .await;
    assert!(largest < 11 * 512 * 1024, "{largest}");
}
