//! Leadership and lifecycle of a process or a service: launch it where it leads, monitor that it still does, shut it
//! down in order, and kill the process when there is no other way.
//!
//! A [`Host`] runs services in at most as many processes at the same time as there are slots. It takes the lease of a
//! slot in a [`LeaseStore`], starts its [services](Service) in order, and keeps the lease until it is shut down or can
//! keep it no longer. What it needs of the world is behind three ports: the lease store, the [`Clock`], and the
//! [`Deed`] of the killer.
//!
//! ```text
//!            Host::new            Host::launch                         Host::shutdown
//!                │                     │                                     │
//!                ▼                     ▼                                     ▼
//!           shutdowner ◄── the end ── launcher ── leads ──► monitor     host shutdown
//!        waits for the            takes a slot,         renews the           │
//!        host shutdown            starts services,      lease; on loss       ▼
//!                                 waits for the         raises the      1 services shutdown, in reverse order
//!                                 services shutdown,    problem         2 monitor shutdown
//!                                 stops services                        3 release of the lease
//!                                                                       4 shut down
//! ```
//!
//! The *problem* is signalled once, and the first error wins: whoever runs the host waits for it or for a signal, and
//! then shuts the host down.
//!
//! ```
//! use std::sync::Arc;
//! use unisono_host::{Host, HostConfig, MemoryStore, ServiceContext, SystemClock, service};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
//! let greeter = service("greeter", |context: ServiceContext| async move {
//!     context.started();
//!     println!("leading with the fencing token {}", context.leadership().token());
//!     context.stopping().await;
//!     Ok(())
//! });
//! let host = Host::new(HostConfig::new("greetings", store).with(greeter))?;
//! let problem = host.launch()?;
//! tokio::select! {
//!     problem = problem.signalled() => eprintln!("{problem}"),
//!     () = async { /* a signal */ } => {}
//! }
//! assert!(host.shutdown().await?.is_none());
//! # Ok(())
//! # }
//! ```
//!
//! # What it guarantees
//!
//! The time at which a lease ends is computed from before its last good renewal was sent. [`Timing`] divides the lease:
//! first leadership ends, a grace later the process is dead, and only then may the store give the lease to another. The
//! killer is a thread of its own on a clock that counts the time in which the machine was suspended, armed before the
//! first service starts: neither a blocked runtime nor a hung storage call lets the process outlive its lease. Where
//! the process was stopped past its lease and goes on, it dies at once; what it may write before it does is refused
//! where writes carry the [`FencingToken`].

mod clock;
mod config;
pub mod conformance;
mod host;
mod killer;
mod launcher;
mod leadership;
mod lease;
mod life;
mod memory;
mod monitor;
mod pipeline;
mod problem;
mod service;
mod shutdowner;
mod storage;
mod timing;

pub use clock::{Alarm, Clock, Moment, SystemClock};
pub use config::{ConfigError, HostConfig};
pub use host::{Host, LaunchRefused, NotLaunched};
pub use killer::{Deed, EndProcess, Killer};
pub use leadership::Leadership;
pub use lease::{FencingToken, Holder, Insertion, LeaseKey, LeaseStore, StoreCall, StoreError};
pub use life::Stage;
pub use memory::MemoryStore;
pub use problem::{Loss, Problem, ProblemHandle};
pub use service::{Service, ServiceContext, service};
pub use timing::{Timing, TimingError};

/// Any error that a service can fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
