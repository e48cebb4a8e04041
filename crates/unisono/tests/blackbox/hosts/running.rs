//! Where commands run, what they learn, and how they are started again.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use unisono_model::hosts::HostState;

use super::{BEATS, HostProcess, candidate, command, folder, gone, like, one_after_the_other, running};
use crate::harness::{Server, eventually, lives};

#[tokio::test]
async fn one_runs_and_the_next_one_when_that_leaves_with_a_newer_token() {
    let server = Server::start();
    let client = server.client();
    let mut first = HostProcess::start(&server, "first", &[], BEATS);
    let leader = running(&client, &first).await;
    let second = HostProcess::start(&server, "second", &[], BEATS);
    let waiting = candidate(&client, &second).await;
    assert!(waiting.reason.contains(&leader.id), "{waiting:?}");
    assert_eq!((leader.slot, leader.restarts), (Some(1), 0));
    assert_eq!(leader.command[..2], ["sh", "-c"]);

    let command = leader.command_pid.unwrap();
    assert!(first.leave().success());
    assert!(!lives(command), "a host ends after its command");
    let next = running(&client, &second).await;
    assert!(next.token > leader.token);
    // A command runs a moment before it has written anything.
    let begun = eventually("both have begun", || async {
        let begun = server.site().lines("begun");
        (begun.len() == 2).then_some(begun)
    })
    .await;
    let told = |host: &unisono_model::hosts::HostView| {
        let (token, pid) = (host.token.unwrap().0, host.command_pid.unwrap());
        format!("{token} 1 {pid}")
    };
    assert_eq!(begun, [told(&leader), told(&next)]);
    one_after_the_other(&server);
}

#[tokio::test]
async fn as_many_run_as_there_are_slots() {
    let server = Server::start();
    let client = server.client();
    let options = ["--slots", "2"];
    let mut hosts: Vec<HostProcess> = (0..3)
        .map(|number| HostProcess::start(&server, &format!("host-{number}"), &options, "sleep 1000"))
        .collect();
    let settled = eventually("two run and one waits", || async {
        let hosts = client.hosts(Some("pump")).await.unwrap();
        let states: Vec<_> = hosts.iter().map(|host| (host.slot, host.state)).collect();
        let expected = [
            (Some(1), HostState::Running),
            (Some(2), HostState::Running),
            (None, HostState::Candidate),
        ];
        (states == expected).then_some(hosts)
    })
    .await;
    let leaves = hosts.iter_mut().find(|host| host.pid() == settled[0].pid).unwrap();
    leaves.leave();
    let waited = hosts.iter().find(|host| host.pid() == settled[2].pid).unwrap();
    assert_eq!(running(&client, waited).await.slot, Some(1));
}

#[tokio::test]
async fn a_command_that_ends_is_started_again_and_later_each_time() {
    let server = Server::start();
    let client = server.client();
    let mut host = HostProcess::start(&server, "host", &[], "date +%s%N >> starts; exit 7");
    let waits = like(&client, host.pid(), "it failed twice", |host| {
        host.state == HostState::BackingOff && host.restarts == 1
    })
    .await;
    assert_eq!(waits.reason, "the command ended with exit code 7");
    let starts = eventually("it was started three times", || async {
        let starts = server.site().lines("starts");
        (starts.len() == 3).then_some(starts)
    })
    .await;
    let at: Vec<u64> = starts.iter().map(|nanos| nanos.parse().unwrap()).collect();
    assert!(at[1] - at[0] >= 1_000_000_000, "{at:?}");
    assert!(at[2] - at[1] >= 2_000_000_000, "{at:?}");
    assert!(host.leave().success(), "also while it waits");
}

#[tokio::test]
async fn a_program_that_has_gone_is_told_to_be_gone_and_started_when_it_is_back() {
    let server = Server::start();
    let client = server.client();
    let program = folder(&server).join("program");
    let script = |text: &str| {
        std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("rm \"$0\"");
    let mut host = HostProcess::of(&server, "host", command(&server, &[], &[program.to_str().unwrap()]));
    let waits = like(&client, host.pid(), "it could not be started", |host| {
        host.state == HostState::BackingOff && host.reason.contains("not started")
    })
    .await;
    let expected = format!(
        "the command was not started: there is no program `{}`",
        program.display()
    );
    assert_eq!(waits.reason, expected);
    script("sleep 1000");
    running(&client, &host).await;
    assert!(host.leave().success());
}

#[tokio::test]
async fn what_a_command_leaves_in_its_group_is_gone_before_it_is_started_again() {
    let server = Server::start();
    let script = "test -e child && grep -q '^State:.[^ZX]' /proc/$(cat child)/status && echo lives >> overlaps; sleep 1000 & echo $! > child; exit 1";
    let host = HostProcess::start(&server, "host", &[], script);
    like(&server.client(), host.pid(), "it was started twice", |host| {
        host.restarts == 1
    })
    .await;
    assert!(!folder(&server).join("overlaps").exists());
}

#[tokio::test]
async fn a_command_that_is_not_healthy_is_started_again() {
    let server = Server::start();
    let client = server.client();
    let options = [
        "--health",
        "test ! -e sick",
        "--health-every",
        "100ms",
        "--health-failures",
        "2",
        "--stop-grace",
        "200ms",
    ];
    // It does not go when it is asked to.
    let host = HostProcess::start(&server, "host", &options, "trap '' TERM; while :; do sleep 0.1; done");
    let well = running(&client, &host).await;
    std::fs::write(folder(&server).join("sick"), "").unwrap();
    let sick = like(&client, host.pid(), "it is found to be ill", |host| {
        host.state == HostState::BackingOff
    })
    .await;
    assert!(sick.reason.contains("is not healthy"), "{}", sick.reason);
    assert!(!lives(well.command_pid.unwrap()));
    std::fs::remove_file(folder(&server).join("sick")).unwrap();
    assert_ne!(running(&client, &host).await.command_pid, well.command_pid);
}

#[tokio::test]
async fn who_waits_too_long_gives_up() {
    let server = Server::start();
    let first = HostProcess::start(&server, "first", &[], "sleep 1000");
    running(&server.client(), &first).await;
    let begin = Instant::now();
    let gave_up = command(&server, &["--wait", "1s"], &["true"]).output().unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(gave_up.status.code(), Some(1));
    let said = String::from_utf8_lossy(&gave_up.stderr).into_owned();
    assert!(said.contains("slot"), "{said}");
    drop(first);
    let mut server = server;
    server.kill();
    let gave_up = command(&server, &["--wait", "1s"], &["true"]).output().unwrap();
    let said = String::from_utf8_lossy(&gave_up.stderr).into_owned();
    assert_eq!(gave_up.status.code(), Some(3), "nobody could be asked: {said}");
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_once_and_says_why() {
    let server = Server::start();
    let refused = |options: &[&str], program: &str| {
        let output = command(&server, options, &[program]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        said
    };
    let sum = refused(&["--lease", "20s", "--grace", "15s"], "true");
    assert!(sum.contains("leadership ends 4s after"), "{sum}");
    assert!(refused(&["--lease", "500ms"], "true").contains("give 1s or more"));
    assert!(refused(&["--slots", "0"], "true").contains("1..=1000"));
    let dots = program_of(&server, "..");
    assert_eq!(dots.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&dots.stderr).contains("no service can be called `..`"));
    assert!(refused(&[], "no-such-program").contains("there is no program `no-such-program`"));
    assert!(refused(&[], "/etc/passwd").contains("chmod +x"));
    assert!(refused(&["--health-every", "1s"], "true").contains("--health"));
    assert_eq!(server.client().hosts(None).await.unwrap(), []);
}

#[tokio::test]
async fn a_command_outlives_neither_its_keeper_nor_its_host() {
    let server = Server::start();
    let client = server.client();
    let host = HostProcess::start(&server, "host", &["--lease", "60s"], "sleep 1000");
    let before = running(&client, &host).await;
    let command = before.command_pid.unwrap();
    super::signal(super::parent(command), Signal::KILL);
    gone(command).await;
    let again = like(&client, host.pid(), "it is started again", |host| {
        host.state == HostState::Running && host.restarts == 1
    })
    .await;
    // A lease of a minute: nothing but the death of the host ends it that soon.
    host.signal(Signal::KILL);
    assert!(gone(again.command_pid.unwrap()).await < Duration::from_secs(20));
}

/// A host of a service of this name.
fn program_of(server: &Server, name: &str) -> std::process::Output {
    let mut command = server.program();
    command.args(["host", name, "--server", &server.url(), "--", "true"]);
    command.output().unwrap()
}
