//! Values as they stand in events and state: JSON text that nobody here parses.

use std::sync::Arc;

use minicbor::{Decode, Decoder, Encode, Encoder};
use serde_json::value::RawValue;
use unisono_model::protocol::{ActivityError, ContextPatch};

/// JSON text, cheap to clone and never parsed by the engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Payload(Arc<str>);

impl Payload {
    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text as a raw JSON value; `null` should it not be JSON, which nothing here stores.
    #[must_use]
    pub fn raw(&self) -> &RawValue {
        serde_json::from_str(&self.0).unwrap_or(RawValue::NULL)
    }

    /// The same as [`Payload::raw`], owned.
    #[must_use]
    pub fn to_raw(&self) -> Box<RawValue> {
        self.raw().to_owned()
    }

    /// Its size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no text at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The empty object.
    #[must_use]
    pub fn empty_object() -> Self {
        Self(Arc::from("{}"))
    }
}

impl From<&RawValue> for Payload {
    fn from(raw: &RawValue) -> Self {
        Self(Arc::from(raw.get()))
    }
}

impl From<Box<RawValue>> for Payload {
    fn from(raw: Box<RawValue>) -> Self {
        Self(Arc::from(Box::<str>::from(raw)))
    }
}

impl<C> Encode<C> for Payload {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Payload {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Ok(Self(Arc::from(d.str()?)))
    }
}

/// Why an attempt or an activity failed, as it stands in events.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Failure {
    /// For programs.
    #[n(0)]
    pub code: Option<String>,
    /// For people.
    #[n(1)]
    pub message: String,
}

impl Failure {
    /// A failure with a code.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: Some(code.to_owned()),
            message: message.into(),
        }
    }
}

impl From<ActivityError> for Failure {
    fn from(error: ActivityError) -> Self {
        Self {
            code: error.code,
            message: error.message,
        }
    }
}

impl From<&Failure> for ActivityError {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code.clone(),
            message: failure.message.clone(),
        }
    }
}

/// Changes to the shared context of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Patch {
    /// Keys to set.
    #[n(0)]
    pub set: Vec<(String, Payload)>,
    /// Keys to delete.
    #[n(1)]
    pub delete: Vec<String>,
}

impl Patch {
    /// The patch of a message; `None` when it changes nothing.
    #[must_use]
    pub fn from_message(patch: Option<ContextPatch>) -> Option<Self> {
        let patch = patch.filter(|patch| !patch.is_empty())?;
        Some(Self {
            set: patch
                .set
                .into_iter()
                .map(|(key, value)| (key, Payload::from(value)))
                .collect(),
            delete: patch.delete,
        })
    }
}

/// Names in CBOR: as text, checked again when read.
pub(crate) mod name {
    use minicbor::decode::Error;
    use minicbor::encode::{Error as WriteError, Write};
    use minicbor::{Decoder, Encoder};
    use unisono_model::name::Name;

    pub(crate) fn encode<C, W: Write>(name: &Name, e: &mut Encoder<W>, _: &mut C) -> Result<(), WriteError<W::Error>> {
        e.str(name.as_str())?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Name, Error> {
        Name::parse(d.str()?).map_err(|_| Error::message("not a name"))
    }
}

/// Names that may be absent.
pub(crate) mod optional_name {
    use minicbor::data::Type;
    use minicbor::decode::Error;
    use minicbor::encode::{Error as WriteError, Write};
    use minicbor::{Decoder, Encoder};
    use unisono_model::name::Name;

    pub(crate) fn encode<C, W: Write>(
        name: &Option<Name>,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), WriteError<W::Error>> {
        match name {
            Some(name) => super::name::encode(name, e, ctx),
            None => e.null()?.ok(),
        }
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, ctx: &mut C) -> Result<Option<Name>, Error> {
        if d.datatype()? == Type::Null {
            d.skip()?;
            return Ok(None);
        }
        super::name::decode(d, ctx).map(Some)
    }

    #[expect(
        clippy::unnecessary_wraps,
        clippy::option_option,
        reason = "what the derive macro calls"
    )]
    pub(crate) fn nil() -> Option<Option<Name>> {
        Some(None)
    }

    pub(crate) fn is_nil(name: &Option<Name>) -> bool {
        name.is_none()
    }
}

/// Lists of names in CBOR.
pub(crate) mod names {
    use minicbor::decode::Error;
    use minicbor::encode::{Error as WriteError, Write};
    use minicbor::{Decoder, Encoder};
    use unisono_model::name::Name;

    pub(crate) fn encode<C, W: Write>(
        names: &[Name],
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), WriteError<W::Error>> {
        e.array(names.len() as u64)?;
        names.iter().try_for_each(|name| super::name::encode(name, e, ctx))
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, ctx: &mut C) -> Result<Vec<Name>, Error> {
        let count = d.array()?.ok_or_else(|| Error::message("list of unknown length"))?;
        (0..count).map(|_| super::name::decode(d, ctx)).collect()
    }
}
