//! Systems that are right, and the same systems broken on purpose: the checker accepts every history of the first ones
//! and finds the fault in the histories of the others.
//!
//! A history can be made again by its seed, which a failure names.

#![allow(clippy::unwrap_used)]

mod fair_lock;
mod fenced;
mod lock;
mod queue;
mod register;
mod simulation;
