//! Agents: their list, and the WebSocket by which they connect.

use std::task::{Context, Waker};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use unisono_model::api::{AgentView, Page};
use unisono_model::name::Name;
use unisono_model::protocol::AgentMessage;

use super::extract::Names;
use super::link::MAX_FRAME_BYTES;
use super::problem::{Answer, ApiError};
use super::{AgentReader, AgentWriter, Api, LinkClosed, serve_agent};

/// List the agents that are connected, or gone for less than the grace time.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/agents", tag = "agents",
    params(("namespace" = String, Path)), responses((status = 200, body = Page<AgentView>)))]
pub(super) async fn list(State(api): State<Api>, Names([namespace]): Names<1>) -> Answer<Json<Page<AgentView>>> {
    let items = api.partition.query(move |state| state.agents(&namespace)).await?;
    Ok(Json(Page {
        items,
        next_page_token: None,
    }))
}

/// Connect an agent: the WebSocket of docs/protocol.md.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/agents/connect", tag = "agents",
    params(("namespace" = String, Path)), responses((status = 101, description = "Switching to WebSocket")))]
pub(super) async fn connect(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer<Response> {
    let upgrade = upgrade.map_err(|rejection| {
        ApiError::new(rejection.status(), "no-websocket", rejection.body_text())
            .help("agents connect here by WebSocket, as docs/protocol.md describes; `unisono agent` does")
    })?;
    Ok(upgrade
        .read_buffer_size(16 * 1024)
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .on_upgrade(move |socket| serve(api, namespace, socket)))
}

async fn serve(api: Api, namespace: Name, socket: WebSocket) {
    let (sink, stream) = socket.split();
    serve_agent(api, namespace, SocketReader(stream), SocketWriter(sink)).await;
}

struct SocketReader(SplitStream<WebSocket>);

impl AgentReader for SocketReader {
    async fn read(&mut self) -> Result<Vec<AgentMessage>, LinkClosed> {
        let message = match self.0.next().await {
            None => return Err(LinkClosed::Gone("the connection was closed".to_owned())),
            Some(Err(error)) => {
                return Err(LinkClosed::Gone(format!("the connection failed: {error}")));
            }
            Some(Ok(message)) => message,
        };
        let parsed = match &message {
            Message::Text(text) => serde_json::from_str(text.as_str()),
            Message::Binary(bytes) => serde_json::from_slice(bytes),
            Message::Close(_) => {
                return Err(LinkClosed::Gone("the connection was closed".to_owned()));
            }
            // Answered by the library; they are signs of life.
            Message::Ping(_) | Message::Pong(_) => return Ok(Vec::new()),
        };
        parsed.map_err(|error| {
            LinkClosed::Misspoken(format!(
                "a frame is a JSON array of messages as docs/protocol.md describes them: {error}"
            ))
        })
    }
}

struct SocketWriter(SplitSink<WebSocket, Message>);

impl AgentWriter for SocketWriter {
    async fn write(&mut self, frame: Vec<unisono_model::protocol::ServerMessage>) -> Result<(), LinkClosed> {
        // Messages are made of types that can always be written as JSON.
        let text = serde_json::to_string(&frame).unwrap_or_else(|_| "[]".to_owned());
        let sent = self.0.send(Message::Text(text.into())).await;
        forget_writer(&mut self.0);
        sent.map_err(|error| LinkClosed::Gone(format!("the connection failed: {error}")))
    }

    async fn close(&mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.0.close()).await;
    }
}

/// Whoever waits for something to read would wake the last one that wrote as well: the halves of a socket share their
/// wakers. This puts one in the place of the writer's that wakes nobody.
fn forget_writer(sink: &mut SplitSink<WebSocket, Message>) {
    let _ = sink.poll_flush_unpin(&mut Context::from_waker(Waker::noop()));
}
