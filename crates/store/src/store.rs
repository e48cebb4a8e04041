//! The store's handle: opening, checkpoints, size.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::integrity::{self, CutLog};
use crate::upgrade::upgrade;
use crate::{Batch, StoreError, key};

/// The format this release writes. A release reads every format up to its own.
pub(crate) const FORMAT: u32 = 2;

const MIB: u64 = 1024 * 1024;
/// What a keyspace gathers in memory before it writes a table: those that every run writes gather more, so that they are
/// merged less often.
const MEMTABLE_BYTES: u64 = 16 * MIB;
/// The same of rows of checkpoints, which come in bursts.
const ENTITIES_MEMTABLE_BYTES: u64 = 8 * MIB;
/// How much of the library's log may pile up; it is read again at a start after a crash.
const LOG_BYTES: u64 = 128 * MIB;

pub(crate) const META_FORMAT: &str = "format";
pub(crate) const META_CHECKPOINT: &str = "checkpoint";
pub(crate) const META_HISTORY: &str = "history";

/// Where a store is and what it may use.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The store's own directory; created when absent.
    pub dir: PathBuf,
    /// Bytes of memory for blocks that were read; 32 MiB unless set.
    pub cache_bytes: u64,
}

impl StoreOptions {
    /// The defaults, for a store in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            cache_bytes: 32 * MIB,
        }
    }
}

/// How far into the journal the store reaches for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The journal position to replay from.
    pub position: u64,
    /// The revision at that position.
    pub revision: u64,
    /// The encoding of the entities, for the node to interpret.
    pub format: u32,
}

impl Checkpoint {
    pub(crate) fn encode(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.position.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.revision.to_be_bytes());
        bytes[16..].copy_from_slice(&self.format.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let what = "the checkpoint";
        Ok(Self {
            position: key::number(bytes.get(..8).unwrap_or_default(), what)?,
            revision: key::number(bytes.get(8..16).unwrap_or_default(), what)?,
            format: read_u32(bytes.get(16..).unwrap_or_default(), what)?,
        })
    }
}

/// A handle to an open store; cheap to clone. The store closes with its last handle and iterator.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) meta: Keyspace,
    pub(crate) entities: Keyspace,
    pub(crate) runs: Keyspace,
    pub(crate) ids: Keyspace,
    pub(crate) postings: Keyspace,
    pub(crate) ended: Keyspace,
    pub(crate) counts: Keyspace,
    pub(crate) history: Keyspace,
    pub(crate) logs: Keyspace,
    /// Held while a commit reads what it is about to change. Holds the highest revision of any history chunk.
    pub(crate) highest_history: Mutex<u64>,
    cut_log: Option<CutLog>,
}

impl Store {
    /// Opens the store in `options.dir`; creates it when there is none.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`] when a newer release wrote it, [`StoreError::NotAStore`] when the directory holds
    /// something else, [`StoreError::Locked`] when another process has it open, [`StoreError::Damaged`] when it is not what
    /// was written; otherwise what the disk refused.
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        if !is_store(&options.dir)? {
            create(&options)?;
        }
        let inner = open_inner(&options)?;
        let Some(bytes) = inner.meta.get(META_FORMAT)? else {
            return Err(StoreError::damaged("the format of the store", "it is missing"));
        };
        let found = check_format(&options.dir, &bytes)?;
        upgrade(&inner, found)?;
        Ok(Self(Arc::new(inner)))
    }

    /// Where opening cut the library's log, if it did: what was committed after the last checkpoint may be lost from there on.
    #[must_use]
    pub fn cut_log(&self) -> Option<&CutLog> {
        self.0.cut_log.as_ref()
    }

    /// The last checkpoint; none in a new store.
    ///
    /// # Errors
    /// When the disk or the store's content is damaged.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        let bytes = self.0.meta.get(META_CHECKPOINT)?;
        bytes.map(|bytes| Checkpoint::decode(&bytes)).transpose()
    }

    /// An empty batch.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch::default()
    }

    /// Stores `checkpoint`. When this returns, it is durable, and so is every commit before it.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when an earlier write failed; otherwise what the disk refused.
    pub fn commit_checkpoint(&self, checkpoint: Checkpoint) -> Result<(), StoreError> {
        let mut batch = self.0.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.0.meta, META_CHECKPOINT, checkpoint.encode());
        Ok(batch.commit()?)
    }

    /// Whether an earlier write failed, so that no more are accepted.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        let written = self.0.database.persist(PersistMode::Buffer);
        matches!(written, Err(fjall::Error::Poisoned))
    }

    /// Bytes on disk by part: `history`, `logs`, `orchestrations` (summaries and ids), `index`, `checkpoint`, and `log`, the
    /// library's own. What has not been written to tables yet is in the log.
    #[must_use]
    pub fn part_bytes(&self) -> [(&'static str, u64); 6] {
        let inner = &*self.0;
        let of = |keyspaces: &[&Keyspace]| keyspaces.iter().map(|keyspace| keyspace.disk_space()).sum::<u64>();
        let history = of(&[&inner.history]);
        let logs = of(&[&inner.logs]);
        let orchestrations = of(&[&inner.runs, &inner.ids]);
        let index = of(&[&inner.postings, &inner.ended, &inner.counts]);
        let checkpoint = of(&[&inner.entities, &inner.meta]);
        let tables = history + logs + orchestrations + index + checkpoint;
        [
            ("history", history),
            ("logs", logs),
            ("orchestrations", orchestrations),
            ("index", index),
            ("checkpoint", checkpoint),
            ("log", self.size_bytes().saturating_sub(tables)),
        ]
    }

    /// Bytes on disk: tables and the library's log, of which 64 MiB are set aside from the start; 0 when the disk
    /// cannot be asked.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.0.database.disk_space().unwrap_or(0)
    }
}

/// The format; one that a newer release wrote is refused.
pub(crate) fn check_format(dir: &Path, bytes: &[u8]) -> Result<u32, StoreError> {
    let found = read_u32(bytes, "the format of the store")?;
    if found > FORMAT {
        return Err(StoreError::NewerFormat {
            dir: dir.to_owned(),
            found,
            known: FORMAT,
        });
    }
    Ok(found)
}

/// Whether `dir` holds a store; false when it is absent or empty.
fn is_store(dir: &Path) -> Result<bool, StoreError> {
    if dir.join("version").is_file() {
        return Ok(true);
    }
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(false),
            Some(_) => Err(StoreError::NotAStore { dir: dir.to_owned() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(io_error("read", dir, source)),
    }
}

/// Creates the store beside its place and moves it there whole, so that a crash half-way leaves no store that
/// cannot be opened.
fn create(options: &StoreOptions) -> Result<(), StoreError> {
    let mut nursery = options.dir.clone().into_os_string();
    nursery.push(".new");
    let nursery = PathBuf::from(nursery);
    match fs::remove_dir_all(&nursery) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("remove", &nursery, error));
        }
        _ => {}
    }
    fs::create_dir_all(&nursery).map_err(|error| io_error("create", &nursery, error))?;
    let inner = open_inner(&StoreOptions {
        dir: nursery.clone(),
        ..options.clone()
    })?;
    inner.meta.insert(META_FORMAT, FORMAT.to_be_bytes())?;
    inner.database.persist(PersistMode::SyncAll)?;
    drop(inner);
    fs::rename(&nursery, &options.dir).map_err(|error| io_error("create", &options.dir, error))?;
    sync_parent(&options.dir)
}

fn sync_parent(dir: &Path) -> Result<(), StoreError> {
    let parent = match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(|error| io_error("sync", parent, error))
}

pub(crate) fn io_error(doing: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

fn open_inner(options: &StoreOptions) -> Result<Inner, StoreError> {
    let cut_log = integrity::check(&options.dir)?;
    let database = Database::builder(&options.dir)
        .cache_size(options.cache_bytes)
        .max_journaling_size(LOG_BYTES)
        .open()
        .map_err(|error| match error {
            fjall::Error::Locked => StoreError::Locked {
                dir: options.dir.clone(),
            },
            other => other.into(),
        })?;
    let sized = |name, bytes| database.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(bytes));
    let keyspace = |name| sized(name, MEMTABLE_BYTES);
    let meta = keyspace("meta")?;
    let highest_history = match meta.get(META_HISTORY)? {
        Some(bytes) => key::number(&bytes, "the highest history revision")?,
        None => 0,
    };
    Ok(Inner {
        meta,
        entities: sized("entities", ENTITIES_MEMTABLE_BYTES)?,
        runs: keyspace("runs")?,
        ids: keyspace("ids")?,
        postings: keyspace("postings")?,
        ended: keyspace("ended")?,
        counts: keyspace("counts")?,
        history: keyspace("history")?,
        logs: keyspace("logs")?,
        highest_history: Mutex::new(highest_history),
        cut_log,
        database,
    })
}

fn read_u32(bytes: &[u8], what: &str) -> Result<u32, StoreError> {
    <[u8; 4]>::try_from(bytes)
        .map(u32::from_be_bytes)
        .map_err(|_| StoreError::damaged(what, format_args!("{} bytes where 4 belong", bytes.len())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_store_of_a_newer_release_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(dir.path().join("store"));
        let store = Store::open(options.clone()).unwrap();
        store.0.meta.insert(META_FORMAT, (FORMAT + 1).to_be_bytes()).unwrap();
        drop(store);
        let error = Store::open(options).err().unwrap();
        assert!(
            matches!(
                error,
                StoreError::NewerFormat {
                    found: 3,
                    known: FORMAT,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_directory_with_other_files_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        let error = Store::open(StoreOptions::new(dir.path())).err().unwrap();
        assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_store_that_a_crash_left_half_created_is_created_anew() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("store.new/keyspaces")).unwrap();
        fs::write(dir.path().join("store.new/0.jnl"), "half").unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        let store = Store::open(StoreOptions::new(dir.path().join("store"))).unwrap();
        assert_eq!(store.checkpoint().unwrap(), None);
        assert!(!dir.path().join("store.new").exists());
    }

    #[test]
    fn a_store_opens_once_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(dir.path().join("store"));
        let first = Store::open(options.clone()).unwrap();
        let error = Store::open(options.clone()).err().unwrap();
        assert!(matches!(error, StoreError::Locked { .. }), "{error}");
        drop(first);
        Store::open(options).unwrap();
    }
}
