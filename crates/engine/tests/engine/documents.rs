//! Definitions and small values that tests are made of.

use serde_json::{Value, json};
use unisono_engine::payload::{Failure, Patch, Payload};
use unisono_model::definition::Document;
use unisono_model::name::Name;

/// The namespace that everything is in, unless a test says otherwise.
pub(crate) fn space() -> Name {
    name("test")
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// A payload of this JSON text.
pub(crate) fn payload(text: &str) -> Payload {
    Payload::from(serde_json::value::RawValue::from_string(text.to_owned()).unwrap())
}

pub(crate) fn failure(message: &str) -> Failure {
    Failure::new("test", message)
}

/// Sets one key.
pub(crate) fn set(key: &str, value: &str) -> Patch {
    Patch {
        set: vec![(key.to_owned(), payload(value))],
        delete: Vec::new(),
    }
}

fn document(json: Value) -> Document {
    serde_json::from_value(json).unwrap()
}

/// An activity definition without schemas.
pub(crate) fn activity(type_name: &str) -> Document {
    document(json!({"kind": "ActivityDefinition", "type": type_name}))
}

/// An orchestration definition from its activities: `(id, type, ids it depends on)`.
pub(crate) fn orchestration(type_name: &str, activities: &[(&str, &str, &[&str])]) -> Document {
    let activities: Vec<Value> = activities
        .iter()
        .map(|(id, kind, on)| json!({"id": id, "type": kind, "dependsOn": on}))
        .collect();
    document(json!({"kind": "OrchestrationDefinition", "type": type_name, "activities": activities}))
}

/// The same with more fields of the definition, such as `active` or `output`.
pub(crate) fn with(definition: Document, fields: Value) -> Document {
    let mut json = serde_json::to_value(definition).unwrap();
    for (key, value) in fields.as_object().unwrap() {
        json[key] = value.clone();
    }
    document(json)
}
