//! What travels from the driver to the writer.

use rustc_hash::FxHashMap;
use unisono_engine::agent::SessionId;
use unisono_engine::codec::{BatchWriter, EventRange};
use unisono_engine::orchestration::{Listed, RunKey};
use unisono_engine::snapshot::Entity;
use unisono_engine::{Effect, Rejection, Reply, State};
use unisono_model::ids::{AttemptToken, Revision};
use unisono_model::protocol::{Accepted, Refused, ServerMessage};

use crate::feed::Told;
use crate::fleets::Touches;
use crate::metrics::Tally;
use crate::sessions::Outgoing;

/// Who is told once the batch is durable.
pub(crate) enum Responder {
    /// Nobody.
    None,
    /// Whoever waits here.
    Channel(tokio::sync::oneshot::Sender<Result<Reply, Rejection>>),
    /// The agent that reported on an attempt, or changed the context while it runs.
    Agent(SessionId, AgentAnswer),
    /// This.
    Call(Box<dyn FnOnce(Result<Reply, Rejection>) + Send>),
}

impl Responder {
    /// Tells whoever waits; what an agent is told goes with everything else that it is told.
    pub(super) fn respond(self, outcome: Result<Reply, Rejection>, to_agents: &mut ToAgents) {
        match self {
            Self::None => {}
            Self::Channel(sender) => {
                // Whoever asked may have gone.
                let _ = sender.send(outcome);
            }
            Self::Agent(session, answer) => to_agents
                .entry(session)
                .or_default()
                .push(Outgoing::Message(answer.message(outcome))),
            Self::Call(call) => call(outcome),
        }
    }
}

/// What one batch says to agents.
pub(super) type ToAgents = FxHashMap<SessionId, Vec<Outgoing>>;

/// What an agent is answered about an attempt.
#[derive(Clone, Copy)]
pub(crate) struct AgentAnswer {
    pub(crate) token: AttemptToken,
    pub(crate) is_result: bool,
}

impl AgentAnswer {
    pub(crate) fn message(self, outcome: Result<Reply, Rejection>) -> ServerMessage {
        let token = self.token;
        match outcome {
            Ok(_) if self.is_result => ServerMessage::Accepted(Accepted { token }),
            Ok(_) => ServerMessage::ContextAccepted(Accepted { token }),
            Err(rejection) => ServerMessage::Refused(refused(token, &rejection)),
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

/// Room that a batch gets beforehand at most, in bytes of events and in items.
const LIKELY_BYTES: usize = 256 * 1024;
const LIKELY: usize = 8 * 1024;

/// One group commit.
pub(crate) struct Batch {
    pub(crate) events: BatchWriter,
    pub(crate) run_events: Vec<RunEvent>,
    /// What watches of values, locks and elections tell.
    pub(crate) told: Vec<Told>,
    /// What has changed of entities that somebody may watch.
    pub(crate) touches: Touches,
    pub(crate) effects: Vec<Effect>,
    pub(crate) releases: Vec<Release>,
    /// Open runs that lists show differently, once the batch is closed.
    pub(crate) listed: Vec<Listed>,
    pub(crate) rows: Vec<(Entity, Option<Vec<u8>>)>,
    /// Bytes of the rows.
    pub(crate) row_bytes: usize,
    pub(crate) mark: CheckpointMark,
    /// What it adds to the counters.
    pub(crate) tally: Tally,
    /// The last revision decided when the batch was closed.
    pub(crate) revision: Revision,
}

impl Batch {
    /// An empty batch after `revision`.
    pub(crate) fn after(revision: Revision) -> Self {
        Self {
            events: BatchWriter::new(revision.next()),
            run_events: Vec::new(),
            told: Vec::new(),
            touches: Touches::default(),
            effects: Vec::new(),
            releases: Vec::new(),
            listed: Vec::new(),
            rows: Vec::new(),
            row_bytes: 0,
            mark: CheckpointMark::None,
            tally: Tally::NONE,
            revision,
        }
    }

    /// Closes the batch at the revision of `state`, and puts an empty one in its place, with room for as much again.
    pub(crate) fn close(&mut self, state: &mut State) -> Self {
        let revision = state.revision;
        let next = Self {
            events: BatchWriter::with_capacity(revision.next(), self.events.bytes().min(LIKELY_BYTES)),
            run_events: Vec::with_capacity(self.run_events.len().min(LIKELY)),
            told: Vec::with_capacity(self.told.len().min(LIKELY)),
            effects: Vec::with_capacity(self.effects.len().min(LIKELY)),
            releases: Vec::with_capacity(self.releases.len().min(LIKELY)),
            ..Self::after(revision)
        };
        let mut closed = std::mem::replace(self, next);
        closed.revision = revision;
        closed.listed = state.take_listed();
        closed
    }

    /// Lets callers go who wait for an answer that cannot be given for a while; they learn that there is none. What agents
    /// are told stays.
    pub(crate) fn let_go(&mut self) {
        self.releases.retain(|release| {
            let waits = matches!(release, Release::Answer(_) | Release::Respond(Responder::Channel(_), _));
            !waits
        });
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
