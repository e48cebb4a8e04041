//! The words for where rollouts and targets stand, and why.

use serde::{Deserialize, Serialize};

use crate::states::state_text;

/// Declares an enumeration whose words are those of its JSON, each with what it means.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $meaning:literal])+ $variant:ident = $code:literal, $word:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub enum $name {
            $($(#[doc = $meaning])+ $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: [Self; [$($code),+].len()] = [$(Self::$variant),+];

            /// The word used in JSON, on the command line and in metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($meaning),+).trim_ascii(),)+
                }
            }

            /// The number that stands for it in stored events; it never changes.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// The one with this number.
            #[must_use]
            pub fn from_code(code: u8) -> Option<Self> {
                Self::ALL.into_iter().find(|it| it.code() == code)
            }
        }

        state_text!($name);
    };
}

words! {
    /// Where a rollout stands.
    RolloutState {
        /// It exists, and nothing has moved: it waits for a start, for targets, or for what its gates ask for.
        Planned = 0, "planned";
        /// It waits for people to approve.
        AwaitingApproval = 1, "awaitingApproval";
        /// Targets get the version.
        Running = 2, "running";
        /// Someone paused it: nothing is assigned.
        Paused = 3, "paused";
        /// A wave has moved and is watched before the next one begins.
        Baking = 4, "baking";
        /// Targets go back to the version before.
        RollingBack = 5, "rollingBack";
        /// It has failed and nothing moves until someone decides.
        Frozen = 6, "frozen";
        /// The version is good now.
        Succeeded = 7, "succeeded";
        /// It has failed and is over.
        Failed = 8, "failed";
        /// Someone ended it.
        Aborted = 9, "aborted";
        /// Another version took its place.
        Superseded = 10, "superseded";
    }
}

impl RolloutState {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Aborted | Self::Superseded)
    }
}

words! {
    /// How a target is.
    Health {
        /// Nothing has been heard of it for too long: it is never taken for healthy.
        Unknown = 0, "unknown";
        /// It was told a version and has not proved itself, or says that it is at work.
        InProgress = 1, "inProgress";
        /// It says that it is well.
        Healthy = 2, "healthy";
        /// It says that it is not, often or long enough to be believed.
        Unhealthy = 3, "unhealthy";
        /// It is known to be switched off.
        Offline = 4, "offline";
        /// It asked to be left alone.
        Busy = 5, "busy";
    }
}

words! {
    /// Where a target stands in the rollout.
    Phase {
        /// It takes part in no rollout.
        Idle = 0, "idle";
        /// Its turn has not come.
        Pending = 1, "pending";
        /// It was told the version and has not proved itself.
        InFlight = 2, "inFlight";
        /// It runs the version and has proved itself.
        Done = 3, "done";
        /// It took the version, or should have, and failed.
        Failed = 4, "failed";
        /// Someone took it out of the rollout.
        Skipped = 5, "skipped";
        /// It was told to go back, and has not proved itself.
        RollingBack = 6, "rollingBack";
        /// It went back and has proved itself.
        RolledBack = 7, "rolledBack";
        /// It was told to go back and did not.
        NotRecovered = 8, "notRecovered";
        /// Someone tied it to a version of its own.
        Pinned = 9, "pinned";
    }
}

words! {
    /// Why a target failed.
    Cause {
        /// It was unhealthy on the version.
        Unhealthy = 1, "unhealthy";
        /// It did not prove itself before its deadline.
        Deadline = 2, "deadline";
        /// It was not heard for too long.
        Silent = 3, "silent";
        /// It went offline.
        Offline = 4, "offline";
        /// It left the version after it had proved itself.
        LeftVersion = 5, "leftVersion";
        /// Its monitor said so.
        Monitor = 6, "monitor";
        /// Someone said so.
        Said = 7, "said";
        /// It was forgotten while it was in flight.
        Forgotten = 8, "forgotten";
    }
}

words! {
    /// Why a rollout stands where it stands.
    ReasonCode {
        /// No target is known yet: an empty fleet proves nothing.
        NoTargets = 1, "noTargets";
        /// It waits for someone to start it.
        NotStarted = 2, "notStarted";
        /// The maintenance window is closed.
        WindowClosed = 3, "windowClosed";
        /// A freeze is in force.
        Freeze = 4, "freeze";
        /// Too few have approved.
        ApprovalNeeded = 5, "approvalNeeded";
        /// Someone has to promote the wave.
        PromotionNeeded = 6, "promotionNeeded";
        /// Another entity does not run the version that this one needs.
        DependencyUnmet = 7, "dependencyUnmet";
        /// A hook has been asked and has not answered.
        HookPending = 8, "hookPending";
        /// A hook cannot be reached; it is asked again.
        HookUnreachable = 9, "hookUnreachable";
        /// A hook said no.
        HookRefused = 10, "hookRefused";
        /// Measurements are not complete.
        AnalysisPending = 11, "analysisPending";
        /// Measurements say that the version is worse.
        AnalysisFailed = 12, "analysisFailed";
        /// Targets are in flight.
        TargetsInFlight = 13, "targetsInFlight";
        /// A budget is used up by targets that are in flight or broken.
        BudgetUsedUp = 14, "budgetUsedUp";
        /// Targets that have yet to move are silent or offline.
        TargetsUnreachable = 15, "targetsUnreachable";
        /// Targets that have yet to move are busy.
        TargetsBusy = 16, "targetsBusy";
        /// A wave is watched before the next one begins.
        Baking = 17, "baking";
        /// Someone paused it.
        PausedBy = 18, "pausedBy";
        /// More targets failed than are tolerated.
        ToleranceExceeded = 19, "toleranceExceeded";
        /// As many targets failed as are tolerated, and going on could exceed that.
        ToleranceUsedUp = 20, "toleranceUsedUp";
        /// Nothing got further for too long.
        NoProgress = 21, "noProgress";
        /// There is no version to go back to.
        NothingToRollBackTo = 22, "nothingToRollBackTo";
        /// Someone ended it.
        EndedBy = 23, "endedBy";
        /// Another version took its place.
        ReplacedBy = 24, "replacedBy";
        /// Everything that had to move has moved and proved itself.
        Complete = 25, "complete";
        /// Targets have gone back.
        RolledBack = 26, "rolledBack";
        /// The external monitor says that the whole is not well.
        MonitorUnwell = 27, "monitorUnwell";
        /// Fewer targets proved themselves than are needed.
        TooFewProven = 28, "tooFewProven";
    }
}

words! {
    /// What people can do to a rollout or its entity.
    VerbName {
        /// Begin a rollout that waits for it.
        Start = 1, "start";
        /// Assign nothing more for now.
        Pause = 2, "pause";
        /// Go on.
        Resume = 3, "resume";
        /// Let the next wave begin, or end the bake.
        Promote = 4, "promote";
        /// Add one's approval.
        Approve = 5, "approve";
        /// End it; nothing more is assigned.
        Abort = 6, "abort";
        /// Try the targets that failed once more.
        Retry = 7, "retry";
        /// Take a target out of the rollout.
        Skip = 8, "skip";
        /// Declare it failed now, with what its policy does then.
        Fail = 9, "fail";
        /// Give a version without plan, budgets and gates, to everything or to one target.
        Override = 10, "override";
        /// Take the mark of a bad version away.
        ClearBad = 11, "clearBad";
        /// Forget a target.
        Forget = 12, "forget";
        /// Let nothing move.
        Freeze = 13, "freeze";
        /// End a freeze.
        Thaw = 14, "thaw";
        /// Set the version to roll out.
        SetVersion = 15, "setVersion";
        /// Set the policy.
        SetPolicy = 16, "setPolicy";
        /// Give a pinned target back to rollouts.
        Unpin = 17, "unpin";
        /// Go back now to the last known good version, or to a named one.
        Rollback = 18, "rollback";
    }
}
