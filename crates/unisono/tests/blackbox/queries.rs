//! What is asked of a server about orchestrations: their histories, lists of them, and what is kept of them.

mod filters;
mod history;
mod retention;
mod watching;

use std::process::Output;

use crate::harness::{Server, program};

/// Runs the command line against the server.
fn cli(server: &Server, arguments: &[&str]) -> Output {
    let mut command = program();
    command
        .args(arguments)
        .env("UNISONO_SERVER", server.url())
        .env("USER", "ada");
    command.output().unwrap()
}

/// What a command that succeeds prints.
fn printed(server: &Server, arguments: &[&str]) -> String {
    let ran = cli(server, arguments);
    assert!(
        ran.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8(ran.stdout).unwrap()
}

/// The body of a GET in the default namespace.
async fn get(server: &Server, path: &str, accept: &str) -> reqwest::Response {
    reqwest::Client::new()
        .get(format!("{}/api/v1/namespaces/default{path}", server.url()))
        .header("accept", accept)
        .send()
        .await
        .unwrap()
}
