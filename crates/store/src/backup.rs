//! All rows of a store at one instant, and a store made of such rows: what backups and restores are made of.
//!
//! Nothing here knows what the rows mean, except for the checkpoint, whose position belongs to the journal that the rows
//! were copied beside, and the format.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fjall::{Keyspace, PersistMode, Readable, Snapshot};

use crate::read::row;
use crate::store::{Inner, META_CHECKPOINT, META_FORMAT, check_format};
use crate::upgrade::OBSOLETE;
use crate::{Checkpoint, Store, StoreError, StoreOptions};

/// Bytes that an import gathers before it writes them.
const IMPORT_BYTES: usize = 4 * 1024 * 1024;
/// The keyspace that says how far the store reaches; it is written last.
const META: &str = "meta";

/// A row of any keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// The keyspace.
    pub keyspace: Arc<str>,
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

/// The store as it was at one instant, whatever is written meanwhile.
///
/// As long as it lives the store keeps what was changed or removed since, so it should not live for ever.
pub struct StoreSnapshot {
    snapshot: Snapshot,
    inner: Arc<Inner>,
}

impl Store {
    /// The store as of now.
    #[must_use]
    pub fn snapshot(&self) -> StoreSnapshot {
        StoreSnapshot {
            snapshot: self.0.database.snapshot(),
            inner: Arc::clone(&self.0),
        }
    }
}

impl StoreSnapshot {
    /// The checkpoint that it holds; none when there has not been one.
    ///
    /// # Errors
    /// When the disk or the store's content is damaged.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        let bytes = self.snapshot.get(&self.inner.meta, META_CHECKPOINT)?;
        bytes.map(|bytes| Checkpoint::decode(&bytes)).transpose()
    }

    /// Every row, keyspace by keyspace, in the order of keys.
    ///
    /// # Errors
    /// When a keyspace cannot be opened; each item has its own.
    pub fn rows(&self) -> Result<impl Iterator<Item = Result<StoredRow, StoreError>> + Send + use<>, StoreError> {
        let keyspaces = self.inner.keyspaces()?;
        let snapshot = self.snapshot.clone();
        Ok(keyspaces.into_iter().flat_map(move |(name, keyspace)| {
            snapshot.iter(&keyspace).map(move |guard| {
                let (key, value) = row(guard)?;
                Ok(StoredRow {
                    keyspace: Arc::clone(&name),
                    key,
                    value,
                })
            })
        }))
    }
}

impl Inner {
    /// Every keyspace there is, by name.
    pub(crate) fn keyspaces(&self) -> Result<Vec<(Arc<str>, Keyspace)>, StoreError> {
        let mut names: Vec<Arc<str>> = self
            .database
            .list_keyspace_names()
            .iter()
            .map(|name| Arc::from(&**name))
            .collect();
        names.sort_unstable();
        names
            .into_iter()
            .map(|name| {
                let keyspace = self.database.keyspace(&name, Default::default)?;
                Ok((name, keyspace))
            })
            .collect()
    }
}

/// A new store that is filled with rows. It is none until [`StoreImport::finish`].
pub struct StoreImport {
    options: StoreOptions,
    store: Store,
    keyspaces: Vec<(Arc<str>, Keyspace)>,
    pending: Vec<(Keyspace, Bytes, Bytes)>,
    pending_bytes: usize,
    meta: Vec<(Bytes, Bytes)>,
}

impl StoreImport {
    /// Makes an empty store in `dir`, which must not exist or be empty.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`] when something lies there; otherwise what the disk refused.
    pub fn create(dir: &Path) -> Result<Self, StoreError> {
        let options = StoreOptions::new(dir);
        let store = Store::open(options.clone())?;
        Ok(Self {
            options,
            keyspaces: store.0.keyspaces()?,
            store,
            pending: Vec::new(),
            pending_bytes: 0,
            meta: Vec::new(),
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`StoreError::UnknownKeyspace`] when this release has no such keyspace; otherwise what the disk refused.
    pub fn put(&mut self, keyspace: &str, key: Bytes, value: Bytes) -> Result<(), StoreError> {
        if keyspace == META {
            self.meta.push((key, value));
            return Ok(());
        }
        if OBSOLETE.contains(&keyspace) {
            return Ok(());
        }
        let known = self.keyspaces.iter().find(|(name, _)| &**name == keyspace);
        let (_, place) = known.ok_or_else(|| StoreError::UnknownKeyspace {
            name: keyspace.to_owned(),
        })?;
        self.pending_bytes += key.len() + value.len();
        self.pending.push((place.clone(), key, value));
        if self.pending_bytes >= IMPORT_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let mut batch = self.store.0.database.batch();
        for (keyspace, key, value) in self.pending.drain(..) {
            batch.insert(&keyspace, key, value);
        }
        self.pending_bytes = 0;
        Ok(batch.commit()?)
    }

    /// Makes everything durable. The checkpoint, if there is one, gets the position that its events have in the journal
    /// beside this store.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`] when a newer release wrote the rows; otherwise what the disk refused.
    pub fn finish(mut self, position: u64) -> Result<(), StoreError> {
        self.write()?;
        let mut batch = self.store.0.database.batch().durability(Some(PersistMode::SyncAll));
        for (key, value) in std::mem::take(&mut self.meta) {
            let value = match &*key {
                // Opening it brings it to the format of this release.
                key if key == META_FORMAT.as_bytes() => {
                    check_format(&self.options.dir, &value)?;
                    value
                }
                key if key == META_CHECKPOINT.as_bytes() => {
                    let checkpoint = Checkpoint {
                        position,
                        ..Checkpoint::decode(&value)?
                    };
                    Bytes::copy_from_slice(&checkpoint.encode())
                }
                _ => value,
            };
            batch.insert(&self.store.0.meta, key, value);
        }
        Ok(batch.commit()?)
    }
}
