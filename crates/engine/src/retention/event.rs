//! What was decided about retention.

use minicbor::{Decode, Encode};
use unisono_model::name::Name;

/// How long runs that have ended are kept; without limits, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Rule {
    /// How long after their end, in milliseconds.
    #[n(0)]
    pub max_age_ms: Option<u64>,
    /// How many of each definition: those that were started last.
    #[n(1)]
    pub max_count: Option<u64>,
}

/// A run of which nothing is kept any more.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeletedRun {
    /// Its key.
    #[n(0)]
    pub run: u64,
    /// Its id.
    #[cbor(n(1), with = "crate::payload::name")]
    pub id: Name,
}

/// A fact about retention.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RetentionEvent {
    /// A rule was changed.
    #[n(0)]
    RuleSet {
        /// Where.
        #[cbor(n(0), with = "crate::payload::name")]
        namespace: Name,
        /// Which definition's; the namespace's when absent.
        #[cbor(n(1), with = "crate::payload::optional_name", has_nil)]
        type_name: Option<Name>,
        /// The rule; absent when it was taken away.
        #[n(2)]
        rule: Option<Rule>,
        /// Who, if they said.
        #[n(3)]
        actor: Option<String>,
    },
    /// Runs were deleted.
    #[n(1)]
    Deleted {
        /// Where.
        #[cbor(n(0), with = "crate::payload::name")]
        namespace: Name,
        /// Which.
        #[n(1)]
        runs: Vec<DeletedRun>,
        /// The revision of the rules by which; absent when somebody asked for it.
        #[n(2)]
        rules: Option<u64>,
        /// Who asked for it.
        #[n(3)]
        actor: Option<String>,
    },
}
