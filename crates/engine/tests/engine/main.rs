//! Tests of the decider from outside: commands in, facts and views out.
#![allow(clippy::unwrap_used)]

mod acts;
mod behaviour;
mod documents;
mod fingerprint;
mod golden;
mod model;
mod ops;
mod random;
mod rollouts;
mod shared;
mod sim;
mod storage;
