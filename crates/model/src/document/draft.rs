//! Definitions as far as they could be read, with the span of each part that validation may speak about.

use serde_json::Value;

use super::Node;
use crate::{
    Activity, ActivityDefinition, Document, Mapping, Name, OrchestrationDefinition, SchemaHolder, problem::Span,
};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) enum Draft {
    Orchestration(DraftOrchestration),
    Activity(DraftActivityDefinition),
}

#[derive(Debug)]
pub(crate) struct DraftOrchestration {
    pub(crate) r#type: Option<At<Name>>,
    pub(crate) description: Option<String>,
    pub(crate) active: bool,
    pub(crate) schema: Option<DraftSchema>,
    /// The field `activities`, and how many items it has; `None` when it could not be read.
    pub(crate) activity_count: Option<At<usize>>,
    pub(crate) activities: Vec<DraftActivity>,
    pub(crate) output: Option<Vec<DraftMapping>>,
}

#[derive(Debug)]
pub(crate) struct DraftActivity {
    /// Its place in `activities`, which counts those that could not be read.
    pub(crate) place: usize,
    pub(crate) span: Span,
    pub(crate) id: Option<At<Name>>,
    pub(crate) r#type: Option<At<Name>>,
    pub(crate) discriminator: Option<String>,
    pub(crate) depends_on: Vec<DraftDependency>,
    pub(crate) inputs: Vec<DraftMapping>,
}

#[derive(Debug)]
pub(crate) struct DraftDependency {
    pub(crate) id: At<Name>,
    /// Its place in `dependsOn`; `None` when that is one string.
    pub(crate) place: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct DraftMapping {
    pub(crate) place: usize,
    pub(crate) source: At<String>,
    pub(crate) target: Option<At<String>>,
    /// Whether it is written as an object.
    pub(crate) long: bool,
}

#[derive(Debug)]
pub(crate) struct DraftActivityDefinition {
    pub(crate) r#type: Option<At<Name>>,
    pub(crate) provider: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) input_schema: Option<DraftSchema>,
    pub(crate) output_schema: Option<DraftSchema>,
}

#[derive(Debug, Clone)]
pub(crate) struct DraftSchema {
    pub(crate) value: Value,
    /// The spans; `None` for what comes from the catalog.
    pub(crate) node: Option<Node>,
}

impl DraftDependency {
    /// The path of this dependency of the activity at `activity`.
    pub(crate) fn path(&self, activity: usize) -> String {
        match self.place {
            Some(place) => format!("activities[{activity}].dependsOn[{place}]"),
            None => format!("activities[{activity}].dependsOn"),
        }
    }
}

impl DraftMapping {
    fn to_mapping(&self) -> Mapping {
        Mapping {
            source: self.source.value.clone(),
            target: self.target.as_ref().map(|target| target.value.clone()),
        }
    }

    fn stored(place: usize, mapping: &Mapping) -> Self {
        let target = mapping.target.clone().map(stored);
        Self {
            place,
            source: stored(mapping.source.clone()),
            long: target.is_some(),
            target,
        }
    }
}

impl Draft {
    /// The document; `None` when a required part is missing, which is a mistake that has been noted.
    pub(crate) fn to_document(&self) -> Option<Document> {
        match self {
            Self::Orchestration(draft) => draft.to_definition().map(Document::Orchestration),
            Self::Activity(draft) => draft.to_definition().map(Document::Activity),
        }
    }
}

impl DraftOrchestration {
    fn to_definition(&self) -> Option<OrchestrationDefinition> {
        let mappings = |drafts: &[DraftMapping]| drafts.iter().map(DraftMapping::to_mapping).collect();
        let activity = |draft: &DraftActivity| {
            Some(Activity {
                id: draft.id.as_ref()?.value.clone(),
                r#type: draft.r#type.as_ref()?.value.clone(),
                discriminator: draft.discriminator.clone(),
                depends_on: draft
                    .depends_on
                    .iter()
                    .map(|dependency| dependency.id.value.clone())
                    .collect(),
                inputs: mappings(&draft.inputs),
            })
        };
        Some(OrchestrationDefinition {
            r#type: self.r#type.as_ref()?.value.clone(),
            version: None,
            description: self.description.clone(),
            active: self.active,
            schema: self
                .schema
                .as_ref()
                .map_or_else(|| Value::Object(Default::default()), |s| s.value.clone()),
            activities: self.activities.iter().map(activity).collect::<Option<_>>()?,
            output: self.output.as_deref().map(mappings),
        })
    }
}

impl DraftActivityDefinition {
    pub(crate) fn to_definition(&self) -> Option<ActivityDefinition> {
        let holder = |schema: &DraftSchema| SchemaHolder {
            open_api_v3_schema: schema.value.clone(),
        };
        Some(ActivityDefinition {
            r#type: self.r#type.as_ref()?.value.clone(),
            provider: self.provider.clone(),
            description: self.description.clone(),
            input_schema: self.input_schema.as_ref().map(holder),
            output_schema: self.output_schema.as_ref().map(holder),
        })
    }
}

/// A value that stands in no source.
fn stored<T>(value: T) -> At<T> {
    At {
        value,
        span: Span::default(),
    }
}

/// A stored definition in the form that the rules read.
impl From<&OrchestrationDefinition> for DraftOrchestration {
    fn from(definition: &OrchestrationDefinition) -> Self {
        let mappings = |mappings: &[Mapping]| {
            mappings
                .iter()
                .enumerate()
                .map(|(place, mapping)| DraftMapping::stored(place, mapping))
                .collect()
        };
        let activity = |(place, activity): (usize, &Activity)| DraftActivity {
            place,
            span: Span::default(),
            id: Some(stored(activity.id.clone())),
            r#type: Some(stored(activity.r#type.clone())),
            discriminator: None,
            depends_on: (0..)
                .zip(&activity.depends_on)
                .map(|(place, id)| DraftDependency {
                    id: stored(id.clone()),
                    place: Some(place),
                })
                .collect(),
            inputs: mappings(&activity.inputs),
        };
        Self {
            r#type: Some(stored(definition.r#type.clone())),
            description: None,
            active: definition.active,
            schema: Some(DraftSchema {
                value: definition.schema.clone(),
                node: None,
            }),
            activity_count: Some(stored(definition.activities.len())),
            activities: definition.activities.iter().enumerate().map(activity).collect(),
            output: definition.output.as_deref().map(mappings),
        }
    }
}
