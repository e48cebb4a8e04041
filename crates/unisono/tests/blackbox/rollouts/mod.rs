//! Fleets that are moved from one version to the next, over HTTP.

mod api;
mod classic;
mod cli;
mod crash;
mod embedded;
mod example;
pub(crate) mod fleet;
mod hooks;
mod measured;
mod names;
mod subscribers;
mod watching;

use fleet::{Fleet, QUICK};
