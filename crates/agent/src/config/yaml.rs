//! YAML under the core schema, as JSON values that know their line. A configuration needs no more of YAML: aliases and
//! tags are refused.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Levels of nested values.
const MAX_DEPTH: usize = 32;

/// A value and the line it begins on, from 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) data: Data,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    Scalar(Value),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// The value without its lines.
    pub(crate) fn to_json(&self) -> Value {
        match &self.data {
            Data::Scalar(value) => value.clone(),
            Data::List(items) => items.iter().map(Self::to_json).collect(),
            Data::Object(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, node)| (key.clone(), node.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// What the value is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.data {
            Data::Scalar(Value::Null) => "nothing",
            Data::Scalar(Value::Bool(_)) => "true or false",
            Data::Scalar(Value::Number(_)) => "a number",
            Data::Scalar(_) => "text",
            Data::List(_) => "a list",
            Data::Object(_) => "an object",
        }
    }
}

/// A line, and what is wrong there.
pub(crate) type YamlError = (usize, String);

enum Open {
    List(usize, Vec<Node>),
    Object(usize, Vec<(String, Node)>, Option<String>),
}

/// Reads the one document of a text. An empty text is an empty object.
pub(crate) fn parse(text: &str) -> Result<Node, YamlError> {
    let mut open: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| (error.marker().line(), format!("this is not YAML: {}", error.info())))?;
        let line = span.start.line();
        let node = match event {
            Event::SequenceStart(_, tag) | Event::MappingStart(_, tag) if tag.is_some() => return Err(no_tags(line)),
            Event::SequenceStart(..) => {
                open.push(Open::List(line, Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Object(line, Vec::new(), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(closed),
            Event::Scalar(_, _, _, Some(_)) => return Err(no_tags(line)),
            Event::Scalar(text, style, ..) => Some(Node {
                line,
                data: Data::Scalar(scalar(&text, style)),
            }),
            Event::Alias(_) => {
                return Err((
                    line,
                    "aliases (`*name`) are not understood here; write it out".to_owned(),
                ));
            }
            Event::DocumentStart(_) if root.is_some() => {
                return Err((line, "a configuration is one document; remove the `---`".to_owned()));
            }
            _ => None,
        };
        if open.len() > MAX_DEPTH {
            return Err((line, format!("values are nested deeper than {MAX_DEPTH} levels")));
        }
        if let Some(node) = node {
            add(&mut open, &mut root, node)?;
        }
    }
    Ok(root.unwrap_or(Node {
        line: 1,
        data: Data::Object(Vec::new()),
    }))
}

fn no_tags(line: usize) -> YamlError {
    (line, "tags (`!name`) are not understood here; remove it".to_owned())
}

fn closed(open: Open) -> Node {
    match open {
        Open::List(line, items) => Node {
            line,
            data: Data::List(items),
        },
        Open::Object(line, entries, _) => Node {
            line,
            data: Data::Object(entries),
        },
    }
}

fn add(open: &mut [Open], root: &mut Option<Node>, node: Node) -> Result<(), YamlError> {
    match open.last_mut() {
        None => *root = Some(node),
        Some(Open::List(_, items)) => items.push(node),
        Some(Open::Object(_, entries, key)) => match key.take() {
            Some(key) => entries.push((key, node)),
            None => {
                let text = match &node.data {
                    Data::Scalar(Value::String(text)) => text.clone(),
                    Data::Scalar(value) => value.to_string(),
                    _ => return Err((node.line, "a key must be text".to_owned())),
                };
                if entries.iter().any(|(known, _)| *known == text) {
                    return Err((node.line, format!("the key `{text}` stands here twice")));
                }
                *key = Some(text);
            }
        },
    }
    Ok(())
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Value::Number(number.into());
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    let number = text.parse().ok().filter(|_| numeric).and_then(Number::from_f64);
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_becomes_json_with_the_types_of_the_core_schema() {
        let text = "a: 1\nb: [x, 'y', 2.5, true, ~]\nc: {d: \"7\"}\ne: 10s\nf: |\n  two\n  lines\n";
        let json = json!({"a": 1, "b": ["x", "y", 2.5, true, null], "c": {"d": "7"}, "e": "10s", "f": "two\nlines\n"});
        assert_eq!(parse(text).unwrap().to_json(), json);
        assert_eq!(parse("").unwrap().to_json(), json!({}));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        assert_eq!(parse("a: &x 1\nb: *x\n").unwrap_err().0, 2);
        assert_eq!(
            parse("a: 1\na: 2\n").unwrap_err(),
            (2, "the key `a` stands here twice".to_owned())
        );
        assert!(parse("a: [1").is_err());
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
    }
}
