//! The fenced, ordered, durable log of one partition, and its backend on plain files.
//!
//! [`Journal`] is the port: whoever leads a partition opens it with their epoch, appends batches at the position they
//! expect, and trims what checkpoints have made superfluous. A batch is durable when [`Journal::append`] returns, and a
//! writer whose position is not the journal's is refused: that is the only fence, and it needs no clock.
//!
//! [`FileJournal`] is the backend for one machine; [`mod@file`] describes its format. [`DataDirLock`] keeps two processes from
//! sharing a data directory. [`inspect`] looks at a journal that need not be intact. [`disk_speed`] measures what the disk can do, to print beside what the server does.

mod disk;
pub mod disk_speed;
mod error;
pub mod file;
mod journal;
mod lock;
mod position;

/// A disk in memory that fails as disks do, for tests of those who use the journal.
#[cfg(feature = "simulation")]
pub mod simulation {
    pub use crate::disk::faulty::{Faults, FaultyDisk, Random};
}

pub use error::{AppendError, Corruption, Damage, JournalError};
pub use file::{CutTail, FileBatches, FileJournal, FileOptions, MAX_BATCH_BYTES, inspect};
pub use journal::Journal;
pub use lock::{DataDirLock, LockError};
pub use position::{Epoch, Position};
