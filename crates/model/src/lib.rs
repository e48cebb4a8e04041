//! What people write and read: definitions, names, limits, the plan of a run, API and protocol messages.

pub mod api;
pub mod definition;
pub mod document;
mod graph;
pub mod hosts;
pub mod ids;
pub mod key;
pub mod leases;
pub mod limits;
pub mod name;
mod nearest;
pub mod path;
pub mod plan;
pub mod problem;
pub mod protocol;
pub mod retention;
pub mod rollout;
pub mod schema;
mod states;
pub mod storage;
pub mod trace;
pub mod validate;
pub mod values;

pub use definition::{Activity, ActivityDefinition, Document, Mapping, OrchestrationDefinition, SchemaHolder};
pub use document::{Parsed, Source, parse};
pub use key::{Key, KeyError};
pub use name::{Name, NameError};
pub use path::{Path, PathError};
pub use plan::{MappedTooLarge, Plan, PlanError, PlannedActivity, PlannedInput, PlannedSource};
pub use problem::{Mistake, Span, report};
pub use schema::Violation;
pub use validate::{Catalog, validate};
