//! What can be asked about rollouts.

use std::sync::Arc;

use unisono_model::ids::Revision;
use unisono_model::name::Name;
use unisono_model::rollout::{Answer, ClassicOptions, EntityName, Policy, Reports, TargetId, Version};

use super::outbox::Failing;
use super::request::RequestKey;

/// Targets that one command should report at most: what others ask is decided between two.
pub const TARGETS_AT_ONCE: usize = 2_048;

/// A request about an entity, its targets and its rollouts. The first that names an entity makes it, where that is said.
#[derive(Clone, Debug)]
pub enum RolloutCommand {
    /// Targets report. Makes the entity.
    Report {
        /// Where.
        namespace: Name,
        /// Which entity.
        entity: EntityName,
        /// What they say.
        reports: Arc<Reports>,
    },
    /// Someone does something.
    Do {
        /// Where.
        namespace: Name,
        /// Which entity.
        entity: EntityName,
        /// Who, and why.
        by: By,
        /// What.
        verb: Verb,
    },
    /// Nothing may move any more, in a namespace or everywhere.
    Freeze {
        /// The namespace; everywhere when `None`.
        namespace: Option<Name>,
        /// For how many milliseconds; until it is ended when `None`.
        for_ms: Option<u64>,
        /// Who, and why.
        by: By,
    },
    /// What [`RolloutCommand::Freeze`] said no longer holds.
    Thaw {
        /// The namespace; everywhere when `None`.
        namespace: Option<Name>,
        /// Who, and why.
        by: By,
    },
    /// For a while nobody listened, though the node was not started anew: it was stopped, or its clock was set forward.
    NotListened {
        /// For how many milliseconds.
        lost_ms: u64,
    },
    /// Something outside has answered, or could not be reached.
    Answer {
        /// Where.
        namespace: Name,
        /// Which entity.
        entity: EntityName,
        /// The call's id.
        call: u64,
        /// What it says.
        answer: Answer,
    },
    /// A subscriber has received the history up to an entry.
    Acknowledge {
        /// Where.
        namespace: Name,
        /// Which entity.
        entity: EntityName,
        /// The subscriber's name.
        subscriber: Name,
        /// The number of the entry.
        sequence: u64,
    },
    /// A subscriber could not be told. It is told later, or parked.
    Undelivered {
        /// Where.
        namespace: Name,
        /// Which entity.
        entity: EntityName,
        /// The subscriber's name.
        subscriber: Name,
        /// How it failed.
        failing: Failing,
        /// What went wrong, for people.
        detail: String,
    },
    /// Let a subscriber be told again, now.
    ResumeDelivery {
        /// Where.
        namespace: Name,
        /// Which entity.
        entity: EntityName,
        /// The subscriber's name.
        subscriber: Name,
        /// What comes after this entry; what it has not received when `None`.
        after: Option<u64>,
        /// Who, and why.
        by: By,
    },
}

/// Who asks, why, and on what basis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct By {
    /// Who, for the history and for approvals.
    pub actor: Option<String>,
    /// Why, for the history.
    pub reason: Option<String>,
    /// The entity's revision that this was decided on (`If-Match`); any when `None`.
    pub based_on: Option<Revision>,
    /// What makes the request the same as one that was answered already; nothing when `None`.
    pub request: Option<RequestKey>,
}

/// What someone does to an entity or its rollout.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// Set the policy. Makes the entity. The policy has been judged.
    SetPolicy {
        /// It.
        policy: Box<Policy>,
        /// The four options that it was made of.
        classic: Option<ClassicOptions>,
    },
    /// Set the version to roll out. Makes the entity.
    SetVersion {
        /// Which.
        version: Version,
        /// Even when it is marked as bad.
        force: bool,
    },
    /// Begin a rollout that waits for it.
    Start,
    /// Assign nothing more for now.
    Pause,
    /// Go on after a pause, or after a failure that froze it.
    Resume,
    /// Let the next wave begin, or end the bake.
    Promote,
    /// Add the actor's approval.
    Approve,
    /// End it; nothing more is assigned.
    Abort,
    /// Try targets that failed once more: these, or all of them.
    Retry(Vec<TargetId>),
    /// Take targets out of the rollout.
    Skip(Vec<TargetId>),
    /// Declare the rollout failed, with what its policy does then; or only these targets.
    Fail(Vec<TargetId>),
    /// Go back now: to the last known good version, or to this one.
    Rollback {
        /// To which version.
        to: Option<Version>,
    },
    /// Give a version without plan, budgets and gates: to everything, or tie these targets to it.
    Override {
        /// Which.
        version: Version,
        /// Only these targets.
        targets: Vec<TargetId>,
        /// Even when it is marked as bad.
        force: bool,
    },
    /// Let targets that are tied to a version follow rollouts again: these, or all of them.
    Unpin(Vec<TargetId>),
    /// Take the mark of a bad version away.
    ClearBad {
        /// Which.
        version: Version,
    },
    /// Forget targets.
    Forget(Vec<TargetId>),
    /// Let nothing of this entity move.
    Freeze {
        /// For how many milliseconds; until it is ended when `None`.
        for_ms: Option<u64>,
    },
    /// End the entity's freeze.
    Thaw,
}
