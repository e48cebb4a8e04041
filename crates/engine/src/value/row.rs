//! What a checkpoint keeps of a value, and of a future.

use minicbor::{Decode, Encode};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::key::Key;
use unisono_model::name::Name;
use unisono_model::values::FutureState;

use super::data::Data;
use super::future::Future;
use super::state::Values;
use super::stored::{Parts, Rare, Value};
use crate::clock::Steady;
use crate::orchestration::RunKey;
use crate::payload::Payload;

#[derive(Encode, Decode)]
struct ValueRow {
    #[n(0)]
    created: u64,
    #[n(1)]
    modified: u64,
    #[cbor(n(2), with = "crate::payload::name")]
    namespace: Name,
    #[cbor(n(3), with = "crate::value::data::key")]
    key: Key,
    /// Absent when the key only remembers a token.
    #[n(4)]
    data: Option<Data>,
    #[n(5)]
    at: i64,
    #[n(6)]
    version: u32,
    #[n(7)]
    sensitive: bool,
    #[n(8)]
    writer: Option<String>,
    #[n(9)]
    expiry: Option<(u64, i64)>,
    #[n(10)]
    lease: Option<u64>,
    #[n(11)]
    content_type: Option<String>,
    #[n(12)]
    fence: Option<u64>,
}

#[derive(Encode, Decode)]
struct FutureRow {
    #[n(0)]
    id: u64,
    #[n(1)]
    revision: u64,
    #[cbor(n(2), with = "crate::payload::name")]
    namespace: Name,
    #[cbor(n(3), with = "crate::value::data::key")]
    key: Key,
    #[cbor(n(4), with = "crate::payload::name")]
    producer: Name,
    #[n(5)]
    epoch: u32,
    #[n(6)]
    state: StateRow,
    #[n(7)]
    since: i64,
    #[n(8)]
    reason: Option<String>,
    #[n(9)]
    schema: Option<Payload>,
    #[n(10)]
    deadline: Option<i64>,
    #[n(11)]
    lease: Option<u64>,
    #[n(12)]
    run: Option<u64>,
    #[n(13)]
    declared: u64,
}

#[derive(Clone, Copy, Encode, Decode)]
#[cbor(index_only)]
enum StateRow {
    #[n(0)]
    Pending,
    #[n(1)]
    Kept,
    #[n(2)]
    Broken,
    #[n(3)]
    Expired,
}

impl Values {
    /// The row of a value.
    pub(crate) fn row(&self, created: Revision) -> Option<Vec<u8>> {
        self.created_at(created)
            .map(|(namespace, value)| value_row(namespace, value))
    }

    /// The row of a future.
    pub(crate) fn future_row(&self, id: Revision) -> Option<Vec<u8>> {
        self.futures.by_id(id).map(future_row)
    }

    /// The rows of all values and futures.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (bool, Revision, Vec<u8>)> {
        let values = self
            .all()
            .map(|(namespace, value)| (false, value.created, value_row(namespace, value)));
        let futures = self.futures.all().map(|future| (true, future.id, future_row(future)));
        values.chain(futures)
    }

    /// Puts back the row of a value, and tells when it was written last.
    pub(crate) fn load_row(&mut self, row: &[u8]) -> Result<Timestamp, minicbor::decode::Error> {
        let row: ValueRow = minicbor::decode(row)?;
        let parts = Parts {
            created: Revision(row.created),
            modified: Revision(row.modified),
            at: Timestamp(row.at),
            version: row.version,
            writer: None,
            sensitive: row.sensitive,
            rare: Rare {
                expiry: row.expiry.map(|(ttl_ms, deadline)| (ttl_ms, Steady(deadline))),
                lease: row.lease.map(Revision),
                content_type: row.content_type.map(String::into_boxed_str),
                fence: Revision(row.fence.unwrap_or(0)),
            },
        };
        self.load(&row.namespace, &row.key, (row.data, parts), row.writer.as_deref());
        Ok(Timestamp(row.at))
    }

    /// Puts back the row of a future, and tells when it changed last.
    pub(crate) fn load_future_row(&mut self, row: &[u8]) -> Result<Timestamp, minicbor::decode::Error> {
        let row: FutureRow = minicbor::decode(row)?;
        self.futures.load(Future {
            id: Revision(row.id),
            revision: Revision(row.revision),
            namespace: row.namespace,
            key: row.key,
            producer: row.producer,
            epoch: row.epoch,
            state: match row.state {
                StateRow::Pending => FutureState::Pending,
                StateRow::Kept => FutureState::Kept,
                StateRow::Broken => FutureState::Broken,
                StateRow::Expired => FutureState::Expired,
            },
            since: Timestamp(row.since),
            reason: row.reason,
            schema: row.schema,
            deadline: row.deadline.map(Steady),
            lease: row.lease.map(Revision),
            run: row.run.map(RunKey),
            declared: Revision(row.declared),
        });
        Ok(Timestamp(row.since))
    }
}

fn value_row(namespace: &Name, value: &Value) -> Vec<u8> {
    let rare = value.rare();
    // It was a key when it came; should it not be one, the row is left out like that of a value that is gone.
    let Ok(key) = Key::parse(value.key()) else {
        return Vec::new();
    };
    crate::snapshot::bytes(&ValueRow {
        created: value.created.0,
        modified: value.modified.0,
        namespace: namespace.clone(),
        key,
        data: value.is_live().then(|| value.data()),
        at: value.at.0,
        version: value.version,
        sensitive: value.sensitive,
        writer: value.writer.as_ref().map(|writer| writer.as_str().to_owned()),
        expiry: rare.expiry.map(|(ttl_ms, deadline)| (ttl_ms, deadline.0)),
        lease: rare.lease.map(|lease| lease.0),
        content_type: rare.content_type.map(String::from),
        fence: Some(rare.fence.0).filter(|fence| *fence > 0),
    })
}

fn future_row(future: &Future) -> Vec<u8> {
    crate::snapshot::bytes(&FutureRow {
        id: future.id.0,
        revision: future.revision.0,
        namespace: future.namespace.clone(),
        key: future.key.clone(),
        producer: future.producer.clone(),
        epoch: future.epoch,
        state: match future.state {
            FutureState::Pending => StateRow::Pending,
            FutureState::Kept => StateRow::Kept,
            FutureState::Broken => StateRow::Broken,
            FutureState::Expired => StateRow::Expired,
        },
        since: future.since.0,
        reason: future.reason.clone(),
        schema: future.schema.clone(),
        deadline: future.deadline.map(|deadline| deadline.0),
        lease: future.lease.map(|lease| lease.0),
        run: future.run.map(|run| run.0),
        declared: future.declared.0,
    })
}
