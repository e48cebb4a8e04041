//! Orchestrations: runs of a definition, activity by activity.
//!
//! A run starts `initialized` with the activities that depend on nothing `ready`. An activity is
//! dispatched the moment its own dependencies are done and an agent has room, and ends its attempt
//! with one of five results: complete, wait, schedule, retry, fatal. The run is `completed` when
//! every activity is, `errored` when one fails for good, `cancelled` when someone says so. A run
//! that has ended leaves the engine; the store keeps it.
//!
//! Every attempt has a token: the revision of its dispatch and a nonce. What is said with a token
//! that is no longer current is refused and changes nothing.

mod command;
mod context;
mod decide;
mod event;
mod history;
mod replay;
mod retry;
mod row;
mod run;
mod runs;
mod state;
mod task;
mod trace;
mod view;
mod waiting;

pub use command::{Actor, OrchestrationCommand, Report, Start};
pub use context::ContextEntry;
pub(crate) use decide::{decide, dispatch, due, leave_out_after_end, returned};
pub use event::OrchestrationEvent;
pub use history::{ContextBefore, history_entry};
pub use replay::Replay;
pub use retry::RetryPolicy;
pub(crate) use row::{Incomplete, part_key};
pub use row::{RunRead, RunReader};
pub(crate) use run::join_digest;
pub use run::split_digest;
pub use run::{ActivityRecord, AttemptRef, Phase, Run, RunEnd, RunKey, RunOrigin, ScheduledBecause};
pub use runs::{Listed, Runs};
pub(crate) use state::evolve;
pub use task::Task;
pub use trace::{AttemptEnded, Trace};
