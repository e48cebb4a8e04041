//! `unisono bench …`: what this machine can do, beside what physics or a small case allows.
//!
//! Each bench starts servers and agents of its own on a fresh data directory, measures, and throws the data away. A
//! figure that misses a target is still a figure: only a bench that could not be carried out fails.

mod idle;
mod large;
mod load;
mod open;
mod orchestrations;
mod quantiles;
mod rollout;
mod system;
mod target;
mod values;
mod waiting;

pub(crate) use idle::{IdleArgs, idle};
pub(crate) use large::{LargeArgs, large};
pub(crate) use open::{OpenArgs, open};
pub(crate) use orchestrations::{BenchArgs, orchestrations};
pub(crate) use rollout::{RolloutArgs, rollout};
pub(crate) use values::{ValuesArgs, values};
