//! How many runs there are: kept by type, version and state, and otherwise counted in the index.

use std::collections::BTreeMap;

use unisono_model::Name;
use unisono_model::api::OrchestrationState;

use crate::filter::RunFilter;
use crate::read::row;
use crate::row::state_of;
use crate::search::Search;
use crate::{Store, StoreError, key};

/// Blocks of the index that a count looks at; with hundreds of runs a block, tens of millions of runs.
const BLOCKS_PER_COUNT: usize = 100_000;

/// How many runs match a filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCount {
    /// So many.
    pub runs: u64,
    /// Whether there may be more, because the count was given up.
    pub or_more: bool,
}

/// How many runs of one version of one type are in one state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tally {
    /// The type.
    pub r#type: Name,
    /// The version.
    pub version: u32,
    /// The state.
    pub state: OrchestrationState,
    /// So many; at least one.
    pub runs: u64,
}

/// What runs are told apart by when they are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupBy {
    /// By type.
    pub r#type: bool,
    /// By version.
    pub version: bool,
    /// By state.
    pub state: bool,
}

/// What the runs of a group share; what they are not told apart by is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The type.
    pub r#type: Option<Name>,
    /// The version.
    pub version: Option<u32>,
    /// The state.
    pub state: Option<OrchestrationState>,
}

impl GroupBy {
    /// The group of a run.
    #[must_use]
    pub fn of(self, r#type: &Name, version: u32, state: OrchestrationState) -> Group {
        Group {
            r#type: self.r#type.then(|| r#type.clone()),
            version: self.version.then_some(version),
            state: self.state.then_some(state),
        }
    }
}

impl Group {
    /// The filter for those of its runs that match `filter`, as they all do in what they share.
    fn within(&self, filter: &RunFilter) -> RunFilter {
        RunFilter {
            r#type: self.r#type.clone().or_else(|| filter.r#type.clone()),
            version: self.version.or(filter.version),
            states: self.state.map_or_else(|| filter.states.clone(), |state| vec![state]),
            ..filter.clone()
        }
    }
}

impl Store {
    /// How many runs of `namespace` match `filter`, in groups, in their order; those without any are left out.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    pub fn count_by(
        &self,
        namespace: &Name,
        filter: &RunFilter,
        by: GroupBy,
    ) -> Result<BTreeMap<Group, RunCount>, StoreError> {
        let mut groups: BTreeMap<Group, RunCount> = BTreeMap::new();
        for tally in self.tallies(namespace, filter.r#type.as_ref())? {
            if filter.takes(&tally) {
                let group = by.of(&tally.r#type, tally.version, tally.state);
                groups.entry(group).or_default().runs += tally.runs;
            }
        }
        if !filter.is_counted() {
            for (group, count) in &mut groups {
                *count = self.count(namespace, &group.within(filter))?;
            }
            groups.retain(|_, count| count.runs > 0 || count.or_more);
        }
        Ok(groups)
    }

    /// How many runs of `namespace` match `filter`. By state, type and version this is read at once; otherwise the index
    /// is counted, without looking at a run, up to 100,000 rows of it.
    ///
    /// Texts are posted by digests of 64 bits. Two of them that share one, which somebody would have to make on purpose,
    /// are counted as one.
    ///
    /// # Errors
    /// When the disk or the store's content is damaged.
    pub fn count(&self, namespace: &Name, filter: &RunFilter) -> Result<RunCount, StoreError> {
        if filter.is_counted() {
            let tallies = self.tallies(namespace, filter.r#type.as_ref())?;
            let taken = tallies.iter().filter(|tally| filter.takes(tally));
            return Ok(RunCount {
                runs: taken.map(|tally| tally.runs).sum(),
                or_more: false,
            });
        }
        self.count_within(namespace, filter, BLOCKS_PER_COUNT)
    }

    /// Counts in the index, `blocks` rows at most.
    pub(crate) fn count_within(
        &self,
        namespace: &Name,
        filter: &RunFilter,
        blocks: usize,
    ) -> Result<RunCount, StoreError> {
        let search = Search::new(self, namespace, filter);
        let mut count = RunCount::default();
        let Some(span) = search.span()? else {
            return Ok(count);
        };
        let mut left = blocks;
        let mut blocks = search.blocks(span)?;
        while let Some((_, runs)) = blocks.step()? {
            if left == 0 {
                count.or_more = true;
                break;
            }
            left -= 1;
            count.runs += runs.len() as u64;
        }
        Ok(count)
    }

    /// How many runs there are of each version of each type, or of one type, in each state, in this order.
    ///
    /// # Errors
    /// When the disk or the store's content is damaged.
    pub fn tallies(&self, namespace: &Name, r#type: Option<&Name>) -> Result<Vec<Tally>, StoreError> {
        let prefix = key::counts(namespace, r#type.map(Name::as_str));
        let rows = self.0.counts.prefix(prefix).map(|guard| {
            let (key, runs) = row(guard)?;
            let damaged = |reason: String| StoreError::damaged("the key of a count", reason);
            let (r#type, version, state) = key::read_count(namespace, &key)?;
            Ok(Tally {
                r#type: Name::parse(r#type).map_err(|error| damaged(error.to_string()))?,
                version,
                state: state_of(state).ok_or_else(|| damaged(format!("unknown state {state}")))?,
                runs: key::number(&runs, "a count")?,
            })
        });
        rows.collect()
    }
}
