//! What can go wrong with a backup and with restoring one.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use unisono_journal::{AppendError, JournalError, LockError};
use unisono_store::StoreError;

use crate::replay::ReplayError;

/// Why a backup cannot be read or restored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackupError {
    /// It begins like no backup.
    #[error("this is no backup: it does not begin with UNISONOB")]
    NotABackup,
    /// A newer release wrote it.
    #[error(
        "the backup is of format {found}, and this program reads up to {known}; use the version that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// It ends too early.
    #[error(
        "the backup is cut: it ends at byte {offset}, before it is complete; take another one, or use an older one"
    )]
    Cut {
        /// Where it ends, in bytes.
        offset: u64,
    },
    /// A part of it is not what was written.
    #[error("the backup is damaged at byte {offset}: {what}; copy it again from where it was made, or use another one")]
    Damaged {
        /// Where the damaged part begins, in bytes.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The server that made it gave up.
    #[error("the backup is not complete: the server gave up, because {reason}")]
    Aborted {
        /// What the server said.
        reason: String,
    },
    /// It cannot be read to its end.
    #[error("the backup cannot be read any further than byte {offset}")]
    Read {
        /// How far it was read, in bytes.
        offset: u64,
        /// Why not.
        source: io::Error,
    },
    /// Something is where the backup is to be restored to.
    #[error(
        "{} is not empty: it holds {found}; restore into a new directory, or move what is there away",
        dir.display()
    )]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// The names of what is in it; some, when there are many.
        found: String,
    },
    /// The place cannot be a data directory.
    #[error("{} cannot be restored into: {reason}", dir.display())]
    BadTarget {
        /// The place.
        dir: PathBuf,
        /// Why not, and what would be right.
        reason: String,
    },
    /// Somebody restores to the same place.
    #[error("another restore to the same place is under way")]
    UnderWay(#[from] LockError),
    /// A file operation failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried, such as `create`.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The journal of the restored directory cannot be written.
    #[error("cannot write the journal")]
    Append(#[from] AppendError),
    /// The journal of the restored directory cannot be made.
    #[error("cannot make the journal")]
    Journal(#[from] JournalError),
    /// The store of the restored directory cannot be made.
    #[error("cannot make the store")]
    Store(#[from] StoreError),
    /// What was restored does not lead to a state.
    #[error("the backup is intact, but this program cannot start from it")]
    Replay(#[source] Box<ReplayError>),
    /// What was restored leads to another state than the backup says.
    #[error("the backup says that it reaches revision {expected}, and what was restored reaches {found}")]
    WrongRevision {
        /// What the backup says.
        expected: u64,
        /// What was found.
        found: u64,
    },
}

impl BackupError {
    pub(super) fn damaged(offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged {
            offset,
            what: what.into(),
        }
    }

    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}
