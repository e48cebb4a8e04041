//! What can go wrong with the store.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why the store could not do what was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A newer release wrote the directory.
    #[error(
        "the store in {dir} has format {found}, and this release knows formats up to {known}; run the release that \
         wrote it, or a newer one"
    )]
    NewerFormat {
        /// The store's directory.
        dir: PathBuf,
        /// The format found there.
        found: u32,
        /// The newest format that this release knows.
        known: u32,
    },
    /// The directory holds something else.
    #[error("{dir} is not empty and holds no store; give the store a directory of its own, or empty this one")]
    NotAStore {
        /// The directory.
        dir: PathBuf,
    },
    /// Another process has the store open.
    #[error("the store in {dir} is open in another process; stop that process first")]
    Locked {
        /// The store's directory.
        dir: PathBuf,
    },
    /// Rows that are to be imported belong to a part of the store that this release does not have.
    #[error(
        "the rows are of keyspace {name:?}, which this release does not know; use the release that wrote them, or a newer one"
    )]
    UnknownKeyspace {
        /// The keyspace.
        name: String,
    },
    /// An earlier write failed, so no more are accepted.
    #[error(
        "an earlier write to the store failed and it accepts no more; check the disk (space, errors), then restart"
    )]
    Broken,
    /// A row cannot be read back.
    #[error(
        "the store is damaged: {what} cannot be read ({reason}); stop the node, move the store's directory away and \
         restore a backup"
    )]
    Damaged {
        /// Which row.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The text is no page token.
    #[error(
        "page token {token:?} is malformed; give the token of the page before unchanged, or none for the first page"
    )]
    MalformedPageToken {
        /// The start of the text.
        token: String,
    },
    /// The page token belongs to another list.
    #[error(
        "the page token comes from a list of another namespace or with other filters; repeat the filters of the \
         first page, or give no token"
    )]
    ForeignPageToken,
    /// The file system refused.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried, such as `create`.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The key-value library failed.
    #[error("the embedded key-value store failed: {0}")]
    Engine(#[source] fjall::Error),
}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Poisoned => Self::Broken,
            fjall::Error::Storage(_)
            | fjall::Error::JournalRecovery(_)
            | fjall::Error::Decompress(_)
            | fjall::Error::InvalidTag(_)
            | fjall::Error::InvalidTrailer
            | fjall::Error::Unrecoverable
                if io_cause(&error).is_none() =>
            {
                Self::damaged("a file of the key-value library", error)
            }
            other => Self::Engine(other),
        }
    }
}

/// What the operating system said, if it did.
fn io_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref() {
            return Some(io);
        }
        next = error.source();
    }
    None
}

impl StoreError {
    /// Whether the disk, or a quota on it, had no room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        io_cause(self)
            .is_some_and(|error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    pub(crate) fn damaged(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Damaged {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}
