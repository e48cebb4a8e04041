//! Who waits for an answer that comes with some later batch: of an awaited key, or of a place in the queue of a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use unisono_engine::lease::TicketEnd;
use unisono_engine::value::{AwaitId, Awaited};
use unisono_model::ids::Revision;

/// The answer of an await, shared by all who get it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) awaited: Arc<Awaited>,
    /// The value as JSON, written once.
    json: OnceLock<Bytes>,
}

impl Answer {
    pub(crate) fn new(awaited: Arc<Awaited>) -> Arc<Self> {
        Arc::new(Self {
            awaited,
            json: OnceLock::new(),
        })
    }

    /// The value as JSON, if the answer is one.
    pub(crate) fn value(&self) -> Option<Bytes> {
        let Awaited::Value(value) = &*self.awaited else {
            return None;
        };
        let json = self.json.get_or_init(|| {
            let view = value.view();
            Bytes::from(serde_json::to_vec(&view).unwrap_or_default())
        });
        Some(json.clone())
    }
}

type Respond = Box<dyn FnOnce(Arc<Answer>) + Send>;

/// Who waits. What the partition knows of them, and this, are forgotten together.
#[derive(Default)]
pub(crate) struct Waits {
    last: AtomicU64,
    awaits: Mutex<FxHashMap<AwaitId, Respond>>,
    tickets: Mutex<FxHashMap<Revision, Vec<oneshot::Sender<TicketEnd>>>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waits {
    /// A new await, and what to do with its answer.
    pub(crate) fn register(&self, respond: impl FnOnce(Arc<Answer>) + Send + 'static) -> AwaitId {
        let id = AwaitId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        lock(&self.awaits).insert(id, Box::new(respond));
        id
    }

    /// Nobody waits for this answer any more; false when it has been given, or is being given.
    pub(crate) fn forget(&self, id: AwaitId) -> bool {
        lock(&self.awaits).remove(&id).is_some()
    }

    /// Durably, these have their answer.
    pub(crate) fn answer(&self, ids: &[AwaitId], awaited: Arc<Awaited>) {
        let mut awaits = lock(&self.awaits);
        let responds: Vec<Respond> = ids.iter().filter_map(|id| awaits.remove(id)).collect();
        drop(awaits);
        let answer = Answer::new(awaited);
        for respond in responds {
            respond(Arc::clone(&answer));
        }
    }

    /// How a place in a queue ends, if that comes from now on.
    pub(crate) fn ticket(&self, ticket: Revision, sender: oneshot::Sender<TicketEnd>) {
        let mut tickets = lock(&self.tickets);
        let of_ticket = tickets.entry(ticket).or_default();
        of_ticket.retain(|waiter| !waiter.is_closed());
        of_ticket.push(sender);
    }

    /// Forgets who waits for this place and has gone.
    pub(crate) fn sweep_ticket(&self, ticket: Revision) {
        let mut tickets = lock(&self.tickets);
        if let Some(of_ticket) = tickets.get_mut(&ticket) {
            of_ticket.retain(|waiter| !waiter.is_closed());
            if of_ticket.is_empty() {
                tickets.remove(&ticket);
            }
        }
    }

    /// Durably, this place has come to its end.
    pub(crate) fn ticket_ended(&self, ticket: Revision, end: &TicketEnd) {
        let waiting = lock(&self.tickets).remove(&ticket);
        for waiter in waiting.into_iter().flatten() {
            // Whoever waited may have gone.
            let _ = waiter.send(end.clone());
        }
    }

    /// The state is rebuilt: nobody is waited for any more, and all who wait are told that their answer is lost.
    pub(crate) fn clear(&self) {
        lock(&self.awaits).clear();
        lock(&self.tickets).clear();
    }
}
