//! Keys of values: paths of segments, such as `cells/north/database-url`.

use std::{borrow::Borrow, fmt, ops::Deref, str::FromStr, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Type},
};

use crate::limits::{MAX_KEY_BYTES, MAX_NAME_BYTES};

/// The pattern of every [`Key`], as a regular expression; `.` and `..` are no segments either.
pub const KEY_PATTERN: &str = "^[A-Za-z0-9._:@-]{1,128}(/[A-Za-z0-9._:@-]{1,128})*$";

/// A path of one or more segments between slashes, up to 512 bytes. A segment has 1 to 128 characters out of
/// `A-Z a-z 0-9 . _ - : @`, and is neither `.` nor `..`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Reads a key.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        check(text).map(|()| Self(text.into()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks the beginning of keys: anything that a key could begin with, and nothing at all.
///
/// # Errors
/// [`KeyError`] says why no key begins like this.
pub fn check_prefix(text: &str) -> Result<(), KeyError> {
    let whole = text.strip_suffix('/').unwrap_or(text);
    // What stands behind the last slash may be the beginning of a longer segment.
    match check(whole) {
        Err(KeyError::Empty) if text.is_empty() => Ok(()),
        Err(KeyError::Dots { .. }) if !text.ends_with('/') => match whole.rsplit_once('/') {
            Some((before, _)) => check(before),
            None => Ok(()),
        },
        checked => checked,
    }
}

fn check(text: &str) -> Result<(), KeyError> {
    if text.is_empty() {
        return Err(KeyError::Empty);
    }
    if let Some((position, character)) = (1..).zip(text.chars()).find(|(_, c)| !allowed(*c)) {
        return Err(KeyError::Character { character, position });
    }
    if text.len() > MAX_KEY_BYTES {
        return Err(KeyError::TooLong { length: text.len() });
    }
    text.split('/').try_for_each(check_segment)
}

fn check_segment(segment: &str) -> Result<(), KeyError> {
    match segment {
        "" => Err(KeyError::EmptySegment),
        "." | ".." => Err(KeyError::Dots {
            segment: segment.to_owned(),
        }),
        segment if segment.len() > MAX_NAME_BYTES => Err(KeyError::SegmentTooLong { length: segment.len() }),
        _ => Ok(()),
    }
}

fn allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-' | ':' | '@' | '/')
}

/// Why a text is no [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text has no characters.
    #[error("a key must not be empty")]
    Empty,
    /// Two slashes follow each other, or one stands at an end.
    #[error("a key must not begin or end with a slash, nor have two in a row")]
    EmptySegment,
    /// A segment means something else in paths.
    #[error("a key must not have the segment {segment:?}, which paths give another meaning")]
    Dots {
        /// The segment.
        segment: String,
    },
    /// The text is longer than a key may be.
    #[error("a key of {length} bytes is longer than the {MAX_KEY_BYTES} allowed")]
    TooLong {
        /// Bytes of the text.
        length: usize,
    },
    /// A segment is longer than it may be.
    #[error("a segment of {length} characters is longer than the {MAX_NAME_BYTES} allowed")]
    SegmentTooLong {
        /// Characters in the segment.
        length: usize,
    },
    /// The text has a character that keys do not use.
    #[error(
        "a key must not contain {character:?} (character {position}); A-Z a-z 0-9 . _ - : @ are allowed, and / between segments"
    )]
    Character {
        /// The first character outside the alphabet.
        character: char,
        /// Its place in the text, counted from 1.
        position: usize,
    },
}

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Key {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Key".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": KEY_PATTERN, "maxLength": MAX_KEY_BYTES })
    }
}

impl PartialSchema for Key {
    fn schema() -> RefOr<utoipa::openapi::Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(KEY_PATTERN))
            .max_length(Some(MAX_KEY_BYTES))
            .description(Some("A path of segments out of `A-Z a-z 0-9 . _ - : @`."))
            .into()
    }
}

impl ToSchema for Key {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_a_path_of_segments() {
        for good in [
            "a",
            "cells/north/db-url",
            "10.0.0.1:7717/up",
            "ada@host/x",
            "...",
            "a/.b",
        ] {
            assert_eq!(Key::parse(good).unwrap(), Key(good.into()), "{good}");
        }
        assert!(Key::parse(&["x".repeat(127), "y".repeat(128), "z".repeat(128), "w".repeat(126)].join("/")).is_ok());
    }

    #[test]
    fn a_bad_key_says_what_is_wrong_and_where() {
        assert_eq!(Key::parse(""), Err(KeyError::Empty));
        for bad in ["/a", "a/", "a//b", "/"] {
            assert_eq!(Key::parse(bad), Err(KeyError::EmptySegment), "{bad}");
        }
        assert_eq!(
            Key::parse("a/../b").unwrap_err().to_string(),
            "a key must not have the segment \"..\", which paths give another meaning"
        );
        assert!(Key::parse("a b").unwrap_err().to_string().contains("' ' (character 2)"));
        assert_eq!(
            Key::parse(&"x".repeat(129)),
            Err(KeyError::SegmentTooLong { length: 129 })
        );
        let long = vec!["x"; 300].join("/");
        assert_eq!(Key::parse(&long), Err(KeyError::TooLong { length: 599 }));
    }

    #[test]
    fn a_prefix_is_the_beginning_of_a_key_or_nothing() {
        for good in ["", "a", "a/", "a/b", "a/.", "..", "."] {
            assert_eq!(check_prefix(good), Ok(()), "{good:?}");
        }
        for bad in ["/", "//", "a//", "a/../", "a b", "../x"] {
            assert!(check_prefix(bad).is_err(), "{bad:?}");
        }
    }
}
