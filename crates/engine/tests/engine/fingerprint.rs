//! Everything that can be seen of a state, so that two can be compared.

use std::collections::BTreeMap;

use unisono_engine::State;
use unisono_engine::clock::Steady;
use unisono_engine::codec::read_batch;
use unisono_engine::orchestration::OrchestrationEvent;
use unisono_engine::snapshot::Entity;
use unisono_engine::{Event, agent::AgentEvent, definition::DefinitionEvent};
use unisono_model::name::Name;

/// Every entity that a journal ever made, and the addresses of its runs.
#[derive(Default)]
pub(crate) struct Known {
    entities: Vec<Entity>,
    runs: Vec<(Name, Name)>,
    namespaces: Vec<Name>,
}

impl Known {
    pub(crate) fn of(journal: &[Vec<u8>]) -> Self {
        let mut known = Self::default();
        for it in journal.iter().flat_map(|batch| read_batch(batch).unwrap()) {
            match it.event {
                Event::Orchestration(OrchestrationEvent::Started { namespace, id, .. }) => {
                    known.entities.push(Entity::Run(it.revision.0));
                    known.runs.push((namespace, id));
                }
                Event::Agent(AgentEvent::Joined { namespace, .. }) => {
                    known.entities.push(Entity::Agent(it.revision.0));
                    known.namespaces.push(namespace);
                }
                Event::Definition(DefinitionEvent::Applied { namespace, .. }) => {
                    known.entities.push(Entity::Definition(it.revision.0));
                    known.namespaces.push(namespace);
                }
                Event::Value(event) => {
                    let kind = if event.is_change() {
                        Entity::Value
                    } else {
                        Entity::Future
                    };
                    known.entities.push(kind(it.revision.0));
                }
                Event::Lease(event) => {
                    let kind = if event.lock().is_some() {
                        Entity::Lock
                    } else {
                        Entity::Lease
                    };
                    known.entities.push(kind(it.revision.0));
                }
                _ => {}
            }
        }
        known.namespaces.sort_unstable();
        known.namespaces.dedup();
        known
    }
}

/// What is visible of the state of these entities, by what it is.
pub(crate) fn fingerprint(state: &State, known: &Known) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    let mut see = |what: String, value: String| seen.insert(what, value);
    for entity in &known.entities {
        see(format!("{entity:?}"), format!("{:02x?}", state.row(*entity)));
    }
    for (namespace, id) in &known.runs {
        let view = state
            .view(namespace, id)
            .map(|(key, view)| (key, serde_json::to_string(&view).unwrap()));
        see(format!("run {namespace}/{id}"), format!("{view:?}"));
    }
    for namespace in &known.namespaces {
        see(
            format!("agents of {namespace}"),
            format!("{:?}", state.agents(namespace)),
        );
        let revision = state.definitions().namespace(namespace).map(|it| it.revision);
        see(format!("definitions of {namespace}"), format!("{revision:?}"));
    }
    let mut depths: Vec<String> = state
        .queue_depths()
        .into_iter()
        .filter(|depth| depth.ready > 0)
        .map(|depth| format!("{depth:?}"))
        .collect();
    depths.sort_unstable();
    see("queues".to_owned(), depths.join("\n"));
    see("counts".to_owned(), format!("{:?}", state.counts()));
    let values = (
        state.value_counts(),
        state.lease_counts(),
        state.marks().time(Steady(0)),
    );
    see("values and leases".to_owned(), format!("{values:?}"));
    see("timer".to_owned(), format!("{:?}", state.next_timer()));
    see("runs".to_owned(), state.runs().len().to_string());
    see("connected".to_owned(), state.connected_agents().to_string());
    see("revision".to_owned(), state.revision.to_string());
    see("time of the last event".to_owned(), state.now.0.to_string());
    seen
}

/// Fails with what differs, and only that.
pub(crate) fn assert_same(what: &str, one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) {
    for (key, value) in one {
        assert_eq!(Some(value), other.get(key), "{what}: {key}");
    }
    assert_eq!(one.len(), other.len(), "{what}");
}
