//! A number that two states share when, and practically only when, they are the same.
//!
//! It is made of what a checkpoint would keep of a state: the row of every definition, agent, open run, value, future,
//! lease, lock and entity, and the revision. How the state was reached makes no difference: folding the whole journal, or loading rows that were written
//! at different revisions and folding the rest, leads to the same rows. Left out, on purpose:
//!
//! - what is derived from the rows: queues, attempts in flight, timers, counts, the tables that find a run by its id;
//! - what only the way there shows: the time of the last event ([`State::now`]), which rows that no longer exist took
//!   with them, and the remembered ids of ended runs, which no checkpoint keeps;
//! - what is no part of the journal: settings, and which rows a checkpoint has yet to write.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

use crate::State;
use crate::snapshot::{self, Entity};

/// The hash of a [`State`]; its text is 32 hexadecimal digits.
///
/// It is for comparing two states of the same release: a later one may write rows differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateHash(pub u128);

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The rows seen so far. They are summed, so that their order does not matter and nothing needs to be sorted.
#[derive(Default)]
struct Sum {
    rows: u64,
    sum: u128,
}

impl Sum {
    fn add(&mut self, entity: Entity, row: &[u8]) {
        let (kind, key) = match entity {
            Entity::Definition(key) => (1, key),
            Entity::Agent(key) => (2, key),
            Entity::Run(key) => (3, key),
            Entity::RunPart(key) => (15, key),
            Entity::Value(key) => (10, key),
            Entity::Future(key) => (11, key),
            Entity::Lease(key) => (12, key),
            Entity::Lock(key) => (13, key),
            Entity::Marks => (14, 0),
            Entity::Fleet(key) => (5, key),
            Entity::Targets(key) => (6, key),
            Entity::Heard(key) => (7, key),
            Entity::Notes(key) => (8, key),
            Entity::Freezes(key) => (9, key),
            Entity::Retention(key) => (40, key),
        };
        let mut named = Vec::with_capacity(row.len() + 9);
        named.push(kind);
        named.extend_from_slice(&key.to_be_bytes());
        named.extend_from_slice(row);
        self.rows += 1;
        self.sum = self.sum.wrapping_add(xxh3_128(&named));
    }
}

impl State {
    /// The hash of everything that the journal has led to; see the module. Takes about as long as a checkpoint of all
    /// entities.
    #[must_use]
    pub fn hash(&self) -> StateHash {
        let mut sum = Sum::default();
        for (namespace, kind, name, versions) in self.definitions.all() {
            let row = snapshot::definition(namespace, kind, name, versions);
            sum.add(Entity::Definition(versions.key.0), &row);
        }
        let agents = self.work.agents.keys().map(|key| Entity::Agent(key.0));
        let runs = self.runs.keys().map(|key| Entity::Run(key.0));
        let rollouts = self.rollouts.rows().map(Entity::from);
        for entity in agents.chain(runs).chain(rollouts) {
            if let Some(row) = self.row(entity) {
                sum.add(entity, &row);
            }
        }
        for (is_future, key, row) in self.values.rows() {
            let entity = if is_future {
                Entity::Future(key.0)
            } else {
                Entity::Value(key.0)
            };
            sum.add(entity, &row);
        }
        for (entity, row) in self.leases.rows().chain(self.retention.rows()) {
            sum.add(entity, &row);
        }
        // Only what it says of deadlines and tokens: when the row was written is no part of the state.
        let marks = (self.marks.stepped_ms, self.marks.forgotten_token.0);
        if marks != (0, 0) {
            sum.add(Entity::Marks, &[marks.0.to_be_bytes(), marks.1.to_be_bytes()].concat());
        }
        let mut whole = Vec::with_capacity(32);
        whole.extend_from_slice(&self.revision.0.to_be_bytes());
        whole.extend_from_slice(&sum.rows.to_be_bytes());
        whole.extend_from_slice(&sum.sum.to_be_bytes());
        StateHash(xxh3_128(&whole))
    }
}
