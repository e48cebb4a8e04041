//! What is there after a restore.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use unisono_client::Client;
use unisono_model::api::{ActivityState, OrchestrationState, OrchestrationView};

use super::{DEFINITIONS, backup, done, restore};
use crate::harness::{Server, ServerSetup, apply, eventually, finished, history, in_state, request};

/// Starts runs until told to stop; gives the ids that were acknowledged.
async fn load(client: Client, name: &str, stop: Arc<AtomicBool>, acknowledged: Arc<std::sync::Mutex<Vec<String>>>) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let r#type = if number % 4 == 0 { "held" } else { "t" };
        let id = format!("{name}-{number}");
        client.start(&request(&id, r#type)).await.unwrap();
        acknowledged.lock().unwrap().push(id);
    }
}

fn json(view: &OrchestrationView) -> String {
    serde_json::to_string(view).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_before_a_backup_is_in_it_and_goes_on() {
    // Checkpoints and trims all the time.
    let mut server = ServerSetup::default().checkpoint_bytes(64 * 1024).start();
    let mut agent = server.agent("worker").echo("echo").start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let loads: Vec<_> = ["x", "y", "z"]
        .map(|name| tokio::spawn(load(client.clone(), name, Arc::clone(&stop), Arc::clone(&acknowledged))))
        .into();
    let count = || acknowledged.lock().unwrap().len();
    eventually("some runs are started", || async { (count() > 300).then_some(()) }).await;

    let before = acknowledged.lock().unwrap().clone();
    let mut ended = Vec::new();
    for id in before.iter().filter(|id| !id.ends_with('0')) {
        let view = client.orchestration(id).await.unwrap();
        ended.extend(view.summary.state.is_terminal().then_some(view));
    }
    assert!(!ended.is_empty());
    let file = server.site().path("one.backup");
    let taken = tokio::task::spawn_blocking({
        let mut command = backup(&server, &file);
        move || done(&mut command)
    });
    let contents = taken.await.unwrap();
    let after = count();
    eventually("the server goes on", || async { (count() > after).then_some(()) }).await;
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    agent.kill();
    server.kill();

    let mut second = server.successor("restored");
    let restored = done(&mut restore(&file, &second.data()));
    assert_eq!(restored["state"]["revision"], contents["revision"]);
    second.restart();
    let client = second.client();
    for view in &ended {
        let id = view.summary.id.as_str();
        assert_eq!(json(&client.orchestration(id).await.unwrap()), json(view));
        assert!(history(&client, id).await.len() >= 6, "{id}");
    }
    agent.restart();
    for id in &before {
        let state = client.orchestration(id).await.unwrap().summary.state;
        assert!(matches!(
            state,
            OrchestrationState::Initialized | OrchestrationState::Running | OrchestrationState::Completed
        ));
        let held = id.rsplit('-').next().unwrap().parse::<u32>().unwrap() % 4 == 0;
        if held {
            in_state(&client, id, "b", ActivityState::Ready).await;
        } else {
            assert_eq!(finished(&client, id).await.summary.state, OrchestrationState::Completed);
        }
    }
    let _late = second.agent("late").concurrency(32).echo("work").start();
    for id in &before {
        assert_eq!(finished(&client, id).await.summary.state, OrchestrationState::Completed);
    }
    assert!(!client.start(&request(&before[0], "held")).await.unwrap().created);
    // It is a server like any other: it stops, starts, and is backed up.
    assert!(second.terminate().status.success());
    second.restart();
    done(&mut backup(&second, &second.site().path("two.backup")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_dispatched_after_the_backup_is_refused_and_runs_again() {
    let mut server = Server::start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    let _echo = server.agent("echo").echo("echo").start();
    client.start(&request("r", "held")).await.unwrap();
    in_state(&client, "r", "b", ActivityState::Ready).await;
    let file = server.site().path("a.backup");
    done(&mut backup(&server, &file));

    let _worker = server
        .agent("worker")
        .exec("work", "note begun; sleep 1; note ended")
        .start();
    in_state(&client, "r", "b", ActivityState::Running).await;
    eventually("the script runs", || async {
        (!server.site().lines("executions").is_empty()).then_some(())
    })
    .await;
    server.kill();
    let mut second = server.successor("restored");
    done(&mut restore(&file, &second.data()));
    second.restart();
    let view = finished(&second.client(), "r").await;
    assert_eq!(view.summary.state, OrchestrationState::Completed);
    let begun = second.site().lines("executions");
    let begun = begun.iter().filter(|line| line.ends_with("begun")).count();
    assert_eq!(begun, 2, "what the old server had asked for counts nothing here");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let kinds = crate::harness::kinds(&second.client(), "r").await;
    let completed = kinds.iter().filter(|kind| *kind == "activityCompleted b").count();
    assert_eq!(completed, 1, "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_backups_at_once_are_two_backups() {
    let server = Server::start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    start_some(&client).await;
    let files = ["one.backup", "two.backup"].map(|name| server.site().path(name));
    let children = files.each_ref().map(|file| backup(&server, file).spawn().unwrap());
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    for (file, folder) in files.iter().zip(["first", "second"]) {
        let restored = done(&mut restore(file, &server.site().path(folder)));
        assert_eq!(restored["state"]["open"], 20);
    }
}

async fn start_some(client: &Client) {
    for number in 0..20 {
        client.start(&request(&format!("r{number}"), "t")).await.unwrap();
    }
}
