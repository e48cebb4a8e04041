//! The load: starts orchestrations and waits for their ends, as cheaply as a client can, so that the server is what is
//! measured.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use unisono_model::api::{OrchestrationState, StartRequest, StartResponse};
use unisono_model::name::Name;
use unisono_node::Node;

use crate::failure::Failure;

/// Starts one orchestration after the other, and waits for the end of each.
pub(super) enum Starter {
    /// Over a connection of its own.
    Http(Connection),
    /// In the server's process.
    Direct { node: Arc<Node>, namespace: Name },
}

/// One connection to a server.
pub(super) struct Connection {
    requests: SendRequest<Full<Bytes>>,
    host: String,
    path: String,
}

impl Connection {
    /// Connects to a server such as `http://127.0.0.1:7717`. With `wait`, every start is answered when its run has ended,
    /// or after that time.
    ///
    /// # Errors
    /// [`Failure::Work`] when that does not work.
    pub(super) async fn open(url: &str, namespace: &Name, wait: Option<Duration>) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::work(format!("cannot connect to {url}: {error}"));
        let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let stream = TcpStream::connect(&host).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        tokio::spawn(connection);
        let waits = wait.map_or_else(String::new, |wait| format!("?waitSeconds={}", wait.as_secs()));
        Ok(Self {
            requests,
            host,
            path: format!("/api/v1/namespaces/{namespace}/orchestrations{waits}"),
        })
    }

    /// Starts one orchestration.
    ///
    /// # Errors
    /// [`Failure::Work`] with what the server said.
    pub(super) async fn start(&mut self, request: &StartRequest) -> Result<StartResponse, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::work(format!("a start failed: {error}"));
        let body = serde_json::to_vec(request).map_err(|error| failed(&error))?;
        let request = Request::post(&self.path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(&error))?;
        let response = self
            .requests
            .send_request(request)
            .await
            .map_err(|error| failed(&error))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| failed(&error))?
            .to_bytes();
        if !status.is_success() {
            return Err(failed(&String::from_utf8_lossy(&body)));
        }
        serde_json::from_slice(&body).map_err(|error| failed(&error))
    }
}

impl Starter {
    /// Runs one orchestration of this type to its end.
    ///
    /// # Errors
    /// [`Failure::Work`] when it cannot be started, or does not complete in time.
    pub(super) async fn run(&mut self, type_name: &str, patience: Duration) -> Result<(), Failure> {
        let request = request(type_name);
        let response = match self {
            Self::Http(connection) => connection.start(&request).await?,
            Self::Direct { node, namespace } => node
                .start_orchestration(namespace.clone(), request, Some(patience))
                .await
                .map_err(|problem| Failure::work(problem.detail))?,
        };
        if response.state == Some(OrchestrationState::Completed) {
            return Ok(());
        }
        Err(Failure::work(format!(
            "orchestration {} did not complete within {} s",
            response.id,
            patience.as_secs()
        )))
    }
}

/// A start without an id and an input.
pub(super) fn request(type_name: &str) -> StartRequest {
    StartRequest {
        id: None,
        r#type: type_name.to_owned(),
        version: None,
        correlation_id: None,
        input: None,
        labels: std::collections::BTreeMap::new(),
    }
}
