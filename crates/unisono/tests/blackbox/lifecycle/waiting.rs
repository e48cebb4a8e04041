//! Activities that wait for a call from outside.

use std::time::Duration;

use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use unisono_client::{Client, ClientError};
use unisono_model::api::{
    ActivityState, ActivityView, CompleteRequest, FailRequest, OrchestrationState, OrchestrationView,
};
use unisono_model::protocol::{ActivityError, ContextPatch};

use crate::harness::{AgentProcess, Server, activity, apply, finished, in_state, kinds, request};

const WAIT: &str = r#"note; printf '{"wait": {}}' > "$UNISONO_RESULT""#;
const WAIT_BRIEFLY: &str = r#"note; printf '{"wait": {"timeoutMs": 700}}' > "$UNISONO_RESULT""#;

/// A server with an agent whose activities wait, and a run of two of them side by side and one after them.
async fn waiting() -> (Server, AgentProcess, Client) {
    let server = Server::start();
    let agent = server
        .agent("worker")
        .exec("wait", WAIT)
        .exec("briefly", WAIT_BRIEFLY)
        .echo("echo")
        .start();
    let client = server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: wait}\n---\n{kind: ActivityDefinition, type: briefly}\n---\n
kind: ActivityDefinition
type: echo
---
type: t
activities: [{id: a, type: wait}, {id: b, type: wait}, {id: end, type: echo, dependsOn: [a, b], inputs: [a.answer]}]
---
type: brief
activities: [{id: a, type: briefly}]",
    )
    .await;
    (server, agent, client)
}

fn complete(token: &str, output: &Value) -> CompleteRequest {
    CompleteRequest {
        token: token.to_owned(),
        output: Some(to_raw_value(output).unwrap()),
        context: None,
    }
}

fn fail(token: &str, retry: bool) -> FailRequest {
    FailRequest {
        token: token.to_owned(),
        error: ActivityError::new("denied", "the registrar said no"),
        retry,
    }
}

fn token(activity: &ActivityView) -> String {
    activity.token.unwrap().to_string()
}

fn code<T>(answer: Result<T, ClientError>) -> String {
    match answer {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.code().map_or_else(|| error.to_string(), str::to_owned),
    }
}

fn as_json(view: &OrchestrationView) -> Value {
    serde_json::to_value(view).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_activity_is_completed_with_its_token() {
    let (server, _agent, client) = waiting().await;
    client.start(&request("r", "t")).await.unwrap();
    let a = in_state(&client, "r", "a", ActivityState::Waiting).await;
    let b = in_state(&client, "r", "b", ActivityState::Waiting).await;
    assert_eq!(
        a.reason,
        format!(
            "waits for an external call with token {}, without a deadline",
            token(&a)
        )
    );
    let mut request = complete(&token(&a), &json!({"answer": 42}));
    request.context = Some(ContextPatch {
        set: [("by".to_owned(), to_raw_value("phone").unwrap())].into(),
        delete: vec![],
    });
    let answer = client.complete("r", "a", &request).await.unwrap();
    assert_eq!(
        (answer.activity_state, answer.state),
        (ActivityState::Completed, OrchestrationState::Running)
    );
    client
        .complete("r", "b", &complete(&token(&b), &json!({})))
        .await
        .unwrap();
    let view = finished(&client, "r").await;
    let output: Value = serde_json::from_str(view.output.as_ref().unwrap().get()).unwrap();
    assert_eq!(output, json!({"a": {"answer": 42}, "b": {}, "end": {"answer": 42}}));
    assert_eq!(view.context["by"].written_by.as_str(), "a");
    let mut executed = server.site().lines("executions");
    executed.sort();
    assert_eq!(executed, ["r a 1 ", "r b 1 "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_current_token_of_the_very_activity_counts() {
    let (_server, _agent, client) = waiting().await;
    client.start(&request("r", "t")).await.unwrap();
    client.start(&request("other", "t")).await.unwrap();
    let a = in_state(&client, "r", "a", ActivityState::Waiting).await;
    let b = in_state(&client, "r", "b", ActivityState::Waiting).await;
    let foreign = in_state(&client, "other", "a", ActivityState::Waiting).await;
    in_state(&client, "other", "b", ActivityState::Waiting).await;
    let before = as_json(&client.orchestration("r").await.unwrap());
    let guessed = {
        let mut guessed = a.token.unwrap();
        guessed.nonce ^= 1;
        guessed.to_string()
    };
    let done = json!({});
    for (wrong, expected) in [
        (guessed.as_str(), "stale-token"),
        (&token(&b), "token-mismatch"),
        (&token(&foreign), "token-mismatch"),
        ("no token", "bad-token"),
        ("", "bad-token"),
    ] {
        assert_eq!(
            code(client.complete("r", "a", &complete(wrong, &done)).await),
            expected,
            "{wrong}"
        );
        assert_eq!(
            code(client.fail("r", "a", &fail(wrong, false)).await),
            expected,
            "{wrong}"
        );
    }
    assert_eq!(
        code(client.complete("r", "nobody", &complete(&token(&a), &done)).await),
        "activity-not-found"
    );
    assert_eq!(
        code(client.complete("nobody", "a", &complete(&token(&a), &done)).await),
        "orchestration-not-found"
    );
    assert_eq!(
        as_json(&client.orchestration("r").await.unwrap()),
        before,
        "nothing may have changed"
    );
    // Once used, a token is used up.
    assert_eq!(
        code(
            client
                .complete("r", "a", &complete(&token(&a), &json!({"answer": 1})))
                .await
        ),
        "ok"
    );
    assert_eq!(
        code(
            client
                .complete("r", "a", &complete(&token(&a), &json!({"answer": 2})))
                .await
        ),
        "stale-token"
    );
    assert_eq!(
        code(client.fail("r", "a", &fail(&token(&a), false)).await),
        "stale-token"
    );
    client.complete("r", "b", &complete(&token(&b), &done)).await.unwrap();
    let view = finished(&client, "r").await;
    assert_eq!(activity(&view, "a").output.as_ref().unwrap().get(), r#"{"answer":1}"#);
    assert_eq!(
        code(client.complete("r", "b", &complete(&token(&b), &done)).await),
        "orchestration-ended"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_activity_that_is_failed_ends_the_run_or_runs_again() {
    let (server, _agent, client) = waiting().await;
    client.start(&request("r", "t")).await.unwrap();
    let first = in_state(&client, "r", "a", ActivityState::Waiting).await;
    in_state(&client, "r", "b", ActivityState::Waiting).await;
    let answer = client.fail("r", "a", &fail(&token(&first), true)).await.unwrap();
    assert_eq!(
        (answer.activity_state, answer.state),
        (ActivityState::Scheduled, OrchestrationState::Running)
    );
    let again = in_state(&client, "r", "a", ActivityState::Waiting).await;
    assert_eq!(again.attempts, 2);
    assert_ne!(again.token, first.token);
    assert_eq!(
        code(client.complete("r", "a", &complete(&token(&first), &json!({}))).await),
        "stale-token"
    );
    client.fail("r", "a", &fail(&token(&again), false)).await.unwrap();
    let view = finished(&client, "r").await;
    assert_eq!(view.summary.state, OrchestrationState::Errored);
    assert_eq!(
        view.error.as_ref().unwrap().error,
        ActivityError::new("denied", "the registrar said no")
    );
    assert_eq!(activity(&view, "b").state, ActivityState::Cancelled);
    assert_eq!(activity(&view, "end").state, ActivityState::Skipped);
    assert_eq!(server.site().lines("executions").len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_has_a_deadline_that_passes_even_while_the_server_is_down() {
    let (mut server, _agent, client) = waiting().await;
    client.start(&request("here", "brief")).await.unwrap();
    let waits = in_state(&client, "here", "a", ActivityState::Waiting).await;
    assert!(waits.due_at.is_some());
    let view = finished(&client, "here").await;
    assert_eq!(view.summary.state, OrchestrationState::Errored);
    assert_eq!(view.error.unwrap().error.code.as_deref(), Some("wait-timeout"));
    assert!(
        view.summary.ended_at.unwrap() >= waits.due_at.unwrap(),
        "not before the deadline"
    );

    client.start(&request("down", "brief")).await.unwrap();
    in_state(&client, "down", "a", ActivityState::Waiting).await;
    server.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.restart();
    let view = finished(&client, "down").await;
    assert_eq!(view.error.unwrap().error.code.as_deref(), Some("wait-timeout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_outlives_server_and_agent() {
    let (mut server, mut agent, client) = waiting().await;
    client.start(&request("r", "t")).await.unwrap();
    let a = in_state(&client, "r", "a", ActivityState::Waiting).await;
    let b = in_state(&client, "r", "b", ActivityState::Waiting).await;
    server.kill();
    agent.kill();
    server.restart();
    // Longer than the grace time of the agent: what it acknowledged is not given to others.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let view = client.orchestration("r").await.unwrap();
    assert_eq!(activity(&view, "a").token, a.token);
    assert_eq!(activity(&view, "a").attempts, 1);
    client
        .complete("r", "a", &complete(&token(&a), &json!({"answer": 1})))
        .await
        .unwrap();
    client
        .complete("r", "b", &complete(&token(&b), &json!({})))
        .await
        .unwrap();
    agent.restart();
    assert_eq!(
        finished(&client, "r").await.summary.state,
        OrchestrationState::Completed
    );
    let completed = kinds(&client, "r")
        .await
        .iter()
        .filter(|kind| kind.starts_with("activityCompleted"))
        .count();
    assert_eq!(completed, 3);
    assert_eq!(server.site().lines("executions").len(), 2);
}
