//! What can be asked about orchestrations.

use std::collections::BTreeMap;

use unisono_model::ids::{AttemptToken, Revision};
use unisono_model::name::Name;

use super::trace::Trace;
use crate::payload::{Failure, Patch, Payload};

/// Starts a run. The input has been validated against the schema of the version named.
#[derive(Clone, Debug)]
pub struct Start {
    /// Where.
    pub namespace: Name,
    /// The run's id.
    pub id: Name,
    /// A digest of what the caller asked for; 0 when the server made the id.
    pub digest: u128,
    /// The store was asked for a finished run of this id, and knew all that had ended up to here.
    /// `None` when the server made the id.
    pub absent_as_of: Option<Revision>,
    /// The definition's type.
    pub type_name: Name,
    /// The version that the input was validated against.
    pub version: u32,
    /// Whether the caller asked for this version; otherwise it must still be the newest.
    pub pinned: bool,
    /// The caller's correlation id.
    pub correlation_id: Option<String>,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// The input, a JSON object.
    pub input: Payload,
    /// Who, if they said.
    pub actor: Option<Actor>,
    /// The trace that it belongs to, if it is traced.
    pub trace: Option<Trace>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Report {
    /// The activity is done, with this output.
    Complete(Payload),
    /// Someone else completes or fails it, within this many milliseconds if given.
    Wait(Option<u64>),
    /// Run it again after this many milliseconds.
    Schedule(u64),
    /// A recoverable error.
    Retry(Failure),
    /// An error that no repetition mends.
    Fatal(Failure),
}

/// Who asks for something, for the history.
pub type Actor = String;

/// A request about a run.
#[derive(Clone, Debug)]
pub enum OrchestrationCommand {
    /// Start one.
    Start(Box<Start>),
    /// Cancel one.
    Cancel {
        /// Where.
        namespace: Name,
        /// Which run.
        id: Name,
        /// Why, for people.
        reason: String,
        /// Who.
        actor: Actor,
    },
    /// An agent reports the end of an attempt.
    Report {
        /// Which attempt.
        token: AttemptToken,
        /// How it ended.
        report: Report,
        /// Context changes.
        patch: Option<Patch>,
    },
    /// An agent changes the context while an attempt goes on.
    SaveContext {
        /// Which attempt.
        token: AttemptToken,
        /// The changes.
        patch: Patch,
    },
    /// Someone outside reports for an activity that waits; only complete, retry and fatal make sense.
    Resolve {
        /// Where.
        namespace: Name,
        /// Which run.
        id: Name,
        /// Which activity.
        activity: Name,
        /// The token that the activity was given.
        token: AttemptToken,
        /// How it ended.
        report: Report,
        /// Context changes.
        patch: Option<Patch>,
        /// Who.
        actor: Actor,
    },
}
