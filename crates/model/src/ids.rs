//! Identifiers and instants that appear in state, events, messages and answers.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// A partition-wide, strictly increasing number: the count of events decided so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision that follows this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An instant as milliseconds since the Unix epoch; RFC 3339 in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This instant plus `millis`, saturating.
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(millis).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `earlier` to this instant; 0 when it is not earlier.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => f.write_str(if self.0 < 0 {
                "-9999-01-02T01:59:59.000Z"
            } else {
                "9999-12-30T22:00:00.000Z"
            }),
        }
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>()
            .map(|instant| Self(instant.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "date-time"})
    }
}

/// What entitles its holder to report on one attempt of one activity.
///
/// The revision at which the attempt was dispatched orders tokens (a fencing token), the random
/// half makes them impossible to guess. In text: `1f3a-0123456789abcdef`, both in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptToken {
    /// The revision of the dispatch.
    pub revision: Revision,
    /// Random bits drawn by the node that dispatched.
    pub nonce: u64,
}

/// The text is not an attempt token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an attempt token: expected two hexadecimal numbers joined by '-', as in 1f3a-0123456789abcdef")]
pub struct TokenError;

impl fmt::Display for AttemptToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:016x}", self.revision.0, self.nonce)
    }
}

impl FromStr for AttemptToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (revision, nonce) = text.split_once('-').ok_or(TokenError)?;
        let hex = |digits: &str| {
            if digits.is_empty() || digits.starts_with('+') {
                return Err(TokenError);
            }
            u64::from_str_radix(digits, 16).map_err(|_| TokenError)
        };
        Ok(Self {
            revision: Revision(hex(revision)?),
            nonce: hex(nonce)?,
        })
    }
}

impl Serialize for AttemptToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AttemptToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for AttemptToken {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AttemptToken".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9a-f]{1,16}-[0-9a-f]{16}$",
            "description": "Entitles its holder to report on one attempt of one activity."
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_reads_back_from_its_text() {
        let token = AttemptToken {
            revision: Revision(0x1f3a),
            nonce: 7,
        };
        assert_eq!(token.to_string(), "1f3a-0000000000000007");
        assert_eq!(token.to_string().parse(), Ok(token));
        for bad in ["", "-", "1f3a", "x-1", "1-", "+1-1", "1--1"] {
            assert_eq!(bad.parse::<AttemptToken>(), Err(TokenError), "{bad}");
        }
    }

    #[test]
    fn an_instant_is_rfc_3339_with_milliseconds() {
        let instant = Timestamp(1_700_000_000_123);
        assert_eq!(instant.to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(instant.to_string().parse::<Timestamp>().unwrap(), instant);
        assert!(Timestamp(i64::MAX).to_string().starts_with("9999"));
    }
}
