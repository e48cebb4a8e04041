//! Definitions: what can be started.
//!
//! A definition is validated before it comes here (`unisono_model::validate`), against the
//! definitions that were stored at some revision. The command names that revision, and the decider
//! refuses it as stale when definitions changed since, so that nothing invalid is ever stored.
//! Applying a changed orchestration definition makes the next version; a version keeps the activity
//! definitions it was validated with, and its plan is computed once and shared by all its runs.

mod command;
mod decide;
mod event;
mod state;

pub use command::DefinitionCommand;
pub(crate) use decide::decide;
pub use event::{DefinitionEvent, Kind};
pub(crate) use state::tier_names;
pub use state::{Definitions, NamespaceDefinitions, StoredDefinition, Versions};
