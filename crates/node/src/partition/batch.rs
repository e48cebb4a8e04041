//! What travels from the driver to the writer.

use unisono_engine::codec::{BatchWriter, EventRange};
use unisono_engine::orchestration::RunKey;
use unisono_engine::snapshot::Entity;
use unisono_engine::{Effect, Rejection, Reply};
use unisono_model::ids::{AttemptToken, Revision};
use unisono_model::protocol::{Accepted, Refused, ServerMessage};

use crate::sessions::{Outgoing, SessionSender};

/// Who is told once the batch is durable.
pub(crate) enum Responder {
    /// Nobody.
    None,
    /// Whoever waits here.
    Channel(tokio::sync::oneshot::Sender<Result<Reply, Rejection>>),
    /// The agent that reported on this attempt, or changed the context while it runs.
    Agent {
        session: SessionSender,
        token: AttemptToken,
        is_result: bool,
    },
    /// This.
    Call(Box<dyn FnOnce(Result<Reply, Rejection>) + Send>),
}

impl Responder {
    pub(crate) fn respond(self, outcome: Result<Reply, Rejection>) {
        match self {
            Self::None => {}
            Self::Channel(sender) => {
                // Whoever asked may have gone.
                let _ = sender.send(outcome);
            }
            Self::Agent {
                session,
                token,
                is_result,
            } => match outcome {
                Ok(_) if is_result => session.send(Outgoing::Message(ServerMessage::Accepted(Accepted { token }))),
                Ok(_) => session.send(Outgoing::Message(ServerMessage::ContextAccepted(Accepted { token }))),
                Err(rejection) => session.send(Outgoing::Message(ServerMessage::Refused(refused(token, &rejection)))),
            },
            Self::Call(call) => call(outcome),
        }
    }
}

fn refused(token: AttemptToken, rejection: &Rejection) -> Refused {
    let code = match rejection {
        Rejection::StaleToken { .. } => "stale-token",
        Rejection::ContextTooLarge => "too-large",
        _ => "refused",
    };
    Refused {
        token,
        code: code.to_owned(),
        message: rejection.to_string(),
    }
}

/// An event about a run: where its bytes stand in the body of its batch.
pub(crate) struct RunEvent {
    pub(crate) run: RunKey,
    pub(crate) revision: Revision,
    pub(crate) range: EventRange,
}

/// How a batch takes part in a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckpointMark {
    None,
    /// Everything up to the end of this batch will be covered.
    Begins,
    /// Every row that the checkpoint needs has been sent; it covers this revision.
    Ends(Revision),
}

/// What is to be told once the batch is durable.
pub(crate) enum Release {
    Respond(Responder, Result<Reply, Rejection>),
    Answer(Box<dyn FnOnce() + Send>),
}

/// One group commit.
pub(crate) struct Batch {
    pub(crate) events: BatchWriter,
    pub(crate) run_events: Vec<RunEvent>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) releases: Vec<Release>,
    pub(crate) rows: Vec<(Entity, Option<Vec<u8>>)>,
    /// Bytes of the rows.
    pub(crate) row_bytes: usize,
    pub(crate) mark: CheckpointMark,
    /// The last revision decided when the batch was closed.
    pub(crate) revision: Revision,
}

impl Batch {
    /// An empty batch after `revision`.
    pub(crate) fn after(revision: Revision) -> Self {
        Self {
            events: BatchWriter::new(revision.next()),
            run_events: Vec::new(),
            effects: Vec::new(),
            releases: Vec::new(),
            rows: Vec::new(),
            row_bytes: 0,
            mark: CheckpointMark::None,
            revision,
        }
    }

    /// Whether there is nothing to write, tell or do.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.releases.is_empty()
            && self.rows.is_empty()
            && self.effects.is_empty()
            && self.mark == CheckpointMark::None
    }
}
