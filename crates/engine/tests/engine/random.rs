//! Random graphs, random results, random misfortune.
//!
//! The seed is printed by a failing test; `PROPTEST_RNG_SEED=seed` repeats it, and `PROPTEST_CASES`
//! asks for more cases.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use unisono_engine::agent::{AgentCommand, AgentKey, SessionId};
use unisono_engine::definition::DefinitionCommand;
use unisono_engine::orchestration::{OrchestrationCommand, Report, RetryPolicy};
use unisono_engine::payload::Patch;
use unisono_engine::{Command, Effect, Rejection, Reply, Settings, State, archived_view};
use unisono_model::api::DefinitionKind;
use unisono_model::ids::{AttemptToken, Revision};
use unisono_model::name::Name;

use crate::documents::{activity, name, payload, space};
use crate::fingerprint::{Known, assert_same, fingerprint};
use crate::model::{Model, Phase};
use crate::ops::{DEFINITIONS, Op, Outcome, TYPES, Vertex, document, graphs, ops, patch, pick, report, types};
use crate::sim::{Sim, join, start};
use crate::storage::{Storage, replay};

struct World {
    sim: Sim,
    model: Model,
    storage: Storage,
    graphs: Vec<Vec<Vertex>>,
    /// Every agent that ever joined: its key, its last session, its incarnation.
    agents: Vec<(AgentKey, SessionId, String)>,
    /// Whether a run was started with the other content.
    asked: BTreeMap<String, bool>,
    steps: usize,
}

impl World {
    fn new(graphs: Vec<Vec<Vertex>>) -> Self {
        let settings = Settings {
            agent_grace_ms: 1_000,
            retry: RetryPolicy {
                initial_ms: 100,
                max_ms: 1_000,
                max_errors: 3,
                max_lost: 3,
            },
        };
        let mut world = Self {
            sim: Sim::with(settings),
            model: Model::new(settings),
            storage: Storage::default(),
            graphs,
            agents: Vec::new(),
            asked: BTreeMap::new(),
            steps: 0,
        };
        world
            .sim
            .definitions(TYPES.iter().map(|it| activity(it)).collect())
            .unwrap();
        for definition in 0..DEFINITIONS {
            world.apply(definition, definition);
        }
        world.settle();
        world
    }

    fn apply(&mut self, definition: usize, graph: usize) {
        let document = document(&format!("d{definition}"), &self.graphs[graph]);
        self.sim.definitions(vec![document]).unwrap();
    }

    fn run(&mut self, op: &Op) {
        match op.clone() {
            Op::Apply { definition, graph } => self.apply(definition, graph),
            Op::Delete { definition } => self.delete(definition),
            Op::Start {
                definition,
                id,
                other,
                pinned,
            } => self.start(definition, id, other, pinned),
            Op::Report {
                pick: at,
                outcome,
                context,
            } => {
                if let Some(attempt) = pick(&self.model.current(false), at) {
                    self.report(attempt, outcome, patch(context));
                }
            }
            Op::Late { pick: at, outcome } => {
                if let Some(attempt) = pick(&self.model.attempts, at) {
                    self.report(attempt, outcome, None);
                }
            }
            Op::Resolve {
                pick: at,
                outcome,
                context,
                astray,
            } => self.resolve(at, outcome, patch(context), astray),
            Op::Save { pick: at, context } => self.save(at, context),
            Op::Work { count } => self.work(count as usize),
            Op::Cancel { pick: at } => self.cancel(at),
            Op::Join {
                elsewhere,
                types: mask,
                concurrency,
            } => self.join(elsewhere, mask, concurrency),
            Op::Rejoin {
                pick: at,
                keep,
                types: mask,
                concurrency,
            } => self.rejoin(at, keep, mask, concurrency),
            Op::Disconnect { pick: at } => self.tell_agent(at, |agent, session| AgentCommand::Disconnect {
                agent,
                session,
                reason: "broken".to_owned(),
            }),
            Op::Leave { pick: at } => self.tell_agent(at, |agent, session| AgentCommand::Leave {
                agent,
                session,
                reason: "goodbye".to_owned(),
            }),
            Op::Credits { pick: at, concurrency } => self.tell_agent(at, |agent, session| AgentCommand::Credits {
                agent,
                session,
                concurrency: u32::from(concurrency),
            }),
            Op::Advance { millis } => {
                self.sim.advance(u64::from(millis));
                self.observe();
                self.model.assert_nothing_due(self.sim.now);
            }
            Op::Checkpoint => self.storage.begin(&mut self.sim.state),
            Op::Write { count, disorder } => self.storage.write(&mut self.sim.state, count as usize, disorder),
            Op::Restart { rejoin } => self.restart(rejoin),
        }
        self.settle();
    }

    /// Follows what happened, and checks what ended.
    fn observe(&mut self) {
        for fact in std::mem::take(&mut self.sim.facts) {
            self.model.observe(&fact);
        }
        for effect in std::mem::take(&mut self.sim.effects) {
            if let Effect::Ended(run) = effect {
                self.storage.end(&run);
                let expected = &self.model.runs[&run.key.0];
                assert_eq!(Some(run.state), expected.ended);
                let view = archived_view(&run);
                assert!(view.activities.iter().all(|it| it.state.is_terminal()), "{view:?}");
                self.model.assert_run_shown(expected, &view);
            }
        }
    }

    /// Hands out what can be handed out, then looks at everything.
    fn settle(&mut self) {
        self.observe();
        while self.sim.dispatch_one() {
            self.observe();
        }
        self.model.assert_all_handed_out();
        self.steps += 1;
        let small = self.graphs.iter().map(Vec::len).sum::<usize>() < 60;
        if small || self.steps.is_multiple_of(16) {
            self.model.assert_shown(&self.sim.state);
        }
    }

    fn delete(&mut self, definition: usize) {
        let type_name = name(&format!("d{definition}"));
        let deleted = self.model.definitions[&type_name].deleted;
        let reply = self.sim.apply(Command::Definition(DefinitionCommand::Delete {
            namespace: space(),
            kind: DefinitionKind::Orchestration,
            type_name,
        }));
        assert_eq!(reply.is_err(), deleted);
    }

    fn start(&mut self, definition: usize, id: u8, other: bool, pinned: bool) {
        let type_name = name(&format!("d{definition}"));
        let versions = &self.model.definitions[&type_name];
        let newest = u32::try_from(versions.graphs.len()).unwrap();
        let deleted = versions.deleted;
        let id = format!("r{id}");
        let known = self.model.keys.get(&(space(), name(&id))).copied();
        // A run that the store knows to have ended never gets as far as the engine.
        if known.is_some_and(|key| self.storage.knows_end_of(key)) {
            return;
        }
        let mut command = start(&id, &type_name, if pinned { 1 } else { newest });
        command.pinned = pinned;
        command.absent_as_of = Some(self.storage.knows_ended_up_to());
        command.digest += u128::from(other);
        let reply = self.sim.start_with(command);
        match (known, reply) {
            (Some(_), Ok(Reply::Started { created, .. })) => {
                assert!(!created && self.asked[&id] == other)
            }
            (Some(_), Err(Rejection::IdTaken { .. })) => assert_ne!(self.asked[&id], other),
            (None, Ok(Reply::Started { created, .. })) => {
                assert!(created && !deleted);
                self.asked.insert(id, other);
            }
            (None, Err(Rejection::DefinitionNotFound { .. })) => assert!(deleted),
            (known, reply) => panic!("{known:?} {reply:?}"),
        }
    }

    fn report(&mut self, (token, key, index): (AttemptToken, u64, usize), outcome: Outcome, patch: Option<Patch>) {
        let run = &self.model.runs[&key];
        let current = run.phases[index].token() == Some(token) && matches!(run.phases[index], Phase::Running { .. });
        let command = OrchestrationCommand::Report {
            token,
            report: report(outcome),
            patch,
        };
        self.conclude(command, current, |it| matches!(it, Rejection::StaleToken { .. }));
    }

    fn conclude(&mut self, command: OrchestrationCommand, accepted: bool, expected: impl Fn(&Rejection) -> bool) {
        let known = (!accepted).then(|| Known::of(&self.sim.journal));
        let before = known.as_ref().map(|known| fingerprint(&self.sim.state, known));
        match self.sim.orchestration(command) {
            Ok(reply) => assert!(accepted, "accepted with an old token: {reply:?}"),
            Err(rejection) => assert!(!accepted && expected(&rejection), "{rejection}"),
        }
        if let (Some(before), Some(known)) = (before, known) {
            assert_same("after a refusal", &before, &fingerprint(&self.sim.state, &known));
        }
        self.observe();
    }

    fn resolve(&mut self, at: u16, outcome: Outcome, patch: Option<Patch>, astray: bool) {
        let candidates = if at.is_multiple_of(4) {
            self.model.attempts.clone()
        } else {
            self.model.current(true)
        };
        let Some((token, key, index)) = pick(&candidates, at) else {
            return;
        };
        let run = &self.model.runs[&key];
        let current = run.ended.is_none() && run.phases[index].token() == Some(token);
        let said = if astray { (index + 1) % run.graph.len() } else { index };
        let command = OrchestrationCommand::Resolve {
            namespace: run.namespace.clone(),
            id: run.id.clone(),
            activity: name(&run.graph[said].id),
            token,
            report: report(outcome),
            patch,
            actor: "outside".to_owned(),
        };
        self.conclude(command, current && said == index, |it| {
            matches!(
                it,
                Rejection::StaleToken { .. } | Rejection::NotOpen { .. } | Rejection::TokenOfAnother { .. }
            )
        });
    }

    fn save(&mut self, at: u16, context: u8) {
        let (Some((token, key, index)), Some(patch)) = (pick(&self.model.attempts, at), patch(context)) else {
            return;
        };
        let run = &self.model.runs[&key];
        let current = run.ended.is_none() && run.phases[index].token() == Some(token);
        let command = OrchestrationCommand::SaveContext { token, patch };
        self.conclude(command, current, |it| matches!(it, Rejection::StaleToken { .. }));
    }

    fn work(&mut self, count: usize) {
        for attempt in self.model.current(false).into_iter().take(count) {
            self.report(attempt, Outcome::Complete, None);
        }
    }

    fn cancel(&mut self, at: u16) {
        let runs: Vec<(Name, bool)> = self
            .model
            .runs
            .values()
            .map(|run| (run.id.clone(), run.ended.is_none()))
            .collect();
        if let Some((id, open)) = pick(&runs, at) {
            assert_eq!(self.sim.cancel(&id).is_ok(), open);
        }
    }

    fn join(&mut self, elsewhere: bool, mask: u8, concurrency: u8) {
        let namespace = if elsewhere { name("elsewhere") } else { space() };
        let incarnation = format!("i{}", self.agents.len());
        self.hello(namespace, incarnation, mask, concurrency, Vec::new());
    }

    fn hello(&mut self, namespace: Name, incarnation: String, mask: u8, concurrency: u8, holding: Vec<AttemptToken>) {
        let session = self.sim.session();
        let known: Vec<AttemptToken> = self.model.current(false).iter().map(|it| it.0).collect();
        let asked = holding.clone();
        let join = join(
            &namespace,
            &incarnation,
            &types(mask),
            u32::from(concurrency),
            holding,
            session,
        );
        let reply = self.sim.agent(AgentCommand::Join(Box::new(join))).unwrap();
        let Reply::Joined { agent, keep, drop } = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(keep.len() + drop.len(), asked.len());
        assert!(keep.iter().all(|token| known.contains(token)));
        self.observe();
        // What it did not bring may have been lost once too often, and that ends the run.
        let open: BTreeSet<AttemptToken> = self
            .model
            .current(false)
            .iter()
            .map(|it| it.0)
            .filter(|token| keep.contains(token))
            .collect();
        let held = &self.model.agents[&agent.0].held;
        assert_eq!(*held, open, "an agent that connects again holds what it keeps");
        match self.agents.iter_mut().find(|it| it.0 == agent) {
            Some(known) => known.1 = session,
            None => self.agents.push((agent, session, incarnation)),
        }
    }

    /// An agent connects again, with some of its attempts and some that are not its own.
    fn rejoin(&mut self, at: u16, keep: u64, mask: u8, concurrency: u8) {
        let Some((key, _, incarnation)) = pick(&self.agents, at) else {
            return;
        };
        let holding = (0..)
            .zip(self.model.attempts.iter().rev().take(64))
            .filter(|(index, _)| keep & (1 << index) != 0)
            .map(|(_, (token, ..))| *token)
            .collect();
        // The same incarnation may come back after it was forgotten: it is a new agent then.
        if !self.model.agents.contains_key(&key.0) && self.agents.iter().any(|it| it.0 > key && it.2 == incarnation) {
            return;
        }
        let namespace = self.namespace_of(key);
        self.hello(namespace, incarnation, mask, concurrency, holding);
    }

    fn namespace_of(&self, key: AgentKey) -> Name {
        let elsewhere = self
            .model
            .agents
            .get(&key.0)
            .is_some_and(|agent| agent.namespace() == "elsewhere");
        if elsewhere { name("elsewhere") } else { space() }
    }

    fn tell_agent(&mut self, at: u16, command: impl Fn(AgentKey, SessionId) -> AgentCommand) {
        let Some((key, session, _)) = pick(&self.agents, at) else {
            return;
        };
        let current = self
            .model
            .agents
            .get(&key.0)
            .is_some_and(|agent| agent.session == Some(session.0));
        match self.sim.agent(command(key, session)) {
            Ok(_) => assert!(current),
            Err(rejection) => assert!(!current && rejection == Rejection::SessionReplaced),
        }
    }

    /// The process dies, and another begins with what is durable.
    fn restart(&mut self, rejoin: bool) {
        self.assert_folds();
        self.storage.crash();
        self.sim.state = self.storage.recover(&self.sim);
        self.sim.agent(AgentCommand::NodeStarted).unwrap();
        self.observe();
        assert_eq!(self.sim.state.connected_agents(), 0);
        if rejoin {
            for at in 0..u16::try_from(self.agents.len()).unwrap() {
                self.rejoin(at, u64::MAX, 15, 2);
            }
        }
    }

    /// Folding the journal gives the same state, with and without a checkpoint.
    fn assert_folds(&mut self) {
        let known = Known::of(&self.sim.journal);
        let live = fingerprint(&self.sim.state, &known);
        let mut folded = State::new(self.sim.settings);
        replay(&mut folded, &self.sim.journal, Revision(0));
        assert_same("folded", &live, &fingerprint(&folded, &known));
        assert_eq!(folded.now, self.sim.state.now);
        let recovered = self.storage.recover(&self.sim);
        assert_same("recovered", &live, &fingerprint(&recovered, &known));
        assert_eq!([folded.hash(), recovered.hash()], [self.sim.state.hash(); 2]);
    }

    /// Lets everything that is open come to its end.
    fn drain(&mut self) {
        self.join(false, 15, 8);
        self.settle();
        let mut rounds = 0;
        while !self.sim.state.runs().is_empty() {
            rounds += 1;
            assert!(rounds < 1_000, "stuck: {:?}", self.sim.state.counts());
            if self.sim.state.counts().running == 0 {
                self.sim.advance(1_000);
                self.settle();
            }
            for attempt in self.model.current(true) {
                let (token, key, index) = attempt;
                let run = &self.model.runs[&key];
                let address = (run.id.to_string(), run.graph[index].id.clone());
                self.sim
                    .resolve((&address.0, &address.1), token, Report::Complete(payload("1")))
                    .unwrap();
                self.observe();
            }
            self.settle();
        }
    }

    /// Nothing is left of runs that ended and of agents that are gone.
    fn assert_nothing_left(&mut self) {
        self.sim.agent(AgentCommand::NodeStarted).unwrap();
        self.sim.advance(1_000);
        self.observe();
        let state = &self.sim.state;
        assert_eq!(state.counts(), unisono_engine::Counts::default());
        assert_eq!(state.next_timer(), None);
        assert!(state.agents(&space()).is_empty() && state.agents(&name("elsewhere")).is_empty());
        assert!(state.queue_depths().iter().all(|depth| depth.ready == 0));
        assert!(
            self.model
                .attempts
                .iter()
                .all(|(token, ..)| state.attempt(*token).is_none())
        );
        assert!(self.model.runs.values().all(|run| run.ended.is_some()));
    }
}

fn seed() -> u64 {
    std::env::var("PROPTEST_RNG_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| RandomState::new().hash_one(0))
}

#[test]
fn whatever_happens_every_run_ends_as_it_should_and_the_journal_tells_the_same() {
    let seed = seed();
    println!("PROPTEST_RNG_SEED={seed}");
    let config = ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(256, |cases| cases.parse().unwrap()),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_time: 30_000,
        ..ProptestConfig::default()
    };
    let cases = (prop::collection::vec(graphs(), 3), prop::collection::vec(ops(), 0..160));
    TestRunner::new(config)
        .run(&cases, |(graphs, ops)| {
            let mut world = World::new(graphs);
            for op in &ops {
                world.run(op);
            }
            world.assert_folds();
            world.drain();
            world.assert_folds();
            world.assert_nothing_left();
            world.assert_folds();
            Ok(())
        })
        .unwrap();
}
