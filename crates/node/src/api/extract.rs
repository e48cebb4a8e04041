//! What handlers take from a request, with errors that say what is wrong with it.

use std::time::Duration;

use axum::body::{BodyDataStream, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::BytesMut;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use unisono_model::name::Name;

use super::problem::ApiError;

/// The header by which a caller says who they are, for the history.
pub(crate) const ACTOR: &str = "unisono-actor";

/// Bytes of a body that is too large which are still taken before it is refused.
const MAX_SKIPPED_BYTES: usize = 256 * 1024 * 1024;
/// How long they may take.
const SKIP_WITHIN: Duration = Duration::from_secs(30);

/// The raw body, within the limit.
pub(crate) struct Raw(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let mut chunks = request.into_body().into_data_stream();
        let mut body = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| {
                ApiError::bad_request("unreadable-body", format!("the request body cannot be read: {error}"))
            })?;
            if body.len() + chunk.len() > super::MAX_BODY_BYTES {
                drop(body);
                let _ = timeout(SKIP_WITHIN, skip(chunks)).await;
                return Err(ApiError::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "body-too-large",
                    format!("the request body is larger than {} bytes", super::MAX_BODY_BYTES),
                )
                .help("keep large data elsewhere and pass a reference to it"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self(body.freeze()))
    }
}

/// A caller who is cut off while sending would never read why.
async fn skip(mut chunks: BodyDataStream) {
    let mut skipped = 0;
    while let Some(Ok(chunk)) = chunks.next().await {
        skipped += chunk.len();
        if skipped > MAX_SKIPPED_BYTES {
            break;
        }
    }
}

/// A JSON body; an empty one reads as `{}`.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Raw(bytes) = Raw::from_request(request, state).await?;
        json(&bytes).map(Body)
    }
}

const BODIES: &str = "/openapi.json says what the body of this route looks like";

pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    // The fields of an object could stand in a list as well, as far as serde is concerned.
    if bytes.trim_ascii_start().starts_with(b"[") {
        let detail = "the request body cannot be used: it is a list, and has to be an object";
        return Err(ApiError::bad_request("bad-field", detail).help(BODIES));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let code = if error.is_data() { "bad-field" } else { "bad-json" };
        let problem = ApiError::bad_request(code, format!("the request body cannot be used: {error}")).help(BODIES);
        match place_of_mistake::<T>(bytes).filter(|_| error.is_data()) {
            Some(field) => problem.field(field),
            None => problem,
        }
    })
}

/// Where in a body that cannot be used the mistake is. Reads it once more: keeping track of the place costs time, which
/// only mistakes shall cost.
fn place_of_mistake<T: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let error = serde_path_to_error::deserialize::<_, T>(&mut json).err()?;
    // A dot stands for the body as a whole.
    Some(error.path().to_string()).filter(|path| path != ".")
}

/// Query parameters; unknown ones are refused by the type.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(params)| Params(params))
            .map_err(|rejection| bad_parameter(&rejection.body_text()))
    }
}

/// The library's text is a fixed beginning, the parameter, and what is wrong with it.
fn bad_parameter(text: &str) -> ApiError {
    let text = text
        .strip_prefix("Failed to deserialize query string: ")
        .unwrap_or(text);
    let error = ApiError::bad_request("bad-parameter", format!("the query cannot be used: {text}"))
        .help("/openapi.json lists the parameters of this route");
    match text.split_once(": ") {
        Some((parameter, _)) => error.field(parameter),
        None => error,
    }
}

/// The names in the path.
pub(crate) struct Names<const N: usize>(pub(crate) [Name; N]);

impl<S: Send + Sync, const N: usize> FromRequestParts<S> for Names<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(segments) = Path::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::bad_request("bad-path", rejection.body_text()))?;
        let names = segments
            .into_iter()
            .map(|(parameter, text)| name(&parameter, &text))
            .collect::<Result<Vec<Name>, ApiError>>()?;
        names
            .try_into()
            .map(Names)
            .map_err(|_| ApiError::internal("the route has another number of parameters"))
    }
}

pub(crate) fn name(field: &str, text: &str) -> Result<Name, ApiError> {
    Name::parse(text).map_err(|error| {
        ApiError::bad_request("bad-name", format!("{field} {text:?} is no name: {error}")).field(field)
    })
}

/// Who asks, for the history, if they say so.
pub(crate) struct Actor(pub(crate) Option<String>);

impl Actor {
    /// In words, also of those who did not say.
    pub(crate) fn named(self) -> String {
        self.0.unwrap_or_else(|| "an API caller".to_owned())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let named = parts
            .headers
            .get(ACTOR)
            .and_then(|value| value.to_str().ok())
            .map(|text| text.chars().take(256).collect());
        Ok(Self(named))
    }
}
