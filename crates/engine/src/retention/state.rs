//! The rules of every namespace, and how events change them.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use unisono_model::ids::Revision;
use unisono_model::name::Name;

use super::event::{RetentionEvent, Rule};
use crate::orchestration::{RunKey, Runs};
use crate::snapshot::{Entity, LoadError, bytes};
use crate::{Effect, Effects};

/// The rules of all namespaces.
#[derive(Clone, Debug, Default)]
pub struct Retention(BTreeMap<Name, Rules>);

/// The rules of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The event that set the first one: the key of this entity.
    key: Revision,
    /// The last event that changed one.
    pub revision: Revision,
    /// For definitions that have none of their own.
    pub default: Option<Rule>,
    /// Those that definitions have of their own.
    pub types: BTreeMap<Name, Rule>,
}

impl Rules {
    /// The rule that holds for a definition.
    #[must_use]
    pub fn of(&self, type_name: &Name) -> Rule {
        let own = self.types.get(type_name).copied();
        own.or(self.default).unwrap_or_default()
    }
}

#[derive(Encode, Decode)]
struct RulesRow {
    #[n(0)]
    key: u64,
    #[n(1)]
    revision: u64,
    #[cbor(n(2), with = "crate::payload::name")]
    namespace: Name,
    #[n(3)]
    default: Option<Rule>,
    #[n(4)]
    types: Vec<TypeRow>,
}

#[derive(Encode, Decode)]
struct TypeRow {
    #[cbor(n(0), with = "crate::payload::name")]
    type_name: Name,
    #[n(1)]
    rule: Rule,
}

impl Retention {
    /// The rules of a namespace, if it ever had one.
    #[must_use]
    pub fn namespace(&self, namespace: &Name) -> Option<&Rules> {
        self.0.get(namespace)
    }

    /// The namespaces that have rules now, with these.
    pub fn namespaces(&self) -> impl Iterator<Item = (&Name, &Rules)> {
        let has_some = |rules: &Rules| rules.default.is_some() || !rules.types.is_empty();
        self.0.iter().filter(move |(_, rules)| has_some(rules))
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (Entity, Vec<u8>)> + '_ {
        self.0
            .iter()
            .map(|(namespace, rules)| (Entity::Retention(rules.key.0), row(namespace, rules)))
    }

    pub(crate) fn row(&self, key: u64) -> Option<Vec<u8>> {
        let found = self.0.iter().find(|(_, rules)| rules.key.0 == key);
        found.map(|(namespace, rules)| row(namespace, rules))
    }

    pub(crate) fn load(&mut self, row: &[u8]) -> Result<(), LoadError> {
        let row: RulesRow = minicbor::decode(row)?;
        let rules = Rules {
            key: Revision(row.key),
            revision: Revision(row.revision),
            default: row.default,
            types: row.types.into_iter().map(|row| (row.type_name, row.rule)).collect(),
        };
        self.0.insert(row.namespace, rules);
        Ok(())
    }
}

fn row(namespace: &Name, rules: &Rules) -> Vec<u8> {
    let types = rules.types.iter().map(|(type_name, rule)| TypeRow {
        type_name: type_name.clone(),
        rule: *rule,
    });
    bytes(&RulesRow {
        key: rules.key.0,
        revision: rules.revision.0,
        namespace: namespace.clone(),
        default: rules.default,
        types: types.collect(),
    })
}

/// Folds one event of this room.
pub(crate) fn evolve(
    (retention, runs, dirty): (&mut Retention, &mut Runs, &mut BTreeSet<Entity>),
    revision: Revision,
    event: &RetentionEvent,
    effects: &mut Effects,
) {
    match event {
        RetentionEvent::RuleSet {
            namespace,
            type_name,
            rule,
            actor: _,
        } => {
            let rules = retention.0.entry(namespace.clone()).or_insert_with(|| Rules {
                key: revision,
                revision: Revision::default(),
                default: None,
                types: BTreeMap::new(),
            });
            if rules.revision >= revision {
                return;
            }
            rules.revision = revision;
            dirty.insert(Entity::Retention(rules.key.0));
            match (type_name, rule) {
                (None, rule) => rules.default = *rule,
                (Some(type_name), Some(rule)) => drop(rules.types.insert(type_name.clone(), *rule)),
                (Some(type_name), None) => drop(rules.types.remove(type_name)),
            }
        }
        RetentionEvent::Deleted {
            namespace,
            runs: deleted,
            rules,
            ..
        } => {
            for it in deleted {
                runs.forget_end(namespace, &it.id, RunKey(it.run));
            }
            effects.push(Effect::Deleted {
                namespace: namespace.clone(),
                runs: deleted.iter().map(|it| RunKey(it.run)).collect(),
                by_rule: rules.is_some(),
            });
        }
    }
}
