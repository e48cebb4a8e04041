use unisono_linearizability::models::{Register, RegisterInput, RegisterOutput};

use crate::simulation::{Random, System, accepts, catches};

/// A register that is right, or broken in one way.
#[derive(Clone, Debug, Default)]
struct Served {
    fault: Option<Fault>,
    /// What it holds, since which revision.
    held: Option<(u64, u64)>,
    revision: u64,
    /// What it held before, and whether a crash may bring that back.
    before: Option<(u64, u64)>,
    unsynced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    StaleRead,
    LostUpdate,
    AcknowledgedWriteLost,
    UndurableRead,
    DoneAfterTheLoss,
    SuccessThatIsNone,
    FailureThatIsNone,
    RevisionsGoBack,
    SwapAtOldRevision,
}

impl Served {
    fn change(&mut self, value: Option<u64>) -> RegisterOutput {
        self.before = self.held;
        self.unsynced = true;
        self.revision += 1;
        self.held = value.map(|value| (value, self.revision));
        RegisterOutput::Changed(self.revision)
    }

    fn change_if(&mut self, right: bool, value: Option<u64>, random: &mut Random) -> RegisterOutput {
        match self.fault {
            Some(Fault::SuccessThatIsNone) if !right && random.one_in(10) => {
                self.revision += 1;
                RegisterOutput::Changed(self.revision)
            }
            Some(Fault::FailureThatIsNone) if right && random.one_in(10) => {
                self.change(value);
                RegisterOutput::Refused
            }
            _ if right => self.change(value),
            _ => RegisterOutput::Refused,
        }
    }
}

impl System for Served {
    type Model = Register;

    const STEPS_BETWEEN_CRASHES: u64 = 50;

    fn ask(&self, _: usize, last: Option<&RegisterOutput>, random: &mut Random) -> RegisterInput {
        let value = random.below(50);
        match (random.below(8), last) {
            (0, _) => RegisterInput::Write(value),
            (1, _) => RegisterInput::WriteIfAbsent(value),
            (2, _) => RegisterInput::Delete,
            (3, _) => RegisterInput::DeleteIf(value),
            (4, Some(&RegisterOutput::Holds(expected, _))) => RegisterInput::Swap { expected, new: value },
            (5, Some(&RegisterOutput::Holds(_, expected) | &RegisterOutput::Changed(expected))) => {
                RegisterInput::SwapAt { expected, new: value }
            }
            _ => RegisterInput::Read,
        }
    }

    fn act(&mut self, input: &RegisterInput, then: &Self, random: &mut Random) -> RegisterOutput {
        let seen = if self.fault == Some(Fault::LostUpdate) {
            then.held
        } else {
            self.held
        };
        let holds = |value: u64| seen.is_some_and(|(held, _)| held == value);
        match *input {
            RegisterInput::Read => {
                let stale = self.fault == Some(Fault::StaleRead) && random.one_in(20);
                let held = if stale { self.before } else { self.held };
                held.map_or(RegisterOutput::Absent, |(value, revision)| {
                    RegisterOutput::Holds(value, revision)
                })
            }
            RegisterInput::Write(value) => self.change(Some(value)),
            RegisterInput::WriteIfAbsent(value) => self.change_if(seen.is_none(), Some(value), random),
            RegisterInput::Swap { expected, new } => self.change_if(holds(expected), Some(new), random),
            RegisterInput::SwapAt { expected, new } => {
                let lax = self.fault == Some(Fault::SwapAtOldRevision);
                let right = seen.is_some_and(|(_, revision)| revision == expected || (lax && revision == expected + 1));
                self.change_if(right, Some(new), random)
            }
            RegisterInput::Delete => self.change_if(seen.is_some(), None, random),
            RegisterInput::DeleteIf(value) => self.change_if(holds(value), None, random),
        }
    }

    fn sync(&mut self, output: &RegisterOutput) {
        if matches!(output, RegisterOutput::Changed(_)) {
            self.unsynced &= self.fault == Some(Fault::AcknowledgedWriteLost);
        }
    }

    fn crash(&mut self) {
        let loses = [Some(Fault::AcknowledgedWriteLost), Some(Fault::UndurableRead)].contains(&self.fault);
        if loses && self.unsynced {
            self.held = self.before;
        }
        if self.fault == Some(Fault::RevisionsGoBack) {
            self.revision = self.revision.saturating_sub(3);
        }
    }

    fn repeats(&self) -> bool {
        self.fault == Some(Fault::DoneAfterTheLoss)
    }
}

fn broken(fault: Fault) -> Served {
    Served {
        fault: Some(fault),
        ..Served::default()
    }
}

#[test]
fn a_register_that_is_right_is_accepted() {
    accepts(&Served::default());
}

#[test]
fn a_stale_read_is_caught() {
    catches(&broken(Fault::StaleRead));
}

#[test]
fn a_lost_update_is_caught() {
    catches(&broken(Fault::LostUpdate));
}

#[test]
fn an_acknowledged_write_that_a_crash_loses_is_caught() {
    catches(&broken(Fault::AcknowledgedWriteLost));
}

#[test]
fn a_read_of_what_a_crash_takes_back_is_caught() {
    catches(&broken(Fault::UndurableRead));
}

#[test]
fn an_operation_that_is_done_after_its_loss_is_caught() {
    catches(&broken(Fault::DoneAfterTheLoss));
}

#[test]
fn a_success_that_changed_nothing_is_caught() {
    catches(&broken(Fault::SuccessThatIsNone));
}

#[test]
fn a_refusal_that_changed_something_is_caught() {
    catches(&broken(Fault::FailureThatIsNone));
}

#[test]
fn revisions_that_go_back_in_a_crash_are_caught() {
    catches(&broken(Fault::RevisionsGoBack));
}

#[test]
fn a_swap_at_an_old_revision_is_caught() {
    catches(&broken(Fault::SwapAtOldRevision));
}
