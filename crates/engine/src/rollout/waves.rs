//! The waves that follow from a policy.

use std::sync::Arc;

use unisono_model::rollout::{Amount, Batch, Policy, Promotion, Selector, Tolerance, Unmatched};

/// The wave of targets that no wave selects.
pub(crate) const LEFT_OUT: u16 = u16::MAX;

/// One wave of a plan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WavePlan {
    pub(crate) name: String,
    pub(crate) select: Selector,
    /// Only so many of those that it selects.
    pub(crate) take: Option<Amount>,
    pub(crate) batch: Batch,
    pub(crate) max_unavailable: Option<Amount>,
    pub(crate) tolerance: Option<Tolerance>,
    pub(crate) bake_ms: i64,
    pub(crate) manual: bool,
}

fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

/// The waves of a policy, in order: the canary, those that it names, and the rest. A rollout that overrides has one.
pub(crate) fn waves(policy: &Policy, overriding: bool) -> Arc<[WavePlan]> {
    let plain = |name: &str| WavePlan {
        name: name.to_owned(),
        select: Selector::default(),
        take: None,
        batch: policy.batch.clone(),
        max_unavailable: None,
        tolerance: None,
        bake_ms: 0,
        manual: false,
    };
    if overriding {
        let everything = Batch::Window(Amount::Count(u32::MAX));
        return Arc::from([WavePlan {
            batch: everything,
            ..plain("all")
        }]);
    }
    let canary = policy.canary.iter().map(|canary| WavePlan {
        name: "canary".to_owned(),
        select: canary.select.clone(),
        take: Some(canary.size),
        batch: Batch::Window(Amount::Count(u32::MAX)),
        bake_ms: millis(canary.bake_seconds),
        manual: canary.promotion == Promotion::Manual,
        ..plain("")
    });
    let named = policy.waves.iter().map(|wave| WavePlan {
        name: wave.name.clone(),
        select: wave.select.clone(),
        take: wave.take,
        batch: wave.batch.clone().unwrap_or_else(|| policy.batch.clone()),
        max_unavailable: wave.max_unavailable,
        tolerance: wave.failure_tolerance,
        bake_ms: millis(wave.bake_seconds),
        manual: wave.promotion == Promotion::Manual,
    });
    let mut waves: Vec<WavePlan> = canary.chain(named).collect();
    let complete = waves
        .iter()
        .any(|wave| wave.take.is_none() && wave.select.selects_all());
    if !complete && policy.unmatched == Unmatched::LastWave {
        waves.push(plain(if waves.is_empty() { "all" } else { "rest" }));
    }
    waves.into()
}

/// The waves that a target may move with: the one that it belongs to, and a bit for each that takes some of those it
/// selects.
pub(crate) fn place<'a>(waves: &[WavePlan], group: &str, label: impl Fn(&str) -> Option<&'a str>) -> (u16, u64) {
    let (mut home, mut takes) = (LEFT_OUT, 0_u64);
    for (number, wave) in (0_u16..).zip(waves) {
        if !wave.select.selects(group, &label) {
            continue;
        }
        if wave.take.is_some() {
            takes |= 1 << number;
        } else if home == LEFT_OUT {
            home = number;
        }
    }
    if home == LEFT_OUT && takes != 0 {
        // No other wave will have it, so it belongs to the last one that may take it.
        home = u16::try_from(takes.ilog2()).unwrap_or(LEFT_OUT);
    }
    (home, takes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn policy(json: &str) -> Policy {
        unisono_model::rollout::read_policy(json).unwrap()
    }

    fn names(json: &str) -> Vec<String> {
        waves(&policy(json), false)
            .iter()
            .map(|wave| wave.name.clone())
            .collect()
    }

    #[test]
    fn the_rest_is_a_wave_of_its_own_unless_it_is_left_out_or_there_is_none() {
        let zone = r#"{"name": "a", "select": {"labels": {"zone": "a"}}}"#;
        assert_eq!(names("{}"), ["all"]);
        assert_eq!(names(r#"{"canary": {"size": 1}}"#), ["canary", "rest"]);
        assert_eq!(names(&format!(r#"{{"waves": [{zone}]}}"#)), ["a", "rest"]);
        assert_eq!(
            names(&format!(r#"{{"waves": [{zone}], "unmatched": "leaveOut"}}"#)),
            ["a"]
        );
        assert_eq!(names(&format!(r#"{{"waves": [{zone}, {{"name": "b"}}]}}"#)), ["a", "b"]);
    }

    #[test]
    fn a_target_belongs_to_the_first_wave_that_takes_all_it_selects() {
        let waves = waves(
            &policy(
                r#"{"canary": {"size": 1}, "waves": [
                    {"name": "a", "select": {"labels": {"zone": "a"}}, "take": 2},
                    {"name": "b", "select": {"labels": {"zone": "a"}}}]}"#,
            ),
            false,
        );
        assert_eq!(place(&waves, "", |_| Some("a")), (2, 0b11));
        assert_eq!(place(&waves, "", |_| None), (3, 0b01));
    }
}
