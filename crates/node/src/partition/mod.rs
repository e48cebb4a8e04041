//! The partition: one thread decides, one makes durable, one projects into the store.
//!
//! ```text
//! handle ──commands, queries──► driver ──batches──► writer ──durable batches──► projector
//!                               decide, evolve      append, then pass on        history, lists,
//!                                                      │                        checkpoints
//!                                                      └─► release: replies and effects
//! ```
//!
//! The driver hands a batch over whenever the writer is idle, so a lone request never waits for
//! company, and while one batch is being made durable the next one grows: group commit by itself.
//! A batch that is all there is to do it appends itself.
//! Replies, answers to queries and effects of a batch leave after it is durable and in order.

mod batch;
mod clock;
mod driver;
mod export;
mod handle;
mod projector;
pub(crate) mod recover;
mod release;
mod shelf;
#[cfg(test)]
mod simulation;
mod writer;

pub(crate) use batch::{AgentAnswer, Responder, RunEvent};
pub(crate) use export::Export;
pub(crate) use handle::{Partition, Unavailable};
pub(crate) use projector::{CHECKPOINT_FORMAT, LogPiece};

use std::path::PathBuf;
use std::sync::Arc;

use unisono_engine::Settings;
use unisono_journal::{FileJournal, FileOptions};

use crate::error::NodeError;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::sessions::Sessions;
use crate::space::Space;
use crate::trace::Traces;

/// What the threads of a partition share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) checkpoint_bytes: u64,
    pub(crate) sessions: Sessions,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) traces: Traces,
    pub(crate) store: shelf::Shelf,
    pub(crate) space: Space,
    pub(crate) holds: export::BackupHolds,
}

/// Opens the partition in a data directory: loads the checkpoint, replays the journal's tail, and
/// starts the threads.
pub(crate) fn start(
    directory: PathBuf,
    (settings, checkpoint_bytes): (Settings, u64),
    (sessions, hub, metrics, traces): (Sessions, Arc<Hub>, Arc<Metrics>, Traces),
    space: Space,
) -> Result<Partition, NodeError> {
    let store = shelf::Shelf::open(&directory)?;
    let journal = FileJournal::new(FileOptions::new(directory.join("journal")));
    let shared = Shared {
        settings,
        checkpoint_bytes,
        sessions,
        hub,
        metrics,
        traces,
        store,
        space,
        holds: export::BackupHolds::default(),
    };
    driver::start(shared, journal)
}
