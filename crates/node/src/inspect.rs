//! What stands in the journal of a data directory, as people read it. Works on one that is damaged, and beside a server that
//! runs.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::ops::{ControlFlow, Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use unisono_engine::codec::{Recorded, read_batch, read_history};
use unisono_engine::definition::DefinitionEvent;
use unisono_engine::orchestration::{OrchestrationEvent, RunKey, history_entry};
use unisono_engine::{Event, Settings, State};
use unisono_journal::inspect::{Finding, FrameContent, FrameInfo, inspect as walk, other_files};
use unisono_journal::{DataDirLock, LockError};
use unisono_model::api::{DefinitionKind, HistoryEntry};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;
use unisono_model::plan::Plan;
use unisono_store::{Store, StoreOptions};

use crate::replay::{ReplayError, journal_directory, load_definitions};

/// A place of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The event of this revision.
    Revision(Revision),
    /// The frame that holds this position.
    Position(u64),
}

/// Which part of the journal to show; all of it where nothing is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part {
    /// From here on.
    pub from: Option<Place>,
    /// Up to here, included.
    pub to: Option<Place>,
}

/// One thing that stands in the journal. Positions, offsets and lengths are in bytes.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "record", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Record {
    /// A segment begins.
    Segment {
        /// Its file.
        file: PathBuf,
        /// Where it starts in the journal.
        position: u64,
        /// Length of the file.
        bytes: u64,
    },
    /// A batch: events that became durable together.
    Batch {
        /// Where it stands in the journal.
        position: u64,
        /// Where it stands in the segment.
        offset: u64,
        /// What it takes there.
        bytes: u64,
        /// The revision of its first event.
        revision: Revision,
        /// How many events it holds.
        events: usize,
    },
    /// An event of the batch before.
    Event(EventRecord),
    /// A later leader took over.
    Takeover {
        /// Where it stands in the journal.
        position: u64,
        /// Where it stands in the segment.
        offset: u64,
        /// The leader's epoch.
        epoch: u64,
    },
    /// The segment ends, and another one goes on.
    Seal {
        /// Where it stands in the journal.
        position: u64,
        /// Where it stands in the segment.
        offset: u64,
    },
    /// A part that cannot be read, and why. What follows is what can be read behind it.
    Damage {
        /// The segment's file.
        file: PathBuf,
        /// Where the damage begins in it.
        offset: u64,
        /// Where it begins in the journal.
        position: u64,
        /// What is wrong.
        problem: String,
    },
    /// A batch that is as it was written, and whose events this program cannot read.
    Unreadable {
        /// Where it stands in the journal.
        position: u64,
        /// Where it stands in the segment.
        offset: u64,
        /// Why.
        problem: String,
    },
    /// A write that was begun at the end and not finished. It was never acknowledged, and the next start cuts it.
    Unfinished {
        /// The segment's file.
        file: PathBuf,
        /// Where it begins in it.
        offset: u64,
        /// Where it begins in the journal.
        position: u64,
    },
    /// The end.
    End {
        /// Where it is in the journal.
        position: u64,
        /// How far the journal reached for certain, as its mark says.
        durable: Option<u64>,
        /// The process that goes on writing, when one does.
        #[serde(skip_serializing_if = "Option::is_none")]
        writer: Option<u32>,
    },
}

/// An event, and what it is about.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum EventRecord {
    /// About a run.
    Run {
        /// Where the run is, when that is known: its start may stand in a part of the journal that was trimmed.
        namespace: Option<Name>,
        /// Its id, when it is known.
        orchestration: Option<Name>,
        /// Its key: the revision of its start.
        run: u64,
        /// The activity's index in the definition, when its name is not known.
        #[serde(skip_serializing_if = "Option::is_none")]
        activity_index: Option<u32>,
        /// The event as its history shows it.
        #[serde(flatten)]
        entry: Box<HistoryEntry>,
    },
    /// About anything else.
    Other {
        /// Its place in the partition's order.
        revision: Revision,
        /// When it was decided.
        at: Timestamp,
        /// What happened.
        kind: String,
        /// The rest of it, as the program writes it for its developers.
        detail: String,
    },
}

/// Shows a part of the journal in the data directory. While no server uses the directory, its store helps with names.
///
/// # Errors
/// [`ReplayError`] when there is no journal, or a file cannot be read; and what `visit` says. Damage is none.
pub fn inspect(data: &Path, part: Part, visit: impl FnMut(&Record) -> io::Result<()>) -> Result<(), ReplayError> {
    let directory = journal_directory(data)?;
    let (lock, writer) = match DataDirLock::acquire(data) {
        Ok(lock) => (Some(lock), None),
        Err(LockError::Held { holder, .. }) => (None, Some(holder.unwrap_or_default())),
        // Looking takes no right to write.
        Err(LockError::Io { .. }) => (None, None),
    };
    let mut reader = Reader {
        names: Names::new(lock.as_ref().map(|_| data)),
        part,
        segment: None,
        last: Revision::default(),
        durable: other_files(&directory)?.durable.map(|position| position.get()),
        writer,
        visit,
    };
    let mut outcome = Ok(Side::Within);
    walk(&directory, |finding| {
        outcome = reader.read(finding);
        match outcome {
            Ok(Side::Before | Side::Within) => ControlFlow::Continue(()),
            Ok(Side::After) | Err(_) => ControlFlow::Break(()),
        }
    })?;
    outcome.map(drop).map_err(ReplayError::Output)
}

/// How something lies to the part that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    Within,
    After,
}

impl Part {
    fn side(&self, positions: Range<u64>, revisions: RangeInclusive<u64>) -> Side {
        let before = self.from.is_some_and(|from| match from {
            Place::Revision(from) => *revisions.end() < from.0,
            Place::Position(from) => positions.end <= from,
        });
        let after = self.to.is_some_and(|to| match to {
            Place::Revision(to) => *revisions.start() > to.0,
            Place::Position(to) => positions.start > to,
        });
        match (before, after) {
            (_, true) => Side::After,
            (true, false) => Side::Before,
            (false, false) => Side::Within,
        }
    }

    fn holds(&self, revision: Revision) -> bool {
        let bound = |place, beyond: fn(&u64, &u64) -> bool| match place {
            Some(Place::Revision(bound)) => !beyond(&revision.0, &bound.0),
            _ => true,
        };
        bound(self.from, u64::lt) && bound(self.to, u64::gt)
    }
}

struct Reader<V> {
    names: Names,
    part: Part,
    /// The segment that is read, until something of it was shown.
    segment: Option<Record>,
    /// The last event read.
    last: Revision,
    durable: Option<u64>,
    writer: Option<u32>,
    visit: V,
}

impl<V: FnMut(&Record) -> io::Result<()>> Reader<V> {
    /// Shows it, if it lies within the part.
    fn read(&mut self, finding: Finding<'_>) -> io::Result<Side> {
        match finding {
            Finding::Segment(segment) => {
                self.segment = Some(Record::Segment {
                    file: segment.path,
                    position: segment.start.get(),
                    bytes: segment.bytes,
                });
                Ok(Side::Within)
            }
            Finding::Frame(frame) => self.frame(&frame),
            Finding::Damage(damage) => self.show(&Record::Damage {
                file: damage.segment,
                offset: damage.offset,
                position: damage.position.get(),
                problem: damage.damage.to_string(),
            }),
            Finding::Unfinished(cut) => self.show(&Record::Unfinished {
                file: cut.segment,
                offset: cut.offset,
                position: cut.position.get(),
            }),
            Finding::End(position) => self.show(&Record::End {
                position: position.get(),
                durable: self.durable,
                writer: self.writer,
            }),
        }
    }

    fn show(&mut self, record: &Record) -> io::Result<Side> {
        if let Some(segment) = self.segment.take() {
            (self.visit)(&segment)?;
        }
        (self.visit)(record)?;
        Ok(Side::Within)
    }

    fn frame(&mut self, frame: &FrameInfo<'_>) -> io::Result<Side> {
        let (position, offset) = (frame.position.get(), frame.offset);
        let positions = position..position + frame.bytes;
        let record = match frame.content {
            FrameContent::Batch(batch) => match read_batch(batch) {
                Ok(events) => return self.batch(frame, &events),
                Err(error) => Record::Unreadable {
                    position,
                    offset,
                    problem: error.to_string(),
                },
            },
            FrameContent::Takeover => Record::Takeover {
                position,
                offset,
                epoch: frame.epoch.get(),
            },
            FrameContent::Seal => Record::Seal { position, offset },
        };
        match self.part.side(positions, self.last.0 + 1..=self.last.0) {
            Side::Within => self.show(&record),
            outside => Ok(outside),
        }
    }

    fn batch(&mut self, frame: &FrameInfo<'_>, events: &[Recorded]) -> io::Result<Side> {
        let position = frame.position.get();
        let first = events.first().map_or(self.last.next(), |event| event.revision);
        self.last = events.last().map_or(self.last, |event| event.revision);
        let side = self.part.side(position..position + frame.bytes, first.0..=self.last.0);
        if side == Side::Within {
            self.show(&Record::Batch {
                position,
                offset: frame.offset,
                bytes: frame.bytes,
                revision: first,
                events: events.len(),
            })?;
        }
        for event in events {
            self.names.learn(event);
            if side == Side::Within && self.part.holds(event.revision) {
                let record = Record::Event(self.names.record(event));
                self.show(&record)?;
            }
        }
        Ok(side)
    }
}

/// What runs and their activities are called.
struct Names {
    /// Only its definitions are kept up.
    state: State,
    runs: HashMap<RunKey, Option<Known>>,
    store: Option<Store>,
}

/// What is known of a run.
#[derive(Clone)]
struct Known {
    namespace: Name,
    id: Name,
    plan: Option<Arc<Plan>>,
}

impl Names {
    /// Those that the store of the data directory knows, if it may be opened and can be; others are learned on the way.
    fn new(data: Option<&Path>) -> Self {
        let mut state = State::new(Settings::default());
        let store = data.map(|data| data.join("store")).filter(|dir| dir.is_dir());
        let store = store.and_then(|dir| Store::open(StoreOptions::new(dir)).ok());
        if let Some(store) = &store {
            // Without them, activities are shown by their numbers.
            let _ = load_definitions(store, &mut state);
        }
        Self {
            state,
            runs: HashMap::new(),
            store,
        }
    }

    fn learn(&mut self, event: &Recorded) {
        match &event.event {
            Event::Definition(_) => {
                let Recorded {
                    revision, at, event, ..
                } = event;
                self.state.evolve(*revision, *at, event, &mut Vec::new());
            }
            Event::Orchestration(started @ OrchestrationEvent::Started { .. }) => {
                let known = self.known(started);
                self.runs.insert(RunKey(event.revision.0), known);
            }
            _ => {}
        }
    }

    fn known(&self, started: &OrchestrationEvent) -> Option<Known> {
        let OrchestrationEvent::Started {
            namespace,
            id,
            type_name,
            version,
            ..
        } = started
        else {
            return None;
        };
        let definition = self.state.definitions().orchestration(namespace, type_name, *version);
        Some(Known {
            namespace: namespace.clone(),
            id: id.clone(),
            plan: definition.and_then(|definition| definition.plan().cloned()),
        })
    }

    /// What is known of a run; one that started before the journal begins is looked up in the store.
    fn run(&mut self, run: RunKey) -> Option<Known> {
        if let Some(known) = self.runs.get(&run) {
            return known.clone();
        }
        let known = self.started(run).and_then(|started| self.known(&started));
        self.runs.insert(run, known.clone());
        known
    }

    fn started(&self, run: RunKey) -> Option<OrchestrationEvent> {
        let mut chunks = self.store.as_ref()?.history(unisono_store::RunKey(run.0), 0).ok()?;
        let (_, chunk) = chunks.next()?.ok()?;
        match read_history(&chunk).ok()?.into_iter().next()? {
            (_, _, Event::Orchestration(started)) => Some(started),
            _ => None,
        }
    }

    fn record(&mut self, recorded: &Recorded) -> EventRecord {
        let Recorded {
            revision, at, event, ..
        } = recorded;
        match (event, event.run(*revision)) {
            (Event::Orchestration(event), Some(run)) => {
                let known = self.run(run);
                let index = Cell::new(None);
                let entry = history_entry(*revision, *at, event, |activity| {
                    let plan = known.as_ref().and_then(|known| known.plan.as_ref());
                    let name = plan.and_then(|plan| Some(plan.activity(activity)?.id.clone()));
                    if name.is_none() {
                        index.set(Some(activity));
                    }
                    name
                });
                let (namespace, orchestration) = known.map(|known| (known.namespace, known.id)).unzip();
                EventRecord::Run {
                    namespace,
                    orchestration,
                    run: run.0,
                    activity_index: index.get(),
                    entry: Box::new(entry),
                }
            }
            _ => other(*revision, *at, event),
        }
    }
}

/// Any event, by the names that its types and fields have in the program.
fn other(revision: Revision, at: Timestamp, event: &Event) -> EventRecord {
    let (kind, detail) = match event {
        Event::Definition(event) => definition(event),
        event => in_general(event),
    };
    EventRecord::Other {
        revision,
        at,
        kind,
        detail,
    }
}

fn definition(event: &DefinitionEvent) -> (String, String) {
    let named = |namespace: &Name, kind: DefinitionKind, type_name: &Name| {
        format!("{} \"{type_name}\" in namespace \"{namespace}\"", kind.describe())
    };
    match event {
        DefinitionEvent::Applied {
            namespace,
            kind,
            type_name,
            version,
            ..
        } => {
            let what = named(namespace, (*kind).into(), type_name);
            ("definitionApplied".to_owned(), format!("{what}, version {version}"))
        }
        DefinitionEvent::Deleted {
            namespace,
            kind,
            type_name,
        } => (
            "definitionDeleted".to_owned(),
            named(namespace, (*kind).into(), type_name),
        ),
    }
}

/// `Agent(Joined { name: "a" })` becomes `agentJoined` and `name: "a"`.
fn in_general(event: &impl Debug) -> (String, String) {
    let text = format!("{event:?}");
    let (room, rest) = text.split_once('(').unwrap_or((&text, ""));
    let rest = rest.strip_suffix(')').unwrap_or(rest);
    let end = rest
        .find(|letter: char| !letter.is_alphanumeric())
        .unwrap_or(rest.len());
    let (variant, fields) = rest.split_at(end);
    let fields = fields
        .trim()
        .trim_start_matches(['{', '('])
        .trim_end_matches(['}', ')']);
    let mut kind = room.to_owned();
    kind[..1].make_ascii_lowercase();
    (kind + variant, fields.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_event_is_told_by_the_names_of_its_types_and_fields() {
        let event = Event::Agent(unisono_engine::agent::AgentEvent::Gone {
            agent: 7,
            reason: "its (second) start".to_owned(),
        });
        assert_eq!(
            in_general(&event),
            (
                "agentGone".to_owned(),
                "agent: 7, reason: \"its (second) start\"".to_owned()
            )
        );
    }

    #[test]
    fn a_part_is_bounded_by_revisions_or_by_positions() {
        let part = |from, to| Part { from, to };
        let by_revision = part(Some(Place::Revision(Revision(5))), Some(Place::Revision(Revision(9))));
        let side = |part: &Part, revisions| part.side(100..200, revisions);
        assert_eq!(side(&by_revision, 1..=4), Side::Before);
        assert_eq!(side(&by_revision, 4..=5), Side::Within);
        assert_eq!(side(&by_revision, 9..=12), Side::Within);
        assert_eq!(side(&by_revision, 10..=12), Side::After);
        assert!(!by_revision.holds(Revision(4)) && by_revision.holds(Revision(5)) && !by_revision.holds(Revision(10)));
        for (from, expected) in [(100, Side::Within), (199, Side::Within), (200, Side::Before)] {
            assert_eq!(side(&part(Some(Place::Position(from)), None), 1..=2), expected);
        }
        for (to, expected) in [(99, Side::After), (100, Side::Within)] {
            assert_eq!(side(&part(None, Some(Place::Position(to))), 1..=2), expected);
        }
    }
}
