//! Answers to "what would happen", "what happened in a model of the world", and "why".

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::amount::Amount;
use super::policy::Policy;
use super::states::{Health, Phase, RolloutState};
use super::text::Version;
use super::view::{Counts, Reason};
use crate::ids::Timestamp;

/// A size that repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Targets that move together.
    pub targets: u64,
    /// How often.
    pub times: u64,
}

/// A wave before anything moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedWave {
    /// Its name.
    pub name: String,
    /// Its targets.
    pub targets: u64,
    /// Of them those that run the version already.
    pub already_there: u64,
    /// Of them those that cannot be moved now: silent, offline, or busy.
    pub out_of_reach: u64,
    /// The batches, after rounding; equal neighbours are put together.
    pub batches: Vec<StepView>,
    /// How the batch sizes came about, such as `10% of 25, rounded down: 2`.
    pub rounding: String,
    /// How many may be unavailable, after rounding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<u64>,
    /// How many of it may fail, after rounding.
    pub tolerated: u64,
    /// How long it takes at the least: batches one after the other, proof and bake.
    pub estimate_seconds: u64,
    /// What has to happen before it begins, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
}

/// What a rollout would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// The version.
    #[schema(value_type = String)]
    pub version: Version,
    /// The version that failed targets would go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub rollback_to: Option<Version>,
    /// All targets of all waves.
    pub targets: u64,
    /// Targets that no wave selects and that keep what they run.
    pub left_out: u64,
    /// How many may fail, after rounding.
    pub tolerated: u64,
    /// The waves, in order.
    pub waves: Vec<PlannedWave>,
    /// How long all of it takes at the least. Gates come on top.
    pub estimate_seconds: u64,
    /// What one target takes by this estimate, and where the figure is from.
    pub estimate_basis: String,
    /// What stands against it, for people: a bad version, no version to go back to, budgets that let nothing move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How targets behave in a simulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FailureModel {
    /// The share of targets, from 0 to 1, that report errors on the version.
    pub unhealthy: f64,
    /// The share that never reports again once it has the version.
    pub silent: f64,
    /// The share that never takes the version.
    pub stuck: f64,
    /// The share that reports an error once, and is well again.
    pub flapping: f64,
    /// Seconds until a target has taken the version: the median of an exponential distribution.
    pub update_seconds: f64,
    /// Seconds between two reports of a target.
    pub report_seconds: f64,
}

impl Default for FailureModel {
    fn default() -> Self {
        Self {
            unhealthy: 0.0,
            silent: 0.0,
            stuck: 0.0,
            flapping: 0.0,
            update_seconds: 30.0,
            report_seconds: 30.0,
        }
    }
}

/// What to simulate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SimulateRequest {
    /// The version.
    #[schema(value_type = String)]
    pub version: Version,
    /// The policy; the entity's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub policy: Option<Policy>,
    /// How targets behave.
    #[serde(default)]
    pub model: FailureModel,
    /// The same seed gives the same simulation.
    #[serde(default)]
    pub seed: u64,
    /// Simulated time after which it is given up, in seconds.
    #[serde(default = "month")]
    pub limit_seconds: u64,
    /// So many made-up targets instead of those that the entity has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<u32>,
}

fn month() -> u64 {
    30 * 24 * 3_600
}

/// A wave as it went in a simulation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SimulatedWave {
    /// Its name.
    pub name: String,
    /// Seconds from the start of the rollout until it began; absent when it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_seconds: Option<u64>,
    /// Seconds from the start of the rollout until it was over; absent when it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_seconds: Option<u64>,
    /// How many of its targets stood where at the end.
    pub counts: Counts,
}

/// How it went in a simulation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SimulationView {
    /// The seed.
    pub seed: u64,
    /// Where the rollout stood at the end.
    pub state: RolloutState,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Simulated seconds.
    pub seconds: u64,
    /// How many targets stood where at the end.
    pub counts: Counts,
    /// The most that were in flight at the same time.
    pub most_in_flight: u64,
    /// The most that were in flight or broken at the same time.
    pub most_unavailable: u64,
    /// Targets that ever had the version.
    pub touched: u64,
    /// The waves, in order.
    pub waves: Vec<SimulatedWave>,
    /// What was decided, in order: seconds from the start and what, for people. The first thousand.
    pub events: Vec<(u64, String)>,
}

/// Why an entity or a target stands where it stands, and what would move it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhyView {
    /// The state of the rollout, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RolloutState>,
    /// For a target: where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// For a target: how it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// In one sentence.
    pub summary: String,
    /// Why, the most important first, each with what would move it.
    pub reasons: Vec<Reason>,
    /// The next moment at which something is decided by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_decision_at: Option<Timestamp>,
}

/// Says how an amount was rounded: `10% of 25, rounded down: 2`.
#[must_use]
pub fn rounding(amount: Amount, total: u64) -> String {
    let size = amount.at_least_one(total);
    match amount {
        Amount::Count(count) if u64::from(count) == size => size.to_string(),
        _ if amount.rounded_down(total) == 0 => format!("{amount} of {total}, rounded down, but never to zero: 1"),
        _ => format!("{amount} of {total}, rounded down: {size}"),
    }
}
