//! What can be asked about values and futures.

use unisono_model::ids::Revision;
use unisono_model::key::Key;
use unisono_model::name::Name;

use super::data::Data;
use crate::orchestration::RunKey;
use crate::payload::Payload;

/// A request about values or futures.
#[derive(Clone, Debug)]
pub enum ValueCommand {
    /// All conditions hold and all operations happen, or nothing does.
    Write(Box<Write>),
    /// A party promises a value.
    Declare(Box<Declare>),
    /// There will be no value.
    Break {
        /// Where.
        namespace: Name,
        /// Which key.
        key: Key,
        /// Why, for those who await it.
        reason: String,
        /// Who.
        actor: Option<String>,
    },
    /// The promise is forgotten; a pending one is broken by that.
    Withdraw {
        /// Where.
        namespace: Name,
        /// Which key.
        key: Key,
        /// Who.
        actor: Option<String>,
    },
}

/// A transaction.
#[derive(Clone, Debug)]
pub struct Write {
    /// Where.
    pub namespace: Name,
    /// What must hold.
    pub conditions: Vec<Condition>,
    /// What happens then. No key is written twice.
    pub operations: Vec<Operation>,
    /// Who writes, if they said.
    pub writer: Option<String>,
    /// The party that writes, for declared futures.
    pub party: Option<Name>,
    /// The declarations whose schemas the contents were checked against.
    pub checked: Vec<Revision>,
}

/// What must hold of a key.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The key.
    pub key: Key,
    /// What it must be like.
    pub is: Expect,
}

/// What a key must be like.
#[derive(Clone, Debug)]
pub enum Expect {
    /// It has no value.
    Absent,
    /// It has a value.
    Present,
    /// Its value was last written at this revision.
    Revision(Revision),
    /// Its value is this, byte for byte.
    Content(Data),
}

/// What a transaction does with one key.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Writes a value.
    Put(Put),
    /// Deletes the value, if there is one.
    Delete {
        /// The key.
        key: Key,
        /// Under which token.
        fence: Option<Fence>,
    },
    /// Reads the value as it was before.
    Get {
        /// The key.
        key: Key,
    },
}

impl Operation {
    /// The key that it changes.
    #[must_use]
    pub fn written(&self) -> Option<&Key> {
        match self {
            Self::Put(put) => Some(&put.key),
            Self::Delete { key, .. } => Some(key),
            Self::Get { .. } => None,
        }
    }
}

/// A value to write.
#[derive(Clone, Debug)]
pub struct Put {
    /// The key.
    pub key: Key,
    /// The content.
    pub data: Data,
    /// What kind of content, when it is not the usual one.
    pub content_type: Option<String>,
    /// How long it lives, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// The lease with which it vanishes.
    pub lease: Option<Revision>,
    /// Under which token it is written.
    pub fence: Option<Fence>,
    /// Whether it is withheld; `None` leaves it as it is.
    pub sensitive: Option<bool>,
}

/// A fencing token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The token: the revision of a grant.
    pub token: Revision,
    /// The lock that must be held under it.
    pub lock: Option<Name>,
}

/// A promise.
#[derive(Clone, Debug)]
pub struct Declare {
    /// Where.
    pub namespace: Name,
    /// The key that will have the value.
    pub key: Key,
    /// Who promises it.
    pub producer: Name,
    /// The JSON Schema of the value. It has been found to be one.
    pub schema: Option<Payload>,
    /// After how many milliseconds the promise expires.
    pub ttl_ms: Option<u64>,
    /// The producer's lease.
    pub lease: Option<Revision>,
    /// The run whose activity is the producer: when it ends without a value, the promise is broken.
    pub run: Option<RunKey>,
    /// Begin a new epoch when the last promise is settled.
    pub new_epoch: bool,
    /// Who, if they said.
    pub actor: Option<String>,
}
