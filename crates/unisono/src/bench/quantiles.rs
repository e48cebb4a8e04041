//! How long things took: the middle, and the slow ones.

use std::time::Duration;

use serde::Serialize;

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const MICROSECOND: Duration = Duration::from_micros(1);

/// Quantiles of times, in a unit that the name of the figure says.
#[derive(Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Quantiles {
    /// Of these times; all are 0 when there are none.
    pub(super) fn of(mut times: Vec<Duration>, unit: Duration) -> Self {
        times.sort_unstable();
        let at = |per_mille: usize| {
            let index = times.len().saturating_sub(1) * per_mille / 1_000;
            times
                .get(index)
                .map_or(0.0, |time| time.as_secs_f64() / unit.as_secs_f64())
        };
        Self {
            p50: at(500),
            p90: at(900),
            p99: at(990),
            max: at(1_000),
        }
    }
}
