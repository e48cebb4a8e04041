//! Takes a backup of a running partition: one thread reads, and hands frames to whoever streams them out.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio_util::sync::CancellationToken;
use unisono_engine::codec::{CodecError, batch_range};
use unisono_journal::{FileBatches, JournalError};
use unisono_model::ids::{Revision, Timestamp};
use unisono_store::{StoreError, StoredRow};

use super::FILES;
use super::content::{self, End, FRAME_BYTES, Info, Totals};
use super::frame::{FrameWriter, Kind};
use crate::partition::Export;

/// Frames that wait to be streamed out.
const WAITING_FRAMES: usize = 4;

/// Why a backup was given up.
#[derive(Debug, Error)]
pub(crate) enum TakeError {
    #[error("the reader has gone")]
    Gone,
    #[error(
        "nothing was read of it for {} s; read faster, write to a file first, or allow more with stallSeconds",
        .0.as_secs()
    )]
    Stalled(Duration),
    #[error("the server is shutting down")]
    Stopping,
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error("the journal cannot be read: {0}")]
    Journal(#[from] JournalError),
    #[error("the journal cannot be understood: {0}")]
    Codec(#[from] CodecError),
    #[error("{} cannot be read: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("a row cannot be written: {0}")]
    Frame(io::Error),
}

/// A backup that is about to be taken.
pub(crate) struct Taking {
    export: Export,
    directory: PathBuf,
    created_at: Timestamp,
    output: Output,
}

/// What was taken.
pub(crate) struct Taken {
    pub(crate) totals: Totals,
    pub(crate) bytes: u64,
}

impl Taking {
    /// A backup of this partition and of the files in its data directory, which is given up when nothing was read of it
    /// for as long as `stall`. What comes through the receiver is the backup.
    pub(crate) fn new(
        export: Export,
        (directory, created_at): (PathBuf, Timestamp),
        (stopping, stall): (CancellationToken, Duration),
    ) -> (Self, mpsc::Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(WAITING_FRAMES + 1);
        let output = Output {
            frames: FrameWriter::new(),
            last_word: sender.clone().try_reserve_owned().ok(),
            sender,
            runtime: Handle::current(),
            stopping,
            stall,
            bytes: 0,
        };
        let taking = Self {
            export,
            directory,
            created_at,
            output,
        };
        (taking, receiver)
    }

    /// Reads everything, and sends it. The reader is told when it is given up.
    pub(crate) fn run(self) -> Result<Taken, TakeError> {
        let Self {
            export,
            directory,
            created_at,
            mut output,
        } = self;
        match take(export, &directory, created_at, &mut output) {
            Ok(totals) => Ok(Taken {
                totals,
                bytes: output.bytes,
            }),
            Err(error) => {
                output.give_up(&error);
                Err(error)
            }
        }
    }
}

/// Journal, store, files: in this order, so that each is held no longer than it must be.
fn take(export: Export, directory: &Path, created_at: Timestamp, output: &mut Output) -> Result<Totals, TakeError> {
    let Export {
        snapshot,
        checkpoint,
        batches,
        journal_hold,
        files_hold,
    } = export;
    let checkpoint = checkpoint.map(|checkpoint| Revision(checkpoint.revision));
    output.json(
        Kind::Info,
        &Info {
            created_at,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            checkpoint,
        },
    )?;
    let mut totals = Totals {
        revision: checkpoint.unwrap_or_default(),
        ..Totals::default()
    };
    take_batches(batches, &mut totals, output)?;
    drop(journal_hold);
    take_rows(snapshot.rows()?, &mut totals, output)?;
    drop(snapshot);
    for name in FILES {
        take_files(directory, Path::new(name), &mut totals, output)?;
    }
    drop(files_hold);
    let checksum = output.frames.checksum();
    output.json(
        Kind::End,
        &End {
            totals: totals.clone(),
            checksum,
        },
    )?;
    Ok(totals)
}

fn take_batches(batches: FileBatches, totals: &mut Totals, output: &mut Output) -> Result<(), TakeError> {
    let mut content = Vec::new();
    for batch in batches {
        let (_, batch) = batch?;
        let (first, events) = batch_range(&batch)?;
        totals.revision = Revision(first.0 + events - 1);
        totals.events += events;
        content::push_batch(&mut content, &batch);
        if content.len() >= FRAME_BYTES {
            output.frame(Kind::Batches, &content)?;
            content.clear();
        }
    }
    output.frame_unless_empty(Kind::Batches, &content)
}

fn take_rows(
    rows: impl Iterator<Item = Result<StoredRow, StoreError>>,
    totals: &mut Totals,
    output: &mut Output,
) -> Result<(), TakeError> {
    let mut content = Vec::new();
    let mut keyspace = None;
    for row in rows {
        let row = row?;
        if content.len() >= FRAME_BYTES || keyspace.as_ref() != Some(&row.keyspace) {
            output.frame_unless_empty(Kind::Rows, &content)?;
            content.clear();
        }
        content::push_row(&mut content, &row);
        *totals.rows.entry(row.keyspace.to_string()).or_default() += 1;
        keyspace = Some(row.keyspace);
    }
    output.frame_unless_empty(Kind::Rows, &content)
}

/// All files below `path`, in no order. One that goes away meanwhile was never referred to.
fn take_files(directory: &Path, path: &Path, totals: &mut Totals, output: &mut Output) -> Result<(), TakeError> {
    let failed = |source| TakeError::File {
        path: directory.join(path),
        source,
    };
    let entries = match fs::read_dir(directory.join(path)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let inner = path.join(entry.file_name());
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            take_files(directory, &inner, totals, output)?;
        } else if kind.is_file() {
            take_file(directory, &inner, totals, output)?;
        }
    }
    Ok(())
}

fn take_file(directory: &Path, path: &Path, totals: &mut Totals, output: &mut Output) -> Result<(), TakeError> {
    let failed = |source| TakeError::File {
        path: directory.join(path),
        source,
    };
    let name = path
        .to_str()
        .ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
    let mut file = match File::open(directory.join(path)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    totals.files += 1;
    let mut length = 0;
    loop {
        let mut bytes = Vec::new();
        let limit = FRAME_BYTES as u64;
        let read = (&mut file).take(limit).read_to_end(&mut bytes).map_err(failed)? as u64;
        if read > 0 || length == 0 {
            output.frame(Kind::File, &content::piece(name, length, &bytes))?;
        }
        length += read;
        totals.file_bytes += read;
        if read < limit {
            return Ok(());
        }
    }
}

/// Where frames go.
struct Output {
    frames: FrameWriter,
    sender: mpsc::Sender<Bytes>,
    /// Keeps a place for why the backup was given up, however slow the reader is.
    last_word: Option<OwnedPermit<Bytes>>,
    runtime: Handle,
    stopping: CancellationToken,
    stall: Duration,
    bytes: u64,
}

impl Output {
    fn frame(&mut self, kind: Kind, content: &[u8]) -> Result<(), TakeError> {
        let frame = self.frames.frame(kind, content).map_err(TakeError::Frame)?;
        let frame = Bytes::from(frame);
        self.send(frame.clone())?;
        self.frames.wrote(&frame);
        self.bytes += frame.len() as u64;
        Ok(())
    }

    fn frame_unless_empty(&mut self, kind: Kind, content: &[u8]) -> Result<(), TakeError> {
        if content.is_empty() {
            return Ok(());
        }
        self.frame(kind, content)
    }

    fn json(&mut self, kind: Kind, content: &impl Serialize) -> Result<(), TakeError> {
        let content = serde_json::to_vec(content).map_err(|error| TakeError::Frame(error.into()))?;
        self.frame(kind, &content)
    }

    /// Waits for the reader, but not for ever.
    fn send(&self, frame: Bytes) -> Result<(), TakeError> {
        self.runtime.block_on(async {
            tokio::select! {
                sent = self.sender.send_timeout(frame, self.stall) => sent.map_err(|error| match error {
                    SendTimeoutError::Timeout(_) => TakeError::Stalled(self.stall),
                    SendTimeoutError::Closed(_) => TakeError::Gone,
                }),
                () = self.stopping.cancelled() => Err(TakeError::Stopping),
            }
        })
    }

    fn give_up(&mut self, error: &TakeError) {
        let frame = self.frames.frame(Kind::Aborted, error.to_string().as_bytes());
        if let (Some(place), Ok(frame)) = (self.last_word.take(), frame) {
            place.send(frame.into());
        }
    }
}
