//! Traces across start, dispatch, agent and result.

use unisono_client::{Client, ClientOptions};
use unisono_model::api::ActivityState;
use unisono_model::trace::TraceContext;

use super::otlp::{Receiver, Span};
use crate::harness::{Server, ServerSetup, apply, eventually, finished, in_state, request};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const TWO: &str = "{kind: ActivityDefinition, type: work}\n---\n
{type: two, activities: [{id: a, type: work}, {id: b, type: work, dependsOn: a}]}";
/// Works until the file `go` is there, and says which trace it was handed.
const WORK: &str =
    r#"while [ ! -e "$SITE/go" ]; do sleep 0.05; done; note "${TRACEPARENT-none} ${TRACESTATE-none}"; printf '{}'"#;

fn caller(server: &Server, parent: &str) -> Client {
    Client::new(ClientOptions {
        trace: TraceContext::read([parent], ["vendor=x"]),
        ..ClientOptions::new(server.url(), "default")
    })
    .unwrap()
}

fn of<'a>(spans: &'a [Span], service: &str, name: &str) -> Vec<&'a Span> {
    let mut found: Vec<&Span> = spans
        .iter()
        .filter(|it| it.service == service && it.name == name)
        .collect();
    found.sort_by_key(|span| span.began);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_one_trace_from_start_to_agent_through_a_server_that_is_killed() {
    let receiver = Receiver::start();
    let endpoint = ["--otlp-endpoint", &receiver.url()];
    let mut server = ServerSetup::default().grace("30s").options(&endpoint).start();
    let agent = server.agent("worker").exec("work", WORK).options(&endpoint).start();
    let client = caller(&server, CALLER);
    apply(&client, TWO).await;
    client.start(&request("r", "two")).await.unwrap();
    in_state(&client, "r", "a", ActivityState::Running).await;
    // The request's span is told when it is answered; what is killed with the server is not.
    eventually("the start is exported", || async {
        (!receiver.spans().is_empty()).then_some(())
    })
    .await;
    server.kill();
    std::fs::write(server.site().path("go"), "").unwrap();
    server.restart();
    let view = finished(&client, "r").await;
    assert_eq!(view.trace_id.as_deref(), Some(TRACE));
    let spans = eventually("all spans are exported", || async {
        let spans = receiver.spans();
        (spans.len() >= 6).then_some(spans)
    })
    .await;
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    assert!(spans.iter().all(|span| span.state == "vendor=x"), "{spans:#?}");
    assert!(
        spans
            .iter()
            .all(|span| span.began <= span.ended && span.error.is_none()),
        "{spans:#?}"
    );

    let start = of(
        &spans,
        "unisono-server",
        "POST /api/v1/namespaces/{namespace}/orchestrations",
    );
    let run = of(&spans, "unisono-server", "two");
    let dispatched = of(&spans, "unisono-server", "work");
    let worked = of(&spans, "unisono-agent", "work");
    let counts = (start.len(), run.len(), dispatched.len(), worked.len());
    assert_eq!(counts, (1, 1, 2, 2), "{spans:#?}");
    assert_eq!((start[0].parent.as_str(), &run[0].parent), (PARENT, &start[0].id));
    for (dispatched, worked) in dispatched.iter().zip(&worked) {
        assert_eq!((&dispatched.parent, &worked.parent), (&run[0].id, &dispatched.id));
        assert_eq!(dispatched.attributes["unisono.agent"], "worker");
        assert_eq!(dispatched.attributes["unisono.outcome"], "complete");
        assert_eq!(dispatched.attributes["unisono.attempt"], "1");
        assert!(dispatched.began >= run[0].began && dispatched.ended <= run[0].ended);
    }
    assert_eq!(run[0].attributes["unisono.orchestration.state"], "completed");
    // Each command was handed the agent's span.
    let handed: Vec<String> = server.site().lines("executions");
    let expected: Vec<String> = ["a", "b"]
        .iter()
        .zip(&worked)
        .map(|(activity, span)| format!("r {activity} 1 00-{TRACE}-{}-01 vendor=x", span.id))
        .collect();
    assert_eq!(handed, expected);
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_and_a_retry_stand_in_the_spans_of_their_attempts() {
    let receiver = Receiver::start();
    let server = ServerSetup::default()
        .options(&["--otlp-endpoint", &receiver.url(), "--trace-sample", "1"])
        .start();
    let script = r#"[ "$UNISONO_ATTEMPT" = 1 ] && { echo "not yet" >&2; exit 75; }; echo "no way" >&2; exit 3"#;
    let _agent = server.agent("worker").exec("work", script).start();
    let client = server.client();
    apply(&client, TWO).await;
    client.start(&request("r", "two")).await.unwrap();
    let view = finished(&client, "r").await;
    let spans = eventually("all spans are exported", || async {
        let spans = receiver.spans();
        (spans.len() >= 4).then_some(spans)
    })
    .await;
    // A trace of its own: the caller had none.
    assert!(spans.iter().all(|span| Some(&span.trace) == view.trace_id.as_ref()));
    let attempts = of(&spans, "unisono-server", "work");
    let told: Vec<(&str, bool)> = attempts
        .iter()
        .map(|span| {
            let error = span.error.as_deref().unwrap();
            (
                span.attributes["unisono.outcome"].as_str(),
                error.contains("not yet") || error.contains("no way"),
            )
        })
        .collect();
    assert_eq!(told, [("retry", true), ("fatal", true)]);
    let run = of(&spans, "unisono-server", "two");
    assert!(run[0].error.as_deref().unwrap().contains("no way"));
    assert_eq!(
        of(
            &spans,
            "unisono-server",
            "POST /api/v1/namespaces/{namespace}/orchestrations"
        )[0]
        .parent,
        ""
    );
    eventually("exports are counted", || async {
        let metrics = client.metrics().await.unwrap();
        metrics
            .contains("unisono_trace_spans_total{result=\"exported\"} 4")
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_exporter_the_trace_is_handed_on_and_without_a_trace_there_is_none() {
    let server = Server::start();
    std::fs::write(server.site().path("go"), "").unwrap();
    let _agent = server.agent("worker").exec("work", WORK).start();
    let client = server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: work}\n---\n{type: one, activities: [{id: a, type: work}]}",
    )
    .await;
    let unsampled = CALLER.replace("-01", "-00");
    for (id, client) in [
        ("none", &client),
        ("traced", &caller(&server, CALLER)),
        ("unsampled", &caller(&server, &unsampled)),
    ] {
        client.start(&request(id, "one")).await.unwrap();
        finished(client, id).await;
    }
    // What is no valid context is ignored, as the standard says.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = serde_json::json!({"id": "invalid", "type": "one"}).to_string();
    let url = format!("{}/api/v1/namespaces/default/orchestrations", server.url());
    let started = http
        .post(url)
        .header("traceparent", CALLER.to_uppercase())
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(started.status(), 201);
    finished(&client, "invalid").await;

    let handed = server.site().lines("executions");
    assert_eq!(handed[0], "none a 1 none none");
    assert!(handed[1].starts_with(&format!("traced a 1 00-{TRACE}-")) && handed[1].ends_with("-01 vendor=x"));
    assert!(handed[2].starts_with(&format!("unsampled a 1 00-{TRACE}-")) && handed[2].ends_with("-00 vendor=x"));
    assert_eq!(handed[3], "invalid a 1 none none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_holds_nobody_up() {
    let nobody = format!("http://127.0.0.1:{}", crate::harness::free_port());
    let mut server = ServerSetup::default()
        .options(&["--otlp-endpoint", &nobody, "--trace-sample", "1"])
        .start();
    let _agent = server.agent("worker").echo("work").start();
    let client = server.client();
    apply(&client, TWO).await;
    for number in 0..20 {
        client.start(&request(&format!("r{number}"), "two")).await.unwrap();
    }
    for number in 0..20 {
        finished(&client, &format!("r{number}")).await;
    }
    eventually("it is said that spans cannot be exported", || async {
        server
            .site()
            .logged("server")
            .contains("spans cannot be exported")
            .then_some(())
    })
    .await;
    let ended = server.terminate();
    assert!(ended.status.success() && ended.took.as_secs() < 20, "{ended:?}");
}
