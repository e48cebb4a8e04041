//! What is kept of orchestrations that have ended: deleting one, rules, and `kill -9` meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use unisono_client::{Client, ClientError, OrchestrationFilter, PageRequest};
use unisono_model::api::OrchestrationState;
use unisono_model::retention::RetentionRule;

use super::{cli, get, printed};
use crate::harness::{Random, Server, ServerSetup, apply, eventually, finished, request};

const DEFINITIONS: &str = "{kind: ActivityDefinition, type: echo}\n---\n{kind: ActivityDefinition, type: never}\n---\n
{type: quick, activities: [{id: a, type: echo}, {id: b, type: echo, dependsOn: a}]}\n---\n
{type: other, activities: [{id: a, type: echo}]}\n---\n{type: stuck, activities: [{id: a, type: never}]}";

async fn ids(client: &Client, r#type: &str) -> BTreeSet<String> {
    let filter = OrchestrationFilter {
        r#type: Some(r#type.to_owned()),
        ..OrchestrationFilter::default()
    };
    let (mut ids, mut page) = (BTreeSet::new(), PageRequest::default());
    loop {
        let next = client.orchestrations(&filter, &page).await.unwrap();
        ids.extend(next.items.into_iter().map(|item| item.id.to_string()));
        page.page_token = next.next_page_token;
        if page.page_token.is_none() {
            return ids;
        }
    }
}

async fn count(client: &Client) -> u64 {
    client.count(&OrchestrationFilter::default(), &[]).await.unwrap().count
}

fn code(error: ClientError) -> String {
    match error {
        ClientError::Problem(problem) => problem.code.into_owned(),
        other => panic!("{other}"),
    }
}

/// That nothing at all is served of an orchestration.
async fn assert_gone(client: &Client, id: &str) {
    let none = PageRequest::default();
    for error in [
        client.orchestration(id).await.map(drop),
        client.history(id, None, None).await.map(drop),
        client.logs(id, None, None, &none).await.map(drop),
        client.delete_orchestration(id).await,
    ] {
        assert_eq!(code(error.unwrap_err()), "orchestration-not-found", "{id}");
    }
}

/// That all of an orchestration that has ended is served.
async fn assert_whole(client: &Client, id: &str, events: usize) {
    let view = client.orchestration(id).await.unwrap();
    assert_eq!(view.summary.state, OrchestrationState::Completed, "{id}");
    assert_eq!(
        client.history(id, None, None).await.unwrap().items.len(),
        events,
        "{id}"
    );
}

async fn run(client: &Client, id: &str, r#type: &str) {
    let start = client
        .start_and_wait(&request(id, r#type), Duration::from_secs(20))
        .await;
    assert_eq!(start.unwrap().state, Some(OrchestrationState::Completed));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestration_that_has_ended_can_be_deleted_with_all_that_is_kept_of_it() {
    let mut server = Server::start();
    let _agent = server
        .agent("worker")
        .exec("echo", "echo a line >&2; echo '{}'")
        .start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    for id in ["gone", "kept", "third"] {
        run(&client, id, "quick").await;
    }
    client.start(&request("open", "stuck")).await.unwrap();
    eventually("the log is there", || async {
        let logs = client.logs("gone", None, None, &PageRequest::default()).await.unwrap();
        (logs.items.len() >= 2).then_some(())
    })
    .await;

    let refused = cli(&server, &["delete", "orchestration", "open"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said.contains("\"open\" has not ended") && said.contains("unisono cancel open"),
        "{said}"
    );
    assert!(!cli(&server, &["delete", "orchestration", "nobody"]).status.success());

    let said = printed(&server, &["delete", "orchestration", "gone", "third"]);
    assert_eq!(said, "deleted orchestration gone\ndeleted orchestration third\n");
    for restarted in [false, true, true] {
        if restarted {
            server.kill();
            server.restart();
        }
        assert_gone(&client, "gone").await;
        assert_whole(&client, "kept", 6).await;
        assert_eq!(ids(&client, "quick").await, BTreeSet::from(["kept".to_owned()]));
        assert_eq!(count(&client).await, 2);
    }
    // The id is free, for another request too.
    let again = client.start(&request("gone", "stuck")).await.unwrap();
    assert!(again.created);
    server.kill();
    server.restart();
    assert_eq!(
        client.orchestration("gone").await.unwrap().summary.r#type.as_str(),
        "stuck"
    );
    let metrics = client.metrics().await.unwrap();
    assert!(
        metrics.contains("unisono_orchestrations_deleted_total{by=\"request\"}"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_delete_what_has_become_too_old_or_too_many_of_each_definition() {
    let server = ServerSetup::default()
        .options(&["--retention-interval", "100ms"])
        .start();
    let _agent = server.agent("worker").echo("echo").start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    for number in 0..6 {
        run(&client, &format!("q{number}"), "quick").await;
        run(&client, &format!("o{number}"), "other").await;
    }
    client.start(&request("open", "stuck")).await.unwrap();

    let nothing = cli(&server, &["retention", "set"]);
    let said = String::from_utf8_lossy(&nothing.stderr);
    assert_eq!(nothing.status.code(), Some(2), "{said}");
    assert!(said.contains("--max-age <TIME>|--max-count <N>|--forever"), "{said}");
    let said = printed(&server, &["retention", "set", "--max-count", "4"]);
    assert_eq!(
        said,
        "namespace default: ended orchestrations are kept the last 4 of each definition\n"
    );
    printed(
        &server,
        &[
            "retention",
            "set",
            "--type",
            "other",
            "--max-count",
            "2",
            "--max-age",
            "30d",
        ],
    );
    printed(&server, &["retention", "set", "--type", "stuck", "--forever"]);
    let table = printed(&server, &["retention"]);
    assert!(table.contains("for 30d, the last 2 of each definition"), "{table}");
    let view: Value = serde_json::from_str(&printed(&server, &["retention", "--output", "json"])).unwrap();
    assert_eq!(
        view,
        json!({"default": {"maxCount": 4}, "definitions": {"other": {"maxAgeSeconds": 2_592_000, "maxCount": 2}, "stuck": {}}})
    );
    let kept = |of: &str, numbers: std::ops::Range<usize>| -> BTreeSet<String> {
        numbers.map(|number| format!("{of}{number}")).collect()
    };
    eventually("the oldest are deleted", || async {
        let found = (ids(&client, "quick").await, ids(&client, "other").await);
        (found == (kept("q", 2..6), kept("o", 4..6))).then_some(())
    })
    .await;
    assert_gone(&client, "q0").await;
    assert_whole(&client, "q2", 6).await;
    run(&client, "q6", "quick").await;
    eventually("one more is deleted", || async {
        (ids(&client, "quick").await == kept("q", 3..7)).then_some(())
    })
    .await;

    let second = RetentionRule {
        max_age_seconds: Some(1),
        max_count: None,
    };
    client.set_retention(Some("quick"), &second).await.unwrap();
    printed(&server, &["retention", "unset", "--type", "other"]);
    eventually("all have become too old", || async {
        ids(&client, "quick").await.is_empty().then_some(())
    })
    .await;
    assert_eq!(ids(&client, "stuck").await.len(), 1, "what is open stays");
    assert_eq!(ids(&client, "other").await, kept("o", 4..6));
    let metrics = client.metrics().await.unwrap();
    assert!(
        metrics.contains("unisono_orchestrations_deleted_total{by=\"retention\"} 11"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_says_nothing_useful_is_refused() {
    let server = Server::start();
    let client = server.client();
    let rule = |age, count| RetentionRule {
        max_age_seconds: age,
        max_count: count,
    };
    let refused = client.set_retention(None, &rule(Some(1), None)).await.unwrap_err();
    assert_eq!(code(refused), "namespace-not-found");
    apply(&client, DEFINITIONS).await;
    let refused = client
        .set_retention(Some("qick"), &rule(Some(1), None))
        .await
        .unwrap_err();
    assert_eq!(code(refused), "definition-not-found");
    for rule in [rule(Some(0), None), rule(None, Some(0))] {
        let refused = client.set_retention(None, &rule).await.unwrap_err();
        assert_eq!(code(refused), "bad-retention");
    }
    for arguments in [
        ["retention", "set", "--max-age", "10ms"].as_slice(),
        &["retention", "set", "--max-age", "1month"],
        &["retention", "set", "--max-count", "0"],
        &["retention", "set"],
        &["retention", "set", "--forever", "--max-count", "2"],
    ] {
        assert_eq!(cli(&server, arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(
        get(&server, "/retention", "*/*").await.text().await.unwrap(),
        r#"{"definitions":{}}"#
    );
}

/// Orchestrations are deleted by a rule and by request while the server is killed again and again: whatever is served is
/// whole, and what was said to be deleted is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_half_deleted_is_served_after_kill_9() {
    const RUNS: usize = 1_200;
    let mut random = Random::seeded();
    let mut server = ServerSetup::default()
        .checkpoint_bytes(64 * 1024)
        .options(&["--retention-interval", "50ms"])
        .start();
    let _agent = server.agent("worker").concurrency(200).echo("echo").start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    for number in 0..RUNS {
        client.start(&request(&format!("q{number}"), "quick")).await.unwrap();
    }
    finished(&client, &format!("q{}", RUNS - 1)).await;
    let rule = RetentionRule {
        max_age_seconds: None,
        max_count: Some(600),
    };
    client.set_retention(None, &rule).await.unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..6_usize {
        // The newest, which the rule keeps.
        for number in 0..8 {
            let id = format!("q{}", RUNS - 1 - round * 8 - number);
            match client.delete_orchestration(&id).await {
                Ok(()) => acknowledged.push(id),
                Err(error) => panic!("{id}: {error}"),
            }
        }
        let next = RetentionRule {
            max_age_seconds: None,
            max_count: Some(600 - 100 * round as u64),
        };
        client.set_retention(None, &next).await.unwrap();
        tokio::time::sleep(random.between(Duration::from_millis(1), Duration::from_millis(120))).await;
        server = tokio::task::spawn_blocking(move || {
            server.kill();
            server.restart();
            server
        })
        .await
        .unwrap();
        for id in &acknowledged {
            assert_gone(&client, id).await;
        }
        let found = ids(&client, "quick").await;
        for id in found.iter().step_by(1 + found.len() / 40) {
            match client.history(id, None, None).await {
                Ok(page) => assert_eq!(page.items.len(), 6, "{id}"),
                // The rule goes on.
                Err(error) => assert_eq!(code(error), "orchestration-not-found"),
            }
        }
    }
    eventually("the rule is kept", || async {
        (count(&client).await == 100).then_some(())
    })
    .await;
    let found = ids(&client, "quick").await;
    let expected: BTreeSet<String> = (RUNS - 148..RUNS - 48).map(|number| format!("q{number}")).collect();
    assert_eq!(found, expected);
    for id in &found {
        assert_whole(&client, id, 6).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_room_on_the_disk_is_told() {
    let server = Server::start();
    let _agent = server.agent("worker").echo("echo").start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    for id in ["q1", "q2"] {
        run(&client, id, "quick").await;
    }
    client.start(&request("s1", "stuck")).await.unwrap();
    let told: Value = serde_json::from_str(&printed(&server, &["get", "storage", "--output", "json"])).unwrap();
    assert_eq!(
        told["namespaces"],
        json!({"default": {"quick": {"open": 0, "ended": 2}, "stuck": {"open": 1, "ended": 0}}})
    );
    let store = told["store"].as_object().unwrap();
    let parts: u64 = store.values().map(|bytes| bytes.as_u64().unwrap()).sum();
    assert_eq!(told["storeBytes"], parts);
    assert!(
        told["journalBytes"].as_u64().unwrap() > 0 && told["freeBytes"].as_u64().unwrap() > 0,
        "{told}"
    );
    let table = printed(&server, &["get", "storage"]);
    for part in ["journal", "  history", "MiB", "free on the disk", "quick"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let metrics = client.metrics().await.unwrap();
    for part in store.keys() {
        assert!(
            metrics.contains(&format!("unisono_store_part_bytes{{part=\"{part}\"}}")),
            "{part}"
        );
    }
}
