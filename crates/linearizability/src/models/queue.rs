//! A queue: first in, first out.

use std::collections::VecDeque;

use crate::model::Model;

/// A queue of numbers: first in, first out, each once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue;

/// What is asked of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueInput {
    /// Put this at its end.
    Put(u64),
    /// Take what is first.
    Take,
}

/// What a queue answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueOutput {
    /// It is at the end.
    Done,
    /// This was first.
    Took(u64),
    /// There was nothing.
    Empty,
}

impl Model for Queue {
    type Input = QueueInput;
    type Output = QueueOutput;
    type State = VecDeque<u64>;

    fn initial(&self) -> VecDeque<u64> {
        VecDeque::new()
    }

    fn step(&self, state: &VecDeque<u64>, input: &QueueInput, output: Option<&QueueOutput>) -> Vec<VecDeque<u64>> {
        let mut next = state.clone();
        let answer = match *input {
            QueueInput::Put(value) => {
                next.push_back(value);
                QueueOutput::Done
            }
            QueueInput::Take => next.pop_front().map_or(QueueOutput::Empty, QueueOutput::Took),
        };
        if output.is_none_or(|output| *output == answer) {
            vec![next]
        } else {
            Vec::new()
        }
    }
}
