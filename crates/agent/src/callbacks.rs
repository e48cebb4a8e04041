//! A small HTTP listener for those who answer later: they call a path, and a processor's handler, or the built-in one
//! that completes waiting activities, takes the call.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures_util::future::BoxFuture;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use unisono_client::{Client, ClientError};
use unisono_model::api::{CompleteRequest, FailRequest};
use unisono_model::protocol::ActivityError;

use crate::agent::AgentError;
use crate::context::ActivityContext;

/// Bytes of the body of a callback.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A call to a registered path.
#[derive(Clone, Debug)]
pub struct CallbackRequest {
    /// The HTTP method.
    pub method: Method,
    /// The path, as it was registered.
    pub path: String,
    /// What follows the `?`.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, up to 1 MiB.
    pub body: Bytes,
}

/// The answer to a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackResponse {
    /// The HTTP status.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

type Handler = Arc<dyn Fn(CallbackRequest) -> BoxFuture<'static, CallbackResponse> + Send + Sync>;

/// Routes callbacks to processors. There is one when the configuration has `callbacks.listen`.
///
/// Registered paths live in memory: after a restart of the agent they are gone. [`completion_url`](Self::completion_url)
/// needs no registration, and works after a restart as well.
pub struct CallbackRouter {
    handlers: Mutex<HashMap<String, Handler>>,
    public_url: String,
    client: Client,
}

impl std::fmt::Debug for CallbackRouter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallbackRouter")
            .field("public_url", &self.public_url)
            .finish_non_exhaustive()
    }
}

/// A path cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the callback path {path:?} {reason}")]
pub struct CallbackError {
    /// The path.
    pub path: String,
    /// Why not, and what to do.
    pub reason: &'static str,
}

impl CallbackRouter {
    /// Registers a path such as `/dns/ready`, and returns the URL by which others reach it. It stays until
    /// [`remove`](Self::remove).
    ///
    /// # Errors
    /// The path does not begin with `/`, belongs to the router itself, or is taken.
    pub fn register<F, R>(&self, path: &str, handler: F) -> Result<String, CallbackError>
    where
        F: Fn(CallbackRequest) -> R + Send + Sync + 'static,
        R: Future<Output = CallbackResponse> + Send + 'static,
    {
        let refuse = |reason| {
            Err(CallbackError {
                path: path.to_owned(),
                reason,
            })
        };
        if !path.starts_with('/') || path.contains(['?', '#']) {
            return refuse("is no path; begin it with `/`, and leave `?` and `#` out");
        }
        if path == "/activities" || path.starts_with("/activities/") {
            return refuse("belongs to the router itself; choose one that does not begin with /activities");
        }
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        if handlers.contains_key(path) {
            return refuse("is registered already; remove it first, or add something unique such as the token");
        }
        handlers.insert(path.to_owned(), Arc::new(move |request| Box::pin(handler(request))));
        Ok(format!("{}{path}", self.public_url))
    }

    /// Forgets a path; says whether it was registered.
    pub fn remove(&self, path: &str) -> bool {
        self.handlers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(path)
            .is_some()
    }

    /// The URL that completes this activity while it waits: a `POST` with a JSON object as its body, which becomes the
    /// output. With `/fail` in place of `/complete` at its end the body is an error, `{"code": …, "message": …}`.
    ///
    /// Whoever knows the URL can complete the activity: it has the attempt's token in it.
    #[must_use]
    pub fn completion_url(&self, context: &ActivityContext) -> String {
        let (id, activity, token) = (context.orchestration_id(), context.activity_id(), context.token());
        format!("{}/activities/{id}/{activity}/{token}/complete", self.public_url)
    }
}

/// A bound address, not served yet.
pub(crate) struct Listener {
    socket: TcpListener,
    router: Arc<CallbackRouter>,
}

/// The served address; dropped, it stops.
pub(crate) struct Serving(CancellationToken);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Listener {
    /// Binds the address. Without a public URL others are told the address itself.
    pub(crate) fn bind(address: SocketAddr, public_url: Option<String>, client: Client) -> std::io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let public_url = match public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", socket.local_addr()?),
        };
        let router = Arc::new(CallbackRouter {
            handlers: Mutex::default(),
            public_url,
            client,
        });
        Ok(Self { socket, router })
    }

    pub(crate) fn router(&self) -> Arc<CallbackRouter> {
        Arc::clone(&self.router)
    }

    pub(crate) fn serve(self) -> Result<Serving, AgentError> {
        let address = self
            .socket
            .local_addr()
            .map_or_else(|_| String::new(), |address| address.to_string());
        let socket = tokio::net::TcpListener::from_std(self.socket).map_err(|error| AgentError::Callbacks {
            address: address.clone(),
            reason: error.to_string(),
        })?;
        let app = Router::new()
            .route(
                "/activities/{orchestration}/{activity}/{token}/complete",
                post(complete),
            )
            .route("/activities/{orchestration}/{activity}/{token}/fail", post(fail))
            .fallback(dispatch)
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(self.router);
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tracing::info!(address, "listening for callbacks");
        tokio::spawn(async move { axum::serve(socket, app).with_graceful_shutdown(stopped).await });
        Ok(Serving(stop))
    }
}

/// Calls the handler of a registered path.
async fn dispatch(State(router): State<Arc<CallbackRouter>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let handler = router
        .handlers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&path)
        .cloned();
    let Some(handler) = handler else {
        return (
            StatusCode::NOT_FOUND,
            "no processor of this agent waits for this callback",
        )
            .into_response();
    };
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a callback has at most {MAX_BODY_BYTES} bytes"),
        )
            .into_response();
    };
    let query = parts.uri.query().map(str::to_owned);
    let answer = handler(CallbackRequest {
        method: parts.method,
        path,
        query,
        headers: parts.headers,
        body,
    })
    .await;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, answer.body).into_response()
}

type Waiting = Path<(String, String, String)>;

async fn complete(
    State(router): State<Arc<CallbackRouter>>,
    Path((orchestration, activity, token)): Waiting,
    body: Bytes,
) -> Response {
    let output = match body.trim_ascii() {
        [] => None,
        text => match serde_json::from_slice::<Box<RawValue>>(text) {
            Ok(value) if value.get().starts_with('{') => Some(value),
            _ => return bad_body("the body must be empty or a JSON object, which becomes the activity's output"),
        },
    };
    let request = CompleteRequest {
        token,
        output,
        context: None,
    };
    let answer = router.client.complete(&orchestration, &activity, &request).await;
    said(answer.map(drop))
}

async fn fail(
    State(router): State<Arc<CallbackRouter>>,
    Path((orchestration, activity, token)): Waiting,
    body: Bytes,
) -> Response {
    let Ok(error) = serde_json::from_slice::<ActivityError>(&body) else {
        return bad_body("the body must be an error such as {\"code\": \"dns\", \"message\": \"no such zone\"}");
    };
    let request = FailRequest {
        token,
        error,
        retry: false,
    };
    let answer = router.client.fail(&orchestration, &activity, &request).await;
    said(answer.map(drop))
}

fn bad_body(message: &'static str) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, message).into_response()
}

/// What the server said, said on to the caller.
fn said(answer: Result<(), ClientError>) -> Response {
    match answer {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error @ ClientError::Problem(_)) => {
            let status = match &error {
                ClientError::Problem(problem) => problem.status,
                _ => 500,
            };
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, error.to_string()).into_response()
        }
        Err(error @ ClientError::BadArgument { .. }) => (StatusCode::NOT_FOUND, error.to_string()).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
