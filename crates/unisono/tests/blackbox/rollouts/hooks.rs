//! Hooks and controllers that a server asks by their URLs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::{Value, json};
use unisono_model::rollout::{Gate, ReasonCode, RolloutState};

use super::Fleet;
use crate::harness::{Listener, Received, Server, ServerSetup, apply, eventually, free_port};

const GO: &str = r#"{"answer": "go"}"#;

fn with_secrets(secrets: &[(&str, &str)]) -> (ServerSetup, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    for (name, secret) in secrets {
        std::fs::write(directory.path().join(name), format!("{secret}\n")).unwrap();
    }
    let folder = directory.path().to_str().unwrap().to_owned();
    (ServerSetup::default().options(&["--secrets", &folder]), directory)
}

fn hook(on: &str, endpoint: &Value) -> String {
    let health = json!({"healthyForSeconds": 0, "deadlineSeconds": 60});
    json!({"batch": "100%", "health": health, "hooks": [{"name": "gate", "on": [on], "endpoint": endpoint}]})
        .to_string()
}

/// What whoever receives a request does to know that it is genuine.
fn is_genuine(received: &Received, secret: &[u8]) -> bool {
    let signed = [
        received.header("webhook-id").as_bytes(),
        received.header("webhook-timestamp").as_bytes(),
        &received.body,
    ]
    .join(&b'.');
    let signature = received.header("webhook-signature").strip_prefix("v1,").unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::verify(&key, &signed, &STANDARD.decode(signature).unwrap()).is_ok()
}

async fn reason(fleet: &Fleet, code: ReasonCode) -> String {
    eventually(&format!("it waits with {code}"), || async {
        let reasons = fleet.rollout().await.reasons;
        reasons.into_iter().find(|it| it.code == code).map(|it| it.message)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_cannot_be_reached_holds_and_opens_once_it_can() {
    let (setup, _secrets) = with_secrets(&[("signing", "a key of ours"), ("token", "t0ken")]);
    let server = setup.start();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/go?who=me");
    let policy = hook("start", &json!({"url": url, "secret": "signing", "token": "token"}));
    let mut fleet = Fleet::settled(&server, 2, &policy).await;
    fleet.set_version("v2").await;
    let says = reason(&fleet, ReasonCode::HookUnreachable).await;
    assert!(
        says.contains("cannot be connected to") && !says.contains("who=me"),
        "{says}"
    );
    assert_eq!(fleet.obey().await, 0);
    let gate = Listener::at(port, |_| (200, GO.to_owned())).await;
    fleet.until(RolloutState::Succeeded).await;
    let asked = gate.received();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let request = asked[0].json();
    assert_eq!(
        [
            &request["kind"],
            &request["gate"],
            &request["version"],
            &request["baseline"],
            &request["entity"]
        ],
        ["hook", "start", "v2", "v1", "app"]
    );
    assert!(request["attempt"].as_u64().unwrap() >= 2);
    assert_eq!(request["call"], asked[0].header("idempotency-key"));
    assert_eq!(asked[0].header("authorization"), "Bearer t0ken");
    assert!(is_genuine(&asked[0], b"a key of ours") && !is_genuine(&asked[0], b"another"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_refuses_holds_with_its_reason() {
    let server = Server::start();
    let gate = Listener::start(|_| (200, r#"{"answer": "refuse", "message": "not on a Friday"}"#.to_owned())).await;
    let mut fleet = Fleet::settled(&server, 2, &hook("start", &json!({"url": gate.url("/")}))).await;
    fleet.set_version("v2").await;
    let says = reason(&fleet, ReasonCode::HookRefused).await;
    assert!(says.contains("not on a Friday"), "{says}");
    assert_eq!((fleet.obey().await, gate.received().len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_gate_is_asked_where_it_stands_and_a_rollback_is_told() {
    let server = Server::start();
    let gate = Listener::start(|_| (200, GO.to_owned())).await;
    let policy = json!({
        "batch": "100%", "onFailure": "immediate",
        "health": {"healthyForSeconds": 0, "deadlineSeconds": 60, "unhealthyReports": 1},
        "hooks": [{"name": "gate", "on": ["start", "wave", "promotion", "rollback"], "endpoint": {"url": gate.url("/")}}]
    });
    let mut fleet = Fleet::settled(&server, 2, &policy.to_string()).await;
    let gates = || -> Vec<Gate> {
        let asked = gate.received();
        asked
            .iter()
            .map(|it| serde_json::from_value(it.json()["gate"].clone()).unwrap())
            .collect()
    };
    fleet.set_version("v2").await;
    fleet.until(RolloutState::Succeeded).await;
    assert_eq!(gates(), [Gate::Start, Gate::Wave, Gate::Promotion]);
    fleet.set_version("v3").await;
    eventually("v3 begins", || async {
        (fleet.rollout().await.summary.counts.in_flight > 0).then_some(())
    })
    .await;
    fleet.act(unisono_model::rollout::VerbName::Fail).await;
    fleet.until(RolloutState::Failed).await;
    eventually("the rollback is told", || async {
        gates().contains(&Gate::Rollback).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_holds_and_says_what_is_wrong() {
    let (setup, _secrets) = with_secrets(&[("token", "t0ken")]);
    let server = setup.start();
    let gate = Listener::start(|asked| match asked.path.as_str() {
        "/moved" => (302, String::new()),
        "/echo" => (503, format!("{:?}", asked.headers)),
        "/large" => (200, "x".repeat(5 * 1024 * 1024)),
        _ => (200, "<html>Sign in</html>".to_owned()),
    })
    .await;
    for (number, (endpoint, says)) in [
        (json!({"url": gate.url("/moved")}), "redirects are not followed"),
        (
            json!({"url": gate.url("/echo"), "token": "token"}),
            "503 Service Unavailable",
        ),
        (json!({"url": gate.url("/large")}), "more than 4194304 bytes"),
        (json!({"url": gate.url("/page")}), "it is no JSON"),
        (
            json!({"url": gate.url("/"), "secret": "lost"}),
            "there is no secret \"lost\"",
        ),
        (
            json!({"url": format!("{}/v1/orchestrate/default/other/version", server.url())}),
            "508 Loop Detected",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut fleet = Fleet::new(&server.client(), &format!("app{number}"), 1);
        fleet.report().await;
        fleet.set_policy(&hook("start", &endpoint)).await;
        fleet.set_version("v2").await;
        let why = reason(&fleet, ReasonCode::HookUnreachable).await;
        assert!(why.contains(says) && !why.contains("t0ken"), "{why}");
    }
    assert!(
        server.client().entity("other").get().await.is_err(),
        "it has told itself"
    );
    assert!(!server.site().logged("server").contains("t0ken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_of_older_systems_decide_about_targets() {
    let server = Server::start();
    let controller = Listener::start(|asked| {
        let names = asked.targets();
        let only = |name: &str| -> String {
            let chosen: Vec<Value> = names
                .iter()
                .filter(|it| *it == name)
                .map(|it| json!({"name": it}))
                .collect();
            json!({"targets": chosen}).to_string()
        };
        let answer = match asked.path.as_str() {
            // The last one first, one at a time.
            "/selection" => only(names.iter().max().unwrap()),
            "/approval" => json!({"targets": asked.json()["targets"]}).to_string(),
            "/removal" => "{}".to_owned(),
            "/monitoring" => r#"{"status": "ok", "message": "fine"}"#.to_owned(),
            _ => r#"{"status": "OK"}"#.to_owned(),
        };
        (200, answer)
    })
    .await;
    unisono_client::install_crypto_provider();
    let http = reqwest::Client::new();
    let base = format!("{}/v1/orchestrate/default/app", server.url());
    for (path, body) in [
        (
            "options",
            json!({"batchpercent": 34, "successpercent": 100, "successtimeoutsecs": 0, "durationtimeoutsecs": 60}),
        ),
        ("version", json!({"version": "v1"})),
        (
            "target/controller",
            json!({
                "selection": controller.url("/selection"), "approval": controller.url("/approval"),
                "removal": controller.url("/removal"), "monitoring": controller.url("/monitoring")
            }),
        ),
        (
            "monitoring/controller",
            json!({"externalmonitoring": controller.url("/external")}),
        ),
    ] {
        let answer = http
            .post(format!("{base}/{path}"))
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text().await.unwrap());
    }
    let mut fleet = Fleet::new(&server.client(), "app", 3);
    fleet.until(RolloutState::Succeeded).await;
    fleet.set_version("v2").await;
    fleet.until(RolloutState::Succeeded).await;
    let of_v2 = |path: &str| -> Vec<Received> {
        let mut asked = controller.received_at(path);
        asked.retain(|it| it.json()["version"] == "v2");
        asked
    };
    let selections: Vec<Vec<String>> = of_v2("/selection").iter().map(Received::targets).collect();
    assert_eq!(selections, [vec!["t0", "t1", "t2"], vec!["t0", "t1"], vec!["t0"]]);
    let approvals: Vec<Vec<String>> = of_v2("/approval").iter().map(Received::targets).collect();
    assert_eq!(approvals, [["t2"], ["t1"], ["t0"]]);
    // Of one target at a time, as they know it.
    let monitored: Vec<String> = of_v2("/monitoring")
        .iter()
        .map(|it| it.json()["target"]["name"].to_string())
        .collect();
    assert_eq!(monitored, [r#""t2""#, r#""t1""#, r#""t0""#]);
    let removals: Vec<Vec<String>> = of_v2("/removal").iter().map(Received::targets).collect();
    assert_eq!(removals, [["t0", "t1"]], "what is old, once something new is proven");
    assert_eq!(of_v2("/external").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_that_says_no_fails_its_target_and_the_version_goes_back() {
    let server = Server::start();
    let monitor = Listener::start(|asked| match asked.json()["target"]["name"].as_str() {
        Some("t1") => (200, r#"{"status": "error", "message": "disk full"}"#.to_owned()),
        _ => (200, r#"{"status": "ok"}"#.to_owned()),
    })
    .await;
    let policy = json!({
        "batch": 1, "onFailure": "immediate", "health": {"healthyForSeconds": 0},
        "controllers": {"monitoring": {"url": monitor.url("/"), "classic": true}}
    });
    let mut fleet = Fleet::settled(&server, 3, &policy.to_string()).await;
    fleet.set_version("v2").await;
    let view = fleet.until(RolloutState::Failed).await;
    assert!(view.summary.counts.rolled_back >= 1, "{:?}", view.summary.counts);
    assert!(fleet.runs.values().all(|version| version == "v1"), "{:?}", fleet.runs);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_answer_what_is_asked_of_activities_once_also_when_the_server_is_killed() {
    let mut server = Server::start();
    apply(&server.client(), "{type: gate, provider: test}").await;
    let policy = json!({
        "batch": "100%", "health": {"healthyForSeconds": 0, "deadlineSeconds": 60},
        "hooks": [{"name": "gate", "on": ["start"], "endpoint": {"activity": "gate", "timeoutSeconds": 60}}],
        "controllers": {"approval": {"activity": "choose"}},
        "notify": [{"name": "ops", "endpoint": {"activity": "gate"}}]
    });
    let mut fleet = Fleet::settled(&server, 2, &policy.to_string()).await;
    fleet.set_version("v2").await;
    let call = eventually("the gate is asked", || async {
        fleet.entity.calls().await.unwrap().pop()
    })
    .await;
    let key = call.key();
    eventually("an orchestration asks", || async {
        server.client().orchestration(&key).await.ok()
    })
    .await;
    server.kill();
    server.restart();
    let script = r#"input=$(cat)
note "$(echo "$input" | grep -o '"kind":"[a-z]*"')"
case "$input" in
*'"kind":"approval"'*) echo '{"answer": "targets", "targets": [{"name": "t0"}, {"name": "t1"}]}' ;;
*) echo '{"answer": "go"}' ;;
esac"#;
    let _agent = server
        .agent("answers")
        .exec("gate", script)
        .exec("choose", script)
        .start();
    // Nobody has defined that activity.
    let says = reason(&fleet, ReasonCode::HookUnreachable).await;
    assert!(says.contains("activity \"choose\" cannot be asked"), "{says}");
    apply(&server.client(), "{type: choose, provider: test}").await;
    fleet.until(RolloutState::Succeeded).await;
    let executions = server.site().lines("executions");
    let asked = |kind: &str| executions.iter().filter(|line| line.contains(kind)).count();
    assert_eq!((asked("\"hook\""), asked("approval")), (1, 1), "{executions:?}");
    eventually("the history is told", || async {
        fleet.entity.outbox("ops", None).await.unwrap().is_empty().then_some(())
    })
    .await;
}
