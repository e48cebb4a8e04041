//! What a process says about itself: logs with levels that can be changed while it runs, and spans of traces.
//!
//! Servers and agents share this. Spans leave over OTLP with the feature `otlp`; without it everything compiles, and asking
//! for an export is refused.

pub mod logs;
#[cfg(feature = "otlp")]
mod otlp;
pub mod trace;
