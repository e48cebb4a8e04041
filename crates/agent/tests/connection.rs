//! Reconnecting, resuming, draining: against a WebSocket server in the test that speaks the protocol's types.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use support::{Running, completed, failed, task, token, welcome};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use unisono_agent::{ActivityResult, Agent, AgentBuilder, AgentError, OrFail as _};
use unisono_model::protocol::{
    Accepted, AgentMessage, CancelAttempt, Credits, Hello, ProtocolError, Reconnect, Refused, ServerMessage,
};

const LONG: Duration = Duration::from_secs(20);

struct Node {
    listener: TcpListener,
}

/// One connection of the agent, as the node sees it.
struct Connection {
    socket: WebSocketStream<TcpStream>,
    hello: Hello,
    pending: VecDeque<AgentMessage>,
}

impl Node {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (Self { listener }, url)
    }

    /// Takes the next connection up to its `hello`.
    async fn accept(&self) -> Connection {
        let (stream, _) = timeout(LONG, self.listener.accept())
            .await
            .expect("the agent does not connect")
            .unwrap();
        let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let hello = Hello {
            protocol: 0,
            agent: "x".parse().unwrap(),
            incarnation: "x".parse().unwrap(),
            activity_types: vec![],
            concurrency: 1,
            labels: Default::default(),
            holding: vec![],
        };
        let mut connection = Connection {
            socket,
            hello,
            pending: VecDeque::new(),
        };
        let AgentMessage::Hello(hello) = connection.next().await else {
            panic!("hello comes first")
        };
        connection.hello = hello;
        connection
    }

    async fn welcomed(&self) -> Connection {
        let mut connection = self.accept().await;
        connection.send(&[welcome(60_000, vec![], vec![])]).await;
        connection
    }
}

impl Connection {
    async fn send(&mut self, messages: &[ServerMessage]) {
        self.socket
            .send(Message::text(serde_json::to_string(messages).unwrap()))
            .await
            .unwrap();
    }

    /// The messages of the next frame.
    async fn frame(&mut self) -> Option<Vec<AgentMessage>> {
        loop {
            match timeout(LONG, self.socket.next()).await.expect("the agent says nothing") {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    async fn next(&mut self) -> AgentMessage {
        while self.pending.is_empty() {
            let frame = self.frame().await.expect("the agent closed the connection");
            self.pending.extend(frame);
        }
        self.pending.pop_front().unwrap()
    }

    async fn result(&mut self) -> unisono_model::protocol::AttemptResult {
        loop {
            if let AgentMessage::Result(result) = self.next().await {
                return result;
            }
        }
    }

    async fn accept_result(&mut self, number: u64) {
        self.send(&[ServerMessage::Accepted(Accepted { token: token(number) })])
            .await;
    }
}

fn run(builder: AgentBuilder) -> (JoinHandle<Result<(), AgentError>>, CancellationToken) {
    let stop = CancellationToken::new();
    let agent = builder.build().unwrap();
    (tokio::spawn(agent.run(stop.clone().cancelled_owned())), stop)
}

/// An agent whose attempts end when the semaphore lets them.
fn gated(url: &str) -> (AgentBuilder, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let pass = Arc::clone(&gate);
    let builder = Agent::builder()
        .server(url)
        .concurrency(4)
        .function("t", move |context| {
            let pass = Arc::clone(&pass);
            Box::pin(async move {
                let attempt = context.handle();
                tokio::select! {
                    permit = pass.acquire() => permit.or_fatal("gate")?.forget(),
                    () = attempt.cancelled() => {}
                }
                context.set_output("cancelled", attempt.is_cancelled())?;
                Ok(ActivityResult::Complete)
            })
        });
    (builder, gate)
}

#[tokio::test]
async fn attempts_and_results_survive_a_lost_connection() {
    let (node, url) = Node::start().await;
    let (builder, gate) = gated(&url);
    let (_agent, _stop) = run(builder);
    let mut first = node.welcomed().await;
    assert!(first.hello.holding.is_empty());
    first
        .send(&[1, 2, 3].map(|n| task(n, "t", &json!({}), &json!({}))))
        .await;
    gate.add_permits(1);
    let early = first.result().await;
    drop(first);

    let mut second = node.accept().await;
    let mut holding = second.hello.holding.clone();
    holding.sort();
    assert_eq!(holding, [token(1), token(2), token(3)]);
    // The finished one was not accepted: it is sent again. Of the others one goes on and one is given up.
    let others: Vec<_> = holding.into_iter().filter(|held| *held != early.token).collect();
    second
        .send(&[welcome(60_000, vec![early.token, others[0]], vec![others[1]])])
        .await;
    assert_eq!(second.result().await.token, early.token);
    gate.add_permits(1);
    let late = second.result().await;
    assert_eq!(late.token, others[0]);
    assert_eq!(completed(&late), json!({"cancelled": false}));
    second
        .send(&[early.token, late.token].map(|token| ServerMessage::Accepted(Accepted { token })))
        .await;
    drop(second);

    let third = node.accept().await;
    assert_eq!(third.hello.holding, []);
}

#[tokio::test]
async fn the_incarnation_stays_the_same_across_connections_and_differs_between_agents() {
    let (node, url) = Node::start().await;
    let (_one, _stop) = run(gated(&url).0);
    let first = node.welcomed().await.hello.incarnation;
    assert_eq!(node.welcomed().await.hello.incarnation, first);
    let (other_node, other_url) = Node::start().await;
    let (_two, _stop) = run(gated(&other_url).0);
    assert_ne!(other_node.welcomed().await.hello.incarnation, first);
}

#[tokio::test]
async fn a_silent_agent_sends_heartbeats_and_a_silent_server_is_left() {
    let (node, url) = Node::start().await;
    let (_agent, _stop) = run(gated(&url).0);
    let mut first = node.accept().await;
    first.send(&[welcome(200, vec![], vec![])]).await;
    let began = Instant::now();
    let mut beats = 0;
    while let Some(frame) = first.frame().await {
        beats += frame
            .iter()
            .filter(|message| matches!(message, AgentMessage::Heartbeat(_)))
            .count();
    }
    let lasted = began.elapsed();
    assert!((1..=2).contains(&beats), "{beats} heartbeats");
    assert!(
        lasted >= Duration::from_millis(350) && lasted < Duration::from_millis(1500),
        "{lasted:?}"
    );
    node.welcomed().await;
}

#[tokio::test]
async fn any_message_of_the_server_keeps_the_connection() {
    let (node, url) = Node::start().await;
    let (_agent, _stop) = run(gated(&url).0);
    let mut connection = node.accept().await;
    connection.send(&[welcome(200, vec![], vec![])]).await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        connection
            .send(&[ServerMessage::Accepted(Accepted { token: token(9) })])
            .await;
    }
    assert!(
        timeout(Duration::from_millis(50), node.listener.accept())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_draining_agent_finishes_what_it_runs_and_says_goodbye() {
    let (node, url) = Node::start().await;
    let (builder, gate) = gated(&url);
    let (agent, stop) = run(builder);
    let mut connection = node.welcomed().await;
    connection.send(&[task(1, "t", &json!({}), &json!({}))]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.cancel();
    assert!(matches!(
        connection.next().await,
        AgentMessage::Credits(Credits { concurrency: 0 })
    ));
    // What comes after that is not started: the goodbye gives it back.
    connection.send(&[task(2, "t", &json!({}), &json!({}))]).await;
    gate.add_permits(2);
    assert_eq!(connection.result().await.token, token(1));
    assert!(!agent.is_finished());
    connection.accept_result(1).await;
    assert!(matches!(connection.next().await, AgentMessage::Goodbye(_)));
    assert!(connection.frame().await.is_none());
    agent.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_does_not_finish_while_draining_is_cancelled() {
    let (node, url) = Node::start().await;
    let (builder, _gate) = gated(&url);
    let (agent, stop) = run(builder.drain_timeout(Duration::from_millis(200)));
    let mut connection = node.welcomed().await;
    connection.send(&[task(1, "t", &json!({}), &json!({}))]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.cancel();
    assert!(matches!(connection.next().await, AgentMessage::Credits(_)));
    assert!(matches!(connection.next().await, AgentMessage::Goodbye(_)));
    agent.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_draining_agent_reconnects_to_deliver_its_last_result() {
    let (node, url) = Node::start().await;
    let (builder, gate) = gated(&url);
    let (agent, stop) = run(builder);
    let mut first = node.welcomed().await;
    first.send(&[task(1, "t", &json!({}), &json!({}))]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(first);
    stop.cancel();
    gate.add_permits(1);
    let mut second = node.accept().await;
    assert_eq!(second.hello.holding, [token(1)]);
    second.send(&[welcome(60_000, vec![token(1)], vec![])]).await;
    second.result().await;
    second.accept_result(1).await;
    agent.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_agent_without_work_leaves_at_once_even_without_a_server() {
    let (agent, stop) = run(gated("http://127.0.0.1:1").0);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!agent.is_finished());
    stop.cancel();
    timeout(Duration::from_secs(2), agent).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_cancelled_attempt_is_told_and_says_nothing_more() {
    let (node, url) = Node::start().await;
    let (builder, gate) = gated(&url);
    let (_agent, _stop) = run(builder);
    let mut connection = node.welcomed().await;
    connection
        .send(&[1, 2].map(|n| task(n, "t", &json!({}), &json!({}))))
        .await;
    let cancel = CancelAttempt {
        token: token(1),
        reason: "test".into(),
    };
    connection.send(&[ServerMessage::Cancel(cancel)]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    gate.add_permits(2);
    assert_eq!(connection.result().await.token, token(2));
}

#[tokio::test]
async fn a_refused_result_is_forgotten() {
    let (node, url) = Node::start().await;
    let (builder, gate) = gated(&url);
    let (_agent, _stop) = run(builder);
    let mut first = node.welcomed().await;
    gate.add_permits(1);
    first.send(&[task(1, "t", &json!({}), &json!({}))]).await;
    first.result().await;
    let refused = Refused {
        token: token(1),
        code: "stale-token".into(),
        message: "too late".into(),
    };
    first.send(&[ServerMessage::Refused(refused)]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(first);
    assert_eq!(node.accept().await.hello.holding, []);
}

#[tokio::test]
async fn a_server_that_leaves_sends_the_agent_away_for_a_while() {
    let (node, url) = Node::start().await;
    let (_agent, _stop) = run(gated(&url).0);
    let mut first = node.welcomed().await;
    let began = Instant::now();
    first
        .send(&[ServerMessage::Reconnect(Reconnect {
            after_ms: 400,
            reason: "restart".into(),
        })])
        .await;
    assert!(first.frame().await.is_none());
    node.welcomed().await;
    assert!(began.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn a_server_that_will_never_take_the_agent_ends_it_with_the_reason() {
    let (node, url) = Node::start().await;
    let (agent, _stop) = run(gated(&url).0);
    let mut connection = node.accept().await;
    let error = ProtocolError {
        code: "unsupported-protocol".into(),
        message: "speak version 2".into(),
    };
    connection.send(&[ServerMessage::Error(error)]).await;
    let error = agent.await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server refused the agent (unsupported-protocol): speak version 2"
    );
}

#[tokio::test]
async fn more_attempts_than_asked_for_wait_for_room() {
    let (node, url) = Node::start().await;
    let (builder, gate) = gated(&url);
    let (_agent, _stop) = run(builder.concurrency(1));
    let mut connection = node.welcomed().await;
    assert_eq!(connection.hello.concurrency, 1);
    connection
        .send(&[1, 2].map(|n| task(n, "t", &json!({}), &json!({}))))
        .await;
    gate.add_permits(2);
    assert_eq!(connection.result().await.token, token(1));
    assert_eq!(connection.result().await.token, token(2));
}

#[tokio::test]
async fn an_attempt_sent_twice_runs_once() {
    let (node, url) = Node::start().await;
    let (builder, gate) = gated(&url);
    let (_agent, _stop) = run(builder);
    let mut connection = node.welcomed().await;
    connection
        .send(&[1, 1, 2].map(|n| task(n, "t", &json!({}), &json!({}))))
        .await;
    gate.add_permits(3);
    let mut tokens = [connection.result().await.token, connection.result().await.token];
    tokens.sort();
    assert_eq!(tokens, [token(1), token(2)]);
    assert_eq!(gate.available_permits(), 1);
}

#[tokio::test]
async fn a_saved_context_change_is_sent_again_after_a_reconnect_until_it_is_answered() {
    let (node, url) = Node::start().await;
    let builder = Agent::builder().server(&url).function("t", |context| {
        Box::pin(async move {
            context.set("step", 1)?;
            context.save_context().await?;
            context.set("step", 2)?;
            let refused = context.save_context().await.unwrap_err();
            context.set_output("refused", refused.to_string())?;
            Ok(ActivityResult::Complete)
        })
    });
    let (_agent, _stop) = run(builder);
    let mut first = node.welcomed().await;
    first.send(&[task(1, "t", &json!({}), &json!({}))]).await;
    let AgentMessage::Context(update) = first.next().await else {
        panic!("a context change expected")
    };
    assert_eq!(update.patch.set["step"].get(), "1");
    drop(first);
    let mut second = node.accept().await;
    second.send(&[welcome(60_000, vec![token(1)], vec![])]).await;
    let AgentMessage::Context(update) = second.next().await else {
        panic!("a context change expected")
    };
    assert_eq!(update.patch.set["step"].get(), "1");
    second
        .send(&[ServerMessage::ContextAccepted(Accepted { token: token(1) })])
        .await;
    let AgentMessage::Context(update) = second.next().await else {
        panic!("a context change expected")
    };
    assert_eq!(update.patch.set["step"].get(), "2");
    let refused = Refused {
        token: token(1),
        code: "too-large".into(),
        message: "at most 1 MiB".into(),
    };
    second.send(&[ServerMessage::Refused(refused)]).await;
    let result = second.result().await;
    assert_eq!(
        completed(&result)["refused"],
        "the server refused the context changes (too-large): at most 1 MiB"
    );
    assert_eq!(result.patch.unwrap().set["step"].get(), "2");
}

#[tokio::test]
async fn heartbeats_and_logs_of_an_attempt_reach_the_server() {
    let builder = Agent::builder().function("t", |context| {
        Box::pin(async move {
            context.heartbeat("half done");
            context.log("one\ntwo\n");
            Ok(ActivityResult::Complete)
        })
    });
    let mut agent = Running::start(builder).await;
    agent.send(task(1, "t", &json!({}), &json!({}))).await;
    let AgentMessage::Heartbeat(beat) = agent.next().await else {
        panic!("a heartbeat expected")
    };
    assert_eq!((beat.token, beat.note.as_deref()), (Some(token(1)), Some("half done")));
    let (result, log) = agent.result().await;
    assert_eq!(completed(&result), json!(null));
    assert_eq!(log, "one\ntwo\n");
    agent.leave().await.unwrap();
}

#[tokio::test]
async fn many_results_travel_in_few_frames() {
    let builder = Agent::builder()
        .concurrency(500)
        .function("t", |_| Box::pin(async { Ok(ActivityResult::Complete) }));
    let (node, url) = Node::start().await;
    let (_agent, _stop) = run(builder.server(&url));
    let mut connection = node.welcomed().await;
    let tasks: Vec<_> = (0..500).map(|n| task(n, "t", &json!({}), &json!({}))).collect();
    connection.send(&tasks).await;
    let (mut frames, mut results) = (0, 0);
    while results < 500 {
        results += connection.frame().await.unwrap().len();
        frames += 1;
    }
    assert!(frames < 250, "{frames} frames");
}

#[tokio::test]
async fn a_panicking_processor_does_not_harm_the_agent() {
    let builder = Agent::builder().function("t", |context| {
        let attempt = context.token().revision.0;
        Box::pin(async move {
            assert!(attempt != 1, "the first attempt is unlucky");
            Ok(ActivityResult::Complete)
        })
    });
    let mut agent = Running::start(builder).await;
    agent.send(task(1, "t", &json!({}), &json!({}))).await;
    let (kind, code, message) = failed(&agent.result().await.0);
    assert_eq!((kind, code.as_str()), ("fatal", "panic"));
    assert!(message.contains("the first attempt is unlucky"), "{message}");
    agent.send(task(2, "t", &json!({}), &json!({}))).await;
    completed(&agent.result().await.0);
}
