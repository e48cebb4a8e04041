//! When a failed attempt is tried again.

/// How recoverable errors are retried: exponential backoff with jitter, up to a number of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Milliseconds before the first retry.
    pub initial_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_ms: u64,
    /// After this many recoverable errors of one activity it fails for good.
    pub max_errors: u32,
    /// After its agent was lost this often in one activity, it fails for good: an activity that
    /// takes its agents down must not do so for ever.
    pub max_lost: u32,
}

impl RetryPolicy {
    /// One second, doubled up to one minute, twenty errors: about a quarter of an hour.
    pub const DEFAULT: Self = Self {
        initial_ms: 1_000,
        max_ms: 60_000,
        max_errors: 20,
        max_lost: 50,
    };

    /// Milliseconds to wait after the `errors`-th error (from 1). `seed` spreads the waits of
    /// activities that failed together over the last quarter of the backoff.
    #[must_use]
    pub fn backoff_ms(&self, errors: u32, seed: u64) -> u64 {
        let doublings = errors.saturating_sub(1).min(32);
        let full = self.initial_ms.saturating_mul(1 << doublings).min(self.max_ms);
        let spread = full / 4;
        full - spread + mix(seed) % (spread + 1)
    }
}

/// A fixed scrambling of 64 bits (the finalizer of SplitMix64).
pub(crate) fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_the_longest_wait_with_a_quarter_of_jitter() {
        let policy = RetryPolicy::DEFAULT;
        for (errors, full) in [(1, 1_000), (2, 2_000), (6, 32_000), (7, 60_000), (40, 60_000)] {
            for seed in 0..100 {
                let wait = policy.backoff_ms(errors, seed);
                assert!((full - full / 4..=full).contains(&wait), "{errors} {wait}");
            }
        }
        assert_ne!(policy.backoff_ms(5, 1), policy.backoff_ms(5, 2));
    }
}
