//! What people and programs are shown of entities, rollouts and targets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::calls::CallView;
use super::policy::Policy;
use super::states::{Cause, Health, Phase, ReasonCode, RolloutState, VerbName};
use super::text::{EntityName, GroupName, TargetName, Version};
use crate::ids::{Revision, Timestamp};
use crate::name::Name;

/// Why something stands where it stands, and what would move it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// For programs.
    pub code: ReasonCode,
    /// For people.
    pub message: String,
    /// What would move it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// When it ends by itself, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// How many targets stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// All of them.
    pub total: u64,
    /// Their turn has not come.
    pub pending: u64,
    /// Told the version, and not proven.
    pub in_flight: u64,
    /// Proven.
    pub done: u64,
    /// Failed, those that were forgotten since among them.
    pub failed: u64,
    /// Taken out by someone.
    pub skipped: u64,
    /// Told to go back, and not proven.
    pub rolling_back: u64,
    /// Back, and proven.
    pub rolled_back: u64,
    /// Told to go back in vain.
    pub not_recovered: u64,
    /// Pending, and silent or offline.
    pub unreachable: u64,
    /// Pending, and busy.
    pub busy: u64,
    /// In flight, or broken for whatever reason.
    pub unavailable: u64,
}

/// One wave of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaveView {
    /// Its name.
    pub name: String,
    /// Whether it is over, under way, or to come.
    pub state: String,
    /// How many of its targets stand where.
    pub counts: Counts,
    /// How many of its targets move at the same time now, after rounding.
    pub batch: u64,
    /// Which batch it is at, from 1, when it moves in steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// How many of its targets may be unavailable, after rounding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<u64>,
    /// How many of its targets may fail, after rounding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerated: Option<u64>,
}

/// One domain of a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainView {
    /// The label.
    pub label: String,
    /// Its value; `null` for targets without it.
    pub value: Option<String>,
    /// Targets in it.
    pub total: u64,
    /// Of them in flight.
    pub in_flight: u64,
    /// Of them in flight or broken.
    pub unavailable: u64,
    /// How many may be in flight, after rounding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u64>,
    /// How many may be unavailable, after rounding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<u64>,
}

/// What lists show of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSummary {
    /// Its id: counted within its entity from 1.
    pub id: u32,
    /// The version that it brings.
    #[schema(value_type = String)]
    pub version: Version,
    /// The last known good version when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<Version>,
    /// Where it stands.
    pub state: RolloutState,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it began to move targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Why it ended as it did, or goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Reason>,
    /// How many targets stand where; when it is over, as it was then.
    pub counts: Counts,
}

/// Everything about a rollout that is under way, or was last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutView {
    /// What lists show.
    #[serde(flatten)]
    pub summary: RolloutSummary,
    /// Its namespace.
    #[schema(value_type = String)]
    pub namespace: Name,
    /// Its entity.
    #[schema(value_type = String)]
    pub entity: EntityName,
    /// The revision of the last event about the entity; the `ETag`.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// Why it stands where it stands, the most important first.
    pub reasons: Vec<Reason>,
    /// Its waves, in order.
    pub waves: Vec<WaveView>,
    /// The wave that is under way, counted from 0.
    pub wave: u32,
    /// How many failures are tolerated, after rounding.
    pub tolerated: u64,
    /// How many targets may be unavailable, after rounding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<u64>,
    /// The domains of its budgets; the first thousand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<DomainView>,
    /// Who has approved what comes next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<String>,
    /// What is being asked outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallView>,
    /// The version that targets go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub rollback_to: Option<Version>,
    /// The version that waits for its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub queued: Option<Version>,
    /// The policy that it follows.
    #[schema(value_type = Object)]
    pub policy: Policy,
}

/// What lists show of an entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntitySummary {
    /// Its name.
    #[schema(value_type = String)]
    pub name: EntityName,
    /// Targets known.
    pub targets: u64,
    /// The last known good version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub last_known_good: Option<Version>,
    /// The last known bad version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub last_known_bad: Option<Version>,
    /// The version that was set last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub target_version: Option<Version>,
    /// The rollout that is under way, or was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutSummary>,
}

/// A freeze that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FreezeView {
    /// What is frozen: `everything`, `namespace`, or `entity`.
    pub scope: String,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Until when; until someone ends it when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// Everything about an entity, its targets left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntityView {
    /// What lists show.
    #[serde(flatten)]
    pub summary: EntitySummary,
    /// Its namespace.
    #[schema(value_type = String)]
    pub namespace: Name,
    /// The revision of the last decision about it; the `ETag`. Reports of targets do not change it.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// The policy in force.
    #[schema(value_type = Object)]
    pub policy: Policy,
    /// How many targets are in which health.
    pub health: BTreeMap<String, u64>,
    /// How many targets run which version.
    pub versions_running: BTreeMap<String, u64>,
    /// Targets that have left the version they had taken.
    pub drifted: u64,
    /// Targets that are tied to a version of their own.
    pub pinned: u64,
    /// The freezes that concern it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<FreezeView>,
    /// The version that waits for the end of the rollout under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub queued: Option<Version>,
}

/// What is known of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum VersionMark {
    /// A rollout of it has succeeded.
    Good,
    /// A rollout of it has failed.
    Bad,
    /// Neither: it was aborted, superseded, cleared, or has not come to its end.
    Untried,
}

/// One version in the history of an entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionView {
    /// It.
    #[schema(value_type = String)]
    pub version: Version,
    /// What is known of it.
    pub mark: VersionMark,
    /// Why, for people.
    pub reason: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The rollout that said so.
    pub rollout: u32,
    /// Targets that had proved themselves on it by then.
    pub proven: u64,
    /// Targets that had failed on it by then.
    pub failed: u64,
    /// Its place among the versions that became good, from 1: "at least" in a dependency compares these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_order: Option<u32>,
    /// Targets that run it now.
    pub running: u64,
}

/// Something that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Counted within the entity from 1.
    pub sequence: u64,
    /// The revision of the event.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// For programs, such as `waveBegan`.
    pub what: String,
    /// The rollout that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<u32>,
    /// For people.
    pub message: String,
    /// Who decided it; nobody when the rules did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The state of the rollout after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RolloutState>,
}

/// What is told to a subscriber: the same as in the history, with where it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutboxEntry {
    /// The namespace.
    #[schema(value_type = String)]
    pub namespace: Name,
    /// The entity.
    #[schema(value_type = String)]
    pub entity: EntityName,
    /// What happened.
    #[serde(flatten)]
    pub entry: HistoryEntry,
}

/// What one target should do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Instruction {
    /// Its group.
    #[schema(value_type = String)]
    pub group: GroupName,
    /// Its name.
    #[schema(value_type = String)]
    pub name: TargetName,
    /// The version to run: another than it runs, or the same. Left out when it runs none and has been told none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub version: Option<Version>,
    /// Whether that is another version than it said it runs.
    pub change: bool,
    /// Where it stands in the rollout.
    pub phase: Phase,
    /// For people.
    pub message: String,
}

/// Everything about one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetView {
    /// Its group.
    #[schema(value_type = String)]
    pub group: GroupName,
    /// Its name.
    #[schema(value_type = String)]
    pub name: TargetName,
    /// The version that it says it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub version: Option<Version>,
    /// The version that it should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expected: Option<Version>,
    /// How it is.
    pub health: Health,
    /// Since when its version and health are as they are.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Where it stands in the rollout.
    pub phase: Phase,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Its wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<String>,
    /// What it said last.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Facts about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// When it was told its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub assigned_at: Option<Timestamp>,
    /// When something is decided about it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due_at: Option<Timestamp>,
    /// How often it was told the version of this rollout.
    pub attempts: u8,
    /// Whether it has left the version that it had taken.
    pub drifted: bool,
}

/// A page of targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetPage {
    /// The targets, in the order in which they were first seen.
    pub targets: Vec<TargetView>,
    /// Where the next page begins; absent after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What a verb did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// The verb.
    pub verb: VerbName,
    /// What it did, or why there was nothing to do, for people.
    pub message: String,
    /// Whether anything changed.
    pub changed: bool,
    /// The rollout that it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<u32>,
    /// The entity's revision after it; the `ETag`.
    #[schema(value_type = u64)]
    pub revision: Revision,
}
