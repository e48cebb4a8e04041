//! Follows a stream of server-sent events through broken connections and restarts of the server.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::error::ClientError;
use crate::sse::{Event, Parser};

/// How often a broken stream is opened again without hearing anything before it is given up.
const MAX_FAILURES: u32 = 8;
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// After this long without a byte the connection may be dead without a word; a new one shows.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// A stream that goes on where it broke.
pub(crate) struct Follow {
    client: Client,
    /// Below the namespace, with its query.
    path: String,
    last_event: Option<String>,
    connection: Option<Connection>,
    ready: VecDeque<Event>,
    failures: u32,
}

struct Connection {
    bytes: BoxStream<'static, reqwest::Result<Bytes>>,
    parser: Parser,
}

impl Follow {
    pub(crate) fn new(client: &Client, path: String) -> Self {
        Self {
            client: client.clone(),
            path,
            last_event: None,
            connection: None,
            ready: VecDeque::new(),
            failures: 0,
        }
    }

    /// The next event, after as many connections as that takes.
    pub(crate) async fn next(&mut self) -> Result<Event, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.failures = 0;
                if event.id.is_some() {
                    self.last_event.clone_from(&event.id);
                }
                return Ok(event);
            }
            if let Err(error) = self.fill().await {
                self.connection = None;
                self.failures += 1;
                if !error.may_pass() || self.failures > MAX_FAILURES {
                    return Err(error);
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
                let response = self.client.events(&self.path, self.last_event.as_deref()).await?;
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
            // The server ended the stream: it restarts, and the next one goes on.
            Some(Err(_)) | None => {
                self.connection = None;
                self.failures += 1;
                if self.failures > MAX_FAILURES {
                    return Err(self.unexpected("the stream of events ended again and again"));
                }
                tokio::time::sleep((Duration::from_millis(10) * (1 << self.failures)).min(LONGEST_PAUSE)).await;
            }
        }
        Ok(())
    }

    pub(crate) fn parse<T: DeserializeOwned>(&self, data: &str) -> Result<T, ClientError> {
        serde_json::from_str(data).map_err(|error| self.unexpected(&format!("an event cannot be read: {error}")))
    }

    fn unexpected(&self, reason: &str) -> ClientError {
        ClientError::Unexpected {
            url: self.client.server().to_owned(),
            reason: reason.to_owned(),
        }
    }
}
