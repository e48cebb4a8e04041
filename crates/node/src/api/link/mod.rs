//! One agent's connection: hello and welcome, attempts out, results in.
//!
//! The reader turns messages into commands; the writer puts everything that waits for the agent
//! into one frame. Both end with the connection, and the partition is told.

mod asks;
mod hello;
mod outgoing;
mod report;

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use tokio::time::timeout;
use unisono_engine::agent::{AgentCommand, AgentKey, Join, SessionId};
use unisono_engine::orchestration::{OrchestrationCommand, RunKey};
use unisono_engine::payload::Patch;
use unisono_engine::{Command, Rejection, Reply};
use unisono_model::api::{LogEntry, OrchestrationView};
use unisono_model::ids::AttemptToken;
use unisono_model::name::Name;
use unisono_model::plan::Plan;
use unisono_model::protocol::{
    AgentMessage, AttemptResult, ContextUpdate, Heartbeat, Hello, LogLine, PROTOCOL_VERSION, ProtocolError,
    ServerMessage, Welcome,
};

use self::asks::{Asks, MAX_ASKS};
use self::hello::greet;
use self::outgoing::{Tasks, write_frames};
use self::report::{report, truncate};
use super::Api;
use crate::partition::{AgentAnswer, LogPiece, Responder};
use crate::sessions::{Outgoing, SessionSender};

/// The largest frame that an agent may send, in bytes.
pub(super) const MAX_FRAME_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of an agent's reason to leave, which stands in the history of every attempt that it gives back.
const MAX_LEAVE_REASON_BYTES: usize = 256;
/// Attempts that one agent may hold.
const MAX_CONCURRENCY: u32 = 65_536;
/// Bytes of log that are kept of one attempt.
const MAX_LOG_BYTES: usize = 1024 * 1024;

/// Why a connection ends.
pub(crate) enum LinkClosed {
    /// It is gone.
    Gone(String),
    /// The agent did not speak the protocol.
    Misspoken(String),
}

/// How what an agent says ends its connection.
enum End {
    /// It said goodbye.
    Leaves(String),
    /// It did not speak the protocol.
    Misspoken(String),
}

/// The agent's side of a connection, to read from.
pub(crate) trait AgentReader: Send + 'static {
    /// The next frame; an empty one is only a sign of life.
    fn read(&mut self) -> impl Future<Output = Result<Vec<AgentMessage>, LinkClosed>> + Send;
}

/// The agent's side of a connection, to write to.
pub(crate) trait AgentWriter: Send + 'static {
    /// Sends one frame.
    fn write(&mut self, frame: Vec<ServerMessage>) -> impl Future<Output = Result<(), LinkClosed>> + Send;
    /// Says goodbye.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

/// What running attempts last said of themselves. Kept only in memory.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<FxHashMap<AttemptToken, String>>>);

impl Notes {
    fn lock(&self) -> MutexGuard<'_, FxHashMap<AttemptToken, String>> {
        match self.0.lock() {
            Ok(notes) => notes,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    pub(super) fn add_to(&self, view: &mut OrchestrationView) {
        let notes = self.lock();
        if notes.is_empty() {
            return;
        }
        for activity in &mut view.activities {
            activity.note = activity.token.and_then(|token| notes.get(&token).cloned());
        }
    }
}

/// An attempt that the agent holds.
#[derive(Clone)]
struct Held {
    plan: Arc<Plan>,
    run: RunKey,
    orchestration: Name,
    activity: u32,
    attempt: u32,
    logged: usize,
}

impl Held {
    /// The activity, for people: its orchestration and its own name.
    fn name(&self) -> String {
        let activity = self.plan.activities.get(self.activity as usize);
        let activity = activity.map_or("?", |activity| activity.id.as_str());
        format!("{}/{activity}", self.orchestration)
    }
}

type Attempts = Arc<Mutex<FxHashMap<AttemptToken, Held>>>;

fn lock(attempts: &Attempts) -> MutexGuard<'_, FxHashMap<AttemptToken, Held>> {
    match attempts.lock() {
        Ok(attempts) => attempts,
        Err(poisoned) => poisoned.into_inner(),
    }
}

/// Serves one agent until its connection ends.
pub(crate) async fn serve_agent(api: Api, namespace: Name, mut reader: impl AgentReader, mut writer: impl AgentWriter) {
    let (hello, rest) = match greet(&mut reader).await {
        Ok(greeted) => greeted,
        Err(error) => {
            let _ = writer.write(vec![ServerMessage::Error(error)]).await;
            writer.close().await;
            return;
        }
    };
    if api.stopping.is_cancelled() {
        writer.close().await;
        return;
    }
    let (session, sender, receiver) = api.sessions.open();
    let attempts = Attempts::default();
    let link = Link {
        asks: Asks::new(
            api.clone(),
            (namespace.clone(), hello.agent.clone()),
            sender.clone(),
            Arc::clone(&attempts),
        ),
        api: api.clone(),
        sender,
        attempts,
        session,
    };
    let (name, incarnation) = (hello.agent.clone(), hello.incarnation.clone());
    let tasks = Tasks {
        api: api.clone(),
        attempts: Arc::clone(&link.attempts),
    };
    let write = tokio::spawn(write_frames(tasks, receiver, writer));
    api.metrics.from_agents.frame(1);
    let joined = link.join(namespace.clone(), hello).await;
    if let Some(agent) = joined {
        tracing::info!(%namespace, agent = %name, %incarnation, "agent connected");
        let reason = link.read_frames(agent, rest, reader).await;
        tracing::info!(%namespace, agent = %name, %incarnation, "agent disconnected: {reason}");
    }
    link.api.sessions.close(session);
    link.forget_notes();
    drop(link);
    // The writer ends when nobody can send any more; an agent that does not read is not waited for.
    let abort = write.abort_handle();
    if timeout(Duration::from_secs(2), write).await.is_err() {
        abort.abort();
    }
}

struct Link {
    api: Api,
    session: SessionId,
    sender: SessionSender,
    attempts: Attempts,
    asks: Asks,
}

impl Link {
    /// Joins, and queues the welcome in front of everything else.
    async fn join(&self, namespace: Name, hello: Hello) -> Option<AgentKey> {
        let (joined, answer) = oneshot::channel();
        let sender = self.sender.clone();
        let (heartbeat_ms, grace_ms) = (self.api.heartbeat_ms, self.api.grace_ms);
        let respond = move |outcome: Result<Reply, Rejection>| {
            if let Ok(Reply::Joined { agent, keep, drop }) = outcome {
                let kept = keep.clone();
                sender.send(Outgoing::Message(ServerMessage::Welcome(Welcome {
                    protocol: PROTOCOL_VERSION,
                    heartbeat_ms,
                    grace_ms,
                    max_frame_bytes: MAX_FRAME_BYTES as u64,
                    max_asks: MAX_ASKS,
                    keep,
                    drop,
                })));
                let _ = joined.send((agent, kept));
            }
        };
        let join = AgentCommand::Join(Box::new(Join {
            namespace,
            name: hello.agent,
            incarnation: hello.incarnation,
            activity_types: hello.activity_types,
            concurrency: hello.concurrency,
            labels: hello.labels,
            holding: hello.holding,
            session: self.session,
        }));
        self.api
            .partition
            .submit(Command::Agent(join), Responder::Call(Box::new(respond)));
        let (agent, kept) = answer.await.ok()?;
        self.remember(kept).await?;
        Some(agent)
    }

    /// Learns about attempts that the agent has kept from an earlier connection; `None` when the partition has no answer.
    async fn remember(&self, kept: Vec<AttemptToken>) -> Option<()> {
        if kept.is_empty() {
            return Some(());
        }
        let read = move |state: &unisono_engine::State| -> Vec<(AttemptToken, Held)> {
            kept.into_iter()
                .filter_map(|token| {
                    let (run, activity) = state.attempt(token)?;
                    let held = Held {
                        plan: run.definition.plan().cloned()?,
                        run: run.key,
                        orchestration: run.id.clone(),
                        activity,
                        attempt: run.activity(activity)?.attempts,
                        logged: 0,
                    };
                    Some((token, held))
                })
                .collect()
        };
        let held = self.api.partition.query(read).await.ok()?;
        lock(&self.attempts).extend(held);
        Some(())
    }

    /// Reads until the connection ends, tells the partition, and says why.
    async fn read_frames(&self, agent: AgentKey, first: Vec<AgentMessage>, mut reader: impl AgentReader) -> String {
        let patience = Duration::from_millis(self.api.heartbeat_ms.saturating_mul(2));
        let mut frame = first;
        let (mut reason, leaves) = loop {
            tokio::select! {
                () = self.ready() => {}
                () = self.sender.closed() => break ("the server closed the connection".to_owned(), false),
                () = self.api.stopping.cancelled() => break ("the server shuts down".to_owned(), false),
            }
            match self.take(agent, frame).await {
                Some(End::Leaves(reason)) => break (reason, true),
                Some(End::Misspoken(reason)) => break (self.close(reason), false),
                None => {}
            }
            let read = tokio::select! {
                read = timeout(patience, reader.read()) => read,
                () = self.sender.closed() => break ("the server closed the connection".to_owned(), false),
                () = self.api.stopping.cancelled() => break ("the server shuts down".to_owned(), false),
            };
            frame = match read {
                Ok(Ok(frame)) => frame,
                Ok(Err(LinkClosed::Gone(why))) => break (why, false),
                Ok(Err(LinkClosed::Misspoken(message))) => break (self.close(message), false),
                Err(_) => {
                    break (
                        format!("nothing was heard of it for {} ms", patience.as_millis()),
                        false,
                    );
                }
            };
        };
        truncate(&mut reason, MAX_LEAVE_REASON_BYTES);
        if !leaves && self.api.stopping.is_cancelled() {
            // The next start gives it its whole grace time, however long the server was away.
            return reason;
        }
        let (session, why) = (self.session, reason.clone());
        let command = if leaves {
            AgentCommand::Leave {
                agent,
                session,
                reason: why,
            }
        } else {
            AgentCommand::Disconnect {
                agent,
                session,
                reason: why,
            }
        };
        self.api.partition.submit(Command::Agent(command), Responder::None);
        reason
    }

    /// Tells the agent what was wrong with what it said, and closes.
    fn close(&self, message: String) -> String {
        self.sender.send(Outgoing::Close(ServerMessage::Error(ProtocolError {
            code: "bad-message".to_owned(),
            message: message.clone(),
        })));
        message
    }

    /// Waits while too much waits to be decided, or to be read by the agent.
    async fn ready(&self) {
        self.api.partition.ready().await;
        while self.sender.is_behind() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Takes one frame, and says how the connection ends when it does.
    async fn take(&self, agent: AgentKey, frame: Vec<AgentMessage>) -> Option<End> {
        let mut commands = Vec::with_capacity(frame.len());
        let mut end = None;
        if !frame.is_empty() {
            self.api.metrics.from_agents.frame(frame.len());
        }
        for message in frame {
            let is_result = matches!(message, AgentMessage::Result(_));
            match message {
                AgentMessage::Result(AttemptResult { token, .. })
                | AgentMessage::Context(ContextUpdate { token, .. })
                    if !lock(&self.attempts).contains_key(&token) =>
                {
                    // What it may report on was sent to it on this connection, or kept when it joined.
                    if is_result {
                        self.api.metrics.stale_result();
                    }
                    let answer = AgentAnswer { token, is_result: true };
                    let refused = answer.message(Err(Rejection::StaleToken { token }));
                    self.sender.send(Outgoing::Message(refused));
                }
                AgentMessage::Result(result) => commands.push(self.result(result)),
                AgentMessage::Context(update) => {
                    let token = update.token;
                    let patch = Patch::from_message(Some(update.patch)).unwrap_or_default();
                    let command = OrchestrationCommand::SaveContext { token, patch };
                    commands.push((Command::Orchestration(command), self.respond(token, false)));
                }
                AgentMessage::Credits(credits) => {
                    let command = AgentCommand::Credits {
                        agent,
                        session: self.session,
                        concurrency: credits.concurrency.min(MAX_CONCURRENCY),
                    };
                    commands.push((Command::Agent(command), Responder::None));
                }
                AgentMessage::Heartbeat(heartbeat) => {
                    self.sender.send(Outgoing::Heard);
                    self.note(heartbeat);
                }
                AgentMessage::Log(line) => self.log(line).await,
                AgentMessage::Ask(ask) => {
                    if let Err(reason) = self.asks.begin(ask) {
                        end = Some(End::Misspoken(reason));
                    }
                }
                AgentMessage::Stop(stop) => self.asks.stop(stop.id),
                AgentMessage::Goodbye(said) => {
                    let reason = said.reason.unwrap_or_else(|| "its agent said goodbye".to_owned());
                    end = Some(End::Leaves(reason));
                }
                AgentMessage::Hello(_) => {
                    let reason = "hello came a second time; it is said once, at the beginning of a connection";
                    end = Some(End::Misspoken(reason.to_owned()));
                }
            }
        }
        if !commands.is_empty() {
            self.api.partition.submit_all(commands);
        }
        end
    }

    fn respond(&self, token: AttemptToken, is_result: bool) -> Responder {
        Responder::Agent(self.session, AgentAnswer { token, is_result })
    }

    fn result(&self, result: AttemptResult) -> (Command, Responder) {
        let token = result.token;
        let held = lock(&self.attempts).remove(&token);
        self.api.notes.lock().remove(&token);
        let report = report(result.outcome, held.as_ref());
        let command = OrchestrationCommand::Report {
            token,
            report,
            patch: Patch::from_message(result.patch),
        };
        (Command::Orchestration(command), self.respond(token, true))
    }

    fn note(&self, heartbeat: Heartbeat) {
        let (Some(token), Some(mut note)) = (heartbeat.token, heartbeat.note) else {
            return;
        };
        if lock(&self.attempts).contains_key(&token) {
            truncate(&mut note, 1024);
            self.api.notes.lock().insert(token, note);
        }
    }

    fn forget_notes(&self) {
        let held = std::mem::take(&mut *lock(&self.attempts));
        let mut notes = self.api.notes.lock();
        for token in held.keys() {
            notes.remove(token);
        }
    }

    async fn log(&self, line: LogLine) {
        if self.api.partition.admits_data().is_err() {
            self.api.metrics.dropped_logs.inc();
            return;
        }
        let Some((held, text)) = self.account_for(&line) else {
            return;
        };
        let Some(activity) = held.plan.activities.get(held.activity as usize) else {
            return;
        };
        self.api
            .partition
            .log(LogPiece {
                run: held.run,
                activity: held.activity,
                sequence: next_sequence(),
                entry: LogEntry {
                    activity: activity.id.clone(),
                    attempt: held.attempt,
                    at: line.at,
                    text,
                },
            })
            .await;
    }

    /// The attempt that a log line is about, and what of the line is kept.
    fn account_for(&self, line: &LogLine) -> Option<(Held, String)> {
        let mut attempts = lock(&self.attempts);
        let held = attempts.get_mut(&line.token)?;
        if held.logged >= MAX_LOG_BYTES {
            return None;
        }
        held.logged += line.text.len();
        let text = if held.logged >= MAX_LOG_BYTES {
            format!("the rest of this attempt's log is not kept: it is longer than {MAX_LOG_BYTES} bytes")
        } else {
            line.text.clone()
        };
        Some((held.clone(), text))
    }
}

/// Log pieces keep the order in which they came, across connections and restarts.
fn next_sequence() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    let mut next = now;
    let _ = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
        next = now.max(last + 1);
        Some(next)
    });
    next
}
