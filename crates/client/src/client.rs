//! One method for each route.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use unisono_model::api::{
    ActivityResponse, AgentView, ApplyRequest, ApplyResponse, CancelRequest, CancelResponse, CompleteRequest,
    DefinitionView, FailRequest, HistoryEntry, LogEntry, LogFilter, OrchestrationCount, OrchestrationSummary,
    OrchestrationView, Page, StartRequest, StartResponse,
};
use unisono_model::ids::Revision;
use unisono_model::name::Name;
use unisono_model::storage::StorageView;
use unisono_model::trace::TraceContext;

use crate::backup::BackupDownload;
use crate::error::ClientError;
use crate::query::{GroupBy, OrchestrationFilter, PageRequest, Query, joined, segment, with_query};
use crate::request::{self, Repeat, install_crypto_provider};

/// The header by which a caller says who they are.
const ACTOR: HeaderName = HeaderName::from_static("unisono-actor");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the server is, and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// The server's address, such as `http://127.0.0.1:7717`.
    pub server: String,
    /// The namespace of every request.
    pub namespace: String,
    /// How long to wait for an answer. A watch has no such limit.
    pub timeout: Duration,
    /// Who asks, for the history, such as `ada@host`; characters that a header cannot carry are left out.
    pub actor: Option<String>,
    /// The trace that requests belong to, if they belong to one.
    pub trace: Option<TraceContext>,
}

impl ClientOptions {
    /// The usual way to talk to this server: 30 seconds for an answer.
    pub fn new(server: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            namespace: namespace.into(),
            timeout: Duration::from_secs(30),
            actor: None,
            trace: None,
        }
    }
}

/// A client of one namespace of one server. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    server: String,
    base: String,
    timeout: Duration,
}

/// The two families of definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefinitionFamily {
    /// Orchestration definitions.
    Orchestration,
    /// Activity definitions.
    Activity,
}

impl DefinitionFamily {
    fn path(self) -> &'static str {
        match self {
            Self::Orchestration => "/orchestration-definitions",
            Self::Activity => "/activity-definitions",
        }
    }
}

impl Client {
    /// A client; connects when it is first used.
    ///
    /// # Errors
    /// [`ClientError::BadArgument`] when the server's address or the namespace is not usable.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        install_crypto_provider();
        let url = server_url(&options.server)?;
        let namespace = Name::parse(&options.namespace).map_err(|error| ClientError::BadArgument {
            what: "the namespace",
            given: options.namespace.clone(),
            reason: error.to_string(),
        })?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .default_headers(headers(&options))
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&url) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| ClientError::BadArgument {
            what: "the server address",
            given: options.server.clone(),
            reason: format!("no HTTP client can be made for it: {error}"),
        })?;
        let server = url.as_str().trim_end_matches('/').to_owned();
        let base = format!("{server}/api/v1/namespaces/{namespace}");
        Ok(Self {
            inner: Arc::new(Inner {
                http,
                server,
                base,
                timeout: options.timeout,
            }),
        })
    }

    /// The server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    // ---- definitions

    /// Validates definitions and stores them: all of them, or none.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with every mistake; and as every method.
    pub async fn apply(&self, request: &ApplyRequest) -> Result<ApplyResponse, ClientError> {
        self.post("/definitions", request, Repeat::Safe).await
    }

    /// One page of the newest versions of the definitions of a family.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn definitions(
        &self,
        family: DefinitionFamily,
        page: &PageRequest,
    ) -> Result<Page<DefinitionView>, ClientError> {
        self.get(family.path(), page.query()).await
    }

    /// One definition; the newest version when `version` is left out.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn definition(
        &self,
        family: DefinitionFamily,
        r#type: &str,
        version: Option<u32>,
    ) -> Result<DefinitionView, ClientError> {
        let mut query = Query::default();
        query.option("version", version);
        self.get(&format!("{}/{}", family.path(), segment("the type", r#type)?), query)
            .await
    }

    /// Deletes a definition.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when something uses it; and as every method.
    pub async fn delete_definition(&self, family: DefinitionFamily, r#type: &str) -> Result<(), ClientError> {
        let path = format!("{}/{}", family.path(), segment("the type", r#type)?);
        self.send(self.request(Method::DELETE, &path), Repeat::Never)
            .await
            .map(drop)
    }

    // ---- orchestrations

    /// Starts an orchestration. With an id of the caller's the start is idempotent, and is repeated when the
    /// connection fails.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when the input does not fit, or the id stands for something else; and as every method.
    pub async fn start(&self, request: &StartRequest) -> Result<StartResponse, ClientError> {
        let repeat = if request.id.is_some() {
            Repeat::Safe
        } else {
            Repeat::Never
        };
        self.post("/orchestrations", request, repeat).await
    }

    /// Starts an orchestration and waits until it has ended, at most `wait` (whole seconds): the answer's `state`
    /// says which.
    ///
    /// # Errors
    /// As [`Client::start`].
    pub async fn start_and_wait(&self, request: &StartRequest, wait: Duration) -> Result<StartResponse, ClientError> {
        let path = format!("/orchestrations?waitSeconds={}", wait.as_secs());
        self.post(&path, request, Repeat::Never).await
    }

    /// One page of the orchestrations that fit the filter.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn orchestrations(
        &self,
        filter: &OrchestrationFilter,
        page: &PageRequest,
    ) -> Result<Page<OrchestrationSummary>, ClientError> {
        let mut query = page.query();
        filter.add_to(&mut query);
        self.get("/orchestrations", query).await
    }

    /// How many orchestrations fit the filter, in groups if something is given to tell them apart by.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn count(&self, filter: &OrchestrationFilter, by: &[GroupBy]) -> Result<OrchestrationCount, ClientError> {
        let mut query = Query::default();
        filter.add_to(&mut query);
        query.option("groupBy", joined(by));
        self.get("/orchestration-counts", query).await
    }

    /// Everything about one orchestration.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn orchestration(&self, id: &str) -> Result<OrchestrationView, ClientError> {
        self.get(&orchestration(id, "")?, Query::default()).await
    }

    /// One page of an orchestration's history, of what happened later than `after`.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn history(
        &self,
        id: &str,
        after: Option<Revision>,
        limit: Option<u32>,
    ) -> Result<Page<HistoryEntry>, ClientError> {
        let mut query = Query::default();
        query.option("after", after);
        query.option("limit", limit);
        self.get(&orchestration(id, "/history")?, query).await
    }

    /// Cancels an orchestration.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when it has ended already; and as every method.
    pub async fn cancel(&self, id: &str, request: &CancelRequest) -> Result<CancelResponse, ClientError> {
        self.post(&orchestration(id, "/cancel")?, request, Repeat::Never).await
    }

    /// Completes a waiting activity.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when the token is not the one it waits for; and as every method.
    pub async fn complete(
        &self,
        id: &str,
        activity: &str,
        request: &CompleteRequest,
    ) -> Result<ActivityResponse, ClientError> {
        let path = format!("/activities/{}/complete", segment("the activity's id", activity)?);
        self.post(&orchestration(id, &path)?, request, Repeat::Never).await
    }

    /// Fails a waiting activity.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when the token is not the one it waits for; and as every method.
    pub async fn fail(&self, id: &str, activity: &str, request: &FailRequest) -> Result<ActivityResponse, ClientError> {
        let path = format!("/activities/{}/fail", segment("the activity's id", activity)?);
        self.post(&orchestration(id, &path)?, request, Repeat::Never).await
    }

    /// One page of the log of an orchestration's activities: of all of them, of one, or of one attempt.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn logs(
        &self,
        id: &str,
        activity: Option<&str>,
        attempt: Option<u32>,
        page: &PageRequest,
    ) -> Result<Page<LogEntry>, ClientError> {
        let mut query = page.query();
        query.option("activity", activity);
        query.option("attempt", attempt);
        self.get(&orchestration(id, "/logs")?, query).await
    }

    // ---- agents and server

    /// The agents of the namespace, connected or lately gone.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn agents(&self) -> Result<Page<AgentView>, ClientError> {
        self.get("/agents", Query::default()).await
    }

    /// Whether the server is ready to take requests: an error says why it is not.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.text("/readyz").await.map(drop)
    }

    /// Whether the server lives: an error says why not.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn healthy(&self) -> Result<(), ClientError> {
        self.text("/healthz").await.map(drop)
    }

    /// What the server's data takes on disk, and how many orchestrations of each definition that is.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn storage(&self) -> Result<StorageView, ClientError> {
        let url = format!("{}/api/v1/system/storage", self.inner.server);
        let request = self.inner.http.get(url).timeout(self.inner.timeout);
        let response = self.send(request, Repeat::Safe).await?;
        request::json(&self.inner.server, self.inner.timeout, response).await
    }

    /// What the server logs.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn log_filter(&self) -> Result<LogFilter, ClientError> {
        self.log(Method::GET, |request| request).await
    }

    /// Changes what the server logs, until it is changed again or the server ends.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when the filter is not understood; and as every method.
    pub async fn set_log_filter(&self, filter: &LogFilter) -> Result<LogFilter, ClientError> {
        self.log(Method::PUT, |request| request.json(filter)).await
    }

    async fn log(
        &self,
        method: Method,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<LogFilter, ClientError> {
        let url = format!("{}/api/v1/system/log", self.inner.server);
        let request = with(self.inner.http.request(method, url).timeout(self.inner.timeout));
        let response = self.send(request, Repeat::Safe).await?;
        request::json(&self.inner.server, self.inner.timeout, response).await
    }

    /// The server's metrics, in the OpenMetrics text format.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn metrics(&self) -> Result<String, ClientError> {
        self.text("/metrics").await
    }

    /// The OpenAPI description of the server's API, as JSON text.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn openapi(&self) -> Result<String, ClientError> {
        self.text("/openapi.json").await
    }

    /// Takes a backup of everything the server has, while it goes on.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when too many backups are being taken; and as every method.
    pub async fn backup(&self) -> Result<BackupDownload, ClientError> {
        let request = self
            .inner
            .http
            .post(format!("{}/api/v1/system/backup", self.inner.server));
        Ok(BackupDownload {
            server: self.inner.server.clone(),
            response: self.send(request, Repeat::Never).await?,
        })
    }

    // ---- how requests are sent

    async fn text(&self, path: &str) -> Result<String, ClientError> {
        let url = format!("{}{path}", self.inner.server);
        let request = self.inner.http.get(url).timeout(self.inner.timeout);
        let response = self.send(request, Repeat::Safe).await?;
        response
            .text()
            .await
            .map_err(|error| request::failure(&self.inner.server, self.inner.timeout, error))
    }

    /// A request outside of the namespace.
    pub(crate) fn outside(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.inner.server);
        self.inner.http.request(method, url).timeout(self.inner.timeout)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.inner
            .http
            .request(method, format!("{}{path}", self.inner.base))
            .timeout(self.inner.timeout)
    }

    pub(crate) async fn send(&self, request: RequestBuilder, repeat: Repeat) -> Result<reqwest::Response, ClientError> {
        request::send(&self.inner.server, self.inner.timeout, request, repeat).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str, query: Query) -> Result<T, ClientError> {
        let path = with_query(path, &query);
        let response = self.send(self.request(Method::GET, &path), Repeat::Safe).await?;
        request::json(&self.inner.server, self.inner.timeout, response).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        repeat: Repeat,
    ) -> Result<T, ClientError> {
        self.send_json(Method::POST, path, body, repeat).await
    }

    pub(crate) async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        repeat: Repeat,
    ) -> Result<T, ClientError> {
        self.read(self.request(method, path).json(body), repeat).await
    }

    /// Sends a request, and reads its answer.
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        repeat: Repeat,
    ) -> Result<T, ClientError> {
        let response = self.send(request, repeat).await?;
        request::json(&self.inner.server, self.inner.timeout, response).await
    }

    /// Opens a stream of events.
    pub(crate) async fn events(&self, path: &str, last_event: Option<&str>) -> Result<reqwest::Response, ClientError> {
        let url = format!("{}{path}", self.inner.base);
        let mut request = self.inner.http.get(url).header("accept", "text/event-stream");
        if let Some(last) = last_event {
            request = request.header("last-event-id", last);
        }
        self.send(request, Repeat::Safe).await
    }
}

/// The headers that say who asks, and in which trace.
fn headers(options: &ClientOptions) -> HeaderMap {
    let trace = options.trace.as_ref();
    let state = trace.and_then(|trace| trace.state.clone());
    let said = [(TRACEPARENT, trace.map(TraceContext::parent)), (TRACESTATE, state)];
    let traced = said
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::try_from(value?).ok()?)));
    traced.chain(actor(options.actor.as_deref())).collect()
}

fn actor(actor: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
    let visible: String = actor
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_graphic)
        .collect();
    let value = HeaderValue::from_str(&visible).ok().filter(|value| !value.is_empty());
    Some((ACTOR, value?))
}

pub(crate) fn orchestration(id: &str, rest: &str) -> Result<String, ClientError> {
    Ok(format!(
        "/orchestrations/{}{rest}",
        segment("the orchestration's id", id)?
    ))
}

fn server_url(server: &str) -> Result<Url, ClientError> {
    let bad = |reason: String| ClientError::BadArgument {
        what: "the server address",
        given: server.to_owned(),
        reason: format!("{reason}; give one such as http://127.0.0.1:7717"),
    };
    let url: Url = server.parse().map_err(|error| bad(format!("{error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad(format!("{:?} is not http or https", url.scheme())));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it has a query or a fragment".to_owned()));
    }
    Ok(url)
}

/// A proxy is never asked for the local machine.
fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bad_server_address_says_what_a_good_one_is() {
        for bad in ["127.0.0.1:7717", "ftp://x", "", "http://"] {
            let error = Client::new(ClientOptions::new(bad, "default")).unwrap_err().to_string();
            assert!(error.contains("http://127.0.0.1:7717"), "{error}");
        }
        let error = Client::new(ClientOptions::new("http://x", "a b"))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("the namespace \"a b\" is not usable"), "{error}");
    }

    #[test]
    fn loopback_is_recognised() {
        for (url, loopback) in [
            ("http://127.0.0.1:1", true),
            ("http://localhost", true),
            ("http://[::1]:80", true),
            ("http://10.0.0.1", false),
            ("https://localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), loopback, "{url}");
        }
    }
}
