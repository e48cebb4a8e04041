//! What may happen, and how it is drawn.

use std::collections::BTreeSet;

use proptest::prelude::*;
use unisono_engine::orchestration::Report;
use unisono_engine::payload::Patch;
use unisono_model::definition::Document;

use crate::documents::{failure, orchestration, payload};

pub(crate) const TYPES: [&str; 4] = ["t0", "t1", "t2", "t3"];
pub(crate) const DEFINITIONS: usize = 2;

/// One activity: its type, what it depends on among those before it, its place in the document.
pub(crate) type Vertex = (u8, Vec<u16>, u16);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Complete,
    Wait(Option<u16>),
    Schedule(u16),
    Retry,
    Fatal,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Apply {
        definition: usize,
        graph: usize,
    },
    Delete {
        definition: usize,
    },
    Start {
        definition: usize,
        id: u8,
        other: bool,
        pinned: bool,
    },
    Report {
        pick: u16,
        outcome: Outcome,
        context: u8,
    },
    /// Any attempt that ever was.
    Late {
        pick: u16,
        outcome: Outcome,
    },
    Resolve {
        pick: u16,
        outcome: Outcome,
        context: u8,
        astray: bool,
    },
    Save {
        pick: u16,
        context: u8,
    },
    /// Completes this many of the attempts that agents hold.
    Work {
        count: u8,
    },
    Cancel {
        pick: u16,
    },
    Join {
        elsewhere: bool,
        types: u8,
        concurrency: u8,
    },
    Disconnect {
        pick: u16,
    },
    Rejoin {
        pick: u16,
        keep: u64,
        types: u8,
        concurrency: u8,
    },
    Leave {
        pick: u16,
    },
    Credits {
        pick: u16,
        concurrency: u8,
    },
    Advance {
        millis: u16,
    },
    Checkpoint,
    Write {
        count: u8,
        disorder: u64,
    },
    Restart {
        rejoin: bool,
    },
}

/// What someone outside may say.
pub(crate) fn answers() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Complete),
        2 => Just(Outcome::Retry),
        1 => Just(Outcome::Fatal),
    ]
}

pub(crate) fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        8 => Just(Outcome::Complete),
        2 => proptest::option::of(0..3_000_u16).prop_map(Outcome::Wait),
        2 => (0..2_000_u16).prop_map(Outcome::Schedule),
        2 => Just(Outcome::Retry),
        1 => Just(Outcome::Fatal),
    ]
}

pub(crate) fn ops() -> impl Strategy<Value = Op> {
    let pick = any::<u16>;
    let definition = || 0..DEFINITIONS;
    prop_oneof![
        1 => (definition(), 0..3_usize).prop_map(|(definition, graph)| Op::Apply { definition, graph }),
        1 => definition().prop_map(|definition| Op::Delete { definition }),
        8 => (definition(), 0..8_u8, prop::bool::weighted(0.1), any::<bool>())
            .prop_map(|(definition, id, other, pinned)| Op::Start { definition, id, other, pinned }),
        12 => (pick(), outcomes(), any::<u8>())
            .prop_map(|(pick, outcome, context)| Op::Report { pick, outcome, context }),
        4 => (pick(), outcomes()).prop_map(|(pick, outcome)| Op::Late { pick, outcome }),
        5 => (pick(), answers(), any::<u8>(), prop::bool::weighted(0.2))
            .prop_map(|(pick, outcome, context, astray)| Op::Resolve { pick, outcome, context, astray }),
        2 => (pick(), any::<u8>()).prop_map(|(pick, context)| Op::Save { pick, context }),
        6 => (1..32_u8).prop_map(|count| Op::Work { count }),
        1 => pick().prop_map(|pick| Op::Cancel { pick }),
        6 => (prop::bool::weighted(0.1), any::<u8>(), 0..6_u8)
            .prop_map(|(elsewhere, types, concurrency)| Op::Join { elsewhere, types, concurrency }),
        3 => pick().prop_map(|pick| Op::Disconnect { pick }),
        4 => (pick(), any::<u64>(), any::<u8>(), 0..6_u8)
            .prop_map(|(pick, keep, types, concurrency)| Op::Rejoin { pick, keep, types, concurrency }),
        1 => pick().prop_map(|pick| Op::Leave { pick }),
        2 => (pick(), 0..6_u8).prop_map(|(pick, concurrency)| Op::Credits { pick, concurrency }),
        6 => (0..2_500_u16).prop_map(|millis| Op::Advance { millis }),
        3 => Just(Op::Checkpoint),
        5 => (1..8_u8, any::<u64>()).prop_map(|(count, disorder)| Op::Write { count, disorder }),
        2 => any::<bool>().prop_map(|rejoin| Op::Restart { rejoin }),
    ]
}

pub(crate) fn graphs() -> impl Strategy<Value = Vec<Vertex>> {
    let vertex = || (0..4_u8, prop::collection::vec(any::<u16>(), 0..4), any::<u16>());
    prop_oneof![
        8 => prop::collection::vec(vertex(), 1..8),
        3 => prop::collection::vec(vertex(), 8..40),
        1 => prop::collection::vec(vertex(), 150..=200),
    ]
}

pub(crate) fn document(type_name: &str, graph: &[Vertex]) -> Document {
    let ids: Vec<String> = (0..graph.len()).map(|index| format!("a{index}")).collect();
    let dependencies: Vec<Vec<&str>> = graph
        .iter()
        .enumerate()
        .map(|(index, (_, on, _))| {
            let on: BTreeSet<usize> = on.iter().filter_map(|on| (*on as usize).checked_rem(index)).collect();
            on.into_iter().map(|on| ids[on].as_str()).collect()
        })
        .collect();
    let mut order: Vec<usize> = (0..graph.len()).collect();
    order.sort_by_key(|index| graph[*index].2);
    let activities: Vec<(&str, &str, &[&str])> = order
        .into_iter()
        .map(|index| {
            let kind = TYPES[graph[index].0 as usize];
            (ids[index].as_str(), kind, dependencies[index].as_slice())
        })
        .collect();
    orchestration(type_name, &activities)
}

pub(crate) fn pick<T: Clone>(of: &[T], pick: u16) -> Option<T> {
    of.get((pick as usize).checked_rem(of.len())?).cloned()
}

pub(crate) fn types(mask: u8) -> Vec<&'static str> {
    (0..4)
        .filter(|bit| mask & (1 << bit) != 0)
        .map(|bit| TYPES[bit])
        .collect()
}

pub(crate) fn patch(context: u8) -> Option<Patch> {
    let key = |number: u8| format!("k{}", number % 3);
    match context % 4 {
        0 => None,
        1 => Some(Patch {
            set: Vec::new(),
            delete: vec![key(context / 4)],
        }),
        _ => Some(Patch {
            set: vec![(key(context / 4), payload(&context.to_string()))],
            delete: if context > 200 {
                vec![key(context / 8)]
            } else {
                Vec::new()
            },
        }),
    }
}

pub(crate) fn report(outcome: Outcome) -> Report {
    match outcome {
        Outcome::Complete => Report::Complete(payload("{\"done\":true}")),
        Outcome::Wait(millis) => Report::Wait(millis.map(u64::from)),
        Outcome::Schedule(millis) => Report::Schedule(u64::from(millis)),
        Outcome::Retry => Report::Retry(failure("try again")),
        Outcome::Fatal => Report::Fatal(failure("hopeless")),
    }
}
