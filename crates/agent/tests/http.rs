//! The `http` processor, against a small server in the test.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use support::{Running, completed, failed};
use unisono_agent::AgentConfig;
use unisono_model::protocol::{AttemptResult, Outcome};

/// Method and target, the header `x-key`, and the body.
type Asked = (String, Option<String>, String);

/// What the server was asked, and what it answers.
#[derive(Clone, Default)]
struct Server {
    asked: Arc<Mutex<Vec<Asked>>>,
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let key = parts.headers.get("x-key").map(|key| key.to_str().unwrap().to_owned());
    let target = format!("{} {}", parts.method, parts.uri);
    server
        .asked
        .lock()
        .unwrap()
        .push((target, key, String::from_utf8(body.to_vec()).unwrap()));
    // The last part of the path chooses the answer: `/…/503` is that status, `/…/large` is a large one.
    let last = parts.uri.path().rsplit('/').next().unwrap_or_default();
    let response = Response::builder();
    match last {
        "large" => response.body(Body::from(vec![b'x'; 17 * 1024 * 1024])).unwrap(),
        "slow" => {
            tokio::time::sleep(std::time::Duration::from_secs(30)).await;
            response.body(Body::empty()).unwrap()
        }
        "later" => response
            .status(503)
            .header("retry-after", "7")
            .body(Body::empty())
            .unwrap(),
        "away" => response
            .status(302)
            .header("location", "/200")
            .body(Body::empty())
            .unwrap(),
        "text" => response.body(Body::from("plain")).unwrap(),
        "empty" => response.status(204).body(Body::empty()).unwrap(),
        status => {
            let status: u16 = status.parse().unwrap_or(200);
            response
                .status(status)
                .body(Body::from(json!({"said": status}).to_string()))
                .unwrap()
        }
    }
}

async fn serve() -> (SocketAddr, Server) {
    let server = Server::default();
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let app = Router::new().fallback(answer).with_state(server.clone());
    tokio::spawn(async move { axum::serve(socket, app).await });
    (address, server)
}

async fn run(http: &str, input: Value) -> (AttemptResult, Vec<Asked>) {
    let (address, server) = serve().await;
    let directory = tempfile::tempdir().unwrap();
    let http = http.replace("SERVER", &address.to_string());
    let mut agent = Running::configured(directory.path(), &format!("http: {http}")).await;
    let (result, _) = agent.run(&input, &json!({"region": "eu"})).await;
    agent.leave().await.unwrap();
    let asked = server.asked.lock().unwrap().clone();
    (result, asked)
}

#[tokio::test]
async fn the_request_is_made_of_the_input_and_the_answer_becomes_the_output() {
    let http = r#"
      method: put
      url: "http://SERVER/tenants/{input.tenant}?q={input.q}&region={context.region}"
      headers: {X-Key: "key {input.key}"}
      body: {name: "{input.name}", count: "{input.count}", run: "{orchestrationId}/{activityId}"}"#;
    let input = json!({"tenant": "a/b ?", "q": "x&y=1", "key": "k", "name": "n", "count": 3});
    let (result, asked) = run(http, input).await;
    assert_eq!(completed(&result), json!({"status": 200, "body": {"said": 200}}));
    let (target, key, body) = &asked[0];
    assert_eq!(target, "PUT /tenants/a%2Fb%20%3F?q=x%26y%3D1&region=eu");
    assert_eq!(key.as_deref(), Some("key k"));
    assert_eq!(
        serde_json::from_str::<Value>(body).unwrap(),
        json!({"name": "n", "count": 3, "run": "run-1/step"})
    );
}

#[tokio::test]
async fn without_a_body_a_post_sends_the_input_and_a_get_sends_nothing() {
    let (_, asked) = run("{url: \"http://SERVER/x\"}", json!({"a": 1})).await;
    assert_eq!((asked[0].0.as_str(), asked[0].2.as_str()), ("POST /x", "{\"a\":1}"));
    let (_, asked) = run("{method: GET, url: \"http://SERVER/x\"}", json!({"a": 1})).await;
    assert_eq!((asked[0].0.as_str(), asked[0].2.as_str()), ("GET /x", ""));
}

#[tokio::test]
async fn text_and_nothing_are_outputs_too() {
    assert_eq!(
        completed(&run("{url: \"http://SERVER/text\"}", json!({})).await.0),
        json!({"status": 200, "body": "plain"})
    );
    assert_eq!(
        completed(&run("{url: \"http://SERVER/empty\"}", json!({})).await.0),
        json!({"status": 204})
    );
}

#[tokio::test]
async fn the_status_decides_about_the_result() {
    let status = |status: u16, more: &str| {
        let http = format!("{{url: \"http://SERVER/{status}\"{more}}}");
        async move { run(&http, json!({})).await.0 }
    };
    let waits = status(202, ", wait: [202], waitTimeout: 1m").await;
    assert!(
        matches!(
            waits.outcome,
            Outcome::Wait {
                timeout_ms: Some(60_000)
            }
        ),
        "{waits:?}"
    );
    let scheduled = status(204, ", schedule: [204], scheduleAfter: 3s").await;
    assert!(
        matches!(scheduled.outcome, Outcome::Schedule { after_ms: 3000 }),
        "{scheduled:?}"
    );
    assert_eq!(
        completed(&status(404, ", complete: [200-299, 404]").await)["status"],
        404
    );
    for retried in [408, 429, 500, 503] {
        let (kind, code, message) = failed(&status(retried, "").await);
        assert_eq!((kind, code.as_str()), ("retry", "http-status"));
        assert!(
            message.contains(&format!(
                "POST was answered with status {retried}: {{\"said\":{retried}}}"
            )),
            "{message}"
        );
    }
    for fatal in [400, 401, 404, 409] {
        assert_eq!(failed(&status(fatal, "").await).0, "fatal");
    }
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let (result, _) = run("{url: \"http://SERVER/later\"}", json!({})).await;
    assert!(
        matches!(result.outcome, Outcome::Schedule { after_ms: 7000 }),
        "{result:?}"
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (result, asked) = run("{url: \"http://SERVER/away\"}", json!({})).await;
    assert_eq!(failed(&result).0, "fatal");
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn slow_unreachable_and_endless_servers_are_told_apart() {
    let (kind, code, message) = failed(&run("{url: \"http://SERVER/slow\", timeout: 200ms}", json!({})).await.0);
    assert_eq!((kind, code.as_str()), ("retry", "timeout"));
    assert!(message.contains("had no answer within 200ms"), "{message}");
    let (kind, code, message) = failed(&run("{url: \"http://127.0.0.1:1/x?secret=1\"}", json!({})).await.0);
    assert_eq!((kind, code.as_str()), ("retry", "unreachable"));
    assert!(
        message.contains("http://127.0.0.1:1/x failed: ") && !message.contains("secret"),
        "{message}"
    );
    let (kind, code, _) = failed(&run("{url: \"http://SERVER/large\"}", json!({})).await.0);
    assert_eq!((kind, code.as_str()), ("fatal", "output-too-large"));
}

#[tokio::test]
async fn an_input_cannot_lead_the_request_elsewhere() {
    for (tenant, expected) in [
        (json!(".."), "`.` or `..`"),
        (json!("."), "`.` or `..`"),
        (json!(""), "in the URL's path is empty"),
        (json!({"a": 1}), "is an object"),
        (Value::Null, "is null"),
    ] {
        let (result, asked) = run(
            "{url: \"http://SERVER/tenants/{input.tenant}/x\"}",
            json!({"tenant": tenant}),
        )
        .await;
        let (kind, code, message) = failed(&result);
        assert_eq!((kind, code.as_str()), ("fatal", "bad-request"));
        assert!(message.contains(expected), "{message}");
        assert!(asked.is_empty());
    }
    let (result, asked) = run("{url: \"http://SERVER/x/{input.a}{input.a}\"}", json!({"a": "."})).await;
    assert!(failed(&result).2.contains("`.` or `..`"));
    assert!(asked.is_empty());
    let (result, _) = run("{url: \"http://SERVER/{input.t}\"}", json!({})).await;
    assert!(failed(&result).2.contains("there is no value for {input.t}"));
}

#[tokio::test]
async fn an_input_cannot_bring_headers_of_its_own() {
    let http = "{url: \"http://SERVER/x\", headers: {X-Key: \"{input.key}\"}}";
    let (result, asked) = run(http, json!({"key": "a\r\nHost: evil"})).await;
    assert!(
        failed(&result).2.contains("the header x-key has control characters"),
        "{result:?}"
    );
    assert!(asked.is_empty());
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_the_reason() {
    for (http, expected) in [
        ("{url: \"http://{input.host}/x\"}", "a placeholder stands in the host"),
        (
            "{url: \"http://example.com{input.port}/x\"}",
            "a placeholder stands in the host",
        ),
        ("{url: \"{input.url}\"}", "does not begin with http"),
        ("{url: \"file:///etc/passwd\"}", "does not begin with http"),
        (
            "{url: \"http://a/\", headers: {\"a b\": x}}",
            "this is no name of a header",
        ),
        ("{url: \"http://a/\", headers: {Host: x}}", "is the HTTP client's own"),
        ("{url: \"http://a/\", retry: [600]}", "\"600\" is no HTTP status"),
        (
            "{url: \"http://a/\", complete: [299-200]}",
            "\"299-200\" is no HTTP status",
        ),
        ("{url: \"http://a/{inputs.x}\"}", "{inputs.x} is no placeholder"),
        ("{url: \"http://a/\", wiat: [202]}", "did you mean `wait`?"),
        ("{}", "`url` is missing"),
    ] {
        let text = format!("activities: [{{type: t, http: {http}}}]");
        let error = AgentConfig::parse(&text, std::path::Path::new("a.yaml"))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}\nshould contain\n{expected}");
    }
}
