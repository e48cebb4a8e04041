//! Locks and elections, over the API and as `unisono lock` runs commands.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use unisono_model::api::JsonText;
use unisono_model::leases::{AcquireRequest, CampaignRequest, LeaseRequest, LockMode, ProclaimRequest, StealRequest};
use unisono_model::name::Name;
use unisono_model::values::PutRequest;

use super::{code, exclusively, json as content, lease, run, start, text};
use crate::harness::{PATIENCE, Server, eventually, lives, terminate};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_release_of_a_lock_reaches_the_next_at_once_and_tokens_grow() {
    let server = Server::start();
    let client = server.client();
    let (a, b) = (lease(&client, "a", LONG).await.id, lease(&client, "b", LONG).await.id);
    let first = client.acquire_lock("pump", &exclusively(a, None)).await.unwrap();
    assert_eq!(
        code(client.acquire_lock("pump", &exclusively(b, None)).await),
        "lock-held"
    );
    let waiting = client.clone();
    let wait = tokio::spawn(async move {
        let grant = waiting.acquire_lock("pump", &exclusively(b, Some(LONG))).await.unwrap();
        (grant, Instant::now())
    });
    let lock = eventually("b waits", || async {
        let lock = client.lock("pump").await.unwrap();
        (lock.queue.len() == 1).then_some(lock)
    })
    .await;
    assert_eq!(
        (lock.holders[0].holder.as_str(), lock.queue[0].holder.as_str()),
        ("a", "b")
    );
    let released = Instant::now();
    client.release_lock("pump", a).await.unwrap();
    let (second, granted) = wait.await.unwrap();
    assert!(second.token > first.token);
    assert!(granted - released < Duration::from_secs(2), "{:?}", granted - released);
    assert_eq!(code(client.release_lock("pump", a).await), "lock-not-held");
}

#[tokio::test]
async fn a_lock_of_who_is_gone_goes_to_the_next_when_the_lease_ends_and_not_before() {
    let server = Server::start();
    let client = server.client();
    let begin = Instant::now();
    let (gone, next) = (
        lease(&client, "gone", Duration::from_secs(1)).await.id,
        lease(&client, "next", LONG).await.id,
    );
    client.acquire_lock("pump", &exclusively(gone, None)).await.unwrap();
    client
        .acquire_lock("pump", &exclusively(next, Some(LONG)))
        .await
        .unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        code(client.renew_lease(gone).await),
        "lease-not-found",
        "what has ended is not revived"
    );
}

#[tokio::test]
async fn a_write_under_a_lost_lock_is_refused() {
    let server = Server::start();
    let client = server.client();
    let (a, b) = (lease(&client, "a", LONG).await.id, lease(&client, "b", LONG).await.id);
    let old = client.acquire_lock("pump", &exclusively(a, None)).await.unwrap().token;
    let write = |token, lock: Option<&str>| PutRequest {
        fence: Some(token),
        lock: lock.map(|lock| Name::parse(lock).unwrap()),
        ..PutRequest::new(content(json!(1)))
    };
    client.put_value("state", &write(old, Some("pump"))).await.unwrap();
    let steal = StealRequest {
        reason: "it hangs".to_owned(),
        token: None,
    };
    client.steal_lock("pump", &steal).await.unwrap();
    assert_eq!(
        code(client.put_value("state", &write(old, Some("pump"))).await),
        "lock-lost"
    );
    let new = client.acquire_lock("pump", &exclusively(b, None)).await.unwrap().token;
    client.put_value("state", &write(new, None)).await.unwrap();
    assert_eq!(code(client.put_value("state", &write(old, None)).await), "stale-fence");
    let audit = client.lock("pump").await.unwrap().audit;
    assert_eq!(
        (audit[0].actor.as_str(), audit[0].holder.as_str(), audit[0].token),
        ("the-test", "a", old)
    );
    assert!(server.site().logged("server").contains("takes it by force"));
}

#[tokio::test]
async fn a_semaphore_has_so_many_holders_and_readers_do_not_starve_writers() {
    let server = Server::start();
    let client = server.client();
    let mut leases = Vec::new();
    for number in 0..4 {
        leases.push(lease(&client, &format!("h{number}"), LONG).await.id);
    }
    let permit = |lease| AcquireRequest {
        lease,
        mode: LockMode::Permit,
        permits: Some(2),
        wait_ms: None,
    };
    for lease in &leases[..2] {
        client.acquire_lock("slots", &permit(*lease)).await.unwrap();
    }
    assert_eq!(
        code(client.acquire_lock("slots", &permit(leases[2])).await),
        "lock-held"
    );
    let shared = |lease, wait_ms| AcquireRequest {
        lease,
        mode: LockMode::Shared,
        permits: None,
        wait_ms,
    };
    client.acquire_lock("doc", &shared(leases[0], None)).await.unwrap();
    client.acquire_lock("doc", &shared(leases[1], None)).await.unwrap();
    let writing = client.clone();
    let writer = leases[2];
    let wait = tokio::spawn(async move { writing.acquire_lock("doc", &exclusively(writer, Some(LONG))).await });
    eventually("the writer waits", || async {
        (client.lock("doc").await.unwrap().queue.len() == 1).then_some(())
    })
    .await;
    assert_eq!(
        code(client.acquire_lock("doc", &shared(leases[3], None)).await),
        "lock-held",
        "behind the writer"
    );
    client.release_lock("doc", leases[0]).await.unwrap();
    client.release_lock("doc", leases[1]).await.unwrap();
    wait.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_election_is_observed_from_leader_to_leader() {
    let server = Server::start();
    let client = server.client();
    let (a, b) = (lease(&client, "a", LONG).await.id, lease(&client, "b", LONG).await.id);
    let raw = |value: serde_json::Value| JsonText(serde_json::value::to_raw_value(&value).unwrap());
    let campaign = |lease, name: &str, wait_ms| CampaignRequest {
        lease,
        value: Some(raw(json!(name))),
        wait_ms,
    };
    let observing = client.clone();
    let observed = tokio::spawn(async move {
        let mut seen: Vec<String> = Vec::new();
        let mut views = std::pin::pin!(observing.observe("db"));
        while let Some(view) = views.next().await {
            let view = view.unwrap();
            let leader = view
                .leader
                .map_or("nobody".to_owned(), |leader| leader.holder.to_string());
            let said = view
                .value
                .map_or(String::new(), |value| format!(" says {}", value.get()));
            let shown = format!("{leader}{said}");
            if seen.last() != Some(&shown) {
                seen.push(shown);
            }
            if seen.last().is_some_and(|last| last == "b says \"b\"") {
                break;
            }
        }
        seen
    });
    let pause = || tokio::time::sleep(Duration::from_millis(300));
    pause().await;
    client.campaign("db", &campaign(a, "a", None)).await.unwrap();
    pause().await;
    let proclaim = ProclaimRequest {
        lease: a,
        value: raw(json!({"url": "x"})),
    };
    client.proclaim("db", &proclaim).await.unwrap();
    let standing = client.clone();
    let request = campaign(b, "b", Some(60_000));
    let elected = tokio::spawn(async move { standing.campaign("db", &request).await });
    pause().await;
    client.resign("db", a).await.unwrap();
    elected.await.unwrap().unwrap();
    let seen = tokio::time::timeout(PATIENCE, observed).await.unwrap().unwrap();
    assert_eq!(
        seen,
        ["nobody", "a says \"a\"", "a says {\"url\":\"x\"}", "b says \"b\""]
    );
}

#[tokio::test]
async fn a_kept_lease_lives_through_a_short_restart_and_is_lost_in_a_long_one() {
    let mut server = Server::start();
    let client = server.client();
    let request = LeaseRequest {
        holder: Name::parse("kept").unwrap(),
        ttl_ms: 3_000,
        party: None,
    };
    let kept = client.keep_lease(&request).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(kept.is_held(), "it is renewed");
    server.kill();
    server.restart();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(kept.is_held(), "it is renewed after a restart");
    server.kill();
    let begin = Instant::now();
    let lost = tokio::time::timeout(PATIENCE, kept.lost()).await.unwrap();
    assert!(begin.elapsed() <= Duration::from_millis(3_500), "{:?}", begin.elapsed());
    assert!(lost.to_string().contains("could not be renewed in time"), "{lost}");
}

#[tokio::test]
async fn a_lease_is_lost_when_a_server_on_other_data_has_given_its_id_to_somebody_else() {
    let mut server = Server::start();
    let named = |holder: &str| LeaseRequest {
        holder: Name::parse(holder).unwrap(),
        ttl_ms: 6_000,
        party: None,
    };
    let kept = server.client().keep_lease(&named("one")).await.unwrap();
    server.kill();
    let mut other = server.successor("other");
    other.restart();
    let given = other.client().grant_lease(&named("another")).await.unwrap();
    assert_eq!(given.id, kept.id());
    let lost = tokio::time::timeout(PATIENCE, kept.lost()).await.unwrap();
    assert!(lost.to_string().contains("has ended"), "{lost}");
}

// ---- unisono lock

#[tokio::test]
async fn a_command_under_a_lock_has_its_token_and_passes_its_exit_code_on() {
    let server = Server::start();
    let script = "echo $UNISONO_LOCK $UNISONO_LOCK_TOKEN; exit 7";
    let ran = run(&server, &["lock", "deploy", "--", "sh", "-c", script]);
    assert_eq!(ran.status.code(), Some(7), "{ran:?}");
    assert!(ran.stderr.is_empty(), "{}", text(&ran.stderr));
    let said = text(&ran.stdout);
    let token: u64 = said.trim().strip_prefix("deploy ").unwrap().parse().unwrap();
    assert!(token > 0);
    let lock = server.client().lock("deploy").await.unwrap();
    assert!(lock.holders.is_empty(), "it is free when the command has ended");
    let killed = run(&server, &["lock", "deploy", "--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(killed.status.code(), Some(128 + 15));
    // The token is good for writes while the command runs, and not after that.
    let write = "exec \"$0\" value set state 1 --fence $UNISONO_LOCK_TOKEN --lock $UNISONO_LOCK";
    let program = env!("CARGO_BIN_EXE_unisono");
    let wrote = run(&server, &["lock", "deploy", "--", "sh", "-c", write, program]);
    assert!(wrote.status.success(), "{}", text(&wrote.stderr));
    let late = run(
        &server,
        &[
            "value",
            "set",
            "state",
            "2",
            "--fence",
            &token.to_string(),
            "--lock",
            "deploy",
        ],
    );
    assert!(text(&late.stderr).contains("is too old"), "{late:?}");
}

#[tokio::test]
async fn commands_under_one_lock_run_one_after_the_other_and_people_see_who_waits() {
    let server = Server::start();
    let log = server.site().path("order");
    let script = format!("echo in >> {0}; sleep 0.3; echo out >> {0}", log.display());
    let children: Vec<_> = (0..3)
        .map(|_| start(&server, &["lock", "deploy", "--wait", "60s", "--", "sh", "-c", &script]))
        .collect();
    let client = server.client();
    eventually("two wait", || async {
        (client.lock("deploy").await.unwrap().queue.len() == 2).then_some(())
    })
    .await;
    let listed = text(&run(&server, &["list", "locks"]).stdout);
    assert!(listed.contains("deploy") && listed.contains("exclusive"), "{listed}");
    let shown = text(&run(&server, &["get", "lock", "deploy"]).stdout);
    assert!(shown.contains("HELD BY") && shown.contains("WAITS"), "{shown}");
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    assert_eq!(server.site().lines("order"), ["in", "out"].repeat(3));
}

#[tokio::test]
async fn a_command_is_ended_with_its_children_when_its_lock_is_stolen() {
    let server = Server::start();
    let pids = server.site().path("pids");
    let script = format!(
        "trap '' TERM; sleep 100 & echo $$ $! > {}; wait; sleep 100",
        pids.display()
    );
    let child = start(
        &server,
        &[
            "lock", "deploy", "--ttl", "8s", "--grace", "500ms", "--", "sh", "-c", &script,
        ],
    );
    let written = eventually("it runs", || async { server.site().lines("pids").first().cloned() }).await;
    let stolen = run(&server, &["steal", "deploy", "--reason", "it hangs"]);
    assert!(stolen.status.success(), "{stolen:?}");
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        text(&ended.stderr).contains("was lost while the command ran"),
        "{}",
        text(&ended.stderr)
    );
    for pid in written.split(' ').map(|pid| pid.parse().unwrap()) {
        eventually("all of its group are gone", || async { (!lives(pid)).then_some(()) }).await;
    }
    let shown = text(&run(&server, &["get", "lock", "deploy"]).stdout);
    assert!(
        shown.contains("taken by force") && shown.contains("it hangs"),
        "{shown}"
    );
}

#[tokio::test]
async fn who_outlives_the_leader_of_the_group_is_ended_too_even_when_nobody_reads_what_is_said() {
    let server = Server::start();
    let (reader, writer) = std::io::pipe().unwrap();
    fill(&writer);
    let pid = server.site().path("pid");
    let stays = format!(
        "trap '' TERM; echo $$ > {}; while :; do sleep 0.05; done",
        pid.display()
    );
    let script = "exec 2>/dev/null; sh -c \"$0\" & sleep 100";
    let options = ["lock", "deploy", "--ttl", "8s", "--grace", "500ms", "--"];
    let mut child = super::unisono(&server, &[&options[..], &["sh", "-c", script, &stays]].concat())
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    let stubborn = eventually("it runs", || async { server.site().lines("pid").first().cloned() }).await;
    assert!(
        run(&server, &["steal", "deploy", "--reason", "it hangs"])
            .status
            .success()
    );
    let stubborn = stubborn.parse().unwrap();
    eventually("it is killed", || async { (!lives(stubborn)).then_some(()) }).await;
    drop(reader);
    child.wait().unwrap();
}

/// Writes into the pipe until it takes no more.
fn fill(mut pipe: &std::io::PipeWriter) {
    let flags = rustix::fs::fcntl_getfl(pipe).unwrap();
    rustix::fs::fcntl_setfl(pipe, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while pipe.write(&[b'.'; 256]).is_ok() {}
    rustix::fs::fcntl_setfl(pipe, flags).unwrap();
}

#[tokio::test]
async fn a_command_ends_with_the_terminal_of_its_lock() {
    let server = Server::start();
    let script = format!("echo $$ > {}; exec sleep 100", server.site().path("pid").display());
    let mut child = start(&server, &["lock", "deploy", "--", "sh", "-c", &script]);
    let pid = eventually("it runs", || async { server.site().lines("pid").first().cloned() }).await;
    let leader = Pid::from_child(&child);
    kill_process(leader, Signal::HUP).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 1));
    assert!(!lives(pid.parse().unwrap()));
}

#[tokio::test]
async fn a_command_is_ended_before_its_lease_could_go_to_another_when_the_server_is_gone() {
    let mut server = Server::start();
    let marks = server.site().path("marks");
    let script = format!("while true; do date +%s%N >> {}; sleep 0.02; done", marks.display());
    let child = start(&server, &["lock", "deploy", "--ttl", "3s", "--", "sh", "-c", &script]);
    eventually("it runs", || async { server.site().lines("marks").first().cloned() }).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let until = server.client().lock("deploy").await.unwrap().holders[0].expires_at;
    server.kill();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let last: i64 = server.site().lines("marks").last().unwrap().parse().unwrap();
    // The lease may have been renewed once more before the server was gone.
    assert!(last / 1_000_000 <= until.0 + 1_000, "{last} is after {}", until.0);
}

#[tokio::test]
async fn who_waits_for_a_lock_leaves_the_queue_when_interrupted() {
    let server = Server::start();
    let client = server.client();
    let holder = lease(&client, "holder", LONG).await.id;
    client.acquire_lock("deploy", &exclusively(holder, None)).await.unwrap();
    let mut child = start(&server, &["lock", "deploy", "--wait", "60s", "--", "true"]);
    eventually("it waits", || async {
        (client.lock("deploy").await.unwrap().queue.len() == 1).then_some(())
    })
    .await;
    let ended = terminate(&mut child);
    assert_eq!(ended.status.code(), Some(128 + 15));
    assert!(client.lock("deploy").await.unwrap().queue.is_empty());
}

// ---- unisono election

#[tokio::test]
async fn a_command_leads_as_long_as_it_runs_and_is_observed_from_leader_to_leader() {
    let server = Server::start();
    let observed = server.site().path("observed");
    let observer = super::unisono(
        &server,
        &["election", "observe", "db", "--output", "jsonl", "--count", "4"],
    )
    .stdout(std::fs::File::create(&observed).unwrap())
    .spawn()
    .unwrap();
    eventually("it observes", || async {
        server.site().lines("observed").first().cloned()
    })
    .await;
    let program = env!("CARGO_BIN_EXE_unisono");
    let script = "until [ \"$(wc -l < \"$1\")\" -ge 2 ]; do sleep 0.02; done; \
        \"$0\" election proclaim db '{\"url\": \"two\"}' && until [ \"$(wc -l < \"$1\")\" -ge 3 ]; do sleep 0.02; done; exit 5";
    let led = run(
        &server,
        &[
            "election",
            "campaign",
            "db",
            "--value",
            "\"one\"",
            "--",
            "sh",
            "-c",
            script,
            program,
            observed.to_str().unwrap(),
        ],
    );
    assert_eq!(led.status.code(), Some(5), "{}", text(&led.stderr));
    assert!(observer.wait_with_output().unwrap().status.success());
    let views = server.site().lines("observed");
    let views: Vec<serde_json::Value> = views.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<_> = views
        .iter()
        .map(|view| (view["leader"].is_object(), view["value"].clone()))
        .collect();
    let null = serde_json::Value::Null;
    assert_eq!(
        said,
        [
            (false, null.clone()),
            (true, "one".into()),
            (true, serde_json::json!({"url": "two"})),
            (false, null)
        ]
    );
}

#[tokio::test]
async fn who_resigns_ends_its_command_and_the_next_candidate_leads() {
    let server = Server::start();
    let client = server.client();
    let first = start(&server, &["election", "campaign", "db", "--", "sleep", "100"]);
    let leader = eventually("the first leads", || async {
        client.election("db").await.unwrap().leader
    })
    .await;
    let tried = run(&server, &["election", "campaign", "db", "--", "true"]);
    assert_eq!(tried.status.code(), Some(1));
    assert!(text(&tried.stderr).contains("db"), "{}", text(&tried.stderr));
    let second = start(&server, &["election", "campaign", "db", "--wait", "60s", "--", "true"]);
    eventually("the second stands", || async {
        (client.election("db").await.unwrap().candidates.len() == 1).then_some(())
    })
    .await;
    let resigned = run(
        &server,
        &["election", "resign", "db", "--lease", &leader.lease.to_string()],
    );
    assert!(resigned.status.success(), "{}", text(&resigned.stderr));
    assert!(second.wait_with_output().unwrap().status.success());
    let ended = first.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        text(&ended.stderr).contains("election \"db\" was lost"),
        "{}",
        text(&ended.stderr)
    );
    let again = run(
        &server,
        &["election", "resign", "db", "--lease", &leader.lease.to_string()],
    );
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}
