//! How long runs that have ended are kept, and deleting them.

use unisono_engine::retention::{DeletedRun, RetentionCommand, Rule};
use unisono_engine::{Command, Effect, Rejection, Reply, State};
use unisono_model::ids::Revision;

use super::{define, sim};
use crate::documents::{name, space};
use crate::sim::{Sim, start};
use crate::storage::replay;

fn rule(max_age_ms: Option<u64>, max_count: Option<u64>) -> Rule {
    Rule { max_age_ms, max_count }
}

fn set(sim: &mut Sim, type_name: Option<&str>, rule: Option<Rule>) -> Result<Reply, Rejection> {
    sim.apply(Command::Retention(RetentionCommand::SetRule {
        namespace: space(),
        type_name: type_name.map(name),
        rule,
        actor: None,
    }))
}

fn delete(sim: &mut Sim, run: u64, id: &str) -> Result<Reply, Rejection> {
    sim.apply(Command::Retention(RetentionCommand::Delete {
        namespace: space(),
        run: DeletedRun { run, id: name(id) },
        actor: "ada".to_owned(),
    }))
}

fn expire(sim: &mut Sim, runs: &[(u64, &str)], based_on: Revision) -> Result<Reply, Rejection> {
    let runs = runs.iter().map(|(run, id)| DeletedRun {
        run: *run,
        id: name(id),
    });
    sim.apply(Command::Retention(RetentionCommand::Expire {
        namespace: space(),
        runs: runs.collect(),
        based_on,
    }))
}

fn based_on(state: &State) -> Revision {
    state.retention().namespace(&space()).unwrap().revision
}

/// Starts a run, and gives its key.
fn started(sim: &mut Sim, id: &str) -> u64 {
    sim.start_with(start(id, "fan", 1)).unwrap();
    sim.state.runs().by_id(&space(), &name(id)).unwrap().key.0
}

fn deleted(sim: &mut Sim) -> Vec<u64> {
    let effects = std::mem::take(&mut sim.effects);
    effects.iter().flat_map(Effect::deleted).map(|(_, run)| run.0).collect()
}

#[test]
fn a_definitions_own_rule_stands_in_place_of_the_namespaces() {
    let mut sim = sim();
    let (month, last) = (rule(Some(30 * 86_400_000), None), rule(None, Some(5)));
    set(&mut sim, None, Some(month)).unwrap();
    let of = |sim: &Sim, of: &str| sim.state.retention().namespace(&space()).unwrap().of(&name(of));
    assert_eq!(of(&sim, "fan"), month);
    set(&mut sim, Some("fan"), Some(last)).unwrap();
    assert_eq!((of(&sim, "fan"), of(&sim, "other")), (last, month));
    set(&mut sim, Some("fan"), Some(Rule::default())).unwrap();
    assert_eq!(of(&sim, "fan"), Rule::default(), "for ever");
    set(&mut sim, Some("fan"), None).unwrap();
    set(&mut sim, None, None).unwrap();
    assert_eq!(sim.state.retention().namespaces().count(), 0);
}

#[test]
fn a_rule_for_what_does_not_exist_is_refused() {
    let mut sim = Sim::new();
    let refused = set(&mut sim, None, Some(Rule::default())).unwrap_err();
    assert!(matches!(refused, Rejection::NamespaceNotFound { .. }), "{refused}");
    define(&mut sim);
    let refused = set(&mut sim, Some("fun"), Some(Rule::default())).unwrap_err();
    assert!(matches!(refused, Rejection::DefinitionNotFound { .. }), "{refused}");
}

#[test]
fn only_what_has_ended_is_deleted_and_its_id_is_free_then() {
    let mut sim = sim();
    let first = started(&mut sim, "r");
    let refused = delete(&mut sim, first, "r").unwrap_err();
    assert!(matches!(refused, Rejection::StillOpen { .. }), "{refused}");
    sim.cancel("r").unwrap();
    let again = sim.start_with(start("r", "fan", 1)).unwrap();
    assert!(matches!(again, Reply::Started { created: false, .. }), "{again:?}");
    delete(&mut sim, first, "r").unwrap();
    assert_eq!(deleted(&mut sim), [first]);
    let second = started(&mut sim, "r");
    assert_ne!(first, second);
    sim.cancel("r").unwrap();
    delete(&mut sim, first, "r").unwrap();
    let again = sim.start_with(start("r", "fan", 1)).unwrap();
    assert!(
        matches!(again, Reply::Started { created: false, .. }),
        "deleting the first again is not about the second"
    );
}

#[test]
fn rules_that_have_changed_delete_nothing() {
    let mut sim = sim();
    let [ended, open] = ["a", "b"].map(|id| started(&mut sim, id));
    sim.cancel("a").unwrap();
    set(&mut sim, None, Some(rule(Some(1), None))).unwrap();
    let short = based_on(&sim.state);
    set(&mut sim, None, Some(rule(Some(86_400_000), None))).unwrap();
    assert_eq!(expire(&mut sim, &[(ended, "a")], short), Err(Rejection::Stale));
    let now = based_on(&sim.state);
    expire(&mut sim, &[(ended, "a"), (open, "b")], now).unwrap();
    assert_eq!(deleted(&mut sim), [ended]);
    assert!(sim.state.runs().by_id(&space(), &name("b")).is_some());
}

#[test]
fn rules_come_back_from_the_rows_of_any_moment_and_the_journal() {
    let mut sim = sim();
    set(&mut sim, None, Some(rule(Some(1), None))).unwrap();
    let (base, early) = (sim.state.revision, rows(&mut sim.state));
    set(&mut sim, Some("fan"), Some(rule(None, Some(2)))).unwrap();
    set(&mut sim, None, None).unwrap();
    let late = rows(&mut sim.state);
    for rows in [early.clone(), [early, late].concat()] {
        let mut state = State::new(sim.settings);
        for (entity, row) in &rows {
            state.load(*entity, row).unwrap();
        }
        state.loaded(base).unwrap();
        replay(&mut state, &sim.journal, base);
        assert_eq!(state.hash(), sim.state.hash());
        let rules = [&state, &sim.state].map(|state| state.retention().namespace(&space()));
        assert_eq!(rules[0], rules[1]);
    }
}

fn rows(state: &mut State) -> Vec<(unisono_engine::snapshot::Entity, Vec<u8>)> {
    let dirty = state.take_dirty();
    let rows = dirty.into_iter().flat_map(|entity| state.take_rows(entity));
    rows.filter_map(|(entity, row)| Some((entity, row?))).collect()
}
