//! The thread that makes batches durable, and only then lets anything out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use unisono_engine::Effect;
use unisono_engine::codec::{BatchWriter, FinishedBatch};
use unisono_engine::orchestration::Run;
use unisono_journal::{AppendError, FileJournal, Journal, Position};

use super::batch::{Batch, CheckpointMark, RunEvent};
use super::driver::Message;
use super::projector::{Durable, Projection, ProjectorHandle, deleted};
use super::release::{Released, Releaser};
use super::{Shared, projector};

/// Bytes of the journal before a checkpoint that are kept for watches that were away for a while.
const HISTORY_BYTES: u64 = 32 * 1024 * 1024;

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
    pub(super) releaser: Releaser,
    pub(super) driver: Sender<Message>,
    /// The end of the batch with which the checkpoint under way began.
    pub(super) checkpoint_from: Option<Position>,
}

/// How long nothing is appended before the journal makes known for good how far it has reached.
const SETTLE_AFTER: Duration = Duration::from_secs(1);

/// How often an append is tried again for which the disk has no room.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// After this long without room, callers are no longer kept waiting.
const KEEP_WAITING: Duration = Duration::from_secs(2);

/// A batch that the disk has no room for.
pub(super) struct Held {
    pub(super) batch: Batch,
    bytes: Bytes,
    body: Bytes,
    since: Instant,
}

impl Writer {
    /// Runs until told to stop, or until an append fails. Gives the journal back either way.
    pub(super) fn run(
        mut self,
        runtime: &tokio::runtime::Runtime,
        messages: &Receiver<WriterMessage>,
    ) -> (FileJournal, Result<(), AppendError>) {
        let mut settled = true;
        let mut held: Option<Held> = None;
        loop {
            let next = match (&held, settled) {
                (Some(_), _) => messages.recv_timeout(TRY_AGAIN),
                (None, false) => messages.recv_timeout(SETTLE_AFTER),
                (None, true) => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(WriterMessage::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(message) => {
                    settled &= !matches!(message, WriterMessage::Batch(_));
                    match self.take(runtime, message) {
                        Ok(without_room) => held = without_room.or(held),
                        Err(error) => return (self.journal, Err(error)),
                    }
                }
                Err(RecvTimeoutError::Timeout) if held.is_none() => {
                    self.journal.settle();
                    settled = true;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(waiting) = held.take() {
                match runtime.block_on(self.try_again(waiting)) {
                    Ok(without_room) => held = without_room,
                    Err(error) => return (self.journal, Err(error)),
                }
            }
        }
        (self.journal, Ok(()))
    }

    /// Does what it is told. A batch that the disk has no room for comes back.
    pub(super) fn take(
        &mut self,
        runtime: &tokio::runtime::Runtime,
        message: WriterMessage,
    ) -> Result<Option<Held>, AppendError> {
        match message {
            WriterMessage::Batch(batch) => return runtime.block_on(self.append(*batch)),
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
            WriterMessage::Stop => {}
        }
        Ok(None)
    }

    fn measure(&self) {
        let bytes = i64::try_from(self.journal.size_bytes()).unwrap_or(i64::MAX);
        self.shared.metrics.journal_bytes.set(bytes);
    }

    /// Makes a batch durable and passes it on. Gives it back when the disk has no room for it: nothing was written then.
    async fn append(&mut self, mut batch: Batch) -> Result<Option<Held>, AppendError> {
        let FinishedBatch { bytes, start, body } =
            std::mem::replace(&mut batch.events, BatchWriter::with_capacity(batch.revision, 0)).finish();
        let bytes = Bytes::from(bytes);
        let body = bytes.slice(body..);
        self.write(Held {
            batch,
            bytes: bytes.slice(start..),
            body,
            since: Instant::now(),
        })
        .await
    }

    async fn write(&mut self, batch: Held) -> Result<Option<Held>, AppendError> {
        if !batch.body.is_empty() {
            let begin = Instant::now();
            self.position = match self.journal.append(self.position, batch.bytes.clone()).await {
                Err(AppendError::Full { .. }) => {
                    self.shared.space.refused();
                    return Ok(Some(batch));
                }
                appended => appended?,
            };
            self.shared.space.granted();
            // Results of agents take room as well, and come without a request.
            self.shared.space.room();
            let up_to = (self.position, batch.batch.revision);
            let metrics = &self.shared.metrics;
            metrics.appended(&batch.batch.tally, batch.bytes.len(), begin.elapsed(), up_to);
            self.measure();
        }
        let _ = self.driver.send(Message::WriterIdle);
        self.shared.metrics.accepted(&batch.batch.tally);
        self.pass_on(batch.batch, batch.body);
        Ok(None)
    }

    pub(super) async fn try_again(&mut self, mut batch: Held) -> Result<Option<Held>, AppendError> {
        if batch.since.elapsed() >= KEEP_WAITING {
            batch.batch.let_go();
        }
        self.write(batch).await
    }

    /// Passes a durable batch on: to the projector, and to the task that lets out what depended on it.
    fn pass_on(&mut self, batch: Batch, body: Bytes) {
        let ended: Vec<Arc<Run>> = batch.effects.iter().filter_map(Effect::ended).cloned().collect();
        self.shared.metrics.deleted(&batch.effects);
        let checkpoint = match batch.mark {
            CheckpointMark::Begins => {
                self.shared.metrics.checkpoint_begins();
                self.checkpoint_from = Some(self.position);
                None
            }
            CheckpointMark::Ends(revision) => self.checkpoint_from.take().map(|position| (position, revision)),
            CheckpointMark::None => None,
        };
        let run_events: Arc<[RunEvent]> = batch.run_events.into();
        if !body.is_empty() || !batch.rows.is_empty() || checkpoint.is_some() {
            // Before the replies: what a reply makes someone look for is on its way to the store.
            self.projector.send(Projection::Durable(Box::new(Durable {
                revision: batch.revision,
                body: body.clone(),
                run_events: Arc::clone(&run_events),
                listed: batch.listed,
                ended,
                deleted: deleted(&batch.effects),
                rows: batch.rows,
                checkpoint,
            })));
        }
        self.releaser.release(Released {
            releases: batch.releases,
            effects: batch.effects,
            run_events,
            told: (batch.told, batch.revision),
            touches: batch.touches,
            body,
        });
    }
}

/// Starts the projector's thread, which tells the driver when the store fails.
pub(super) fn start_projector(
    shared: &Shared,
    handle: ProjectorHandle,
    receiver: Receiver<Projection>,
    writer: Sender<WriterMessage>,
    driver: Sender<Message>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let (shelf, space, metrics) = (shared.store.clone(), shared.space.clone(), Arc::clone(&shared.metrics));
    std::thread::Builder::new().name("projector".to_owned()).spawn(move || {
        let on_checkpoint = |position: Position, revision| {
            metrics.checkpoint_ends(position, revision);
            let before = Position::new(position.get().saturating_sub(HISTORY_BYTES));
            let _ = writer.send(WriterMessage::Trim(before));
        };
        let on_failure = |failure| {
            let _ = driver.send(Message::ProjectorFailed(failure));
        };
        projector::run((&shelf, &space), &handle, &receiver, &on_checkpoint, &on_failure);
    })
}
