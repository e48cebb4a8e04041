//! What a checkpoint keeps of a run: one row, or of a large run a row and parts of its activities, of which only those are
//! written again that have changed.
//!
//! The row and the parts of a run are written and removed together, so that all of them show it at one revision.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use rustc_hash::{FxHashMap, FxHashSet};
use unisono_model::api::OrchestrationState;
use unisono_model::ids::{AttemptToken, Revision, Timestamp};
use unisono_model::name::Name;

use super::context::{Context, ContextEntry};
use super::run::{ActivityRecord, NEVER, Phase, Run, RunKey, RunOrigin, ScheduledBecause};
use super::runs::Saved;
use super::trace::Trace;
use crate::agent::AgentKey;
use crate::definition::Definitions;
use crate::payload::{Failure, Payload};
use crate::snapshot::{LoadError, bytes};

/// Activities of one part. A run with no more has no parts.
pub(super) const PART: usize = 256;
/// Parts of one run at most: more than the largest definition makes.
const MOST_PARTS: u64 = 512;

/// How many parts the row of a run with so many activities has; `None` when it has none.
pub(super) fn parts_of(activities: usize) -> Option<u32> {
    (activities > PART).then(|| u32::try_from(activities.div_ceil(PART)).unwrap_or(u32::MAX))
}

/// The number of a part among all parts of all runs.
pub(crate) fn part_key(run: RunKey, part: u32) -> u64 {
    run.0 * MOST_PARTS + u64::from(part)
}

/// Which part of which run has this number.
pub(crate) fn of_part_key(key: u64) -> (RunKey, u32) {
    (
        RunKey(key / MOST_PARTS),
        u32::try_from(key % MOST_PARTS).unwrap_or(u32::MAX),
    )
}

#[derive(Encode, Decode)]
struct RunRow<'a> {
    #[n(0)]
    key: u64,
    #[n(1)]
    revision: u64,
    #[b(2)]
    namespace: &'a str,
    #[b(3)]
    id: &'a str,
    #[b(4)]
    type_name: &'a str,
    #[n(5)]
    version: u32,
    #[n(6)]
    digest: Option<(u64, u64)>,
    #[b(7)]
    correlation_id: Option<&'a str>,
    #[b(8)]
    labels: Vec<(&'a str, &'a str)>,
    #[n(9)]
    input: Payload,
    #[n(10)]
    created_at: i64,
    #[n(11)]
    started_at: Option<i64>,
    /// Empty when they stand in parts.
    #[b(12)]
    activities: Vec<ActivityRow<'a>>,
    #[b(13)]
    context: Vec<ContextRow<'a>>,
    #[n(14)]
    trace: Option<Trace>,
}

#[derive(Encode, Decode)]
struct PartRow<'a> {
    #[n(0)]
    key: u64,
    #[n(1)]
    revision: u64,
    #[b(2)]
    activities: Vec<ActivityRow<'a>>,
}

#[derive(Encode, Decode)]
struct ActivityRow<'a> {
    #[n(0)]
    phase: PhaseRow,
    #[n(1)]
    since: i64,
    #[n(2)]
    attempts: u32,
    #[n(3)]
    errors: u32,
    #[n(4)]
    lost: u32,
    #[b(5)]
    agent: Option<&'a str>,
    #[n(6)]
    failure: Option<Failure>,
}

#[derive(Encode, Decode)]
enum PhaseRow {
    #[n(0)]
    Pending,
    #[n(1)]
    Ready(#[n(0)] u64, #[n(1)] bool),
    #[n(2)]
    Running(#[n(0)] u64, #[n(1)] u64, #[n(2)] u64),
    #[n(3)]
    Waiting(#[n(0)] u64, #[n(1)] u64, #[n(2)] Option<i64>),
    #[n(4)]
    Scheduled(#[n(0)] i64, #[n(1)] bool),
    #[n(5)]
    Completed(#[n(0)] Payload),
}

#[derive(Encode, Decode)]
struct ContextRow<'a> {
    #[b(0)]
    key: &'a str,
    #[n(1)]
    value: Payload,
    #[n(2)]
    written_by: u32,
    #[n(3)]
    revision: u64,
}

fn row(run: &Run, activities: &[ActivityRecord]) -> Vec<u8> {
    let labels = run.origin.labels.iter();
    bytes(&RunRow {
        key: run.key.0,
        revision: run.revision.0,
        namespace: &run.namespace,
        id: &run.id,
        type_name: &run.definition.type_name,
        version: run.definition.version,
        digest: run.origin.digest,
        correlation_id: run.origin.correlation_id.as_deref(),
        labels: labels.map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        input: run.input.clone(),
        created_at: run.created_at.0,
        started_at: run.started_at().map(|at| at.0),
        activities: activities.iter().map(activity_row).collect(),
        context: run
            .context()
            .map(|(key, entry)| ContextRow {
                key,
                value: entry.value.clone(),
                written_by: entry.written_by,
                revision: entry.revision.0,
            })
            .collect(),
        trace: run.origin.trace.as_deref().cloned(),
    })
}

fn activity_row(record: &ActivityRecord) -> ActivityRow<'_> {
    ActivityRow {
        phase: match &record.phase {
            Phase::Ready { since, returned } => PhaseRow::Ready(since.0, *returned),
            Phase::Running { token, agent } => PhaseRow::Running(token.revision.0, token.nonce, agent.0),
            Phase::Waiting { token, deadline } => {
                PhaseRow::Waiting(token.revision.0, token.nonce, deadline.map(|at| at.0))
            }
            Phase::Scheduled { due, because } => PhaseRow::Scheduled(due.0, *because == ScheduledBecause::Retry),
            Phase::Completed(output) => PhaseRow::Completed(output.clone()),
            // The other phases are those of runs that have ended, which are not open.
            Phase::Pending | Phase::Failed | Phase::Skipped | Phase::Cancelled => PhaseRow::Pending,
        },
        since: record.since.0,
        attempts: record.attempts,
        errors: record.errors,
        lost: record.lost,
        agent: record.agent.as_deref(),
        failure: record.failure.as_deref().cloned(),
    }
}

impl Run {
    /// Everything about the run in one row, however many activities it has.
    pub(crate) fn whole_row(&self) -> Vec<u8> {
        row(self, &self.activities)
    }

    /// The row for a checkpoint, and those of the parts that have changed since they were last taken, by their numbers.
    pub(crate) fn take_rows(&mut self) -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
        let Some(changed) = self.saved.take_parts() else {
            return (self.whole_row(), Vec::new());
        };
        let parts = changed.into_iter().map(|part| self.part_row(part)).collect();
        (row(self, &[]), parts)
    }

    fn part_row(&self, part: u32) -> (u64, Vec<u8>) {
        let begin = part as usize * PART;
        let end = (begin + PART).min(self.activities.len());
        let key = part_key(self.key, part);
        let row = PartRow {
            key,
            revision: self.revision.0,
            activities: self.activities[begin..end].iter().map(activity_row).collect(),
        };
        (key, bytes(&row))
    }

    /// Counts again what is open: the activities that remain, and what blocks each.
    fn count_open(&mut self) {
        let done: Vec<bool> = self
            .activities
            .iter()
            .map(|record| matches!(record.phase, Phase::Completed(_)))
            .collect();
        let open = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        self.remaining = open(done.iter().filter(|done| !**done).count());
        let definition = Arc::clone(&self.definition);
        let Some(plan) = definition.plan() else {
            return;
        };
        for (record, planned) in self.activities.iter_mut().zip(&plan.activities) {
            record.blocked_by = open(
                planned
                    .dependencies
                    .iter()
                    .filter(|dependency| !done[**dependency as usize])
                    .count(),
            );
        }
    }
}

/// Reads the rows of runs. Many of them can be read at once, by a reader each.
#[derive(Debug)]
pub struct RunReader {
    definitions: Arc<Definitions>,
    /// Names of agents, of which many runs have the same.
    agents: FxHashSet<Name>,
}

/// A run as its row shows it, or a part of one.
#[derive(Debug)]
pub struct RunRead(Read);

#[derive(Debug)]
enum Read {
    Whole(Box<Run>),
    /// Without its activities: they stand in so many parts.
    Head(Box<Run>, u32),
    Part(RunKey, u32, Vec<ActivityRecord>),
}

impl RunReader {
    /// A reader for runs of these definitions.
    #[must_use]
    pub fn new(definitions: Arc<Definitions>) -> Self {
        Self {
            definitions,
            agents: FxHashSet::default(),
        }
    }

    /// Reads the row of a run.
    ///
    /// # Errors
    /// [`LoadError`] when it cannot be read or the run's definition is missing.
    pub fn run(&mut self, row: &[u8]) -> Result<RunRead, LoadError> {
        let row: RunRow<'_> = minicbor::decode(row)?;
        let (namespace, id) = (name(row.namespace)?, name(row.id)?);
        let definition = self
            .definitions
            .orchestration(&namespace, row.type_name, row.version)
            .and_then(|definition| Some((definition, definition.plan()?.activities.len())));
        let missing = || LoadError::DefinitionMissing {
            id: id.clone(),
            type_name: name(row.type_name).unwrap_or_else(|_| id.clone()),
            version: row.version,
        };
        let (definition, activities) = definition.ok_or_else(missing)?;
        let parts = parts_of(activities).filter(|_| row.activities.is_empty());
        if parts.is_none() && row.activities.len() != activities {
            return Err(missing());
        }
        let mut run = Box::new(Run {
            key: RunKey(row.key),
            namespace: self.definitions.shared(&namespace),
            id,
            definition: Arc::clone(definition),
            origin: RunOrigin {
                digest: row.digest,
                correlation_id: row.correlation_id.map(Into::into),
                labels: row
                    .labels
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect(),
                trace: row.trace.map(Arc::new),
            },
            input: row.input,
            state: match row.started_at {
                Some(_) => OrchestrationState::Running,
                None => OrchestrationState::Initialized,
            },
            created_at: Timestamp(row.created_at),
            started_at: row.started_at.map_or(NEVER, Timestamp),
            revision: Revision(row.revision),
            activities: row.activities.into_iter().map(|row| self.record(row)).collect(),
            remaining: 0,
            context: context(row.context).map(Arc::new),
            end: None,
            saved: Saved::loaded(activities, parts.is_none()),
        });
        Ok(RunRead(match parts {
            Some(parts) => Read::Head(run, parts),
            None => {
                run.count_open();
                Read::Whole(run)
            }
        }))
    }

    /// Reads the row of a part of a run.
    ///
    /// # Errors
    /// [`LoadError::Malformed`] when it cannot be read.
    pub fn part(&mut self, row: &[u8]) -> Result<RunRead, LoadError> {
        let row: PartRow<'_> = minicbor::decode(row)?;
        let (run, part) = of_part_key(row.key);
        let records = row.activities.into_iter().map(|row| self.record(row)).collect();
        Ok(RunRead(Read::Part(run, part, records)))
    }

    fn record(&mut self, row: ActivityRow<'_>) -> ActivityRecord {
        ActivityRecord {
            phase: phase(row.phase),
            since: Timestamp(row.since),
            blocked_by: 0,
            attempts: row.attempts,
            errors: row.errors,
            lost: row.lost,
            agent: row.agent.and_then(|name| self.shared(name)),
            failure: row.failure.map(Box::new),
        }
    }

    fn shared(&mut self, agent: &str) -> Option<Name> {
        if let Some(known) = self.agents.get(agent) {
            return Some(known.clone());
        }
        let name = Name::parse(agent).ok()?;
        self.agents.insert(name.clone());
        Some(name)
    }
}

fn name(text: &str) -> Result<Name, minicbor::decode::Error> {
    Name::parse(text).map_err(|_| minicbor::decode::Error::message("not a name"))
}

fn context(rows: Vec<ContextRow<'_>>) -> Option<Context> {
    let entries = rows.into_iter().map(|row| {
        let entry = ContextEntry {
            value: row.value,
            written_by: row.written_by,
            revision: Revision(row.revision),
        };
        (row.key.to_owned(), entry)
    });
    Some(entries.collect::<Context>()).filter(|context| !context.is_empty())
}

fn phase(row: PhaseRow) -> Phase {
    let token = |revision, nonce| AttemptToken {
        revision: Revision(revision),
        nonce,
    };
    match row {
        PhaseRow::Pending => Phase::Pending,
        PhaseRow::Ready(since, returned) => Phase::Ready {
            since: Revision(since),
            returned,
        },
        PhaseRow::Running(revision, nonce, agent) => Phase::Running {
            token: token(revision, nonce),
            agent: AgentKey(agent),
        },
        PhaseRow::Waiting(revision, nonce, deadline) => Phase::Waiting {
            token: token(revision, nonce),
            deadline: deadline.map(Timestamp),
        },
        PhaseRow::Scheduled(due, retry) => Phase::Scheduled {
            due: Timestamp(due),
            because: if retry {
                ScheduledBecause::Retry
            } else {
                ScheduledBecause::Asked
            },
        },
        PhaseRow::Completed(output) => Phase::Completed(output),
    }
}

/// Runs whose rows have parts, until all of these are there.
#[derive(Debug, Default)]
pub(crate) struct Incomplete(FxHashMap<RunKey, (Box<Run>, Parts)>);

type Parts = Vec<Option<Vec<ActivityRecord>>>;

impl Incomplete {
    /// Takes what was read; the run, when it is whole. A part comes after its run.
    pub(crate) fn take(&mut self, read: RunRead) -> Option<Box<Run>> {
        match read.0 {
            Read::Whole(run) => Some(run),
            Read::Head(run, parts) => {
                self.0.insert(run.key, (run, vec![None; parts as usize]));
                None
            }
            Read::Part(key, part, records) => {
                let (_, parts) = self.0.get_mut(&key)?;
                *parts.get_mut(part as usize)? = Some(records);
                if parts.iter().any(Option::is_none) {
                    return None;
                }
                let (mut run, parts) = self.0.remove(&key)?;
                run.activities = parts.into_iter().flatten().flatten().collect();
                run.count_open();
                Some(run)
            }
        }
    }

    /// A run of which a part is missing.
    pub(crate) fn any(&self) -> Option<&Run> {
        self.0.values().next().map(|(run, _)| &**run)
    }
}
