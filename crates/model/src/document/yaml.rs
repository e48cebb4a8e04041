//! YAML 1.2 with spans, from the events of `saphyr-parser`, under the core schema.
//!
//! What the events do not settle is settled here: plain scalars get their types, aliases are copied up to a bound, and
//! what JSON cannot say (other tags, keys that are not scalars, infinities) is refused.

use std::{borrow::Cow, collections::HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::Number;

use super::{
    Finding,
    json::too_deep,
    node::{Data, Key, Node},
    number,
};
use crate::{
    limits::{MAX_ALIASED_VALUES, MAX_DEPTH},
    problem::Span,
};

/// Reads all documents, up to the first mistake.
pub(super) fn parse(text: &str, findings: &mut Vec<Finding>) -> Vec<Node> {
    let yaml = text.trim_start_matches('\u{feff}');
    let mut place = Place {
        text: yaml,
        skipped: text.len() - yaml.len(),
        character: 0,
        byte: 0,
    };
    let mut builder = Builder {
        budget: MAX_ALIASED_VALUES,
        ..Builder::default()
    };
    for event in Parser::new_from_str(yaml) {
        let done = match event {
            Ok((event, span)) => builder.event(event, place.span(span)),
            Err(error) => Err(syntax(
                error.info(),
                Span {
                    offset: place.offset(error.marker().index()),
                    length: 1,
                },
            )),
        };
        if let Err(finding) = done {
            findings.push(finding);
            break;
        }
    }
    builder.documents
}

fn syntax(info: &str, at: Span) -> Finding {
    // The parser's own limit, on flow collections alone, comes before ours since it reads ahead there.
    if info.contains("recursion limit") {
        return too_deep(at);
    }
    let help = "correct the YAML at this place, or above it";
    Finding::new("syntax", (at, ""), format!("this is not YAML: {info}"), help)
}

/// Turns the parser's positions, which count characters, into bytes. Moves along, since positions come almost in order.
struct Place<'t> {
    text: &'t str,
    skipped: usize,
    character: usize,
    byte: usize,
}

impl Place<'_> {
    fn span(&mut self, span: saphyr_parser::Span) -> Span {
        let offset = self.offset(span.start.index());
        let end = self.offset(span.end.index());
        Span {
            offset,
            length: end.saturating_sub(offset),
        }
    }

    fn offset(&mut self, character: usize) -> u32 {
        let bytes =
            |text: &str, characters: usize| -> usize { text.chars().take(characters).map(char::len_utf8).sum() };
        if character >= self.character {
            self.byte += bytes(&self.text[self.byte..], character - self.character);
        } else {
            let back = self.text[..self.byte].chars().rev().take(self.character - character);
            self.byte -= back.map(char::len_utf8).sum::<usize>();
        }
        self.character = character;
        number(self.skipped + self.byte)
    }
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    /// Values that may still be copied for anchors and aliases.
    budget: usize,
}

/// A collection whose end has not come.
struct Open {
    span: Span,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Object(Vec<(Key, Node)>, Option<Key>),
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Finding> {
        match event {
            Event::SequenceStart(anchor, tag) => self.open(span, anchor, tag.as_deref(), Content::List(Vec::new())),
            Event::MappingStart(anchor, tag) => {
                self.open(span, anchor, tag.as_deref(), Content::Object(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref(), span),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => Ok(()),
        }
    }

    fn open(&mut self, span: Span, anchor: usize, tag: Option<&Tag>, content: Content) -> Result<(), Finding> {
        if self.open.len() > MAX_DEPTH {
            return Err(too_deep(span));
        }
        if tag.is_some_and(|tag| !is_core(tag, "map") && !is_core(tag, "seq")) {
            return Err(unknown_tag(span));
        }
        self.open.push(Open { span, anchor, content });
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Finding> {
        let Some(Open {
            mut span,
            anchor,
            content,
        }) = self.open.pop()
        else {
            return Ok(());
        };
        span.length = (end.offset + end.length).saturating_sub(span.offset).max(span.length);
        let data = match content {
            Content::List(items) => Data::List(items),
            Content::Object(properties, _) => Data::Object(properties),
        };
        self.add(Node { span, data }, anchor)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<(), Finding> {
        let plain = style == ScalarStyle::Plain;
        if let Some(Open {
            content: Content::Object(_, key @ None),
            ..
        }) = self.open.last_mut()
        {
            if plain && text == "<<" {
                let help = "write the properties out; an alias (`*name`) may stand for a whole value";
                return Err(Finding::new(
                    "merge-key",
                    (span, ""),
                    "merge keys (`<<`) are not part of YAML 1.2",
                    help,
                ));
            }
            *key = Some(Key {
                text: text.to_owned(),
                span,
            });
            return Ok(());
        }
        let data = match tag {
            None if plain => resolve(text, span)?,
            None => Data::Text(text.to_owned()),
            Some(tag) if is_core(tag, "str") || (tag.handle.is_empty() && tag.suffix == "!") => {
                Data::Text(text.to_owned())
            }
            Some(tag) if ["null", "bool", "int", "float"].iter().any(|kind| is_core(tag, kind)) => resolve(text, span)?,
            Some(_) => return Err(unknown_tag(span)),
        };
        self.add(Node { span, data }, anchor)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Finding> {
        let Some(node) = self.anchors.get(&anchor) else {
            let help = "an alias can only stand for a value that ends before it";
            return Err(Finding::new(
                "syntax",
                (span, ""),
                "this alias stands inside the value it names",
                help,
            ));
        };
        self.budget = spend(self.budget, node, span)?;
        self.add(node.clone(), 0)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Finding> {
        if anchor != 0 {
            self.budget = spend(self.budget, &node, node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.documents.push(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Object(properties, key)) => match key.take() {
                Some(key) => properties.push((key, node)),
                None => {
                    let help = "write the property's name as a plain or quoted string";
                    let message = format!("a property's name must be a string, this is {}", node.kind());
                    return Err(Finding::new("bad-key", (node.span, ""), message, help));
                }
            },
        }
        Ok(())
    }
}

fn spend(budget: usize, node: &Node, span: Span) -> Result<usize, Finding> {
    budget.checked_sub(node.count()).ok_or_else(|| {
        let message = format!("anchors and aliases add more than the {MAX_ALIASED_VALUES} values allowed");
        Finding::new(
            "too-many-aliases",
            (span, ""),
            message,
            "write the repeated values out, or share less",
        )
    })
}

fn is_core(tag: &Tag, kind: &str) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == kind
}

fn unknown_tag(span: Span) -> Finding {
    let help = "leave the tag (`!…`) out; only the core tags such as `!!str` are known";
    Finding::new("unknown-tag", (span, ""), "definitions have no use for this tag", help)
}

/// The value of a plain scalar by the core schema (YAML 1.2.2, section 10.3.2).
fn resolve(text: &str, span: Span) -> Result<Data, Finding> {
    let data = match text {
        "" | "~" | "null" | "Null" | "NULL" => Data::Null,
        "true" | "True" | "TRUE" => Data::Bool(true),
        "false" | "False" | "FALSE" => Data::Bool(false),
        _ => match numeral(text) {
            None => Data::Text(text.to_owned()),
            Some(numeral) => {
                let number = value_of(&numeral).ok_or_else(|| {
                    let message = format!("the number {text} cannot be written in JSON");
                    Finding::new(
                        "bad-number",
                        (span, ""),
                        message,
                        "put quotes around it if it is meant as a string",
                    )
                })?;
                Data::Number(number)
            }
        },
    };
    Ok(data)
}

/// The text of a number as Rust reads it; `None` when it is a string.
fn numeral(text: &str) -> Option<Cow<'_, str>> {
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (if text.starts_with('-') { "-" } else { "" }, digits),
        None => ("", text),
    };
    let radix = |prefix: &str, radix| u64::from_str_radix(text.strip_prefix(prefix)?, radix).ok();
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Some(number.to_string().into());
    }
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some("inf".into());
    }
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && all_digits(exponent));
    is_number.then(|| format!("{sign}{digits}").into())
}

fn value_of(numeral: &str) -> Option<Number> {
    let integer = || numeral.parse::<i64>().ok().map(Number::from);
    let large = || numeral.parse::<u64>().ok().map(Number::from);
    integer()
        .or_else(large)
        .or_else(|| Number::from_f64(numeral.parse().ok()?))
}
