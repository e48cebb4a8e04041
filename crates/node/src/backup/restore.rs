//! Makes a data directory of a backup.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use serde::Serialize;
use unisono_engine::codec::{BatchWriter, FinishedBatch};
use unisono_journal::{DataDirLock, Epoch, FileJournal, FileOptions, Journal, Position};
use unisono_store::StoreImport;

use super::content::Piece;
use super::reader::{BackupReader, Section};
use super::{BackupError, Contents, FILES};
use crate::replay::{Replayed, replay_locked};

/// Bytes of batches that are joined into one, so that the journal syncs less often.
const JOINED_BYTES: usize = 8 * 1024 * 1024;
/// Names that an error lists of what is in the way.
const NAMED: usize = 5;

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// What the backup held.
    pub backup: Contents,
    /// The state that a server will start with.
    pub state: Replayed,
}

/// Makes `dir` the data directory that the backup holds. `dir` must be empty or not exist.
///
/// Everything is written to a directory beside it, verified by starting from it, and only then moved into its place: `dir`
/// is complete, or as it was. What an interrupted restore leaves beside it, the next one removes.
///
/// # Errors
/// [`BackupError::NotEmpty`] when something is in the way; otherwise what is wrong with the backup or the disk.
pub fn restore(backup: impl Read, dir: &Path) -> Result<Restored, BackupError> {
    refuse_unless_empty(dir)?;
    let nursery = Nursery::beside(dir)?;
    let restored = fill(backup, &nursery.dir)?;
    nursery.move_to(dir)?;
    Ok(restored)
}

fn refuse_unless_empty(dir: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BackupError::io("read", dir)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(BackupError::io("read", dir))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    if names.is_empty() {
        return Ok(());
    }
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let mut found = names.join(", ");
    if more > 0 {
        found.push_str(&format!(" and {more} more"));
    }
    Err(BackupError::NotEmpty {
        dir: dir.to_owned(),
        found,
    })
}

/// A directory that becomes the data directory, or is removed.
struct Nursery {
    dir: PathBuf,
    moved: bool,
    _lock: DataDirLock,
}

impl Nursery {
    fn beside(dir: &Path) -> Result<Self, BackupError> {
        let bad = |reason: &str| BackupError::BadTarget {
            dir: dir.to_owned(),
            reason: reason.to_owned(),
        };
        let Some(name) = dir.file_name() else {
            return Err(bad("it has no name of its own; name a directory that can be made"));
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".restoring");
        let nursery = dir.with_file_name(hidden);
        fs::create_dir_all(&nursery).map_err(BackupError::io("create", &nursery))?;
        let lock = DataDirLock::acquire(&nursery)?;
        let nursery = Self {
            dir: nursery,
            moved: false,
            _lock: lock,
        };
        nursery.clear()?;
        Ok(nursery)
    }

    /// Removes what an interrupted restore has left; the lock stays.
    fn clear(&self) -> Result<(), BackupError> {
        for entry in fs::read_dir(&self.dir).map_err(BackupError::io("read", &self.dir))? {
            let path = entry.map_err(BackupError::io("read", &self.dir))?.path();
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else if path.ends_with("LOCK") {
                Ok(())
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(BackupError::io("remove", &path))?;
        }
        Ok(())
    }

    fn move_to(mut self, dir: &Path) -> Result<(), BackupError> {
        sync_dir(&self.dir)?;
        fs::rename(&self.dir, dir).map_err(|source| match source.kind() {
            io::ErrorKind::CrossesDevices | io::ErrorKind::ResourceBusy => BackupError::BadTarget {
                dir: dir.to_owned(),
                reason: "it is a mount point, which cannot be replaced; name a directory below it that does not exist"
                    .to_owned(),
            },
            _ => BackupError::io("move the restored data to", dir)(source),
        })?;
        self.moved = true;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_dir(parent.unwrap_or(Path::new(".")))
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        if !self.moved {
            // What cannot be removed now, the next restore removes.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(BackupError::io("sync", dir))
}

/// Writes everything, durably, and starts from it.
fn fill(backup: impl Read, dir: &Path) -> Result<Restored, BackupError> {
    let mut reader = BackupReader::open(backup)?;
    let mut journal = NewJournal::create(&dir.join("journal"))?;
    let mut store = StoreImport::create(&dir.join("store"))?;
    let mut files = NewFiles { dir, current: None };
    while let Some(section) = reader.next()? {
        match section {
            Section::Batches(batches) => journal.append(&batches)?,
            Section::Rows(keyspace, rows) => {
                for (key, value) in rows {
                    store.put(&keyspace, key, value)?;
                }
            }
            Section::File(piece) => files.write(&piece)?,
        }
    }
    journal.finish()?;
    store.finish(Position::START.get())?;
    files.finish()?;
    let backup = Contents::of(&reader);
    let state = replay_locked(dir, None).map_err(|error| BackupError::Replay(Box::new(error)))?;
    if state.revision != backup.totals.revision {
        return Err(BackupError::WrongRevision {
            expected: backup.totals.revision.0,
            found: state.revision.0,
        });
    }
    Ok(Restored { backup, state })
}

/// The journal of the new directory. It begins at its start, whatever the positions were in the one backed up.
struct NewJournal {
    journal: FileJournal,
    position: Position,
    joined: Option<BatchWriter>,
}

impl NewJournal {
    fn create(dir: &Path) -> Result<Self, BackupError> {
        let mut journal = FileJournal::new(FileOptions::new(dir));
        let position = at_once(journal.open(Epoch::new(1)))?;
        Ok(Self {
            journal,
            position,
            joined: None,
        })
    }

    fn append(&mut self, batches: &[Bytes]) -> Result<(), BackupError> {
        for batch in batches {
            let joined = match &mut self.joined {
                Some(joined) if joined.bytes() < JOINED_BYTES => joined.extend(batch),
                _ => Ok(false),
            };
            if !joined.map_err(unreadable)? {
                self.write()?;
                let (first, _) = unisono_engine::codec::batch_range(batch).map_err(unreadable)?;
                let mut next = BatchWriter::new(first);
                if next.extend(batch).map_err(unreadable)? {
                    self.joined = Some(next);
                } else {
                    self.position = at_once(self.journal.append(self.position, batch.clone()))?;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), BackupError> {
        if let Some(joined) = self.joined.take() {
            let FinishedBatch { bytes, start, .. } = joined.finish();
            let batch = Bytes::from(bytes).slice(start..);
            self.position = at_once(self.journal.append(self.position, batch))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), BackupError> {
        self.write()
    }
}

fn unreadable(error: unisono_engine::codec::CodecError) -> BackupError {
    BackupError::Replay(Box::new(error.into()))
}

/// Runs a future of the journal on files, which is always ready.
fn at_once<T, E: Into<BackupError>>(future: impl Future<Output = Result<T, E>>) -> Result<T, BackupError> {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result.map_err(Into::into);
        }
    }
}

/// Files beside journal and store.
struct NewFiles<'a> {
    dir: &'a Path,
    current: Option<(String, File)>,
}

impl NewFiles<'_> {
    fn write(&mut self, piece: &Piece) -> Result<(), BackupError> {
        let path = self.dir.join(&piece.path);
        let goes_on = self.current.as_ref().is_some_and(|(path, _)| *path == piece.path);
        if !goes_on {
            self.close()?;
            self.current = Some((piece.path.clone(), create(self.dir, &piece.path)?));
        }
        match &mut self.current {
            Some((_, file)) => file.write_all(&piece.bytes).map_err(BackupError::io("write", path)),
            None => Ok(()),
        }
    }

    fn close(&mut self) -> Result<(), BackupError> {
        match self.current.take() {
            Some((path, file)) => file.sync_all().map_err(BackupError::io("sync", self.dir.join(path))),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<(), BackupError> {
        self.close()?;
        FILES.iter().try_for_each(|name| sync_all_dirs(&self.dir.join(name)))
    }
}

/// Makes a file within `dir`, and the directories above it.
fn create(dir: &Path, path: &str) -> Result<File, BackupError> {
    let inside = Path::new(path);
    let plain = inside.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || !FILES.iter().any(|name| inside.starts_with(name)) {
        return Err(BackupError::BadTarget {
            dir: dir.join(path),
            reason: "the backup holds a file that does not belong into a data directory".to_owned(),
        });
    }
    let path = dir.join(inside);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(BackupError::io("create", parent))?;
    }
    File::create_new(&path).map_err(BackupError::io("create", &path))
}

fn sync_all_dirs(dir: &Path) -> Result<(), BackupError> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).map_err(BackupError::io("read", dir))? {
        sync_all_dirs(&entry.map_err(BackupError::io("read", dir))?.path())?;
    }
    sync_dir(dir)
}
