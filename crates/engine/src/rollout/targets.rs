//! The targets of one fleet: in chunks, found by group and name.

use hashbrown::HashTable;
use unisono_model::ids::Revision;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::interner::Interner;
use super::names::Names;
use super::target::Target;

/// Targets in one chunk, which is one row of a checkpoint.
pub(crate) const CHUNK: u32 = 64;

#[derive(Debug, Default)]
struct Chunk {
    /// What the row that it was loaded from has seen already.
    seen: Revision,
    dirty: bool,
    names: Names,
    /// As many places as were ever used; what a vacant one holds means nothing.
    targets: Vec<Target>,
}

impl Chunk {
    fn get(&self, at: usize) -> Option<&Target> {
        self.targets.get(at).filter(|_| !self.names.is_vacant(at))
    }

    /// The targets by place, each with its name; `None` for a vacant place.
    fn places(&self) -> impl Iterator<Item = Option<(&str, &Target)>> {
        let used = 0..self.targets.len();
        used.map(|at| Some((self.names.get(at), self.get(at)?)))
    }
}

/// The texts that targets share.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) groups: Interner,
    /// Labels and time zone in one: see [`join_traits`].
    pub(crate) traits: Interner,
    pub(crate) versions: Interner,
    pub(crate) messages: Interner,
}

/// Labels and time zone in one text.
pub(crate) fn join_traits(labels: &str, zone: &str) -> String {
    if labels.is_empty() && zone.is_empty() {
        return String::new();
    }
    format!("{labels}\u{3}{zone}")
}

/// The labels and the time zone of a text that [`join_traits`] made.
pub(crate) fn split_traits(traits: &str) -> (&str, &str) {
    traits.split_once('\u{3}').unwrap_or((traits, ""))
}

/// Key and value of each label.
pub(crate) fn labels(labels: &str) -> impl Iterator<Item = (&str, &str)> {
    labels
        .split_terminator('\u{2}')
        .map(|label| label.split_once('\u{1}').unwrap_or((label, "")))
}

/// The targets of one fleet.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    chunks: Vec<Chunk>,
    /// Slots by group and name. While rows of different revisions are brought forward, one name may have two.
    index: HashTable<u32>,
    vacant: Vec<u32>,
    changed: Vec<u32>,
}

fn hash(group: u32, name: &str) -> u64 {
    xxh3_64_with_seed(name.as_bytes(), u64::from(group))
}

fn place(slot: u32) -> (usize, usize) {
    ((slot / CHUNK) as usize, (slot % CHUNK) as usize)
}

impl Targets {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The number after the last slot.
    pub(crate) fn end(&self) -> u32 {
        let last = self.chunks.last().map_or(0, |chunk| chunk.targets.len());
        let full = self.chunks.len().saturating_sub(1);
        u32::try_from(full).unwrap_or(u32::MAX) * CHUNK + u32::try_from(last).unwrap_or(0)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Target> {
        let (chunk, at) = place(slot);
        self.chunks.get(chunk)?.get(at)
    }

    /// The name of the target in a slot; empty when the slot is vacant.
    pub(crate) fn name(&self, slot: u32) -> &str {
        let (chunk, at) = place(slot);
        self.chunks.get(chunk).map_or("", |chunk| chunk.names.get(at))
    }

    /// A target that an event changes; `None` when it is gone, or its row has seen the event.
    pub(crate) fn change(&mut self, slot: u32, revision: Revision) -> Option<&mut Target> {
        let (number, at) = place(slot);
        let chunk = self.chunks.get_mut(number)?;
        if chunk.seen >= revision || chunk.get(at).is_none() {
            return None;
        }
        if !chunk.dirty {
            chunk.dirty = true;
            self.changed.push(slot / CHUNK);
        }
        chunk.targets.get_mut(at)
    }

    /// Derived marks of a target change without an event.
    pub(crate) fn derived(&mut self, slot: u32) -> Option<&mut Target> {
        let (chunk, at) = place(slot);
        let chunk = self.chunks.get_mut(chunk)?;
        chunk.get(at)?;
        chunk.targets.get_mut(at)
    }

    pub(crate) fn find(&self, group: u32, name: &str) -> Option<u32> {
        self.index
            .find(hash(group, name), |slot| self.is(*slot, group, name))
            .copied()
    }

    /// The same for one that may well be in the slot `guess`.
    pub(crate) fn find_near(&self, guess: u32, group: u32, name: &str) -> Option<u32> {
        if self.is(guess, group, name) {
            return Some(guess);
        }
        self.find(group, name)
    }

    fn is(&self, slot: u32, group: u32, name: &str) -> bool {
        self.name(slot) == name && self.get(slot).is_some_and(|it| it.group == group)
    }

    /// The slots that the next `count` new targets get.
    pub(crate) fn next_slots(&self, count: usize) -> impl Iterator<Item = u32> + use<'_> {
        let vacant = self.vacant.iter().rev().copied();
        vacant.chain(self.end()..).take(count)
    }

    /// Puts a new target into its slot; false when its row has seen that.
    pub(crate) fn insert(&mut self, slot: u32, revision: Revision, (name, target): (&str, Target)) -> bool {
        let (number, at) = place(slot);
        let end = self.end();
        if end <= slot {
            self.reach(number, at + 1);
            self.vacant.extend((end..slot).rev().chain([slot]));
        }
        let chunk = &mut self.chunks[number];
        if chunk.seen >= revision || !chunk.names.is_vacant(at) {
            return false;
        }
        if !chunk.dirty {
            chunk.dirty = true;
            self.changed.push(slot / CHUNK);
        }
        let hash = hash(target.group, name);
        chunk.names.set(at, name);
        chunk.targets[at] = target;
        self.enter(slot, hash);
        if self.vacant.last() == Some(&slot) {
            self.vacant.pop();
        } else if let Some(place) = self.vacant.iter().rposition(|it| *it == slot) {
            self.vacant.remove(place);
        }
        true
    }

    /// Makes room for so many places of a chunk, and for all before it.
    fn reach(&mut self, number: usize, places: usize) {
        while self.chunks.len() <= number {
            if let Some(last) = self.chunks.last_mut() {
                last.targets.resize_with(CHUNK as usize, Target::new);
            }
            self.chunks.push(Chunk::default());
        }
        let targets = &mut self.chunks[number].targets;
        if targets.len() < places {
            targets.resize_with(places, Target::new);
        }
    }

    fn enter(&mut self, slot: u32, hash: u64) {
        let chunks = &self.chunks;
        self.index.insert_unique(hash, slot, |slot| {
            let (chunk, at) = place(*slot);
            let chunk = &chunks[chunk];
            self::hash(chunk.targets[at].group, chunk.names.get(at))
        });
    }

    /// Takes a target out of its slot.
    pub(crate) fn remove(&mut self, slot: u32, revision: Revision) -> Option<Target> {
        let target = self.change(slot, revision)?.clone();
        let (number, at) = place(slot);
        let names = &mut self.chunks[number].names;
        if let Ok(entry) = self
            .index
            .find_entry(hash(target.group, names.get(at)), |it| *it == slot)
        {
            entry.remove();
        }
        names.set(at, "");
        self.vacant.push(slot);
        Some(target)
    }

    /// All of them, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Target)> {
        self.iter_from(0)
    }

    /// Those of them from a slot on.
    pub(crate) fn iter_from(&self, slot: u32) -> impl Iterator<Item = (u32, &Target)> {
        let first = slot / CHUNK;
        let all = (first * CHUNK..)
            .step_by(CHUNK as usize)
            .zip(self.chunks.iter().skip(first as usize));
        all.flat_map(|(first, chunk)| (first..).zip(chunk.places()))
            .filter_map(|(at, place)| Some((at, place?.1)))
            .filter(move |(at, _)| *at >= slot)
    }

    /// The chunks that changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> Vec<u32> {
        for number in &self.changed {
            self.chunks[*number as usize].dirty = false;
        }
        std::mem::take(&mut self.changed)
    }

    /// The targets of one chunk by place, each with its name; `None` when nothing was ever there.
    pub(crate) fn chunk(&self, number: u32) -> Option<impl Iterator<Item = Option<(&str, &Target)>>> {
        self.chunks.get(number as usize).map(Chunk::places)
    }

    pub(crate) fn chunks(&self) -> u32 {
        u32::try_from(self.chunks.len()).unwrap_or(u32::MAX)
    }

    /// Puts back a chunk that a checkpoint kept.
    pub(crate) fn load(&mut self, number: u32, seen: Revision, targets: Vec<Option<(&str, Target)>>) {
        self.reach(number as usize, targets.len());
        self.chunks[number as usize].seen = seen;
        for (slot, place) in (number * CHUNK..).zip(targets) {
            let Some((name, target)) = place else { continue };
            let chunk = &mut self.chunks[number as usize];
            let (hash, at) = (hash(target.group, name), (slot % CHUNK) as usize);
            chunk.names.set(at, name);
            chunk.targets[at] = target;
            self.enter(slot, hash);
        }
    }

    /// Finds the vacant slots again, after chunks were loaded.
    pub(crate) fn loaded(&mut self) {
        let all = (0..).step_by(CHUNK as usize).zip(&self.chunks);
        let slots = all.flat_map(|(first, chunk)| (first..).zip(chunk.places()));
        self.vacant = slots
            .filter(|(_, place)| place.is_none())
            .map(|(slot, _)| slot)
            .collect();
        self.vacant.reverse();
    }
}
