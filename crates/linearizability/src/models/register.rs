//! A register with compare-and-swap, whose every write has a revision.

use crate::model::Model;

/// A register that may be absent, holds a number otherwise, and is changed at ever greater revisions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// What is asked of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterInput {
    /// What does it hold?
    Read,
    /// Hold this.
    Write(u64),
    /// Hold this if there is nothing.
    WriteIfAbsent(u64),
    /// Hold `new` if it holds `expected`.
    Swap {
        /// What it must hold.
        expected: u64,
        /// What it is to hold.
        new: u64,
    },
    /// Hold `new` if its last change was at `expected`.
    SwapAt {
        /// The revision that it must have.
        expected: u64,
        /// What it is to hold.
        new: u64,
    },
    /// Hold nothing.
    Delete,
    /// Hold nothing if it holds this.
    DeleteIf(u64),
}

/// What a register answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOutput {
    /// It holds this, since this revision.
    Holds(u64, u64),
    /// It holds nothing.
    Absent,
    /// It was changed at this revision.
    Changed(u64),
    /// It was not as it should have been, and stays as it is.
    Refused,
}

/// What a register holds, and the revision of its last change where somebody was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RegisterState {
    value: Option<u64>,
    revision: Option<u64>,
    /// No change may have this revision, or an earlier one.
    after: u64,
}

impl Model for Register {
    type Input = RegisterInput;
    type Output = RegisterOutput;
    type State = RegisterState;

    fn initial(&self) -> RegisterState {
        RegisterState::default()
    }

    fn step(
        &self,
        state: &RegisterState,
        input: &RegisterInput,
        output: Option<&RegisterOutput>,
    ) -> Vec<RegisterState> {
        use RegisterInput::{Delete, DeleteIf, Read, Swap, SwapAt, Write, WriteIfAbsent};
        let holds = |value: u64| state.value == Some(value);
        let next = match *input {
            Read => state.read(output),
            Write(new) => state.change(Some(new), output),
            WriteIfAbsent(new) => state.change_if(state.value.is_none(), Some(new), output),
            Swap { expected, new } => state.change_if(holds(expected), Some(new), output),
            SwapAt { expected, new } => return state.change_at(expected, new, output),
            Delete => state.change_if(state.value.is_some(), None, output),
            DeleteIf(expected) => state.change_if(holds(expected), None, output),
        };
        next.into_iter().collect()
    }
}

impl RegisterState {
    fn read(self, output: Option<&RegisterOutput>) -> Option<Self> {
        match output {
            None => Some(self),
            Some(RegisterOutput::Absent) => self.value.is_none().then_some(self),
            Some(&RegisterOutput::Holds(value, revision)) if self.value == Some(value) => {
                self.last_changed_at(revision)
            }
            Some(_) => None,
        }
    }

    /// The same, if its last change may have been at this revision.
    fn last_changed_at(self, revision: u64) -> Option<Self> {
        match self.revision {
            Some(known) => (known == revision).then_some(self),
            None => (revision > self.after).then_some(Self {
                revision: Some(revision),
                after: revision,
                ..self
            }),
        }
    }

    fn change(self, value: Option<u64>, output: Option<&RegisterOutput>) -> Option<Self> {
        match output {
            None => Some(Self {
                value,
                revision: None,
                ..self
            }),
            Some(&RegisterOutput::Changed(revision)) if revision > self.after => Some(Self {
                value,
                revision: Some(revision),
                after: revision,
            }),
            Some(_) => None,
        }
    }

    fn change_if(self, right: bool, value: Option<u64>, output: Option<&RegisterOutput>) -> Option<Self> {
        match (right, output) {
            (true, _) => self.change(value, output),
            (false, None | Some(RegisterOutput::Refused)) => Some(self),
            (false, Some(_)) => None,
        }
    }

    /// Where nobody was told the revision, it may be the expected one, and it may be another.
    fn change_at(self, expected: u64, value: u64, output: Option<&RegisterOutput>) -> Vec<Self> {
        let right = self.value.and_then(|_| self.last_changed_at(expected));
        let changed = right.and_then(|state| state.change_if(true, Some(value), output));
        let may_be_another = right.is_none() || self.revision.is_none();
        let refused = if may_be_another {
            self.change_if(false, None, output)
        } else {
            None
        };
        changed.into_iter().chain(refused).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: RegisterState = RegisterState {
        value: Some(7),
        revision: Some(3),
        after: 3,
    };

    fn can(state: RegisterState, input: RegisterInput, output: RegisterOutput) -> bool {
        !Register.step(&state, &input, Some(&output)).is_empty()
    }

    #[test]
    fn what_is_read_is_what_was_written_last_at_its_revision() {
        assert!(can(HELD, RegisterInput::Read, RegisterOutput::Holds(7, 3)));
        for wrong in [
            RegisterOutput::Holds(8, 3),
            RegisterOutput::Holds(7, 2),
            RegisterOutput::Absent,
        ] {
            assert!(!can(HELD, RegisterInput::Read, wrong), "{wrong:?}");
        }
    }

    #[test]
    fn revisions_grow() {
        assert!(can(HELD, RegisterInput::Write(1), RegisterOutput::Changed(4)));
        assert!(!can(HELD, RegisterInput::Write(1), RegisterOutput::Changed(3)));
    }

    #[test]
    fn a_swap_changes_what_it_expects_and_nothing_else() {
        let swap = |expected| RegisterInput::Swap { expected, new: 1 };
        assert!(can(HELD, swap(7), RegisterOutput::Changed(4)));
        assert!(!can(HELD, swap(7), RegisterOutput::Refused));
        assert!(can(HELD, swap(8), RegisterOutput::Refused));
        assert!(!can(HELD, swap(8), RegisterOutput::Changed(4)));
    }

    #[test]
    fn a_swap_at_a_revision_that_nobody_was_told_may_come_out_either_way() {
        let untold = RegisterState { revision: None, ..HELD };
        let swap = RegisterInput::SwapAt { expected: 5, new: 1 };
        assert_eq!(Register.step(&untold, &swap, None).len(), 2);
        assert!(can(untold, swap, RegisterOutput::Changed(6)));
        assert!(can(untold, swap, RegisterOutput::Refused));
        assert!(!can(
            untold,
            RegisterInput::SwapAt { expected: 3, new: 1 },
            RegisterOutput::Changed(6)
        ));
    }
}
