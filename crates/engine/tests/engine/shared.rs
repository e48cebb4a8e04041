//! Values, futures, leases and locks under random use: what the engine does is compared, step by step, with a model that is
//! told the same and is simple enough to be believed.
//!
//! The seed is printed by a failing test; `PROPTEST_RNG_SEED=seed` repeats it, and `PROPTEST_CASES` asks for more cases.

mod model;
mod ops;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};
use unisono_engine::agent::AgentCommand;
use unisono_engine::clock::Steady;
use unisono_engine::lease::{LeaseEvent, LockAddress, TicketEnd};
use unisono_engine::value::{Await, AwaitId, Awaited, Because, ValueEvent};
use unisono_engine::{AwaitStart, Effect, Event, State};
use unisono_model::ids::Revision;

use crate::documents::space;
use crate::fingerprint::{Known, assert_same, fingerprint};
use crate::sim::Sim;
use crate::storage::{Storage, replay};
use model::Model;
use ops::{Op, key, ops, party};

struct World {
    sim: Sim,
    model: Model,
    storage: Storage,
    /// Every token of every lock, in the order of the grants.
    tokens: BTreeMap<LockAddress, Vec<u64>>,
    /// What was told to whom, and by what way their wait ended.
    answered: BTreeMap<AwaitId, Awaited>,
    tickets: BTreeMap<u64, TicketEnd>,
    awaits: u64,
}

impl World {
    fn new() -> Self {
        Self {
            sim: Sim::new(),
            model: Model::default(),
            storage: Storage::default(),
            tokens: BTreeMap::new(),
            answered: BTreeMap::new(),
            tickets: BTreeMap::new(),
            awaits: 0,
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Advance { millis } => {
                self.sim.advance(u64::from(*millis));
                self.model.advance(u64::from(*millis));
            }
            Op::Step { millis } => self.step_clock(u64::from(*millis)),
            Op::Await { key: at, party: who } => self.begin_await(*at, *who),
            Op::StopAwaiting { pick } => self.stop_awaiting(*pick),
            Op::Checkpoint => self.storage.begin(&mut self.sim.state),
            Op::Write { count, disorder } => self.storage.write(&mut self.sim.state, usize::from(*count), *disorder),
            Op::Restart => self.restart(),
            command => self.command(command),
        }
        self.settle();
    }

    /// What the engine answers is what the model expects.
    fn command(&mut self, op: &Op) {
        let Some((command, expected)) = self.model.expect(op) else {
            return;
        };
        let before = self.sim.state.revision;
        let reply = self.sim.apply(command);
        match (&reply, expected) {
            (Ok(reply), Ok(())) => self.model.done(op, reply, before),
            (Err(rejection), Err(expected)) => {
                let said = format!("{rejection:?}");
                assert!(said.contains(expected), "{op:?}: {said}, expected {expected}");
                assert_eq!(self.sim.state.revision, before, "refused, and something has changed");
            }
            (reply, expected) => panic!("{op:?}: {reply:?}, expected {expected:?}\n{:#?}", self.model),
        }
    }

    /// The clock jumps, and the deadlines with it: nothing is due that was not.
    fn step_clock(&mut self, by_ms: u64) {
        self.sim.now = self.sim.now.plus_millis(by_ms);
        let command = unisono_engine::lease::LeaseCommand::ClockStepped { by_ms };
        self.sim.lease(command).unwrap();
    }

    fn begin_await(&mut self, at: u8, who: Option<u8>) {
        self.awaits += 1;
        let it = Await {
            id: AwaitId(self.awaits),
            namespace: space(),
            key: key(at),
            party: who.map(party),
            who: "a test".to_owned(),
            since: self.sim.now,
            until: None,
        };
        let expected = self.model.begin_await(&it);
        match self.sim.state.await_value(it) {
            AwaitStart::Now(answer) => assert_eq!(Some(model::word(&answer)), expected.now, "{answer:?}"),
            AwaitStart::Waits => assert!(expected.now.is_none() && !expected.cycle, "{:#?}", self.model),
            AwaitStart::Cycle(cycle) => {
                assert!(expected.cycle, "{cycle:?}\n{:#?}", self.model);
                assert_is_cycle(&cycle);
            }
        }
    }

    fn stop_awaiting(&mut self, pick: u16) {
        let open: Vec<AwaitId> = self.model.awaits.keys().copied().collect();
        if let Some(id) = crate::ops::pick(&open, pick) {
            self.sim.state.stop_awaiting(id);
            self.model.awaits.remove(&id);
        }
    }

    /// Follows what happened, and looks at everything.
    fn settle(&mut self) {
        for effect in std::mem::take(&mut self.sim.effects) {
            match effect {
                Effect::Awaited { ids, outcome } => {
                    for id in ids {
                        let twice = self.answered.insert(id, Awaited::clone(&outcome));
                        assert!(twice.is_none(), "{id:?} is answered twice");
                    }
                }
                Effect::TicketEnded { ticket, end } => {
                    let twice = self.tickets.insert(ticket.0, end);
                    assert!(twice.is_none(), "ticket {ticket} ends twice");
                }
                _ => {}
            }
        }
        for fact in std::mem::take(&mut self.sim.facts) {
            if let Event::Lease(LeaseEvent::Acquired { lock, .. }) = &fact.event {
                self.tokens.entry(lock.clone()).or_default().push(fact.revision.0);
            }
        }
        for tokens in self.tokens.values() {
            assert!(tokens.is_sorted_by(|a, b| a < b), "tokens only grow: {tokens:?}");
        }
        let due = self.sim.state.next_timer();
        assert!(due.is_none_or(|due| due > self.sim.now), "something is due");
        self.model.assert_shown(&self.sim.state);
        self.model.assert_answered(&self.answered, &self.tickets);
    }

    /// The process dies, and another begins with what is durable.
    fn restart(&mut self) {
        self.assert_folds();
        self.storage.crash();
        self.sim.state = self.storage.recover(&self.sim);
        self.sim.agent(AgentCommand::NodeStarted).unwrap();
        self.model.awaits.clear();
    }

    /// Folding the journal gives the same state, with and without a checkpoint.
    fn assert_folds(&self) {
        let known = Known::of(&self.sim.journal);
        let mut folded = State::new(self.sim.settings);
        replay(&mut folded, &self.sim.journal, Revision(0));
        let recovered = self.storage.recover(&self.sim);
        let live = fingerprint_without_awaits(&self.sim.state, &known);
        assert_same("folded", &live, &fingerprint_without_awaits(&folded, &known));
        assert_same("recovered", &live, &fingerprint_without_awaits(&recovered, &known));
        assert_eq!([folded.hash(), recovered.hash()], [self.sim.state.hash(); 2]);
        for state in [&folded, &recovered] {
            self.model.assert_shown_but_awaits(state);
        }
    }
}

/// Who awaits is forgotten with the connections.
fn fingerprint_without_awaits(state: &State, known: &Known) -> BTreeMap<String, String> {
    let mut seen = fingerprint(state, known);
    let counts = unisono_engine::value::ValueCounts {
        awaiting: 0,
        ..state.value_counts()
    };
    let counts = (counts, state.lease_counts(), state.marks().time(Steady(0)));
    seen.insert("values and leases".to_owned(), format!("{counts:?}"));
    seen
}

fn assert_is_cycle(cycle: &[unisono_model::values::WaitStep]) {
    for (step, next) in cycle.iter().zip(cycle.iter().cycle().skip(1)) {
        assert_eq!(step.held_by, next.party, "{cycle:?}");
    }
    let parties: BTreeSet<_> = cycle.iter().map(|step| &step.party).collect();
    assert_eq!(
        parties.len(),
        cycle.len(),
        "a party stands in the cycle twice: {cycle:?}"
    );
}

fn seed() -> u64 {
    std::env::var("PROPTEST_RNG_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| RandomState::new().hash_one(0))
}

/// Worlds in which so many operations happen.
fn run_worlds(ops: impl Strategy<Value = Op>, many: std::ops::Range<usize>) {
    let seed = seed();
    println!("PROPTEST_RNG_SEED={seed}");
    let config = ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(256, |cases| cases.parse().unwrap()),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_time: 30_000,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&prop::collection::vec(ops, many), |ops| {
            let mut world = World::new();
            for op in &ops {
                world.run(op);
            }
            world.assert_folds();
            Ok(())
        })
        .unwrap();
}

#[test]
fn values_and_locks_do_what_a_simple_model_does_through_any_crash() {
    run_worlds(ops(), 0..200);
}

#[test]
fn a_wait_is_refused_when_and_only_when_somebody_would_wait_for_ever() {
    run_worlds(ops::contention(), 20..80);
}

#[test]
fn the_random_operations_reach_everything() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..400 {
        let ops = prop::collection::vec(ops(), 200)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
        for batch in &world.sim.journal {
            for it in unisono_engine::codec::read_batch(batch).unwrap() {
                seen.insert(crate::golden::variant(&it.event));
                if let Event::Value(ValueEvent::Deleted { because, .. }) = it.event {
                    seen.insert(because_word(because));
                }
            }
        }
        if EVERYTHING.iter().all(|word| seen.contains(word)) {
            return;
        }
    }
    let missing: Vec<_> = EVERYTHING.iter().filter(|word| !seen.contains(**word)).collect();
    panic!("{missing:?} never happened");
}

/// Everything but forgotten tokens, which takes 65,536 of them.
const EVERYTHING: [&str; 19] = [
    "value put",
    "asked",
    "expired",
    "lease ended",
    "new epoch",
    "future declared",
    "future broken",
    "future expired",
    "future withdrawn",
    "lease granted",
    "lease renewed",
    "lease ended by time",
    "lease revoked",
    "lock queued",
    "lock acquired",
    "lock left",
    "lock stolen",
    "proclaimed",
    "clock stepped",
];

fn because_word(because: Because) -> &'static str {
    match because {
        Because::Asked => "asked",
        Because::Expired => "expired",
        Because::LeaseEnded => "lease ended",
        Because::NewEpoch => "new epoch",
    }
}
