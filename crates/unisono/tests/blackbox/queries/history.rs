//! The history of an orchestration: what happened, when, who, attempt, reason, value changes.

use serde_json::{Value, json};
use unisono_client::Client;
use unisono_model::api::{ActivityState, HistoryEntry};

use super::{cli, get, printed};
use crate::harness::{Server, apply, finished, history, in_state};

const DEFINITIONS: &str = "{kind: ActivityDefinition, type: poll}\n---\n{kind: ActivityDefinition, type: ask}\n---\n
type: t
activities: [{id: a, type: poll}, {id: b, type: ask, dependsOn: a}]";

/// Counts in the context, three attempts long.
const POLL: &str = r#"
count=$(printf '%s' "$UNISONO_CONTEXT" | sed -n 's/.*"count":\([0-9]*\).*/\1/p'); count=$((${count:-0} + 1))
printf '{"set": {"count": %s}, "delete": ["nothing"]}' "$count" > "$UNISONO_CONTEXT_PATCH"
if [ "$count" -lt 3 ]; then printf '{"schedule": {"afterMs": 20}}' > "$UNISONO_RESULT"; else printf '{"count": %s}' "$count"; fi"#;

/// Each page of one entry, joined.
async fn one_by_one(client: &Client, id: &str) -> Vec<HistoryEntry> {
    let mut entries: Vec<HistoryEntry> = Vec::new();
    loop {
        let after = entries.last().map(|entry| entry.revision);
        let page = client.history(id, after, Some(1)).await.unwrap();
        entries.extend(page.items);
        if page.next_page_token.is_none() {
            return entries;
        }
    }
}

fn text(entries: &[HistoryEntry]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| serde_json::to_string(entry).unwrap().replace('\n', " "))
        .collect()
}

fn values(entries: &[HistoryEntry]) -> Vec<Value> {
    text(entries)
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn history_says_who_did_what_in_which_attempt_why_and_which_values_it_changed() {
    let server = Server::start();
    let _agent = server
        .agent("worker")
        .exec("poll", POLL)
        .exec("ask", r#"printf '{"wait": {}}' > "$UNISONO_RESULT""#)
        .start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    printed(
        &server,
        &[
            "start",
            "t",
            "--id",
            "r",
            "--input",
            "{\"k\":\n1.50}",
            "--label",
            "team=x",
            "--correlation-id",
            "o 7",
        ],
    );
    let waiting = in_state(&client, "r", "b", ActivityState::Waiting).await;

    let open = values(&history(&client, "r").await);
    let started = &open[0];
    assert_eq!(started["kind"], "orchestrationStarted");
    assert!(started["actor"].as_str().unwrap().starts_with("ada@"), "{started}");
    assert_eq!(
        started["start"],
        json!({"type": "t", "version": 1, "correlationId": "o 7", "labels": {"team": "x"}, "input": {"k": 1.50}})
    );
    let of = |kind: &str, attempt: u64| {
        let found = open
            .iter()
            .find(|entry| entry["kind"] == kind && entry["attempt"] == attempt);
        found.unwrap_or_else(|| panic!("{kind}: {open:#?}"))
    };
    let scheduled = of("activityScheduled", 2);
    assert_eq!(scheduled["actor"], "agent worker");
    assert_eq!(scheduled["reason"], "it asked to run again");
    assert_eq!(
        scheduled["context"],
        json!({"set": {"count": 2}, "delete": ["nothing"], "previous": {"count": 1}})
    );
    assert!(of("activityScheduled", 1)["context"].get("previous").is_none());
    assert_eq!(of("activityCompleted", 3)["context"]["previous"], json!({"count": 2}));
    assert_eq!(of("activityCompleted", 3)["output"], json!({"count": 3}));
    let due = open.iter().find(|entry| entry["kind"] == "activityDue").unwrap();
    assert_eq!(
        (&due["actor"], &due["reason"]),
        (&json!("server"), &json!("its time has come"))
    );
    assert_eq!(open.last().unwrap()["reason"], "it waits for an external call");

    let token = waiting.token.unwrap().to_string();
    printed(&server, &["complete", "r", "b", "--token", &token]);
    finished(&client, "r").await;
    let all = history(&client, "r").await;
    assert_eq!(values(&all)[..open.len()], open, "what was told stays");
    assert_eq!(text(&one_by_one(&client, "r").await), text(&all), "however it is paged");
    let last = values(&all).pop().unwrap();
    assert_eq!(
        (&last["kind"], &last["actor"]),
        (&json!("orchestrationCompleted"), &json!("server"))
    );

    let lines = get(&server, "/orchestrations/r/history", "application/x-ndjson").await;
    assert_eq!(lines.headers()["content-type"], "application/x-ndjson");
    let lines = lines.text().await.unwrap();
    assert_eq!(lines.lines().collect::<Vec<_>>(), text(&all));
    let after = format!("/orchestrations/r/history?after={}&limit=2", all[2].revision);
    let some = get(&server, &after, "application/x-ndjson").await.text().await.unwrap();
    assert_eq!(some.lines().collect::<Vec<_>>(), text(&all[3..5]));
    let printed_lines = printed(&server, &["history", "r", "--output", "jsonl"]);
    assert_eq!(printed_lines.lines().collect::<Vec<_>>(), text(&all));
    let table = printed(&server, &["history", "r"]);
    for part in [
        "sets count=3 (was 2)",
        "input {\"k\": 1.50}",
        "ada@",
        "its time has come",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_streamed_as_lines() {
    let server = Server::start();
    let _agent = server.agent("worker").concurrency(500).echo("echo").start();
    let client = server.client();
    let activities: Vec<String> = (0..1_500)
        .map(|index| format!("{{id: a{index}, type: echo}}"))
        .collect();
    let definition = format!(
        "{{kind: ActivityDefinition, type: echo}}\n---\n{{type: wide, activities: [{}]}}",
        activities.join(", ")
    );
    apply(&client, &definition).await;
    printed(&server, &["start", "wide", "--id", "w", "--wait"]);
    let lines = get(&server, "/orchestrations/w/history", "application/x-ndjson")
        .await
        .text()
        .await
        .unwrap();
    let all = history(&client, "w").await;
    assert_eq!(all.len(), 3_002);
    assert_eq!(lines.lines().collect::<Vec<_>>(), text(&all));
    let missing = get(&server, "/orchestrations/x/history", "application/x-ndjson").await;
    assert_eq!(missing.status(), 404);
    let refused = cli(&server, &["history", "x", "--output", "jsonl"]);
    assert_eq!(refused.status.code(), Some(1));
}
