//! Agent runtime: connects to a node, runs activities, and reports how they end.
//!
//! ```no_run
//! use unisono_agent::{ActivityResult, Agent};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let agent = Agent::builder()
//!     .name("greeter")
//!     .function("greet.example.com", |context| {
//!         Box::pin(async move {
//!             context.set_output("greeting", format!("hello from attempt {}", context.attempt()))?;
//!             Ok(ActivityResult::Complete)
//!         })
//!     })
//!     .build()?;
//! agent.run(async { let _ = tokio::signal::ctrl_c().await; }).await?;
//! # Ok(())
//! # }
//! ```
//!
//! `docs/guides/agents.md` is the guide, `docs/protocol.md` what crosses the wire. Inside, [`Agent`] keeps connections,
//! one session speaks the protocol over one connection, `holdings` is what outlives connections, and each attempt runs
//! in a task of its own that only sends events.

mod agent;
mod asks;
mod attempt;
mod builder;
mod callbacks;
mod config;
mod context;
mod executor;
mod group;
mod holdings;
mod link;
mod processor;
pub mod processors;
mod secrets;
mod services;
mod session;
mod trace;
mod values;
mod websocket;

pub use agent::{Agent, AgentError};
pub use asks::AskError;
pub use attempt::{AttemptHandle, MAX_LOG_BYTES, SaveError};
pub use builder::{AgentBuilder, BuildError};
pub use callbacks::{CallbackError, CallbackRequest, CallbackResponse, CallbackRouter};
pub use config::{ActivityConfig, AgentConfig, ConfigError, ProcessorConfig};
pub use context::{ActivityContext, ValueError};
pub use group::{ProcessGroup, how};
pub use link::{Link, NodeEnd};
pub use processor::{ActivityFailure, ActivityProcessor, ActivityResult, OrFail, Processed};
pub use secrets::{DirectorySecrets, EnvironmentSecrets, Secret, SecretError, SecretsClient};
pub use services::{HttpClient, MissingService, Services};
pub use unisono_client::{Swap, ValueWatchEvent, WatchScope};
pub use unisono_model::protocol::ActivityError;
pub use unisono_model::trace::TraceContext;
pub use unisono_telemetry::trace::Spans;
pub use values::{ValueWatch, Values};

/// Any error that a processor's maker can fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The discriminator of activities that bring a resource about.
pub const DEPLOY: &str = "deploy";
/// The discriminator of activities that take a resource away.
pub const DISPOSE: &str = "dispose";
