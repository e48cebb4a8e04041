//! What can be said about agents.

use std::collections::BTreeMap;

use unisono_model::ids::AttemptToken;
use unisono_model::name::Name;

use super::state::{AgentKey, SessionId};

/// An agent says hello.
#[derive(Clone, Debug)]
pub struct Join {
    /// The namespace it works for.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// Fresh for every start of its process.
    pub incarnation: Name,
    /// The activity types it runs.
    pub activity_types: Vec<Name>,
    /// How many attempts it is willing to hold.
    pub concurrency: u32,
    /// Facts about it.
    pub labels: BTreeMap<String, String>,
    /// Attempts it says it holds.
    pub holding: Vec<AttemptToken>,
    /// The connection it came on.
    pub session: SessionId,
}

/// A request about an agent.
#[derive(Clone, Debug)]
pub enum AgentCommand {
    /// It connected.
    Join(Box<Join>),
    /// Its connection is gone.
    Disconnect {
        /// Which agent.
        agent: AgentKey,
        /// Which connection; an older one than the agent's current is ignored.
        session: SessionId,
        /// Why, for people.
        reason: String,
    },
    /// It leaves for good.
    Leave {
        /// Which agent.
        agent: AgentKey,
        /// On which connection.
        session: SessionId,
        /// Why, for people.
        reason: String,
    },
    /// How many attempts it is willing to hold from now on.
    Credits {
        /// Which agent.
        agent: AgentKey,
        /// On which connection.
        session: SessionId,
        /// Attempts held at once; 0 drains.
        concurrency: u32,
    },
    /// The node has just started: no connection of an earlier process is up.
    NodeStarted,
}
