//! Locks with fencing tokens: one that refuses who comes second, and one that has them wait in order.

use std::collections::VecDeque;

use crate::model::Model;

/// A lock that refuses whoever finds it held. Every grant has a greater token than all before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lock;

/// What is asked of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockInput {
    /// Be this holder's, if you are nobody's. Whoever has it already is told the same token again.
    Acquire(u64),
    /// Be nobody's, if you are this holder's under this token.
    Release {
        /// Who.
        holder: u64,
        /// Under which token.
        token: u64,
    },
    /// Be nobody's, whosoever you are.
    Steal,
}

/// What a lock answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOutput {
    /// It is granted, under this token.
    Granted(u64),
    /// It is free.
    Released,
    /// It is another's, or nobody's.
    Refused,
}

/// Who has a lock, and the newest token that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LockState {
    /// The holder, with the token where somebody was told.
    held: Option<(u64, Option<u64>)>,
    newest: u64,
}

impl Model for Lock {
    type Input = LockInput;
    type Output = LockOutput;
    type State = LockState;

    fn initial(&self) -> LockState {
        LockState::default()
    }

    fn step(&self, state: &LockState, input: &LockInput, output: Option<&LockOutput>) -> Vec<LockState> {
        let next = match (*input, state.held) {
            (LockInput::Acquire(holder), None) => state.grant(holder, output),
            (LockInput::Acquire(holder), Some((by, token))) if by == holder => state.grant_again(holder, token, output),
            (LockInput::Release { holder, token }, Some(held)) if state.is(held, holder, token) => {
                state.answer(None, LockOutput::Released, output)
            }
            (LockInput::Steal, Some(_)) => state.answer(None, LockOutput::Released, output),
            (_, held) => state.answer(held, LockOutput::Refused, output),
        };
        next.into_iter().collect()
    }
}

impl LockState {
    fn grant(self, holder: u64, output: Option<&LockOutput>) -> Option<Self> {
        match output {
            None => Some(Self {
                held: Some((holder, None)),
                ..self
            }),
            Some(&LockOutput::Granted(token)) if token > self.newest => Some(Self {
                held: Some((holder, Some(token))),
                newest: token,
            }),
            Some(_) => None,
        }
    }

    /// Where nobody was told the token, it is told now.
    fn grant_again(self, holder: u64, token: Option<u64>, output: Option<&LockOutput>) -> Option<Self> {
        match token {
            None => self.grant(holder, output),
            Some(token) => self.answer(self.held, LockOutput::Granted(token), output),
        }
    }

    /// A token that nobody was told is newer than those that somebody was.
    fn is(self, (holder, token): (u64, Option<u64>), of: u64, under: u64) -> bool {
        holder == of && token.map_or(under > self.newest, |token| token == under)
    }

    fn answer(self, held: Option<(u64, Option<u64>)>, answer: LockOutput, output: Option<&LockOutput>) -> Option<Self> {
        output
            .is_none_or(|output| *output == answer)
            .then_some(Self { held, ..self })
    }
}

/// A lock for which one waits, and which is granted to those who wait in the order in which they came.
///
/// To acquire it is two operations within the time of one call: to come, and to be granted. Where it is known that
/// someone has come, the first one has returned.
#[derive(Clone, Copy, Debug, Default)]
pub struct FairLock;

/// What is asked of a fair lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FairLockInput {
    /// Let this one wait behind all others.
    Come(u64),
    /// Be granted to this one, whose turn it is.
    Grant(u64),
    /// Forget this one: it holds the lock, or waits, or is not here at all.
    Leave(u64),
}

/// What a fair lock answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FairLockOutput {
    /// So be it.
    Done,
    /// It is granted, under this token.
    Granted(u64),
}

/// Who has a fair lock, who waits, and the newest token that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FairLockState {
    holder: Option<u64>,
    waiting: VecDeque<u64>,
    newest: u64,
}

impl Model for FairLock {
    type Input = FairLockInput;
    type Output = FairLockOutput;
    type State = FairLockState;

    fn initial(&self) -> FairLockState {
        FairLockState::default()
    }

    fn step(
        &self,
        state: &FairLockState,
        input: &FairLockInput,
        output: Option<&FairLockOutput>,
    ) -> Vec<FairLockState> {
        let mut next = state.clone();
        let right = match *input {
            FairLockInput::Come(who) => {
                next.waiting.push_back(who);
                output.is_none_or(|output| *output == FairLockOutput::Done)
            }
            FairLockInput::Leave(who) => {
                next.waiting.retain(|waiting| *waiting != who);
                next.holder = next.holder.filter(|holder| *holder != who);
                output.is_none_or(|output| *output == FairLockOutput::Done)
            }
            FairLockInput::Grant(who) => next.grant(who, output),
        };
        if right { vec![next] } else { Vec::new() }
    }
}

impl FairLockState {
    fn grant(&mut self, who: u64, output: Option<&FairLockOutput>) -> bool {
        let turn = self.holder.is_none() && self.waiting.pop_front() == Some(who);
        self.holder = Some(who);
        match output {
            None => turn,
            Some(&FairLockOutput::Granted(token)) => {
                let newer = token > self.newest;
                self.newest = token;
                turn && newer
            }
            Some(FairLockOutput::Done) => false,
        }
    }
}
