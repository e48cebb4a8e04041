//! A server under load that is killed while it is backed up, and what the next backup restores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use unisono_client::Client;
use unisono_model::api::OrchestrationState;

use super::{DEFINITIONS, backup, done, replay, restore, start_large, verify};
use crate::harness::{Random, Server, apply, eventually, finished, request};

/// Starts runs until told to stop, whatever becomes of the server; gives the ids of those that were acknowledged.
async fn load(client: Client, name: String, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{name}-{number}");
        match client.start(&request(&id, "t")).await {
            Ok(_) => acknowledged.push(id),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    acknowledged
}

fn hash(state: &Value) -> (u64, String) {
    (
        state["revision"].as_u64().unwrap(),
        state["hash"].as_str().unwrap().to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_amid_backups_under_load_restores_to_the_state_that_its_journal_leads_to() {
    let mut server = Server::start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    let _agent = server.agent("worker").concurrency(32).echo("echo").start();
    // What a backup takes a while for.
    start_large(&client, 1).await;
    let (stop, mut random) = (Arc::new(AtomicBool::new(false)), Random::seeded());
    let loads: Vec<_> = ["x", "y"]
        .map(|name| tokio::spawn(load(client.clone(), name.to_owned(), Arc::clone(&stop))))
        .into();
    let site = Arc::clone(server.site());
    for round in 0..3 {
        let file = site.path(&format!("round{round}.backup"));
        let mut child = backup(&server, &file).spawn().unwrap();
        let wait = random.between(Duration::ZERO, Duration::from_millis(400));
        tokio::time::sleep(wait).await;
        server.kill();
        let ended = child.wait().unwrap();
        assert_eq!(
            file.exists(),
            ended.success(),
            "after {wait:?}: a backup is whole, or not there"
        );
        if ended.success() {
            done(&mut verify(&file));
        }
        server.restart();
        client.ready().await.unwrap();
    }
    let file = site.path("last.backup");
    let taken = {
        let mut command = backup(&server, &file);
        tokio::task::spawn_blocking(move || done(&mut command))
    };
    let contents = taken.await.unwrap();
    // The journal goes on after the backup.
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.kill();
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for load in loads {
        acknowledged.extend(load.await.unwrap());
    }

    let restored = done(&mut restore(&file, &site.path("restored")));
    let restored = hash(&restored["state"]);
    assert_eq!(restored.0, contents["revision"].as_u64().unwrap());
    let to = restored.0.to_string();
    let replayed = done(&mut replay(&server.data(), &["--to", &to]));
    assert_eq!(
        hash(&replayed),
        restored,
        "the journal leads to the state that was backed up"
    );
    assert_eq!(hash(&done(&mut replay(&site.path("restored"), &[]))), restored);

    server.restart();
    eventually("the server recovers", || async { client.ready().await.ok() }).await;
    for id in &acknowledged {
        assert_eq!(
            finished(&client, id).await.summary.state,
            OrchestrationState::Completed,
            "{id}"
        );
    }
    eprintln!("{} acknowledged", acknowledged.len());
}
