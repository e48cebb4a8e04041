//! What something outside is asked, and what it answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::gates::{Endpoint, Gate};
use super::text::{TargetId, Version};
use crate::ids::Timestamp;

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
