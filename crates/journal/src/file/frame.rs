//! A frame: one entry of a segment, which proves by itself that it belongs where it stands.

use uuid::Uuid;

use crate::{Epoch, Position};

/// Bytes before a frame's payload.
pub(crate) const HEAD_BYTES: usize = 24;
/// Frames start at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;
/// The largest batch in bytes: 64 MiB.
pub const MAX_BATCH_BYTES: usize = 64 << 20;

const KIND_SHIFT: u32 = 28;
const LENGTH_MASK: u32 = (1 << KIND_SHIFT) - 1;

/// The identity of one journal, which every checksum in it starts from: a frame of another journal is no frame here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalId {
    id: Uuid,
    checksum: u32,
}

impl JournalId {
    pub(crate) fn new(id: Uuid) -> Self {
        Self {
            id,
            checksum: crc32c::crc32c(id.as_bytes()),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        self.id.as_bytes()
    }
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A batch that somebody appended.
    Batch,
    /// A later epoch took over here; no payload.
    Takeover,
    /// The segment ends here and another goes on from this position; no payload.
    Seal,
}

impl Kind {
    // Never 0: zeroed space must not look like a frame.
    fn tag(self) -> u32 {
        match self {
            Self::Batch => 1,
            Self::Takeover => 2,
            Self::Seal => 3,
        }
    }

    fn from_tag(tag: u32) -> Option<Self> {
        [Self::Batch, Self::Takeover, Self::Seal]
            .into_iter()
            .find(|kind| kind.tag() == tag)
    }
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) epoch: Epoch,
    pub(crate) payload_bytes: usize,
    checksum: u32,
}

impl Head {
    /// The head of the frame at `position`, if these bytes are one; the checksum is yet to be verified.
    pub(crate) fn parse(bytes: &[u8], position: Position) -> Option<Self> {
        if u64_at(bytes, 8)? != position.get() {
            return None;
        }
        let tag = u32_at(bytes, 0)?;
        let payload_bytes = (tag & LENGTH_MASK) as usize;
        let kind = Kind::from_tag(tag >> KIND_SHIFT)?;
        (payload_bytes <= MAX_BATCH_BYTES).then_some(Self {
            kind,
            epoch: Epoch::new(u64_at(bytes, 16)?),
            payload_bytes,
            checksum: u32_at(bytes, 4)?,
        })
    }

    pub(crate) fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload_bytes)
    }

    /// Whether `frame`, the whole of it, is what was written.
    pub(crate) fn verifies(&self, journal: &JournalId, frame: &[u8]) -> bool {
        self.difference(journal, frame) == 0
    }

    /// The bits in which the checksum that `frame`, the whole of it, should have differs from the one that it has.
    pub(crate) fn difference(&self, journal: &JournalId, frame: &[u8]) -> u32 {
        checksum(journal, frame) ^ self.checksum
    }
}

/// A frame whose checksum holds.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) epoch: Epoch,
    pub(crate) position: Position,
    pub(crate) payload: &'a [u8],
    /// Where the next frame stands.
    pub(crate) end: Position,
}

/// Bytes that a frame with this payload takes.
pub(crate) fn frame_bytes(payload_bytes: usize) -> usize {
    HEAD_BYTES + payload_bytes.next_multiple_of(ALIGNMENT)
}

/// Writes a frame into `buffer`, in place of what it held.
pub(crate) fn encode(
    buffer: &mut Vec<u8>,
    journal: &JournalId,
    kind: Kind,
    position: Position,
    epoch: Epoch,
    payload: &[u8],
) {
    debug_assert!(payload.len() <= MAX_BATCH_BYTES);
    let tag = kind.tag() << KIND_SHIFT | payload.len() as u32;
    buffer.clear();
    buffer.extend_from_slice(&tag.to_le_bytes());
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&position.get().to_le_bytes());
    buffer.extend_from_slice(&epoch.get().to_le_bytes());
    buffer.extend_from_slice(payload);
    buffer.resize(frame_bytes(payload.len()), 0);
    let checksum = checksum(journal, buffer);
    buffer[4..8].copy_from_slice(&checksum.to_le_bytes());
}

fn checksum(journal: &JournalId, frame: &[u8]) -> u32 {
    let tagged = crc32c::crc32c_append(journal.checksum, &frame[..4]);
    crc32c::crc32c_append(tagged, &frame[8..])
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn journal() -> JournalId {
        JournalId::new(Uuid::from_u128(7))
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        encode(
            &mut buffer,
            &journal(),
            Kind::Batch,
            Position::new(40),
            Epoch::new(3),
            payload,
        );
        buffer
    }

    #[test]
    fn the_format_of_a_frame_is_what_it_was() {
        let expected = [
            3, 0, 0, 0x10, 0x0C, 0x31, 0x4D, 0x04, 40, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', b'c',
            0, 0, 0, 0, 0,
        ];
        assert_eq!(frame(b"abc"), expected, "{:02x?}", frame(b"abc"));
    }

    #[test]
    fn any_flipped_bit_makes_it_no_frame() {
        let frame = frame(b"abc");
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let head = Head::parse(&flipped, Position::new(40));
            let whole = head.is_some_and(|head| {
                flipped.len() >= head.frame_bytes() && head.verifies(&journal(), &flipped[..head.frame_bytes()])
            });
            assert!(!whole, "bit {bit}");
        }
    }

    #[test]
    fn a_frame_elsewhere_or_of_another_journal_is_no_frame() {
        let frame = frame(b"abc");
        assert_eq!(Head::parse(&frame, Position::new(48)), None);
        let head = Head::parse(&frame, Position::new(40)).unwrap();
        assert!(head.verifies(&journal(), &frame));
        assert!(!head.verifies(&JournalId::new(Uuid::from_u128(8)), &frame));
    }

    #[test]
    fn zeroed_space_is_no_frame() {
        assert_eq!(Head::parse(&[0; 64], Position::START), None);
    }
}
