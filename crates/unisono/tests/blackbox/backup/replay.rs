//! The same events lead to the same state, wherever they are folded.

use serde_json::Value;

use super::{DEFINITIONS, backup, done, failed, replay, restore};
use crate::harness::{Server, ServerSetup, apply, finished, history, in_state, request};
use unisono_model::api::ActivityState;

/// Revision and hash of the state with which the server ended, as it logged them.
fn at_the_end(server: &Server) -> (u64, String) {
    let log = server.site().logged("server");
    let line = log.lines().rfind(|line| line.contains("the state at the end")).unwrap();
    let field = |name: &str| {
        let (_, rest) = line.split_once(name).unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    };
    (field("revision=").parse().unwrap(), field("hash="))
}

fn seen(replayed: &Value) -> (u64, String) {
    let hash = replayed["hash"].as_str().unwrap().to_owned();
    (replayed["revision"].as_u64().unwrap(), hash)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_its_data_directory_and_its_backup_agree_on_the_state() {
    for checkpoint_bytes in [1, 32 * 1024 * 1024] {
        let mut server = ServerSetup::default().checkpoint_bytes(checkpoint_bytes).start();
        let mut agent = server.agent("worker").echo("echo").start();
        let client = server.client();
        apply(&client, DEFINITIONS).await;
        for number in 0..20 {
            let r#type = if number % 2 == 0 { "t" } else { "held" };
            client.start(&request(&format!("r{number}"), r#type)).await.unwrap();
        }
        finished(&client, "r18").await;
        in_state(&client, "r19", "b", ActivityState::Ready).await;
        assert!(agent.terminate().status.success());
        let file = server.site().path("last.backup");
        done(&mut backup(&server, &file));
        let refused = failed(&mut replay(&server.data(), &[]));
        assert!(refused.contains("is in use by process"), "{refused}");
        assert!(server.terminate().status.success());
        let live = at_the_end(&server);

        let replayed = done(&mut replay(&server.data(), &[]));
        assert_eq!(seen(&replayed), live);
        assert_eq!(replayed["open"], 10);
        let restored = done(&mut restore(&file, &server.site().path("restored")));
        assert_eq!(seen(&restored["state"]), live);
        assert_eq!(seen(&done(&mut replay(&server.site().path("restored"), &[]))), live);
        // A start and a stop without anything in between change nothing.
        server.restart();
        assert!(server.terminate().status.success());
        assert_eq!(at_the_end(&server), live);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn state_can_be_told_at_every_revision_while_the_journal_has_all_of_them() {
    let mut server = Server::start();
    let _agent = server.agent("worker").echo("echo").start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    client.start(&request("r", "t")).await.unwrap();
    finished(&client, "r").await;
    server.kill();
    let last = done(&mut replay(&server.data(), &[]))["revision"].as_u64().unwrap();
    let mut hashes = std::collections::BTreeSet::new();
    for revision in 1..=last {
        let replayed = done(&mut replay(&server.data(), &["--to", &revision.to_string()]));
        let (reached, hash) = seen(&replayed);
        assert_eq!(reached, revision);
        hashes.insert(hash);
    }
    assert_eq!(hashes.len() as u64, last);
    let beyond = failed(&mut replay(&server.data(), &["--to", &(last + 1).to_string()]));
    assert!(beyond.contains(&format!("the last event is {last}")), "{beyond}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_replayed_step_by_step_to_what_the_store_shows() {
    let mut server = Server::start();
    let _agent = server.agent("worker").echo("echo").start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    client.start(&request("r", "t")).await.unwrap();
    finished(&client, "r").await;
    let shown = history(&client, "r").await;
    // The first stop's checkpoint leaves the run to the store alone.
    assert!(server.terminate().status.success());
    let output = replay(&server.data(), &["--run", "r"]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let steps: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let revisions: Vec<u64> = steps
        .iter()
        .map(|step| step["event"]["revision"].as_u64().unwrap())
        .collect();
    assert_eq!(
        revisions,
        shown.iter().map(|entry| entry.revision.0).collect::<Vec<_>>()
    );
    assert_eq!(steps[0]["orchestration"]["state"], "initialized");
    assert_eq!(steps.last().unwrap()["orchestration"]["state"], "completed");
    let missing = failed(&mut replay(&server.data(), &["--run", "nobody"]));
    assert!(missing.contains("there is no orchestration"), "{missing}");
}
