//! What tests do with values, futures, leases and locks.

use unisono_engine::lease::{Acquire, Grant, LeaseCommand, LockAddress, Mode};
use unisono_engine::value::{Data, Declare, Operation, Put, ValueCommand, Write};
use unisono_engine::{Rejection, Reply};
use unisono_model::ids::Revision;
use unisono_model::key::Key;

use crate::documents::{name, payload, space};
use crate::sim::Sim;

pub(crate) fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

/// A lease; the party of `a-start` is `p`, others have the name of their holder.
pub(crate) fn grant(sim: &mut Sim, holder: &str, ttl_ms: u64) -> Revision {
    let grant = Grant {
        namespace: space(),
        holder: name(holder),
        party: Some(name(if holder == "a-start" { "p" } else { holder })),
        actor: Some("ada".to_owned()),
        ttl_ms,
    };
    match sim.lease(LeaseCommand::Grant(grant)).unwrap() {
        Reply::Lease(lease) => lease.id,
        other => panic!("{other:?}"),
    }
}

/// Asks for a lock, and waits up to 40 seconds for it.
pub(crate) fn acquire(sim: &mut Sim, lock: LockAddress, lease: Revision, mode: Mode) -> Reply {
    try_acquire(sim, lock, (lease, mode), Some(40_000)).unwrap()
}

pub(crate) fn try_acquire(
    sim: &mut Sim,
    lock: LockAddress,
    (lease, mode): (Revision, Mode),
    wait_ms: Option<u64>,
) -> Result<Reply, Rejection> {
    let value = lock.election.then(|| payload("\"hello\""));
    let acquire = Acquire {
        lock,
        lease,
        mode,
        wait_ms,
        value,
    };
    sim.lease(LeaseCommand::Acquire(acquire))
}

pub(crate) fn put_of(at: &str, data: Data) -> Operation {
    Operation::Put(Put {
        key: key(at),
        data,
        content_type: None,
        ttl_ms: None,
        lease: None,
        fence: None,
        sensitive: None,
    })
}

/// Writes one value.
pub(crate) fn put(sim: &mut Sim, at: &str, data: Data, change: impl FnOnce(&mut Put)) -> Revision {
    try_put(sim, at, data, change).unwrap();
    sim.state.revision
}

pub(crate) fn try_put(sim: &mut Sim, at: &str, data: Data, change: impl FnOnce(&mut Put)) -> Result<Reply, Rejection> {
    let mut operation = put_of(at, data);
    if let Operation::Put(put) = &mut operation {
        change(put);
    }
    try_write(sim, vec![operation], |_| {})
}

pub(crate) fn write(sim: &mut Sim, operation: Operation, change: impl FnOnce(&mut Write)) {
    try_write(sim, vec![operation], change).unwrap();
}

pub(crate) fn try_write(
    sim: &mut Sim,
    operations: Vec<Operation>,
    change: impl FnOnce(&mut Write),
) -> Result<Reply, Rejection> {
    let mut write = Write {
        namespace: space(),
        conditions: Vec::new(),
        operations,
        writer: Some("ada".to_owned()),
        party: None,
        checked: Vec::new(),
    };
    change(&mut write);
    sim.value(ValueCommand::Write(Box::new(write)))
}

/// A party promises a value.
pub(crate) fn declare(sim: &mut Sim, at: &str, producer: &str, ttl_ms: Option<u64>) {
    try_declare(sim, at, producer, |declare| declare.ttl_ms = ttl_ms).unwrap();
}

pub(crate) fn try_declare(
    sim: &mut Sim,
    at: &str,
    producer: &str,
    change: impl FnOnce(&mut Declare),
) -> Result<Reply, Rejection> {
    let mut declare = Declare {
        namespace: space(),
        key: key(at),
        producer: name(producer),
        schema: None,
        ttl_ms: None,
        lease: None,
        run: None,
        new_epoch: false,
        actor: Some("ada".to_owned()),
    };
    change(&mut declare);
    sim.value(ValueCommand::Declare(Box::new(declare)))
}

/// JSON text.
pub(crate) fn json(text: &str) -> Data {
    Data::Json(text.into())
}
