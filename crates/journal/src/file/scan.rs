//! Finds out what a directory holds, and whether it can be trusted. Changes nothing.

use std::ops::Range;

use super::{
    frame::{JournalId, Kind},
    segment::{Segment, SegmentReader, failed, start_in_name},
};
use crate::{Damage, Epoch, JournalError, Position, disk::Disk};

/// An intact journal, up to an unfinished write at its end.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) journal: JournalId,
    /// The latest epoch that has opened it.
    pub(crate) epoch: Epoch,
    /// Oldest first; never empty.
    pub(crate) segments: Vec<Segment>,
    pub(crate) end: Position,
    /// The last frame of the last segment, if it has one.
    pub(crate) last_frame: Option<Position>,
    /// Whether a frame was begun at the end and not finished.
    pub(crate) torn: bool,
    /// What is not zero behind the end, in the last segment.
    pub(crate) leftovers: Vec<Range<u64>>,
}

/// What the segments of this directory hold; nothing if there are none.
pub(crate) fn scan<D: Disk>(disk: &D) -> Result<Option<Layout>, JournalError> {
    let mut layout: Option<Layout> = None;
    let starts = starts(disk)?;
    for (index, start) in starts.iter().enumerate() {
        let mut reader = SegmentReader::open(disk, *start)?;
        if layout
            .as_ref()
            .is_some_and(|layout| layout.journal != reader.header().journal)
        {
            return Err(reader.corruption(*start, Damage::Foreign));
        }
        let walk = Walk::through(&mut reader)?;
        let layout = layout.get_or_insert_with(|| Layout {
            journal: reader.header().journal,
            epoch: Epoch::default(),
            segments: Vec::new(),
            end: *start,
            last_frame: None,
            torn: false,
            leftovers: Vec::new(),
        });
        layout.segments.push(reader.header().segment);
        layout.epoch = layout.epoch.max(walk.epoch);
        layout.end = walk.end;
        layout.last_frame = walk.last_frame;
        match starts.get(index + 1) {
            Some(next) => goes_on(&reader, &walk, *next)?,
            None => ends(&mut reader, &walk, layout)?,
        }
    }
    Ok(layout)
}

fn starts<D: Disk>(disk: &D) -> Result<Vec<Position>, JournalError> {
    let names = disk.names().map_err(|source| failed("list", disk, "", source))?;
    let mut starts: Vec<_> = names.iter().filter_map(|name| start_in_name(name)).collect();
    starts.sort_unstable();
    Ok(starts)
}

struct Walk {
    end: Position,
    epoch: Epoch,
    last_frame: Option<Position>,
    sealed: bool,
}

impl Walk {
    /// Goes from frame to frame until none stands where the next should.
    fn through<D: Disk>(reader: &mut SegmentReader<D>) -> Result<Self, JournalError> {
        let header = reader.header();
        let (end, epoch) = (header.segment.start, header.epoch);
        let mut walk = Self {
            end,
            epoch,
            last_frame: None,
            sealed: false,
        };
        while let Some(frame) = reader.frame(walk.end)? {
            if frame.kind == Kind::Seal {
                walk.sealed = true;
                break;
            }
            walk.epoch = walk.epoch.max(frame.epoch);
            walk.last_frame = Some(walk.end);
            walk.end = frame.end;
        }
        Ok(walk)
    }
}

/// A segment that is not the last must end where the next one starts: the next one was only made when all of this one was
/// durable.
fn goes_on<D: Disk>(reader: &SegmentReader<D>, walk: &Walk, next: Position) -> Result<(), JournalError> {
    let damage = match walk.end {
        end if end == next => return Ok(()),
        end if end > next => Damage::Overlap { next },
        end if walk.sealed => Damage::MissingSegment { position: end },
        _ => Damage::Frame { later: next },
    };
    Err(reader.corruption(walk.end, damage))
}

/// The last segment may end in an unfinished write, behind which nothing can have been written.
fn ends<D: Disk>(reader: &mut SegmentReader<D>, walk: &Walk, layout: &mut Layout) -> Result<(), JournalError> {
    if walk.sealed {
        let missing = Damage::MissingSegment { position: walk.end };
        return Err(reader.corruption(walk.end, missing));
    }
    let tail = reader.tail(walk.end)?;
    if let Some(later) = tail.later {
        return Err(reader.corruption(walk.end, Damage::Frame { later }));
    }
    layout.torn = reader.begun(walk.end)?;
    layout.leftovers = tail.used;
    Ok(())
}
