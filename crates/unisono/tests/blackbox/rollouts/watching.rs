//! Watching an entity as it changes.

use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use unisono_client::{ClientError, Entity, EntityWatchEvent as E, PageRequest};
use unisono_model::rollout::{HistoryEntry, RolloutState, VerbName};

use super::{Fleet, QUICK};
use crate::harness::Server;

/// Reads until the rollout has ended: the history's entries, the last one before, and the targets that have changed.
async fn until_over(events: impl Stream<Item = Result<E, ClientError>>) -> (Vec<HistoryEntry>, u64, Vec<String>) {
    let mut events = pin!(events);
    let (mut entries, mut snapshot, mut changed) = (Vec::new(), None, Vec::new());
    loop {
        match events.next().await.unwrap().unwrap() {
            E::Snapshot(view) => snapshot = snapshot.or(Some(view.sequence)),
            E::History(entry) => entries.push(*entry),
            E::Targets(targets) => changed.extend(targets.targets.iter().map(|it| it.name.to_string())),
            E::Progress(view) => {
                if view
                    .rollout
                    .is_some_and(|it| it.summary.state == RolloutState::Succeeded)
                {
                    return (entries, snapshot.unwrap(), changed);
                }
            }
            E::Grid(grid) => assert_eq!(grid.targets, 4),
            E::Gap(gap) => panic!("{gap:?}"),
        }
    }
}

async fn entries_after(entity: &Entity, after: u64) -> Vec<HistoryEntry> {
    let page = PageRequest {
        limit: Some(1_000),
        page_token: None,
    };
    entity.history(after, None, &page).await.unwrap().items
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_every_decision_once_and_what_changed_through_restarts_of_the_server() {
    let mut server = Server::start();
    let policy = r#"{"batch": 1, "health": {"healthyForSeconds": 0}}"#;
    let mut fleet = Fleet::settled(&server, 4, policy).await;
    let watch = tokio::spawn(until_over(fleet.entity.watch(Some(2))));
    tokio::time::sleep(Duration::from_millis(200)).await;
    fleet.set_version("v2").await;
    fleet.obey().await;
    fleet.obey().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.kill();
    server.restart();
    fleet.act(VerbName::Pause).await;
    fleet.act(VerbName::Resume).await;
    fleet.until(RolloutState::Succeeded).await;
    let (entries, snapshot, changed) = watch.await.unwrap();
    let mut expected = entries_after(&fleet.entity, snapshot).await;
    expected.truncate(entries.len());
    assert_eq!(entries, expected);
    let what: Vec<&str> = entries.iter().map(|entry| &*entry.what).collect();
    let last = what.last();
    assert!(what.contains(&"paused") && what.contains(&"resumed"), "{what:?}");
    assert_eq!(last, Some(&"succeeded"), "{what:?}");
    assert!(changed.contains(&"t0".to_owned()), "{changed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_very_many_changes_only_that_they_were_is_told() {
    let server = Server::start();
    let mut fleet = Fleet::settled(&server, 2_000, QUICK).await;
    let mut events = pin!(fleet.entity.watch(Some(10)));
    assert!(matches!(events.next().await, Some(Ok(E::Snapshot(_)))));
    fleet.set_version("v2").await;
    let mut told = 0;
    while let Some(event) = events.next().await {
        match event.unwrap() {
            E::Targets(targets) => {
                assert!(!targets.complete && targets.targets.len() <= 256);
                told += 1;
            }
            E::Grid(grid) if grid.cells.iter().all(|cell| cell.get("inFlight") == Some(&200)) => break,
            _ => {}
        }
    }
    assert!(told > 0);
    fleet.until(RolloutState::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_for_too_long_is_told_that_something_is_missing() {
    let server = Server::start();
    let fleet = Fleet::settled(&server, 1, r#"{"start": "manual"}"#).await;
    fleet.set_version("v2").await;
    for _ in 0..2_200 {
        fleet.act(VerbName::Pause).await;
        fleet.act(VerbName::Resume).await;
    }
    let url = format!("{}/api/v1/namespaces/default/entities/app", server.url());
    let request = reqwest::Client::new().get(url).header("accept", "text/event-stream");
    let mut answer = request.header("last-event-id", "3").send().await.unwrap();
    let begin = String::from_utf8(answer.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(
        begin.starts_with("event: gap\ndata: {\"after\":3,\"first\":"),
        "{begin}"
    );
}
