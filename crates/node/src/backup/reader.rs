//! Reads a backup from its beginning to its end, and believes nothing of it.

use std::io::Read;

use bytes::Bytes;
use unisono_engine::codec::batch_range;
use unisono_model::ids::Revision;

use super::BackupError;
use super::content::{End, Info, Piece, Totals, read_batches, read_piece, read_rows};
use super::frame::{Frame, FrameReader, Kind};

/// What a frame holds.
pub(super) enum Section {
    Batches(Vec<Bytes>),
    Rows(String, Vec<(Bytes, Bytes)>),
    File(Piece),
}

/// A backup that is being read. When [`BackupReader::next`] has returned `None`, all of it has been verified.
pub(super) struct BackupReader<R> {
    frames: FrameReader<R>,
    info: Info,
    /// What was read so far.
    totals: Totals,
    /// The file that the last piece belongs to, and its length so far.
    file: Option<(String, u64)>,
}

impl<R: Read> BackupReader<R> {
    /// Reads the header and what was backed up.
    pub(super) fn open(input: R) -> Result<Self, BackupError> {
        let mut frames = FrameReader::open(input)?;
        let frame = frames.next()?.ok_or(BackupError::Cut {
            offset: frames.offset(),
        })?;
        let info: Info = match frame.kind {
            Kind::Info => json(&frame)?,
            Kind::Aborted => return Err(aborted(&frame)),
            _ => return Err(BackupError::damaged(frame.offset, "it does not begin with what it is")),
        };
        Ok(Self {
            frames,
            totals: Totals {
                revision: info.checkpoint.unwrap_or_default(),
                ..Totals::default()
            },
            info,
            file: None,
        })
    }

    pub(super) fn info(&self) -> &Info {
        &self.info
    }

    /// What was read so far; all of the backup at its end.
    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Bytes read.
    pub(super) fn bytes(&self) -> u64 {
        self.frames.offset()
    }

    /// The next part; `None` at the end of a complete backup.
    pub(super) fn next(&mut self) -> Result<Option<Section>, BackupError> {
        let frame = self.frames.next()?.ok_or(BackupError::Cut {
            offset: self.frames.offset(),
        })?;
        let malformed = || BackupError::damaged(frame.offset, "the content of a frame cannot be read");
        let section = match frame.kind {
            Kind::Batches => {
                let batches = read_batches(frame.content.clone()).ok_or_else(malformed)?;
                self.follow(&frame, &batches)?;
                Section::Batches(batches)
            }
            Kind::Rows => {
                let (keyspace, rows) = read_rows(frame.content.clone()).ok_or_else(malformed)?;
                *self.totals.rows.entry(keyspace.clone()).or_default() += rows.len() as u64;
                Section::Rows(keyspace, rows)
            }
            Kind::File => {
                let piece = read_piece(frame.content.clone()).ok_or_else(malformed)?;
                self.follow_file(&frame, &piece)?;
                Section::File(piece)
            }
            Kind::End => return self.end(&frame).map(|()| None),
            Kind::Aborted => return Err(aborted(&frame)),
            Kind::Info => return Err(BackupError::damaged(frame.offset, "it begins a second time")),
        };
        Ok(Some(section))
    }

    /// Every batch must go on where the one before it ended.
    fn follow(&mut self, frame: &Frame, batches: &[Bytes]) -> Result<(), BackupError> {
        for batch in batches {
            let (first, events) =
                batch_range(batch).map_err(|error| BackupError::damaged(frame.offset, error.to_string()))?;
            let expected = self.totals.revision.next();
            if first != expected {
                let what = format!("a batch begins at revision {first} where {expected} is due");
                return Err(BackupError::damaged(frame.offset, what));
            }
            self.totals.events += events;
            self.totals.revision = Revision(self.totals.revision.0 + events);
        }
        Ok(())
    }

    fn follow_file(&mut self, frame: &Frame, piece: &Piece) -> Result<(), BackupError> {
        let goes_on = match &self.file {
            Some((path, length)) if *path == piece.path => *length == piece.offset,
            _ => {
                self.totals.files += 1;
                piece.offset == 0
            }
        };
        if !goes_on {
            let what = format!("a piece of file {} does not follow the piece before it", piece.path);
            return Err(BackupError::damaged(frame.offset, what));
        }
        let bytes = piece.bytes.len() as u64;
        self.totals.file_bytes += bytes;
        self.file = Some((piece.path.clone(), piece.offset + bytes));
        Ok(())
    }

    /// The end must say what was read, and nothing may stand behind it.
    fn end(&mut self, frame: &Frame) -> Result<(), BackupError> {
        let end: End = json(frame)?;
        if end.checksum != frame.before {
            let what = "the checksum of everything before does not hold";
            return Err(BackupError::damaged(frame.offset, what));
        }
        if end.totals != self.totals {
            let what = format!("it should hold {:?} and holds {:?}", end.totals, self.totals);
            return Err(BackupError::damaged(frame.offset, what));
        }
        let offset = self.frames.offset();
        match self.frames.next() {
            Ok(None) => Ok(()),
            Err(error @ BackupError::Read { .. }) => Err(error),
            _ => Err(BackupError::damaged(offset, "something stands behind its end")),
        }
    }
}

fn json<T: serde::de::DeserializeOwned>(frame: &Frame) -> Result<T, BackupError> {
    serde_json::from_slice(&frame.content)
        .map_err(|error| BackupError::damaged(frame.offset, format!("a frame is not understood ({error})")))
}

fn aborted(frame: &Frame) -> BackupError {
    BackupError::Aborted {
        reason: String::from_utf8_lossy(&frame.content).into_owned(),
    }
}
