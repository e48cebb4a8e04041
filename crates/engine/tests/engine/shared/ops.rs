//! What may happen, and how it is drawn.

use proptest::prelude::*;
use unisono_model::key::Key;
use unisono_model::name::Name;

use crate::documents::name;

pub(super) const KEYS: u8 = 5;
pub(super) const LOCKS: u8 = 3;
pub(super) const PARTIES: u8 = 3;

pub(super) fn key(number: u8) -> Key {
    Key::parse(&format!("k/{number}")).unwrap()
}

pub(super) fn party(number: u8) -> Name {
    name(&format!("party-{number}"))
}

/// What a write expects of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    Absent,
    Present,
    /// What the value is, or some other content.
    Content(bool),
    /// The revision that it has, or another one.
    Revision(bool),
}

/// One write of a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) key: u8,
    /// `None` deletes.
    pub(super) put: Option<u8>,
    pub(super) ttl: Option<u16>,
    /// Which of the leases.
    pub(super) lease: Option<u16>,
    /// Under a token of which lock: the newest or the one before.
    pub(super) fence: Option<(u8, bool)>,
    pub(super) named: bool,
    pub(super) sensitive: Option<bool>,
}

/// How a lock is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Exclusive,
    Shared,
    Permit,
    Campaign,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Change {
        conditions: Vec<(u8, Expected)>,
        changes: Vec<Change>,
        party: Option<u8>,
    },
    Declare {
        key: u8,
        producer: u8,
        ttl: Option<u16>,
        lease: Option<u16>,
        new_epoch: bool,
    },
    Break {
        key: u8,
    },
    Withdraw {
        key: u8,
    },
    Await {
        key: u8,
        party: Option<u8>,
    },
    StopAwaiting {
        pick: u16,
    },
    Grant {
        ttl: u16,
        party: Option<u8>,
    },
    Renew {
        pick: u16,
    },
    Revoke {
        pick: u16,
    },
    Acquire {
        lock: u8,
        pick: u16,
        wish: Wish,
        wait: Option<u16>,
    },
    Release {
        lock: u8,
        pick: u16,
        election: bool,
    },
    Steal {
        lock: u8,
        one: bool,
    },
    Proclaim {
        lock: u8,
        pick: u16,
    },
    Advance {
        millis: u16,
    },
    Step {
        millis: u16,
    },
    Checkpoint,
    Write {
        count: u8,
        disorder: u64,
    },
    Restart,
}

fn expected() -> impl Strategy<Value = Expected> {
    prop_oneof![
        Just(Expected::Absent),
        Just(Expected::Present),
        prop::bool::weighted(0.7).prop_map(Expected::Content),
        prop::bool::weighted(0.7).prop_map(Expected::Revision),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    (
        0..KEYS,
        proptest::option::weighted(0.7, any::<u8>()),
        proptest::option::weighted(0.3, 1..3_000_u16),
        proptest::option::weighted(0.3, any::<u16>()),
        proptest::option::weighted(0.25, (0..LOCKS, any::<bool>())),
        any::<bool>(),
        proptest::option::weighted(0.2, any::<bool>()),
    )
        .prop_map(|(key, put, ttl, lease, fence, named, sensitive)| Change {
            key,
            put,
            ttl,
            lease,
            fence,
            named,
            sensitive,
        })
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        3 => Just(Wish::Exclusive),
        3 => Just(Wish::Shared),
        2 => Just(Wish::Permit),
        2 => Just(Wish::Campaign),
    ]
}

pub(super) fn ops() -> impl Strategy<Value = Op> {
    let pick = any::<u16>;
    let party = || proptest::option::weighted(0.6, 0..PARTIES);
    prop_oneof![
        16 => (
            prop::collection::vec((0..KEYS, expected()), 0..3),
            prop::collection::vec(change(), 1..4),
            party(),
        )
            .prop_map(|(conditions, changes, party)| Op::Change { conditions, changes, party }),
        5 => (
            0..KEYS,
            0..PARTIES,
            proptest::option::weighted(0.4, 1..3_000_u16),
            proptest::option::weighted(0.4, pick()),
            any::<bool>(),
        )
            .prop_map(|(key, producer, ttl, lease, new_epoch)| Op::Declare { key, producer, ttl, lease, new_epoch }),
        1 => (0..KEYS).prop_map(|key| Op::Break { key }),
        1 => (0..KEYS).prop_map(|key| Op::Withdraw { key }),
        6 => (0..KEYS, party()).prop_map(|(key, party)| Op::Await { key, party }),
        2 => pick().prop_map(|pick| Op::StopAwaiting { pick }),
        5 => (100..3_000_u16, party()).prop_map(|(ttl, party)| Op::Grant { ttl, party }),
        5 => pick().prop_map(|pick| Op::Renew { pick }),
        1 => pick().prop_map(|pick| Op::Revoke { pick }),
        12 => (0..LOCKS, pick(), wish(), proptest::option::weighted(0.8, 0..3_000_u16))
            .prop_map(|(lock, pick, wish, wait)| Op::Acquire { lock, pick, wish, wait }),
        6 => (0..LOCKS, pick(), prop::bool::weighted(0.2))
            .prop_map(|(lock, pick, election)| Op::Release { lock, pick, election }),
        1 => (0..LOCKS, any::<bool>()).prop_map(|(lock, one)| Op::Steal { lock, one }),
        1 => (0..LOCKS, pick()).prop_map(|(lock, pick)| Op::Proclaim { lock, pick }),
        8 => (0..1_500_u16).prop_map(|millis| Op::Advance { millis }),
        1 => (1..60_000_u16).prop_map(|millis| Op::Step { millis }),
        3 => Just(Op::Checkpoint),
        5 => (1..8_u8, any::<u64>()).prop_map(|(count, disorder)| Op::Write { count, disorder }),
        2 => Just(Op::Restart),
    ]
}

/// Parties that want the same few locks and each other's values, and leave them only now and then.
pub(super) fn contention() -> impl Strategy<Value = Op> {
    let pick = any::<u16>;
    let party = || proptest::option::weighted(0.9, 0..PARTIES);
    let wish = prop_oneof![2 => Just(Wish::Exclusive), 2 => Just(Wish::Shared), 4 => Just(Wish::Permit)];
    prop_oneof![
        4 => (60_000..65_000_u16, party()).prop_map(|(ttl, party)| Op::Grant { ttl, party }),
        4 => (0..KEYS, 0..PARTIES).prop_map(|(key, producer)| Op::Declare {
            key,
            producer,
            ttl: None,
            lease: None,
            new_epoch: true,
        }),
        5 => (0..KEYS, party()).prop_map(|(key, party)| Op::Await { key, party }),
        1 => pick().prop_map(|pick| Op::StopAwaiting { pick }),
        1 => (0..KEYS).prop_map(|key| Op::Break { key }),
        20 => (0..LOCKS, pick(), wish, 1_000..3_000_u16)
            .prop_map(|(lock, pick, wish, wait)| Op::Acquire { lock, pick, wish, wait: Some(wait) }),
        2 => (0..LOCKS, pick()).prop_map(|(lock, pick)| Op::Release { lock, pick, election: false }),
        1 => (0..LOCKS).prop_map(|lock| Op::Steal { lock, one: true }),
        1 => (0..500_u16).prop_map(|millis| Op::Advance { millis }),
    ]
}
