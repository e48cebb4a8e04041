//! Backups of a running server, what is restored from them, and state that is made again from its events.

mod killed;
mod refused;
mod replay;
mod restored;
mod taking;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use unisono_client::{Client, install_crypto_provider};

use crate::harness::{Server, program, request_with};

const DEFINITIONS: &str = "{kind: ActivityDefinition, type: echo}\n---\n{kind: ActivityDefinition, type: work}\n---\n
{type: t, activities: [{id: a, type: echo}, {id: b, type: echo, dependsOn: a}]}\n---\n
{type: held, activities: [{id: a, type: echo}, {id: b, type: work, dependsOn: a}]}";

/// `unisono backup --to` of this server.
fn backup(server: &Server, to: &Path) -> Command {
    let mut command = program();
    command.args(["--server", &server.url(), "backup", "--to"]).arg(to);
    command
}

fn restore(file: &Path, data: &Path) -> Command {
    let mut command = program();
    command.arg("restore").arg(file).arg("--data").arg(data);
    command
}

fn verify(file: &Path) -> Command {
    let mut command = program();
    command.args(["backup", "verify"]).arg(file);
    command
}

fn replay(data: &Path, more: &[&str]) -> Command {
    let mut command = program();
    command.args(["journal", "replay", "--data"]).arg(data).args(more);
    command
}

/// Runs it; it must end well. What it prints with `--output json` comes back.
fn done(command: &mut Command) -> Value {
    let output = command.args(["--output", "json"]).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs it; it must end with exit code 1. What it says comes back.
fn failed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {}", said(&output));
    said(&output)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn http() -> reqwest::Client {
    install_crypto_provider();
    reqwest::Client::new()
}

/// Starts runs whose inputs, 8 MiB each, no compression makes smaller.
async fn start_large(client: &Client, count: u64) {
    let mut state = 1_u64;
    for number in 0..count {
        let letters = (0..8 << 20).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b"abcdefghijklmnopqrstuvwxyzABCDEF"[(state >> 59) as usize]
        });
        let noise = String::from_utf8(letters.collect()).unwrap();
        let request = request_with(&format!("large{number}"), "held", &json!({"noise": noise}));
        client.start(&request).await.unwrap();
    }
}
