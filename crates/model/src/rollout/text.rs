//! Names that people chose elsewhere: entities, groups, targets, versions.
//!
//! Unlike a [`Name`](crate::Name), they are any Unicode text without control characters: machines are called what they
//! are called. They are compared byte by byte: `v1` and `V1` are two versions.

use std::{borrow::Borrow, fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Type},
};

use crate::limits::{
    MAX_ENTITY_NAME_BYTES, MAX_GROUP_NAME_BYTES, MAX_LABEL_VALUE_BYTES, MAX_TARGET_NAME_BYTES, MAX_VERSION_BYTES,
};

/// Why a text is no name of this kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It is empty, or holds nothing but white space.
    #[error("{what} must not be empty")]
    Empty {
        /// What it should be.
        what: &'static str,
    },
    /// It is longer than allowed.
    #[error("{what} of {bytes} bytes is longer than the {limit} allowed")]
    TooLong {
        /// What it should be.
        what: &'static str,
        /// Its bytes.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// It has a control character.
    #[error("{what} must not contain the control character {character:?} (character {position})")]
    Control {
        /// What it should be.
        what: &'static str,
        /// The character.
        character: char,
        /// Its place, counted from 1.
        position: usize,
    },
}

fn check(what: &'static str, text: &str, limit: usize, may_be_empty: bool) -> Result<(), TextError> {
    if text.len() > limit {
        return Err(TextError::TooLong {
            what,
            bytes: text.len(),
            limit,
        });
    }
    // Nearly every name is plain, and a fleet reports a million of them.
    let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !plain && let Some((position, character)) = (1..).zip(text.chars()).find(|(_, c)| c.is_control()) {
        return Err(TextError::Control {
            what,
            character,
            position,
        });
    }
    let blank = text.trim().is_empty();
    if blank && !(may_be_empty && text.is_empty()) {
        return Err(TextError::Empty { what });
    }
    Ok(())
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $limit:expr, $may_be_empty:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Reads it.
            ///
            /// # Errors
            /// [`TextError`] when the text is empty, too long, or has a control character.
            pub fn parse(text: &str) -> Result<Self, TextError> {
                Self::check(text).map(|()| Self(text.into()))
            }

            /// Whether a text could be one.
            ///
            /// # Errors
            /// As [`Self::parse`].
            pub fn check(text: &str) -> Result<(), TextError> {
                check($what, text, $limit, $may_be_empty)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, shared.
            #[must_use]
            pub fn to_shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = TextError;

            fn try_from(text: &str) -> Result<Self, TextError> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<utoipa::openapi::Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .max_length(Some($limit))
                    .description(Some(concat!("Any text without control characters: ", $what, ".")))
                    .into()
            }
        }

        impl ToSchema for $name {}
    };
}

text!(
    /// What is rolled out over a fleet: a service, a configuration, an operation.
    EntityName, "the name of an entity", MAX_ENTITY_NAME_BYTES, false
);
text!(
    /// A group of targets; the empty one is a group like any other.
    GroupName, "the name of a group", MAX_GROUP_NAME_BYTES, true
);
text!(
    /// The name of a target within its group.
    TargetName, "the name of a target", MAX_TARGET_NAME_BYTES, false
);
text!(
    /// A version: opaque, compared byte by byte, never empty.
    Version, "a version", MAX_VERSION_BYTES, false
);

/// Which target of an entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetId {
    /// Its group; empty when it has none.
    #[serde(default = "no_group")]
    #[schema(value_type = String)]
    pub group: GroupName,
    /// Its name within the group.
    #[schema(value_type = String)]
    pub name: TargetName,
}

fn no_group() -> GroupName {
    GroupName("".into())
}

impl TargetId {
    /// Reads both parts.
    ///
    /// # Errors
    /// [`TextError`] when one of them cannot be a name.
    pub fn parse(group: &str, name: &str) -> Result<Self, TextError> {
        Ok(Self {
            group: GroupName::parse(group)?,
            name: TargetName::parse(name)?,
        })
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            return write!(f, "\"{}\"", self.name);
        }
        write!(f, "\"{}\" of group \"{}\"", self.name, self.group)
    }
}

/// Whether a key and a value could be a label.
///
/// # Errors
/// [`TextError`] when one of them is too long or has a control character, or the key is empty.
pub fn check_label(key: &str, value: &str) -> Result<(), TextError> {
    check("the key of a label", key, crate::limits::MAX_NAME_BYTES, false)?;
    if value.trim().is_empty() {
        return Ok(());
    }
    check("the value of a label", value, MAX_LABEL_VALUE_BYTES, true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_may_hold_dots_slashes_quotes_and_any_script() {
        for name in ["a.b/c", "\"x\" 'y'", "höst-42", "服务器", "a b", "..", "%2F"] {
            assert_eq!(TargetName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn versions_are_never_empty_and_never_the_same_in_another_case() {
        for bad in ["", " ", "\t", "v\n1"] {
            assert!(Version::parse(bad).is_err(), "{bad:?}");
        }
        assert_ne!(Version::parse("v1").unwrap(), Version::parse("V1").unwrap());
        assert!(
            Version::parse(&"v".repeat(257))
                .unwrap_err()
                .to_string()
                .contains("257 bytes")
        );
    }

    #[test]
    fn a_target_without_a_group_is_in_the_empty_group() {
        let id: TargetId = serde_json::from_str(r#"{"name":"a"}"#).unwrap();
        assert_eq!(id, TargetId::parse("", "a").unwrap());
        assert_ne!(id, TargetId::parse("a", "a").unwrap());
    }
}
