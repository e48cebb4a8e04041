//! Rollouts: what people write and read about moving a fleet from one version to the next.
//!
//! A namespace holds entities, an entity holds targets, and each target runs a version. Setting a version makes a
//! [rollout](RolloutView): a plan of waves and batches that gives targets the new version bit by bit, watches their
//! [health](Health), and goes back by itself when more of them fail than a [`Policy`] tolerates.
//!
//! [`Policy`] says how; [`ClassicOptions`] are the four options of older controllers, and say the same with less.
//! Whatever is wrong with what was written is a [`Fault`]: the field, the reason, and the fix.

mod amount;
mod answers;
mod calls;
mod classic;
pub mod cron;
mod fault;
mod gates;
mod placeholders;
mod policy;
mod reading;
mod report;
mod requests;
mod selector;
mod states;
mod text;
mod validate;
mod view;
mod why;
mod written;

pub use amount::{Amount, AmountError, Batch, Growth, Percent, Tolerance};
pub use answers::read_answer;
pub use calls::{
    Answer, CallKind, CallRequest, CallSubject, CallTarget, CallView, Counted, Measured, SubscriberState,
    SubscriberView,
};
pub use classic::{
    ClassicInfo, ClassicOptions, ClassicTarget, OptionsChange, classic_policy, labels_from_tags, with_options,
};
pub use fault::{Fault, faults};
pub use gates::{
    Alternative, Analysis, Approval, Check, Controllers, Dependency, Endpoint, Gate, Hook, Source, Subscriber, Window,
};
pub use placeholders::{QUERY_PLACEHOLDERS, fill, unknown_placeholder};
pub use policy::{
    Budget, Canary, Drift, HealthPolicy, Joiners, OnFailure, OnNewVersion, OnSilent, OnUnhealthy, Policy, Promotion,
    StartMode, ToleranceMode, Unmatched, Unreachable, Wave,
};
pub use reading::{ReadReports, Reading, read_reports};
pub use report::{Report, ReportError, Reported, Reports, Said};
pub use requests::{
    AcknowledgeRequest, EntitySnapshot, Gap, GridView, PlanRequest, ResumeDeliveryRequest, ScopedFreeze,
    SubscriberRequest, TakenView, TargetsChanged, VerbRequest, VersionStatus, cell_word,
};
pub use selector::{Expression, Operator, Selector};
pub use states::{Cause, Health, Phase, ReasonCode, RolloutState, VerbName};
pub use text::{EntityName, GroupName, TargetId, TargetName, TextError, Version, check_label};
pub use validate::{contradictions, read_policy};
pub use view::{
    Counts, DomainView, Done, EntitySummary, EntityView, FreezeView, HistoryEntry, Instruction, OutboxEntry, Reason,
    RolloutSummary, RolloutView, TargetPage, TargetView, VersionMark, VersionView, WaveView,
};
pub use why::{
    FailureModel, PlanView, PlannedWave, SimulateRequest, SimulatedWave, SimulationView, StepView, WhyView, rounding,
};
pub use written::{change_policy_source, locate_faults, read_policy_source};
