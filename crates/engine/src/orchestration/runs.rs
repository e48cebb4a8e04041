//! The open runs: the tables that find them, and what checkpoints have to do with them.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::{FxBuildHasher, FxHashMap};
use unisono_model::api::OrchestrationSummary;
use unisono_model::ids::Revision;
use unisono_model::name::Name;

use super::row::{PART, parts_of};
use super::run::{Run, RunKey};

/// What lists show of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which run.
    pub run: RunKey,
    /// Where.
    pub namespace: Name,
    /// What they show.
    pub summary: OrchestrationSummary,
}

impl Listed {
    /// What lists show of `run`.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        Self {
            run: run.key,
            namespace: run.namespace.clone(),
            summary: run.summary(),
        }
    }
}

/// A run that ended recently enough that the store may not show it yet.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    key: RunKey,
    pub(crate) digest: Option<(u64, u64)>,
    pub(crate) version: u32,
}

/// The open runs, and the ids of those that ended last.
#[derive(Debug)]
pub struct Runs {
    open: FxHashMap<RunKey, Box<Run>>,
    /// The open runs by namespace and id. An entry is the hash of these two and the run, which has both.
    ids: HashTable<(u64, RunKey)>,
    ended: FxHashMap<(Name, Name), Ended>,
    ended_order: VecDeque<((Name, Name), RunKey, Revision)>,
    /// Every run that ended up to here and is not in `ended` has been forgotten.
    pub(crate) forgotten_up_to: Revision,
    /// Counts the checkpoints that have begun, from 1.
    checkpoint: u32,
    /// Open runs that changed since the last checkpoint began, each once; some may have ended since.
    changed: Vec<RunKey>,
    /// Runs that ended and of which there may be rows, with the number of parts of them, until these are removed.
    gone: FxHashMap<RunKey, u32>,
    /// Runs that lists show differently since they were last told, more than once for some.
    listed: Vec<RunKey>,
}

impl Default for Runs {
    fn default() -> Self {
        Self {
            open: FxHashMap::default(),
            ids: HashTable::new(),
            ended: FxHashMap::default(),
            ended_order: VecDeque::new(),
            forgotten_up_to: Revision::default(),
            checkpoint: 1,
            changed: Vec::new(),
            gone: FxHashMap::default(),
            listed: Vec::new(),
        }
    }
}

/// What checkpoints know of a run. A run that begins and ends between two of them costs them nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Saved {
    /// The checkpoint that was last to write it.
    marked: u32,
    /// Whether there may be a row of it, from a checkpoint before that one.
    has_row: bool,
    /// Of a run with a row in parts: which of them have changed since they were written.
    parts: Option<Box<[bool]>>,
}

impl Saved {
    /// Of a run that has no row yet.
    pub(crate) fn new(activities: usize) -> Self {
        Self {
            marked: 0,
            has_row: false,
            parts: parts_of(activities).map(|parts| vec![true; parts as usize].into()),
        }
    }

    /// Of a run that was made of its row, which is whole or has parts.
    pub(crate) fn loaded(activities: usize, whole: bool) -> Self {
        Self {
            marked: 0,
            has_row: true,
            parts: parts_of(activities).map(|parts| vec![whole; parts as usize].into()),
        }
    }

    /// An activity has changed.
    pub(crate) fn touch(&mut self, activity: u32) {
        if let Some(parts) = &mut self.parts {
            parts[activity as usize / PART] = true;
        }
    }

    /// The parts that have to be written; they count as written from now on. `None` when the row has no parts.
    pub(crate) fn take_parts(&mut self) -> Option<Vec<u32>> {
        let parts = self.parts.as_mut()?;
        let changed = (0..)
            .zip(parts)
            .filter_map(|(part, changed)| std::mem::take(changed).then_some(part));
        Some(changed.collect())
    }

    fn parts(&self) -> u32 {
        self.parts
            .as_ref()
            .map_or(0, |parts| u32::try_from(parts.len()).unwrap_or(u32::MAX))
    }
}

/// How many ended runs are remembered by id.
const REMEMBERED: usize = 65_536;

fn hash(namespace: &Name, id: &Name) -> u64 {
    FxBuildHasher.hash_one((namespace, id))
}

impl Runs {
    /// An open run.
    #[must_use]
    pub fn get(&self, key: RunKey) -> Option<&Run> {
        self.open.get(&key).map(|run| &**run)
    }

    pub(crate) fn get_mut(&mut self, key: RunKey) -> Option<&mut Run> {
        self.open.get_mut(&key).map(|run| &mut **run)
    }

    /// An open run by its id.
    #[must_use]
    pub fn by_id(&self, namespace: &Name, id: &Name) -> Option<&Run> {
        let hash = hash(namespace, id);
        let (_, key) = self.ids.find(hash, |entry| self.is(*entry, hash, (namespace, id)))?;
        self.get(*key)
    }

    /// Whether an entry of `ids` is that of this namespace and id.
    fn is(&self, (of_entry, key): (u64, RunKey), hash: u64, (namespace, id): (&Name, &Name)) -> bool {
        of_entry == hash
            && self
                .get(key)
                .is_some_and(|run| run.id == *id && run.namespace == *namespace)
    }

    /// How many runs are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no run is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = RunKey> {
        self.open.keys().copied()
    }

    /// A checkpoint begins: the runs that changed since the last one did, and those whose rows must go. Some of the
    /// former may have ended.
    pub(crate) fn take_dirty(&mut self) -> impl Iterator<Item = RunKey> + use<> {
        self.checkpoint += 1;
        let gone: Vec<RunKey> = self.gone.keys().copied().collect();
        std::mem::take(&mut self.changed).into_iter().chain(gone)
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.changed.is_empty() || !self.gone.is_empty()
    }

    /// The open run that an event of this revision changes, and which the next checkpoint writes; `None` when it has seen
    /// the event.
    pub(super) fn change(&mut self, key: RunKey, revision: Revision) -> Option<&mut Run> {
        let run = self.open.get_mut(&key).filter(|run| run.revision < revision)?;
        run.revision = revision;
        if run.saved.marked < self.checkpoint {
            run.saved.has_row |= run.saved.marked > 0;
            run.saved.marked = self.checkpoint;
            self.changed.push(key);
        }
        Some(run)
    }

    /// A run has started: the next checkpoint writes it.
    pub(super) fn start(&mut self, mut run: Box<Run>) {
        run.saved.marked = self.checkpoint;
        self.changed.push(run.key);
        self.list(run.key);
        self.insert(run);
    }

    /// Lists show a run differently from now on.
    pub(super) fn list(&mut self, key: RunKey) {
        self.listed.push(key);
    }

    pub(crate) fn take_listed(&mut self) -> Vec<Listed> {
        self.listed.sort_unstable();
        self.listed.dedup();
        let open = self.listed.iter().filter_map(|key| self.open.get(key));
        let listed = open.map(|run| Listed::of(run)).collect();
        self.listed.clear();
        listed
    }

    /// Of a run that has ended: how many parts its row may have, if there may be one; it is removed from now on.
    pub(crate) fn take_gone(&mut self, key: RunKey) -> Option<u32> {
        self.gone.remove(&key)
    }

    pub(crate) fn ended(&self, namespace: &Name, id: &Name) -> Option<&Ended> {
        self.ended.get(&(namespace.clone(), id.clone()))
    }

    /// An id is free once nothing is kept of the run that had it. It may have been used again since.
    pub(crate) fn forget_end(&mut self, namespace: &Name, id: &Name, key: RunKey) {
        let id = (namespace.clone(), id.clone());
        if self.ended.get(&id).is_some_and(|ended| ended.key == key) {
            self.ended.remove(&id);
        }
    }

    pub(crate) fn insert(&mut self, run: Box<Run>) {
        let (key, hash) = (run.key, hash(&run.namespace, &run.id));
        let same = |entry: &(u64, RunKey)| self.is(*entry, hash, (&run.namespace, &run.id));
        // An id that was used again may have two rows for a while: the newer run counts.
        match self.ids.find(hash, same).copied() {
            Some((_, known)) if known > key => {}
            Some((_, known)) => {
                if let Some((_, of_entry)) = self.ids.find_mut(hash, |entry| entry.1 == known) {
                    *of_entry = key;
                }
            }
            None => {
                self.ids.insert_unique(hash, (hash, key), |entry| entry.0);
            }
        }
        self.open.insert(key, run);
    }

    pub(super) fn remove(&mut self, key: RunKey, revision: Revision) -> Option<Box<Run>> {
        let run = self.open.remove(&key)?;
        let saved = &run.saved;
        if saved.has_row || (saved.marked > 0 && saved.marked < self.checkpoint) {
            self.gone.insert(key, saved.parts());
        }
        let hash = hash(&run.namespace, &run.id);
        if let Ok(entry) = self.ids.find_entry(hash, |entry| entry.1 == key) {
            entry.remove();
        }
        let id = (run.namespace.clone(), run.id.clone());
        let ended = Ended {
            key,
            digest: run.origin.digest,
            version: run.definition.version,
        };
        self.ended.insert(id.clone(), ended);
        self.ended_order.push_back((id, key, revision));
        if self.ended_order.len() > REMEMBERED
            && let Some(((namespace, id), key, at)) = self.ended_order.pop_front()
        {
            self.forget_end(&namespace, &id, key);
            self.forgotten_up_to = at;
        }
        Some(run)
    }
}
