//! JSON with spans: `serde_json` reads, and hands out each value as the slice of the text that it stands in.

use serde::{
    Deserialize,
    de::{Deserializer as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Deserializer, value::RawValue};

use super::{
    Finding,
    node::{Data, Key, Node},
    number,
};
use crate::{limits::MAX_DEPTH, problem::Span};

/// Reads values that stand behind each other, up to the first mistake.
pub(super) fn parse(text: &str, findings: &mut Vec<Finding>) -> Vec<Node> {
    let json = text.trim_start_matches('\u{feff}');
    let skipped = text.len() - json.len();
    let reader = Reader { text };
    let mut nodes = Vec::new();
    for value in Deserializer::from_str(json).into_iter::<&RawValue>() {
        let node = match value {
            Ok(value) => reader.node(value, 0),
            Err(error) => Err(syntax(reader.end_of(skipped, &error), &error)),
        };
        match node {
            Ok(node) => nodes.push(node),
            Err(finding) => {
                findings.push(finding);
                break;
            }
        }
    }
    nodes
}

/// The message without the position, which is relative to some part of the text.
fn syntax(span: Span, error: &serde_json::Error) -> Finding {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    Finding::new(
        "syntax",
        (span, ""),
        format!("this is not JSON: {message}"),
        "correct the JSON at this place",
    )
}

struct Reader<'t> {
    text: &'t str,
}

impl<'t> Reader<'t> {
    /// Where in the source a slice of it stands.
    fn span(&self, part: &str) -> Span {
        let offset = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        Span {
            offset: number(offset),
            length: number(part.len()),
        }
    }

    /// The character at which `serde_json` stopped.
    fn end_of(&self, skipped: usize, error: &serde_json::Error) -> Span {
        let mut lines = self.text[skipped..].split_inclusive('\n');
        let before: usize = lines.by_ref().take(error.line().saturating_sub(1)).map(str::len).sum();
        let offset = skipped + before + error.column().saturating_sub(1);
        Span {
            offset: number(offset.min(self.text.len())),
            length: 1,
        }
    }

    fn node(&self, value: &'t RawValue, depth: usize) -> Result<Node, Finding> {
        let text = value.get();
        let span = self.span(text);
        let wrong = |error: serde_json::Error| syntax(span, &error);
        if depth > MAX_DEPTH {
            return Err(too_deep(span));
        }
        let mut inner = Deserializer::from_str(text);
        let data = match text.as_bytes().first() {
            Some(b'{') => {
                let members = inner.deserialize_map(Members).map_err(wrong)?;
                let member = |(key, value): (&'t RawValue, &'t RawValue)| {
                    let text = serde_json::from_str(key.get()).map_err(|e| syntax(self.span(key.get()), &e))?;
                    Ok((
                        Key {
                            text,
                            span: self.span(key.get()),
                        },
                        self.node(value, depth + 1)?,
                    ))
                };
                Data::Object(members.into_iter().map(member).collect::<Result<_, _>>()?)
            }
            Some(b'[') => {
                let items = inner.deserialize_seq(Items).map_err(wrong)?;
                Data::List(
                    items
                        .into_iter()
                        .map(|item| self.node(item, depth + 1))
                        .collect::<Result<_, _>>()?,
                )
            }
            Some(b'"') => Data::Text(String::deserialize(&mut inner).map_err(wrong)?),
            Some(b't') => Data::Bool(true),
            Some(b'f') => Data::Bool(false),
            Some(b'n') => Data::Null,
            _ => Data::Number(Deserialize::deserialize(&mut inner).map_err(wrong)?),
        };
        Ok(Node { span, data })
    }
}

/// The mistake of nesting too much.
pub(super) fn too_deep(span: Span) -> Finding {
    let message = format!("this is nested deeper than the {MAX_DEPTH} levels allowed");
    Finding::new("too-deep", (span, ""), message, "make the definition flatter")
}

struct Members;

impl<'t> Visitor<'t> for Members {
    type Value = Vec<(&'t RawValue, &'t RawValue)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

struct Items;

impl<'t> Visitor<'t> for Items {
    type Value = Vec<&'t RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(all)
    }
}
