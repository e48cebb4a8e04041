//! Bad input of every kind: it gets a clear answer, and leaves nothing behind.

mod agents;
mod definitions;
mod requests;
mod rollouts;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use unisono_client::install_crypto_provider;
use unisono_model::api::{PROBLEM_JSON, Problem};

use crate::harness::Server;

/// A server that is asked bad things.
struct Refusing {
    server: Server,
    http: reqwest::Client,
}

/// A request that is refused: what is wrong with it, and the request.
type Case = (&'static str, RequestBuilder);

impl Refusing {
    fn start() -> Self {
        install_crypto_provider();
        Self {
            server: Server::start(),
            http: reqwest::Client::new(),
        }
    }

    /// A request to a path of the default namespace.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.whole(method, &format!("/api/v1/namespaces/default{path}"))
    }

    fn whole(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.server.url()))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).json(body)
    }

    /// The revision of the last thing that was stored.
    async fn revision(&self) -> u64 {
        let ready: Value = self
            .whole(Method::GET, "/readyz")
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        ready["revision"].as_u64().unwrap()
    }

    /// Sends every request, and returns what is said of each. Nothing may have been stored after that.
    async fn refusals(&self, cases: impl IntoIterator<Item = Case>) -> String {
        let before = self.revision().await;
        let mut said = String::new();
        for (what, request) in cases {
            let response = request.send().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            let (status, kind) = (response.status(), response.headers().get(CONTENT_TYPE).cloned());
            let body = response.text().await.unwrap();
            assert!(!status.is_success(), "{what}: {status} {body}");
            assert_eq!(
                kind.as_ref().map(|kind| kind.as_bytes()),
                Some(PROBLEM_JSON.as_bytes()),
                "{what}: {body}"
            );
            let problem: Problem =
                serde_json::from_str(&body).unwrap_or_else(|error| panic!("{what}: {error}: {body}"));
            assert_eq!(problem.status, status.as_u16(), "{what}");
            said.push_str(&format!("{what}\n{}", shown(&problem)));
        }
        assert_eq!(self.revision().await, before, "something was stored");
        said
    }
}

fn shown(problem: &Problem) -> String {
    let field = problem
        .field
        .as_ref()
        .map(|field| format!(" ({field})"))
        .unwrap_or_default();
    let mut text = format!("  {} {}{field}\n  {}\n", problem.status, problem.code, problem.detail);
    if let Some(help) = &problem.help {
        text.push_str(&format!("  help: {help}\n"));
    }
    for mistake in &problem.mistakes {
        let place = format!("{}:{}:{}", mistake.file, mistake.line, mistake.column);
        text.push_str(&format!("  - {place} [{}] {}\n", mistake.code, mistake.path));
        text.push_str(&format!("    {}\n    help: {}\n", mistake.message, mistake.help));
    }
    text
}
