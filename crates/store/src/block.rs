//! Blocks: what the index says of the runs whose keys share all but their last 14 bits.
//!
//! Run keys are revisions, and a run has several events, so a block has hundreds of runs rather than thousands. One row
//! of the index speaks of all runs of a block that share an attribute. So a commit changes few rows however many runs it
//! ends, and a question about two attributes is answered a block at a time.

use crate::StoreError;
use crate::key::RunKey;

const BITS: u32 = 14;
const WORDS: usize = 1 << (BITS - 6);
/// The last place of a block; the first is 0.
pub(crate) const LAST_PLACE: u16 = (1 << BITS) - 1;
/// A bitmap's length. A set that is shorter as a list of 16-bit numbers is stored as one.
const BITMAP_BYTES: usize = WORDS * 8;

/// The runs whose keys are this number, followed by any 14 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Block(pub(crate) u64);

impl Block {
    /// The block of a run, and the run's place in it.
    pub(crate) fn of(run: RunKey) -> (Self, u16) {
        let place = (run.0 & ((1 << BITS) - 1)) as u16;
        (Self(run.0 >> BITS), place)
    }

    pub(crate) fn run(self, place: u16) -> RunKey {
        RunKey((self.0 << BITS) | u64::from(place))
    }
}

/// Some of the runs of a block, by their places.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RunSet(Box<[u64; WORDS]>);

impl RunSet {
    pub(crate) fn empty() -> Self {
        Self(Box::new([0; WORDS]))
    }

    /// The places from one to another, both included.
    pub(crate) fn between(first: u16, last: u16) -> Self {
        let mut set = Self::empty();
        (first..=last).for_each(|place| set.insert(place));
        set
    }

    pub(crate) fn insert(&mut self, place: u16) {
        self.0[usize::from(place >> 6)] |= 1 << (place & 63);
    }

    pub(crate) fn remove(&mut self, place: u16) {
        self.0[usize::from(place >> 6)] &= !(1 << (place & 63));
    }

    pub(crate) fn has(&self, place: u16) -> bool {
        self.0[usize::from(place >> 6)] & (1 << (place & 63)) != 0
    }

    pub(crate) fn keep(&mut self, others: &Self) {
        self.0
            .iter_mut()
            .zip(&*others.0)
            .for_each(|(word, other)| *word &= other);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The places, the last one first.
    pub(crate) fn descending(&self) -> impl Iterator<Item = u16> + '_ {
        (0..=LAST_PLACE >> 6).rev().flat_map(|index| {
            let mut rest = self.0[usize::from(index)];
            std::iter::from_fn(move || {
                let bit = rest.checked_ilog2()?;
                rest &= !(1 << bit);
                // Below 64.
                u16::try_from(bit).ok().map(|bit| (index << 6) | bit)
            })
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let len = self.len();
        if len * 2 >= BITMAP_BYTES {
            return self.0.iter().flat_map(|word| word.to_be_bytes()).collect();
        }
        let mut bytes = vec![0; len * 2];
        let places = bytes.rchunks_exact_mut(2).zip(self.descending());
        places.for_each(|(bytes, place)| bytes.copy_from_slice(&place.to_be_bytes()));
        bytes
    }

    /// Adds what [`encode`](Self::encode) wrote.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.len() == BITMAP_BYTES {
            let (words, _) = bytes.as_chunks::<8>();
            let words = words.iter().map(|bytes| u64::from_be_bytes(*bytes));
            self.0.iter_mut().zip(words).for_each(|(word, other)| *word |= other);
            return Ok(());
        }
        let (places, rest) = bytes.as_chunks::<2>();
        let places = places.iter().map(|bytes| u16::from_be_bytes(*bytes));
        for place in places {
            if place > LAST_PLACE {
                return Err(damaged(format_args!("place {place}")));
            }
            self.insert(place);
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(damaged(format_args!("{} bytes", bytes.len())))
        }
    }
}

fn damaged(reason: impl ToString) -> StoreError {
    StoreError::damaged("a posting", reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    fn set_of(places: &BTreeSet<u16>) -> RunSet {
        let mut set = RunSet::empty();
        places.iter().for_each(|place| set.insert(*place));
        set
    }

    proptest! {
        #[test]
        fn a_set_reads_back_whether_it_is_a_list_or_a_bitmap(places in btree_set(0..=LAST_PLACE, 0..2_000)) {
            let set = set_of(&places);
            let bytes = set.encode();
            prop_assert!(bytes.len() <= BITMAP_BYTES);
            let mut read = RunSet::empty();
            read.add(&bytes).unwrap();
            prop_assert_eq!(read.len(), places.len());
            let descending: Vec<_> = places.iter().rev().copied().collect();
            prop_assert_eq!(read.descending().collect::<Vec<_>>(), descending);
            prop_assert!(read == set);
        }

        #[test]
        fn only_what_two_sets_share_is_kept(a in btree_set(0_u16..200, 0..90), b in btree_set(0_u16..200, 0..90)) {
            let mut set = set_of(&a);
            set.keep(&set_of(&b));
            prop_assert!(set == set_of(&a.intersection(&b).copied().collect()));
            for place in a.intersection(&b) {
                prop_assert!(set.has(*place));
                set.remove(*place);
            }
            prop_assert!(set.is_empty());
        }
    }

    #[test]
    fn a_run_is_its_block_and_its_place() {
        for run in [0, 16_383, 16_384, u64::MAX].map(RunKey) {
            let (block, place) = Block::of(run);
            assert_eq!(block.run(place), run);
            assert!(place <= LAST_PLACE);
        }
        assert_eq!(RunSet::between(0, LAST_PLACE).len(), 1 << BITS);
    }

    #[test]
    fn a_posting_of_another_length_or_with_another_place_is_damaged() {
        assert!(RunSet::empty().add(&[0, 1, 2]).is_err());
        assert!(RunSet::empty().add(&[0x40, 0]).is_err());
    }
}
