//! Rollouts: what the walk-through of a rollout shows, what its rules say, and what must hold whatever happens.

mod analysis;
pub(crate) mod everything;
mod outside;
mod random;
mod rules;
mod several;
mod silent;
mod world;
