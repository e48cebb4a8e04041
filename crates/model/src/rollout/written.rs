//! Policies as people write them, in YAML or JSON: every mistake with its line and column.

use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::fault::Fault;
use super::policy::Policy;
use super::validate::contradictions;
use crate::document::{Data, Finding, Node, Parsed, Source, nodes};
use crate::nearest::{Nearest, listed};
use crate::problem::{Mistake, Span};

/// Mistakes in how a policy is written that are listed.
const MOST: usize = 100;

/// Reads a policy and judges it.
///
/// # Errors
/// Every mistake in how it is written; when there is none, everything in it that makes no sense.
pub fn read_policy_source(source: &Source) -> Result<Policy, Vec<Mistake>> {
    judged(source, None)
}

/// The policy before with what a source says: fields that it does not name stay, those of objects as well. A `batch` is
/// one field, whatever it is made of, and so is every list.
///
/// # Errors
/// As [`read_policy_source`].
pub fn change_policy_source(source: &Source, before: &Policy) -> Result<Policy, Vec<Mistake>> {
    judged(source, Some(before))
}

fn judged(source: &Source, before: Option<&Policy>) -> Result<Policy, Vec<Mistake>> {
    let parsed = Parsed::of(source);
    let (policy, findings) = read(source, before);
    if !findings.is_empty() {
        return Err(findings.into_iter().map(|finding| parsed.locate(finding)).collect());
    }
    let faults = contradictions(&policy);
    if !faults.is_empty() {
        return Err(locate_faults(source, &faults));
    }
    Ok(policy)
}

/// Where in a source of a policy these faults stand.
#[must_use]
pub fn locate_faults(source: &Source, faults: &[Fault]) -> Vec<Mistake> {
    let parsed = Parsed::of(source);
    let documents = nodes(source, &mut Vec::new());
    let span = |field: &str| documents.first().map_or(Span::default(), |node| place(node, field));
    let mistake = |fault: &Fault| Mistake {
        code: fault.code.clone(),
        ..parsed.locate(Finding::new(
            "",
            (span(&fault.field), fault.field.clone()),
            fault.reason.clone(),
            fault.fix.clone(),
        ))
    };
    faults.iter().map(mistake).collect()
}

/// The place of a field such as `waves[1].select`, or of what is nearest to it.
fn place(node: &Node, field: &str) -> Span {
    let steps: Vec<String> = field
        .split(['.', '['])
        .map(|step| step.trim_end_matches(']').to_owned())
        .filter(|step| !step.is_empty())
        .collect();
    node.nearest(&steps).span
}

fn read(source: &Source, before: Option<&Policy>) -> (Policy, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut documents = nodes(source, &mut findings).into_iter();
    if !findings.is_empty() {
        return (Policy::default(), findings);
    }
    let Some(node) = documents.next() else {
        return (before.cloned().unwrap_or_default(), findings);
    };
    if let Some(second) = documents.next() {
        let help = "keep one policy in a file";
        findings.push(Finding::new(
            "two-policies",
            (second.span, ""),
            "here a second policy begins",
            help,
        ));
        return (Policy::default(), findings);
    }
    twice(&node, "", &mut findings);
    let mut reader = Reader {
        node,
        // A policy has nothing that JSON cannot say.
        before: before.and_then(|before| serde_json::to_value(before).ok()),
        removed: Vec::new(),
        findings,
    };
    let policy = reader.read();
    (policy, reader.findings)
}

fn twice(node: &Node, path: &str, findings: &mut Vec<Finding>) {
    match &node.data {
        Data::List(items) => {
            for (index, item) in items.iter().enumerate() {
                twice(item, &format!("{path}[{index}]"), findings);
            }
        }
        Data::Object(properties) => {
            for (index, (key, value)) in properties.iter().enumerate() {
                let path = join(path, &key.text);
                if properties[..index].iter().any(|(other, _)| other.text == key.text) {
                    let message = format!("`{}` is there twice", key.text);
                    findings.push(Finding::new(
                        "duplicate-field",
                        (key.span, path.clone()),
                        message,
                        "keep one of them",
                    ));
                }
                twice(value, &path, findings);
            }
        }
        _ => {}
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// Reads until nothing is wrong any more: what is wrong is noted, and left out.
struct Reader {
    node: Node,
    /// What stays where the source says nothing.
    before: Option<Value>,
    /// Items of lists that were left out: where the list is, and which item it was.
    removed: Vec<(Vec<Step>, usize)>,
    findings: Vec<Finding>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Item(usize),
    Field(String),
}

impl Reader {
    fn read(&mut self) -> Policy {
        while self.findings.len() < MOST {
            let value = match self.node.to_value() {
                // Nothing at all is a policy of which everything was left out.
                Value::Null => Value::Object(serde_json::Map::new()),
                value @ Value::Object(_) => value,
                _ => {
                    let (message, help) = ("a policy is made of fields", "write fields, such as `batch: 5`");
                    let at = (self.node.span, String::new());
                    self.findings.push(Finding::new("wrong-type", at, message, help));
                    break;
                }
            };
            let value = match self.before.clone() {
                Some(before) => changed(before, value),
                None => value,
            };
            let error = match serde_path_to_error::deserialize::<_, Policy>(value) {
                Ok(policy) => return policy,
                Err(error) => error,
            };
            let steps = steps(error.path());
            let message = error.inner().to_string();
            let found = self.find(&steps, &message);
            self.findings.push(found);
            if steps.is_empty() || !self.leave_out(&steps) {
                break;
            }
        }
        Policy::default()
    }

    fn find(&self, steps: &[Step], message: &str) -> Finding {
        let words: Vec<String> = steps
            .iter()
            .map(|step| match step {
                Step::Item(index) => index.to_string(),
                Step::Field(name) => name.clone(),
            })
            .collect();
        let span = match steps.split_last() {
            // A field that there is not is wrong by its name.
            Some((Step::Field(name), _)) if message.starts_with("unknown field") => {
                let parent = self.node.nearest(&words[..words.len() - 1]);
                key_span(parent, name).unwrap_or(parent.span)
            }
            _ => self.node.nearest(&words).span,
        };
        let (code, message, help) = explain(message);
        Finding::new(code, (span, self.path(steps)), message, help)
    }

    /// The path as it was written: items that were left out count.
    fn path(&self, steps: &[Step]) -> String {
        let (mut path, mut original) = (String::new(), Vec::new());
        for step in steps {
            let step = match step {
                Step::Item(index) => Step::Item(self.written(&original, *index)),
                field => field.clone(),
            };
            match &step {
                Step::Item(index) => path.push_str(&format!("[{index}]")),
                Step::Field(name) => path = join(&path, name),
            }
            original.push(step);
        }
        path
    }

    fn written(&self, list: &[Step], index: usize) -> usize {
        let mut gone: Vec<usize> = self
            .removed
            .iter()
            .filter(|(of, _)| of == list)
            .map(|(_, index)| *index)
            .collect();
        gone.sort_unstable();
        gone.into_iter()
            .fold(index, |index, gone| if gone <= index { index + 1 } else { index })
    }

    fn leave_out(&mut self, steps: &[Step]) -> bool {
        let Some((last, way)) = steps.split_last() else {
            return false;
        };
        if let Step::Item(index) = last {
            let original: Vec<Step> = (0..way.len())
                .map(|depth| match &way[depth] {
                    Step::Item(index) => Step::Item(self.written(&way[..depth], *index)),
                    field => field.clone(),
                })
                .collect();
            let written = self.written(&original, *index);
            self.removed.push((original, written));
        }
        let mut node = &mut self.node;
        for step in way {
            let next = match (&mut node.data, step) {
                (Data::List(items), Step::Item(index)) => items.get_mut(*index),
                (Data::Object(properties), Step::Field(name)) => properties
                    .iter_mut()
                    .find(|(key, _)| key.text == *name)
                    .map(|(_, value)| value),
                _ => None,
            };
            let Some(next) = next else { return false };
            node = next;
        }
        match (&mut node.data, last) {
            (Data::List(items), Step::Item(index)) if *index < items.len() => drop(items.remove(*index)),
            (Data::Object(properties), Step::Field(name)) => {
                let before = properties.len();
                properties.retain(|(key, _)| key.text != *name);
                return properties.len() < before;
            }
            _ => return false,
        }
        true
    }
}

/// What was there before, with the fields that are named. A batch is one thing, however it is written.
fn changed(before: Value, named: Value) -> Value {
    let (mut all, named) = match (before, named) {
        (Value::Object(all), Value::Object(named)) => (all, named),
        (_, named) => return named,
    };
    for (field, value) in named {
        let value = match all.get(&field) {
            Some(before) if field != "batch" => changed(before.clone(), value),
            _ => value,
        };
        all.insert(field, value);
    }
    Value::Object(all)
}

fn key_span(node: &Node, name: &str) -> Option<Span> {
    let Data::Object(properties) = &node.data else {
        return None;
    };
    properties
        .iter()
        .find(|(key, _)| key.text == name)
        .map(|(key, _)| key.span)
}

fn steps(path: &Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Item(*index)),
            Segment::Map { key } => Some(Step::Field(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// The code, the message and the help for what the library says.
fn explain(message: &str) -> (&'static str, String, String) {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let near = Nearest::new();
    if message.starts_with("unknown field") {
        let name = quoted.next().unwrap_or_default();
        let known: Vec<&str> = quoted.collect();
        let all = || format!("there are {}", listed(known.iter().copied()));
        let help = near.help(name, known.iter().copied(), all);
        return ("unknown-field", format!("there is no field `{name}` here"), help);
    }
    if message.starts_with("unknown variant") {
        let word = quoted.next().unwrap_or_default();
        let help = format!("write one of {}", listed(quoted));
        return ("unknown-word", format!("`{word}` is none of the words for this"), help);
    }
    if message.starts_with("missing field") {
        let name = quoted.next().unwrap_or_default();
        return ("missing-field", format!("`{name}` is missing"), format!("add `{name}`"));
    }
    if let Some((given, expected)) = message.split_once(", expected ") {
        let expected = match expected {
            "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
            "f64" => "a number",
            "a boolean" => "true or false",
            "a string" => "a text",
            other => other.trim_start_matches("struct "),
        };
        let given = given
            .trim_start_matches("invalid type: ")
            .trim_start_matches("invalid value: ")
            .trim_start_matches("invalid length ");
        let message = format!("{given} cannot stand here");
        return ("wrong-type", message, format!("write {expected}"));
    }
    let help = if message.contains("100%") || message.contains("negative") || message.contains("neither a count") {
        "write a count, such as 5, or a share, such as \"10%\""
    } else {
        "docs/guides/rollouts.md says what a policy may say"
    };
    ("invalid", message.to_owned(), help.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn source(text: &str) -> Source {
        Source {
            name: "policy.yaml".to_owned(),
            text: text.to_owned(),
        }
    }

    fn mistakes(text: &str) -> Vec<String> {
        let mistakes = read_policy_source(&source(text)).unwrap_err();
        assert!(mistakes.iter().all(|it| !it.help.is_empty()), "{mistakes:?}");
        mistakes
            .iter()
            .map(|it| format!("{}:{} {}: {}", it.line, it.column, it.path, it.code))
            .collect()
    }

    #[test]
    fn a_policy_in_yaml_or_json_is_read() {
        let yaml = "batch: 20%\ncanary: {size: 1, promotion: manual}\nhealth:\n  healthyForSeconds: 5\n";
        let json =
            r#"{"batch": "20%", "canary": {"size": 1, "promotion": "manual"}, "health": {"healthyForSeconds": 5}}"#;
        let policy = read_policy_source(&source(yaml)).unwrap();
        assert_eq!(policy, read_policy_source(&source(json)).unwrap());
        assert_eq!(policy.health.healthy_for_seconds, 5);
        assert_eq!(read_policy_source(&source("# nothing\n")).unwrap(), Policy::default());
    }

    #[test]
    fn every_mistake_is_there_at_once_with_its_place() {
        let text = "bach: 10%\nhealth:\n  deadlineSeconds: soon\n  onSilent: explode\nwaves:\n  - select: {}\n  - \
                    {name: a, batch: 120%}\n  - {name: b, bake: 3}\nmaxUnavailable: -1\n";
        assert_eq!(
            mistakes(text).iter().collect::<std::collections::BTreeSet<_>>(),
            [
                "1:1 bach: unknown-field",
                "3:20 health.deadlineSeconds: wrong-type",
                "4:13 health.onSilent: unknown-word",
                "6:5 waves[0]: missing-field",
                "7:22 waves[1].batch: invalid",
                "8:15 waves[2].bake: unknown-field",
                "9:17 maxUnavailable: invalid",
            ]
            .map(str::to_owned)
            .iter()
            .collect()
        );
        let found = read_policy_source(&source("bach: 1\nonFailure: explode")).unwrap_err();
        assert_eq!(found[0].help, "did you mean `batch`?");
        assert_eq!(
            found[1].help,
            "write one of `none`, `freeze`, `budgeted` and `immediate`"
        );
    }

    #[test]
    fn contradictions_have_their_place_as_well() {
        assert_eq!(
            mistakes("batch: 5\nwaves:\n  - {name: a}\n  - name: b\n    select: {groups: [x]}\n"),
            ["5:13 waves[1].select: selects-nothing"]
        );
        assert_eq!(mistakes("batch: 1\nbatch: 2\n"), ["2:1 batch: duplicate-field"]);
        assert_eq!(mistakes("batch: [1\n")[0], "2:1 : syntax");
        assert_eq!(mistakes("batch: 1\n---\nbatch: 2\n"), ["3:1 : two-policies"]);
        assert_eq!(mistakes("just words\n"), ["1:1 : wrong-type"]);
    }
}
