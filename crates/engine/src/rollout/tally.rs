//! Counts, queues and timers of a fleet: everything that follows from its targets and is kept as they change, so that no
//! decision walks the fleet.
//!
//! Each target contributes its [`Standing`]: to the counts of the whole, of its wave, and of its domains (one for each
//! value of a label with a budget). Targets with the same wave, domains and time zone are one class; those that may move
//! next stand in the class's lines, and classes with such targets stand in the line of their waves. A class that a budget
//! blocks is parked there until the budget has room.

use std::collections::{BTreeSet, VecDeque};

use rustc_hash::{FxHashMap, FxHashSet};
use unisono_model::ids::Timestamp;
use unisono_model::rollout::{Health, Joiners, Phase, Policy};

use super::head::{HEALTHS, Head, PHASES};
use super::target::{DRIFTED, IN_BROKEN_LINE, IN_LINE, NEVER, PROVEN, Target};
use super::targets::{Targets, Texts, labels, split_traits};
use super::waves::{LEFT_OUT, WavePlan, place};

/// How many targets stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) targets: u32,
    /// By the phase's code; targets that take part in nothing are `idle`.
    pub(crate) phases: [u32; PHASES],
    /// May be told a version now.
    pub(crate) eligible: u32,
    /// In flight, by this rollout or an earlier one.
    pub(crate) moving: u32,
    /// In flight, on their way to another version for any other reason, or not well.
    pub(crate) unavailable: u32,
    /// Pending, and silent or offline.
    pub(crate) unreachable: u32,
    /// Pending, and busy.
    pub(crate) busy: u32,
}

impl Group {
    pub(crate) fn phase(&self, phase: Phase) -> u64 {
        u64::from(self.phases[usize::from(phase.code())])
    }

    /// Those that take part in the rollout.
    pub(crate) fn members(&self) -> u64 {
        u64::from(self.targets) - self.phase(Phase::Idle) - self.phase(Phase::Pinned)
    }

    fn add(&mut self, standing: &Standing) {
        self.targets += 1;
        self.phases[usize::from(standing.phase.code())] += 1;
        self.eligible += u32::from(standing.eligible);
        self.moving += u32::from(standing.moving);
        self.unavailable += u32::from(standing.unavailable);
        self.unreachable += u32::from(standing.unreachable);
        self.busy += u32::from(standing.busy);
    }

    fn remove(&mut self, standing: &Standing) {
        self.targets -= 1;
        self.phases[usize::from(standing.phase.code())] -= 1;
        self.eligible -= u32::from(standing.eligible);
        self.moving -= u32::from(standing.moving);
        self.unavailable -= u32::from(standing.unavailable);
        self.unreachable -= u32::from(standing.unreachable);
        self.busy -= u32::from(standing.busy);
    }
}

/// What a target contributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) class: u32,
    pub(crate) wave: u16,
    pub(crate) phase: Phase,
    pub(crate) eligible: bool,
    pub(crate) moving: bool,
    pub(crate) unavailable: bool,
    pub(crate) unreachable: bool,
    pub(crate) busy: bool,
    drifted: bool,
    proven: bool,
    health: Health,
    version: u32,
    due: i64,
}

/// What standings depend on besides the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Scope {
    /// The rollout that is under way, or was last; 0 when there was none.
    rollout: u32,
    open: bool,
    /// Whether targets go back.
    back: bool,
    /// Whether targets that were first seen during the rollout keep out of it.
    without_joiners: bool,
}

/// Targets that a plan cannot tell apart.
#[derive(Debug)]
struct Class {
    home: u16,
    takes: u64,
    domains: Box<[u32]>,
    zone: u32,
    /// Targets that may move, the first in line first; some may not any more.
    well: VecDeque<u32>,
    broken: VecDeque<u32>,
    eligible: u32,
    members: u32,
    /// A bit for each wave in whose line it stands.
    lines: u64,
}

/// One value of a label with a budget.
#[derive(Debug)]
pub(crate) struct Domain {
    pub(crate) budget: u16,
    /// `None` for targets without the label.
    pub(crate) value: Option<Box<str>>,
    pub(crate) group: Group,
    parked: FxHashSet<u32>,
}

/// A time zone in which targets have their maintenance windows.
#[derive(Debug)]
pub(crate) struct Zone {
    /// Empty for targets that have none.
    pub(crate) name: Box<str>,
    pub(crate) open: bool,
    /// When that changes.
    pub(crate) until: Timestamp,
    parked: FxHashSet<u32>,
}

type ClassKey = (u16, u64, Box<[u32]>, u32);

/// Everything that follows from the targets.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    scope: Scope,
    pub(crate) all: Group,
    pub(crate) waves: Vec<Group>,
    pub(crate) domains: Vec<Domain>,
    domain_ids: FxHashMap<(u16, Option<Box<str>>), u32>,
    classes: Vec<Class>,
    class_ids: FxHashMap<ClassKey, u32>,
    /// By traits, and by group where a wave asks for groups.
    class_of: FxHashMap<(u32, u32), u32>,
    by_group: bool,
    /// By wave: classes that may have targets to move.
    lines: Vec<VecDeque<u32>>,
    /// Of each wave, whether it takes only some of those that it selects.
    takes: Vec<bool>,
    /// Classes that wait for fewer targets to be unavailable.
    parked: FxHashSet<u32>,
    pub(crate) zones: Vec<Zone>,
    /// Whether windows are given in the targets' own time zones.
    own_zones: bool,
    pub(crate) health: [u32; HEALTHS],
    pub(crate) versions: FxHashMap<u32, u32>,
    pub(crate) drifted: u32,
    /// In flight, proven as far as reports can tell, and waiting for their monitor.
    pub(crate) proven: BTreeSet<u32>,
    /// When something is decided about a target by itself.
    pub(crate) due: BTreeSet<(i64, u32)>,
}

/// How far picking may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Targets to pick at most.
    pub(crate) targets: u64,
    /// Of them those that are well now.
    pub(crate) available: u64,
}

impl Tally {
    /// What a target contributes.
    pub(crate) fn standing(&mut self, (head, texts): (&Head, &Texts), target: &Target) -> Standing {
        let class = self.class(head, texts, target);
        let home = self.classes[class as usize].home;
        let scope = self.scope;
        let current = scope.rollout != 0 && target.rollout == scope.rollout;
        let joiner = target.born == scope.rollout && scope.without_joiners;
        let phase = match target.phase {
            Phase::Pinned => Phase::Pinned,
            phase if current => phase,
            _ if scope.open && home != LEFT_OUT && !joiner => Phase::Pending,
            _ => Phase::Idle,
        };
        let moving = target.is_moving();
        let reachable = !matches!(target.health, Health::Unknown | Health::Offline);
        let busy = target.health == Health::Busy || (target.health == Health::InProgress && !moving);
        let pending = scope.open && !scope.back && phase == Phase::Pending;
        let told = current && target.attempts > 0;
        let returns = scope.back && told && matches!(phase, Phase::InFlight | Phase::Done | Phase::Failed);
        Standing {
            class,
            // One that is tried once more waits where it belongs.
            wave: if told && phase != Phase::Pending {
                target.wave
            } else {
                home
            },
            phase,
            eligible: returns || (pending && reachable && !busy),
            moving,
            unavailable: target.is_unavailable(),
            unreachable: pending && !reachable,
            busy: pending && busy,
            drifted: target.has(DRIFTED),
            proven: target.phase == Phase::InFlight && target.has(PROVEN) && current,
            health: target.health,
            version: target.version,
            due: target.due,
        }
    }

    /// The wave that a target belongs to, or is to belong to.
    pub(crate) fn home(&self, class: u32) -> u16 {
        self.classes[class as usize].home
    }

    /// The same, as far as it has been asked before.
    pub(crate) fn home_of(&self, target: &Target) -> Option<u16> {
        let key = (target.traits, if self.by_group { target.group } else { 0 });
        self.class_of.get(&key).map(|class| self.home(*class))
    }

    /// The domains that a target belongs to, as far as it has been asked before.
    pub(crate) fn domains_of(&self, target: &Target) -> &[u32] {
        let key = (target.traits, if self.by_group { target.group } else { 0 });
        let class = self.class_of.get(&key).map(|class| &self.classes[*class as usize]);
        class.map_or(&[], |class| &class.domains)
    }

    fn class(&mut self, head: &Head, texts: &Texts, target: &Target) -> u32 {
        let key = (target.traits, if self.by_group { target.group } else { 0 });
        if let Some(class) = self.class_of.get(&key) {
            return *class;
        }
        let (policy, waves) = plan_of(head);
        let (text, zone) = split_traits(texts.traits.get(target.traits));
        let label = |key: &str| labels(text).find(|(it, _)| *it == key).map(|(_, value)| value);
        let (home, takes) = place(waves, texts.groups.get(target.group), label);
        let domains = (0_u16..)
            .zip(&policy.budgets)
            .map(|(budget, it)| self.domain(budget, label(&it.label)))
            .collect();
        let zone = self.zone(if self.own_zones { zone } else { "" });
        let class = self.class_with((home, takes, domains, zone));
        self.class_of.insert(key, class);
        class
    }

    fn class_with(&mut self, key: ClassKey) -> u32 {
        let next = u32::try_from(self.classes.len()).unwrap_or(u32::MAX);
        let id = *self.class_ids.entry(key.clone()).or_insert(next);
        if id == next {
            self.classes.push(Class {
                home: key.0,
                takes: key.1,
                domains: key.2,
                zone: key.3,
                well: VecDeque::new(),
                broken: VecDeque::new(),
                eligible: 0,
                members: 0,
                lines: 0,
            });
        }
        id
    }

    fn domain(&mut self, budget: u16, value: Option<&str>) -> u32 {
        let next = u32::try_from(self.domains.len()).unwrap_or(u32::MAX);
        let value: Option<Box<str>> = value.map(Into::into);
        let id = *self.domain_ids.entry((budget, value.clone())).or_insert(next);
        if id == next {
            self.domains.push(Domain {
                budget,
                value,
                group: Group::default(),
                parked: FxHashSet::default(),
            });
        }
        id
    }

    fn zone(&mut self, name: &str) -> u32 {
        let place = self.zones.iter().position(|zone| *zone.name == *name);
        let place = place.unwrap_or_else(|| {
            self.zones.push(Zone {
                name: name.into(),
                open: true,
                until: Timestamp(i64::MIN),
                parked: FxHashSet::default(),
            });
            self.zones.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    /// A target contributes something else now. True when it has to be put into its class's line.
    pub(crate) fn change(&mut self, slot: u32, old: Option<Standing>, new: Option<Standing>) -> bool {
        if old == new {
            return false;
        }
        if let Some(old) = &old {
            self.leave(slot, old);
        }
        if let Some(new) = &new {
            self.enter(slot, new);
        }
        if let Some(old) = &old {
            let freed = new.is_none_or(|new| {
                (old.moving && !new.moving) || (old.unavailable && !new.unavailable) || old.class != new.class
            });
            if freed {
                self.unpark(old.class);
            }
        }
        new.is_some_and(|new| new.eligible)
    }

    fn enter(&mut self, slot: u32, standing: &Standing) {
        self.all.add(standing);
        if let Some(wave) = self.waves.get_mut(usize::from(standing.wave)) {
            wave.add(standing);
        }
        let class = &mut self.classes[standing.class as usize];
        class.eligible += u32::from(standing.eligible);
        class.members += 1;
        for domain in &class.domains {
            self.domains[*domain as usize].group.add(standing);
        }
        self.health[usize::from(standing.health.code())] += 1;
        *self.versions.entry(standing.version).or_default() += 1;
        self.drifted += u32::from(standing.drifted);
        if standing.proven {
            self.proven.insert(slot);
        }
        if standing.due != NEVER {
            self.due.insert((standing.due, slot));
        }
    }

    fn leave(&mut self, slot: u32, standing: &Standing) {
        self.all.remove(standing);
        if let Some(wave) = self.waves.get_mut(usize::from(standing.wave)) {
            wave.remove(standing);
        }
        let class = &mut self.classes[standing.class as usize];
        class.eligible -= u32::from(standing.eligible);
        class.members -= 1;
        for domain in &class.domains {
            self.domains[*domain as usize].group.remove(standing);
        }
        self.health[usize::from(standing.health.code())] -= 1;
        if let Some(running) = self.versions.get_mut(&standing.version) {
            *running -= 1;
            if *running == 0 {
                self.versions.remove(&standing.version);
            }
        }
        self.drifted -= u32::from(standing.drifted);
        if standing.proven {
            self.proven.remove(&slot);
        }
        if standing.due != NEVER {
            self.due.remove(&(standing.due, slot));
        }
    }

    /// Budgets that a class uses have room again: whoever waited for that may try.
    fn unpark(&mut self, class: u32) {
        let mut free: Vec<u32> = self.parked.drain().collect();
        for domain in &self.classes[class as usize].domains {
            free.extend(self.domains[*domain as usize].parked.drain());
        }
        for class in free {
            self.stand_in_line(class);
        }
    }

    /// A zone's windows are open, or closed.
    pub(crate) fn set_zone(&mut self, zone: usize, (open, until): (bool, Timestamp)) {
        (self.zones[zone].open, self.zones[zone].until) = (open, until);
        if open {
            let free: Vec<u32> = self.zones[zone].parked.drain().collect();
            for class in free {
                self.stand_in_line(class);
            }
        }
    }

    /// Puts a class into the lines of its waves.
    fn stand_in_line(&mut self, id: u32) {
        let class = &mut self.classes[id as usize];
        let wanted = if self.scope.back {
            1
        } else {
            class.takes | 1_u64.checked_shl(u32::from(class.home)).unwrap_or(0)
        };
        let mut missing = wanted & !class.lines;
        class.lines |= wanted;
        while missing != 0 {
            let wave = missing.trailing_zeros() as usize;
            missing &= missing - 1;
            if let Some(line) = self.lines.get_mut(wave) {
                line.push_back(id);
            }
        }
    }

    /// Puts a target that may move into its class's line, unless it stands there.
    pub(crate) fn enqueue(&mut self, slot: u32, target: &mut Target, standing: &Standing) {
        let class = &mut self.classes[standing.class as usize];
        let (line, mark) = if standing.unavailable {
            (&mut class.broken, IN_BROKEN_LINE)
        } else {
            (&mut class.well, IN_LINE)
        };
        if !target.has(mark) {
            target.mark(mark, true);
            line.push_back(slot);
        }
        self.stand_in_line(standing.class);
    }

    /// Begins anew with another scope: nothing is counted.
    pub(crate) fn restart(&mut self, head: &Head) {
        let (policy, waves) = plan_of(head);
        let rollout = head.facts.rollout.as_deref();
        *self = Self {
            scope: Scope {
                rollout: rollout.map_or(0, |rollout| rollout.id),
                open: rollout.is_some_and(super::head::Rollout::is_open),
                back: rollout.is_some_and(|rollout| rollout.stage == super::head::Stage::RollingBack),
                without_joiners: policy.joiners != Joiners::Join,
            },
            waves: vec![Group::default(); waves.len()],
            lines: vec![VecDeque::new(); waves.len().max(1)],
            takes: waves.iter().map(|wave| wave.take.is_some()).collect(),
            by_group: waves.iter().any(|wave| !wave.select.groups.is_empty()),
            own_zones: policy.windows.iter().any(|window| window.time_zone.is_none()),
            ..Self::default()
        };
        self.zone("");
    }

    /// The next targets of a wave, as far as there is room; they leave the line.
    pub(crate) fn pick(
        &mut self,
        (head, texts): (&Head, &Texts),
        targets: &mut Targets,
        wave: u16,
        room: Room,
    ) -> Vec<u32> {
        let mut pick = Pick {
            policy: plan_of(head).0.clone(),
            room,
            picked: Vec::new(),
            well: 0,
            used: FxHashMap::default(),
            back: self.scope.back,
        };
        while (pick.picked.len() as u64) < room.targets {
            let Some(id) = self.lines.get_mut(usize::from(wave)).and_then(VecDeque::pop_front) else {
                break;
            };
            self.classes[id as usize].lines &= !(1 << wave);
            if self.classes[id as usize].eligible == 0 {
                continue;
            }
            let zone = self.classes[id as usize].zone as usize;
            if !self.zones[zone].open && !pick.back {
                self.zones[zone].parked.insert(id);
                continue;
            }
            match self.allowed(&pick, id) {
                Allowed::Blocked(domain) => {
                    self.domains[domain as usize].parked.insert(id);
                    continue;
                }
                Allowed::Any => self.pick_one((head, texts), targets, &mut pick, id, None),
                Allowed::Broken(domain) => self.pick_one((head, texts), targets, &mut pick, id, Some(domain)),
            };
        }
        pick.picked
    }

    /// Those of the targets that were named which may move now, as far as there is room.
    pub(crate) fn admit(
        &mut self,
        (head, texts): (&Head, &Texts),
        targets: &Targets,
        named: &[u32],
        wave: u16,
        room: Room,
    ) -> Vec<u32> {
        let mut pick = Pick {
            policy: plan_of(head).0.clone(),
            room,
            picked: Vec::new(),
            well: 0,
            used: FxHashMap::default(),
            back: false,
        };
        for slot in named {
            let Some(target) = targets.get(*slot) else { continue };
            let standing = self.standing((head, texts), target);
            let class = &self.classes[standing.class as usize];
            let here = class.home <= wave || class.takes >> wave & 1 == 1;
            if (pick.picked.len() as u64) >= room.targets
                || !standing.eligible
                || !here
                || !self.zones[class.zone as usize].open
            {
                continue;
            }
            let allowed = match self.allowed(&pick, standing.class) {
                Allowed::Any => true,
                Allowed::Broken(_) => standing.unavailable,
                Allowed::Blocked(_) => false,
            };
            if allowed {
                pick.picked.push(*slot);
                pick.use_up(class, standing.unavailable, standing.moving);
            }
        }
        pick.picked
    }

    /// What budgets allow a class to move.
    fn allowed(&self, pick: &Pick, class: u32) -> Allowed {
        let mut short = (pick.room.available <= pick.well).then_some(None);
        for id in &self.classes[class as usize].domains {
            let domain = &self.domains[*id as usize];
            let budget = &pick.policy.budgets[usize::from(domain.budget)];
            let (moving, unavailable) = pick.used.get(id).copied().unwrap_or_default();
            let total = u64::from(domain.group.targets);
            let moving = u64::from(domain.group.moving + moving);
            if budget
                .max_in_flight
                .is_some_and(|most| moving >= most.at_least_one(total))
            {
                return Allowed::Blocked(*id);
            }
            if let Some(most) = budget.max_unavailable {
                let most = most.at_least_one(total);
                if pick.back && moving >= most {
                    return Allowed::Blocked(*id);
                }
                let unavailable = u64::from(domain.group.unavailable + unavailable);
                if !pick.back && unavailable >= most {
                    short = Some(Some(*id));
                }
            }
        }
        match short {
            Some(domain) if !pick.back => Allowed::Broken(domain),
            _ => Allowed::Any,
        }
    }

    /// Picks one target of a class; `short` says that none that is well may be picked, and what it is that is used up.
    fn pick_one(
        &mut self,
        around: (&Head, &Texts),
        targets: &mut Targets,
        pick: &mut Pick,
        id: u32,
        short: Option<Option<u32>>,
    ) {
        let well = if short.is_none() {
            self.pop(around, targets, id, false)
        } else {
            None
        };
        let found = well.map(|slot| (slot, false)).or_else(|| {
            let broken = self.pop(around, targets, id, true)?;
            Some((broken, true))
        });
        let Some((slot, broken)) = found else {
            match short {
                Some(Some(domain)) => drop(self.domains[domain as usize].parked.insert(id)),
                Some(None) => drop(self.parked.insert(id)),
                None => {}
            }
            return;
        };
        pick.picked.push(slot);
        let moving = targets.get(slot).is_some_and(Target::is_moving);
        pick.use_up(&self.classes[id as usize], broken, moving);
        self.stand_in_line(id);
    }

    /// The first target of a line that still may move.
    fn pop(&mut self, around: (&Head, &Texts), targets: &mut Targets, id: u32, broken: bool) -> Option<u32> {
        loop {
            let class = &mut self.classes[id as usize];
            let (line, mark) = if broken {
                (&mut class.broken, IN_BROKEN_LINE)
            } else {
                (&mut class.well, IN_LINE)
            };
            let slot = line.pop_front()?;
            let Some(target) = targets.get(slot) else { continue };
            let standing = self.standing(around, target);
            if standing.class != id {
                continue;
            }
            if let Some(target) = targets.derived(slot) {
                target.mark(mark, false);
            }
            if standing.eligible && standing.unavailable == broken {
                return Some(slot);
            }
            if standing.eligible
                && let Some(target) = targets.derived(slot)
            {
                self.enqueue(slot, target, &standing);
            }
        }
    }

    /// Targets of a wave that may move, without picking them: the first `count` in line.
    pub(crate) fn candidates(
        &mut self,
        around: (&Head, &Texts),
        targets: &Targets,
        wave: u16,
        count: usize,
    ) -> Vec<u32> {
        let mut found = Vec::new();
        let classes: Vec<u32> = self
            .lines
            .get(usize::from(wave))
            .into_iter()
            .flatten()
            .copied()
            .collect();
        for id in classes {
            let class = &self.classes[id as usize];
            if !self.zones[class.zone as usize].open {
                continue;
            }
            let line: Vec<u32> = class.well.iter().chain(&class.broken).copied().collect();
            for slot in line {
                if found.len() >= count {
                    return found;
                }
                let eligible = targets.get(slot).is_some_and(|target| {
                    let standing = self.standing(around, target);
                    standing.eligible && standing.class == id
                });
                if eligible && !found.contains(&slot) {
                    found.push(slot);
                }
            }
        }
        found
    }

    /// How many targets a wave that takes only some selects.
    pub(crate) fn selected(&self, wave: u16) -> u64 {
        let classes = self.classes.iter().filter(|class| class.takes >> wave & 1 == 1);
        classes.map(|class| u64::from(class.members)).sum()
    }

    /// Whether a wave has targets that may move now, closed windows left aside, and whether any of them has an open one.
    pub(crate) fn movable(&self, wave: u16) -> (bool, bool) {
        let fits = |class: &&Class| {
            class.eligible > 0 && (class.home <= wave && class.home != LEFT_OUT || class.takes >> wave & 1 == 1)
        };
        let mut classes = self.classes.iter().filter(fits).peekable();
        (
            classes.peek().is_some(),
            classes.any(|class| self.zones[class.zone as usize].open),
        )
    }

    /// How many targets may move, in the waves up to this one. Those that a wave which takes only some has not taken wait
    /// for the wave that they belong to.
    pub(crate) fn eligible(&self, wave: u16) -> u64 {
        self.whole(wave).map(|group| u64::from(group.eligible)).sum()
    }

    pub(crate) fn upto(&self, wave: u16) -> impl Iterator<Item = &Group> {
        self.waves.iter().take(usize::from(wave) + 1)
    }

    /// The waves up to this one that take all that they select.
    pub(crate) fn whole(&self, wave: u16) -> impl Iterator<Item = &Group> {
        self.upto(wave)
            .zip(&self.takes)
            .filter(|(_, takes)| !**takes)
            .map(|(group, _)| group)
    }

    /// Whether a wave takes only some of those that it selects.
    pub(crate) fn takes_some(&self, wave: u16) -> bool {
        self.takes.get(usize::from(wave)).copied().unwrap_or(false)
    }
}

enum Allowed {
    /// Any of its targets.
    Any,
    /// Only those that are broken already: of the others, this domain (or the whole) has as many unavailable as it may.
    Broken(Option<u32>),
    /// None: this domain has as many in flight as it may.
    Blocked(u32),
}

/// What is being picked.
struct Pick {
    policy: std::sync::Arc<Policy>,
    room: Room,
    picked: Vec<u32>,
    well: u64,
    /// By domain: how many more are in flight, and how many more unavailable.
    used: FxHashMap<u32, (u32, u32)>,
    back: bool,
}

impl Pick {
    /// One more was picked. It may be in flight already, from an earlier rollout.
    fn use_up(&mut self, class: &Class, broken: bool, moving: bool) {
        self.well += u64::from(!broken);
        for domain in &class.domains {
            let used = self.used.entry(*domain).or_default();
            used.0 += u32::from(!moving);
            used.1 += u32::from(!broken);
        }
    }
}

/// The policy in force, and the waves of the rollout that is under way or was last.
pub(crate) fn plan_of(head: &Head) -> (&std::sync::Arc<Policy>, &[WavePlan]) {
    match head.facts.rollout.as_deref() {
        Some(rollout) if rollout.is_open() => (&rollout.plan.policy, &rollout.plan.waves),
        Some(rollout) => (&head.policy, &rollout.plan.waves),
        None => (&head.policy, &[]),
    }
}
