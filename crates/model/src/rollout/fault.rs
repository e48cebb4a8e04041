//! What is wrong with something that was written about rollouts.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One thing that is wrong: where, why, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// The kind of fault, in kebab-case. Stable.
    #[schema(value_type = String)]
    pub code: Cow<'static, str>,
    /// The field, such as `waves[1].select`; empty for the whole.
    pub field: String,
    /// What is wrong.
    pub reason: String,
    /// What would be right.
    pub fix: String,
}

impl Fault {
    /// A fault.
    pub fn new(
        code: &'static str,
        field: impl Into<String>,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            code: Cow::Borrowed(code),
            field: field.into(),
            reason: reason.into(),
            fix: fix.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            return write!(f, "{}; {}", self.reason, self.fix);
        }
        write!(f, "{}: {}; {}", self.field, self.reason, self.fix)
    }
}

impl std::error::Error for Fault {}

/// Several faults as one text.
#[must_use]
pub fn faults(faults: &[Fault]) -> String {
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    texts.join("\n")
}
