//! The definitions of every namespace, and how events change them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;
use unisono_model::api::{DefinitionKind, DefinitionView};
use unisono_model::definition::{ActivityDefinition, OrchestrationDefinition};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;
use unisono_model::plan::Plan;

use super::event::{DefinitionEvent, Kind};
use crate::payload::Payload;
use crate::work::{QueueId, Work};

/// One version of a definition.
#[derive(Debug)]
pub struct StoredDefinition {
    /// Which type.
    pub type_name: Name,
    /// Which version, from 1.
    pub version: u32,
    /// The event that stored it.
    pub revision: Revision,
    /// When it was stored.
    pub applied_at: Timestamp,
    /// The definition, JSON.
    pub source: Payload,
    /// Orchestration definitions: the activity definitions it uses, a JSON array.
    pub uses: Option<Payload>,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Orchestration(Box<Runnable>),
    Activity(Arc<ActivityDefinition>),
    /// Stored by a version of the program that understood it; this one cannot run it.
    Unreadable(String),
}

/// What runs of one version share.
#[derive(Debug)]
pub(crate) struct Runnable {
    pub(crate) definition: Arc<OrchestrationDefinition>,
    pub(crate) plan: Arc<Plan>,
    /// The queue of each activity.
    pub(crate) queues: Box<[QueueId]>,
}

impl StoredDefinition {
    fn read(
        (type_name, version): (Name, u32),
        (revision, applied_at): (Revision, Timestamp),
        kind: Kind,
        (source, uses): (Payload, Option<Payload>),
        (namespace, work): (&Name, &mut Work),
    ) -> Self {
        let body = match kind {
            Kind::Activity => serde_json::from_str(source.as_str()).map_or_else(
                |error| Body::Unreadable(error.to_string()),
                |it| Body::Activity(Arc::new(it)),
            ),
            Kind::Orchestration => read_runnable(&source, version, uses.as_ref(), namespace, work)
                .map_or_else(Body::Unreadable, |it| Body::Orchestration(Box::new(it))),
        };
        Self {
            type_name,
            version,
            revision,
            applied_at,
            source,
            uses,
            body,
        }
    }

    pub(crate) fn runnable(&self) -> Option<&Runnable> {
        match &self.body {
            Body::Orchestration(runnable) => Some(runnable),
            _ => None,
        }
    }

    /// The plan of an orchestration definition.
    #[must_use]
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.runnable().map(|runnable| &runnable.plan)
    }

    /// The orchestration definition, when it is one.
    #[must_use]
    pub fn orchestration(&self) -> Option<&Arc<OrchestrationDefinition>> {
        self.runnable().map(|runnable| &runnable.definition)
    }

    /// The activity definition, when it is one.
    #[must_use]
    pub fn activity(&self) -> Option<&Arc<ActivityDefinition>> {
        match &self.body {
            Body::Activity(definition) => Some(definition),
            _ => None,
        }
    }

    /// Why this program cannot use what is stored, if so.
    #[must_use]
    pub fn unreadable(&self) -> Option<&str> {
        match &self.body {
            Body::Unreadable(why) => Some(why),
            _ => None,
        }
    }

    /// What the API shows.
    #[must_use]
    pub fn view(&self) -> DefinitionView {
        let mut definition: Box<RawValue> = self.source.to_raw();
        if let Ok(mut value) = serde_json::from_str::<serde_json::Value>(self.source.as_str())
            && let Some(fields) = value.as_object_mut()
        {
            fields.insert("version".to_owned(), self.version.into());
            if let Ok(raw) = serde_json::value::to_raw_value(&value) {
                definition = raw;
            }
        }
        DefinitionView {
            r#type: self.type_name.clone(),
            version: self.version,
            applied_at: self.applied_at,
            revision: self.revision,
            definition,
            tiers: self.plan().map(|plan| tier_names(plan)).unwrap_or_default(),
        }
    }
}

pub(crate) fn tier_names(plan: &Plan) -> Vec<Vec<Name>> {
    plan.tiers
        .iter()
        .map(|tier| {
            tier.iter()
                .map(|activity| plan.activities[*activity as usize].id.clone())
                .collect()
        })
        .collect()
}

fn read_runnable(
    source: &Payload,
    version: u32,
    uses: Option<&Payload>,
    namespace: &Name,
    work: &mut Work,
) -> Result<Runnable, String> {
    let mut definition: OrchestrationDefinition =
        serde_json::from_str(source.as_str()).map_err(|error| error.to_string())?;
    definition.version = Some(version);
    let uses: Vec<ActivityDefinition> = uses
        .map(|uses| serde_json::from_str(uses.as_str()))
        .transpose()
        .map_err(|error| error.to_string())?
        .unwrap_or_default();
    let uses: BTreeMap<Name, Arc<ActivityDefinition>> = uses
        .into_iter()
        .map(|definition| (definition.r#type.clone(), Arc::new(definition)))
        .collect();
    let plan = Plan::compile(&definition, &uses).map_err(|error| error.to_string())?;
    let queues = plan
        .activities
        .iter()
        .map(|activity| work.queue(namespace, &activity.activity_type))
        .collect();
    Ok(Runnable {
        definition: Arc::new(definition),
        plan: Arc::new(plan),
        queues,
    })
}

/// All versions of one definition.
#[derive(Clone, Debug)]
pub struct Versions {
    /// The event that stored the first version: the key of this entity.
    pub key: Revision,
    /// The last event about it.
    pub revision: Revision,
    /// Whether it has been deleted; runs in flight still need their version.
    pub deleted: bool,
    /// By version, from 1.
    pub versions: BTreeMap<u32, Arc<StoredDefinition>>,
}

impl Versions {
    /// The newest version; `None` when deleted.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<StoredDefinition>> {
        (!self.deleted).then(|| self.versions.values().next_back()).flatten()
    }
}

/// The definitions of one namespace.
#[derive(Clone, Debug, Default)]
pub struct NamespaceDefinitions {
    /// The last event about any of them.
    pub revision: Revision,
    orchestrations: BTreeMap<Name, Versions>,
    activities: BTreeMap<Name, Versions>,
}

impl NamespaceDefinitions {
    /// All definitions of a kind, deleted ones too.
    #[must_use]
    pub fn of(&self, kind: DefinitionKind) -> &BTreeMap<Name, Versions> {
        match kind {
            DefinitionKind::Orchestration => &self.orchestrations,
            DefinitionKind::Activity => &self.activities,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut BTreeMap<Name, Versions> {
        match kind {
            Kind::Orchestration => &mut self.orchestrations,
            Kind::Activity => &mut self.activities,
        }
    }

    /// The newest version of a definition that is not deleted.
    #[must_use]
    pub fn newest(&self, kind: DefinitionKind, type_name: &str) -> Option<&Arc<StoredDefinition>> {
        self.of(kind).get(type_name)?.newest()
    }

    /// A given version, deleted or not.
    #[must_use]
    pub fn version(&self, kind: DefinitionKind, type_name: &str, version: u32) -> Option<&Arc<StoredDefinition>> {
        self.of(kind).get(type_name)?.versions.get(&version)
    }

    /// The newest orchestration definitions that use an activity type.
    pub fn users_of<'a>(&'a self, activity_type: &'a str) -> impl Iterator<Item = &'a Name> {
        self.orchestrations
            .values()
            .filter_map(Versions::newest)
            .filter(move |stored| {
                stored.orchestration().is_some_and(|definition| {
                    definition
                        .activities
                        .iter()
                        .any(|activity| activity.r#type.as_str() == activity_type)
                })
            })
            .map(|stored| &stored.type_name)
    }
}

/// The definitions of every namespace.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    namespaces: BTreeMap<Name, NamespaceDefinitions>,
}

impl Definitions {
    /// A given version of an orchestration definition, deleted or not.
    #[must_use]
    pub fn orchestration(&self, namespace: &Name, type_name: &str, version: u32) -> Option<&Arc<StoredDefinition>> {
        self.namespace(namespace)?
            .version(DefinitionKind::Orchestration, type_name, version)
    }

    /// The definitions of a namespace, if it ever had one.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Option<&NamespaceDefinitions> {
        self.namespaces.get(namespace)
    }

    /// The same name, in the memory that the definitions have for it.
    pub(crate) fn shared(&self, namespace: &Name) -> Name {
        let known = self.namespaces.get_key_value(namespace);
        known.map_or(namespace, |(known, _)| known).clone()
    }

    /// Every namespace that ever had a definition.
    pub fn namespaces(&self) -> impl Iterator<Item = (&Name, &NamespaceDefinitions)> {
        self.namespaces.iter()
    }

    pub(crate) fn evolve(&mut self, revision: Revision, at: Timestamp, event: &DefinitionEvent, work: &mut Work) {
        match event {
            DefinitionEvent::Applied {
                namespace,
                kind,
                type_name,
                version,
                source,
                uses,
            } => {
                let stored = StoredDefinition::read(
                    (type_name.clone(), *version),
                    (revision, at),
                    *kind,
                    (source.clone(), uses.clone()),
                    (namespace, work),
                );
                self.store(namespace, *kind, revision, stored);
            }
            DefinitionEvent::Deleted {
                namespace,
                kind,
                type_name,
            } => {
                let Some(definitions) = self.namespaces.get_mut(namespace) else {
                    return;
                };
                definitions.revision = definitions.revision.max(revision);
                if let Some(versions) = definitions.of_mut(*kind).get_mut(type_name)
                    && versions.revision < revision
                {
                    versions.deleted = true;
                    versions.revision = revision;
                }
            }
        }
    }

    fn store(&mut self, namespace: &Name, kind: Kind, revision: Revision, stored: StoredDefinition) {
        let definitions = self.namespaces.entry(namespace.clone()).or_default();
        definitions.revision = definitions.revision.max(revision);
        let versions = definitions
            .of_mut(kind)
            .entry(stored.type_name.clone())
            .or_insert_with(|| Versions {
                key: revision,
                revision: Revision(0),
                deleted: false,
                versions: BTreeMap::new(),
            });
        if versions.revision < revision {
            versions.revision = revision;
            versions.deleted = false;
            versions.versions.insert(stored.version, Arc::new(stored));
        }
    }

    /// Puts back what a checkpoint kept of one definition.
    pub(crate) fn load(&mut self, row: crate::snapshot::DefinitionRow, work: &mut Work) {
        let definitions = self.namespaces.entry(row.namespace.clone()).or_default();
        definitions.revision = definitions.revision.max(Revision(row.revision));
        let versions = row
            .versions
            .into_iter()
            .map(|it| {
                let stored = StoredDefinition::read(
                    (row.type_name.clone(), it.version),
                    (Revision(it.revision), Timestamp(it.applied_at)),
                    row.kind,
                    (it.source, it.uses),
                    (&row.namespace, work),
                );
                (it.version, Arc::new(stored))
            })
            .collect();
        definitions.of_mut(row.kind).insert(
            row.type_name,
            Versions {
                key: Revision(row.key),
                revision: Revision(row.revision),
                deleted: row.deleted,
                versions,
            },
        );
    }

    /// Every definition with its namespace and kind.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Name, Kind, &Name, &Versions)> {
        self.namespaces.iter().flat_map(|(namespace, definitions)| {
            let kind = |kind: Kind| {
                definitions
                    .of(kind.into())
                    .iter()
                    .map(move |(name, versions)| (namespace, kind, name, versions))
            };
            kind(Kind::Activity).chain(kind(Kind::Orchestration))
        })
    }
}
