//! How fast the engine alone is: whole runs, from start to end, each event decided, encoded and
//! folded, as the deciding thread of a node does it. Throughput is events per second.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use unisono_engine::agent::{AgentCommand, Join, SessionId};
use unisono_engine::codec::BatchWriter;
use unisono_engine::definition::DefinitionCommand;
use unisono_engine::orchestration::{OrchestrationCommand, Report, Start};
use unisono_engine::payload::Payload;
use unisono_engine::{Command, Effect, Event, Settings, State};
use unisono_model::definition::Document;
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;

/// Runs that are open at the same time.
const CONCURRENCY: usize = 256;
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

struct Bench {
    state: State,
    batch: BatchWriter,
    events: Vec<Event>,
    effects: Vec<Effect>,
    started: u64,
    folded: u64,
}

impl Bench {
    fn new(activities: serde_json::Value) -> Self {
        let mut bench = Self {
            state: State::new(Settings::default()),
            batch: BatchWriter::new(Revision(1)),
            events: Vec::new(),
            effects: Vec::new(),
            started: 0,
            folded: 0,
        };
        let documents = [
            json!({"kind": "ActivityDefinition", "type": "work"}),
            json!({"kind": "OrchestrationDefinition", "type": "shape", "activities": activities}),
        ];
        bench.apply(Command::Definition(DefinitionCommand::Apply {
            namespace: name("bench"),
            documents: documents
                .into_iter()
                .map(|it| serde_json::from_value::<Document>(it).unwrap())
                .collect(),
            based_on: Revision(0),
        }));
        for agent in 0..4 {
            bench.apply(Command::Agent(AgentCommand::Join(Box::new(Join {
                namespace: name("bench"),
                name: name("agent"),
                incarnation: name(&format!("agent-{agent}")),
                activity_types: vec![name("work")],
                concurrency: 4_096,
                labels: BTreeMap::new(),
                holding: Vec::new(),
                session: SessionId(agent),
            }))));
        }
        bench
    }

    fn apply(&mut self, command: Command) {
        let mut events = std::mem::take(&mut self.events);
        self.state.decide(command, NOW, &mut events).unwrap();
        for event in events.drain(..) {
            self.fold(&event);
        }
        self.events = events;
    }

    fn fold(&mut self, event: &Event) {
        self.batch.push(NOW, event);
        let revision = self.state.revision.next();
        self.state.evolve(revision, NOW, event, &mut self.effects);
        self.folded += 1;
    }

    fn start(&mut self) {
        self.started += 1;
        let start = Start {
            namespace: name("bench"),
            id: name(&format!("run-{}", self.started)),
            digest: u128::from(self.started),
            absent_as_of: Some(self.state.revision),
            type_name: name("shape"),
            version: 1,
            pinned: false,
            correlation_id: None,
            trace: None,
            labels: BTreeMap::new(),
            input: Payload::empty_object(),
            actor: None,
        };
        self.apply(Command::Orchestration(OrchestrationCommand::Start(Box::new(start))));
    }

    /// Starts runs and brings all of them to their end; a batch ends where no more can be decided.
    fn round(&mut self) {
        for _ in 0..CONCURRENCY {
            self.start();
        }
        while !self.state.runs().is_empty() {
            while let Some(event) = self.state.dispatch(self.folded) {
                self.fold(&event);
            }
            let batch = std::mem::replace(&mut self.batch, BatchWriter::new(self.state.revision.next()));
            black_box(batch.finish());
            for effect in std::mem::take(&mut self.effects) {
                if let Effect::Dispatch { task, .. } = effect {
                    self.apply(Command::Orchestration(OrchestrationCommand::Report {
                        token: task.token,
                        report: Report::Complete(Payload::empty_object()),
                        patch: None,
                    }));
                }
            }
        }
        self.effects.clear();
        drop(self.state.take_dirty());
    }
}

fn shape(criterion: &mut Criterion, name: &str, activities: serde_json::Value) {
    let mut bench = Bench::new(activities);
    let before = bench.folded;
    bench.round();
    let mut group = criterion.benchmark_group("decide, encode, fold");
    group.throughput(Throughput::Elements(bench.folded - before));
    group.bench_function(name, |bencher| bencher.iter(|| bench.round()));
    group.finish();
}

fn benches(criterion: &mut Criterion) {
    let activity = |id: String, on: &[&str]| json!({"id": id, "type": "work", "dependsOn": on});
    let chain = json!([
        activity("a".to_owned(), &[]),
        activity("b".to_owned(), &["a"]),
        activity("c".to_owned(), &["b"]),
    ]);
    let fan: Vec<_> = (0..10).map(|number| activity(format!("a{number}"), &[])).collect();
    shape(criterion, "chain of 3", chain);
    shape(criterion, "fan of 10", json!(fan));
}

criterion_group!(engine, benches);
criterion_main!(engine);
