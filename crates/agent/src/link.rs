//! A connection to a node, reduced to two channels of batches.

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use unisono_model::protocol::{AgentMessage, ServerMessage};

/// The agent's end of a connection: batches of messages both ways, in order. Dropped ends mean that the connection is
/// gone.
///
/// A WebSocket is one; [`Link::pair`] is another, for an agent in the process of its node.
#[derive(Debug)]
pub struct Link {
    /// Batches to the node. A small capacity makes batches grow while the node is slow to take them.
    pub(crate) outgoing: mpsc::Sender<Vec<AgentMessage>>,
    /// Batches from the node. An empty one is a sign of life.
    pub(crate) incoming: mpsc::Receiver<Vec<ServerMessage>>,
    /// The largest frame that the node said it takes, in bytes, told to whoever writes frames.
    pub(crate) frame_limit: tokio::sync::watch::Sender<usize>,
    pub(crate) pumps: Option<Pumps>,
}

/// The tasks that carry batches over a socket.
#[derive(Debug)]
pub(crate) struct Pumps {
    pub(crate) writer: JoinHandle<()>,
    pub(crate) reader: JoinHandle<()>,
    /// Why the connection ended, once it did.
    pub(crate) reason: oneshot::Receiver<String>,
}

/// The node's end of a [`Link`] within one process.
#[derive(Debug)]
pub struct NodeEnd {
    /// Batches to the agent.
    pub outgoing: mpsc::Sender<Vec<ServerMessage>>,
    /// Batches from the agent.
    pub incoming: mpsc::Receiver<Vec<AgentMessage>>,
}

impl Link {
    /// A connection within one process, that holds up to `capacity` batches each way.
    ///
    /// # Panics
    /// When `capacity` is 0.
    #[must_use]
    pub fn pair(capacity: usize) -> (Self, NodeEnd) {
        let (to_node, from_agent) = mpsc::channel(capacity);
        let (to_agent, from_node) = mpsc::channel(capacity);
        let (frame_limit, _) = tokio::sync::watch::channel(usize::MAX);
        let link = Self {
            outgoing: to_node,
            incoming: from_node,
            frame_limit,
            pumps: None,
        };
        (
            link,
            NodeEnd {
                outgoing: to_agent,
                incoming: from_agent,
            },
        )
    }

    /// Ends the connection after what was sent is written.
    pub(crate) async fn close(self) {
        drop(self.outgoing);
        if let Some(mut pumps) = self.pumps {
            let written = tokio::time::timeout(std::time::Duration::from_secs(2), &mut pumps.writer).await;
            if written.is_err() {
                pumps.writer.abort();
            }
            pumps.reader.abort();
        }
    }

    /// Why the connection ended, in words that go on from "the connection to … is lost: ".
    pub(crate) async fn reason(&mut self) -> String {
        let Some(pumps) = &mut self.pumps else {
            return "the node closed it".to_owned();
        };
        let reason = tokio::time::timeout(std::time::Duration::from_secs(1), &mut pumps.reason).await;
        reason
            .ok()
            .and_then(Result::ok)
            .unwrap_or_else(|| "it was closed".to_owned())
    }
}

/// A link that is given up without [`Link::close`] leaves no task behind.
impl Drop for Pumps {
    fn drop(&mut self) {
        self.writer.abort();
        self.reader.abort();
    }
}
