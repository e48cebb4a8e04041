//! Checkpoints, finished runs, history, logs and indexes on an embedded key-value store.
//!
//! The store is a projection of the journal. One thread of the node writes it in the background, many threads read
//! it. A crash may lose whatever was committed after the last [`Checkpoint`], or keep any prefix of it: the node then
//! replays the journal from the checkpoint's position and writes the same things again. So every write is an upsert,
//! and writing it twice changes nothing.
//!
//! A [`Batch`] collects writes; [`Store::commit`] applies one atomically, without a sync; and
//! [`Store::commit_checkpoint`] makes everything before it durable. [`Store::list`] answers the lists that people
//! filter, newest run first, and [`Store::count`] says how long they are. A [`StoreSnapshot`] has all rows as they were
//! at one instant, for a backup.

mod backup;
mod batch;
mod block;
mod commit;
mod count;
mod ended;
mod error;
mod filter;
mod index;
mod integrity;
mod key;
mod list;
mod oldest;
mod read;
mod row;
mod search;
mod store;
mod token;
mod upgrade;

pub use backup::{StoreImport, StoreSnapshot, StoredRow};
pub use batch::Batch;
pub use count::{Group, GroupBy, RunCount, Tally};
pub use error::StoreError;
pub use filter::RunFilter;
pub use integrity::CutLog;
pub use key::{EntityKind, RunKey};
pub use list::{MAX_PAGE_ITEMS, PageRequest, RunPage};
pub use read::LogRecord;
pub use store::{Checkpoint, Store, StoreOptions};
