//! The HTTP client of a server: who is asked gets one request, signed, with a bounded answer, and no redirects.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Url};
use rustc_hash::FxHashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use unisono_model::rollout::Endpoint;

use super::secrets::ServerSecrets;
use super::sign::signature;
use crate::api::{Api, ApiError, now};

/// The header that says which run of which server has sent a request.
const SENDER: &str = "unisono-server";
/// Bytes of an answer that are read.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Requests that are under way at a time, of all kinds to everywhere.
const MOST: usize = 512;
/// Requests that are under way at a time to one host.
const MOST_TO_HOST: usize = 16;
/// Hosts that are remembered although nothing is under way to them.
const HOSTS: usize = 256;
/// Characters of an answer that an error shows.
const SHOWN: usize = 200;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A request to somebody outside.
pub(super) struct Asked<'a> {
    pub(super) url: Url,
    /// What is posted; fetched when there is nothing.
    pub(super) body: Option<Vec<u8>>,
    /// The same for every try.
    pub(super) key: &'a str,
}

/// An answer, whatever its status.
pub(super) struct Replied {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

impl Replied {
    /// What is wrong with it as an answer, for people.
    pub(super) fn complaint(&self) -> String {
        let body: String = self.body.trim().chars().take(SHOWN).collect();
        let says = if body.is_empty() {
            String::new()
        } else {
            format!(": {body:?}")
        };
        let why = match self.status {
            StatusCode::LOOP_DETECTED => ", as a server does whose own address was called",
            status if status.is_redirection() => "; redirects are not followed: give the address that it leads to",
            _ => "",
        };
        format!("it answered {}{why}{says}", self.status)
    }
}

/// Asks others.
pub(crate) struct Caller {
    client: Client,
    /// For the local machine, where no proxy is wanted.
    near: Client,
    secrets: Arc<dyn ServerSecrets>,
    /// Which run of which server this is.
    id: String,
    all: Arc<Semaphore>,
    hosts: Mutex<FxHashMap<String, Arc<Semaphore>>>,
}

impl Caller {
    /// One that gets its secrets from here.
    ///
    /// # Errors
    /// When no HTTP client can be made on this machine.
    pub(crate) fn new(secrets: Arc<dyn ServerSecrets>) -> Result<Self, String> {
        // Whoever was first has chosen for the process; here all choose the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .redirect(Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .user_agent(concat!("unisono/", env!("CARGO_PKG_VERSION")))
        };
        let made = |client: Result<Client, reqwest::Error>| {
            client.map_err(|error| format!("no HTTP client can be made: {}", cause(&error)))
        };
        Ok(Self {
            client: made(builder().build())?,
            near: made(builder().no_proxy().build())?,
            secrets,
            id: uuid::Uuid::now_v7().to_string(),
            all: Arc::new(Semaphore::new(MOST)),
            hosts: Mutex::default(),
        })
    }

    /// Sends a request, and reads the answer to it.
    ///
    /// # Errors
    /// What went wrong, for people. No secret is in it, and no part of the URL.
    pub(super) async fn send(&self, endpoint: &Endpoint, asked: Asked<'_>) -> Result<Replied, String> {
        let mut secrets = Vec::new();
        let said = self.try_send(endpoint, asked, &mut secrets).await;
        let clean = |text: String| {
            secrets
                .iter()
                .fold(text, |text, secret| text.replace(secret.as_str(), "…"))
        };
        match said {
            // Whoever is asked may repeat what it was told.
            Ok(replied) if !replied.status.is_success() => Ok(Replied {
                body: clean(replied.body),
                ..replied
            }),
            said => said.map_err(clean),
        }
    }

    async fn try_send(
        &self,
        endpoint: &Endpoint,
        asked: Asked<'_>,
        secrets: &mut Vec<String>,
    ) -> Result<Replied, String> {
        let within = Duration::from_secs(endpoint.timeout_seconds);
        let _room = self.room(&asked.url).await;
        let client = if is_near(&asked.url) { &self.near } else { &self.client };
        let method = if asked.body.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let body = asked.body.unwrap_or_default();
        let mut request = client
            .request(method.clone(), asked.url)
            .timeout(within)
            .header(SENDER, &self.id)
            .header("idempotency-key", asked.key);
        if let Some(name) = &endpoint.token {
            let token = self.secrets.secret(name).await.map_err(|error| error.to_string())?;
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| format!("the secret \"{name}\" cannot be sent as a token: it is not one line of text"))?;
            value.set_sensitive(true);
            request = request.header(reqwest::header::AUTHORIZATION, value);
            secrets.push(token);
        }
        if let Some(name) = &endpoint.secret {
            let secret = self.secrets.secret(name).await.map_err(|error| error.to_string())?;
            let seconds = now().0 / 1_000;
            let signed = signature(&secret, (asked.key, seconds), &body);
            let signed = signed.map_err(|reason| format!("secret \"{name}\": {reason}"))?;
            request = request
                .header("webhook-id", asked.key)
                .header("webhook-timestamp", seconds)
                .header("webhook-signature", signed);
        }
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = request.send().await.map_err(|error| failure(&error, within))?;
        read(response, within).await
    }

    /// Waits for its turn.
    async fn room(&self, url: &Url) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let host = format!(
            "{}:{}",
            url.host_str().unwrap_or_default(),
            url.port_or_known_default().unwrap_or(0)
        );
        let of_host = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            if hosts.len() >= HOSTS {
                hosts.retain(|_, room| Arc::strong_count(room) > 1);
            }
            let room = hosts
                .entry(host)
                .or_insert_with(|| Arc::new(Semaphore::new(MOST_TO_HOST)));
            Arc::clone(room)
        };
        // They are never closed.
        let first = of_host.acquire_owned().await.ok()?;
        Some((first, Arc::clone(&self.all).acquire_owned().await.ok()?))
    }
}

/// Refuses what this server has sent itself: a policy that names the server's own address must not decide about it.
pub(crate) async fn refuse_own(State(api): State<Api>, request: Request, next: Next) -> Response {
    let sender = request.headers().get(SENDER);
    if sender.is_some_and(|it| it.as_bytes() == api.caller.id.as_bytes()) {
        let detail =
            "this server was called by itself: a hook, controller, analysis or subscriber of a policy leads to it";
        return ApiError::new(StatusCode::LOOP_DETECTED, "loop-detected", detail)
            .help("give the address of the service that is to be asked or told")
            .into_response();
    }
    next.run(request).await
}

async fn read(mut response: reqwest::Response, within: Duration) -> Result<Replied, String> {
    let status = response.status();
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| failure(&error, within))? {
        if body.len() + piece.len() > MOST_BYTES {
            return Err(format!("it answered {status} with more than {MOST_BYTES} bytes"));
        }
        body.extend_from_slice(&piece);
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Replied { status, body })
}

fn is_near(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
        host == "localhost" || host.ends_with(".localhost") || ip.is_ok_and(|ip: IpAddr| ip.is_loopback())
    })
}

/// Why there is no answer. The URL is not shown: its query may hold what is nobody's business.
fn failure(error: &reqwest::Error, within: Duration) -> String {
    if error.is_connect() {
        return format!("it cannot be connected to: {}", cause(error));
    }
    if error.is_timeout() {
        return format!("no answer within {} seconds", within.as_secs());
    }
    format!("the connection failed: {}", cause(error))
}

/// The innermost cause of an error: the others say that something has failed, and may show the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost = match error.source() {
        Some(source) => source,
        None => return "the request cannot be made".to_owned(),
    };
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
