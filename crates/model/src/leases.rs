//! The bodies of the HTTP API about leases, locks and elections.

use serde::{Deserialize, Serialize};

use crate::api::JsonText;
use crate::ids::{Revision, Timestamp};
use crate::name::Name;

/// Asks for a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaseRequest {
    /// Who holds it: an incarnation, fresh for every start of a process. Never the name of a machine, which outlives it.
    #[schema(value_type = String)]
    pub holder: Name,
    /// After this many milliseconds without a renewal it ends.
    pub ttl_ms: u64,
    /// The party that the holder is, so that cycles of waiting are found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub party: Option<Name>,
}

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseView {
    /// Names it in everything that is said about it: the revision at which it was granted.
    #[schema(value_type = u64)]
    pub id: Revision,
    /// The incarnation that holds it.
    #[schema(value_type = String)]
    pub holder: Name,
    /// The party that the holder is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub party: Option<Name>,
    /// Who asked for it, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// After how many milliseconds without a renewal it ends.
    pub ttl_ms: u64,
    /// When it was granted.
    #[schema(value_type = String, format = DateTime)]
    pub granted_at: Timestamp,
    /// When it ends unless it is renewed, by the server's clock. A holder does not go by this: it counts from before it asked.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Values that vanish with it.
    pub values: u64,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HeldView>,
}

/// A lock or an election that a lease holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldView {
    /// Whether it is a lock or an election.
    pub kind: LockFamily,
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// The fencing token.
    #[schema(value_type = u64)]
    pub token: Revision,
}

/// Locks and elections have names of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum LockFamily {
    /// A lock.
    Lock,
    /// An election.
    Election,
}

impl LockFamily {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Election => "election",
        }
    }
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum LockMode {
    /// By one alone.
    #[default]
    Exclusive,
    /// By any number of readers, and no writer.
    Shared,
    /// As one of a number of permits: a semaphore.
    Permit,
}

impl LockMode {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
            Self::Permit => "permit",
        }
    }
}

/// Asks for a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcquireRequest {
    /// The lease that will hold it.
    #[schema(value_type = u64)]
    pub lease: Revision,
    /// How it will be held; exclusively when left out.
    #[serde(default)]
    pub mode: LockMode,
    /// `permit`: how many may hold it at once. All who ask say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permits: Option<u32>,
    /// Wait in the queue for up to this many milliseconds; without it the lock is only tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// A lock was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantView {
    /// The lock's name.
    #[schema(value_type = String)]
    pub name: Name,
    /// The lease that holds it.
    #[schema(value_type = u64)]
    pub lease: Revision,
    /// The fencing token: the revision of the grant. Every later grant has a greater one.
    #[schema(value_type = u64)]
    pub token: Revision,
}

/// Gives a lock back, or leaves its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseRequest {
    /// The lease that holds it, or waits for it.
    #[schema(value_type = u64)]
    pub lease: Revision,
}

/// Takes a lock from whoever holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StealRequest {
    /// Why; it is kept, and shown to people.
    pub reason: String,
    /// Only from who holds it under this token; from all who hold it when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub token: Option<Revision>,
}

/// Who a lock was taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StealResponse {
    /// The lock's name.
    #[schema(value_type = String)]
    pub name: Name,
    /// Who held it.
    pub stolen_from: Vec<HolderView>,
}

/// A lock or an election: who has it, who waits for it, and what was done to it by force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LockView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// A semaphore's number of permits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permits: Option<u32>,
    /// Who holds it, the first grant first.
    pub holders: Vec<HolderView>,
    /// Who waits, in the order in which they will get it.
    pub queue: Vec<QueuedView>,
    /// When it was taken by force, the last time last; the last 16 times are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audit: Vec<StealEntry>,
    /// The revision of the last change; the `ETag`.
    #[schema(value_type = u64)]
    pub revision: Revision,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HolderView {
    /// The incarnation.
    #[schema(value_type = String)]
    pub holder: Name,
    /// Who asked for its lease, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Its lease.
    #[schema(value_type = u64)]
    pub lease: Revision,
    /// How it holds the lock.
    pub mode: LockMode,
    /// The fencing token.
    #[schema(value_type = u64)]
    pub token: Revision,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When its lease ends unless it is renewed.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// Who waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueuedView {
    /// The incarnation.
    #[schema(value_type = String)]
    pub holder: Name,
    /// Who asked for its lease, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Its lease.
    #[schema(value_type = u64)]
    pub lease: Revision,
    /// How it will hold the lock.
    pub mode: LockMode,
    /// Its place in the queue: the revision at which it joined.
    #[schema(value_type = u64)]
    pub ticket: Revision,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it gives up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// A lock was taken by force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StealEntry {
    /// The revision at which that happened.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The incarnation that held it.
    #[schema(value_type = String)]
    pub holder: Name,
    /// The token that it had.
    #[schema(value_type = u64)]
    pub token: Revision,
}

/// Stands for an election.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CampaignRequest {
    /// The candidate's lease.
    #[schema(value_type = u64)]
    pub lease: Revision,
    /// What it proclaims once elected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub value: Option<JsonText>,
    /// Stand for up to this many milliseconds; without it the candidate is elected at once or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// The leader says something to all who observe.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProclaimRequest {
    /// The leader's lease.
    #[schema(value_type = u64)]
    pub lease: Revision,
    /// What it says.
    #[schema(value_type = Object)]
    pub value: JsonText,
}

/// An election: who leads, what they proclaimed, and who would.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ElectionView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// Who leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<HolderView>,
    /// What the leader proclaimed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub value: Option<JsonText>,
    /// Who stands, in the order in which they would lead.
    pub candidates: Vec<QueuedView>,
    /// When leadership was taken by force, the last time last; the last 16 times are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audit: Vec<StealEntry>,
    /// The revision of the last change; the `ETag`.
    #[schema(value_type = u64)]
    pub revision: Revision,
}
