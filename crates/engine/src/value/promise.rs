//! The rules for futures.

use unisono_model::ids::{Revision, Timestamp};
use unisono_model::key::Key;
use unisono_model::name::Name;
use unisono_model::values::FutureState;

use super::command::Declare;
use super::decide::ValueRejection;
use super::event::{Because, ValueEvent as E};
use super::future::Future;
use crate::orchestration::RunKey;
use crate::{Event, Rejection, Reply, State};

pub(super) fn declare(
    state: &State,
    declare: Declare,
    at: Timestamp,
    events: &mut Vec<Event>,
) -> Result<Reply, Rejection> {
    let (namespace, key) = (&declare.namespace, &declare.key);
    if let Some(lease) = declare.lease {
        state.leases().known(namespace, lease)?;
    }
    let known = state.values.futures.get(namespace, key);
    let has_value = state.values.get(namespace, key).is_some();
    let epoch = match known {
        None if has_value && !declare.new_epoch => return Err(ValueRejection::HasValue { key: key.clone() }.into()),
        None => 1,
        Some(known) if known.is_pending() && known.producer != declare.producer => {
            return Err(ValueRejection::Declared {
                key: key.clone(),
                producer: known.producer.clone(),
            }
            .into());
        }
        Some(known) if known.is_pending() => known.epoch,
        Some(known) if declare.new_epoch => known.epoch + 1,
        // A producer that starts again and declares what it has given already changes nothing.
        Some(known) if known.producer == declare.producer => return Ok(shown(state, known)),
        Some(known) => {
            return Err(ValueRejection::Settled {
                key: key.clone(),
                state: known.state,
                epoch: known.epoch,
            }
            .into());
        }
    };
    let closed = crate::waits::cycle_of_producer(state, namespace, key, &declare.producer);
    if let Some(cycle) = closed {
        return Err(ValueRejection::Cycle { cycle }.into());
    }
    if has_value {
        events.push(Event::Value(E::Deleted {
            namespace: namespace.clone(),
            key: key.clone(),
            because: Because::NewEpoch,
            writer: declare.actor.clone(),
            fence: None,
        }));
    }
    let revision = Revision(state.revision.0 + events.len() as u64 + 1);
    let future = Future {
        id: known.map_or(revision, |known| known.id),
        revision,
        namespace: declare.namespace.clone(),
        key: declare.key.clone(),
        producer: declare.producer.clone(),
        epoch,
        state: FutureState::Pending,
        since: at,
        reason: None,
        schema: declare.schema.clone(),
        deadline: declare.ttl_ms.map(|ttl| state.marks.steady_after(at, ttl)),
        lease: declare.lease,
        run: declare.run,
        declared: revision,
    };
    let reply = shown(state, &future);
    events.push(Event::Value(E::Declared {
        namespace: declare.namespace,
        key: declare.key,
        producer: declare.producer,
        epoch,
        schema: declare.schema,
        deadline: future.deadline.map(|deadline| deadline.0),
        lease: declare.lease.map(|lease| lease.0),
        run: declare.run.map(|run| run.0),
        actor: declare.actor,
    }));
    Ok(reply)
}

fn shown(state: &State, future: &Future) -> Reply {
    let waiters = state.values.awaits.count_of(&future.namespace, &future.key);
    Reply::Future(Box::new(future.view(&state.marks, waiters)))
}

fn known<'a>(state: &'a State, namespace: &Name, key: &Key) -> Result<&'a Future, Rejection> {
    let known = state.values.futures.get(namespace, key);
    known.ok_or_else(|| ValueRejection::NotDeclared { key: key.clone() }.into())
}

pub(super) fn break_promise(
    state: &State,
    (namespace, key): (Name, Key),
    reason: String,
    actor: Option<String>,
    events: &mut Vec<Event>,
) -> Result<Reply, Rejection> {
    let future = known(state, &namespace, &key)?;
    if !future.is_pending() {
        return Err(ValueRejection::Settled {
            key,
            state: future.state,
            epoch: future.epoch,
        }
        .into());
    }
    events.push(broken(namespace, key, reason, actor));
    Ok(Reply::Done)
}

pub(super) fn withdraw(
    state: &State,
    (namespace, key): (Name, Key),
    actor: Option<String>,
    events: &mut Vec<Event>,
) -> Result<Reply, Rejection> {
    known(state, &namespace, &key)?;
    events.push(Event::Value(E::Withdrawn { namespace, key, actor }));
    Ok(Reply::Done)
}

fn broken(namespace: Name, key: Key, reason: String, actor: Option<String>) -> Event {
    Event::Value(E::Broken {
        namespace,
        key,
        reason,
        actor,
    })
}

/// The lease of a producer has ended.
pub(crate) fn broken_by_lease(
    state: &State,
    (namespace, lease): (&Name, Revision),
    why: &str,
    events: &mut Vec<Event>,
) {
    for key in state.values.futures.of_lease(lease) {
        let reason = format!("the lease of its producer {why}");
        events.push(broken(namespace.clone(), key.clone(), reason, None));
    }
}

/// A run has ended, and with it the activities that were to produce values.
pub(crate) fn broken_by_run(state: &State, run: RunKey, why: &str, events: &mut Vec<Event>) {
    for (namespace, key) in state.values.futures.of_run(run) {
        events.push(broken(namespace.clone(), key.clone(), why.to_owned(), None));
    }
}
