//! The time of decisions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use unisono_model::ids::Timestamp;

/// By how much the system's clock must be ahead before that counts as being set forward, in milliseconds.
const LEAST_STEP_MS: u64 = 1_000;

/// How late one must look at the clock before that counts as not having been there, in milliseconds.
const LEAST_GAP_MS: u64 = 1_000;

/// The partition's time. It begins with the system's, goes on as fast as time really passes, a suspended machine's
/// included, and never goes back. When the system's clock is set forward it follows in one step, which is decided like
/// anything else, so that what counts real time can leave it out.
#[derive(Debug)]
pub(super) struct Clock {
    anchor: Timestamp,
    since: Reading,
    /// By when, in the machine's running time, it is looked at again; unknown at first.
    expected_ms: Option<u64>,
    /// How much later than that it was.
    missed_ms: u64,
}

/// What the system's clocks say at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The time of day.
    wall: Timestamp,
    /// Since the machine was started, also while it was suspended.
    running_ms: u64,
}

#[cfg(test)]
thread_local! {
    /// What both clocks say on a thread that simulates, in milliseconds.
    pub(super) static SIMULATED: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
}

impl Reading {
    fn now() -> Self {
        #[cfg(test)]
        if let Some(millis) = SIMULATED.get() {
            return Self {
                wall: Timestamp(millis.into()),
                running_ms: millis.into(),
            };
        }
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        let running = clock_gettime(ClockId::Boottime);
        let (seconds, nanos) = (running.tv_sec.unsigned_abs(), running.tv_nsec.unsigned_abs());
        Self {
            wall: Timestamp(i64::try_from(wall).unwrap_or(i64::MAX)),
            running_ms: seconds.saturating_mul(1_000).saturating_add(nanos / 1_000_000),
        }
    }
}

impl Clock {
    /// A clock that is never earlier than `decided`, when something was decided.
    pub(super) fn after(decided: Timestamp) -> Self {
        Self::begin(decided, Reading::now())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.at(Reading::now())
    }

    /// Follows the system's clock when that was set forward, and tells by how many milliseconds.
    pub(super) fn follow(&mut self) -> Option<u64> {
        self.step_to(Reading::now())
    }

    /// Whoever looks at it now does so again after this long at the latest, unless the process does not run meanwhile.
    pub(super) fn rest(&mut self, longest: Duration) {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.look(Reading::now(), Some(longest));
    }

    /// For how many milliseconds nobody was there since this was last asked: the process was stopped, or could do nothing.
    pub(super) fn missed(&mut self) -> Option<u64> {
        self.look(Reading::now(), None);
        match std::mem::take(&mut self.missed_ms) {
            0 => None,
            missed => Some(missed),
        }
    }

    fn look(&mut self, reading: Reading, longest: Option<u64>) {
        if let Some(expected) = self.expected_ms {
            let late = reading.running_ms.saturating_sub(expected);
            if late >= LEAST_GAP_MS {
                self.missed_ms += late;
            }
        }
        // Work between two rests takes no time worth telling.
        if longest.is_some() || self.expected_ms.is_some() {
            self.expected_ms = Some(reading.running_ms.saturating_add(longest.unwrap_or(0)));
        }
    }

    fn begin(decided: Timestamp, reading: Reading) -> Self {
        Self {
            anchor: reading.wall.max(decided),
            since: reading,
            expected_ms: None,
            missed_ms: 0,
        }
    }

    fn at(&self, reading: Reading) -> Timestamp {
        let passed = reading.running_ms.saturating_sub(self.since.running_ms);
        self.anchor.plus_millis(passed)
    }

    fn step_to(&mut self, reading: Reading) -> Option<u64> {
        let ahead = reading.wall.millis_since(self.at(reading));
        if ahead < LEAST_STEP_MS {
            return None;
        }
        self.anchor = self.anchor.plus_millis(ahead);
        Some(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(wall: i64, running_ms: u64) -> Reading {
        Reading {
            wall: Timestamp(wall),
            running_ms,
        }
    }

    #[test]
    fn a_clock_set_back_does_not_stop_time() {
        let mut clock = Clock::begin(Timestamp(0), reading(50_000, 7));
        assert_eq!(clock.step_to(reading(10_000, 507)), None);
        assert_eq!(clock.at(reading(10_000, 507)), Timestamp(50_500));
    }

    #[test]
    fn a_clock_set_forward_is_followed_in_one_step_that_is_told() {
        let mut clock = Clock::begin(Timestamp(0), reading(50_000, 0));
        let later = reading(90_000, 500);
        assert_eq!(clock.at(later), Timestamp(50_500), "time goes on as it was");
        assert_eq!(clock.step_to(later), Some(39_500));
        assert_eq!(clock.at(later), Timestamp(90_000));
        assert_eq!(
            clock.step_to(reading(90_700, 1_000)),
            None,
            "small differences are no step"
        );
    }

    #[test]
    fn time_in_which_the_machine_was_suspended_has_passed() {
        let mut clock = Clock::begin(Timestamp(0), reading(50_000, 0));
        let resumed = reading(3_650_000, 3_600_000);
        assert_eq!(clock.step_to(resumed), None);
        assert_eq!(clock.at(resumed), Timestamp(3_650_000));
    }

    #[test]
    fn who_comes_much_later_than_agreed_was_not_there_meanwhile() {
        let mut clock = Clock::begin(Timestamp(0), reading(50_000, 0));
        clock.look(reading(99_000, 49_000), None);
        assert_eq!(clock.missed_ms, 0, "nothing was agreed");
        clock.look(reading(99_000, 49_000), Some(10_000));
        clock.look(reading(109_500, 59_500), None);
        assert_eq!(clock.missed_ms, 0, "half a second late");
        clock.look(reading(109_500, 59_500), Some(10_000));
        clock.look(reading(149_500, 99_500), None);
        assert_eq!(clock.missed_ms, 30_000, "stopped while it slept");
        clock.look(reading(154_500, 104_500), Some(10_000));
        assert_eq!(clock.missed_ms, 35_000, "and while it worked");
        clock.look(reading(155_000, 105_000), None);
        assert_eq!(clock.missed_ms, 35_000, "woken early");
    }

    #[test]
    fn a_start_is_never_before_what_was_decided() {
        let clock = Clock::begin(Timestamp(80_000), reading(50_000, 0));
        assert_eq!(clock.at(reading(50_000, 0)), Timestamp(80_000));
    }
}
