//! Agents that do not speak the protocol.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use unisono_client::install_crypto_provider;
use unisono_model::api::{ActivityState, OrchestrationState};

use crate::harness::{PATIENCE, Server, ServerSetup, activity, apply, finished, in_state, kinds, request};

const ONE: &str = "{kind: ActivityDefinition, type: work}\n---\n{type: one, activities: [{id: a, type: work}]}";

/// The agent's end of a connection, by hand.
struct Raw {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What stood in the last frame and was not listened to yet.
    heard: VecDeque<Value>,
}

impl Raw {
    async fn connect(server: &Server) -> Self {
        install_crypto_provider();
        let url = format!(
            "{}/api/v1/namespaces/default/agents/connect",
            server.url().replace("http", "ws")
        );
        let (socket, _) = connect_async(url).await.unwrap();
        let heard = VecDeque::new();
        Self { socket, heard }
    }

    /// Connected, and welcome.
    async fn welcome(server: &Server, name: &str) -> Self {
        let mut raw = Self::connect(server).await;
        raw.say(&json!([{"hello": hello(name)}])).await;
        let welcome = raw.hear("welcome").await;
        assert_eq!(welcome["protocol"], 1);
        raw
    }

    async fn say(&mut self, frame: &Value) {
        self.send(Message::text(frame.to_string())).await;
    }

    /// The server may have closed the connection meanwhile.
    async fn send(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    /// The next message of this kind.
    async fn hear(&mut self, kind: &str) -> Value {
        loop {
            let Some(message) = self.message().await else {
                panic!("the connection ended before {kind} came")
            };
            if let Some(body) = message.get(kind) {
                return body.clone();
            }
        }
    }

    /// The next message; none when the connection has ended.
    async fn message(&mut self) -> Option<Value> {
        loop {
            if let Some(message) = self.heard.pop_front() {
                return Some(message);
            }
            let frame = timeout(PATIENCE, self.socket.next()).await;
            match frame.expect("the server says something or closes") {
                Some(Ok(Message::Text(text))) => {
                    let frame: Vec<Value> = serde_json::from_str(&text).unwrap();
                    self.heard.extend(frame);
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// What the server says until it closes the connection, but for heartbeats.
    async fn last_words(mut self) -> String {
        let mut said = Vec::new();
        while let Some(message) = self.message().await {
            if message.get("heartbeat").is_none() {
                said.push(message.to_string());
            }
        }
        said.join(" ")
    }
}

fn hello(name: &str) -> Value {
    json!({"protocol": 1, "agent": name, "incarnation": format!("{name}-1"), "activityTypes": ["work"], "concurrency": 4})
}

fn hello_with(key: &str, value: Value) -> Value {
    let mut hello = hello("misfit");
    hello[key] = value;
    json!([{"hello": hello}])
}

async fn healthy(server: &Server) {
    let client = server.client();
    client.ready().await.unwrap();
    assert!(
        client
            .agents()
            .await
            .unwrap()
            .items
            .iter()
            .all(|agent| agent.name.as_str() != "misfit")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_hello_properly_is_told_why_and_shut_out() {
    let server = ServerSetup::default().heartbeat("20s").start();
    let silent = tokio::spawn(Raw::connect(&server).await.last_words());
    let text = |frame: &Value| Message::text(frame.to_string());
    let cases = [
        ("another first message", text(&json!([{"heartbeat": {}}]))),
        ("another version", text(&hello_with("protocol", json!(2)))),
        ("no room", text(&hello_with("concurrency", json!(0)))),
        ("too much room", text(&hello_with("concurrency", json!(100_000)))),
        ("no types", text(&hello_with("activityTypes", json!([])))),
        (
            "a type that is no name",
            text(&hello_with("activityTypes", json!(["a b"]))),
        ),
        ("a name that is none", text(&hello_with("agent", json!("Жук")))),
        (
            "an incarnation that is no name",
            text(&hello_with("incarnation", json!(""))),
        ),
        (
            "labels that are too long",
            text(&hello_with("labels", json!({"a": "x".repeat(300)}))),
        ),
        ("an unknown member", text(&hello_with("colour", json!("red")))),
        ("what is no token", text(&hello_with("holding", json!(["x"])))),
        ("an unknown message", text(&json!([{"hallo": {}}]))),
        ("no array", text(&json!({"hello": {}}))),
        ("no JSON", Message::text("hello")),
        ("binary garbage", Message::binary(vec![0x00, 0xff, 0x13, 0x37])),
    ];
    let mut said = String::new();
    for (what, message) in cases {
        let mut raw = Raw::connect(&server).await;
        raw.send(message).await;
        said.push_str(&format!("{what}\n  {}\n", raw.last_words().await));
    }
    said.push_str(&format!("nothing at all\n  {}\n", silent.await.unwrap()));
    insta::assert_snapshot!(said, @r#"
    another first message
      {"error":{"code":"no-hello","message":"the first message must be hello"}}
    another version
      {"error":{"code":"unsupported-protocol","message":"this server speaks version 1 of the agent protocol, and the agent asked for version 2; use an agent and a server of the same release"}}
    no room
      {"error":{"code":"bad-hello","message":"concurrency is 0; it must be 1 to 65536"}}
    too much room
      {"error":{"code":"bad-hello","message":"concurrency is 100000; it must be 1 to 65536"}}
    no types
      {"error":{"code":"bad-hello","message":"activityTypes names 0 types; it must name 1 to 1000"}}
    a type that is no name
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: a name must not contain ' ' (character 2); A-Z a-z 0-9 . _ - are allowed at line 1 column 33"}}
    a name that is none
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: a name must not contain 'Ж' (character 1); A-Z a-z 0-9 . _ - are allowed at line 1 column 52"}}
    an incarnation that is no name
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: a name must not be empty at line 1 column 85"}}
    labels that are too long
      {"error":{"code":"bad-hello","message":"labels: at most 64, keys of A-Z a-z 0-9 . _ -, values of at most 256 bytes"}}
    an unknown member
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: unknown field `colour`, expected one of `protocol`, `agent`, `incarnation`, `activityTypes`, `concurrency`, `labels`, `holding` at line 1 column 61"}}
    what is no token
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: not an attempt token: expected two hexadecimal numbers joined by '-', as in 1f3a-0123456789abcdef at line 1 column 84"}}
    an unknown message
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: unknown variant `hallo`, expected one of `hello`, `credits`, `result`, `context`, `heartbeat`, `log`, `ask`, `stop`, `goodbye` at line 1 column 9"}}
    no array
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: invalid type: map, expected a sequence at line 1 column 0"}}
    no JSON
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: expected value at line 1 column 1"}}
    binary garbage
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: expected value at line 1 column 1"}}
    nothing at all
      {"error":{"code":"no-hello","message":"no hello came within 10 seconds"}}
    "#);
    healthy(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_misspeaks_later_is_told_why_and_disconnected() {
    let server = ServerSetup::default().heartbeat("20s").start();
    let text = |frame: &Value| Message::text(frame.to_string());
    let cases = [
        ("hello again", text(&json!([{"hello": hello("late")}]))),
        ("an unknown message", text(&json!([{"shout": {}}]))),
        (
            "an unknown member",
            text(&json!([{"credits": {"concurrency": 1, "colour": "red"}}])),
        ),
        (
            "an unknown outcome",
            text(&json!([{"result": {"token": "1-0000000000000001", "outcome": {"maybe": {}}}}])),
        ),
        (
            "what is no token",
            text(&json!([{"result": {"token": "x", "outcome": {"complete": {}}}}])),
        ),
        ("no JSON", Message::text("[")),
        ("binary garbage", Message::binary(vec![0xff; 100])),
    ];
    let mut said = String::new();
    for (what, message) in cases {
        let mut raw = Raw::welcome(&server, "late").await;
        raw.send(message).await;
        said.push_str(&format!("{what}\n  {}\n", raw.last_words().await));
    }
    insta::assert_snapshot!(said, @r#"
    hello again
      {"error":{"code":"bad-message","message":"hello came a second time; it is said once, at the beginning of a connection"}}
    an unknown message
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: unknown variant `shout`, expected one of `hello`, `credits`, `result`, `context`, `heartbeat`, `log`, `ask`, `stop`, `goodbye` at line 1 column 9"}}
    an unknown member
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: unknown field `colour`, expected `concurrency` at line 1 column 21"}}
    an unknown outcome
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: unknown variant `maybe`, expected one of `complete`, `wait`, `schedule`, `retry`, `fatal` at line 1 column 30"}}
    what is no token
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: not an attempt token: expected two hexadecimal numbers joined by '-', as in 1f3a-0123456789abcdef at line 1 column 50"}}
    no JSON
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: EOF while parsing a list at line 1 column 1"}}
    binary garbage
      {"error":{"code":"bad-message","message":"a frame is a JSON array of messages as docs/protocol.md describes them: expected value at line 1 column 1"}}
    "#);
    healthy(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_with_tokens_that_are_not_current_change_nothing() {
    let server = ServerSetup::default().heartbeat("20s").start();
    let client = server.client();
    apply(&client, ONE).await;
    client.start(&request("r", "one")).await.unwrap();
    let mut raw = Raw::welcome(&server, "worker").await;
    let task = raw.hear("activity").await;
    let before = client.orchestration("r").await.unwrap();
    let result = |token: &str, outcome: Value| json!([{"result": {"token": token, "outcome": outcome}}]);
    for stale in ["1-0000000000000001", "ffffffffffffffff-ffffffffffffffff"] {
        raw.say(&result(stale, json!({"complete": {"output": {"x": 1}}}))).await;
        assert_eq!(raw.hear("refused").await["code"], "stale-token");
        raw.say(&json!([{"context": {"token": stale, "patch": {"set": {"x": 1}}}}]))
            .await;
        assert_eq!(raw.hear("refused").await["code"], "stale-token");
        raw.say(&json!([{"heartbeat": {"token": stale, "note": "?"}}, {"log": {"token": stale, "at": "2026-01-01T00:00:00Z", "text": "?"}}])).await;
    }
    let after = client.orchestration("r").await.unwrap();
    assert_eq!(
        serde_json::to_value(&after).unwrap(),
        serde_json::to_value(&before).unwrap()
    );
    let token = task["token"].as_str().unwrap();
    let big = json!({"set": {"x": "x".repeat(2 * 1024 * 1024)}});
    raw.say(&json!([{"context": {"token": token, "patch": big}}])).await;
    assert_eq!(raw.hear("refused").await["code"], "too-large");
    // The first result counts, and a second one is too late.
    raw.say(&result(token, json!({"complete": {"output": {"x": 1}}}))).await;
    assert_eq!(raw.hear("accepted").await["token"], token);
    raw.say(&result(token, json!({"fatal": {"error": {"message": "too late"}}})))
        .await;
    assert_eq!(raw.hear("refused").await["code"], "stale-token");
    let view = finished(&client, "r").await;
    assert_eq!(view.summary.state, OrchestrationState::Completed);
    assert_eq!(activity(&view, "a").output.as_ref().unwrap().get(), r#"{"x":1}"#);
    assert!(view.context.is_empty());
    assert_eq!(kinds(&client, "r").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_cannot_stand_ends_the_run_with_the_reason() {
    let server = ServerSetup::default().heartbeat("20s").start();
    let client = server.client();
    let definitions = "kind: ActivityDefinition
type: work
outputSchema: {openAPIV3Schema: {type: object, required: [n], properties: {n: {type: integer}}}}
---
{type: one, activities: [{id: a, type: work}]}";
    apply(&client, definitions).await;
    let mut raw = Raw::welcome(&server, "worker").await;
    let outputs = [
        json!([1, 2]),
        json!({"n": "seven"}),
        json!({}),
        json!({"n": 1, "x": "x".repeat(17 * 1024 * 1024)}),
    ];
    let mut said = String::new();
    for (number, output) in outputs.into_iter().enumerate() {
        let id = format!("r{number}");
        client.start(&request(&id, "one")).await.unwrap();
        let token = raw.hear("activity").await["token"].clone();
        raw.say(&json!([{"result": {"token": token, "outcome": {"complete": {"output": output}}}}]))
            .await;
        let view = finished(&client, &id).await;
        assert_eq!(activity(&view, "a").state, ActivityState::Failed);
        said.push_str(&format!("{}\n", view.reason));
    }
    insta::assert_snapshot!(said, @r#"
    activity a failed: the output is not a JSON object
    activity a failed: the output does not fit the activity's output schema: n: must be integer, is string
    activity a failed: the output does not fit the activity's output schema: n: is required and missing
    activity a failed: the output is 17825806 bytes long; the limit is 16777216; keep large data elsewhere and return a reference to it
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_too_large_ends_the_connection_and_nothing_else() {
    let server = ServerSetup::default().heartbeat("20s").start();
    let client = server.client();
    apply(&client, ONE).await;
    client.start(&request("r", "one")).await.unwrap();
    let mut raw = Raw::welcome(&server, "greedy").await;
    let token = raw.hear("activity").await["token"].clone();
    let huge = "x".repeat(40 * 1024 * 1024);
    raw.say(&json!([{"log": {"token": token, "at": "2026-01-01T00:00:00Z", "text": huge}}]))
        .await;
    raw.last_words().await;
    in_state(&client, "r", "a", ActivityState::Ready).await;
    let _worker = server.agent("worker").echo("work").start();
    assert_eq!(
        finished(&client, "r").await.summary.state,
        OrchestrationState::Completed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_of_life_is_answered_by_a_server_that_was_silent_and_otherwise_not() {
    let server = ServerSetup::default().heartbeat("4s").start();
    let mut agent = Raw::welcome(&server, "quiet").await;
    let welcomed = Instant::now();
    // Too early to be answered.
    agent.say(&json!([{"heartbeat": {}}])).await;
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    agent.say(&json!([{"heartbeat": {}}, {"heartbeat": {}}])).await;
    agent.hear("heartbeat").await;
    let first = welcomed.elapsed();
    assert!(first >= Duration::from_millis(2_000), "{first:?}");
    // The next is the server's own, after a heartbeat of silence.
    agent.hear("heartbeat").await;
    let next = welcomed.elapsed() - first;
    assert!(next >= Duration::from_millis(3_500), "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_signs_of_life_holds_up_nobody() {
    let server = ServerSetup::default().heartbeat("20s").start();
    let client = server.client();
    apply(&client, ONE).await;
    let mut loud = Raw::welcome(&server, "loud").await;
    let frame = Value::Array(vec![json!({"heartbeat": {"note": "here I am"}}); 1000]).to_string();
    let shouting = async {
        for _ in 0..200 {
            loud.send(Message::text(frame.clone())).await;
        }
        loud.say(&json!([{"credits": {"concurrency": 0}}])).await;
        loud
    };
    let working = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.ready().await.unwrap();
        client
            .orchestrations(&Default::default(), &Default::default())
            .await
            .unwrap();
    };
    let (mut loud, ()) = tokio::join!(shouting, working);
    client.start(&request("r", "one")).await.unwrap();
    loud.say(&json!([{"credits": {"concurrency": 1}}])).await;
    let token = loud.hear("activity").await["token"].clone();
    loud.say(&json!([{"result": {"token": token, "outcome": {"complete": {}}}}]))
        .await;
    assert_eq!(
        finished(&client, "r").await.summary.state,
        OrchestrationState::Completed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_for_what_another_agent_holds_is_refused_and_changes_nothing() {
    let server = ServerSetup::default().heartbeat("20s").start();
    let client = server.client();
    apply(&client, ONE).await;
    client.start(&request("r", "one")).await.unwrap();
    let mut holder = Raw::welcome(&server, "holder").await;
    let token = holder.hear("activity").await["token"].clone();
    let mut other = Raw::welcome(&server, "other").await;
    let result = json!([{"result": {"token": token, "outcome": {"complete": {"output": {"by": "other"}}}}}]);
    other.say(&result).await;
    assert_eq!(other.hear("refused").await["code"], "stale-token");
    in_state(&client, "r", "a", ActivityState::Running).await;
    holder
        .say(&json!([{"result": {"token": token, "outcome": {"complete": {}}}}]))
        .await;
    let view = finished(&client, "r").await;
    assert_eq!(activity(&view, "a").output.as_ref().unwrap().get(), "{}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_goodbye_is_kept_short_in_the_history() {
    let server = ServerSetup::default().heartbeat("20s").start();
    let client = server.client();
    apply(&client, ONE).await;
    client.start(&request("r", "one")).await.unwrap();
    let mut raw = Raw::welcome(&server, "talker").await;
    raw.hear("activity").await;
    raw.say(&json!([{"goodbye": {"reason": "x".repeat(4 * 1024 * 1024)}}]))
        .await;
    in_state(&client, "r", "a", ActivityState::Ready).await;
    let page = client.history("r", None, None).await.unwrap();
    let returned = page
        .items
        .iter()
        .find(|entry| entry.kind == "activityReturned")
        .unwrap();
    assert!(returned.reason.as_ref().unwrap().len() < 300);
}
