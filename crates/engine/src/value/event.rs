//! What was decided about values and futures.

use minicbor::{Decode, Encode};
use unisono_model::key::Key;
use unisono_model::name::Name;

use super::data::Data;
use crate::payload::Payload;

/// A fact about the value or the future of one key. Deadlines are steady instants ([`crate::clock`]), in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ValueEvent {
    /// The key was given a value. It is created when there was none; a promise that was pending is kept.
    #[n(0)]
    Put {
        /// Where.
        #[cbor(n(0), with = "crate::payload::name")]
        namespace: Name,
        /// Which key.
        #[cbor(n(1), with = "crate::value::data::key")]
        key: Key,
        /// The content.
        #[n(2)]
        data: Data,
        /// Whether the content is withheld.
        #[n(3)]
        sensitive: bool,
        /// Who wrote it, if they said.
        #[n(4)]
        writer: Option<String>,
        /// How long it lives, in milliseconds, and when that is over.
        #[n(5)]
        expiry: Option<(u64, i64)>,
        /// The lease with which it vanishes.
        #[n(6)]
        lease: Option<u64>,
        /// What kind of content, when it is not the usual one.
        #[n(7)]
        content_type: Option<String>,
        /// The newest fencing token that the key has seen, this write's among them.
        #[n(8)]
        fence: Option<u64>,
    },
    /// The value is gone. What remains of a key that was written under a token is the token.
    #[n(1)]
    Deleted {
        /// Where.
        #[cbor(n(0), with = "crate::payload::name")]
        namespace: Name,
        /// Which key.
        #[cbor(n(1), with = "crate::value::data::key")]
        key: Key,
        /// Why.
        #[n(2)]
        because: Because,
        /// Who deleted it, if they said.
        #[n(3)]
        writer: Option<String>,
        /// The fencing token under which it was deleted.
        #[n(4)]
        fence: Option<u64>,
    },
    /// The token of a key without a value is remembered no more.
    #[n(2)]
    Forgotten {
        /// Where.
        #[cbor(n(0), with = "crate::payload::name")]
        namespace: Name,
        /// Which key.
        #[cbor(n(1), with = "crate::value::data::key")]
        key: Key,
        /// The token.
        #[n(2)]
        token: u64,
    },
    /// A party promised a value. A promise that is there already is replaced by this one.
    #[n(3)]
    Declared {
        /// Where.
        #[cbor(n(0), with = "crate::payload::name")]
        namespace: Name,
        /// Which key.
        #[cbor(n(1), with = "crate::value::data::key")]
        key: Key,
        /// Who.
        #[cbor(n(2), with = "crate::payload::name")]
        producer: Name,
        /// Which assignment this is, from 1.
        #[n(3)]
        epoch: u32,
        /// The JSON Schema of the value.
        #[n(4)]
        schema: Option<Payload>,
        /// When the promise expires.
        #[n(5)]
        deadline: Option<i64>,
        /// The producer's lease.
        #[n(6)]
        lease: Option<u64>,
        /// The run whose activity is the producer.
        #[n(7)]
        run: Option<u64>,
        /// Who declared it, if they said.
        #[n(8)]
        actor: Option<String>,
    },
    /// There will be no value.
    #[n(4)]
    Broken {
        /// Where.
        #[cbor(n(0), with = "crate::payload::name")]
        namespace: Name,
        /// Which key.
        #[cbor(n(1), with = "crate::value::data::key")]
        key: Key,
        /// Why.
        #[n(2)]
        reason: String,
        /// Who, if somebody said it.
        #[n(3)]
        actor: Option<String>,
    },
    /// The time of a promise was over before there was a value.
    #[n(5)]
    PromiseExpired {
        /// Where.
        #[cbor(n(0), with = "crate::payload::name")]
        namespace: Name,
        /// Which key.
        #[cbor(n(1), with = "crate::value::data::key")]
        key: Key,
    },
    /// The promise is forgotten; a pending one is broken by that.
    #[n(6)]
    Withdrawn {
        /// Where.
        #[cbor(n(0), with = "crate::payload::name")]
        namespace: Name,
        /// Which key.
        #[cbor(n(1), with = "crate::value::data::key")]
        key: Key,
        /// Who, if they said.
        #[n(2)]
        actor: Option<String>,
    },
}

/// Why a value is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Because {
    /// Somebody deleted it.
    #[n(0)]
    Asked,
    /// Its time was over.
    #[n(1)]
    Expired,
    /// Its lease ended.
    #[n(2)]
    LeaseEnded,
    /// A new epoch of its future began.
    #[n(3)]
    NewEpoch,
}

impl ValueEvent {
    /// The namespace and the key that it is about.
    #[must_use]
    pub fn address(&self) -> (&Name, &Key) {
        match self {
            Self::Put { namespace, key, .. }
            | Self::Deleted { namespace, key, .. }
            | Self::Forgotten { namespace, key, .. }
            | Self::Declared { namespace, key, .. }
            | Self::Broken { namespace, key, .. }
            | Self::PromiseExpired { namespace, key }
            | Self::Withdrawn { namespace, key, .. } => (namespace, key),
        }
    }

    /// Whether it changes a value, which watches tell of.
    #[must_use]
    pub fn is_change(&self) -> bool {
        matches!(self, Self::Put { .. } | Self::Deleted { .. })
    }
}
