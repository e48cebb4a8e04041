//! Requests about entities and rollouts that cannot be taken.

use reqwest::Method;
use serde_json::{Value, json};

use super::Refusing;
use crate::rollouts::fleet::{Fleet, QUICK};

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_its_field_and_what_to_do() {
    let refusing = Refusing::start();
    let _fleet = Fleet::settled(&refusing.server, 3, QUICK).await;
    let put = |path: &str, body: Value| refusing.request(Method::PUT, path).json(&body);
    let put_text = |path: &str, body: &str| refusing.request(Method::PUT, path).body(body.to_owned());
    let get = |path: &str| refusing.request(Method::GET, path);
    let post = |path: &str, body: Value| refusing.post(path, &body);
    let cases = [
        ("no version", put("/entities/app/version", json!({}))),
        ("an empty version", put("/entities/app/version", json!({"version": ""}))),
        (
            "a version of another type",
            put("/entities/app/version", json!({"version": 2})),
        ),
        (
            "a version for targets",
            put(
                "/entities/app/version",
                json!({"version": "v2", "targets": [{"name": "a"}]}),
            ),
        ),
        (
            "an entity without a name",
            put("/entities/~/version", json!({"version": "v2"})),
        ),
        ("more than all", put("/entities/app/policy", json!({"batch": "101%"}))),
        (
            "less than nothing",
            put("/entities/app/policy", json!({"failureTolerance": -1})),
        ),
        (
            "waves that hide each other",
            put("/entities/app/policy", json!({"waves": [{"name": "a"}, {"name": "b"}]})),
        ),
        (
            "a wave that selects nothing",
            put(
                "/entities/app/policy",
                json!({"waves": [{"name": "a", "select": {"labels": {"zone": "x"}}}]}),
            ),
        ),
        (
            "several mistakes in YAML",
            put_text(
                "/entities/app/policy?file=p.yaml",
                "bach: 3\nhealth:\n  deadlineSeconds: soon\n",
            ),
        ),
        (
            "options over the whole",
            put(
                "/entities/app/options",
                json!({"batchPercent": 120, "successtimeoutsecs": -1}),
            ),
        ),
        ("an unknown entity", get("/entities/nobody")),
        ("an unknown target", get("/entities/app/targets/nobody?group=g")),
        ("an unknown rollout", get("/entities/app/rollouts/9")),
        ("a rollout that is no number", get("/entities/app/rollouts/last")),
        ("a state that there is not", get("/entities/app/targets?state=broken")),
        ("a label without a value", get("/entities/app/targets?label=zone")),
        ("a parameter that there is not", get("/entities/app/targets?zone=a")),
        ("a verb that there is not", post("/entities/app/explode", json!({}))),
        ("a verb on nothing", post("/entities/app/pause", json!({}))),
        ("a verb on nobody", post("/entities/nobody/pause", json!({}))),
        ("a skip of nobody", post("/entities/app/skip", json!({}))),
        (
            "a field that the verb does not take",
            post("/entities/app/pause", json!({"version": "v2"})),
        ),
        (
            "a field that there is not",
            post("/entities/app/pause", json!({"reson": "x"})),
        ),
        (
            "a freeze of no time",
            post("/entities/app/freeze", json!({"forSeconds": 0})),
        ),
        ("nothing to thaw", post("/entities/app/thaw", json!({}))),
        (
            "a basis that is no revision",
            post("/entities/app/pause", json!({})).header("if-match", "newest"),
        ),
        (
            "a key without a character",
            post("/entities/app/pause", json!({})).header("idempotency-key", ""),
        ),
        (
            "a report without a name",
            post("/entities/app/reports", json!([{"name": "a"}, {"version": "v1"}])),
        ),
        (
            "a report of nonsense",
            post("/entities/app/reports", json!([{"name": "a", "health": "ill"}])),
        ),
        (
            "a report in no time zone",
            post("/entities/app/reports", json!({"name": "a", "timeZone": "Mars/Base"})),
        ),
        ("a plan without a version", post("/entities/app/plan", json!({}))),
        (
            "a plan with nonsense",
            post("/entities/app/plan", json!({"version": "v2", "policy": {"batch": 0}})),
        ),
        (
            "a simulation of nonsense",
            post(
                "/entities/app/simulate",
                json!({"version": "v2", "model": {"silent": 2}}),
            ),
        ),
        (
            "an answer to nothing",
            post("/entities/app/calls/1/answer", json!({"answer": "go"})),
        ),
        (
            "an answer that is none",
            post("/entities/app/calls/1/answer", json!({"answer": "maybe"})),
        ),
        ("why of a group alone", get("/entities/app/why?group=g")),
    ];
    insta::assert_snapshot!(refusing.refusals(cases).await);
}
