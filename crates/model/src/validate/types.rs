//! The activity types that an apply can use: those in it, and those stored.

use std::{collections::BTreeMap, rc::Rc};

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::Catalog;
use crate::{
    ActivityDefinition, Name,
    document::{Draft, DraftActivityDefinition, Parsed},
    schema::{defects, from_open_api},
};

/// The schemas of an activity type as JSON Schema. A schema with defects accepts everything here, so that its own
/// mistakes are not followed by others that come from them.
#[derive(Debug)]
pub(super) struct TypeSchemas {
    pub(super) input: Value,
    pub(super) output: Value,
}

pub(super) struct Types<'a> {
    applied: BTreeMap<&'a Name, &'a DraftActivityDefinition>,
    stored: &'a BTreeMap<Name, std::sync::Arc<ActivityDefinition>>,
    known: FxHashMap<Name, Option<Rc<TypeSchemas>>>,
}

impl<'a> Types<'a> {
    pub(super) fn new(parsed: &'a [Parsed], existing: &'a Catalog) -> Self {
        let drafts = parsed
            .iter()
            .flat_map(|parsed| &parsed.drafts)
            .filter_map(|draft| match draft {
                Draft::Activity(draft) => Some((&draft.r#type.as_ref()?.value, draft)),
                Draft::Orchestration(_) => None,
            });
        Self {
            applied: drafts.collect(),
            stored: &existing.activity_definitions,
            known: FxHashMap::default(),
        }
    }

    /// The schemas of a type; `None` when there is no such type.
    pub(super) fn get(&mut self, r#type: &Name) -> Option<Rc<TypeSchemas>> {
        if let Some(found) = self.known.get(r#type) {
            return found.clone();
        }
        let found = self.make(r#type).map(Rc::new);
        self.known.insert(r#type.clone(), found.clone());
        found
    }

    fn make(&self, r#type: &Name) -> Option<TypeSchemas> {
        if let Some(draft) = self.applied.get(r#type) {
            let schema = |schema: &Option<crate::document::DraftSchema>| checked(schema.as_ref().map(|s| &s.value));
            return Some(TypeSchemas {
                input: schema(&draft.input_schema),
                output: schema(&draft.output_schema),
            });
        }
        let stored = self.stored.get(r#type)?;
        let schema = |holder: &Option<crate::SchemaHolder>| checked(holder.as_ref().map(|h| &h.open_api_v3_schema));
        Some(TypeSchemas {
            input: schema(&stored.input_schema),
            output: schema(&stored.output_schema),
        })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.applied
            .keys()
            .map(|name| name.as_str())
            .chain(self.stored.keys().map(|name| name.as_str()))
    }
}

fn checked(schema: Option<&Value>) -> Value {
    let schema = schema.map(from_open_api);
    schema
        .filter(|schema| defects(schema).is_empty())
        .unwrap_or(Value::Bool(true))
}
