//! A life of an orchestration, end to end, with real agents.

mod agents;
mod definitions;
mod lists;
mod payloads;
mod restarts;
mod results;
mod waiting;
mod watching;
