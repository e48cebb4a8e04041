//! What executions lead to: complete, schedule, retry, fatal, cancel; context, outputs and logs.

use std::time::Duration;

use serde_json::{Value, json};
use unisono_client::PageRequest;
use unisono_model::api::{ActivityState, CancelRequest, JsonText, OrchestrationState};

use crate::harness::{
    Server, Site, activity, apply, eventually, finished, history, in_state, kinds, lives, request, request_with,
    wait_for_activity,
};

fn value(text: &JsonText) -> Value {
    serde_json::from_str(text.get()).unwrap()
}

/// The process that a script said it is.
async fn pid(site: &Site, file: &str) -> u32 {
    eventually(&format!("a script writes {file}"), || async {
        site.lines(file).first()?.parse().ok()
    })
    .await
}

async fn gone(pid: u32) {
    eventually(&format!("process {pid} is gone"), || async {
        (!lives(pid)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_script_prints_becomes_the_output_and_feeds_the_next_activity() {
    let server = Server::start();
    let script = r#"note "$UNISONO_INPUT_NAME"; printf '{"greeting": "hello, %s"}' "$UNISONO_INPUT_NAME""#;
    let _agent = server.agent("worker").exec("greet", script).echo("echo").start();
    let client = server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: greet}\n---\n{kind: ActivityDefinition, type: echo}\n---\n
type: mapped
schema: {type: object, properties: {name: {type: string}}, required: [name]}
activities:
- {id: hello, type: greet, inputs: [name]}
- {id: again, type: echo, dependsOn: hello, inputs: [{source: hello.greeting, target: said}]}
output: [{source: again.said, target: result}, name]
---
type: unmapped
schema: {type: object, properties: {name: {type: string}}, required: [name]}
activities:
- {id: hello, type: greet, inputs: [name]}
- {id: again, type: echo, dependsOn: hello, inputs: [hello.greeting]}
",
    )
    .await;
    for id in ["mapped", "unmapped"] {
        client
            .start(&request_with(id, id, &json!({"name": "Ada"})))
            .await
            .unwrap();
    }
    let mapped = finished(&client, "mapped").await;
    assert_eq!(mapped.summary.state, OrchestrationState::Completed);
    assert_eq!(mapped.reason, "every activity completed");
    assert_eq!(
        value(mapped.output.as_ref().unwrap()),
        json!({"result": "hello, Ada", "name": "Ada"})
    );
    let unmapped = finished(&client, "unmapped").await;
    let every = json!({"hello": {"greeting": "hello, Ada"}, "again": {"greeting": "hello, Ada"}});
    assert_eq!(value(unmapped.output.as_ref().unwrap()), every);
    let happened = [
        "orchestrationStarted",
        "activityDispatched hello",
        "activityCompleted hello",
        "activityDispatched again",
        "activityCompleted again",
        "orchestrationCompleted",
    ];
    assert_eq!(kinds(&client, "mapped").await, happened);
    let mut executed = server.site().lines("executions");
    executed.sort();
    assert_eq!(executed, ["mapped hello 1 Ada", "unmapped hello 1 Ada"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activity_is_dispatched_the_moment_its_own_dependencies_are_done() {
    let server = Server::start();
    let _agent = server
        .agent("worker")
        .echo("quick")
        .exec("slow", "note; while [ ! -e \"$SITE/go\" ]; do sleep 0.05; done")
        .start();
    let client = server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: quick}\n---\n{kind: ActivityDefinition, type: slow}\n---\n
type: uneven
activities:
- {id: slow, type: slow}
- {id: a, type: quick}
- {id: b, type: quick, dependsOn: a}
- {id: c, type: quick, dependsOn: b}
- {id: last, type: quick, dependsOn: [slow, c]}
",
    )
    .await;
    client.start(&request("r", "uneven")).await.unwrap();
    in_state(&client, "r", "c", ActivityState::Completed).await;
    let view = client.orchestration("r").await.unwrap();
    assert_eq!(activity(&view, "slow").state, ActivityState::Running);
    assert_eq!(activity(&view, "last").reason, "waits for slow");
    std::fs::write(server.site().path("go"), "").unwrap();
    assert_eq!(
        finished(&client, "r").await.summary.state,
        OrchestrationState::Completed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_75_is_tried_again_after_a_backoff() {
    let server = Server::start();
    let script = r#"note; echo "not yet" >&2; [ "$UNISONO_ATTEMPT" -ge 2 ] || exit 75"#;
    let _agent = server.agent("worker").exec("flaky", script).start();
    let client = server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: flaky}\n---\n{type: t, activities: [{id: a, type: flaky}]}",
    )
    .await;
    client.start(&request("r", "t")).await.unwrap();
    let scheduled = in_state(&client, "r", "a", ActivityState::Scheduled).await;
    assert!(scheduled.due_at.is_some());
    assert!(scheduled.reason.starts_with("runs again at "), "{}", scheduled.reason);
    assert!(
        scheduled
            .reason
            .contains("after error 1 of at most 20: `./flaky` asked to be run again"),
        "{}",
        scheduled.reason
    );
    let view = finished(&client, "r").await;
    assert_eq!(view.summary.state, OrchestrationState::Completed);
    assert_eq!(activity(&view, "a").attempts, 2);
    let happened = [
        "orchestrationStarted",
        "activityDispatched a",
        "activityRetrying a",
        "activityDue a",
        "activityDispatched a",
        "activityCompleted a",
        "orchestrationCompleted",
    ];
    assert_eq!(kinds(&client, "r").await, happened);
    assert_eq!(server.site().lines("executions"), ["r a 1 ", "r a 2 "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activity_that_schedules_itself_finds_its_context_again() {
    let server = Server::start();
    let script = r#"
count=$(printf '%s' "$UNISONO_CONTEXT" | sed -n 's/.*"count":\([0-9]*\).*/\1/p'); count=$((${count:-0} + 1))
note "$count"
printf '{"set": {"count": %s}}' "$count" > "$UNISONO_CONTEXT_PATCH"
if [ "$count" -lt 3 ]; then printf '{"schedule": {"afterMs": 50}}' > "$UNISONO_RESULT"; else printf '{"count": %s}' "$count"; fi"#;
    let _agent = server.agent("worker").exec("poll", script).start();
    let client = server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: poll}\n---\n{type: t, activities: [{id: a, type: poll}]}",
    )
    .await;
    client.start(&request("r", "t")).await.unwrap();
    let view = finished(&client, "r").await;
    assert_eq!(value(view.output.as_ref().unwrap()), json!({"a": {"count": 3}}));
    assert_eq!(server.site().lines("executions"), ["r a 1 1", "r a 2 2", "r a 3 3"]);
    let scheduled = kinds(&client, "r")
        .await
        .iter()
        .filter(|kind| *kind == "activityScheduled a")
        .count();
    assert_eq!(scheduled, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_error_ends_the_run_and_takes_running_siblings_with_it() {
    let server = Server::start();
    let sibling = r#"note; sleep 300 & echo $! > "$SITE/grandchild"; echo $$ > "$SITE/sibling"; wait"#;
    let fatal =
        r#"note; while [ ! -s "$SITE/sibling" ]; do sleep 0.02; done; echo "the domain is not ours" >&2; exit 3"#;
    let _agent = server
        .agent("worker")
        .exec("sleep", sibling)
        .exec("fatal", fatal)
        .echo("echo")
        .start();
    let client = server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: sleep}\n---\n{kind: ActivityDefinition, type: fatal}\n---\n
{kind: ActivityDefinition, type: echo}\n---\n
type: t
activities: [{id: bad, type: fatal}, {id: sibling, type: sleep}, {id: never, type: echo, dependsOn: [bad, sibling]}]",
    )
    .await;
    client.start(&request("r", "t")).await.unwrap();
    let view = finished(&client, "r").await;
    assert_eq!(view.summary.state, OrchestrationState::Errored);
    let error = view.error.clone().unwrap();
    assert_eq!(error.activity.as_str(), "bad");
    assert_eq!(error.error.code.as_deref(), Some("exit-code"));
    assert_eq!(
        error.error.message,
        "`./fatal` failed with exit code 3: the domain is not ours"
    );
    assert_eq!(view.reason, format!("activity bad failed: {}", error.error.message));
    assert_eq!(activity(&view, "bad").state, ActivityState::Failed);
    assert_eq!(activity(&view, "sibling").state, ActivityState::Cancelled);
    assert_eq!(activity(&view, "never").state, ActivityState::Skipped);
    for file in ["sibling", "grandchild"] {
        gone(pid(server.site(), file).await).await;
    }
    // Nothing is delivered again: not now, and not after the agent's connection was new.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut executed = server.site().lines("executions");
    executed.sort();
    assert_eq!(executed, ["r bad 1 ", "r sibling 1 "]);
    assert_eq!(
        serde_json::to_value(client.orchestration("r").await.unwrap()).unwrap(),
        serde_json::to_value(&view).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_what_runs_and_says_what_it_cancelled() {
    let server = Server::start();
    let script = r#"note; sleep 300 & echo $! > "$SITE/grandchild"; echo $$ > "$SITE/child"; wait"#;
    let _agent = server.agent("worker").exec("sleep", script).echo("echo").start();
    let client = server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: sleep}\n---\n{kind: ActivityDefinition, type: echo}\n---\n
type: t
activities: [{id: first, type: echo}, {id: slow, type: sleep, dependsOn: first}, {id: never, type: echo, dependsOn: slow}]",
    )
    .await;
    client.start(&request("r", "t")).await.unwrap();
    let (child, grandchild) = (
        pid(server.site(), "child").await,
        pid(server.site(), "grandchild").await,
    );
    assert!(lives(child) && lives(grandchild));
    let reason = Some("the tenant is gone".to_owned());
    let cancelled = client.cancel("r", &CancelRequest { reason }).await.unwrap();
    assert_eq!(cancelled.state, OrchestrationState::Cancelled);
    assert_eq!(
        cancelled.cancelled.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        ["slow"]
    );
    assert_eq!(
        cancelled.skipped.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        ["never"]
    );
    gone(child).await;
    gone(grandchild).await;
    let view = finished(&client, "r").await;
    assert_eq!(view.reason, "cancelled by the-test: the tenant is gone");
    let states: Vec<_> = view.activities.iter().map(|activity| activity.state).collect();
    assert_eq!(
        states,
        [
            ActivityState::Completed,
            ActivityState::Cancelled,
            ActivityState::Skipped
        ]
    );
    let again = client.cancel("r", &CancelRequest::default()).await.unwrap_err();
    assert_eq!(again.code(), Some("orchestration-ended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_activities_change_the_context_without_overwriting_each_other() {
    let server = Server::start();
    let write = r#"printf '{"set": {"%s": true, "shared": "%s"}}' "$UNISONO_ACTIVITY_ID" "$UNISONO_ACTIVITY_ID" > "$UNISONO_CONTEXT_PATCH""#;
    let last =
        r#"printf '{"set": {"seen": %s}, "delete": ["a", "absent"]}' "$UNISONO_CONTEXT" > "$UNISONO_CONTEXT_PATCH""#;
    let _agent = server.agent("worker").exec("write", write).exec("last", last).start();
    let client = server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: write}\n---\n{kind: ActivityDefinition, type: last}\n---\n
type: t
activities: [{id: a, type: write}, {id: b, type: write}, {id: c, type: write}, {id: end, type: last, dependsOn: [a, b, c]}]",
    )
    .await;
    client.start(&request("r", "t")).await.unwrap();
    let view = finished(&client, "r").await;
    let writers: Vec<_> = view
        .context
        .iter()
        .map(|(key, entry)| (key.as_str(), entry.written_by.as_str()))
        .collect();
    let entries = history(&client, "r").await;
    let completed: Vec<_> = entries
        .iter()
        .filter(|entry| entry.kind == "activityCompleted")
        .collect();
    // The last writer wins, and history says who that was.
    let winner = completed[2].activity.as_ref().unwrap().as_str();
    assert_eq!(writers, [("b", "b"), ("c", "c"), ("seen", "end"), ("shared", winner)]);
    assert_eq!(value(&view.context["shared"].value), json!(winner));
    assert_eq!(view.context["shared"].revision, completed[2].revision);
    assert_eq!(
        value(&view.context["seen"].value),
        json!({"a": true, "b": true, "c": true, "shared": winner})
    );
    let deleted = completed[3].context.as_ref().unwrap();
    assert_eq!(deleted.delete, ["a", "absent"]);
    for entry in &completed[..3] {
        let who = entry.activity.as_ref().unwrap().as_str();
        assert_eq!(value(&entry.context.as_ref().unwrap().set["shared"]), json!(who));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_activity_type_does_several_things_by_its_discriminator() {
    let server = Server::start();
    let script = r#"case "$UNISONO_DISCRIMINATOR" in deploy) touch "$SITE/deployed";; dispose) rm "$SITE/deployed";; *) exit 1;; esac
note "$UNISONO_DISCRIMINATOR $UNISONO_CORRELATION_ID $UNISONO_NAMESPACE $UNISONO_ORCHESTRATION_TYPE $UNISONO_ACTIVITY_TYPE""#;
    let _agent = server.agent("worker").exec("place", script).start();
    let client = server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: place}\n---\n{type: up, activities: [{id: a, type: place, discriminator: deploy}]}
---\n{type: down, activities: [{id: a, type: place, discriminator: dispose}]}",
    )
    .await;
    for (id, there) in [("up", true), ("down", false)] {
        let mut start = request(id, id);
        start.correlation_id = Some("order 7".to_owned());
        client.start(&start).await.unwrap();
        assert_eq!(finished(&client, id).await.summary.state, OrchestrationState::Completed);
        assert_eq!(server.site().path("deployed").exists(), there);
    }
    let expected = [
        "up a 1 deploy order 7 default up place",
        "down a 1 dispose order 7 default down place",
    ];
    assert_eq!(server.site().lines("executions"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_takes_too_long_is_stopped_and_tried_again() {
    let server = Server::start();
    let script = r#"note; [ "$UNISONO_ATTEMPT" -ge 2 ] && exit 0; echo $$ > "$SITE/child"; sleep 300"#;
    let _agent = server
        .agent("worker")
        .exec_with("slow", script, "timeout: 400ms")
        .start();
    let client = server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: slow}\n---\n{type: t, activities: [{id: a, type: slow}]}",
    )
    .await;
    client.start(&request("r", "t")).await.unwrap();
    let retried = wait_for_activity(&client, "r", "a", |activity| activity.error.is_some()).await;
    assert_eq!(retried.error.unwrap().code.as_deref(), Some("timeout"));
    gone(pid(server.site(), "child").await).await;
    assert_eq!(
        finished(&client, "r").await.summary.state,
        OrchestrationState::Completed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_attempts_log_is_kept_by_activity_and_attempt() {
    let server = Server::start();
    let script = r#"echo "$UNISONO_ACTIVITY_ID at work, attempt $UNISONO_ATTEMPT" >&2; [ "$UNISONO_ATTEMPT$UNISONO_ACTIVITY_ID" != 1b ] || exit 75"#;
    let _agent = server.agent("worker").exec("talk", script).start();
    let client = server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: talk}\n---\n
{type: t, activities: [{id: a, type: talk}, {id: b, type: talk, dependsOn: a}]}",
    )
    .await;
    client.start(&request("r", "t")).await.unwrap();
    finished(&client, "r").await;
    let said = async |activity: Option<&str>, attempt: Option<u32>| {
        let page = client
            .logs("r", activity, attempt, &PageRequest::default())
            .await
            .unwrap();
        page.items.into_iter().map(|entry| entry.text).collect::<Vec<_>>()
    };
    let (a, first, second) = ("a at work, attempt 1", "b at work, attempt 1", "b at work, attempt 2");
    assert_eq!(said(None, None).await, [a, first, second]);
    assert_eq!(said(Some("b"), None).await, [first, second]);
    assert_eq!(said(Some("b"), Some(2)).await, [second]);
    assert_eq!(said(None, Some(1)).await, [a, first]);
    let unknown = client
        .logs("r", Some("nobody"), None, &PageRequest::default())
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Some("activity-not-found"));
}
