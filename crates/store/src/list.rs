//! Lists of runs: newest first, filtered, page by page.

use std::ops::ControlFlow;

use unisono_model::Name;
use unisono_model::api::OrchestrationSummary;

use crate::filter::RunFilter;
use crate::key::{self, RunKey};
use crate::row::Row;
use crate::search::{Search, Span, Stored};
use crate::token::PageToken;
use crate::{Store, StoreError};

/// Items on one page at most, whatever was asked for.
pub const MAX_PAGE_ITEMS: usize = 1_000;

/// What one page looks at before it hands back what it found, and a token to go on with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Summaries.
    pub(crate) runs: usize,
    /// Blocks of the index, of hundreds of runs each.
    pub(crate) blocks: usize,
}

const WORK_OF_PAGE: Work = Work {
    runs: 10_000,
    blocks: 20_000,
};

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
    /// when it has looked at 10,000 runs, or 20,000 rows of the index, which speak of millions.
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
        self.list_within(namespace, filter, &page, WORK_OF_PAGE)
    }

    /// [`list`](Self::list), with this much work at most.
    pub(crate) fn list_within(
        &self,
        namespace: &Name,
        filter: &RunFilter,
        page: &PageRequest,
        work: Work,
    ) -> Result<RunPage, StoreError> {
        let token = page
            .token
            .as_deref()
            .map(|text| PageToken::parse(text, filter.digest(namespace)))
            .transpose()?;
        let search = Search::new(self, namespace, filter);
        let span = search.span()?.and_then(|span| match token {
            Some(token) => span.behind(token.run),
            None => Some(span),
        });
        let mut found = Found {
            items: Vec::new(),
            limit: page.limit.clamp(1, MAX_PAGE_ITEMS),
            left: work,
            seen: None,
        };
        let more = match span {
            Some(span) => found.fill(&search, span)?.is_break(),
            None => false,
        };
        let next = found.seen.filter(|_| more);
        Ok(RunPage {
            items: found.items,
            next: next.map(|run| filter.token_behind(namespace, run)),
        })
    }
}

/// A page as it fills.
struct Found {
    items: Vec<(RunKey, OrchestrationSummary)>,
    limit: usize,
    left: Work,
    /// Everything up to this run was looked at.
    seen: Option<RunKey>,
}

impl Found {
    /// Looks at what may match, until the page is full or enough was looked at: then it breaks.
    fn fill(&mut self, search: &Search<'_>, span: Span) -> Result<ControlFlow<()>, StoreError> {
        if search.takes_all() {
            return self.take(search, search.rows(span));
        }
        let mut blocks = search.blocks(span)?;
        while let Some((block, runs)) = blocks.step()? {
            if self.left.blocks == 0 {
                return Ok(ControlFlow::Break(()));
            }
            self.left.blocks -= 1;
            if self.take(search, search.load(block, &runs))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            self.seen = Some(block.run(0));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn take(
        &mut self,
        search: &Search<'_>,
        rows: impl Iterator<Item = Result<Stored, StoreError>>,
    ) -> Result<ControlFlow<()>, StoreError> {
        for stored in rows {
            if self.left.runs == 0 {
                return Ok(ControlFlow::Break(()));
            }
            self.left.runs -= 1;
            let stored = stored?;
            let run = stored.run();
            let row = Row::decode(run, &stored.bytes)?;
            if search.filter.matches_row(run, &row)? {
                if self.items.len() == self.limit {
                    return Ok(ControlFlow::Break(()));
                }
                self.items.push((run, row.to_summary(run)?));
            }
            self.seen = Some(run);
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Span {
    /// What comes after a run, if anything can.
    fn behind(self, run: RunKey) -> Option<Self> {
        let newest = key::inverted(run).checked_add(1)?.max(self.newest);
        (newest <= self.oldest).then_some(Self { newest, ..self })
    }
}

#[cfg(test)]
mod tests;
