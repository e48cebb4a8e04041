//! The thread that makes batches durable, and only then lets anything out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use unisono_engine::Effect;
use unisono_engine::codec::{BatchWriter, FinishedBatch};
use unisono_engine::definition::Definitions;
use unisono_journal::{AppendError, FileJournal, Journal, Position};

use super::batch::{Batch, CheckpointMark, Release, ToAgents};
use super::driver::Message;
use super::projector::{Durable, Projection, ProjectorHandle};
use super::{Shared, projector};
use crate::sessions::Outgoing;
use unisono_model::protocol::{CancelAttempt, ServerMessage};

/// What the writer is told.
pub(super) enum WriterMessage {
    Batch(Box<Batch>),
    /// A checkpoint up to here is durable.
    Trim(Position),
    /// Look at the journal between two appends.
    Look(Box<dyn FnOnce(&FileJournal) + Send>),
    /// Give the journal back.
    Stop,
}

pub(super) struct Writer {
    pub(super) shared: Shared,
    pub(super) journal: FileJournal,
    pub(super) position: Position,
    pub(super) projector: ProjectorHandle,
    pub(super) definitions: Arc<ArcSwap<Definitions>>,
    pub(super) driver: Sender<Message>,
    /// The end of the batch with which the checkpoint under way began.
    pub(super) checkpoint_from: Option<Position>,
}

/// How long nothing is appended before the journal makes known for good how far it has reached.
const SETTLE_AFTER: Duration = Duration::from_secs(1);

impl Writer {
    /// Runs until told to stop, or until an append fails. Gives the journal back either way.
    pub(super) fn run(
        mut self,
        runtime: &tokio::runtime::Runtime,
        messages: &Receiver<WriterMessage>,
    ) -> (FileJournal, Result<(), AppendError>) {
        let mut settled = true;
        loop {
            let next = match settled {
                true => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => messages.recv_timeout(SETTLE_AFTER),
            };
            let message = match next {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    self.journal.settle();
                    settled = true;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            match message {
                WriterMessage::Batch(batch) => {
                    let appended = runtime.block_on(self.append(*batch));
                    if let Err(error) = appended {
                        return (self.journal, Err(error));
                    }
                    settled = false;
                    let _ = self.driver.send(Message::WriterIdle);
                }
                WriterMessage::Trim(position) => {
                    let trim = || runtime.block_on(self.journal.trim(position));
                    match self.shared.holds.journal.remove(trim) {
                        Some(Err(error)) => tracing::warn!(
                            %position,
                            "cannot trim the journal, which keeps growing until it can be: {error}"
                        ),
                        Some(Ok(())) => {}
                        None => tracing::debug!(%position, "a backup reads the journal; a later checkpoint trims it"),
                    }
                    self.measure();
                }
                WriterMessage::Look(look) => look(&self.journal),
                WriterMessage::Stop => break,
            }
        }
        (self.journal, Ok(()))
    }

    fn measure(&self) {
        let bytes = i64::try_from(self.journal.size_bytes()).unwrap_or(i64::MAX);
        self.shared.metrics.journal_bytes.set(bytes);
    }

    async fn append(&mut self, mut batch: Batch) -> Result<(), AppendError> {
        let events = batch.events.len();
        let FinishedBatch { bytes, start, body } =
            std::mem::replace(&mut batch.events, BatchWriter::with_capacity(batch.revision, 0)).finish();
        let bytes = Bytes::from(bytes);
        let body = bytes.slice(body..);
        if events > 0 {
            let begin = Instant::now();
            self.position = self.journal.append(self.position, bytes.slice(start..)).await?;
            let up_to = (self.position, batch.revision);
            let metrics = &self.shared.metrics;
            metrics.appended(&batch.tally, bytes.len() - start, begin.elapsed(), up_to);
            self.measure();
        }
        self.shared.metrics.accepted(&batch.tally);
        self.release(batch, body);
        Ok(())
    }

    /// Lets everything out that depended on the batch.
    fn release(&mut self, batch: Batch, body: Bytes) {
        // Before the replies: whoever has applied a definition finds it.
        let changed = batch.effects.iter().rev().find_map(|effect| match effect {
            Effect::DefinitionsChanged(definitions) => Some(Arc::clone(definitions)),
            _ => None,
        });
        if let Some(definitions) = changed {
            self.definitions.store(definitions);
        }
        let mut to_agents = ToAgents::default();
        for release in batch.releases {
            match release {
                Release::Respond(responder, outcome) => responder.respond(outcome, &mut to_agents),
                Release::Answer(answer) => answer(),
            }
        }
        let (mut projected, mut ended) = (Vec::new(), Vec::new());
        for effect in batch.effects {
            match effect {
                Effect::Dispatch { session, task } => {
                    to_agents.entry(session).or_default().push(Outgoing::Task(task));
                }
                Effect::CancelAttempt { session, token, reason } => {
                    let cancel = ServerMessage::Cancel(CancelAttempt { token, reason });
                    to_agents.entry(session).or_default().push(Outgoing::Message(cancel));
                }
                Effect::DefinitionsChanged(_) => {}
                Effect::AttemptEnded(attempt) => self.shared.traces.attempt(*attempt),
                Effect::Ended(run) => {
                    tracing::debug!(namespace = %run.namespace, run = %run.id, state = run.state.as_str(), "orchestration ended");
                    self.shared.traces.ended(&run);
                    ended.push(run);
                }
                summary @ Effect::Summary { .. } => projected.push(summary),
            }
        }
        self.shared.sessions.send_all(to_agents.into_iter());
        self.shared.hub.ended(&ended);
        self.shared.hub.publish(&batch.run_events, &body);
        let checkpoint = match batch.mark {
            CheckpointMark::Begins => {
                self.shared.metrics.checkpoint_begins();
                self.checkpoint_from = Some(self.position);
                None
            }
            CheckpointMark::Ends(revision) => self.checkpoint_from.take().map(|position| (position, revision)),
            CheckpointMark::None => None,
        };
        let nothing = body.is_empty() && projected.is_empty() && batch.rows.is_empty() && checkpoint.is_none();
        if nothing {
            return;
        }
        self.projector.send(Projection::Durable(Box::new(Durable {
            revision: batch.revision,
            body,
            run_events: batch.run_events,
            effects: projected,
            rows: batch.rows,
            checkpoint,
        })));
    }
}

/// Starts the projector's thread; its end, good or bad, is told to the driver.
pub(super) fn start_projector(
    shared: &Shared,
    handle: ProjectorHandle,
    receiver: Receiver<Projection>,
    writer: Sender<WriterMessage>,
    driver: Sender<Message>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let (store, metrics) = (shared.store.clone(), Arc::clone(&shared.metrics));
    std::thread::Builder::new().name("projector".to_owned()).spawn(move || {
        let trim = |position, revision| {
            metrics.checkpoint_ends(position, revision);
            let _ = writer.send(WriterMessage::Trim(position));
        };
        let ended = projector::run(store, &handle, &receiver, trim);
        if let Err(error) = ended {
            let _ = driver.send(Message::ProjectorFailed(error.to_string()));
        }
    })
}
