//! The journal on plain files, for one machine.
//!
//! # Files
//!
//! A journal is a directory of **segments**, named by the position at which they start (`00000000000000000000.segment`),
//! of **spares** (`*.spare`) that wait to become segments, of `journal.mark`, which says how far the journal reached for
//! certain (64 bytes; `mark.rs` has them), and of `journal.lock`, which keeps a second process out.
//! All numbers are little-endian, all checksums CRC-32C.
//!
//! A segment starts with a header of 512 bytes, which no append ever rewrites:
//!
//! | byte | bytes | |
//! |---|---|---|
//! | 0 | 8 | `UNISONOJ` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | checksum of the 512 bytes with this field zero |
//! | 16 | 16 | journal id: a UUID, the same in all segments |
//! | 32 | 8 | position at which the segment starts |
//! | 40 | 8 | length of the file |
//! | 48 | 8 | epoch that made the segment |
//! | 56 | 456 | zero |
//!
//! Frames follow without gaps, each padded with zeros to a multiple of 8 bytes. The frame at position *p* stands at byte
//! 512 + *p* − start:
//!
//! | byte | bytes | |
//! |---|---|---|
//! | 0 | 4 | kind in the upper 4 bits (1 batch, 2 takeover by a later epoch, 3 seal), length of the payload in the lower 28 |
//! | 4 | 4 | checksum of the journal id, the 4 bytes before this field, and all bytes after it with the padding |
//! | 8 | 8 | position |
//! | 16 | 8 | epoch |
//! | 24 | | payload and padding |
//!
//! Since a frame proves its place (position) and its journal (checksum), stale bytes are never taken for one. That is what
//! makes recycling safe: the frames of a segment that was trimmed and is used again have older positions than those at which
//! they now stand.
//!
//! # Writing
//!
//! One append is one write and one `fdatasync` into space that has been written before, so that the sync need not touch the
//! file's metadata: preallocated, that is 87 µs where a growing file takes 140 to 160. A background thread writes the zeros
//! of the next segment when the current one is half full, unless a trimmed one can be used again.
//!
//! A batch that does not fit goes into the next segment: its header is written and synced in the spare, the spare renamed,
//! the directory synced, and the segment before it ended with a seal, which makes a missing segment noticed. A batch larger
//! than a segment gets one made to measure.
//!
//! # What a crash may leave
//!
//! Sectors of 512 bytes are written whole or not at all; which of those that were not synced reach the disk is anybody's
//! guess. Since every frame before the last was synced before the next was written, only the last can be unfinished, with
//! nothing intact behind it; then it is cut. Damage with an intact frame, or a segment, behind it is not a crash's doing, and
//! refused. So is damage to the last frame when the mark says that it was durable, or when it lacks nothing but one bit. The
//! mark follows each append without a sync of its own: the death of the process does not take it back, and a power loss at
//! most the last seconds of it. Damage of more than a bit to the very last frame, before a power loss that takes back the
//! mark as well, remains the one kind that cannot be told from an unfinished write.
//!
//! After a failed sync, memory and disk may differ without the operating system knowing. So the journal refuses every append
//! until it is opened again; and opening writes the last frame anew, and zeros behind it, and syncs, before it answers.

mod batches;
mod flip;
mod frame;
pub mod inspect;
mod log;
mod mark;
mod scan;
mod segment;
mod spare;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use bytes::Bytes;
use futures_core::Stream;

use self::{batches::Batches, log::Log, segment::failed};
pub use self::{frame::MAX_BATCH_BYTES, log::CutTail};
use crate::{
    AppendError, DataDirLock, Epoch, Journal, JournalError, Position,
    disk::{Disk, EitherDisk, RealDisk},
};

/// Where a [`FileJournal`] is, and how it is cut up.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// The journal's own directory; made when it is not there.
    pub dir: PathBuf,
    /// Size of a segment file in bytes, at least 4096; what can be trimmed is whole segments. A new journal starts with one
    /// of 4 MiB if that is smaller.
    pub segment_bytes: u64,
}

impl FileOptions {
    /// A journal in this directory, in segments of 64 MiB.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
        }
    }
}

/// The journal on plain files; the module says how they look.
///
/// Its futures and streams do plain blocking I/O and are always ready: it is meant to be driven by a thread of its own, which
/// has nothing to do while the disk works. Its fence is the exclusive lock on its directory, from [`Journal::open`] until it
/// is dropped, together with the position of each append.
pub struct FileJournal {
    // Before the lock, so that its thread has ended when the lock goes.
    log: Log<EitherDisk>,
    lock: Option<DataDirLock>,
}

impl FileJournal {
    /// A journal that is yet to be opened. It can be read before that.
    pub fn new(options: FileOptions) -> Self {
        let disk = EitherDisk::Real(RealDisk::new(options.dir));
        let log = Log::new(disk, options.segment_bytes, true);
        Self { log, lock: None }
    }

    /// A journal on a simulated disk, in segments of this size. It needs no lock, and no other thread touches the disk.
    #[cfg(feature = "simulation")]
    pub fn simulated(disk: crate::simulation::FaultyDisk, segment_bytes: u64) -> Self {
        let log = Log::new(EitherDisk::Faulty(disk), segment_bytes, false);
        Self { log, lock: None }
    }

    /// The unfinished write that the last [`Journal::open`] found and cut, for the operator to know.
    pub fn cut_tail(&self) -> Option<&CutTail> {
        self.log.cut_tail()
    }

    /// Makes known for good how far the journal has reached, if that is not so already: one more sync. Whoever appends says
    /// this when there is nothing more to append for a while; dropping the journal says it as well.
    pub fn settle(&mut self) {
        self.log.settle();
    }

    /// Why the mark of how far the journal has reached cannot be written, if it cannot. The journal works without, and
    /// damage to its very last batch is then taken for an unfinished write.
    pub fn mark_failure(&self) -> Option<&std::io::Error> {
        self.log.mark_failure()
    }

    /// The same as [`Journal::read`], to be read on another thread while this one goes on appending. What it is yet to
    /// read must not be trimmed.
    pub fn batches(&self, from: Position) -> FileBatches {
        FileBatches(self.log.read(from))
    }

    fn lock(&mut self) -> Result<(), JournalError> {
        let disk = self.log.disk();
        if self.lock.is_none() && matches!(disk, EitherDisk::Real(_)) {
            disk.create_dir().map_err(|source| failed("create", disk, "", source))?;
            self.lock = Some(DataDirLock::acquire_file(&disk.path(""), "journal.lock")?);
        }
        Ok(())
    }
}

/// The batches of a [`FileJournal`] from some position up to the end at the time of the call, each with its position. It
/// ends after its first error.
pub struct FileBatches(Batches<EitherDisk>);

impl Iterator for FileBatches {
    type Item = Result<(Position, Bytes), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl Journal for FileJournal {
    async fn open(&mut self, epoch: Epoch) -> Result<Position, JournalError> {
        self.lock()?;
        self.log.open(epoch)
    }

    async fn append(&mut self, at: Position, batch: Bytes) -> Result<Position, AppendError> {
        self.log.append(at, &batch)
    }

    fn read(&self, from: Position) -> impl Stream<Item = Result<(Position, Bytes), JournalError>> + Send {
        self.log.read(from)
    }

    async fn trim(&mut self, before: Position) -> Result<(), JournalError> {
        self.log.trim(before)
    }

    fn first_position(&self) -> Position {
        self.log.first_position()
    }

    fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }
}
