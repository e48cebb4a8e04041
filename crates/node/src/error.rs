//! Why a node does not start or does not go on.

use std::path::PathBuf;

use thiserror::Error;
use unisono_engine::codec::CodecError;
use unisono_engine::snapshot::LoadError;
use unisono_host::Problem;
use unisono_journal::{JournalError, LockError};
use unisono_store::StoreError;

/// Why a node does not start or does not go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The data directory cannot be used.
    #[error("cannot use data directory {}", path.display())]
    DataDirectory {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process uses the data directory.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The journal cannot be opened or read.
    #[error("cannot open the journal")]
    Journal(#[from] JournalError),
    /// A batch of the journal cannot be understood.
    #[error("cannot replay the journal")]
    Codec(#[from] CodecError),
    /// The store cannot be opened or read.
    #[error("cannot open the store")]
    Store(#[from] StoreError),
    /// A row of the checkpoint cannot be understood.
    #[error("cannot load the checkpoint")]
    Load(#[from] LoadError),
    /// The checkpoint was written by a newer program.
    #[error(
        "the checkpoint is of format {found}, and this program reads up to {known}; use the version of the program that wrote it, or a newer one"
    )]
    NewerCheckpoint {
        /// The format found.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// The journal was trimmed, and the store has no checkpoint.
    #[error(
        "the journal begins at position {first}, and the store has no checkpoint that covers what was before; restore the data directory from a backup"
    )]
    CheckpointMissing {
        /// The first position that the journal still has.
        first: u64,
    },
    /// Events are missing between two batches, or between the checkpoint and the journal.
    #[error(
        "the journal goes on with revision {found} where {expected} is due, so journal and store do not belong together; \
         restore the data directory from a backup"
    )]
    RevisionGap {
        /// The revision that follows what was read before.
        expected: u64,
        /// The revision found.
        found: u64,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}; is another server running there? choose another address with --listen")]
    Listen {
        /// Which address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The node does not lead its data directory, or no longer.
    #[error("{0}")]
    Leadership(String),
    /// The partition ended by itself.
    #[error("{0}")]
    Partition(String),
}

impl From<Problem> for NodeError {
    fn from(problem: Problem) -> Self {
        match problem {
            // The one service is the server, and it says for itself what is wrong.
            Problem::ServiceFailed { error, .. } => Self::Partition(error.to_string()),
            problem => Self::Leadership(problem.to_string()),
        }
    }
}
