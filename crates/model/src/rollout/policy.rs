//! How a rollout moves a fleet.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::amount::{Amount, Batch, Tolerance};
use super::gates::{Analysis, Approval, Controllers, Dependency, Hook, Subscriber, Window};
use super::selector::Selector;
use super::text::Version;

/// How an entity's versions are rolled out. Everything can be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// How many targets move at the same time, of each wave; 10 % unless said otherwise.
    pub batch: Batch,
    /// A first wave of few targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// The waves, in order. A target belongs to the first whose selector fits; without waves there is one of all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Wave>,
    /// What becomes of targets that no wave selects.
    pub unmatched: Unmatched,
    /// How many targets may be in flight or broken at the same time: those that were broken before count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<Amount>,
    /// Limits for each value of a label.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// How many failures are tolerated, of all targets together; none unless said otherwise.
    pub failure_tolerance: Tolerance,
    /// Whether the tolerance also bounds what is in flight.
    pub tolerance_mode: ToleranceMode,
    /// When a target counts as proven, and when as failed.
    pub health: HealthPolicy,
    /// After this long without progress the rollout fails; never when `null`. The time while it is paused or held by a
    /// gate does not count.
    pub progress_deadline_seconds: Option<u64>,
    /// What happens when it fails.
    pub on_failure: OnFailure,
    /// The version to go back to; the last known good one when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub rollback_to: Option<Version>,
    /// Whether a version begins to move as soon as it is set.
    pub start: StartMode,
    /// What a new version does while another one moves.
    pub on_new_version: OnNewVersion,
    /// What a target gets that is seen for the first time.
    pub joiners: Joiners,
    /// What happens to a target that leaves its version.
    pub drift: Drift,
    /// People have to agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// When targets may be moved; always when empty. Going back does not wait for a window.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// Gates that something outside opens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// Who decides about targets beside the plan.
    pub controllers: Controllers,
    /// Measurements that speak for or against the version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub analysis: Vec<Analysis>,
    /// What other entities have to run first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// Who is told what happens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Subscriber>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            batch: Batch::default(),
            canary: None,
            waves: Vec::new(),
            unmatched: Unmatched::default(),
            max_unavailable: None,
            budgets: Vec::new(),
            failure_tolerance: Tolerance::NONE,
            tolerance_mode: ToleranceMode::default(),
            health: HealthPolicy::default(),
            progress_deadline_seconds: Some(3_600),
            on_failure: OnFailure::default(),
            rollback_to: None,
            start: StartMode::default(),
            on_new_version: OnNewVersion::default(),
            joiners: Joiners::default(),
            drift: Drift::default(),
            approval: None,
            windows: Vec::new(),
            hooks: Vec::new(),
            controllers: Controllers::default(),
            analysis: Vec::new(),
            depends_on: Vec::new(),
            notify: Vec::new(),
        }
    }
}

/// A first wave of few targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Canary {
    /// How many targets.
    pub size: Amount,
    /// Out of these; out of all when left out.
    #[serde(default)]
    pub select: Selector,
    /// For how long they are watched once all of them have proved themselves.
    #[serde(default)]
    pub bake_seconds: u64,
    /// Whether someone has to let the rest begin.
    #[serde(default)]
    pub promotion: Promotion,
}

/// Targets that move together, before the next wave begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wave {
    /// Its name, unique within the plan.
    pub name: String,
    /// Its targets.
    #[serde(default)]
    pub select: Selector,
    /// Only so many of them; the others move with the later waves that select them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take: Option<Amount>,
    /// How many move at the same time; as in the policy when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// How many of its targets may be in flight or broken at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<Amount>,
    /// How many of its targets may fail, besides the tolerance for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_tolerance: Option<Tolerance>,
    /// For how long it is watched once all of it has moved.
    #[serde(default)]
    pub bake_seconds: u64,
    /// Whether someone has to let the next wave begin.
    #[serde(default)]
    pub promotion: Promotion,
}

/// Who lets the next wave begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Promotion {
    /// Nobody has to.
    #[default]
    Automatic,
    /// A person, by `promote`.
    Manual,
}

/// What becomes of targets that no wave selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Unmatched {
    /// They are a last wave, named `rest`.
    #[default]
    LastWave,
    /// They keep what they run.
    LeaveOut,
}

/// Limits for each value of a label, such as each zone. At least one of the two is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// The label's key. Targets without it share one domain.
    pub label: String,
    /// How many of one domain may be in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<Amount>,
    /// How many of one domain may be in flight or broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<Amount>,
}

/// Whether the failure tolerance also bounds what is in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ToleranceMode {
    /// The rollout fails when more targets have failed than tolerated; those in flight by then may fail as well.
    #[default]
    Soft,
    /// Never more in flight than may still fail (one at a time where nothing may), so that the failures cannot exceed
    /// the tolerance. When they have reached it and targets are left to move, the rollout fails.
    Strict,
}

/// When a target counts as proven, and when as failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HealthPolicy {
    /// For how long it has to be healthy on the version without a break. The bake time of a target.
    pub healthy_for_seconds: u64,
    /// By when it has to have proved itself, from the moment it is told the version.
    pub deadline_seconds: u64,
    /// After this long without a word it is unknown.
    pub silent_after_seconds: u64,
    /// How many reports in a row have to say healthy before it is believed.
    pub healthy_reports: u8,
    /// How many reports in a row have to say unhealthy before it is believed.
    pub unhealthy_reports: u8,
    /// Unhealthy for this long is believed as well, however often it was said.
    pub unhealthy_for_seconds: u64,
    /// What it means for the rollout that a target is unhealthy on the version.
    pub on_unhealthy: OnUnhealthy,
    /// What it means for the rollout that a target which it has moved falls silent or goes offline.
    pub on_silent: OnSilent,
    /// What becomes of targets whose turn comes while they are silent or offline.
    pub unreachable: Unreachable,
    /// A target that has been silent for this long is forgotten; never when `null`.
    pub forget_after_seconds: Option<u64>,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            healthy_for_seconds: 30,
            deadline_seconds: 600,
            silent_after_seconds: 300,
            healthy_reports: 1,
            unhealthy_reports: 2,
            unhealthy_for_seconds: 60,
            on_unhealthy: OnUnhealthy::default(),
            on_silent: OnSilent::default(),
            unreachable: Unreachable::default(),
            forget_after_seconds: None,
        }
    }
}

/// What it means for the rollout that a target is unhealthy on the version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnUnhealthy {
    /// It has failed.
    #[default]
    Fail,
    /// It may recover until its deadline.
    Wait,
}

/// What it means for the rollout that a target which it has moved falls silent or goes offline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnSilent {
    /// It has failed.
    #[default]
    Fail,
    /// It may come back until its deadline; one that had proved itself stays proven.
    Wait,
    /// It is left out of the rollout.
    Skip,
}

/// What becomes of targets whose turn comes while they are silent or offline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Unreachable {
    /// The rollout goes on without them, as long as more targets have proved themselves than are left out. They get the
    /// version when they come back.
    #[default]
    LeaveOut,
    /// The rollout waits for them.
    Wait,
}

/// What happens when a rollout fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// It is over; targets keep what they run.
    None,
    /// Nothing moves until someone decides.
    Freeze,
    /// What was moved goes back, in batches and within budgets.
    #[default]
    Budgeted,
    /// What was moved goes back at once.
    Immediate,
}

/// Whether a version begins to move as soon as it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum StartMode {
    /// As soon as its gates are open.
    #[default]
    Automatic,
    /// When someone says `start`.
    Manual,
}

/// What a new version does while another one moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnNewVersion {
    /// It waits until the rollout is over. A later one takes its place in the line.
    #[default]
    Queue,
    /// It takes the place of the one that moves.
    Replace,
    /// It is refused.
    Reject,
}

/// What a target gets that is seen for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Joiners {
    /// During a rollout it takes part, in the wave that selects it; otherwise it gets the last known good version.
    #[default]
    Join,
    /// It gets the last known good version, and keeps out of the rollout.
    LastKnownGood,
    /// It keeps what it runs until the next rollout.
    Leave,
}

/// What happens to a target that leaves the version that it had taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Drift {
    /// It is shown as drifted, and left alone.
    #[default]
    Report,
    /// It is told its version again, within the budgets.
    Heal,
    /// Nothing.
    Ignore,
}
