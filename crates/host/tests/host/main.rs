//! The life of hosts, in virtual time: whole minutes pass in milliseconds, and every moment is exact.

#![allow(clippy::unwrap_used)]

mod life;
mod simulation;
mod system;
mod world;
