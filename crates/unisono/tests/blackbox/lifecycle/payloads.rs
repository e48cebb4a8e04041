//! Large payloads: 10 MiB go through, 100 MiB are refused in a way that helps.

use serde_json::{Value, json};
use unisono_client::{Client, install_crypto_provider};
use unisono_model::api::{ActivityState, OrchestrationState, PROBLEM_JSON, Problem};

use crate::harness::{Server, ServerSetup, activity, apply, finished, in_state, request, request_with};

const MIB: usize = 1024 * 1024;

/// Bytes of events since the last checkpoint.
async fn journaled(client: &Client) -> usize {
    let text = client.metrics().await.unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("unisono_checkpoint_lag_bytes "));
    line.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_mebibytes_flow_through_a_crash_and_stand_in_the_journal_once() {
    let mut server = ServerSetup::default().checkpoint_bytes(1 << 30).start();
    let client = server.client();
    let definitions = "{kind: ActivityDefinition, type: copy}\n---\n{kind: ActivityDefinition, type: later}\n---\n
type: large
activities:
- {id: first, type: copy, inputs: [text]}
- {id: second, type: later, dependsOn: first, inputs: [{source: first.text, target: text}]}
- {id: third, type: later, dependsOn: first, inputs: [{source: first.text, target: text}]}
output: [{source: third.text, target: text}]
";
    apply(&client, definitions).await;
    let _copies = server.agent("copies").echo("copy").start();
    let text = "né\"\\".repeat(MIB * 3 / 2);
    let before = journaled(&client).await;
    let start = request_with("r", "large", &json!({"text": text}));
    let bytes = start.input.as_ref().unwrap().get().len();
    assert!(bytes > 10 * MIB, "{bytes}");
    client.start(&start).await.unwrap();
    in_state(&client, "r", "first", ActivityState::Completed).await;
    server.kill();
    server.restart();
    let _rest = server.agent("rest").echo("later").start();
    let run = finished(&client, "r").await;
    assert_eq!(run.summary.state, OrchestrationState::Completed, "{}", run.reason);
    let output: Value = serde_json::from_str(run.output.unwrap().get()).unwrap();
    assert!(output["text"] == *text, "the text has changed on its way");
    // The input, three outputs and the result: dispatches, and inputs that are mapped, are no copies.
    let (grown, slack) = (journaled(&client).await.saturating_sub(before), MIB);
    assert!(
        grown < 5 * bytes + slack,
        "{grown} bytes of events for payloads of {bytes}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_mebibytes_are_refused_with_what_to_do_and_the_server_goes_on() {
    install_crypto_provider();
    let server = Server::start();
    let client = server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: babble}\n---\n{type: loud, activities: [{id: a, type: babble}]}",
    )
    .await;
    let body = format!(
        r#"{{"type":"loud","id":"big","input":{{"text":"{}"}}}}"#,
        "x".repeat(100 * MIB)
    );
    let refused = reqwest::Client::new()
        .post(format!("{}/api/v1/namespaces/default/orchestrations", server.url()))
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.headers()["content-type"], PROBLEM_JSON);
    let problem: Problem = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!((problem.status, &*problem.code), (413, "body-too-large"));
    assert!(problem.help.unwrap().contains("pass a reference"));
    assert!(
        client.orchestration("big").await.is_err(),
        "it was started all the same"
    );

    let _agent = server
        .agent("worker")
        .exec("babble", "head -c 104857600 /dev/zero | tr '\\0' x")
        .start();
    client.start(&request("r", "loud")).await.unwrap();
    let run = finished(&client, "r").await;
    assert_eq!(run.summary.state, OrchestrationState::Errored);
    let error = activity(&run, "a").error.clone().unwrap();
    assert!(error.message.contains("more than 16777216 bytes"), "{}", error.message);
}
