//! The rules for leases, locks and elections.

use thiserror::Error;
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::leases::{HolderView, LeaseView};
use unisono_model::limits::MAX_LOCK_QUEUE;
use unisono_model::name::Name;
use unisono_model::values::WaitStep;

use super::command::{Acquire, Grant, LeaseCommand};
use super::event::{LeaseEvent as E, LeftBecause, Mode};
use super::lock::{Lock, LockAddress, Place};
use super::state::{Due, Leases};
use crate::payload::Payload;
use crate::{Event, Rejection, Reply, State, value};

/// Why a command about leases, locks or elections was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LeaseRejection {
    /// The lease has ended, or never was.
    #[error("there is no lease {lease}: it has ended, or never was")]
    NotFound {
        /// Which.
        lease: Revision,
    },
    /// Somebody holds the lock, and the caller does not wait.
    #[error("{} \"{}\" is held by {}{}", lock.family().as_str(), lock.name, holders.iter().map(who).collect::<Vec<_>>().join(", "), waiting(*queue))]
    Held {
        /// The lock.
        lock: LockAddress,
        /// Who.
        holders: Vec<HolderView>,
        /// How many wait for it.
        queue: usize,
    },
    /// The lease has it already, in another way.
    #[error("lease {lease} has \"{}\" already, {}", lock.name, mode.word().as_str())]
    HeldOtherwise {
        /// The lock.
        lock: LockAddress,
        /// The lease.
        lease: Revision,
        /// How.
        mode: Mode,
    },
    /// It is in use as another kind of lock.
    #[error("\"{}\" is in use as {}, and cannot be taken as {}", lock.name, kind(*found), kind(*asked))]
    AnotherKind {
        /// The lock.
        lock: LockAddress,
        /// How it is used.
        found: Mode,
        /// How it was to be used.
        asked: Mode,
    },
    /// Too many wait for it.
    #[error("{MAX_LOCK_QUEUE} wait for \"{}\" already", lock.name)]
    QueueFull {
        /// The lock.
        lock: LockAddress,
    },
    /// The lease neither holds it nor waits for it.
    #[error("lease {lease} does not hold {} \"{}\"", lock.family().as_str(), lock.name)]
    NotHeld {
        /// The lock.
        lock: LockAddress,
        /// The lease.
        lease: Revision,
    },
    /// There is nothing to take.
    #[error("nobody holds {} \"{}\"{}", lock.family().as_str(), lock.name, under(*token))]
    NothingToSteal {
        /// The lock.
        lock: LockAddress,
        /// Under this token.
        token: Option<Revision>,
    },
    /// Parties would wait for each other for ever.
    #[error("{}", WaitStep::told(cycle))]
    Cycle {
        /// The cycle, beginning with who would wait.
        cycle: Vec<WaitStep>,
    },
}

fn who(holder: &HolderView) -> String {
    match &holder.actor {
        Some(actor) => format!("{actor} ({})", holder.holder),
        None => holder.holder.to_string(),
    }
}

fn waiting(queue: usize) -> String {
    match queue {
        0 => String::new(),
        1 => ", and one waits for it".to_owned(),
        queue => format!(", and {queue} wait for it"),
    }
}

fn under(token: Option<Revision>) -> String {
    token.map_or_else(String::new, |token| format!(" under token {token}"))
}

fn kind(mode: Mode) -> String {
    match mode {
        Mode::Exclusive | Mode::Shared => "a lock".to_owned(),
        Mode::Permit { of } => format!("a semaphore of {of}"),
    }
}

pub(crate) fn decide(
    state: &State,
    command: LeaseCommand,
    at: Timestamp,
    events: &mut Vec<Event>,
) -> Result<Reply, Rejection> {
    match command {
        LeaseCommand::Grant(grant) => Ok(self::grant(state, grant, at, events)),
        LeaseCommand::Renew { namespace, lease } => renew(state, &namespace, lease, at, events),
        LeaseCommand::Revoke {
            namespace,
            lease,
            actor,
        } => {
            state.leases().known(&namespace, lease)?;
            end(state, lease, Some(actor), events);
            Ok(Reply::Done)
        }
        LeaseCommand::Acquire(acquire) => self::acquire(state, acquire, at, events),
        LeaseCommand::Release { lock, lease } => release(state, &lock, lease, events),
        LeaseCommand::Steal {
            lock,
            token,
            actor,
            reason,
        } => steal(state, &lock, token, (&actor, &reason), events),
        LeaseCommand::Proclaim { election, lease, value } => proclaim(state, election, lease, value, events),
        LeaseCommand::ClockStepped { by_ms } => {
            events.push(Event::Lease(E::ClockStepped { by_ms }));
            Ok(Reply::Done)
        }
    }
}

fn next_revision(state: &State, events: &[Event]) -> Revision {
    Revision(state.revision.0 + events.len() as u64 + 1)
}

fn grant(state: &State, grant: Grant, at: Timestamp, events: &mut Vec<Event>) -> Reply {
    let id = next_revision(state, events);
    let deadline = state.marks.steady_after(at, grant.ttl_ms);
    let view = LeaseView {
        id,
        holder: grant.holder.clone(),
        party: grant.party.clone(),
        actor: grant.actor.clone(),
        ttl_ms: grant.ttl_ms,
        granted_at: at,
        expires_at: state.marks.time(deadline),
        values: 0,
        holds: Vec::new(),
    };
    events.push(Event::Lease(E::Granted {
        namespace: grant.namespace,
        holder: grant.holder,
        ttl_ms: grant.ttl_ms,
        deadline: deadline.0,
        party: grant.party,
        actor: grant.actor,
    }));
    Reply::Lease(Box::new(view))
}

fn renew(
    state: &State,
    namespace: &Name,
    id: Revision,
    at: Timestamp,
    events: &mut Vec<Event>,
) -> Result<Reply, Rejection> {
    let lease = state.leases().known(namespace, id)?;
    let deadline = state.marks.steady_after(at, lease.ttl_ms).max(lease.deadline);
    if deadline > lease.deadline {
        events.push(Event::Lease(E::Renewed {
            lease: id.0,
            deadline: deadline.0,
        }));
    }
    let view = state.lease_view(id);
    let view = view.ok_or(LeaseRejection::NotFound { lease: id })?;
    Ok(Reply::Lease(Box::new(LeaseView {
        expires_at: state.marks.time(deadline),
        ..view
    })))
}

/// Ends a lease: what is attached vanishes, what it holds goes to who is next. `revoked` tells by whom; otherwise its time
/// is over.
fn end(state: &State, id: Revision, revoked: Option<Option<String>>, events: &mut Vec<Event>) {
    let leases = state.leases();
    let Some(lease) = leases.get(id) else {
        return;
    };
    let (expired, actor) = (revoked.is_none(), revoked.flatten());
    let why = match (&actor, expired) {
        (_, true) => "was not renewed in time".to_owned(),
        (Some(actor), false) => format!("was revoked by {actor}"),
        (None, false) => "was revoked".to_owned(),
    };
    events.push(Event::Lease(E::Ended {
        lease: id.0,
        expired,
        actor,
    }));
    value::ended_with_lease(state, (&lease.namespace, id), events);
    value::broken_by_lease(state, (&lease.namespace, id), &why, events);
    for address in leases.places(id) {
        left(leases, address, id, LeftBecause::LeaseEnded, events);
    }
}

/// A lease leaves a lock or its queue, and who is next is granted it.
fn left(leases: &Leases, address: &LockAddress, lease: Revision, because: LeftBecause, events: &mut Vec<Event>) {
    events.push(Event::Lease(E::Left {
        lock: address.clone(),
        lease: lease.0,
        because,
    }));
    if let Some(lock) = leases.lock(address) {
        grant_next(lock, address, &|other| other == lease, events);
    }
}

fn grant_next(lock: &Lock, address: &LockAddress, leaves: &dyn Fn(Revision) -> bool, events: &mut Vec<Event>) {
    for (ticket, waiting) in lock.next(leaves) {
        events.push(Event::Lease(E::Acquired {
            lock: address.clone(),
            lease: waiting.lease.0,
            mode: waiting.mode,
            ticket: Some(ticket.0),
            value: waiting.value.clone(),
        }));
    }
}

fn acquire(state: &State, acquire: Acquire, at: Timestamp, events: &mut Vec<Event>) -> Result<Reply, Rejection> {
    let Acquire {
        lock: address,
        lease,
        mode,
        wait_ms,
        value,
    } = acquire;
    let leases = state.leases();
    leases.known(&address.namespace, lease)?;
    let lock = leases.lock(&address);
    match leases.place(lease, &address) {
        Some(Place::Holds(_, had) | Place::Waits(_, had)) if had != mode => {
            let lock = address;
            return Err(LeaseRejection::HeldOtherwise { lock, lease, mode: had }.into());
        }
        Some(Place::Holds(token, _)) => return Ok(Reply::Granted { token }),
        Some(Place::Waits(ticket, _)) if wait_ms.is_some() => return Ok(Reply::Queued { ticket }),
        Some(Place::Waits(..)) => return Err(held(state, &address)),
        None => {}
    }
    if let Some(found) = lock
        .and_then(Lock::mode)
        .filter(|found| found.permits() != mode.permits())
    {
        let lock = address;
        return Err(LeaseRejection::AnotherKind {
            lock,
            found,
            asked: mode,
        }
        .into());
    }
    let revision = next_revision(state, events);
    if lock.is_none_or(|lock| lock.admits(mode)) {
        events.push(Event::Lease(E::Acquired {
            lock: address,
            lease: lease.0,
            mode,
            ticket: None,
            value,
        }));
        return Ok(Reply::Granted { token: revision });
    }
    let Some(wait_ms) = wait_ms else {
        return Err(held(state, &address));
    };
    if lock.is_some_and(|lock| lock.queue.len() >= MAX_LOCK_QUEUE) {
        return Err(LeaseRejection::QueueFull { lock: address }.into());
    }
    if let Some(cycle) = crate::waits::cycle_of_lock(state, &address, lease, mode) {
        return Err(LeaseRejection::Cycle { cycle }.into());
    }
    events.push(Event::Lease(E::Queued {
        lock: address,
        lease: lease.0,
        mode,
        deadline: Some(state.marks.steady_after(at, wait_ms).0),
        value,
    }));
    Ok(Reply::Queued { ticket: revision })
}

fn held(state: &State, address: &LockAddress) -> Rejection {
    let leases = state.leases();
    let lock = leases.lock(address);
    LeaseRejection::Held {
        lock: address.clone(),
        holders: lock.map_or_else(Vec::new, |lock| leases.holders(lock, &state.marks)),
        queue: lock.map_or(0, |lock| lock.queue.len()),
    }
    .into()
}

fn release(state: &State, address: &LockAddress, lease: Revision, events: &mut Vec<Event>) -> Result<Reply, Rejection> {
    let leases = state.leases();
    leases.known(&address.namespace, lease)?;
    if leases.place(lease, address).is_none() {
        let lock = address.clone();
        return Err(LeaseRejection::NotHeld { lock, lease }.into());
    }
    left(leases, address, lease, LeftBecause::Released, events);
    Ok(Reply::Done)
}

fn steal(
    state: &State,
    address: &LockAddress,
    token: Option<Revision>,
    (actor, reason): (&str, &str),
    events: &mut Vec<Event>,
) -> Result<Reply, Rejection> {
    let leases = state.leases();
    let lock = leases.lock(address);
    let mut stolen = lock.map_or_else(Vec::new, |lock| leases.holders(lock, &state.marks));
    stolen.retain(|holder| token.is_none_or(|token| holder.token == token));
    let Some(lock) = lock.filter(|_| !stolen.is_empty()) else {
        let lock = address.clone();
        return Err(LeaseRejection::NothingToSteal { lock, token }.into());
    };
    for holder in &stolen {
        events.push(Event::Lease(E::Stolen {
            lock: address.clone(),
            lease: holder.lease.0,
            holder: holder.holder.clone(),
            token: holder.token.0,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
        }));
    }
    let leaves = |lease| stolen.iter().any(|holder| holder.lease == lease);
    grant_next(lock, address, &leaves, events);
    Ok(Reply::Stolen(stolen))
}

fn proclaim(
    state: &State,
    election: LockAddress,
    lease: Revision,
    value: Payload,
    events: &mut Vec<Event>,
) -> Result<Reply, Rejection> {
    let leases = state.leases();
    leases.known(&election.namespace, lease)?;
    let Some(Place::Holds(..)) = leases.place(lease, &election) else {
        let lock = election;
        return Err(LeaseRejection::NotHeld { lock, lease }.into());
    };
    events.push(Event::Lease(E::Proclaimed {
        election,
        lease: lease.0,
        value,
    }));
    Ok(Reply::Done)
}

/// The first of what is due. Only that: what comes next may be about the same lock.
pub(crate) fn due(state: &State, at: Timestamp, events: &mut Vec<Event>) {
    let leases = state.leases();
    match leases.due(state.marks.steady(at)) {
        Some(Due::Lease(id)) => end(state, id, None, events),
        Some(Due::Wait(address, ticket)) => {
            let waiting = leases.lock(&address).and_then(|lock| lock.queue.get(&ticket));
            if let Some(waiting) = waiting {
                left(leases, &address, waiting.lease, LeftBecause::TimedOut, events);
            }
        }
        None => {}
    }
}
