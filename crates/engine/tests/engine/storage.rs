//! A store of checkpoints as a node keeps one: rows written one by one while the state moves on.

use std::collections::{BTreeMap, BTreeSet};

use unisono_engine::codec::read_batch;
use unisono_engine::orchestration::Run;
use unisono_engine::snapshot::Entity;
use unisono_engine::{Effect, State};
use unisono_model::ids::Revision;

use crate::sim::Sim;

/// What is durable besides the journal.
#[derive(Default)]
pub(crate) struct Storage {
    rows: BTreeMap<Entity, Vec<u8>>,
    /// The checkpoint's revision: every row is at least as new. `None` before the first checkpoint.
    base: Option<Revision>,
    /// The runs that ended, and when.
    ended: BTreeMap<u64, Revision>,
    /// Those of them whose rows were removed: a store shows the end of a run before it removes its row.
    removed: BTreeSet<u64>,
    under_way: Option<(Vec<Entity>, Revision)>,
}

impl Storage {
    /// Up to where every run that ended is in `finished`.
    pub(crate) fn knows_ended_up_to(&self) -> Revision {
        self.base.unwrap_or_default()
    }

    /// A run has ended.
    pub(crate) fn end(&mut self, run: &Run) {
        self.ended.insert(run.key.0, run.revision);
    }

    /// Whether a run is known to have ended.
    pub(crate) fn knows_end_of(&self, key: u64) -> bool {
        let before_base = |end: &Revision| *end <= self.knows_ended_up_to();
        self.removed.contains(&key) || self.ended.get(&key).is_some_and(before_base)
    }

    /// Begins a checkpoint, or widens the one that is under way.
    pub(crate) fn begin(&mut self, state: &mut State) {
        let (left, _) = self.under_way.take().unwrap_or_default();
        let mut entities = left;
        entities.extend(state.take_dirty());
        // What others refer to comes first.
        entities.sort_by_key(|it| !matches!(it, Entity::Definition(_) | Entity::Fleet(_)));
        self.under_way = Some((entities, state.revision));
    }

    /// Writes some rows as they are now: definitions first, the rest in any order.
    pub(crate) fn write(&mut self, state: &mut State, count: usize, mut disorder: u64) {
        let Some((entities, revision)) = &mut self.under_way else {
            return;
        };
        for _ in 0..count {
            if entities.is_empty() {
                break;
            }
            disorder = disorder.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let first = matches!(entities[0], Entity::Definition(_) | Entity::Fleet(_));
            let index = if first {
                0
            } else {
                usize::try_from(disorder >> 33).unwrap() % entities.len()
            };
            let entity = entities.remove(index);
            for (entity, row) in state.take_rows(entity) {
                match row {
                    Some(row) => drop(self.rows.insert(entity, row)),
                    None => {
                        self.rows.remove(&entity);
                        if let Entity::Run(key) = entity {
                            self.removed.insert(key);
                        }
                    }
                }
            }
        }
        if entities.is_empty() {
            self.base = Some(*revision);
            self.under_way = None;
            let left = self
                .ended
                .keys()
                .find(|key| self.knows_end_of(**key) && self.rows.contains_key(&Entity::Run(**key)));
            assert_eq!(left, None, "a row outlived its run");
        }
    }

    /// What a restart finds: the rows, then the journal after the checkpoint.
    pub(crate) fn recover(&self, sim: &Sim) -> State {
        let mut state = State::new(sim.settings);
        if let Some(base) = self.base {
            // Definitions and agents come before runs.
            for (entity, row) in &self.rows {
                state.load(*entity, row).unwrap();
            }
            state.loaded(base).unwrap();
        }
        replay(&mut state, &sim.journal, self.base.unwrap_or_default());
        state
    }

    /// The process is gone: what it had not written of a checkpoint is never written.
    pub(crate) fn crash(&mut self) {
        self.under_way = None;
        if self.base.is_none() {
            self.rows.clear();
        }
    }
}

/// Folds what a journal holds after a revision.
pub(crate) fn replay(state: &mut State, journal: &[Vec<u8>], after: Revision) -> Vec<Effect> {
    let mut effects = Vec::new();
    for batch in journal {
        for it in read_batch(batch).unwrap() {
            if it.revision > after {
                state.evolve(it.revision, it.at, &it.event, &mut effects);
            }
        }
    }
    effects
}
