//! A value as it lies in memory, and as it is shown.
//!
//! There may be millions of them, so a value is 64 bytes and one piece of memory with its key and its content; what few
//! values have lies apart.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::value::RawValue;
use unisono_model::api::JsonText;
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::key::Key;
use unisono_model::values::{Base64, JSON, OCTETS, ValueView};

use super::data::Data;
use crate::clock::{Marks, Steady};

/// The name of a writer, shared by the values that it wrote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Writer(Arc<Box<str>>);

impl Writer {
    pub(crate) fn new(name: &str) -> Self {
        Self(Arc::new(name.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands anywhere else.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Borrow<str> for Writer {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// What a key holds, or the token that it remembers.
#[derive(Debug)]
pub struct Value {
    /// The key, and behind it the content.
    text: Box<[u8]>,
    /// The write that created it; identifies it.
    pub(crate) created: Revision,
    /// The last write.
    pub(crate) modified: Revision,
    /// When that was.
    pub(crate) at: Timestamp,
    pub(crate) writer: Option<Writer>,
    rare: Option<Box<Rare>>,
    /// Writes since it was created.
    pub(crate) version: u32,
    key_bytes: u16,
    pub(crate) kind: Kind,
    pub(crate) sensitive: bool,
}

/// What a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Bytes,
    /// No value, only the token under which it was written last.
    Tombstone,
}

/// What few values have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rare {
    /// How long it lives, in milliseconds, and until when.
    pub(crate) expiry: Option<(u64, Steady)>,
    pub(crate) lease: Option<Revision>,
    pub(crate) content_type: Option<Box<str>>,
    /// The newest token; 0 when there never was one.
    pub(crate) fence: Revision,
}

impl Rare {
    fn is_common(&self) -> bool {
        *self == Self::default()
    }
}

/// What a value is made of, besides its key and content.
pub(crate) struct Parts {
    pub(crate) created: Revision,
    pub(crate) modified: Revision,
    pub(crate) at: Timestamp,
    pub(crate) version: u32,
    pub(crate) writer: Option<Writer>,
    pub(crate) sensitive: bool,
    pub(crate) rare: Rare,
}

impl Value {
    /// `data` is `None` for a tombstone.
    pub(crate) fn new(key: &str, data: Option<&Data>, parts: Parts) -> Self {
        let content = data.map_or(&[][..], Data::as_bytes);
        let mut text = Vec::with_capacity(key.len() + content.len());
        text.extend_from_slice(key.as_bytes());
        text.extend_from_slice(content);
        Self {
            text: text.into_boxed_slice(),
            created: parts.created,
            modified: parts.modified,
            at: parts.at,
            writer: parts.writer,
            rare: (!parts.rare.is_common()).then(|| Box::new(parts.rare)),
            version: parts.version,
            // Keys are far shorter.
            key_bytes: u16::try_from(key.len()).unwrap_or(u16::MAX),
            kind: match data {
                None => Kind::Tombstone,
                Some(Data::Json(_)) => Kind::Json,
                Some(Data::Bytes(_)) => Kind::Bytes,
            },
            sensitive: parts.sensitive,
        }
    }

    /// The token of a key whose value is gone.
    pub(crate) fn tombstone(self, revision: Revision, at: Timestamp, fence: Revision) -> Self {
        Self::new(
            self.key(),
            None,
            Parts {
                created: self.created,
                modified: revision,
                at,
                version: 0,
                writer: None,
                sensitive: false,
                rare: Rare {
                    fence,
                    ..Rare::default()
                },
            },
        )
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &str {
        // It was a text when it came.
        std::str::from_utf8(self.key_bytes()).unwrap_or_default()
    }

    fn key_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.key_bytes)]
    }

    /// Its content.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.text[usize::from(self.key_bytes)..]
    }

    /// Bytes of the key and the content.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Its content, as it came.
    #[must_use]
    pub fn data(&self) -> Data {
        match self.kind {
            Kind::Json => Data::Json(Arc::from(String::from_utf8_lossy(self.content()))),
            Kind::Bytes | Kind::Tombstone => Data::Bytes(Arc::from(self.content())),
        }
    }

    pub(crate) fn holds(&self, data: &Data) -> bool {
        (self.kind == Kind::Json) == data.is_json() && self.content() == data.as_bytes()
    }

    pub(crate) fn is_live(&self) -> bool {
        self.kind != Kind::Tombstone
    }

    pub(crate) fn rare(&self) -> Rare {
        self.rare.as_deref().cloned().unwrap_or_default()
    }

    pub(crate) fn deadline(&self) -> Option<Steady> {
        let (_, deadline) = self.rare.as_ref()?.expiry?;
        Some(deadline)
    }

    pub(crate) fn lease(&self) -> Option<Revision> {
        self.rare.as_ref()?.lease
    }

    pub(crate) fn fence(&self) -> Revision {
        self.rare.as_ref().map_or(Revision(0), |rare| rare.fence)
    }

    /// Everything that may be known of it.
    #[must_use]
    pub fn shown(&self, marks: &Marks) -> Shown {
        let rare = self.rare();
        Shown {
            // It was a key when it came.
            key: Key::parse(self.key()).ok(),
            data: self.data(),
            content_type: rare.content_type,
            revision: self.modified,
            created: self.created,
            version: self.version,
            at: self.at,
            writer: self.writer.clone(),
            ttl_ms: rare.expiry.map(|(ttl_ms, _)| ttl_ms),
            expires_at: rare.expiry.map(|(_, deadline)| marks.time(deadline)),
            lease: rare.lease,
            fence: Some(rare.fence).filter(|fence| fence.0 > 0),
            sensitive: self.sensitive,
        }
    }
}

impl Borrow<[u8]> for Box<Value> {
    fn borrow(&self) -> &[u8] {
        self.key_bytes()
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.key_bytes() == other.key_bytes()
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By key.
impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key_bytes().cmp(other.key_bytes())
    }
}

/// A value as it was at one moment, apart from the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    key: Option<Key>,
    /// The content.
    pub data: Data,
    content_type: Option<Box<str>>,
    /// The last write.
    pub revision: Revision,
    created: Revision,
    version: u32,
    at: Timestamp,
    writer: Option<Writer>,
    ttl_ms: Option<u64>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    lease: Option<Revision>,
    fence: Option<Revision>,
    /// Whether its content is withheld from whoever has not asked for this very key.
    pub sensitive: bool,
}

impl Shown {
    /// The answer to who asked for this very key.
    #[must_use]
    pub fn view(&self) -> Option<ValueView> {
        let (value, base64) = match &self.data {
            Data::Json(text) => (RawValue::from_string(text.to_string()).ok().map(JsonText), None),
            Data::Bytes(bytes) => (None, Some(Base64(bytes.to_vec()))),
        };
        let usual = if self.data.is_json() { JSON } else { OCTETS };
        Some(ValueView {
            key: self.key.clone()?,
            value,
            base64,
            content_type: self.content_type.as_deref().unwrap_or(usual).to_owned(),
            revision: self.revision,
            create_revision: self.created,
            version: self.version,
            updated_at: self.at,
            writer: self.writer.as_ref().map(|writer| writer.as_str().to_owned()),
            ttl_ms: self.ttl_ms,
            expires_at: self.expires_at,
            lease: self.lease,
            fence: self.fence,
            sensitive: self.sensitive,
        })
    }

    /// The answer to anybody else: what is sensitive comes without its content.
    #[must_use]
    pub fn public_view(&self) -> Option<ValueView> {
        let mut view = self.view()?;
        if self.sensitive {
            (view.value, view.base64) = (None, None);
        }
        Some(view)
    }

    /// Bytes of the content.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.as_bytes().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_sixty_four_bytes() {
        assert_eq!(size_of::<Value>(), 64);
    }
}
