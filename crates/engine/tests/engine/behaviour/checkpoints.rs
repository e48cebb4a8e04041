//! Checkpoints whose rows were written at different moments, and that a crash cuts short.

use unisono_engine::agent::{AgentCommand, AgentKey, SessionId};
use unisono_engine::codec::{BatchWriter, FinishedBatch, batch_range, read_batch};
use unisono_engine::snapshot::{Entity, row_revision};
use unisono_engine::{Effect, State};
use unisono_model::ids::Revision;

use super::{define, handed_out, only, sim};
use crate::documents::{name, orchestration, space};
use crate::fingerprint::{Known, assert_same, fingerprint};
use crate::sim::Sim;
use crate::storage::replay;

/// Rows as they are now of everything that changed, in the order in which a node writes them.
fn rows(state: &mut State) -> Vec<(Entity, Vec<u8>)> {
    let dirty = state.take_dirty();
    dirty
        .into_iter()
        .flat_map(|entity| state.take_rows(entity))
        .filter_map(|(entity, row)| Some((entity, row?)))
        .collect()
}

/// What a restart makes of these rows and the journal after `base`; it must be what `sim` has.
fn recovered(sim: &Sim, base: Revision, rows: &[&(Entity, Vec<u8>)]) -> (State, Vec<Effect>) {
    let mut state = State::new(sim.settings);
    let mut sorted = rows.to_vec();
    sorted.sort_by_key(|(entity, _)| *entity);
    for (entity, row) in sorted {
        state.load(*entity, row).unwrap();
    }
    state.loaded(base).unwrap();
    let effects = replay(&mut state, &sim.journal, base);
    let known = Known::of(&sim.journal);
    let seen = [&sim.state, &state].map(|state| fingerprint(state, &known));
    assert_same("recovered", &seen[0], &seen[1]);
    assert_eq!(state.now, sim.state.now);
    assert_eq!(state.hash(), sim.state.hash());
    (state, effects)
}

fn leave(sim: &mut Sim, (agent, session): (AgentKey, SessionId)) {
    let reason = "goodbye".to_owned();
    sim.agent(AgentCommand::Leave { agent, session, reason }).unwrap();
}

#[test]
fn a_checkpoint_cut_short_after_any_row_has_the_definition_of_every_run_it_holds() {
    let mut sim = Sim::new();
    let base = sim.state.revision;
    define(&mut sim);
    sim.join("i", &["work"], 2);
    sim.start("r", "fan", 1).unwrap();
    sim.dispatch();
    let rows = rows(&mut sim.state);
    for written in 0..=rows.len() {
        let rows: Vec<_> = rows[..written].iter().collect();
        recovered(&sim, base, &rows);
    }
}

#[test]
fn an_attempt_in_a_row_is_held_by_an_agent_that_joined_after_the_checkpoint() {
    let mut sim = sim();
    sim.start("r", "fan", 1).unwrap();
    let (before, base) = (rows(&mut sim.state), sim.state.revision);
    let link = sim.join("i", &["work"], 1);
    let token = only(&mut sim).token;
    let after = rows(&mut sim.state);
    let run = after.iter().find(|(entity, _)| matches!(entity, Entity::Run(_)));
    let definitions = before
        .iter()
        .filter(|(entity, _)| matches!(entity, Entity::Definition(_)));
    let rows: Vec<_> = definitions.chain(run).collect();
    let (state, _) = recovered(&sim, base, &rows);
    sim.state = state;
    assert!(sim.dispatch().is_empty(), "the agent has no room");
    leave(&mut sim, link);
    assert!(sim.complete(token).is_err(), "the agent gave it back");
}

#[test]
fn an_agent_that_was_forgotten_and_came_back_is_found_though_both_have_rows() {
    let mut sim = sim();
    let first = sim.join("i", &["work"], 1);
    let (before, base) = (rows(&mut sim.state), sim.state.revision);
    leave(&mut sim, first);
    let second = sim.join("i", &["work"], 1);
    let after = rows(&mut sim.state);
    for both in [
        before.iter().chain(&after).collect::<Vec<_>>(),
        after.iter().chain(&before).collect(),
    ] {
        let (state, _) = recovered(&sim, base, &both);
        sim.state = state;
        let (again, _) = sim.join("i", &["work"], 1);
        assert_eq!(again, second.0);
    }
}

#[test]
fn a_run_that_ended_does_not_come_back_and_is_archived_again() {
    let mut sim = sim();
    sim.join("i", &["work"], 1);
    sim.start("r", "single", 1).unwrap();
    let (rows, base) = (rows(&mut sim.state), sim.state.revision);
    let token = only(&mut sim).token;
    sim.complete(token).unwrap();
    let rows: Vec<_> = rows.iter().collect();
    let (state, effects) = recovered(&sim, base, &rows);
    assert!(state.runs().is_empty());
    let archived = effects.iter().filter(|effect| matches!(effect, Effect::Ended(_)));
    assert_eq!(archived.count(), 1);
}

#[test]
fn the_line_keeps_its_order_though_a_row_is_newer_than_what_is_replayed() {
    let mut sim = sim();
    let (before, base) = (rows(&mut sim.state), sim.state.revision);
    for id in ["r1", "r2", "r3"] {
        sim.start(id, "single", 1).unwrap();
    }
    let key = sim.state.view(&space(), &name("r3")).unwrap().0;
    let last = (Entity::Run(key.0), sim.state.row(Entity::Run(key.0)).unwrap());
    let rows: Vec<_> = before.iter().chain([&last]).collect();
    let (state, _) = recovered(&sim, base, &rows);
    sim.state = state;
    sim.join("i", &["work"], 3);
    let order: Vec<String> = handed_out(&mut sim).into_iter().map(|(run, _)| run).collect();
    assert_eq!(order, ["r1", "r2", "r3"]);
}

#[test]
fn a_run_of_an_older_version_finds_it_after_a_restart() {
    let mut sim = sim();
    sim.start("r", "single", 1).unwrap();
    sim.definitions(vec![orchestration("single", &[("z", "work", &[])])])
        .unwrap();
    let (rows, base) = (rows(&mut sim.state), sim.state.revision);
    let (state, _) = recovered(&sim, base, &rows.iter().collect::<Vec<_>>());
    sim.state = state;
    assert_eq!(*sim.view("r").activities[0].id, *"a");
}

#[test]
fn a_run_whose_definition_is_missing_is_an_error_that_names_both() {
    let mut sim = sim();
    sim.start("r", "single", 1).unwrap();
    let rows = rows(&mut sim.state);
    let (entity, row) = rows
        .iter()
        .find(|(entity, _)| matches!(entity, Entity::Run(_)))
        .unwrap();
    let error = State::new(sim.settings).load(*entity, row).unwrap_err();
    assert_eq!(
        error.to_string(),
        "run r needs version 1 of orchestration definition \"single\", which the checkpoint does not hold in a form that this program can run"
    );
}

#[test]
fn every_event_changes_the_hash_and_a_refusal_does_not() {
    let mut sim = sim();
    sim.join("i", &["work"], 1);
    sim.start("r", "single", 1).unwrap();
    let token = only(&mut sim).token;
    let running = sim.state.hash();
    assert!(sim.cancel("nobody").is_err());
    assert_eq!(sim.state.hash(), running);
    sim.complete(token).unwrap();
    let (mut folded, mut seen) = (State::new(sim.settings), std::collections::BTreeSet::new());
    let mut events = 0;
    for it in sim.journal.iter().flat_map(|batch| read_batch(batch).unwrap()) {
        folded.evolve(it.revision, it.at, &it.event, &mut Vec::new());
        seen.insert(folded.hash().to_string());
        events += 1;
    }
    assert_eq!(seen.len(), events);
    assert_eq!(folded.hash(), sim.state.hash());
}

#[test]
fn batches_that_follow_each_other_can_be_joined_and_no_others() {
    let mut sim = sim();
    sim.start("r", "single", 1).unwrap();
    sim.start("s", "single", 1).unwrap();
    let mut joined = BatchWriter::new(Revision(1));
    for batch in &sim.journal {
        assert!(joined.extend(batch).unwrap());
    }
    assert!(!joined.extend(&sim.journal[0]).unwrap());
    let FinishedBatch { bytes, start, .. } = joined.finish();
    let bytes = &bytes[start..];
    let events = |bytes: &[u8]| -> Vec<_> {
        let read = read_batch(bytes).unwrap();
        read.into_iter().map(|it| (it.revision, it.at, it.event)).collect()
    };
    let apart: Vec<_> = sim.journal.iter().flat_map(|batch| events(batch)).collect();
    assert_eq!(events(bytes), apart);
    assert_eq!(batch_range(bytes).unwrap(), (Revision(1), apart.len() as u64));
}

#[test]
fn a_row_says_which_event_it_has_seen_last() {
    let mut sim = sim();
    sim.join("i", &["work"], 1);
    sim.start("r", "single", 1).unwrap();
    let started = sim.state.revision;
    for (entity, row) in rows(&mut sim.state) {
        let seen = row_revision(&row).unwrap();
        match entity {
            Entity::Run(key) => assert_eq!((seen, seen.0), (started, key)),
            Entity::Agent(key) | Entity::Definition(key) => assert_eq!(seen.0, key),
            Entity::Marks => assert_eq!(seen, sim.state.revision),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn time_does_not_go_back_though_nothing_that_is_left_shows_it() {
    let mut sim = sim();
    sim.join("i", &["work"], 1);
    sim.start("r", "single", 1).unwrap();
    let token = only(&mut sim).token;
    sim.now = sim.now.plus_millis(3_600_000);
    sim.complete(token).unwrap();
    let (rows, base) = (rows(&mut sim.state), sim.state.revision);
    let (state, _) = recovered(&sim, base, &rows.iter().collect::<Vec<_>>());
    assert_eq!(state.now, sim.now);
}
