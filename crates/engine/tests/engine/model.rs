//! What the engine should do, told a second time and simply: an observer that follows the facts,
//! refuses those that break a rule, and knows what every view must show.

mod shown;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use unisono_engine::agent::AgentEvent;
use unisono_engine::codec::Recorded;
use unisono_engine::definition::{DefinitionEvent, Kind};
use unisono_engine::orchestration::OrchestrationEvent as E;
use unisono_engine::payload::Patch;
use unisono_engine::{Event, Settings};
use unisono_model::api::{ActivityState, OrchestrationState};
use unisono_model::ids::AttemptToken;
use unisono_model::name::Name;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    Pending,
    Ready { since: u64 },
    Running { token: AttemptToken, agent: u64 },
    Waiting { token: AttemptToken, deadline: Option<i64> },
    Scheduled { due: i64 },
    Completed,
    Failed,
    Skipped,
    Cancelled,
}

impl Phase {
    fn state(&self) -> ActivityState {
        match self {
            Self::Pending => ActivityState::Pending,
            Self::Ready { .. } => ActivityState::Ready,
            Self::Running { .. } => ActivityState::Running,
            Self::Waiting { .. } => ActivityState::Waiting,
            Self::Scheduled { .. } => ActivityState::Scheduled,
            Self::Completed => ActivityState::Completed,
            Self::Failed => ActivityState::Failed,
            Self::Skipped => ActivityState::Skipped,
            Self::Cancelled => ActivityState::Cancelled,
        }
    }

    pub(crate) fn token(&self) -> Option<AttemptToken> {
        match self {
            Self::Running { token, .. } | Self::Waiting { token, .. } => Some(*token),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Vertex {
    pub(crate) id: String,
    activity_type: String,
    on: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) namespace: Name,
    pub(crate) id: Name,
    pub(crate) graph: Vec<Vertex>,
    pub(crate) phases: Vec<Phase>,
    attempts: Vec<u32>,
    errors: Vec<u32>,
    context: BTreeMap<String, (String, usize, u64)>,
    pub(crate) ended: Option<OrchestrationState>,
}

#[derive(Debug)]
pub(crate) struct Agent {
    namespace: Name,
    incarnation: Name,
    types: BTreeSet<String>,
    concurrency: usize,
    pub(crate) session: Option<u64>,
    pub(crate) until: i64,
    pub(crate) held: BTreeSet<AttemptToken>,
}

impl Agent {
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    fn has_room(&self) -> bool {
        self.session.is_some() && self.held.len() < self.concurrency
    }
}

#[derive(Debug, Default)]
pub(crate) struct Versions {
    pub(crate) graphs: Vec<Vec<Vertex>>,
    pub(crate) deleted: bool,
}

/// Ready activities: since when, of which run, at which index.
type Line = BTreeSet<(u64, u64, usize)>;

#[derive(Debug)]
pub(crate) struct Model {
    settings: Settings,
    pub(crate) runs: BTreeMap<u64, Run>,
    pub(crate) keys: BTreeMap<(Name, Name), u64>,
    pub(crate) agents: BTreeMap<u64, Agent>,
    pub(crate) definitions: BTreeMap<Name, Versions>,
    /// Ready activities by namespace and type, in the order in which they became ready.
    lines: BTreeMap<(Name, String), Line>,
    /// Every attempt ever handed out, with where it belongs.
    pub(crate) attempts: Vec<(AttemptToken, u64, usize)>,
}

impl Model {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            runs: BTreeMap::new(),
            keys: BTreeMap::new(),
            agents: BTreeMap::new(),
            definitions: BTreeMap::new(),
            lines: BTreeMap::new(),
            attempts: Vec::new(),
        }
    }

    pub(crate) fn observe(&mut self, fact: &Recorded) {
        match &fact.event {
            Event::Definition(event) => self.definition(event),
            Event::Agent(event) => self.agent(fact, event),
            Event::Orchestration(event) => self.orchestration(fact, event),
            // Rooms with models of their own.
            Event::Value(_) | Event::Lease(_) | Event::Rollout(_) | Event::Retention(_) => {}
        }
    }

    fn definition(&mut self, event: &DefinitionEvent) {
        match event {
            DefinitionEvent::Applied {
                kind: Kind::Orchestration,
                type_name,
                version,
                source,
                ..
            } => {
                let versions = self.definitions.entry(type_name.clone()).or_default();
                versions.graphs.push(graph(source.as_str()));
                versions.deleted = false;
                assert_eq!(versions.graphs.len(), *version as usize, "versions count up");
            }
            DefinitionEvent::Deleted { type_name, .. } => {
                self.definitions.get_mut(type_name).unwrap().deleted = true;
            }
            DefinitionEvent::Applied { .. } => {}
        }
    }

    fn agent(&mut self, fact: &Recorded, event: &AgentEvent) {
        let names = |types: &[Name]| types.iter().map(ToString::to_string).collect();
        match event {
            AgentEvent::Joined {
                namespace,
                incarnation,
                activity_types,
                concurrency,
                session,
                ..
            } => {
                let known = self
                    .agents
                    .values()
                    .find(|agent| agent.namespace == *namespace && agent.incarnation == *incarnation);
                assert!(known.is_none(), "an agent is known and joins as a new one: {known:?}");
                let agent = Agent {
                    namespace: namespace.clone(),
                    incarnation: incarnation.clone(),
                    types: names(activity_types),
                    concurrency: *concurrency as usize,
                    session: Some(*session),
                    until: 0,
                    held: BTreeSet::new(),
                };
                self.agents.insert(fact.revision.0, agent);
            }
            AgentEvent::Rejoined {
                agent,
                activity_types,
                concurrency,
                session,
                ..
            } => {
                let agent = self.agents.get_mut(agent).unwrap();
                agent.types = names(activity_types);
                agent.concurrency = *concurrency as usize;
                agent.session = Some(*session);
            }
            AgentEvent::Disconnected { agent, until, .. } => {
                let agent = self.agents.get_mut(agent).unwrap();
                agent.session = None;
                agent.until = *until;
                assert_eq!(*until, fact.at.plus_millis(self.settings.agent_grace_ms).0);
            }
            AgentEvent::Gone { agent, .. } => {
                let agent = self.agents.remove(agent).unwrap();
                assert!(agent.held.is_empty(), "an agent is forgotten with attempts: {agent:?}");
            }
            AgentEvent::CreditsChanged { agent, concurrency } => {
                self.agents.get_mut(agent).unwrap().concurrency = *concurrency as usize;
            }
        }
    }

    fn orchestration(&mut self, fact: &Recorded, event: &E) {
        let revision = fact.revision.0;
        let Some(key) = event.run() else {
            return self.started(revision, event);
        };
        let ended = self.runs[&key].ended;
        assert_eq!(ended, None, "something happens to a run after its end: {event:?}");
        if let Some(patch) = patch_of(event) {
            self.patch(key, event, patch, revision);
        }
        match event {
            E::Started { .. } => unreachable!(),
            E::Dispatched { .. } => self.dispatched(fact, event),
            E::Completed { activity, .. } => {
                self.conclude(key, *activity, Phase::Completed);
                self.release(key, revision);
            }
            E::Waiting { activity, deadline, .. } => {
                let old = self.phase(key, *activity).clone();
                let Phase::Running { token, .. } = old else {
                    panic!("waits without running: {old:?}");
                };
                let deadline = *deadline;
                self.conclude(key, *activity, Phase::Waiting { token, deadline });
            }
            E::Scheduled { activity, due, .. } => self.conclude(key, *activity, Phase::Scheduled { due: *due }),
            E::Retrying { activity, due, .. } => {
                self.conclude(key, *activity, Phase::Scheduled { due: *due });
                let errors = &mut self.runs.get_mut(&key).unwrap().errors[*activity as usize];
                *errors += 1;
                assert!(*errors < self.settings.retry.max_errors, "retried too often");
            }
            E::Failed { activity, .. } => self.conclude(key, *activity, Phase::Failed),
            E::Returned { activity, .. } => {
                let running = matches!(self.phase(key, *activity), Phase::Running { .. });
                assert!(running, "returned without running");
                self.go(key, *activity as usize, Phase::Ready { since: revision });
            }
            E::Due { activity, .. } => {
                let due = matches!(self.phase(key, *activity), Phase::Scheduled { due } if *due <= fact.at.0);
                assert!(due, "due too early");
                self.go(key, *activity as usize, Phase::Ready { since: revision });
            }
            E::ContextSaved { activity, .. } => {
                assert!(self.phase(key, *activity).token().is_some())
            }
            E::Succeeded { .. } => {
                let done = self.runs[&key].phases.iter().all(|phase| *phase == Phase::Completed);
                assert!(done, "completed with open activities");
                self.end(key, OrchestrationState::Completed);
            }
            E::Errored { activity, .. } => {
                assert_eq!(*self.phase(key, *activity), Phase::Failed);
                self.end(key, OrchestrationState::Errored);
            }
            E::Cancelled { .. } => self.end(key, OrchestrationState::Cancelled),
        }
    }

    fn started(&mut self, revision: u64, event: &E) {
        let E::Started {
            namespace,
            id,
            type_name,
            version,
            ..
        } = event
        else {
            unreachable!()
        };
        let graph = self.definitions[type_name].graphs[*version as usize - 1].clone();
        assert!(!self.definitions[type_name].deleted, "started a deleted definition");
        let before = self.keys.insert((namespace.clone(), id.clone()), revision);
        assert_eq!(before, None, "id {id} was started twice");
        let run = Run {
            namespace: namespace.clone(),
            id: id.clone(),
            phases: vec![Phase::Pending; graph.len()],
            attempts: vec![0; graph.len()],
            errors: vec![0; graph.len()],
            context: BTreeMap::new(),
            ended: None,
            graph,
        };
        self.runs.insert(revision, run);
        self.release(revision, revision);
    }

    fn dispatched(&mut self, fact: &Recorded, event: &E) {
        let E::Dispatched {
            run: key,
            activity,
            agent,
            nonce,
            ..
        } = event
        else {
            unreachable!()
        };
        let (index, revision) = (*activity as usize, fact.revision);
        let run = &self.runs[key];
        let vertex = &run.graph[index];
        let done = |on: &usize| run.phases[*on] == Phase::Completed;
        assert!(vertex.on.iter().all(done), "ran before its dependencies: {vertex:?}");
        let Phase::Ready { since } = run.phases[index] else {
            panic!("handed out and not ready: {:?}", run.phases[index]);
        };
        let line = &self.lines[&(run.namespace.clone(), vertex.activity_type.clone())];
        assert_eq!(line.first(), Some(&(since, *key, index)), "out of turn");
        let holder = &self.agents[agent];
        assert!(holder.has_room(), "no room: {holder:?}");
        assert!(holder.types.contains(&vertex.activity_type), "wrong type: {holder:?}");
        assert_eq!(holder.namespace, run.namespace, "handed over a namespace's border");
        let token = AttemptToken {
            revision,
            nonce: *nonce,
        };
        self.attempts.push((token, *key, index));
        self.runs.get_mut(key).unwrap().attempts[index] += 1;
        self.go(*key, index, Phase::Running { token, agent: *agent });
    }

    fn phase(&self, key: u64, activity: u32) -> &Phase {
        &self.runs[&key].phases[activity as usize]
    }

    /// The end of an attempt.
    fn conclude(&mut self, key: u64, activity: u32, phase: Phase) {
        let old = self.phase(key, activity);
        assert!(
            old.token().is_some(),
            "an attempt ends that does not exist: {old:?} to {phase:?}"
        );
        self.go(key, activity as usize, phase);
    }

    fn go(&mut self, key: u64, index: usize, phase: Phase) {
        let run = self.runs.get_mut(&key).unwrap();
        let line = self
            .lines
            .entry((run.namespace.clone(), run.graph[index].activity_type.clone()))
            .or_default();
        match &run.phases[index] {
            Phase::Ready { since } => assert!(line.remove(&(*since, key, index))),
            Phase::Running { token, agent } => {
                assert!(self.agents.get_mut(agent).unwrap().held.remove(token))
            }
            _ => {}
        }
        match &phase {
            Phase::Ready { since } => assert!(line.insert((*since, key, index))),
            Phase::Running { token, agent } => {
                assert!(self.agents.get_mut(agent).unwrap().held.insert(*token))
            }
            _ => {}
        }
        run.phases[index] = phase;
    }

    fn release(&mut self, key: u64, revision: u64) {
        let run = &self.runs[&key];
        let released: Vec<usize> = (0..run.graph.len())
            .filter(|index| run.phases[*index] == Phase::Pending)
            .filter(|index| {
                run.graph[*index]
                    .on
                    .iter()
                    .all(|on| run.phases[*on] == Phase::Completed)
            })
            .collect();
        for index in released {
            self.go(key, index, Phase::Ready { since: revision });
        }
    }

    fn end(&mut self, key: u64, state: OrchestrationState) {
        for index in 0..self.runs[&key].phases.len() {
            let run = &self.runs[&key];
            let ended = match run.phases[index] {
                Phase::Completed | Phase::Failed => continue,
                _ if run.attempts[index] == 0 => Phase::Skipped,
                _ => Phase::Cancelled,
            };
            self.go(key, index, ended);
        }
        self.runs.get_mut(&key).unwrap().ended = Some(state);
    }

    fn patch(&mut self, key: u64, event: &E, patch: &Patch, revision: u64) {
        let writer = match event {
            E::Completed { activity, .. }
            | E::Waiting { activity, .. }
            | E::Scheduled { activity, .. }
            | E::Retrying { activity, .. }
            | E::Failed { activity, .. }
            | E::ContextSaved { activity, .. } => *activity as usize,
            _ => unreachable!(),
        };
        let context = &mut self.runs.get_mut(&key).unwrap().context;
        for (name, value) in &patch.set {
            context.insert(name.clone(), (value.as_str().to_owned(), writer, revision));
        }
        for name in &patch.delete {
            context.remove(name);
        }
    }

    /// Open attempts that an agent holds, or that wait for someone outside too.
    pub(crate) fn current(&self, waiting_too: bool) -> Vec<(AttemptToken, u64, usize)> {
        let mut current = Vec::new();
        for (key, run) in self.runs.iter().filter(|(_, run)| run.ended.is_none()) {
            for (index, phase) in run.phases.iter().enumerate() {
                match phase {
                    Phase::Running { token, .. } => current.push((*token, *key, index)),
                    Phase::Waiting { token, .. } if waiting_too => current.push((*token, *key, index)),
                    _ => {}
                }
            }
        }
        current
    }
}

fn patch_of(event: &E) -> Option<&Patch> {
    match event {
        E::Completed { patch, .. }
        | E::Waiting { patch, .. }
        | E::Scheduled { patch, .. }
        | E::Retrying { patch, .. }
        | E::Failed { patch, .. } => patch.as_ref(),
        E::ContextSaved { patch, .. } => Some(patch),
        _ => None,
    }
}

fn graph(source: &str) -> Vec<Vertex> {
    let source: Value = serde_json::from_str(source).unwrap();
    let activities = source["activities"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let ids: Vec<String> = activities.iter().map(|it| text(&it["id"])).collect();
    activities
        .iter()
        .map(|it| Vertex {
            id: text(&it["id"]),
            activity_type: text(&it["type"]),
            on: it["dependsOn"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|on| ids.iter().position(|id| *id == text(on)).unwrap())
                .collect(),
        })
        .collect()
}
