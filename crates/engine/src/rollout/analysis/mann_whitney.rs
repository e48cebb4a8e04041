//! The test of Mann and Whitney (Wilcoxon's rank sum test), with the p-values of R's `wilcox.test`.
//!
//! As there: the exact distribution when both samples have fewer than 50 values and no two are equal, otherwise the normal
//! approximation with the variance corrected for ties and a continuity correction of one half. H. B. Mann and
//! D. R. Whitney, Annals of Mathematical Statistics 18 (1947), 50–60.

use unisono_model::rollout::Alternative;

/// Below this size of both samples the distribution is exact.
const EXACT_BELOW: usize = 50;

/// The result of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannWhitney {
    /// How many pairs there are of which the first sample has the greater value, equal ones counted half.
    pub w: f64,
    /// The probability of such a difference, or a greater one, where there is none.
    pub p: f64,
}

/// Tests whether the first sample is greater than, less than, or different from the second one. `None` when all values are
/// equal, or one sample is empty. No value may be NaN.
#[must_use]
pub fn mann_whitney(first: &[f64], second: &[f64], alternative: Alternative) -> Option<MannWhitney> {
    if first.is_empty() || second.is_empty() {
        return None;
    }
    let Ranked { rank_sum, ties } = rank(first, second);
    let (n, m) = (first.len() as f64, second.len() as f64);
    let w = rank_sum - n * (n + 1.0) / 2.0;
    let exact = first.len() < EXACT_BELOW && second.len() < EXACT_BELOW && ties == 0.0;
    let p = if exact {
        exact_p(w, (first.len(), second.len()), alternative)
    } else {
        approximate_p(w, (n, m), ties, alternative)?
    };
    Some(MannWhitney { w, p })
}

struct Ranked {
    /// Of the first sample.
    rank_sum: f64,
    /// The sum of t³ − t over groups of t equal values.
    ties: f64,
}

fn rank(first: &[f64], second: &[f64]) -> Ranked {
    let tagged = first
        .iter()
        .map(|it| (*it, true))
        .chain(second.iter().map(|it| (*it, false)));
    let mut all: Vec<(f64, bool)> = tagged.collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut rank_sum, mut ties, mut before) = (0.0, 0.0, 0.0);
    // 0.0 and −0.0 are equal, though they sort apart.
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let size = group.len() as f64;
        let mean = before + (size + 1.0) / 2.0;
        rank_sum += mean * group.iter().filter(|(_, is_first)| *is_first).count() as f64;
        ties += size * size * size - size;
        before += size;
    }
    Ranked { rank_sum, ties }
}

fn exact_p(w: f64, (n, m): (usize, usize), alternative: Alternative) -> f64 {
    let counts = distribution(n, m);
    let total: f64 = counts.iter().sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number from 0 to n·m"
    )]
    let w_index = w as usize;
    let at_most = |limit: usize| counts.iter().take(limit + 1).sum::<f64>() / total;
    let at_least = |limit: usize| counts.iter().skip(limit).sum::<f64>() / total;
    match alternative {
        Alternative::Greater => at_least(w_index),
        Alternative::Less => at_most(w_index),
        Alternative::TwoSided => {
            let tail = if w > (n * m) as f64 / 2.0 {
                at_least(w_index)
            } else {
                at_most(w_index)
            };
            (2.0 * tail).min(1.0)
        }
    }
}

/// In how many ways n of n + m ranks lead to each value of W, from 0 to n·m.
///
/// The greatest rank belongs either to the first sample, and then is above all m others, or to the second. Only sums of
/// what is positive, so that nothing cancels.
fn distribution(n: usize, m: usize) -> Vec<f64> {
    // By the size of the second sample: the counts for the sizes of the first one so far.
    let mut by_size: Vec<Vec<f64>> = vec![vec![1.0]; m + 1];
    for i in 1..=n {
        by_size[0] = vec![1.0];
        for j in 1..=m {
            let mut counts = by_size[j - 1].clone();
            counts.resize(i * j + 1, 0.0);
            for (w, ways) in by_size[j].iter().enumerate() {
                counts[w + j] += ways;
            }
            by_size[j] = counts;
        }
    }
    by_size.swap_remove(m)
}

fn approximate_p(w: f64, (n, m): (f64, f64), ties: f64, alternative: Alternative) -> Option<f64> {
    let z = w - n * m / 2.0;
    let all = n + m;
    let variance = n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        return None;
    }
    let sigma = variance.sqrt();
    let correction = match alternative {
        Alternative::TwoSided if z == 0.0 => 0.0,
        Alternative::TwoSided => 0.5 * z.signum(),
        Alternative::Greater => 0.5,
        Alternative::Less => -0.5,
    };
    let z = (z - correction) / sigma;
    Some(match alternative {
        Alternative::Greater => upper(z),
        Alternative::Less => upper(-z),
        Alternative::TwoSided => (2.0 * upper(z.abs())).min(1.0),
    })
}

/// The probability that a standard normal variable is greater than `z`.
fn upper(z: f64) -> f64 {
    0.5 * libm::erfc(z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_distribution_counts_every_arrangement() {
        assert_eq!(distribution(2, 2), [1.0, 1.0, 2.0, 1.0, 1.0]);
        let counts = distribution(7, 9);
        assert_eq!(counts.iter().sum::<f64>(), 11_440.0);
        assert!(counts.iter().zip(counts.iter().rev()).all(|(a, b)| a == b));
    }

    #[test]
    fn equal_samples_show_nothing() {
        assert_eq!(mann_whitney(&[1.0; 5], &[1.0; 5], Alternative::TwoSided), None);
        assert_eq!(mann_whitney(&[], &[1.0], Alternative::TwoSided), None);
        let same = mann_whitney(&[1.0, 4.0], &[2.0, 3.0], Alternative::TwoSided).unwrap();
        assert_eq!((same.w, same.p), (2.0, 1.0));
    }
}
