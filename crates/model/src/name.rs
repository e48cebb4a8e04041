//! Names: what people call definitions, activities, namespaces and agents.
//!
//! One alphabet for all of them, so that a name fits into a URL, a file name, a metric label and a shell word unquoted.

use std::{borrow::Borrow, fmt, ops::Deref, str::FromStr, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Type},
};

use crate::limits::MAX_NAME_BYTES;

/// The pattern of every [`Name`], as a regular expression.
pub const NAME_PATTERN: &str = "^[A-Za-z0-9._-]{1,128}$";

/// A name of 1 to 128 characters out of `A-Z a-z 0-9 . _ -`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// [`NameError`] when the text is empty, longer than 128 characters, or has a character outside the alphabet.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check(text).map(|()| Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some((position, character)) = (1..).zip(text.chars()).find(|(_, c)| !allowed(*c)) {
        return Err(NameError::Character { character, position });
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong { length: text.len() });
    }
    Ok(())
}

fn allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

/// Why a text is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text has no characters.
    #[error("a name must not be empty")]
    Empty,
    /// The text is longer than a name may be.
    #[error("a name of {length} characters is longer than the {MAX_NAME_BYTES} allowed")]
    TooLong {
        /// Characters in the text.
        length: usize,
    },
    /// The text has a character that names do not use.
    #[error("a name must not contain {character:?} (character {position}); A-Z a-z 0-9 . _ - are allowed")]
    Character {
        /// The first character outside the alphabet.
        character: char,
        /// Its place in the text, counted from 1.
        position: usize,
    },
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        check(&text).map(|()| Self(text.into()))
    }
}

impl TryFrom<&str> for Name {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.as_str().to_owned()
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name of 1 to 128 characters out of A-Z a-z 0-9 . _ -")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name, E> {
                Name::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": NAME_PATTERN })
    }
}

impl PartialSchema for Name {
    fn schema() -> RefOr<utoipa::openapi::Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(NAME_PATTERN))
            .description(Some("1 to 128 characters out of `A-Z a-z 0-9 . _ -`."))
            .into()
    }
}

impl ToSchema for Name {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_may_use_the_whole_alphabet() {
        assert_eq!(Name::parse("Az09._-").unwrap(), "Az09._-");
        assert!(Name::parse(&"x".repeat(128)).is_ok());
    }

    #[test]
    fn a_bad_name_says_which_character_stands_where() {
        let error = Name::parse("höst").unwrap_err();
        assert_eq!(
            error,
            NameError::Character {
                character: 'ö',
                position: 2
            }
        );
        assert_eq!(Name::parse(""), Err(NameError::Empty));
        assert_eq!(Name::parse(&"x".repeat(129)), Err(NameError::TooLong { length: 129 }));
    }

    #[test]
    fn a_name_read_from_json_is_checked() {
        assert_eq!(serde_json::from_str::<Name>("\"a.b\"").unwrap(), "a.b");
        let error = serde_json::from_str::<Name>("\"a b\"").unwrap_err();
        assert!(error.to_string().contains("' ' (character 2)"), "{error}");
    }
}
