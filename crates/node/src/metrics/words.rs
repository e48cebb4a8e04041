//! The words that stand as labels: kinds of commands and events, codes of refusals.

use unisono_engine::agent::{AgentCommand, AgentEvent};
use unisono_engine::definition::{DefinitionCommand, DefinitionEvent};
use unisono_engine::lease::{LeaseCommand, LeaseEvent, LeaseRejection};
use unisono_engine::orchestration::{OrchestrationCommand, OrchestrationEvent as E};
use unisono_engine::retention::{RetentionCommand, RetentionEvent};
use unisono_engine::rollout::{RolloutCommand, RolloutEvent};
use unisono_engine::value::{Because, ValueCommand, ValueEvent, ValueRejection};
use unisono_engine::{Command, Event, Rejection};
use unisono_model::rollout::CallKind;

/// An enumeration whose values are counted side by side: each has a place and a word.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($variant),+ }

        impl $name {
            /// The words, by place.
            pub(crate) const WORDS: [&'static str; [$($word),+].len()] = [$($word),+];
        }
    };
}

words! {
    /// What is asked.
    CommandKind {
        Apply = "apply-definitions",
        Delete = "delete-definition",
        Start = "start",
        Cancel = "cancel",
        Report = "report-result",
        SaveContext = "save-context",
        Resolve = "resolve-activity",
        Join = "agent-join",
        Leave = "agent-leave",
        Disconnect = "agent-disconnect",
        Credits = "agent-credits",
        NodeStarted = "node-started",
        WriteValues = "write-values",
        DeclareFuture = "declare-future",
        BreakFuture = "break-future",
        WithdrawFuture = "withdraw-future",
        GrantLease = "grant-lease",
        RenewLease = "renew-lease",
        RevokeLease = "revoke-lease",
        AcquireLock = "acquire-lock",
        ReleaseLock = "release-lock",
        StealLock = "steal-lock",
        Proclaim = "proclaim",
        StepClock = "step-clock",
        RolloutReport = "rollout-report",
        RolloutVerb = "rollout-verb",
        RolloutAnswer = "rollout-answer",
        RolloutDelivery = "rollout-delivery",
        SetRetention = "set-retention",
        DeleteRun = "delete-orchestration",
        ExpireRuns = "expire-orchestrations",
        Tick = "tick",
    }
}

words! {
    /// What was decided.
    EventKind {
        DefinitionApplied = "definitionApplied",
        DefinitionDeleted = "definitionDeleted",
        AgentJoined = "agentJoined",
        AgentRejoined = "agentRejoined",
        AgentDisconnected = "agentDisconnected",
        AgentGone = "agentGone",
        AgentCreditsChanged = "agentCreditsChanged",
        EntityCreated = "entityCreated",
        TargetsReported = "targetsReported",
        TargetsHeard = "targetsHeard",
        TargetsJudged = "targetsJudged",
        TargetsAssigned = "targetsAssigned",
        RolloutDecided = "rolloutDecided",
        RolloutsRestarted = "rolloutsRestarted",
        RolloutsFrozen = "rolloutsFrozen",
        RolloutsThawed = "rolloutsThawed",
        Started = "orchestrationStarted",
        Dispatched = "activityDispatched",
        Completed = "activityCompleted",
        Waiting = "activityWaiting",
        Scheduled = "activityScheduled",
        Retrying = "activityRetrying",
        Failed = "activityFailed",
        Returned = "activityReturned",
        Due = "activityDue",
        ContextSaved = "contextSaved",
        Succeeded = "orchestrationCompleted",
        Errored = "orchestrationErrored",
        Cancelled = "orchestrationCancelled",
        ValuePut = "valuePut",
        ValueDeleted = "valueDeleted",
        ValueExpired = "valueExpired",
        TokenForgotten = "tokenForgotten",
        FutureDeclared = "futureDeclared",
        FutureBroken = "futureBroken",
        FutureExpired = "futureExpired",
        FutureWithdrawn = "futureWithdrawn",
        LeaseGranted = "leaseGranted",
        LeaseRenewed = "leaseRenewed",
        LeaseExpired = "leaseExpired",
        LeaseRevoked = "leaseRevoked",
        LockQueued = "lockQueued",
        LockAcquired = "lockAcquired",
        LockLeft = "lockLeft",
        LockStolen = "lockStolen",
        Proclaimed = "proclaimed",
        ClockStepped = "clockStepped",
        RetentionSet = "retentionSet",
        RunsDeleted = "orchestrationsDeleted",
    }
}

words! {
    /// What is asked outside.
    CallWord {
        Hook = "hook",
        Selection = "selection",
        Approval = "approval",
        Removal = "removal",
        Monitoring = "monitoring",
        ExternalMonitoring = "externalMonitoring",
        Analysis = "analysis",
    }
}

impl CallWord {
    pub(super) fn of(kind: CallKind) -> &'static str {
        let word = match kind {
            CallKind::Hook => Self::Hook,
            CallKind::Selection => Self::Selection,
            CallKind::Approval => Self::Approval,
            CallKind::Removal => Self::Removal,
            CallKind::Monitoring => Self::Monitoring,
            CallKind::ExternalMonitoring => Self::ExternalMonitoring,
            CallKind::Analysis => Self::Analysis,
        };
        Self::WORDS[word as usize]
    }
}

words! {
    /// How an attempt ended.
    AttemptResult {
        Completed = "completed",
        Failed = "failed",
        Retried = "retried",
        Scheduled = "scheduled",
        Waiting = "waiting",
        Returned = "returned",
        Stale = "stale",
    }
}

impl CommandKind {
    pub(crate) fn of(command: &Command) -> Self {
        match command {
            Command::Definition(DefinitionCommand::Apply { .. }) => Self::Apply,
            Command::Definition(DefinitionCommand::Delete { .. }) => Self::Delete,
            Command::Orchestration(OrchestrationCommand::Start(_)) => Self::Start,
            Command::Orchestration(OrchestrationCommand::Cancel { .. }) => Self::Cancel,
            Command::Orchestration(OrchestrationCommand::Report { .. }) => Self::Report,
            Command::Orchestration(OrchestrationCommand::SaveContext { .. }) => Self::SaveContext,
            Command::Orchestration(OrchestrationCommand::Resolve { .. }) => Self::Resolve,
            Command::Agent(AgentCommand::Join(_)) => Self::Join,
            Command::Agent(AgentCommand::Leave { .. }) => Self::Leave,
            Command::Agent(AgentCommand::Disconnect { .. }) => Self::Disconnect,
            Command::Agent(AgentCommand::Credits { .. }) => Self::Credits,
            Command::Agent(AgentCommand::NodeStarted) => Self::NodeStarted,
            Command::Value(ValueCommand::Write(_)) => Self::WriteValues,
            Command::Value(ValueCommand::Declare(_)) => Self::DeclareFuture,
            Command::Value(ValueCommand::Break { .. }) => Self::BreakFuture,
            Command::Value(ValueCommand::Withdraw { .. }) => Self::WithdrawFuture,
            Command::Lease(command) => Self::of_lease(command),
            Command::Rollout(RolloutCommand::NotListened { .. }) => Self::Tick,
            Command::Rollout(RolloutCommand::Report { .. }) => Self::RolloutReport,
            Command::Rollout(RolloutCommand::Answer { .. }) => Self::RolloutAnswer,
            Command::Rollout(
                RolloutCommand::Acknowledge { .. }
                | RolloutCommand::Undelivered { .. }
                | RolloutCommand::ResumeDelivery { .. },
            ) => Self::RolloutDelivery,
            Command::Rollout(_) => Self::RolloutVerb,
            Command::Retention(RetentionCommand::SetRule { .. }) => Self::SetRetention,
            Command::Retention(RetentionCommand::Delete { .. }) => Self::DeleteRun,
            Command::Retention(RetentionCommand::Expire { .. }) => Self::ExpireRuns,
            Command::Tick => Self::Tick,
        }
    }

    fn of_lease(command: &LeaseCommand) -> Self {
        match command {
            LeaseCommand::Grant(_) => Self::GrantLease,
            LeaseCommand::Renew { .. } => Self::RenewLease,
            LeaseCommand::Revoke { .. } => Self::RevokeLease,
            LeaseCommand::Acquire(_) => Self::AcquireLock,
            LeaseCommand::Release { .. } => Self::ReleaseLock,
            LeaseCommand::Steal { .. } => Self::StealLock,
            LeaseCommand::Proclaim { .. } => Self::Proclaim,
            LeaseCommand::ClockStepped { .. } => Self::StepClock,
        }
    }
}

impl EventKind {
    pub(crate) fn of(event: &Event) -> Self {
        match event {
            Event::Definition(DefinitionEvent::Applied { .. }) => Self::DefinitionApplied,
            Event::Definition(DefinitionEvent::Deleted { .. }) => Self::DefinitionDeleted,
            Event::Agent(AgentEvent::Joined { .. }) => Self::AgentJoined,
            Event::Agent(AgentEvent::Rejoined { .. }) => Self::AgentRejoined,
            Event::Agent(AgentEvent::Disconnected { .. }) => Self::AgentDisconnected,
            Event::Agent(AgentEvent::Gone { .. }) => Self::AgentGone,
            Event::Agent(AgentEvent::CreditsChanged { .. }) => Self::AgentCreditsChanged,
            Event::Orchestration(event) => Self::of_run(event),
            Event::Value(event) => Self::of_value(event),
            Event::Lease(event) => Self::of_lease(event),
            Event::Rollout(event) => Self::of_rollout(event),
            Event::Retention(RetentionEvent::RuleSet { .. }) => Self::RetentionSet,
            Event::Retention(RetentionEvent::Deleted { .. }) => Self::RunsDeleted,
        }
    }

    fn of_value(event: &ValueEvent) -> Self {
        match event {
            ValueEvent::Put { .. } => Self::ValuePut,
            ValueEvent::Deleted {
                because: Because::Expired,
                ..
            } => Self::ValueExpired,
            ValueEvent::Deleted { .. } => Self::ValueDeleted,
            ValueEvent::Forgotten { .. } => Self::TokenForgotten,
            ValueEvent::Declared { .. } => Self::FutureDeclared,
            ValueEvent::Broken { .. } => Self::FutureBroken,
            ValueEvent::PromiseExpired { .. } => Self::FutureExpired,
            ValueEvent::Withdrawn { .. } => Self::FutureWithdrawn,
        }
    }

    fn of_lease(event: &LeaseEvent) -> Self {
        match event {
            LeaseEvent::Granted { .. } => Self::LeaseGranted,
            LeaseEvent::Renewed { .. } => Self::LeaseRenewed,
            LeaseEvent::Ended { expired: true, .. } => Self::LeaseExpired,
            LeaseEvent::Ended { .. } => Self::LeaseRevoked,
            LeaseEvent::Queued { .. } => Self::LockQueued,
            LeaseEvent::Acquired { .. } => Self::LockAcquired,
            LeaseEvent::Left { .. } => Self::LockLeft,
            LeaseEvent::Stolen { .. } => Self::LockStolen,
            LeaseEvent::Proclaimed { .. } => Self::Proclaimed,
            LeaseEvent::ClockStepped { .. } => Self::ClockStepped,
        }
    }

    fn of_rollout(event: &RolloutEvent) -> Self {
        match event {
            RolloutEvent::Created { .. } => Self::EntityCreated,
            RolloutEvent::Reported { .. } => Self::TargetsReported,
            RolloutEvent::Heard { .. } => Self::TargetsHeard,
            RolloutEvent::Judged { .. } => Self::TargetsJudged,
            RolloutEvent::Assigned { .. } => Self::TargetsAssigned,
            RolloutEvent::Decided { .. } => Self::RolloutDecided,
            RolloutEvent::Restarted { .. } => Self::RolloutsRestarted,
            RolloutEvent::Frozen { .. } => Self::RolloutsFrozen,
            RolloutEvent::Thawed { .. } => Self::RolloutsThawed,
        }
    }

    fn of_run(event: &E) -> Self {
        match event {
            E::Started { .. } => Self::Started,
            E::Dispatched { .. } => Self::Dispatched,
            E::Completed { .. } => Self::Completed,
            E::Waiting { .. } => Self::Waiting,
            E::Scheduled { .. } => Self::Scheduled,
            E::Retrying { .. } => Self::Retrying,
            E::Failed { .. } => Self::Failed,
            E::Returned { .. } => Self::Returned,
            E::Due { .. } => Self::Due,
            E::ContextSaved { .. } => Self::ContextSaved,
            E::Succeeded { .. } => Self::Succeeded,
            E::Errored { .. } => Self::Errored,
            E::Cancelled { .. } => Self::Cancelled,
        }
    }

    /// The result of an attempt that the event is, if it is one.
    pub(crate) const RESULTS: [(Self, AttemptResult); 6] = [
        (Self::Completed, AttemptResult::Completed),
        (Self::Failed, AttemptResult::Failed),
        (Self::Retrying, AttemptResult::Retried),
        (Self::Scheduled, AttemptResult::Scheduled),
        (Self::Waiting, AttemptResult::Waiting),
        (Self::Returned, AttemptResult::Returned),
    ];
}

/// The word for a refusal; those that answers of the API hold are the same.
pub(crate) fn refusal(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::Stale => "changed-meanwhile",
        Rejection::DefinitionNotFound { .. } => "definition-not-found",
        Rejection::VersionNotFound { .. } => "version-not-found",
        Rejection::DefinitionInactive { .. } => "definition-inactive",
        Rejection::DefinitionInUse { .. } => "definition-in-use",
        Rejection::IdTaken { .. } => "id-taken",
        Rejection::NotOpen { .. } => "orchestration-not-found",
        Rejection::StillOpen { .. } => "orchestration-open",
        Rejection::NamespaceNotFound { .. } => "namespace-not-found",
        Rejection::ActivityNotFound { .. } => "activity-not-found",
        Rejection::StaleToken { .. } => "stale-token",
        Rejection::TokenOfAnother { .. } => "token-mismatch",
        Rejection::ContextTooLarge => "context-too-large",
        Rejection::TooLarge { .. } => "request-too-large",
        Rejection::SessionReplaced => "session-replaced",
        Rejection::Value(rejection) => value_refusal(rejection),
        Rejection::Lease(rejection) => lease_refusal(rejection),
        Rejection::Rollout(rejection) => rejection.code(),
        Rejection::Internal(_) => "internal",
    }
}

fn value_refusal(rejection: &ValueRejection) -> &'static str {
    match rejection {
        ValueRejection::ConditionFailed { .. } => "condition-failed",
        ValueRejection::WrittenTwice { .. } => "written-twice",
        ValueRejection::StaleFence { .. } => "stale-fence",
        ValueRejection::LockLost { .. } => "lock-lost",
        ValueRejection::FenceForgotten { .. } => "fence-forgotten",
        ValueRejection::NoSuchFence { .. } => "no-such-fence",
        ValueRejection::LeaseFull { .. } => "lease-full",
        ValueRejection::Unchecked { .. } => "changed-meanwhile",
        ValueRejection::NotJson { .. } => "schema-violation",
        ValueRejection::NotTheProducer { .. } => "not-the-producer",
        ValueRejection::Settled { .. } => "future-settled",
        ValueRejection::Declared { .. } => "declared-by-another",
        ValueRejection::HasValue { .. } => "has-value",
        ValueRejection::NotDeclared { .. } => "future-not-found",
        ValueRejection::Cycle { .. } => "wait-cycle",
    }
}

fn lease_refusal(rejection: &LeaseRejection) -> &'static str {
    match rejection {
        LeaseRejection::NotFound { .. } => "lease-not-found",
        LeaseRejection::Held { .. } => "lock-held",
        LeaseRejection::HeldOtherwise { .. } => "held-otherwise",
        LeaseRejection::AnotherKind { .. } => "lock-of-another-kind",
        LeaseRejection::QueueFull { .. } => "queue-full",
        LeaseRejection::NotHeld { .. } => "lock-not-held",
        LeaseRejection::NothingToSteal { .. } => "lock-free",
        LeaseRejection::Cycle { .. } => "wait-cycle",
    }
}
