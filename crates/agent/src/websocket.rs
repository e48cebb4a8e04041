//! The WebSocket between agent and node: connects, writes frames, reads frames.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use unisono_model::name::Name;
use unisono_model::protocol::{AgentMessage, ServerMessage};

use crate::link::{Link, Pumps};

/// Bytes of the largest frame that the agent reads: the largest input, the largest context, and room for more of them.
const MAX_INCOMING_BYTES: usize = 64 * 1024 * 1024;
/// A connection reads into a buffer of this size; the library's default of 128 KiB is paid per connection.
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// How long a connection may take to come up.
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
/// Until the node has said what it takes.
const FRAME_LIMIT_BEFORE_WELCOME: usize = 1024 * 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The address of the agents' WebSocket of a server such as `http://127.0.0.1:7717`.
pub(crate) fn url_of(server: &str, namespace: &Name) -> String {
    let base = server.trim_end_matches('/');
    let base = match base.split_once("://") {
        Some(("https", rest)) => format!("wss://{rest}"),
        Some((_, rest)) => format!("ws://{rest}"),
        None => format!("ws://{base}"),
    };
    format!("{base}/api/v1/namespaces/{namespace}/agents/connect")
}

/// Connects, and starts the tasks that carry batches.
///
/// # Errors
/// Why there is no connection, in words that go on from "cannot connect to …: ".
pub(crate) async fn connect(url: &str) -> Result<Link, String> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_frame_size(Some(MAX_INCOMING_BYTES))
        .max_message_size(Some(MAX_INCOMING_BYTES));
    let connecting = connect_async_with_config(url, Some(config), true);
    let (socket, _) = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| format!("no answer within {} seconds", CONNECT_TIMEOUT.as_secs()))?
        .map_err(describe)?;
    Ok(carry(socket))
}

fn describe(error: WsError) -> String {
    match error {
        WsError::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "connection refused; is the server running? start one with `unisono server`".to_owned()
        }
        WsError::Http(response) => {
            let body = response
                .body()
                .as_deref()
                .map(String::from_utf8_lossy)
                .unwrap_or_default();
            format!("the server answered {} {}", response.status(), body.trim())
                .trim_end()
                .to_owned()
        }
        error => error.to_string(),
    }
}

fn carry(socket: Socket) -> Link {
    let (sink, stream) = socket.split();
    let (outgoing, to_write) = mpsc::channel(1);
    let (to_session, incoming) = mpsc::channel(4);
    let (ended, reason) = oneshot::channel();
    let (frame_limit, limit) = watch::channel(FRAME_LIMIT_BEFORE_WELCOME);
    let writer = tokio::spawn(write(sink, to_write, limit));
    let reader = tokio::spawn(async move {
        let why = read(stream, to_session).await;
        let _ = ended.send(why);
    });
    Link {
        outgoing,
        incoming,
        frame_limit,
        pumps: Some(Pumps { writer, reader, reason }),
    }
}

/// Writes batches as frames. Everything that is pending when a frame is written travels in it; nothing waits for more.
async fn write(
    mut sink: SplitSink<Socket, Message>,
    mut batches: mpsc::Receiver<Vec<AgentMessage>>,
    limit: watch::Receiver<usize>,
) {
    while let Some(batch) = batches.recv().await {
        let limit = *limit.borrow();
        for frame in frames(&batch, limit) {
            if let Err(error) = sink.feed(Message::text(frame)).await {
                tracing::debug!(%error, "the connection takes no more frames");
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
}

/// The messages as JSON arrays of at most `limit` bytes each; a message larger than that has one of its own.
fn frames(batch: &[AgentMessage], limit: usize) -> Vec<String> {
    let mut frames = Vec::new();
    let mut frame = String::new();
    for message in batch {
        let Ok(text) = serde_json::to_string(message) else {
            tracing::error!(?message, "a message has no form in JSON; it is left out");
            continue;
        };
        if !frame.is_empty() && frame.len() + text.len() + 2 > limit {
            frame.push(']');
            frames.push(std::mem::take(&mut frame));
        }
        frame.push(if frame.is_empty() { '[' } else { ',' });
        frame.push_str(&text);
    }
    if !frame.is_empty() {
        frame.push(']');
        frames.push(frame);
    }
    frames
}

/// Reads frames until the connection ends; says why it did.
async fn read(mut stream: SplitStream<Socket>, batches: mpsc::Sender<Vec<ServerMessage>>) -> String {
    loop {
        let batch = match stream.next().await {
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(batch) => batch,
                Err(error) => return format!("the server sent a frame that this agent cannot read: {error}"),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Vec::new(),
            Some(Ok(Message::Close(Some(close)))) if !close.reason.is_empty() => {
                return format!("the server closed it: {}", close.reason);
            }
            Some(Ok(Message::Close(_))) | None => return "the server closed it".to_owned(),
            Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                return "the server sent a frame that is not text".to_owned();
            }
            Some(Err(error)) => return error.to_string(),
        };
        if batches.send(batch).await.is_err() {
            return "the agent closed it".to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use unisono_model::protocol::Heartbeat;

    #[test]
    fn everything_pending_travels_in_one_frame_within_the_limit() {
        let beat = || AgentMessage::Heartbeat(Heartbeat::default());
        let batch = vec![beat(), beat(), beat()];
        assert_eq!(
            frames(&batch, 1000),
            [r#"[{"heartbeat":{}},{"heartbeat":{}},{"heartbeat":{}}]"#]
        );
        assert_eq!(
            frames(&batch, 36),
            [r#"[{"heartbeat":{}},{"heartbeat":{}}]"#, r#"[{"heartbeat":{}}]"#]
        );
        assert!(frames(&[], 36).is_empty());
    }

    #[test]
    fn the_address_follows_the_servers() {
        let namespace = Name::parse("prod").unwrap();
        let path = "/api/v1/namespaces/prod/agents/connect";
        assert_eq!(
            url_of("http://127.0.0.1:7717/", &namespace),
            format!("ws://127.0.0.1:7717{path}")
        );
        assert_eq!(
            url_of("https://unisono.example.com", &namespace),
            format!("wss://unisono.example.com{path}")
        );
        assert_eq!(
            url_of("localhost:7717", &namespace),
            format!("ws://localhost:7717{path}")
        );
    }
}
