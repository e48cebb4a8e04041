//! What a commit changes in the index: postings, ends and counts, each row once, whatever the number of runs.

use std::collections::BTreeMap;

use fjall::OwnedWriteBatch;
use unisono_model::Name;
use unisono_model::ids::Timestamp;

use crate::StoreError;
use crate::block::{Block, RunSet};
use crate::ended::Ends;
use crate::key::{self, RunKey};
use crate::row::Row;
use crate::store::Inner;

/// The changes of one commit, collected run by run.
#[derive(Default)]
pub(crate) struct IndexChanges(BTreeMap<Name, OfNamespace>);

#[derive(Default)]
struct OfNamespace {
    /// By the digest of the attribute: who has it from now on, and who has not.
    postings: BTreeMap<(u64, Block), Vec<(u16, bool)>>,
    ended: BTreeMap<Block, Vec<(u16, Option<Timestamp>)>>,
    /// By their keys, what is added.
    counts: BTreeMap<Vec<u8>, i64>,
}

impl IndexChanges {
    /// A run has another summary than before, its first or none any more.
    pub(crate) fn replace(
        &mut self,
        namespace: &Name,
        run: RunKey,
        (old, new): (Option<&Row<'_>>, Option<&Row<'_>>),
    ) -> Result<(), StoreError> {
        let (block, place) = Block::of(run);
        let digests = |row: Option<&Row<'_>>| row.map_or(Ok(Vec::new()), |row| row.digests(run));
        let (lost, won) = (digests(old)?, digests(new)?);
        let changes = self.of(namespace);
        let lost_only = lost
            .iter()
            .filter(|digest| !won.contains(digest))
            .map(|it| (*it, false));
        let won_only = won.iter().filter(|digest| !lost.contains(digest)).map(|it| (*it, true));
        for (digest, has) in lost_only.chain(won_only) {
            changes.postings.entry((digest, block)).or_default().push((place, has));
        }
        let [was, is] = [old, new].map(|row| row.and_then(Row::ended_at));
        if was != is {
            changes.ended.entry(block).or_default().push((place, is));
        }
        let [was, is] = [old, new].map(|row| row.map(|row| row.count_key(namespace)));
        if was != is {
            let mut count =
                |key: Option<Vec<u8>>, change| key.map(|key| *changes.counts.entry(key).or_default() += change);
            count(was, -1);
            count(is, 1);
        }
        Ok(())
    }

    fn of(&mut self, namespace: &Name) -> &mut OfNamespace {
        self.0.entry(namespace.clone()).or_default()
    }

    /// Reads the rows that change, and writes them as they are after the change.
    pub(crate) fn write(self, inner: &Inner, writes: &mut OwnedWriteBatch) -> Result<(), StoreError> {
        for (namespace, changes) in self.0 {
            for ((digest, block), places) in changes.postings {
                let key = key::posting(&namespace, digest, block);
                inner.change_posting(writes, key, &places)?;
            }
            for (block, places) in changes.ended {
                inner.change_ends(writes, key::ended(&namespace, block), places)?;
            }
            for (key, change) in changes.counts {
                inner.change_count(writes, key, change)?;
            }
        }
        Ok(())
    }
}

impl Inner {
    fn change_posting(
        &self,
        writes: &mut OwnedWriteBatch,
        key: Vec<u8>,
        places: &[(u16, bool)],
    ) -> Result<(), StoreError> {
        let mut set = RunSet::empty();
        if let Some(stored) = self.postings.get(&key)? {
            set.add(&stored)?;
        }
        for (place, has) in places {
            if *has { set.insert(*place) } else { set.remove(*place) }
        }
        if set.is_empty() {
            writes.remove(&self.postings, key);
        } else {
            writes.insert(&self.postings, key, set.encode());
        }
        Ok(())
    }

    fn change_ends(
        &self,
        writes: &mut OwnedWriteBatch,
        key: Vec<u8>,
        places: Vec<(u16, Option<Timestamp>)>,
    ) -> Result<(), StoreError> {
        let stored = self.ended.get(&key)?;
        let mut ends = stored.map_or(Ok(Ends::default()), |stored| Ends::decode(&stored))?;
        for (place, at) in places {
            match at {
                Some(at) => ends.0.insert(place, at),
                None => ends.0.remove(&place),
            };
        }
        if ends.0.is_empty() {
            writes.remove(&self.ended, key);
        } else {
            writes.insert(&self.ended, key, ends.encode());
        }
        Ok(())
    }

    fn change_count(&self, writes: &mut OwnedWriteBatch, key: Vec<u8>, change: i64) -> Result<(), StoreError> {
        let stored = self.counts.get(&key)?;
        let stored = stored.map_or(Ok(0), |bytes| key::number(&bytes, "a count"))?;
        match stored.saturating_add_signed(change) {
            0 => writes.remove(&self.counts, key),
            count => writes.insert(&self.counts, key, count.to_be_bytes()),
        }
        Ok(())
    }
}
