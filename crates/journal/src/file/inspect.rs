//! Looking at a journal that need not be intact, for people and for tools.

use std::{ops::ControlFlow, path::Path, path::PathBuf};

use super::{
    frame::{Frame, Kind},
    log::CutTail,
    mark::{self, Marked},
    scan::{End, Found, Halt, survey},
    segment::{Header, Segment, failed},
};
use crate::{
    Corruption, Epoch, JournalError, Position,
    disk::{Disk, RealDisk},
};

/// What stands in the files of a journal, in the order of positions.
#[derive(Debug)]
pub enum Finding<'a> {
    /// A segment begins.
    Segment(SegmentInfo),
    /// An intact frame.
    Frame(FrameInfo<'a>),
    /// Something that no crash does. What follows is what can be read behind it.
    Damage(Corruption),
    /// A write was begun at the end and not finished; opening the journal cuts it.
    Unfinished(CutTail),
    /// There is no more.
    End(Position),
}

/// A segment of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its file.
    pub path: PathBuf,
    /// Where it starts.
    pub start: Position,
    /// Length of its file in bytes.
    pub bytes: u64,
    /// Who made it.
    pub epoch: Epoch,
}

/// An intact frame of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameInfo<'a> {
    /// Where it stands in the journal.
    pub position: Position,
    /// The byte of its segment at which it starts.
    pub offset: u64,
    /// Bytes that it takes there.
    pub bytes: u64,
    /// Who wrote it.
    pub epoch: Epoch,
    /// What it is.
    pub content: FrameContent<'a>,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameContent<'a> {
    /// A batch that was appended.
    Batch(&'a [u8]),
    /// A later epoch took over here.
    Takeover,
    /// The segment ends here, and another one goes on.
    Seal,
}

/// The files of a journal that are no segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherFiles {
    /// Files that wait to become segments, and their bytes.
    pub spares: Vec<(PathBuf, u64)>,
    /// How far the journal reached for certain; none when there is no mark, or it cannot be read.
    pub durable: Option<Position>,
    /// The mark that tells so, when it cannot be read.
    pub damaged_mark: Option<PathBuf>,
}

/// Shows what the files of the journal in `dir` hold to `visit`, until that has seen enough. Changes nothing, and takes no
/// lock: of a journal that is being written, the last frame may look unfinished, and segments may be trimmed on the way.
///
/// # Errors
/// When a file cannot be read. Damage is none.
pub fn inspect(dir: &Path, visit: impl FnMut(Finding<'_>) -> ControlFlow<()>) -> Result<(), JournalError> {
    inspect_on(&RealDisk::new(dir.to_owned()), visit)
}

pub(crate) fn inspect_on<D: Disk>(
    disk: &D,
    mut visit: impl FnMut(Finding<'_>) -> ControlFlow<()>,
) -> Result<(), JournalError> {
    let mut tell = |finding: Finding<'_>| match visit(finding) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Halt::Enough),
    };
    let gone_through = survey(disk, &mut |found| match found {
        Found::Segment(header) => tell(Finding::Segment(segment(disk, header))),
        Found::Frame(offset, frame) => tell(Finding::Frame(info(offset, frame))),
        Found::Damage(corruption) => tell(Finding::Damage(corruption)),
        Found::End(end) => {
            if end.torn {
                tell(Finding::Unfinished(cut_tail(disk, &end)))?;
            }
            tell(Finding::End(end.position))
        }
    });
    match gone_through {
        Ok(()) | Err(Halt::Enough) => Ok(()),
        Err(Halt::Failed(error)) => Err(error),
    }
}

fn segment<D: Disk>(disk: &D, header: &Header) -> SegmentInfo {
    let Segment { start, bytes } = header.segment;
    SegmentInfo {
        path: disk.path(&header.segment.name()),
        start,
        bytes,
        epoch: header.epoch,
    }
}

fn info<'a>(offset: u64, frame: &Frame<'a>) -> FrameInfo<'a> {
    FrameInfo {
        position: frame.position,
        offset,
        bytes: frame.end.get() - frame.position.get(),
        epoch: frame.epoch,
        content: match frame.kind {
            Kind::Batch => FrameContent::Batch(frame.payload),
            Kind::Takeover => FrameContent::Takeover,
            Kind::Seal => FrameContent::Seal,
        },
    }
}

/// What opening the journal would cut.
pub(crate) fn cut_tail<D: Disk>(disk: &D, end: &End) -> CutTail {
    CutTail {
        segment: disk.path(&end.segment.name()),
        offset: end.segment.offset_of(end.position),
        position: end.position,
    }
}

/// The other files of the journal in `dir`.
///
/// # Errors
/// When the directory or a file cannot be read.
pub fn other_files(dir: &Path) -> Result<OtherFiles, JournalError> {
    let disk = RealDisk::new(dir.to_owned());
    let names = disk.names().map_err(|source| failed("list", &disk, "", source))?;
    let mut found = OtherFiles::default();
    for name in names.iter().filter(|name| name.ends_with(".spare")) {
        let length = disk
            .open_to_read(name)
            .and_then(|file| crate::disk::DiskFile::length(&file));
        let length = length.map_err(|source| failed("open", &disk, name, source))?;
        found.spares.push((disk.path(name), length));
    }
    found.spares.sort_unstable();
    match Marked::read(&disk).map_err(|source| failed("read", &disk, mark::NAME, source))? {
        Marked::Nothing => {}
        Marked::Damaged => found.damaged_mark = Some(disk.path(mark::NAME)),
        Marked::UpTo(_, position) => found.durable = Some(position),
    }
    Ok(found)
}
