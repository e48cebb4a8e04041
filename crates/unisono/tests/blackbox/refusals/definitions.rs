//! Definitions with mistakes.

use reqwest::Method;
use serde_json::json;

use super::Refusing;
use crate::harness::apply;

/// Every kind of mistake that one document can have at once.
const MANY: &str = "\
kind: ActivityDefinition
type: number
outputSchema: {openAPIV3Schema: {type: object, properties: {n: {type: integer}}, required: [n]}}
---
kind: ActivityDefinition
type: text
inputSchema: {openAPIV3Schema: {type: object, properties: {n: {type: string}}}}
---
kind: ActivityDefinition
type: broken
inputSchema: {openAPIV3Schema: {type: colour}}
---
type: bad name!
activities: []
---
type: many
descripton: a misspelt field
schema: {type: object, properties: {name: {type: string}}}
activities:
- {id: a, type: number, dependsOn: c}
- {id: b, type: nobody, dependsOn: [a, missing]}
- {id: c, type: text, dependsOn: b, inputs: [{source: a.n, target: n}, {source: d.n, target: m}, nope]}
- {id: d, type: number}
- {id: d, type: number}
output: [d.other]
---
type: later
activities:
- {id: a, type: text, inputs: [{source: b.n, target: n}]}
- {id: b, type: number, discriminator: 7, inputs: [{from: x}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_in_definitions_is_reported_at_once_and_nothing_is_stored() {
    let refusing = Refusing::start();
    let apply = |text: &str| {
        refusing.post(
            "/definitions",
            &json!({"sources": [{"name": "many.yaml", "text": text}]}),
        )
    };
    let typed = |text: &'static str| refusing.request(Method::POST, "/orchestration-definitions").body(text);
    let cases = [
        ("many mistakes", apply(MANY)),
        (
            "no YAML",
            apply("type: t\nactivities: [{id: a, type: x}\nactive: maybe: yes"),
        ),
        ("no JSON", typed("{\"type\": \"t\", \"activities\": [}")),
        (
            "a cycle",
            apply(
                "{kind: ActivityDefinition, type: x}\n---\n{type: t, activities: [{id: a, type: x, dependsOn: b}, {id: b, type: x, dependsOn: c}, {id: c, type: x, dependsOn: a}]}",
            ),
        ),
        ("another kind", typed("{kind: ActivityDefinition, type: x}")),
        ("nothing", typed("")),
        (
            "not text",
            refusing
                .request(Method::POST, "/orchestration-definitions")
                .body(vec![0xff, 0xfe]),
        ),
        ("no sources", refusing.post("/definitions", &json!({}))),
        (
            "an unknown member",
            refusing.post("/definitions", &json!({"sources": [], "dryrun": true})),
        ),
    ];
    insta::assert_snapshot!(refusing.refusals(cases).await, @r#"
    many mistakes
      422 invalid-definition
      16 mistakes in the definitions; nothing was applied
      - many.yaml:11:39 [invalid-schema] inputSchema.openAPIV3Schema.type
        the schema is not valid here: must be array, boolean, integer, null, number, object or string, or an array of these
        help: write a schema object of OpenAPI 3.0
      - many.yaml:13:7 [bad-name] type
        a name must not contain ' ' (character 4); A-Z a-z 0-9 . _ - are allowed
        help: use 1 to 128 characters out of A-Z a-z 0-9 . _ -
      - many.yaml:14:13 [empty-activities] activities
        the orchestration has no activities
        help: add at least one activity
      - many.yaml:17:1 [unknown-field] descripton
        there is no field `descripton`
        help: did you mean `description`?
      - many.yaml:20:36 [cycle] activities[0].dependsOn
        activities wait for each other: a → c → b → a
        help: each depends on the one after the arrow; remove one of these dependencies
      - many.yaml:21:17 [unknown-activity-type] activities[1].type
        there is no activity definition of the type `nobody`
        help: known are `broken`, `number` and `text`
      - many.yaml:21:40 [unknown-dependency] activities[1].dependsOn[1]
        there is no activity `missing` to depend on
        help: known are `a`, `b`, `c` and `d`
      - many.yaml:22:55 [schema-mismatch] activities[2].inputs[0].source
        `a.n` can never fit the input `n` of `text`: it is integer, where string is taken
        help: map another source, or correct one of the two schemas
      - many.yaml:22:98 [unknown-source] activities[2].inputs[2]
        nobody produces `nope`: the orchestration's input has no such property
        help: declare it in `schema` (it has `name`), or write `activityId.path` for the output of an activity
      - many.yaml:24:8 [duplicate-id] activities[4].id
        the id `d` is already that of activities[3]
        help: give each activity an id of its own
      - many.yaml:25:10 [unknown-source] output[0]
        nobody produces `d.other`: the output of `d` (type `number`) has no `other`
        help: known are `n`
      - many.yaml:29:41 [schema-mismatch] activities[0].inputs[0].source
        `b.n` can never fit the input `n` of `text`: it is integer, where string is taken
        help: map another source, or correct one of the two schemas
      - many.yaml:29:41 [not-upstream] activities[0].inputs[0].source
        `a` reads the output of `b`, but does not wait for it
        help: add `b` to `dependsOn` of `a`
      - many.yaml:30:40 [wrong-type] activities[1].discriminator
        `discriminator` must be a string, this is a number
        help: put it in quotes
      - many.yaml:30:52 [missing-field] activities[1].inputs[0].source
        the field `source` is missing
        help: add `source`
      - many.yaml:30:53 [unknown-field] activities[1].inputs[0].from
        there is no field `from`
        help: the fields here are `source` and `target`
    no YAML
      422 invalid-definition
      1 mistake in the definitions; nothing was applied
      - many.yaml:3:1 [syntax] 
        this is not YAML: invalid indentation in flow construct
        help: correct the YAML at this place, or above it
    no JSON
      422 invalid-definition
      1 mistake in the definitions; nothing was applied
      - request:1:30 [syntax] 
        this is not JSON: expected value
        help: correct the JSON at this place
    a cycle
      422 invalid-definition
      1 mistake in the definitions; nothing was applied
      - many.yaml:3:52 [cycle] activities[0].dependsOn
        activities wait for each other: a → b → c → a
        help: each depends on the one after the arrow; remove one of these dependencies
    another kind
      400 wrong-kind
      "x" is an activity definition
      help: apply it to the route of its kind, or any mix to /definitions
    nothing
      422 invalid-definition
      1 mistake in the definitions; nothing was applied
      - request:1:1 [empty-source] 
        the source holds no definition
        help: write an orchestration definition or an activity definition
    not text
      400 bad-encoding
      the body is not UTF-8: invalid utf-8 sequence of 1 bytes from index 0
    no sources
      400 bad-field
      the request body cannot be used: missing field `sources` at line 1 column 2
      help: /openapi.json says what the body of this route looks like
    an unknown member
      400 bad-field (dryrun)
      the request body cannot be used: unknown field `dryrun`, expected `sources` or `dryRun` at line 1 column 9
      help: /openapi.json says what the body of this route looks like
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_in_use_is_not_deleted() {
    let refusing = Refusing::start();
    let client = refusing.server.client();
    apply(
        &client,
        "{kind: ActivityDefinition, type: x}\n---\n{type: t, activities: [{id: a, type: x}]}",
    )
    .await;
    let delete = |path: &str| refusing.request(Method::DELETE, path);
    let cases = [
        ("in use", delete("/activity-definitions/x")),
        ("not there", delete("/activity-definitions/y")),
        ("of the other family", delete("/orchestration-definitions/x")),
        ("no name", delete("/orchestration-definitions/a%20b")),
        ("get what is not there", refusing.get("/orchestration-definitions/u")),
        (
            "get a version that is not there",
            refusing.get("/orchestration-definitions/t?version=7"),
        ),
        (
            "get a version that is none",
            refusing.get("/orchestration-definitions/t?version=seven"),
        ),
    ];
    insta::assert_snapshot!(refusing.refusals(cases).await, @r#"
    in use
      409 definition-in-use
      activity definition "x" is used by "t"
      help: delete or change those orchestration definitions first
    not there
      404 definition-not-found (type)
      there is no activity definition of type "y"
      help: list what there is with `unisono get definitions`, or apply it with `unisono apply -f FILE`
    of the other family
      404 definition-not-found (type)
      there is no orchestration definition of type "x"
      help: list what there is with `unisono get definitions`, or apply it with `unisono apply -f FILE`
    no name
      400 bad-name (type)
      type "a b" is no name: a name must not contain ' ' (character 2); A-Z a-z 0-9 . _ - are allowed
    get what is not there
      404 definition-not-found (type)
      there is no orchestration definition of type "u"
      help: list what there is with `unisono get definitions`, or apply it with `unisono apply -f FILE`
    get a version that is not there
      404 version-not-found (version)
      orchestration definition "t" has no version 7; its newest is 1
      help: leave version out to start the newest
    get a version that is none
      400 bad-parameter (version)
      the query cannot be used: version: invalid digit found in string
      help: /openapi.json lists the parameters of this route
    "#);
}
