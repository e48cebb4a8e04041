//! The rules for storing and deleting definitions.

use serde::Serialize;
use unisono_model::api::{AppliedDefinition, DefinitionChange, DefinitionKind};
use unisono_model::definition::{ActivityDefinition, Document, OrchestrationDefinition};
use unisono_model::name::Name;

use super::command::DefinitionCommand;
use super::event::DefinitionEvent;
use super::state::{Definitions, NamespaceDefinitions};
use crate::payload::Payload;
use crate::{Event, Rejection, Reply};

pub(crate) fn decide(
    definitions: &Definitions,
    command: DefinitionCommand,
    events: &mut Vec<Event>,
) -> Result<Reply, Rejection> {
    match command {
        DefinitionCommand::Apply {
            namespace,
            documents,
            based_on,
        } => {
            let empty = NamespaceDefinitions::default();
            let existing = definitions.namespace(&namespace).unwrap_or(&empty);
            if existing.revision != based_on {
                return Err(Rejection::Stale);
            }
            apply(existing, &namespace, documents, events)
        }
        DefinitionCommand::Delete {
            namespace,
            kind,
            type_name,
        } => {
            let event = delete(definitions, namespace, kind, type_name)?;
            events.push(Event::Definition(event));
            Ok(Reply::Done)
        }
    }
}

fn apply(
    existing: &NamespaceDefinitions,
    namespace: &Name,
    documents: Vec<Document>,
    events: &mut Vec<Event>,
) -> Result<Reply, Rejection> {
    let news: Vec<ActivityDefinition> = documents
        .iter()
        .filter_map(|document| match document {
            Document::Activity(definition) => Some(definition.clone()),
            Document::Orchestration(_) => None,
        })
        .collect();
    let mut applied = Vec::with_capacity(documents.len());
    for document in documents {
        let (kind, type_name, source, uses) = match document {
            Document::Activity(definition) => (
                DefinitionKind::Activity,
                definition.r#type.clone(),
                json(&definition)?,
                None,
            ),
            Document::Orchestration(mut definition) => {
                definition.version = None;
                let uses = uses(&definition, existing, &news)?;
                (
                    DefinitionKind::Orchestration,
                    definition.r#type.clone(),
                    json(&definition)?,
                    Some(json(&uses)?),
                )
            }
        };
        let last = existing
            .of(kind)
            .get(&type_name)
            .and_then(|versions| Some((versions.deleted, versions.versions.values().next_back()?)));
        let (version, change) = match last {
            None => (1, DefinitionChange::Created),
            Some((false, stored)) if stored.source == source && stored.uses == uses => {
                (stored.version, DefinitionChange::Unchanged)
            }
            Some((true, stored)) => (stored.version + 1, DefinitionChange::Created),
            Some((false, stored)) => (stored.version + 1, DefinitionChange::Updated),
        };
        applied.push(AppliedDefinition {
            kind,
            r#type: type_name.clone(),
            version,
            change,
        });
        if change != DefinitionChange::Unchanged {
            events.push(Event::Definition(DefinitionEvent::Applied {
                namespace: namespace.clone(),
                kind: kind.into(),
                type_name,
                version,
                source,
                uses,
            }));
        }
    }
    Ok(Reply::Applied(applied))
}

/// The activity definitions that an orchestration definition uses, sorted by type.
fn uses(
    definition: &OrchestrationDefinition,
    existing: &NamespaceDefinitions,
    news: &[ActivityDefinition],
) -> Result<Vec<ActivityDefinition>, Rejection> {
    let mut types: Vec<&Name> = definition.activities.iter().map(|activity| &activity.r#type).collect();
    types.sort_unstable();
    types.dedup();
    types
        .into_iter()
        .map(|type_name| {
            news.iter()
                .find(|news| news.r#type == *type_name)
                .cloned()
                .or_else(|| {
                    existing
                        .newest(DefinitionKind::Activity, type_name)?
                        .activity()
                        .map(|definition| ActivityDefinition::clone(definition))
                })
                .ok_or(Rejection::Stale)
        })
        .collect()
}

fn json(value: &impl Serialize) -> Result<Payload, Rejection> {
    serde_json::value::to_raw_value(value)
        .map(Payload::from)
        .map_err(|error| Rejection::Internal(format!("a definition could not be written as JSON: {error}")))
}

fn delete(
    definitions: &Definitions,
    namespace: Name,
    kind: DefinitionKind,
    type_name: Name,
) -> Result<DefinitionEvent, Rejection> {
    let existing = definitions
        .namespace(&namespace)
        .filter(|existing| existing.newest(kind, &type_name).is_some());
    let Some(existing) = existing else {
        return Err(Rejection::DefinitionNotFound { kind, type_name });
    };
    if kind == DefinitionKind::Activity {
        let users: Vec<Name> = existing.users_of(&type_name).cloned().collect();
        if !users.is_empty() {
            return Err(Rejection::DefinitionInUse { type_name, users });
        }
    }
    Ok(DefinitionEvent::Deleted {
        namespace,
        kind: kind.into(),
        type_name,
    })
}
