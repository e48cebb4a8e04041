//! What the agent holds: attempts that run, results that are not accepted yet, and what is to be said about them.
//! Outlives connections, so that a new one goes on where the old one broke.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use unisono_model::ids::AttemptToken;
use unisono_model::name::Name;
use unisono_model::protocol::{
    ActivityError, ActivityTask, AgentMessage, AttemptResult, ContextPatch, ContextUpdate, Heartbeat, Outcome, Refused,
    Welcome,
};

use crate::asks::Asks;
use crate::attempt::{AttemptEvent, AttemptHandle, SaveError};
use crate::executor::{self, CANCEL_GRACE};
use crate::processor::DynProcessor;
use crate::trace::Tracer;

/// Log messages kept while the node is away; what is written after that is lost.
const MAX_LOGS_WHILE_AWAY: usize = 4096;
/// Bytes of a message around the payloads in it: field names, token, brackets.
const ENVELOPE_BYTES: usize = 512;

type SaveAnswer = oneshot::Sender<Result<(), SaveError>>;

/// The processors of an agent, by activity type.
pub(crate) type Processors = HashMap<Name, Arc<dyn DynProcessor>>;

struct Held {
    attempt: AttemptHandle,
    state: HeldState,
    /// Context changes that the node has not answered, oldest first.
    saves: VecDeque<(ContextPatch, SaveAnswer)>,
}

enum HeldState {
    Queued,
    Running,
    Finished(AttemptResult),
}

/// See the module.
pub(crate) struct Holdings {
    pub(crate) events: mpsc::UnboundedReceiver<AttemptEvent>,
    sender: mpsc::UnboundedSender<AttemptEvent>,
    processors: Processors,
    tracer: Tracer,
    concurrency: usize,
    held: HashMap<AttemptToken, Held>,
    queue: VecDeque<ActivityTask>,
    /// Tasks of attempts, those included that were cancelled and have not ended yet.
    running: usize,
    outbox: Vec<AgentMessage>,
    pub(crate) asks: Asks,
    connected: bool,
    message_limit: usize,
    drain_limit: Duration,
    drain: Option<Drain>,
    /// Results that were given up because nobody accepted them in time.
    abandoned: usize,
}

struct Drain {
    /// When to stop waiting for what runs.
    until: Instant,
    /// Whether that has passed: what runs is cancelled, and only its end is waited for.
    cancelled: bool,
}

impl Holdings {
    pub(crate) fn new(processors: Processors, concurrency: u32, drain_limit: Duration, tracer: Tracer) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        Self {
            events,
            sender,
            processors,
            tracer,
            concurrency: concurrency as usize,
            held: HashMap::new(),
            queue: VecDeque::new(),
            running: 0,
            outbox: Vec::new(),
            asks: Asks::default(),
            connected: false,
            message_limit: usize::MAX,
            drain_limit,
            drain: None,
            abandoned: 0,
        }
    }

    pub(crate) fn activity_types(&self) -> Vec<Name> {
        let mut types: Vec<Name> = self.processors.keys().cloned().collect();
        types.sort();
        types
    }

    pub(crate) fn tokens(&self) -> Vec<AttemptToken> {
        self.held.keys().copied().collect()
    }

    /// How many results the node never accepted, once the agent leaves.
    pub(crate) fn lost_results(&self) -> usize {
        self.abandoned + self.undelivered()
    }

    fn undelivered(&self) -> usize {
        self.held
            .values()
            .filter(|held| matches!(held.state, HeldState::Finished(_)))
            .count()
    }

    // ---- what is to be said

    pub(crate) fn say(&mut self, message: AgentMessage) {
        self.outbox.push(message);
    }

    /// What a new connection says anew, or does not have to say.
    pub(crate) fn say_if_connected(&mut self, message: Option<AgentMessage>) {
        self.outbox.extend(message.filter(|_| self.connected));
    }

    pub(crate) fn has_to_say(&self) -> bool {
        !self.outbox.is_empty()
    }

    pub(crate) fn take_outbox(&mut self) -> Vec<AgentMessage> {
        std::mem::take(&mut self.outbox)
    }

    /// A new connection is up: forgets what the node dropped, and says again what was not answered.
    pub(crate) fn resume(&mut self, welcome: &Welcome, limit: usize) {
        self.connected = true;
        self.message_limit = limit.saturating_sub(2);
        let asks = self.asks.resume(welcome.max_asks, self.message_limit);
        self.outbox.extend(asks);
        for &token in &welcome.drop {
            self.cancel(token, "the server gave the attempt up while the connection was gone");
        }
        for (&token, held) in &self.held {
            for (patch, _) in &held.saves {
                self.outbox.push(AgentMessage::Context(ContextUpdate {
                    token,
                    patch: patch.clone(),
                }));
            }
            if let HeldState::Finished(result) = &held.state {
                self.outbox.push(AgentMessage::Result(result.clone()));
            }
        }
    }

    /// The connection is gone. Only log text is kept to be said later; the rest is said anew after the next welcome.
    pub(crate) fn disconnected(&mut self) {
        self.connected = false;
        self.asks.disconnected(&self.outbox);
        self.outbox.retain(|message| matches!(message, AgentMessage::Log(_)));
        self.outbox.truncate(MAX_LOGS_WHILE_AWAY);
    }

    // ---- what the node says

    pub(crate) fn take_activity(&mut self, task: ActivityTask) {
        if self.held.contains_key(&task.token) {
            tracing::debug!(token = %task.token, "an attempt that is held already was sent again");
            return;
        }
        if self.held.len() >= self.concurrency {
            tracing::error!(
                token = %task.token,
                "the server sent more than the {} attempts that this agent takes; this one waits",
                self.concurrency
            );
        }
        let attempt = AttemptHandle::new(task.token, self.sender.clone());
        self.held.insert(
            task.token,
            Held {
                attempt,
                state: HeldState::Queued,
                saves: VecDeque::new(),
            },
        );
        self.queue.push_back(task);
        self.start_queued();
    }

    /// Starts what waits, as far as there is room. A draining agent starts nothing more: its goodbye gives it back.
    fn start_queued(&mut self) {
        while self.running < self.concurrency && self.drain.is_none() {
            let Some(task) = self.queue.pop_front() else { return };
            let Some(held) = self.held.get_mut(&task.token) else {
                continue;
            };
            let Some(processor) = self.processors.get(&task.activity_type) else {
                let message = format!(
                    "this agent runs no activities of the type {:?}",
                    task.activity_type.as_str()
                );
                let outcome = Outcome::Retry {
                    error: ActivityError::new("wrong-agent", message),
                };
                self.finish(AttemptResult {
                    token: task.token,
                    outcome,
                    patch: None,
                });
                continue;
            };
            held.state = HeldState::Running;
            self.running += 1;
            tracing::debug!(
                namespace = %task.namespace, run = %task.orchestration_id, activity = %task.activity_id,
                attempt = task.attempt, token = %task.token, "attempt begins"
            );
            executor::start(Arc::clone(processor), task, held.attempt.clone(), self.tracer.clone());
        }
    }

    /// The attempt is no longer the agent's: stops and forgets it.
    pub(crate) fn cancel(&mut self, token: AttemptToken, reason: &str) {
        if let Some(held) = self.held.remove(&token) {
            tracing::info!(%token, reason, "attempt cancelled");
            held.attempt.cancel();
            self.queue.retain(|task| task.token != token);
        }
    }

    pub(crate) fn accepted(&mut self, token: AttemptToken) {
        match self.held.get(&token).map(|held| &held.state) {
            Some(HeldState::Finished(_)) => {
                self.held.remove(&token);
            }
            Some(_) => tracing::warn!(%token, "the server accepted a result that was not sent"),
            None => {}
        }
    }

    pub(crate) fn context_accepted(&mut self, token: AttemptToken) {
        if let Some((_, answer)) = self.held.get_mut(&token).and_then(|held| held.saves.pop_front()) {
            let _ = answer.send(Ok(()));
        }
    }

    /// Answers come in order, so a refusal is about the oldest context change, and about the result when there is none.
    pub(crate) fn refused(&mut self, refused: Refused) {
        let Refused { token, code, message } = refused;
        let Some(held) = self.held.get_mut(&token) else { return };
        if let Some((_, answer)) = held.saves.pop_front() {
            let _ = answer.send(Err(SaveError::Refused { code, message }));
            return;
        }
        tracing::warn!(%token, code, message, "the server refused what was said about an attempt");
        if matches!(held.state, HeldState::Finished(_)) {
            self.held.remove(&token);
        }
    }

    // ---- what attempts say

    pub(crate) fn handle_all(&mut self, events: &mut Vec<AttemptEvent>) {
        for event in events.drain(..) {
            self.handle(event);
        }
    }

    pub(crate) fn handle(&mut self, event: AttemptEvent) {
        match event {
            AttemptEvent::Finished(token, result) => {
                // Attempts that were given up while draining are no longer counted.
                self.running = self.running.saturating_sub(1);
                match result {
                    Some(result) => self.finish(result),
                    None => drop(self.held.remove(&token)),
                }
                self.start_queued();
            }
            AttemptEvent::Log(line) => {
                let room = self.connected || self.outbox.len() < MAX_LOGS_WHILE_AWAY;
                if room && self.held.contains_key(&line.token) {
                    self.outbox.push(AgentMessage::Log(line));
                }
            }
            AttemptEvent::Note(token) => {
                let note = self.held.get(&token).and_then(|held| held.attempt.take_note());
                if let (Some(note), true) = (note, self.connected) {
                    self.outbox.push(AgentMessage::Heartbeat(Heartbeat {
                        token: Some(token),
                        note: Some(note),
                    }));
                }
            }
            AttemptEvent::Save(token, patch, answer) => self.save(token, patch, answer),
            AttemptEvent::Ask(id, asked) => {
                let message = self.asks.begin(id, *asked, self.message_limit);
                self.say_if_connected(message);
            }
            AttemptEvent::StopAsking(id) => {
                let message = self.asks.stop(id);
                self.say_if_connected(message);
            }
        }
    }

    /// Keeps the result until the node has accepted or refused it.
    fn finish(&mut self, result: AttemptResult) {
        let Some(held) = self.held.get_mut(&result.token) else {
            return;
        };
        let result = fit(result, self.message_limit);
        if self.connected {
            self.outbox.push(AgentMessage::Result(result.clone()));
        }
        held.state = HeldState::Finished(result);
    }

    fn save(&mut self, token: AttemptToken, patch: ContextPatch, answer: SaveAnswer) {
        let Some(held) = self.held.get_mut(&token) else { return };
        let bytes = patch_bytes(&patch) + ENVELOPE_BYTES;
        if bytes > self.message_limit {
            let _ = answer.send(Err(SaveError::TooLarge {
                bytes,
                limit: self.message_limit,
            }));
            return;
        }
        if self.connected {
            self.outbox.push(AgentMessage::Context(ContextUpdate {
                token,
                patch: patch.clone(),
            }));
        }
        held.saves.push_back((patch, answer));
    }

    // ---- leaving

    /// Starts nothing more; what runs may finish.
    pub(crate) fn start_draining(&mut self) {
        if self.drain.is_none() {
            tracing::info!(running = self.running, "draining: finishing what runs");
            self.drain = Some(Drain {
                until: Instant::now() + self.drain_limit,
                cancelled: false,
            });
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Whether nothing runs any more and every result is accepted.
    pub(crate) fn is_drained(&self) -> bool {
        self.drain.is_some() && self.running == 0 && self.undelivered() == 0
    }

    /// Whether the agent leaves now, with what it could not do.
    pub(crate) fn gives_up(&self) -> bool {
        self.drain
            .as_ref()
            .is_some_and(|drain| drain.cancelled && Instant::now() >= drain.until)
    }

    /// Resolves when the time to drain is up; never when the agent does not drain.
    pub(crate) fn drain_timeout(&self) -> impl Future<Output = ()> + use<> {
        let until = self.drain.as_ref().map(|drain| drain.until);
        async move {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        }
    }

    /// The time to drain is up. Cancels what runs, and gives it and the last results a little longer to end; after that
    /// forgets everything.
    pub(crate) fn stop_waiting(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        if drain.cancelled {
            self.abandoned += self.undelivered();
            self.running = 0;
            self.held.clear();
            return;
        }
        tracing::warn!(
            running = self.running,
            "the time to drain is up; what still runs is cancelled"
        );
        // A little more than what attempts get, so that the last one's end is still seen.
        *drain = Drain {
            until: Instant::now() + CANCEL_GRACE + Duration::from_secs(1),
            cancelled: true,
        };
        self.held.retain(|_, held| {
            held.attempt.cancel();
            matches!(held.state, HeldState::Finished(_))
        });
    }
}

/// An agent that ends, however it does, leaves nothing running.
impl Drop for Holdings {
    fn drop(&mut self) {
        self.held.values().for_each(|held| held.attempt.cancel());
    }
}

fn patch_bytes(patch: &ContextPatch) -> usize {
    // A key's characters can grow sixfold when they are escaped.
    let set: usize = patch
        .set
        .iter()
        .map(|(key, value)| key.len() * 6 + value.get().len() + 8)
        .sum();
    set + patch.delete.iter().map(|key| key.len() * 6 + 8).sum::<usize>()
}

/// The result, or a fatal error in its place when the node would not take a message of that size.
fn fit(result: AttemptResult, limit: usize) -> AttemptResult {
    let output = match &result.outcome {
        Outcome::Complete { output: Some(output) } => output.get().len(),
        _ => 0,
    };
    let patch = result.patch.as_ref().map_or(0, patch_bytes);
    if output + patch + ENVELOPE_BYTES <= limit || output + patch == 0 {
        return result;
    }
    let message = format!(
        "the output ({output} bytes) and the context changes ({patch} bytes) of the attempt are together larger than \
         the {limit} bytes that the server takes in one message; store large data elsewhere and pass where it is"
    );
    let outcome = Outcome::Fatal {
        error: ActivityError::new("too-large", message),
    };
    AttemptResult {
        token: result.token,
        outcome,
        patch: None,
    }
}
