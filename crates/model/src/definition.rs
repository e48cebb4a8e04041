//! Definitions: what an orchestration does and what an activity is, in the form that people write and the API shows.
//!
//! These types read and write canonical camelCase JSON. People's files go through [`crate::document`], which accepts
//! more forms and says where in the file something is wrong.

use std::fmt;

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IntoDeserializer, MapAccess, SeqAccess, value::MapAccessDeserializer},
};
use serde_json::Value;
use utoipa::ToSchema;

use crate::Name;

/// A graph of activities that runs as one orchestration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrchestrationDefinition {
    /// What starts and lists refer to.
    pub r#type: Name,
    /// Assigned when the definition is stored; whatever a caller writes here is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether new runs may start.
    #[serde(default = "active")]
    pub active: bool,
    /// JSON Schema of the input; `{}` accepts anything.
    #[serde(default = "anything")]
    pub schema: Value,
    /// What is done. The order is the order of writing, not of execution.
    pub activities: Vec<Activity>,
    /// What the result of a run is made of; when absent, it is every activity's output under the activity's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Vec<Mapping>>,
}

fn active() -> bool {
    true
}

fn anything() -> Value {
    Value::Object(serde_json::Map::new())
}

impl OrchestrationDefinition {
    /// Whether both say the same, whatever version they are: if so, applying one over the other changes nothing.
    pub fn same_content(&self, other: &Self) -> bool {
        let Self {
            r#type,
            version: _,
            description,
            active,
            schema,
            activities,
            output,
        } = self;
        *r#type == other.r#type
            && *description == other.description
            && *active == other.active
            && *schema == other.schema
            && *activities == other.activities
            && *output == other.output
    }
}

/// One vertex of an orchestration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Activity {
    /// Unique within the definition; prefixes references to the output.
    pub id: Name,
    /// The activity definition to run.
    pub r#type: Name,
    /// Tells kinds of one activity type apart, such as `deploy` and `dispose`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discriminator: Option<String>,
    /// Ids of the activities that must be done before; an array, or one id as a string.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub depends_on: Vec<Name>,
    /// What the activity gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Mapping>,
}

/// Takes one value from a source to a target.
///
/// In JSON a string (the source), or an object of `source` and `target`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// `activityId.path` into an earlier activity's output, or a path into the orchestration's input.
    pub source: String,
    /// The property that gets the value; the last part of the source when absent.
    pub target: Option<String>,
}

/// What an activity type is: who runs it, what it takes and what it gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActivityDefinition {
    /// What activities refer to.
    pub r#type: Name,
    /// The provisioner that executes the activity: a service, a script, or another technology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What the activity takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<SchemaHolder>,
    /// What the activity gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<SchemaHolder>,
}

/// A schema, under the name of its dialect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaHolder {
    /// A schema object of OpenAPI 3.0.
    #[serde(rename = "openAPIV3Schema")]
    pub open_api_v3_schema: Value,
}

/// Anything that can be applied. In JSON, `kind` tells which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(tag = "kind")]
pub enum Document {
    /// An orchestration definition.
    #[serde(rename = "OrchestrationDefinition")]
    Orchestration(OrchestrationDefinition),
    /// An activity definition.
    #[serde(rename = "ActivityDefinition")]
    Activity(ActivityDefinition),
}

impl Document {
    /// The type that this document defines.
    pub fn r#type(&self) -> &Name {
        match self {
            Self::Orchestration(definition) => &definition.r#type,
            Self::Activity(definition) => &definition.r#type,
        }
    }
}

#[derive(Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = MappingObject)]
struct MappingObject {
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

#[derive(ToSchema, JsonSchema)]
#[serde(untagged)]
#[expect(
    dead_code,
    reason = "describes the two written forms of a mapping to the schema generators"
)]
enum MappingForms {
    Source(String),
    Object(MappingObject),
}

impl Serialize for Mapping {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.target {
            None => serializer.serialize_str(&self.source),
            Some(target) => MappingObject {
                source: self.source.clone(),
                target: Some(target.clone()),
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Mapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Mapping;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a source as a string, or an object of source and target")
            }

            fn visit_str<E: de::Error>(self, source: &str) -> Result<Mapping, E> {
                Ok(Mapping {
                    source: source.to_owned(),
                    target: None,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Mapping, A::Error> {
                let MappingObject { source, target } = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Mapping { source, target })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl utoipa::PartialSchema for Mapping {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        MappingForms::schema()
    }
}

impl ToSchema for Mapping {
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
        MappingForms::schemas(schemas);
    }
}

impl JsonSchema for Mapping {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Mapping".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        MappingForms::json_schema(generator)
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Name>, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Vec<Name>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of activity ids, or one id as a string")
        }

        fn visit_str<E: de::Error>(self, id: &str) -> Result<Vec<Name>, E> {
            Name::deserialize(id.into_deserializer()).map(|id| vec![id])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut ids: A) -> Result<Vec<Name>, A::Error> {
            let mut names = Vec::new();
            while let Some(id) = ids.next_element()? {
                names.push(id);
            }
            Ok(names)
        }
    }
    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_document_survives_the_way_to_json_and_back() {
        let json = r#"{"kind":"OrchestrationDefinition","type":"t","active":false,"schema":{"type":"object"},
            "activities":[{"id":"a","type":"x"},{"id":"b","type":"x","discriminator":"d","dependsOn":["a"],
            "inputs":["cell",{"source":"a.r","target":"id"}]}],"output":["a.r"]}"#;
        let document: Document = serde_json::from_str(json).unwrap();
        let written = serde_json::to_value(&document).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(json).unwrap());
        assert_eq!(serde_json::from_value::<Document>(written).unwrap(), document);
    }

    #[test]
    fn one_dependency_may_be_written_as_a_string() {
        let activity: Activity = serde_json::from_str(r#"{"id":"b","type":"x","dependsOn":"a"}"#).unwrap();
        assert_eq!(activity.depends_on, [Name::parse("a").unwrap()]);
    }

    #[test]
    fn the_version_is_no_part_of_the_content() {
        let one: OrchestrationDefinition = serde_json::from_str(r#"{"type":"t","activities":[]}"#).unwrap();
        let two = OrchestrationDefinition {
            version: Some(7),
            ..one.clone()
        };
        assert!(one.same_content(&two));
        assert!(!one.same_content(&OrchestrationDefinition { active: false, ..two }));
    }
}
