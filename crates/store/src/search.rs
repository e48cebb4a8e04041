//! Finding runs: which ones the index names, block by block, newest first.

use fjall::{Iter, Readable, Snapshot};
use unisono_model::Name;
use unisono_model::api::OrchestrationState;
use unisono_model::ids::Timestamp;

use crate::block::{Block, LAST_PLACE, RunSet};
use crate::ended::Ends;
use crate::filter::{RunFilter, in_states};
use crate::key::{self, RunKey};
use crate::row::Row;
use crate::store::Inner;
use crate::{Store, StoreError};

/// How many rows of a condition tell how sparse it is.
const SAMPLE: usize = 8;
/// From this many runs of a block on, their summaries are read in one sweep.
const SWEEP: usize = 128;

/// One question to one snapshot. Runs are handled by their inverted keys where rows are read, which ascend from the
/// newest run.
pub(crate) struct Search<'a> {
    store: &'a Inner,
    snapshot: Snapshot,
    namespace: &'a Name,
    pub(crate) filter: &'a RunFilter,
}

/// The newest and the oldest run that may match, inverted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) newest: u64,
    pub(crate) oldest: u64,
}

impl Span {
    /// The newest and the oldest run, as block and place.
    pub(crate) fn ends(self) -> [(Block, u16); 2] {
        [self.newest, self.oldest].map(|inverted| Block::of(RunKey(!inverted)))
    }
}

impl<'a> Search<'a> {
    pub(crate) fn new(store: &'a Store, namespace: &'a Name, filter: &'a RunFilter) -> Self {
        Self {
            store: &store.0,
            snapshot: store.0.database.snapshot(),
            namespace,
            filter,
        }
    }

    /// The runs that were created in the time range; none when there are none.
    ///
    /// Later runs have greater keys and were not created earlier, so its ends are found by halving.
    pub(crate) fn span(&self) -> Result<Option<Span>, StoreError> {
        let range = self.filter.created();
        // What was created later has not ended earlier.
        let before = [range.before, self.filter.ended().before].into_iter().flatten().min();
        let newest = match before {
            Some(before) => self.newest_before(before)?,
            None => Some(0),
        };
        let older = match range.after {
            Some(after) => self.newest_before(after)?,
            None => None,
        };
        let oldest = older.map_or(Some(u64::MAX), |older| older.checked_sub(1));
        Ok(newest
            .zip(oldest)
            .and_then(|(newest, oldest)| (newest <= oldest).then_some(Span { newest, oldest })))
    }

    /// Where the runs begin that were created before an instant; none when all were created later.
    fn newest_before(&self, at: Timestamp) -> Result<Option<u64>, StoreError> {
        let (Some(newest), Some(oldest)) = (self.first_at(0)?, self.last()?) else {
            return Ok(None);
        };
        if oldest.1 >= at {
            return Ok(None);
        }
        let (mut low, mut high) = (newest.0, oldest.0);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_at(middle)? {
                Some((run, created_at)) if created_at >= at => low = run.saturating_add(1),
                _ => high = middle,
            }
        }
        Ok(Some(low))
    }

    fn first_at(&self, inverted: u64) -> Result<Option<(u64, Timestamp)>, StoreError> {
        let mut rows = self.rows(Span {
            newest: inverted,
            oldest: u64::MAX,
        });
        rows.next().map(|row| row?.created()).transpose()
    }

    fn last(&self) -> Result<Option<(u64, Timestamp)>, StoreError> {
        let range = key::run(self.namespace, 0)..=key::run(self.namespace, u64::MAX);
        let row = self.snapshot.range(&self.store.runs, range).next_back();
        row.map(|row| Stored::read(row)?.created()).transpose()
    }

    /// The summaries of all runs of a span.
    pub(crate) fn rows(&self, span: Span) -> impl Iterator<Item = Result<Stored, StoreError>> + use<> {
        let range = key::run(self.namespace, span.newest)..=key::run(self.namespace, span.oldest);
        self.snapshot.range(&self.store.runs, range).map(Stored::read)
    }

    /// The summaries of some runs of a block.
    pub(crate) fn load<'s>(
        &'s self,
        block: Block,
        runs: &'s RunSet,
    ) -> Box<dyn Iterator<Item = Result<Stored, StoreError>> + 's> {
        let (Some(newest), Some(oldest)) = (runs.descending().next(), runs.descending().last()) else {
            return Box::new(std::iter::empty());
        };
        if runs.len() < SWEEP {
            let stored = runs.descending().map(move |place| self.summary(block.run(place)));
            return Box::new(stored.filter_map(Result::transpose));
        }
        let [newest, oldest] = [newest, oldest].map(|place| key::inverted(block.run(place)));
        let rows = self.rows(Span { newest, oldest });
        Box::new(rows.filter(|row| match row {
            Ok(row) => runs.has(Block::of(row.run()).1),
            Err(_) => true,
        }))
    }

    pub(crate) fn summary(&self, run: RunKey) -> Result<Option<Stored>, StoreError> {
        let inverted = key::inverted(run);
        let bytes = self
            .snapshot
            .get(&self.store.runs, key::run(self.namespace, inverted))?;
        Ok(bytes.map(|bytes| Stored { inverted, bytes }))
    }

    /// Whether all runs of the span match, so that asking the index gains nothing.
    pub(crate) fn takes_all(&self) -> bool {
        self.filter.conditions().is_empty() && !self.filter.ended().is_limited()
    }

    /// The blocks of a span in which runs may match.
    pub(crate) fn blocks(&self, span: Span) -> Result<Blocks<'_>, StoreError> {
        let [newest, oldest] = span.ends();
        let mut conditions = self.filter.conditions();
        if conditions.is_empty() {
            let any = |state: &OrchestrationState| !self.filter.ended().is_limited() || state.is_terminal();
            let states: Vec<_> = OrchestrationState::ALL.into_iter().filter(any).collect();
            conditions.push(in_states(&states));
        }
        let leader = conditions.swap_remove(self.sparsest(&conditions, newest.0)?);
        Ok(Blocks {
            search: self,
            newest,
            oldest,
            leader: self.postings(&leader, newest.0)?,
            others: conditions,
        })
    }

    fn postings(&self, digests: &[u64], newest: Block) -> Result<Merged, StoreError> {
        let rows = digests.iter().map(|digest| {
            let from = key::posting(self.namespace, *digest, newest);
            let until = key::posting(self.namespace, *digest, Block(0));
            self.snapshot.range(&self.store.postings, from..=until)
        });
        Merged::new(rows)
    }

    /// The condition whose first rows reach furthest back in time: the further, the fewer blocks it names.
    fn sparsest(&self, conditions: &[Vec<u64>], newest: Block) -> Result<usize, StoreError> {
        let mut best = (0, None);
        for (place, digests) in conditions.iter().enumerate().filter(|_| conditions.len() > 1) {
            let mut postings = self.postings(digests, newest)?;
            let mut reach = (Block(0), 0);
            for left in (0..SAMPLE).rev() {
                match postings.step()? {
                    Some((block, _)) if left == 0 => reach = (block, 0),
                    Some(_) => {}
                    None => {
                        reach = (Block(0), left + 1);
                        break;
                    }
                }
            }
            let reach = (std::cmp::Reverse(reach.0), reach.1);
            if best.1.is_none_or(|furthest| reach > furthest) {
                best = (place, Some(reach));
            }
        }
        Ok(best.0)
    }

    /// The blocks in which runs of a span are posted under a digest, newest first.
    pub(crate) fn of_digest(&self, digest: u64, span: Span) -> Iter {
        let [(newest, _), (oldest, _)] = span.ends();
        let range = key::posting(self.namespace, digest, newest)..=key::posting(self.namespace, digest, oldest);
        self.snapshot.range(&self.store.postings, range)
    }

    /// Keeps of some runs of a block those that fulfil these conditions, ended when they should, and lie between two runs.
    pub(crate) fn narrow(
        &self,
        (block, runs): (Block, &mut RunSet),
        conditions: &[Vec<u64>],
        [newest, oldest]: [(Block, u16); 2],
    ) -> Result<(), StoreError> {
        if block == newest.0 || block == oldest.0 {
            let first = if block == oldest.0 { oldest.1 } else { 0 };
            let last = if block == newest.0 { newest.1 } else { LAST_PLACE };
            runs.keep(&RunSet::between(first, last));
        }
        for digests in conditions {
            if runs.is_empty() {
                break;
            }
            runs.keep(&self.posted(digests, block)?);
        }
        let ended = self.filter.ended();
        if ended.is_limited() && !runs.is_empty() {
            let key = key::ended(self.namespace, block);
            match self.snapshot.get(&self.store.ended, key)? {
                Some(bytes) => runs.keep(&Ends::within(&bytes, ended)?),
                None => *runs = RunSet::empty(),
            }
        }
        Ok(())
    }

    /// The runs of a block that are posted under one of these digests.
    fn posted(&self, digests: &[u64], block: Block) -> Result<RunSet, StoreError> {
        let mut runs = RunSet::empty();
        for digest in digests {
            let key = key::posting(self.namespace, *digest, block);
            if let Some(bytes) = self.snapshot.get(&self.store.postings, key)? {
                runs.add(&bytes)?;
            }
        }
        Ok(runs)
    }
}

/// Blocks with the runs that the index says match, newest first.
pub(crate) struct Blocks<'a> {
    search: &'a Search<'a>,
    newest: (Block, u16),
    oldest: (Block, u16),
    leader: Merged,
    others: Vec<Vec<u64>>,
}

impl Blocks<'_> {
    /// The next block that the sparsest condition names, and the runs in it that fulfil all of them, which may be none.
    pub(crate) fn step(&mut self) -> Result<Option<(Block, RunSet)>, StoreError> {
        let Some((block, mut runs)) = self.leader.step()? else {
            return Ok(None);
        };
        if block < self.oldest.0 {
            return Ok(None);
        }
        self.search
            .narrow((block, &mut runs), &self.others, [self.newest, self.oldest])?;
        Ok(Some((block, runs)))
    }
}

/// A summary as it lies in the store.
pub(crate) struct Stored {
    inverted: u64,
    pub(crate) bytes: fjall::Slice,
}

impl Stored {
    fn read(guard: fjall::Guard) -> Result<Self, StoreError> {
        let (key, bytes) = guard.into_inner()?;
        Ok(Self {
            inverted: key::trailing_run(&key)?,
            bytes,
        })
    }

    pub(crate) fn run(&self) -> RunKey {
        RunKey(!self.inverted)
    }

    fn created(&self) -> Result<(u64, Timestamp), StoreError> {
        let row = Row::decode(self.run(), &self.bytes)?;
        Ok((self.inverted, row.created_at()))
    }
}

/// The postings under several digests as one, newest block first.
struct Merged {
    heads: Vec<(Block, fjall::Slice, Iter)>,
}

impl Merged {
    fn new(parts: impl Iterator<Item = Iter>) -> Result<Self, StoreError> {
        let mut heads = Vec::new();
        for mut part in parts {
            if let Some((block, bytes)) = Self::advance(&mut part)? {
                heads.push((block, bytes, part));
            }
        }
        Ok(Self { heads })
    }

    fn advance(part: &mut Iter) -> Result<Option<(Block, fjall::Slice)>, StoreError> {
        let Some(guard) = part.next() else {
            return Ok(None);
        };
        let (key, bytes) = guard.into_inner()?;
        Ok(Some((key::trailing_block(&key)?, bytes)))
    }

    /// The next block, and the runs of it that any of the parts has.
    fn step(&mut self) -> Result<Option<(Block, RunSet)>, StoreError> {
        let Some(next) = self.heads.iter().map(|(block, ..)| *block).max() else {
            return Ok(None);
        };
        let mut runs = RunSet::empty();
        let mut place = 0;
        while let Some((block, bytes, part)) = self.heads.get_mut(place) {
            if *block != next {
                place += 1;
                continue;
            }
            runs.add(bytes)?;
            match Self::advance(part)? {
                Some((later, row)) => (*block, *bytes) = (later, row),
                None => drop(self.heads.swap_remove(place)),
            }
        }
        Ok(Some((next, runs)))
    }
}
