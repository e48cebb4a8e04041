//! What goes to the agent: attempts become messages, and whatever waits goes into one frame.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use unisono_engine::Command;
use unisono_engine::orchestration::{OrchestrationCommand, Report, Task};
use unisono_engine::payload::Failure;
use unisono_model::ids::AttemptToken;
use unisono_model::protocol::{Heartbeat, ServerMessage};

use super::super::Api;
use super::report::described;
use super::{AgentWriter, Attempts, Held, lock};
use crate::partition::Responder;
use crate::sessions::{Outgoing, SessionReceiver};

/// Messages after which a frame to an agent is full.
const FRAME_MESSAGES: usize = 256;
/// Bytes after which a frame to an agent is full.
const FRAME_BYTES: usize = 4 * 1024 * 1024;
/// How long an agent may take to read one frame; the largest must fit through a slow network.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// Turns attempts into messages.
pub(super) struct Tasks {
    pub(super) api: Api,
    pub(super) attempts: Attempts,
}

impl Tasks {
    /// The agent holds the attempt no more.
    fn forget(&self, token: AttemptToken) {
        lock(&self.attempts).remove(&token);
        self.api.notes.lock().remove(&token);
    }

    /// The message for an attempt; an input that does not fit ends the run without the agent.
    fn message(&self, task: &Task) -> Option<ServerMessage> {
        match task.message() {
            Ok(message) => {
                let held = Held {
                    plan: Arc::clone(task.plan()?),
                    run: task.run,
                    orchestration: task.orchestration_id.clone(),
                    activity: task.activity,
                    attempt: task.attempt,
                    logged: 0,
                };
                lock(&self.attempts).insert(task.token, held);
                Some(ServerMessage::Activity(message))
            }
            Err(violations) => {
                let failure = Failure::new(
                    "input-invalid",
                    described("the input of the activity does not fit its input schema", &violations),
                );
                let command = OrchestrationCommand::Report {
                    token: task.token,
                    report: Report::Fatal(failure),
                    patch: None,
                };
                self.api
                    .partition
                    .submit(Command::Orchestration(command), Responder::None);
                None
            }
        }
    }
}

pub(super) async fn write_frames(tasks: Tasks, mut receiver: SessionReceiver, mut writer: impl AgentWriter) {
    let heartbeat = Duration::from_millis(tasks.api.heartbeat_ms);
    let mut waiting = Vec::with_capacity(FRAME_MESSAGES);
    let mut said = Instant::now();
    loop {
        waiting.clear();
        match timeout_at(said + heartbeat, receiver.recv(&mut waiting, FRAME_MESSAGES)).await {
            Err(_) => waiting.push(Outgoing::Message(ServerMessage::Heartbeat(Heartbeat::default()))),
            Ok(false) => break,
            Ok(true) => {}
        }
        if waiting.iter().all(|outgoing| matches!(outgoing, Outgoing::Heard)) {
            // Answered at once, rather than by a timer of its own, which would wake this machine once more.
            if said.elapsed() < heartbeat / 2 {
                continue;
            }
            waiting.push(Outgoing::Message(ServerMessage::Heartbeat(Heartbeat::default())));
        }
        said = Instant::now();
        if !write_all(&tasks, &mut waiting, &mut writer).await {
            break;
        }
    }
    writer.close().await;
}

/// Writes what waits, in frames of bounded size; false when that was the end.
async fn write_all(tasks: &Tasks, waiting: &mut Vec<Outgoing>, writer: &mut impl AgentWriter) -> bool {
    let mut frame = Vec::with_capacity(waiting.len());
    let mut bytes = 0;
    let mut rooms = Vec::new();
    let mut last = false;
    for outgoing in waiting.drain(..) {
        match outgoing {
            Outgoing::Message(message) => {
                if let ServerMessage::Cancel(cancel) = &message {
                    tasks.forget(cancel.token);
                }
                frame.push(message);
            }
            Outgoing::Task(task) => {
                if let Some(message) = tasks.message(&task) {
                    if let ServerMessage::Activity(task) = &message {
                        bytes += task.input.get().len() + task.context.get().len();
                    }
                    frame.push(message);
                }
            }
            Outgoing::Sized {
                message,
                bytes: more,
                room,
            } => {
                bytes += more;
                rooms.push(room);
                frame.push(message);
            }
            Outgoing::Heard => {}
            Outgoing::Close(message) => {
                frame.push(message);
                last = true;
                break;
            }
        }
        if bytes >= FRAME_BYTES {
            bytes = 0;
            if !write(tasks, writer, std::mem::take(&mut frame)).await {
                return false;
            }
            rooms.clear();
        }
    }
    (frame.is_empty() || write(tasks, writer, frame).await) && !last
}

/// Writes one frame; false when the agent is gone, or does not read.
async fn write(tasks: &Tasks, writer: &mut impl AgentWriter, frame: Vec<ServerMessage>) -> bool {
    tasks.api.metrics.to_agents.frame(frame.len());
    let written = timeout(READ_WITHIN, writer.write(frame)).await;
    if written.is_err() {
        tracing::warn!("an agent did not read a frame within {READ_WITHIN:?}; its connection is closed");
    }
    matches!(written, Ok(Ok(())))
}
