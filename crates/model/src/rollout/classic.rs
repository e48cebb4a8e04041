//! The four options, the targets and the answers of older controllers.
//!
//! | option | what it meant | what it becomes |
//! |---|---|---|
//! | `batchPercent` | at most this share of the known targets is in flight, rounded down, at least one | `batch` |
//! | `successPercent` | the version is bad once failures reach what this share, rounded down, leaves, or one | `failureTolerance`: fewer than the rest |
//! | `successTimeoutSecs` | a target has to run the version without an error for so long | `health.healthyForSeconds` |
//! | `durationTimeoutSecs` | a target that has not managed that by then, counted from when it was told, has failed; an error alone is no failure before | `health.deadlineSeconds`, and `health.onUnhealthy: wait` |
//!
//! Versions wait in line, targets that join take part, and going back is done in batches, as there. What differs on
//! purpose: a target that was never told a version is told the one that it runs, never an empty one; a version without a
//! single proven target is never good, whatever `successPercent` says; and timers fail targets, not only reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::amount::{Amount, Batch, Percent, Tolerance};
use super::fault::Fault;
use super::policy::{HealthPolicy, OnFailure, OnNewVersion, OnSilent, OnUnhealthy, Policy};
use super::report::Report;
use super::states::Phase;
use super::text::Version;
use super::validate::{LONGEST_SECONDS, contradictions};
use super::view::Instruction;

/// The options of older controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ClassicOptions {
    /// Percentage of the targets that may be in flight.
    #[serde(rename = "batchpercent", alias = "batchPercent")]
    pub batch_percent: i64,
    /// Percentage of the targets that have to succeed.
    #[serde(rename = "successpercent", alias = "successPercent")]
    pub success_percent: i64,
    /// Seconds without an error until a target has succeeded.
    #[serde(rename = "successtimeoutsecs", alias = "successTimeoutSecs")]
    pub success_timeout_secs: i64,
    /// Seconds after which a target that has not succeeded has failed.
    #[serde(rename = "durationtimeoutsecs", alias = "durationTimeoutSecs")]
    pub duration_timeout_secs: i64,
}

/// Some of the options of older controllers; the others stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OptionsChange {
    /// Percentage of the targets that may be in flight.
    #[serde(
        rename = "batchpercent",
        alias = "batchPercent",
        skip_serializing_if = "Option::is_none"
    )]
    pub batch_percent: Option<i64>,
    /// Percentage of the targets that have to succeed.
    #[serde(
        rename = "successpercent",
        alias = "successPercent",
        skip_serializing_if = "Option::is_none"
    )]
    pub success_percent: Option<i64>,
    /// Seconds without an error until a target has succeeded.
    #[serde(
        rename = "successtimeoutsecs",
        alias = "successTimeoutSecs",
        skip_serializing_if = "Option::is_none"
    )]
    pub success_timeout_secs: Option<i64>,
    /// Seconds after which a target that has not succeeded has failed.
    #[serde(
        rename = "durationtimeoutsecs",
        alias = "durationTimeoutSecs",
        skip_serializing_if = "Option::is_none"
    )]
    pub duration_timeout_secs: Option<i64>,
}

impl OptionsChange {
    /// The options after the change.
    #[must_use]
    pub fn of(self, before: ClassicOptions) -> ClassicOptions {
        ClassicOptions {
            batch_percent: self.batch_percent.unwrap_or(before.batch_percent),
            success_percent: self.success_percent.unwrap_or(before.success_percent),
            success_timeout_secs: self.success_timeout_secs.unwrap_or(before.success_timeout_secs),
            duration_timeout_secs: self.duration_timeout_secs.unwrap_or(before.duration_timeout_secs),
        }
    }
}

impl Default for ClassicOptions {
    fn default() -> Self {
        Self {
            batch_percent: 5,
            success_percent: 100,
            success_timeout_secs: 60,
            duration_timeout_secs: 120,
        }
    }
}

/// Silence after which older controllers took a target for gone, in seconds.
const CLASSIC_SILENCE: u64 = 900;

/// The policy that says what the four options meant.
///
/// # Errors
/// One [`Fault`] for each option that makes no sense.
pub fn classic_policy(options: &ClassicOptions) -> Result<Policy, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut percent = |field: &'static str, value: i64| {
        let percent = u32::try_from(value).ok().and_then(Percent::whole);
        if percent.is_none() {
            let reason = format!("{value} is no percentage");
            faults.push(Fault::new(
                "invalid-options",
                field,
                reason,
                "write a whole number from 0 to 100",
            ));
        }
        percent
    };
    let batch = percent("batchpercent", options.batch_percent);
    let failures = percent("successpercent", options.success_percent)
        .and_then(|_| Percent::whole(100 - u32::try_from(options.success_percent).unwrap_or_default()));
    let mut seconds = |field: &'static str, value: i64| {
        let seconds = u64::try_from(value).ok();
        let reason = match seconds {
            None => format!("{value} seconds are less than none"),
            Some(seconds) if seconds > LONGEST_SECONDS => format!("{value} seconds are more than ten years"),
            Some(seconds) => return seconds,
        };
        let fix = "write 0 or more seconds, and at most ten years of them";
        faults.push(Fault::new("invalid-options", field, reason, fix));
        0
    };
    let healthy_for = seconds("successtimeoutsecs", options.success_timeout_secs);
    let deadline = seconds("durationtimeoutsecs", options.duration_timeout_secs);
    let (Some(batch), Some(failures), true) = (batch, failures, faults.is_empty()) else {
        return Err(faults);
    };
    Ok(Policy {
        batch: Batch::Window(Amount::Percent(batch)),
        failure_tolerance: Tolerance::FewerThan(failures),
        on_failure: OnFailure::Budgeted,
        on_new_version: OnNewVersion::Queue,
        progress_deadline_seconds: None,
        health: HealthPolicy {
            healthy_for_seconds: healthy_for,
            deadline_seconds: deadline.max(1),
            silent_after_seconds: CLASSIC_SILENCE,
            healthy_reports: 1,
            unhealthy_reports: 1,
            on_unhealthy: OnUnhealthy::Wait,
            on_silent: OnSilent::Fail,
            ..HealthPolicy::default()
        },
        ..Policy::default()
    })
}

/// The policy before, with what the four options say. An entity whose policy nobody has set gets all that options meant to
/// older controllers; its controllers and subscribers stay.
///
/// # Errors
/// One [`Fault`] for each option that makes no sense, or does not fit the rest of the policy.
pub fn with_options(options: &ClassicOptions, before: &Policy) -> Result<Policy, Vec<Fault>> {
    let meant = classic_policy(options)?;
    let beside = |policy: &Policy| Policy {
        controllers: before.controllers.clone(),
        notify: before.notify.clone(),
        ..policy.clone()
    };
    if *before == beside(&Policy::default()) {
        return Ok(beside(&meant));
    }
    let mut policy = before.clone();
    policy.batch = meant.batch;
    policy.failure_tolerance = meant.failure_tolerance;
    policy.health.healthy_for_seconds = meant.health.healthy_for_seconds;
    policy.health.deadline_seconds = meant.health.deadline_seconds;
    policy.health.on_unhealthy = meant.health.on_unhealthy;
    match contradictions(&policy) {
        faults if faults.is_empty() => Ok(policy),
        faults => Err(faults),
    }
}

/// A target as older controllers report it, and as they are answered: `version` is then the one it should run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClassicTarget {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Facts about it: `zone=a,canary`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tags: String,
    /// The version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub version: Option<Version>,
    /// What it, or the server about it, has to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Whether something is wrong.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
}

impl<'a> From<&'a ClassicTarget> for Report<'a> {
    fn from(target: &'a ClassicTarget) -> Self {
        Self {
            name: target.name.as_str().into(),
            group: target.group.as_str().into(),
            version: target.version.as_deref().map(Into::into),
            message: target.message.as_str().into(),
            is_error: target.is_error,
            tags: (!target.tags.is_empty()).then(|| target.tags.as_str().into()),
            ..Self::default()
        }
    }
}

impl Instruction {
    /// The same as older controllers are answered. Of the target that was reported, only its tags are repeated.
    #[must_use]
    pub fn into_classic(self, reported: &ClassicTarget) -> ClassicTarget {
        ClassicTarget {
            name: self.name.to_string(),
            group: self.group.to_string(),
            tags: reported.tags.clone(),
            version: self.version,
            message: self.message,
            is_error: matches!(self.phase, Phase::Failed | Phase::NotRecovered),
        }
    }
}

/// Where an entity stands, in the words of older controllers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClassicInfo {
    /// The version that was set last.
    #[serde(default, rename = "targetversion", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub target_version: Option<Version>,
    /// The version that is rolled out now, or was last.
    #[serde(default, rename = "rollingversion", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub rolling_version: Option<Version>,
    /// The version that was proven good last.
    #[serde(default, rename = "lastknowngoodversion", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub last_known_good_version: Option<Version>,
    /// The version that was proven bad last.
    #[serde(default, rename = "lastknownbadversion", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub last_known_bad_version: Option<Version>,
    /// The options in force, if they were set as such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<ClassicOptions>,
}

/// The labels that a text of tags stands for: `zone=a, canary` is `zone` with the value `a`, and `canary` with none.
#[must_use]
pub fn labels_from_tags(tags: &str) -> BTreeMap<String, String> {
    let parts = tags.split([',', ';']).map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once(['=', ':']).unwrap_or((part, ""));
            (key.trim().to_owned(), value.trim().to_owned())
        })
        .filter(|(key, value)| super::text::check_label(key, value).is_ok())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_options_keep_their_meaning() {
        let policy = classic_policy(&ClassicOptions {
            batch_percent: 20,
            success_percent: 80,
            success_timeout_secs: 0,
            duration_timeout_secs: 3,
        })
        .unwrap();
        assert_eq!([5, 9, 100].map(|total| policy.batch.size(0, total)), [1, 1, 20]);
        // One of five, or of ten two, is bad; of eleven two are one too many.
        assert_eq!(
            [1, 5, 10, 11].map(|total| policy.failure_tolerance.of(total)),
            [0, 0, 1, 2]
        );
        assert_eq!(
            (policy.health.healthy_for_seconds, policy.health.deadline_seconds),
            (0, 3)
        );
    }

    #[test]
    fn nonsense_is_refused_by_field() {
        let faults = classic_policy(&ClassicOptions {
            batch_percent: 101,
            success_percent: -1,
            success_timeout_secs: -5,
            duration_timeout_secs: 1,
        })
        .unwrap_err();
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["batchpercent", "successpercent", "successtimeoutsecs"]);
    }

    #[test]
    fn both_spellings_are_read_and_tags_become_labels() {
        let options: ClassicOptions = serde_json::from_str(r#"{"batchPercent": 7, "successtimeoutsecs": 1}"#).unwrap();
        assert_eq!((options.batch_percent, options.success_timeout_secs), (7, 1));
        assert_eq!(options.duration_timeout_secs, 120);
        let labels = labels_from_tags("zone=a, canary ;rack:7,");
        let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(labels, [("canary", ""), ("rack", "7"), ("zone", "a")]);
    }
}
