//! The fleet where every target that takes the new version dies and never reports again.

use unisono_engine::State;
use unisono_engine::agent::AgentCommand;
use unisono_engine::rollout::{RolloutCommand, Verb};
use unisono_model::ids::Revision;
use unisono_model::rollout::{ClassicOptions, Health, Phase, RolloutState, Said, classic_policy};

use super::world::{World, policy, says};
use crate::storage::replay;

/// Batches of a fifth of the fleet, in the options of an older controller.
fn a_fifth_at_once() -> Verb {
    let options = ClassicOptions {
        batch_percent: 20,
        success_percent: 100,
        success_timeout_secs: 1,
        duration_timeout_secs: 3,
    };
    Verb::SetPolicy {
        policy: Box::new(classic_policy(&options).unwrap()),
        classic: Some(options),
    }
}

fn with(json: &str) -> Verb {
    Verb::SetPolicy {
        policy: Box::new(policy(json)),
        classic: None,
    }
}

/// Of those that are told v2 every other one takes it and dies, some of them after one last word; the others are slow and
/// take nothing. The process that decides dies as well, in the middle.
fn half_of_the_first_batch_dies(targets: usize, verb: Verb, first_batch: usize) {
    let mut world = World::with(targets, "{}");
    world.act(verb).unwrap();
    world.set_version("v2").unwrap();
    let names: Vec<String> = (0..targets).map(|number| format!("t{number}")).collect();
    let told: Vec<usize> = (0..targets)
        .filter(|number| world.view(&names[*number]).phase == Phase::InFlight)
        .collect();
    assert_eq!(told.len(), first_batch);
    let dead: Vec<usize> = told.iter().copied().step_by(2).collect();
    let alive: Vec<_> = (0..targets)
        .filter(|number| dead.binary_search(number).is_err())
        .map(|number| says(&names[number], "v1", Said::Healthy))
        .collect();
    let last_words: Vec<_> = dead
        .iter()
        .step_by(3)
        .map(|number| says(&names[*number], "v2", Said::Healthy))
        .collect();
    world.report(&last_words);
    for second in 0..60 {
        world.report(&alive);
        if second == 2 {
            restart(&mut world);
        }
        world.pass(1);
        let counts = world.rollout().summary.counts;
        let touched = counts.in_flight
            + counts.done
            + counts.failed
            + counts.rolling_back
            + counts.rolled_back
            + counts.not_recovered;
        assert!(touched <= first_batch as u64, "somebody else was told: {counts:?}");
        if world.state() == RolloutState::Failed {
            break;
        }
    }
    let counts = world.rollout().summary.counts;
    assert_eq!(
        (world.state(), world.bad().as_deref(), world.good().as_deref()),
        (RolloutState::Failed, Some("v2"), Some("v1")),
        "{counts:?}"
    );
    assert_eq!(
        (counts.rolled_back + counts.not_recovered, counts.not_recovered),
        (first_batch as u64, dead.len() as u64),
        "{counts:?}"
    );
    let wrong = world
        .targets()
        .into_iter()
        .find(|it| it.expected.as_deref() != Some("v1"));
    assert_eq!(wrong, None);
}

/// The process dies, and another one begins with the journal.
fn restart(world: &mut World) {
    let mut folded = State::new(world.sim.settings);
    replay(&mut folded, &world.sim.journal, Revision(0));
    assert_eq!(folded.hash(), world.sim.state.hash());
    world.sim.state = folded;
    world.sim.agent(AgentCommand::NodeStarted).unwrap();
}

/// The process was stopped for a while: it knows who was heard before, and nobody is late or silent for that time.
#[test]
fn time_in_which_nobody_listened_fails_nobody_and_forgets_nobody() {
    let policy = r#"{"batch": 1, "health": {"healthyForSeconds": 0, "deadlineSeconds": 20, "silentAfterSeconds": 80}}"#;
    let mut world = World::with(2, policy);
    world.pass(75);
    world.say("t1", "v1", Said::Healthy);
    world.set_version("v2").unwrap();
    world.sim.now = world.sim.now.plus_millis(3_600_000);
    let lost_ms = 3_600_000;
    world.command(RolloutCommand::NotListened { lost_ms }).unwrap();
    assert_eq!((world.count(Phase::InFlight), world.count(Phase::Failed)), (1, 0));
    // The window goes on where it was: who was heard in it was heard.
    world.pass(19);
    let silent: Vec<_> = world
        .targets()
        .into_iter()
        .filter(|it| it.health == Health::Unknown)
        .collect();
    assert_eq!(silent.len(), 1, "{silent:?}");
    assert_eq!(silent[0].name.as_str(), "t0");
}

#[test]
fn a_silent_death_stops_a_fleet_of_five_within_the_first_batch() {
    half_of_the_first_batch_dies(5, a_fifth_at_once(), 1);
}

#[test]
fn a_silent_death_stops_a_fleet_of_a_hundred_thousand_within_the_first_batch() {
    half_of_the_first_batch_dies(100_000, a_fifth_at_once(), 20_000);
}

#[test]
fn a_silent_death_stops_every_kind_of_plan_within_the_first_batch() {
    const HEALTH: &str = r#""health": {"healthyForSeconds": 1, "deadlineSeconds": 3, "silentAfterSeconds": 300}"#;
    for (plan, first_batch) in [
        (r#""batch": 7"#, 7),
        (r#""batch": "1%""#, 1),
        (r#""batch": [2, "50%"]"#, 2),
        (r#""batch": {"start": 3, "factor": 2}"#, 3),
        (r#""batch": "100%", "canary": {"size": "5%"}"#, 5),
        (r#""batch": "100%", "maxUnavailable": "10%""#, 10),
        (r#""batch": 50, "failureTolerance": 4, "toleranceMode": "strict""#, 4),
        (r#""batch": 9, "onFailure": "immediate""#, 9),
    ] {
        half_of_the_first_batch_dies(100, with(&format!("{{{plan}, {HEALTH}}}")), first_batch);
    }
}
