//! What is accepted: the document's own examples, and every way to write a definition.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use unisono_model::{Catalog, Document, Source, parse, validate};

fn accepted(name: &str, text: &str) -> Vec<Document> {
    let parsed = parse(&Source {
        name: name.to_owned(),
        text: text.to_owned(),
    });
    validate(&[parsed], &Catalog::default()).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

const TENANT: &str = r#"{
  "type": "tenant.example.com",
  "active": true,
  "schema": {},
  "activities": [
    {
      "id": "activity1",
      "type": "activity1.example.com",
      "inputs": [
        "cell",
        "baseUrl"
      ]
    },
    {
      "id": "activity2",
      "type": "activity2.example.com",
      "dependsOn": "activity1",
      "inputs": [
        {
          "source": "activity1.resource",
          "target": "resourceId"
        }
      ]
    }
  ]
}
"#;

const ACTIVITY_1: &str = r#"{
  "type": "activity1.example.com",
  "provider": "provisioner.example.com",
  "description": "Provisions a resource for a tenant",
  "inputSchema": {
    "openAPIV3Schema": {}
  },
  "outputSchema": {
    "openAPIV3Schema": {}
  }
}
"#;

const DISCRIMINATED: &str = r#"{
  "type": "test.example.com",
  "description": "Test Deploy Orchestration",
  "active": true,
  "schema": {},
  "activities": [
    {
      "id": "test-activity",
      "type": "test",
      "discriminator": "deploy",
      "inputs": [],
      "dependsOn": []
    }
  ]
}
"#;

const OTHERS: &str =
    r#"{"type": "activity2.example.com", "provider": "p"} {"kind": "ActivityDefinition", "type": "test"}"#;

#[test]
fn the_examples_of_the_specification_apply_unchanged() {
    let documents = accepted("tenant.json", &[TENANT, ACTIVITY_1, DISCRIMINATED, OTHERS].concat());
    assert_eq!(documents.len(), 5);
    let Document::Orchestration(tenant) = &documents[0] else {
        panic!("an orchestration comes first")
    };
    assert_eq!(tenant.activities[1].depends_on, ["activity1"]);
    assert_eq!(tenant.activities[1].inputs[0].target.as_deref(), Some("resourceId"));
}

#[test]
fn one_definition_has_one_meaning_in_every_way_of_writing_it() {
    let all = [TENANT, ACTIVITY_1, DISCRIMINATED, OTHERS].concat();
    let expected = accepted("tenant.json", &all);
    let array = format!(
        "[{TENANT}, {ACTIVITY_1}, {DISCRIMINATED}, {}]",
        OTHERS.replace("} {", "}, {")
    );
    let separated = format!(
        "{TENANT}---\n{ACTIVITY_1}---\n{DISCRIMINATED}---\n{}\n...\n",
        OTHERS.replace("} {", "}\n---\n{")
    );
    let yaml = "
# The same in block style.
type: tenant.example.com
activities:
  - id: activity1
    type: activity1.example.com
    inputs: [cell, baseUrl]
  - id: activity2
    type: activity2.example.com
    dependsOn: [activity1]
    inputs:
      - source: activity1.resource
        target: resourceId
---
type: activity1.example.com
provider: provisioner.example.com
description: >-
  Provisions a resource
  for a tenant
inputSchema: &anything
  openAPIV3Schema: {}
outputSchema: *anything
---
type: test.example.com
version: 12
description: 'Test Deploy Orchestration'
active: true
activities:
- {id: test-activity, type: test, discriminator: deploy, dependsOn: [], inputs:}
---
type: activity2.example.com
provider: p
---
kind: ActivityDefinition
type: test
---
";
    for (name, text) in [
        ("array.json", array.as_str()),
        ("body", &all),
        ("tabs.json", &all.replace("  ", "\t")),
        ("tabs.yaml", &all.replace("  ", "\t")),
        ("bom.json", &format!("\u{feff}{all}")),
        ("windows.yaml", &yaml.replace('\n', "\r\n")),
        ("separated.yaml", &separated),
        ("stdin", &separated),
        ("block.yaml", yaml),
    ] {
        assert_eq!(accepted(name, text), expected, "{name}");
    }
}

#[test]
fn a_document_survives_being_stored() {
    let documents = accepted("tenant.json", &[TENANT, ACTIVITY_1, DISCRIMINATED, OTHERS].concat());
    let stored = serde_json::to_string(&documents).unwrap();
    assert_eq!(accepted("stored.json", &stored), documents);
    assert_eq!(serde_json::from_str::<Vec<Document>>(&stored).unwrap(), documents);
}

#[test]
fn plain_scalars_of_yaml_have_the_types_of_the_core_schema() {
    let documents = accepted(
        "t.yaml",
        "
type: t
provider: 'null'
inputSchema:
  openAPIV3Schema:
    default: [1, -2, +3, 0x1F, 0o17, 1.5, 1e3, .5, 18446744073709551615, ~, null, true, False, yes, 1.2.3, 2024-01-01, '1', \"\\u00e9\", !!str 7, a-b, 0x, '']
",
    );
    let Document::Activity(definition) = &documents[0] else {
        panic!()
    };
    assert_eq!(definition.provider.as_deref(), Some("null"));
    assert_eq!(
        definition.input_schema.as_ref().unwrap().open_api_v3_schema["default"],
        json!([
            1,
            -2,
            3,
            31,
            15,
            1.5,
            1000.0,
            0.5,
            18446744073709551615_u64,
            null,
            null,
            true,
            false,
            "yes",
            "1.2.3",
            "2024-01-01",
            "1",
            "é",
            "7",
            "a-b",
            "0x",
            ""
        ])
    );
}

#[test]
fn an_orchestration_may_use_what_stands_in_another_file_of_the_same_apply() {
    let parsed = [
        parse(&Source {
            name: "z.yaml".into(),
            text: "type: t\nactivities: [{id: a, type: x}]".into(),
        }),
        parse(&Source {
            name: "a.yaml".into(),
            text: "type: x\nprovider: p".into(),
        }),
    ];
    assert_eq!(validate(&parsed, &Catalog::default()).unwrap().len(), 2);
}

#[test]
fn the_longest_id_is_the_producer_and_a_leading_slash_means_the_input() {
    let text = "
type: x
provider: p
outputSchema: {openAPIV3Schema: {properties: {b: {type: string}}}}
---
type: y
provider: p
outputSchema: {openAPIV3Schema: {properties: {c: {type: string}}}}
---
type: t
activities:
  - {id: a, type: x}
  - {id: a.b, type: y}
  - {id: z, type: x, dependsOn: [a, a.b], inputs: [a.b.c, a.b, /a.b/d]}
";
    accepted("t.yaml", text);
}

#[test]
fn a_producer_further_up_needs_no_dependency_of_its_own() {
    let text = "
type: x
provider: p
---
type: t
activities:
  - {id: c, type: x, dependsOn: b, inputs: [a.out]}
  - {id: b, type: x, dependsOn: a}
  - {id: a, type: x}
output: [a.out, {source: tenant, target: who}]
";
    accepted("t.yaml", text);
}
