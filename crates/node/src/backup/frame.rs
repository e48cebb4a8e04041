//! The bytes of a backup: a header, then frames.
//!
//! All numbers are little-endian, all checksums XXH3. The header has 16 bytes: `UNISONOB`, the format version (4 bytes), and
//! 4 zero bytes. A frame has a head of 24 bytes and its content:
//!
//! | byte | bytes | |
//! |---|---|---|
//! | 0 | 1 | kind, see [`Kind`] |
//! | 1 | 1 | 0: the content stands as it is; 1: as an LZ4 block |
//! | 2 | 2 | zero |
//! | 4 | 4 | bytes of the content as it stands |
//! | 8 | 4 | bytes of the content when it is unpacked |
//! | 12 | 4 | checksum of the 12 bytes before, seeded with the frame's offset in the file |
//! | 16 | 8 | checksum of the content as it stands, seeded with the same |
//!
//! Since checksums begin with the offset, a frame at another place than its own is damage as well. The last frame holds a
//! checksum of everything before it.

use std::io::{self, Read};

use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::BackupError;

const MAGIC: &[u8; 8] = b"UNISONOB";
/// The format that this release writes; it reads every one up to that.
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const HEAD_BYTES: usize = 24;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first frame: what was backed up, and when. JSON.
    Info,
    /// Batches of the journal, in order.
    Batches,
    /// Rows of the store, in order.
    Rows,
    /// A piece of a file.
    File,
    /// The last frame: counts and the checksum. JSON.
    End,
    /// The last frame of a backup that was given up: why, as text.
    Aborted,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Info,
        Self::Batches,
        Self::Rows,
        Self::File,
        Self::End,
        Self::Aborted,
    ];

    fn code(self) -> u8 {
        match self {
            Self::Info => 1,
            Self::Batches => 2,
            Self::Rows => 3,
            Self::File => 4,
            Self::End => 5,
            Self::Aborted => 6,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// Turns contents into the bytes of a backup.
pub(super) struct FrameWriter {
    offset: u64,
    total: Box<Xxh3>,
}

impl FrameWriter {
    /// A new backup.
    pub(super) fn new() -> Self {
        Self {
            offset: 0,
            total: Box::new(Xxh3::new()),
        }
    }

    /// The frame that was made last has been written.
    pub(super) fn wrote(&mut self, bytes: &[u8]) {
        self.total.update(bytes);
        self.offset += bytes.len() as u64;
    }

    /// The checksum of everything so far.
    pub(super) fn checksum(&self) -> String {
        format!("{:032x}", self.total.digest128())
    }

    /// The next frame, the first one behind the header. Content of 4 GiB and more does not fit. It counts when it
    /// [has been written](Self::wrote).
    pub(super) fn frame(&self, kind: Kind, content: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = if self.offset == 0 { header() } else { Vec::new() };
        let offset = self.offset + bytes.len() as u64;
        let packed = lz4_flex::block::compress(content);
        let (encoding, stored) = if packed.len() < content.len() {
            (1, packed.as_slice())
        } else {
            (0, content)
        };
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge);
        let mut frame = Vec::with_capacity(HEAD_BYTES + stored.len());
        frame.extend_from_slice(&[kind.code(), encoding, 0, 0]);
        frame.extend_from_slice(&length(stored)?.to_le_bytes());
        frame.extend_from_slice(&length(content)?.to_le_bytes());
        frame.extend_from_slice(&head_check(&frame, offset).to_le_bytes());
        frame.extend_from_slice(&xxh3_64_with_seed(stored, offset).to_le_bytes());
        frame.extend_from_slice(stored);
        bytes.append(&mut frame);
        Ok(bytes)
    }
}

fn header() -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.resize(HEADER_BYTES, 0);
    header
}

/// The lower half of the checksum of what a head says.
fn head_check(said: &[u8], offset: u64) -> u32 {
    let [a, b, c, d, ..] = xxh3_64_with_seed(said, offset).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// A frame whose checksums hold.
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// Where it begins.
    pub(super) offset: u64,
    pub(super) content: Bytes,
    /// The checksum of everything before it.
    pub(super) before: String,
}

/// Reads frames, and verifies each.
pub(super) struct FrameReader<R> {
    input: R,
    offset: u64,
    total: Box<Xxh3>,
}

impl<R: Read> FrameReader<R> {
    /// Reads the header.
    pub(super) fn open(input: R) -> Result<Self, BackupError> {
        let mut reader = Self {
            input,
            offset: 0,
            total: Box::new(Xxh3::new()),
        };
        let header = reader.take(HEADER_BYTES)?;
        if header.get(..8).is_some_and(|magic| magic != MAGIC) {
            return Err(BackupError::NotABackup);
        }
        reader.complete(&header, HEADER_BYTES)?;
        let found = u32_at(&header, 8);
        if found > VERSION {
            return Err(BackupError::NewerFormat { found, known: VERSION });
        }
        if found == 0 || u32_at(&header, 12) != 0 {
            return Err(BackupError::damaged(0, "the header is not intact"));
        }
        Ok(reader)
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Up to as many bytes; fewer only at the end of the input.
    fn take(&mut self, bytes: usize) -> Result<Vec<u8>, BackupError> {
        let mut taken = Vec::new();
        let read = (&mut self.input).take(bytes as u64).read_to_end(&mut taken);
        self.offset += taken.len() as u64;
        read.map_err(|source| BackupError::Read {
            offset: self.offset,
            source,
        })?;
        self.total.update(&taken);
        Ok(taken)
    }

    fn complete(&self, taken: &[u8], expected: usize) -> Result<(), BackupError> {
        if taken.len() == expected {
            Ok(())
        } else {
            Err(BackupError::Cut { offset: self.offset })
        }
    }

    /// The next frame; none at the end of the input.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, BackupError> {
        let offset = self.offset;
        let before = format!("{:032x}", self.total.digest128());
        let head = self.take(HEAD_BYTES)?;
        if head.is_empty() {
            return Ok(None);
        }
        self.complete(&head, HEAD_BYTES)?;
        let damaged = |what: &str| BackupError::damaged(offset, what);
        if head_check(&head[..12], offset) != u32_at(&head, 12) {
            return Err(damaged("the checksum of the head of a frame does not hold"));
        }
        let (stored, length) = (u32_at(&head, 4) as usize, u32_at(&head, 8) as usize);
        let content = self.take(stored)?;
        self.complete(&content, stored)?;
        if xxh3_64_with_seed(&content, offset).to_le_bytes() != head[16..HEAD_BYTES] {
            return Err(damaged("the checksum of a frame does not hold"));
        }
        let content = match head[1] {
            0 => content,
            1 => lz4_flex::block::decompress(&content, length)
                .map_err(|error| damaged(&format!("a frame cannot be unpacked ({error})")))?,
            other => return Err(damaged(&format!("a frame is packed in an unknown way ({other})"))),
        };
        if content.len() != length {
            return Err(damaged("a frame has another length than it says"));
        }
        Ok(Some(Frame {
            kind: Kind::from_code(head[0])
                .ok_or_else(|| damaged(&format!("a frame is of unknown kind {}", head[0])))?,
            offset,
            content: content.into(),
            before,
        }))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |number| u32::from_le_bytes(*number))
}
