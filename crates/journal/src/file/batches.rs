//! Reading a journal from some position on.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;

use super::{
    frame::Kind,
    segment::{Segment, SegmentReader},
};
use crate::{Damage, JournalError, Position, disk::Disk};

/// The batches of a journal from some position on. As a stream it is always ready, and blocks while it reads.
pub(crate) struct Batches<D: Disk> {
    disk: D,
    /// Those still to be read; the first one is being read.
    segments: VecDeque<Segment>,
    reader: Option<SegmentReader<D>>,
    from: Position,
    at: Position,
    end: Position,
    /// An error to be told before anything else.
    refusal: Option<JournalError>,
}

impl<D: Disk> Batches<D> {
    /// Reads what was found: the segments, and where the last one ends.
    pub(crate) fn new(disk: D, found: Result<(Vec<Segment>, Position), JournalError>, from: Position) -> Self {
        let (segments, end, refusal) = match found {
            Ok((segments, end)) => {
                let refusal = out_of_range(&segments, from, end);
                (segments.into(), end, refusal)
            }
            Err(error) => (VecDeque::new(), from, Some(error)),
        };
        Self {
            disk,
            segments,
            reader: None,
            from,
            at: from,
            end,
            refusal,
        }
    }

    fn advance(&mut self) -> Result<Option<(Position, Bytes)>, JournalError> {
        if let Some(error) = self.refusal.take() {
            return Err(error);
        }
        while self.at < self.end {
            let at = self.at;
            let (from, end) = (self.from, self.end);
            let Some(reader) = self.reader()? else { break };
            let Some(frame) = reader.frame(at)?.filter(|frame| frame.kind != Kind::Seal) else {
                return Err(refusal(reader, from, at, end));
            };
            // A copy, so that a batch that is kept does not keep the whole window.
            let batch = (frame.kind == Kind::Batch).then(|| Bytes::copy_from_slice(frame.payload));
            self.at = frame.end;
            if let Some(batch) = batch {
                return Ok(Some((at, batch)));
            }
        }
        Ok(None)
    }

    /// The reader of the segment that holds the next frame.
    fn reader(&mut self) -> Result<Option<&mut SegmentReader<D>>, JournalError> {
        while self.segments.get(1).is_some_and(|next| next.start <= self.at) {
            self.segments.pop_front();
            self.reader = None;
        }
        if let (None, Some(segment)) = (&self.reader, self.segments.front()) {
            self.reader = Some(SegmentReader::open(&self.disk, segment.start)?);
        }
        Ok(self.reader.as_mut())
    }
}

fn out_of_range(segments: &[Segment], from: Position, end: Position) -> Option<JournalError> {
    let first = segments.first().map_or(Position::START, |segment| segment.start);
    if from < first {
        Some(JournalError::Trimmed { from, first })
    } else if from > end {
        Some(JournalError::BeyondEnd { position: from, end })
    } else {
        None
    }
}

/// Why there is no frame at this position, which is before the end: it is damaged, or the reader began in the middle of one.
fn refusal<D: Disk>(reader: &mut SegmentReader<D>, from: Position, at: Position, end: Position) -> JournalError {
    let mut damaged = at;
    if at == from {
        let mut place = reader.header().segment.start;
        while place < at {
            match reader.frame(place) {
                Ok(Some(frame)) => place = frame.end,
                Ok(None) => break,
                Err(error) => return error,
            }
        }
        if place > at {
            return JournalError::NotABatch { position: from };
        }
        damaged = place;
    }
    reader.corruption(damaged, Damage::Frame { later: end }).into()
}

impl<D: Disk> Iterator for Batches<D> {
    type Item = Result<(Position, Bytes), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.at = self.end;
        }
        next.transpose()
    }
}

impl<D: Disk + Unpin> Stream for Batches<D>
where
    D::File: Unpin,
{
    type Item = Result<(Position, Bytes), JournalError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.get_mut().next())
    }
}
