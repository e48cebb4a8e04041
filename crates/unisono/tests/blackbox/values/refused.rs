//! Wrong input: what is said, and that nothing has changed.

use std::time::Duration;

use serde_json::{Value, json};

use super::{lease, put, run, text};
use crate::harness::Server;

struct Asker {
    http: reqwest::Client,
    base: String,
}

impl Asker {
    fn of(server: &Server) -> Self {
        Self {
            http: reqwest::Client::new(),
            base: format!("{}/api/v1/namespaces/default", server.url()),
        }
    }

    /// The status and the problem.
    async fn refused(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}{path}", self.base)).json(&body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let problem: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {status} {text}"));
        (status, problem)
    }
}

#[tokio::test]
async fn wrong_requests_are_told_the_field_and_what_would_be_right() {
    let server = Server::start();
    let client = server.client();
    put(&client, "a", json!(1)).await;
    let lease = lease(&client, "h", Duration::from_secs(60)).await.id;
    let revision = client.value("a").await.unwrap().revision;
    let asker = Asker::of(&server);
    let long = "x".repeat(129);
    let large = "x".repeat(1024 * 1024);
    let many: Vec<Value> = (0..129)
        .map(|number| json!({"get": {"key": format!("k{number}")}}))
        .collect();
    let transaction = |operations: Value| json!({ "then": operations });
    let put_in = |with: Value| transaction(json!([{"put": {"key": "b", "with": with}}]));
    let cases = [
        ("PUT", "/values/a%20b", json!({"value": 1}), 400, "bad-key", "key"),
        (
            "PUT",
            &*format!("/values/{long}"),
            json!({"value": 1}),
            400,
            "bad-key",
            "key",
        ),
        ("PUT", "/values/b", json!({}), 400, "bad-content", "value"),
        (
            "PUT",
            "/values/b",
            json!({"value": 1, "base64": "AA=="}),
            400,
            "bad-content",
            "value",
        ),
        ("PUT", "/values/b", json!({"base64": "?"}), 400, "bad-field", "base64"),
        ("PUT", "/values/b", json!({"valeu": 1}), 400, "bad-field", "valeu"),
        (
            "PUT",
            "/values/b",
            json!({"value": large}),
            413,
            "value-too-large",
            "value",
        ),
        (
            "PUT",
            "/values/b",
            json!({"value": 1, "ttlMs": 0}),
            400,
            "bad-time",
            "ttlMs",
        ),
        (
            "PUT",
            "/values/b",
            json!({"value": 1, "contentType": "a\nb"}),
            400,
            "bad-content-type",
            "contentType",
        ),
        (
            "PUT",
            "/values/b",
            json!({"value": 1, "lease": 999}),
            404,
            "lease-not-found",
            "lease",
        ),
        (
            "PUT",
            "/values/b",
            json!({"value": 1, "lock": "l"}),
            400,
            "fence-missing",
            "fence",
        ),
        (
            "PUT",
            "/values/b",
            json!({"value": 1, "fence": 9999}),
            400,
            "no-such-fence",
            "fence",
        ),
        (
            "PUT",
            "/values/b",
            json!({"value": 1, "fence": 1, "lock": "l"}),
            409,
            "lock-lost",
            "fence",
        ),
        (
            "PUT",
            "/values/b",
            json!({"value": 1, "if": {}}),
            400,
            "bad-condition",
            "if",
        ),
        (
            "PUT",
            "/values/b",
            json!({"value": 1, "if": {"revision": 1, "absent": true}}),
            400,
            "bad-condition",
            "if",
        ),
        (
            "PUT",
            "/values/a",
            json!({"value": 1, "if": {"absent": true}}),
            412,
            "condition-failed",
            "if",
        ),
        ("GET", "/values?prefix=a//", json!({}), 400, "bad-key", "prefix"),
        ("GET", "/values?pageToken=a//", json!({}), 400, "bad-key", "pageToken"),
        ("GET", "/values/none", json!({}), 404, "value-not-found", "key"),
        ("GET", "/values/none?waitMs=20", json!({}), 404, "await-timeout", "key"),
        (
            "POST",
            "/transactions",
            transaction(json!(many)),
            400,
            "transaction-too-large",
            "then",
        ),
        (
            "POST",
            "/transactions",
            transaction(json!([{"delete": {"key": "a"}}, {"put": {"key": "a", "with": {"value": 1}}}])),
            400,
            "written-twice",
            "then",
        ),
        (
            "POST",
            "/transactions",
            put_in(json!({"value": 1, "if": {"absent": true}})),
            400,
            "bad-operation",
            "then[0].put.with",
        ),
        (
            "POST",
            "/transactions",
            put_in(json!({})),
            400,
            "bad-content",
            "then[0].put.with.value",
        ),
        (
            "PUT",
            "/futures/f",
            json!({"producer": "p", "schema": {"type": "strnig"}}),
            422,
            "schema-violation",
            "schema",
        ),
        ("PUT", "/futures/a", json!({"producer": "p"}), 409, "has-value", ""),
        (
            "POST",
            "/futures/f",
            json!({"reason": "x"}),
            404,
            "future-not-found",
            "key",
        ),
        (
            "POST",
            "/futures/f",
            json!({"reason": " "}),
            400,
            "bad-reason",
            "reason",
        ),
        (
            "POST",
            "/leases",
            json!({"holder": "h", "ttlMs": 10}),
            400,
            "bad-time",
            "ttlMs",
        ),
        ("POST", "/leases/x/renew", json!({}), 400, "bad-lease", "lease"),
        ("POST", "/leases/999/renew", json!({}), 404, "lease-not-found", "lease"),
        (
            "POST",
            "/locks/l/acquire",
            json!({"lease": 999}),
            404,
            "lease-not-found",
            "lease",
        ),
        (
            "POST",
            "/locks/l/acquire",
            json!({"lease": lease, "mode": "permit"}),
            400,
            "bad-permits",
            "permits",
        ),
        (
            "POST",
            "/locks/l/acquire",
            json!({"lease": lease, "permits": 2}),
            400,
            "bad-permits",
            "permits",
        ),
        (
            "POST",
            "/locks/l/release",
            json!({"lease": lease}),
            409,
            "lock-not-held",
            "lease",
        ),
        (
            "POST",
            "/locks/l/steal",
            json!({"reason": "x"}),
            409,
            "lock-free",
            "token",
        ),
        (
            "POST",
            "/locks/l/steal",
            json!({"reason": ""}),
            400,
            "bad-reason",
            "reason",
        ),
        (
            "POST",
            "/elections/e/proclaim",
            json!({"lease": lease, "value": 1}),
            409,
            "lock-not-held",
            "lease",
        ),
    ];
    for (method, path, body, status, code, field) in cases {
        let (answered, problem) = asker.refused(method, path, body).await;
        let shown = format!("{method} {path}: {problem}");
        assert_eq!((answered, problem["code"].as_str()), (status, Some(code)), "{shown}");
        assert_eq!(problem["field"].as_str().unwrap_or_default(), field, "{shown}");
        let help = problem["help"].as_str().or(problem["mistakes"][0]["help"].as_str());
        assert!(help.is_some_and(|help| !help.is_empty()), "{shown}");
    }
    assert!(client.find_value("b").await.unwrap().is_none(), "nothing was written");
    let unchanged = client.value("a").await.unwrap();
    assert_eq!((unchanged.revision, unchanged.version), (revision, 1));
}

#[tokio::test]
async fn the_command_line_says_what_would_be_right() {
    let server = Server::start();
    for (arguments, exit, said) in [
        (&["value", "set", "k", "hello"][..], 2, "--text takes any text"),
        (&["value", "set", "a b", "1"], 1, "a key must not contain ' '"),
        (&["value", "set", "a//b", "1"], 2, "without empty parts"),
        (&["value", "get", "nothing"], 1, "\"nothing\" has no value"),
        (
            &["value", "await", "nothing", "--timeout", "50ms"],
            1,
            "has had no value for the 50 milliseconds",
        ),
        (&["value", "watch", "k", "--after", "99999"], 1, "has not been reached"),
        (&["lock", "l", "--ttl", "100ms", "--", "true"], 2, "give 1s to 24h"),
        (
            &["lock", "l", "--ttl", "4s", "--grace", "3s", "--", "true"],
            2,
            "half the lease at most",
        ),
        (
            &["lock", "l", "--", "/no/such/command"],
            1,
            "cannot start /no/such/command",
        ),
        (&["lock", "l"], 2, "COMMAND"),
        (&["steal", "l", "--reason", "x"], 1, "nobody holds lock \"l\""),
    ] {
        let ran = run(&server, arguments);
        let stderr = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(exit), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}
