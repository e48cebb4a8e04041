#![allow(clippy::unwrap_used)]

use super::*;
use crate::models::{Queue, QueueInput, QueueOutput, Register, RegisterInput, RegisterOutput, RegisterState};

type Recorded = Operation<RegisterInput, RegisterOutput>;

fn operation<I, O>(called: u64, returned: u64, input: I, output: O) -> Operation<I, O> {
    Operation {
        client: 0,
        input,
        called,
        outcome: Outcome::Returned(returned, output),
    }
}

fn unknown<I, O>(called: u64, input: I) -> Operation<I, O> {
    Operation {
        client: 0,
        input,
        called,
        outcome: Outcome::Unknown,
    }
}

fn verdict(operations: Vec<Recorded>) -> Verdict {
    check(&Register, &History::from([("key", operations)]))
}

fn write(called: u64, returned: u64, value: u64, revision: u64) -> Recorded {
    operation(
        called,
        returned,
        RegisterInput::Write(value),
        RegisterOutput::Changed(revision),
    )
}

fn read(called: u64, returned: u64, value: u64, revision: u64) -> Recorded {
    operation(
        called,
        returned,
        RegisterInput::Read,
        RegisterOutput::Holds(value, revision),
    )
}

#[test]
fn an_empty_history_is_linearizable() {
    assert_eq!(verdict(Vec::new()), Verdict::Linearizable);
}

#[test]
fn a_read_during_a_write_may_see_it_or_not() {
    let absent = operation(2, 3, RegisterInput::Read, RegisterOutput::Absent);
    for seen in [absent, read(2, 3, 7, 1)] {
        assert_eq!(verdict(vec![write(1, 4, 7, 1), seen]), Verdict::Linearizable);
    }
}

#[test]
fn a_read_after_a_write_must_see_it() {
    let stale = vec![write(1, 2, 7, 1), write(3, 4, 8, 2), read(5, 6, 7, 1)];
    let Verdict::NotLinearizable(failure) = verdict(stale) else {
        panic!("it is stale")
    };
    assert_eq!(
        failure.to_string(),
        "\"key\" is not linearizable. The longest order ends with\n  \
           client 0: Write(7) gave Changed(1)\n  \
           client 0: Write(8) gave Changed(2)\n\
         in the state RegisterState { value: Some(8), revision: Some(2), after: 2 }. None of these can be next:\n  \
           client 0: Read gave Holds(7, 1)\n"
    );
}

#[test]
fn what_was_seen_once_is_not_unseen_later() {
    let absent = operation(5, 6, RegisterInput::Read, RegisterOutput::Absent);
    let flicker = vec![write(1, 9, 7, 1), read(2, 3, 7, 1), absent];
    assert!(matches!(verdict(flicker), Verdict::NotLinearizable(_)));
}

#[test]
fn an_unknown_write_may_have_happened_at_any_time_after_its_call_or_never() {
    let absent = |called, returned| operation(called, returned, RegisterInput::Read, RegisterOutput::Absent);
    let write = unknown(1, RegisterInput::Write(7));
    assert_eq!(verdict(vec![write.clone(), absent(2, 3)]), Verdict::Linearizable);
    assert_eq!(
        verdict(vec![write.clone(), absent(2, 3), read(4, 5, 7, 9)]),
        Verdict::Linearizable
    );
    let unseen = vec![write, absent(2, 3), read(4, 5, 7, 9), absent(6, 7)];
    assert!(
        matches!(verdict(unseen), Verdict::NotLinearizable(_)),
        "it happens once"
    );
}

#[test]
fn what_was_lost_happened_before_its_loss_or_never() {
    let absent = |called, returned| operation(called, returned, RegisterInput::Read, RegisterOutput::Absent);
    let write = Operation {
        outcome: Outcome::Lost(4),
        ..unknown(1, RegisterInput::Write(7))
    };
    assert_eq!(
        verdict(vec![write.clone(), absent(2, 3), absent(5, 6)]),
        Verdict::Linearizable
    );
    assert_eq!(
        verdict(vec![write.clone(), absent(2, 3), read(5, 6, 7, 9)]),
        Verdict::Linearizable
    );
    let late = vec![write, absent(2, 3), absent(5, 6), read(7, 8, 7, 9)];
    assert!(matches!(verdict(late), Verdict::NotLinearizable(_)));
}

#[test]
fn of_two_writes_that_ask_the_same_the_one_called_first_may_be_the_one() {
    let write = || unknown(601, RegisterInput::Write(0));
    let later = Operation {
        called: 800,
        outcome: Outcome::Lost(1350),
        ..write()
    };
    let swap = Operation {
        outcome: Outcome::Lost(653),
        ..unknown(103, RegisterInput::Swap { expected: 0, new: 1 })
    };
    assert_eq!(
        verdict(vec![later, write(), read(602, 1152, 1, 1), swap]),
        Verdict::Linearizable
    );
}

#[test]
fn keys_are_independent_and_the_broken_one_is_named() {
    let history = History::from([("fine", vec![write(1, 2, 7, 1)]), ("broken", vec![read(3, 4, 8, 1)])]);
    let Verdict::NotLinearizable(failure) = check(&Register, &history) else {
        panic!("one is broken")
    };
    assert_eq!(failure.key, "\"broken\"");
}

#[test]
fn what_came_first_is_taken_first() {
    let put = |at, value| operation(at, at + 1, QueueInput::Put(value), QueueOutput::Done);
    let take = |at, value| operation(at, at + 1, QueueInput::Take, QueueOutput::Took(value));
    let check = |last| {
        check(
            &Queue,
            &History::from([((), vec![put(1, 1), put(3, 2), take(5, last)])]),
        )
    };
    assert_eq!(check(1), Verdict::Linearizable);
    assert!(matches!(check(2), Verdict::NotLinearizable(_)));
}

/// Whether any order is right, by trying all of them. `newest` is the latest call in the order so far.
fn by_brute_force(operations: &[Recorded], state: &RegisterState, newest: u64) -> bool {
    let returned = operations.iter().filter(|operation| operation.output().is_some());
    let Some(blocked) = returned.map(Recorded::ended).min() else {
        return true;
    };
    let possible = |operation: &Recorded| operation.called < blocked && newest < operation.ended();
    operations
        .iter()
        .enumerate()
        .filter(|(_, operation)| possible(operation))
        .any(|(index, operation)| {
            let mut rest = operations.to_vec();
            rest.remove(index);
            let next = Register.step(state, &operation.input, operation.output());
            next.iter()
                .any(|next| by_brute_force(&rest, next, newest.max(operation.called)))
        })
}

#[test]
fn the_search_finds_what_brute_force_finds() {
    let mut random = 7_u64;
    let mut below = |end: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % end
    };
    let mut verdicts = [0; 2];
    for _ in 0..30_000 {
        let operations = (0..1 + below(7)).map(|client| {
            let called = below(12) * 100 + client;
            let input = match below(4) {
                0 => RegisterInput::Write(below(2)),
                1 => RegisterInput::Swap {
                    expected: below(2),
                    new: below(2),
                },
                _ => RegisterInput::Read,
            };
            let output = match (input, below(3)) {
                (RegisterInput::Read, 0) => RegisterOutput::Absent,
                (RegisterInput::Read, _) => RegisterOutput::Holds(below(2), 1 + below(3)),
                (RegisterInput::Swap { .. }, 0) => RegisterOutput::Refused,
                _ => RegisterOutput::Changed(1 + below(3)),
            };
            let ended = called + 50 + 100 * below(6);
            let outcome = match below(8) {
                0 => Outcome::Unknown,
                1 | 2 => Outcome::Lost(ended),
                _ => Outcome::Returned(ended, output),
            };
            Operation {
                client: 0,
                input,
                called,
                outcome,
            }
        });
        let operations: Vec<_> = operations.collect();
        let expected = by_brute_force(&operations, &Register.initial(), 0);
        assert_eq!(
            verdict(operations.clone()) == Verdict::Linearizable,
            expected,
            "{operations:?}"
        );
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 2_000), "{verdicts:?}");
}
