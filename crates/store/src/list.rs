//! Lists of runs: newest first, filtered, page by page.

use fjall::{Iter, Readable, Snapshot};
use unisono_model::Name;
use unisono_model::api::{OrchestrationState, OrchestrationSummary};
use unisono_model::ids::Timestamp;

use crate::key::{self, Digest, RunKey};
use crate::row::{Attribute, Row, state_is_indexed};
use crate::store::Inner;
use crate::token::PageToken;
use crate::{Store, StoreError};

/// Items on one page at most, whatever was asked for.
pub const MAX_PAGE_ITEMS: usize = 1_000;

/// Runs that one page looks at before it hands back what it found, and a token to go on with.
const ROWS_PER_PAGE: usize = 10_000;

/// How many rows of an index tell how sparse it is.
const SAMPLE: usize = 32;

/// Which runs a list shows: those that match everything given. The default shows all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Any of these states; empty means any state.
    pub states: Vec<OrchestrationState>,
    /// This definition type.
    pub r#type: Option<Name>,
    /// This version of the definition.
    pub version: Option<u32>,
    /// This correlation id.
    pub correlation_id: Option<String>,
    /// All of these labels, key and value.
    pub labels: Vec<(String, String)>,
    /// Created at this instant or later.
    pub created_after: Option<Timestamp>,
    /// Created earlier than this instant.
    pub created_before: Option<Timestamp>,
}

/// Which page of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Items wanted, from 1 to [`MAX_PAGE_ITEMS`]; anything else is taken as the nearer of the two.
    pub limit: usize,
    /// [`RunPage::next`] of the page before; none for the first page.
    pub token: Option<String>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPage {
    /// The runs, newest first. There may be fewer than asked for, even none, although more pages follow: a page ends
    /// when it has looked at 10,000 runs.
    pub items: Vec<(RunKey, OrchestrationSummary)>,
    /// The token of the next page; none on the last.
    pub next: Option<String>,
}

impl Store {
    /// One page of the runs of `namespace` that match `filter`, newest first. Runs that start between two pages do
    /// not shift the later one.
    ///
    /// # Errors
    /// [`StoreError::MalformedPageToken`] and [`StoreError::ForeignPageToken`] for a token that cannot be used;
    /// otherwise when the disk or the store's content is damaged.
    pub fn list(&self, namespace: &Name, filter: &RunFilter, page: PageRequest) -> Result<RunPage, StoreError> {
        self.list_within(namespace, filter, &page, ROWS_PER_PAGE)
    }

    /// [`list`](Self::list), looking at no more than `rows` runs.
    pub(crate) fn list_within(
        &self,
        namespace: &Name,
        filter: &RunFilter,
        page: &PageRequest,
        rows: usize,
    ) -> Result<RunPage, StoreError> {
        let question = filter.digest(namespace);
        let search = Search {
            store: &self.0,
            snapshot: self.0.database.snapshot(),
            namespace,
            filter,
        };
        let token = page
            .token
            .as_deref()
            .map(|text| PageToken::parse(text, question))
            .transpose()?;
        let start = match token {
            Some(token) => key::inverted(token.run).checked_add(1),
            None => search.start()?,
        };
        let limit = page.limit.clamp(1, MAX_PAGE_ITEMS);
        let (items, last) = match start {
            Some(start) => search.page(start, limit, rows)?,
            None => (Vec::new(), None),
        };
        let next = last.map(|run| PageToken { run, question }.encode());
        Ok(RunPage { items, next })
    }
}

impl RunFilter {
    /// Stands for the filter and the namespace in page tokens; the order of states and labels does not matter.
    fn digest(&self, namespace: &Name) -> u64 {
        let mut states: Vec<_> = self.states.iter().map(|state| state.as_str()).collect();
        states.sort_unstable();
        states.dedup();
        let mut labels: Vec<_> = self.labels.iter().collect();
        labels.sort_unstable();
        labels.dedup();
        let optional = |digest: Digest, bytes: Option<&[u8]>| match bytes {
            Some(bytes) => digest.part(b"some").part(bytes),
            None => digest.part(b"none"),
        };
        let instant = |at: Option<Timestamp>| at.map(|at| at.0.to_be_bytes());
        let mut digest = Digest::new()
            .part(namespace.as_bytes())
            .part(states.join(",").as_bytes());
        digest = optional(digest, self.r#type.as_ref().map(|name| name.as_bytes()));
        digest = optional(
            digest,
            self.version.map(u32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice),
        );
        digest = optional(digest, self.correlation_id.as_deref().map(str::as_bytes));
        digest = optional(digest, instant(self.created_after).as_ref().map(<[u8; 8]>::as_slice));
        digest = optional(digest, instant(self.created_before).as_ref().map(<[u8; 8]>::as_slice));
        for (key, value) in labels {
            digest = digest.part(key.as_bytes()).part(value.as_bytes());
        }
        digest.finish()
    }

    fn matches(&self, run: RunKey, row: &Row<'_>) -> Result<bool, StoreError> {
        let state = row.state(run)?;
        let created_at = row.created_at();
        Ok((self.states.is_empty() || self.states.contains(&state))
            && self.r#type.as_ref().is_none_or(|name| row.r#type() == name.as_str())
            && self.version.is_none_or(|version| row.version() == version)
            && self
                .correlation_id
                .as_deref()
                .is_none_or(|id| row.correlation_id() == Some(id))
            && self.labels.iter().all(|(key, value)| row.has_label(key, value))
            && self.created_after.is_none_or(|after| created_at >= after)
            && self.created_before.is_none_or(|before| created_at < before))
    }

    /// The parts of the index that hold every match: one of these sets of attribute digests is enough.
    fn lookups(&self) -> Vec<Vec<u64>> {
        let mut lookups = Vec::new();
        lookups.extend(
            self.correlation_id
                .as_deref()
                .map(|id| vec![Attribute::Correlation(id).digest()]),
        );
        lookups.extend(
            self.labels
                .iter()
                .map(|(key, value)| vec![Attribute::Label(key, value).digest()]),
        );
        if !self.states.is_empty() && self.states.iter().copied().all(state_is_indexed) {
            let mut states: Vec<_> = self
                .states
                .iter()
                .map(|state| Attribute::State(*state).digest())
                .collect();
            states.sort_unstable();
            states.dedup();
            lookups.push(states);
        }
        lookups.extend(self.r#type.as_ref().map(|name| vec![Attribute::Type(name).digest()]));
        lookups
    }
}

type Listed = (RunKey, OrchestrationSummary);

/// One question to one snapshot. Runs are handled by their inverted keys here, which ascend from the newest run.
struct Search<'a> {
    store: &'a Inner,
    snapshot: Snapshot,
    namespace: &'a Name,
    filter: &'a RunFilter,
}

impl Search<'_> {
    /// The newest run that the time range allows; none when there is no such run.
    ///
    /// Later runs have greater keys and were not created earlier, so the place is found by halving.
    fn start(&self) -> Result<Option<u64>, StoreError> {
        let Some(before) = self.filter.created_before else {
            return Ok(Some(0));
        };
        let (Some(newest), Some(oldest)) = (self.first_at(0)?, self.last()?) else {
            return Ok(None);
        };
        if oldest.1 >= before {
            return Ok(None);
        }
        let (mut low, mut high) = (newest.0, oldest.0);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_at(middle)? {
                Some((run, created_at)) if created_at >= before => low = run.saturating_add(1),
                _ => high = middle,
            }
        }
        Ok(Some(low))
    }

    fn first_at(&self, inverted: u64) -> Result<Option<(u64, Timestamp)>, StoreError> {
        self.runs(inverted).next().map(|row| row?.created()).transpose()
    }

    fn last(&self) -> Result<Option<(u64, Timestamp)>, StoreError> {
        let row = self.run_rows(0).next_back().map(Stored::read).transpose()?;
        row.map(|row| row.created()).transpose()
    }

    /// The matches from `start` on, and the run after which the next page begins, if there is one.
    fn page(&self, start: u64, limit: usize, rows: usize) -> Result<(Vec<Listed>, Option<RunKey>), StoreError> {
        let mut items: Vec<Listed> = Vec::new();
        let mut seen = None;
        for (count, stored) in self.candidates(start)?.enumerate() {
            if count == rows {
                return Ok((items, seen));
            }
            let stored = stored?;
            let run = RunKey(!stored.inverted);
            let row = Row::decode(run, &stored.bytes)?;
            if self.filter.created_after.is_some_and(|after| row.created_at() < after) {
                break;
            }
            if self.filter.matches(run, &row)? {
                if items.len() == limit {
                    return Ok((items, seen));
                }
                items.push((run, row.to_summary(run)?));
            }
            seen = Some(run);
        }
        Ok((items, None))
    }

    /// The summaries of runs that may match, from `start` on, by the sparsest part of the index that holds them all;
    /// without one, all summaries.
    fn candidates<'s>(
        &'s self,
        start: u64,
    ) -> Result<Box<dyn Iterator<Item = Result<Stored, StoreError>> + 's>, StoreError> {
        let Some(digests) = self.sparsest(self.filter.lookups(), start)? else {
            return Ok(Box::new(self.runs(start)));
        };
        let runs = self.indexed(&digests, start)?;
        Ok(Box::new(runs.filter_map(|run| self.load(run).transpose())))
    }

    fn runs(&self, start: u64) -> impl Iterator<Item = Result<Stored, StoreError>> + use<> {
        self.run_rows(start).map(Stored::read)
    }

    fn run_rows(&self, start: u64) -> Iter {
        let range = key::run(self.namespace, start)..=key::run(self.namespace, u64::MAX);
        self.snapshot.range(&self.store.runs, range)
    }

    fn load(&self, inverted: Result<u64, StoreError>) -> Result<Option<Stored>, StoreError> {
        let inverted = inverted?;
        let bytes = self
            .snapshot
            .get(&self.store.runs, key::run(self.namespace, inverted))?;
        Ok(bytes.map(|bytes| Stored { inverted, bytes }))
    }

    fn indexed(&self, digests: &[u64], start: u64) -> Result<Merged, StoreError> {
        let rows = digests.iter().map(|digest| {
            let from = key::index(self.namespace, *digest, start);
            let until = key::index(self.namespace, *digest, u64::MAX);
            self.snapshot.range(&self.store.index, from..=until)
        });
        Merged::new(rows)
    }

    /// The set whose first rows reach furthest back in time: the further, the fewer runs it holds.
    fn sparsest(&self, mut sets: Vec<Vec<u64>>, start: u64) -> Result<Option<Vec<u64>>, StoreError> {
        if sets.len() < 2 {
            return Ok(sets.pop());
        }
        let mut best = None;
        for set in sets {
            let reach = self.reach(&set, start)?;
            if best.as_ref().is_none_or(|(furthest, _)| reach > *furthest) {
                best = Some((reach, set));
            }
        }
        Ok(best.map(|(_, set)| set))
    }

    /// How far the first rows reach, and for a set that ends before that, how few they are.
    fn reach(&self, digests: &[u64], start: u64) -> Result<(u64, usize), StoreError> {
        let runs = self
            .indexed(digests, start)?
            .take(SAMPLE)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(match runs.last() {
            Some(last) if runs.len() == SAMPLE => (*last, 0),
            _ => (u64::MAX, SAMPLE - runs.len()),
        })
    }
}

/// A summary as it lies in the store.
struct Stored {
    inverted: u64,
    bytes: fjall::Slice,
}

impl Stored {
    fn read(guard: fjall::Guard) -> Result<Self, StoreError> {
        let (key, bytes) = guard.into_inner()?;
        Ok(Self {
            inverted: key::trailing_run(&key)?,
            bytes,
        })
    }

    fn created(&self) -> Result<(u64, Timestamp), StoreError> {
        let row = Row::decode(RunKey(!self.inverted), &self.bytes)?;
        Ok((self.inverted, row.created_at()))
    }
}

/// Several parts of the index as one, newest run first.
struct Merged {
    heads: Vec<(u64, Iter)>,
}

impl Merged {
    fn new(parts: impl Iterator<Item = Iter>) -> Result<Self, StoreError> {
        let mut heads = Vec::new();
        for mut part in parts {
            if let Some(run) = Self::advance(&mut part)? {
                heads.push((run, part));
            }
        }
        Ok(Self { heads })
    }

    fn advance(part: &mut Iter) -> Result<Option<u64>, StoreError> {
        part.next().map(|guard| key::trailing_run(&guard.key()?)).transpose()
    }

    fn step(&mut self) -> Result<Option<u64>, StoreError> {
        let newest = self.heads.iter().enumerate().min_by_key(|(_, (run, _))| *run);
        let Some(place) = newest.map(|(place, _)| place) else {
            return Ok(None);
        };
        let (head, part) = &mut self.heads[place];
        let run = *head;
        match Self::advance(part)? {
            Some(next) => *head = next,
            None => drop(self.heads.swap_remove(place)),
        }
        Ok(Some(run))
    }
}

impl Iterator for Merged {
    type Item = Result<u64, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

#[cfg(test)]
mod tests;
