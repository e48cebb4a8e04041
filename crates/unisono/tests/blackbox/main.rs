//! Black-box tests: the real binary, real sockets, real files, `kill -9`.
//!
//! Every test starts processes of its own on free loopback ports and in directories of its own, and looks at them only
//! from outside: over HTTP and WebSocket, by exit codes, and by files that the executed scripts write.

#![allow(clippy::unwrap_used)]

mod backup;
mod benches;
mod chaos;
mod disk_full;
mod examples;
mod guides;
mod harness;
mod hosts;
mod lifecycle;
mod looking;
mod observability;
mod python;
mod queries;
mod refusals;
mod rollouts;
mod values;
