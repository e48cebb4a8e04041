//! The journal's bytes: one batch of events, in CBOR.
//!
//! A batch is `format` (u8, now 1), the revision of its first event, the number of events, and for
//! each event the time of its decision (milliseconds since the Unix epoch) and the event. Structures are arrays whose places never
//! change meaning: a later version may add places at the end, which an earlier event lacks, or
//! variants. CBOR (RFC 8949) can be read by any tool.

use minicbor::{Decode, Decoder, Encode, Encoder};
use thiserror::Error;
use unisono_model::ids::{Revision, Timestamp};

use crate::Event;

/// The format of batches that this program writes.
pub const BATCH_FORMAT: u8 = 1;

/// The bytes are no batch that this program understands.
#[derive(Debug, Error)]
pub enum CodecError {
    /// They were written in a newer format.
    #[error(
        "the batch is of format {found}, and this program reads up to {BATCH_FORMAT}; use the version of the program that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The format found.
        found: u8,
    },
    /// They cannot be read.
    #[error("the batch cannot be read: {0}")]
    Malformed(#[from] minicbor::decode::Error),
}

/// Collects the events of one batch.
#[derive(Debug)]
pub struct BatchWriter {
    /// Room for the header, then the events.
    bytes: Vec<u8>,
    first: Revision,
    count: u64,
}

/// Bytes of the longest header: the format and two numbers.
const HEADER_ROOM: usize = 2 + 9 + 9;

/// A batch to journal.
#[derive(Debug)]
pub struct FinishedBatch {
    /// The batch, behind some bytes that do not belong to it.
    pub bytes: Vec<u8>,
    /// Where the batch begins.
    pub start: usize,
    /// Where its body begins, which the events' ranges count from.
    pub body: usize,
}

/// Where a batch ended at some moment.
#[derive(Clone, Copy, Debug)]
pub struct BatchEnd {
    bytes: usize,
    count: u64,
}

/// Where the bytes of an event stand in the body of its batch.
pub type EventRange = std::ops::Range<usize>;

impl BatchWriter {
    /// An empty batch whose first event will have this revision.
    #[must_use]
    pub fn new(first: Revision) -> Self {
        Self::with_capacity(first, 4096)
    }

    /// The same, with room for events of so many bytes.
    #[must_use]
    pub fn with_capacity(first: Revision, bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(HEADER_ROOM + bytes);
        buffer.resize(HEADER_ROOM, 0);
        Self {
            bytes: buffer,
            first,
            count: 0,
        }
    }

    /// Adds an event and tells where its bytes stand.
    pub fn push(&mut self, at: Timestamp, event: &Event) -> EventRange {
        let start = self.bytes();
        // Writing to memory cannot fail.
        let mut encoder = Encoder::new(&mut self.bytes);
        let _ = encoder.i64(at.0).map(|_| ());
        let _ = event.encode(&mut encoder, &mut ());
        self.count += 1;
        start..self.bytes()
    }

    /// Adds the events of a whole batch as they stand there; false, and nothing is added, when they are not the next
    /// ones or are of another format.
    ///
    /// # Errors
    /// [`CodecError`] when it is no batch that this program understands.
    pub fn extend(&mut self, batch: &[u8]) -> Result<bool, CodecError> {
        let mut decoder = Decoder::new(batch);
        let header = read_header(&mut decoder)?;
        let fits = header.format == BATCH_FORMAT && header.first.0 == self.first.0 + self.count;
        if fits {
            self.bytes.extend_from_slice(&batch[decoder.position()..]);
            self.count += header.count;
        }
        Ok(fits)
    }

    /// Where the next event will stand; see [`BatchWriter::truncate`].
    #[must_use]
    pub fn end(&self) -> BatchEnd {
        BatchEnd {
            bytes: self.bytes.len(),
            count: self.count,
        }
    }

    /// Bytes of the events that were pushed since.
    #[must_use]
    pub fn bytes_after(&self, end: BatchEnd) -> usize {
        self.bytes.len() - end.bytes
    }

    /// Forgets the events that were pushed since.
    pub fn truncate(&mut self, end: BatchEnd) {
        self.bytes.truncate(end.bytes);
        self.count = end.count;
    }

    /// How many events it holds.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether it holds no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of its events.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len() - HEADER_ROOM
    }

    /// The batch to journal: its header goes right before its events, so that nothing is copied.
    #[must_use]
    pub fn finish(mut self) -> FinishedBatch {
        let mut header = Vec::with_capacity(HEADER_ROOM);
        let mut encoder = Encoder::new(&mut header);
        let written = encoder
            .u8(BATCH_FORMAT)
            .and_then(|encoder| encoder.u64(self.first.0))
            .and_then(|encoder| encoder.u64(self.count));
        debug_assert!(written.is_ok(), "writing to memory cannot fail");
        let start = HEADER_ROOM - header.len();
        self.bytes[start..HEADER_ROOM].copy_from_slice(&header);
        FinishedBatch {
            bytes: self.bytes,
            start,
            body: HEADER_ROOM,
        }
    }
}

/// One event with its place and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the partition's order.
    pub revision: Revision,
    /// When it was decided.
    pub at: Timestamp,
    /// The event.
    pub event: Event,
    /// Where its bytes stand in the batch.
    pub range: EventRange,
}

/// Reads a batch.
///
/// # Errors
/// [`CodecError`] when it is of a newer format or cannot be read.
pub fn read_batch(bytes: &[u8]) -> Result<Vec<Recorded>, CodecError> {
    let mut decoder = Decoder::new(bytes);
    let Header { first, count, .. } = read_header(&mut decoder)?;
    (0..count)
        .map(|index| {
            let start = decoder.position();
            let (at, event) = read_event(&mut decoder)?;
            Ok(Recorded {
                revision: Revision(first.0 + index),
                at,
                event,
                range: start..decoder.position(),
            })
        })
        .collect()
}

struct Header {
    format: u8,
    first: Revision,
    count: u64,
}

fn read_header(decoder: &mut Decoder<'_>) -> Result<Header, CodecError> {
    let format = decoder.u8()?;
    if format > BATCH_FORMAT {
        return Err(CodecError::NewerFormat { found: format });
    }
    Ok(Header {
        format,
        first: Revision(decoder.u64()?),
        count: decoder.u64()?,
    })
}

/// The revision of the first event of a batch, and how many it holds.
///
/// # Errors
/// [`CodecError`] when it is of a newer format or cannot be read.
pub fn batch_range(bytes: &[u8]) -> Result<(Revision, u64), CodecError> {
    let header = read_header(&mut Decoder::new(bytes))?;
    Ok((header.first, header.count))
}

fn read_event(decoder: &mut Decoder<'_>) -> Result<(Timestamp, Event), minicbor::decode::Error> {
    let at = Timestamp(decoder.i64()?);
    Ok((at, Event::decode(decoder, &mut ())?))
}

/// Bytes that an event takes in a history chunk besides its own, at most.
pub const HISTORY_OVERHEAD: usize = 9;

/// Adds one event with its revision to a history chunk: `event` are the bytes of the event as they
/// stand in its batch.
pub fn push_history(chunk: &mut Vec<u8>, revision: Revision, event: &[u8]) {
    let _ = Encoder::new(&mut *chunk).u64(revision.0).map(|_| ());
    chunk.extend_from_slice(event);
}

/// Reads a history chunk.
///
/// # Errors
/// [`CodecError`] when it cannot be read.
pub fn read_history(chunk: &[u8]) -> Result<Vec<(Revision, Timestamp, Event)>, CodecError> {
    let mut decoder = Decoder::new(chunk);
    let mut entries = Vec::new();
    while decoder.position() < chunk.len() {
        let revision = Revision(decoder.u64()?);
        let (at, event) = read_event(&mut decoder)?;
        entries.push((revision, at, event));
    }
    Ok(entries)
}

/// The events of a history chunk, and where the bytes of each stand in it, as they stood in its batch.
///
/// # Errors
/// [`CodecError`] when it cannot be read.
pub fn read_history_ranges(chunk: &[u8]) -> Result<Vec<(Revision, EventRange)>, CodecError> {
    let mut decoder = Decoder::new(chunk);
    let mut entries = Vec::new();
    while decoder.position() < chunk.len() {
        let revision = Revision(decoder.u64()?);
        let begin = decoder.position();
        read_event(&mut decoder)?;
        entries.push((revision, begin..decoder.position()));
    }
    Ok(entries)
}

/// Reads one event from the bytes that [`BatchWriter::push`] wrote for it.
///
/// # Errors
/// [`CodecError`] when they cannot be read.
pub fn read_event_bytes(bytes: &[u8]) -> Result<(Timestamp, Event), CodecError> {
    Ok(read_event(&mut Decoder::new(bytes))?)
}
