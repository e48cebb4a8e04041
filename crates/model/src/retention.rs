//! How long orchestrations that have ended are kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// How long orchestrations that have ended are kept, with their history and logs: for ever where nothing limits it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetentionRule {
    /// So many seconds after their end; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u64>,
    /// So many of each definition, those that were started last; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_count: Option<u64>,
}

/// The rules of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionView {
    /// For each definition that has no rule of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<RetentionRule>,
    /// The rules that orchestration definitions have of their own.
    pub definitions: BTreeMap<Name, RetentionRule>,
}
