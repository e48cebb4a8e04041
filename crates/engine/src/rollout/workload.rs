//! A fleet to measure with: what `unisono bench rollout` and the benchmarks time. Nothing here knows a clock.

use std::sync::Arc;

use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;
use unisono_model::rollout::{EntityName, Policy, Report, Reports, Said, Version, read_policy};

use super::command::{By, RolloutCommand, TARGETS_AT_ONCE, Verb};
use crate::codec::BatchWriter;
use crate::snapshot::{Entity, LoadError};
use crate::{Command, Event, Rejection, Settings, State};

const ZONES: usize = 20;
const BEGIN: Timestamp = Timestamp(1_767_225_600_000);

/// One entity with many targets, in the middle of a rollout.
#[derive(Debug)]
pub struct Workload {
    state: State,
    now: Timestamp,
    targets: usize,
    zones: Vec<String>,
    events: u64,
    bytes: u64,
    round: u64,
}

fn address() -> (Name, EntityName) {
    match (Name::parse("bench"), EntityName::parse("fleet")) {
        (Ok(namespace), Ok(entity)) => (namespace, entity),
        _ => unreachable!("a word is a name"),
    }
}

/// Made when it is asked for, so that memory holds the fleet's names alone.
fn name(target: usize) -> String {
    format!("host-{target:07}.example")
}

fn version(text: &str) -> Version {
    match Version::parse(text) {
        Ok(version) => version,
        Err(_) => unreachable!("a word is a version"),
    }
}

fn policy(json: &str) -> Box<Policy> {
    Box::new(read_policy(json).unwrap_or_default())
}

impl Workload {
    /// So many targets that run v1, which is the last known good version, in 20 zones. Version v2 has begun to move, one
    /// per cent at a time.
    #[must_use]
    pub fn new(targets: usize) -> Self {
        let mut workload = Self {
            state: State::new(Settings::default()),
            now: BEGIN,
            targets,
            zones: (0..ZONES).map(|number| format!("zone-{number}")).collect(),
            events: 0,
            bytes: 0,
            round: 0,
        };
        workload.act(Verb::SetPolicy {
            policy: policy(r#"{"batch": "1%", "health": {"healthyForSeconds": 0}}"#),
            classic: None,
        });
        // Each made when it is its turn, so that the memory of all of them is not taken for the fleet's.
        for part in 0..targets.div_ceil(TARGETS_AT_ONCE) {
            let reports = workload.part(part, "v1", "running");
            workload.report(reports);
        }
        workload.set_version("v1");
        workload.act(Verb::SetPolicy {
            policy: policy(
                r#"{"batch": "1%", "maxUnavailable": "5%", "failureTolerance": "1%", "progressDeadlineSeconds": null,
                    "budgets": [{"label": "zone", "maxInFlight": "2%"}],
                    "health": {"healthyForSeconds": 0, "deadlineSeconds": 86400, "silentAfterSeconds": 86400}}"#,
            ),
            classic: None,
        });
        workload.set_version("v2");
        workload
    }

    fn set_version(&mut self, text: &str) {
        self.act(Verb::SetVersion {
            version: version(text),
            force: false,
        });
    }

    fn act(&mut self, verb: Verb) {
        let (namespace, entity) = address();
        // It is what this workload is made of, so nothing is refused.
        let _ = self.command(RolloutCommand::Do {
            namespace,
            entity,
            by: By::default(),
            verb,
        });
    }

    /// All targets in commands as an API makes them: each says that it runs a version and is well.
    #[must_use]
    pub fn parts(&self, version: &str, message: &str) -> Vec<Arc<Reports>> {
        let all = 0..self.targets.div_ceil(TARGETS_AT_ONCE);
        all.map(|part| self.part(part, version, message)).collect()
    }

    fn part(&self, part: usize, version: &str, message: &str) -> Arc<Reports> {
        let first = part * TARGETS_AT_ONCE;
        let last = (first + TARGETS_AT_ONCE).min(self.targets);
        let mut reports = Reports::with_capacity(last - first);
        for number in first..last {
            let _ = reports.push(&Report {
                name: name(number).into(),
                group: "web".into(),
                version: Some(version.into()),
                message: message.into(),
                labels: Some([("zone".to_owned(), self.zones[number % ZONES].clone())].into()),
                ..Report::default()
            });
        }
        Arc::new(reports)
    }

    /// Takes one of [`Workload::parts`]: decides, encodes, and folds.
    pub fn report(&mut self, reports: Arc<Reports>) {
        let (namespace, entity) = address();
        let _ = self.command(RolloutCommand::Report {
            namespace,
            entity,
            reports,
        });
    }

    fn command(&mut self, command: RolloutCommand) -> Result<(), Rejection> {
        let mut events = Vec::new();
        self.state.decide(Command::Rollout(command), self.now, &mut events)?;
        let mut batch = BatchWriter::new(self.state.revision.next());
        for event in events {
            self.fold(&mut batch, &event);
        }
        self.advance(&mut batch);
        self.bytes += batch.bytes() as u64;
        Ok(())
    }

    fn fold(&mut self, batch: &mut BatchWriter, event: &Event) {
        batch.push(self.now, event);
        let revision = self.state.revision.next();
        self.state.evolve(revision, self.now, event, &mut Vec::new());
        self.events += 1;
    }

    fn advance(&mut self, batch: &mut BatchWriter) {
        while let Some(event) = self.state.advance(self.now) {
            self.fold(batch, &event);
        }
    }

    /// One target that is in flight has taken v2 and is proven, so that another one is told. False when none is in flight.
    pub fn report_one(&mut self) -> bool {
        self.now = self.now.plus_millis(1);
        let rollouts = self.state.rollouts();
        let (namespace, entity) = address();
        let Some(fleet) = rollouts.get(&namespace, &entity) else {
            return false;
        };
        let Some(slot) = fleet.tally.due.first().map(|(_, slot)| *slot) else {
            return false;
        };
        let mut reports = Reports::with_capacity(1);
        let _ = reports.push(&Report {
            name: name(slot as usize).into(),
            group: "web".into(),
            version: Some("v2".into()),
            message: "running".into(),
            health: Some(Said::Healthy),
            ..Report::default()
        });
        self.report(Arc::new(reports));
        true
    }

    /// Looks at everything about the entity that may have to be decided, as after a restart.
    pub fn evaluate(&mut self) {
        let mut batch = BatchWriter::new(self.state.revision.next());
        self.state.rollouts_mut().touched.insert(1);
        self.advance(&mut batch);
    }

    /// Every target says something new: reports that are durable, one by one.
    #[must_use]
    pub fn news(&mut self) -> Vec<Arc<Reports>> {
        self.round += 1;
        self.parts("v1", &format!("round {}", self.round))
    }

    /// Every row that a checkpoint of everything would write.
    pub fn rows(&mut self) -> Vec<(Entity, Vec<u8>)> {
        let entities: Vec<Entity> = self.state.rollouts().rows().map(Entity::from).collect();
        entities
            .into_iter()
            .filter_map(|entity| Some((entity, self.state.row(entity)?)))
            .collect()
    }

    /// The revision of the last event.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state.revision
    }

    /// Events folded, and bytes of those that commands led to.
    #[must_use]
    pub fn work(&self) -> (u64, u64) {
        (self.events, self.bytes)
    }

    /// Bytes of the targets' names.
    #[must_use]
    pub fn name_bytes(&self) -> usize {
        (0..self.targets).map(|target| name(target).len()).sum()
    }

    /// Targets that are in flight.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let (namespace, entity) = address();
        self.state
            .rollouts()
            .get(&namespace, &entity)
            .map_or(0, |fleet| u64::from(fleet.tally.all.moving))
    }
}

/// A state made of the rows of a checkpoint, as after a restart.
///
/// # Errors
/// As [`State::load`].
pub fn restart(rows: &[(Entity, Vec<u8>)], revision: Revision) -> Result<State, LoadError> {
    let mut state = State::new(Settings::default());
    for (entity, row) in rows {
        state.load(*entity, row)?;
    }
    state.loaded(revision)?;
    Ok(state)
}
