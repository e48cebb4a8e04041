//! What subscribers have received of an entity's history, and what keeps them from receiving more.
//!
//! The position of a subscriber moves by events, and so does what is known of a delivery that failed: when it is tried
//! again, and whether it is parked. Entries are read from the history, so a subscriber that is away keeps nothing from
//! being forgotten; what it has missed by then shows as a gap in the sequence.

use minicbor::{Decode, Encode};
use unisono_model::ids::Timestamp;
use unisono_model::name::Name;
use unisono_model::rollout::{Endpoint, OutboxEntry, Policy, Subscriber, SubscriberState, SubscriberView};

use super::advance::{by, rule};
use super::command::By;
use super::event::{Decision, RolloutEvent as E};
use super::fleet::Fleet;
use super::head::Facts;
use super::health::millis;
use super::rejection::RolloutRejection as R;
use super::state::Rollouts;

/// Refusals last at least this long until a subscriber is parked, unless it says otherwise, in seconds.
const PARK_AFTER_SECONDS: u64 = 600;
/// The wait after the first failure, in milliseconds. It doubles with each.
const FIRST_WAIT_MS: u64 = 1_000;
/// The longest wait between two tries, in milliseconds.
const LONGEST_WAIT_MS: u64 = 300_000;

/// A delivery that failed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Undelivered {
    /// How often in a row.
    #[n(0)]
    pub(crate) tries: u32,
    /// Since when.
    #[n(1)]
    pub(crate) since: i64,
    /// Since when it is refused, and not only out of reach.
    #[n(2)]
    pub(crate) refused_since: Option<i64>,
    /// When it is tried again; never when it is parked.
    #[n(3)]
    pub(crate) again: Option<i64>,
    /// What went wrong.
    #[n(4)]
    pub(crate) detail: String,
}

/// How a delivery failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// It could not be reached, or was not able to take it.
    Unreachable,
    /// It does not want it.
    Refused,
    /// It says that it will never want anything any more.
    Gone,
}

/// What a subscriber is to be sent next.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Where.
    pub endpoint: Endpoint,
    /// Not before this, if something went wrong before.
    pub again: Option<Timestamp>,
    /// The last entry that it has received.
    pub received: u64,
    /// The next entries, the oldest first.
    pub entries: Vec<OutboxEntry>,
}

/// How far behind subscribers are, of all entities together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    /// Subscribers.
    pub subscribers: u64,
    /// Entries that have yet to be received.
    pub waiting: u64,
    /// Subscribers to which something could not be delivered, and is tried again.
    pub failing: u64,
    /// Subscribers that are parked.
    pub parked: u64,
    /// When the oldest entry that has yet to be received was decided.
    pub oldest: Option<Timestamp>,
}

fn wait_ms(tries: u32) -> u64 {
    let doubled = FIRST_WAIT_MS.saturating_mul(1 << tries.saturating_sub(1).min(20));
    doubled.min(LONGEST_WAIT_MS)
}

fn subscriber<'a>(fleet: &'a Fleet, name: &Name) -> Result<&'a Subscriber, R> {
    let found = fleet.head.policy.notify.iter().find(|it| it.name == *name);
    found.ok_or_else(|| R::SubscriberNotFound {
        subscriber: name.clone(),
    })
}

/// A delivery failed: when it is tried again, or that it is parked.
pub(crate) fn undelivered(
    fleet: &Fleet,
    name: &Name,
    (failing, detail): (Failing, String),
    at: Timestamp,
) -> Result<E, R> {
    let subscriber = subscriber(fleet, name)?;
    let before = fleet.head.facts.undelivered.get(name.as_str());
    let tries = before.map_or(0, |it| it.tries) + 1;
    let refused_since = match failing {
        Failing::Unreachable => None,
        Failing::Refused | Failing::Gone => Some(before.and_then(|it| it.refused_since).unwrap_or(at.0)),
    };
    let patience = millis(subscriber.park_after_seconds.unwrap_or(PARK_AFTER_SECONDS));
    let long = refused_since.is_some_and(|since| at.0.saturating_sub(since) >= patience);
    let parked = failing == Failing::Gone || long;
    let decision = Decision::Undelivered {
        subscriber: name.as_str().to_owned(),
        tries,
        since: before.map_or(at.0, |it| it.since),
        refused_since,
        again: (!parked).then(|| at.plus_millis(wait_ms(tries)).0),
        detail,
    };
    Ok(rule(fleet, at, decision))
}

/// Someone lets deliveries go on, after an entry if one is named.
pub(crate) fn resumed(fleet: &Fleet, name: &Name, after: Option<u64>, who: By, at: Timestamp) -> Result<E, R> {
    subscriber(fleet, name)?;
    let decision = Decision::DeliveryResumed {
        subscriber: name.as_str().to_owned(),
        after: after.map(|after| after.min(fleet.notes.last())),
    };
    Ok(by(fleet, at, (who.actor, who.reason), decision))
}

/// Subscribers that are named for the first time are told what happens from now on.
pub(crate) fn begin(fleet: &Fleet, policy: &Policy, at: Timestamp) -> Vec<E> {
    let last = fleet.notes.last();
    let new = |it: &&Subscriber| last > 0 && !fleet.head.facts.received.contains_key(it.name.as_str());
    let begins = |it: &Subscriber| {
        let decision = Decision::Acknowledged {
            subscriber: it.name.as_str().to_owned(),
            sequence: last,
        };
        rule(fleet, at, decision)
    };
    policy.notify.iter().filter(new).map(begins).collect()
}

/// What these decisions change.
pub(crate) fn apply(facts: &mut Facts, decision: &Decision) {
    match decision {
        Decision::Acknowledged { subscriber, sequence } => {
            let received = facts.received.entry(subscriber.clone()).or_default();
            *received = (*received).max(*sequence);
            facts.undelivered.remove(subscriber);
        }
        Decision::Undelivered {
            subscriber,
            tries,
            since,
            refused_since,
            again,
            detail,
        } => {
            let failed = Undelivered {
                tries: *tries,
                since: *since,
                refused_since: *refused_since,
                again: *again,
                detail: detail.clone(),
            };
            facts.undelivered.insert(subscriber.clone(), failed);
        }
        Decision::DeliveryResumed { subscriber, after } => {
            facts.undelivered.remove(subscriber);
            if let Some(after) = after {
                facts.received.insert(subscriber.clone(), *after);
            }
        }
        _ => {}
    }
}

impl Fleet {
    fn received(&self, subscriber: &str) -> u64 {
        self.head.facts.received.get(subscriber).copied().unwrap_or(0)
    }

    fn parked(&self, subscriber: &str) -> bool {
        let failed = self.head.facts.undelivered.get(subscriber);
        failed.is_some_and(|it| it.again.is_none())
    }

    /// The subscribers that have something to receive and are not parked.
    pub fn unsent(&self) -> impl Iterator<Item = &Subscriber> {
        let waits = |it: &&Subscriber| self.received(&it.name) < self.notes.last() && !self.parked(&it.name);
        self.head.policy.notify.iter().filter(waits)
    }

    /// What a subscriber has not received, the oldest first.
    #[must_use]
    pub fn outbox(&self, subscriber: &str, limit: usize) -> Vec<OutboxEntry> {
        let entry = |note: &super::note::Note| OutboxEntry {
            namespace: self.head.namespace.clone(),
            entity: self.head.name.clone(),
            entry: note.view(),
        };
        let all = self.notes.after(self.received(subscriber));
        all.take(limit).map(entry).collect()
    }

    /// What a subscriber is to be sent next; `None` when there is nothing, or it is parked, or there is no such subscriber.
    #[must_use]
    pub fn delivery(&self, subscriber: &Name, limit: usize) -> Option<Delivery> {
        let found = self.unsent().find(|it| it.name == *subscriber)?;
        let received = self.received(subscriber);
        let failed = self.head.facts.undelivered.get(subscriber.as_str());
        Some(Delivery {
            endpoint: found.endpoint.clone(),
            again: failed.and_then(|it| it.again).map(Timestamp),
            received,
            entries: self.outbox(subscriber, limit),
        })
    }

    /// Where its subscribers stand, in the policy's order.
    #[must_use]
    pub fn subscribers(&self) -> Vec<SubscriberView> {
        let last = self.notes.last();
        let view = |it: &Subscriber| {
            let received = self.received(&it.name);
            let failed = self.head.facts.undelivered.get(it.name.as_str());
            SubscriberView {
                name: it.name.clone(),
                endpoint: it.endpoint.clone(),
                state: match failed {
                    Some(failed) if failed.again.is_none() => SubscriberState::Parked,
                    Some(_) => SubscriberState::Failing,
                    None if received < last => SubscriberState::Behind,
                    None => SubscriberState::UpToDate,
                },
                received,
                last,
                behind: last.saturating_sub(received),
                tries: failed.map_or(0, |it| it.tries),
                error: failed.map(|it| it.detail.clone()),
                since: failed.map(|it| Timestamp(it.since)),
                next_try_at: failed.and_then(|it| it.again).map(Timestamp),
            }
        };
        self.head.policy.notify.iter().map(view).collect()
    }
}

impl Rollouts {
    /// How far behind subscribers are. Takes as long as there are entities with subscribers.
    #[must_use]
    pub fn outbox_counts(&self) -> OutboxCounts {
        let mut counts = OutboxCounts::default();
        for fleet in self.all() {
            for it in &fleet.head.policy.notify {
                let received = fleet.received(&it.name);
                counts.subscribers += 1;
                counts.waiting += fleet.notes.last().saturating_sub(received);
                match fleet.head.facts.undelivered.get(it.name.as_str()) {
                    Some(failed) if failed.again.is_none() => counts.parked += 1,
                    Some(_) => counts.failing += 1,
                    None => {}
                }
                let next = fleet.notes.after(received).next().map(|note| Timestamp(note.at));
                counts.oldest = counts.oldest.into_iter().chain(next).min();
            }
        }
        counts
    }
}
