//! Runs with so many activities that their rows have parts.

use unisono_engine::orchestration::Report;
use unisono_engine::snapshot::Entity;
use unisono_engine::{Effect, State};

use crate::documents::{activity, failure, name, orchestration, payload, space};
use crate::sim::Sim;
use crate::storage::Storage;

/// More than two parts, and the last one not full.
const ACTIVITIES: usize = 600;

/// Each activity depends on the one 20 before it, so that 20 chains run side by side.
fn large_run() -> Sim {
    let mut sim = Sim::new();
    let ids: Vec<String> = (0..ACTIVITIES).map(|index| format!("a{index}")).collect();
    let depends_on: Vec<Vec<&str>> = (0..ACTIVITIES)
        .map(|index| {
            index
                .checked_sub(20)
                .map(|before| ids[before].as_str())
                .into_iter()
                .collect()
        })
        .collect();
    let activities: Vec<(&str, &str, &[&str])> = ids
        .iter()
        .zip(&depends_on)
        .map(|(id, on)| (id.as_str(), "work", on.as_slice()))
        .collect();
    sim.definitions(vec![activity("work"), orchestration("large", &activities)])
        .unwrap();
    sim.start("r", "large", 1).unwrap();
    sim
}

/// What a checkpoint that begins now writes, in the order in which it does.
fn written(state: &mut State) -> Vec<(Entity, Option<Vec<u8>>)> {
    let dirty = state.take_dirty();
    dirty.into_iter().flat_map(|entity| state.take_rows(entity)).collect()
}

fn parts(rows: &[(Entity, Option<Vec<u8>>)]) -> usize {
    let parts = rows.iter().filter(|(entity, _)| matches!(entity, Entity::RunPart(_)));
    parts.count()
}

#[test]
fn a_checkpoint_writes_those_parts_of_a_large_run_that_have_changed() {
    let mut sim = large_run();
    sim.join("i", &["work"], 1);
    assert_eq!(parts(&written(&mut sim.state)), 3);
    let token = sim.dispatch().remove(0).1.token;
    sim.complete(token).unwrap();
    let rows = written(&mut sim.state);
    assert_eq!(parts(&rows), 1, "{rows:?}");
    let bytes: usize = rows.iter().filter_map(|(_, row)| row.as_ref().map(Vec::len)).sum();
    let whole = sim.state.row(rows[0].0).map_or(0, |row| row.len());
    assert!(bytes * 2 < whole, "{bytes} of {whole} bytes");
    assert!(written(&mut sim.state).is_empty());
}

#[test]
fn all_rows_of_a_large_run_are_removed_when_it_has_ended() {
    let mut sim = large_run();
    let before = written(&mut sim.state);
    sim.cancel("r").unwrap();
    let after = written(&mut sim.state);
    let removed = |rows: &[(Entity, Option<Vec<u8>>)]| rows.iter().filter(|(_, row)| row.is_none()).count();
    assert_eq!((removed(&before), removed(&after)), (0, 4));
}

#[test]
fn a_large_run_of_which_a_part_is_missing_is_an_error_that_names_it() {
    let mut sim = large_run();
    let mut rows = written(&mut sim.state);
    let part = rows.iter().position(|(entity, _)| matches!(entity, Entity::RunPart(_)));
    rows.remove(part.unwrap());
    let mut state = State::new(sim.settings);
    for (entity, row) in rows {
        state.load(entity, &row.unwrap()).unwrap();
    }
    let error = state.loaded(sim.state.revision).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the checkpoint does not hold all activities of run r"
    );
}

#[test]
fn a_large_run_in_one_row_is_written_in_parts_from_then_on() {
    let mut sim = large_run();
    let rows = written(&mut sim.state);
    let mut state = State::new(sim.settings);
    for (entity, row) in rows {
        match entity {
            Entity::RunPart(_) => {}
            Entity::Run(_) => state.load(entity, &sim.state.row(entity).unwrap()).unwrap(),
            _ => state.load(entity, &row.unwrap()).unwrap(),
        }
    }
    state.loaded(sim.state.revision).unwrap();
    assert_eq!(state.hash(), sim.state.hash());
    sim.state = state;
    sim.join("i", &["work"], 1);
    sim.dispatch();
    assert_eq!(parts(&written(&mut sim.state)), 3);
}

/// A linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Something happens to the run, or to its agent.
fn step(sim: &mut Sim, random: &mut Random) {
    let mut held: Vec<_> = sim.dispatch().into_iter().map(|(_, task)| task.token).collect();
    while let Some(token) = held.pop() {
        let report = match random.below(40) {
            // Its agent goes on with it.
            10 => continue,
            0 => Report::Retry(failure("again")),
            1 => Report::Schedule(5_000),
            2 => Report::Wait(Some(3_600_000)),
            _ => Report::Complete(payload(r#"{"a":1}"#)),
        };
        sim.report(token, report).unwrap();
    }
    sim.advance(random.below(300));
}

#[test]
fn a_large_run_is_the_same_after_a_crash_at_any_time() {
    for seed in 0..8 {
        let (mut random, mut storage) = (Random(seed), Storage::default());
        let mut sim = large_run();
        // Few at a time, so that between two checkpoints often one activity of a part has changed.
        sim.join("i", &["work"], 8);
        for _ in 0..200 {
            match random.below(4) {
                0 => storage.begin(&mut sim.state),
                1 => {
                    let (count, disorder) = (random.below(8), random.below(1 << 30));
                    storage.write(&mut sim.state, usize::try_from(count).unwrap(), disorder);
                }
                2 if random.below(4) == 0 => {
                    let recovered = storage.recover(&sim);
                    assert_eq!(recovered.hash(), sim.state.hash(), "seed {seed}");
                    storage.crash();
                    sim.state = recovered;
                }
                _ => step(&mut sim, &mut random),
            }
            for effect in sim.effects.drain(..) {
                if let Effect::Ended(run) = effect {
                    storage.end(&run);
                }
            }
        }
        assert!(sim.state.view(&space(), &name("r")).is_some(), "seed {seed}");
    }
}
