//! Servers that leave in order, and what is there when they come back.

use std::time::Duration;

use unisono_model::api::OrchestrationState;

use crate::harness::{Server, ServerSetup, apply, finished, history, request};

const ECHO: &str = "{kind: ActivityDefinition, type: echo}\n---\n
{type: t, activities: [{id: a, type: echo}, {id: b, type: echo, dependsOn: a}]}";

/// Open runs and replayed events of the last recovery.
fn recovered(server: &Server) -> (u64, u64) {
    let recoveries = server.recoveries();
    let last = recoveries.last().unwrap();
    (last.open, last.replayed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_asked_to_leave_checkpoints_and_has_nothing_to_replay() {
    let mut server = Server::start();
    let mut agent = server.agent("worker").echo("echo").start();
    let client = server.client();
    apply(&client, ECHO).await;
    for number in 0..20 {
        client.start(&request(&format!("r{number}"), "t")).await.unwrap();
    }
    for number in 0..20 {
        finished(&client, &format!("r{number}")).await;
    }
    assert!(agent.terminate().status.success());
    client.start(&request("open", "t")).await.unwrap();
    for turn in 0..3 {
        let ended = server.terminate();
        assert!(ended.status.success(), "{ended:?}");
        assert!(ended.took < Duration::from_secs(5), "{ended:?}");
        server.restart();
        assert_eq!(recovered(&server), (1, 0), "turn {turn}");
        assert_eq!(
            client.orchestration("open").await.unwrap().summary.state,
            OrchestrationState::Initialized
        );
        assert_eq!(history(&client, "r7").await.len(), 6);
        assert!(!client.start(&request("r7", "t")).await.unwrap().created, "turn {turn}");
        assert!(
            !client.start(&request("open", "t")).await.unwrap().created,
            "turn {turn}"
        );
    }
    // With a tail again, and without an end in order.
    assert!(client.start(&request("late", "t")).await.unwrap().created);
    server.kill();
    server.restart();
    assert_eq!(recovered(&server).0, 2);
    agent.restart();
    for id in ["open", "late"] {
        assert_eq!(finished(&client, id).await.summary.state, OrchestrationState::Completed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_had_anything_to_do_restarts_as_well() {
    let mut server = Server::start();
    for ended_in_order in [true, false, true] {
        if ended_in_order {
            assert!(server.terminate().status.success());
        } else {
            server.kill();
        }
        server.restart();
        server.client().ready().await.unwrap();
    }
    apply(&server.client(), ECHO).await;
    assert!(server.client().start(&request("r", "t")).await.unwrap().created);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_at_every_moment_change_nothing() {
    let mut server = ServerSetup::default().checkpoint_bytes(1).start();
    let _agent = server.agent("worker").echo("echo").start();
    let client = server.client();
    apply(&client, ECHO).await;
    for number in 0..30 {
        let id = format!("r{number}");
        client.start(&request(&id, "t")).await.unwrap();
        if number % 10 == 9 {
            server.kill();
            server.restart();
        }
        let view = finished(&client, &id).await;
        assert_eq!(view.summary.state, OrchestrationState::Completed);
        assert!(history(&client, &id).await.len() >= 6, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_belongs_to_one_server() {
    let server = Server::start();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_unisono"))
        .args(["server", "--listen", "127.0.0.1:0", "--data"])
        .arg(server.data())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("data directory"), "{said}");
    server.client().ready().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_lock_is_taken_away_stands_down() {
    let mut server = Server::start();
    let client = server.client();
    apply(&client, ECHO).await;
    assert!(client.start(&request("r", "t")).await.unwrap().created);
    std::fs::remove_file(server.data().join("LOCK")).unwrap();
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(1));
    let said = server.site().logged("server");
    assert!(
        said.contains("is lost: the lease was ended or taken by another"),
        "{said}"
    );
    server.restart();
    assert_eq!(recovered(&server), (1, 0), "it wrote its checkpoint");
}
