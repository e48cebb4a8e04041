//! All entities of a partition, and how events change them.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;
use unisono_model::rollout::{EntityName, Health, Phase, RolloutState};

use super::event::{Change, Decision, Joined, Judgement, RolloutEvent as E};
use super::fleet::Fleet;
use super::head::{Freeze, Head, Stage};
use super::listen::UNHEARD;
use super::slots::Slots;
use super::target::{NEVER, Outcome, STORED, Target, Told};
use super::targets::Texts;
use crate::{Effect, Effects};

/// Freezes that concern more than one entity.
#[derive(Debug, Default)]
pub(crate) struct Board {
    pub(crate) everything: Option<Freeze>,
    pub(crate) namespaces: BTreeMap<String, Freeze>,
    pub(crate) seen: Revision,
    pub(crate) dirty: bool,
}

/// The entities of a partition.
#[derive(Debug, Default)]
pub struct Rollouts {
    pub(crate) fleets: BTreeMap<u32, Fleet>,
    pub(crate) names: FxHashMap<(Name, EntityName), u32>,
    pub(crate) board: Board,
    /// Entities that changed since the last checkpoint began.
    pub(crate) dirty: BTreeSet<u32>,
    /// Entities about which something may have to be decided.
    pub(crate) touched: BTreeSet<u32>,
    /// When something becomes due in each entity, for those that have been looked at.
    timers: BTreeSet<(Timestamp, u32)>,
    timer_of: FxHashMap<u32, Timestamp>,
}

impl Rollouts {
    /// An entity by its name.
    #[must_use]
    pub fn get(&self, namespace: &Name, entity: &EntityName) -> Option<&Fleet> {
        let number = self.names.get(&(namespace.clone(), entity.clone()))?;
        self.fleets.get(number)
    }

    /// An entity by its number.
    #[must_use]
    pub fn fleet(&self, number: u32) -> Option<&Fleet> {
        self.fleets.get(&number)
    }

    /// An entity by its number, for tests that count again.
    #[doc(hidden)]
    pub fn fleet_mut(&mut self, number: u32) -> Option<&mut Fleet> {
        self.fleets.get_mut(&number)
    }

    /// All entities, in the order in which they were first named.
    pub fn all(&self) -> impl Iterator<Item = &Fleet> {
        self.fleets.values()
    }

    pub(crate) fn insert(&mut self, fleet: Fleet) {
        let number = fleet.head.number;
        self.names
            .insert((fleet.head.namespace.clone(), fleet.head.name.clone()), number);
        self.fleets.insert(number, fleet);
        self.touched.insert(number);
        self.dirty.insert(number);
    }

    pub(crate) fn next_number(&self) -> u32 {
        self.fleets.last_key_value().map_or(1, |(last, _)| last + 1)
    }

    /// Whether anything in any entity is measured in the time in which somebody listens.
    #[must_use]
    pub fn measures_time(&self) -> bool {
        !self.timers.is_empty()
    }

    /// When something becomes due, as far as entities have been looked at.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _)| *due)
    }

    pub(crate) fn set_timer(&mut self, number: u32, due: Option<Timestamp>) {
        let old = match due {
            Some(due) => self.timer_of.insert(number, due),
            None => self.timer_of.remove(&number),
        };
        if let Some(old) = old {
            self.timers.remove(&(old, number));
        }
        if let Some(due) = due {
            self.timers.insert((due, number));
        }
    }

    /// Entities whose time has come are looked at.
    pub(crate) fn touch_due(&mut self, at: Timestamp) {
        while let Some((due, number)) = self.timers.first().copied()
            && due <= at
        {
            self.timers.pop_first();
            self.timer_of.remove(&number);
            self.touched.insert(number);
        }
    }

    fn touch_all(&mut self) {
        self.touched.extend(self.fleets.keys());
    }

    /// Entities that wait for what another one runs.
    fn touch_dependents(&mut self) {
        let waiting = self
            .fleets
            .iter()
            .filter(|(_, fleet)| !fleet.head.policy.depends_on.is_empty());
        let numbers: Vec<u32> = waiting.map(|(number, _)| *number).collect();
        self.touched.extend(numbers);
    }
}

/// Folds one event of this room.
pub(crate) fn evolve(rollouts: &mut Rollouts, (revision, at): (Revision, Timestamp), event: &E, effects: &mut Effects) {
    match event {
        E::Created {
            number,
            namespace,
            name,
        } => {
            // The name was checked before it came into the event.
            let name = EntityName::parse(name).ok();
            if let Some(name) = name.filter(|_| !rollouts.fleets.contains_key(number)) {
                let mut head = Head::new(*number, namespace.clone(), name);
                (head.revision, head.window_began) = (revision, at.0);
                rollouts.insert(Fleet::new(head));
            }
        }
        E::Restarted { lost, stopped } => {
            for fleet in rollouts.fleets.values_mut().filter(|fleet| fleet.head.seen < revision) {
                fleet.head.offset += lost;
                fleet.head.facts.wait_longer(*lost);
                if *stopped {
                    fleet.head.window_began = fleet.head.window_began.saturating_add(*lost).min(at.0);
                } else {
                    fleet.head.window_began = at.0;
                    fleet.listening.clear_fresh();
                }
                fleet.dirty = true;
            }
            rollouts.dirty.extend(rollouts.fleets.keys());
            rollouts.touch_all();
            return;
        }
        E::Frozen { .. } | E::Thawed { .. } => {
            freeze(&mut rollouts.board, revision, at, event);
            rollouts.touch_all();
            return;
        }
        _ => {}
    }
    let Some(number) = event.entity() else { return };
    let ended = matches!(
        event,
        E::Decided {
            decision: Decision::Ended { .. } | Decision::PolicySet { .. },
            ..
        }
    );
    if let Some(fleet) = rollouts.fleets.get_mut(&number) {
        fold(fleet, (revision, at), event);
        let noted = fleet.notes.add(revision, at, event);
        effects.push(Effect::RolloutChanged {
            namespace: fleet.head.namespace.clone(),
            entity: fleet.head.name.clone(),
            revision,
            decided: noted || matches!(event, E::Decided { .. }),
        });
        rollouts.touched.insert(number);
        rollouts.dirty.insert(number);
    }
    if ended {
        rollouts.touch_dependents();
    }
}

fn freeze(board: &mut Board, revision: Revision, at: Timestamp, event: &E) {
    if board.seen >= revision {
        return;
    }
    board.dirty = true;
    match event {
        E::Frozen {
            namespace,
            until,
            actor,
            reason,
        } => {
            let freeze = Freeze {
                actor: actor.clone(),
                reason: reason.clone(),
                since: at.0,
                until: *until,
            };
            match namespace {
                Some(namespace) => drop(board.namespaces.insert(namespace.clone(), freeze)),
                None => board.everything = Some(freeze),
            }
        }
        E::Thawed {
            namespace: Some(namespace),
            ..
        } => drop(board.namespaces.remove(namespace)),
        E::Thawed { .. } => board.everything = None,
        _ => {}
    }
}

fn fold(fleet: &mut Fleet, (revision, at): (Revision, Timestamp), event: &E) {
    match event {
        E::Reported {
            time,
            window,
            texts,
            joined,
            changes,
            opens,
            typical,
            ..
        } => {
            let progress = changes.iter().any(|it| it.outcome.is_some_and(is_progress));
            told_head(fleet, revision, progress, (*time, *typical), opens.then_some(at.0));
            for joined in joined {
                join(fleet, revision, *time, texts, joined);
                fleet.listening.set(joined.slot, revision, *window);
            }
            for change in changes {
                fleet.change(change.slot, revision, |target, shared| {
                    report(target, shared, *time, texts, change);
                });
                fleet.listening.set(change.slot, revision, *window);
            }
        }
        E::Heard {
            window,
            next,
            heard,
            silent,
            time,
            ..
        } => {
            if fleet.head.seen < revision {
                (fleet.head.window, fleet.head.window_began) = (*next, at.0);
                fleet.dirty = true;
            }
            fleet.listening.clear_fresh();
            for slot in heard.iter() {
                fleet.listening.set(slot, revision, *window);
            }
            for slot in silent.iter().flat_map(|judgement| judgement.slots.iter()) {
                fleet.listening.set(slot, revision, UNHEARD);
            }
            judge(fleet, revision, *time, silent);
        }
        E::Judged {
            time,
            judgements,
            typical,
            ..
        } => {
            let progress = judgements.iter().any(|it| is_progress(it.outcome));
            told_head(fleet, revision, progress, (*time, *typical), None);
            judge(fleet, revision, *time, judgements);
        }
        E::Assigned { .. } => assign(fleet, revision, event),
        E::Decided { .. } => decided(fleet, (revision, at), event),
        E::Created { .. } | E::Restarted { .. } | E::Frozen { .. } | E::Thawed { .. } => {}
    }
}

fn is_progress(outcome: u8) -> bool {
    matches!(Outcome::from_code(outcome), Outcome::Done | Outcome::RolledBack)
}

/// What reports and timers of targets change in the head.
fn told_head(
    fleet: &mut Fleet,
    revision: Revision,
    progress: bool,
    (time, typical): (i64, Option<i64>),
    opens: Option<i64>,
) {
    if fleet.head.seen >= revision || (!progress && opens.is_none()) {
        return;
    }
    fleet.dirty = true;
    if let Some(at) = opens {
        fleet.head.window_began = at;
    }
    if progress {
        if let Some(rollout) = &mut fleet.head.facts.rollout {
            rollout.progress_at = rollout.progress_at.max(time);
        }
        if let Some(typical) = typical {
            fleet.head.facts.typical_ms = typical;
        }
    }
}

fn text(texts: &[String], place: u32) -> &str {
    texts.get(place as usize).map_or("", String::as_str)
}

fn join(fleet: &mut Fleet, revision: Revision, time: i64, texts: &[String], joined: &Joined) {
    let at = |place: Option<u32>| place.map_or("", |place| text(texts, place));
    let shared = &mut fleet.texts;
    let mut target = Target {
        since: time,
        due: joined.due.unwrap_or(NEVER),
        group: shared.groups.acquire(text(texts, joined.group)),
        traits: shared.traits.acquire(text(texts, joined.traits)),
        version: shared.versions.acquire(at(joined.version)),
        expected: shared.versions.acquire(at(joined.expected)),
        message: shared.messages.acquire(at(joined.message)),
        born: joined.born,
        health: Health::from_code(joined.health).unwrap_or(Health::Unknown),
        said: joined.said,
        streak: 1,
        ..Target::new()
    };
    target.mark(super::target::ARRIVED, target.is_where_expected());
    fleet.insert(joined.slot, revision, (&joined.name, target));
}

fn report(target: &mut Target, shared: &mut Texts, time: i64, texts: &[String], change: &Change) {
    if let Some(version) = change.version {
        shared.versions.replace(&mut target.version, text(texts, version));
    }
    if change.version.is_some() || change.said.is_some_and(|said| said != target.said) {
        target.since = time;
    }
    if let Some(said) = change.said {
        target.said = said;
    }
    if let Some(streak) = change.streak {
        target.streak = streak;
    }
    if let Some(message) = change.message {
        shared.messages.replace(&mut target.message, text(texts, message));
    }
    if let Some(traits) = change.traits {
        shared.traits.release_later(target.traits);
        target.traits = shared.traits.acquire(text(texts, traits));
    }
    if let Some(expected) = change.expected {
        shared.versions.replace(&mut target.expected, text(texts, expected));
        target.told_at = time;
    }
    if let Some(outcome) = change.outcome {
        target.judge(
            Outcome::from_code(outcome),
            change.cause.unwrap_or(0),
            change.rollout.unwrap_or(0),
        );
    }
    if let Some(marks) = change.marks {
        target.marks = (target.marks & !STORED) | (marks & STORED);
    }
    if let Some(health) = change.health.and_then(Health::from_code) {
        target.health = health;
    }
    if let Some(due) = change.due {
        target.due = due;
    }
}

fn judge(fleet: &mut Fleet, revision: Revision, time: i64, judgements: &[Judgement]) {
    for judgement in judgements {
        for slot in judgement.slots.iter() {
            fleet.change(slot, revision, |target, _| {
                target.judge(
                    Outcome::from_code(judgement.outcome),
                    judgement.cause,
                    judgement.rollout,
                );
                if let Some(health) = judgement.health.and_then(Health::from_code) {
                    if health == Health::Unknown {
                        target.since = time;
                        target.streak = 0;
                    }
                    target.health = health;
                }
                target.due = judgement.due.unwrap_or(NEVER);
            });
        }
    }
}

fn assign(fleet: &mut Fleet, revision: Revision, event: &E) {
    let E::Assigned {
        time,
        rollout,
        wave,
        version,
        back,
        slots,
        deadline,
        healthy_for,
        call,
        ..
    } = event
    else {
        return;
    };
    if fleet.head.seen < revision
        && let Some(open) = fleet.head.facts.rollout.as_mut().filter(|open| open.id == *rollout)
    {
        fleet.dirty = true;
        if !back {
            open.step_told = open.step_told.saturating_add(slots.len());
        }
        if call.is_some() {
            open.calls.retain(|it| !super::gates::chooses(it.kind));
        }
    }
    let told = Told {
        time: *time,
        rollout: *rollout,
        wave: *wave,
        back: *back,
        deadline: *deadline,
        healthy_for: *healthy_for,
    };
    for slot in slots.iter() {
        fleet.change(slot, revision, |target, shared| {
            shared.versions.replace(&mut target.expected, version);
            target.tell(&told);
        });
    }
}

fn decided(fleet: &mut Fleet, (revision, at): (Revision, Timestamp), event: &E) {
    let E::Decided { decision, rollout, .. } = event else {
        return;
    };
    let news = fleet.head.seen < revision;
    if news {
        fleet.dirty = true;
        if !decision.is_delivery() {
            fleet.head.revision = revision;
        }
        super::decided::apply(&mut fleet.head, (revision, at), event);
    }
    let mut each = |slots: &Slots, change: &dyn Fn(&mut Target, &mut Texts)| {
        for slot in slots.iter() {
            fleet.change(slot, revision, |target, shared| change(target, shared));
        }
    };
    match decision {
        Decision::Retried { slots } => each(slots, &|target, _| target.retry()),
        Decision::Skipped { slots } => each(slots, &|target, _| {
            target.judge(Outcome::Skipped, 0, *rollout);
            target.due = NEVER;
        }),
        Decision::Condemned { slots } => each(slots, &|target, _| {
            target.judge(Outcome::Failed, unisono_model::rollout::Cause::Said.code(), *rollout);
            target.due = NEVER;
        }),
        Decision::Pinned { slots, version } => each(slots, &|target, shared| {
            shared.versions.replace(&mut target.expected, version);
            target.settle();
            target.phase = Phase::Pinned;
            target.marks &= !STORED;
            target.mark(super::target::ARRIVED, target.is_where_expected());
        }),
        Decision::Unpinned { slots } => each(slots, &|target, _| target.phase = Phase::Idle),
        Decision::Forgot { slots, .. } => {
            for slot in slots.iter() {
                fleet.listening.set(slot, revision, UNHEARD);
                fleet.remove(slot, revision);
            }
        }
        Decision::Ended { state, .. } => release(fleet, revision, *rollout, *state),
        _ => {}
    }
    let counts_differently = matches!(
        decision,
        Decision::PolicySet { .. } | Decision::Planned { .. } | Decision::Failed { .. } | Decision::Ended { .. }
    );
    if news && counts_differently {
        fleet.recount();
    }
}

/// What is still in flight when a rollout ends is let go, unless another rollout takes over.
fn release(fleet: &mut Fleet, revision: Revision, rollout: u32, state: u8) {
    let taken_over = state == RolloutState::Superseded.code();
    let moving: Vec<u32> = fleet
        .targets
        .iter()
        .filter(|(_, target)| target.rollout == rollout && target.is_moving())
        .map(|(slot, _)| slot)
        .collect();
    for slot in moving {
        fleet.change(slot, revision, |target, shared| {
            if taken_over {
                target.hand_over();
                return;
            }
            let expected = target.expected;
            target.release();
            if target.expected != expected {
                shared.versions.release(expected);
            }
        });
    }
}

impl Fleet {
    /// Whether it goes back.
    pub(crate) fn goes_back(&self) -> bool {
        self.head
            .open()
            .is_some_and(|rollout| rollout.stage == Stage::RollingBack)
    }
}
