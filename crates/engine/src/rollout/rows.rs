//! What checkpoints keep: the head of each entity, its targets by chunks, who was heard when, its history, freezes.
//!
//! A row says up to which revision it has seen everything. Texts that targets share stand once in each row.

use minicbor::{Decode, Encode};
use rustc_hash::FxHashMap;
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;
use unisono_model::rollout::{ClassicOptions, EntityName, Health, Phase};

use super::decided::to_payload;
use super::fleet::Fleet;
use super::head::{Facts, Freeze, Head};
use super::note::Note;
use super::state::Rollouts;
use super::target::{STORED, Target};
use super::targets::Texts;
use crate::payload::Payload;
use crate::snapshot::LoadError;

/// A row of this room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RolloutEntity {
    /// An entity without its targets.
    Head(u32),
    /// A chunk of its targets.
    Targets(u32, u32),
    /// A chunk of who was heard when.
    Heard(u32, u32),
    /// A chunk of its history.
    Notes(u32, u32),
    /// Freezes that concern more than one entity.
    Freezes,
}

#[derive(Encode, Decode)]
struct HeadRow {
    #[n(0)]
    number: u64,
    #[n(1)]
    seen: u64,
    #[cbor(n(2), with = "crate::payload::name")]
    namespace: Name,
    #[n(3)]
    name: String,
    #[n(4)]
    revision: u64,
    #[n(5)]
    policy: Payload,
    #[n(6)]
    classic: Option<(i64, i64, i64, i64)>,
    #[n(7)]
    offset: i64,
    #[n(8)]
    window: u8,
    #[n(9)]
    window_began: i64,
    #[n(10)]
    facts: Facts,
}

#[derive(Encode, Decode)]
struct TargetsRow<'a> {
    #[n(0)]
    number: u64,
    #[n(1)]
    seen: u64,
    #[b(2)]
    texts: Vec<&'a str>,
    #[b(3)]
    targets: Vec<Option<TargetRow<'a>>>,
}

#[derive(Encode, Decode)]
struct TargetRow<'a> {
    #[b(0)]
    name: &'a str,
    #[n(1)]
    group: u32,
    #[n(2)]
    traits: u32,
    #[n(3)]
    version: u32,
    #[n(4)]
    expected: u32,
    #[n(5)]
    message: u32,
    #[n(6)]
    since: i64,
    #[n(7)]
    told_at: i64,
    #[n(8)]
    due: i64,
    #[n(9)]
    rollout: u32,
    #[n(10)]
    born: u32,
    #[n(11)]
    wave: u16,
    #[n(12)]
    phase: u8,
    #[n(13)]
    health: u8,
    #[n(14)]
    said: u8,
    #[n(15)]
    streak: u8,
    #[n(16)]
    attempts: u8,
    #[n(17)]
    cause: u8,
    #[n(18)]
    marks: u8,
}

#[derive(Encode, Decode)]
struct HeardRow {
    #[n(0)]
    number: u64,
    #[n(1)]
    seen: u64,
    #[cbor(n(2), with = "minicbor::bytes")]
    windows: Vec<u8>,
}

#[derive(Encode, Decode)]
struct NotesRow {
    #[n(0)]
    number: u64,
    #[n(1)]
    seen: u64,
    #[n(2)]
    notes: Vec<Note>,
}

#[derive(Encode, Decode)]
struct FreezesRow {
    #[n(0)]
    number: u64,
    #[n(1)]
    seen: u64,
    #[n(2)]
    everything: Option<Freeze>,
    #[n(3)]
    namespaces: Vec<(String, Freeze)>,
}

fn bytes(row: &impl Encode<()>) -> Vec<u8> {
    // Writing to memory cannot fail.
    minicbor::to_vec(row).unwrap_or_default()
}

impl RolloutEntity {
    /// The kind and the key of the row.
    pub(crate) fn key(self) -> u64 {
        let pair = |number: u32, chunk: u32| u64::from(number) << 32 | u64::from(chunk);
        match self {
            Self::Head(number) => u64::from(number),
            Self::Targets(number, chunk) | Self::Heard(number, chunk) | Self::Notes(number, chunk) => {
                pair(number, chunk)
            }
            Self::Freezes => 0,
        }
    }

    /// The entity and the chunk of a key.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    pub(crate) fn split(key: u64) -> (u32, u32) {
        ((key >> 32) as u32, key as u32)
    }
}

impl Rollouts {
    /// The row of an entity; `None` when there is nothing of it any more. `seen` is the last event folded.
    pub(crate) fn row(&self, entity: RolloutEntity, seen: Revision) -> Option<Vec<u8>> {
        let (number, seen) = (entity.key(), seen.0);
        match entity {
            RolloutEntity::Head(it) => Some(bytes(&head_row(&self.fleets.get(&it)?.head, seen))),
            RolloutEntity::Targets(it, chunk) => {
                let fleet = self.fleets.get(&it)?;
                Some(targets_row(fleet.targets.chunk(chunk)?, &fleet.texts, (number, seen)))
            }
            RolloutEntity::Heard(it, chunk) => {
                let windows = self.fleets.get(&it)?.listening.chunk(chunk)?.to_vec();
                Some(bytes(&HeardRow { number, seen, windows }))
            }
            RolloutEntity::Notes(it, chunk) => {
                let notes = self.fleets.get(&it)?.notes.chunk(u64::from(chunk));
                (!notes.is_empty()).then(|| bytes(&NotesRow { number, seen, notes }))
            }
            RolloutEntity::Freezes => {
                let board = &self.board;
                let any = board.everything.is_some() || !board.namespaces.is_empty();
                any.then(|| {
                    bytes(&FreezesRow {
                        number,
                        seen,
                        everything: board.everything.clone(),
                        namespaces: board
                            .namespaces
                            .iter()
                            .map(|(name, it)| (name.clone(), it.clone()))
                            .collect(),
                    })
                })
            }
        }
    }

    /// The rows that changed since this was last asked.
    pub(crate) fn take_dirty(&mut self) -> Vec<RolloutEntity> {
        let mut dirty = Vec::new();
        for number in std::mem::take(&mut self.dirty) {
            let Some(fleet) = self.fleets.get_mut(&number) else {
                continue;
            };
            if std::mem::take(&mut fleet.dirty) {
                dirty.push(RolloutEntity::Head(number));
            }
            let chunks = fleet.targets.take_changed();
            dirty.extend(chunks.into_iter().map(|chunk| RolloutEntity::Targets(number, chunk)));
            let chunks = fleet.listening.take_changed();
            dirty.extend(chunks.into_iter().map(|chunk| RolloutEntity::Heard(number, chunk)));
            let chunks = fleet.notes.take_changed();
            dirty.extend(
                chunks
                    .into_iter()
                    .map(|chunk| RolloutEntity::Notes(number, small(chunk))),
            );
        }
        if std::mem::take(&mut self.board.dirty) {
            dirty.push(RolloutEntity::Freezes);
        }
        dirty
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || self.board.dirty
    }

    /// All rows that there would be.
    pub(crate) fn rows(&self) -> impl Iterator<Item = RolloutEntity> + '_ {
        let fleets = self.fleets.iter().flat_map(|(number, fleet)| {
            let number = *number;
            let targets = (0..fleet.targets.chunks()).map(move |chunk| RolloutEntity::Targets(number, chunk));
            let heard = (0..fleet.listening.chunks()).map(move |chunk| RolloutEntity::Heard(number, chunk));
            let notes = fleet
                .notes
                .chunks()
                .map(move |chunk| RolloutEntity::Notes(number, small(chunk)));
            std::iter::once(RolloutEntity::Head(number))
                .chain(targets)
                .chain(heard)
                .chain(notes)
        });
        fleets.chain(std::iter::once(RolloutEntity::Freezes))
    }

    /// Puts back what a checkpoint kept. Heads come before everything else. Returns the latest time that the row names.
    pub(crate) fn load(&mut self, entity: RolloutEntity, row: &[u8]) -> Result<Timestamp, LoadError> {
        match entity {
            RolloutEntity::Head(_) => self.load_head(minicbor::decode(row)?),
            RolloutEntity::Targets(number, chunk) => {
                let fleet = self.known(number)?;
                let row: TargetsRow<'_> = minicbor::decode(row)?;
                let targets = row
                    .targets
                    .iter()
                    .map(|it| {
                        it.as_ref()
                            .map(|it| (it.name, target(it, &row.texts, &mut fleet.texts)))
                    })
                    .collect();
                fleet.targets.load(chunk, Revision(row.seen), targets);
                Ok(Timestamp::default())
            }
            RolloutEntity::Heard(number, chunk) => {
                let row: HeardRow = minicbor::decode(row)?;
                self.known(number)?
                    .listening
                    .load(chunk, Revision(row.seen), &row.windows);
                Ok(Timestamp::default())
            }
            RolloutEntity::Notes(number, _) => {
                let row: NotesRow = minicbor::decode(row)?;
                let last = row.notes.last().map_or(0, |note| note.at);
                self.known(number)?.notes.load(row.notes);
                Ok(Timestamp(last))
            }
            RolloutEntity::Freezes => {
                let row: FreezesRow = minicbor::decode(row)?;
                self.board.seen = Revision(row.seen);
                self.board.everything = row.everything;
                self.board.namespaces = row.namespaces.into_iter().collect();
                Ok(Timestamp::default())
            }
        }
    }

    fn known(&mut self, number: u32) -> Result<&mut Fleet, LoadError> {
        self.fleets.get_mut(&number).ok_or(LoadError::EntityMissing { number })
    }

    fn load_head(&mut self, row: HeadRow) -> Result<Timestamp, LoadError> {
        let name =
            EntityName::parse(&row.name).map_err(|_| minicbor::decode::Error::message("not an entity's name"))?;
        let number = u32::try_from(row.number).unwrap_or(u32::MAX);
        let mut head = Head::new(number, row.namespace, name);
        head.seen = Revision(row.seen);
        head.revision = Revision(row.revision);
        head.policy = std::sync::Arc::new(serde_json::from_str(row.policy.as_str()).unwrap_or_default());
        head.classic = row.classic.map(|(batch, success, healthy, deadline)| ClassicOptions {
            batch_percent: batch,
            success_percent: success,
            success_timeout_secs: healthy,
            duration_timeout_secs: deadline,
        });
        (head.offset, head.window, head.window_began) = (row.offset, row.window, row.window_began);
        head.facts = row.facts;
        if let Some(rollout) = head.facts.rollout.as_deref_mut() {
            rollout.make_plan();
        }
        let latest = Timestamp(head.window_began);
        let mut fleet = Fleet::new(head);
        fleet.dirty = false;
        self.insert(fleet);
        self.dirty.remove(&number);
        Ok(latest)
    }

    /// To be said once, after all rows were loaded: `revision` is the checkpoint's.
    pub(crate) fn loaded(&mut self, revision: Revision) {
        for fleet in self.fleets.values_mut() {
            fleet.targets.loaded();
            fleet.notes.loaded(revision);
            fleet.recount();
        }
    }
}

fn small(chunk: u64) -> u32 {
    u32::try_from(chunk).unwrap_or(u32::MAX)
}

fn head_row(head: &Head, seen: u64) -> HeadRow {
    HeadRow {
        number: u64::from(head.number),
        seen,
        namespace: head.namespace.clone(),
        name: head.name.as_str().to_owned(),
        revision: head.revision.0,
        policy: to_payload(&head.policy),
        classic: head.classic.map(|it| {
            (
                it.batch_percent,
                it.success_percent,
                it.success_timeout_secs,
                it.duration_timeout_secs,
            )
        }),
        offset: head.offset,
        window: head.window,
        window_began: head.window_began,
        facts: head.facts.clone(),
    }
}

/// The texts of one row, each once.
#[derive(Default)]
struct Table<'a> {
    texts: Vec<&'a str>,
    places: FxHashMap<&'a str, u32>,
}

impl<'a> Table<'a> {
    fn place(&mut self, text: &'a str) -> u32 {
        let next = small(self.texts.len() as u64);
        let place = *self.places.entry(text).or_insert(next);
        if place == next {
            self.texts.push(text);
        }
        place
    }
}

fn targets_row<'a>(
    places: impl Iterator<Item = Option<(&'a str, &'a Target)>>,
    texts: &'a Texts,
    (number, seen): (u64, u64),
) -> Vec<u8> {
    let mut table = Table::default();
    let targets = places
        .map(|place| {
            let (name, it) = place?;
            Some(TargetRow {
                name,
                group: table.place(texts.groups.get(it.group)),
                traits: table.place(texts.traits.get(it.traits)),
                version: table.place(texts.versions.get(it.version)),
                expected: table.place(texts.versions.get(it.expected)),
                message: table.place(texts.messages.get(it.message)),
                since: it.since,
                told_at: it.told_at,
                due: it.due,
                rollout: it.rollout,
                born: it.born,
                wave: it.wave,
                phase: it.phase.code(),
                health: it.health.code(),
                said: it.said,
                streak: it.streak,
                attempts: it.attempts,
                cause: it.cause,
                marks: it.marks & STORED,
            })
        })
        .collect();
    bytes(&TargetsRow {
        number,
        seen,
        targets,
        texts: table.texts,
    })
}

fn target(row: &TargetRow<'_>, table: &[&str], texts: &mut Texts) -> Target {
    let text = |place: u32| table.get(place as usize).copied().unwrap_or_default();
    Target {
        since: row.since,
        told_at: row.told_at,
        due: row.due,
        group: texts.groups.acquire(text(row.group)),
        traits: texts.traits.acquire(text(row.traits)),
        version: texts.versions.acquire(text(row.version)),
        expected: texts.versions.acquire(text(row.expected)),
        message: texts.messages.acquire(text(row.message)),
        rollout: row.rollout,
        born: row.born,
        wave: row.wave,
        phase: Phase::from_code(row.phase).unwrap_or(Phase::Idle),
        health: Health::from_code(row.health).unwrap_or(Health::Unknown),
        said: row.said,
        streak: row.streak,
        attempts: row.attempts,
        cause: row.cause,
        marks: row.marks & STORED,
    }
}
