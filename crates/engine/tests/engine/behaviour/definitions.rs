//! Storing and deleting definitions.

use serde_json::json;
use unisono_engine::definition::DefinitionCommand;
use unisono_engine::{Command, Rejection, Reply};
use unisono_model::api::{DefinitionChange, DefinitionKind};
use unisono_model::ids::Revision;

use super::{only, sim};
use crate::documents::{activity, name, orchestration, space, with};
use crate::sim::{Sim, start};

fn delete(sim: &mut Sim, kind: DefinitionKind, type_name: &str) -> Result<Reply, Rejection> {
    sim.apply(Command::Definition(DefinitionCommand::Delete {
        namespace: space(),
        kind,
        type_name: name(type_name),
    }))
}

/// Version and change of the only document applied.
fn applied(reply: Result<Reply, Rejection>) -> (u32, DefinitionChange) {
    match reply {
        Ok(Reply::Applied(applied)) if applied.len() == 1 => (applied[0].version, applied[0].change),
        other => panic!("{other:?}"),
    }
}

#[test]
fn applying_the_same_again_makes_no_version_and_a_change_makes_the_next() {
    let mut sim = sim();
    let same = orchestration("single", &[("a", "work", &[])]);
    let changed = orchestration("single", &[("z", "work", &[])]);
    let reply = sim.definitions(vec![same]);
    assert_eq!(applied(reply), (1, DefinitionChange::Unchanged));
    let reply = sim.definitions(vec![changed]);
    assert_eq!(applied(reply), (2, DefinitionChange::Updated));
}

#[test]
fn definitions_checked_against_older_ones_are_stale() {
    let mut sim = sim();
    let reply = sim.apply(Command::Definition(DefinitionCommand::Apply {
        namespace: space(),
        documents: vec![activity("other")],
        based_on: Revision(1),
    }));
    assert_eq!(reply, Err(Rejection::Stale));
}

#[test]
fn a_run_in_flight_keeps_its_version_and_a_new_one_gets_the_newest() {
    let mut sim = sim();
    sim.start("old", "single", 1).unwrap();
    sim.definitions(vec![orchestration("single", &[("z", "work", &[])])])
        .unwrap();
    assert_eq!(sim.start("new", "single", 1), Err(Rejection::Stale));
    sim.start("new", "single", 2).unwrap();
    let mut pinned = start("pinned", "single", 1);
    pinned.pinned = true;
    sim.start_with(pinned).unwrap();
    let shown = |id: &str| {
        let view = sim.view(id);
        (view.summary.version, view.activities[0].id.to_string())
    };
    assert_eq!(shown("old"), (1, "a".to_owned()));
    assert_eq!(shown("new"), (2, "z".to_owned()));
    assert_eq!(shown("pinned"), (1, "a".to_owned()));
}

#[test]
fn an_inactive_definition_takes_no_new_starts_and_lets_runs_go_on() {
    let mut sim = sim();
    sim.join("i", &["work"], 1);
    sim.start("r", "single", 1).unwrap();
    let inactive = with(orchestration("single", &[("a", "work", &[])]), json!({"active": false}));
    sim.definitions(vec![inactive]).unwrap();
    for version in [1, 2] {
        let mut start = start("s", "single", version);
        start.pinned = true;
        let refused = sim.start_with(start).unwrap_err();
        assert_eq!(refused.to_string(), "orchestration definition \"single\" is inactive");
    }
    let token = only(&mut sim).token;
    sim.complete(token).unwrap();
}

#[test]
fn a_deleted_definition_takes_no_starts_and_comes_back_as_the_next_version() {
    let mut sim = sim();
    sim.join("i", &["work"], 1);
    sim.start("r", "single", 1).unwrap();
    delete(&mut sim, DefinitionKind::Orchestration, "single").unwrap();
    let refused = sim.start("s", "single", 1).unwrap_err();
    assert!(matches!(refused, Rejection::DefinitionNotFound { .. }));
    assert!(delete(&mut sim, DefinitionKind::Orchestration, "single").is_err());
    let token = only(&mut sim).token;
    sim.complete(token).unwrap();
    let reply = sim.definitions(vec![orchestration("single", &[("a", "work", &[])])]);
    assert_eq!(applied(reply), (2, DefinitionChange::Created));
}

#[test]
fn a_used_activity_definition_is_not_deleted_and_its_users_are_named() {
    let mut sim = sim();
    let refused = delete(&mut sim, DefinitionKind::Activity, "work").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "activity definition \"work\" is used by \"chain\", \"fan\", \"single\""
    );
    for user in ["chain", "fan", "single"] {
        delete(&mut sim, DefinitionKind::Orchestration, user).unwrap();
    }
    delete(&mut sim, DefinitionKind::Activity, "work").unwrap();
}

#[test]
fn an_orchestration_of_an_activity_that_is_gone_is_stale() {
    let mut sim = sim();
    let reply = sim.definitions(vec![orchestration("new", &[("a", "nothing", &[])])]);
    assert_eq!(reply, Err(Rejection::Stale));
}
