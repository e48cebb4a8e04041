//! Brings the history of an entity to one subscriber: entry by entry, in order, each at least once.

use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::sync::Notify;
use unisono_engine::Command;
use unisono_engine::rollout::{Delivery, Failing, RolloutCommand};
use unisono_model::name::Name;
use unisono_model::rollout::{Endpoint, OutboxEntry};

use super::caller::Asked;
use super::{At, LATER, activity};
use crate::api::{Api, now};

/// Entries that are looked at together.
const AT_ONCE: usize = 64;
/// What was received is remembered at least so often: so much is sent once more after a crash.
const REMEMBERED_EVERY: Duration = Duration::from_millis(500);

/// Brings what there is, until there is no more. `wake` says that something has changed.
pub(super) async fn run(api: &Api, at: &At, subscriber: &Name, wake: &Notify) {
    loop {
        let ((namespace, entity), of) = (at.clone(), subscriber.clone());
        let read = move |state: &unisono_engine::State| {
            let fleet = state.rollouts().get(&namespace, &entity)?;
            fleet.delivery(&of, AT_ONCE)
        };
        let delivery = match api.partition.query(read).await {
            Ok(Some(delivery)) => delivery,
            Ok(None) => return,
            Err(_) => {
                tokio::time::sleep(LATER).await;
                continue;
            }
        };
        if delivery.endpoint.local.is_some() {
            // It comes by itself.
            return;
        }
        let wait = delivery.again.map_or(0, |again| again.millis_since(now()));
        if wait > 0 {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(wait)) => {}
                () = wake.notified() => {}
            }
            continue;
        }
        if !bring(api, (at, subscriber), &delivery).await {
            tokio::time::sleep(LATER).await;
        }
    }
}

/// Brings these entries, as far as they are received; false when the partition did not take what became of them.
async fn bring(api: &Api, (at, subscriber): (&At, &Name), delivery: &Delivery) -> bool {
    let (mut received, mut since) = (None, Instant::now());
    let mut failed = None;
    for entry in &delivery.entries {
        let sent = post(api, &delivery.endpoint, entry).await;
        api.metrics.delivered(sent.as_ref().err().map(|(failing, _)| *failing));
        if let Err(failure) = sent {
            failed = Some(failure);
            break;
        }
        received = Some(entry.entry.sequence);
        if since.elapsed() >= REMEMBERED_EVERY {
            if !acknowledge(api, (at, subscriber), received.take()).await {
                return false;
            }
            since = Instant::now();
        }
    }
    if !acknowledge(api, (at, subscriber), received).await {
        return false;
    }
    let Some((failing, detail)) = failed else { return true };
    tracing::warn!(
        "subscriber \"{subscriber}\" of {}/{} was not told: {detail}",
        at.0,
        &*at.1
    );
    let command = RolloutCommand::Undelivered {
        namespace: at.0.clone(),
        entity: at.1.clone(),
        subscriber: subscriber.clone(),
        failing,
        detail,
    };
    remember(api, command).await
}

async fn acknowledge(api: &Api, (at, subscriber): (&At, &Name), received: Option<u64>) -> bool {
    let Some(sequence) = received else { return true };
    let command = RolloutCommand::Acknowledge {
        namespace: at.0.clone(),
        entity: at.1.clone(),
        subscriber: subscriber.clone(),
        sequence,
    };
    remember(api, command).await
}

async fn remember(api: &Api, command: RolloutCommand) -> bool {
    match api.partition.command(Command::Rollout(command)).await {
        Ok(Ok(_)) => true,
        // There is no such subscriber any more, or the partition is busy: it is looked at again.
        Ok(Err(_)) | Err(_) => false,
    }
}

/// The key of an entry: the same each time that it is sent, and of no other one.
fn key(entry: &OutboxEntry) -> String {
    let whose = format!("{}\0{}", entry.namespace, &*entry.entity);
    let whose = xxhash_rust::xxh3::xxh3_64(whose.as_bytes());
    format!("entry-{}-{}-{whose:016x}", entry.entry.at.0, entry.entry.sequence)
}

async fn post(api: &Api, endpoint: &Endpoint, entry: &OutboxEntry) -> Result<(), (Failing, String)> {
    let unreachable = |detail| (Failing::Unreachable, detail);
    if let Some(name) = &endpoint.activity {
        let about = (&entry.namespace, entry.entity.as_str());
        let key = key(entry);
        let told = activity::run(api, about, name, &key, entry);
        let Ok(told) = tokio::time::timeout(Duration::from_secs(endpoint.timeout_seconds), told).await else {
            let detail = format!(
                "orchestration \"{key}\" has not ended within {} seconds",
                endpoint.timeout_seconds
            );
            return Err(unreachable(detail));
        };
        return told.map(drop).map_err(unreachable);
    }
    let url = Url::parse(endpoint.url.as_deref().unwrap_or_default())
        .map_err(|error| unreachable(format!("its URL makes no sense: {error}")))?;
    let body = serde_json::to_vec(entry).map_err(|error| unreachable(format!("it cannot be written: {error}")))?;
    let asked = Asked {
        url,
        body: Some(body),
        key: &key(entry),
    };
    let replied = api.caller.send(endpoint, asked).await.map_err(unreachable)?;
    match replied.status.as_u16() {
        200..300 => Ok(()),
        410 => Err((
            Failing::Gone,
            "it answered 410 Gone: it wants nothing any more".to_owned(),
        )),
        // Not now.
        408 | 425 | 429 => Err(unreachable(replied.complaint())),
        400..500 => Err((Failing::Refused, replied.complaint())),
        _ => Err(unreachable(replied.complaint())),
    }
}
