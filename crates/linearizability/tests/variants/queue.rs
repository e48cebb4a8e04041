use std::collections::VecDeque;

use unisono_linearizability::models::{Queue, QueueInput, QueueOutput};

use crate::simulation::{Random, System, accepts, catches};

/// A queue that is right, or broken in one way.
#[derive(Clone, Debug, Default)]
struct Served {
    fault: Option<Fault>,
    items: VecDeque<u64>,
    answered: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Unfair,
    TakenTwice,
    BackAfterACrash,
    Lost,
    EmptyThoughItIsNot,
}

impl System for Served {
    type Model = Queue;

    const STEPS_BETWEEN_CRASHES: u64 = 1_500;

    fn ask(&self, _: usize, _: Option<&QueueOutput>, random: &mut Random) -> QueueInput {
        if random.below(3) == 0 {
            QueueInput::Put(random.below(1_000_000))
        } else {
            QueueInput::Take
        }
    }

    fn act(&mut self, input: &QueueInput, then: &Self, random: &mut Random) -> QueueOutput {
        let happens = random.one_in(10);
        let fault = self.fault.filter(|_| happens);
        match (*input, fault) {
            (QueueInput::Put(_), Some(Fault::Lost)) => QueueOutput::Done,
            (QueueInput::Put(value), _) => {
                self.items.push_back(value);
                QueueOutput::Done
            }
            (QueueInput::Take, Some(Fault::Unfair)) => {
                self.items.pop_back().map_or(QueueOutput::Empty, QueueOutput::Took)
            }
            (QueueInput::Take, Some(Fault::EmptyThoughItIsNot)) => QueueOutput::Empty,
            (QueueInput::Take, Some(Fault::TakenTwice)) if !then.items.is_empty() => QueueOutput::Took(then.items[0]),
            (QueueInput::Take, _) => self.items.pop_front().map_or(QueueOutput::Empty, QueueOutput::Took),
        }
    }

    fn sync(&mut self, output: &QueueOutput) {
        if let QueueOutput::Took(value) = *output {
            self.answered = Some(value);
        }
    }

    fn crash(&mut self) {
        if self.fault == Some(Fault::BackAfterACrash) {
            self.items.extend(self.answered);
        }
    }
}

fn broken(fault: Fault) -> Served {
    Served {
        fault: Some(fault),
        ..Served::default()
    }
}

#[test]
fn a_queue_that_is_right_is_accepted() {
    accepts(&Served::default());
}

#[test]
fn a_queue_that_is_unfair_is_caught() {
    catches(&broken(Fault::Unfair));
}

#[test]
fn what_is_taken_twice_is_caught() {
    catches(&broken(Fault::TakenTwice));
}

#[test]
fn what_a_crash_brings_back_is_caught() {
    catches(&broken(Fault::BackAfterACrash));
}

#[test]
fn what_is_lost_is_caught() {
    catches(&broken(Fault::Lost));
}

#[test]
fn a_queue_that_says_wrongly_that_it_is_empty_is_caught() {
    catches(&broken(Fault::EmptyThoughItIsNot));
}
