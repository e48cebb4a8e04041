//! What was decided about definitions.

use minicbor::{Decode, Encode};
use unisono_model::api::DefinitionKind;
use unisono_model::name::Name;

use crate::payload::Payload;

/// The kind of a definition, as it stands in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// An orchestration definition.
    #[n(0)]
    Orchestration,
    /// An activity definition.
    #[n(1)]
    Activity,
}

impl From<DefinitionKind> for Kind {
    fn from(kind: DefinitionKind) -> Self {
        match kind {
            DefinitionKind::Orchestration => Self::Orchestration,
            DefinitionKind::Activity => Self::Activity,
        }
    }
}

impl From<Kind> for DefinitionKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Orchestration => Self::Orchestration,
            Kind::Activity => Self::Activity,
        }
    }
}

/// A fact about a definition.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DefinitionEvent {
    /// A version was stored.
    #[n(0)]
    Applied {
        /// Where.
        #[cbor(n(0), with = "crate::payload::name")]
        namespace: Name,
        /// Which kind.
        #[n(1)]
        kind: Kind,
        /// Which type.
        #[cbor(n(2), with = "crate::payload::name")]
        type_name: Name,
        /// The version it got.
        #[n(3)]
        version: u32,
        /// The definition, JSON.
        #[n(4)]
        source: Payload,
        /// Orchestration definitions: the activity definitions it uses, a JSON array.
        #[n(5)]
        uses: Option<Payload>,
    },
    /// Every version was deleted.
    #[n(1)]
    Deleted {
        /// Where.
        #[cbor(n(0), with = "crate::payload::name")]
        namespace: Name,
        /// Which kind.
        #[n(1)]
        kind: Kind,
        /// Which type.
        #[cbor(n(2), with = "crate::payload::name")]
        type_name: Name,
    },
}
