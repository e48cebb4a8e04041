//! Agents: who runs activities, and how many attempts each is willing to hold.
//!
//! An agent is an incarnation: one start of one process. It keeps its attempts while its connection
//! is gone for less than the grace time, so that it can come back and go on; after that, or when it
//! says goodbye, its attempts are returned and others get them.

mod command;
mod decide;
mod event;
mod state;

pub use command::{AgentCommand, Join};
pub(crate) use decide::{decide, lost};
pub use event::AgentEvent;
pub use state::{Agent, AgentKey, Link, SessionId};
pub(crate) use state::{evolve, timer};
