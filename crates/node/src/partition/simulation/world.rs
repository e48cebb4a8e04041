//! The simulated partition, its crashes, and what must hold after them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crossbeam_channel::{Receiver, unbounded};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use unisono_engine::codec::read_history;
use unisono_engine::hash::StateHash;
use unisono_engine::orchestration::RunKey;
use unisono_engine::{Effect, Settings, State};
use unisono_journal::simulation::{Faults, FaultyDisk, Random};
use unisono_journal::{Epoch, FileJournal, Journal as _, JournalError, Position};
use unisono_model::ids::Revision;
use unisono_telemetry::trace::Spans;

use super::super::clock::SIMULATED;
use super::super::driver::{Driver, Message, Parts, chain};
use super::super::export::BackupHolds;
use super::super::projector::{Projection, Projector, ProjectorHandle, store_key};
use super::super::recover::{Recovered, recover};
use super::super::release::{self, Releaser};
use super::super::shelf::Shelf;
use super::super::writer::{Held, Writer, WriterMessage};
use super::super::{Shared, batch::Release};
use super::load::{Load, name, namespace, pick};
use crate::error::NodeError;
use crate::metrics::Metrics;
use crate::space::{Room, Space};
use crate::trace::Traces;

const SEGMENT_BYTES: u64 = 8 * 1024;
const CHECKPOINT_BYTES: u64 = 300;
/// Projections that wait at most.
const MOST_BEHIND: usize = 60;

/// What is wrong with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The journal does not sync.
    NoSync,
    /// A failed sync is taken for one that succeeded, as a second try would make it look.
    FailedSyncIgnored,
    /// Callers are told before the batch is durable.
    ToldTooEarly,
    /// What is in memory is kept after a failed append.
    MemoryKept,
    /// A checkpoint covers less than it says.
    CheckpointTooFar,
    /// Rows are missing from a checkpoint.
    RowsForgotten,
    /// History is missing from the store.
    HistoryForgotten,
    /// The journal is trimmed beyond the checkpoint.
    TrimmedTooFar,
}

impl Broken {
    pub(super) const ALL: [Self; 8] = [
        Self::NoSync,
        Self::FailedSyncIgnored,
        Self::ToldTooEarly,
        Self::MemoryKept,
        Self::CheckpointTooFar,
        Self::RowsForgotten,
        Self::HistoryForgotten,
        Self::TrimmedTooFar,
    ];
}

/// How often what happened.
pub(super) type Seen = BTreeMap<Happened, u64>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happened {
    PowerCut,
    Kill,
    FailedAppend,
    FullAppend,
    FailedStart,
    Checkpoint,
    BatchesLost,
    BatchesKeptThatNobodyWasToldOf,
    FlipRefused,
    StoreCutBack,
    RunAccepted,
    StartRefused,
    RunDeleted,
    LeaseGranted,
    LockGranted,
    FutureChanged,
    RolloutChanged,
}

impl Happened {
    pub(super) const ALL: [Self; 17] = [
        Self::PowerCut,
        Self::Kill,
        Self::FailedAppend,
        Self::FullAppend,
        Self::FailedStart,
        Self::Checkpoint,
        Self::BatchesLost,
        Self::BatchesKeptThatNobodyWasToldOf,
        Self::FlipRefused,
        Self::StoreCutBack,
        Self::RunAccepted,
        Self::StartRefused,
        Self::RunDeleted,
        Self::LeaseGranted,
        Self::LockGranted,
        Self::FutureChanged,
        Self::RolloutChanged,
    ];
}

/// What is known for good, or may have been.
#[derive(Default)]
struct Past {
    /// The hash of the state at the end of each batch.
    states: BTreeMap<Revision, StateHash>,
    /// What happened to each run, by the batches that the writer has taken.
    events: BTreeMap<RunKey, Vec<Revision>>,
    /// Runs that somebody has asked to delete.
    deleted: BTreeSet<RunKey>,
    /// Somebody was told of this one.
    told: Revision,
}

/// A partition between two crashes.
struct Life {
    parts: Parts,
    driver: Driver,
    writer: Writer,
    held: Option<Held>,
    projector: Projector,
    projections: Receiver<Projection>,
    released: UnboundedReceiver<release::Message>,
}

pub(super) struct World {
    random: Random,
    broken: Option<Broken>,
    disk: FaultyDisk,
    folder: tempfile::TempDir,
    runtime: Arc<tokio::runtime::Runtime>,
    shared: Shared,
    load: Load,
    past: Past,
    seen: Seen,
    millis: u32,
    /// Whether the next checkpoint of the store is copied, and whether there is a copy of the last one.
    copies: (bool, bool),
}

/// In memory, where there is room in such a folder: that the store syncs is not what is tested here.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |disk| disk.f_bavail * disk.f_frsize);
    let in_memory = (free >= 1 << 30).then(|| tempfile::tempdir_in(memory).ok()).flatten();
    in_memory.unwrap_or_else(|| tempfile::tempdir().unwrap())
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl World {
    pub(super) fn new(seed: u64, broken: Option<Broken>) -> Self {
        let mut random = Random::new(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = Arc::new(runtime.unwrap());
        let _entered = runtime.enter();
        let folder = folder();
        let spans = Spans::default();
        let shared = Shared {
            settings: Settings::default(),
            checkpoint_bytes: CHECKPOINT_BYTES,
            sessions: crate::sessions::Sessions::default(),
            hub: Arc::default(),
            metrics: Arc::new(Metrics::new(spans.counts())),
            traces: Traces::new(spans, None),
            store: Shelf::open(folder.path()).unwrap(),
            space: Space::new(folder.path(), Some(0)),
            holds: BackupHolds::default(),
        };
        let mut past = Past::default();
        past.states.insert(Revision(0), State::new(shared.settings).hash());
        Self {
            disk: FaultyDisk::new(random.next()),
            random,
            broken,
            folder,
            runtime: Arc::clone(&runtime),
            shared,
            load: Load::default(),
            past,
            seen: Seen::default(),
            millis: 1_000_000,
            copies: (false, false),
        }
    }

    /// Lives until it has crashed so often, or something is wrong.
    pub(super) fn run(mut self, crashes: u64) -> Result<Seen, String> {
        let mut life = self.begin(None)?;
        let first = self.load.definitions();
        life.send(first);
        while self.crashes() < crashes {
            let faults = self.faults();
            self.disk.set_faults(faults);
            life = self.live(life)?;
            life = self.crash(life)?;
        }
        self.settle(&mut life)?;
        self.seen.insert(Happened::RunAccepted, self.load.accepted.len() as u64);
        self.seen.insert(Happened::StartRefused, self.load.refused.len() as u64);
        self.seen.insert(Happened::RunDeleted, self.load.deleted.len() as u64);
        self.seen.insert(Happened::LeaseGranted, self.load.leased);
        self.seen.insert(Happened::LockGranted, self.load.locked);
        self.seen.insert(Happened::FutureChanged, self.load.promised);
        self.seen.insert(Happened::RolloutChanged, self.load.rolled);
        let Load {
            accepted,
            refused,
            deleted,
            ..
        } = &self.load;
        for id in accepted.iter().chain(refused).chain(deleted) {
            self.exists_or_not(id)?;
        }
        for run in self.past.events.keys() {
            self.is_whole(*run)?;
        }
        Ok(self.seen)
    }

    fn happened(&mut self, what: Happened) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn crashes(&self) -> u64 {
        let kinds = [Happened::PowerCut, Happened::Kill];
        kinds.iter().filter_map(|kind| self.seen.get(kind)).sum()
    }

    fn faults(&mut self) -> Faults {
        let random = &mut self.random;
        Faults {
            power_cut: random.once_in(2).then(|| 1 + random.below(120) as u64),
            failed_syncs: [0, 0, 8, 30][random.below(4)],
            short_writes: [0, 3][random.below(2)],
            failed_writes: [0, 0, 0, 20][random.below(4)],
            full: random.once_in(6),
            idle_syncs: self.broken == Some(Broken::NoSync),
            silent_failures: self.broken == Some(Broken::FailedSyncIgnored),
            ..Faults::default()
        }
    }

    /// Steps until the power is gone, or for a while.
    fn live(&mut self, mut life: Life) -> Result<Life, String> {
        // Some disks are slow: then much waits for the writer.
        let slow = [1, 1, 4][self.random.below(3)];
        for _ in 0..10 + self.random.below(110) {
            self.millis += [0, 0, 1, 400][self.random.below(4)];
            SIMULATED.set(Some(self.millis));
            match self.random.below(7 + slow) {
                0 => self.ask(&life),
                1 => {
                    self.ask(&life);
                    self.ask(&life);
                }
                2 => self.project(&mut life)?,
                3 => self.flush(&mut life)?,
                4 => self.release(&mut life),
                5 | 6 => match self.write(&mut life) {
                    Ok(()) => {}
                    Err(_) if self.disk.is_down() => break,
                    Err(error) => life = self.rebuild(life, &error)?,
                },
                _ => self.decide(&mut life),
            }
        }
        Ok(life)
    }

    fn ask(&mut self, life: &Life) {
        if self.random.once_in(20) {
            self.ask_to_delete(life);
        } else if self.shared.space.last_room() == Room::Enough {
            let open = life.driver.state.runs().len();
            let asked = self.load.next(&mut self.random, open, life.parts.projector.projected());
            life.send(asked);
        }
    }

    fn ask_to_delete(&mut self, life: &Life) {
        let Some(id) = pick(&mut self.random, &self.load.accepted) else {
            return;
        };
        let store = self.shared.store.get().unwrap();
        if let Some(run) = store.run_key(&namespace(), &name(&id)).unwrap() {
            self.past.events.remove(&RunKey(run.0));
            self.past.deleted.insert(RunKey(run.0));
            life.send(self.load.delete(id, run.0));
        }
    }

    fn decide(&mut self, life: &mut Life) {
        let before = life.parts.writer_inbox.len();
        life.driver.round(&life.parts);
        if life.parts.writer_inbox.len() > before {
            let state = &life.driver.state;
            self.past.states.entry(state.revision).or_insert_with(|| state.hash());
        }
    }

    fn write(&mut self, life: &mut Life) -> Result<(), String> {
        if life.projections.len() > MOST_BEHIND {
            return Ok(());
        }
        let result = match life.held.take() {
            Some(mut held) => {
                if self.random.once_in(5) {
                    self.disk.set_faults(Faults::default());
                }
                if self.random.once_in(3) {
                    held.batch.let_go();
                }
                self.runtime.block_on(life.writer.try_again(held))
            }
            None => {
                let Ok(mut message) = life.parts.writer_inbox.try_recv() else {
                    return Ok(());
                };
                self.look_at(life, &mut message);
                life.writer.take(&self.runtime, message)
            }
        };
        life.held = result.map_err(|error| error.to_string())?;
        if life.held.is_some() {
            self.happened(Happened::FullAppend);
        }
        Ok(())
    }

    /// Notes what is about to be written.
    fn look_at(&mut self, life: &Life, message: &mut WriterMessage) {
        match message {
            WriterMessage::Batch(batch) => {
                let known = |run| !self.past.deleted.contains(&run);
                for event in batch.run_events.iter().filter(|event| known(event.run)) {
                    self.past.events.entry(event.run).or_default().push(event.revision);
                }
                if self.broken == Some(Broken::ToldTooEarly) {
                    self.past.told = batch.revision;
                    for release in std::mem::take(&mut batch.releases) {
                        if let Release::Respond(responder, outcome) = release {
                            responder.respond(outcome, &mut Default::default());
                        }
                    }
                }
            }
            WriterMessage::Trim(position) if self.broken == Some(Broken::TrimmedTooFar) => {
                *position = life.writer.position;
            }
            _ => {}
        }
    }

    fn project(&mut self, life: &mut Life) -> Result<(), String> {
        let Ok(mut projection) = life.projections.try_recv() else {
            return Ok(());
        };
        if let Projection::Durable(durable) = &mut projection {
            match (self.broken, &mut durable.checkpoint) {
                (Some(Broken::CheckpointTooFar), Some((position, _))) => *position = life.writer.position,
                (Some(Broken::RowsForgotten), _) => durable.rows.truncate(1),
                (Some(Broken::HistoryForgotten), _) if self.random.once_in(9) => durable.run_events = Arc::new([]),
                _ => {}
            }
        }
        let reached = std::cell::Cell::new(None);
        let taken = life.projector.take(projection, &|position, revision| {
            self.shared.metrics.checkpoint_ends(position, revision);
            reached.set(Some(position));
        });
        taken.map_err(|error| format!("the store failed: {error}"))?;
        if let Some(position) = reached.get() {
            self.checkpointed(life, position);
        }
        Ok(())
    }

    fn checkpointed(&mut self, life: &Life, position: Position) {
        self.happened(Happened::Checkpoint);
        let _ = life.parts.writer.send(WriterMessage::Trim(position));
        let (wanted, _) = self.copies;
        if wanted {
            copy(&self.folder.path().join("store"), &self.folder.path().join("copy"));
        }
        self.copies = (false, wanted);
    }

    fn flush(&self, life: &mut Life) -> Result<(), String> {
        life.projector
            .flush()
            .map_err(|error| format!("the store failed: {error}"))
    }

    fn release(&mut self, life: &mut Life) {
        if let Ok(release::Message::Durable(released)) = life.released.try_recv() {
            self.past.told = self.past.told.max(released.told.1);
            for effect in &released.effects {
                if let Effect::Dispatch { task, .. } = effect {
                    self.load.given(task.token);
                }
            }
            release::release(&self.shared, &life.parts.definitions, *released);
            self.load.hear();
        }
    }

    /// Everything that is durable gets to the store, and to whom it concerns.
    fn settle(&mut self, life: &mut Life) -> Result<(), String> {
        while !life.projections.is_empty() {
            self.project(life)?;
        }
        while !life.released.is_empty() {
            self.release(life);
        }
        self.flush(life)
    }

    /// The append failed, and the process goes on.
    fn rebuild(&mut self, mut life: Life, error: &str) -> Result<Life, String> {
        if !self.disk.has_failed() {
            return Err(format!("an append failed without a fault: {error}"));
        }
        self.happened(Happened::FailedAppend);
        if self.broken == Some(Broken::MemoryKept)
            && let Ok(position) = self.runtime.block_on(life.writer.journal.open(Epoch::new(1)))
        {
            life.writer.position = position;
            let _ = life.parts.messages.send(Message::WriterIdle);
            return Ok(life);
        }
        self.settle(&mut life)?;
        let Life { writer, .. } = life;
        self.begin(Some(writer.journal))
    }

    /// The process ends at once, or with the power.
    fn crash(&mut self, life: Life) -> Result<Life, String> {
        let Life {
            writer,
            projector,
            driver,
            parts,
            ..
        } = life;
        drop((projector, driver, parts));
        if self.disk.is_down() || self.random.once_in(3) {
            drop(writer);
            self.disk.power_cycle();
            self.happened(Happened::PowerCut);
            self.cut_back_store();
        } else {
            // A process that is killed closes nothing.
            std::mem::forget(writer);
            self.disk.set_faults(Faults::default());
            self.happened(Happened::Kill);
        }
        self.copies.0 |= self.random.once_in(60);
        if self.random.once_in(12) {
            self.flip()?;
        }
        self.begin(None)
    }

    /// What was written to the store since its last checkpoint is lost, where there is a copy of that.
    fn cut_back_store(&mut self) {
        if self.copies.1 {
            self.shared.store.clear();
            copy(&self.folder.path().join("copy"), &self.folder.path().join("store"));
            self.shared.store.reopen().unwrap();
            self.copies.1 = false;
            self.happened(Happened::StoreCutBack);
        }
    }

    /// A bit flips in a segment. It is refused, with the place, or does no harm.
    fn flip(&mut self) -> Result<(), String> {
        let files = self.disk.files();
        let segments: Vec<_> = files.iter().filter(|file| file.ends_with(".segment")).collect();
        let Some(segment) = segments.get(self.random.below(segments.len().max(1))) else {
            return Ok(());
        };
        let (byte, bit) = (
            self.random.below(SEGMENT_BYTES as usize) as u64,
            self.random.below(8) as u32,
        );
        self.disk.flip(segment, byte, bit);
        let mut journal = FileJournal::simulated(self.disk.clone(), SEGMENT_BYTES);
        let opened = self.runtime.block_on(journal.open(Epoch::new(1)));
        std::mem::forget(journal);
        match opened {
            Ok(_) => Ok(()),
            Err(JournalError::Corrupt(found)) if found.segment.ends_with(segment) && found.offset <= byte => {
                self.happened(Happened::FlipRefused);
                self.disk.flip(segment, byte, bit);
                Ok(())
            }
            Err(error) => Err(format!("bit {bit} of byte {byte} of {segment} was flipped: {error}")),
        }
    }

    /// The process starts, or rebuilds, as often as it takes.
    fn begin(&mut self, mut kept: Option<FileJournal>) -> Result<Life, String> {
        self.load.cut_off();
        self.shared.hub = Arc::default();
        self.shared.space.granted();
        loop {
            let journal = kept.take();
            let simulated = || FileJournal::simulated(self.disk.clone(), SEGMENT_BYTES);
            match self.try_begin(journal.unwrap_or_else(simulated)) {
                Ok(mut life) => {
                    self.settle(&mut life)?;
                    self.check()?;
                    return Ok(life);
                }
                Err(Stop::Wrong(wrong)) => return Err(wrong),
                Err(Stop::Failed(error)) if !self.disk.has_failed() => {
                    return Err(format!("a start failed without a fault: {}", chain(&error)));
                }
                Err(Stop::Failed(NodeError::Journal(JournalError::Io { .. }))) => {
                    self.happened(Happened::FailedStart);
                    if self.disk.is_down() {
                        self.disk.power_cycle();
                        self.happened(Happened::PowerCut);
                        self.cut_back_store();
                    } else {
                        self.disk.set_faults(Faults::default());
                    }
                }
                Err(Stop::Failed(error)) => {
                    return Err(format!("a crash was taken for damage: {}", chain(&error)));
                }
            }
        }
    }

    fn try_begin(&mut self, mut journal: FileJournal) -> Result<Life, Stop> {
        let (messages, inbox) = unbounded();
        let (writer, writer_inbox) = unbounded();
        let (sender, projections) = unbounded();
        let (releaser, released) = unbounded_channel();
        let parts = Parts {
            runtime: Arc::clone(&self.runtime),
            shared: self.shared.clone(),
            projector: ProjectorHandle::new(sender),
            releaser: Releaser(releaser),
            definitions: Arc::default(),
            messages,
            writer,
            writer_inbox,
        };
        let (recovered, projector) = self.recover(&mut journal, &parts.projector, &projections);
        let recovered = recovered.map_err(Stop::Failed)?;
        self.compare(&recovered).map_err(Stop::Wrong)?;
        let waiting = Arc::new(AtomicUsize::new(0));
        let (driver, writer) = Driver::after(recovered, &parts, journal, (inbox, waiting));
        Ok(Life {
            parts,
            driver,
            writer,
            held: None,
            projector,
            projections,
            released,
        })
    }

    /// Recovers, which needs a projector meanwhile.
    fn recover(
        &self,
        journal: &mut FileJournal,
        handle: &ProjectorHandle,
        projections: &Receiver<Projection>,
    ) -> (Result<Recovered, NodeError>, Projector) {
        let mut projector = Projector::new(self.shared.store.get().unwrap(), handle);
        let recovered = std::thread::scope(|scope| {
            let more = projections.iter().take_while(|it| !matches!(it, Projection::Stop));
            scope.spawn(|| more.for_each(|it| projector.take(it, &|_, _| {}).unwrap()));
            let recovered = self.runtime.block_on(recover(&self.shared, journal, handle));
            handle.send(Projection::Stop);
            recovered
        });
        (recovered, projector)
    }

    /// What came back was decided, and is not earlier than what anybody knows. What was decided after it never happened.
    fn compare(&mut self, recovered: &Recovered) -> Result<(), String> {
        let (revision, told) = (recovered.state.revision, self.past.told);
        if revision < told {
            return Err(format!(
                "revision {revision} came back, and somebody was told of {told}"
            ));
        }
        let hash = recovered.state.hash();
        match self.past.states.get(&revision) {
            None => return Err(format!("revision {revision} came back, and no batch ended there")),
            Some(known) if *known != hash => {
                return Err(format!(
                    "revision {revision} came back with the hash {hash} for {known}"
                ));
            }
            Some(_) => {}
        }
        if revision > told {
            self.happened(Happened::BatchesKeptThatNobodyWasToldOf);
        }
        let lost = self.past.states.split_off(&revision.next());
        if !lost.is_empty() {
            self.happened(Happened::BatchesLost);
        }
        for events in self.past.events.values_mut() {
            events.retain(|event| *event <= revision);
        }
        self.past.events.retain(|_, events| !events.is_empty());
        self.past.told = revision;
        Ok(())
    }

    /// Looks at some of what the store shows.
    fn check(&mut self) -> Result<(), String> {
        for _ in 0..4 {
            for id in [
                pick(&mut self.random, &self.load.accepted),
                pick(&mut self.random, &self.load.refused),
                pick(&mut self.random, &self.load.deleted),
            ] {
                id.map_or(Ok(()), |id| self.exists_or_not(&id))?;
            }
            let runs: Vec<_> = self.past.events.keys().copied().collect();
            if let Some(run) = runs.get(self.random.below(runs.len().max(1))) {
                self.is_whole(*run)?;
            }
        }
        Ok(())
    }

    fn exists_or_not(&self, id: &str) -> Result<(), String> {
        let store = self.shared.store.get().unwrap();
        let exists = store.run_key(&namespace(), &name(id)).unwrap().is_some();
        match (exists, self.load.accepted.contains(id)) {
            (true, false) => Err(format!("{id} exists, and was refused or deleted")),
            (false, true) => Err(format!("{id} does not exist, and was acknowledged")),
            _ => Ok(()),
        }
    }

    fn is_whole(&self, run: RunKey) -> Result<(), String> {
        let store = self.shared.store.get().unwrap();
        let mut found = Vec::new();
        for chunk in store.history(store_key(run), 0).unwrap() {
            let (_, bytes) = chunk.unwrap();
            found.extend(read_history(&bytes).unwrap().into_iter().map(|(revision, ..)| revision));
        }
        found.sort_unstable();
        found.dedup();
        let expected = &self.past.events[&run];
        match found == *expected {
            true => Ok(()),
            false => Err(format!("the history of {run:?} shows {found:?} for {expected:?}")),
        }
    }
}

/// Why a partition did not start.
enum Stop {
    Wrong(String),
    Failed(NodeError),
}

impl Life {
    fn send(&self, (command, responder): (unisono_engine::Command, super::super::batch::Responder)) {
        let _ = self.parts.messages.send(Message::Command(Box::new(command), responder));
    }
}
