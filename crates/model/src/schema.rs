//! JSON Schemas: the dialects that definitions use, compiling them, and checking payloads.
//!
//! An orchestration's `schema` is JSON Schema (2020-12 unless `$schema` says otherwise). An `openAPIV3Schema` is the
//! schema object of OpenAPI 3.0, translated to JSON Schema before use. References leave the document in neither.

use std::sync::OnceLock;

use jsonschema::{
    PatternOptions, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use utoipa::ToSchema;

/// Violations that one check lists.
const MAX_VIOLATIONS: usize = 100;

/// Steps that one regular expression of a schema may take back on one text.
const BACKTRACK_LIMIT: usize = 100_000;

/// One way in which a payload is not what its schema says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// Where in the payload, such as `tenant.tags[0]`; empty for the payload itself.
    pub path: String,
    /// What is wrong there. Values of the payload are not repeated, since they may be secret or large.
    pub message: String,
}

/// A schema that is compiled when it is first used.
#[derive(Debug)]
pub(crate) struct LazySchema {
    schema: Value,
    compiled: OnceLock<Result<Validator, String>>,
}

impl LazySchema {
    /// Holds a JSON Schema; `None` when it accepts everything.
    pub(crate) fn json(schema: &Value) -> Option<Self> {
        (!accepts_everything(schema)).then(|| Self {
            schema: schema.clone(),
            compiled: OnceLock::new(),
        })
    }

    /// Holds a schema object of OpenAPI 3.0; `None` when it accepts everything.
    pub(crate) fn open_api(schema: &Value) -> Option<Self> {
        Self::json(&from_open_api(schema))
    }

    /// Checks a payload, listing every violation (up to a bound).
    pub(crate) fn validate(&self, payload: &RawValue) -> Result<(), Vec<Violation>> {
        let compiled = self
            .compiled
            .get_or_init(|| compile(&self.schema).map_err(|e| e.masked().to_string()));
        let whole = |message| {
            vec![Violation {
                path: String::new(),
                message,
            }]
        };
        let validator = compiled
            .as_ref()
            .map_err(|error| whole(format!("cannot be checked: {error}")))?;
        let payload: Value =
            serde_json::from_str(payload.get()).map_err(|error| whole(format!("cannot be read as JSON: {error}")))?;
        let violations: Vec<Violation> = validator
            .iter_errors(&payload)
            .flat_map(violations)
            .take(MAX_VIOLATIONS)
            .collect();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }
}

/// The JSON Schema of a value.
#[derive(Debug)]
pub struct ValueSchema(Option<LazySchema>);

impl ValueSchema {
    /// Reads a schema.
    ///
    /// # Errors
    /// What is wrong with it: where in it, and why.
    pub fn parse(schema: &RawValue) -> Result<Self, Vec<Violation>> {
        let at = |path: String, message: String| vec![Violation { path, message }];
        let schema: Value = serde_json::from_str(schema.get()).map_err(|error| at(String::new(), error.to_string()))?;
        let defects: Vec<Violation> = defects(&schema)
            .into_iter()
            .map(|defect| Violation {
                path: defect.place.join("."),
                message: defect.message,
            })
            .collect();
        if defects.is_empty() {
            Ok(Self(LazySchema::json(&schema)))
        } else {
            Err(defects)
        }
    }

    /// Checks a value.
    ///
    /// # Errors
    /// Every way in which it does not fit, up to a bound.
    pub fn validate(&self, value: &RawValue) -> Result<(), Vec<Violation>> {
        self.0.as_ref().map_or(Ok(()), |schema| schema.validate(value))
    }
}

/// Whether a schema says nothing but what people read.
pub(crate) fn accepts_everything(schema: &Value) -> bool {
    const NOTES: [&str; 7] = [
        "$comment",
        "$schema",
        "default",
        "description",
        "example",
        "examples",
        "title",
    ];
    match schema {
        Value::Bool(accepts) => *accepts,
        Value::Object(keywords) => keywords.keys().all(|keyword| NOTES.contains(&keyword.as_str())),
        _ => false,
    }
}

fn compile(schema: &Value) -> Result<Validator, ValidationError<'static>> {
    jsonschema::options()
        .offline()
        .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(BACKTRACK_LIMIT))
        .build(schema)
}

/// Every reason why a JSON Schema is none: where in the schema, and what is wrong there.
pub(crate) fn defects(schema: &Value) -> Vec<Defect> {
    if accepts_everything(schema) {
        return Vec::new();
    }
    let by_meta_schema: Vec<Defect> = match jsonschema::meta::validator_for(schema) {
        Ok(meta) => meta
            .iter_errors(schema)
            .take(MAX_VIOLATIONS)
            .map(|error| Defect::new(&error))
            .collect(),
        Err(error) => vec![Defect::new(&error)],
    };
    if !by_meta_schema.is_empty() {
        return by_meta_schema;
    }
    compile(schema)
        .err()
        .map(|error| Defect::new(&error))
        .into_iter()
        .collect()
}

/// One reason why a schema is none.
pub(crate) struct Defect {
    /// Names and indexes from the root of the schema.
    pub(crate) place: Vec<String>,
    pub(crate) message: String,
}

impl Defect {
    fn new(error: &ValidationError<'_>) -> Self {
        let place = place(error);
        let is_type = place.last().is_some_and(|last| last == "type");
        let message = match error.kind() {
            ValidationErrorKind::AnyOf { .. } if is_type => {
                "must be array, boolean, integer, null, number, object or string, or an array of these".to_owned()
            }
            _ => message(error),
        };
        Self { place, message }
    }
}

fn place(error: &ValidationError<'_>) -> Vec<String> {
    let pointer = error.instance_path().as_str();
    pointer
        .split('/')
        .skip(1)
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect()
}

fn violations(error: ValidationError<'_>) -> Vec<Violation> {
    let parent = place(&error);
    let below = |property: &str, message: &str| {
        let mut place = parent.clone();
        place.push(property.to_owned());
        Violation {
            path: written(&place),
            message: message.to_owned(),
        }
    };
    match error.kind() {
        ValidationErrorKind::Required {
            property: Value::String(name),
        } => vec![below(name, "is required and missing")],
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|name| below(name, "is not a property that the schema allows"))
            .collect(),
        _ => vec![Violation {
            path: written(&parent),
            message: message(&error),
        }],
    }
}

/// A place the way mistakes write it: `tenant.tags[0]`.
pub(crate) fn written(place: &[String]) -> String {
    place
        .iter()
        .fold(String::new(), |path, part| match crate::path::index(part) {
            Some(index) => format!("{path}[{index}]"),
            None if path.is_empty() => part.clone(),
            None => format!("{path}.{part}"),
        })
}

fn message(error: &ValidationError<'_>) -> String {
    let found = type_name(error.instance());
    match error.kind() {
        ValidationErrorKind::Type {
            kind: TypeKind::Single(expected),
        } => format!("must be {expected}, is {found}"),
        ValidationErrorKind::Type {
            kind: TypeKind::Multiple(expected),
        } => {
            let expected: Vec<String> = expected.iter().map(|kind| kind.to_string()).collect();
            format!("must be {}, is {found}", expected.join(" or "))
        }
        ValidationErrorKind::Enum { options } => format!("must be one of {options}"),
        ValidationErrorKind::Constant { expected_value } => format!("must be {expected_value}"),
        ValidationErrorKind::Pattern { pattern } => format!("does not match the pattern {pattern}"),
        ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
            format!("matches none of the schemas under {}", error.kind().keyword())
        }
        ValidationErrorKind::Referencing(cause) => {
            format!("has a $ref that cannot be followed, only `#/…` within the schema can: {cause}")
        }
        ValidationErrorKind::Format { format } if format == "regex" => "is not a regular expression".to_owned(),

        _ => error.masked().to_string(),
    }
}

/// The name of a value's type in JSON Schema.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The JSON Schema that means what a schema object of OpenAPI 3.0.3 means.
///
/// `nullable` becomes a second type, a boolean `exclusiveMinimum`/`exclusiveMaximum` takes over the bound, and what is
/// not about validation is left out. What is not understood stays, for [`defects`] to find.
pub(crate) fn from_open_api(schema: &Value) -> Value {
    let Value::Object(keywords) = schema else {
        return schema.clone();
    };
    let mut out = Map::new();
    for (keyword, value) in keywords {
        match keyword.as_str() {
            "nullable" | "discriminator" | "xml" | "externalDocs" | "example" => {}
            "exclusiveMinimum" | "exclusiveMaximum" if value.is_boolean() => {}
            _ => _ = out.insert(keyword.clone(), translate(keyword, value)),
        }
    }
    exclusive(keywords, &mut out, "exclusiveMinimum", "minimum");
    exclusive(keywords, &mut out, "exclusiveMaximum", "maximum");
    if keywords.get("nullable") == Some(&Value::Bool(true)) {
        allow_null(&mut out);
    }
    Value::Object(out)
}

fn translate(keyword: &str, value: &Value) -> Value {
    match (keyword, value) {
        ("items" | "not" | "additionalProperties", schema) => from_open_api(schema),
        ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => schemas.iter().map(from_open_api).collect(),
        ("properties" | "patternProperties" | "definitions" | "$defs", Value::Object(schemas)) => schemas
            .iter()
            .map(|(name, schema)| (name.clone(), from_open_api(schema)))
            .collect(),
        _ => value.clone(),
    }
}

fn exclusive(keywords: &Map<String, Value>, out: &mut Map<String, Value>, exclusive: &str, bound: &str) {
    if keywords.get(exclusive) == Some(&Value::Bool(true))
        && let Some(limit) = out.remove(bound)
    {
        out.insert(exclusive.to_owned(), limit);
    }
}

/// `nullable` changes a schema only where it stands beside a `type` (OpenAPI 3.0.3, schema object).
fn allow_null(out: &mut Map<String, Value>) {
    let Some(Value::String(kind)) = out.get("type").cloned() else {
        return;
    };
    out.insert("type".to_owned(), Value::Array(vec![kind.into(), "null".into()]));
    if let Some(Value::Array(values)) = out.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn check(schema: &LazySchema, payload: &str) -> Vec<String> {
        let payload = RawValue::from_string(payload.to_owned()).unwrap();
        let violations = schema.validate(&payload).err().unwrap_or_default();
        violations
            .into_iter()
            .map(|v| format!("{}: {}", v.path, v.message))
            .collect()
    }

    #[test]
    fn every_violation_is_listed_with_its_place_and_without_the_value() {
        let schema = LazySchema::json(&json!({
            "type": "object", "required": ["name"], "additionalProperties": false,
            "properties": { "name": {"type": "string"}, "tags": {"items": {"type": "string", "maxLength": 3}} }
        }))
        .unwrap();
        assert_eq!(
            check(&schema, r#"{"tags": ["ok", 7, "secret"], "nane": "x"}"#),
            [
                "tags[1]: must be string, is integer",
                "tags[2]: value is longer than 3 characters",
                "nane: is not a property that the schema allows",
                "name: is required and missing",
            ]
        );
        assert_eq!(check(&schema, r#"[]"#), [": must be object, is array"]);
    }

    #[test]
    fn a_schema_that_accepts_everything_is_not_kept() {
        assert!(LazySchema::json(&json!({})).is_none());
        assert!(LazySchema::json(&json!({"description": "free"})).is_none());
        assert!(LazySchema::json(&json!({"type": "object"})).is_some());
    }

    #[test]
    fn nullable_and_boolean_bounds_of_open_api_are_understood() {
        let schema = LazySchema::open_api(&json!({
            "type": "object",
            "properties": {
                "n": {"type": "integer", "minimum": 1, "exclusiveMinimum": true, "nullable": true, "example": 2},
                "e": {"type": "string", "enum": ["a"], "nullable": true}
            }
        }))
        .unwrap();
        assert!(check(&schema, r#"{"n": null, "e": null}"#).is_empty());
        assert!(check(&schema, r#"{"n": 2, "e": "a"}"#).is_empty());
        assert_eq!(check(&schema, r#"{"n": 1}"#).len(), 1);
    }

    #[test]
    fn a_property_may_be_called_nullable() {
        let schema = json!({"properties": {"nullable": {"type": "string"}}});
        assert_eq!(from_open_api(&schema), schema);
    }

    #[test]
    fn a_payload_too_deep_to_check_is_a_violation_and_no_crash() {
        let schema = LazySchema::json(&json!({"type": "array"})).unwrap();
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(check(&schema, &deep)[0].contains("cannot be read as JSON"));
    }

    #[test]
    fn a_reference_out_of_the_document_is_a_defect() {
        assert_eq!(defects(&json!({"$ref": "https://example.com/s.json"})).len(), 1);
        assert!(defects(&json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}})).is_empty());
        let found = defects(&json!({"properties": {"a": {"type": "strin"}}, "required": 1}));
        let places: Vec<_> = found.iter().map(|defect| written(&defect.place)).collect();
        assert_eq!(places, ["properties.a.type", "required"]);
    }
}
