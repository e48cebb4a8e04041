//! Why something about rollouts was refused.

use thiserror::Error;
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;
use unisono_model::rollout::{EntityName, Fault, ReasonCode, RolloutState, TargetId, VerbName, Version};

/// Why a command about rollouts was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RolloutRejection {
    /// There is no such entity.
    #[error("there is no entity \"{entity}\"")]
    EntityNotFound {
        /// Which.
        entity: EntityName,
    },
    /// There is no such target.
    #[error("there is no target {target}")]
    TargetNotFound {
        /// Which.
        target: TargetId,
    },
    /// The verb needs a rollout, and none is under way.
    #[error("there is nothing to {verb}: no rollout is under way")]
    NoRollout {
        /// The verb.
        verb: VerbName,
        /// How the last one ended, if there was one.
        last: Option<RolloutState>,
    },
    /// The verb makes no sense now.
    #[error("{why}")]
    NotNow {
        /// The verb.
        verb: VerbName,
        /// Where the rollout stands.
        state: RolloutState,
        /// What holds it, if that is the point.
        code: Option<ReasonCode>,
        /// Why not.
        why: String,
        /// What would be right.
        fix: String,
    },
    /// The verb makes no sense for the target.
    #[error("{why}")]
    NotThisTarget {
        /// The target.
        target: TargetId,
        /// Why not.
        why: String,
    },
    /// The version is marked as bad.
    #[error("version {version} is marked as bad since {since}: {reason}")]
    BadVersion {
        /// Which.
        version: Version,
        /// Why.
        reason: String,
        /// Since when.
        since: Timestamp,
    },
    /// Another version is under way, and the policy refuses a second one.
    #[error("version {under_way} is being rolled out, and the policy refuses another one meanwhile")]
    UnderWay {
        /// Which.
        under_way: Version,
    },
    /// The entity has changed.
    #[error("the entity is at revision {found}, not {expected}")]
    Changed {
        /// What was expected.
        expected: Revision,
        /// What it is.
        found: Revision,
    },
    /// The request's key was used for another request.
    #[error("the key \"{key}\" belongs to another request about this entity")]
    KeyTaken {
        /// Which key.
        key: String,
    },
    /// Something that was written makes no sense.
    #[error("{}", unisono_model::rollout::faults(.0))]
    Faults(Vec<Fault>),
    /// There is no such call, or it has been answered.
    #[error("no call {call} waits for an answer")]
    CallNotFound {
        /// Which.
        call: u64,
    },
    /// It is no answer to such a call.
    #[error("that is no answer to this call; it takes {wanted}")]
    WrongAnswer {
        /// What it takes.
        wanted: &'static str,
    },
    /// The policy names no such subscriber.
    #[error("the policy names no subscriber \"{subscriber}\"")]
    SubscriberNotFound {
        /// Which.
        subscriber: Name,
    },
    /// There is no freeze to end.
    #[error("nothing is frozen there")]
    NotFrozen,
    /// There is no room for so many targets.
    #[error("an entity may have {limit} targets")]
    TooManyTargets {
        /// How many.
        limit: usize,
    },
}

impl RolloutRejection {
    /// For programs, in kebab-case. Stable.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::EntityNotFound { .. } => "entity-not-found",
            Self::TargetNotFound { .. } => "target-not-found",
            Self::NoRollout { .. } => "no-rollout",
            Self::NotNow { .. } => "not-now",
            Self::NotThisTarget { .. } => "not-this-target",
            Self::BadVersion { .. } => "bad-version",
            Self::UnderWay { .. } => "rollout-under-way",
            Self::Changed { .. } => "changed-meanwhile",
            Self::KeyTaken { .. } => "idempotency-key-taken",
            Self::Faults(_) => "invalid-request",
            Self::CallNotFound { .. } => "call-not-found",
            Self::WrongAnswer { .. } => "wrong-answer",
            Self::SubscriberNotFound { .. } => "subscriber-not-found",
            Self::NotFrozen => "not-frozen",
            Self::TooManyTargets { .. } => "too-many-targets",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::EntityNotFound { .. } => {
                "name an entity that exists; setting a version, a policy, or reporting a target makes one".to_owned()
            }
            Self::TargetNotFound { .. } => "name a target that has been reported, with its group".to_owned(),
            Self::NoRollout { .. } => "set a version first".to_owned(),
            Self::NotNow { fix, .. } => fix.clone(),
            Self::NotThisTarget { .. } => "name another target, or look at it first".to_owned(),
            Self::BadVersion { .. } => "set another version, clear the mark, or force it".to_owned(),
            Self::UnderWay { .. } => {
                "wait for its end, abort it, or let the policy queue or replace versions".to_owned()
            }
            Self::Changed { .. } => "look at it again, and repeat the request with its new revision".to_owned(),
            Self::KeyTaken { .. } => "give each request a key of its own".to_owned(),
            Self::Faults(faults) => faults.first().map_or(String::new(), |fault| fault.fix.clone()),
            Self::CallNotFound { .. } => "answer a call that is listed with the rollout".to_owned(),
            Self::WrongAnswer { wanted } => format!("answer with {wanted}"),
            Self::SubscriberNotFound { .. } => "name one that stands under `notify` in the policy".to_owned(),
            Self::NotFrozen => "look at the freezes that are in force".to_owned(),
            Self::TooManyTargets { .. } => "spread the targets over several entities".to_owned(),
        }
    }
}
