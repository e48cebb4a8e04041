//! Rollouts on the command line.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{Server, program};

fn command(server: &Server, arguments: &[&str]) -> Command {
    let mut command = program();
    command
        .args(arguments)
        .env("UNISONO_SERVER", server.url())
        .env("USER", "ada");
    command
}

fn ran(server: &Server, arguments: &[&str]) -> Output {
    command(server, arguments).output().unwrap()
}

/// What a command that succeeds prints.
fn printed(server: &Server, arguments: &[&str]) -> String {
    let ran = ran(server, arguments);
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(ran.stdout).unwrap()
}

/// What a command that fails says, and its exit code.
fn refused(server: &Server, arguments: &[&str]) -> (i32, String) {
    let ran = ran(server, arguments);
    (ran.status.code().unwrap(), String::from_utf8(ran.stderr).unwrap())
}

fn settled(server: &Server, entity: &str) {
    let quick = r#"{"batch": "100%", "health": {"healthyForSeconds": 0, "deadlineSeconds": 60}}"#;
    printed(server, &["rollout", "set", entity, "--policy", quick]);
    printed(
        server,
        &["rollout", "report", entity, "a=v1", "b=v1", "--label", "zone=x"],
    );
    printed(server, &["rollout", "version", entity, "v1"]);
    printed(server, &["rollout", "report", entity, "a=v1", "b=v1"]);
}

#[test]
fn a_rollout_is_followed_to_its_end_and_its_exit_code_says_how_it_ended() {
    let server = Server::start();
    settled(&server, "app");
    let watched = printed(&server, &["rollout", "watch", "app"]);
    assert!(watched.contains("rollout 1 of version v1  succeeded"), "{watched}");
    printed(&server, &["rollout", "version", "app", "v2", "--reason", "a fix"]);
    let mut watch = command(&server, &["watch", "--entity", "app"]);
    let watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    printed(&server, &["rollout", "fail", "app", "--reason", "it is bad"]);
    printed(&server, &["rollout", "report", "app", "a=v1", "b=v1"]);
    let ended = watch.wait_with_output().unwrap();
    let text = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(text.contains("targetsInFlight") && text.contains("it is bad"), "{text}");
    let (code, said) = refused(&server, &["rollout", "version", "app", "v2"]);
    assert!(code == 1 && said.contains("help:") && said.contains("v2"), "{said}");
    let listed: Value = serde_json::from_str(&printed(&server, &["list", "entities", "--output", "json"])).unwrap();
    assert_eq!(listed[0]["lastKnownBad"], "v2");
    assert!(printed(&server, &["get", "entity", "app"]).contains("rollout 2 of version v2"));
    printed(&server, &["rollout", "clear", "app", "v2"]);
}

#[test]
fn names_of_any_kind_can_be_typed() {
    let server = Server::start();
    for name in ["..", "a/b c", "\"q\"", "~x", "服务"] {
        settled(&server, name);
        let why = printed(&server, &["rollout", "why", name, "a"]);
        assert!(why.contains("v1"), "{why}");
        let targets = printed(
            &server,
            &["rollout", "targets", name, "--label", "zone=x", "--output", "jsonl"],
        );
        assert_eq!(targets.lines().count(), 2, "{targets}");
    }
}

#[test]
fn what_cannot_be_done_is_told_with_the_field_and_what_to_do() {
    let server = Server::start();
    settled(&server, "app");
    for (arguments, code, says) in [
        (
            &["rollout", "options", "app", "--batch-percent", "120"][..],
            1,
            "batchpercent: 120 is no percentage",
        ),
        (
            &["rollout", "set", "app", "--policy", "bach: 1"],
            1,
            "did you mean `batch`?",
        ),
        (&["rollout", "set", "app"], 2, "--file"),
        (
            &["rollout", "set", "app", "--file", "nowhere.yaml"],
            2,
            "cannot read nowhere.yaml",
        ),
        (&["rollout", "version", "app", ""], 2, "a version must not be empty"),
        (&["rollout", "pause", "nobody"], 1, "there is no entity \"nobody\""),
        (&["rollout", "pause", "app"], 1, "no rollout is under way"),
        (&["rollout", "skip", "app"], 1, "which targets"),
        (&["rollout", "why", "app", "nobody"], 1, "there is no target"),
        (
            &["rollout", "targets", "app", "--state", "broken"],
            2,
            "no state is called \"broken\"",
        ),
        (
            &["rollout", "report", "app", "a", "--health", "ill"],
            2,
            "healthy, unhealthy, inProgress",
        ),
        (&["rollout", "version", "app", "v2", "--if-match", "1"], 1, "help:"),
        (&["rollout", "plan", "nobody", "v2"], 1, "there is no entity"),
        (&["rollout", "thaw"], 1, "nothing is frozen there"),
        (&["rollout", "watch", "nobody"], 1, "there is no entity"),
    ] {
        let (ended, said) = refused(&server, arguments);
        assert!(
            ended == code && said.contains(says),
            "{arguments:?} ended with {ended}: {said}"
        );
    }
}
