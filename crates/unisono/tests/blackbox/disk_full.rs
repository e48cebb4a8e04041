//! A disk that is full: new work is refused, nothing that was accepted is lost, and the server goes on when there is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use unisono_client::{Client, ClientError, DefinitionFamily};
use unisono_model::api::{ActivityState, ApplyRequest, CancelRequest, OrchestrationState, SourceText};

use crate::harness::{
    Random, Server, ServerSetup, SmallDisk, apply, eventually, finished, in_state, program, request, request_with,
};

const MIB: u64 = 1 << 20;
const DEFINITIONS: &str = "{kind: ActivityDefinition, type: echo}\n---\n{kind: ActivityDefinition, type: work}\n---\n
{type: t, activities: [{id: a, type: echo}]}\n---\n{type: held, activities: [{id: a, type: work}, {id: b, type: echo, dependsOn: a}]}";

/// A server on a disk of this size; none, said aloud, where nothing can be mounted.
fn on_small_disk(setup: ServerSetup, mebibytes: u32) -> Option<(Server, Arc<SmallDisk>)> {
    let started = setup.start_on_small_disk(mebibytes);
    if started.is_none() {
        eprintln!("left out: this user may mount nothing here");
    }
    started
}

async fn readiness(server: &Server) -> (u16, Value) {
    let answer = reqwest::get(format!("{}/readyz", server.url())).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn room_is(server: &Server, status: u16, room: &str) {
    eventually(&format!("readyz says {status} {room}"), || async {
        let (found, body) = readiness(server).await;
        (found == status && (status != 200 || body["disk"]["room"] == room)).then_some(())
    })
    .await;
}

fn code<T: std::fmt::Debug>(refused: Result<T, ClientError>) -> String {
    refused.unwrap_err().code().unwrap_or("none").to_owned()
}

/// Everything in the data directory is as it was written.
fn verify(server: &Server) {
    let mut command = server.program();
    let output = command
        .args(["journal", "verify", "--data"])
        .arg(server.data())
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_work_is_refused_while_the_reserve_is_touched_and_what_was_accepted_goes_on() {
    let setup = ServerSetup::default().options(&["--disk-reserve", "40MiB"]);
    let Some((mut server, disk)) = on_small_disk(setup, 256) else {
        return;
    };
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    let script = "while [ ! -e \"$SITE/go\" ]; do sleep 0.05; done; note done";
    let _agent = server.agent("worker").echo("echo").exec("work", script).start();
    for id in ["first", "cancelled"] {
        client.start(&request(id, "held")).await.unwrap();
        in_state(&client, id, "a", ActivityState::Running).await;
    }
    room_is(&server, 200, "enough").await;

    disk.leave(20 * MIB);
    room_is(&server, 200, "reserve").await;
    let refused = client.start(&request("new", "t")).await.unwrap_err();
    assert_eq!(refused.code(), Some("disk-full"));
    let said = refused.to_string();
    assert!(said.contains("bytes are free, and 41943040 are needed"), "{said}");
    let deletion = client.delete_definition(DefinitionFamily::Orchestration, "t").await;
    assert!(deletion.is_ok(), "{deletion:?}");
    let sources = vec![SourceText {
        name: "again.yaml".to_owned(),
        text: DEFINITIONS.to_owned(),
    }];
    let again = client
        .apply(&ApplyRequest {
            sources,
            dry_run: false,
        })
        .await;
    assert_eq!(code(again), "disk-full");
    let metrics = client.metrics().await.unwrap();
    assert!(metrics.contains("\nunisono_disk_full 1\n"), "{metrics}");
    client.cancel("cancelled", &CancelRequest::default()).await.unwrap();
    std::fs::write(server.site().path("go"), "").unwrap();
    let view = finished(&client, "first").await;
    assert_eq!(view.summary.state, OrchestrationState::Completed);

    disk.empty();
    room_is(&server, 200, "enough").await;
    assert_eq!(code(client.orchestration("new").await), "orchestration-not-found");
    apply(&client, DEFINITIONS).await;
    client.start(&request("new", "t")).await.unwrap();
    finished(&client, "new").await;
    assert!(server.terminate().status.success());
    verify(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_results_wait_and_a_server_that_is_killed_comes_back() {
    let setup = ServerSetup::default().options(&["--disk-reserve", "40MiB"]);
    let Some((mut server, disk)) = on_small_disk(setup, 256) else {
        return;
    };
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    let script = "while [ ! -e \"$SITE/go\" ]; do sleep 0.05; done; note done";
    let _agent = server.agent("worker").echo("echo").exec("work", script).start();
    client.start(&request("first", "held")).await.unwrap();
    in_state(&client, "first", "a", ActivityState::Running).await;

    disk.leave(0);
    room_is(&server, 507, "").await;
    assert_eq!(code(client.start(&request("new", "t")).await), "disk-full");
    assert_eq!(
        code(client.cancel("first", &CancelRequest::default()).await),
        "disk-full"
    );
    std::fs::write(server.site().path("go"), "").unwrap();
    eventually("the work is done", || async {
        (!server.site().lines("executions").is_empty()).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    in_state(&client, "first", "a", ActivityState::Running).await;

    disk.empty();
    let view = finished(&client, "first").await;
    assert_eq!(view.summary.state, OrchestrationState::Completed);
    assert_eq!(
        server.site().lines("executions").len(),
        1,
        "the result was kept, and nothing ran twice"
    );

    // It dies while the disk is full, and is started while it still is.
    client.start(&request("second", "t")).await.unwrap();
    disk.leave(0);
    room_is(&server, 507, "").await;
    server.kill();
    server.restart();
    room_is(&server, 507, "").await;
    let first = client.orchestration("first").await.unwrap();
    assert_eq!(first.summary.state, OrchestrationState::Completed);
    assert_eq!(code(client.start(&request("third", "t")).await), "disk-full");
    disk.empty();
    finished(&client, "second").await;
    assert_eq!(code(client.orchestration("third").await), "orchestration-not-found");
    assert!(server.terminate().status.success());
    verify(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserve_that_no_disk_has_refuses_everything_with_the_reason_and_takes_no_harm() {
    let mut server = ServerSetup::default().options(&["--disk-reserve", "1024TiB"]).start();
    room_is(&server, 507, "").await;
    let mut command = program();
    command.args(["--server", &server.url(), "start", "t", "--id", "r"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the disk of the server is full"), "{said}");
    assert!(said.contains("1125899906842624 are needed"), "{said}");
    assert!(server.terminate().status.success());
    verify(&server);
}

/// Starts runs with large inputs until told to stop; gives the ids of those that were accepted and of those that were refused.
async fn load(client: Client, name: String, mut random: Random, stop: Arc<AtomicBool>) -> (Vec<String>, Vec<String>) {
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{name}-{number}");
        let noise: String = (0..16_384)
            .map(|_| format!("{:016x}", random.below(u64::MAX)))
            .collect();
        match client.start(&request_with(&id, "t", &json!({"noise": noise}))).await {
            Ok(_) => accepted.push(id),
            Err(error) => {
                match error.code() {
                    Some("disk-full") if !error.to_string().contains("may or may not") => refused.push(id),
                    Some("disk-full" | "outcome-unknown" | "store-unavailable") => {}
                    _ => panic!("{error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    (accepted, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_to_the_last_byte_under_load_loses_nothing_and_the_server_goes_on_by_itself() {
    // Without a reserve, journal and store meet the end of the disk themselves.
    let setup = ServerSetup::default()
        .checkpoint_bytes(4 * MIB)
        .options(&["--disk-reserve", "0"]);
    let Some((mut server, disk)) = on_small_disk(setup, 320) else {
        return;
    };
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    let _agent = server.agent("worker").echo("echo").start();
    let (stop, mut random) = (Arc::new(AtomicBool::new(false)), Random::seeded());
    disk.leave(60 * MIB);
    let loads: Vec<_> = (0..3)
        .map(|number| {
            let name = format!("load{number}");
            tokio::spawn(load(client.clone(), name, random.fork(), Arc::clone(&stop)))
        })
        .collect();
    room_is(&server, 507, "").await;
    // Opening the store again may make some room, which is soon used up.
    eventually("a start is refused, and soon", || async {
        let begin = Instant::now();
        let refused = client.start(&request("probe", "t")).await.err()?;
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        (refused.code() == Some("disk-full")).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    disk.empty();
    room_is(&server, 200, "enough").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for load in loads {
        let (yes, no) = load.await.unwrap();
        accepted.extend(yes);
        refused.extend(no);
    }
    eprintln!("{} accepted, {} refused", accepted.len(), refused.len());
    assert!(!refused.is_empty());
    for id in &accepted {
        assert_eq!(finished(&client, id).await.summary.state, OrchestrationState::Completed);
    }
    for id in &refused {
        assert_eq!(code(client.orchestration(id).await), "orchestration-not-found");
    }
    assert!(server.terminate().status.success());
    verify(&server);
}
