//! Traces of runs, and what is told of their attempts.

use unisono_engine::orchestration::{AttemptEnded, Report, Trace};
use unisono_engine::{Effect, State};
use unisono_model::ids::Revision;
use unisono_model::trace::{SpanId, TraceContext};

use super::sim;
use crate::documents::{failure, payload};
use crate::sim::{Sim, start};
use crate::storage::replay;

const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;

fn traced(flags: u8) -> Trace {
    let context = TraceContext {
        flags,
        state: Some("vendor=1".to_owned()),
        ..TraceContext::sampled(TRACE, SpanId::new(7))
    };
    Trace::new(&context, Some(SpanId::new(5)))
}

fn begin(sim: &mut Sim, definition: &str, flags: u8) {
    let mut made = start("r", definition, 1);
    made.trace = Some(traced(flags));
    sim.start_with(made).unwrap();
    sim.join("i", &["work"], 8);
}

/// What was told since the effects were last taken, as `a complete`.
fn told(sim: &mut Sim) -> Vec<AttemptEnded> {
    let effects = std::mem::take(&mut sim.effects);
    effects
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::AttemptEnded(ended) => Some(*ended),
            _ => None,
        })
        .collect()
}

#[test]
fn the_message_of_an_attempt_names_its_span_by_the_nonce_of_its_token() {
    let mut sim = sim();
    begin(&mut sim, "single", 1);
    let message = sim.dispatch()[0].1.message().unwrap();
    let parent = TraceContext::read([message.traceparent.as_deref().unwrap()], []).unwrap();
    assert_eq!((parent.trace, parent.span.get()), (TRACE, message.token.nonce));
    assert_eq!(message.tracestate.as_deref(), Some("vendor=1"));
}

#[test]
fn each_end_of_an_attempt_is_told_once_with_when_it_began_and_how_it_ended() {
    let mut sim = sim();
    begin(&mut sim, "single", 1);
    let token = sim.dispatch()[0].1.token;
    let began = sim.now;
    sim.now = sim.now.plus_millis(30);
    sim.report(token, Report::Retry(failure("busy"))).unwrap();
    let ended = told(&mut sim);
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].began, ended[0].ended, ended[0].attempt), (began, sim.now, 1));
    assert_eq!((ended[0].outcome, ended[0].error.as_deref()), ("retry", Some("busy")));

    sim.advance(60_000);
    let token = sim.dispatch()[0].1.token;
    sim.report(token, Report::Wait(None)).unwrap();
    sim.resolve(("r", "a"), token, Report::Complete(payload("{}"))).unwrap();
    let how: Vec<_> = told(&mut sim)
        .iter()
        .map(|it| (it.outcome, it.waited, it.attempt))
        .collect();
    assert_eq!(how, [("wait", false, 2), ("complete", true, 2)]);
}

#[test]
fn what_is_stopped_by_the_end_of_the_run_is_told_as_cancelled() {
    let mut sim = sim();
    begin(&mut sim, "fan", 1);
    assert_eq!(sim.dispatch().len(), 3);
    sim.cancel("r").unwrap();
    let how: Vec<_> = told(&mut sim).iter().map(|it| it.outcome).collect();
    assert_eq!(how, ["cancelled"; 3]);
}

#[test]
fn nothing_is_told_of_a_run_whose_trace_is_not_recorded_and_its_context_travels_all_the_same() {
    let mut sim = sim();
    begin(&mut sim, "single", 0);
    let task = sim.dispatch().remove(0).1;
    assert!(task.message().unwrap().traceparent.unwrap().ends_with("-00"));
    sim.complete(task.token).unwrap();
    assert!(told(&mut sim).is_empty());
}

#[test]
fn a_trace_survives_a_restart_from_the_journal_and_from_a_checkpoint() {
    let mut sim = sim();
    begin(&mut sim, "single", 1);
    sim.dispatch();
    let mut replayed = State::new(sim.settings);
    replay(&mut replayed, &sim.journal, Revision(0));
    let mut loaded = State::new(sim.settings);
    for entity in sim.state.take_dirty() {
        loaded.load(entity, &sim.state.row(entity).unwrap()).unwrap();
    }
    for state in [&replayed, &loaded] {
        let run = state
            .runs()
            .by_id(&crate::documents::space(), &crate::documents::name("r"))
            .unwrap();
        assert_eq!(run.origin.trace.as_deref(), Some(&traced(1)));
    }
}
