//! The writer of a journal: opening, appending, changing segments, trimming.

use std::{collections::VecDeque, path::PathBuf, sync::atomic::AtomicBool};

use uuid::Uuid;

use super::{
    batches::Batches,
    frame::{self, JournalId, Kind, MAX_BATCH_BYTES},
    inspect::cut_tail,
    mark::Mark,
    scan::{Layout, scan},
    segment::{HEADER_BYTES, Header, SEAL_BYTES, Segment, failed},
    spare::{self, Spare, Spares},
};
use crate::{
    AppendError, Epoch, JournalError, Position,
    disk::{Disk, DiskFile},
};

/// A new journal starts with a segment no larger than this, so that a first start does not wait for zeros; and one on a
/// nearly full disk goes on in such segments.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;
const SMALLEST_SEGMENT_BYTES: u64 = 4096;
/// A buffer that one large batch has grown is given back.
const BUFFER_BYTES: usize = 4 << 20;

/// An unfinished write that was found at the end of the journal, and cut.
///
/// It is the batch that was being appended when the process or the machine went down, and had not been acknowledged. One
/// other cause looks the same: damage of more than a bit to the very last batch, after a power loss that has also taken back
/// the mark that it was durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutTail {
    /// The segment file.
    pub segment: PathBuf,
    /// The byte in that file where the unfinished write began.
    pub offset: u64,
    /// The position where it began, which is where the journal now ends.
    pub position: Position,
}

/// Why a frame was not written.
enum WriteError {
    /// There is no file for the segment in which it would go. Nothing was written.
    NoRoom { needed: u64, source: JournalError },
    /// What is on the disk is not known.
    Failed(JournalError),
}

impl WriteError {
    fn into_inner(self) -> JournalError {
        match self {
            Self::NoRoom { source, .. } | Self::Failed(source) => source,
        }
    }
}

impl From<JournalError> for WriteError {
    fn from(error: JournalError) -> Self {
        Self::Failed(error)
    }
}

/// A journal on some disk.
pub(crate) struct Log<D: Disk> {
    disk: D,
    segment_bytes: u64,
    spares: Spares<D>,
    writer: Option<Writer<D::File>>,
    /// The failure after which nobody knows what is on the disk.
    poison: Option<String>,
    cut: Option<CutTail>,
}

struct Writer<F> {
    journal: JournalId,
    epoch: Epoch,
    /// Oldest first; the last one is written to. Never empty.
    segments: VecDeque<Segment>,
    active: Active<F>,
    end: Position,
    mark: Mark<F>,
    buffer: Vec<u8>,
}

struct Active<F> {
    segment: Segment,
    file: F,
}

impl<D: Disk> Log<D> {
    pub(crate) fn new(disk: D, segment_bytes: u64, background: bool) -> Self {
        let segment_bytes = segment_bytes.max(SMALLEST_SEGMENT_BYTES);
        let sizes = (segment_bytes, segment_bytes.min(FIRST_SEGMENT_BYTES));
        let spares = Spares::new(disk.clone(), sizes, background);
        Self {
            disk,
            segment_bytes,
            spares,
            writer: None,
            poison: None,
            cut: None,
        }
    }

    pub(crate) fn open(&mut self, epoch: Epoch) -> Result<Position, JournalError> {
        self.writer = None;
        self.poison = None;
        self.cut = None;
        self.spares.load()?;
        let writer = match scan(&self.disk)? {
            None => self.create(epoch)?,
            Some(layout) if layout.epoch > epoch => {
                return Err(JournalError::StaleEpoch {
                    given: epoch,
                    on_disk: layout.epoch,
                });
            }
            Some(layout) => self.repair(layout)?,
        };
        let earlier = writer.epoch;
        let writer = self.writer.insert(writer);
        writer.epoch = epoch;
        if earlier < epoch {
            self.write(Kind::Takeover, &[]).map_err(|error| {
                self.writer = None;
                error.into_inner()
            })?;
        }
        self.end()
    }

    fn create(&mut self, epoch: Epoch) -> Result<Writer<D::File>, JournalError> {
        let spare = self.spares.make(self.segment_bytes.min(FIRST_SEGMENT_BYTES))?;
        let segment = Segment {
            start: Position::START,
            bytes: spare.bytes,
        };
        let journal = JournalId::new(Uuid::now_v7());
        let active = activate(
            &self.disk,
            &spare,
            Header {
                journal,
                segment,
                epoch,
            },
        )?;
        let segments = VecDeque::from([segment]);
        Ok(Writer {
            journal,
            epoch,
            segments,
            active,
            end: segment.start,
            mark: Mark::put(&self.disk, journal, segment.start),
            buffer: Vec::new(),
        })
    }

    /// Makes everything that was found durable, and what stands behind it zero.
    fn repair(&mut self, layout: Layout) -> Result<Writer<D::File>, JournalError> {
        let Layout { journal, epoch, .. } = layout;
        let end = layout.end.position;
        let mut buffer = Vec::new();
        self.sync_names()?;
        if let [.., sealed, last] = layout.segments.as_slice() {
            let file = self.open_segment(sealed)?;
            seal(
                &self.disk,
                &Active { segment: *sealed, file },
                &journal,
                last.start,
                &mut buffer,
            )?;
        }
        let segment = layout.segments[layout.segments.len() - 1];
        let active = Active {
            file: self.open_segment(&segment)?,
            segment,
        };
        repair_tail(&active, &layout).map_err(|source| failed("repair", &self.disk, &segment.name(), source))?;
        self.cut = layout.end.torn.then(|| cut_tail(&self.disk, &layout.end));
        Ok(Writer {
            journal,
            epoch,
            segments: layout.segments.into(),
            active,
            end,
            mark: Mark::put(&self.disk, journal, end),
            buffer,
        })
    }

    fn open_segment(&self, segment: &Segment) -> Result<D::File, JournalError> {
        let name = segment.name();
        self.disk
            .open(&name)
            .map_err(|source| failed("open", &self.disk, &name, source))
    }

    fn sync_names(&self) -> Result<(), JournalError> {
        self.disk
            .sync_names()
            .map_err(|source| failed("sync", &self.disk, "", source))
    }

    pub(crate) fn append(&mut self, at: Position, batch: &[u8]) -> Result<Position, AppendError> {
        let expected = self.end().map_err(AppendError::Unavailable)?;
        if at != expected {
            return Err(AppendError::Fenced { expected, given: at });
        }
        if batch.len() > MAX_BATCH_BYTES {
            return Err(AppendError::TooLarge {
                bytes: batch.len(),
                limit: MAX_BATCH_BYTES,
            });
        }
        match self.write(Kind::Batch, batch) {
            Ok(()) => self.end().map_err(AppendError::Unavailable),
            Err(WriteError::NoRoom { needed, source }) if source.is_disk_full() => {
                Err(AppendError::Full { needed, source })
            }
            Err(WriteError::NoRoom { source, .. } | WriteError::Failed(source)) => {
                self.poison(&source);
                Err(AppendError::Unavailable(source))
            }
        }
    }

    /// Where a usable journal ends.
    fn end(&self) -> Result<Position, JournalError> {
        match (&self.poison, &self.writer) {
            (Some(cause), _) => Err(JournalError::Poisoned { cause: cause.clone() }),
            (None, Some(writer)) => Ok(writer.end),
            (None, None) => Err(JournalError::NotOpen),
        }
    }

    fn poison(&mut self, error: &JournalError) {
        let mut cause = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            cause = format!("{cause}: {error}");
            source = error.source();
        }
        self.poison = Some(cause);
    }

    fn write(&mut self, kind: Kind, payload: &[u8]) -> Result<(), WriteError> {
        let Self {
            disk,
            spares,
            writer: Some(writer),
            ..
        } = self
        else {
            return Err(JournalError::NotOpen.into());
        };
        let frame_bytes = frame::frame_bytes(payload.len()) as u64;
        if !writer.active.segment.fits(writer.end, frame_bytes) {
            let bytes = HEADER_BYTES + frame_bytes + SEAL_BYTES;
            let needed = bytes.max(self.segment_bytes.min(FIRST_SEGMENT_BYTES));
            let spare = spares
                .take(bytes)
                .map_err(|source| WriteError::NoRoom { needed, source })?;
            writer.change_segment(disk, &spare)?;
        }
        writer.write_frame(disk, kind, payload)?;
        if writer.active.segment.offset_of(writer.end) > writer.active.segment.bytes / 2 {
            spares.prepare();
        }
        Ok(())
    }

    pub(crate) fn trim(&mut self, before: Position) -> Result<(), JournalError> {
        let end = self.end()?;
        if before > end {
            return Err(JournalError::BeyondEnd { position: before, end });
        }
        self.trim_segments(before).inspect_err(|error| self.poison(error))
    }

    /// Oldest first, each durably before the next, so that no crash leaves a gap.
    fn trim_segments(&mut self, before: Position) -> Result<(), JournalError> {
        while let Some(writer) = &mut self.writer
            && let Some(next) = writer.segments.get(1)
            && next.start <= before
        {
            self.spares.recycle(&writer.segments[0])?;
            writer.segments.pop_front();
            self.sync_names()?;
        }
        Ok(())
    }

    pub(crate) fn read(&self, from: Position) -> Batches<D> {
        let found = match &self.writer {
            Some(writer) => Ok((writer.segments.iter().copied().collect(), writer.end)),
            None => scan(&self.disk).map(|layout| {
                layout.map_or((Vec::new(), Position::START), |found| {
                    (found.segments, found.end.position)
                })
            }),
        };
        Batches::new(self.disk.clone(), found, from)
    }

    pub(crate) fn first_position(&self) -> Position {
        self.writer
            .as_ref()
            .map_or(Position::START, |writer| writer.segments[0].start)
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        let segments = self.writer.iter().flat_map(|writer| &writer.segments);
        segments.map(|segment| segment.bytes).sum::<u64>() + self.spares.size_bytes()
    }

    pub(crate) fn cut_tail(&self) -> Option<&CutTail> {
        self.cut.as_ref()
    }

    /// Makes the mark durable, so that not even a power loss makes damage look like an unfinished write.
    pub(crate) fn settle(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.mark.settle();
        }
    }

    pub(crate) fn mark_failure(&self) -> Option<&std::io::Error> {
        self.writer.as_ref().and_then(|writer| writer.mark.failure())
    }

    pub(crate) fn disk(&self) -> &D {
        &self.disk
    }
}

impl<D: Disk> Drop for Log<D> {
    fn drop(&mut self) {
        self.settle();
    }
}

impl<F: DiskFile> Writer<F> {
    fn write_frame<D: Disk<File = F>>(&mut self, disk: &D, kind: Kind, payload: &[u8]) -> Result<(), JournalError> {
        let Self {
            journal,
            epoch,
            active: Active { segment, file },
            end,
            mark,
            buffer,
            ..
        } = self;
        frame::encode(buffer, journal, kind, *end, *epoch, payload);
        file.write_all_at(segment.offset_of(*end), buffer)
            .map_err(|source| failed("write to", disk, &segment.name(), source))?;
        file.sync()
            .map_err(|source| failed("sync", disk, &segment.name(), source))?;
        *end = end.plus(buffer.len() as u64);
        mark.advance(*end);
        if buffer.len() > BUFFER_BYTES {
            *buffer = Vec::new();
        }
        Ok(())
    }

    /// Goes on in a new segment. Everything up to here is durable.
    fn change_segment<D: Disk<File = F>>(&mut self, disk: &D, spare: &Spare) -> Result<(), JournalError> {
        let segment = Segment {
            start: self.end,
            bytes: spare.bytes,
        };
        let header = Header {
            journal: self.journal,
            segment,
            epoch: self.epoch,
        };
        let active = activate(disk, spare, header)?;
        let full = std::mem::replace(&mut self.active, active);
        if full.segment.start == segment.start {
            // It was empty and too small: the new file has taken its name.
            self.segments.pop_back();
        } else {
            seal(disk, &full, &self.journal, self.end, &mut self.buffer)?;
        }
        self.segments.push_back(segment);
        Ok(())
    }
}

/// Makes a spare file the segment of this header, durably. The header comes first: a segment's name never stands over a file
/// without one.
fn activate<D: Disk>(disk: &D, spare: &Spare, header: Header) -> Result<Active<D::File>, JournalError> {
    let segment = header.segment;
    let file = disk.open(&spare.name);
    let file = file.map_err(|source| failed("open", disk, &spare.name, source))?;
    file.write_all_at(0, &header.encode())
        .and_then(|()| file.sync())
        .map_err(|source| failed("write to", disk, &spare.name, source))?;
    disk.rename(&spare.name, &segment.name())
        .map_err(|source| failed("rename", disk, &spare.name, source))?;
    disk.sync_names().map_err(|source| failed("sync", disk, "", source))?;
    Ok(Active { segment, file })
}

/// Says at the end of a segment that another one follows, so that its absence is noticed.
fn seal<D: Disk>(
    disk: &D,
    active: &Active<D::File>,
    journal: &JournalId,
    end: Position,
    buffer: &mut Vec<u8>,
) -> Result<(), JournalError> {
    let Active { segment, file } = active;
    frame::encode(buffer, journal, Kind::Seal, end, Epoch::default(), &[]);
    file.write_all_at(segment.offset_of(end), buffer)
        .and_then(|()| file.sync())
        .map_err(|source| failed("seal", disk, &segment.name(), source))
}

/// Writes the last frame once more, since a failed sync may have left it in memory only (where a second sync would find
/// nothing to do), and zeros over everything behind it.
fn repair_tail<F: DiskFile>(active: &Active<F>, layout: &Layout) -> std::io::Result<()> {
    let Active { segment, file } = active;
    if let Some(last) = layout.last_frame {
        let mut frame = vec![0; (layout.end.position.get() - last.get()) as usize];
        file.read_exact_at(segment.offset_of(last), &mut frame)?;
        file.write_all_at(segment.offset_of(last), &frame)?;
    }
    for range in &layout.end.leftovers {
        spare::zero(file, range.clone(), &AtomicBool::new(false))?;
    }
    file.sync()
}
