//! What measurements say: bounds, canary against baseline, errors against errors. Pure arithmetic.

mod exact;
mod mann_whitney;

pub use exact::{binomial, fisher};
pub use mann_whitney::{MannWhitney, mann_whitney};

use unisono_model::rollout::{Alternative, Check, Counted, Measured};

/// What a measurement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing speaks against the version.
    Passed,
    /// The version is worse.
    Failed,
    /// It cannot be said.
    Inconclusive,
}

/// Judges one measurement, and says why.
#[must_use]
pub fn judge(check: &Check, measured: &Measured) -> (Finding, String) {
    match (check, measured) {
        (Check::Threshold { min, max }, Measured::Value { value }) => threshold(*min, *max, *value),
        (
            Check::Compare {
                worse,
                alpha,
                min_samples,
            },
            Measured::Samples { canary, baseline },
        ) => compare((canary, baseline), *worse, *alpha, *min_samples as usize),
        (
            Check::Errors { alpha, min_samples },
            Measured::Counts {
                canary_counts,
                baseline_counts,
            },
        ) => errors(*canary_counts, *baseline_counts, *alpha, u64::from(*min_samples)),
        (Check::Threshold { .. }, _) => mismatch("a value"),
        (Check::Compare { .. }, _) => mismatch("samples of canary and baseline"),
        (Check::Errors { .. }, _) => mismatch("counts of canary and baseline"),
    }
}

fn mismatch(wanted: &str) -> (Finding, String) {
    (
        Finding::Inconclusive,
        format!("the check needs {wanted}, and that was not measured"),
    )
}

fn threshold(min: Option<f64>, max: Option<f64>, value: f64) -> (Finding, String) {
    if !value.is_finite() {
        return (Finding::Inconclusive, "no number was measured".to_owned());
    }
    if let Some(min) = min.filter(|min| value < *min) {
        return (Finding::Failed, format!("{value} is less than {min}"));
    }
    if let Some(max) = max.filter(|max| value > *max) {
        return (Finding::Failed, format!("{value} is more than {max}"));
    }
    (Finding::Passed, format!("{value} is within its bounds"))
}

fn compare((canary, baseline): (&[f64], &[f64]), worse: Alternative, alpha: f64, least: usize) -> (Finding, String) {
    let finite = |samples: &[f64]| {
        samples
            .iter()
            .copied()
            .filter(|it| it.is_finite())
            .collect::<Vec<f64>>()
    };
    let (canary, baseline) = (finite(canary), finite(baseline));
    if canary.len() < least || baseline.len() < least {
        let detail = format!(
            "{} samples of the canary and {} of the baseline prove nothing; {least} of each are needed",
            canary.len(),
            baseline.len()
        );
        return (Finding::Inconclusive, detail);
    }
    if worse != Alternative::Less && baseline.iter().all(|it| *it == 0.0) {
        // Ranks of a baseline without any variance say next to nothing: what is counted is how often the canary is not 0.
        let bad = |samples: &[f64]| Counted {
            errors: samples.iter().filter(|it| **it != 0.0).count() as u64,
            total: samples.len() as u64,
        };
        return errors(bad(&canary), bad(&baseline), alpha, 1);
    }
    let test = mann_whitney(&canary, &baseline, worse);
    let Some(p) = test.map(|it| it.p) else {
        return (Finding::Passed, "all samples are equal".to_owned());
    };
    if p < alpha {
        (
            Finding::Failed,
            format!("the canary is worse (p = {p:.4}, below {alpha})"),
        )
    } else {
        (
            Finding::Passed,
            format!("no difference can be told (p = {p:.4}, not below {alpha})"),
        )
    }
}

/// A canary with errors never passes against a baseline without any: it fails, or needs more data.
fn errors(canary: Counted, baseline: Counted, alpha: f64, least: u64) -> (Finding, String) {
    let valid = |it: Counted| it.errors <= it.total;
    if !valid(canary) || !valid(baseline) {
        return (Finding::Inconclusive, "there are more errors than requests".to_owned());
    }
    if canary.total < least || baseline.total < least {
        let detail = format!(
            "{} of the canary and {} of the baseline prove nothing; {least} of each are needed",
            canary.total, baseline.total
        );
        return (Finding::Inconclusive, detail);
    }
    let p = fisher(canary, baseline, Alternative::Greater);
    let what = format!(
        "{} of {} against {} of {} (p = {p:.4})",
        canary.errors, canary.total, baseline.errors, baseline.total
    );
    if p < alpha {
        (Finding::Failed, format!("the canary is worse: {what}"))
    } else if baseline.errors == 0 && canary.errors > 0 {
        (
            Finding::Inconclusive,
            format!("the canary has errors and the baseline has none: {what}"),
        )
    } else {
        (Finding::Passed, format!("no difference can be told: {what}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(json: &str) -> Check {
        serde_json::from_str(json).unwrap()
    }

    fn samples(canary: &[f64], baseline: &[f64]) -> Measured {
        Measured::Samples {
            canary: canary.to_vec(),
            baseline: baseline.to_vec(),
        }
    }

    #[test]
    fn a_canary_with_errors_never_passes_against_a_baseline_of_zeros() {
        let compare = check(r#"{"kind": "compare"}"#);
        let zeros = [0.0; 50];
        for bad in 1..=50 {
            for size in bad..=50 {
                let mut canary = vec![0.0; size];
                canary[..bad].fill(0.2);
                if size >= 5 {
                    assert_ne!(
                        judge(&compare, &samples(&canary, &zeros)).0,
                        Finding::Passed,
                        "{bad} of {size}"
                    );
                }
            }
        }
        assert_eq!(judge(&compare, &samples(&zeros, &zeros)).0, Finding::Passed);
        assert_eq!(judge(&compare, &samples(&[1.0; 10], &zeros)).0, Finding::Failed);
    }

    #[test]
    fn errors_are_compared_exactly() {
        let errors = check(r#"{"kind": "errors"}"#);
        let counts = |canary: (u64, u64), baseline: (u64, u64)| Measured::Counts {
            canary_counts: Counted {
                errors: canary.0,
                total: canary.1,
            },
            baseline_counts: Counted {
                errors: baseline.0,
                total: baseline.1,
            },
        };
        assert_eq!(judge(&errors, &counts((30, 1_000), (5, 1_000))).0, Finding::Failed);
        assert_eq!(judge(&errors, &counts((6, 1_000), (5, 1_000))).0, Finding::Passed);
        assert_eq!(judge(&errors, &counts((1, 100), (0, 100))).0, Finding::Inconclusive);
        assert_eq!(judge(&errors, &counts((0, 0), (0, 0))).0, Finding::Inconclusive);
    }

    #[test]
    fn too_little_proves_nothing_and_bounds_are_bounds() {
        let compare = check(r#"{"kind": "compare", "minSamples": 5}"#);
        assert_eq!(
            judge(&compare, &samples(&[1.0; 4], &[1.0; 90])).0,
            Finding::Inconclusive
        );
        assert_eq!(
            judge(&compare, &samples(&[f64::NAN; 9], &[1.0; 90])).0,
            Finding::Inconclusive
        );
        assert_eq!(judge(&compare, &samples(&[3.0; 9], &[3.0; 9])).0, Finding::Passed);
        let bounds = check(r#"{"kind": "threshold", "max": 0.01}"#);
        let value = |value| Measured::Value { value };
        assert_eq!(judge(&bounds, &value(0.01)).0, Finding::Passed);
        assert_eq!(judge(&bounds, &value(0.011)).0, Finding::Failed);
        assert_eq!(judge(&bounds, &value(f64::NAN)).0, Finding::Inconclusive);
        assert_eq!(judge(&bounds, &samples(&[], &[])).0, Finding::Inconclusive);
    }
}
