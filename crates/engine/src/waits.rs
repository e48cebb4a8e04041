//! Who waits for whom: where awaited values, locks and those who wait for them meet.
//!
//! A party that awaits a declared future waits for its producer, and one whose lease stands in the queue of a lock waits for
//! the parties that hold it. A wait that would close a cycle is refused to whoever closes it, with the whole cycle, the
//! moment that it would close.

use std::collections::BTreeSet;

use unisono_model::ids::Revision;
use unisono_model::key::Key;
use unisono_model::name::Name;
use unisono_model::values::WaitStep;

use crate::State;
use crate::lease::LockAddress;

/// The cycle that closes when a party awaits a key, if any.
pub(crate) fn cycle_of_await(state: &State, namespace: &Name, key: &Key, party: &Name) -> Option<Vec<WaitStep>> {
    let future = state
        .values
        .futures
        .get(namespace, key)
        .filter(|future| future.is_pending())?;
    cycle(state, namespace, for_value(party, key, &future.producer))
}

/// The cycle that closes when a party is to produce the value of a key, if any.
pub(crate) fn cycle_of_producer(state: &State, namespace: &Name, key: &Key, producer: &Name) -> Option<Vec<WaitStep>> {
    let waiting: BTreeSet<&Name> = state.values.awaits.parties_of(namespace, key).collect();
    waiting
        .into_iter()
        .find_map(|party| cycle(state, namespace, for_value(party, key, producer)))
}

/// The cycle that closes when a lease waits for a lock, if any.
pub(crate) fn cycle_of_lock(state: &State, lock: &LockAddress, lease: Revision) -> Option<Vec<WaitStep>> {
    let party = state.leases.get(lease)?.party.as_ref()?;
    let mut steps = for_lock(state, lock, party);
    steps.find_map(|step| cycle(state, &lock.namespace, step))
}

fn for_value(party: &Name, key: &Key, producer: &Name) -> WaitStep {
    WaitStep {
        party: party.clone(),
        waits_for: format!("value {key}"),
        held_by: producer.clone(),
    }
}

fn for_lock<'a>(state: &'a State, lock: &'a LockAddress, party: &'a Name) -> impl Iterator<Item = WaitStep> + 'a {
    state.leases.holding_parties(lock).map(|holder| WaitStep {
        party: party.clone(),
        waits_for: format!("{} {}", lock.family().as_str(), lock.name),
        held_by: holder.clone(),
    })
}

/// Everything that a party waits for.
fn waits_of(state: &State, namespace: &Name, party: &Name) -> Vec<WaitStep> {
    let keys = state.values.awaits.of_party(namespace, party);
    let values = keys.filter_map(|key| {
        let future = state.values.futures.get(namespace, key)?;
        future.is_pending().then(|| for_value(party, key, &future.producer))
    });
    let locks = state.leases.awaited_by(namespace, party);
    let locks = locks.flat_map(|lock| for_lock(state, lock, party));
    values.chain(locks).collect()
}

/// The way from a wait back to the party that begins it.
fn cycle(state: &State, namespace: &Name, first: WaitStep) -> Option<Vec<WaitStep>> {
    let begin = first.party.clone();
    let mut seen = BTreeSet::from([begin.clone()]);
    // The path so far, and for each of its ends what that party waits for and was not looked at.
    let mut path = vec![first];
    let mut open: Vec<Vec<WaitStep>> = Vec::new();
    loop {
        let last = path.last()?;
        if last.held_by == begin {
            return Some(path);
        }
        let next = if seen.insert(last.held_by.clone()) {
            waits_of(state, namespace, &last.held_by)
        } else {
            Vec::new()
        };
        open.push(next);
        // Go on with the next wait there is, back along the path.
        loop {
            if let Some(step) = open.last_mut()?.pop() {
                path.push(step);
                break;
            }
            open.pop();
            path.pop();
            if open.is_empty() {
                return None;
            }
        }
    }
}
