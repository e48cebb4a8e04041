//! The content of a value, as it stands in commands and events.

use std::fmt;
use std::sync::Arc;

use minicbor::data::Type;
use minicbor::{Decode, Decoder, Encode, Encoder};
use unisono_model::values::Content;

/// JSON text that nobody here parses, or bytes. Cheap to clone. `Debug` withholds it: it may be sensitive.
#[derive(Clone, PartialEq, Eq)]
pub enum Data {
    /// JSON text.
    Json(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
}

impl Data {
    /// The text's bytes, or the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Json(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Whether it is JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        matches!(self, Self::Json(_))
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.is_json() { " of JSON" } else { "" };
        write!(f, "{} bytes{of}", self.as_bytes().len())
    }
}

impl From<Content> for Data {
    fn from(content: Content) -> Self {
        match content {
            Content::Json(json) => Self::Json(Arc::from(Box::<str>::from(json))),
            Content::Bytes(bytes) => Self::Bytes(Arc::from(bytes)),
        }
    }
}

impl<C> Encode<C> for Data {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match self {
            Self::Json(text) => e.str(text)?.ok(),
            Self::Bytes(bytes) => e.bytes(bytes)?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for Data {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        match d.datatype()? {
            Type::String => Ok(Self::Json(Arc::from(d.str()?))),
            Type::Bytes => Ok(Self::Bytes(Arc::from(d.bytes()?))),
            _ => Err(minicbor::decode::Error::message("content is text or bytes")),
        }
    }
}

/// Keys in CBOR: as text, checked again when read.
pub(crate) mod key {
    use minicbor::decode::Error;
    use minicbor::encode::{Error as WriteError, Write};
    use minicbor::{Decoder, Encoder};
    use unisono_model::key::Key;

    pub(crate) fn encode<C, W: Write>(key: &Key, e: &mut Encoder<W>, _: &mut C) -> Result<(), WriteError<W::Error>> {
        e.str(key.as_str())?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Key, Error> {
        Key::parse(d.str()?).map_err(|_| Error::message("not a key"))
    }
}
