//! What stands in the path and the query of a request.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use unisono_model::api::{OrchestrationState, WaitReason};
use unisono_model::ids::Timestamp;

use crate::error::ClientError;

/// Everything that may stand in a path's segment as it is.
pub(crate) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Which page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items at most; the server's choice when left out.
    pub limit: Option<u32>,
    /// The `next_page_token` of the page before.
    pub page_token: Option<String>,
}

impl PageRequest {
    pub(crate) fn query(&self) -> Query {
        let mut query = Query::default();
        query.option("limit", self.limit);
        query.option("pageToken", self.page_token.as_deref());
        query
    }
}

/// Which orchestrations to list; all of them when nothing is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrchestrationFilter {
    /// In one of these states; in any when there is none.
    pub states: Vec<OrchestrationState>,
    /// Of this type.
    pub r#type: Option<String>,
    /// Of this version of their definition.
    pub version: Option<u32>,
    /// With all of these labels.
    pub labels: Vec<(String, String)>,
    /// With this correlation id.
    pub correlation_id: Option<String>,
    /// Started at this time or later.
    pub created_after: Option<Timestamp>,
    /// Started before this time.
    pub created_before: Option<Timestamp>,
    /// Ended at this time or later.
    pub ended_after: Option<Timestamp>,
    /// Ended before this time.
    pub ended_before: Option<Timestamp>,
    /// Open, and waiting for one of these; whether waiting or not when there is none.
    pub waiting_for: Vec<WaitReason>,
    /// For which this expression of CEL is true.
    pub expression: Option<String>,
}

/// What follows the `?` of a request.
#[derive(Default)]
pub(crate) struct Query(Vec<(&'static str, String)>);

impl Query {
    pub(crate) fn option(&mut self, key: &'static str, value: Option<impl ToString>) {
        self.0.extend(value.map(|value| (key, value.to_string())));
    }
}

impl OrchestrationFilter {
    pub(crate) fn add_to(&self, query: &mut Query) {
        query.option("state", joined(&self.states));
        query.option("waitingFor", joined(&self.waiting_for));
        query.option("filter", self.expression.as_deref());
        query.option("type", self.r#type.as_deref());
        query.option("version", self.version);
        query.option("correlationId", self.correlation_id.as_deref());
        query.option("createdAfter", self.created_after);
        query.option("createdBefore", self.created_before);
        query.option("endedAfter", self.ended_after);
        query.option("endedBefore", self.ended_before);
        query.0.extend(
            self.labels
                .iter()
                .map(|(key, value)| ("label", format!("{key}={value}"))),
        );
    }
}

/// Words joined by commas; `None` when there is none.
pub(crate) fn joined(words: &[impl ToString]) -> Option<String> {
    let words: Vec<_> = words.iter().map(ToString::to_string).collect();
    (!words.is_empty()).then(|| words.join(","))
}

/// What counted orchestrations are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// Their type.
    Type,
    /// Their version.
    Version,
    /// Their state.
    State,
}

impl fmt::Display for GroupBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Type => "type",
            Self::Version => "version",
            Self::State => "state",
        })
    }
}

/// The path with its query, every value percent-encoded.
pub(crate) fn with_query(path: &str, query: &Query) -> String {
    let mut path = path.to_owned();
    for (index, (key, value)) in query.0.iter().enumerate() {
        path.push(if index == 0 { '?' } else { '&' });
        path.push_str(key);
        path.push('=');
        path.extend(utf8_percent_encode(value, SEGMENT));
    }
    path
}

/// A text as one segment of a path. An empty one or one of dots would be another path.
pub(crate) fn segment(what: &'static str, text: &str) -> Result<String, ClientError> {
    if matches!(text, "" | "." | "..") {
        let reason = "it must be 1 to 128 characters out of A-Z a-z 0-9 . _ - and more than dots".to_owned();
        return Err(ClientError::BadArgument {
            what,
            given: text.to_owned(),
            reason,
        });
    }
    Ok(utf8_percent_encode(text, SEGMENT).to_string())
}

/// A collection's path with a key behind it, slash by slash.
pub(crate) fn key_path(collection: &str, key: &str) -> Result<String, ClientError> {
    let mut path = collection.to_owned();
    for part in key.split('/') {
        if matches!(part, "" | "." | "..") {
            return Err(ClientError::BadArgument {
                what: "the key",
                given: key.to_owned(),
                reason: "a key is a path such as cells/north/database-url, without empty parts, . and ..".to_owned(),
            });
        }
        path.push('/');
        path.extend(utf8_percent_encode(part, SEGMENT));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_cannot_leave_their_place_in_the_path() {
        assert_eq!(segment("x", "a/../b?c").unwrap(), "a%2F..%2Fb%3Fc");
        assert!(segment("x", "..").is_err());
        assert_eq!(key_path("/values", "a/b c").unwrap(), "/values/a/b%20c");
        for bad in ["", "a/../b", "/a", "a//b"] {
            assert!(key_path("/values", bad).is_err(), "{bad}");
        }
    }
}
