//! What something outside is asked, and what it answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::gates::{Endpoint, Gate};
use super::states::Health;
use super::text::{EntityName, GroupName, TargetId, TargetName, Version};
use crate::ids::Timestamp;
use crate::name::Name;

/// What kind of answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum CallKind {
    /// May it go on? Answered by [`Answer::Go`] or [`Answer::Refuse`].
    Hook,
    /// Which of these targets move next? Answered by [`Answer::Targets`].
    Selection,
    /// Which of these targets may move? Answered by [`Answer::Targets`].
    Approval,
    /// Which of these targets go away? Answered by [`Answer::Targets`].
    Removal,
    /// Are these targets well? Answered by [`Answer::Go`] or [`Answer::Refuse`], or [`Answer::Targets`] for those that are.
    Monitoring,
    /// Is the whole well? Answered by [`Answer::Go`] or [`Answer::Refuse`].
    ExternalMonitoring,
    /// What is measured? Answered by [`Answer::Measured`].
    Analysis,
}

/// What a call is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallSubject {
    /// The rollout, counted within its entity from 1.
    pub rollout: u32,
    /// The version that it brings.
    #[schema(value_type = String)]
    pub version: Version,
    /// The version before: the last known good one when the rollout was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub baseline: Option<Version>,
    /// For hooks: before what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// The wave that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<String>,
    /// The targets that it is about, at most a thousand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetId>,
    /// How many targets are wanted.
    #[serde(default)]
    pub count: u64,
    /// For analyses: what is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// For comparing analyses: what is asked about the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_query: Option<String>,
}

/// A call that waits for its answer, or for its next try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallView {
    /// Which call; stable over tries, so that whoever is asked can tell a repetition.
    pub id: u64,
    /// What kind of answer is asked for.
    pub kind: CallKind,
    /// The name of the hook or the analysis; the kind's name for controllers.
    pub name: String,
    /// Where it is asked.
    pub endpoint: Endpoint,
    /// What it is about.
    pub subject: CallSubject,
    /// When it was asked for the first time.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Which try, from 1.
    pub attempt: u32,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
    /// Without an answer by then, it counts as unreachable. While it waits for its next try: when that is.
    #[schema(value_type = String, format = DateTime)]
    pub due_at: Timestamp,
    /// What was wrong with the last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl CallView {
    /// A key that stays the same over tries, and that no other call of any server has.
    #[must_use]
    pub fn key(&self) -> String {
        format!("call-{}-{}", self.since.0, self.id)
    }
}

/// What a call sends to whoever is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallRequest {
    /// Which call; stable over tries, so that whoever is asked can tell a repetition.
    pub call: String,
    /// Which try, from 1.
    pub attempt: u32,
    /// What kind of answer is asked for.
    pub kind: CallKind,
    /// The name of the hook or the analysis; the kind's name for controllers.
    pub name: String,
    /// The namespace.
    #[schema(value_type = String)]
    pub namespace: Name,
    /// The entity.
    #[schema(value_type = String)]
    pub entity: EntityName,
    /// The rollout, counted within its entity from 1.
    pub rollout: u32,
    /// The version that it brings.
    #[schema(value_type = String)]
    pub version: Version,
    /// The version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub baseline: Option<Version>,
    /// For hooks: before what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// The wave that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<String>,
    /// How many targets are wanted, for selection and removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The targets that it is about, at most a thousand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<CallTarget>,
    /// The target, where there is only one: what older controllers monitor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<CallTarget>,
    /// For analyses: what is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// For comparing analyses: what is asked about the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_query: Option<String>,
    /// When it was asked for the first time.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// An answer after this is late: the call is asked again.
    #[schema(value_type = String, format = DateTime)]
    pub due_at: Timestamp,
}

/// A target that a call is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallTarget {
    /// Its name.
    #[schema(value_type = String)]
    pub name: TargetName,
    /// Its group; empty when it has none.
    #[schema(value_type = String)]
    pub group: GroupName,
    /// The version that it says it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub version: Option<Version>,
    /// How it is.
    pub health: Health,
    /// Whether it is unhealthy.
    pub is_error: bool,
    /// What it said last.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Facts about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// An answer to a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "answer",
    deny_unknown_fields
)]
pub enum Answer {
    /// Yes.
    Go,
    /// No.
    Refuse {
        /// Why, for people.
        #[serde(default)]
        message: String,
    },
    /// These.
    Targets {
        /// Which.
        targets: Vec<TargetId>,
    },
    /// This was measured.
    Measured {
        /// What.
        measured: Measured,
    },
    /// Nobody answered, or not in a way that could be read. It is asked again.
    Unreachable {
        /// What went wrong, for people.
        #[serde(default)]
        message: String,
    },
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", untagged)]
pub enum Measured {
    /// One number.
    Value {
        /// It.
        value: f64,
    },
    /// Samples of the targets with the version, and of those without it.
    Samples {
        /// With it.
        canary: Vec<f64>,
        /// Without it.
        baseline: Vec<f64>,
    },
    /// Errors of the targets with the version, and of those without it.
    Counts {
        /// With it.
        canary_counts: Counted,
        /// Without it.
        baseline_counts: Counted,
    },
}

/// Errors among requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    /// Errors.
    pub errors: u64,
    /// Requests, the errors among them.
    pub total: u64,
}

/// Where a subscriber stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum SubscriberState {
    /// It has received everything.
    UpToDate,
    /// There is something to receive.
    Behind,
    /// Something could not be delivered, and is tried again.
    Failing,
    /// It has refused for too long. Nothing is tried until someone resumes it.
    Parked,
}

/// What a subscriber has received of the history of an entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriberView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// Where it is told.
    pub endpoint: Endpoint,
    /// Where it stands.
    pub state: SubscriberState,
    /// The number of the last entry of the history that it has received.
    pub received: u64,
    /// The number of the last entry that there is.
    pub last: u64,
    /// How many entries it has yet to receive.
    pub behind: u64,
    /// How often in a row the next one could not be delivered.
    #[serde(default)]
    pub tries: u32,
    /// What went wrong with the last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Since when nothing could be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_try_at: Option<Timestamp>,
}
