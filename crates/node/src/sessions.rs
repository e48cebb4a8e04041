//! The connections of agents: where what is said to an agent goes.

use std::sync::Arc;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustc_hash::FxHashMap;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use unisono_engine::agent::SessionId;
use unisono_engine::orchestration::Task;
use unisono_model::protocol::ServerMessage;

/// What is on its way to an agent.
pub(crate) enum Outgoing {
    Message(ServerMessage),
    /// An attempt, not yet put together.
    Task(Box<Task>),
    /// An answer or a change that some room was made for, which is free again when it is written.
    Sized {
        message: ServerMessage,
        bytes: usize,
        room: OwnedSemaphorePermit,
    },
    /// The agent has said that it is there.
    Heard,
    /// Say this and close.
    Close(ServerMessage),
}

/// What may wait for an agent before nothing more is read of it: what it says is answered.
const MAX_UNSENT: usize = 131_072;

/// Where what is said to one agent goes. What waits there is bounded by the attempts that the
/// agent was willing to hold, and by [`SessionSender::is_behind`].
#[derive(Clone)]
pub(crate) struct SessionSender {
    sender: UnboundedSender<Vec<Outgoing>>,
    unsent: Arc<AtomicUsize>,
}

impl SessionSender {
    pub(crate) fn send(&self, outgoing: Outgoing) {
        self.send_all(vec![outgoing]);
    }

    fn send_all(&self, outgoing: Vec<Outgoing>) {
        self.unsent.fetch_add(outgoing.len(), Ordering::Relaxed);
        // The connection may be gone; the agent's attempts are returned then.
        let _ = self.sender.send(outgoing);
    }

    /// Whether the agent does not read as fast as it asks to be answered.
    pub(crate) fn is_behind(&self) -> bool {
        !self.sender.is_closed() && self.unsent.load(Ordering::Relaxed) >= MAX_UNSENT
    }

    /// Waits until nothing is sent to the agent any more.
    pub(crate) async fn closed(&self) {
        self.sender.closed().await;
    }
}

/// Where what is said to one agent comes out.
pub(crate) struct SessionReceiver {
    receiver: UnboundedReceiver<Vec<Outgoing>>,
    unsent: Arc<AtomicUsize>,
}

impl SessionReceiver {
    /// Waits for something to say, and takes what there is until there are `enough`; false when there will be no more.
    pub(crate) async fn recv(&mut self, buffer: &mut Vec<Outgoing>, enough: usize) -> bool {
        let Some(first) = self.receiver.recv().await else {
            return false;
        };
        let before = buffer.len();
        buffer.extend(first);
        while buffer.len() < enough
            && let Ok(more) = self.receiver.try_recv()
        {
            buffer.extend(more);
        }
        self.unsent.fetch_sub(buffer.len() - before, Ordering::Relaxed);
        true
    }
}

/// The connections that are up.
#[derive(Clone, Default)]
pub(crate) struct Sessions {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    next: AtomicU64,
    open: RwLock<FxHashMap<SessionId, SessionSender>>,
}

impl Sessions {
    /// A new connection.
    pub(crate) fn open(&self) -> (SessionId, SessionSender, SessionReceiver) {
        let id = SessionId(self.inner.next.fetch_add(1, Ordering::Relaxed) + 1);
        let (sender, receiver) = unbounded_channel();
        let unsent = Arc::new(AtomicUsize::new(0));
        let sender = SessionSender {
            sender,
            unsent: Arc::clone(&unsent),
        };
        let receiver = SessionReceiver { receiver, unsent };
        self.write(|open| open.insert(id, sender.clone()));
        (id, sender, receiver)
    }

    /// A connection is gone.
    pub(crate) fn close(&self, id: SessionId) {
        self.write(|open| open.remove(&id));
    }

    /// Says to each agent what is meant for it, at once.
    pub(crate) fn send_all(&self, outgoing: impl Iterator<Item = (SessionId, Vec<Outgoing>)>) {
        let open = match self.inner.open.read() {
            Ok(open) => open,
            Err(poisoned) => poisoned.into_inner(),
        };
        for (id, outgoing) in outgoing {
            if let Some(sender) = open.get(&id) {
                sender.send_all(outgoing);
            }
        }
    }

    /// Tells every agent to connect again, and closes.
    pub(crate) fn close_all(&self, reason: &str) {
        let all: Vec<SessionSender> = self.write(|open| open.drain().map(|(_, sender)| sender).collect());
        for sender in all {
            sender.send(Outgoing::Close(ServerMessage::Reconnect(
                unisono_model::protocol::Reconnect {
                    after_ms: 100,
                    reason: reason.to_owned(),
                },
            )));
        }
    }

    fn write<T>(&self, change: impl FnOnce(&mut FxHashMap<SessionId, SessionSender>) -> T) -> T {
        match self.inner.open.write() {
            Ok(mut open) => change(&mut open),
            Err(poisoned) => change(&mut poisoned.into_inner()),
        }
    }
}
