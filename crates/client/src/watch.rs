//! Follows an orchestration as it goes on.

use futures_util::stream;
use futures_util::{Stream, StreamExt as _};
use unisono_model::api::{HistoryEntry, OrchestrationView};

use crate::client::{Client, orchestration};
use crate::error::ClientError;
use crate::follow::Follow;
use crate::sse::Event;

/// What a watch shows.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// The whole orchestration as it is now. Comes first, and perhaps again after the connection was lost.
    Snapshot(Box<OrchestrationView>),
    /// One more fact.
    History(Box<HistoryEntry>),
    /// The orchestration has ended; nothing follows.
    End,
}

impl Client {
    /// Follows an orchestration until it ends. A broken connection is opened again where it broke, also through a
    /// restart of the server of some seconds; after several failures in a row the stream ends with the error.
    pub fn watch(&self, id: &str) -> impl Stream<Item = Result<WatchEvent, ClientError>> + Send + use<> {
        let begin = orchestration(id, "").map(|path| Follow::new(self, path));
        stream::unfold(Some(begin), |watch| async {
            let mut follow = match watch? {
                Ok(follow) => follow,
                Err(error) => return Some((Err(error), None)),
            };
            loop {
                let event = match follow.next().await {
                    Ok(event) => read(&follow, &event),
                    Err(error) => Err(error),
                };
                match event.transpose() {
                    None => {}
                    Some(last @ (Ok(WatchEvent::End) | Err(_))) => return Some((last, None)),
                    Some(event) => return Some((event, Some(Ok(follow)))),
                }
            }
        })
    }

    /// Waits until an orchestration has ended, and returns everything about it.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn wait(&self, id: &str) -> Result<OrchestrationView, ClientError> {
        let mut events = std::pin::pin!(self.watch(id));
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Snapshot(view) if view.summary.state.is_terminal() => return Ok(*view),
                WatchEvent::End => break,
                _ => {}
            }
        }
        self.orchestration(id).await
    }
}

/// `None` for events of later days.
fn read(follow: &Follow, event: &Event) -> Result<Option<WatchEvent>, ClientError> {
    match event.name.as_str() {
        "snapshot" => Ok(Some(WatchEvent::Snapshot(follow.parse(&event.data)?))),
        "history" => Ok(Some(WatchEvent::History(follow.parse(&event.data)?))),
        "end" => Ok(Some(WatchEvent::End)),
        _ => Ok(None),
    }
}
