//! What the key-value library takes on trust when it opens a store, and this crate does not.
//!
//! The blocks of its tables carry checksums, which every read verifies. Two things are believed as they stand: the manifest
//! of each keyspace, although the file `current` holds its checksum; and the end and the order of the log, since an entry
//! that cannot be read ends the log, whatever stands behind it, and the number that orders a batch is in no checksum. A
//! flipped bit there would take back rows that a checkpoint relies on, or bring old ones back. So both are looked at before
//! the library is. The formats are those of fjall 3 and lsm-tree 3, and the tests below notice when they change.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::StoreError;
use crate::store::{META_CHECKPOINT, io_error};

/// A place of the log behind which it cannot be read, with nothing behind it that a checkpoint relies on. The library cuts
/// it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutLog {
    /// The log's file.
    pub path: PathBuf,
    /// The byte at which the first batch that cannot be read begins.
    pub offset: u64,
}

/// Looks at the manifests and the log of the store in `dir`.
pub(crate) fn check(dir: &Path) -> Result<Option<CutLog>, StoreError> {
    for keyspace in subdirectories(&dir.join("keyspaces"))? {
        check_manifest(&keyspace)?;
    }
    let logs = logs(dir)?;
    let mut last_number = 0;
    for (index, path) in logs.iter().enumerate() {
        let cut = check_log(path, &mut last_number, index + 1 == logs.len())?;
        if cut.is_some() {
            return Ok(cut);
        }
    }
    Ok(None)
}

fn subdirectories(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |error| io_error("read", dir, error);
    let mut found = Vec::new();
    let entries = match fs::read_dir(dir) {
        // It is being created.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The log's files, oldest first.
fn logs(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |error| io_error("read", dir, error);
    let mut logs = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        logs.extend(number.map(|number| (number, path)));
    }
    logs.sort_unstable();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

/// `current` names the manifest (8 bytes), and its checksum (16). A keyspace without one was being created, and the library
/// removes it.
fn check_manifest(keyspace: &Path) -> Result<(), StoreError> {
    let path = keyspace.join("current");
    let current = match fs::read(&path) {
        Ok(current) => current,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("read", &path, error)),
    };
    let number = current.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let checksum = current
        .get(8..)
        .and_then(|rest| Some(u128::from_le_bytes(*rest.first_chunk()?)));
    let (Some(number), Some(checksum)) = (number, checksum) else {
        return Err(damaged(&path, "it is too short"));
    };
    let path = keyspace.join(format!("v{number}"));
    let manifest = fs::read(&path).map_err(|error| io_error("read", &path, error))?;
    if xxh3_128(&manifest) == checksum {
        Ok(())
    } else {
        Err(damaged(&path, "it is not what its checksum in `current` says"))
    }
}

fn damaged(path: &Path, reason: &str) -> StoreError {
    StoreError::damaged(path.display().to_string(), reason)
}

/// Goes through one file of the log. Every one but the last was made durable as a whole; of the last, everything before a
/// checkpoint was.
fn check_log(path: &Path, last_number: &mut u64, is_last: bool) -> Result<Option<CutLog>, StoreError> {
    let failed = |error| io_error("read", path, error);
    let file = File::open(path).map_err(failed)?;
    let mut entries = Entries {
        input: BufReader::with_capacity(256 * 1024, file),
        offset: 0,
        scratch: Vec::new(),
    };
    loop {
        let offset = entries.offset;
        match entries.batch().map_err(failed)? {
            Some(batch) if batch.number <= *last_number => {
                let reason = format!(
                    "the batch at byte {offset} has number {} after {last_number}",
                    batch.number
                );
                return Err(damaged(path, &reason));
            }
            Some(batch) => *last_number = batch.number,
            None => return cut_at(path, offset, *last_number, is_last),
        }
    }
}

/// Looks at what stands behind the last batch that can be read.
fn cut_at(path: &Path, offset: u64, last_number: u64, is_last: bool) -> Result<Option<CutLog>, StoreError> {
    let failed = |error| io_error("read", path, error);
    let rest = used_from(path, offset).map_err(failed)?;
    if rest.is_empty() {
        return Ok(None);
    }
    let begins = |at: &usize| rest[*at] == START;
    for at in (1..rest.len()).filter(begins) {
        let mut entries = Entries {
            input: &rest[at..],
            offset: 0,
            scratch: Vec::new(),
        };
        let later = entries.batch().map_err(failed)?;
        if later.is_some_and(|later| later.number > last_number && (later.has_checkpoint || !is_last)) {
            let reason = format!(
                "the batch at byte {offset} is not intact, yet the log goes on at byte {}",
                offset + at as u64
            );
            return Err(damaged(path, &reason));
        }
    }
    Ok(Some(CutLog {
        path: path.to_owned(),
        offset,
    }))
}

/// The file from this byte on, up to the last one that is not zero. Space that was never written is not read.
fn used_from(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    use rustix::fs::{SeekFrom, seek};
    let mut file = File::open(path)?;
    let mut rest = Vec::new();
    let mut at = offset;
    while let Ok(data) = seek(&file, SeekFrom::Data(at)) {
        let end = seek(&file, SeekFrom::Hole(data))?;
        rest.resize(usize::try_from(data - offset).map_err(io::Error::other)?, 0);
        seek(&file, SeekFrom::Start(data))?;
        (&mut file).take(end - data).read_to_end(&mut rest)?;
        at = end;
    }
    let used = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    rest.truncate(used);
    Ok(rest)
}

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = [b'F', b'J', b'L', 3];

/// An intact batch of the log.
struct LoggedBatch {
    /// What orders it.
    number: u64,
    /// Whether it says how far into the journal the store reaches: it is durable then, and so is all before it.
    has_checkpoint: bool,
}

/// Reads the log batch by batch: a start (count of entries, number), the entries, an end (checksum of the entries, trailer).
struct Entries<R> {
    input: R,
    offset: u64,
    scratch: Vec<u8>,
}

impl<R: Read> Entries<R> {
    /// The batch that begins here; nothing when no intact one does.
    fn batch(&mut self) -> io::Result<Option<LoggedBatch>> {
        match self.read_batch() {
            Ok(batch) => Ok(batch),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_batch(&mut self) -> io::Result<Option<LoggedBatch>> {
        let mut batch = LoggedBatch {
            number: 0,
            has_checkpoint: false,
        };
        let [tag] = self.array()?;
        if tag != START {
            return Ok(None);
        }
        let count = u32::from_le_bytes(self.array()?);
        batch.number = u64::from_le_bytes(self.array()?);
        let mut hasher = Xxh3::new();
        for _ in 0..count {
            self.scratch.clear();
            if !self.entry(&mut batch)? {
                return Ok(None);
            }
            hasher.update(&self.scratch);
        }
        let [tag] = self.array()?;
        let checksum = u64::from_le_bytes(self.array()?);
        let whole = tag == END && checksum == hasher.digest() && self.array()? == TRAILER;
        Ok(whole.then_some(batch))
    }

    /// Reads one entry into the scratch buffer; false when it is none.
    fn entry(&mut self, batch: &mut LoggedBatch) -> io::Result<bool> {
        match self.keep(1)?[0] {
            CLEAR => self.keep(8).map(|_| true),
            ITEM => {
                // Kind of value, compression, keyspace; then the lengths of the key, of the value, and of it as it stands here.
                let head = self.keep(1 + 1 + 8 + 2 + 4 + 4)?;
                let key = u16::from_le_bytes([head[10], head[11]]);
                let value = u32::from_le_bytes([head[16], head[17], head[18], head[19]]);
                let key = self.keep(u64::from(key))?;
                batch.has_checkpoint |= key == META_CHECKPOINT.as_bytes();
                self.keep(u64::from(value)).map(|_| true)
            }
            _ => Ok(false),
        }
    }

    /// Reads so many bytes to the end of the scratch buffer, and shows them.
    fn keep(&mut self, bytes: u64) -> io::Result<&[u8]> {
        let begin = self.scratch.len();
        let read = (&mut self.input).take(bytes).read_to_end(&mut self.scratch)?;
        self.offset += read as u64;
        if (read as u64) < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(&self.scratch[begin..])
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.offset += N as u64;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
