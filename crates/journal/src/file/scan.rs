//! Goes through what a directory holds, and judges whether it can be trusted. Changes nothing.

use std::ops::Range;

use super::{
    flip::{self, flipped_bit},
    frame::{Frame, JournalId, Kind},
    mark::{self, Marked},
    segment::{Header, Segment, SegmentReader, failed, start_in_name},
};
use crate::{Corruption, Damage, Epoch, JournalError, Position, disk::Disk};

/// What is come across, in the order of positions.
pub(crate) enum Found<'a> {
    /// A segment begins.
    Segment(&'a Header),
    /// An intact frame, at this byte of the segment.
    Frame(u64, &'a Frame<'a>),
    /// Something that no crash does.
    Damage(Corruption),
    /// The last segment has no more frames.
    End(End),
}

/// Where the frames of the last segment end.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) segment: Segment,
    pub(crate) position: Position,
    /// Whether a frame was begun there and not finished.
    pub(crate) torn: bool,
    /// What is not zero from there on.
    pub(crate) leftovers: Vec<Range<u64>>,
}

/// Why the way through the directory ended early.
#[derive(Debug)]
pub(crate) enum Halt {
    /// Nobody wants to know more.
    Enough,
    Failed(JournalError),
}

impl From<JournalError> for Halt {
    fn from(error: JournalError) -> Self {
        Self::Failed(error)
    }
}

/// An intact journal, up to an unfinished write at its end.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) journal: JournalId,
    /// The latest epoch that has opened it.
    pub(crate) epoch: Epoch,
    /// Oldest first; never empty.
    pub(crate) segments: Vec<Segment>,
    /// The last frame of the last segment, if it has one.
    pub(crate) last_frame: Option<Position>,
    pub(crate) end: End,
}

/// What the segments of this directory hold; nothing if there are none.
pub(crate) fn scan<D: Disk>(disk: &D) -> Result<Option<Layout>, JournalError> {
    let mut segments = Vec::new();
    let (mut journal, mut epoch) = (None, Epoch::default());
    let (mut last_frame, mut last) = (None, None);
    let gone_through = survey(disk, &mut |found| {
        match found {
            Found::Segment(header) => {
                journal = Some(header.journal);
                epoch = epoch.max(header.epoch);
                segments.push(header.segment);
                last_frame = None;
            }
            Found::Frame(_, frame) if frame.kind == Kind::Seal => {}
            Found::Frame(_, frame) => {
                epoch = epoch.max(frame.epoch);
                last_frame = Some(frame.position);
            }
            Found::Damage(corruption) => return Err(Halt::Failed(corruption.into())),
            Found::End(end) => last = Some(end),
        }
        Ok(())
    });
    match gone_through {
        Ok(()) | Err(Halt::Enough) => Ok(journal.zip(last).map(|(journal, end)| Layout {
            journal,
            epoch,
            segments,
            last_frame,
            end,
        })),
        Err(Halt::Failed(error)) => Err(error),
    }
}

/// Shows everything to `visit`. After damage it goes on where the next intact frame stands.
pub(crate) fn survey<D: Disk>(disk: &D, visit: &mut impl FnMut(Found<'_>) -> Result<(), Halt>) -> Result<(), Halt> {
    let starts = starts(disk)?;
    let marked = Marked::read(disk).map_err(|source| failed("read", disk, mark::NAME, source))?;
    if let (true, Marked::UpTo(_, durable)) = (starts.is_empty(), marked)
        && durable > Position::START
    {
        visit(Found::Damage(Corruption {
            segment: disk.path(mark::NAME),
            offset: 0,
            position: durable,
            damage: Damage::NoSegments { position: durable },
        }))?;
    }
    let mut journal = match marked {
        Marked::UpTo(journal, _) => Some(journal),
        _ => None,
    };
    for (index, start) in starts.iter().enumerate() {
        let mut reader = match SegmentReader::open_as_it_is(disk, *start, journal)? {
            Ok(reader) => reader,
            Err((corruption, reader)) => {
                visit(Found::Damage(corruption))?;
                let Some(reader) = reader else { continue };
                reader
            }
        };
        let header = *reader.header();
        if index > 0 && journal.is_some_and(|journal| journal != header.journal) {
            visit(Found::Damage(reader.corruption(*start, Damage::Foreign)))?;
        }
        journal = Some(header.journal);
        visit(Found::Segment(&header))?;
        let walk = Walk::through(&mut reader, starts.get(index + 1).copied(), visit)?;
        match starts.get(index + 1) {
            Some(next) => goes_on(&reader, &walk, *next, visit)?,
            None => ends(&mut reader, walk, marked.of(&header.journal), visit)?,
        }
    }
    Ok(())
}

fn starts<D: Disk>(disk: &D) -> Result<Vec<Position>, JournalError> {
    let names = disk.names().map_err(|source| failed("list", disk, "", source))?;
    let mut starts: Vec<_> = names.iter().filter_map(|name| start_in_name(name)).collect();
    starts.sort_unstable();
    Ok(starts)
}

struct Walk {
    end: Position,
    sealed: bool,
    /// What is not zero behind the end; not looked at where another segment goes on.
    leftovers: Vec<Range<u64>>,
}

impl Walk {
    /// Goes from frame to frame until none stands where the next should, nor behind it.
    fn through<D: Disk>(
        reader: &mut SegmentReader<D>,
        next: Option<Position>,
        visit: &mut impl FnMut(Found<'_>) -> Result<(), Halt>,
    ) -> Result<Self, Halt> {
        let segment = reader.header().segment;
        let mut walk = Self {
            end: segment.start,
            sealed: false,
            leftovers: Vec::new(),
        };
        loop {
            while let Some(frame) = reader.frame(walk.end)? {
                visit(Found::Frame(segment.offset_of(walk.end), &frame))?;
                if frame.kind == Kind::Seal {
                    walk.sealed = true;
                    return Ok(walk);
                }
                walk.end = frame.end;
            }
            if next == Some(walk.end) {
                return Ok(walk);
            }
            let tail = reader.tail(walk.end)?;
            let Some(later) = tail.later else {
                walk.leftovers = tail.used;
                return Ok(walk);
            };
            visit(Found::Damage(reader.corruption(walk.end, Damage::Frame { later })))?;
            walk.end = later;
        }
    }
}

/// A segment that is not the last must end where the next one starts: the next one was only made when all of this one was
/// durable.
fn goes_on<D: Disk>(
    reader: &SegmentReader<D>,
    walk: &Walk,
    next: Position,
    visit: &mut impl FnMut(Found<'_>) -> Result<(), Halt>,
) -> Result<(), Halt> {
    let damage = match walk.end {
        end if end == next => return Ok(()),
        end if end > next => Damage::Overlap { next },
        end if walk.sealed => Damage::MissingSegment { position: end },
        _ => Damage::Frame { later: next },
    };
    visit(Found::Damage(reader.corruption(walk.end, damage)))
}

/// The last segment may end in an unfinished write, behind which nothing can have been written. `durable` is how far the
/// journal reached for certain.
fn ends<D: Disk>(
    reader: &mut SegmentReader<D>,
    walk: Walk,
    durable: Position,
    visit: &mut impl FnMut(Found<'_>) -> Result<(), Halt>,
) -> Result<(), Halt> {
    let position = walk.end;
    let damage = if walk.sealed {
        Some(Damage::MissingSegment { position })
    } else if position < durable {
        Some(Damage::Lost { durable })
    } else if walk.leftovers.is_empty() {
        None
    } else {
        reader.flipped_bit(position)?
    };
    let torn = damage.is_none() && reader.begun(position)?;
    if let Some(damage) = damage {
        visit(Found::Damage(reader.corruption(position, damage)))?;
    }
    visit(Found::End(End {
        segment: reader.header().segment,
        position,
        torn,
        leftovers: walk.leftovers,
    }))
}

impl<D: Disk> SegmentReader<D> {
    /// Whether the frame that was begun here lacks nothing but one bit.
    fn flipped_bit(&mut self, at: Position) -> Result<Option<Damage>, JournalError> {
        let journal = self.header().journal;
        let offset = self.header().segment.offset_of(at);
        let bytes = self.up_to(at, flip::LARGEST as u64)?;
        Ok(flipped_bit(&journal, bytes, at, offset).map(|bit| Damage::FlippedBit {
            byte: offset + bit as u64 / 8,
            bit: (bit % 8) as u8,
        }))
    }
}
