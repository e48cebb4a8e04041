//! Bodies of requests about entities and rollouts, and what watching them tells.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::gates::Endpoint;
use super::policy::Policy;
use super::states::{Health, Phase};
use super::text::{TargetId, Version};
use super::view::{EntityView, FreezeView, RolloutView, TargetView};
use crate::ids::Revision;

/// What someone does. Each verb takes some of the fields, and refuses the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VerbRequest {
    /// Why, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For `retry`, `skip`, `fail`, `override`, `unpin`, `forget`: which targets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetId>,
    /// For `version`, `override`, `clear-bad`, `rollback`: which version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub version: Option<Version>,
    /// For `version` and `override`: even when the version is marked as bad.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// For `freeze`: for how long; until it is ended when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
}

/// What to plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanRequest {
    /// The version.
    #[schema(value_type = String)]
    pub version: Version,
    /// The policy; the entity's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub policy: Option<Policy>,
}

/// Up to where a subscriber has received the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcknowledgeRequest {
    /// The number of the last entry.
    pub sequence: u64,
}

/// Whom to tell the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscriberRequest {
    /// Where it is told.
    pub endpoint: Endpoint,
    /// After this long of nothing but refusals it is parked until someone resumes it; ten minutes when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub park_after_seconds: Option<u64>,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// From where on a subscriber is told again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ResumeDeliveryRequest {
    /// What comes after this entry of the history; what it has not received when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Why, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What was done, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TakenView {
    /// It.
    pub message: String,
}

/// Which version an entity is to run, and which ones it knows to be good and bad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionStatus {
    /// The version that was set last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub target_version: Option<Version>,
    /// The last known good version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub last_known_good: Option<Version>,
    /// The last known bad version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub last_known_bad: Option<Version>,
    /// The version that waits for the end of the rollout under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub queued: Option<Version>,
    /// The revision of the last decision about the entity; the `ETag`.
    #[schema(value_type = u64)]
    pub revision: Revision,
}

/// A freeze of everything, or of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScopedFreeze {
    /// The namespace; everything when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The freeze.
    #[serde(flatten)]
    pub freeze: FreezeView,
}

/// An entity as it is now: what watching it begins with, and tells again when something has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntitySnapshot {
    /// The entity.
    pub entity: EntityView,
    /// Its rollout under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutView>,
    /// The number of the last entry of its history.
    pub sequence: u64,
}

/// Targets that have changed since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetsChanged {
    /// How they are now.
    pub targets: Vec<TargetView>,
    /// Whether these are all: otherwise more have changed than are listed one by one, or some were forgotten, and who keeps
    /// a copy has to list them again.
    pub complete: bool,
}

/// Entries of the history that are no longer kept, and were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// The last entry that was seen.
    pub after: u64,
    /// The first entry that comes now.
    pub first: u64,
}

/// A fleet in few cells: each stands for equally many neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GridView {
    /// All targets.
    pub targets: u64,
    /// How many targets a cell stands for; the last one may stand for fewer.
    pub targets_per_cell: u64,
    /// The cells: how many of its targets stand where. Words are phases, or `unhealthy`, `unknown`, `offline`, `busy`.
    pub cells: Vec<BTreeMap<String, u64>>,
}

/// The word for a target in a cell: where it stands, unless its health is what matters.
#[must_use]
pub fn cell_word(phase: Phase, health: Health) -> &'static str {
    let waits = matches!(phase, Phase::Idle | Phase::Pending | Phase::Done);
    match health {
        Health::Unhealthy | Health::Unknown | Health::Offline | Health::Busy if waits => health.as_str(),
        _ => phase.as_str(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_empty_body_is_a_request_without_anything() {
        assert_eq!(
            serde_json::from_str::<VerbRequest>("{}").unwrap(),
            VerbRequest::default()
        );
        assert_eq!(serde_json::to_string(&VerbRequest::default()).unwrap(), "{}");
        assert!(serde_json::from_str::<VerbRequest>(r#"{"reson": "x"}"#).is_err());
    }

    #[test]
    fn a_cell_tells_what_matters_of_a_target() {
        assert_eq!(cell_word(Phase::Pending, Health::Unknown), "unknown");
        assert_eq!(cell_word(Phase::Failed, Health::Unknown), "failed");
        assert_eq!(cell_word(Phase::Done, Health::Healthy), "done");
        assert_eq!(cell_word(Phase::InFlight, Health::Unhealthy), "inFlight");
    }
}
