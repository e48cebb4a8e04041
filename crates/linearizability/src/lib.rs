//! Checks recorded histories of concurrent operations for linearizability: whether there is an order of the operations,
//! each at one moment between its call and its return, in which every outcome is what a [`Model`] of the object allows.
//!
//! Clients [record](Recorder) what they called and what came back. An operation whose outcome nobody knows, as when the
//! server was killed under it, may have happened or not. Objects are independent of each other, so the history of each key
//! is checked by itself.
//!
//! The search is that of Wing and Gong with Lowe's memory of what was tried: "Testing and verifying concurrent objects"
//! (1993) and "Testing for linearizability" (2017). It tries operations in the order of their calls, undoes a choice that
//! leads nowhere, and never tries the same set of operations with the same resulting state twice. To that we add that
//! operations of unknown outcome are tried last, and that what took more of them than was tried without success is not
//! tried: see `src/search.rs`.

mod history;
mod model;
pub mod models;
mod search;
mod verdict;

pub use history::{Call, History, Operation, Outcome, Recorder};
pub use model::Model;
pub use search::check;
pub use verdict::{Failure, Verdict};
