//! A node in the test's process that speaks the protocol's types to an agent.

#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use unisono_agent::{Agent, AgentBuilder, AgentError, Link, NodeEnd};
use unisono_model::ids::{AttemptToken, Revision};
use unisono_model::protocol::{
    Accepted, ActivityTask, AgentMessage, AttemptResult, CancelAttempt, Hello, Outcome, ServerMessage, Welcome,
};

pub fn token(number: u64) -> AttemptToken {
    AttemptToken {
        revision: Revision(number),
        nonce: 7,
    }
}

/// An attempt, with what tests want to say about it.
pub fn task(number: u64, activity_type: &str, input: &Value, context: &Value) -> ServerMessage {
    let task = json!({
        "token": token(number), "namespace": "default", "orchestrationId": format!("run-{number}"),
        "orchestrationType": "tenant", "correlationId": "order 7", "activityId": "step", "activityType": activity_type,
        "discriminator": "deploy", "attempt": 1, "input": input, "context": context,
    });
    let task: ActivityTask = serde_json::from_str(&task.to_string()).unwrap();
    ServerMessage::Activity(task)
}

pub fn welcome(heartbeat_ms: u64, keep: Vec<AttemptToken>, drop: Vec<AttemptToken>) -> ServerMessage {
    let max_frame_bytes = 1024 * 1024;
    ServerMessage::Welcome(Welcome {
        protocol: 1,
        heartbeat_ms,
        grace_ms: 1000,
        max_frame_bytes,
        max_asks: 8,
        keep,
        drop,
    })
}

/// An agent over a pair of channels, and the node's end of it.
pub struct Running {
    pub node: NodeEnd,
    pub stop: CancellationToken,
    pub agent: JoinHandle<Result<(), AgentError>>,
    pub hello: Hello,
    pub seen: Vec<AgentMessage>,
}

impl Running {
    pub async fn start(builder: AgentBuilder) -> Self {
        let agent = builder.build().unwrap();
        let (link, mut node) = Link::pair(16);
        let stop = CancellationToken::new();
        let agent = tokio::spawn(agent.run_on(link, stop.clone().cancelled_owned()));
        let mut first = node.incoming.recv().await.unwrap();
        let AgentMessage::Hello(hello) = first.remove(0) else {
            panic!("hello comes first")
        };
        node.outgoing.send(vec![welcome(60_000, vec![], vec![])]).await.unwrap();
        Self {
            node,
            stop,
            agent,
            hello,
            seen: Vec::new(),
        }
    }

    /// An agent of one activity type `t` with this configuration, in this directory.
    pub async fn configured(directory: &Path, activity: &str) -> Self {
        let file = directory.join("agent.yaml");
        let text = format!("activities:\n  - type: t\n    {activity}\n");
        std::fs::write(&file, text).unwrap();
        Self::start(Agent::builder().config_file(file)).await
    }

    pub async fn send(&self, message: ServerMessage) {
        self.node.outgoing.send(vec![message]).await.unwrap();
    }

    /// The next message that is not the agent's heartbeat.
    pub async fn next(&mut self) -> AgentMessage {
        loop {
            if !self.seen.is_empty() {
                return self.seen.remove(0);
            }
            let batch = tokio::time::timeout(Duration::from_secs(20), self.node.incoming.recv());
            self.seen = batch.await.expect("the agent says nothing").expect("the agent is gone");
        }
    }

    /// The next result, accepted, and the log text before it.
    pub async fn result(&mut self) -> (AttemptResult, String) {
        let mut log = String::new();
        loop {
            match self.next().await {
                AgentMessage::Result(result) => {
                    self.send(ServerMessage::Accepted(Accepted { token: result.token }))
                        .await;
                    return (result, log);
                }
                AgentMessage::Log(line) => log.push_str(&format!("{}\n", line.text)),
                _ => {}
            }
        }
    }

    /// Runs one attempt.
    pub async fn run(&mut self, input: &Value, context: &Value) -> (AttemptResult, String) {
        self.send(task(1, "t", input, context)).await;
        self.result().await
    }

    pub async fn cancel(&self, number: u64) {
        self.send(ServerMessage::Cancel(CancelAttempt {
            token: token(number),
            reason: "test".into(),
        }))
        .await;
    }

    /// Tells the agent to leave, and waits for it.
    pub async fn leave(mut self) -> Result<(), AgentError> {
        self.stop.cancel();
        while self.node.incoming.recv().await.is_some() {}
        self.agent.await.unwrap()
    }
}

/// The output of a completed attempt.
pub fn completed(result: &AttemptResult) -> Value {
    match &result.outcome {
        Outcome::Complete { output } => output
            .as_ref()
            .map_or(Value::Null, |output| serde_json::from_str(output.get()).unwrap()),
        other => panic!("not completed: {other:?}"),
    }
}

/// Kind, code and message of a failed attempt.
pub fn failed(result: &AttemptResult) -> (&'static str, String, String) {
    let (kind, error) = match &result.outcome {
        Outcome::Retry { error } => ("retry", error),
        Outcome::Fatal { error } => ("fatal", error),
        other => panic!("not failed: {other:?}"),
    };
    (kind, error.code.clone().unwrap_or_default(), error.message.clone())
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..400 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never: {what}");
}
