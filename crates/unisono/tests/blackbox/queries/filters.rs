//! Filter expressions on lists and counts.

use std::collections::BTreeSet;
use std::time::Duration;

use unisono_client::{Client, OrchestrationFilter, PageRequest};
use unisono_model::api::StartRequest;

use super::{cli, get, printed};
use crate::harness::{Server, apply, request};

const DEFINITIONS: &str = "{kind: ActivityDefinition, type: echo}\n---\n{kind: ActivityDefinition, type: never}\n---\n
{type: quick, activities: [{id: a, type: echo}]}\n---\n{type: stuck, activities: [{id: a, type: never}]}";

fn filter(expression: &str) -> OrchestrationFilter {
    OrchestrationFilter {
        expression: Some(expression.to_owned()),
        ..OrchestrationFilter::default()
    }
}

async fn found(client: &Client, filter: &OrchestrationFilter, limit: u32) -> Vec<String> {
    let (mut ids, mut page_token) = (Vec::new(), None);
    loop {
        let page = PageRequest {
            limit: Some(limit),
            page_token,
        };
        let page = client.orchestrations(filter, &page).await.unwrap();
        ids.extend(page.items.into_iter().map(|item| item.id.to_string()));
        page_token = page.next_page_token;
        if page_token.is_none() {
            return ids;
        }
    }
}

async fn start_all(client: &Client) {
    for number in 0..30 {
        let mut start: StartRequest = request(
            &format!("r{number:02}"),
            if number % 3 == 0 { "stuck" } else { "quick" },
        );
        start.labels.insert("number".to_owned(), number.to_string());
        if number % 2 == 0 {
            start.labels.insert("team".to_owned(), "blue".to_owned());
            start.correlation_id = Some(format!("order {number}"));
        }
        if number % 3 == 0 {
            client.start(&start).await.unwrap();
        } else {
            client.start_and_wait(&start, Duration::from_secs(20)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_filters_lists_and_counts_together_with_everything_else() {
    let server = Server::start();
    let _agent = server.agent("worker").echo("echo").start();
    let client = server.client();
    apply(&client, DEFINITIONS).await;
    start_all(&client).await;
    let numbers = |wanted: fn(usize) -> bool| -> Vec<String> {
        (0..30)
            .rev()
            .filter(|number| wanted(*number))
            .map(|number| format!("r{number:02}"))
            .collect()
    };
    for (expression, expected) in [
        ("true", numbers(|_| true)),
        (
            "labels.team == 'blue' && state == 'completed'",
            numbers(|it| it % 2 == 0 && it % 3 != 0),
        ),
        ("!has(labels.team)", numbers(|it| it % 2 == 1)),
        ("int(labels.number) % 5 == 2", numbers(|it| it % 5 == 2)),
        ("'no-agent' in waitingFor", numbers(|it| it % 3 == 0)),
        (
            "correlationId.startsWith('order 1')",
            numbers(|it| (10..20).contains(&it) && it % 2 == 0),
        ),
        ("endedAt - createdAt < duration('1h')", numbers(|it| it % 3 != 0)),
        ("now - createdAt > duration('1h')", Vec::new()),
        ("id in ['r07', 'r03']", numbers(|it| it == 3 || it == 7)),
    ] {
        for limit in [1, 7, 1000] {
            assert_eq!(
                found(&client, &filter(expression), limit).await,
                expected,
                "{expression}, {limit}"
            );
        }
        let count = client.count(&filter(expression), &[]).await.unwrap();
        assert_eq!(
            (count.count, count.exact),
            (expected.len() as u64, true),
            "{expression}"
        );
    }
    let narrowed = OrchestrationFilter {
        r#type: Some("quick".to_owned()),
        labels: vec![("team".to_owned(), "blue".to_owned())],
        ..filter("version == 1 && id > 'r10'")
    };
    let expected = numbers(|it| it > 10 && it % 2 == 0 && it % 3 != 0);
    assert_eq!(found(&client, &narrowed, 3).await, expected);

    let table = printed(
        &server,
        &["list", "--type", "stuck", "--filter", "labels.number == '12'"],
    );
    assert!(table.contains("r12") && !table.contains("r15"), "{table}");
    let counted = printed(&server, &["count", "--filter", "id.matches('^r0[0-4]$')"]);
    assert_eq!(counted.trim(), "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_that_cannot_be_used_is_refused_with_its_place() {
    let server = Server::start();
    apply(&server.client(), DEFINITIONS).await;
    for (expression, expected) in [
        ("state = 'completed'", "the filter cannot be read at line 1, column 7"),
        (
            "labels.team == 'blue' && stat == 'x'",
            "at line 1, column 26: there is no variable \"stat\"",
        ),
        ("version", "is not true or false"),
        ("version > '1'", "no matching overload"),
        ("id.matches('(')", "at line 1, column 12: regex parse error"),
    ] {
        for command in ["list", "count"] {
            let refused = cli(&server, &[command, "--filter", expression]);
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(1), "{expression}: {said}");
            assert!(
                said.contains(expected) && said.contains("help:"),
                "{expression}: {said}"
            );
        }
    }
    let line = cli(&server, &["list", "--filter", "id", "--output", "jsonl"]).stderr;
    let line = String::from_utf8(line).unwrap();
    let problem: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(problem["code"] == "bad-filter" && line.lines().count() == 1, "{line}");
    let long = format!("/orchestrations?filter={}", "x".repeat(5_000));
    let twice = "/orchestrations?filter=true&filter=false".to_owned();
    let mut codes = BTreeSet::new();
    for path in [long, twice] {
        let answer = get(&server, &path, "*/*").await;
        assert_eq!(answer.status(), 400);
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(problem["field"], "filter");
        codes.insert(problem["code"].as_str().unwrap().to_owned());
    }
    assert_eq!(
        codes,
        BTreeSet::from(["bad-filter".to_owned(), "bad-parameter".to_owned()])
    );
    let twice = get(
        &server,
        "/orchestrations?type=quick&label=a=b&label=c=d&type=stuck",
        "*/*",
    )
    .await;
    assert_eq!(twice.status(), 400);
    let problem: serde_json::Value = twice.json().await.unwrap();
    assert_eq!(problem["detail"], "type=stuck: it was given already");
}
