//! An entity with its targets and everything that follows from them.

use std::sync::Arc;

use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;
use unisono_model::rollout::{EntityName, Health, Phase, Policy, Version};

use super::head::{Facts, Head, Rollout};
use super::interner::NONE;
use super::listen::Listening;
use super::note::Notes;
use super::tally::{Room, Standing, Tally};
use super::target::{IN_BROKEN_LINE, IN_LINE, NEVER, Target};
use super::targets::{Targets, Texts};
use super::waves::waves;

/// An entity.
#[derive(Debug)]
pub struct Fleet {
    pub(crate) head: Head,
    pub(crate) targets: Targets,
    pub(crate) texts: Texts,
    pub(crate) listening: Listening,
    pub(crate) notes: Notes,
    pub(crate) tally: Tally,
    /// Whether the head has changed since the last checkpoint began.
    pub(crate) dirty: bool,
}

impl Head {
    pub(crate) fn new(number: u32, namespace: Name, name: EntityName) -> Self {
        Self {
            number,
            namespace,
            name,
            seen: Revision(0),
            revision: Revision(0),
            policy: Arc::new(Policy::default()),
            classic: None,
            offset: 0,
            window: 1,
            window_began: 0,
            facts: Facts::default(),
        }
    }
}

impl Rollout {
    /// Reads the policy again, and makes the waves of it.
    pub(crate) fn make_plan(&mut self) {
        // What stands in an event was a policy when it was decided, and stays one.
        let policy: Policy = serde_json::from_str(self.policy.as_str()).unwrap_or_default();
        self.plan = super::head::Plan {
            waves: waves(&policy, self.overriding),
            policy: Arc::new(policy),
        };
    }
}

impl Fleet {
    pub(crate) fn new(head: Head) -> Self {
        let mut fleet = Self {
            head,
            targets: Targets::default(),
            texts: Texts::default(),
            listening: Listening::default(),
            notes: Notes::default(),
            tally: Tally::default(),
            dirty: true,
        };
        fleet.tally.restart(&fleet.head);
        fleet
    }

    /// Counts everything anew: the rollout, its stage, or its plan has changed.
    pub(crate) fn recount(&mut self) {
        // Classes are found by the numbers of these texts, so those are used again only when classes are made anew.
        self.texts.traits.collect();
        self.texts.groups.collect();
        self.tally.restart(&self.head);
        for slot in 0..self.targets.end() {
            let Some(target) = self.targets.derived(slot) else {
                continue;
            };
            target.mark(IN_LINE | IN_BROKEN_LINE, false);
            let standing = self.tally.standing((&self.head, &self.texts), target);
            if self.tally.change(slot, None, Some(standing)) {
                self.tally.enqueue(slot, target, &standing);
            }
        }
    }

    pub(crate) fn standing(&mut self, slot: u32) -> Option<Standing> {
        let target = self.targets.get(slot)?;
        Some(self.tally.standing((&self.head, &self.texts), target))
    }

    /// An event changes a target. Nothing happens when its row has seen the event, or it is gone.
    pub(crate) fn change(&mut self, slot: u32, revision: Revision, change: impl FnOnce(&mut Target, &mut Texts)) {
        let Some(old) = self.standing(slot) else {
            return;
        };
        let Some(target) = self.targets.change(slot, revision) else {
            return;
        };
        change(target, &mut self.texts);
        let new = self.tally.standing((&self.head, &self.texts), target);
        if old.class != new.class {
            // It stands in the lines of the class that it left, where it does not count.
            target.mark(IN_LINE | IN_BROKEN_LINE, false);
        }
        if self.tally.change(slot, Some(old), Some(new)) {
            self.tally.enqueue(slot, target, &new);
        }
    }

    /// An event adds a target.
    pub(crate) fn insert(&mut self, slot: u32, revision: Revision, (name, target): (&str, Target)) {
        if !self.targets.insert(slot, revision, (name, target.clone())) {
            self.release(&target);
            return;
        }
        if let Some(target) = self.targets.derived(slot) {
            let standing = self.tally.standing((&self.head, &self.texts), target);
            if self.tally.change(slot, None, Some(standing)) {
                self.tally.enqueue(slot, target, &standing);
            }
        }
    }

    /// An event forgets a target.
    pub(crate) fn remove(&mut self, slot: u32, revision: Revision) {
        let old = self.standing(slot);
        let Some(target) = self.targets.remove(slot, revision) else {
            return;
        };
        self.tally.change(slot, old, None);
        self.release(&target);
    }

    fn release(&mut self, target: &Target) {
        let texts = &mut self.texts;
        texts.groups.release_later(target.group);
        texts.traits.release_later(target.traits);
        texts.versions.release(target.version);
        texts.versions.release(target.expected);
        texts.messages.release(target.message);
    }

    /// Picks the next targets of a wave.
    pub(crate) fn pick(&mut self, wave: u16, room: Room) -> Vec<u32> {
        self.tally
            .pick((&self.head, &self.texts), &mut self.targets, wave, room)
    }

    pub(crate) fn candidates(&mut self, wave: u16, count: usize) -> Vec<u32> {
        self.tally
            .candidates((&self.head, &self.texts), &self.targets, wave, count)
    }

    /// The targets that are in flight for the rollout under way.
    pub(crate) fn in_flight(&self) -> Vec<u32> {
        let rollout = self.head.facts.rollout.as_deref().map_or(0, |rollout| rollout.id);
        let timed = self.tally.due.iter().map(|(_, slot)| *slot);
        let mut slots: Vec<u32> = timed
            .chain(self.tally.proven.iter().copied())
            .filter(|slot| {
                self.targets
                    .get(*slot)
                    .is_some_and(|target| target.phase == Phase::InFlight && target.rollout == rollout)
            })
            .collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    pub(crate) fn version(&self, id: u32) -> Option<Version> {
        Version::parse(self.texts.versions.get(id)).ok()
    }

    /// The slot of a target.
    #[must_use]
    pub fn find(&self, group: &str, name: &str) -> Option<u32> {
        self.targets.find(self.texts.groups.find(group)?, name)
    }

    /// When something is decided about a target by itself.
    pub(crate) fn next_target_due(&self) -> Option<Timestamp> {
        self.tally.due.first().map(|(time, _)| self.head.instant(*time))
    }

    /// Whether silence has to be told from health.
    pub(crate) fn listens(&self) -> bool {
        self.listening.is_open()
    }

    /// How many targets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its number in the partition.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.head.number
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &Name {
        &self.head.namespace
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &EntityName {
        &self.head.name
    }

    /// The last decision about it: the `ETag`.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.head.revision
    }

    /// Checks everything that is derived against a count from scratch. For tests; takes as long as a recount.
    ///
    /// # Panics
    /// When a count is wrong.
    #[doc(hidden)]
    pub fn assert_counts(&mut self) {
        let mut fresh = Tally::default();
        fresh.restart(&self.head);
        let mut eligible = 0;
        let zones: Vec<(Box<str>, bool)> = self.tally.zones.iter().map(|it| (it.name.clone(), it.open)).collect();
        for (slot, target) in self.targets.iter() {
            let standing = fresh.standing((&self.head, &self.texts), target);
            fresh.change(slot, None, Some(standing));
            if standing.eligible {
                eligible += 1;
                let mark = if standing.unavailable { IN_BROKEN_LINE } else { IN_LINE };
                assert!(target.has(mark), "target {slot} may move and stands in no line");
            }
            assert!(
                !target.is_moving() || target.due != NEVER || target.has(super::target::PROVEN),
                "{target:?}"
            );
        }
        let mut mine: Vec<_> = self
            .tally
            .domains
            .iter()
            .filter(|it| it.group.targets > 0)
            .map(|it| (it.budget, it.value.clone(), it.group.clone()))
            .collect();
        let mut theirs: Vec<_> = fresh
            .domains
            .iter()
            .map(|it| (it.budget, it.value.clone(), it.group.clone()))
            .collect();
        mine.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        theirs.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        assert_eq!(mine, theirs, "domains");
        assert_eq!(self.tally.all, fresh.all, "all");
        assert_eq!(self.tally.waves, fresh.waves, "waves");
        assert_eq!(self.tally.health, fresh.health, "health");
        assert_eq!(self.tally.versions, fresh.versions, "versions");
        assert_eq!(self.tally.due, fresh.due, "timers");
        assert_eq!(self.tally.proven, fresh.proven, "proven");
        assert_eq!(self.tally.drifted, fresh.drifted, "drifted");
        assert_eq!(self.tally.all.eligible, eligible, "eligible");
        drop(zones);
    }

    /// How many targets are in a health.
    pub(crate) fn in_health(&self, health: Health) -> u64 {
        u64::from(self.tally.health[usize::from(health.code())])
    }

    /// The number of the version that targets are told, if any target knows it.
    pub(crate) fn version_id(&self, version: &str) -> u32 {
        self.texts.versions.find(version).unwrap_or(NONE)
    }
}
