//! The load: starts orchestrations and waits for their ends, as cheaply as a client can, so that the server is what is
//! measured.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
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
    base: String,
}

impl Connection {
    /// Connects to a server such as `http://127.0.0.1:7717`.
    ///
    /// # Errors
    /// [`Failure::Work`] when that does not work.
    pub(super) async fn open(url: &str, namespace: &Name) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::work(format!("cannot connect to {url}: {error}"));
        let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let stream = TcpStream::connect(&host).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        tokio::spawn(connection);
        Ok(Self {
            requests,
            host,
            base: format!("/api/v1/namespaces/{namespace}"),
        })
    }

    /// Starts one orchestration. With `wait` it is answered when its run has ended, or after that time.
    ///
    /// # Errors
    /// [`Failure::Work`] with what the server said.
    pub(super) async fn start(
        &mut self,
        request: &StartRequest,
        wait: Option<Duration>,
    ) -> Result<StartResponse, Failure> {
        let waits = wait.map_or_else(String::new, |wait| format!("?waitSeconds={}", wait.as_secs()));
        self.send(Method::POST, &format!("/orchestrations{waits}"), request)
            .await
    }

    /// Sends one request about something in the namespace, and reads its answer.
    ///
    /// # Errors
    /// [`Failure::Work`] with what the server said.
    pub(super) async fn send<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| failed(path, &error))?;
        self.read(method, path, Bytes::from(body)).await
    }

    /// Gets something in the namespace.
    ///
    /// # Errors
    /// [`Failure::Work`] with what the server said.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        self.read(Method::GET, path, Bytes::new()).await
    }

    async fn read<T: DeserializeOwned>(&mut self, method: Method, path: &str, body: Bytes) -> Result<T, Failure> {
        let response = self.ask(method, path, body, "application/json").await?;
        let body = response.collect().await.map_err(|error| failed(path, &error))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| failed(path, &error))
    }

    /// Watches something in the namespace: the answer is a stream of server-sent events.
    ///
    /// # Errors
    /// [`Failure::Work`] with what the server said.
    pub(super) async fn events(&mut self, path: &str) -> Result<Incoming, Failure> {
        self.ask(Method::GET, path, Bytes::new(), "text/event-stream").await
    }

    async fn ask(&mut self, method: Method, path: &str, body: Bytes, accept: &str) -> Result<Incoming, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, accept)
            .body(Full::new(body))
            .map_err(|error| failed(path, &error))?;
        self.requests.ready().await.map_err(|error| failed(path, &error))?;
        let sent = self.requests.send_request(request).await;
        let response = sent.map_err(|error| failed(path, &error))?;
        let is_success = response.status().is_success();
        let body = response.into_body();
        if is_success {
            return Ok(body);
        }
        let problem = body.collect().await.map_err(|error| failed(path, &error))?;
        Err(failed(path, &String::from_utf8_lossy(&problem.to_bytes())))
    }
}

fn failed(path: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::work(format!("a request for {path} failed: {error}"))
}

impl Starter {
    /// Runs one orchestration of this type to its end.
    ///
    /// # Errors
    /// [`Failure::Work`] when it cannot be started, or does not complete in time.
    pub(super) async fn run(&mut self, type_name: &str, patience: Duration) -> Result<(), Failure> {
        let request = request(type_name);
        let response = match self {
            Self::Http(connection) => connection.start(&request, Some(patience)).await?,
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
