//! The store's place: a store that failed can be opened again while the node goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use unisono_store::{Store, StoreError, StoreOptions};

use super::handle::Unavailable;

/// For how long whoever still reads the old store may keep it: before it is opened again, and what an earlier node of this
/// process left behind.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_AT_START: Duration = Duration::from_secs(5);

/// Where everybody finds the store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shelf {
    directory: PathBuf,
    store: Arc<ArcSwapOption<Store>>,
}

impl Shelf {
    /// Opens the store of a data directory, which is locked: whoever still has the store is about to leave it.
    pub(super) fn open(data: &Path) -> Result<Self, StoreError> {
        let directory = data.join("store");
        let store = open(&directory, PATIENCE_AT_START)?;
        Ok(Self {
            directory,
            store: Arc::new(ArcSwapOption::from_pointee(store)),
        })
    }

    /// The store, not to be kept for longer than a request takes.
    pub(crate) fn get(&self) -> Result<Store, Unavailable> {
        let store = self.store.load_full();
        store.map(|store| Store::clone(&store)).ok_or(Unavailable::Reopening)
    }

    /// From now on there is none. It closes when nobody uses it any more.
    pub(super) fn clear(&self) {
        self.store.store(None);
    }

    /// Opens the store again, when nobody uses the old one any more.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        self.clear();
        let store = open(&self.directory, PATIENCE)?;
        self.store.store(Some(Arc::new(store)));
        Ok(())
    }
}

fn open(directory: &Path, patience: Duration) -> Result<Store, StoreError> {
    let begin = Instant::now();
    loop {
        match Store::open(StoreOptions::new(directory)) {
            Err(StoreError::Locked { .. }) if begin.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(20));
            }
            opened => return opened,
        }
    }
}
