//! The rules for writing values.

use thiserror::Error;
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::key::Key;
use unisono_model::limits::MAX_LEASE_VALUES;
use unisono_model::name::Name;
use unisono_model::values::{FutureState, WaitStep};

use super::command::{Expect, Fence, Operation, Put, ValueCommand, Write};
use super::event::{Because, ValueEvent as E};
use super::promise;
use super::stored::{Shown, Value};
use crate::payload::Payload;
use crate::{Event, Rejection, Reply, State};

/// Keys without a value whose fencing tokens are remembered.
const MOST_TOMBSTONES: usize = 65_536;

/// Values and promises that one tick ends, at most; the node ticks again at once while more is due.
const MOST_AT_ONCE: usize = 4_096;

/// What a transaction did, operation by operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// One for each operation.
    pub outcomes: Vec<Outcome>,
}

/// What one operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The value was written.
    Put {
        /// The key.
        key: Key,
        /// The write.
        revision: Revision,
        /// The write that created the value.
        created: Revision,
        /// Writes since then.
        version: u32,
        /// When it expires.
        expires_at: Option<Timestamp>,
    },
    /// There is no value any more.
    Deleted {
        /// The key.
        key: Key,
        /// The deletion, if there was something to delete.
        revision: Option<Revision>,
    },
    /// What was read.
    Got(Option<Box<Shown>>),
}

/// A condition that does not hold, and what the key is really like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Which condition, from 0.
    pub index: usize,
    /// The key.
    pub key: Key,
    /// Its value.
    pub current: Option<Box<Shown>>,
}

/// Why a command about values or futures was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueRejection {
    /// Conditions do not hold.
    #[error("the condition on {} does not hold", failed.iter().map(|it| format!("\"{}\"", it.key)).collect::<Vec<_>>().join(", "))]
    ConditionFailed {
        /// Which.
        failed: Vec<Failed>,
    },
    /// A key is written twice.
    #[error("key \"{key}\" is written twice in one transaction")]
    WrittenTwice {
        /// Which.
        key: Key,
    },
    /// The key has seen a newer token.
    #[error("fencing token {token} is too old for key \"{key}\", which was written under token {seen}")]
    StaleFence {
        /// The key.
        key: Key,
        /// The token.
        token: Revision,
        /// The newest that it has seen.
        seen: Revision,
    },
    /// The lock is not held under the token.
    #[error("lock \"{lock}\" is no longer held under fencing token {token}")]
    LockLost {
        /// The lock.
        lock: Name,
        /// The token.
        token: Revision,
    },
    /// Nobody can tell whether the token is too old.
    #[error(
        "fencing token {token} is not that of a lock that is held, and too old to be compared with what key \"{key}\" may have seen"
    )]
    FenceForgotten {
        /// The key.
        key: Key,
        /// The token.
        token: Revision,
    },
    /// There has been no grant with this token yet.
    #[error("{token} is no fencing token: the newest revision is {newest}")]
    NoSuchFence {
        /// The token.
        token: Revision,
        /// The newest revision.
        newest: Revision,
    },
    /// The lease has as many values as it may.
    #[error("lease {lease} has {MAX_LEASE_VALUES} values already")]
    LeaseFull {
        /// The lease.
        lease: Revision,
    },
    /// The content was not checked against the schema that is in force.
    #[error("the value of \"{key}\" must be checked against its schema")]
    Unchecked {
        /// The key.
        key: Key,
        /// The schema.
        schema: Payload,
        /// The declaration that it stands in.
        declared: Revision,
    },
    /// The value is not one that a schema could fit.
    #[error("the value of \"{key}\" has a schema, and must be JSON")]
    NotJson {
        /// The key.
        key: Key,
    },
    /// Somebody else produces the value.
    #[error("\"{key}\" is a future that {producer} has promised to give its value")]
    NotTheProducer {
        /// The key.
        key: Key,
        /// The producer.
        producer: Name,
    },
    /// The future has been kept, broken, or has expired.
    #[error("future \"{key}\" is {} in epoch {epoch}: it is given a value once", state.as_str())]
    Settled {
        /// The key.
        key: Key,
        /// Where it stands.
        state: FutureState,
        /// The epoch.
        epoch: u32,
    },
    /// Somebody else has promised the value.
    #[error("\"{key}\" is declared already: {producer} produces it")]
    Declared {
        /// The key.
        key: Key,
        /// The producer.
        producer: Name,
    },
    /// The key has a value already.
    #[error("\"{key}\" has a value already")]
    HasValue {
        /// The key.
        key: Key,
    },
    /// There is no such promise.
    #[error("nobody has declared \"{key}\"")]
    NotDeclared {
        /// The key.
        key: Key,
    },
    /// Parties would wait for each other for ever.
    #[error("{}", WaitStep::told(cycle))]
    Cycle {
        /// The cycle, beginning with who would wait.
        cycle: Vec<WaitStep>,
    },
}

pub(crate) fn decide(
    state: &State,
    command: ValueCommand,
    at: Timestamp,
    events: &mut Vec<Event>,
) -> Result<Reply, Rejection> {
    match command {
        ValueCommand::Write(write) => self::write(state, *write, at, events),
        ValueCommand::Declare(declare) => promise::declare(state, *declare, at, events),
        ValueCommand::Break {
            namespace,
            key,
            reason,
            actor,
        } => promise::break_promise(state, (namespace, key), reason, actor, events),
        ValueCommand::Withdraw { namespace, key, actor } => promise::withdraw(state, (namespace, key), actor, events),
    }
}

fn write(state: &State, write: Write, at: Timestamp, events: &mut Vec<Event>) -> Result<Reply, Rejection> {
    check_conditions(state, &write)?;
    check_written_once(&write)?;
    let writer = Writer {
        state,
        at,
        namespace: &write.namespace,
        name: write.writer,
        party: write.party,
        checked: &write.checked,
    };
    let before = events.len();
    let operations = write.operations.into_iter();
    let outcomes = operations
        .map(|operation| match operation {
            Operation::Put(put) => writer.put(put, events),
            Operation::Delete { key, fence } => writer.delete(key, fence.as_ref(), events),
            Operation::Get { key } => Ok(Outcome::Got(shown(state, &write.namespace, &key))),
        })
        .collect::<Result<Vec<Outcome>, Rejection>>();
    let outcomes = outcomes.inspect_err(|_| events.truncate(before))?;
    forget_oldest(state, events);
    Ok(Reply::Written(Box::new(Written { outcomes })))
}

fn shown(state: &State, namespace: &Name, key: &Key) -> Option<Box<Shown>> {
    let value = state.values.get(namespace, key)?;
    Some(Box::new(value.shown(&state.marks)))
}

fn check_conditions(state: &State, write: &Write) -> Result<(), Rejection> {
    let failed: Vec<Failed> = (0..)
        .zip(&write.conditions)
        .filter(|(_, condition)| !holds(state.values.get(&write.namespace, &condition.key), &condition.is))
        .map(|(index, condition)| Failed {
            index,
            key: condition.key.clone(),
            current: shown(state, &write.namespace, &condition.key),
        })
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(ValueRejection::ConditionFailed { failed }.into())
    }
}

fn holds(value: Option<&Value>, is: &Expect) -> bool {
    match (is, value) {
        (Expect::Absent, value) => value.is_none(),
        (_, None) => false,
        (Expect::Present, Some(_)) => true,
        (Expect::Revision(revision), Some(value)) => value.modified == *revision,
        (Expect::Content(data), Some(value)) => value.holds(data),
    }
}

fn check_written_once(write: &Write) -> Result<(), Rejection> {
    let mut keys: Vec<&Key> = write.operations.iter().filter_map(Operation::written).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ValueRejection::WrittenTwice { key: pair[0].clone() }.into()),
        None => Ok(()),
    }
}

/// The operations of one transaction.
struct Writer<'a> {
    state: &'a State,
    at: Timestamp,
    namespace: &'a Name,
    name: Option<String>,
    party: Option<Name>,
    checked: &'a [Revision],
}

impl Writer<'_> {
    fn put(&self, put: Put, events: &mut Vec<Event>) -> Result<Outcome, Rejection> {
        let state = self.state;
        let known = state.values.known(self.namespace, &put.key);
        self.check_fence(&put.key, put.fence.as_ref(), known)?;
        let live = known.filter(|known| known.is_live());
        if let Some(lease) = put.lease {
            state.leases().known(self.namespace, lease)?;
            let attached = live.is_some_and(|live| live.lease() == Some(lease));
            if !attached && state.values.attached_count(lease) >= MAX_LEASE_VALUES {
                return Err(ValueRejection::LeaseFull { lease }.into());
            }
        }
        self.check_promise(&put)?;
        let revision = Revision(state.revision.0 + events.len() as u64 + 1);
        let deadline = put.ttl_ms.map(|ttl| (ttl, state.marks.steady_after(self.at, ttl)));
        let token = put.fence.map(|fence| fence.token);
        let outcome = Outcome::Put {
            key: put.key.clone(),
            revision,
            created: live.map_or(revision, |live| live.created),
            version: live.map_or(1, |live| live.version.saturating_add(1)),
            expires_at: deadline.map(|(_, deadline)| state.marks.time(deadline)),
        };
        events.push(Event::Value(E::Put {
            namespace: self.namespace.clone(),
            key: put.key,
            data: put.data,
            sensitive: put.sensitive.unwrap_or_else(|| live.is_some_and(|live| live.sensitive)),
            writer: self.name.clone(),
            expiry: deadline.map(|(ttl, deadline)| (ttl, deadline.0)),
            lease: put.lease.map(|lease| lease.0),
            content_type: put.content_type,
            // Also the one that a key without a value remembers: nothing else may tell of it any more when this is replayed.
            fence: token
                .max(known.map(Value::fence))
                .map(|token| token.0)
                .filter(|token| *token > 0),
        }));
        Ok(outcome)
    }

    fn delete(&self, key: Key, fence: Option<&Fence>, events: &mut Vec<Event>) -> Result<Outcome, Rejection> {
        let state = self.state;
        let known = state.values.known(self.namespace, &key);
        self.check_fence(&key, fence, known)?;
        if !known.is_some_and(Value::is_live) {
            return Ok(Outcome::Deleted { key, revision: None });
        }
        let revision = Revision(state.revision.0 + events.len() as u64 + 1);
        events.push(Event::Value(E::Deleted {
            namespace: self.namespace.clone(),
            key: key.clone(),
            because: Because::Asked,
            writer: self.name.clone(),
            fence: fence.map(|fence| fence.token.0),
        }));
        Ok(Outcome::Deleted {
            key,
            revision: Some(revision),
        })
    }

    fn check_fence(&self, key: &Key, fence: Option<&Fence>, known: Option<&Value>) -> Result<(), Rejection> {
        let Some(Fence { token, lock }) = fence else {
            return Ok(());
        };
        let (state, token) = (self.state, *token);
        if token > state.revision {
            let newest = state.revision;
            return Err(ValueRejection::NoSuchFence { token, newest }.into());
        }
        let seen = known.map_or(Revision(0), Value::fence);
        if token < seen {
            let key = key.clone();
            return Err(ValueRejection::StaleFence { key, token, seen }.into());
        }
        if let Some(lock) = lock {
            if !state.leases().holds(self.namespace, lock, token) {
                let lock = lock.clone();
                return Err(ValueRejection::LockLost { lock, token }.into());
            }
        } else if seen.0 == 0 && token < state.marks.forgotten_token && !state.leases().is_held(token) {
            let key = key.clone();
            return Err(ValueRejection::FenceForgotten { key, token }.into());
        }
        Ok(())
    }

    /// The key of a declared future takes one value in each epoch, from its producer, that fits its schema.
    fn check_promise(&self, put: &Put) -> Result<(), Rejection> {
        let key = || put.key.clone();
        let Some(future) = self.state.values.futures.get(self.namespace, &put.key) else {
            return Ok(());
        };
        if !future.is_pending() {
            return Err(ValueRejection::Settled {
                key: key(),
                state: future.state,
                epoch: future.epoch,
            }
            .into());
        }
        if self.party.as_ref() != Some(&future.producer) {
            let producer = future.producer.clone();
            return Err(ValueRejection::NotTheProducer { key: key(), producer }.into());
        }
        let Some(schema) = &future.schema else {
            return Ok(());
        };
        if !put.data.is_json() {
            return Err(ValueRejection::NotJson { key: key() }.into());
        }
        if !self.checked.contains(&future.declared) {
            return Err(ValueRejection::Unchecked {
                key: key(),
                schema: schema.clone(),
                declared: future.declared,
            }
            .into());
        }
        Ok(())
    }
}

/// Forgets the oldest tokens of keys without a value, when these events would make them too many.
fn forget_oldest(state: &State, events: &mut Vec<Event>) {
    let tombstones = state.values.tombstones();
    if tombstones.len() + events.len() <= MOST_TOMBSTONES {
        return;
    }
    let more = events.iter().filter(|event| leaves_token(state, event)).count();
    let excess = (tombstones.len() + more).saturating_sub(MOST_TOMBSTONES);
    for (namespace, key) in tombstones.take(excess) {
        let token = state.values.known(namespace, key).map_or(0, |known| known.fence().0);
        events.push(Event::Value(E::Forgotten {
            namespace: namespace.clone(),
            key: key.clone(),
            token,
        }));
    }
}

/// Whether a key remembers its token after the event and has no value.
fn leaves_token(state: &State, event: &Event) -> bool {
    let Event::Value(E::Deleted {
        namespace, key, fence, ..
    }) = event
    else {
        return false;
    };
    fence.is_some()
        || state
            .values
            .known(namespace, key)
            .is_some_and(|known| known.fence().0 > 0)
}

/// The end of the values and promises whose time is over.
pub(crate) fn expire(state: &State, at: Timestamp, events: &mut Vec<Event>) {
    let now = state.marks.steady(at);
    let room = MOST_AT_ONCE.saturating_sub(events.len());
    for (namespace, key) in state.values.due(now).take(room) {
        events.push(Event::Value(E::Deleted {
            namespace: namespace.clone(),
            key: key.clone(),
            because: Because::Expired,
            writer: None,
            fence: None,
        }));
    }
    let room = MOST_AT_ONCE.saturating_sub(events.len());
    for (namespace, key) in state.values.futures.due(now).take(room) {
        events.push(Event::Value(E::PromiseExpired {
            namespace: namespace.clone(),
            key: key.clone(),
        }));
    }
    forget_oldest(state, events);
}

/// The values that were attached to a lease vanish with it.
pub(crate) fn ended_with_lease(state: &State, (namespace, lease): (&Name, Revision), events: &mut Vec<Event>) {
    for key in state.values.attached_to(lease) {
        events.push(Event::Value(E::Deleted {
            namespace: namespace.clone(),
            key: key.clone(),
            because: Because::LeaseEnded,
            writer: None,
            fence: None,
        }));
    }
    forget_oldest(state, events);
}
