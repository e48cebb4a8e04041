//! A lock for which clients wait in its queue, until it is granted to them or they leave.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use unisono_linearizability::Recorder;
use unisono_linearizability::models::{FairLock, FairLockInput, FairLockOutput};
use unisono_model::ids::Revision;

use super::{FOR_EVER, User, finish, judge_history};
use crate::values::exclusively;

pub(super) type Record = Recorder<&'static str, FairLockInput, FairLockOutput>;

const LOCK: &str = "fair";

pub(super) async fn use_it(mut user: User, record: Arc<Record>) {
    let mut lease = user.lease().await;
    while !user.is_over() {
        let come = record.call(user.number, LOCK, FairLockInput::Come(lease.0));
        let grant = record.call(user.number, LOCK, FairLockInput::Grant(lease.0));
        match come_and_wait(&mut user, lease, || record.returned(&come, FairLockOutput::Done)).await {
            Some(token) => {
                record.returned(&grant, FairLockOutput::Granted(token));
                leave(&user, &record, lease, false).await;
            }
            // What was asked may still arrive, and must not come again: the lease ends.
            None => {
                leave(&user, &record, lease, true).await;
                record.lost(&grant);
                lease = user.lease().await;
            }
        }
    }
}

/// The token, or nothing when patience has ended before. Tells once when there is a place in the queue.
async fn come_and_wait(user: &mut User, lease: Revision, has_come: impl FnOnce()) -> Option<u64> {
    let patience = match user.random.below(6) {
        0 => user.random.between(Duration::ZERO, Duration::from_millis(20)),
        _ => FOR_EVER,
    };
    // It asks again after a kill, and has the same place or the same grant.
    let request = exclusively(lease, Some(FOR_EVER));
    let mut acquiring = pin!(user.client.acquire_lock(LOCK, &request));
    tokio::select! {
        granted = &mut acquiring => {
            has_come();
            return Some(granted.unwrap().token.0);
        }
        () = until_it_has_a_place(user, lease) => has_come(),
    }
    let granted = timeout(patience, acquiring).await.ok()?;
    Some(granted.unwrap().token.0)
}

async fn until_it_has_a_place(user: &User, lease: Revision) {
    loop {
        let lock = user.insist(|| user.client.lock(LOCK)).await;
        let waits = lock.queue.iter().map(|waiting| waiting.lease);
        if waits
            .chain(lock.holders.iter().map(|holder| holder.lease))
            .any(|it| it == lease)
        {
            return;
        }
    }
}

/// Until it is certain.
async fn leave(user: &User, record: &Record, lease: Revision, revoke: bool) {
    let mut left = None;
    while left.is_none() {
        let call = record.call(user.number, LOCK, FairLockInput::Leave(lease.0));
        let came = if revoke {
            user.client.revoke_lease(lease).await
        } else {
            user.client.release_lock(LOCK, lease).await
        };
        // An earlier try may have done it.
        let gone = |code: &str| {
            ["lock-not-held", "lease-not-found"]
                .contains(&code)
                .then_some(FairLockOutput::Done)
        };
        left = user
            .note((record, &call), came.map(|()| FairLockOutput::Done), gone)
            .await;
    }
}

pub(super) fn judge(record: Arc<Record>) -> usize {
    judge_history("the queue of a lock", &FairLock, &finish(record))
}
