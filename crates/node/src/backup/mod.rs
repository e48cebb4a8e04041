//! Backups: taken of a running server, verified and restored without one.
//!
//! A backup is one file. It holds the rows of the store as of one instant, the journal from the checkpoint that these rows
//! have up to an end that lies behind that instant, and the files beside journal and store. So restoring one is writing
//! them to a directory from which a server starts as it does after a crash. `frame` says how the file looks.

mod content;
mod error;
mod frame;
mod reader;
mod restore;
mod take;
#[cfg(test)]
mod tests;

use std::io::Read;

use serde::Serialize;

pub use content::{Info, Totals};
pub use error::BackupError;
use reader::BackupReader;
pub use restore::{Restored, restore};
pub(crate) use take::{TakeError, Taking};

/// What belongs to a data directory besides journal and store.
const FILES: [&str; 1] = ["blobs"];

/// What a complete backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// What was backed up, and when.
    #[serde(flatten)]
    pub info: Info,
    /// What it holds.
    #[serde(flatten)]
    pub totals: Totals,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Contents {
    /// Orchestrations in it, those that were started within the last moments perhaps not counted.
    #[must_use]
    pub fn orchestrations(&self) -> u64 {
        self.totals.rows.get("runs").copied().unwrap_or_default()
    }

    fn of<R: Read>(reader: &BackupReader<R>) -> Self {
        Self {
            info: reader.info().clone(),
            totals: reader.totals().clone(),
            bytes: reader.bytes(),
        }
    }
}

/// Reads a backup to its end, and verifies all of it.
///
/// # Errors
/// [`BackupError`] says what is wrong, and at which byte.
pub fn verify(backup: impl Read) -> Result<Contents, BackupError> {
    let mut reader = BackupReader::open(backup)?;
    while reader.next()?.is_some() {}
    Ok(Contents::of(&reader))
}
