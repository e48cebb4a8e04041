//! Cron expressions of five fields, and when they come true in a time zone.
//!
//! Minute, hour, day of month, month, day of week, as in POSIX `crontab`: `*`, numbers, ranges, lists, steps, and the
//! English names of months and days (three letters). When both days are restricted, either may fit. A time that a change
//! to daylight saving skips comes true when the clock has jumped; one that comes twice, the first time.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use crate::ids::Timestamp;

/// Days that are searched for the next time: 29 February comes within eight years.
const SEARCHED_DAYS: i32 = 366 * 8 + 2;

/// A cron expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_day: bool,
    any_weekday: bool,
}

/// Why a text is no cron expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It has more or fewer than five fields.
    #[error("a cron expression has five fields (minute, hour, day of month, month, day of week), and this has {0}")]
    Fields(usize),
    /// A field cannot be read.
    #[error("\"{text}\" is no {field}: {expected}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it says.
        text: String,
        /// What it may say.
        expected: &'static str,
    },
    /// It names a day that no month has.
    #[error("it never comes true: none of its months has such a day")]
    Never,
}

struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    words: &'static [&'static str],
    expected: &'static str,
}

const MINUTE: Field = Field {
    name: "minute",
    first: 0,
    last: 59,
    words: &[],
    expected: "write 0 to 59, a range such as 0-30, a list, *, or a step such as */5",
};
const HOUR: Field = Field {
    name: "hour",
    first: 0,
    last: 23,
    words: &[],
    expected: "write 0 to 23, a range such as 8-17, a list, *, or a step such as */2",
};
const DAY: Field = Field {
    name: "day of month",
    first: 1,
    last: 31,
    words: &[],
    expected: "write 1 to 31, a range, a list, *, or a step",
};
const MONTH: Field = Field {
    name: "month",
    first: 1,
    last: 12,
    words: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
    expected: "write 1 to 12 or jan to dec, a range, a list, *, or a step",
};
/// 0 and 7 are both Sunday.
const WEEKDAY: Field = Field {
    name: "day of week",
    first: 0,
    last: 7,
    words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    expected: "write 0 to 7 or sun to sat, a range, a list, *, or a step",
};

impl Field {
    fn bad(&self, text: &str) -> CronError {
        CronError::Field {
            field: self.name,
            text: text.to_owned(),
            expected: self.expected,
        }
    }

    fn number(&self, text: &str) -> Option<u32> {
        let word = (self.first..)
            .zip(self.words)
            .find(|(_, word)| text.eq_ignore_ascii_case(word));
        if let Some((number, _)) = word {
            return Some(number);
        }
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten()?;
        (self.first..=self.last).contains(&number).then_some(number)
    }

    /// The bits of the numbers that one part of a list names.
    fn part(&self, text: &str) -> Option<u64> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|step| *step > 0)?)),
            None => (text, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.first, self.last),
            Some((first, last)) => (self.number(first)?, self.number(last)?),
            None => {
                let first = self.number(range)?;
                (first, if step.is_some() { self.last } else { first })
            }
        };
        if first > last {
            return None;
        }
        let numbers = (first..=last).step_by(step.unwrap_or(1) as usize);
        Some(numbers.fold(0, |bits, number| bits | 1 << number))
    }

    fn read(&self, text: &str) -> Result<u64, CronError> {
        text.split(',').try_fold(0, |bits, part| {
            self.part(part).map(|more| bits | more).ok_or_else(|| self.bad(text))
        })
    }
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`CronError`], which names the field.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(CronError::Fields(fields.len()));
        };
        let weekdays = WEEKDAY.read(weekday)?;
        let cron = Self {
            minutes: MINUTE.read(minute)?,
            hours: HOUR.read(hour)?,
            days: DAY.read(day)?,
            months: MONTH.read(month)?,
            weekdays: weekdays | (weekdays >> 7 & 1),
            any_day: day.starts_with('*'),
            any_weekday: weekday.starts_with('*'),
        };
        let longest = |month: u32| match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let possible =
            (1..=12).any(|month| bit(cron.months, month) && (1..=longest(month)).any(|day| bit(cron.days, day)));
        if !possible && cron.any_weekday {
            return Err(CronError::Never);
        }
        Ok(cron)
    }

    fn fits(&self, date: Date) -> bool {
        let day = bit(self.days, small(date.day()));
        let weekday = bit(self.weekdays, small(date.weekday().to_sunday_zero_offset()));
        let days = if self.any_day || self.any_weekday {
            day && weekday
        } else {
            day || weekday
        };
        days && bit(self.months, small(date.month()))
    }

    /// The first time after `instant` at which it comes true.
    #[must_use]
    pub fn next_after(&self, instant: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let local = local(instant, zone)?;
        let mut date = local.date();
        for _ in 0..SEARCHED_DAYS {
            if self.fits(date)
                && let Some(found) = self.times(date).filter_map(|it| at(it, zone)).find(|it| *it > instant)
            {
                return Some(found);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// The last time at which it came true, at `instant` or up to `millis` before it.
    #[must_use]
    pub fn last_within(&self, instant: Timestamp, millis: u64, zone: &TimeZone) -> Option<Timestamp> {
        let earliest = Timestamp(instant.0.saturating_sub(i64::try_from(millis).unwrap_or(i64::MAX)));
        let (local, oldest) = (local(instant, zone)?, local(earliest, zone)?.date());
        let mut date = local.date();
        while date >= oldest {
            if self.fits(date) {
                let found = self
                    .times(date)
                    .rev()
                    .filter_map(|it| at(it, zone))
                    .find(|it| *it <= instant);
                if found.is_some() {
                    return found.filter(|it| *it >= earliest);
                }
            }
            date = date.yesterday().ok()?;
        }
        None
    }

    fn times(&self, date: Date) -> impl DoubleEndedIterator<Item = DateTime> + '_ {
        let hours = (0..24_i8).filter(|hour| bit(self.hours, small(*hour)));
        hours.flat_map(move |hour| {
            let minutes = (0..60_i8).filter(|minute| bit(self.minutes, small(*minute)));
            minutes.map(move |minute| date.to_datetime(Time::constant(hour, minute, 0, 0)))
        })
    }
}

fn bit(bits: u64, number: u32) -> bool {
    bits >> number & 1 == 1
}

fn small(number: i8) -> u32 {
    u32::from(number.unsigned_abs())
}

fn local(instant: Timestamp, zone: &TimeZone) -> Option<DateTime> {
    Some(zone.to_datetime(jiff::Timestamp::from_millisecond(instant.0).ok()?))
}

fn at(local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let instant = zone.to_ambiguous_timestamp(local).compatible().ok()?;
    Some(Timestamp(instant.as_millisecond()))
}

/// The time zone of this name.
///
/// # Errors
/// A text when there is none.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| format!("no time zone is called \"{name}\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cron(text: &str) -> Cron {
        Cron::parse(text).unwrap()
    }

    fn next(text: &str, from: &str, zone_name: &str) -> String {
        let found = cron(text).next_after(from.parse().unwrap(), &zone(zone_name).unwrap());
        found.unwrap().to_string()
    }

    #[test]
    fn the_next_time_is_found_in_the_time_zone() {
        let from = "2026-11-25T01:30:00Z";
        assert_eq!(next("0 2 * * *", from, "UTC"), "2026-11-25T02:00:00.000Z");
        assert_eq!(next("0 2 * * *", from, "Europe/Berlin"), "2026-11-26T01:00:00.000Z");
        assert_eq!(
            next("*/15 9-17 * * mon-fri", "2026-11-27T17:50:00Z", "UTC"),
            "2026-11-30T09:00:00.000Z"
        );
        assert_eq!(next("0 0 29 feb *", from, "UTC"), "2028-02-29T00:00:00.000Z");
        assert_eq!(next("0 0 1 * 7", from, "UTC"), "2026-11-29T00:00:00.000Z");
    }

    #[test]
    fn a_time_that_daylight_saving_skips_comes_when_the_clock_has_jumped() {
        assert_eq!(
            next("30 2 29 3 *", "2026-03-28T12:00:00Z", "Europe/Berlin"),
            "2026-03-29T01:30:00.000Z"
        );
        assert_eq!(
            next("30 2 25 10 *", "2026-10-24T12:00:00Z", "Europe/Berlin"),
            "2026-10-25T00:30:00.000Z"
        );
    }

    #[test]
    fn the_last_time_is_looked_for_within_a_span() {
        let nightly = cron("0 22 * * *");
        let utc = zone("UTC").unwrap();
        let last = |at: &str, hours: u64| nightly.last_within(at.parse().unwrap(), hours * 3_600_000, &utc);
        assert_eq!(
            last("2026-11-25T03:00:00Z", 6).unwrap().to_string(),
            "2026-11-24T22:00:00.000Z"
        );
        assert_eq!(last("2026-11-25T03:00:00Z", 4), None);
        assert_eq!(
            last("2026-11-25T22:00:00Z", 4).unwrap().to_string(),
            "2026-11-25T22:00:00.000Z"
        );
    }

    #[test]
    fn what_is_no_cron_expression_says_which_field() {
        for (text, part) in [
            ("* * * *", "this has 4"),
            ("60 * * * *", "no minute"),
            ("* 24 * * *", "no hour"),
            ("* * 0 * *", "no day of month"),
            ("* * * foo *", "no month"),
            ("* * * * 8", "no day of week"),
            ("5-1 * * * *", "no minute"),
            ("*/0 * * * *", "no minute"),
            ("0 0 30 feb *", "never"),
        ] {
            let error = Cron::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
