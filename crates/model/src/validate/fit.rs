//! Schemas against each other: what a schema says about a place in its values, and whether a value of one schema can
//! ever be a value of another.
//!
//! Careful in one direction: only what is certain counts. Where a schema is open, or says something that is not
//! understood here, everything is possible.

use std::cell::Cell;

use serde_json::{Map, Value};

use crate::path::{Path, index};

/// What a schema says of a place.
#[derive(Debug, PartialEq)]
pub(super) enum Declared<'s> {
    /// The values there have this schema.
    As(&'s Value),
    /// Anything may be there, or nothing.
    Open,
    /// Nothing is ever there; these are the properties that the schema declares in its stead.
    Never(Vec<&'s str>),
}

/// What a schema says of the place at `path`.
pub(super) fn declared<'s>(schema: &'s Value, path: &Path) -> Declared<'s> {
    let mut here = schema;
    for segment in path.segments() {
        match step(here, segment) {
            Declared::As(next) => here = next,
            end => return end,
        }
    }
    Declared::As(here)
}

/// What a schema says of one property of its objects.
pub(super) fn property<'s>(schema: &'s Value, name: &str) -> Declared<'s> {
    step(schema, name)
}

/// Keywords that can say more about properties than `properties` does.
const APPLICATORS: [&str; 9] = [
    "$ref",
    "$dynamicRef",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "dependentSchemas",
    "patternProperties",
    "not",
];

fn step<'s>(schema: &'s Value, segment: &str) -> Declared<'s> {
    let Value::Object(keywords) = schema else {
        return Declared::Open;
    };
    let properties = keywords.get("properties").and_then(Value::as_object);
    if let Some(schema) = properties.and_then(|properties| properties.get(segment)) {
        return Declared::As(schema);
    }
    if APPLICATORS.iter().any(|keyword| keywords.contains_key(*keyword)) {
        return Declared::Open;
    }
    let types = types(keywords);
    if types & ARRAY != 0 && index(segment).is_some() {
        return match keywords.get("items") {
            Some(items @ Value::Object(_)) if types == ARRAY && !keywords.contains_key("prefixItems") => {
                Declared::As(items)
            }
            _ => Declared::Open,
        };
    }
    let names = || properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
    match keywords.get("additionalProperties") {
        _ if types & OBJECT == 0 => Declared::Never(Vec::new()),
        Some(Value::Bool(false)) => Declared::Never(names()),
        Some(schema @ Value::Object(_)) => Declared::As(schema),
        None if properties.is_some_and(|properties| !properties.is_empty()) => Declared::Never(names()),
        _ => Declared::Open,
    }
}

/// Names in the schema's `required`.
pub(super) fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// Whether the schema refuses every property that it does not declare.
pub(super) fn is_closed(schema: &Value) -> bool {
    let Value::Object(keywords) = schema else {
        return false;
    };
    keywords.get("additionalProperties") == Some(&Value::Bool(false))
        && !APPLICATORS.iter().any(|keyword| keywords.contains_key(*keyword))
}

// Types as bits. A number is an integer or has a fraction.
const NULL: u8 = 1;
const BOOLEAN: u8 = 2;
const INTEGER: u8 = 4;
const FRACTION: u8 = 8;
const STRING: u8 = 16;
const ARRAY: u8 = 32;
const OBJECT: u8 = 64;
const ANY: u8 = 127;

fn bit(name: &str) -> u8 {
    match name {
        "null" => NULL,
        "boolean" => BOOLEAN,
        "integer" => INTEGER,
        "number" => INTEGER | FRACTION,
        "string" => STRING,
        "array" => ARRAY,
        "object" => OBJECT,
        _ => ANY,
    }
}

fn types(keywords: &Map<String, Value>) -> u8 {
    match keywords.get("type") {
        Some(Value::String(name)) => bit(name),
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .fold(0, |bits, name| bits | bit(name)),
        _ => ANY,
    }
}

fn type_of(value: &Value) -> u8 {
    match value {
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() != 0.0) => FRACTION,
        Value::Number(_) => INTEGER,
        other => bit(crate::schema::type_name(other)),
    }
}

fn names(types: u8) -> String {
    let names = ["null", "boolean", "integer", "number", "string", "array", "object"];
    let shown = if types & FRACTION != 0 { types & !INTEGER } else { types };
    let names: Vec<&str> = names
        .into_iter()
        .zip(0..)
        .filter(|(_, n)| shown >> n & 1 == 1)
        .map(|(n, _)| n)
        .collect();
    names.join(" or ")
}

/// The values of `enum` or `const`.
fn values(keywords: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (keywords.get("const"), keywords.get("enum")) {
        (Some(only), _) => Some(vec![only]),
        (None, Some(Value::Array(values))) => Some(values.iter().collect()),
        _ => None,
    }
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}

/// Why no value of the first schema fits the second; `None` when one may. The reason reads on from the name of a value,
/// and places in it are relative to that.
pub(super) fn mismatch(given: &Value, taken: &Value) -> Option<String> {
    Comparison {
        steps_left: Cell::new(10_000),
    }
    .of(given, taken)
}

/// Bounds the effort: schemas that branch much count as fitting.
struct Comparison {
    steps_left: Cell<usize>,
}

impl Comparison {
    fn of(&self, given: &Value, taken: &Value) -> Option<String> {
        self.steps_left.set(self.steps_left.get().checked_sub(1)?);
        let (Value::Object(given_keywords), Value::Object(taken_keywords)) = (given, taken) else {
            return None;
        };
        by_type(given_keywords, taken_keywords)
            .or_else(|| by_values(given_keywords, taken_keywords))
            .or_else(|| self.by_branches(given, taken))
            .or_else(|| match types(given_keywords) & types(taken_keywords) {
                OBJECT => self.by_properties(given, taken),
                ARRAY => {
                    let reason = self.of(given_keywords.get("items")?, taken_keywords.get("items")?)?;
                    Some(format!("has items: one {reason}"))
                }
                _ => None,
            })
    }

    fn by_branches(&self, given: &Value, taken: &Value) -> Option<String> {
        let every = |reasons: Vec<Option<String>>| -> Option<String> {
            let reasons: Vec<String> = reasons.into_iter().collect::<Option<_>>()?;
            reasons.into_iter().next()
        };
        let any_given = list(given, "allOf").iter().find_map(|part| self.of(part, taken));
        let any_taken = || list(taken, "allOf").iter().find_map(|part| self.of(given, part));
        let all = |keyword| {
            every(
                list(given, keyword)
                    .iter()
                    .map(|branch| self.of(branch, taken))
                    .collect(),
            )
            .or_else(|| {
                every(
                    list(taken, keyword)
                        .iter()
                        .map(|branch| self.of(given, branch))
                        .collect(),
                )
            })
        };
        any_given
            .or_else(any_taken)
            .or_else(|| all("anyOf"))
            .or_else(|| all("oneOf"))
    }

    fn by_properties(&self, given: &Value, taken: &Value) -> Option<String> {
        let none = Map::new();
        let gives = given.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let takes = taken.get("properties").and_then(Value::as_object).unwrap_or(&none);
        if is_closed(given)
            && let Some(missing) = required(taken).find(|name| !gives.contains_key(*name))
        {
            return Some(format!("never has the property `{missing}`, which is required there"));
        }
        if is_closed(taken)
            && let Some(extra) = required(given).find(|name| !takes.contains_key(*name))
        {
            return Some(format!("always has the property `{extra}`, which is not allowed there"));
        }
        gives.iter().find_map(|(name, given)| {
            let reason = self.of(given, takes.get(name)?)?;
            Some(format!("has a property `{name}` that {reason}"))
        })
    }
}

fn list<'s>(schema: &'s Value, keyword: &str) -> &'s [Value] {
    schema.get(keyword).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn by_type(given: &Map<String, Value>, taken: &Map<String, Value>) -> Option<String> {
    let (gives, takes) = (types(given), types(taken));
    (gives & takes == 0).then(|| format!("is {}, where {} is taken", names(gives), names(takes)))
}

fn by_values(given: &Map<String, Value>, taken: &Map<String, Value>) -> Option<String> {
    let takes = |value: &Value| {
        type_of(value) & types(taken) != 0 && values(taken).is_none_or(|values| values.iter().any(|v| same(v, value)))
    };
    let gives = |value: &Value| type_of(value) & types(given) != 0;
    match (values(given), values(taken)) {
        (Some(values), _) if !values.iter().any(|value| takes(value)) => Some(format!(
            "is only ever {}, where {} is taken",
            listed(&values),
            wanted(taken)
        )),
        (None, Some(values)) if !values.iter().any(|value| gives(value)) => Some(format!(
            "is {}, where only {} is taken",
            names(types(given)),
            listed(&values)
        )),
        _ => None,
    }
}

fn wanted(taken: &Map<String, Value>) -> String {
    values(taken).map_or_else(|| names(types(taken)), |values| listed(&values))
}

fn listed(values: &[&Value]) -> String {
    const SHOWN: usize = 5;
    let mut shown: Vec<String> = values.iter().take(SHOWN).map(|value| value.to_string()).collect();
    if values.len() > SHOWN {
        shown.push("…".to_owned());
    }
    shown.join(" or ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn at<'s>(schema: &'s Value, path: &str) -> Declared<'s> {
        declared(schema, &Path::parse(path).unwrap())
    }

    #[test]
    fn a_schema_that_declares_properties_knows_no_others_unless_it_says_so() {
        let mut schema = json!({"properties": {"a": {"type": "string"}}});
        assert_eq!(at(&schema, "a"), Declared::As(&json!({"type": "string"})));
        assert_eq!(at(&schema, "b"), Declared::Never(vec!["a"]));
        assert_eq!(
            at(&schema, "a.b"),
            Declared::Never(vec![]),
            "a string has no properties"
        );
        for open in [json!(true), json!({"type": "integer"})] {
            schema["additionalProperties"] = open;
            assert!(!matches!(at(&schema, "b"), Declared::Never(_)));
        }
        for open in [
            json!({}),
            json!({"type": "object"}),
            json!(true),
            json!({"allOf": [], "properties": {"a": {}}}),
        ] {
            assert_eq!(at(&open, "b"), Declared::Open, "{open}");
        }
        let list = json!({"type": "array", "items": {"type": "integer"}});
        assert_eq!(at(&list, "0"), Declared::As(&json!({"type": "integer"})));
        assert_eq!(at(&list, "x"), Declared::Never(vec![]));
    }

    #[test]
    fn schemas_that_can_never_meet_are_told_apart() {
        let reason = |given, taken| mismatch(&given, &taken).unwrap();
        assert_eq!(
            reason(json!({"type": "string"}), json!({"type": "integer"})),
            "is string, where integer is taken"
        );
        assert_eq!(
            reason(json!({"enum": ["a", "b"]}), json!({"enum": ["c"]})),
            r#"is only ever "a" or "b", where "c" is taken"#
        );
        assert_eq!(
            reason(json!({"const": 1.5}), json!({"type": "integer"})),
            "is only ever 1.5, where integer is taken"
        );
        assert_eq!(
            reason(json!({"type": "boolean"}), json!({"enum": ["on"]})),
            r#"is boolean, where only "on" is taken"#
        );
        assert_eq!(
            reason(
                json!({"type": "object", "properties": {"port": {"type": "string"}}}),
                json!({"type": "object", "properties": {"port": {"type": "number"}}})
            ),
            "has a property `port` that is string, where number is taken"
        );
        assert_eq!(
            reason(
                json!({"type": "object", "additionalProperties": false}),
                json!({"type": "object", "required": ["x"]})
            ),
            "never has the property `x`, which is required there"
        );
        assert_eq!(
            reason(
                json!({"type": "string"}),
                json!({"anyOf": [{"type": "null"}, {"type": "integer"}]})
            ),
            "is string, where null is taken"
        );
    }

    #[test]
    fn schemas_that_may_meet_fit() {
        for (given, taken) in [
            (json!({"type": "integer"}), json!({"type": "number"})),
            (json!({"type": "number"}), json!({"type": "integer"})),
            (json!({"type": ["string", "null"]}), json!({"type": "string"})),
            (json!({}), json!({"type": "string"})),
            (json!({"const": 1.0}), json!({"type": "integer", "enum": [1]})),
            (json!({"$ref": "#/$defs/x"}), json!({"type": "string"})),
            (
                json!({"type": "string"}),
                json!({"oneOf": [{"type": "null"}, {"type": "string"}]}),
            ),
            (json!({"type": "object"}), json!({"type": "object", "required": ["x"]})),
        ] {
            assert_eq!(mismatch(&given, &taken), None, "{given} {taken}");
        }
    }

    #[test]
    fn comparing_schemas_that_branch_much_ends_soon() {
        let tower = |leaf: &str| {
            (0..12).fold(
                json!({"type": leaf}),
                |inner, _| json!({"anyOf": [inner.clone(), inner]}),
            )
        };
        // 2^24 pairs of leaves would be compared.
        assert_eq!(mismatch(&tower("string"), &tower("integer")), None);
    }
}
