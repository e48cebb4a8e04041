//! How the time of a lease is divided, so that a process that lost it is dead before another can have it.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// How the time of a lease is divided. All times count from before the last good renewal was sent:
///
/// ```text
/// 0 s            5 s    6 7 8 …              14 s              19 s   20 s     of a lease of 20 s
/// ├──────────────┼──────┴─┴─┴────────────────┼─────────────────┼──────┤
/// │ renew_every  │ again each retry_every,   │      grace      │margin│ another may lead
/// │              │ calls end by call_timeout │                 │      │
/// └──────────────┴───────────────────────────┴─────────────────┴──────┘
///   leads                                    leadership ends   dead
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long the store keeps a lease that is not renewed.
    pub lease: Duration,
    /// How long after a good renewal was sent the next one is.
    pub renew_every: Duration,
    /// How long after a renewal failed, or a slot was found taken, it is tried again.
    pub retry_every: Duration,
    /// After this long a call of the store is given up.
    pub call_timeout: Duration,
    /// How long services may take to stop when leadership is lost, before the process is killed.
    pub grace: Duration,
    /// How much earlier the process is dead than the lease ends: for clocks that run at different speeds, and for what
    /// a kill itself takes.
    pub margin: Duration,
}

/// Why the time of a lease cannot be divided like that.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TimingError {
    /// One of the times is nothing.
    #[error("`{field}` is nothing; give a time longer than that")]
    Nothing {
        /// Which one.
        field: &'static str,
    },
    /// Leadership would end before a renewal could fail once and be tried again.
    #[error(
        "a lease of {:?} is too short, or its parts are too long: less a grace of {:?} and a margin of {:?}, leadership \
         ends {:?} after the last good renewal was sent; but the next one is sent after {:?}, is given up {:?} later, and \
         its repetition takes another {:?} and {:?}, together {:?}; lengthen `lease`, or shorten `grace`, `renew_every`, \
         `retry_every` or `call_timeout`",
        .0.lease, .0.grace, .0.margin, .0.leads_for(), .0.renew_every, .0.call_timeout, .0.retry_every,
        .0.call_timeout, .0.two_tries()
    )]
    NoSecondTry(Timing),
}

impl Timing {
    /// The usual division: renewed after a quarter, again each twentieth, a grace of a quarter, a margin of a
    /// twentieth. A lease of 20 s is renewed every 5 s and retried each second; leadership ends after 14 s, and the
    /// process is dead after 19 s.
    #[must_use]
    pub fn of_lease(lease: Duration) -> Self {
        Self {
            lease,
            renew_every: lease / 4,
            retry_every: lease / 20,
            call_timeout: lease / 10,
            grace: lease / 4,
            margin: lease / 20,
        }
    }

    /// How long a process leads after it sent a good renewal.
    #[must_use]
    pub fn leads_for(&self) -> Duration {
        self.lives_for().saturating_sub(self.grace)
    }

    /// How long a process lives after it sent a good renewal.
    #[must_use]
    pub fn lives_for(&self) -> Duration {
        self.lease.saturating_sub(self.margin)
    }

    /// How long it takes until a renewal has been given up twice.
    fn two_tries(&self) -> Duration {
        let tries = [self.renew_every, self.call_timeout, self.retry_every, self.call_timeout];
        tries.into_iter().fold(Duration::ZERO, Duration::saturating_add)
    }

    /// Checks that the last good renewal, one failed one and one repetition of it come before the end of leadership,
    /// and the death of the process before the end of the lease.
    ///
    /// # Errors
    /// [`TimingError`], with the arithmetic.
    pub fn check(&self) -> Result<(), TimingError> {
        let fields = [
            ("lease", self.lease),
            ("renew_every", self.renew_every),
            ("retry_every", self.retry_every),
            ("call_timeout", self.call_timeout),
            ("grace", self.grace),
            ("margin", self.margin),
        ];
        if let Some((field, _)) = fields.into_iter().find(|(_, time)| time.is_zero()) {
            return Err(TimingError::Nothing { field });
        }
        if self.two_tries() > self.leads_for() {
            return Err(TimingError::NoSecondTry(*self));
        }
        Ok(())
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a lease of {:?} is renewed every {:?}, and each {:?} when that fails; leadership ends {:?} after the last \
             good renewal was sent, and the process is dead {:?} after it",
            self.lease,
            self.renew_every,
            self.retry_every,
            self.leads_for(),
            self.lives_for()
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LEASE: Duration = Duration::from_secs(20);

    #[test]
    fn a_lease_of_20_seconds_is_divided_as_the_documentation_says() {
        let timing = Timing::of_lease(LEASE);
        timing.check().unwrap();
        assert_eq!(
            timing.to_string(),
            "a lease of 20s is renewed every 5s, and each 1s when that fails; leadership ends 14s after the last good \
             renewal was sent, and the process is dead 19s after it"
        );
    }

    #[test]
    fn the_usual_division_is_sound_for_any_lease() {
        for millis in [20, 100, 999, 60_000, 3_600_000, u64::MAX / 4] {
            let timing = Timing::of_lease(Duration::from_millis(millis));
            timing.check().unwrap();
            assert!(timing.leads_for() + timing.grace < timing.lease, "{timing}");
        }
    }

    #[test]
    fn a_division_without_time_for_a_second_try_is_refused_with_the_arithmetic() {
        let timing = Timing {
            grace: Duration::from_secs(18),
            ..Timing::of_lease(LEASE)
        };
        let refusal = timing.check().unwrap_err().to_string();
        for part in ["18s", "leadership ends 1s after", "together 10s", "shorten `grace`"] {
            assert!(refusal.contains(part), "{part}: {refusal}");
        }
    }

    #[test]
    fn a_grace_longer_than_the_lease_is_refused() {
        let timing = Timing {
            grace: Duration::MAX,
            ..Timing::of_lease(LEASE)
        };
        assert!(matches!(timing.check(), Err(TimingError::NoSecondTry(_))));
    }

    #[test]
    fn nothing_is_no_time() {
        let timing = Timing {
            margin: Duration::ZERO,
            ..Timing::of_lease(LEASE)
        };
        assert_eq!(timing.check(), Err(TimingError::Nothing { field: "margin" }));
    }
}
