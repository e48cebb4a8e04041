//! The built-in processors: what an agent can run without a line of Rust.

mod exec;
mod http;
mod template;

pub use exec::{ExecProcessor, ExecSpec};
pub use http::{HttpProcessor, HttpSpec};
