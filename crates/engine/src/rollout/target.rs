//! One target, and what events do to it.
//!
//! What an event does to a target depends on the two of them alone, never on the entity or on other targets: rows of a
//! checkpoint show targets at different revisions, and each is brought forward by itself.

use unisono_model::rollout::{Cause, Health, Phase, Said};

use super::interner::NONE;

/// No timer.
pub(crate) const NEVER: i64 = i64::MAX;

/// It has reported the version that it is told.
pub(crate) const ARRIVED: u8 = 1;
/// It has left the version that it had taken.
pub(crate) const DRIFTED: u8 = 2;
/// It has proved itself, and its monitor is asked.
pub(crate) const PROVEN: u8 = 4;
/// It is being brought to its version outside of a rollout.
pub(crate) const CATCHING_UP: u8 = 8;
/// Marks that events and rows hold.
pub(crate) const STORED: u8 = ARRIVED | DRIFTED | PROVEN | CATCHING_UP;
/// It stands in the line of targets that are well. Derived.
pub(crate) const IN_LINE: u8 = 16;
/// It stands in the line of targets that are broken. Derived.
pub(crate) const IN_BROKEN_LINE: u8 = 32;

/// What was decided about a target, as a number in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Only its health, or when it is looked at again.
    Wait = 0,
    /// It is proven.
    Done = 1,
    /// It has failed.
    Failed = 2,
    /// It has gone back, and is proven.
    RolledBack = 3,
    /// It was to go back, and did not.
    NotRecovered = 4,
    /// It was in flight when its rollout ended, and is left alone from here on.
    Settled = 5,
    /// It is left out of the rollout.
    Skipped = 6,
    /// It is proven as far as reports can tell; its monitor decides.
    Proven = 7,
}

impl Outcome {
    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Done,
            2 => Self::Failed,
            3 => Self::RolledBack,
            4 => Self::NotRecovered,
            5 => Self::Settled,
            6 => Self::Skipped,
            7 => Self::Proven,
            _ => Self::Wait,
        }
    }
}

/// Whether a target in this health counts as unavailable.
pub(crate) fn is_unwell(health: Health) -> bool {
    !matches!(health, Health::Healthy | Health::Busy)
}

pub(crate) fn said_code(said: Said) -> u8 {
    match said {
        Said::Healthy => 0,
        Said::Unhealthy => 1,
        Said::InProgress => 2,
        Said::Offline => 3,
        Said::Busy => 4,
    }
}

pub(crate) fn said_of(code: u8) -> Said {
    match code {
        1 => Said::Unhealthy,
        2 => Said::InProgress,
        3 => Said::Offline,
        4 => Said::Busy,
        _ => Said::Healthy,
    }
}

/// A target; its name stands elsewhere. Numbers of texts are those of the fleet's interners. Times are listening times in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// When what it said last began: the same version and the same health ever since.
    pub(crate) since: i64,
    /// When it was told the version that it is told.
    pub(crate) told_at: i64,
    /// When something is decided about it by itself; [`NEVER`] when nothing is.
    pub(crate) due: i64,
    pub(crate) group: u32,
    pub(crate) traits: u32,
    /// What it runs.
    pub(crate) version: u32,
    /// What it is told to run; [`NONE`] when it was told nothing.
    pub(crate) expected: u32,
    pub(crate) message: u32,
    /// The rollout that `phase`, `wave` and `attempts` belong to.
    pub(crate) rollout: u32,
    /// The rollout that was under way when it was first seen.
    pub(crate) born: u32,
    pub(crate) wave: u16,
    pub(crate) phase: Phase,
    pub(crate) health: Health,
    pub(crate) said: u8,
    /// How often in a row it has said so.
    pub(crate) streak: u8,
    /// How often it was told the version of its rollout.
    pub(crate) attempts: u8,
    /// The code of why it failed; 0 when it has not.
    pub(crate) cause: u8,
    pub(crate) marks: u8,
}

impl Target {
    /// One of which nothing is known.
    pub(crate) fn new() -> Self {
        Self {
            since: 0,
            told_at: 0,
            due: NEVER,
            group: NONE,
            traits: NONE,
            version: NONE,
            expected: NONE,
            message: NONE,
            rollout: 0,
            born: 0,
            wave: 0,
            phase: Phase::Idle,
            health: Health::Unknown,
            said: 0,
            streak: 0,
            attempts: 0,
            cause: 0,
            marks: 0,
        }
    }

    pub(crate) fn has(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    pub(crate) fn mark(&mut self, mark: u8, on: bool) {
        if on {
            self.marks |= mark;
        } else {
            self.marks &= !mark;
        }
    }

    /// Whether it was told a version and has not proved itself, by this rollout or an earlier one.
    pub(crate) fn is_moving(&self) -> bool {
        matches!(self.phase, Phase::InFlight | Phase::RollingBack)
    }

    /// Whether it runs what it is told.
    pub(crate) fn is_where_expected(&self) -> bool {
        self.expected != NONE && self.version == self.expected
    }

    /// Whether it is told another version than it runs.
    pub(crate) fn is_on_its_way(&self) -> bool {
        let instructed = self.instructed();
        instructed != NONE && instructed != self.version
    }

    /// Whether it is not well, or may be at work at any time: whoever told it another version than it runs, and however
    /// long ago.
    pub(crate) fn is_unavailable(&self) -> bool {
        self.is_moving() || self.is_on_its_way() || is_unwell(self.health)
    }

    pub(crate) fn said(&self) -> Said {
        said_of(self.said)
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        Cause::from_code(self.cause)
    }

    /// The version that it should run: what it is told, or what it runs when it was told nothing or is left alone.
    pub(crate) fn instructed(&self) -> u32 {
        let left_alone = self.has(DRIFTED) && !self.has(CATCHING_UP);
        if self.expected == NONE || left_alone {
            self.version
        } else {
            self.expected
        }
    }

    /// What was decided about it.
    pub(crate) fn judge(&mut self, outcome: Outcome, cause: u8, rollout: u32) {
        let phase = match outcome {
            Outcome::Wait => return,
            Outcome::Proven => {
                self.mark(PROVEN, true);
                return;
            }
            Outcome::Done => Phase::Done,
            Outcome::Failed => Phase::Failed,
            Outcome::RolledBack => Phase::RolledBack,
            Outcome::NotRecovered => Phase::NotRecovered,
            Outcome::Settled => Phase::Idle,
            Outcome::Skipped => Phase::Skipped,
        };
        if outcome != Outcome::Settled {
            self.enter(rollout);
        }
        self.phase = phase;
        self.cause = cause;
        self.mark(PROVEN, false);
    }

    /// It takes part in a rollout: what it did in an earlier one is forgotten.
    fn enter(&mut self, rollout: u32) {
        if self.rollout != rollout {
            self.rollout = rollout;
            self.attempts = 0;
            self.wave = 0;
        }
    }

    /// It is told a version.
    pub(crate) fn tell(&mut self, told: &Told) {
        self.enter(told.rollout);
        self.wave = told.wave;
        self.phase = if told.back { Phase::RollingBack } else { Phase::InFlight };
        self.attempts = self.attempts.saturating_add(1);
        self.told_at = told.time;
        self.cause = 0;
        self.marks &= !(STORED & !ARRIVED);
        let there = self.is_where_expected();
        self.mark(ARRIVED, there);
        let deadline = told.time.saturating_add(told.deadline);
        let proven = self.since.saturating_add(told.healthy_for);
        let well = there && self.said() == Said::Healthy && self.health != Health::Unknown;
        self.due = if well {
            proven.min(deadline).max(told.time)
        } else {
            deadline
        };
        if matches!(self.health, Health::Healthy | Health::InProgress) {
            self.health = Health::InProgress;
        }
    }

    /// It is tried once more.
    pub(crate) fn retry(&mut self) {
        self.phase = Phase::Pending;
        self.cause = 0;
        self.due = NEVER;
        self.mark(PROVEN, false);
    }

    /// Its rollout was ended by someone: a version that it has not taken is no longer asked of it.
    pub(crate) fn release(&mut self) {
        if self.is_moving() {
            if !self.has(ARRIVED) {
                self.expected = NONE;
            }
            self.settle();
        }
    }

    /// Another rollout takes over: what was awaited of it is no longer the monitor's business.
    pub(crate) fn hand_over(&mut self) {
        if self.has(PROVEN) {
            self.mark(PROVEN, false);
            self.due = self.told_at;
        }
    }

    /// Nothing is awaited of it any more.
    pub(crate) fn settle(&mut self) {
        self.phase = Phase::Idle;
        self.due = NEVER;
        self.mark(PROVEN, false);
        if self.health == Health::InProgress && self.said() == Said::Healthy {
            self.health = Health::Healthy;
        }
    }
}

/// What targets are told by one event.
pub(crate) struct Told {
    pub(crate) time: i64,
    pub(crate) rollout: u32,
    pub(crate) wave: u16,
    pub(crate) back: bool,
    pub(crate) deadline: i64,
    pub(crate) healthy_for: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_costs_no_more_than_it_must() {
        assert_eq!(size_of::<Target>(), 64);
    }
}
