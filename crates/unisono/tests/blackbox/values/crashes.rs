//! `kill -9`: nothing that was acknowledged is lost, no time to live is shortened, and nothing that has expired comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Mutex;
use unisono_client::{Client, PageRequest};
use unisono_model::ids::Timestamp;
use unisono_model::values::{PutRequest, ValueView};

use super::{code, content, exclusively, json as value, lease, put, put_for};
use crate::harness::{Random, Server, ServerSetup, eventually};

const LONG: Duration = Duration::from_secs(60);

async fn everything(client: &Client) -> BTreeMap<String, ValueView> {
    let (mut items, mut page) = (BTreeMap::new(), PageRequest::default());
    loop {
        let next = client.values("", &page).await.unwrap();
        items.extend(next.items.into_iter().map(|item| (item.key.to_string(), item)));
        page.page_token = next.next_page_token;
        if page.page_token.is_none() {
            return items;
        }
    }
}

/// What a client was told of its last write: the number that it wrote, or that the value is deleted.
type Acknowledged = Arc<Mutex<BTreeMap<String, Option<u64>>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_kill_9_again_and_again() {
    let mut random = Random::seeded();
    let mut server = ServerSetup::default().checkpoint_bytes(64 * 1024).start();
    let client = server.client();
    let acknowledged = Acknowledged::default();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|number| {
            let (acknowledged, stop, random) = (Arc::clone(&acknowledged), Arc::clone(&stop), random.fork());
            tokio::spawn(keep_writing(client.clone(), number, (acknowledged, stop), random))
        })
        .collect();
    for _ in 0..8 {
        tokio::time::sleep(random.between(Duration::from_millis(100), Duration::from_millis(700))).await;
        server = tokio::task::spawn_blocking(move || {
            server.kill();
            server.restart();
            server
        })
        .await
        .unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let (found, acknowledged) = (everything(&client).await, acknowledged.lock().await);
    assert!(acknowledged.len() >= 20, "only {} keys", acknowledged.len());
    for (key, number) in &*acknowledged {
        let held = found
            .get(key)
            .map(|view| view.value.as_ref().unwrap().get().parse().unwrap());
        assert_eq!(held, *number, "{key}");
    }
}

/// Every key has one writer, which knows what it wrote last. A write whose outcome is not known is looked up.
async fn keep_writing(
    client: Client,
    number: u64,
    (acknowledged, stop): (Acknowledged, Arc<AtomicBool>),
    mut random: Random,
) {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        let key = format!("w{number}/{}", random.below(10));
        let deletes = random.below(5) == 0;
        let done = if deletes {
            client.delete_value(&key, None).await.map(drop)
        } else {
            client
                .put_value(&key, &PutRequest::new(value(json!(count))))
                .await
                .map(drop)
        };
        let known = match done {
            Ok(()) => (!deletes).then_some(count),
            Err(_) => {
                let found = eventually("the server is back", || async { client.find_value(&key).await.ok() }).await;
                found.map(|view| view.value.unwrap().get().parse().unwrap())
            }
        };
        acknowledged.lock().await.insert(key, known);
    }
}

#[tokio::test]
async fn a_restart_shortens_no_time_to_live_and_revives_nothing() {
    let mut server = Server::start();
    let client = server.client();
    let long = put_for(&client, "long", 60_000).await.expires_at.unwrap();
    put_for(&client, "gone-before", 200).await;
    put_for(&client, "gone-meanwhile", 1_200).await;
    let soon = put_for(&client, "soon-after", 4_000).await.expires_at.unwrap();
    let leases = (
        lease(&client, "lives", LONG).await,
        lease(&client, "ends", Duration::from_millis(1_200)).await,
    );
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(content(&client, "gone-before").await, None);
    server.kill();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    server.restart();
    for key in ["gone-before", "gone-meanwhile"] {
        assert_eq!(content(&client, key).await, None, "{key}");
    }
    assert_eq!(client.value("long").await.unwrap().expires_at, Some(long));
    assert_eq!(client.lease(leases.0.id).await.unwrap().expires_at, leases.0.expires_at);
    assert_eq!(code(client.lease(leases.1.id).await), "lease-not-found");
    let gone = eventually("the other expires", || async {
        let gone = client.find_value("soon-after").await.unwrap().is_none();
        gone.then(now)
    })
    .await;
    assert!(gone >= soon, "{gone} is before {soon}");
    // The same from a checkpoint.
    assert!(server.terminate().status.success());
    server.restart();
    assert_eq!(client.value("long").await.unwrap().expires_at, Some(long));
    for key in ["gone-before", "gone-meanwhile", "soon-after"] {
        assert_eq!(content(&client, key).await, None, "{key}");
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(i64::try_from(since.unwrap().as_millis()).unwrap())
}

#[tokio::test]
async fn locks_and_their_queues_survive_kill_9() {
    let mut server = ServerSetup::default().checkpoint_bytes(1024).start();
    let client = server.client();
    let mut leases = Vec::new();
    for number in 0..4 {
        leases.push(lease(&client, &format!("h{number}"), LONG).await.id);
    }
    let first = client
        .acquire_lock("pump", &exclusively(leases[0], None))
        .await
        .unwrap();
    put(&client, "state", json!(1)).await;
    let mut waits = Vec::new();
    for (place, id) in (1..).zip(leases[1..].iter().copied()) {
        let waiting = client.clone();
        waits.push(tokio::spawn(async move {
            waiting.acquire_lock("pump", &exclusively(id, Some(LONG))).await
        }));
        eventually("it waits", || async {
            (client.lock("pump").await.unwrap().queue.len() == place).then_some(())
        })
        .await;
    }
    let before = client.lock("pump").await.unwrap();
    server.kill();
    server.restart();
    // One that does not know of the server before.
    let client = server.client();
    let after = client.lock("pump").await.unwrap();
    assert_eq!(
        serde_json::to_value(&before).unwrap(),
        serde_json::to_value(&after).unwrap()
    );
    let mut last = first.token;
    client.release_lock("pump", leases[0]).await.unwrap();
    for (wait, id) in waits.into_iter().zip(&leases[1..]) {
        let grant = tokio::time::timeout(LONG, wait).await.unwrap().unwrap().unwrap();
        assert_eq!(grant.lease, *id, "in the order of coming");
        assert!(grant.token > last);
        last = grant.token;
        server.kill();
        server.restart();
        server.client().release_lock("pump", *id).await.unwrap();
    }
}
