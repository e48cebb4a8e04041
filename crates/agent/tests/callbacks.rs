//! Callbacks: waiting activities are completed, and processors hear of what they registered.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use support::{Running, task};
use unisono_agent::{ActivityContext, ActivityProcessor, Processed};
use unisono_agent::{ActivityResult, Agent, AgentConfig, CallbackResponse, CallbackRouter, OrFail as _};
use unisono_model::protocol::{AttemptResult, Outcome};

type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// A server that completes everything but one token's activity.
async fn server() -> (String, Asked) {
    async fn answer(State(asked): State<Asked>, request: Request) -> Response {
        let path = request.uri().path().to_owned();
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let stale = body["token"] == "0-0000000000000000";
        asked.lock().unwrap().push((path, body));
        if stale {
            let problem =
                json!({"code": "stale-token", "status": 409, "title": "x", "detail": "an older attempt's token"});
            return (
                axum::http::StatusCode::CONFLICT,
                [("content-type", "application/problem+json")],
                problem.to_string(),
            )
                .into_response();
        }
        axum::Json(json!({"activityState": "completed", "state": "running"})).into_response()
    }
    let asked = Asked::default();
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(Arc::clone(&asked));
    tokio::spawn(async move { axum::serve(socket, app).await });
    (url, asked)
}

struct Waiter(Arc<CallbackRouter>);

impl ActivityProcessor for Waiter {
    async fn process(&self, context: &mut ActivityContext) -> Processed {
        let attempt = context.handle();
        let answer = move |request: unisono_agent::CallbackRequest| {
            attempt.log(format!("called with {}", String::from_utf8_lossy(&request.body)));
            async {
                CallbackResponse {
                    status: 202,
                    body: "thanks".into(),
                }
            }
        };
        let own = self.0.register("/own", answer).or_fatal("callback")?;
        context.log(format!("{} {own}", self.0.completion_url(context)));
        Ok(ActivityResult::Wait { timeout: None })
    }
}

async fn start() -> (Running, Asked, String, String, AttemptResult) {
    let (server, asked) = server().await;
    let config = AgentConfig::parse("callbacks: {listen: \"127.0.0.1:0\"}", std::path::Path::new("a.yaml")).unwrap();
    let builder = Agent::builder()
        .server(server)
        .config(config)
        .activity("t", |services| Ok(Waiter(services.get()?)));
    let mut agent = Running::start(builder).await;
    agent.send(task(1, "t", &json!({}), &json!({}))).await;
    let (result, log) = agent.result().await;
    let (completion, own) = log.trim().split_once(' ').unwrap();
    (agent, asked, completion.to_owned(), own.to_owned(), result)
}

#[tokio::test]
async fn a_callback_completes_or_fails_a_waiting_activity() {
    let (agent, asked, url, _, result) = start().await;
    assert!(matches!(result.outcome, Outcome::Wait { timeout_ms: None }));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |url: String, body: &'static str| http.post(url).body(body).send();

    assert_eq!(post(url.clone(), "{\"ip\": \"10.0.0.1\"}").await.unwrap().status(), 204);
    let path = "/api/v1/namespaces/default/orchestrations/run-1/activities/step";
    let token = "1-0000000000000007";
    let completed = (
        format!("{path}/complete"),
        json!({"token": token, "output": {"ip": "10.0.0.1"}}),
    );
    assert_eq!(*asked.lock().unwrap(), [completed]);

    assert_eq!(post(url.clone(), "[1]").await.unwrap().status(), 422);
    let failing = url.replace("/complete", "/fail");
    assert_eq!(post(failing, "{\"message\": \"no zone\"}").await.unwrap().status(), 204);
    let error = json!({"token": token, "error": {"message": "no zone"}, "retry": false});
    assert_eq!(asked.lock().unwrap()[1], (format!("{path}/fail"), error));

    let stale = post(url.replace(token, "0-0000000000000000"), "").await.unwrap();
    assert_eq!(stale.status(), 409);
    assert!(stale.text().await.unwrap().contains("an older attempt's token"));
    agent.leave().await.unwrap();
}

#[tokio::test]
async fn a_processor_hears_of_the_path_it_registered_and_of_no_other() {
    let (mut agent, _, url, own, _) = start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.post(&own).body("ready").send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.text().await.unwrap().as_str()),
        (202, "thanks")
    );
    assert_eq!(http.post(format!("{own}/else")).send().await.unwrap().status(), 404);
    assert_eq!(http.get(&url).send().await.unwrap().status(), 405);
    // The attempt is over, and a second one cannot have the same path.
    agent.send(task(2, "t", &json!({}), &json!({}))).await;
    let (result, _) = agent.result().await;
    assert!(support::failed(&result).2.contains("\"/own\" is registered already"));
}
