//! Follows a list of orchestrations as it changes.

use futures_util::{Stream, stream};
use serde::Deserialize;
use unisono_model::api::{OrchestrationSummary, Page};
use unisono_model::name::Name;

use crate::client::Client;
use crate::error::ClientError;
use crate::follow::Follow;
use crate::query::{OrchestrationFilter, PageRequest, with_query};
use crate::sse::Event;

/// What the watch of a list tells.
#[derive(Clone, Debug)]
pub enum ListEvent {
    /// All that the list shows, the newest first. Comes first, and again after the connection was lost.
    Snapshot(Vec<OrchestrationSummary>),
    /// One that is new in the list, or is shown differently.
    Changed(Box<OrchestrationSummary>),
    /// One that is not in the list any more: it does not match, was deleted, or newer ones took its place.
    Left(Name),
}

#[derive(Deserialize)]
struct Left {
    id: Name,
}

impl Client {
    /// Follows the newest orchestrations that fit the filter, at most `limit` (1,000 at most, 100 when left out), through
    /// broken connections and restarts of the server of some seconds; after several failures in a row the stream ends with
    /// the error. What changes several times within a quarter of a second is told once.
    pub fn watch_orchestrations(
        &self,
        filter: &OrchestrationFilter,
        limit: Option<u32>,
    ) -> impl Stream<Item = Result<ListEvent, ClientError>> + Send + use<> {
        let page = PageRequest {
            limit,
            page_token: None,
        };
        let mut query = page.query();
        filter.add_to(&mut query);
        let follow = Follow::new(self, with_query("/orchestrations", &query));
        stream::unfold(Some(follow), |follow| async {
            let mut follow = follow?;
            loop {
                let event = match follow.next().await {
                    Ok(event) => read(&follow, &event),
                    Err(error) => Err(error),
                };
                match event.transpose() {
                    None => {}
                    Some(Err(error)) => return Some((Err(error), None)),
                    Some(event) => return Some((event, Some(follow))),
                }
            }
        })
    }
}

/// `None` for events of later days.
fn read(follow: &Follow, event: &Event) -> Result<Option<ListEvent>, ClientError> {
    Ok(Some(match event.name.as_str() {
        "snapshot" => ListEvent::Snapshot(follow.parse::<Page<OrchestrationSummary>>(&event.data)?.items),
        "changed" => ListEvent::Changed(follow.parse(&event.data)?),
        "left" => ListEvent::Left(follow.parse::<Left>(&event.data)?.id),
        _ => return Ok(None),
    }))
}
