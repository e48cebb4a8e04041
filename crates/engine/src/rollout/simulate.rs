//! How a rollout goes in a model of the world: the same rules, on targets that are made up, in time that is made up.
//!
//! Gates that wait for people or for something outside are left out: they are taken to be open. The same seed gives the
//! same simulation.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;
use unisono_model::rollout::{
    Controllers, EntityName, FailureModel, Fault, Health, Policy, Promotion, Report, Reports, RolloutState, Said,
    SimulateRequest, SimulatedWave, SimulationView, StartMode, contradictions,
};

use super::advance::{advance, around};
use super::command::{By, RolloutCommand, Verb};
use super::decide::decide;
use super::event::{Decision, RolloutEvent as E};
use super::fleet::Fleet;
use super::health::Rules;
use super::state::{Rollouts, evolve};
use super::target::PROVEN;
use super::targets::{labels, split_traits};
use super::view::counts;

/// The instant at which simulations begin.
const BEGIN: Timestamp = Timestamp(1_767_225_600_000);
/// Targets that a simulation may have.
const MOST_TARGETS: usize = 200_000;
/// Events after which a simulation is given up.
const MOST_EVENTS: u64 = 5_000_000;
/// Entries of the history that are shown.
const MOST_SHOWN: usize = 1_000;

/// Random numbers that only the seed decides: `SplitMix64` (G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, but not, 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Seconds of an exponential distribution with this median, in milliseconds.
    fn delay_ms(&mut self, median_seconds: f64) -> i64 {
        let seconds = -(1.0 - self.share()).ln() * median_seconds / std::f64::consts::LN_2;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a float is cut to the range of the number"
        )]
        let millis = (seconds * 1_000.0) as i64;
        millis.clamp(1, 365 * 24 * 3_600_000)
    }
}

/// How one target behaves on the version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    Unhealthy,
    Silent,
    Stuck,
    Flapping,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Does {
    /// It has taken the version that it was told last, if that still is the one.
    Arrives(u32),
    /// It says how it is.
    Speaks,
}

struct World {
    rollouts: Rollouts,
    revision: Revision,
    now: Timestamp,
    random: Random,
    model: FailureModel,
    version: String,
    fates: Vec<Fate>,
    dead: Vec<bool>,
    told: Vec<u32>,
    runs: Vec<String>,
    names: Vec<(String, String)>,
    flapped: Vec<bool>,
    agenda: BinaryHeap<Reverse<(Timestamp, u32, Does)>>,
    events: u64,
    most_in_flight: u64,
    most_unavailable: u64,
    touched: Vec<bool>,
    begun: HashMap<u16, (u64, Option<u64>)>,
    shown: Vec<(u64, String)>,
}

fn address() -> (Name, EntityName) {
    match (Name::parse("simulation"), EntityName::parse("simulation")) {
        (Ok(namespace), Ok(entity)) => (namespace, entity),
        _ => unreachable!("a word is a name"),
    }
}

/// What a simulation begins with: the targets of a fleet, or as many as it takes of them.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    policy: Option<std::sync::Arc<Policy>>,
    good: Option<String>,
    targets: Reports,
    /// Of each target, whether nobody knows when it will be back.
    dead: Vec<bool>,
}

impl Sample {
    /// Adds the targets of a fleet from a slot on, so many of them. Where to go on, if there are more.
    pub fn add(&mut self, fleet: &Fleet, from: u64, limit: usize) -> Option<u64> {
        self.policy = Some(std::sync::Arc::clone(&fleet.head.policy));
        self.good.clone_from(&fleet.head.facts.good);
        let from = u32::try_from(from).unwrap_or(u32::MAX);
        let mut all = fleet.targets.iter_from(from);
        for (slot, target) in all.by_ref().take(limit) {
            let dead = target.health == Health::Unknown;
            let (text, zone) = split_traits(fleet.texts.traits.get(target.traits));
            let version = fleet.texts.versions.get(target.version);
            let labels = labels(text).map(|(key, value)| (key.to_owned(), value.to_owned()));
            let report = Report {
                name: fleet.targets.name(slot).into(),
                group: fleet.texts.groups.get(target.group).into(),
                version: Some(if version.is_empty() { "before" } else { version }.into()),
                health: Some(if dead { Said::Offline } else { target.said() }),
                labels: Some(labels.collect()),
                time_zone: (!zone.is_empty()).then_some(zone.into()),
                ..Report::default()
            };
            // One that is more than a simulation takes is refused later, by their number.
            if self.targets.push(&report).is_ok() {
                self.dead.push(dead);
            }
        }
        all.next()
            .map(|(slot, _)| u64::from(slot))
            .filter(|_| self.targets.len() < MOST_TARGETS)
    }
}

/// Runs a rollout against a model of failures: on the targets of a fleet, or on made-up ones.
///
/// # Errors
/// Every [`Fault`] of the request.
pub fn simulate(sample: &Sample, request: &SimulateRequest) -> Result<SimulationView, Vec<Fault>> {
    let policy = request
        .policy
        .clone()
        .or_else(|| sample.policy.as_deref().cloned())
        .unwrap_or_default();
    let mut faults = contradictions(&policy);
    faults.extend(model_faults(&request.model));
    let count = request
        .targets
        .map_or_else(|| sample.targets.len(), |count| count as usize);
    if count == 0 || count > MOST_TARGETS {
        let reason = format!("{count} targets are not between 1 and {MOST_TARGETS}");
        faults.push(Fault::new(
            "invalid",
            "targets",
            reason,
            "say how many targets to make up",
        ));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut world = World::new(request);
    world.populate(Some(sample).filter(|_| request.targets.is_none()), count);
    world.begin(without_gates(policy), request);
    world.run(Timestamp(BEGIN.0).plus_millis(request.limit_seconds.saturating_mul(1_000)));
    Ok(world.view(request.seed))
}

/// So many targets that run a version called `before`.
fn made_up(count: usize) -> Reports {
    let mut reports = Reports::with_capacity(count);
    for number in 0..count {
        let report = Report {
            name: format!("target-{number:06}").into(),
            version: Some("before".into()),
            ..Report::default()
        };
        // Nothing is wrong with one that is made here, and there are no more than one request may hold.
        let _ = reports.push(&report);
    }
    reports
}

fn model_faults(model: &FailureModel) -> Vec<Fault> {
    let mut faults = Vec::new();
    let shares = [
        ("model.unhealthy", model.unhealthy),
        ("model.silent", model.silent),
        ("model.stuck", model.stuck),
        ("model.flapping", model.flapping),
    ];
    for (field, share) in shares {
        if !(0.0..=1.0).contains(&share) {
            let reason = format!("{share} is no share");
            faults.push(Fault::new("invalid", field, reason, "write a number from 0 to 1"));
        }
    }
    let sum: f64 = shares.iter().map(|(_, share)| share).sum();
    if faults.is_empty() && sum > 1.0 {
        let reason = format!("the shares add up to {sum}");
        faults.push(Fault::new("invalid", "model", reason, "let them add up to 1 at most"));
    }
    for (field, seconds) in [
        ("model.updateSeconds", model.update_seconds),
        ("model.reportSeconds", model.report_seconds),
    ] {
        if !(seconds > 0.0 && seconds < 1e9) {
            let reason = format!("{seconds} seconds make no sense here");
            faults.push(Fault::new("invalid", field, reason, "write more than 0 seconds"));
        }
    }
    faults
}

/// The policy as far as a simulation can follow it.
fn without_gates(mut policy: Policy) -> Policy {
    policy.approval = None;
    policy.hooks.clear();
    policy.controllers = Controllers::default();
    policy.analysis.clear();
    policy.depends_on.clear();
    policy.notify.clear();
    policy.start = StartMode::Automatic;
    if let Some(canary) = &mut policy.canary {
        canary.promotion = Promotion::Automatic;
    }
    for wave in &mut policy.waves {
        wave.promotion = Promotion::Automatic;
    }
    policy
}

impl World {
    fn new(request: &SimulateRequest) -> Self {
        Self {
            rollouts: Rollouts::default(),
            revision: Revision(0),
            now: BEGIN,
            random: Random(request.seed),
            model: request.model.clone(),
            version: request.version.as_str().to_owned(),
            fates: Vec::new(),
            dead: Vec::new(),
            told: Vec::new(),
            runs: Vec::new(),
            names: Vec::new(),
            flapped: Vec::new(),
            agenda: BinaryHeap::new(),
            events: 0,
            most_in_flight: 0,
            most_unavailable: 0,
            touched: Vec::new(),
            begun: HashMap::new(),
            shown: Vec::new(),
        }
    }

    /// The targets report for the first time.
    fn populate(&mut self, sample: Option<&Sample>, count: usize) {
        let targets = match sample {
            Some(sample) => sample.targets.clone(),
            None => made_up(count),
        };
        for target in targets.iter() {
            let fate = self.fate();
            self.fates.push(fate);
            self.names.push((target.group.to_owned(), target.name.to_owned()));
            self.runs.push(target.version.unwrap_or_default().to_owned());
        }
        self.dead = sample.map_or_else(|| vec![false; count], |sample| sample.dead.clone());
        (self.told, self.flapped, self.touched) = (vec![0; count], vec![false; count], vec![false; count]);
        for part in targets.parts(unisono_model::limits::MAX_REPORTED_TARGETS) {
            self.report(part);
        }
        let good = sample.map_or(Some("before".to_owned()), |sample| sample.good.clone());
        if let Some(world) = self.rollouts.fleet_mut(1) {
            world.head.facts.good = good;
        }
    }

    fn fate(&mut self) -> Fate {
        let share = self.random.share();
        let model = &self.model;
        let mut limit = 0.0;
        for (fate, part) in [
            (Fate::Unhealthy, model.unhealthy),
            (Fate::Silent, model.silent),
            (Fate::Stuck, model.stuck),
            (Fate::Flapping, model.flapping),
        ] {
            limit += part;
            if share < limit {
                return fate;
            }
        }
        Fate::Well
    }

    fn begin(&mut self, policy: Policy, request: &SimulateRequest) {
        let policy = Verb::SetPolicy {
            policy: Box::new(policy),
            classic: None,
        };
        self.act(policy);
        self.act(Verb::SetVersion {
            version: request.version.clone(),
            force: true,
        });
    }

    fn act(&mut self, verb: Verb) {
        let (namespace, entity) = address();
        self.command(RolloutCommand::Do {
            namespace,
            entity,
            by: By::default(),
            verb,
        });
    }

    fn report(&mut self, reports: Reports) {
        let (namespace, entity) = address();
        self.command(RolloutCommand::Report {
            namespace,
            entity,
            reports: std::sync::Arc::new(reports),
        });
    }

    fn command(&mut self, command: RolloutCommand) {
        let mut events = Vec::new();
        // What is refused, such as waves that select nothing, shows in the end as a rollout that is not there.
        let _ = decide(&self.rollouts, command, (self.revision, self.now), &mut events);
        for event in events {
            self.fold(&event);
        }
        self.advance();
    }

    fn advance(&mut self) {
        while self.events < MOST_EVENTS
            && let Some(event) = advance(&mut self.rollouts, self.now)
        {
            self.fold(&event);
        }
    }

    fn fold(&mut self, event: &E) {
        self.revision = self.revision.next();
        self.events += 1;
        evolve(&mut self.rollouts, (self.revision, self.now), event, &mut Vec::new());
        match event {
            E::Assigned { slots, back, .. } => {
                for slot in slots.iter() {
                    self.tell(slot, *back);
                }
            }
            E::Decided { decision, .. } => self.decided(decision),
            _ => {}
        }
        if let Some(fleet) = self.rollouts.fleet(1) {
            let group = &fleet.tally.all;
            self.most_in_flight = self.most_in_flight.max(u64::from(group.moving));
            self.most_unavailable = self.most_unavailable.max(u64::from(group.unavailable));
        }
    }

    fn tell(&mut self, slot: u32, back: bool) {
        let at = slot as usize;
        self.touched[at] |= !back;
        self.told[at] += 1;
        if self.dead[at] || (self.fates[at] == Fate::Stuck && !back) {
            return;
        }
        let delay = self.random.delay_ms(self.model.update_seconds);
        let when = Timestamp(self.now.0.saturating_add(delay));
        self.agenda.push(Reverse((when, slot, Does::Arrives(self.told[at]))));
    }

    fn decided(&mut self, decision: &Decision) {
        let seconds = self.now.millis_since(BEGIN) / 1_000;
        match decision {
            Decision::Began { wave, .. } => {
                if let Some(before) = wave.checked_sub(1)
                    && let Some(begun) = self.begun.get_mut(&before)
                {
                    begun.1.get_or_insert(seconds);
                }
                self.begun.entry(*wave).or_insert((seconds, None));
            }
            Decision::Ended { .. } => {
                for begun in self.begun.values_mut() {
                    begun.1.get_or_insert(seconds);
                }
            }
            _ => {}
        }
        let entry = self.rollouts.fleet(1).and_then(|fleet| fleet.latest(1).pop());
        if let Some(entry) = entry.filter(|entry| entry.revision == self.revision)
            && self.shown.len() < MOST_SHOWN
        {
            self.shown.push((seconds, entry.message));
        }
    }

    fn is_over(&self) -> bool {
        self.rollouts.fleet(1).is_none_or(|fleet| fleet.head.open().is_none())
    }

    fn run(&mut self, limit: Timestamp) {
        while !self.is_over() && self.now < limit && self.events < MOST_EVENTS {
            let next = self.agenda.peek().map(|Reverse((when, ..))| *when);
            let timer = self.rollouts.next_timer();
            let Some(when) = [next, timer].into_iter().flatten().min() else {
                break;
            };
            self.now = self.now.max(when.min(limit));
            // Whoever lives is heard all the time.
            if let Some(fleet) = self.rollouts.fleet(1) {
                let alive = (0_u32..).zip(&self.dead).filter(|(_, dead)| !**dead);
                fleet.listening.hear_all(alive.map(|(slot, _)| slot));
            }
            while let Some(Reverse((when, slot, does))) = self.agenda.peek().copied()
                && when <= self.now
            {
                self.agenda.pop();
                self.happens(slot, does);
            }
            self.advance();
        }
    }

    fn happens(&mut self, slot: u32, does: Does) {
        let at = slot as usize;
        if self.dead[at] {
            return;
        }
        if let Does::Arrives(told) = does {
            if told != self.told[at] {
                return;
            }
            let instruction = self.rollouts.fleet(1).and_then(|fleet| fleet.instruction(slot));
            if let Some(version) = instruction.and_then(|it| it.version) {
                self.runs[at] = version.as_str().to_owned();
            }
            if self.runs[at] == self.version && self.fates[at] == Fate::Silent {
                self.dead[at] = true;
                return;
            }
        }
        let sick = self.runs[at] == self.version && self.is_sick(at);
        let (group, name) = &self.names[at];
        let mut reports = Reports::with_capacity(1);
        let _ = reports.push(&Report {
            name: name.as_str().into(),
            group: group.as_str().into(),
            version: Some(self.runs[at].as_str().into()),
            health: Some(if sick { Said::Unhealthy } else { Said::Healthy }),
            ..Report::default()
        });
        self.report(reports);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a float is cut to the range of the number"
        )]
        let pause = (self.model.report_seconds * 1_000.0) as i64;
        let pause = if sick { Some(pause) } else { self.word_ms(slot) };
        if let Some(pause) = pause {
            let again = Timestamp(self.now.0.saturating_add(pause.max(1)));
            self.agenda.push(Reverse((again, slot, Does::Speaks)));
        }
    }

    /// In how long the word of a target that is well counts next.
    fn word_ms(&self, slot: u32) -> Option<i64> {
        let fleet = self.rollouts.fleet(1)?;
        let target = fleet.targets.get(slot)?;
        let waits = target.is_moving() && target.is_where_expected() && !target.has(PROVEN);
        waits.then(|| Rules::of(&fleet.head).healthy_for_ms())
    }

    fn is_sick(&mut self, at: usize) -> bool {
        match self.fates[at] {
            Fate::Unhealthy => true,
            Fate::Flapping => !std::mem::replace(&mut self.flapped[at], true),
            _ => false,
        }
    }

    fn view(&self, seed: u64) -> SimulationView {
        let fleet = self.rollouts.fleet(1);
        let rollout = fleet.and_then(|fleet| fleet.head.facts.rollout.as_deref());
        let around = around(&self.rollouts, 1);
        let waves = rollout.map(|rollout| rollout.plan.waves.iter().enumerate());
        let waves = waves.into_iter().flatten().map(|(number, plan)| {
            let number = u16::try_from(number).unwrap_or(u16::MAX);
            let begun = self.begun.get(&number);
            let group = fleet.and_then(|fleet| fleet.tally.waves.get(usize::from(number)));
            SimulatedWave {
                name: plan.name.clone(),
                began_seconds: begun.map(|begun| begun.0),
                ended_seconds: begun.and_then(|begun| begun.1),
                counts: group.map(|group| counts(group, (0, 0))).unwrap_or_default(),
            }
        });
        SimulationView {
            seed,
            state: rollout.map_or(RolloutState::Planned, super::head::Rollout::state),
            reasons: fleet
                .map(|fleet| super::why::reasons(fleet, &around, self.now))
                .unwrap_or_default(),
            seconds: self.now.millis_since(BEGIN) / 1_000,
            counts: fleet.map(|fleet| counts(&fleet.tally.all, (0, 0))).unwrap_or_default(),
            most_in_flight: self.most_in_flight,
            most_unavailable: self.most_unavailable,
            touched: self.touched.iter().filter(|touched| **touched).count() as u64,
            waves: waves.collect(),
            events: self.shown.clone(),
        }
    }
}
