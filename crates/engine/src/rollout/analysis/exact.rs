//! Exact tests of counts.

use unisono_model::rollout::{Alternative, Counted};

/// The natural logarithm of the binomial coefficient.
fn ln_choose(n: u64, k: u64) -> f64 {
    let ln_factorial = |it: u64| libm::lgamma(it as f64 + 1.0);
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// Probabilities that are equal but for rounding count as equal, as in R.
const EQUAL: f64 = 1.0 + 1e-7;

fn two_sided(observed: f64, all: impl Iterator<Item = f64>) -> f64 {
    all.filter(|it| *it <= observed * EQUAL).sum::<f64>().min(1.0)
}

/// Fisher's exact test: whether the first has more errors for its requests than the second, fewer, or another share.
///
/// R. A. Fisher, Journal of the Royal Statistical Society 85 (1922), 87–94. The p-values are those of R's `fisher.test`.
#[must_use]
pub fn fisher(first: Counted, second: Counted, alternative: Alternative) -> f64 {
    let all = first.total + second.total;
    let errors = first.errors + second.errors;
    let ways = ln_choose(all, errors);
    let probability = |bad: u64| (ln_choose(first.total, bad) + ln_choose(second.total, errors - bad) - ways).exp();
    let (low, high) = (errors.saturating_sub(second.total), errors.min(first.total));
    match alternative {
        Alternative::Greater => (first.errors..=high).map(probability).sum::<f64>().min(1.0),
        Alternative::Less => (low..=first.errors).map(probability).sum::<f64>().min(1.0),
        Alternative::TwoSided => two_sided(probability(first.errors), (low..=high).map(probability)),
    }
}

/// The exact binomial test: whether so many errors are more, fewer, or others than a share of `expected` makes likely.
#[must_use]
pub fn binomial(counted: Counted, expected: f64, alternative: Alternative) -> f64 {
    let Counted { errors, total } = counted;
    let probability = |bad: u64| {
        let of = |share: f64, times: u64| if times == 0 { 0.0 } else { times as f64 * share.ln() };
        (ln_choose(total, bad) + of(expected, bad) + of(1.0 - expected, total - bad)).exp()
    };
    match alternative {
        Alternative::Greater => (errors..=total).map(probability).sum::<f64>().min(1.0),
        Alternative::Less => (0..=errors).map(probability).sum::<f64>().min(1.0),
        Alternative::TwoSided => two_sided(probability(errors), (0..=total).map(probability)),
    }
}
