//! Follows an orchestration as it goes on.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use serde::de::DeserializeOwned;
use unisono_model::api::{HistoryEntry, OrchestrationView};

use crate::client::Client;
use crate::error::ClientError;
use crate::sse::{Event, Parser};

/// How often a broken watch is opened again without hearing anything before it gives up.
const MAX_FAILURES: u32 = 8;
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// After this long without a byte the connection may be dead without a word; a new one shows.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

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
        let watch = Watch {
            client: self.clone(),
            id: id.to_owned(),
            last_event: None,
            connection: None,
            ready: VecDeque::new(),
            failures: 0,
            ended: false,
        };
        stream::unfold(watch, Watch::next)
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

struct Watch {
    client: Client,
    id: String,
    last_event: Option<String>,
    connection: Option<Connection>,
    ready: VecDeque<Event>,
    failures: u32,
    ended: bool,
}

struct Connection {
    bytes: BoxStream<'static, reqwest::Result<Bytes>>,
    parser: Parser,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<WatchEvent, ClientError>, Self)> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(event) = self.ready.pop_front() {
                self.failures = 0;
                let Some(event) = self.read(event).transpose() else {
                    continue;
                };
                self.ended = matches!(event, Ok(WatchEvent::End) | Err(_));
                return Some((event, self));
            }
            if let Err(error) = self.fill().await {
                self.connection = None;
                self.failures += 1;
                if !error.is_unreachable() || self.failures > MAX_FAILURES {
                    self.ended = true;
                    return Some((Err(error), self));
                }
                tokio::time::sleep((Duration::from_millis(50) * (1 << self.failures)).min(LONGEST_PAUSE)).await;
            }
        }
    }

    /// Opens the stream when it is not open, and reads on until there are events or it ends.
    async fn fill(&mut self) -> Result<(), ClientError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let response = self.client.events(&self.id, self.last_event.as_deref()).await?;
                none.insert(Connection {
                    bytes: response.bytes_stream().boxed(),
                    parser: Parser::default(),
                })
            }
        };
        let Ok(next) = tokio::time::timeout(LONGEST_SILENCE, connection.bytes.next()).await else {
            self.connection = None;
            return Ok(());
        };
        match next {
            Some(Ok(bytes)) => {
                let events = connection.parser.feed(&bytes);
                self.ready
                    .extend(events.map_err(|_| self.unexpected("an event is too long"))?);
            }
            // The server ended the stream without saying `end`: it restarts, and the next one goes on.
            Some(Err(_)) | None => {
                self.connection = None;
                self.failures += 1;
                if self.failures > MAX_FAILURES {
                    return Err(
                        self.unexpected("the stream of events ended again and again before the orchestration did")
                    );
                }
                tokio::time::sleep((Duration::from_millis(10) * (1 << self.failures)).min(LONGEST_PAUSE)).await;
            }
        }
        Ok(())
    }

    /// `None` for events of later days.
    fn read(&mut self, event: Event) -> Result<Option<WatchEvent>, ClientError> {
        if event.id.is_some() {
            self.last_event = event.id;
        }
        match event.name.as_str() {
            "snapshot" => Ok(Some(WatchEvent::Snapshot(self.parse(&event.data)?))),
            "history" => Ok(Some(WatchEvent::History(self.parse(&event.data)?))),
            "end" => Ok(Some(WatchEvent::End)),
            _ => Ok(None),
        }
    }

    fn parse<T: DeserializeOwned>(&self, data: &str) -> Result<T, ClientError> {
        serde_json::from_str(data).map_err(|error| self.unexpected(&format!("an event cannot be read: {error}")))
    }

    fn unexpected(&self, reason: &str) -> ClientError {
        ClientError::Unexpected {
            url: self.client.server().to_owned(),
            reason: reason.to_owned(),
        }
    }
}
