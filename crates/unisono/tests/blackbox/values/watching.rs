//! Watches: in order, without gaps, through restarts, and honest about what is no longer known.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use unisono_client::{Client, ValueWatchEvent, WatchScope};
use unisono_model::ids::Revision;
use unisono_model::values::{ChangeKind, ValueChange};

use super::{code, put, put_for};
use crate::harness::{PATIENCE, Server, ServerSetup};

/// The next so many changes.
async fn changes(client: &Client, scope: &WatchScope, after: u64, count: usize) -> Vec<ValueChange> {
    let events = client.watch_values(scope, Some(Revision(after)));
    let changes = events.filter_map(|event| async {
        match event.unwrap() {
            ValueWatchEvent::Change(change) => Some(*change),
            ValueWatchEvent::Progress(_) => None,
        }
    });
    tokio::time::timeout(PATIENCE, changes.take(count).collect())
        .await
        .unwrap()
}

fn told(changes: &[ValueChange]) -> Vec<String> {
    let word = |kind| match kind {
        ChangeKind::Put => "put",
        ChangeKind::Deleted => "deleted",
        ChangeKind::Expired => "expired",
    };
    changes
        .iter()
        .map(|it| format!("{} {}", word(it.kind), it.key))
        .collect()
}

fn prefix(text: &str) -> WatchScope {
    WatchScope::Prefix(text.to_owned())
}

#[tokio::test]
async fn a_watch_tells_everything_in_order_and_only_what_it_is_about() {
    let server = Server::start();
    let client = server.client();
    put(&client, "a/x", json!(1)).await;
    put(&client, "b/x", json!(1)).await;
    put_for(&client, "a/y", 300).await;
    client.delete_value("a/x", None).await.unwrap();
    let watching = client.clone();
    let live = tokio::spawn(async move { changes(&watching, &prefix("a/"), 0, 6).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    put(&client, "a/x", json!(2)).await;
    put(&client, "a/z", json!(3)).await;
    let told_live = live.await.unwrap();
    let expected = ["put a/x", "put a/y", "deleted a/x", "expired a/y", "put a/x", "put a/z"];
    assert_eq!(told(&told_live), expected);
    assert!(told_live.is_sorted_by_key(|change| change.revision));
    let one = changes(&client, &WatchScope::Key("a/x".to_owned()), told_live[0].revision.0, 2).await;
    assert_eq!(told(&one), ["deleted a/x", "put a/x"]);
}

#[tokio::test]
async fn a_list_and_a_watch_after_it_miss_nothing() {
    let server = Server::start();
    let client = server.client();
    let writing = client.clone();
    let writer = tokio::spawn(async move {
        for number in 0..300 {
            put(&writing, &format!("k/{}", number % 10), json!(number)).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    let page = client
        .values("k/", &unisono_client::PageRequest::default())
        .await
        .unwrap();
    let mut known: Vec<_> = page.items.iter().map(|it| (it.key.clone(), it.revision)).collect();
    let left =
        300 - usize::try_from(page.revision.0).unwrap() + usize::try_from(first_revision(&client).await).unwrap() - 1;
    for change in changes(&client, &prefix("k/"), page.revision.0, left).await {
        assert!(change.revision > page.revision);
        known.retain(|(key, _)| *key != change.key);
        known.push((change.key, change.revision));
    }
    writer.await.unwrap();
    known.sort();
    let now = client
        .values("k/", &unisono_client::PageRequest::default())
        .await
        .unwrap();
    assert_eq!(
        known,
        now.items
            .iter()
            .map(|it| (it.key.clone(), it.revision))
            .collect::<Vec<_>>()
    );
}

/// The first write of the test: what was decided before is nothing that a watch tells.
async fn first_revision(client: &Client) -> u64 {
    changes(client, &prefix("k/"), 0, 1).await[0].revision.0
}

#[tokio::test]
async fn a_watch_goes_on_through_restarts_where_it_was() {
    let mut server = Server::start();
    let client = server.client();
    let watching = client.clone();
    let watch = tokio::spawn(async move { changes(&watching, &prefix("k/"), 0, 40).await });
    for round in 0..4 {
        // A client that does not know of the server before.
        let client = server.client();
        for number in 0..10 {
            put(&client, &format!("k/{round}-{number}"), json!(number)).await;
        }
        if round % 2 == 0 {
            server.kill();
        } else {
            // A checkpoint is made, so that the next start replays nothing.
            assert!(server.terminate().status.success());
        }
        server.restart();
    }
    let told = told(&watch.await.unwrap());
    let expected = (0..4).flat_map(|round| (0..10).map(move |number| format!("put k/{round}-{number}")));
    assert_eq!(told, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn what_memory_no_longer_holds_is_read_of_the_journal_and_what_that_no_longer_holds_is_refused() {
    let server = ServerSetup::default().checkpoint_bytes(4 * 1024 * 1024).start();
    let client = server.client();
    let first = put(&client, "k/first", json!("x")).await;
    let large = "x".repeat(1_000_000);
    // More than memory keeps, and less than the journal.
    for number in 0..20 {
        put(&client, &format!("large/{number}"), json!(large)).await;
    }
    let early = changes(&client, &prefix(""), first.revision.0 - 1, 21).await;
    assert_eq!(early[0].key.as_str(), "k/first");
    assert_eq!(early.len(), 21);
    // More than the journal keeps.
    for number in 0..50 {
        put(&client, &format!("large/{}", number % 20), json!(large)).await;
    }
    let mut events = std::pin::pin!(client.watch_values(&prefix(""), Some(first.revision)));
    let error = events.next().await.unwrap().expect_err("what happened first is gone");
    let said = error.to_string();
    assert_eq!(code::<()>(Err(error)), "compacted");
    let oldest: u64 = said
        .rsplit("revision is ")
        .next()
        .unwrap()
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let from_there = changes(&client, &prefix(""), oldest - 1, 1).await;
    assert!(from_there[0].revision.0 >= oldest);
}
