//! Rollouts: moving the targets of an entity from one version to the next, and back when it hurts.
//!
//! An entity is a fleet of targets that report what they run and how they are. Setting a version plans a rollout. It
//! passes its gates, tells targets the version wave by wave and batch by batch within its budgets, waits for each to prove
//! itself, watches each wave for a while, and ends by making the version the last known good one. When more targets fail
//! than are tolerated, the version is marked as bad and targets go back.
//!
//! `decide` answers what is asked: reports, verbs, answers of hooks. What follows from facts and from time is decided by
//! `advance`, one event at a time, each folded before the next is asked for. An event that concerns many targets names
//! them all.
//!
//! **Three kinds of state**, so that a checkpoint can write each at its own time: the *head* (policy, versions, the rollout
//! under way), the *targets* in chunks, and *who was heard when*. What an event does to a target depends on the target
//! and the event alone, and the same holds for the head; counts, queues and timers (`tally`) follow from both.
//!
//! **Listening time.** Deadlines, proofs and bakes of targets are measured in the time in which somebody listened: the
//! time less what passed while no server ran. A server that was down for an hour fails nobody for it.

mod advance;
pub mod analysis;
mod calls;
mod command;
mod decide;
mod decided;
mod event;
mod fleet;
mod gates;
mod head;
mod health;
mod interner;
mod listen;
mod names;
mod note;
mod numbers;
mod outbox;
mod plan;
mod rejection;
mod report;
mod request;
mod rows;
mod simulate;
mod slots;
mod state;
mod tally;
mod target;
mod targets;
mod told;
mod untold;
mod verbs;
mod view;
mod waves;
mod why;
pub mod workload;

pub(crate) use advance::advance;
pub use command::{By, RolloutCommand, TARGETS_AT_ONCE, Verb};
pub use decide::RolloutReply;
pub(crate) use decide::decide;
pub use event::{Change, Decision, Joined, Judgement, RolloutEvent, Then, Touched};
pub use fleet::Fleet;
pub use outbox::{Delivery, Failing, OutboxCounts};
pub use rejection::RolloutRejection;
pub use report::ReportReply;
pub use request::RequestKey;
pub(crate) use rows::RolloutEntity;
pub use simulate::{Sample, simulate};
pub use slots::Slots;
pub use state::Rollouts;
pub(crate) use state::evolve;
pub use told::{Guidance, Told};
pub use view::{OpenCall, RolloutCounts, TargetFilter};
