//! Starting runs.

use unisono_engine::{Rejection, Reply};
use unisono_model::ids::Revision;

use super::{only, running, sim};
use crate::documents::{name, payload};
use crate::sim::start;

fn created(reply: Result<Reply, Rejection>) -> bool {
    match reply {
        Ok(Reply::Started { created, .. }) => created,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_id_with_the_same_content_gives_the_existing_run() {
    let mut sim = sim();
    assert!(created(sim.start("r", "single", 1)));
    let revision = sim.state.revision;
    assert!(!created(sim.start("r", "single", 1)));
    assert_eq!(sim.state.revision, revision, "nothing was decided");
    assert_eq!(sim.state.runs().len(), 1);
}

#[test]
fn the_same_id_with_other_content_is_a_conflict() {
    let mut sim = sim();
    sim.start("r", "single", 1).unwrap();
    let mut other = start("r", "single", 1);
    other.digest = 43;
    let refused = sim.start_with(other).unwrap_err();
    assert_eq!(refused, Rejection::IdTaken { id: name("r") });
    assert_eq!(
        refused.to_string(),
        "orchestration \"r\" exists and was started with other content"
    );
}

#[test]
fn an_id_is_remembered_after_its_run_has_ended() {
    let (mut sim, token) = running();
    sim.complete(token).unwrap();
    assert!(sim.state.runs().is_empty());
    assert!(!created(sim.start("r", "single", 1)));
    let mut other = start("r", "single", 1);
    other.digest = 43;
    assert_eq!(sim.start_with(other), Err(Rejection::IdTaken { id: name("r") }));
}

#[test]
fn the_same_id_in_another_namespace_is_another_run() {
    let mut sim = sim();
    sim.start("r", "single", 1).unwrap();
    let mut elsewhere = start("r", "single", 1);
    elsewhere.namespace = name("elsewhere");
    assert!(matches!(
        sim.start_with(elsewhere),
        Err(Rejection::DefinitionNotFound { .. })
    ));
}

#[test]
fn a_start_that_was_checked_before_ended_runs_were_forgotten_is_stale() {
    let mut sim = sim();
    sim.state.loaded(Revision(100)).unwrap();
    let mut old = start("r", "single", 1);
    old.absent_as_of = Some(Revision(99));
    assert_eq!(sim.start_with(old.clone()), Err(Rejection::Stale));
    old.absent_as_of = Some(Revision(100));
    assert!(created(sim.start_with(old)));
}

#[test]
fn the_oldest_of_many_ended_runs_is_forgotten_and_its_id_must_be_looked_up_again() {
    let mut sim = sim();
    sim.join("i", &["work"], 1);
    let mut first_end = Revision(0);
    for number in 0..=65_536 {
        let mut start = start(&format!("r{number}"), "single", 1);
        start.absent_as_of = Some(sim.state.revision);
        sim.start_with(start).unwrap();
        let token = only(&mut sim).token;
        sim.complete(token).unwrap();
        if number == 0 {
            first_end = sim.state.revision;
        }
        sim.journal.clear();
        sim.facts.clear();
    }
    let mut again = start("r0", "single", 1);
    again.absent_as_of = Some(Revision(first_end.0 - 1));
    assert_eq!(sim.start_with(again), Err(Rejection::Stale));
    assert!(!created(sim.start("r1", "single", 1)), "the others are remembered");
}

#[test]
fn an_unknown_definition_and_an_unknown_version_are_named() {
    let mut sim = sim();
    assert_eq!(
        sim.start("r", "nothing", 1).unwrap_err().to_string(),
        "there is no orchestration definition of type \"nothing\""
    );
    let mut pinned = start("r", "single", 7);
    pinned.pinned = true;
    assert_eq!(
        sim.start_with(pinned).unwrap_err().to_string(),
        "orchestration definition \"single\" has no version 7; its newest is 1"
    );
}

#[test]
fn a_run_made_by_the_server_has_no_digest_and_conflicts_with_a_callers_start() {
    let mut sim = sim();
    let mut made = start("r", "single", 1);
    made.absent_as_of = None;
    made.digest = 0;
    assert!(created(sim.start_with(made)));
    assert_eq!(sim.start("r", "single", 1), Err(Rejection::IdTaken { id: name("r") }));
}

#[test]
fn a_run_shows_what_it_was_started_with() {
    let mut sim = sim();
    let mut start = start("r", "single", 1);
    start.correlation_id = Some("order 7".to_owned());
    start.labels = [("team".to_owned(), "blue".to_owned())].into();
    start.input = payload(r#"{"cell":"north"}"#);
    sim.start_with(start).unwrap();
    let view = sim.view("r");
    assert_eq!(view.summary.correlation_id.as_deref(), Some("order 7"));
    assert_eq!(view.summary.labels["team"], "blue");
    assert_eq!(view.input.get(), r#"{"cell":"north"}"#);
    assert_eq!(
        view.reason,
        "ready: a (a: no connected agent runs activity type work; start one that does)"
    );
}
