use unisono_linearizability::models::{Fenced, FencedInput, FencedOutput};

use crate::simulation::{Random, System, accepts, catches};

/// A fenced register that is right, or broken in one way.
#[derive(Clone, Debug, Default)]
struct Served {
    fault: Option<Fault>,
    value: Option<u64>,
    newest: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    OldTokenAccepted,
    TokensForgottenInACrash,
}

impl System for Served {
    type Model = Fenced;

    const STEPS_BETWEEN_CRASHES: u64 = 300;

    fn ask(&self, _: usize, _: Option<&FencedOutput>, random: &mut Random) -> FencedInput {
        if random.below(2) == 0 {
            return FencedInput::Read;
        }
        // A holder of now, one that will come, and some that were.
        FencedInput::Write {
            token: (self.newest + 1).saturating_sub(random.below(4)),
            value: random.below(1_000_000),
        }
    }

    fn act(&mut self, input: &FencedInput, _: &Self, random: &mut Random) -> FencedOutput {
        match *input {
            FencedInput::Read => FencedOutput::Holds(self.value),
            FencedInput::Write { token, value } => {
                let lax = self.fault == Some(Fault::OldTokenAccepted) && random.one_in(10);
                if token < self.newest && !lax {
                    return FencedOutput::Refused;
                }
                self.newest = self.newest.max(token);
                self.value = Some(value);
                FencedOutput::Written
            }
        }
    }

    fn crash(&mut self) {
        if self.fault == Some(Fault::TokensForgottenInACrash) {
            self.newest = 0;
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
fn a_fenced_register_that_is_right_is_accepted() {
    accepts(&Served::default());
}

#[test]
fn a_write_under_an_old_token_is_caught() {
    catches(&broken(Fault::OldTokenAccepted));
}

#[test]
fn tokens_that_a_crash_forgets_are_caught() {
    catches(&broken(Fault::TokensForgottenInACrash));
}
