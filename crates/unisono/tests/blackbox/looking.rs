//! Looking at a data directory: what stands in it, and whether it is as it was written.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{Random, Server, apply, finished, program, request};

const DEFINITIONS: &str = "{kind: ActivityDefinition, type: echo}\n---\n
{type: t, activities: [{id: first, type: echo}, {id: second, type: echo, dependsOn: first}]}";

fn journal(what: &str, server: &Server, more: &[&str]) -> Output {
    let mut command: Command = program();
    command.args(["journal", what, "--data"]).arg(server.data()).args(more);
    command.output().unwrap()
}

fn inspected(server: &Server, more: &[&str]) -> Vec<Value> {
    let output = journal("inspect", server, &[&["--output", "json"], more].concat());
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What verifying tells, and whether it ended well.
fn verified(server: &Server) -> (Value, bool) {
    let output = journal("verify", server, &["--output", "json"]);
    let told = serde_json::from_slice(&output.stdout).unwrap();
    (told, output.status.success())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server with some finished runs, killed.
async fn killed() -> Server {
    let mut server = Server::start();
    let _agent = server.agent("worker").echo("echo").start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    for number in 0..5 {
        client.start(&request(&format!("r{number}"), "t")).await.unwrap();
        finished(&client, &format!("r{number}")).await;
    }
    server.kill();
    server
}

fn flip(path: &Path, bit: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << (bit % 8)], bit / 8).unwrap();
}

fn segment(server: &Server) -> PathBuf {
    server.data().join("journal/00000000000000000000.segment")
}

/// Why a start fails.
fn refusal(server: &Server) -> String {
    let mut command = program();
    command
        .args(["server", "--listen", "127.0.0.1:0", "--data"])
        .arg(server.data());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    said(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_is_shown_event_by_event_beside_its_server_and_without_it() {
    let mut server = Server::start();
    let _agent = server.agent("worker").echo("echo").start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    client.start(&request("r", "t")).await.unwrap();
    finished(&client, "r").await;
    let refused = journal("verify", &server, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("is in use by process"), "{}", said(&refused));

    let beside = inspected(&server, &[]);
    let kinds = |records: &[Value]| -> Vec<String> {
        let events = records.iter().filter(|it| it["orchestration"] == "r");
        events.map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    };
    let expected = [
        "orchestrationStarted",
        "activityDispatched",
        "activityCompleted",
        "activityDispatched",
        "activityCompleted",
        "orchestrationCompleted",
    ];
    assert_eq!(kinds(&beside), expected);
    assert!(
        beside
            .iter()
            .any(|it| it["activity"] == "second" && it["kind"] == "activityCompleted")
    );
    let end = beside.last().unwrap();
    assert_eq!(
        (&end["record"], &end["position"]),
        (&Value::from("end"), &end["durable"])
    );
    assert!(end["writer"].as_u64().is_some(), "{end}");

    let started = beside.iter().find(|it| it["kind"] == "orchestrationStarted").unwrap();
    let revision = started["revision"].to_string();
    server.kill();
    let part = inspected(&server, &["--from", &revision, "--to", &revision]);
    let records: Vec<_> = part.iter().map(|it| it["record"].as_str().unwrap()).collect();
    assert_eq!(records, ["segment", "batch", "event"]);
    let position = format!("@{}", part[1]["position"]);
    assert_eq!(
        inspected(&server, &["--from", &position, "--to", &position])[1],
        part[1]
    );
    let text = journal("inspect", &server, &["--from", &revision]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("activity completed        default/r  second  attempt 1"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_servers_directory_is_sound_and_a_flipped_bit_in_it_is_told_with_its_place() {
    let server = killed().await;
    let (told, sound) = verified(&server);
    assert!(sound && told["sound"] == true, "{told:#}");
    assert_eq!(told["state"]["revision"], told["journal"]["last"]);
    assert_eq!(told["journal"]["end"], told["journal"]["durable"]);

    let segment = segment(&server);
    let batches: Vec<Value> = inspected(&server, &[])
        .into_iter()
        .filter(|record| record["record"] == "batch")
        .collect();
    let mut random = Random::seeded();
    let last = batches.len() as u64 - 1;
    for index in [0, last, 1 + random.below(last - 1), 1 + random.below(last - 1)] {
        let batch = &batches[usize::try_from(index).unwrap()];
        let (offset, bytes) = (batch["offset"].as_u64().unwrap(), batch["bytes"].as_u64().unwrap());
        let bit = offset * 8 + random.below(bytes * 8);
        flip(&segment, bit);
        let (told, sound) = verified(&server);
        let problem = &told["problems"][0];
        assert!(!sound && told["sound"] == false);
        assert_eq!(problem["file"], segment.display().to_string());
        assert_eq!(
            (&problem["offset"], &problem["position"]),
            (&batch["offset"], &batch["position"])
        );
        assert!(
            problem["remedy"].as_str().unwrap().contains("unisono restore"),
            "{problem}"
        );
        // The last one was acknowledged, and is refused as any other.
        let refusal = refusal(&server);
        assert!(refusal.contains(&format!("is damaged at byte {offset} ")), "{refusal}");
        let shown = inspected(&server, &[]);
        let kept = shown.iter().filter(|record| record["record"] == "batch").count();
        assert_eq!(kept, batches.len() - 1, "batch {index}");
        flip(&segment, bit);
    }
    assert!(verified(&server).1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_store_and_a_store_of_another_directory_are_told() {
    let mut server = killed().await;
    server.restart();
    assert!(server.terminate().status.success());
    assert!(verified(&server).1);

    let log = server.data().join("store/0.jnl");
    let bytes = fs::read(&log).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    flip(&log, used / 2 * 8);
    let (told, sound) = verified(&server);
    assert!(!sound);
    let what = told["problems"][0]["what"].as_str().unwrap();
    assert!(what.contains("0.jnl") && what.contains("at byte"), "{what}");
    assert!(refusal(&server).contains(&log.display().to_string()));
    flip(&log, used / 2 * 8);

    fs::remove_dir_all(server.data().join("journal")).unwrap();
    let other = killed().await;
    fs::rename(other.data().join("journal"), server.data().join("journal")).unwrap();
    let (told, sound) = verified(&server);
    assert!(!sound, "{told:#}");
}
