//! How the rest of the node talks to the partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use unisono_engine::definition::{DefinitionCommand, Definitions};
use unisono_engine::orchestration::OrchestrationCommand;
use unisono_engine::rollout::{RolloutCommand, Verb};
use unisono_engine::value::{Operation, ValueCommand};
use unisono_engine::{Command, Rejection, Reply, State};
use unisono_journal::{FileBatches, Journal as _};
use unisono_model::ids::{Revision, Timestamp};
use unisono_store::{Store, StoreError};

use super::batch::Responder;
use super::driver::Message;
use super::export::BackupHolds;
use super::projector::{Projection, ProjectorHandle};
use super::shelf::Shelf;
use super::writer::WriterMessage;
use crate::space::{Free, Room, Space};

/// Commands that may wait to be decided before new work from outside is refused.
const MAX_WAITING: usize = 16_384;

/// Why the partition did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Unavailable {
    /// The journal failed, or the node is stopping; whether the request took effect is not known.
    #[error("the server could not make the request durable; it may or may not have taken effect")]
    Lost,
    /// Too much waits already.
    #[error("the server is overloaded: {MAX_WAITING} requests wait to be decided")]
    Overloaded,
    /// The node is stopping.
    #[error("the server is shutting down")]
    Stopping,
    /// The disk has no room for what was asked, which was not done.
    #[error("the disk of the server is full: {0}")]
    DiskFull(Free),
    /// The disk is full, and whether the request takes effect will be known when there is room.
    #[error("the disk of the server is full: {0}; the request may or may not take effect when there is room")]
    Held(Free),
    /// The store is being opened again.
    #[error("the server opens its store again after the disk was full")]
    Reopening,
    /// The store failed.
    #[error("the store cannot be read: {0}")]
    Store(String),
}

impl From<StoreError> for Unavailable {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

/// A cheap handle on the partition.
#[derive(Clone)]
pub(crate) struct Partition {
    pub(super) messages: Sender<Message>,
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) definitions: Arc<ArcSwap<Definitions>>,
    pub(super) projector: ProjectorHandle,
    pub(super) store: Shelf,
    pub(super) space: Space,
    pub(super) writer: Sender<WriterMessage>,
    pub(super) holds: BackupHolds,
    /// The error that ended the partition, or `Some(None)` when it has stopped as asked.
    pub(super) ended: watch::Receiver<Option<Option<String>>>,
}

impl Partition {
    /// The definitions as they were last made durable.
    pub(crate) fn definitions(&self) -> Arc<Definitions> {
        self.definitions.load_full()
    }

    /// The store, for reads that follow a [`Partition::barrier`].
    ///
    /// # Errors
    /// [`Unavailable::Reopening`] while there is none.
    pub(crate) fn store(&self) -> Result<Store, Unavailable> {
        self.store.get()
    }

    /// The room on the disk.
    pub(crate) fn space(&self) -> &Space {
        &self.space
    }

    /// Up to where the store shows everything.
    pub(crate) fn projected(&self) -> Revision {
        self.projector.projected()
    }

    /// Commands that wait to be decided, and durable batches that wait to be projected.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        (self.waiting.load(Ordering::Relaxed), self.projector.waiting())
    }

    /// Decides a command and waits until what was decided is durable.
    pub(crate) async fn command(&self, command: Command) -> Result<Result<Reply, Rejection>, Unavailable> {
        self.admits(&command)?;
        let (sender, receiver) = oneshot::channel();
        self.submit(command, Responder::Channel(sender));
        receiver.await.map_err(|_| self.lost())
    }

    /// The same; what is decided is shown to `on_reply` before anything that is decided later has its effects.
    pub(crate) async fn command_with(
        &self,
        command: Command,
        on_reply: impl FnOnce(&Result<Reply, Rejection>) + Send + 'static,
    ) -> Result<Result<Reply, Rejection>, Unavailable> {
        self.admits(&command)?;
        let (sender, receiver) = oneshot::channel();
        let respond = move |outcome: Result<Reply, Rejection>| {
            on_reply(&outcome);
            let _ = sender.send(outcome);
        };
        self.submit(command, Responder::Call(Box::new(respond)));
        receiver.await.map_err(|_| self.lost())
    }

    /// Whether a command may be decided as far as room on the disk goes.
    fn admits(&self, command: &Command) -> Result<(), Unavailable> {
        self.accepts_work()?;
        match self.space.room() {
            Room::Enough => Ok(()),
            Room::Reserve if goes_on(command) => Ok(()),
            _ => Err(Unavailable::DiskFull(self.space.free())),
        }
    }

    /// Refuses what brings new data when there is no room for it.
    ///
    /// # Errors
    /// [`Unavailable::DiskFull`].
    pub(crate) fn admits_data(&self) -> Result<(), Unavailable> {
        match self.space.room() {
            Room::Enough => Ok(()),
            _ => Err(Unavailable::DiskFull(self.space.free())),
        }
    }

    /// Why a request has no answer, when whoever was to give it is gone.
    fn lost(&self) -> Unavailable {
        match self.space.is_held() {
            true => Unavailable::Held(self.space.free()),
            false => Unavailable::Lost,
        }
    }

    /// The same for one that changes nothing.
    fn unanswered(&self) -> Unavailable {
        match self.space.is_held() {
            true => Unavailable::DiskFull(self.space.free()),
            false => Unavailable::Lost,
        }
    }

    /// Decides a command, and reads state right after it, before anything else is decided.
    pub(crate) async fn command_then<T: Send + 'static>(
        &self,
        command: Command,
        read: impl FnOnce(&State, Result<Reply, Rejection>) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.admits(&command)?;
        let (sender, receiver) = oneshot::channel();
        let then = move |state: &State, outcome: Result<Reply, Rejection>| -> Box<dyn FnOnce() + Send> {
            let answer = read(state, outcome);
            Box::new(move || {
                let _ = sender.send(answer);
            })
        };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _ = self
            .messages
            .send(Message::CommandThen(Box::new(command), Box::new(then)));
        receiver.await.map_err(|_| self.lost())
    }

    fn accepts_work(&self) -> Result<(), Unavailable> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Unavailable::Stopping);
        }
        if self.waiting.load(Ordering::Relaxed) >= MAX_WAITING {
            return Err(Unavailable::Overloaded);
        }
        Ok(())
    }

    /// Decides a command and tells the responder.
    pub(crate) fn submit(&self, command: Command, responder: Responder) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // A stopped partition drops the message, and with it the responder.
        let _ = self.messages.send(Message::Command(Box::new(command), responder));
    }

    /// Decides many commands, in order.
    pub(crate) fn submit_all(&self, commands: Vec<(Command, Responder)>) {
        self.waiting.fetch_add(commands.len(), Ordering::Relaxed);
        let _ = self.messages.send(Message::Commands(commands));
    }

    /// Waits while too much waits to be decided, and while there is no room for results: how agents are slowed down.
    pub(crate) async fn ready(&self) {
        self.space.writable().await;
        while self.waiting.load(Ordering::Relaxed) >= MAX_WAITING {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Reads state, and waits until everything that the read has seen is durable.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        read: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (sender, receiver) = oneshot::channel();
        let query = move |state: &State| -> Box<dyn FnOnce() + Send> {
            let answer = read(state);
            Box::new(move || {
                let _ = sender.send(answer);
            })
        };
        let _ = self.messages.send(Message::Query(Box::new(query)));
        receiver.await.map_err(|_| self.unanswered())
    }

    /// Somebody begins to wait; the answer comes once everything that it saw is durable.
    pub(crate) async fn attend<T: Send + 'static>(
        &self,
        begin: impl FnOnce(&mut State, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.accepts_work()?;
        let (sender, receiver) = oneshot::channel();
        let attendance = move |state: &mut State, at: Timestamp| -> Box<dyn FnOnce() + Send> {
            let answer = begin(state, at);
            Box::new(move || {
                let _ = sender.send(answer);
            })
        };
        let _ = self.messages.send(Message::Attendance(Box::new(attendance)));
        receiver.await.map_err(|_| self.unanswered())
    }

    /// Somebody waits no more.
    pub(crate) fn depart(&self, end: impl FnOnce(&mut State) + Send + 'static) {
        let attendance = move |state: &mut State, _: Timestamp| -> Box<dyn FnOnce() + Send> {
            end(state);
            Box::new(|| {})
        };
        let _ = self.messages.send(Message::Attendance(Box::new(attendance)));
    }

    /// The batches of the journal that still can be read, up to its end.
    pub(crate) async fn journal(&self) -> Result<FileBatches, Unavailable> {
        self.look(|journal| journal.batches(journal.first_position())).await
    }

    /// Waits until the store shows everything that was decided before this call.
    pub(crate) async fn barrier(&self) -> Result<(), Unavailable> {
        let (sender, receiver) = oneshot::channel();
        let projector = self.projector.clone();
        let flush = move |_: &State| -> Box<dyn FnOnce() + Send> {
            Box::new(move || projector.send(Projection::Flush(sender)))
        };
        let _ = self.messages.send(Message::Query(Box::new(flush)));
        receiver.await.map_err(|_| self.unanswered())
    }

    /// Keeps a piece of an attempt's log.
    pub(crate) async fn log(&self, piece: super::LogPiece) {
        self.projector.log(piece).await;
    }

    /// Refuses new commands from outside from now on.
    pub(crate) fn refuse_new_work(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Decides what has been submitted, makes it durable, writes a checkpoint, and ends.
    pub(crate) fn stop(&self) {
        let _ = self.messages.send(Message::Stop);
    }

    /// Waits until the partition has ended; the error when it did so by itself.
    pub(crate) async fn ended(&self) -> Option<String> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().flatten(),
            Err(_) => Some("a thread of the partition panicked".to_owned()),
        }
    }
}

/// Whether a command goes through while the reserve is touched: it ends, frees or keeps alive what was accepted. Others wait
/// until there is room.
fn goes_on(command: &Command) -> bool {
    match command {
        Command::Orchestration(command) => !matches!(command, OrchestrationCommand::Start(_)),
        Command::Rollout(RolloutCommand::Do { verb, .. }) => {
            !matches!(verb, Verb::SetVersion { .. } | Verb::SetPolicy { .. })
        }
        Command::Value(ValueCommand::Write(write)) => {
            let puts = |operation: &Operation| matches!(operation, Operation::Put(_));
            !write.operations.iter().any(puts)
        }
        command => matches!(
            command,
            Command::Definition(DefinitionCommand::Delete { .. })
                | Command::Value(ValueCommand::Break { .. } | ValueCommand::Withdraw { .. })
                | Command::Rollout(_)
                | Command::Retention(_)
                | Command::Lease(_)
                | Command::Agent(_)
                | Command::Tick
        ),
    }
}
