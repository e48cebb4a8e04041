//! What a rollout waits for: approvals, windows, hooks, controllers, analyses, other entities.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::text::{EntityName, Version};
use crate::name::Name;

/// Where a gate stands in the life of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Gate {
    /// Before anything moves.
    Start,
    /// Before each wave.
    Wave,
    /// Before the wave after this one begins, and before the version is taken for good.
    Promotion,
    /// When targets begin to go back. It is told, and not waited for.
    Rollback,
}

/// People have to agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// Before what: `start`, `wave`, `promotion`.
    #[serde(default = "at_start")]
    pub at: BTreeSet<Gate>,
    /// How many people have to agree.
    #[serde(default = "one")]
    pub required: u32,
    /// Who may agree; anybody when empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub of: BTreeSet<String>,
    /// For how long an approval counts; for ever when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_seconds: Option<u64>,
    /// Whether who asked for the version may agree as well.
    #[serde(default = "yes")]
    pub by_requester: bool,
}

fn at_start() -> BTreeSet<Gate> {
    BTreeSet::from([Gate::Start])
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

/// When targets may be moved: from each time that the cron expression names, for so long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// Minute, hour, day of month, month, day of week: `0 2 * * mon-fri`.
    pub cron: String,
    /// For how long it is open.
    pub duration_seconds: u64,
    /// The time zone of the cron expression, such as `Europe/Berlin`; each target's own when left out, and UTC for
    /// targets without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// Where something outside is asked. Exactly one of `url`, `activity` and `local` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// An `http` or `https` URL that takes a POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// An activity type of the namespace, run by an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub activity: Option<Name>,
    /// The name of what the process that embeds the engine has registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub local: Option<Name>,
    /// The name of the server's secret by which requests are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub secret: Option<Name>,
    /// The name of the server's secret that requests carry as a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub token: Option<Name>,
    /// For the URLs of controllers: it speaks as older controllers do. Targets are monitored one by one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub classic: bool,
    /// How long an answer may take; then it is asked again.
    #[serde(default = "answer_time")]
    pub timeout_seconds: u64,
}

fn answer_time() -> u64 {
    10
}

impl Endpoint {
    /// A URL, with everything else as it is when left out.
    #[must_use]
    pub fn to_url(url: impl Into<String>) -> Self {
        Self {
            url: Some(url.into()),
            activity: None,
            local: None,
            secret: None,
            token: None,
            classic: false,
            timeout_seconds: answer_time(),
        }
    }

    /// A URL that speaks as older controllers do.
    #[must_use]
    pub fn to_classic_url(url: impl Into<String>) -> Self {
        Self {
            classic: true,
            ..Self::to_url(url)
        }
    }
}

/// A gate that something outside opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    /// Its name, unique within the policy.
    #[schema(value_type = String)]
    pub name: Name,
    /// When it is asked.
    pub on: BTreeSet<Gate>,
    /// Where it is asked.
    pub endpoint: Endpoint,
}

/// Who decides about targets beside the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Controllers {
    /// Chooses which targets move next, out of those that may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selection: Option<Endpoint>,
    /// Approves the targets that were chosen, or some of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Endpoint>,
    /// Names targets to be forgotten, once others have proved themselves: for fleets that replace instead of change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removal: Option<Endpoint>,
    /// Says whether a target that says it is well really is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Endpoint>,
    /// Says whether the whole is well; nothing moves while it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_monitoring: Option<Endpoint>,
    /// How often the external monitor is asked.
    pub external_monitoring_interval_seconds: Option<u64>,
}

/// Measurements that speak for or against the version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Analysis {
    /// Its name, unique within the policy.
    #[schema(value_type = String)]
    pub name: Name,
    /// The waves in which it measures; all when empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub waves: BTreeSet<String>,
    /// What is asked: a PromQL expression, a place in a JSON answer, or whatever the endpoint understands. `{{version}}`,
    /// `{{baseline}}` (the version before), `{{namespace}}`, `{{entity}}`, `{{rollout}}` and `{{wave}}` are filled in.
    pub query: String,
    /// For comparisons: what is asked about the targets that do not have the version yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_query: Option<String>,
    /// For errors that the endpoint does not count by itself: what is asked for the number of requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_query: Option<String>,
    /// The same about the targets that do not have the version yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_total_query: Option<String>,
    /// Where it is asked.
    pub endpoint: Endpoint,
    /// How it is asked.
    #[serde(default, skip_serializing_if = "Source::is_call")]
    pub source: Source,
    /// Time between two measurements.
    #[serde(default = "minute")]
    pub interval_seconds: u64,
    /// How many measurements have to pass before the wave is promoted.
    #[serde(default = "one")]
    pub measurements: u32,
    /// How many may fail before the rollout fails.
    #[serde(default)]
    pub failure_limit: u32,
    /// How many may be inconclusive, or not to be had, before the rollout fails; any number when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inconclusive_limit: Option<u32>,
    /// What is asked of a measurement.
    pub check: Check,
}

fn minute() -> u64 {
    60
}

/// How measurements are had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "kind",
    deny_unknown_fields
)]
pub enum Source {
    /// The endpoint is asked as hooks are, and answers with what it measured.
    #[default]
    Call,
    /// The URL is that of a Prometheus server, or of one that speaks like it; queries are PromQL.
    Prometheus {
        /// Every point of so many seconds up to now, instead of the value now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        range_seconds: Option<u64>,
        /// The time between two points; a sixtieth of the range when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step_seconds: Option<u64>,
    },
    /// The URL is fetched and answers with JSON; queries are places in it, such as `data.errors`, `/data/0/errors`, or
    /// `items.*.latency` for a number of each item. Placeholders may stand in the URL as well.
    Http {
        /// Another URL for what is asked about the targets that do not have the version yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        baseline_url: Option<String>,
    },
}

impl Source {
    fn is_call(&self) -> bool {
        *self == Self::Call
    }
}

/// What is asked of a measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "kind",
    deny_unknown_fields
)]
pub enum Check {
    /// One number between bounds.
    Threshold {
        /// At least this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        /// At most this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
    },
    /// Samples of targets with the version against samples of targets without it, by the test of Mann and Whitney.
    Compare {
        /// What would be worse.
        #[serde(default)]
        worse: Alternative,
        /// Below this probability, a difference is taken for real.
        #[serde(default = "alpha")]
        alpha: f64,
        /// Fewer samples than this, on either side, prove nothing.
        #[serde(default = "min_samples")]
        min_samples: u32,
    },
    /// Errors of so many requests with the version against those without it, by Fisher's exact test.
    Errors {
        /// Below this probability, more errors are taken for real.
        #[serde(default = "alpha")]
        alpha: f64,
        /// Fewer requests than this, on either side, prove nothing.
        #[serde(default = "min_samples")]
        min_samples: u32,
    },
}

fn alpha() -> f64 {
    0.05
}

fn min_samples() -> u32 {
    5
}

/// Which difference counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Alternative {
    /// The first is greater.
    #[default]
    Greater,
    /// The first is less.
    Less,
    /// They differ.
    TwoSided,
}

/// Another entity has to run a version first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dependency {
    /// The other entity's namespace; the same one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub namespace: Option<Name>,
    /// The other entity.
    #[schema(value_type = String)]
    pub entity: EntityName,
    /// It has to run this version, or one that became good after it.
    #[schema(value_type = String)]
    pub version: Version,
}

/// Who is told what happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subscriber {
    /// Its name, unique within the policy; what it has received is remembered by it.
    #[schema(value_type = String)]
    pub name: Name,
    /// Where it is told.
    pub endpoint: Endpoint,
    /// After this long of nothing but refusals it is parked until someone resumes it; ten minutes when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub park_after_seconds: Option<u64>,
}
