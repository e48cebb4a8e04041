//! How leadership is lost: by death, by standing still, by a server that hangs, by theft.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use unisono_model::hosts::{HostState, slot};
use unisono_model::ids::Revision;
use unisono_model::values::PutRequest;

use super::{BEATS, HostProcess, candidate, gone, like, one_after_the_other, parent, running, signal};
use crate::harness::{Server, ServerSetup, eventually, lives};

const LEASE: Duration = Duration::from_secs(2);
const OPTIONS: [&str; 2] = ["--lease", "2s"];

/// Under this token.
fn write(token: Option<Revision>) -> PutRequest {
    PutRequest {
        fence: token,
        ..PutRequest::new(crate::values::json(1.into()))
    }
}

#[tokio::test]
async fn after_a_kill_the_command_is_gone_and_the_next_leads_when_the_lease_ends() {
    let server = Server::start();
    let client = server.client();
    let first = HostProcess::start(&server, "first", &OPTIONS, BEATS);
    let leader = running(&client, &first).await;
    let second = HostProcess::start(&server, "second", &OPTIONS, BEATS);
    candidate(&client, &second).await;
    let begin = Instant::now();
    first.signal(Signal::KILL);
    let next = running(&client, &second).await;
    assert!(
        begin.elapsed() < LEASE + Duration::from_secs(8),
        "{:?}",
        begin.elapsed()
    );
    assert!(next.token > leader.token);
    assert!(!lives(leader.command_pid.unwrap()));
    one_after_the_other(&server);
}

#[tokio::test]
async fn a_host_that_is_stopped_past_its_lease_leaves_nothing_running_and_dies_on_waking() {
    let server = Server::start();
    let client = server.client();
    let mut first = HostProcess::start(&server, "first", &OPTIONS, BEATS);
    let leader = running(&client, &first).await;
    let second = HostProcess::start(&server, "second", &OPTIONS, BEATS);
    candidate(&client, &second).await;
    first.signal(Signal::STOP);
    let next = running(&client, &second).await;
    assert!(!lives(leader.command_pid.unwrap()), "its keeper kills it in time");
    client.put_value("cursor", &write(next.token)).await.unwrap();
    first.signal(Signal::CONT);
    let ended = first.ended();
    assert!(!ended.success(), "{ended:?}");
    let late = client.put_value("cursor", &write(leader.token)).await;
    assert_eq!(late.unwrap_err().code(), Some("stale-fence"));
    assert!(lives(next.command_pid.unwrap()));
    one_after_the_other(&server);
}

#[tokio::test]
async fn a_host_that_is_asked_to_leave_ends_its_command_also_when_its_keeper_is_stopped() {
    let server = Server::start();
    let client = server.client();
    let mut host = HostProcess::start(&server, "host", &["--stop-grace", "500ms"], "sleep 1000");
    let command = running(&client, &host).await.command_pid.unwrap();
    signal(parent(command), Signal::STOP);
    assert!(host.leave().success());
    assert!(!lives(command));
}

#[tokio::test]
async fn also_when_host_keeper_and_command_are_stopped_together() {
    let server = Server::start();
    let client = server.client();
    let mut first = HostProcess::start(&server, "first", &OPTIONS, "sleep 1000");
    let leader = running(&client, &first).await;
    let command = leader.command_pid.unwrap();
    let second = HostProcess::start(&server, "second", &OPTIONS, "sleep 1000");
    candidate(&client, &second).await;
    let all = [first.pid(), parent(command), command];
    for pid in all {
        signal(pid, Signal::STOP);
    }
    running(&client, &second).await;
    assert!(lives(command), "nobody is there to kill it");
    let woken = Instant::now();
    // The command first: who wakes before it kills it.
    for pid in all.into_iter().rev() {
        signal(pid, Signal::CONT);
    }
    gone(command).await;
    assert!(!first.ended().success());
    assert!(woken.elapsed() < Duration::from_secs(5), "{:?}", woken.elapsed());
}

#[tokio::test]
async fn when_the_server_hangs_the_command_is_gone_before_the_lease_ends_and_comes_back_with_the_server() {
    let mut server = Server::start();
    let client = server.client();
    let host = HostProcess::start(&server, "host", &OPTIONS, BEATS);
    let leader = running(&client, &host).await;
    server.pause();
    let took = gone(leader.command_pid.unwrap()).await;
    assert!(took < LEASE + Duration::from_secs(3), "{took:?}");
    server.resume();
    let again = like(&client, host.pid(), "it leads again", |host| {
        host.state == HostState::Running && host.token > leader.token
    })
    .await;
    assert_ne!(again.command_pid, leader.command_pid);
    one_after_the_other(&server);
    server.terminate();
}

#[tokio::test]
async fn a_leader_outlives_a_restart_of_the_server_that_is_shorter_than_its_lease() {
    let mut server = Server::start();
    let client = server.client();
    let host = HostProcess::start(&server, "host", &["--lease", "60s"], BEATS);
    let leader = running(&client, &host).await;
    server.kill();
    server.restart();
    let still = running(&client, &host).await;
    assert_eq!(
        (still.token, still.command_pid),
        (leader.token, leader.command_pid),
        "it did not notice"
    );
}

#[tokio::test]
async fn a_leader_whose_slot_is_deleted_stops_its_command_at_once_and_not_at_its_next_renewal() {
    let server = Server::start();
    let client = server.client();
    let host = HostProcess::start(&server, "host", &["--lease", "60s"], "sleep 1000");
    let leader = running(&client, &host).await;
    client.delete_value(&slot("pump", 1), None).await.unwrap();
    // It is renewed every 15 seconds.
    let took = gone(leader.command_pid.unwrap()).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(running(&client, &host).await.token > leader.token);
}

#[tokio::test]
async fn who_is_robbed_of_its_slot_stops_its_command_and_tries_again() {
    let server = Server::start();
    let client = server.client();
    // It is renewed every 15 seconds.
    let host = HostProcess::start(&server, "host", &["--lease", "60s"], BEATS);
    let leader = running(&client, &host).await;
    let key = slot("pump", 1);
    client
        .put_value(&key, &PutRequest::new(crate::values::json("somebody else".into())))
        .await
        .unwrap();
    let took = gone(leader.command_pid.unwrap()).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let waits = candidate(&client, &host).await;
    assert!(waits.reason.contains("somebody else"), "{}", waits.reason);
    client.delete_value(&key, None).await.unwrap();
    let again = running(&client, &host).await;
    assert!(again.token > leader.token);
    let log = eventually("the log tells of it", || async {
        let log = server.site().logged("host");
        log.contains("trying for a slot again").then_some(log)
    })
    .await;
    assert!(log.contains("WARN"), "{log}");
}

#[tokio::test]
async fn a_wall_clock_that_is_set_forward_and_back_changes_nothing() {
    let (server, clock) = ServerSetup::default().start_with_wall_clock();
    let client = server.client();
    let first = HostProcess::start(&server, "first", &OPTIONS, BEATS);
    let leader = running(&client, &first).await;
    let second = HostProcess::start(&server, "second", &OPTIONS, BEATS);
    candidate(&client, &second).await;
    for hours in [1, -2] {
        clock.set(hours * 3600);
        tokio::time::sleep(LEASE * 2).await;
        let still = running(&client, &first).await;
        assert_eq!((still.token, still.command_pid), (leader.token, leader.command_pid));
        candidate(&client, &second).await;
    }
    let log = server.site().logged("server");
    assert!(log.contains("clock was set forward"), "{log}");
    let begin = Instant::now();
    first.signal(Signal::KILL);
    assert!(running(&client, &second).await.token > leader.token);
    assert!(
        begin.elapsed() < LEASE + Duration::from_secs(8),
        "{:?}",
        begin.elapsed()
    );
    one_after_the_other(&server);
}
