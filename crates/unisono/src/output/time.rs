//! Instants and lengths of time, as people read them.

use std::time::SystemTime;

use unisono_model::ids::Timestamp;

/// The present, by this machine's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A length of time in milliseconds, with two units at most: `85ms`, `2.3s`, `1m05s`, `2h03m`, `3d04h`.
pub(crate) fn span(millis: u64) -> String {
    let seconds = millis / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match millis {
        0..1_000 => format!("{millis}ms"),
        1_000..60_000 => format!("{seconds}.{}s", millis % 1000 / 100),
        60_000..3_600_000 => format!("{minutes}m{:02}s", seconds % 60),
        3_600_000..86_400_000 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// How long ago something was: `12s ago`. Clocks that differ a little make no strange words.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    match now.millis_since(then) {
        0..1_000 => "just now".to_owned(),
        millis @ 1_000..60_000 => format!("{}s ago", millis / 1000),
        millis => format!("{} ago", span(millis)),
    }
}

/// The time of day with milliseconds, in UTC.
pub(crate) fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('T').map_or(text.clone(), |(_, time)| time.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_two_units_at_most() {
        let lengths = [0, 85, 1_000, 2_390, 59_999, 65_000, 7_380_000, 273_600_000];
        let texts = lengths.map(span).join(" ");
        assert_eq!(texts, "0ms 85ms 1.0s 2.3s 59.9s 1m05s 2h03m 3d04h");
    }

    #[test]
    fn a_clock_that_runs_behind_says_just_now() {
        assert_eq!(ago(Timestamp(5_000), Timestamp(0)), "just now");
        assert_eq!(ago(Timestamp(0), Timestamp(12_999)), "12s ago");
        assert_eq!(ago(Timestamp(0), Timestamp(125_000)), "2m05s ago");
    }

    #[test]
    fn the_time_of_day_is_utc() {
        assert_eq!(clock(Timestamp(1_700_000_000_123)), "22:13:20.123Z");
    }
}
