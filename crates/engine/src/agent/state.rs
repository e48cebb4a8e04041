//! An agent, and how events change it.

use std::collections::{BTreeMap, BTreeSet};

use unisono_model::api::AgentView;
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;

use super::event::AgentEvent;
use crate::work::{QueueId, TimerKey, Work};

/// An agent: the revision of the event by which it joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentKey(pub u64);

/// A connection of an agent to the node, counted by the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Whether an agent can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// By this connection.
    Up(SessionId),
    /// Not now; its attempts go to others at `until`.
    Down {
        /// When its attempts go to others.
        until: Timestamp,
        /// Why the connection is gone.
        reason: String,
    },
}

/// One incarnation of an agent.
#[derive(Clone, Debug)]
pub struct Agent {
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
    pub labels: Vec<(String, String)>,
    /// Whether it can be reached.
    pub link: Link,
    /// Since when the link is as it is.
    pub since: Timestamp,
    /// The last event about it.
    pub revision: Revision,
    /// Attempts it holds, by the revision of their tokens. Derived from the runs.
    pub(crate) held: BTreeSet<u64>,
    /// Its queues, each with whether it stands in the queue's line of free agents. Derived.
    pub(crate) queues: Vec<(QueueId, bool)>,
}

impl Agent {
    /// The connection that is up, if any.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self.link {
            Link::Up(session) => Some(session),
            Link::Down { .. } => None,
        }
    }

    /// Whether it takes another attempt now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.session().is_some() && self.held.len() < self.concurrency as usize
    }

    /// What the API shows.
    #[must_use]
    pub fn view(&self) -> AgentView {
        AgentView {
            name: self.name.clone(),
            incarnation: self.incarnation.clone(),
            connected: self.session().is_some(),
            since: self.since,
            reason: match &self.link {
                Link::Up(_) if self.concurrency == 0 => "connected, draining: takes no new attempts".to_owned(),
                Link::Up(_) => "connected".to_owned(),
                Link::Down { until, reason } if self.held.is_empty() => {
                    format!("gone ({reason}); forgotten at {until} unless it comes back")
                }
                Link::Down { until, reason } => format!(
                    "gone ({reason}); its {} attempts go to others at {until} unless it comes back",
                    self.held.len()
                ),
            },
            activity_types: self.activity_types.clone(),
            concurrency: self.concurrency,
            running: u32::try_from(self.held.len()).unwrap_or(u32::MAX),
            labels: self.labels.iter().cloned().collect::<BTreeMap<String, String>>(),
        }
    }
}

pub(crate) fn evolve(work: &mut Work, revision: Revision, at: Timestamp, event: &AgentEvent) {
    match event {
        AgentEvent::Joined {
            namespace,
            name,
            incarnation,
            activity_types,
            concurrency,
            labels,
            session,
        } => {
            let key = AgentKey(revision.0);
            if work.agents.contains_key(&key) {
                return;
            }
            work.put_agent(
                key,
                Agent {
                    namespace: namespace.clone(),
                    name: name.clone(),
                    incarnation: incarnation.clone(),
                    activity_types: activity_types.clone(),
                    concurrency: *concurrency,
                    labels: labels.clone(),
                    link: Link::Up(SessionId(*session)),
                    since: at,
                    revision,
                    held: BTreeSet::new(),
                    queues: Vec::new(),
                },
            );
        }
        AgentEvent::Rejoined {
            agent,
            activity_types,
            concurrency,
            labels,
            session,
        } => work.change_agent(AgentKey(*agent), revision, |agent| {
            agent.activity_types.clone_from(activity_types);
            agent.concurrency = *concurrency;
            agent.labels.clone_from(labels);
            agent.link = Link::Up(SessionId(*session));
            agent.since = at;
        }),
        AgentEvent::Disconnected { agent, until, reason } => {
            work.change_agent(AgentKey(*agent), revision, |agent| {
                agent.link = Link::Down {
                    until: Timestamp(*until),
                    reason: reason.clone(),
                };
                agent.since = at;
            });
        }
        AgentEvent::Gone { agent, .. } => work.remove_agent(AgentKey(*agent), revision),
        AgentEvent::CreditsChanged { agent, concurrency } => {
            work.change_agent(AgentKey(*agent), revision, |agent| {
                agent.concurrency = *concurrency;
            });
        }
    }
}

/// The timer that an agent's link asks for.
pub(crate) fn timer(key: AgentKey, agent: &Agent) -> Option<(Timestamp, TimerKey)> {
    match agent.link {
        Link::Up(_) => None,
        Link::Down { until, .. } => Some((until, TimerKey::Agent(key))),
    }
}
