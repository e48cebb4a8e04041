use unisono_linearizability::models::{Lock, LockInput, LockOutput};

use crate::simulation::{Random, System, accepts, catches};

/// A lock that is right, or broken in one way.
#[derive(Clone, Debug, Default)]
struct Served {
    fault: Option<Fault>,
    held: Option<(u64, u64)>,
    token: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    DoubleGrant,
    ForgottenInACrash,
    TokenReused,
    TokensGoBack,
    ReleaseWithoutEffect,
    ReleaseUnderAnOldToken,
}

impl System for Served {
    type Model = Lock;

    const STEPS_BETWEEN_CRASHES: u64 = 300;

    fn ask(&self, client: usize, last: Option<&LockOutput>, random: &mut Random) -> LockInput {
        let holder = client as u64;
        match last {
            _ if random.one_in(15) => LockInput::Steal,
            Some(&LockOutput::Granted(token)) => LockInput::Release { holder, token },
            Some(LockOutput::Released) if self.token > 3 && random.one_in(5) => LockInput::Release {
                holder,
                token: self.token - random.below(3),
            },
            _ => LockInput::Acquire(holder),
        }
    }

    fn act(&mut self, input: &LockInput, then: &Self, random: &mut Random) -> LockOutput {
        let is = |fault| self.fault == Some(fault);
        match *input {
            LockInput::Acquire(holder) => {
                if let Some((by, token)) = self.held
                    && by == holder
                {
                    return LockOutput::Granted(token);
                }
                let free = self.held.is_none() || (is(Fault::DoubleGrant) && then.held.is_none());
                if !free {
                    return LockOutput::Refused;
                }
                let reused = is(Fault::TokenReused) && random.one_in(10);
                self.token += u64::from(!reused);
                self.held = Some((holder, self.token));
                LockOutput::Granted(self.token)
            }
            LockInput::Release { holder, token } => {
                let lax = is(Fault::ReleaseUnderAnOldToken);
                match self.held {
                    Some((_, current)) if lax && token < current => {}
                    Some(held) if held == (holder, token) => {}
                    _ => return LockOutput::Refused,
                }
                if !(is(Fault::ReleaseWithoutEffect) && random.one_in(10)) {
                    self.held = None;
                }
                LockOutput::Released
            }
            LockInput::Steal => match self.held.take() {
                Some(_) => LockOutput::Released,
                None => LockOutput::Refused,
            },
        }
    }

    fn crash(&mut self) {
        match self.fault {
            Some(Fault::ForgottenInACrash) => self.held = None,
            Some(Fault::TokensGoBack) => self.token = self.token.saturating_sub(5),
            _ => {}
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
fn a_lock_that_is_right_is_accepted() {
    accepts(&Served::default());
}

#[test]
fn a_double_grant_is_caught() {
    catches(&broken(Fault::DoubleGrant));
}

#[test]
fn a_grant_that_a_crash_forgets_is_caught() {
    catches(&broken(Fault::ForgottenInACrash));
}

#[test]
fn a_token_that_is_used_twice_is_caught() {
    catches(&broken(Fault::TokenReused));
}

#[test]
fn tokens_that_go_back_in_a_crash_are_caught() {
    catches(&broken(Fault::TokensGoBack));
}

#[test]
fn a_release_without_effect_is_caught() {
    catches(&broken(Fault::ReleaseWithoutEffect));
}

#[test]
fn a_release_under_an_old_token_is_caught() {
    catches(&broken(Fault::ReleaseUnderAnOldToken));
}
