//! What must hold whatever happens: random fleets, policies, reports, verbs, clocks and crashes.
//!
//! A history is drawn from a seed, which is printed when something breaks: `ROLLOUT_SEED=N cargo test -p unisono-engine
//! whatever_happens_to_a_fleet` repeats it. `ROLLOUT_STEPS` sets how many steps are taken in all.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use unisono_engine::agent::AgentCommand;
use unisono_engine::codec::{BatchWriter, read_batch};
use unisono_engine::rollout::{
    By, Decision, Failing, Judgement, RolloutCommand, RolloutEvent as E, RolloutReply, TargetFilter, Then, Verb,
};
use unisono_engine::{Command, Event, Rejection, Reply, Settings, State};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::rollout::{
    Amount, Answer, CallKind, Health, Measured, Phase, Policy, Report, Reports, RolloutState, RolloutView, Said,
    SubscriberState, TargetId, TargetView, ToleranceMode, Version,
};

use super::world::{entity, policy, version};
use crate::documents::{name, space};
use crate::sim::{BEGIN, Sim};
use crate::storage::{Storage, replay};

/// Steps in all; each is a report of one target, a verb, an answer, a while, or a crash.
const STEPS: u64 = 1_000_000;
/// Steps of one history.
const LENGTH: u64 = 400;

pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// A policy out of parts that were written by hand.
fn any_policy(random: &mut Random) -> Policy {
    let mut parts = vec![
        (*random.pick(&[
            r#""batch": 1"#,
            r#""batch": 3"#,
            r#""batch": "20%""#,
            r#""batch": [1, 2, "50%"]"#,
            r#""batch": {"start": 1, "factor": 2, "max": 6}"#,
            r#""batch": "100%""#,
        ]))
        .to_owned(),
    ];
    let mut maybe = |random: &mut Random, n: u64, choices: &[&str]| {
        if random.one_in(n) {
            parts.push((*random.pick(choices)).to_owned());
        }
    };
    maybe(
        random,
        2,
        &[
            r#""maxUnavailable": 2"#,
            r#""maxUnavailable": "30%""#,
            r#""maxUnavailable": 5"#,
        ],
    );
    maybe(
        random,
        2,
        &[
            r#""budgets": [{"label": "zone", "maxInFlight": 1}]"#,
            r#""budgets": [{"label": "zone", "maxUnavailable": "40%"}, {"label": "rack", "maxInFlight": 2}]"#,
        ],
    );
    maybe(
        random,
        2,
        &[
            r#""failureTolerance": 1"#,
            r#""failureTolerance": "20%""#,
            r#""failureTolerance": "<34%""#,
        ],
    );
    maybe(random, 3, &[r#""toleranceMode": "strict""#]);
    maybe(
        random,
        2,
        &[
            r#""onFailure": "none""#,
            r#""onFailure": "freeze""#,
            r#""onFailure": "immediate""#,
        ],
    );
    maybe(
        random,
        3,
        &[
            r#""canary": {"size": 1, "bakeSeconds": 5}"#,
            r#""canary": {"size": "10%", "promotion": "manual"}"#,
        ],
    );
    maybe(
        random,
        3,
        &[
            r#""waves": [{"name": "a", "select": {"labels": {"zone": "z0"}}, "bakeSeconds": 3}]"#,
            r#""waves": [{"name": "a", "select": {"groups": ["g"]}, "failureTolerance": 0, "maxUnavailable": 1}]"#,
            r#""waves": [{"name": "a", "take": 2, "promotion": "manual"}, {"name": "b", "select": {"labels": {"zone": "z1"}}}]"#,
        ],
    );
    maybe(
        random,
        4,
        &[r#""onNewVersion": "replace""#, r#""onNewVersion": "reject""#],
    );
    maybe(random, 3, &[r#""joiners": "lastKnownGood""#, r#""joiners": "leave""#]);
    maybe(random, 3, &[r#""drift": "heal""#, r#""drift": "ignore""#]);
    maybe(random, 6, &[r#""start": "manual""#]);
    maybe(
        random,
        6,
        &[r#""approval": {"at": ["start", "promotion"], "required": 1, "expiresSeconds": 20}"#],
    );
    maybe(
        random,
        6,
        &[r#""windows": [{"cron": "*/2 * * * *", "durationSeconds": 40}]"#],
    );
    maybe(
        random,
        5,
        &[
            r#""hooks": [{"name": "h", "on": ["start", "wave", "promotion", "rollback"], "endpoint": {"url": "http://h/"}}]"#,
        ],
    );
    maybe(
        random,
        5,
        &[
            r#""controllers": {"selection": {"url": "http://s/"}}"#,
            r#""controllers": {"approval": {"url": "http://s/"}, "removal": {"url": "http://r/"}}"#,
            r#""controllers": {"monitoring": {"url": "http://m/"}, "externalMonitoring": {"url": "http://e/"}}"#,
        ],
    );
    maybe(
        random,
        8,
        &[
            r#""analysis": [{"name": "m", "query": "q", "endpoint": {"url": "http://m/"}, "intervalSeconds": 2,
            "check": {"kind": "threshold", "max": 1}}]"#,
        ],
    );
    maybe(
        random,
        3,
        &[r#""notify": [{"name": "ops", "endpoint": {"url": "http://ops/"}, "parkAfterSeconds": 20}]"#],
    );
    maybe(
        random,
        3,
        &[r#""progressDeadlineSeconds": 60"#, r#""progressDeadlineSeconds": null"#],
    );
    let health = format!(
        r#""health": {{"healthyForSeconds": {}, "deadlineSeconds": {}, "silentAfterSeconds": {}, "unhealthyReports": {},
            "healthyReports": {}, "onUnhealthy": "{}", "onSilent": "{}", "unreachable": "{}", "forgetAfterSeconds": {}}}"#,
        random.pick(&[0, 2, 5]),
        random.pick(&[6, 20]),
        random.pick(&[4, 16, 900]),
        random.pick(&[1, 2, 3]),
        random.pick(&[1, 2]),
        random.pick(&["fail", "wait"]),
        random.pick(&["fail", "wait", "skip"]),
        random.pick(&["leaveOut", "wait"]),
        random.pick(&["null", "8"]),
    );
    parts.push(health);
    policy(&format!("{{{}}}", parts.join(", ")))
}

fn is_told(it: &TargetView) -> bool {
    it.expected.is_some() && it.expected != it.version
}

/// What is known of a target from outside.
#[derive(Clone, Debug, Default)]
struct Known {
    zone: String,
    rack: String,
    /// What it said last.
    said: Option<Said>,
    runs: String,
    /// Told, and not decided yet: by which rollout, and whether back.
    moving: Option<(u32, bool)>,
    /// The wave that it was told in last, and when.
    wave: u16,
    told_at: i64,
    /// Since when it has said what it says.
    since: i64,
    /// Being brought to its version outside of a rollout.
    healing: bool,
}

struct World {
    sim: Sim,
    storage: Storage,
    random: Random,
    targets: BTreeMap<(String, String), Known>,
    slots: BTreeMap<u32, (String, String)>,
    rollout: u32,
    version: String,
    paused: bool,
    open: bool,
    stage_back: bool,
    good: Option<String>,
    /// The targets that proved themselves in this rollout, each with the wave that it was told in.
    done: BTreeMap<u32, u16>,
    /// How many targets the wave takes, where it takes only some.
    takes: Option<u64>,
    /// Until when the entity is frozen.
    frozen_until: Option<i64>,
    overriding: bool,
    versions: u64,
    steps: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            sim: Sim::with(Settings::default()),
            storage: Storage::default(),
            random: Random::new(seed),
            targets: BTreeMap::new(),
            slots: BTreeMap::new(),
            rollout: 0,
            version: String::new(),
            paused: false,
            open: false,
            stage_back: false,
            good: None,
            done: BTreeMap::new(),
            takes: None,
            frozen_until: None,
            overriding: false,
            versions: 0,
            steps: 0,
        };
        let count = 1 + world.random.below(16);
        for number in 0..count {
            world.make_target(number);
        }
        world
    }

    fn make_target(&mut self, number: u64) {
        let group = (*self.random.pick(&["", "g", "g/", "gg"])).to_owned();
        let known = Known {
            zone: format!("z{}", self.random.below(3)),
            rack: format!("r{}", self.random.below(2)),
            runs: "v0".to_owned(),
            ..Known::default()
        };
        self.targets.entry((group, format!("t\"{number}/ü"))).or_insert(known);
    }

    fn command(&mut self, command: Command) -> Result<Reply, Rejection> {
        let mut events = Vec::new();
        let outcome = self.sim.state.decide(command, self.sim.now, &mut events);
        if let Err(rejection) = &outcome {
            assert!(events.is_empty(), "a refusal with events: {events:?}");
            assert!(!rejection.to_string().is_empty());
            if let Rejection::Rollout(rejection) = rejection {
                assert!(
                    !rejection.fix().is_empty() && !rejection.code().is_empty(),
                    "{rejection}"
                );
            }
        }
        for event in events {
            self.fold(event);
        }
        self.follow();
        outcome
    }

    fn follow(&mut self) {
        let mut count = 0;
        while let Some(event) = self.sim.state.advance(self.sim.now) {
            count += 1;
            assert!(count < 2_000, "it decides without end: {event:?}");
            self.fold(event);
        }
        let now = self.sim.now;
        let due = self.sim.state.next_timer();
        assert!(
            due.is_none_or(|due| due > now),
            "something is due at {due:?} and nothing is decided at {now}"
        );
    }

    fn fold(&mut self, event: Event) {
        let Event::Rollout(rollout) = &event else {
            return self.sim.record(&[event]);
        };
        let rollout = rollout.clone();
        self.before(&rollout);
        let reports = matches!(rollout, E::Reported { .. });
        let was_told = if reports { self.told() } else { BTreeSet::new() };
        self.sim.record(&[event]);
        self.after(&rollout);
        if let E::Reported { joined, .. } = &rollout {
            let joined = joined.iter().map(|it| self.slots[&it.slot].clone()).collect();
            self.check_led(&was_told, &joined);
        }
        self.sim.effects.clear();
        self.sim.facts.clear();
    }

    fn view(&self) -> Option<RolloutView> {
        self.sim
            .state
            .rollouts()
            .rollout_view(&space(), &entity(), self.sim.now)
    }

    /// What must hold for an event in the state before it.
    fn before(&mut self, event: &E) {
        match event {
            E::Assigned {
                rollout,
                version,
                back,
                slots,
                wave,
                ..
            } => {
                assert!(!version.is_empty(), "an empty version");
                if slots.is_empty() {
                    return;
                }
                assert!(!self.paused, "assigned while paused");
                assert!(
                    self.open && *rollout == self.rollout,
                    "assigned for a rollout that is over"
                );
                assert_eq!(*back, self.stage_back);
                if !back {
                    assert_eq!(*version, self.version);
                }
                if !self.overriding {
                    assert!(
                        *back || !self.is_held(),
                        "assigned in a freeze, or outside of the windows"
                    );
                    self.check_budgets(slots.as_slice(), *back, *wave);
                }
            }
            E::Decided { decision, .. } => self.check_decision(decision),
            _ => {}
        }
    }

    /// Whether the entity is frozen, or every maintenance window closed.
    fn is_held(&self) -> bool {
        // The windows of `any_policy` open every other minute for 40 seconds.
        let windows = !self.view().unwrap().policy.windows.is_empty();
        let closed = windows && self.sim.now.0.rem_euclid(120_000) >= 40_000;
        closed || self.frozen_until.is_some_and(|until| self.sim.now.0 < until)
    }

    /// Counted from outside: what is in flight, by everything that has a limit.
    fn check_budgets(&self, told: &[u32], back: bool, wave: u16) {
        let view = self.view().unwrap();
        let fleet = self.sim.state.rollouts().get(&space(), &entity()).unwrap();
        let policy = &view.policy;
        let told: BTreeSet<&(String, String)> = told.iter().map(|slot| &self.slots[slot]).collect();
        let moving = |of: &dyn Fn(&Known) -> bool| {
            let all = self.targets.iter();
            all.filter(|(id, known)| of(known) && (known.moving.is_some() || told.contains(id)))
                .count() as u64
        };
        let was_moving = |of: &dyn Fn(&Known) -> bool| {
            self.targets
                .values()
                .filter(|known| of(known) && known.moving.is_some())
                .count() as u64
        };
        let holds = |what: &str, of: &dyn Fn(&Known) -> bool, most: u64| {
            let (now, before) = (moving(of), was_moving(of));
            let flying = || {
                self.targets
                    .iter()
                    .filter(|(_, known)| known.moving.is_some())
                    .collect::<Vec<_>>()
            };
            assert!(
                now <= most.max(before),
                "{what}: {now} in flight, {most} allowed, {before} before; told {told:?}, in flight {:?}, {:?}",
                flying(),
                view.summary
            );
        };
        let at_once = back && policy.on_failure == unisono_model::rollout::OnFailure::Immediate;
        if at_once {
            return;
        }
        let current = &view.waves[usize::try_from(view.wave).unwrap()];
        let batch = if back {
            view.waves[usize::from(wave)].batch.max(view.summary.counts.total)
        } else {
            current.batch
        };
        holds("batch", &|_| true, batch);
        let targets = fleet.page(0, usize::MAX, &TargetFilter::default()).targets;
        let total = |of: &dyn Fn(&str, &str) -> bool| {
            let fits = |it: &&TargetView| of(&it.labels["zone"], &it.labels["rack"]);
            targets.iter().filter(fits).count() as u64
        };
        let away = self.away(&targets);
        let unavailable = |of: &dyn Fn(&Known) -> bool| {
            let told: BTreeSet<_> = told.iter().filter(|id| of(&self.targets[**id])).copied().collect();
            let away: BTreeSet<_> = away.iter().filter(|id| of(&self.targets[*id])).collect();
            (away.union(&told).count() as u64, !told.is_subset(&away))
        };
        for budget in &policy.budgets {
            for value in ["z0", "z1", "z2", "r0", "r1"] {
                let here = |known: &Known| {
                    if budget.label == "zone" {
                        known.zone == value
                    } else {
                        known.rack == value
                    }
                };
                let size = total(&|zone, rack| {
                    if budget.label == "zone" {
                        zone == value
                    } else {
                        rack == value
                    }
                });
                if let Some(most) = budget.max_in_flight {
                    holds(value, &here, most.at_least_one(size));
                }
                if let Some(most) = budget.max_unavailable.filter(|_| !back) {
                    let (now, added) = unavailable(&here);
                    let most = most.at_least_one(size);
                    assert!(!added || now <= most, "{value}: {now} unavailable, {most} allowed");
                }
            }
        }
        if let Some(most) = policy.max_unavailable {
            let most = most.at_least_one(targets.len() as u64);
            if back {
                holds("maxUnavailable", &|_| true, most);
            } else {
                let (now, added) = unavailable(&|_| true);
                assert!(!added || now <= most, "{now} unavailable, {most} allowed");
            }
        }
        if policy.tolerance_mode == ToleranceMode::Strict && !back {
            let failed = view.summary.counts.failed;
            let (now, before) = (moving(&|_| true), was_moving(&|_| true));
            let most = view.tolerated.max(1);
            assert!(
                failed + now <= most.max(failed + before),
                "{failed} failed, {now} in flight, {most} tolerated"
            );
        }
    }

    /// Targets that are not well, in flight, or told another version than they run, whoever told them and when.
    fn away(&self, targets: &[TargetView]) -> BTreeSet<(String, String)> {
        let all = targets
            .iter()
            .map(|it| ((it.group.to_string(), it.name.to_string()), it));
        all.filter(|(id, it)| {
            let unwell = !matches!(it.health, Health::Healthy | Health::Busy);
            unwell || is_told(it) || self.targets[id].moving.is_some()
        })
        .map(|(id, _)| id)
        .collect()
    }

    /// Targets that are told another version than they run.
    fn told(&self) -> BTreeSet<(String, String)> {
        let told = self.all_targets().into_iter().filter(is_told);
        told.map(|it| (it.group.to_string(), it.name.to_string())).collect()
    }

    fn all_targets(&self) -> Vec<TargetView> {
        let fleet = self.sim.state.rollouts().get(&space(), &entity());
        fleet.map_or_else(Vec::new, |fleet| {
            fleet.page(0, usize::MAX, &TargetFilter::default()).targets
        })
    }

    /// What a report tells targets outside of a rollout stays within the budgets as well. Targets that are new, or tied to a
    /// version, are told theirs in any case.
    fn check_led(&self, was_told: &BTreeSet<(String, String)>, joined: &BTreeSet<(String, String)>) {
        let targets = self.all_targets();
        let away = self.away(&targets);
        let led = |it: &&TargetView| {
            let id = (it.group.to_string(), it.name.to_string());
            let free = matches!(it.health, Health::Healthy | Health::Busy) && self.targets[&id].moving.is_none();
            free && is_told(it) && it.phase != Phase::Pinned && !was_told.contains(&id) && !joined.contains(&id)
        };
        let Some(policy) = self.sim.state.rollouts().entity_view(&space(), &entity()) else {
            return;
        };
        let policy = policy.policy;
        let holds = |of: &dyn Fn(&TargetView) -> bool, most: Amount| {
            let here = targets.iter().filter(|it| of(it));
            let most = most.at_least_one(here.clone().count() as u64);
            let now = here
                .clone()
                .filter(|it| away.contains(&(it.group.to_string(), it.name.to_string())))
                .count() as u64;
            assert!(
                here.clone().find(led).is_none() || now <= most,
                "{now} unavailable, {most} allowed, and {:?} are told",
                here.filter(led).collect::<Vec<_>>()
            );
        };
        if let Some(most) = policy.max_unavailable {
            holds(&|_| true, most);
        }
        for budget in &policy.budgets {
            for value in ["z0", "z1", "z2", "r0", "r1"] {
                if let Some(most) = budget.max_unavailable {
                    holds(&|it| it.labels.get(&budget.label).is_some_and(|it| it == value), most);
                }
            }
        }
    }

    fn check_decision(&mut self, decision: &Decision) {
        match decision {
            Decision::Began { wave, .. } if *wave > 0 => {
                let view = self.view().unwrap();
                self.check_evidence(&view, wave - 1);
            }
            Decision::Ended { state, .. } if *state == RolloutState::Succeeded.code() => {
                assert!(!self.done.is_empty(), "succeeded without evidence");
                let view = self.view().unwrap();
                self.check_evidence(&view, u16::try_from(view.wave).unwrap());
                let counts = view.summary.counts;
                assert!(
                    counts.failed <= view.tolerated,
                    "succeeded with {} failures",
                    counts.failed
                );
                assert!(counts.done > 0 && counts.in_flight == 0 && !self.paused, "{counts:?}");
                let out_of_reach = view.waves.iter().map(|it| it.counts.unreachable).sum::<u64>();
                assert!(out_of_reach < counts.done, "more left out than proven: {counts:?}");
            }
            Decision::Failed { then, to, .. } => match then {
                Then::GoBack | Then::GoBackAtOnce => assert!(to.as_ref().is_some_and(|to| !to.is_empty())),
                Then::End | Then::Freeze => assert_eq!(*to, None),
            },
            _ => {}
        }
    }

    /// A wave that is promoted has a target that has proved itself, unless there is none that could.
    fn check_evidence(&self, view: &RolloutView, wave: u16) {
        let counts = view.waves[usize::from(wave)].counts;
        let proven = self.done.values().any(|it| *it == wave);
        let takes = self.takes.map_or(counts.total, |takes| takes.min(counts.total));
        assert!(
            proven || takes <= counts.skipped,
            "wave {wave} was promoted without evidence: {counts:?}, proven {:?}",
            self.done
        );
    }

    /// What an event says, for the model.
    fn after(&mut self, event: &E) {
        match event {
            E::Reported {
                texts, joined, changes, ..
            } => {
                for it in joined {
                    let id = (texts[it.group as usize].clone(), it.name.clone());
                    self.slots.insert(it.slot, id);
                }
                for it in changes {
                    if let Some(marks) = it.marks {
                        // 8: it is being brought to its version.
                        self.known(it.slot).healing = marks & 8 != 0;
                    }
                    if let Some(outcome) = it.outcome {
                        self.outcome(it.slot, outcome, it.rollout.unwrap_or(0));
                    }
                }
            }
            E::Heard { silent, .. } => self.judged(silent),
            E::Judged { judgements, .. } => self.judged(judgements),
            E::Assigned {
                rollout,
                back,
                slots,
                wave,
                ..
            } => {
                let now = self.sim.now.0;
                for slot in slots.iter() {
                    let known = self.known(slot);
                    (known.moving, known.healing) = (Some((*rollout, *back)), false);
                    (known.wave, known.told_at) = (*wave, now);
                    self.done.remove(&slot);
                }
            }
            E::Decided { rollout, decision, .. } => self.decided(*rollout, decision),
            _ => {}
        }
        let good = self
            .sim
            .state
            .rollouts()
            .get(&space(), &entity())
            .and_then(|fleet| fleet.summary().last_known_good);
        let good = good.map(|it| it.to_string());
        if good != self.good {
            let succeeded = matches!(event, E::Decided { decision: Decision::Ended { state, .. }, .. }
                if *state == RolloutState::Succeeded.code());
            assert!(
                succeeded && good.as_deref() == Some(&self.version),
                "the last known good version moved by {event:?}"
            );
            self.good = good;
        }
    }

    fn known(&mut self, slot: u32) -> &mut Known {
        self.targets.get_mut(&self.slots[&slot]).unwrap()
    }

    fn judged(&mut self, judgements: &[Judgement]) {
        for judgement in judgements {
            for slot in judgement.slots.iter() {
                self.check_timer(slot, judgement.outcome);
                self.outcome(slot, judgement.outcome, judgement.rollout);
            }
        }
    }

    /// Time alone proves nothing: that takes a word of the target, unless it was there before it was told, or its monitor
    /// has the last one.
    fn check_timer(&self, slot: u32, outcome: u8) {
        assert_ne!(outcome, 3, "back without a word");
        if outcome == 1 {
            let known = &self.targets[&self.slots[&slot]];
            let monitored = self.view().unwrap().policy.controllers.monitoring.is_some();
            assert!(
                monitored || known.since <= known.told_at,
                "proven without a word: {known:?}"
            );
        }
    }

    fn outcome(&mut self, slot: u32, outcome: u8, rollout: u32) {
        // 0 waits, 1 done, 2 failed, 3 and 4 went back or not, 5 settled, 6 skipped, 7 waits for its monitor.
        if outcome == 0 || outcome == 7 {
            return;
        }
        let version = self.version.clone();
        let known = self.known(slot);
        if outcome == 1 {
            assert!(
                known.moving.is_some() && known.said == Some(Said::Healthy),
                "proven without evidence: {known:?}"
            );
            assert_eq!(known.runs, version, "proven on another version");
        }
        known.moving = None;
        self.done.remove(&slot);
        if outcome == 1 && rollout == self.rollout {
            let wave = self.known(slot).wave;
            self.done.insert(slot, wave);
        }
    }

    fn decided(&mut self, rollout: u32, decision: &Decision) {
        match decision {
            Decision::Planned {
                version, overriding, ..
            } => {
                assert!(!self.open, "two rollouts at once");
                assert!(!version.is_empty());
                (self.rollout, self.version, self.open) = (rollout, version.clone(), true);
                (self.overriding, self.stage_back, self.paused) = (*overriding, false, false);
                self.done.clear();
            }
            Decision::Began { take, .. } => self.takes = take.map(u64::from),
            Decision::Frozen { until } => self.frozen_until = Some(until.unwrap_or(i64::MAX)),
            Decision::Thawed => self.frozen_until = None,
            Decision::Paused => self.paused = true,
            Decision::Resumed => self.paused = false,
            Decision::Failed { then, .. } => self.stage_back = matches!(then, Then::GoBack | Then::GoBackAtOnce),
            Decision::Ended { state, .. } => {
                (self.open, self.paused, self.stage_back) = (false, false, false);
                if *state != RolloutState::Superseded.code() {
                    for known in self
                        .targets
                        .values_mut()
                        .filter(|it| it.moving.is_some_and(|it| it.0 == rollout))
                    {
                        known.moving = None;
                    }
                }
            }
            Decision::Skipped { slots } | Decision::Condemned { slots } | Decision::Pinned { slots, .. } => {
                let pinned = matches!(decision, Decision::Pinned { .. });
                for slot in slots.iter() {
                    let known = self.known(slot);
                    (known.moving, known.healing) = (None, known.healing && !pinned);
                    self.done.remove(&slot);
                }
            }
            Decision::Forgot { slots, .. } => {
                for slot in slots.iter() {
                    let known = self.known(slot);
                    (known.moving, known.healing) = (None, false);
                    self.done.remove(&slot);
                    self.slots.remove(&slot);
                }
            }
            _ => {}
        }
    }

    fn step(&mut self) {
        self.steps += 1;
        match self.random.below(100) {
            0..=54 => self.report(),
            55..=74 => self.pass(),
            75..=81 => self.answer(),
            82 => self.deliver(),
            83..=94 => self.verb(),
            95 => self.set_policy(),
            96 => self.storage.begin(&mut self.sim.state),
            97 => {
                let (count, disorder) = (self.random.below(12), self.random.next());
                self.storage
                    .write(&mut self.sim.state, usize::try_from(count).unwrap(), disorder);
            }
            98 if self.random.one_in(3) => self.crash(),
            _ => {
                let number = self.random.below(24);
                self.make_target(number);
            }
        }
    }

    /// Some targets report: most obey and are well.
    fn report(&mut self) {
        let mut reports = Reports::default();
        let ids: Vec<(String, String)> = self.targets.keys().cloned().collect();
        let all = self.random.one_in(3);
        for id in ids {
            if !all && !self.random.one_in(4) {
                continue;
            }
            let expected = {
                let fleet = self.sim.state.rollouts().get(&space(), &entity());
                fleet.and_then(|fleet| fleet.instruction(fleet.find(&id.0, &id.1)?)?.version)
            };
            let obeys = !self.random.one_in(6);
            let said = match self.random.below(60) {
                0..=3 => Said::Unhealthy,
                4 => Said::Offline,
                5 => Said::Busy,
                6 => Said::InProgress,
                _ => Said::Healthy,
            };
            let strays = self.random.one_in(120);
            let now = self.sim.now.0;
            let known = self.targets.get_mut(&id).unwrap();
            let before = (known.runs.clone(), known.said);
            if strays {
                known.runs = "stray".to_owned();
            } else if let Some(expected) = expected.filter(|_| obeys) {
                known.runs = expected.as_str().to_owned();
            }
            known.said = Some(said);
            if before != (known.runs.clone(), known.said) {
                known.since = now;
            }
            let report = Report {
                group: id.0.as_str().into(),
                name: id.1.as_str().into(),
                version: Some(known.runs.as_str().into()),
                health: Some(said),
                labels: Some(
                    [
                        ("zone".to_owned(), known.zone.clone()),
                        ("rack".to_owned(), known.rack.clone()),
                    ]
                    .into(),
                ),
                ..Report::default()
            };
            reports.push(&report).unwrap();
        }
        let asked = reports.len();
        self.steps += asked as u64;
        let reply = self.command(Command::Rollout(RolloutCommand::Report {
            namespace: space(),
            entity: entity(),
            reports: Arc::new(reports),
        }));
        let Ok(Reply::Rollout(RolloutReply::Reported(reply))) = reply else {
            panic!("a report was refused: {reply:?}");
        };
        assert_eq!(reply.slots.len(), asked);
    }

    fn pass(&mut self) {
        let millis = match self.random.below(10) {
            0 => self.random.below(60_000),
            1..=3 => self.random.below(8_000),
            _ => self.random.below(1_500),
        };
        let end = self.sim.now.plus_millis(millis);
        // Sometimes the clock jumps, as after a suspend.
        let jumps = self.random.one_in(20);
        while let Some(due) = self.sim.state.next_timer().filter(|due| *due <= end && !jumps) {
            self.sim.now = due;
            self.command(Command::Tick).unwrap();
        }
        self.sim.now = end;
        self.command(Command::Tick).unwrap();
    }

    /// The subscriber receives some of what it has not received, or does not.
    fn deliver(&mut self) {
        let Some(fleet) = self.sim.state.rollouts().get(&space(), &entity()) else {
            return;
        };
        let (namespace, entity, subscriber) = (space(), entity(), name("ops"));
        let Some(view) = fleet.subscribers().pop() else { return };
        let delivery = fleet.delivery(&subscriber, 5);
        let command = match delivery {
            None => {
                assert!(view.behind == 0 || view.state == SubscriberState::Parked, "{view:?}");
                let after = self.random.one_in(3).then(|| self.random.below(view.last + 3));
                RolloutCommand::ResumeDelivery {
                    namespace,
                    entity,
                    subscriber,
                    after,
                    by: By::default(),
                }
            }
            Some(_) if self.random.one_in(3) => RolloutCommand::Undelivered {
                namespace,
                entity,
                subscriber,
                failing: *self
                    .random
                    .pick(&[Failing::Unreachable, Failing::Refused, Failing::Gone]),
                detail: "no".to_owned(),
            },
            Some(delivery) => {
                let sequences: Vec<u64> = delivery.entries.iter().map(|it| it.entry.sequence).collect();
                let expected: Vec<u64> = (view.received + 1..=view.last).take(5).collect();
                assert_eq!(sequences, expected, "in order, and none left out");
                RolloutCommand::Acknowledge {
                    namespace,
                    entity,
                    subscriber,
                    sequence: *self.random.pick(&sequences),
                }
            }
        };
        self.command(Command::Rollout(command)).unwrap();
    }

    fn answer(&mut self) {
        let Some(fleet) = self.sim.state.rollouts().get(&space(), &entity()) else {
            return;
        };
        let calls = fleet.open_calls();
        if calls.is_empty() {
            return;
        }
        let call = self.random.pick(&calls).clone();
        let targets: Vec<TargetId> = call
            .subject
            .targets
            .iter()
            .filter(|_| self.random.below(3) > 0)
            .cloned()
            .collect();
        let answer = match (self.random.below(10), call.kind) {
            (0, _) => Answer::Unreachable {
                message: "down".to_owned(),
            },
            (1, _) => Answer::Refuse {
                message: "no".to_owned(),
            },
            (_, CallKind::Selection | CallKind::Approval | CallKind::Removal) => Answer::Targets { targets },
            (2, CallKind::Monitoring) => Answer::Targets { targets },
            (it, CallKind::Analysis) => Answer::Measured {
                measured: Measured::Value {
                    value: if it == 3 { 2.0 } else { 0.5 },
                },
            },
            _ => Answer::Go,
        };
        // Nonsense is refused, and says why.
        let _ = self.command(Command::Rollout(RolloutCommand::Answer {
            namespace: space(),
            entity: entity(),
            call: call.id,
            answer,
        }));
    }

    fn some_targets(&mut self) -> Vec<TargetId> {
        let ids: Vec<(String, String)> = self.targets.keys().cloned().collect();
        let count = self.random.below(3);
        (0..count)
            .map(|_| {
                let (group, name) = self.random.pick(&ids).clone();
                TargetId::parse(&group, &name).unwrap()
            })
            .collect()
    }

    fn some_version(&mut self) -> Version {
        if self.random.one_in(3) {
            return version(&format!("v{}", self.random.below(self.versions + 1)));
        }
        self.versions += 1;
        version(&format!("v{}", self.versions))
    }

    fn verb(&mut self) {
        let verb = match self.random.below(24) {
            0..=6 => Verb::SetVersion {
                version: self.some_version(),
                force: self.random.one_in(3),
            },
            7 => Verb::Start,
            8 => Verb::Pause,
            9 | 10 => Verb::Resume,
            11 | 12 => Verb::Promote,
            13 => Verb::Approve,
            14 => Verb::Abort,
            15 => Verb::Retry(self.some_targets()),
            16 => Verb::Skip(self.some_targets()),
            17 => Verb::Fail(self.some_targets()),
            18 => Verb::Rollback { to: None },
            19 => Verb::Override {
                version: self.some_version(),
                targets: self.some_targets(),
                force: true,
            },
            20 => Verb::Unpin(Vec::new()),
            21 => Verb::ClearBad {
                version: self.some_version(),
            },
            22 => Verb::Forget(self.some_targets()),
            _ if self.random.one_in(2) => Verb::Freeze { for_ms: Some(5_000) },
            _ => Verb::Thaw,
        };
        self.act(verb);
    }

    fn act(&mut self, verb: Verb) {
        let actor = (*self.random.pick(&["ann", "bob"])).to_owned();
        let by = By {
            actor: Some(actor),
            request: None,
            reason: None,
            based_on: self.random.one_in(10).then(|| Revision(self.random.below(50))),
        };
        let (pauses, aborts) = (verb == Verb::Pause, verb == Verb::Abort);
        let outcome = self.command(Command::Rollout(RolloutCommand::Do {
            namespace: space(),
            entity: entity(),
            by,
            verb,
        }));
        if let Ok(Reply::Rollout(RolloutReply::Done(done))) = outcome {
            assert!(!done.message.is_empty());
            let state = self.view().map(|view| view.summary.state);
            if pauses {
                assert_eq!(state, Some(RolloutState::Paused));
            }
            if aborts {
                assert_eq!(state, Some(RolloutState::Aborted));
                assert!(!self.open);
            }
        }
    }

    fn set_policy(&mut self) {
        let policy = Box::new(any_policy(&mut self.random));
        self.act(Verb::SetPolicy { policy, classic: None });
    }

    /// The process dies; another one begins with what is durable.
    fn crash(&mut self) {
        self.assert_folds();
        self.storage.crash();
        self.sim.state = self.storage.recover(&self.sim);
        self.command(Command::Agent(AgentCommand::NodeStarted)).unwrap();
    }

    /// Folding the journal gives the same state, with and without a checkpoint, and every count is right.
    fn assert_folds(&mut self) {
        let mut folded = State::new(self.sim.settings);
        replay(&mut folded, &self.sim.journal, Revision(0));
        let mut recovered = self.storage.recover(&self.sim);
        assert_eq!(folded.hash(), self.sim.state.hash(), "folded");
        assert_eq!(recovered.hash(), self.sim.state.hash(), "recovered");
        for state in [&mut folded, &mut recovered, &mut self.sim.state] {
            if let Some(fleet) = state.rollouts_mut().fleet_mut(1) {
                fleet.assert_counts();
            }
        }
    }
}

fn history(seed: u64, length: u64) -> u64 {
    let mut world = World::new(seed);
    world.set_policy();
    world.report();
    world.act(Verb::SetVersion {
        version: version("v0"),
        force: false,
    });
    for step in 0..length {
        world.step();
        if step % 100 == 99 {
            world.assert_folds();
        }
    }
    world.assert_folds();
    world.steps
}

pub(super) fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seed of the first history: another one each time, unless one is to be repeated.
pub(super) fn begin() -> u64 {
    setting("ROLLOUT_SEED").unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) >> 16)
}

#[test]
fn whatever_happens_to_a_fleet_its_rules_hold_and_the_journal_tells_the_same() {
    let first = setting("ROLLOUT_SEED");
    let begin = begin();
    let steps = if first.is_some() {
        1
    } else {
        setting("ROLLOUT_STEPS").unwrap_or(STEPS)
    };
    println!("histories from seed {begin}");
    let threads = 2;
    let workers: Vec<_> = (0..threads)
        .map(|worker| {
            std::thread::spawn(move || {
                let (mut taken, mut seed) = (0, begin + worker);
                while taken < steps / threads + 1 && (first.is_none() || worker == 0) {
                    let outcome = catch_unwind(AssertUnwindSafe(|| history(seed, LENGTH)));
                    match outcome {
                        Ok(steps) => taken += steps,
                        Err(panic) => {
                            println!("repeat it with ROLLOUT_SEED={seed}");
                            resume_unwind(panic);
                        }
                    }
                    seed += threads;
                }
                taken
            })
        })
        .collect();
    let taken: u64 = workers.into_iter().map(|it| it.join().unwrap()).sum();
    println!("{taken} steps");
}

/// Batches as a journal holds them, for tests that count bytes.
#[test]
fn an_event_about_a_hundred_thousand_targets_is_small() {
    let slots = unisono_engine::rollout::Slots::of((0..100_000).collect());
    let event = Event::Rollout(E::Assigned {
        entity: 1,
        time: BEGIN.0,
        rollout: 1,
        wave: 0,
        version: "v2".to_owned(),
        back: false,
        slots,
        deadline: 1,
        healthy_for: 1,
        call: None,
    });
    let mut writer = BatchWriter::new(Revision(1));
    writer.push(Timestamp(0), &event);
    let finished = writer.finish();
    let bytes = &finished.bytes[finished.start..];
    assert!(bytes.len() < 64, "{}", bytes.len());
    assert_eq!(read_batch(bytes).unwrap()[0].event, event);
}
