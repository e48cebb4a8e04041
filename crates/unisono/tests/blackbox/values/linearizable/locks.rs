//! Locks that are tried and stolen, and a value that is written under their fencing tokens.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use unisono_client::ClientError;
use unisono_linearizability::Recorder;
use unisono_linearizability::models::{Fenced, FencedInput, FencedOutput, Lock, LockInput, LockOutput};
use unisono_model::ids::Revision;
use unisono_model::leases::StealRequest;
use unisono_model::values::PutRequest;

use super::{User, judge_history};
use crate::values::{exclusively, json as content};

#[derive(Default)]
pub(super) struct Records {
    locks: Recorder<&'static str, LockInput, LockOutput>,
    fenced: Recorder<&'static str, FencedInput, FencedOutput>,
}

const LOCK: &str = "tried";
const STATE: &str = "fenced/state";

pub(super) async fn use_them(mut user: User, records: Arc<Records>) {
    let lease = user.lease().await;
    // The token of the last grant, which need not be the newest any more, and whether the lock is believed to be held.
    let (mut token, mut holds, mut fresh) = (None, false, 0);
    while !user.is_over() {
        fresh = user.fresh(fresh);
        match (user.random.below(8), token) {
            (0, _) => read(&user, &records).await,
            (1..=3, Some(token)) => write(&user, &records, (token, fresh)).await,
            (4, _) if user.random.below(2) == 0 => {
                if act(&user, &records, (LockInput::Steal, lease)).await.is_some() {
                    holds = false;
                }
            }
            (_, Some(token)) if holds => {
                let release = LockInput::Release { holder: lease.0, token };
                act(&user, &records, (release, lease)).await;
                holds = false;
            }
            _ => {
                let acquire = LockInput::Acquire(lease.0);
                if let Some(LockOutput::Granted(granted)) = act(&user, &records, (acquire, lease)).await {
                    (token, holds) = (Some(granted), true);
                }
            }
        }
    }
}

async fn act(user: &User, records: &Records, (input, lease): (LockInput, Revision)) -> Option<LockOutput> {
    let call = records.locks.call(user.number, LOCK, input);
    let came = ask(user, (input, lease)).await;
    let refused = |code: &str| {
        let refusals = ["lock-held", "lock-not-held", "lock-free", "lock-wait-timeout"];
        refusals.contains(&code).then_some(LockOutput::Refused)
    };
    user.note((&records.locks, &call), came, refused).await
}

async fn ask(user: &User, (input, lease): (LockInput, Revision)) -> Result<LockOutput, ClientError> {
    match input {
        LockInput::Acquire(_) => {
            // With no time to wait it is asked once, and not again when the answer is lost.
            let request = exclusively(lease, Some(Duration::ZERO));
            let grant = user.client.acquire_lock(LOCK, &request).await?;
            Ok(LockOutput::Granted(grant.token.0))
        }
        LockInput::Release { .. } => {
            user.client.release_lock(LOCK, lease).await?;
            Ok(LockOutput::Released)
        }
        LockInput::Steal => {
            let request = StealRequest {
                reason: "the test takes it".to_owned(),
                token: None,
            };
            user.client.steal_lock(LOCK, &request).await?;
            Ok(LockOutput::Released)
        }
    }
}

async fn read(user: &User, records: &Records) {
    let call = records.fenced.call(user.number, STATE, FencedInput::Read);
    let came = user.client.find_value(STATE).await;
    let holds = |view: unisono_model::values::ValueView| view.value.unwrap().get().parse().unwrap();
    let came = came.map(|view| FencedOutput::Holds(view.map(holds)));
    user.note((&records.fenced, &call), came, |_| None).await;
}

async fn write(user: &User, records: &Records, (token, value): (u64, u64)) {
    let call = records
        .fenced
        .call(user.number, STATE, FencedInput::Write { token, value });
    let request = PutRequest {
        fence: Some(Revision(token)),
        ..PutRequest::new(content(json!(value)))
    };
    let came = user.client.put_value(STATE, &request).await;
    let refused = |code: &str| (code == "stale-fence").then_some(FencedOutput::Refused);
    let written = came.map(|_| FencedOutput::Written);
    user.note((&records.fenced, &call), written, refused).await;
}

pub(super) fn judge(records: Arc<Records>) -> usize {
    let records = Arc::into_inner(records).expect("nobody records any more");
    judge_history("a lock", &Lock, &records.locks.finish())
        + judge_history("a value under fencing tokens", &Fenced, &records.fenced.finish())
}
