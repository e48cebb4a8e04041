//! Every kind of mistake, as a person sees it on the terminal.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme};
use unisono_model::{Catalog, Document, Mistake, Source, parse, report, validate};

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

fn catalog(stored: &str) -> Catalog {
    let parsed = parse(&source("stored.yaml", stored));
    let mut catalog = Catalog::default();
    for document in validate(&[parsed], &Catalog::default()).unwrap() {
        match document {
            Document::Activity(definition) => {
                _ = catalog
                    .activity_definitions
                    .insert(definition.r#type.clone(), Arc::new(definition));
            }
            Document::Orchestration(mut definition) => {
                definition.version = Some(3);
                _ = catalog
                    .orchestration_definitions
                    .insert(definition.r#type.clone(), Arc::new(definition));
            }
        }
    }
    catalog
}

/// Two activity types: `free` takes and gives anything, `strict` says what.
const STORED: &str = "
type: free
provider: p
---
type: strict
inputSchema:
  openAPIV3Schema:
    type: object
    required: [port]
    additionalProperties: false
    properties:
      port: {type: integer}
      host: {type: string, nullable: true}
outputSchema:
  openAPIV3Schema:
    type: object
    properties:
      url: {type: string}
      port: {type: integer}
";

fn shown(mistakes: &[Mistake], sources: &[Source]) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(110);
    let mut text = String::new();
    for report in report(mistakes, sources) {
        handler.render_report(&mut text, report.as_ref()).unwrap();
    }
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn refused_as(name: &str, text: &str) -> String {
    let sources = [source(name, text)];
    let parsed: Vec<_> = sources.iter().map(parse).collect();
    let mistakes = validate(&parsed, &catalog(STORED)).unwrap_err();
    shown(&mistakes, &sources)
}

fn refused(text: &str) -> String {
    refused_as("tenant.yaml", text)
}

/// The codes and places of the mistakes, for cases whose picture adds nothing.
fn listed(name: &str, text: &str) -> Vec<String> {
    let parsed = parse(&source(name, text));
    let mistakes = validate(&[parsed], &catalog(STORED)).unwrap_err();
    mistakes
        .iter()
        .map(|m| format!("{}:{} {} {}", m.line, m.column, m.code, m.path))
        .collect()
}

#[test]
fn a_cycle_is_named_in_order() {
    insta::assert_snapshot!(refused("
type: t
activities:
  - {id: a, type: free, dependsOn: [b]}
  - {id: b, type: free, dependsOn: [start, c]}
  - {id: c, type: free, dependsOn: a}
  - {id: start, type: free}
"), @r#"
      × tenant.yaml has a mistake

    Error: cycle

      × activities wait for each other: a → b → c → a
       ╭─[tenant.yaml:4:37]
     3 │ activities:
     4 │   - {id: a, type: free, dependsOn: [b]}
       ·                                     ┬
       ·                                     ╰── activities[0].dependsOn[0]
     5 │   - {id: b, type: free, dependsOn: [start, c]}
       ╰────
      help: each depends on the one after the arrow; remove one of these dependencies
    "#);
}

#[test]
fn an_activity_that_depends_on_itself_is_a_cycle_of_one() {
    insta::assert_snapshot!(refused("
type: t
activities:
  - {id: a, type: free, dependsOn: [a]}
"), @r#"
      × tenant.yaml has a mistake

    Error: cycle

      × the activity waits for itself: a → a
       ╭─[tenant.yaml:4:37]
     3 │ activities:
     4 │   - {id: a, type: free, dependsOn: [a]}
       ·                                     ┬
       ·                                     ╰── activities[0].dependsOn[0]
       ╰────
      help: remove the dependency on itself
    "#);
}

#[test]
fn separate_cycles_are_all_named() {
    assert_eq!(
        listed(
            "t.yaml",
            "
type: t
activities:
  - {id: a, type: free, dependsOn: [b]}
  - {id: b, type: free, dependsOn: [a]}
  - {id: c, type: free, dependsOn: [d, a]}
  - {id: d, type: free, dependsOn: [c]}
"
        ),
        [
            "4:37 cycle activities[0].dependsOn[0]",
            "6:37 cycle activities[2].dependsOn[0]"
        ]
    );
}

#[test]
fn an_unknown_dependency_comes_with_the_nearest_id() {
    insta::assert_snapshot!(refused("
type: t
activities:
  - id: prepare
    type: free
  - id: apply
    type: free
    dependsOn: [prepair, prepare, prepare]
"), @r#"
      × tenant.yaml has 2 mistakes

    Error: unknown-dependency

      × there is no activity `prepair` to depend on
       ╭─[tenant.yaml:8:17]
     7 │     type: free
     8 │     dependsOn: [prepair, prepare, prepare]
       ·                 ───┬───
       ·                    ╰── activities[1].dependsOn[0]
       ╰────
      help: did you mean `prepare`?

    Error: duplicate-dependency

      × `prepare` is already a dependency of this activity
       ╭─[tenant.yaml:8:35]
     7 │     type: free
     8 │     dependsOn: [prepair, prepare, prepare]
       ·                                   ───┬───
       ·                                      ╰── activities[1].dependsOn[2]
       ╰────
      help: name it once
    "#);
}

#[test]
fn an_id_is_used_once() {
    insta::assert_snapshot!(refused("
type: t
activities:
  - {id: a, type: free}
  - {id: a, type: free}
"), @r#"
      × tenant.yaml has a mistake

    Error: duplicate-id

      × the id `a` is already that of activities[0]
       ╭─[tenant.yaml:5:10]
     4 │   - {id: a, type: free}
     5 │   - {id: a, type: free}
       ·          ┬
       ·          ╰── activities[1].id
       ╰────
      help: give each activity an id of its own
    "#);
}

#[test]
fn an_activity_type_must_be_defined() {
    insta::assert_snapshot!(refused("
type: t
activities:
  - {id: a, type: strickt}
"), @r#"
      × tenant.yaml has a mistake

    Error: unknown-activity-type

      × there is no activity definition of the type `strickt`
       ╭─[tenant.yaml:4:19]
     3 │ activities:
     4 │   - {id: a, type: strickt}
       ·                   ───┬───
       ·                      ╰── activities[0].type
       ╰────
      help: did you mean `strict`?
    "#);
}

#[test]
fn an_input_that_nobody_produces_comes_with_what_was_probably_meant() {
    insta::assert_snapshot!(refused("
type: t
schema:
  type: object
  properties:
    domain: {type: string}
activities:
  - {id: web-did, type: strict, inputs: [{source: port, target: port}]}
  - id: b
    type: free
    dependsOn: web-did
    inputs:
      - domian
      - webdid.url
      - web-did.urls
      - web-did
"), @r#"
      × tenant.yaml has 5 mistakes

    Error: unknown-source

      × nobody produces `port`: the orchestration's input has no such property
       ╭─[tenant.yaml:8:51]
     7 │ activities:
     8 │   - {id: web-did, type: strict, inputs: [{source: port, target: port}]}
       ·                                                   ──┬─
       ·                                                     ╰── activities[0].inputs[0].source
     9 │   - id: b
       ╰────
      help: declare it in `schema` (it has `domain`), or write `activityId.path` for the output of an activity

    Error: unknown-source

      × nobody produces `domian`: the orchestration's input has no such property
        ╭─[tenant.yaml:13:9]
     12 │     inputs:
     13 │       - domian
        ·         ───┬──
        ·            ╰── activities[1].inputs[0]
     14 │       - webdid.url
        ╰────
      help: did you mean `domain`?

    Error: unknown-source

      × nobody produces `webdid.url`: the orchestration's input has no such property
        ╭─[tenant.yaml:14:9]
     13 │       - domian
     14 │       - webdid.url
        ·         ─────┬────
        ·              ╰── activities[1].inputs[1]
     15 │       - web-did.urls
        ╰────
      help: did you mean `web-did.url`?

    Error: unknown-source

      × nobody produces `web-did.urls`: the output of `web-did` (type `strict`) has no `urls`
        ╭─[tenant.yaml:15:9]
     14 │       - webdid.url
     15 │       - web-did.urls
        ·         ──────┬─────
        ·               ╰── activities[1].inputs[2]
     16 │       - web-did
        ╰────
      help: did you mean `url`?

    Error: unknown-source

      × nobody produces `web-did`: the orchestration's input has no such property
        ╭─[tenant.yaml:16:9]
     15 │       - web-did.urls
     16 │       - web-did
        ·         ───┬───
        ·            ╰── activities[1].inputs[3]
        ╰────
      help: for the output of the activity `web-did`, write `web-did.` and a property of it
    "#);
}

#[test]
fn an_output_can_only_be_read_downstream() {
    insta::assert_snapshot!(refused("
type: t
activities:
  - {id: a, type: free}
  - {id: b, type: free, dependsOn: a}
  - {id: c, type: free, dependsOn: b, inputs: [a.x, b.y]}
  - {id: d, type: free, inputs: [c.z, {source: d.own, target: own}]}
"), @r#"
      × tenant.yaml has 2 mistakes

    Error: not-upstream

      × `d` reads the output of `c`, but does not wait for it
       ╭─[tenant.yaml:7:34]
     6 │   - {id: c, type: free, dependsOn: b, inputs: [a.x, b.y]}
     7 │   - {id: d, type: free, inputs: [c.z, {source: d.own, target: own}]}
       ·                                  ─┬─
       ·                                   ╰── activities[3].inputs[0]
       ╰────
      help: add `c` to `dependsOn` of `d`

    Error: not-upstream

      × `d` reads its own output
       ╭─[tenant.yaml:7:48]
     6 │   - {id: c, type: free, dependsOn: b, inputs: [a.x, b.y]}
     7 │   - {id: d, type: free, inputs: [c.z, {source: d.own, target: own}]}
       ·                                                ──┬──
       ·                                                  ╰── activities[3].inputs[1].source
       ╰────
      help: an activity can only read what is done before it
    "#);
}

#[test]
fn a_mapped_input_must_be_able_to_fit() {
    insta::assert_snapshot!(refused("
type: t
schema:
  properties:
    host: {type: boolean}
activities:
  - id: a
    type: strict
    inputs:
      - {source: a.url, target: port}
      - host
  - id: b
    type: strict
    dependsOn: [a]
    inputs:
      - {source: a.url, target: port}
      - {source: a.url, target: hots}
      - {source: a.url, target: host}
  - {id: c, type: strict}
"), @r#"
      × tenant.yaml has 6 mistakes

    Error: schema-mismatch

      × `a.url` can never fit the input `port` of `strict`: it is string, where integer is taken
        ╭─[tenant.yaml:10:18]
      9 │     inputs:
     10 │       - {source: a.url, target: port}
        ·                  ──┬──
        ·                    ╰── activities[0].inputs[0].source
     11 │       - host
        ╰────
      help: map another source, or correct one of the two schemas

    Error: not-upstream

      × `a` reads its own output
        ╭─[tenant.yaml:10:18]
      9 │     inputs:
     10 │       - {source: a.url, target: port}
        ·                  ──┬──
        ·                    ╰── activities[0].inputs[0].source
     11 │       - host
        ╰────
      help: an activity can only read what is done before it

    Error: schema-mismatch

      × `host` can never fit the input `host` of `strict`: it is boolean, where null or string is taken
        ╭─[tenant.yaml:11:9]
     10 │       - {source: a.url, target: port}
     11 │       - host
        ·         ──┬─
        ·           ╰── activities[0].inputs[1]
     12 │   - id: b
        ╰────
      help: map another source, or correct one of the two schemas

    Error: schema-mismatch

      × `a.url` can never fit the input `port` of `strict`: it is string, where integer is taken
        ╭─[tenant.yaml:16:18]
     15 │     inputs:
     16 │       - {source: a.url, target: port}
        ·                  ──┬──
        ·                    ╰── activities[1].inputs[0].source
     17 │       - {source: a.url, target: hots}
        ╰────
      help: map another source, or correct one of the two schemas

    Error: unknown-target

      × the activity type `strict` takes no input `hots`
        ╭─[tenant.yaml:17:33]
     16 │       - {source: a.url, target: port}
     17 │       - {source: a.url, target: hots}
        ·                                 ──┬─
        ·                                   ╰── activities[1].inputs[1].target
     18 │       - {source: a.url, target: host}
        ╰────
      help: did you mean `host`?

    Error: missing-input

      × the activity type `strict` requires the input `port`, which nothing provides
        ╭─[tenant.yaml:19:10]
     18 │       - {source: a.url, target: host}
     19 │   - {id: c, type: strict}
        ·          ┬
        ·          ╰── activities[2].inputs
        ╰────
      help: add a mapping with the target `port` to `inputs`
    "#);
}

#[test]
fn two_values_cannot_go_to_one_target() {
    insta::assert_snapshot!(refused("
type: t
activities:
  - {id: a, type: free, inputs: [tenant.name, {source: domain, target: name}]}
output: [a.name, {source: a.id, target: name}, a..b]
"), @r#"
      × tenant.yaml has 3 mistakes

    Error: duplicate-target

      × the target `name` already gets a value here
       ╭─[tenant.yaml:4:72]
     3 │ activities:
     4 │   - {id: a, type: free, inputs: [tenant.name, {source: domain, target: name}]}
       ·                                                                        ──┬─
       ·                                                                          ╰── activities[0].inputs[1].target
     5 │ output: [a.name, {source: a.id, target: name}, a..b]
       ╰────
      help: give one of the two another `target`

    Error: duplicate-target

      × the target `name` already gets a value here
       ╭─[tenant.yaml:5:41]
     4 │   - {id: a, type: free, inputs: [tenant.name, {source: domain, target: name}]}
     5 │ output: [a.name, {source: a.id, target: name}, a..b]
       ·                                         ──┬─
       ·                                           ╰── output[1].target
       ╰────
      help: give one of the two another `target`

    Error: bad-source

      × part 1 of the path ".b" is empty
       ╭─[tenant.yaml:5:48]
     4 │   - {id: a, type: free, inputs: [tenant.name, {source: domain, target: name}]}
     5 │ output: [a.name, {source: a.id, target: name}, a..b]
       ·                                                ──┬─
       ·                                                  ╰── output[2]
       ╰────
      help: write a path into the input, such as `tenant.name`, or `activityId.path`
    "#);
}

#[test]
fn an_invalid_schema_is_refused_where_it_is_wrong() {
    insta::assert_snapshot!(refused("
type: t
schema:
  type: object
  properties:
    name:
      type: strin
  required: name
activities:
  - {id: a, type: free}
---
type: u
inputSchema:
  openAPIV3Schema:
    properties:
      a: {type: string, pattern: '('}
outputSchema:
  openAPIV3Schema: {$ref: 'https://example.com/schema.json'}
"), @r#"
      × tenant.yaml has 4 mistakes

    Error: invalid-schema

      × the schema is not valid here: must be array, boolean, integer, null, number, object or string, or an
      │ array of these
       ╭─[tenant.yaml:7:13]
     6 │     name:
     7 │       type: strin
       ·             ──┬──
       ·               ╰── schema.properties.name.type
     8 │   required: name
       ╰────
      help: write a JSON Schema

    Error: invalid-schema

      × the schema is not valid here: must be array, is string
       ╭─[tenant.yaml:8:13]
     7 │       type: strin
     8 │   required: name
       ·             ──┬─
       ·               ╰── schema.required
     9 │ activities:
       ╰────
      help: write a JSON Schema

    Error: invalid-schema

      × the schema is not valid here: is not a regular expression
        ╭─[tenant.yaml:16:34]
     15 │     properties:
     16 │       a: {type: string, pattern: '('}
        ·                                  ─┬─
        ·                                   ╰── inputSchema.openAPIV3Schema.properties.a.pattern
     17 │ outputSchema:
        ╰────
      help: write a schema object of OpenAPI 3.0

    Error: invalid-schema

      × the schema is not valid here: has a $ref that cannot be followed, only `#/…` within the schema can:
      │ Resource 'https://example.com/schema.json' is not present in a registry and retrieving it failed:
      │ Retrieval is disabled, cannot fetch https://example.com/schema.json
        ╭─[tenant.yaml:18:20]
     17 │ outputSchema:
     18 │   openAPIV3Schema: {$ref: 'https://example.com/schema.json'}
        ·                    ────────────────────┬────────────────────
        ·                                        ╰── outputSchema.openAPIV3Schema
        ╰────
      help: write a schema object of OpenAPI 3.0
    "#);
}

#[test]
fn an_orchestration_needs_activities() {
    insta::assert_snapshot!(refused("
type: t
activities: []
"), @r#"
      × tenant.yaml has a mistake

    Error: empty-activities

      × the orchestration has no activities
       ╭─[tenant.yaml:3:13]
     2 │ type: t
     3 │ activities: []
       ·             ─┬
       ·              ╰── activities
       ╰────
      help: add at least one activity
    "#);
}

#[test]
fn a_name_keeps_to_its_alphabet() {
    insta::assert_snapshot!(refused("
type: tenant deploy
activities:
  - {id: größe, type: free}
  - {id: 42, type: ''}
"), @r#"
      × tenant.yaml has 4 mistakes

    Error: bad-name

      × a name must not contain ' ' (character 7); A-Z a-z 0-9 . _ - are allowed
       ╭─[tenant.yaml:2:7]
     1 │
     2 │ type: tenant deploy
       ·       ──────┬──────
       ·             ╰── type
     3 │ activities:
       ╰────
      help: use 1 to 128 characters out of A-Z a-z 0-9 . _ -

    Error: bad-name

      × a name must not contain 'ö' (character 3); A-Z a-z 0-9 . _ - are allowed
       ╭─[tenant.yaml:4:10]
     3 │ activities:
     4 │   - {id: größe, type: free}
       ·          ──┬──
       ·            ╰── activities[0].id
     5 │   - {id: 42, type: ''}
       ╰────
      help: use 1 to 128 characters out of A-Z a-z 0-9 . _ -

    Error: wrong-type

      × a name must be a string, this is a number
       ╭─[tenant.yaml:5:10]
     4 │   - {id: größe, type: free}
     5 │   - {id: 42, type: ''}
       ·          ─┬
       ·           ╰── activities[1].id
       ╰────
      help: put it in quotes

    Error: bad-name

      × a name must not be empty
       ╭─[tenant.yaml:5:20]
     4 │   - {id: größe, type: free}
     5 │   - {id: 42, type: ''}
       ·                    ─┬
       ·                     ╰── activities[1].type
       ╰────
      help: use 1 to 128 characters out of A-Z a-z 0-9 . _ -
    "#);
}

#[test]
fn unknown_fields_come_with_the_nearest_known_one() {
    insta::assert_snapshot!(refused("
type: t
descripton: x
input: {}
activities:
  - id: a
    type: free
    depends_on: []
    timeout: 3s
    inputs:
      - {source: a, targt: b}
---
type: u
inputSchema:
  openApiV3Schema: {}
"), @r#"
      × tenant.yaml has 7 mistakes

    Error: unknown-field

      × there is no field `descripton`
       ╭─[tenant.yaml:3:1]
     2 │ type: t
     3 │ descripton: x
       · ─────┬────
       ·      ╰── descripton
     4 │ input: {}
       ╰────
      help: did you mean `description`?

    Error: unknown-field

      × there is no field `input`
       ╭─[tenant.yaml:4:1]
     3 │ descripton: x
     4 │ input: {}
       · ──┬──
       ·   ╰── input
     5 │ activities:
       ╰────
      help: `schema` describes the input; the input itself is given when a run starts

    Error: unknown-field

      × there is no field `depends_on`
       ╭─[tenant.yaml:8:5]
     7 │     type: free
     8 │     depends_on: []
       ·     ─────┬────
       ·          ╰── activities[0].depends_on
     9 │     timeout: 3s
       ╰────
      help: did you mean `dependsOn`?

    Error: unknown-field

      × there is no field `timeout`
        ╭─[tenant.yaml:9:5]
      8 │     depends_on: []
      9 │     timeout: 3s
        ·     ───┬───
        ·        ╰── activities[0].timeout
     10 │     inputs:
        ╰────
      help: the fields here are `id`, `type`, `discriminator`, `dependsOn` and `inputs`

    Error: unknown-field

      × there is no field `targt`
        ╭─[tenant.yaml:11:21]
     10 │     inputs:
     11 │       - {source: a, targt: b}
        ·                     ──┬──
        ·                       ╰── activities[0].inputs[0].targt
     12 │ ---
        ╰────
      help: did you mean `target`?

    Error: unknown-field

      × there is no field `openApiV3Schema`
        ╭─[tenant.yaml:15:3]
     14 │ inputSchema:
     15 │   openApiV3Schema: {}
        ·   ───────┬───────
        ·          ╰── inputSchema.openApiV3Schema
        ╰────
      help: did you mean `openAPIV3Schema`?

    Error: missing-field

      × the field `openAPIV3Schema` is missing
        ╭─[tenant.yaml:15:3]
     14 │ inputSchema:
     15 │   openApiV3Schema: {}
        ·   ─────────┬─────────
        ·            ╰── inputSchema.openAPIV3Schema
        ╰────
      help: add `openAPIV3Schema`
    "#);
}

#[test]
fn missing_and_wrongly_typed_fields_are_named() {
    insta::assert_snapshot!(refused("
type: true
active: 'yes'
activities:
  - {type: free, dependsOn: 3, inputs: cell}
  - just a string
  - {id: a, type:, discriminator: 1.5}
"), @r#"
      × tenant.yaml has 8 mistakes

    Error: wrong-type

      × a name must be a string, this is a boolean
       ╭─[tenant.yaml:2:7]
     1 │
     2 │ type: true
       ·       ──┬─
       ·         ╰── type
     3 │ active: 'yes'
       ╰────
      help: put it in quotes

    Error: wrong-type

      × `active` must be true or false, this is a string
       ╭─[tenant.yaml:3:9]
     2 │ type: true
     3 │ active: 'yes'
       ·         ──┬──
       ·           ╰── active
     4 │ activities:
       ╰────
      help: write true or false

    Error: missing-field

      × the field `id` is missing
       ╭─[tenant.yaml:5:5]
     4 │ activities:
     5 │   - {type: free, dependsOn: 3, inputs: cell}
       ·     ────────────────────┬───────────────────
       ·                         ╰── activities[0].id
     6 │   - just a string
       ╰────
      help: add `id`

    Error: wrong-type

      × `dependsOn` must be an array of activity ids, or one id as a string, this is a number
       ╭─[tenant.yaml:5:29]
     4 │ activities:
     5 │   - {type: free, dependsOn: 3, inputs: cell}
       ·                             ┬
       ·                             ╰── activities[0].dependsOn
     6 │   - just a string
       ╰────
      help: put it in quotes

    Error: wrong-type

      × mappings must be an array of sources, or of objects of `source` and `target`, this is a string
       ╭─[tenant.yaml:5:40]
     4 │ activities:
     5 │   - {type: free, dependsOn: 3, inputs: cell}
       ·                                        ──┬─
       ·                                          ╰── activities[0].inputs
     6 │   - just a string
       ╰────
      help: write an array of sources, or of objects of `source` and `target`

    Error: wrong-type

      × an activity must be an object, this is a string
       ╭─[tenant.yaml:6:5]
     5 │   - {type: free, dependsOn: 3, inputs: cell}
     6 │   - just a string
       ·     ──────┬──────
       ·           ╰── activities[1]
     7 │   - {id: a, type:, discriminator: 1.5}
       ╰────
      help: write an object

    Error: missing-field

      × the field `type` is empty
       ╭─[tenant.yaml:7:17]
     6 │   - just a string
     7 │   - {id: a, type:, discriminator: 1.5}
       ·                 ▲
       ·                 ╰── activities[2].type
       ╰────
      help: give `type` a value

    Error: wrong-type

      × `discriminator` must be a string, this is a number
       ╭─[tenant.yaml:7:35]
     6 │   - just a string
     7 │   - {id: a, type:, discriminator: 1.5}
       ·                                   ─┬─
       ·                                    ╰── activities[2].discriminator
       ╰────
      help: put it in quotes
    "#);
}

#[test]
fn a_document_of_no_known_kind_is_refused() {
    insta::assert_snapshot!(refused("
type: t
activites: []
---
type: u
---
kind: ActivityDefinitoin
type: v
---
- just
- text
"), @r#"
      × tenant.yaml has 5 mistakes

    Error: unknown-kind

      × this is neither an orchestration definition nor an activity definition
       ╭─[tenant.yaml:3:1]
     2 │ type: t
     3 │ activites: []
       · ────┬────
       ·     ╰── here
     4 │ ---
       ╰────
      help: did you mean `activities` instead of `activites`?

    Error: unknown-kind

      × this is neither an orchestration definition nor an activity definition
       ╭─[tenant.yaml:5:1]
     4 │ ---
     5 │ type: u
       · ───┬───
       ·    ╰── here
     6 │ ---
       ╰────
      help: an orchestration definition has `activities`; an activity definition has `provider`, `inputSchema`
            or `outputSchema`, or says `kind: ActivityDefinition`

    Error: unknown-kind

      × there is no kind `ActivityDefinitoin`
       ╭─[tenant.yaml:7:7]
     6 │ ---
     7 │ kind: ActivityDefinitoin
       ·       ─────────┬────────
       ·                ╰── kind
     8 │ type: v
       ╰────
      help: did you mean `ActivityDefinition`?

    Error: wrong-type

      × a definition must be an object, this is a string
        ╭─[tenant.yaml:10:3]
      9 │ ---
     10 │ - just
        ·   ──┬─
        ·     ╰── here
     11 │ - text
        ╰────
      help: write an object

    Error: wrong-type

      × a definition must be an object, this is a string
        ╭─[tenant.yaml:11:3]
     10 │ - just
     11 │ - text
        ·   ──┬─
        ·     ╰── here
        ╰────
      help: write an object
    "#);
}

#[test]
fn a_key_stands_once() {
    insta::assert_snapshot!(refused("
type: t
type: u
activities:
  - {id: a, type: free}
"), @r#"
      × tenant.yaml has a mistake

    Error: duplicate-key

      × `type` stands twice in one object
       ╭─[tenant.yaml:3:1]
     2 │ type: t
     3 │ type: u
       · ──┬─
       ·   ╰── type
     4 │ activities:
       ╰────
      help: remove one of them
    "#);
}

#[test]
fn broken_yaml_is_shown_where_it_breaks() {
    insta::assert_snapshot!(refused("
type: t
activities:
  - {id: a, type: free
  - {id: b, type: free}
"), @r#"
      × tenant.yaml has a mistake

    Error: syntax

      × this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'
       ╭─[tenant.yaml:5:5]
     4 │   - {id: a, type: free
     5 │   - {id: b, type: free}
       ·     ┬
       ·     ╰── here
       ╰────
      help: correct the YAML at this place, or above it
    "#);
}

#[test]
fn broken_json_is_shown_where_it_breaks() {
    insta::assert_snapshot!(refused_as("tenant.json", r#"{
  "type": "t",
  "activities": [
    {"id": "a" "type": "free"}
  ]
}"#), @r#"
      × tenant.json has a mistake

    Error: syntax

      × this is not JSON: expected `,` or `}`
       ╭─[tenant.json:4:16]
     3 │   "activities": [
     4 │     {"id": "a" "type": "free"}
       ·                ┬
       ·                ╰── here
     5 │   ]
       ╰────
      help: correct the JSON at this place
    "#);
}

#[test]
fn a_type_is_defined_once_in_an_apply() {
    let sources = [
        source("a.yaml", "type: x\nprovider: p\n"),
        source("b.yaml", "# the same again\ntype: x\nprovider: q\n"),
    ];
    let parsed: Vec<_> = sources.iter().map(parse).collect();
    let mistakes = validate(&parsed, &Catalog::default()).unwrap_err();
    insta::assert_snapshot!(shown(&mistakes, &sources), @r#"
      × b.yaml has a mistake

    Error: duplicate-type

      × the type `x` is already defined at a.yaml:1
       ╭─[b.yaml:2:7]
     1 │ # the same again
     2 │ type: x
       ·       ┬
       ·       ╰── type
     3 │ provider: q
       ╰────
      help: keep one of the two definitions, or give one of them another type
    "#);
}

#[test]
fn a_changed_activity_definition_must_still_fit_its_users() {
    let stored = format!(
        "{STORED}
---
type: tenant
activities:
  - {{id: a, type: strict, inputs: [port]}}
  - {{id: b, type: free, dependsOn: a, inputs: [a.url]}}
"
    );
    let catalog = catalog(&stored);
    let sources = [source(
        "strict.yaml",
        "
type: strict
inputSchema:
  openAPIV3Schema:
    required: [port, region]
outputSchema:
  openAPIV3Schema:
    properties:
      address: {type: string}
",
    )];
    let parsed: Vec<_> = sources.iter().map(parse).collect();
    let mistakes = validate(&parsed, &catalog).unwrap_err();
    insta::assert_snapshot!(shown(&mistakes, &sources), @r#"
      × strict.yaml has a mistake

    Error: breaks-user

      × this change would break the orchestration definition `tenant` (version 3): activities[0].inputs: the
      │ activity type `strict` requires the input `region`, which nothing provides; activities[1].inputs[0]:
      │ nobody produces `a.url`: the output of `a` (type `strict`) has no `url`
       ╭─[strict.yaml:2:7]
     1 │
     2 │ type: strict
       ·       ───┬──
       ·          ╰── type
     3 │ inputSchema:
       ╰────
      help: keep the schemas compatible, or apply a changed `tenant` together with this definition
    "#);

    let with_user = [
        parse(&sources[0]),
        parse(&source(
            "tenant.yaml",
            "
type: tenant
activities:
  - {id: a, type: strict, inputs: [port, region]}
",
        )),
    ];
    assert!(
        validate(&with_user, &catalog).is_ok(),
        "together with its changed user it is accepted"
    );
    let strict = "strict".parse().unwrap();
    assert_eq!(
        catalog.users_of(&strict).iter().map(|n| n.as_str()).collect::<Vec<_>>(),
        ["tenant"]
    );
}

#[test]
fn everything_wrong_in_several_documents_is_said_at_once() {
    assert_eq!(
        listed(
            "t.yaml",
            "
type: t
colour: red
activities:
  - {id: a, type: free, dependsOn: [b]}
  - {id: b, type: nope, dependsOn: [a, z]}
---
type: u
provider: p
inputSchema: {openAPIV3Schema: {type: 7}}
"
        ),
        [
            "3:1 unknown-field colour",
            "5:37 cycle activities[0].dependsOn[0]",
            "6:19 unknown-activity-type activities[1].type",
            "6:40 unknown-dependency activities[1].dependsOn[1]",
            "10:39 invalid-schema inputSchema.openAPIV3Schema.type",
        ]
    );
}

#[test]
fn sizes_are_limited() {
    let activities = |count: usize| -> String {
        let list: Vec<String> = (0..count)
            .map(|i| format!(r#"{{"id":"a{i}","type":"free"}}"#))
            .collect();
        format!(r#"{{"type":"t","activities":[{}]}}"#, list.join(","))
    };
    assert_eq!(
        listed("t.json", &activities(100_001)),
        ["1:26 too-many-activities activities"]
    );
    assert_eq!(listed("t.json", &" ".repeat((32 << 20) + 1)), ["1:1 too-large "]);
    let long = format!(
        "type: t\ndescription: {}\nactivities: [{{id: a, type: free}}]",
        "x".repeat(20_000)
    );
    assert_eq!(listed("t.yaml", &long), ["2:14 too-long description"]);
}

#[test]
fn nesting_is_limited_in_both_languages() {
    for depth in [65, 300, 200_000] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let json = format!(r#"{{"type": "t", "schema": {deep}}}"#);
        assert!(listed("t.json", &json)[0].contains("too-deep"), "{depth}");
        let yaml = listed("t.yaml", &format!("type: t\nschema: {deep}\n"));
        assert!(yaml[0].contains("too-deep"), "{depth}: {yaml:?}");
    }
    let block: String = (0..500).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert!(listed("t.yaml", &block)[0].contains("too-deep"));
}

#[test]
fn aliases_cannot_make_a_small_file_huge() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb += &format!("a{i}: &a{i} [{aliases}]\n");
    }
    assert!(listed("t.yaml", &bomb)[0].contains("too-many-aliases"));
}

#[test]
fn a_thousand_mistakes_are_listed_and_the_rest_counted() {
    let list: String = (0..3_000).map(|i| format!("  - {{id: a{i}, type: nope}}\n")).collect();
    let parsed = parse(&source("t.yaml", &format!("type: t\nactivities:\n{list}")));
    let mistakes = validate(&[parsed], &Catalog::default()).unwrap_err();
    assert_eq!(mistakes.len(), 1_001);
    assert_eq!(mistakes[1_000].message, "there are 2000 more mistakes from here on");
}

#[test]
fn what_only_yaml_can_say_is_refused() {
    for (text, code) in [
        ("type: t\n<<: {a: b}\n", "merge-key"),
        ("type: !secret t\n", "unknown-tag"),
        ("? [a, b]\n: c\n", "bad-key"),
        ("type: t\nschema: {maximum: .inf}\n", "bad-number"),
        ("type: &a [*a]\n", "syntax"),
        ("type: *nowhere\n", "syntax"),
        ("# nothing\n", "empty-source"),
        ("", "empty-source"),
    ] {
        let list = listed("t.yaml", text);
        assert!(list.len() == 1 && list[0].contains(code), "{text:?}: {list:?}");
    }
}

#[test]
fn a_mistake_is_the_same_data_on_every_face() {
    let parsed = parse(&source("t.yaml", "type: t\nactivities: []\n"));
    let mistakes = validate(&[parsed], &Catalog::default()).unwrap_err();
    let json = serde_json::to_value(&mistakes).unwrap();
    assert_eq!(
        json,
        serde_json::json!([{
            "code": "empty-activities", "file": "t.yaml", "line": 2, "column": 13, "path": "activities",
            "message": "the orchestration has no activities", "help": "add at least one activity",
            "span": {"offset": 20, "length": 2}
        }])
    );
    assert_eq!(serde_json::from_value::<Vec<Mistake>>(json).unwrap(), mistakes);
}
