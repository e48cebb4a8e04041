//! Hosts: processes that run a service where it leads, as they tell of themselves and as they are shown.
//!
//! A host tells of itself in a value below [`MEMBERS`], and holds a slot by a value below [`SLOTS`]; both live as long as
//! they are renewed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Revision, Timestamp};
use crate::name::Name;

/// The keys of the leases of slots begin with this.
pub const SLOTS: &str = "hosts/slots/";
/// The keys of what hosts tell of themselves begin with this.
pub const MEMBERS: &str = "hosts/members/";

/// The keys of the leases of a service's slots begin with this.
#[must_use]
pub fn slots_of(service: &str) -> String {
    format!("{SLOTS}{service}/")
}

/// The key of the lease of a slot.
#[must_use]
pub fn slot(service: &str, number: u32) -> String {
    format!("{SLOTS}{service}/{number}")
}

/// The keys of what hosts of a service tell of themselves begin with this.
#[must_use]
pub fn members_of(service: &str) -> String {
    format!("{MEMBERS}{service}/")
}

/// The key of what a host tells of itself.
#[must_use]
pub fn member(service: &str, id: &str) -> String {
    format!("{MEMBERS}{service}/{id}")
}

/// What a host does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum HostState {
    /// It leads, and its command runs.
    Running,
    /// It leads, and starts its command.
    Starting,
    /// It leads, and its command has failed; it waits before it starts it again.
    BackingOff,
    /// Its command is asked to leave.
    Stopping,
    /// It waits for a slot.
    Candidate,
}

impl HostState {
    /// Its name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Starting => "starting",
            Self::BackingOff => "backingOff",
            Self::Stopping => "stopping",
            Self::Candidate => "candidate",
        }
    }

    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Running,
        Self::Starting,
        Self::BackingOff,
        Self::Stopping,
        Self::Candidate,
    ];
}

impl fmt::Display for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A host, as it tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostView {
    /// The service that it runs, or would.
    #[schema(value_type = String)]
    pub service: Name,
    /// Its id, which no other host ever had: the text by which it holds a slot.
    pub id: String,
    /// What it does.
    pub state: HostState,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Why, or what it waits for; empty when there is nothing to say.
    #[serde(default)]
    pub reason: String,
    /// The slot that it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// The fencing token of its leadership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub token: Option<Revision>,
    /// The machine that it is on.
    pub machine: String,
    /// Its process.
    pub pid: u32,
    /// The process of its command, while that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_pid: Option<u32>,
    /// The command.
    pub command: Vec<String>,
    /// How often the command was started again under this leadership.
    pub restarts: u64,
}
