//! What attempts ask of values, until it is answered. Outlives connections: what can be asked again is asked again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use unisono_client::ValueWatchEvent;
use unisono_model::api::Problem;
use unisono_model::ids::AttemptToken;
use unisono_model::protocol::{AgentMessage, Answer, Answered, Ask, Question, StopAsking, WatchChange};
use unisono_model::values::{Expectation, OperationRequest, TransactionRequest};

use crate::processor::ActivityFailure;

/// Bytes of an ask around what is asked.
const ENVELOPE_BYTES: usize = 256;

/// Why something was not answered with what was asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AskError {
    /// The server refused it, and nothing was changed.
    #[error("{} ({})", .0.detail, .0.code)]
    Refused(Box<Problem>),
    /// The connection was lost before a write was answered: it may have been done, or not. A write that expects the
    /// revision of its key is asked again, and then this says that the key has another revision by now: that of this write,
    /// or of somebody else's.
    #[error(
        "the connection was lost before the write was answered, so it may have been done or not; look before you repeat it"
    )]
    OutcomeUnknown,
    /// The attempt was cancelled.
    #[error("the attempt was cancelled; what it asked is not waited for")]
    Cancelled,
    /// It is larger than what the server takes at once.
    #[error("what is asked takes {bytes} bytes; the server takes at most {limit} bytes in one message")]
    TooLarge {
        /// Bytes of what is asked.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The server is older than this agent.
    #[error("the server offers no values over the connection of an agent; use a server of the same release")]
    Unsupported,
    /// What is asked cannot be sent.
    #[error("{0}")]
    Unwritable(String),
    /// What is answered cannot be understood, or was not answered in time.
    #[error("{0}")]
    Unreadable(String),
    /// The agent has ended.
    #[error("the agent has ended before this was answered")]
    Gone,
}

impl AskError {
    /// The server's code for programs, such as `value-not-found`, if it refused.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// Whether the server could not answer just now.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.status == 503)
    }
}

/// What is wrong with the question is fatal; everything else is worth another attempt.
impl From<AskError> for ActivityFailure {
    fn from(error: AskError) -> Self {
        let code = error.code().unwrap_or("values").to_owned();
        match &error {
            AskError::Refused(problem) if matches!(problem.status, 400 | 413 | 422) => Self::fatal(code, error),
            AskError::TooLarge { .. } | AskError::Unsupported | AskError::Unwritable(_) => Self::fatal(code, error),
            _ => Self::retry(code, error),
        }
    }
}

/// Something that an attempt asks.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) token: AttemptToken,
    pub(crate) question: Question,
    /// Until when an await waits.
    pub(crate) until: Option<Instant>,
    pub(crate) answers: Answers,
}

/// Where the answers go.
#[derive(Debug)]
pub(crate) enum Answers {
    Once(oneshot::Sender<Result<Answered, AskError>>),
    Watch(mpsc::Sender<Result<ValueWatchEvent, AskError>>),
}

impl Answers {
    /// The last word. A watch that has more to tell than anybody reads is told by the end of its channel.
    fn end(self, answer: Result<Answered, AskError>) {
        // Whoever asked may have gone.
        match self {
            Self::Once(sender) => drop(sender.send(answer)),
            Self::Watch(sender) => {
                if let Err(error) = answer {
                    let _ = sender.try_send(Err(error));
                }
            }
        }
    }
}

/// A number that no other ask of this process has.
pub(crate) fn next_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

struct Open {
    asked: Asked,
    /// It was asked over an earlier connection, and perhaps done.
    repeated: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Asks {
    open: BTreeMap<u64, Open>,
    unsupported: bool,
}

impl Asks {
    /// Takes what an attempt asks, and gives what is to be said of it to a node that takes messages of this size.
    pub(crate) fn begin(&mut self, id: u64, asked: Asked, limit: usize) -> Option<AgentMessage> {
        if self.unsupported {
            asked.answers.end(Err(AskError::Unsupported));
            return None;
        }
        let message = match message(id, &asked, limit) {
            Ok(message) => message,
            Err(error) => {
                asked.answers.end(Err(error));
                return None;
            }
        };
        let repeated = false;
        self.open.insert(id, Open { asked, repeated });
        Some(message)
    }

    /// Nobody waits for it any more; gives what is to be said of that.
    pub(crate) fn stop(&mut self, id: u64) -> Option<AgentMessage> {
        self.open.remove(&id)?;
        Some(AgentMessage::Stop(StopAsking { id }))
    }

    /// A connection is up: gives what is to be asked on it.
    pub(crate) fn resume(&mut self, max_asks: u32, limit: usize) -> Vec<AgentMessage> {
        self.unsupported = max_asks == 0;
        let mut messages = Vec::new();
        for (id, open) in std::mem::take(&mut self.open) {
            if self.unsupported {
                open.asked.answers.end(Err(AskError::Unsupported));
                continue;
            }
            match message(id, &open.asked, limit) {
                Ok(message) => {
                    messages.push(message);
                    self.open.insert(id, open);
                }
                Err(error) => open.asked.answers.end(Err(error)),
            }
        }
        messages
    }

    /// The connection is gone. What may have been done and cannot be repeated is answered so; watches go on from where
    /// whoever watches is.
    pub(crate) fn disconnected(&mut self, unsaid: &[AgentMessage]) {
        let unsaid: Vec<u64> = unsaid
            .iter()
            .filter_map(|message| match message {
                AgentMessage::Ask(ask) => Some(ask.id),
                _ => None,
            })
            .collect();
        for (id, mut open) in std::mem::take(&mut self.open) {
            let was_said = !unsaid.contains(&id);
            match &open.asked.answers {
                Answers::Watch(_) if was_said => {}
                Answers::Once(_) if was_said && !is_repeatable(&open.asked.question) => {
                    open.asked.answers.end(Err(AskError::OutcomeUnknown));
                }
                _ => {
                    open.repeated |= was_said;
                    self.open.insert(id, open);
                }
            }
        }
    }

    /// The node answers.
    pub(crate) fn answer(&mut self, answer: &Answer) {
        let Some(open) = self.open.remove(&answer.id) else {
            return;
        };
        let answered = match serde_json::from_str(answer.outcome.get()) {
            Ok(Answered::Refused(problem)) => Err(refused(problem, &open)),
            Ok(answered) => Ok(answered),
            Err(error) => Err(AskError::Unreadable(format!(
                "the server's answer cannot be read: {error}"
            ))),
        };
        open.asked.answers.end(answered);
    }

    /// A watch tells something; gives what is to be said when nobody reads it.
    pub(crate) fn change(&mut self, change: &WatchChange) -> Option<AgentMessage> {
        let Answers::Watch(sender) = &self.open.get(&change.id)?.asked.answers else {
            return None;
        };
        let event = match &change.change {
            None => Ok(ValueWatchEvent::Progress(change.revision)),
            Some(text) => serde_json::from_str(text.get())
                .map(|change| ValueWatchEvent::Change(Box::new(change)))
                .map_err(|error| AskError::Unreadable(format!("the server's change cannot be read: {error}"))),
        };
        // Who is too slow watches again from the last change that it has seen.
        sender.try_send(event).err().and_then(|_| self.stop(change.id))
    }
}

fn refused(problem: Box<Problem>, open: &Open) -> AskError {
    let is_unknown = match &*problem.code {
        "outcome-unknown" => true,
        "condition-failed" => open.repeated,
        _ => false,
    };
    if is_unknown {
        AskError::OutcomeUnknown
    } else {
        AskError::Refused(problem)
    }
}

/// Whether asking again does nothing twice. A condition on a revision cannot hold again after the write, as no revision comes
/// back; one on absence or on what a key holds can.
fn is_repeatable(question: &Question) -> bool {
    match question {
        Question::Get { .. } | Question::List { .. } | Question::Await { .. } | Question::Watch { .. } => true,
        Question::Put { with, .. } => with.r#if.as_ref().is_some_and(is_of_revision),
        Question::Delete { revision, .. } => revision.is_some(),
        Question::Transact(request) => spends_a_revision(request),
        Question::Declare { .. } | Question::Break { .. } | Question::Withdraw { .. } => false,
    }
}

fn is_of_revision(is: &Expectation) -> bool {
    is.revision.is_some()
}

/// Whether a key whose revision is expected is written as well, or nothing is written at all.
fn spends_a_revision(request: &TransactionRequest) -> bool {
    let written = |it: &OperationRequest| match it {
        OperationRequest::Put { key, .. } | OperationRequest::Delete { key, .. } => Some(key.clone()),
        OperationRequest::Get { .. } => None,
    };
    let written: Vec<_> = request.then.iter().filter_map(written).collect();
    let spends = |condition: &unisono_model::values::Condition| {
        is_of_revision(&condition.is) && written.contains(&condition.key)
    };
    written.is_empty() || request.r#if.iter().any(spends)
}

fn message(id: u64, asked: &Asked, limit: usize) -> Result<AgentMessage, AskError> {
    let what = match (&asked.question, asked.until) {
        (Question::Await { key, party, .. }, Some(until)) => write(&Question::Await {
            key: key.clone(),
            party: party.clone(),
            wait_ms: millis_up(until.saturating_duration_since(Instant::now())),
        }),
        (question, _) => write(question),
    }?;
    let bytes = what.get().len() + ENVELOPE_BYTES;
    if bytes > limit {
        return Err(AskError::TooLarge { bytes, limit });
    }
    let token = Some(asked.token);
    Ok(AgentMessage::Ask(Ask { id, token, what }))
}

fn write(question: &Question) -> Result<Box<RawValue>, AskError> {
    to_raw_value(question).map_err(|error| AskError::Unwritable(format!("what is asked cannot be written: {error}")))
}

/// Whole milliseconds, and one more for what is left of one.
pub(crate) fn millis_up(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}
