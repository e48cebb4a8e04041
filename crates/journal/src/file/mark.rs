//! The mark: how far the journal reached for certain, kept beside the segments.
//!
//! A frame proves that everything before it was durable, and only the last one has nobody to vouch for it: when it is not
//! intact, it may never have been written whole, or have been damaged since. The mark tells these apart. It is written after
//! each append and never before, so it may lag behind and cannot run ahead. It costs no sync of its own while there is
//! work: the operating system keeps it through any death of the process, and a power loss takes back the last seconds of it
//! at most. [`Mark::settle`] makes it durable when there is a pause.
//!
//! The file holds 64 bytes, which one write replaces: `UNISONOM`, version (4), checksum of the 64 bytes with this field zero
//! (4), journal id (16), position (8), zeros.

use std::io;

use uuid::Uuid;

use super::frame::{self, JournalId};
use crate::{
    Position,
    disk::{Disk, DiskFile},
};

pub(crate) const NAME: &str = "journal.mark";
const UNFINISHED: &str = "journal.mark.unfinished";
const MAGIC: &[u8; 8] = b"UNISONOM";
const VERSION: u32 = 1;
const BYTES: usize = 64;

/// What the mark of a directory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marked {
    /// There is none: the journal was written by an earlier release, or nothing was ever appended.
    Nothing,
    /// It cannot be read.
    Damaged,
    /// Everything before this position of this journal was durable.
    UpTo(JournalId, Position),
}

impl Marked {
    /// What the mark beside the segments says.
    pub(crate) fn read<D: Disk>(disk: &D) -> io::Result<Self> {
        let file = match disk.open_to_read(NAME) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Nothing),
            Err(error) => return Err(error),
        };
        let mut bytes = [0; BYTES];
        match file.read_exact_at(0, &mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Self::Damaged),
            Err(error) => return Err(error),
        }
        Ok(decode(&bytes).map_or(Self::Damaged, |(journal, position)| Self::UpTo(journal, position)))
    }

    /// Up to where this journal was durable for certain.
    pub(crate) fn of(self, of: &JournalId) -> Position {
        match self {
            Self::UpTo(journal, position) if journal == *of => position,
            _ => Position::START,
        }
    }
}

/// The mark of an open journal. What cannot be written of it stays behind: it then says less than it could, and the journal
/// goes on.
pub(crate) struct Mark<F> {
    file: Option<F>,
    journal: JournalId,
    /// Whether something was written since it was last made durable.
    dirty: bool,
    failure: Option<io::Error>,
}

impl<F: DiskFile> Mark<F> {
    /// Puts a mark at `position`, durably, in place of what was there.
    pub(crate) fn put<D: Disk<File = F>>(disk: &D, journal: JournalId, position: Position) -> Self {
        let (file, failure) = match file(disk) {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(error)),
        };
        let mut mark = Self {
            file,
            journal,
            dirty: false,
            failure,
        };
        mark.advance(position);
        mark.settle();
        mark
    }

    /// Moves the mark to `position`, before which everything is durable.
    pub(crate) fn advance(&mut self, position: Position) {
        let bytes = encode(&self.journal, position);
        self.try_to(|file| file.write_all_at(0, &bytes));
        self.dirty = true;
    }

    /// Makes the mark durable, unless it is.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.try_to(DiskFile::sync);
        }
    }

    fn try_to(&mut self, action: impl FnOnce(&F) -> io::Result<()>) {
        if let Some(Err(error)) = self.file.as_ref().map(action) {
            self.file = None;
            self.failure = Some(error);
        }
    }

    /// Why it stays behind, if it does.
    pub(crate) fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }
}

/// The mark's file, made when there is none. One that is there is used again: on a full disk there may be no room for another.
fn file<D: Disk>(disk: &D) -> io::Result<D::File> {
    if let Ok(file) = disk.open(NAME)
        && file.length()? >= BYTES as u64
    {
        return Ok(file);
    }
    let file = disk.create(UNFINISHED)?;
    file.write_all_at(0, &[0; BYTES])?;
    file.sync()?;
    disk.rename(UNFINISHED, NAME)?;
    disk.sync_names()?;
    Ok(file)
}

fn encode(journal: &JournalId, position: Position) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(journal.as_bytes());
    bytes[32..40].copy_from_slice(&position.get().to_le_bytes());
    let checksum = crc32c::crc32c(&bytes);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; BYTES]) -> Option<(JournalId, Position)> {
    let mut plain = *bytes;
    plain[12..16].fill(0);
    let intact = bytes.starts_with(MAGIC)
        && frame::u32_at(bytes, 8)? == VERSION
        && frame::u32_at(bytes, 12)? == crc32c::crc32c(&plain);
    let journal = JournalId::new(Uuid::from_bytes(*bytes.get(16..)?.first_chunk()?));
    intact.then_some((journal, Position::new(frame::u64_at(bytes, 32)?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::faulty::FaultyDisk;

    #[test]
    fn a_mark_with_any_flipped_bit_says_nothing() {
        let disk = FaultyDisk::new(1);
        let journal = JournalId::new(Uuid::from_u128(7));
        let mut mark = Mark::put(&disk, journal, Position::new(8));
        mark.advance(Position::new(640));
        assert_eq!(Marked::read(&disk).unwrap(), Marked::UpTo(journal, Position::new(640)));
        for bit in 0..BYTES as u64 * 8 {
            disk.flip(NAME, bit / 8, (bit % 8) as u32);
            assert_eq!(Marked::read(&disk).unwrap(), Marked::Damaged, "bit {bit}");
            disk.flip(NAME, bit / 8, (bit % 8) as u32);
        }
        disk.cut_to(NAME, 63);
        assert_eq!(Marked::read(&disk).unwrap(), Marked::Damaged);
    }

    #[test]
    fn a_mark_speaks_of_its_own_journal_only() {
        let (own, other) = (JournalId::new(Uuid::from_u128(7)), JournalId::new(Uuid::from_u128(8)));
        let marked = Marked::UpTo(own, Position::new(8));
        assert_eq!(marked.of(&own), Position::new(8));
        assert_eq!(marked.of(&other), Position::START);
    }
}
