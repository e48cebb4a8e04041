//! The thread that writes the store: history, lists, logs and checkpoints.
//!
//! It sees batches after they are durable, in order. What a short run leaves behind is collected
//! for a moment, so that a run that starts and ends within it costs one write of each kind. Whoever
//! reads asks for a flush first. Everything is idempotent, because a restart replays the journal
//! from the last checkpoint.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use unisono_engine::Effect;
use unisono_engine::codec::{EventRange, HISTORY_OVERHEAD, push_history};
use unisono_engine::orchestration::{Listed, Run, RunKey};
use unisono_engine::snapshot::Entity;
use unisono_journal::Position;
use unisono_model::api::{LogEntry, OrchestrationSummary};
use unisono_model::ids::Revision;
use unisono_model::name::Name;
use unisono_store::{Batch, Checkpoint, EntityKind, Store, StoreError};

use super::batch::RunEvent;
use super::shelf::Shelf;
use crate::space::Space;

/// How long writes are collected.
const COLLECT: Duration = Duration::from_millis(100);
/// Bytes that are collected at most.
const COLLECT_BYTES: usize = 4 * 1024 * 1024;
/// Durable batches that may wait to be projected; then the writer waits, and with it new work.
const MAX_BEHIND: usize = 256;

/// A piece of an attempt's log.
pub(crate) struct LogPiece {
    pub(crate) run: RunKey,
    pub(crate) activity: u32,
    pub(crate) sequence: u64,
    pub(crate) entry: LogEntry,
}

/// A durable batch as the projector needs it.
pub(crate) struct Durable {
    pub(crate) revision: Revision,
    /// The batch's bytes, from its first event on, if runs have events in it.
    pub(crate) body: Bytes,
    pub(crate) run_events: Arc<[RunEvent]>,
    /// Open runs that lists show differently.
    pub(crate) listed: Vec<Listed>,
    /// Runs that have ended.
    pub(crate) ended: Vec<Arc<Run>>,
    /// Runs that were deleted, and their namespaces.
    pub(crate) deleted: Vec<(Name, RunKey)>,
    pub(crate) rows: Vec<(Entity, Option<Vec<u8>>)>,
    /// The checkpoint that is complete with these rows, and the position it covers.
    pub(crate) checkpoint: Option<(Position, Revision)>,
}

/// The runs that were deleted, as the projector is told.
pub(super) fn deleted(effects: &[Effect]) -> Vec<(Name, RunKey)> {
    let runs = effects.iter().flat_map(Effect::deleted);
    runs.map(|(namespace, run)| (namespace.clone(), run)).collect()
}

impl Durable {
    /// Whether the store keeps nothing of it.
    pub(super) fn is_empty(&self) -> bool {
        self.run_events.is_empty() && self.rows.is_empty() && self.deleted.is_empty() && self.checkpoint.is_none()
    }
}

/// The bytes of a batch, if the projector needs them: they may wait there for a while.
pub(super) fn needed(body: &Bytes, run_events: &[RunEvent]) -> Bytes {
    match run_events {
        [] => Bytes::new(),
        _ => body.clone(),
    }
}

/// What the projector is told.
pub(crate) enum Projection {
    Durable(Box<Durable>),
    Log(Box<LogPiece>),
    /// Write everything now, then say so.
    Flush(oneshot::Sender<()>),
    /// The store on the shelf is a new one.
    Resume,
    Stop,
}

/// How the projector is reached.
#[derive(Clone)]
pub(crate) struct ProjectorHandle {
    sender: Sender<Projection>,
    projected: Arc<AtomicU64>,
    /// Since when the store writes.
    busy: Arc<Mutex<Option<Instant>>>,
}

impl ProjectorHandle {
    pub(super) fn new(sender: Sender<Projection>) -> Self {
        Self {
            sender,
            projected: Arc::new(AtomicU64::new(0)),
            busy: Arc::default(),
        }
    }

    /// For how long the store has been writing without an end.
    pub(crate) fn busy_for(&self) -> Option<Duration> {
        let busy = *self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.map(|since| since.elapsed())
    }

    /// Tells the projector; waits while it is too far behind.
    pub(crate) fn send(&self, projection: Projection) {
        // A projector that has failed ends the node by itself.
        let _ = self.sender.send(projection);
    }

    pub(crate) async fn log(&self, piece: LogPiece) {
        let mut projection = Projection::Log(Box::new(piece));
        while let Err(TrySendError::Full(back)) = self.sender.try_send(projection) {
            projection = back;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The store was found to show everything up to here.
    pub(crate) fn found(&self, revision: Revision) {
        self.projected.fetch_max(revision.0, Ordering::Release);
    }

    /// Whether whoever tells the projector may soon have to wait.
    pub(crate) fn is_far_behind(&self) -> bool {
        self.waiting() >= MAX_BEHIND / 2
    }

    /// Batches that wait to be projected.
    pub(crate) fn waiting(&self) -> usize {
        self.sender.len()
    }

    pub(crate) fn projected(&self) -> Revision {
        Revision(self.projected.load(Ordering::Acquire))
    }
}

/// Makes the handle and the thread's end of it.
pub(crate) fn channel() -> (ProjectorHandle, Receiver<Projection>) {
    let (sender, receiver) = bounded(MAX_BEHIND);
    (ProjectorHandle::new(sender), receiver)
}

/// Why the store could not be written.
#[derive(Clone, Debug)]
pub(crate) struct StoreFailure {
    pub(crate) reason: String,
    /// Whether the disk had no room, as far as the store can tell.
    pub(crate) is_disk_full: bool,
}

impl From<StoreError> for StoreFailure {
    fn from(error: StoreError) -> Self {
        Self {
            is_disk_full: error.is_disk_full(),
            reason: error.to_string(),
        }
    }
}

/// Runs until told to stop. The first function hears of every durable checkpoint. The second one hears when the store fails:
/// from then on nothing is written until the store on the shelf is a new one, and the journal is projected again.
pub(crate) fn run(
    (shelf, space): (&Shelf, &Space),
    handle: &ProjectorHandle,
    receiver: &Receiver<Projection>,
    on_checkpoint: &dyn Fn(Position, Revision),
    on_failure: &dyn Fn(StoreFailure),
) {
    loop {
        let failed = match shelf.get() {
            Ok(store) => {
                let projector = Projector::new(store, handle);
                projector
                    .run(space, receiver, on_checkpoint)
                    .map_err(StoreFailure::from)
            }
            Err(unavailable) => Err(StoreFailure {
                reason: unavailable.to_string(),
                is_disk_full: false,
            }),
        };
        match failed {
            Ok(()) => return,
            Err(failure) => on_failure(failure),
        }
        if !resumed(receiver) {
            return;
        }
    }
}

/// Forgets what it is told until there is a store again; false when it is to stop. What is forgotten is in the journal.
fn resumed(receiver: &Receiver<Projection>) -> bool {
    loop {
        match receiver.recv() {
            Ok(Projection::Resume) => return true,
            Ok(Projection::Stop) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}

pub(super) struct Projector {
    store: Store,
    /// How often it has written.
    commits: u64,
    collected: Collected,
    projected: Arc<AtomicU64>,
    busy: Arc<Mutex<Option<Instant>>>,
}

impl Projector {
    pub(super) fn new(store: Store, handle: &ProjectorHandle) -> Self {
        Self {
            collected: Collected::default(),
            store,
            commits: 0,
            projected: Arc::clone(&handle.projected),
            busy: Arc::clone(&handle.busy),
        }
    }

    fn run(
        mut self,
        space: &Space,
        receiver: &Receiver<Projection>,
        on_checkpoint: &dyn Fn(Position, Revision),
    ) -> Result<(), StoreError> {
        loop {
            let next = match self.collected.since {
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => receiver.recv_deadline(since + COLLECT),
            };
            let commits = self.commits;
            match next {
                Ok(Projection::Stop) | Err(RecvTimeoutError::Disconnected) => return self.flush(),
                Ok(projection) => self.take(projection, on_checkpoint)?,
                Err(RecvTimeoutError::Timeout) => self.flush()?,
            }
            if self.commits > commits {
                space.fed();
            }
        }
    }

    pub(super) fn take(
        &mut self,
        projection: Projection,
        on_checkpoint: &dyn Fn(Position, Revision),
    ) -> Result<(), StoreError> {
        match projection {
            Projection::Durable(durable) => {
                if let Some((position, revision)) = self.durable(*durable)? {
                    on_checkpoint(position, revision);
                }
            }
            Projection::Log(piece) => self.collected.log(*piece),
            Projection::Flush(done) => {
                self.flush()?;
                let _ = done.send(());
            }
            Projection::Resume | Projection::Stop => {}
        }
        Ok(())
    }

    fn durable(&mut self, durable: Durable) -> Result<Option<(Position, Revision)>, StoreError> {
        let checkpoint = durable.checkpoint;
        self.collected.durable(durable);
        if self.collected.since.is_none() {
            self.projected.fetch_max(self.collected.revision.0, Ordering::Release);
        }
        if checkpoint.is_none() && self.collected.bytes < COLLECT_BYTES {
            return Ok(None);
        }
        self.flush()?;
        let Some((position, revision)) = checkpoint else {
            return Ok(None);
        };
        self.store.commit_checkpoint(Checkpoint {
            position: position.get(),
            revision: revision.0,
            format: CHECKPOINT_FORMAT,
        })?;
        Ok(Some((position, revision)))
    }

    fn busy_since(&self, since: Option<Instant>) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        if self.collected.since.take().is_some() {
            let batch = self.collected.take_batch(&self.store);
            self.busy_since(Some(Instant::now()));
            let committed = self.store.commit(batch);
            self.busy_since(None);
            committed?;
            self.commits += 1;
        }
        self.projected.fetch_max(self.collected.revision.0, Ordering::Release);
        Ok(())
    }
}

/// The format of the rows that a checkpoint holds.
pub(crate) const CHECKPOINT_FORMAT: u32 = 2;

/// Emptied by each flush, and not given back: it grows to the same size again within a moment.
#[derive(Default)]
struct Collected {
    /// Since when there is something to write.
    since: Option<Instant>,
    bytes: usize,
    revision: Revision,
    /// The bodies of the batches, and which run each of their events belongs to.
    bodies: Vec<Bytes>,
    events: Vec<(RunKey, Revision, usize, EventRange)>,
    summaries: FxHashMap<RunKey, (Name, OrchestrationSummary)>,
    rows: Vec<(Entity, Option<Vec<u8>>)>,
    logs: Vec<LogPiece>,
    deleted: Vec<(Name, RunKey)>,
}

impl Collected {
    fn touch(&mut self, bytes: usize) {
        self.since.get_or_insert_with(Instant::now);
        self.bytes += bytes;
    }

    fn log(&mut self, piece: LogPiece) {
        self.touch(piece.entry.text.len() + 64);
        self.logs.push(piece);
    }

    fn durable(&mut self, durable: Durable) {
        self.revision = self.revision.max(durable.revision);
        if durable.run_events.is_empty() && durable.rows.is_empty() && durable.deleted.is_empty() {
            return;
        }
        self.touch(durable.body.len());
        let body = self.bodies.len();
        self.bodies.push(durable.body);
        let events = durable.run_events.iter();
        self.events
            .extend(events.map(|event| (event.run, event.revision, body, event.range.clone())));
        let ended = durable.ended.iter().map(|run| Listed::of(run));
        for listed in durable.listed.into_iter().chain(ended) {
            self.summaries.insert(listed.run, (listed.namespace, listed.summary));
        }
        self.bytes += durable
            .rows
            .iter()
            .map(|(_, row)| row.as_ref().map_or(16, Vec::len))
            .sum::<usize>();
        self.rows.extend(durable.rows);
        self.deleted.extend(durable.deleted);
    }

    /// Writes a chunk of history for each run.
    fn write_history(&mut self, batch: &mut Batch) {
        let Self { events, bodies, .. } = self;
        events.sort_unstable_by_key(|(run, revision, ..)| (*run, *revision));
        for of_run in events.chunk_by(|(run, ..), (other, ..)| run == other) {
            let [(run, first, ..), ..] = of_run else { continue };
            let [.., (_, last, ..)] = of_run else { continue };
            let bytes = of_run.iter().map(|(.., range)| range.len() + HISTORY_OVERHEAD).sum();
            let mut chunk = Vec::with_capacity(bytes);
            for (_, revision, body, range) in of_run {
                push_history(&mut chunk, *revision, &bodies[*body][range.clone()]);
            }
            batch.history(store_key(*run), first.0, last.0, &chunk);
        }
        events.clear();
        bodies.clear();
    }

    fn take_batch(&mut self, store: &Store) -> Batch {
        let mut batch = store.batch();
        self.bytes = 0;
        self.write_history(&mut batch);
        for (run, (namespace, summary)) in self.summaries.drain() {
            batch.summary(store_key(run), &namespace, &summary);
        }
        for (entity, row) in self.rows.drain(..) {
            let (kind, key) = match entity {
                Entity::Run(key) => (EntityKind::Run, key),
                Entity::RunPart(key) => (EntityKind::RunPart, key),
                Entity::Definition(key) => (EntityKind::Definition, key),
                Entity::Agent(key) => (EntityKind::Agent, key),
                Entity::Value(key) => (EntityKind::Value, key),
                Entity::Future(key) => (EntityKind::Future, key),
                Entity::Lease(key) => (EntityKind::Lease, key),
                Entity::Lock(key) => (EntityKind::Lock, key),
                Entity::Marks => (EntityKind::Marks, 0),
                Entity::Fleet(key) => (EntityKind::Fleet, key),
                Entity::Targets(key) => (EntityKind::Targets, key),
                Entity::Heard(key) => (EntityKind::Heard, key),
                Entity::Notes(key) => (EntityKind::Notes, key),
                Entity::Freezes(key) => (EntityKind::Freezes, key),
                Entity::Retention(key) => (EntityKind::Retention, key),
            };
            match row {
                Some(row) => batch.put_entity(kind, key, &row),
                None => batch.remove_entity(kind, key),
            }
        }
        for piece in self.logs.drain(..) {
            let entry = serde_json::to_vec(&piece.entry).unwrap_or_default();
            batch.log(
                store_key(piece.run),
                piece.activity,
                piece.entry.attempt,
                piece.sequence,
                &entry,
            );
        }
        // Nothing happens to a run after it was deleted.
        for (namespace, run) in self.deleted.drain(..) {
            batch.delete(store_key(run), &namespace);
        }
        batch
    }
}

/// The store's word for a run's key.
pub(crate) fn store_key(run: RunKey) -> unisono_store::RunKey {
    unisono_store::RunKey(run.0)
}
