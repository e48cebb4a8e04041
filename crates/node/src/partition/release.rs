//! What leaves the partition once it is durable: replies, attempts, cancels, watches, in the order of the batches.
//!
//! A task of the runtime lets it out, not the writer: the next batch is being made durable meanwhile, and whoever is
//! woken runs on a thread of the runtime anyway.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use unisono_engine::Effect;
use unisono_engine::definition::Definitions;
use unisono_model::ids::Revision;
use unisono_model::protocol::{CancelAttempt, ServerMessage};

use super::Shared;
use super::batch::{Release, RunEvent, ToAgents};
use crate::feed::Told;
use crate::fleets::Touches;
use crate::sessions::Outgoing;

/// What a durable batch lets out.
pub(super) struct Released {
    pub(super) releases: Vec<Release>,
    pub(super) effects: Vec<Effect>,
    pub(super) run_events: Arc<[RunEvent]>,
    /// What watches of values, locks and elections tell, up to this revision.
    pub(super) told: (Vec<Told>, Revision),
    /// What has changed of entities that somebody may watch.
    pub(super) touches: Touches,
    /// The batch's bytes, from its first event on.
    pub(super) body: Bytes,
}

pub(super) enum Message {
    Durable(Box<Released>),
    /// Say when everything before is out.
    Flush(oneshot::Sender<()>),
}

/// Hands durable batches to the task that lets them out; the task ends with the last handle.
#[derive(Clone)]
pub(super) struct Releaser(pub(super) UnboundedSender<Message>);

impl Releaser {
    /// Starts the task on the current runtime. `definitions` are what request handlers read.
    pub(super) fn start(shared: &Shared, definitions: Arc<ArcSwap<Definitions>>) -> Self {
        let (sender, receiver) = unbounded_channel();
        tokio::spawn(run(shared.clone(), definitions, receiver));
        Self(sender)
    }

    pub(super) fn release(&self, released: Released) {
        // The task ends only with the runtime, and then nobody waits any more.
        let _ = self.0.send(Message::Durable(Box::new(released)));
    }

    /// Waits until everything that was handed over is out. Not to be called on a thread of the runtime.
    pub(super) fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        let _ = self.0.send(Message::Flush(done));
        let _ = flushed.blocking_recv();
    }
}

async fn run(shared: Shared, definitions: Arc<ArcSwap<Definitions>>, mut receiver: UnboundedReceiver<Message>) {
    while let Some(told) = receiver.recv().await {
        match told {
            Message::Durable(released) => release(&shared, &definitions, *released),
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

pub(super) fn release(shared: &Shared, definitions: &ArcSwap<Definitions>, released: Released) {
    // Before the replies: whoever has read a revision can watch from it on.
    let (told, revision) = released.told;
    shared.hub.feed.publish(revision, told, &released.body);
    // Before the replies: whoever has applied a definition finds it.
    let changed = released.effects.iter().rev().find_map(|effect| match effect {
        Effect::DefinitionsChanged(definitions) => Some(Arc::clone(definitions)),
        _ => None,
    });
    if let Some(changed) = changed {
        definitions.store(changed);
    }
    let mut to_agents = ToAgents::default();
    for release in released.releases {
        match release {
            Release::Respond(responder, outcome) => responder.respond(outcome, &mut to_agents),
            Release::Answer(answer) => answer(),
        }
    }
    let (mut ended, mut decided) = (Vec::new(), Vec::new());
    for effect in released.effects {
        match effect {
            Effect::Dispatch { session, task } => {
                to_agents.entry(session).or_default().push(Outgoing::Task(task));
            }
            Effect::CancelAttempt { session, token, reason } => {
                let cancel = ServerMessage::Cancel(CancelAttempt { token, reason });
                to_agents.entry(session).or_default().push(Outgoing::Message(cancel));
            }
            Effect::AttemptEnded(attempt) => shared.traces.attempt(*attempt),
            Effect::Ended(run) => {
                tracing::debug!(namespace = %run.namespace, run = %run.id, state = run.state.as_str(), "orchestration ended");
                shared.traces.ended(&run);
                ended.push(run);
            }
            Effect::RolloutChanged {
                namespace,
                entity,
                decided: true,
                ..
            } => decided.push((namespace, entity)),
            Effect::DefinitionsChanged(_) | Effect::RolloutChanged { .. } | Effect::Deleted { .. } => {}
            Effect::Awaited { ids, outcome } => shared.hub.waits.answer(&ids, outcome),
            Effect::TicketEnded { ticket, end } => shared.hub.waits.ticket_ended(ticket, &end),
        }
    }
    shared.sessions.send_all(to_agents.into_iter());
    shared.hub.fleets.publish(&released.touches);
    if !decided.is_empty() {
        shared.hub.outside.all(decided);
    }
    shared.hub.ended(&ended);
    shared.hub.publish(&released.run_events, &released.body);
    if !released.body.is_empty() {
        shared.hub.decisions.send_replace(());
    }
}
