//! The thread that makes batches durable, and only then lets anything out.
//!
//! A batch of one answer, with nothing else to decide, is appended on the deciding thread instead: waking this one, and being
//! woken by it, takes about as long as all that is done for such a request besides the sync.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use unisono_engine::Effect;
use unisono_engine::codec::{BatchWriter, FinishedBatch};
use unisono_engine::orchestration::Run;
use unisono_journal::{AppendError, FileJournal, Journal, Position};

use super::batch::{Batch, CheckpointMark, RunEvent};
use super::driver::Message;
use super::projector::{Durable, Projection, ProjectorHandle, deleted, needed};
use super::release::{Released, Releaser};
use super::{Shared, projector};

/// Bytes of the journal before a checkpoint that are kept for watches that were away for a while.
const HISTORY_BYTES: u64 = 32 * 1024 * 1024;

/// What the writer is told.
pub(super) enum WriterMessage {
    Batch(Box<Batch>),
    /// Another thread has appended, after a while in which nothing was.
    Appended,
    /// Another thread has found no room for this batch.
    Held(Box<Held>),
    /// An append on another thread has failed.
    Failed(AppendError),
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
    /// When something was appended that the journal has not made known for good yet.
    pub(super) unsettled: Option<Instant>,
}

/// Where the writer is at work: on its own thread, or for one batch on the deciding one.
#[derive(Clone)]
pub(super) struct Desk(Arc<Mutex<Option<Writer>>>);

impl Desk {
    pub(super) fn new(writer: Writer) -> Self {
        Self(Arc::new(Mutex::new(Some(writer))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Writer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the writer's own thread until told to stop, or until an append fails. Gives the journal back either way.
    pub(super) fn run(
        &self,
        runtime: &tokio::runtime::Runtime,
        messages: &Receiver<WriterMessage>,
    ) -> Option<(FileJournal, Result<(), AppendError>)> {
        let result = self.serve(runtime, messages);
        let writer = self.lock().take()?;
        Some((writer.journal, result))
    }

    fn serve(&self, runtime: &tokio::runtime::Runtime, messages: &Receiver<WriterMessage>) -> Result<(), AppendError> {
        let mut held: Option<Held> = None;
        loop {
            let is_settled = self.lock().as_ref().is_none_or(|writer| writer.unsettled.is_none());
            let next = match (&held, is_settled) {
                (Some(_), _) => messages.recv_timeout(TRY_AGAIN),
                (None, false) => messages.recv_timeout(SETTLE_AFTER),
                (None, true) => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut desk = self.lock();
            let Some(writer) = desk.as_mut() else {
                return Ok(());
            };
            match next {
                Ok(WriterMessage::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(message) => held = writer.take(runtime, message)?.or(held),
                Err(RecvTimeoutError::Timeout) => writer.settle(),
            }
            if let Some(waiting) = held.take() {
                held = runtime.block_on(writer.try_again(waiting))?;
            }
        }
    }

    /// Appends a batch on this thread, unless the writer does something else. What is returned is for the writer's thread.
    pub(super) fn append(&self, runtime: &tokio::runtime::Runtime, batch: Box<Batch>) -> Option<WriterMessage> {
        let Ok(mut desk) = self.0.try_lock() else {
            return Some(WriterMessage::Batch(batch));
        };
        let Some(writer) = desk.as_mut() else {
            return Some(WriterMessage::Batch(batch));
        };
        let was_settled = writer.unsettled.is_none();
        match runtime.block_on(writer.append(*batch)) {
            Ok(None) => was_settled.then_some(WriterMessage::Appended),
            Ok(Some(held)) => Some(WriterMessage::Held(Box::new(held))),
            Err(error) => Some(WriterMessage::Failed(error)),
        }
    }
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
    /// Makes known for good how far the journal has reached, if nothing was appended for a while.
    fn settle(&mut self) {
        if self.unsettled.is_some_and(|since| since.elapsed() >= SETTLE_AFTER) {
            self.journal.settle();
            self.unsettled = None;
        }
    }

    /// Does what it is told. A batch that the disk has no room for comes back.
    pub(super) fn take(
        &mut self,
        runtime: &tokio::runtime::Runtime,
        message: WriterMessage,
    ) -> Result<Option<Held>, AppendError> {
        match message {
            WriterMessage::Batch(batch) => return runtime.block_on(self.append(*batch)),
            WriterMessage::Held(held) => return Ok(Some(*held)),
            WriterMessage::Failed(error) => return Err(error),
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
            WriterMessage::Appended | WriterMessage::Stop => {}
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
            self.unsettled = Some(Instant::now());
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
        let durable = (!body.is_empty() || !batch.rows.is_empty() || checkpoint.is_some()).then(|| {
            Box::new(Durable {
                revision: batch.revision,
                body: needed(&body, &run_events),
                run_events: Arc::clone(&run_events),
                listed: batch.listed,
                ended,
                deleted: deleted(&batch.effects),
                rows: batch.rows,
                checkpoint,
            })
        });
        let (nothing, something) = match durable {
            Some(durable) if durable.is_empty() => (Some(durable), None),
            durable => (None, durable),
        };
        // Before the replies: what a reply makes someone look for is on its way to the store.
        self.project(something);
        self.releaser.release(Released {
            releases: batch.releases,
            effects: batch.effects,
            run_events,
            told: (batch.told, batch.revision),
            touches: batch.touches,
            body,
        });
        // After them: only that the store lacks nothing of it, which nobody waits for.
        self.project(nothing);
    }

    fn project(&self, durable: Option<Box<Durable>>) {
        if let Some(durable) = durable {
            self.projector.send(Projection::Durable(durable));
        }
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
