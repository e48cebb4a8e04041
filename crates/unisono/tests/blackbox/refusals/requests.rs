//! Requests about orchestrations that cannot be taken.

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::Refusing;
use crate::harness::{apply, request};

const DEFINITIONS: &str = "
{kind: ActivityDefinition, type: x}
---
type: t
schema:
  type: object
  required: [name, size]
  properties: {name: {type: string, maxLength: 5}, size: {type: integer, minimum: 1}, tags: {type: array, items: {type: string}}}
activities: [{id: a, type: x}]
---
{type: free, activities: [{id: a, type: x}]}
---
{type: asleep, active: false, activities: [{id: a, type: x}]}
";

async fn refusing() -> Refusing {
    let refusing = Refusing::start();
    apply(&refusing.server.client(), DEFINITIONS).await;
    refusing
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_is_refused() {
    let refusing = refusing().await;
    refusing.server.client().start(&request("taken", "free")).await.unwrap();
    let start = |body: Value| refusing.post("/orchestrations", &body);
    let raw = |body: &str| refusing.request(Method::POST, "/orchestrations").body(body.to_owned());
    let long = "x".repeat(300);
    let labels: serde_json::Map<String, Value> = (0..65).map(|number| (format!("k{number}"), json!("v"))).collect();
    let cases = [
        ("no type", start(json!({}))),
        ("an unknown type", start(json!({"type": "nobody"}))),
        ("an inactive type", start(json!({"type": "asleep"}))),
        ("an unknown version", start(json!({"type": "free", "version": 9}))),
        ("a version that is none", start(json!({"type": "free", "version": -1}))),
        (
            "a misspelt member",
            start(json!({"type": "free", "correlationid": "x"})),
        ),
        ("a member of another type", start(json!({"type": ["free"]}))),
        ("an id with a space", start(json!({"type": "free", "id": "a b"}))),
        ("an id with a NUL", start(json!({"type": "free", "id": "a\u{0}b"}))),
        ("an id in another script", start(json!({"type": "free", "id": "Жук"}))),
        ("an id of dots", start(json!({"type": "free", "id": ".."}))),
        ("an empty id", start(json!({"type": "free", "id": ""}))),
        (
            "an id that is too long",
            start(json!({"type": "free", "id": "x".repeat(129)})),
        ),
        (
            "an id that is taken",
            start(json!({"type": "free", "id": "taken", "input": {"other": true}})),
        ),
        (
            "an input that is no object",
            start(json!({"type": "free", "input": [1]})),
        ),
        (
            "an input with every kind of violation",
            start(json!({"type": "t", "input": {"name": "too long", "size": 0, "tags": ["a", 1]}})),
        ),
        ("an input that is missing", start(json!({"type": "t"}))),
        (
            "a correlation id that is too long",
            start(json!({"type": "free", "correlationId": long})),
        ),
        (
            "a label that is too long",
            start(json!({"type": "free", "labels": {"team": long}})),
        ),
        (
            "a label whose key is no name",
            start(json!({"type": "free", "labels": {"a b": "c"}})),
        ),
        (
            "a label that is no text",
            start(json!({"type": "free", "labels": {"a": 1}})),
        ),
        ("too many labels", start(json!({"type": "free", "labels": labels}))),
        ("broken JSON", raw("{\"type\": \"free\"")),
        ("no JSON", raw("type=free")),
        (
            "no UTF-8",
            refusing
                .request(Method::POST, "/orchestrations")
                .body(b"{\"type\": \"\xff\"}".to_vec()),
        ),
        (
            "an unknown parameter",
            refusing.post("/orchestrations?wait=1", &json!({"type": "free"})),
        ),
        (
            "a time that is none",
            refusing.post("/orchestrations?waitSeconds=soon", &json!({"type": "free"})),
        ),
    ];
    insta::assert_snapshot!(refusing.refusals(cases).await, @r#"
    no type
      400 bad-field
      the request body cannot be used: missing field `type` at line 1 column 2
      help: /openapi.json says what the body of this route looks like
    an unknown type
      404 definition-not-found (type)
      there is no orchestration definition of type "nobody"
      help: list what there is with `unisono get definitions`, or apply it with `unisono apply -f FILE`
    an inactive type
      409 definition-inactive (type)
      orchestration definition "asleep" is inactive
      help: apply "asleep" with `active: true` to start it again
    an unknown version
      404 version-not-found (version)
      orchestration definition "free" has no version 9; its newest is 1
      help: leave version out to start the newest
    a version that is none
      400 bad-field (version)
      the request body cannot be used: invalid value: integer `-1`, expected u32 at line 1 column 27
      help: /openapi.json says what the body of this route looks like
    a misspelt member
      400 bad-field (correlationid)
      the request body cannot be used: unknown field `correlationid`, expected one of `id`, `type`, `version`, `correlationId`, `input`, `labels` at line 1 column 16
      help: /openapi.json says what the body of this route looks like
    a member of another type
      400 bad-field (type)
      the request body cannot be used: invalid type: sequence, expected a string at line 1 column 8
      help: /openapi.json says what the body of this route looks like
    an id with a space
      400 bad-name (id)
      id "a b" is no name: a name must not contain ' ' (character 2); A-Z a-z 0-9 . _ - are allowed
    an id with a NUL
      400 bad-name (id)
      id "a\0b" is no name: a name must not contain '\0' (character 2); A-Z a-z 0-9 . _ - are allowed
    an id in another script
      400 bad-name (id)
      id "Жук" is no name: a name must not contain 'Ж' (character 1); A-Z a-z 0-9 . _ - are allowed
    an id of dots
      400 bad-name (id)
      id ".." cannot stand in a URL
    an empty id
      400 bad-name (id)
      id "" is no name: a name must not be empty
    an id that is too long
      400 bad-name (id)
      id "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" is no name: a name of 129 characters is longer than the 128 allowed
    an id that is taken
      409 id-taken (id)
      orchestration "taken" exists and was started with other content
      help: use another id, or look at it with `unisono get taken`
    an input that is no object
      400 not-an-object (input)
      input is not a JSON object
      help: write input as {"key": value, …}
    an input with every kind of violation
      422 schema-violation (input)
      input does not fit the schema of "t" version 1: name: value is longer than 5 characters (and 2 more)
      - request:0:0 [schema-violation] input.name
        value is longer than 5 characters
        help: make input fit the schema of "t" version 1
      - request:0:0 [schema-violation] input.size
        value is less than the minimum of 1
        help: make input fit the schema of "t" version 1
      - request:0:0 [schema-violation] input.tags[1]
        must be string, is integer
        help: make input fit the schema of "t" version 1
    an input that is missing
      422 schema-violation (input)
      input does not fit the schema of "t" version 1: name: is required and missing (and 1 more)
      - request:0:0 [schema-violation] input.name
        is required and missing
        help: make input fit the schema of "t" version 1
      - request:0:0 [schema-violation] input.size
        is required and missing
        help: make input fit the schema of "t" version 1
    a correlation id that is too long
      400 field-too-long (correlationId)
      correlationId is 300 bytes long; the limit is 256
    a label that is too long
      400 bad-label (labels)
      the value of label "team" is 300 bytes long; the limit is 256
    a label whose key is no name
      400 bad-label (labels)
      label key "a b" is no name: a name must not contain ' ' (character 2); A-Z a-z 0-9 . _ - are allowed
    a label that is no text
      400 bad-field (labels.a)
      the request body cannot be used: invalid type: integer `1`, expected a string at line 1 column 16
      help: /openapi.json says what the body of this route looks like
    too many labels
      400 bad-label (labels)
      there are 65 labels; the limit is 64
    broken JSON
      400 bad-json
      the request body cannot be used: EOF while parsing an object at line 1 column 15
      help: /openapi.json says what the body of this route looks like
    no JSON
      400 bad-json
      the request body cannot be used: expected ident at line 1 column 2
      help: /openapi.json says what the body of this route looks like
    no UTF-8
      400 bad-json
      the request body cannot be used: invalid unicode code point at line 1 column 11
      help: /openapi.json says what the body of this route looks like
    an unknown parameter
      400 bad-parameter (wait)
      the query cannot be used: wait: unknown field `wait`, expected `waitSeconds`
      help: /openapi.json lists the parameters of this route
    a time that is none
      400 bad-parameter (waitSeconds)
      the query cannot be used: waitSeconds: invalid digit found in string
      help: /openapi.json lists the parameters of this route
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused() {
    let refusing = refusing().await;
    let client = refusing.server.client();
    client.start(&request("r", "free")).await.unwrap();
    let megabytes = |count: usize| "x".repeat(count * 1024 * 1024);
    let cases = [
        (
            "an input",
            refusing.post(
                "/orchestrations",
                &json!({"type": "free", "input": {"x": megabytes(17)}}),
            ),
        ),
        (
            "a body",
            refusing.post(
                "/orchestrations",
                &json!({"type": "free", "input": {"x": megabytes(40)}}),
            ),
        ),
        (
            "definitions",
            refusing
                .request(Method::POST, "/definitions")
                .header(CONTENT_TYPE, "application/yaml")
                .body(megabytes(40)),
        ),
        (
            "an output",
            refusing.post(
                "/orchestrations/r/activities/a/complete",
                &json!({"token": "1-0000000000000001", "output": {"x": megabytes(17)}}),
            ),
        ),
        (
            "a reason",
            refusing.post("/orchestrations/r/cancel", &json!({"reason": "x".repeat(17 * 1024)})),
        ),
        (
            "an error",
            refusing.post(
                "/orchestrations/r/activities/a/fail",
                &json!({"token": "1-0000000000000001", "error": {"message": "x".repeat(17 * 1024)}}),
            ),
        ),
    ];
    insta::assert_snapshot!(refusing.refusals(cases).await, @r#"
    an input
      413 payload-too-large (input)
      input is 17825800 bytes long; the limit is 16777216
      help: keep large data elsewhere and pass a reference to it
    a body
      413 body-too-large
      the request body is larger than 34603008 bytes
      help: keep large data elsewhere and pass a reference to it
    definitions
      413 body-too-large
      the request body is larger than 34603008 bytes
      help: keep large data elsewhere and pass a reference to it
    an output
      413 payload-too-large (output)
      output is 17825800 bytes long; the limit is 16777216
      help: keep large data elsewhere and pass a reference to it
    a reason
      413 payload-too-large (reason)
      reason is 17408 bytes long; the limit is 16384
    an error
      413 payload-too-large (error.message)
      error.message is 17408 bytes long; the limit is 16384
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_in_the_wrong_way_is_refused() {
    let refusing = refusing().await;
    let client = refusing.server.client();
    for id in ["r", "s"] {
        client.start(&request(id, "free")).await.unwrap();
    }
    let page: Value = refusing
        .get("/orchestrations?limit=1")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let token = page["nextPageToken"].as_str().unwrap();
    let foreign = refusing.get(&format!("/orchestrations?state=running&pageToken={token}"));
    let get = |path: &str| refusing.get(path);
    let token = "1-0000000000000001";
    let cases = [
        ("an unknown route", refusing.whole(Method::GET, "/api/v2/namespaces")),
        ("an unknown method", refusing.request(Method::PUT, "/orchestrations")),
        (
            "a namespace that is no name",
            refusing.whole(Method::GET, "/api/v1/namespaces/a%20b/orchestrations"),
        ),
        ("an id with a NUL", get("/orchestrations/a%00b")),
        ("an id that is no UTF-8", get("/orchestrations/%ff")),
        ("an id in another script", get("/orchestrations/%D0%96")),
        ("an unknown orchestration", get("/orchestrations/nobody")),
        (
            "the history of an unknown orchestration",
            get("/orchestrations/nobody/history"),
        ),
        (
            "the logs of an unknown orchestration",
            get("/orchestrations/nobody/logs"),
        ),
        (
            "the logs of an unknown activity",
            get("/orchestrations/r/logs?activity=nobody"),
        ),
        ("a state that is none", get("/orchestrations?state=finished")),
        ("a type that is no name", get("/orchestrations?type=a%20b")),
        ("a label without a value", get("/orchestrations?label=team")),
        ("an instant that is none", get("/orchestrations?createdAfter=yesterday")),
        ("a limit that is none", get("/orchestrations?limit=many")),
        ("a version that is none", get("/orchestrations?version=new")),
        ("an unknown filter", get("/orchestrations?colour=red")),
        ("a page token that is none", get("/orchestrations?pageToken=%2B%2B")),
        ("a page token of another question", foreign),
        (
            "a revision that is none",
            get("/orchestrations/r/history?after=yesterday"),
        ),
        (
            "a filter that history does not have",
            get("/orchestrations/r/history?state=running"),
        ),
        (
            "a last event that is none",
            get("/orchestrations/r")
                .header("Accept", "text/event-stream")
                .header("Last-Event-ID", "x"),
        ),
        (
            "cancel an unknown orchestration",
            refusing.post("/orchestrations/nobody/cancel", &json!({})),
        ),
        (
            "cancel with an unknown member",
            refusing.post("/orchestrations/r/cancel", &json!({"why": "x"})),
        ),
        (
            "complete without a token",
            refusing.post("/orchestrations/r/activities/a/complete", &json!({})),
        ),
        (
            "complete with what is no token",
            refusing.post("/orchestrations/r/activities/a/complete", &json!({"token": "x"})),
        ),
        (
            "complete with a token that nobody was given",
            refusing.post("/orchestrations/r/activities/a/complete", &json!({"token": token})),
        ),
        (
            "complete with what is no object",
            refusing.post(
                "/orchestrations/r/activities/a/complete",
                &json!({"token": token, "output": 7}),
            ),
        ),
        (
            "complete an unknown activity",
            refusing.post("/orchestrations/r/activities/b/complete", &json!({"token": token})),
        ),
        (
            "fail without an error",
            refusing.post("/orchestrations/r/activities/a/fail", &json!({"token": token})),
        ),
        ("connect an agent without WebSocket", get("/agents/connect")),
    ];
    insta::assert_snapshot!(refusing.refusals(cases).await, @r#"
    an unknown route
      404 no-such-route
      nothing is served at /api/v2/namespaces
      help: /openapi.json lists every route
    an unknown method
      405 no-such-method
      /api/v1/namespaces/default/orchestrations does not take PUT
      help: /openapi.json lists every route with its methods
    a namespace that is no name
      400 bad-name (namespace)
      namespace "a b" is no name: a name must not contain ' ' (character 2); A-Z a-z 0-9 . _ - are allowed
    an id with a NUL
      400 bad-name (id)
      id "a\0b" is no name: a name must not contain '\0' (character 2); A-Z a-z 0-9 . _ - are allowed
    an id that is no UTF-8
      400 bad-path
      Invalid URL: Invalid UTF-8 in `id`
    an id in another script
      400 bad-name (id)
      id "Ж" is no name: a name must not contain 'Ж' (character 1); A-Z a-z 0-9 . _ - are allowed
    an unknown orchestration
      404 orchestration-not-found (id)
      there is no orchestration "nobody" in this namespace
      help: `unisono list` shows those that there are
    the history of an unknown orchestration
      404 orchestration-not-found (id)
      there is no orchestration "nobody" in this namespace
      help: `unisono list` shows those that there are
    the logs of an unknown orchestration
      404 orchestration-not-found (id)
      there is no orchestration "nobody" in this namespace
      help: `unisono list` shows those that there are
    the logs of an unknown activity
      404 activity-not-found (activity)
      orchestration "r" has no activity "nobody"
      help: `unisono get ID` lists its activities
    a state that is none
      400 bad-parameter (state)
      state=finished: no state is called "finished"; it is one of initialized, running, completed, errored, cancelled
    a type that is no name
      400 bad-name (type)
      type "a b" is no name: a name must not contain ' ' (character 2); A-Z a-z 0-9 . _ - are allowed
    a label without a value
      400 bad-parameter (label)
      label=team: write a label as key=value
    an instant that is none
      400 bad-parameter (createdAfter)
      createdAfter=yesterday: not an instant; write it as in 2026-01-31T12:00:00Z
    a limit that is none
      400 bad-parameter (limit)
      limit=many: not a number
    a version that is none
      400 bad-parameter (version)
      version=new: not a version number
    an unknown filter
      400 bad-parameter (colour)
      colour=red: there is no such parameter
      help: there are state, type, version, label, correlationId, createdAfter, createdBefore, endedAfter, endedBefore, waitingFor, filter, limit and pageToken
    a page token that is none
      400 bad-page-token (pageToken)
      page token "++" is malformed; give the token of the page before unchanged, or none for the first page
    a page token of another question
      400 bad-page-token (pageToken)
      the page token comes from a list of another namespace or with other filters; repeat the filters of the first page, or give no token
    a revision that is none
      400 bad-parameter (after)
      the query cannot be used: after: invalid digit found in string
      help: /openapi.json lists the parameters of this route
    a filter that history does not have
      400 bad-parameter (state)
      the query cannot be used: state: unknown field `state`, expected one of `after`, `limit`, `pageToken`
      help: /openapi.json lists the parameters of this route
    a last event that is none
      400 bad-header (Last-Event-ID)
      Last-Event-ID is no revision
    cancel an unknown orchestration
      404 orchestration-not-found (id)
      there is no orchestration "nobody" in this namespace
      help: `unisono list` shows those that there are
    cancel with an unknown member
      400 bad-field (why)
      the request body cannot be used: unknown field `why`, expected `reason` at line 1 column 6
      help: /openapi.json says what the body of this route looks like
    complete without a token
      400 bad-field
      the request body cannot be used: missing field `token` at line 1 column 2
      help: /openapi.json says what the body of this route looks like
    complete with what is no token
      400 bad-token (token)
      token "x" is not an attempt token: expected two hexadecimal numbers joined by '-', as in 1f3a-0123456789abcdef
    complete with a token that nobody was given
      409 stale-token (token)
      token 1-0000000000000001 is not current: the attempt has ended, was given to another agent, or never was
      help: `unisono get ID` shows the token of every activity that waits
    complete with what is no object
      400 not-an-object (output)
      output is not a JSON object
      help: write output as {"key": value, …}
    complete an unknown activity
      404 activity-not-found (activity)
      orchestration "r" has no activity "b"
      help: `unisono get ID` lists its activities
    fail without an error
      400 bad-field
      the request body cannot be used: missing field `error` at line 1 column 30
      help: /openapi.json says what the body of this route looks like
    connect an agent without WebSocket
      400 no-websocket
      Connection header did not include 'upgrade'
      help: agents connect here by WebSocket, as docs/protocol.md describes; `unisono agent` does
    "#);
}
