//! What was decided about agents.

use minicbor::{Decode, Encode};
use unisono_model::name::Name;

/// A fact about an agent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum AgentEvent {
    /// An incarnation connected for the first time. Its key is the revision of this event.
    #[n(0)]
    Joined {
        /// The namespace it works for.
        #[cbor(n(0), with = "crate::payload::name")]
        namespace: Name,
        /// Its name.
        #[cbor(n(1), with = "crate::payload::name")]
        name: Name,
        /// Fresh for every start of its process.
        #[cbor(n(2), with = "crate::payload::name")]
        incarnation: Name,
        /// The activity types it runs.
        #[cbor(n(3), with = "crate::payload::names")]
        activity_types: Vec<Name>,
        /// How many attempts it is willing to hold.
        #[n(4)]
        concurrency: u32,
        /// Facts about it.
        #[n(5)]
        labels: Vec<(String, String)>,
        /// The connection it came on.
        #[n(6)]
        session: u64,
    },
    /// It connected again, with what it can do now.
    #[n(1)]
    Rejoined {
        /// Which agent.
        #[n(0)]
        agent: u64,
        /// The activity types it runs.
        #[cbor(n(1), with = "crate::payload::names")]
        activity_types: Vec<Name>,
        /// How many attempts it is willing to hold.
        #[n(2)]
        concurrency: u32,
        /// Facts about it.
        #[n(3)]
        labels: Vec<(String, String)>,
        /// The connection it came on.
        #[n(4)]
        session: u64,
    },
    /// Its connection is gone; it has until `until` to come back.
    #[n(2)]
    Disconnected {
        /// Which agent.
        #[n(0)]
        agent: u64,
        /// When its attempts go to others, milliseconds since the Unix epoch.
        #[n(1)]
        until: i64,
        /// Why.
        #[n(2)]
        reason: String,
    },
    /// It is gone for good and forgotten.
    #[n(3)]
    Gone {
        /// Which agent.
        #[n(0)]
        agent: u64,
        /// Why.
        #[n(1)]
        reason: String,
    },
    /// How many attempts it is willing to hold from now on.
    #[n(4)]
    CreditsChanged {
        /// Which agent.
        #[n(0)]
        agent: u64,
        /// Attempts held at once; 0 drains.
        #[n(1)]
        concurrency: u32,
    },
}

impl AgentEvent {
    /// The key of the agent it is about; none when it is a new one, whose key is the revision of the event.
    #[must_use]
    pub fn agent(&self) -> Option<u64> {
        match self {
            Self::Joined { .. } => None,
            Self::Rejoined { agent, .. }
            | Self::Disconnected { agent, .. }
            | Self::Gone { agent, .. }
            | Self::CreditsChanged { agent, .. } => Some(*agent),
        }
    }
}
