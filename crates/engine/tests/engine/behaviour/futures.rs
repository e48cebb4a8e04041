//! Futures: promises, those who await them, and cycles of waiting.

use unisono_engine::orchestration::{OrchestrationCommand, RunKey};
use unisono_engine::value::{Await, AwaitId, Awaited, Operation, ValueCommand, ValueRejection};
use unisono_engine::{AwaitStart, Effect, Rejection};
use unisono_model::ids::Revision;
use unisono_model::name::Name;
use unisono_model::values::{FutureState, WaitStep};

use crate::acts::{acquire, declare, grant, json, key, put_of, try_acquire, try_declare, try_put, try_write};
use crate::documents::{name, payload, space};
use crate::sim::Sim;
use unisono_engine::lease::{LeaseCommand, LeaseRejection, LockAddress, Mode};

fn begin(sim: &mut Sim, id: u64, at: &str, party: Option<&str>) -> AwaitStart {
    sim.state.await_value(Await {
        id: AwaitId(id),
        namespace: space(),
        key: key(at),
        party: party.map(name),
        who: "a test".to_owned(),
        since: sim.now,
        until: None,
    })
}

/// Who was answered since this was last asked, and how.
fn answers(sim: &mut Sim) -> Vec<(Vec<u64>, Awaited)> {
    let effects = std::mem::take(&mut sim.effects);
    let answers = effects.into_iter().filter_map(|effect| match effect {
        Effect::Awaited { ids, outcome } => Some((ids.iter().map(|id| id.0).collect(), Awaited::clone(&outcome))),
        _ => None,
    });
    answers.collect()
}

fn keep(sim: &mut Sim, at: &str, producer: &str) -> Result<(), Rejection> {
    let party = Some(name(producer));
    try_write(sim, vec![put_of(at, json("7"))], |write| write.party = party).map(drop)
}

fn state(sim: &Sim, at: &str) -> FutureState {
    sim.state.future_view(&space(), &key(at)).unwrap().state
}

fn told(steps: &[WaitStep]) -> String {
    let step = |it: &WaitStep| {
        let of = if it.queued { "behind" } else { "of" };
        format!("{}: {} {of} {}", it.party, it.waits_for, it.held_by)
    };
    steps.iter().map(step).collect::<Vec<_>>().join(", ")
}

#[test]
fn all_who_await_a_key_are_answered_by_one_write() {
    let mut sim = Sim::new();
    for id in 1..=3 {
        assert_eq!(begin(&mut sim, id, "a", None), AwaitStart::Waits);
    }
    sim.state.stop_awaiting(AwaitId(2));
    try_put(&mut sim, "a", json("7"), |_| {}).unwrap();
    let answers = answers(&mut sim);
    let [(ids, Awaited::Value(value))] = &answers[..] else {
        panic!("{answers:?}");
    };
    assert_eq!(*ids, [1, 3]);
    assert_eq!(value.data, json("7"));
    assert!(matches!(
        begin(&mut sim, 4, "a", None),
        AwaitStart::Now(Awaited::Value(_))
    ));
}

#[test]
fn a_promise_is_kept_once_in_each_epoch_and_only_by_its_producer() {
    let mut sim = Sim::new();
    declare(&mut sim, "a", "p", None);
    let refused = keep(&mut sim, "a", "q").unwrap_err().to_string();
    assert!(refused.contains("a future that p has promised"), "{refused}");
    assert!(try_put(&mut sim, "a", json("1"), |_| {}).is_err());
    keep(&mut sim, "a", "p").unwrap();
    let refused = keep(&mut sim, "a", "p").unwrap_err();
    assert!(
        matches!(refused, Rejection::Value(ValueRejection::Settled { epoch: 1, .. })),
        "{refused:?}"
    );
    declare(&mut sim, "a", "p", None);
    assert_eq!(
        state(&sim, "a"),
        FutureState::Kept,
        "a producer that starts again changes nothing"
    );
    try_declare(&mut sim, "a", "p", |declare| declare.new_epoch = true).unwrap();
    assert_eq!(
        begin(&mut sim, 1, "a", None),
        AwaitStart::Waits,
        "the value of the old epoch is gone"
    );
    keep(&mut sim, "a", "p").unwrap();
    assert_eq!(answers(&mut sim).len(), 1);
    assert_eq!(sim.state.future_view(&space(), &key("a")).unwrap().epoch, 2);
}

#[test]
fn a_broken_promise_tells_all_who_await_it_why_and_all_who_come_later() {
    let mut sim = Sim::new();
    declare(&mut sim, "a", "p", None);
    begin(&mut sim, 1, "a", Some("q"));
    let (namespace, reason) = (space(), "the pump is off".to_owned());
    sim.value(ValueCommand::Break {
        namespace,
        key: key("a"),
        reason: reason.clone(),
        actor: None,
    })
    .unwrap();
    let broken = Awaited::Broken {
        producer: name("p"),
        reason,
    };
    assert_eq!(answers(&mut sim), [(vec![1], broken.clone())]);
    assert_eq!(begin(&mut sim, 2, "a", None), AwaitStart::Now(broken));
}

#[test]
fn a_promise_ends_with_its_time_its_producers_lease_or_its_value() {
    let mut sim = Sim::new();
    let lease = grant(&mut sim, "p", 1_000);
    declare(&mut sim, "timed", "p", Some(500));
    try_declare(&mut sim, "leased", "p", |declare| declare.lease = Some(lease)).unwrap();
    declare(&mut sim, "short-lived", "p", None);
    for (id, at) in [(1, "timed"), (2, "leased")] {
        begin(&mut sim, id, at, None);
    }
    try_write(&mut sim, vec![put_of("short-lived", json("1"))], |write| {
        write.party = Some(name("p"));
        if let Operation::Put(put) = &mut write.operations[0] {
            put.ttl_ms = Some(700);
        }
    })
    .unwrap();
    sim.advance(499);
    assert!(answers(&mut sim).is_empty());
    sim.advance(1);
    assert!(matches!(&answers(&mut sim)[..], [(ids, Awaited::Expired { .. })] if ids[..] == [1]));
    sim.advance(200);
    assert_eq!(state(&sim, "short-lived"), FutureState::Expired);
    assert!(matches!(
        begin(&mut sim, 3, "short-lived", None),
        AwaitStart::Now(Awaited::Expired { .. })
    ));
    sim.advance(300);
    let said = answers(&mut sim);
    let [(_, Awaited::Broken { reason, .. })] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(reason, "the lease of its producer was not renewed in time");
}

#[test]
fn a_promise_of_an_activity_is_broken_when_its_orchestration_ends() {
    let mut sim = super::sim();
    sim.start("r", "single", 1).unwrap();
    let run = RunKey(sim.state.revision.0);
    try_declare(&mut sim, "a", "r.a", |declare| declare.run = Some(run)).unwrap();
    begin(&mut sim, 1, "a", None);
    sim.effects.clear();
    let (namespace, id) = (space(), name("r"));
    let (reason, actor) = ("no".to_owned(), "ada".to_owned());
    sim.orchestration(OrchestrationCommand::Cancel {
        namespace,
        id,
        reason,
        actor,
    })
    .unwrap();
    let said = answers(&mut sim);
    let [(_, Awaited::Broken { reason, .. })] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(reason, "the orchestration of its producer was cancelled");
}

#[test]
fn who_closes_a_cycle_by_awaiting_is_told_all_of_it() {
    let mut sim = Sim::new();
    for (at, producer) in [("ka", "a"), ("kb", "b"), ("kc", "c")] {
        declare(&mut sim, at, producer, None);
    }
    assert_eq!(begin(&mut sim, 1, "kb", Some("a")), AwaitStart::Waits);
    assert_eq!(begin(&mut sim, 2, "kc", Some("b")), AwaitStart::Waits);
    let AwaitStart::Cycle(cycle) = begin(&mut sim, 3, "ka", Some("c")) else {
        panic!("c waits for a, which waits for b, which waits for c");
    };
    assert_eq!(told(&cycle), "c: value ka of a, a: value kb of b, b: value kc of c");
    assert_eq!(sim.state.value_counts().awaiting, 2, "it does not wait");
    sim.state.stop_awaiting(AwaitId(1));
    assert_eq!(
        begin(&mut sim, 4, "ka", Some("c")),
        AwaitStart::Waits,
        "the cycle is open again"
    );
    let AwaitStart::Cycle(own) = begin(&mut sim, 5, "kb", Some("b")) else {
        panic!("b waits for itself");
    };
    assert_eq!(told(&own), "b: value kb of b");
}

#[test]
fn who_closes_a_cycle_by_promising_is_told_all_of_it() {
    let mut sim = Sim::new();
    declare(&mut sim, "ka", "a", None);
    begin(&mut sim, 1, "nobodys", Some("a"));
    begin(&mut sim, 2, "ka", Some("b"));
    let refused = try_declare(&mut sim, "nobodys", "b", |_| {}).unwrap_err();
    let Rejection::Value(ValueRejection::Cycle { cycle }) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(told(cycle), "a: value nobodys of b, b: value ka of a");
    assert!(
        refused
            .to_string()
            .contains("a waits for value nobodys, which b has to give"),
        "{refused}"
    );
    assert!(sim.state.future_view(&space(), &key("nobodys")).is_none());
}

#[test]
fn cycles_go_through_locks_too() {
    let mut sim = Sim::new();
    let (a, b) = (grant(&mut sim, "a", 60_000), grant(&mut sim, "b", 60_000));
    acquire(&mut sim, lock("pump"), a, Mode::Exclusive);
    acquire(&mut sim, lock("valve"), b, Mode::Exclusive);
    acquire(&mut sim, lock("valve"), a, Mode::Exclusive);
    let refused = try_acquire(&mut sim, lock("pump"), (b, Mode::Exclusive), Some(1_000)).unwrap_err();
    let Rejection::Lease(LeaseRejection::Cycle { cycle }) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(told(cycle), "b: lock pump of a, a: lock valve of b");
    declare(&mut sim, "ka", "a", None);
    let AwaitStart::Cycle(cycle) = begin(&mut sim, 1, "ka", Some("b")) else {
        panic!("b waits for a, which waits for b's lock");
    };
    assert_eq!(told(&cycle), "b: value ka of a, a: lock valve of b");
    let release = LeaseCommand::Release {
        lock: lock("valve"),
        lease: b,
    };
    sim.lease(release).unwrap();
    assert_eq!(begin(&mut sim, 2, "ka", Some("b")), AwaitStart::Waits);
}

fn lock(text: &str) -> LockAddress {
    LockAddress::lock(space(), name(text))
}

/// The cycle that asking for a lock would close.
fn closed_by(sim: &mut Sim, text: &str, lease: (Revision, Mode)) -> String {
    let before = sim.state.revision;
    match try_acquire(sim, lock(text), lease, Some(1_000)) {
        Err(Rejection::Lease(LeaseRejection::Cycle { cycle })) => {
            assert_eq!(sim.state.revision, before);
            told(&cycle)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_stands_behind_another_waits_for_it_before_it_has_the_lock() {
    let mut sim = Sim::new();
    let [a, b, holder] = ["a", "b", "holder"].map(|who| grant(&mut sim, who, 60_000));
    declare(&mut sim, "kb", "b", None);
    acquire(&mut sim, lock("pump"), holder, Mode::Exclusive);
    acquire(&mut sim, lock("pump"), a, Mode::Exclusive);
    assert_eq!(begin(&mut sim, 1, "kb", Some("a")), AwaitStart::Waits);
    let cycle = closed_by(&mut sim, "pump", (b, Mode::Exclusive));
    assert_eq!(cycle, "b: lock pump behind a, a: value kb of b");
    sim.state.stop_awaiting(AwaitId(1));
    acquire(&mut sim, lock("pump"), b, Mode::Exclusive);
    let AwaitStart::Cycle(cycle) = begin(&mut sim, 2, "kb", Some("a")) else {
        panic!("a waits for b, which waits for the lock behind a");
    };
    assert_eq!(told(&cycle), "a: value kb of b, b: lock pump behind a");
    let refused = begin(&mut sim, 3, "nobodys", Some("a"));
    assert_eq!(refused, AwaitStart::Waits);
    let Err(Rejection::Value(ValueRejection::Cycle { cycle })) = try_declare(&mut sim, "nobodys", "b", |_| {}) else {
        panic!("b cannot give what a needs before it leaves the lock");
    };
    assert_eq!(told(&cycle), "a: value nobodys of b, b: lock pump behind a");
}

#[test]
fn a_reader_waits_for_no_reader_before_it_but_for_the_last_writer_and_all_before_that() {
    let mut sim = Sim::new();
    let [a, b, c, holder] = ["a", "b", "c", "holder"].map(|who| grant(&mut sim, who, 60_000));
    declare(&mut sim, "kb", "b", None);
    acquire(&mut sim, lock("pump"), holder, Mode::Exclusive);
    acquire(&mut sim, lock("pump"), a, Mode::Shared);
    begin(&mut sim, 1, "kb", Some("a"));
    acquire(&mut sim, lock("pump"), b, Mode::Shared);
    let release = LeaseCommand::Release {
        lock: lock("pump"),
        lease: b,
    };
    sim.lease(release).unwrap();
    acquire(&mut sim, lock("pump"), c, Mode::Exclusive);
    let cycle = closed_by(&mut sim, "pump", (b, Mode::Shared));
    assert_eq!(cycle, "b: lock pump behind a, a: value kb of b");
}

#[test]
fn who_waits_for_a_semaphore_waits_for_ever_only_when_nobody_can_give_a_permit_back() {
    let mut sim = Sim::new();
    let [a, b, c] = ["a", "b", "c"].map(|who| grant(&mut sim, who, 60_000));
    let permit = Mode::Permit { of: 2 };
    declare(&mut sim, "kb", "b", None);
    acquire(&mut sim, lock("pool"), a, permit);
    acquire(&mut sim, lock("pool"), c, permit);
    assert_eq!(begin(&mut sim, 1, "kb", Some("a")), AwaitStart::Waits);
    acquire(&mut sim, lock("pool"), b, permit);
    let AwaitStart::Cycle(cycle) = begin(&mut sim, 2, "kb", Some("c")) else {
        panic!("a and c wait for b, which waits until a or c gives a permit back");
    };
    assert_eq!(told(&cycle), "c: value kb of b, b: lock pool of c");
}

#[test]
fn who_only_tries_is_told_who_has_the_lock_whatever_waits_for_what() {
    let mut sim = Sim::new();
    let [a, b] = ["a", "b"].map(|who| grant(&mut sim, who, 60_000));
    declare(&mut sim, "kb", "b", None);
    acquire(&mut sim, lock("pump"), a, Mode::Exclusive);
    begin(&mut sim, 1, "kb", Some("a"));
    let tried = try_acquire(&mut sim, lock("pump"), (b, Mode::Exclusive), None).unwrap_err();
    assert!(
        matches!(tried, Rejection::Lease(LeaseRejection::Held { .. })),
        "{tried:?}"
    );
}

#[test]
fn a_value_must_be_checked_against_the_schema_that_is_in_force() {
    let mut sim = Sim::new();
    let schema = |text: &str| Some(payload(text));
    try_declare(&mut sim, "a", "p", |declare| {
        declare.schema = schema("{\"type\":\"string\"}")
    })
    .unwrap();
    let unchecked = keep(&mut sim, "a", "p").unwrap_err();
    let Rejection::Value(ValueRejection::Unchecked { declared, .. }) = unchecked else {
        panic!("{unchecked:?}");
    };
    try_declare(&mut sim, "a", "p", |declare| {
        declare.schema = schema("{\"type\":\"number\"}")
    })
    .unwrap();
    let checked = |write: &mut unisono_engine::value::Write| {
        write.party = Some(name("p"));
        write.checked = vec![declared];
    };
    let stale = try_write(&mut sim, vec![put_of("a", json("\"x\""))], checked).unwrap_err();
    assert!(
        matches!(stale, Rejection::Value(ValueRejection::Unchecked { .. })),
        "{stale:?}"
    );
    let in_force: Name = name("p");
    let declared = sim.state.revision;
    try_write(&mut sim, vec![put_of("a", json("1"))], |write| {
        write.party = Some(in_force);
        write.checked = vec![declared];
    })
    .unwrap();
}
