//! Typed client of Unisono's HTTP API.
//!
//! ```no_run
//! use unisono_client::{Client, ClientOptions};
//! use unisono_model::api::StartRequest;
//!
//! # async fn example() -> Result<(), unisono_client::ClientError> {
//! let client = Client::new(ClientOptions::new("http://127.0.0.1:7717", "default"))?;
//! let start = StartRequest {
//!     id: Some("tenant-7".into()), r#type: "tenant.example.com".into(),
//!     version: None, correlation_id: None, input: None, labels: Default::default(),
//! };
//! let started = client.start(&start).await?;
//! let ended = client.wait(&started.id).await?;
//! println!("{}: {}", ended.summary.id, ended.summary.state);
//! # Ok(())
//! # }
//! ```
//!
//! What is safe to repeat is repeated: reads, and starts that bring their own id, when the connection fails; a few
//! times, with a short backoff. Everything else is sent once.

mod backup;
mod client;
mod error;
mod follow;
mod hosts;
mod keeper;
mod leases;
mod list_watch;
mod query;
mod request;
mod retention;
mod rollouts;
mod sse;
mod values;
mod watch;

pub use backup::BackupDownload;
pub use client::{Client, ClientOptions, DefinitionFamily};
pub use error::ClientError;
pub use hosts::HostLeases;
pub use keeper::{KeptLease, LeaseLost};
pub use list_watch::ListEvent;
pub use query::{GroupBy, OrchestrationFilter, PageRequest};
pub use request::install_crypto_provider;
pub use rollouts::{Basis, Entity, EntityWatchEvent, TargetQuery};
pub use values::{Swap, ValueWatchEvent, WatchScope};
pub use watch::WatchEvent;
