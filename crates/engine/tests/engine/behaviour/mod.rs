//! What the engine does, one sentence at a time.

mod agents;
mod attempts;
mod checkpoints;
mod definitions;
mod futures;
mod large;
mod leases;
mod locks;
mod retention;
mod starting;
mod traces;
mod values;

use unisono_engine::orchestration::Task;
use unisono_model::ids::AttemptToken;

use crate::documents::{activity, orchestration};
use crate::sim::Sim;

/// `chain` of a, b, c; `fan` of a, b, c and then `join`; `single` of a. All of type `work`.
fn sim() -> Sim {
    let mut sim = Sim::new();
    define(&mut sim);
    sim
}

fn define(sim: &mut Sim) {
    sim.definitions(vec![
        activity("work"),
        orchestration("single", &[("a", "work", &[])]),
        orchestration(
            "chain",
            &[("a", "work", &[]), ("b", "work", &["a"]), ("c", "work", &["b"])],
        ),
        orchestration(
            "fan",
            &[
                ("a", "work", &[]),
                ("b", "work", &[]),
                ("c", "work", &[]),
                ("join", "work", &["a", "b", "c"]),
            ],
        ),
    ])
    .unwrap();
}

/// The only attempt that is handed out.
fn only(sim: &mut Sim) -> Task {
    let mut tasks = sim.dispatch();
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    tasks.remove(0).1
}

/// A run of `single` with an agent that holds its attempt.
fn running() -> (Sim, AttemptToken) {
    let mut sim = sim();
    sim.join("i", &["work"], 1);
    sim.start("r", "single", 1).unwrap();
    let token = only(&mut sim).token;
    (sim, token)
}

/// The ids of the activities, in the order in which they are handed out.
fn handed_out(sim: &mut Sim) -> Vec<(String, String)> {
    sim.dispatch()
        .into_iter()
        .map(|(_, task)| {
            let message = task.message().unwrap();
            (message.orchestration_id.to_string(), message.activity_id.to_string())
        })
        .collect()
}
