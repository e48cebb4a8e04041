//! Sends one request, perhaps several times, and reads its answer.

use std::sync::Once;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use unisono_model::api::{PROBLEM_JSON, Problem};

use crate::error::{ClientError, innermost};

/// Waits before the second, third and fourth try.
const BACKOFF: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(800),
];
/// Characters of an answer that is not understood which are shown.
const SHOWN: usize = 200;

/// Whether a request may be sent again after the connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Sending it twice is the same as sending it once.
    Safe,
    /// It may have been done although no answer came.
    Never,
}

/// Makes ring the process's provider of cryptography for TLS, unless there is one already.
///
/// Every TLS client of the process needs one; [`Client::new`](crate::Client::new) calls this.
pub fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    // It fails when somebody else installed one before, and then that one is used.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

/// Sends the request, and returns the answer when it is a success.
pub(crate) async fn send(
    server: &str,
    timeout: Duration,
    request: RequestBuilder,
    repeat: Repeat,
) -> Result<Response, ClientError> {
    let mut waits = BACKOFF.iter();
    let mut request = request;
    loop {
        let again = if repeat == Repeat::Safe {
            request.try_clone()
        } else {
            None
        };
        let error = match request.send().await {
            Ok(response) if response.status().is_success() => return Ok(response),
            Ok(response) => return Err(refusal(response).await),
            Err(error) => error,
        };
        let (Some(next), Some(wait), false) = (again, waits.next(), error.is_timeout() || error.is_builder()) else {
            return Err(failure(server, timeout, error));
        };
        tokio::time::sleep(*wait).await;
        request = next;
    }
}

pub(crate) fn failure(server: &str, timeout: Duration, error: reqwest::Error) -> ClientError {
    let url = server.to_owned();
    if error.is_timeout() && !error.is_connect() {
        return ClientError::Timeout {
            url,
            seconds: timeout.as_secs(),
        };
    }
    ClientError::Unreachable {
        url,
        reason: innermost(&error),
        source: error,
    }
}

/// An answer that is no success: a problem, or something that no Unisono server says.
async fn refusal(response: Response) -> ClientError {
    let (status, url) = (response.status(), response.url().to_string());
    let is_problem = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with(PROBLEM_JSON));
    let text = response.text().await.unwrap_or_default();
    if is_problem && let Ok(problem) = serde_json::from_str::<Problem>(&text) {
        return ClientError::Problem(Box::new(problem));
    }
    let hint = if status == StatusCode::NOT_FOUND {
        "; is this the address of a Unisono server?"
    } else {
        ""
    };
    ClientError::Unexpected {
        url,
        reason: format!("status {status}{}{hint}", shown(&text)),
    }
}

/// Reads the body as JSON.
pub(crate) async fn json<T: DeserializeOwned>(
    server: &str,
    timeout: Duration,
    response: Response,
) -> Result<T, ClientError> {
    let url = response.url().to_string();
    let body = response
        .bytes()
        .await
        .map_err(|error| failure(server, timeout, error))?;
    serde_json::from_slice(&body).map_err(|error| {
        let reason = format!("{error}{}", shown(&String::from_utf8_lossy(&body)));
        ClientError::Unexpected { url, reason }
    })
}

fn shown(text: &str) -> String {
    let begin: String = text.chars().take(SHOWN).collect();
    if begin.trim().is_empty() {
        String::new()
    } else {
        format!(", {begin:?}")
    }
}
