//! A register whose writes carry fencing tokens.

use crate::model::Model;

/// A register that refuses writes under an older token than it has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fenced;

/// What is asked of a fenced register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FencedInput {
    /// What does it hold?
    Read,
    /// Hold this, if no newer token was seen.
    Write {
        /// Under this token.
        token: u64,
        /// What it is to hold.
        value: u64,
    },
}

/// What a fenced register answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FencedOutput {
    /// It holds this, if anything.
    Holds(Option<u64>),
    /// It holds it now.
    Written,
    /// The token is too old.
    Refused,
}

impl Model for Fenced {
    type Input = FencedInput;
    type Output = FencedOutput;
    /// What it holds, and the newest token.
    type State = (Option<u64>, u64);

    fn initial(&self) -> Self::State {
        (None, 0)
    }

    fn step(&self, state: &Self::State, input: &FencedInput, output: Option<&FencedOutput>) -> Vec<Self::State> {
        let (value, newest) = *state;
        let (answer, next) = match *input {
            FencedInput::Read => (FencedOutput::Holds(value), *state),
            FencedInput::Write { token, value } if token >= newest => (FencedOutput::Written, (Some(value), token)),
            FencedInput::Write { .. } => (FencedOutput::Refused, *state),
        };
        if output.is_none_or(|output| *output == answer) {
            vec![next]
        } else {
            Vec::new()
        }
    }
}
