//! The thread that decides.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use tokio::sync::{oneshot, watch};
use unisono_engine::agent::AgentCommand;
use unisono_engine::codec::EventRange;
use unisono_engine::lease::LeaseCommand;
use unisono_engine::rollout::RolloutCommand;
use unisono_engine::snapshot::Entity;
use unisono_engine::{Command, Event, Rejection, Reply, State};
use unisono_journal::{AppendError, FileJournal, MAX_BATCH_BYTES};
use unisono_model::ids::{Revision, Timestamp};

use super::Shared;
use super::batch::{Batch, CheckpointMark, Release, Responder, RunEvent};
use super::clock::Clock;
use super::handle::Partition;
use super::projector::{Projection, ProjectorHandle, StoreFailure};
use super::recover::{self, Recovered};
use super::release::Releaser;
use super::writer::{Desk, Writer, WriterMessage, start_projector};
use crate::error::NodeError;
use crate::feed::Told;
use crate::hub::Hub;
use crate::metrics::{CommandKind, Metrics};
use crate::space::{Room, Space};

/// A read of state; what it returns is called once everything that it saw is durable.
pub(super) type Query = Box<dyn FnOnce(&State) -> Box<dyn FnOnce() + Send> + Send>;

/// The same for who begins to wait, or waits no more, of which no event tells.
pub(super) type Attendance = Box<dyn FnOnce(&mut State, Timestamp) -> Box<dyn FnOnce() + Send> + Send>;

/// What is read of the state right after a command, to be told once everything is durable.
pub(super) type Reading = Box<dyn FnOnce(&State, Result<Reply, Rejection>) -> Box<dyn FnOnce() + Send> + Send>;

/// What the driver is told.
pub(super) enum Message {
    Command(Box<Command>, Responder),
    CommandThen(Box<Command>, Reading),
    Commands(Vec<(Command, Responder)>),
    Query(Query),
    Attendance(Attendance),
    WriterIdle,
    /// The writer's thread ends: its journal failed, or it panicked.
    WriterEnded,
    ProjectorFailed(StoreFailure),
    Stop,
}

/// Messages looked at before a batch is handed over.
const DRAIN: usize = 1_024;
/// Bytes of events, or of rows, that are collected while the writer is busy; then messages, or rows, wait.
const FULL_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that one command may add to a batch: together with a full one they are what the journal takes.
const MAX_COMMAND_BYTES: usize = MAX_BATCH_BYTES - FULL_BATCH_BYTES - 64 * 1024;
/// Entities written per round of a checkpoint, so that no round takes long; and for each event of the round so many, so that
/// it ends however much is decided meanwhile.
const ROWS_PER_ROUND: u64 = 512;
const ROWS_PER_EVENT: u64 = 2;
/// After this long with changes and no checkpoint, one is made, so that a restart is fast.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(60);
/// The longest sleep before a timer, so that none is late for longer when the system's clock is set forward, or the machine
/// was suspended.
const LONGEST_SLEEP_WITH_TIMER: Duration = Duration::from_secs(10);
/// The same while targets of rollouts are listened to: how long the server was stopped is known as exactly as this.
const LONGEST_SLEEP_WHILE_LISTENING: Duration = Duration::from_secs(1);
/// How often is looked whether there is room again.
const ROOM_AGAIN: Duration = Duration::from_millis(500);
/// A write to the store that takes so long has been forgotten by the library, if that has failed.
const STORE_HANGS: Duration = Duration::from_secs(30);
/// The longest sleep. Only a bound: everything that happens wakes the driver.
const LONGEST_SLEEP: Duration = Duration::from_secs(3_600);

/// Recovers the partition and starts its threads.
pub(super) fn start(shared: Shared, journal: FileJournal) -> Result<Partition, NodeError> {
    let (messages, inbox) = unbounded();
    let (projector, projections) = super::projector::channel();
    let (writer, writer_inbox) = unbounded();
    let projector_thread = start_projector(
        &shared,
        projector.clone(),
        projections,
        writer.clone(),
        messages.clone(),
    )
    .map_err(NodeError::Thread)?;
    let definitions = Arc::new(ArcSwap::default());
    let (ended_sender, ended) = watch::channel(None);
    let waiting = Arc::new(AtomicUsize::new(0));
    let partition = Partition {
        messages: messages.clone(),
        waiting: Arc::clone(&waiting),
        stopping: Arc::new(AtomicBool::new(false)),
        definitions: Arc::clone(&definitions),
        projector: projector.clone(),
        store: shared.store.clone(),
        space: shared.space.clone(),
        writer: writer.clone(),
        holds: shared.holds.clone(),
        ended,
    };
    let parts = Parts {
        runtime: Arc::new(
            tokio::runtime::Builder::new_current_thread()
                .build()
                .map_err(NodeError::Thread)?,
        ),
        releaser: Releaser::start(&shared, Arc::clone(&definitions)),
        shared,
        projector: projector.clone(),
        definitions,
        messages,
        writer,
        writer_inbox,
    };
    let (mut driver, writer) = Driver::recover(&parts, journal, inbox, waiting)?;
    let writer = driver.start_writer(&parts, writer)?;
    std::thread::Builder::new()
        .name("driver".to_owned())
        .spawn(move || {
            let result = driver.run(&parts, writer);
            // However the driver ended, what is durable is projected before the end.
            projector.send(Projection::Stop);
            let panicked = projector_thread.join().is_err();
            let problem = match result {
                Ok(()) if panicked => Some("the projector panicked".to_owned()),
                Ok(()) => None,
                Err(problem) => Some(problem),
            };
            let _ = ended_sender.send(Some(problem));
        })
        .map_err(NodeError::Thread)?;
    Ok(partition)
}

/// What outlives a rebuild from the journal.
pub(super) struct Parts {
    pub(super) runtime: Arc<tokio::runtime::Runtime>,
    pub(super) shared: Shared,
    pub(super) projector: ProjectorHandle,
    pub(super) releaser: Releaser,
    pub(super) definitions: Arc<ArcSwap<unisono_engine::definition::Definitions>>,
    pub(super) messages: Sender<Message>,
    pub(super) writer: Sender<WriterMessage>,
    pub(super) writer_inbox: Receiver<WriterMessage>,
}

/// What the writer's thread gives back.
type Written = (FileJournal, Result<(), AppendError>);
type WriterThread = JoinHandle<Option<Written>>;

/// Waits until the writer has ended; nothing when it panicked.
fn ended(writer: WriterThread) -> Option<Written> {
    writer.join().ok().flatten()
}

pub(super) struct Driver {
    pub(super) state: State,
    inbox: Receiver<Message>,
    waiting: Arc<AtomicUsize>,
    batch: Batch,
    pub(super) writer_busy: bool,
    writer_ended: bool,
    /// Where this thread may append what is alone.
    desk: Option<Desk>,
    /// Why the store cannot be written any more.
    failed: Option<StoreFailure>,
    nonces: Nonces,
    checkpoint: Checkpointing,
    events: Vec<Event>,
    backlog: VecDeque<Message>,
    stopping: bool,
    clock: Clock,
    metrics: Arc<Metrics>,
    space: Space,
    projector: ProjectorHandle,
    hub: Arc<Hub>,
}

/// Where a checkpoint stands.
struct Checkpointing {
    /// Rows still to be written, and the revision that they cover.
    under_way: Option<(VecDeque<Entity>, Revision)>,
    /// Bytes of events since the last one began.
    bytes: u64,
    dirty_since: Option<Instant>,
}

impl Checkpointing {
    fn new() -> Self {
        Self {
            under_way: None,
            bytes: 0,
            dirty_since: None,
        }
    }
}

/// Random numbers that nobody can guess: a keyed hash of a counter.
struct Nonces {
    keys: RandomState,
    counter: u64,
}

impl Nonces {
    fn next(&mut self) -> u64 {
        self.counter += 1;
        let mut hasher = self.keys.build_hasher();
        hasher.write_u64(self.counter);
        hasher.finish()
    }
}

impl Driver {
    /// Rebuilds state from the store and the journal.
    fn recover(
        parts: &Parts,
        mut journal: FileJournal,
        inbox: Receiver<Message>,
        waiting: Arc<AtomicUsize>,
    ) -> Result<(Self, Writer), NodeError> {
        let recovered = recover::recover(&parts.shared, &mut journal, &parts.projector);
        let recovered = parts.runtime.block_on(recovered)?;
        Ok(Self::after(recovered, parts, journal, (inbox, waiting)))
    }

    /// Goes on from what was recovered, with a writer that does.
    pub(super) fn after(
        recovered: Recovered,
        parts: &Parts,
        journal: FileJournal,
        (inbox, waiting): (Receiver<Message>, Arc<AtomicUsize>),
    ) -> (Self, Writer) {
        parts.definitions.store(Arc::clone(recovered.state.definitions()));
        let writer = Writer {
            shared: parts.shared.clone(),
            journal,
            position: recovered.position,
            projector: parts.projector.clone(),
            releaser: parts.releaser.clone(),
            driver: parts.messages.clone(),
            checkpoint_from: None,
            unsettled: None,
        };
        let mut driver = Self {
            batch: Batch::after(recovered.state.revision),
            clock: Clock::after(recovered.state.now),
            state: recovered.state,
            inbox,
            waiting,
            writer_busy: false,
            writer_ended: false,
            desk: None,
            failed: None,
            nonces: Nonces {
                keys: RandomState::new(),
                counter: 0,
            },
            checkpoint: Checkpointing::new(),
            events: Vec::new(),
            backlog: VecDeque::new(),
            stopping: false,
            metrics: Arc::clone(&parts.shared.metrics),
            space: parts.shared.space.clone(),
            projector: parts.projector.clone(),
            hub: Arc::clone(&parts.shared.hub),
        };
        driver.decide(Command::Agent(AgentCommand::NodeStarted), Responder::None);
        parts.shared.hub.outside.everywhere();
        (driver, writer)
    }

    fn start_writer(&mut self, parts: &Parts, writer: Writer) -> Result<WriterThread, NodeError> {
        let (runtime, inbox) = (Arc::clone(&parts.runtime), parts.writer_inbox.clone());
        let notice = EndNotice(writer.driver.clone());
        let desk = self.desk.insert(Desk::new(writer)).clone();
        let thread = std::thread::Builder::new().name("writer".to_owned());
        let run = move || {
            let _notice = notice;
            desk.run(&runtime, &inbox)
        };
        thread.spawn(run).map_err(NodeError::Thread)
    }

    fn run(mut self, parts: &Parts, mut writer: WriterThread) -> Result<(), String> {
        loop {
            self.round(parts);
            if let Some(failure) = self.failed.take() {
                if self.stopping || !self.is_for_want_of_room(&failure) {
                    return Err(format!(
                        "the store failed, so the server stops: {}; nothing that was acknowledged is lost: look at the disk \
                         of the data directory, and start the server again",
                        failure.reason
                    ));
                }
                if self.space.starve() && !self.space.suffices() {
                    // Opening it again has not helped. What it lacks is in the journal until there is room.
                    self.failed = Some(failure);
                } else {
                    (self, writer) = self.rebuild(parts, writer, Some(failure))?;
                    continue;
                }
            }
            if let Some(since) = parts.projector.busy_for().filter(|since| *since >= STORE_HANGS)
                && parts.shared.store.get().is_ok_and(|store| store.is_broken())
            {
                return Err(format!(
                    "the store has failed, and a write to it has not ended for {since:?}, so the server stops; nothing that was \
                     acknowledged is lost: look at the disk of the data directory, and start the server again"
                ));
            }
            if self.writer_ended {
                if self.stopping {
                    return Err(ended_early(writer));
                }
                (self, writer) = self.rebuild(parts, writer, None)?;
                continue;
            }
            if self.stopping && self.space.is_refused() {
                let _ = parts.writer.send(WriterMessage::Stop);
                let _ = writer.join();
                return Err(stopped_without_room(&self.space));
            }
            if self.stopping && self.batch.is_empty() && !self.writer_busy && self.checkpoint.under_way.is_none() {
                let _ = parts.writer.send(WriterMessage::Stop);
                tracing::info!(revision = %self.state.revision, hash = %self.state.hash(), "the state at the end");
                return match ended(writer) {
                    Some((_, Ok(()))) => Ok(()),
                    Some((_, Err(error))) => Err(format!("the journal failed while the server stopped: {error}")),
                    None => Err("the writer panicked".to_owned()),
                };
            }
            self.wait();
        }
    }

    /// Whether the store failed because the disk was full, for all that can be seen.
    fn is_for_want_of_room(&self, failure: &StoreFailure) -> bool {
        failure.is_disk_full || self.space.was_tight()
    }

    /// The journal failed: what is in memory may not be durable, so it is dropped and rebuilt from the journal. Or the store
    /// failed: it is opened again, so that it can be read also while the disk is full, and what it lacks is projected again from
    /// the journal. Callers that wait learn that their request may be lost; agents connect again. For as long as a full disk
    /// keeps it from that, it waits.
    fn rebuild(
        mut self,
        parts: &Parts,
        writer: WriterThread,
        store: Option<StoreFailure>,
    ) -> Result<(Self, WriterThread), String> {
        if store.is_some() {
            let _ = parts.writer.send(WriterMessage::Stop);
        }
        let Some((mut journal, result)) = ended(writer) else {
            return Err("the writer panicked".to_owned());
        };
        // What the writer that has ended, and the store that has failed, still had to say is not about those that come.
        let is_over = |it: &Message| {
            matches!(
                it,
                Message::WriterIdle | Message::WriterEnded | Message::ProjectorFailed(_)
            )
        };
        self.backlog
            .extend(self.inbox.try_iter().filter(|message| !is_over(message)));
        if let Err(error) = &result {
            tracing::error!("the journal failed; rebuilding from it: {}", chain(error));
        }
        if let Some(failure) = &store {
            tracing::error!("the store failed, and is opened again: {}", failure.reason);
        }
        parts.shared.metrics.rebuilds.inc();
        self.batch = Batch::after(self.state.revision);
        parts.shared.sessions.close_all("the server rebuilds its state");
        while let Ok(message) = parts.writer_inbox.try_recv() {
            drop(message);
        }
        std::thread::sleep(Duration::from_millis(200));
        if result.as_ref().is_err_and(is_disk_full) {
            self.wait_for_room()?;
        }
        // What an earlier batch lets out must not come after what is rebuilt.
        parts.releaser.flush();
        parts.shared.hub.waits.clear();
        let rebuild_failed = |what: &str, error: &dyn std::error::Error| {
            format!("the {what} failed and state cannot be rebuilt: {}", chain(error))
        };
        if store.is_some() {
            if let Err(error) = parts.shared.store.reopen() {
                tracing::error!("the store cannot be opened before there is room: {}", chain(&error));
                self.wait_for_room()?;
                let reopened = parts.shared.store.reopen();
                reopened.map_err(|error| rebuild_failed("store", &error))?;
            }
            parts.projector.send(Projection::Resume);
        }
        // What is read of the store must not change meanwhile.
        let (done, flushed) = oneshot::channel();
        parts.projector.send(Projection::Flush(done));
        let _ = flushed.blocking_recv();
        let recovered = loop {
            let recovered = recover::recover(&parts.shared, &mut journal, &parts.projector);
            match parts.runtime.block_on(recovered) {
                Ok(recovered) => break recovered,
                Err(error) if store.is_some() && !self.space.suffices() => {
                    tracing::error!("state cannot be rebuilt before there is room: {}", chain(&error));
                    self.wait_for_room()?;
                }
                Err(error) => return Err(rebuild_failed("journal", &error)),
            }
        };
        let (mut rebuilt, writer) = Self::after(recovered, parts, journal, (self.inbox, self.waiting));
        let writer = rebuilt.start_writer(parts, writer);
        let writer = writer.map_err(|error| rebuild_failed("journal", &error))?;
        rebuilt.backlog = self.backlog;
        rebuilt.space.granted();
        Ok((rebuilt, writer))
    }

    /// Waits until the disk has room again. Whoever asks for something meanwhile gets no answer.
    fn wait_for_room(&mut self) -> Result<(), String> {
        self.space.refused();
        while !self.space.suffices() {
            let next = self.inbox.recv_timeout(ROOM_AGAIN);
            for message in self.backlog.drain(..).chain(next) {
                let dropped = match message {
                    Message::Command(..) | Message::CommandThen(..) => 1,
                    Message::Commands(commands) => commands.len(),
                    Message::Stop => return Err(stopped_without_room(&self.space)),
                    _ => 0,
                };
                self.waiting.fetch_sub(dropped, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    pub(super) fn round(&mut self, parts: &Parts) {
        if self.space.is_refused() {
            self.batch.let_go();
        }
        let (begin, before) = (Instant::now(), self.batch.events.len());
        self.follow_clock();
        for _ in 0..DRAIN {
            if self.is_full() {
                break;
            }
            let Some(message) = self.backlog.pop_front().or_else(|| self.inbox.try_recv().ok()) else {
                break;
            };
            self.take(message);
        }
        self.tick();
        self.advance();
        self.dispatch();
        let decided = self.batch.events.len() - before;
        if decided > 0 {
            self.metrics.decided(begin.elapsed());
        }
        self.write_rows(ROWS_PER_ROUND.max(ROWS_PER_EVENT * decided));
        if !self.writer_busy {
            self.hand_over(parts);
        }
    }

    /// Time that passed otherwise than by being there and listening is decided before anything that it makes due.
    fn follow_clock(&mut self) {
        let stepped = self.clock.follow();
        if let Some(by_ms) = stepped {
            tracing::warn!("the system's clock was set forward by {by_ms} ms; what counts real time does not follow");
            self.decide(Command::Lease(LeaseCommand::ClockStepped { by_ms }), Responder::None);
        }
        let missed = self.clock.missed();
        if let Some(missed) = missed {
            tracing::warn!("nobody was served for {missed} ms: the process was stopped, or the machine is overloaded");
        }
        let lost_ms = stepped.unwrap_or(0).saturating_add(missed.unwrap_or(0));
        if lost_ms > 0 && self.state.rollouts().measures_time() {
            let command = Command::Rollout(RolloutCommand::NotListened { lost_ms });
            self.decide(command, Responder::None);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Command(command, responder) => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                self.tick();
                self.decide(*command, responder);
            }
            Message::CommandThen(command, then) => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                self.tick();
                let outcome = self.outcome(*command);
                let answer = then(&self.state, outcome);
                self.batch.releases.push(Release::Answer(answer));
            }
            Message::Commands(commands) => self.take_all(commands),
            Message::Query(query) => {
                self.tick();
                let answer = query(&self.state);
                self.batch.releases.push(Release::Answer(answer));
            }
            Message::Attendance(attendance) => {
                self.tick();
                let at = self.now();
                let answer = attendance(&mut self.state, at);
                self.batch.releases.push(Release::Answer(answer));
            }
            Message::WriterIdle => self.writer_busy = false,
            Message::WriterEnded => self.writer_ended = true,
            Message::Stop => self.stopping = true,
            Message::ProjectorFailed(error) => self.failed = Some(error),
        }
    }

    /// As many as the batch has room for; the others are the first of the next one.
    fn take_all(&mut self, commands: Vec<(Command, Responder)>) {
        let mut commands = commands.into_iter();
        while !self.is_full()
            && let Some((command, responder)) = commands.next()
        {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.tick();
            self.decide(command, responder);
        }
        if commands.len() > 0 {
            self.backlog.push_front(Message::Commands(commands.collect()));
        }
    }

    fn is_full(&self) -> bool {
        self.batch.events.bytes() >= FULL_BATCH_BYTES
    }

    /// Decides what is due, before anything else is: nobody sees or uses what has ended.
    fn tick(&mut self) {
        while !self.is_full() && self.state.next_timer().is_some_and(|due| due <= self.now()) {
            let before = self.state.revision;
            self.decide(Command::Tick, Responder::None);
            if self.state.revision == before {
                break;
            }
        }
    }

    /// Never earlier than anything decided before.
    fn now(&self) -> Timestamp {
        self.clock.now().max(self.state.now)
    }

    fn decide(&mut self, command: Command, responder: Responder) {
        let outcome = self.outcome(command);
        if !matches!(responder, Responder::None) {
            self.batch.releases.push(Release::Respond(responder, outcome));
        }
    }

    fn outcome(&mut self, command: Command) -> Result<Reply, Rejection> {
        let at = self.now();
        let kind = CommandKind::of(&command);
        let about_rollouts = matches!(command, Command::Rollout(_));
        let mut events = std::mem::take(&mut self.events);
        let outcome = self
            .state
            .decide(command, at, &mut events)
            .and_then(|reply| self.fold_all(at, &events, reply));
        events.clear();
        self.events = events;
        if about_rollouts {
            // What follows from a report stands in the answer to it.
            self.advance();
        }
        match &outcome {
            Ok(_) => self.batch.tally.accepted(kind),
            Err(rejection) => self.metrics.refused(kind, rejection),
        }
        outcome
    }

    /// Folds what one command led to, unless it is more than the journal takes.
    fn fold_all(&mut self, at: Timestamp, events: &[Event], reply: Reply) -> Result<Reply, Rejection> {
        let end = self.batch.events.end();
        let ranges: Vec<EventRange> = events.iter().map(|event| self.batch.events.push(at, event)).collect();
        let bytes = self.batch.events.bytes_after(end);
        if bytes > MAX_COMMAND_BYTES {
            self.batch.events.truncate(end);
            return Err(Rejection::TooLarge {
                bytes,
                limit: MAX_COMMAND_BYTES,
            });
        }
        for (event, range) in events.iter().zip(ranges) {
            self.evolve(at, event, range);
        }
        Ok(reply)
    }

    fn fold(&mut self, at: Timestamp, event: &Event) {
        let range = self.batch.events.push(at, event);
        self.evolve(at, event, range);
    }

    fn evolve(&mut self, at: Timestamp, event: &Event, range: EventRange) {
        let revision = self.state.revision.next();
        if let Some(run) = event.run(revision) {
            self.batch.run_events.push(RunEvent { run, revision, range });
        } else if Told::is_told(event) {
            self.batch.told.push(Told { revision, range });
        }
        if let Event::Rollout(event) = event
            && self.hub.fleets.is_watched()
        {
            self.batch.touches.add(event);
        }
        self.batch.tally.event(event);
        self.state.evolve(revision, at, event, &mut self.batch.effects);
    }

    /// Lets the rules for rollouts decide what follows. What a full batch has no room for is decided in the next one.
    fn advance(&mut self) {
        let at = self.now();
        while !self.is_full()
            && let Some(event) = self.state.advance(at)
        {
            self.fold(at, &event);
        }
    }

    /// Hands out what is ready; not while no room is left for what becomes of it.
    fn dispatch(&mut self) {
        let at = self.now();
        while !self.is_full() && self.space.last_room() != Room::None {
            let nonce = self.nonces.next();
            let Some(event) = self.state.dispatch(nonce) else {
                break;
            };
            self.fold(at, &event);
        }
    }

    fn hand_over(&mut self, parts: &Parts) {
        let begins = self.checkpoint_is_due(parts.shared.checkpoint_bytes);
        if self.batch.is_empty() && !begins {
            return;
        }
        self.checkpoint.bytes += self.batch.events.bytes() as u64;
        let revision = self.state.revision;
        let mut batch = self.batch.close(&mut self.state);
        if begins && batch.mark == CheckpointMark::None {
            batch.mark = CheckpointMark::Begins;
            self.checkpoint = Checkpointing::new();
            self.checkpoint.under_way = Some((self.state.take_dirty().into(), revision));
        } else if self.state.is_dirty() {
            self.checkpoint.dirty_since.get_or_insert_with(Instant::now);
        }
        self.writer_busy = true;
        let left = match &self.desk {
            Some(desk) if self.is_alone(&batch) => desk.append(&parts.runtime, Box::new(batch)),
            _ => Some(WriterMessage::Batch(Box::new(batch))),
        };
        if let Some(left) = left {
            let _ = parts.writer.send(left);
        }
    }

    /// Whether a batch is all that there is to do, and passing it on keeps nobody waiting.
    fn is_alone(&self, batch: &Batch) -> bool {
        batch.releases.len() <= 1
            && batch.rows.is_empty()
            && self.inbox.is_empty()
            && self.backlog.is_empty()
            && !self.projector.is_far_behind()
    }

    fn checkpoint_is_due(&self, checkpoint_bytes: u64) -> bool {
        let checkpoint = &self.checkpoint;
        checkpoint.under_way.is_none()
            && self.state.is_dirty()
            && (self.stopping || self.space.last_room() != Room::None)
            && (self.stopping
                || checkpoint.bytes >= checkpoint_bytes
                || checkpoint
                    .dirty_since
                    .is_some_and(|since| since.elapsed() >= CHECKPOINT_AFTER))
    }

    /// Writes some rows of the checkpoint under way into the batch; they reach the store only after
    /// everything that they show is durable.
    fn write_rows(&mut self, most: u64) {
        let Some((entities, revision)) = &mut self.checkpoint.under_way else {
            return;
        };
        for _ in 0..most {
            if self.batch.row_bytes >= FULL_BATCH_BYTES {
                return;
            }
            let Some(entity) = entities.pop_front() else {
                break;
            };
            let rows = self.state.take_rows(entity);
            self.batch.row_bytes += rows
                .iter()
                .map(|(_, row)| row.as_ref().map_or(0, Vec::len))
                .sum::<usize>();
            self.batch.rows.extend(rows);
        }
        if entities.is_empty() && self.batch.mark == CheckpointMark::None {
            self.batch.mark = CheckpointMark::Ends(*revision);
            self.checkpoint.under_way = None;
        }
    }

    /// Sleeps until something happens or is due. What the threads say is taken at once: while a batch
    /// is full, nothing else is.
    fn wait(&mut self) {
        let longest = self.next_wake();
        self.clock.rest(longest);
        match self.inbox.recv_timeout(longest) {
            Ok(message @ (Message::WriterIdle | Message::WriterEnded | Message::ProjectorFailed(_))) => {
                self.take(message)
            }
            Ok(message) => self.backlog.push_back(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.stopping = true,
        }
    }

    fn next_wake(&self) -> Duration {
        if self.checkpoint.under_way.is_some() && !self.writer_busy {
            return Duration::ZERO;
        }
        let now = self.now();
        let longest = if self.state.rollouts().measures_time() {
            LONGEST_SLEEP_WHILE_LISTENING
        } else {
            LONGEST_SLEEP_WITH_TIMER
        };
        let timer = self
            .state
            .next_timer()
            .map(|due| Duration::from_millis(due.millis_since(now)).min(longest));
        let is_full = self.space.last_room() == Room::None;
        let checkpoint = self
            .checkpoint
            .dirty_since
            .filter(|_| self.checkpoint.under_way.is_none() && !self.writer_busy && !is_full)
            .map(|since| CHECKPOINT_AFTER.saturating_sub(since.elapsed()));
        // A full disk wakes nobody when it is no longer full, and neither does a store that hangs.
        let room = is_full.then_some(ROOM_AGAIN);
        let store = self.projector.busy_for().map(|_| STORE_HANGS);
        [timer, checkpoint, room, store]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(LONGEST_SLEEP)
            .min(LONGEST_SLEEP)
    }
}

/// Why the writer ended before a partition that stops had everything durable.
fn ended_early(writer: WriterThread) -> String {
    let why = match ended(writer) {
        Some((_, Err(error))) => chain(&error),
        Some((_, Ok(()))) => "it ended".to_owned(),
        None => "it panicked".to_owned(),
    };
    format!("the journal failed while the server stopped; nothing that was acknowledged is lost: {why}")
}

fn stopped_without_room(space: &Space) -> String {
    format!(
        "the server stops while the disk of its data directory is full: {}; nothing that was acknowledged is lost",
        space.free()
    )
}

fn is_disk_full(error: &AppendError) -> bool {
    match error {
        AppendError::Full { .. } => true,
        AppendError::Unavailable(error) => error.is_disk_full(),
        _ => false,
    }
}

/// Tells the driver that the writer's thread ends, however it does.
struct EndNotice(Sender<Message>);

impl Drop for EndNotice {
    fn drop(&mut self) {
        let _ = self.0.send(Message::WriterEnded);
    }
}

/// An error with its causes, for the log.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
