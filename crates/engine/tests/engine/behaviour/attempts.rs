//! Attempts, their five results, and how a run ends.

use serde_json::json;
use unisono_engine::orchestration::{OrchestrationCommand, Report};
use unisono_engine::payload::Patch;
use unisono_engine::{Effect, Rejection, Reply};
use unisono_model::api::{ActivityState, OrchestrationState, OrchestrationView};
use unisono_model::limits::MAX_CONTEXT_BYTES;
use unisono_model::name::Name;

use super::{handed_out, only, running, sim};
use crate::documents::{failure, name, orchestration, payload, set, with};
use crate::sim::Sim;

fn code(view: &OrchestrationView) -> Option<String> {
    view.error.as_ref().unwrap().error.code.clone()
}

fn states(view: &OrchestrationView) -> Vec<ActivityState> {
    view.activities.iter().map(|activity| activity.state).collect()
}

fn cancelled(effects: &[Effect]) -> usize {
    effects
        .iter()
        .filter(|effect| matches!(effect, Effect::CancelAttempt { .. }))
        .count()
}

#[test]
fn an_activity_is_handed_out_the_moment_its_own_dependencies_are_done() {
    let mut sim = sim();
    let two_tiers: &[(&str, &str, &[&str])] = &[
        ("a", "work", &[]),
        ("slow", "work", &[]),
        ("b", "work", &["a"]),
        ("late", "work", &["slow"]),
    ];
    sim.definitions(vec![orchestration("tiers", two_tiers)]).unwrap();
    sim.join("i", &["work"], 10);
    sim.start("r", "tiers", 1).unwrap();
    let first = sim.dispatch();
    assert_eq!(first.len(), 2);
    sim.complete(first[0].1.token).unwrap();
    assert_eq!(handed_out(&mut sim), [("r".to_owned(), "b".to_owned())]);
    assert_eq!(sim.view("r").activities[3].reason, "waits for slow");
}

#[test]
fn a_run_is_initialized_until_its_first_activity_is_handed_out() {
    let mut sim = sim();
    sim.start("r", "single", 1).unwrap();
    assert_eq!(sim.view("r").summary.state, OrchestrationState::Initialized);
    sim.join("i", &["work"], 1);
    let token = only(&mut sim).token;
    let view = sim.view("r");
    assert_eq!(view.summary.state, OrchestrationState::Running);
    assert_eq!(view.activities[0].reason, "attempt 1 on agent worker");
    assert_eq!(view.activities[0].token, Some(token));
}

#[test]
fn without_an_output_mapping_the_result_is_every_output_by_activity() {
    let mut sim = sim();
    sim.join("i", &["work"], 1);
    sim.start("r", "chain", 1).unwrap();
    for output in [r#"{"x":1}"#, "[2]", "null"] {
        let token = only(&mut sim).token;
        sim.report(token, Report::Complete(payload(output))).unwrap();
    }
    let view = sim.archived("r");
    assert_eq!(view.summary.state, OrchestrationState::Completed);
    assert_eq!(view.output.unwrap().get(), r#"{"a":{"x":1},"b":[2],"c":null}"#);
}

#[test]
fn an_output_mapping_makes_the_result() {
    let mut sim = sim();
    let definition = with(
        orchestration("mapped", &[("a", "work", &[]), ("b", "work", &["a"])]),
        json!({"output": [{"source": "a.x", "target": "first"}, "b.y", "cell", "b.absent"]}),
    );
    sim.definitions(vec![definition]).unwrap();
    sim.join("i", &["work"], 1);
    let mut start = crate::sim::start("r", "mapped", 1);
    start.input = payload(r#"{"cell":"north"}"#);
    sim.start_with(start).unwrap();
    for output in [r#"{"x":1}"#, r#"{"y":[2]}"#] {
        let token = only(&mut sim).token;
        sim.report(token, Report::Complete(payload(output))).unwrap();
    }
    let view = sim.archived("r");
    assert_eq!(view.output.unwrap().get(), r#"{"first":1,"y":[2],"cell":"north"}"#);
}

#[test]
fn a_second_result_for_an_attempt_is_refused() {
    let mut sim = sim();
    sim.join("i", &["work"], 1);
    sim.start("r", "chain", 1).unwrap();
    let token = only(&mut sim).token;
    sim.complete(token).unwrap();
    let refused = sim.complete(token).unwrap_err();
    assert_eq!(refused, Rejection::StaleToken { token });
}

#[test]
fn a_token_with_the_right_revision_and_a_wrong_nonce_is_refused() {
    let (mut sim, mut token) = running();
    token.nonce ^= 1;
    assert_eq!(sim.complete(token), Err(Rejection::StaleToken { token }));
}

#[test]
fn a_wait_without_an_answer_by_its_deadline_fails_the_run() {
    let (mut sim, token) = running();
    sim.report(token, Report::Wait(Some(5_000))).unwrap();
    let reason = &sim.view("r").activities[0].reason;
    assert_eq!(
        *reason,
        format!("waits for an external call with token {token}; fails at 2023-11-14T22:13:25.000Z without one")
    );
    sim.advance(4_999);
    assert_eq!(states(&sim.view("r")), [ActivityState::Waiting]);
    sim.advance(1);
    let view = sim.archived("r");
    assert_eq!(view.summary.state, OrchestrationState::Errored);
    assert_eq!(code(&view).as_deref(), Some("wait-timeout"));
}

#[test]
fn two_waits_that_time_out_together_end_their_run_once() {
    let mut sim = sim();
    sim.join("i", &["work"], 3);
    sim.start("r", "fan", 1).unwrap();
    for (_, task) in sim.dispatch() {
        sim.report(task.token, Report::Wait(Some(1_000))).unwrap();
    }
    let before = sim.state.revision;
    sim.advance(1_000);
    assert_eq!(sim.state.revision.0 - before.0, 2, "failed and errored, once");
}

#[test]
fn a_waiting_activity_frees_its_agent_and_is_completed_from_outside() {
    let mut sim = sim();
    sim.join("i", &["work"], 1);
    sim.start("r", "fan", 1).unwrap();
    let token = only(&mut sim).token;
    sim.report(token, Report::Wait(None)).unwrap();
    only(&mut sim);
    assert_eq!(
        sim.complete(token),
        Err(Rejection::StaleToken { token }),
        "the agent has given it away"
    );
    let answer = Report::Complete(payload("1"));
    let refused = sim.resolve(("r", "b"), token, answer.clone());
    assert_eq!(refused, Err(Rejection::TokenOfAnother { token }));
    sim.resolve(("r", "a"), token, answer.clone()).unwrap();
    assert!(sim.resolve(("r", "a"), token, answer).is_err());
}

#[test]
fn a_callback_may_be_faster_than_the_result_that_announces_the_wait() {
    let mut sim = sim();
    sim.join("i", &["work"], 1);
    sim.start("r", "chain", 1).unwrap();
    let token = only(&mut sim).token;
    sim.resolve(("r", "a"), token, Report::Complete(payload("1"))).unwrap();
    assert_eq!(
        sim.report(token, Report::Wait(None)),
        Err(Rejection::StaleToken { token })
    );
    assert_eq!(handed_out(&mut sim), [("r".to_owned(), "b".to_owned())]);
}

#[test]
fn a_scheduled_activity_runs_again_at_its_time_with_the_context_it_left() {
    let (mut sim, token) = running();
    sim.report_with(token, Report::Schedule(60_000), Some(set("page", "2")))
        .unwrap();
    assert!(sim.dispatch().is_empty());
    assert_eq!(
        sim.view("r").activities[0].reason,
        "runs again at 2023-11-14T22:14:20.000Z, as it asked to"
    );
    sim.advance(60_000);
    let message = only(&mut sim).message().unwrap();
    assert_eq!(message.attempt, 2);
    assert_eq!(message.context.get(), r#"{"page":2}"#);
    assert_ne!(message.token, token);
}

#[test]
fn recoverable_errors_are_retried_up_to_the_limit_and_then_fail_the_run() {
    let (mut sim, mut token) = running();
    let limit = sim.settings.retry.max_errors;
    for error in 1..limit {
        sim.report(token, Report::Retry(failure("busy"))).unwrap();
        let reason = sim.view("r").activities[0].reason.clone();
        assert!(
            reason.ends_with(&format!("after error {error} of at most {limit}: busy")),
            "{reason}"
        );
        sim.advance(sim.settings.retry.max_ms);
        token = only(&mut sim).token;
    }
    sim.report(token, Report::Retry(failure("busy"))).unwrap();
    let view = sim.archived("r");
    assert_eq!(view.summary.state, OrchestrationState::Errored);
    assert_eq!(
        view.reason,
        "activity a failed: gave up after 20 errors; the last: busy"
    );
}

#[test]
fn a_fatal_error_ends_the_run_and_stops_its_siblings() {
    let mut sim = sim();
    sim.join("i", &["work"], 2);
    sim.start("r", "fan", 1).unwrap();
    let tasks = sim.dispatch();
    sim.report(tasks[0].1.token, Report::Fatal(failure("no such cell")))
        .unwrap();
    assert_eq!(cancelled(&sim.effects), 1);
    let view = sim.archived("r");
    assert_eq!(
        states(&view),
        [
            ActivityState::Failed,
            ActivityState::Cancelled,
            ActivityState::Skipped,
            ActivityState::Skipped
        ]
    );
    assert_eq!(view.reason, "activity a failed: no such cell");
    let token = tasks[1].1.token;
    assert_eq!(sim.complete(token), Err(Rejection::StaleToken { token }));
    assert!(sim.dispatch().is_empty());
}

#[test]
fn cancel_says_what_it_cancelled_and_what_never_ran_and_tells_agents() {
    let mut sim = sim();
    sim.join("i", &["work"], 3);
    sim.start("r", "fan", 1).unwrap();
    let tasks = sim.dispatch();
    sim.complete(tasks[0].1.token).unwrap();
    sim.report(tasks[1].1.token, Report::Wait(None)).unwrap();
    let reply = sim.cancel("r").unwrap();
    let names = |ids: &[&str]| -> Vec<Name> { ids.iter().map(|id| name(id)).collect() };
    assert_eq!(
        reply,
        Reply::Cancelled {
            cancelled: names(&["b", "c"]),
            skipped: names(&["join"]),
        }
    );
    assert_eq!(cancelled(&sim.effects), 1, "only c is held by an agent");
    let view = sim.archived("r");
    assert_eq!(view.reason, "cancelled by a person: not wanted");
    assert_eq!(
        states(&view),
        [
            ActivityState::Completed,
            ActivityState::Cancelled,
            ActivityState::Cancelled,
            ActivityState::Skipped
        ]
    );
    assert_eq!(sim.cancel("r"), Err(Rejection::NotOpen { id: name("r") }));
}

#[test]
fn parallel_activities_change_the_context_key_by_key_and_the_last_writer_shows() {
    let mut sim = sim();
    sim.join("i", &["work"], 3);
    sim.start("r", "fan", 1).unwrap();
    let tasks = sim.dispatch();
    let save = |token, patch| OrchestrationCommand::SaveContext { token, patch };
    let [a, b, _] = [0, 1, 2].map(|index: usize| tasks[index].1.token);
    sim.orchestration(save(a, set("one", "1"))).unwrap();
    sim.orchestration(save(b, set("two", "2"))).unwrap();
    sim.orchestration(save(b, set("one", "3"))).unwrap();
    let delete = Patch {
        set: Vec::new(),
        delete: vec!["two".to_owned(), "absent".to_owned()],
    };
    sim.report_with(a, Report::Complete(payload("1")), Some(delete))
        .unwrap();
    let view = sim.view("r");
    assert_eq!(view.context.len(), 1);
    assert_eq!(view.context["one"].value.get(), "3");
    assert_eq!(*view.context["one"].written_by, *"b");
    assert!(sim.orchestration(save(a, set("late", "1"))).is_err());
}

fn save(sim: &mut Sim, patch: Patch) -> Result<Reply, Rejection> {
    let token = sim.view("r").activities[0].token.unwrap();
    sim.orchestration(OrchestrationCommand::SaveContext { token, patch })
}

fn text(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

#[test]
fn the_context_grows_to_its_limit_and_not_past_it() {
    let (mut sim, token) = running();
    let most = text(MAX_CONTEXT_BYTES - 1);
    save(&mut sim, set("k", &most)).unwrap();
    save(&mut sim, set("k", &most)).unwrap();
    assert_eq!(save(&mut sim, set("l", "1")), Err(Rejection::ContextTooLarge));
    sim.report_with(token, Report::Schedule(1), Some(set("l", "1")))
        .unwrap();
    assert_eq!(code(&sim.archived("r")).as_deref(), Some("context-too-large"));
}

#[test]
fn naming_a_key_twice_does_not_make_room_twice() {
    let (mut sim, _) = running();
    save(&mut sim, set("old", &text(MAX_CONTEXT_BYTES / 2))).unwrap();
    let greedy = Patch {
        set: vec![("new".to_owned(), payload(&text(MAX_CONTEXT_BYTES + 100)))],
        delete: vec!["old".to_owned(), "old".to_owned()],
    };
    assert_eq!(save(&mut sim, greedy), Err(Rejection::ContextTooLarge));
}
