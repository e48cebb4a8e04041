//! Answers of one JSON value a line, as long as they may be: `application/x-ndjson`.

use std::io;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;

use super::problem::Answer;

const NDJSON: &str = "application/x-ndjson";

/// Whether the caller wants lines.
pub(super) fn wanted(headers: &HeaderMap) -> bool {
    accepts(headers, NDJSON)
}

/// Whether the caller wants this media type.
pub(super) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains(media_type))
}

/// Streams values. `next` gives some of them, and what to go on with; no more than those are held. When it fails, the
/// connection is broken off, so that nobody takes a part for the whole.
pub(super) fn answer<S, T, F>(first: S, next: impl Fn(S) -> F + Send + 'static) -> Response
where
    S: Send + 'static,
    T: Serialize,
    F: Future<Output = Answer<(Vec<T>, Option<S>)>> + Send,
{
    let lines = stream::try_unfold((Some(first), next), |(state, next)| async move {
        let Some(state) = state else { return Ok(None) };
        let (values, state) = next(state).await.map_err(|error| {
            let problem = error.into_problem();
            tracing::warn!("an answer of lines was broken off: {}", problem.detail);
            io::Error::other(problem.detail)
        })?;
        Ok::<_, io::Error>(Some((text(&values)?, (state, next))))
    });
    ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response()
}

fn text(values: &[impl Serialize]) -> io::Result<Bytes> {
    let mut text = Vec::new();
    for value in values {
        let begin = text.len();
        serde_json::to_writer(&mut text, value)?;
        // What people gave as JSON is kept as they wrote it; a line break in it is white space.
        text[begin..].iter_mut().for_each(|byte| {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        });
        text.push(b'\n');
    }
    Ok(text.into())
}
