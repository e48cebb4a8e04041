//! The oldest runs that have ended: what retention lets go first.

use unisono_model::Name;
use unisono_model::api::OrchestrationState;
use unisono_model::ids::Timestamp;

use crate::block::RunSet;
use crate::filter::{RunFilter, in_states};
use crate::key::{self, RunKey};
use crate::row::{Attribute, Row};
use crate::search::Search;
use crate::{Store, StoreError};

impl Store {
    /// The runs of a definition that have ended, of all its versions, those that were started first before the others, at
    /// most `limit`; with `ended_before` only those that ended earlier than that. Each with its id.
    ///
    /// # Errors
    /// When the disk or the store's content is damaged.
    pub fn oldest_ended(
        &self,
        namespace: &Name,
        r#type: &Name,
        ended_before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<(RunKey, Name)>, StoreError> {
        let filter = RunFilter {
            ended_before,
            ..RunFilter::default()
        };
        let search = Search::new(self, namespace, &filter);
        let Some(span) = search.span()? else {
            return Ok(Vec::new());
        };
        let ended: Vec<_> = OrchestrationState::ALL
            .into_iter()
            .filter(|state| state.is_terminal())
            .collect();
        let ended = in_states(&ended);
        let mut found = Vec::new();
        for row in search.of_digest(Attribute::Type(r#type).digest(), span).rev() {
            let (key, bytes) = row.into_inner()?;
            let block = key::trailing_block(&key)?;
            let mut runs = RunSet::empty();
            runs.add(&bytes)?;
            search.narrow((block, &mut runs), std::slice::from_ref(&ended), span.ends())?;
            let places: Vec<_> = runs.descending().collect();
            for place in places.into_iter().rev() {
                if found.len() == limit {
                    return Ok(found);
                }
                let run = block.run(place);
                // The digest of another type may be the same.
                if let Some(id) = id_of(&search, run, r#type)? {
                    found.push((run, id));
                }
            }
        }
        Ok(found)
    }
}

fn id_of(search: &Search<'_>, run: RunKey, r#type: &Name) -> Result<Option<Name>, StoreError> {
    let Some(stored) = search.summary(run)? else {
        return Ok(None);
    };
    let row = Row::decode(run, &stored.bytes)?;
    let id = Name::parse(row.id()).map_err(|error| StoreError::damaged(format!("the id of run {run}"), error))?;
    Ok((row.r#type() == r#type.as_str()).then_some(id))
}
