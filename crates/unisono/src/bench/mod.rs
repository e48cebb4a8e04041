//! `unisono bench …`: what this machine can do, beside what physics or a small case allows.
//!
//! Each bench starts servers and agents of its own on a fresh data directory, measures, and throws the data away. A
//! figure that misses a target is still a figure: only a bench that could not be carried out fails.

mod load;
mod orchestrations;

pub(crate) use orchestrations::{BenchArgs, orchestrations};
