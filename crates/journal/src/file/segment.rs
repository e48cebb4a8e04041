//! A segment: one file of frames, which follow one another without gaps.

use std::{io, ops::Range};

use uuid::Uuid;

use super::frame::{self, ALIGNMENT, Frame, HEAD_BYTES, Head, JournalId};
use crate::{
    Corruption, Damage, Epoch, JournalError, Position,
    disk::{Disk, DiskFile},
};

/// Where the first frame stands: the header has a sector to itself, which appends never rewrite.
pub(crate) const HEADER_BYTES: u64 = 512;
/// What is kept free for the seal.
pub(crate) const SEAL_BYTES: u64 = HEAD_BYTES as u64;

const MAGIC: &[u8; 8] = b"UNISONOJ";
const VERSION: u32 = 1;
const WINDOW_BYTES: u64 = 256 << 10;
const BLOCK_BYTES: u64 = 4096;
const ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];

/// A segment of an open journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) start: Position,
    /// Length of its file.
    pub(crate) bytes: u64,
}

impl Segment {
    /// The byte of the file at which the frame of this position stands.
    pub(crate) fn offset_of(&self, position: Position) -> u64 {
        HEADER_BYTES + (position.get() - self.start.get())
    }

    /// Whether a frame of this size at this position leaves room for the seal.
    pub(crate) fn fits(&self, position: Position, frame_bytes: u64) -> bool {
        self.offset_of(position) + frame_bytes + SEAL_BYTES <= self.bytes
    }

    pub(crate) fn name(&self) -> String {
        segment_name(self.start)
    }
}

pub(crate) fn segment_name(start: Position) -> String {
    format!("{:020}.segment", start.get())
}

/// The start in a segment's file name; nothing for other files.
pub(crate) fn start_in_name(name: &str) -> Option<Position> {
    let digits = name.strip_suffix(".segment").filter(|digits| digits.len() == 20)?;
    digits.parse().ok().map(Position::new)
}

/// What the first sector of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) journal: JournalId,
    pub(crate) segment: Segment,
    /// Who made it.
    pub(crate) epoch: Epoch,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(self.journal.as_bytes());
        bytes.extend_from_slice(&self.segment.start.get().to_le_bytes());
        bytes.extend_from_slice(&self.segment.bytes.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.get().to_le_bytes());
        bytes.resize(HEADER_BYTES as usize, 0);
        let checksum = crc32c::crc32c(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// What is known of a header that cannot be read.
    fn lost(journal: JournalId, segment: Segment) -> Self {
        Self {
            journal,
            segment,
            epoch: Epoch::default(),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        Self::parse(bytes).ok_or(Damage::Header).and_then(|(version, header)| {
            let supported = VERSION;
            let known = version == supported;
            known.then_some(header).ok_or(Damage::Version {
                found: version,
                supported,
            })
        })
    }

    fn parse(bytes: &[u8]) -> Option<(u32, Self)> {
        let mut plain = bytes.to_vec();
        plain.get_mut(12..16)?.fill(0);
        let intact = bytes.starts_with(MAGIC) && frame::u32_at(bytes, 12)? == crc32c::crc32c(&plain);
        let header = Self {
            journal: JournalId::new(Uuid::from_bytes(*bytes.get(16..)?.first_chunk()?)),
            segment: Segment {
                start: Position::new(frame::u64_at(bytes, 32)?),
                bytes: frame::u64_at(bytes, 40)?,
            },
            epoch: Epoch::new(frame::u64_at(bytes, 48)?),
        };
        intact.then_some((frame::u32_at(bytes, 8)?, header))
    }
}

/// What stands behind the last frame of a segment.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// The first intact frame there: proof that what stands before it is damage.
    pub(crate) later: Option<Position>,
    /// The parts of the file that are not zero, in blocks.
    pub(crate) used: Vec<Range<u64>>,
}

/// Reads a segment's frames.
pub(crate) struct SegmentReader<D: Disk> {
    disk: D,
    header: Header,
    window: Window<D::File>,
}

impl<D: Disk> SegmentReader<D> {
    /// Opens the segment whose name states this start.
    pub(crate) fn open(disk: &D, start: Position) -> Result<Self, JournalError> {
        Ok(Self::open_as_it_is(disk, start, None)?.map_err(|(corruption, _)| corruption)?)
    }

    /// The same, with what can be read of a segment that is damaged. The frames of one without a header can be, when it is
    /// known which journal it belongs to.
    pub(crate) fn open_as_it_is(
        disk: &D,
        start: Position,
        journal: Option<JournalId>,
    ) -> Result<Result<Self, (Corruption, Option<Self>)>, JournalError> {
        let name = segment_name(start);
        let failed = |source| failed("read", disk, &name, source);
        let mut window = disk.open_to_read(&name).and_then(Window::new).map_err(failed)?;
        let header = window.get(0, HEADER_BYTES).map_err(failed)?;
        let header = Header::decode(header.unwrap_or_default());
        let found = window.length;
        let whole = Segment { start, bytes: found };
        let (damage, header) = match header {
            Ok(header) if header.segment.start != start => {
                let start = header.segment.start;
                (Damage::Renamed { start }, None)
            }
            Ok(header) if found < header.segment.bytes => {
                let expected = header.segment.bytes;
                let cut = Header {
                    segment: whole,
                    ..header
                };
                (Damage::Truncated { found, expected }, Some(cut))
            }
            Ok(header) => {
                let disk = disk.clone();
                return Ok(Ok(Self { disk, header, window }));
            }
            Err(Damage::Header) => (Damage::Header, journal.map(|journal| Header::lost(journal, whole))),
            Err(damage) => (damage, None),
        };
        let corruption = Corruption {
            segment: disk.path(&name),
            offset: 0,
            position: start,
            damage,
        };
        let disk = disk.clone();
        Ok(Err((corruption, header.map(|header| Self { disk, header, window }))))
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The frame at this position, if an intact one stands there.
    pub(crate) fn frame(&mut self, at: Position) -> Result<Option<Frame<'_>>, JournalError> {
        let Self { disk, header, window } = self;
        window
            .frame(header, at)
            .map_err(|source| failed("read", disk, &header.segment.name(), source))
    }

    /// Whether a frame was begun at this position, intact or not.
    pub(crate) fn begun(&mut self, at: Position) -> Result<bool, JournalError> {
        let Self { disk, header, window } = self;
        let head = window.head(header, at);
        let head = head.map_err(|source| failed("read", disk, &header.segment.name(), source))?;
        Ok(head.is_some())
    }

    /// The bytes from this position on, as many as there are up to `most`.
    pub(crate) fn up_to(&mut self, at: Position, most: u64) -> Result<&[u8], JournalError> {
        let Self { disk, header, window } = self;
        let offset = header.segment.offset_of(at);
        let length = most.min(window.length.saturating_sub(offset));
        window
            .get(offset, length)
            .map(Option::unwrap_or_default)
            .map_err(|source| failed("read", disk, &header.segment.name(), source))
    }

    /// Looks through what stands at and behind `at`, where no intact frame stands.
    pub(crate) fn tail(&mut self, at: Position) -> Result<Tail, JournalError> {
        let Self { disk, header, window } = self;
        window
            .tail(header, at)
            .map_err(|source| failed("read", disk, &header.segment.name(), source))
    }

    /// Damage at a position of this segment.
    pub(crate) fn corruption(&self, at: Position, damage: Damage) -> Corruption {
        Corruption {
            segment: self.disk.path(&self.header.segment.name()),
            offset: self.header.segment.offset_of(at),
            position: at,
            damage,
        }
    }
}

fn push_adjoining(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

/// The error for the failure of a file operation, which names the file.
pub(crate) fn failed<D: Disk>(action: &'static str, disk: &D, name: &str, source: io::Error) -> JournalError {
    JournalError::Io {
        action,
        path: disk.path(name),
        source,
    }
}

/// A piece of a file in memory.
struct Window<F> {
    file: F,
    length: u64,
    offset: u64,
    bytes: Vec<u8>,
}

impl<F: DiskFile> Window<F> {
    fn new(file: F) -> io::Result<Self> {
        Ok(Self {
            length: file.length()?,
            file,
            offset: 0,
            bytes: Vec::new(),
        })
    }

    /// These bytes of the file; nothing if it is shorter.
    fn get(&mut self, offset: u64, length: u64) -> io::Result<Option<&[u8]>> {
        if offset + length > self.length {
            return Ok(None);
        }
        if offset < self.offset || offset + length > self.offset + self.bytes.len() as u64 {
            self.load(offset, length.max(WINDOW_BYTES).min(self.length - offset))?;
        }
        let from = (offset - self.offset) as usize;
        Ok(Some(&self.bytes[from..from + length as usize]))
    }

    fn head(&mut self, header: &Header, at: Position) -> io::Result<Option<Head>> {
        let head = self.get(header.segment.offset_of(at), HEAD_BYTES as u64)?;
        Ok(head.and_then(|head| Head::parse(head, at)))
    }

    fn frame(&mut self, header: &Header, at: Position) -> io::Result<Option<Frame<'_>>> {
        let Some(head) = self.head(header, at)? else {
            return Ok(None);
        };
        let length = head.frame_bytes() as u64;
        let Some(frame) = self.get(header.segment.offset_of(at), length)? else {
            return Ok(None);
        };
        Ok(head.verifies(&header.journal, frame).then(|| Frame {
            kind: head.kind,
            epoch: head.epoch,
            position: at,
            payload: &frame[HEAD_BYTES..][..head.payload_bytes],
            end: at.plus(length),
        }))
    }

    fn tail(&mut self, header: &Header, at: Position) -> io::Result<Tail> {
        let mut tail = Tail::default();
        let mut offset = header.segment.offset_of(at);
        while offset < header.segment.bytes {
            let block_end = (offset / BLOCK_BYTES + 1) * BLOCK_BYTES;
            let block = offset..block_end.min(header.segment.bytes);
            // A frame's first byte lies in a block that is not zero, since its tag is not.
            if !self.is_zero(&block)? {
                tail.later = self.frame_within(header, &block)?;
                push_adjoining(&mut tail.used, block.clone());
            }
            if tail.later.is_some() {
                break;
            }
            offset = block.end;
        }
        Ok(tail)
    }

    fn is_zero(&mut self, block: &Range<u64>) -> io::Result<bool> {
        let bytes = self.get(block.start, block.end - block.start)?;
        Ok(bytes.is_some_and(|bytes| bytes == &ZEROS[..bytes.len()]))
    }

    fn frame_within(&mut self, header: &Header, block: &Range<u64>) -> io::Result<Option<Position>> {
        for offset in block.clone().step_by(ALIGNMENT) {
            let at = header.segment.start.plus(offset - HEADER_BYTES);
            if self.frame(header, at)?.is_some() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn load(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.bytes.resize(length as usize, 0);
        self.offset = offset;
        let read = self.file.read_exact_at(offset, &mut self.bytes);
        if read.is_err() {
            self.bytes.clear();
        }
        read
    }
}
