//! From values with spans to drafts: fields known and unknown, types, names, lengths.

use std::collections::HashMap;

use super::{
    Finding, Node,
    draft::{
        At, Draft, DraftActivity, DraftActivityDefinition, DraftDependency, DraftMapping, DraftOrchestration,
        DraftSchema,
    },
    node::{Data, Key},
};
use crate::{
    Name,
    limits::{MAX_DESCRIPTION_BYTES, MAX_DISCRIMINATOR_BYTES, MAX_PATH_BYTES},
    nearest::{Nearest, listed},
    problem::Span,
};

const ORCHESTRATION: &[&str] = &[
    "kind",
    "type",
    "version",
    "description",
    "active",
    "schema",
    "activities",
    "output",
];
const ACTIVITY: &[&str] = &["id", "type", "discriminator", "dependsOn", "inputs"];
const MAPPING: &[&str] = &["source", "target"];
const ACTIVITY_DEFINITION: &[&str] = &["kind", "type", "provider", "description", "inputSchema", "outputSchema"];
const SCHEMA_HOLDER: &[&str] = &["openAPIV3Schema"];
const KINDS: &[&str] = &["OrchestrationDefinition", "ActivityDefinition"];

/// Reads one document as far as possible; `None` when not even its kind can be told.
pub(super) fn document(node: Node, findings: &mut Vec<Finding>) -> Option<Draft> {
    let mut reader = Reader {
        findings,
        nearest: Nearest::new(),
    };
    if !matches!(node.data, Data::Object(_)) {
        reader.wrong_type(&node, "", "a definition must be an object");
        return None;
    }
    reader.duplicate_keys(&node, "");
    if reader.is_orchestration(&node)? {
        Some(Draft::Orchestration(reader.orchestration(&node)))
    } else {
        Some(Draft::Activity(reader.activity_definition(&node)))
    }
}

struct Reader<'f> {
    findings: &'f mut Vec<Finding>,
    nearest: Nearest,
}

/// A field that may be absent: written as nothing it is absent as well.
fn field<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    node.get(name).filter(|value| value.data != Data::Null)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

impl Reader<'_> {
    fn add(&mut self, code: &'static str, span: Span, path: &str, message: impl Into<String>, help: impl Into<String>) {
        self.findings.push(Finding::new(code, (span, path), message, help));
    }

    /// `rule` says what the thing must be, in a sentence with `must be`.
    fn wrong_type(&mut self, node: &Node, path: &str, rule: &str) {
        let wanted = rule.split_once("must be ").map_or(rule, |(_, wanted)| wanted);
        let help = match node.data {
            Data::Bool(_) | Data::Number(_) if wanted.contains("string") => "put it in quotes".to_owned(),
            _ => format!("write {wanted}"),
        };
        self.add(
            "wrong-type",
            node.span,
            path,
            format!("{rule}, this is {}", node.kind()),
            help,
        );
    }

    fn duplicate_keys(&mut self, node: &Node, path: &str) {
        match &node.data {
            Data::List(items) => items
                .iter()
                .enumerate()
                .for_each(|(place, item)| self.duplicate_keys(item, &format!("{path}[{place}]"))),
            Data::Object(properties) => {
                let mut seen: HashMap<&str, &Key> = HashMap::with_capacity(properties.len());
                for (key, value) in properties {
                    let path = join(path, &key.text);
                    if seen.insert(&key.text, key).is_some() {
                        let message = format!("`{}` stands twice in one object", key.text);
                        self.add("duplicate-key", key.span, &path, message, "remove one of them");
                    }
                    self.duplicate_keys(value, &path);
                }
            }
            _ => {}
        }
    }

    /// Tells the kinds apart: by `kind` if it is there, otherwise by the fields that only one of them has.
    fn is_orchestration(&mut self, node: &Node) -> Option<bool> {
        if let Some(kind) = field(node, "kind") {
            let text = if let Data::Text(text) = &kind.data {
                text.as_str()
            } else {
                ""
            };
            if !KINDS.contains(&text) {
                let help = self
                    .nearest
                    .help(text, KINDS.iter().copied(), || format!("write {}", KINDS.join(" or ")));
                self.add(
                    "unknown-kind",
                    kind.span,
                    "kind",
                    format!("there is no kind `{text}`"),
                    help,
                );
                return None;
            }
            return Some(text == KINDS[0]);
        }
        if node.get("activities").is_some() {
            return Some(true);
        }
        if ["provider", "inputSchema", "outputSchema"]
            .iter()
            .any(|name| node.get(name).is_some())
        {
            return Some(false);
        }
        let telling = ["activities", "provider", "inputSchema", "outputSchema"];
        let Data::Object(properties) = &node.data else {
            return None;
        };
        let meant = properties
            .iter()
            .find_map(|(key, _)| Some((key, self.nearest.of(&key.text, telling)?)));
        let (span, help) = match meant {
            Some((key, near)) => (key.span, format!("did you mean `{near}` instead of `{}`?", key.text)),
            None => (
                node.span,
                "an orchestration definition has `activities`; an activity definition has `provider`, `inputSchema` or \
                 `outputSchema`, or says `kind: ActivityDefinition`"
                    .to_owned(),
            ),
        };
        self.add(
            "unknown-kind",
            span,
            "",
            "this is neither an orchestration definition nor an activity definition",
            help,
        );
        None
    }

    fn known_fields(&mut self, node: &Node, path: &str, known: &[&str]) {
        let Data::Object(properties) = &node.data else {
            return;
        };
        for (key, _) in properties.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            let help = match key.text.as_str() {
                "input" if known == ORCHESTRATION => {
                    "`schema` describes the input; the input itself is given when a run starts".to_owned()
                }
                text => self.nearest.help(text, known.iter().copied(), || {
                    format!("the fields here are {}", listed(known.iter().copied()))
                }),
            };
            self.add(
                "unknown-field",
                key.span,
                &join(path, &key.text),
                format!("there is no field `{}`", key.text),
                help,
            );
        }
    }

    fn required<'n>(&mut self, node: &'n Node, path: &str, name: &str) -> Option<&'n Node> {
        let found = node.get(name);
        match found {
            None => {
                let help = format!("add `{name}`");
                self.add(
                    "missing-field",
                    node.span,
                    &join(path, name),
                    format!("the field `{name}` is missing"),
                    help,
                );
            }
            Some(value) if value.data == Data::Null => {
                let help = format!("give `{name}` a value");
                self.add(
                    "missing-field",
                    value.span,
                    &join(path, name),
                    format!("the field `{name}` is empty"),
                    help,
                );
            }
            Some(_) => {}
        }
        found.filter(|value| value.data != Data::Null)
    }

    fn name(&mut self, node: &Node, path: &str) -> Option<At<Name>> {
        let Data::Text(text) = &node.data else {
            self.wrong_type(node, path, "a name must be a string");
            return None;
        };
        match Name::parse(text) {
            Ok(value) => Some(At { value, span: node.span }),
            Err(error) => {
                let help = "use 1 to 128 characters out of A-Z a-z 0-9 . _ -";
                self.add("bad-name", node.span, path, error.to_string(), help);
                None
            }
        }
    }

    fn required_name(&mut self, node: &Node, path: &str, name: &str) -> Option<At<Name>> {
        let value = self.required(node, path, name)?;
        self.name(value, &join(path, name))
    }

    fn text(&mut self, node: &Node, path: &str, name: &str, limit: usize) -> Option<At<String>> {
        let value = field(node, name)?;
        self.string(value, &join(path, name), &format!("`{name}` must be a string"), limit)
    }

    fn string(&mut self, node: &Node, path: &str, rule: &str, limit: usize) -> Option<At<String>> {
        let Data::Text(text) = &node.data else {
            self.wrong_type(node, path, rule);
            return None;
        };
        if text.len() > limit {
            let message = format!("this text has {} bytes, more than the {limit} allowed", text.len());
            self.add("too-long", node.span, path, message, "shorten it");
            return None;
        }
        Some(At {
            value: text.clone(),
            span: node.span,
        })
    }

    fn orchestration(&mut self, node: &Node) -> DraftOrchestration {
        self.known_fields(node, "", ORCHESTRATION);
        let r#type = self.required_name(node, "", "type");
        if let Some(version) = field(node, "version")
            && !matches!(&version.data, Data::Number(number) if number.is_u64())
        {
            self.wrong_type(version, "version", "`version` must be a number, and is assigned anyway");
        }
        let description = self
            .text(node, "", "description", MAX_DESCRIPTION_BYTES)
            .map(|text| text.value);
        let active = match field(node, "active") {
            None => true,
            Some(Node {
                data: Data::Bool(active),
                ..
            }) => *active,
            Some(other) => {
                self.wrong_type(other, "active", "`active` must be true or false");
                true
            }
        };
        let schema = field(node, "schema").and_then(|schema| self.schema(schema, "schema"));
        let list = self.required(node, "", "activities").and_then(|list| {
            self.list(list, "activities", "`activities` must be an array")
                .map(|items| (list.span, items))
        });
        let activity_count = list.map(|(span, items)| At {
            value: items.len(),
            span,
        });
        let items = list.map_or(&[][..], |(_, items)| items);
        let activities = items
            .iter()
            .enumerate()
            .filter_map(|(place, item)| self.activity(item, place))
            .collect();
        let output = field(node, "output").map(|output| self.mappings(output, "output"));
        DraftOrchestration {
            r#type,
            description,
            active,
            schema,
            activity_count,
            activities,
            output,
        }
    }

    fn list<'n>(&mut self, node: &'n Node, path: &str, rule: &str) -> Option<&'n [Node]> {
        if let Data::List(items) = &node.data {
            return Some(items);
        }
        self.wrong_type(node, path, rule);
        None
    }

    fn activity(&mut self, node: &Node, place: usize) -> Option<DraftActivity> {
        let path = format!("activities[{place}]");
        if !matches!(node.data, Data::Object(_)) {
            self.wrong_type(node, &path, "an activity must be an object");
            return None;
        }
        self.known_fields(node, &path, ACTIVITY);
        let depends_on = field(node, "dependsOn").map(|list| self.dependencies(list, &join(&path, "dependsOn")));
        let inputs = field(node, "inputs").map(|inputs| self.mappings(inputs, &join(&path, "inputs")));
        Some(DraftActivity {
            place,
            span: node.span,
            id: self.required_name(node, &path, "id"),
            r#type: self.required_name(node, &path, "type"),
            discriminator: self
                .text(node, &path, "discriminator", MAX_DISCRIMINATOR_BYTES)
                .map(|text| text.value),
            depends_on: depends_on.unwrap_or_default(),
            inputs: inputs.unwrap_or_default(),
        })
    }

    fn dependencies(&mut self, node: &Node, path: &str) -> Vec<DraftDependency> {
        if matches!(node.data, Data::Text(_)) {
            return self
                .name(node, path)
                .map(|id| DraftDependency { id, place: None })
                .into_iter()
                .collect();
        }
        let items = self.list(
            node,
            path,
            "`dependsOn` must be an array of activity ids, or one id as a string",
        );
        let dependency = |(place, item): (usize, &Node)| {
            let id = self.name(item, &format!("{path}[{place}]"))?;
            Some(DraftDependency { id, place: Some(place) })
        };
        items
            .unwrap_or_default()
            .iter()
            .enumerate()
            .filter_map(dependency)
            .collect()
    }

    fn mappings(&mut self, node: &Node, path: &str) -> Vec<DraftMapping> {
        let rule = "mappings must be an array of sources, or of objects of `source` and `target`";
        let items = self.list(node, path, rule).unwrap_or_default();
        items
            .iter()
            .enumerate()
            .filter_map(|(place, item)| self.mapping(item, place, path))
            .collect()
    }

    fn mapping(&mut self, node: &Node, place: usize, path: &str) -> Option<DraftMapping> {
        let path = format!("{path}[{place}]");
        if !matches!(node.data, Data::Object(_)) {
            let rule = "an input must be a source as a string, or an object of `source` and `target`";
            let source = self.string(node, &path, rule, MAX_PATH_BYTES)?;
            return Some(DraftMapping {
                place,
                source,
                target: None,
                long: false,
            });
        }
        self.known_fields(node, &path, MAPPING);
        self.required(node, &path, "source");
        let target = self.text(node, &path, "target", MAX_PATH_BYTES);
        if let Some(empty) = target.as_ref().filter(|target| target.value.is_empty()) {
            let help = "name the property, or leave `target` out to use the last part of the source";
            self.add(
                "missing-field",
                empty.span,
                &join(&path, "target"),
                "the field `target` is empty",
                help,
            );
        }
        let source = self.text(node, &path, "source", MAX_PATH_BYTES)?;
        Some(DraftMapping {
            place,
            source,
            target,
            long: true,
        })
    }

    fn activity_definition(&mut self, node: &Node) -> DraftActivityDefinition {
        self.known_fields(node, "", ACTIVITY_DEFINITION);
        DraftActivityDefinition {
            r#type: self.required_name(node, "", "type"),
            provider: self
                .text(node, "", "provider", MAX_DISCRIMINATOR_BYTES)
                .map(|text| text.value),
            description: self
                .text(node, "", "description", MAX_DESCRIPTION_BYTES)
                .map(|text| text.value),
            input_schema: self.schema_holder(node, "inputSchema"),
            output_schema: self.schema_holder(node, "outputSchema"),
        }
    }

    fn schema_holder(&mut self, node: &Node, name: &str) -> Option<DraftSchema> {
        let holder = field(node, name)?;
        if !matches!(holder.data, Data::Object(_)) {
            self.wrong_type(
                holder,
                name,
                &format!("`{name}` must be an object with the field `openAPIV3Schema`"),
            );
            return None;
        }
        self.known_fields(holder, name, SCHEMA_HOLDER);
        let schema = self.required(holder, name, "openAPIV3Schema")?;
        self.schema(schema, &join(name, "openAPIV3Schema"))
    }

    fn schema(&mut self, node: &Node, path: &str) -> Option<DraftSchema> {
        if !matches!(node.data, Data::Object(_)) {
            self.wrong_type(node, path, "a schema must be an object");
            return None;
        }
        Some(DraftSchema {
            value: node.to_value(),
            node: Some(node.clone()),
        })
    }
}
