//! What can go wrong with a journal, said so that whoever is woken by it knows what to do.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::{Epoch, LockError, Position};

/// Why a journal could not be opened, read or trimmed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A file operation failed.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried, as in "could not … the path".
        action: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The log is damaged in a place that no crash can damage.
    #[error(transparent)]
    Corrupt(Box<Corruption>),
    /// Another process has this journal open.
    #[error(transparent)]
    Held(#[from] LockError),
    /// A later leader has opened this journal.
    #[error("epoch {given} is over: the journal has been opened by epoch {on_disk}; give up leadership")]
    StaleEpoch {
        /// The epoch that was to open it.
        given: Epoch,
        /// The latest epoch in the journal.
        on_disk: Epoch,
    },
    /// The journal must be opened before it is written.
    #[error("the journal is not open; open it before appending or trimming")]
    NotOpen,
    /// A write failed, and what is on disk is not known until the journal is opened again.
    #[error("an earlier write failed ({cause}); open the journal again, which reads back what is on disk")]
    Poisoned {
        /// The failure.
        cause: String,
    },
    /// The batches from here on have been trimmed.
    #[error("position {from} has been trimmed; the oldest that can be read is {first}")]
    Trimmed {
        /// The position asked for.
        from: Position,
        /// The oldest one retained.
        first: Position,
    },
    /// The position is past the end of the journal.
    #[error(
        "position {position} is past the end of the journal, which is {end}; \
         if a checkpoint names it, the journal has lost batches: restore the data directory from a backup"
    )]
    BeyondEnd {
        /// The position asked for.
        position: Position,
        /// Where the journal ends.
        end: Position,
    },
    /// The position lies inside a batch.
    #[error("no batch starts at position {position}")]
    NotABatch {
        /// The position asked for.
        position: Position,
    },
}

impl JournalError {
    /// Whether the disk, or a quota on it, had no room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// Why a batch was not appended.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The writer's position is not the journal's: somebody else has written, or the writer has lost count.
    #[error("position {given} is not where the journal ends, which is {expected}; rebuild from the journal")]
    Fenced {
        /// Where the journal ends.
        expected: Position,
        /// Where the writer wanted to append.
        given: Position,
    },
    /// The batch is not known to be durable, and nothing can be appended until the journal is opened again.
    #[error("the journal is unavailable")]
    Unavailable(#[source] JournalError),
    /// The disk has no room for the segment in which the batch would go. Nothing was written, and the journal remains usable:
    /// the same append can be tried again when there is room.
    #[error("the disk has no room for another {needed} bytes of the journal")]
    Full {
        /// Bytes that a segment takes.
        needed: u64,
        /// What could not be done.
        #[source]
        source: JournalError,
    },
    /// The batch is larger than the journal takes. Nothing was written, and the journal remains usable.
    #[error("a batch of {bytes} bytes is larger than the limit of {limit} bytes; split it")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The largest size in bytes.
        limit: usize,
    },
}

/// Damage in a part of the log that was durable, and the place.
#[derive(Debug, Error)]
#[error(
    "journal segment {} is damaged at byte {offset} (position {position}): {damage}; \
     this is no unfinished write, so nothing was cut and nothing after it is served. \
     Copy the directory aside, check the disk, and restore the data directory from a backup",
    segment.display()
)]
pub struct Corruption {
    /// The segment file.
    pub segment: PathBuf,
    /// The byte in that file at which the damaged frame or header starts.
    pub offset: u64,
    /// The position of that place in the journal.
    pub position: Position,
    /// What is wrong there.
    pub damage: Damage,
}

impl From<Corruption> for JournalError {
    fn from(corruption: Corruption) -> Self {
        Self::Corrupt(Box::new(corruption))
    }
}

/// What is wrong with a damaged place of the log.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Damage {
    /// The frame fails its checksum, and later frames exist.
    #[error("the frame is not intact, yet the log goes on at position {later}")]
    Frame {
        /// Where the log goes on.
        later: Position,
    },
    /// The last frame fails its checksum or is not there, and it was durable.
    #[error("no intact frame stands there, yet everything before position {durable} was durable")]
    Lost {
        /// How far the journal reached for certain.
        durable: Position,
    },
    /// The last frame fails its checksum because of a single bit.
    #[error("one bit of the frame is wrong, bit {bit} of byte {byte} of the file, and all else of it is there")]
    FlippedBit {
        /// The byte in the segment file.
        byte: u64,
        /// The bit, counted from the lowest.
        bit: u8,
    },
    /// There is a mark, and no segment.
    #[error("the journal reached position {position}, and no segment file is there")]
    NoSegments {
        /// How far the journal reached for certain.
        position: Position,
    },
    /// The segment's header fails its checksum or is not one.
    #[error("the segment header is not intact")]
    Header,
    /// The header names another start than the file's name does.
    #[error("the header says that the segment starts at position {start}, the file name says otherwise")]
    Renamed {
        /// The start in the header.
        start: Position,
    },
    /// The segment belongs to another journal.
    #[error("the segment belongs to another journal than the one before it")]
    Foreign,
    /// The file is shorter than it was made.
    #[error("the file has {found} bytes and was made with {expected}")]
    Truncated {
        /// Its size in bytes.
        found: u64,
        /// The size in bytes that its header states.
        expected: u64,
    },
    /// The segment that starts here is not in the directory.
    #[error("the segment file {position:020}.segment that goes on from here is missing", position = position.get())]
    MissingSegment {
        /// Where the missing segment starts.
        position: Position,
    },
    /// Two segments hold the same positions.
    #[error("the next segment starts earlier, at position {next}")]
    Overlap {
        /// Where the next segment starts.
        next: Position,
    },
    /// A newer version of the program wrote the segment.
    #[error("its format version is {found}, and this program reads version {supported}; use the program that wrote it")]
    Version {
        /// The version in the header.
        found: u32,
        /// The version this program reads.
        supported: u32,
    },
}
