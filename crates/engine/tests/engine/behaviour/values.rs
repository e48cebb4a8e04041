//! Values: writing, comparing, expiring, fencing.

use unisono_engine::Rejection;
use unisono_engine::value::{Condition, Data, Expect, Fence, Operation, ValueRejection};
use unisono_model::ids::Revision;

use crate::acts::{grant, json, key, put, put_of, try_put, try_write};
use crate::documents::space;
use crate::sim::Sim;

fn content(sim: &Sim, at: &str) -> Option<String> {
    let value = sim.state.values().get(&space(), at)?;
    Some(String::from_utf8(value.content().to_vec()).unwrap())
}

fn delete(at: &str) -> Operation {
    Operation::Delete {
        key: key(at),
        fence: None,
    }
}

fn fenced(sim: &mut Sim, at: &str, token: Revision) -> Result<(), ValueRejection> {
    let put = try_put(sim, at, json("1"), |put| put.fence = Some(Fence { token, lock: None }));
    match put {
        Ok(_) => Ok(()),
        Err(Rejection::Value(rejection)) => Err(rejection),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_transaction_whose_condition_fails_changes_nothing_and_says_what_is_there() {
    let mut sim = Sim::new();
    put(&mut sim, "a", json("1"), |_| {});
    let before = sim.state.hash();
    let refused = try_write(&mut sim, vec![put_of("b", json("2")), delete("a")], |write| {
        let is = [
            ("a", Expect::Present),
            ("b", Expect::Present),
            ("a", Expect::Content(json("2"))),
        ];
        write.conditions = is.map(|(at, is)| Condition { key: key(at), is }).into();
    });
    let Err(Rejection::Value(ValueRejection::ConditionFailed { failed })) = refused else {
        panic!("{refused:?}");
    };
    let failed: Vec<_> = failed.iter().map(|it| (it.index, it.current.is_some())).collect();
    assert_eq!(failed, [(1, false), (2, true)]);
    assert_eq!(sim.state.hash(), before);
}

#[test]
fn content_is_compared_with_its_kind() {
    let mut sim = Sim::new();
    put(&mut sim, "a", json("1"), |_| {});
    let same_bytes = Data::Bytes(b"1"[..].into());
    let refused = try_write(&mut sim, vec![delete("a")], |write| {
        let is = Expect::Content(same_bytes);
        write.conditions = vec![Condition { key: key("a"), is }];
    });
    assert!(refused.is_err());
}

#[test]
fn a_value_expires_at_its_deadline_and_not_a_millisecond_before() {
    let mut sim = Sim::new();
    put(&mut sim, "a", json("1"), |put| put.ttl_ms = Some(1_000));
    sim.advance(999);
    assert!(content(&sim, "a").is_some());
    sim.advance(1);
    assert_eq!(content(&sim, "a"), None);
}

#[test]
fn a_write_without_a_time_to_live_lives_on() {
    let mut sim = Sim::new();
    put(&mut sim, "a", json("1"), |put| put.ttl_ms = Some(1_000));
    put(&mut sim, "a", json("2"), |_| {});
    sim.advance(10_000);
    assert_eq!(content(&sim, "a").unwrap(), "2");
    assert_eq!(sim.state.next_timer(), None);
}

#[test]
fn a_clock_that_is_set_forward_ends_nothing_early() {
    let mut sim = Sim::new();
    put(&mut sim, "a", json("1"), |put| put.ttl_ms = Some(1_000));
    let lease = grant(&mut sim, "h", 1_000);
    sim.advance(400);
    sim.now = sim.now.plus_millis(3_600_000);
    let stepped = unisono_engine::lease::LeaseCommand::ClockStepped { by_ms: 3_600_000 };
    sim.lease(stepped).unwrap();
    sim.advance(599);
    assert!(content(&sim, "a").is_some() && sim.state.lease_view(lease).is_some());
    sim.advance(1);
    assert!(content(&sim, "a").is_none() && sim.state.lease_view(lease).is_none());
}

#[test]
fn what_is_sensitive_stays_so_until_somebody_says_otherwise() {
    let mut sim = Sim::new();
    let sensitive = |sim: &Sim| {
        let value = sim.state.values().get(&space(), "a").unwrap();
        value.shown(sim.state.marks()).sensitive
    };
    put(&mut sim, "a", json("\"s3cret\""), |put| put.sensitive = Some(true));
    put(&mut sim, "a", json("\"s4cret\""), |_| {});
    assert!(sensitive(&sim));
    let value = sim.state.values().get(&space(), "a").unwrap().shown(sim.state.marks());
    assert!(value.view().unwrap().value.is_some());
    assert!(!serde_json::to_string(&value.public_view()).unwrap().contains("s4cret"));
    put(&mut sim, "a", json("1"), |put| put.sensitive = Some(false));
    assert!(!sensitive(&sim));
}

#[test]
fn an_older_token_than_the_key_has_seen_is_refused_also_after_the_value_is_gone() {
    let mut sim = Sim::new();
    let old = put(&mut sim, "x", json("1"), |_| {});
    let new = put(&mut sim, "x", json("2"), |_| {});
    fenced(&mut sim, "a", new).unwrap();
    let stale = |refused| matches!(refused, Err(ValueRejection::StaleFence { seen, .. }) if seen == new);
    assert!(stale(fenced(&mut sim, "a", old)));
    put(&mut sim, "a", json("without"), |_| {});
    assert!(
        stale(fenced(&mut sim, "a", old)),
        "a write without a token does not forget it"
    );
    try_write(&mut sim, vec![delete("a")], |_| {}).unwrap();
    assert_eq!(content(&sim, "a"), None);
    assert!(stale(fenced(&mut sim, "a", old)), "the key remembers");
    fenced(&mut sim, "a", new).unwrap();
    let value = sim.state.values().get(&space(), "a").unwrap().shown(sim.state.marks());
    assert_eq!(value.view().unwrap().version, 1, "it is a new value");
}

#[test]
fn a_token_that_was_never_granted_is_refused() {
    let mut sim = Sim::new();
    let refused = fenced(&mut sim, "a", Revision(99));
    assert!(
        matches!(refused, Err(ValueRejection::NoSuchFence { .. })),
        "{refused:?}"
    );
}

#[test]
fn tokens_of_deleted_keys_are_forgotten_in_the_end_and_then_old_ones_are_refused_everywhere() {
    let mut sim = Sim::new();
    let oldest = put(&mut sim, "x", json("1"), |_| {});
    let mut token = put(&mut sim, "x", json("2"), |_| {});
    let keys = |round: u32| (0..100).map(move |number| format!("k/{round}/{number}"));
    for round in 0..656 {
        let puts = keys(round).map(|at| {
            let mut operation = put_of(&at, json("1"));
            if let Operation::Put(put) = &mut operation {
                put.fence = Some(Fence { token, lock: None });
            }
            operation
        });
        let puts = puts.collect();
        try_write(&mut sim, puts, |_| {}).unwrap();
        try_write(&mut sim, keys(round).map(|at| delete(&at)).collect(), |_| {}).unwrap();
        token = sim.state.revision;
    }
    let refused = fenced(&mut sim, "k/0/0", oldest);
    assert!(
        matches!(refused, Err(ValueRejection::FenceForgotten { .. })),
        "{refused:?}"
    );
    let refused = fenced(&mut sim, "never/seen", oldest);
    assert!(
        matches!(refused, Err(ValueRejection::FenceForgotten { .. })),
        "{refused:?}"
    );
    let refused = fenced(&mut sim, "k/655/0", oldest);
    assert!(matches!(refused, Err(ValueRejection::StaleFence { .. })), "{refused:?}");
    fenced(&mut sim, "k/0/0", token).unwrap();
}

#[test]
fn a_range_is_the_keys_that_begin_so_in_order() {
    let mut sim = Sim::new();
    for at in ["a", "a/b", "a/b/c", "a/bc", "a.b", "b"] {
        put(&mut sim, at, json("1"), |_| {});
    }
    let range = |prefix: &str, after: Option<&str>| -> Vec<String> {
        let values = sim.state.values().range(&space(), prefix, after);
        values.map(|value| value.key().to_owned()).collect()
    };
    assert_eq!(range("a/b", None), ["a/b", "a/b/c", "a/bc"]);
    assert_eq!(range("a/b", Some("a/b")), ["a/b/c", "a/bc"]);
    assert_eq!(range("", Some("a/bc")), ["b"]);
    assert!(range("c", None).is_empty());
}
