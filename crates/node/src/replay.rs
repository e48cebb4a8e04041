//! Folds what a data directory holds without a server, to see that it leads where it should, or how a run got there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;
use unisono_engine::codec::{CodecError, Recorded, read_batch, read_history};
use unisono_engine::orchestration::{OrchestrationEvent, Replay, Run, RunKey, history_entry};
use unisono_engine::snapshot::{Entity, row_revision};
use unisono_engine::{Event, Settings, State, archived_view};
use unisono_journal::{DataDirLock, FileBatches, FileJournal, FileOptions, JournalError, LockError, Position};
use unisono_model::api::{HistoryEntry, OrchestrationView};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;
use unisono_store::{Checkpoint, Store, StoreError, StoreOptions};

use crate::NodeError;
use crate::partition::CHECKPOINT_FORMAT;
use crate::partition::recover::{follows, load};

/// Why a data directory cannot be replayed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// There is no journal in it.
    #[error("{} is no data directory: it has no journal; give the directory that the server was given with --data", path.display())]
    NoData {
        /// The directory.
        path: PathBuf,
    },
    /// What it holds cannot be used.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The state at that revision is no longer there.
    #[error(
        "the state at revision {asked} cannot be told any more: what is kept begins with revision {oldest}, the journal before it was trimmed"
    )]
    TooEarly {
        /// The revision asked for.
        asked: u64,
        /// The first revision that can be told of, as far as is known.
        oldest: u64,
    },
    /// There is no such revision yet.
    #[error("revision {asked} has not been reached: the last event is {last}")]
    TooLate {
        /// The revision asked for.
        asked: u64,
        /// The last one there is.
        last: u64,
    },
    /// The same events led to two states.
    #[error(
        "folding the whole journal leads to state {folded}, and folding its end over the checkpoint to {loaded}: \
         the store, or this program, is at fault; keep the directory as it is and report it"
    )]
    Different {
        /// The hash of the state that the whole journal leads to.
        folded: String,
        /// The hash of the state that the checkpoint and the journal's end lead to.
        loaded: String,
    },
    /// The store shows what is not in the journal.
    #[error(
        "the store shows revision {row}, and the journal ends with {last}: it has lost events, or they do not belong \
         together; restore the data directory from a backup"
    )]
    StoreAhead {
        /// The last event that a row has seen.
        row: Revision,
        /// The last event in the journal.
        last: u64,
    },
    /// The store and the journal tell different things of a run.
    #[error(
        "the event at revision {revision} is not the same in the store's history and in the journal: the store, or this \
         program, is at fault; keep the directory as it is and report it"
    )]
    HistoryDiffers {
        /// The event.
        revision: Revision,
    },
    /// There is no such run.
    #[error("there is no orchestration {id:?} in namespace {namespace:?}, or its history has been deleted")]
    RunNotFound {
        /// The namespace.
        namespace: Name,
        /// The id.
        id: Name,
    },
    /// Whoever wanted to know does not any more.
    #[error("the steps cannot be written")]
    Output(#[source] std::io::Error),
}

macro_rules! through_node_error {
    ($($error:ty),*) => {$(
        impl From<$error> for ReplayError {
            fn from(error: $error) -> Self {
                Self::Node(error.into())
            }
        }
    )*};
}
through_node_error!(StoreError, JournalError, CodecError, LockError);

/// What replaying led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replayed {
    /// The last event folded.
    pub revision: Revision,
    /// The hash of the state, as 32 hexadecimal digits.
    pub hash: String,
    /// Orchestrations that have not ended.
    pub open: usize,
    /// The revision of the checkpoint from which it went on; none when the whole journal was folded.
    pub checkpoint: Option<Revision>,
    /// Events folded.
    pub events: u64,
}

/// Folds what the data directory holds, up to a revision or to its end. Where the journal still has every event ever, the
/// state is also made from the checkpoint, and must be the same.
///
/// # Errors
/// [`ReplayError`] when a server uses the directory, or it is damaged, or `to` cannot be told of.
pub fn replay(data: &Path, to: Option<Revision>) -> Result<Replayed, ReplayError> {
    let _lock = lock(data)?;
    replay_locked(data, to)
}

/// The same for who holds the directory's lock.
pub(crate) fn replay_locked(data: &Path, to: Option<Revision>) -> Result<Replayed, ReplayError> {
    let source = Source::open(data)?;
    if !source.has_everything()? {
        return source.fold_from_checkpoint(to);
    }
    let folded = source.fold_everything(to)?;
    match source.fold_from_checkpoint(to) {
        Ok(loaded) if loaded.hash != folded.hash => Err(ReplayError::Different {
            folded: folded.hash,
            loaded: loaded.hash,
        }),
        // The journal goes back further than the checkpoint.
        Ok(_) | Err(ReplayError::TooEarly { .. }) => Ok(folded),
        Err(error) => Err(error),
    }
}

/// Keeps servers from the data directory.
pub(crate) fn lock(data: &Path) -> Result<DataDirLock, ReplayError> {
    journal_directory(data)?;
    Ok(DataDirLock::acquire(data)?)
}

/// Where the journal of a data directory is.
pub(crate) fn journal_directory(data: &Path) -> Result<PathBuf, ReplayError> {
    let directory = data.join("journal");
    if !directory.is_dir() {
        return Err(ReplayError::NoData { path: data.to_owned() });
    }
    Ok(directory)
}

/// Journal and store of a data directory.
struct Source {
    journal: FileJournal,
    store: Option<Store>,
    checkpoint: Option<Checkpoint>,
}

impl Source {
    fn open(data: &Path) -> Result<Self, ReplayError> {
        let dir = data.join("store");
        // Opening would make one.
        let store = dir.is_dir().then(|| Store::open(StoreOptions::new(dir))).transpose()?;
        let checkpoint = match &store {
            Some(store) => store.checkpoint()?,
            None => None,
        };
        if let Some(found) = checkpoint.map(|checkpoint| checkpoint.format)
            && found > CHECKPOINT_FORMAT
        {
            let known = CHECKPOINT_FORMAT;
            return Err(NodeError::NewerCheckpoint { found, known }.into());
        }
        Ok(Self {
            journal: FileJournal::new(FileOptions::new(data.join("journal"))),
            store,
            checkpoint,
        })
    }

    fn batches(&self, from: Position) -> Batches {
        Batches(self.journal.batches(from))
    }

    /// Whether the journal begins with the first event there ever was.
    fn has_everything(&self) -> Result<bool, ReplayError> {
        match self.batches(Position::START).next() {
            None => Ok(self.checkpoint.is_none()),
            Some(Ok(batch)) => Ok(batch.first().is_some_and(|first| first.revision == Revision(1))),
            Some(Err(ReplayError::Node(NodeError::Journal(JournalError::Trimmed { .. })))) => Ok(false),
            Some(Err(error)) => Err(error),
        }
    }

    fn fold_everything(&self, to: Option<Revision>) -> Result<Replayed, ReplayError> {
        let mut state = State::new(Settings::default());
        let events = fold(&mut state, self.batches(Position::START), to)?;
        Ok(replayed(&state, None, events))
    }

    fn fold_from_checkpoint(&self, to: Option<Revision>) -> Result<Replayed, ReplayError> {
        let mut state = State::new(Settings::default());
        let (Some(store), Some(checkpoint)) = (&self.store, self.checkpoint) else {
            let events = fold(&mut state, self.batches(Position::START), to)?;
            return Ok(replayed(&state, None, events));
        };
        let revision = Revision(checkpoint.revision);
        let newest = newest_row(store)?.max(revision);
        if let Some(asked) = to
            && asked < newest
        {
            return Err(ReplayError::TooEarly {
                asked: asked.0,
                oldest: newest.0,
            });
        }
        load(store, &mut state)?;
        state.loaded(revision).map_err(NodeError::from)?;
        let events = fold(&mut state, self.batches(Position::new(checkpoint.position)), to)?;
        if newest > state.revision {
            return Err(ReplayError::StoreAhead {
                row: newest,
                last: state.revision.0,
            });
        }
        Ok(replayed(&state, Some(revision), events))
    }
}

fn replayed(state: &State, checkpoint: Option<Revision>, events: u64) -> Replayed {
    Replayed {
        revision: state.revision,
        hash: state.hash().to_string(),
        open: state.runs().len(),
        checkpoint,
        events,
    }
}

/// Rows are written after their checkpoint begins, so some have seen more than it.
fn newest_row(store: &Store) -> Result<Revision, ReplayError> {
    let mut newest = Revision::default();
    for row in store.entities()? {
        let (_, _, bytes) = row?;
        newest = newest.max(row_revision(&bytes).map_err(NodeError::from)?);
    }
    Ok(newest)
}

/// The journal's batches, read.
struct Batches(FileBatches);

impl Iterator for Batches {
    type Item = Result<Vec<Recorded>, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.0.next()?;
        Some(next.map_err(Into::into).and_then(|(_, batch)| Ok(read_batch(&batch)?)))
    }
}

/// Folds events up to `to`, and says how many.
fn fold(state: &mut State, batches: Batches, to: Option<Revision>) -> Result<u64, ReplayError> {
    let (mut last, mut events, mut effects) = (state.revision, 0, Vec::new());
    for batch in batches {
        let batch = batch?;
        follows(last, &batch)?;
        for it in batch {
            last = it.revision;
            if to.is_none_or(|to| it.revision <= to) {
                state.evolve(it.revision, it.at, &it.event, &mut effects);
                effects.clear();
                events += 1;
            } else if !knows(state, &it) {
                // Its row is gone already, though it was there at the revision asked for.
                return Err(ReplayError::TooEarly {
                    asked: state.revision.0,
                    oldest: it.revision.0,
                });
            }
        }
        // Nobody lists them here.
        let _ = state.take_listed();
    }
    match to {
        Some(to) if to > last => Err(ReplayError::TooLate {
            asked: to.0,
            last: last.0,
        }),
        _ => Ok(events),
    }
}

/// Whether what a later event is about is in the state, or came after it.
fn knows(state: &State, later: &Recorded) -> bool {
    let entity = match &later.event {
        Event::Orchestration(_) => later.event.run(later.revision).map(|run| (Entity::Run(run.0), run.0)),
        Event::Agent(event) => event.agent().map(|agent| (Entity::Agent(agent), agent)),
        // These are found by what they are about, and may have gone since.
        Event::Definition(_) | Event::Value(_) | Event::Lease(_) | Event::Rollout(_) | Event::Retention(_) => None,
    };
    entity.is_none_or(|(entity, key)| Revision(key) > state.revision || state.row(entity).is_some())
}

/// One event of a run, and where it left the run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The event, as the history shows it.
    pub event: HistoryEntry,
    /// The run after it. Nothing is said of agents, which are not replayed.
    pub orchestration: OrchestrationView,
}

/// Folds the events of one run, step by step: those of its history in the store, and those of the journal, which must be
/// the same where both have them. Gives how many there were.
///
/// # Errors
/// [`ReplayError`] when a server uses the directory, or it is damaged, or there is no such run; and what `on_step` says.
pub fn replay_run(
    data: &Path,
    (namespace, id): (&Name, &Name),
    to: Option<Revision>,
    mut on_step: impl FnMut(&Step) -> std::io::Result<()>,
) -> Result<usize, ReplayError> {
    let _lock = lock(data)?;
    let source = Source::open(data)?;
    let (state, key, events) = source.run(namespace, id)?;
    let mut replay = Replay::new(state.definitions(), key);
    let mut folded = 0;
    for (revision, (at, event)) in events {
        if to.is_some_and(|to| revision > to) {
            break;
        }
        replay.fold(revision, at, &event);
        if let (Some(run), Event::Orchestration(event)) = (replay.run(), &event) {
            on_step(&step(run, (revision, at), event)).map_err(ReplayError::Output)?;
            folded += 1;
        }
    }
    Ok(folded)
}

fn step(run: &Run, (revision, at): (Revision, Timestamp), event: &OrchestrationEvent) -> Step {
    let name_of = |index: u32| Some(run.definition.plan()?.activity(index)?.id.clone());
    Step {
        event: history_entry(revision, at, event, name_of),
        orchestration: archived_view(run),
    }
}

type RunEvents = BTreeMap<Revision, (Timestamp, Event)>;

impl Source {
    /// All definitions, the newest run of this id, and its events.
    fn run(&self, namespace: &Name, id: &Name) -> Result<(State, RunKey, RunEvents), ReplayError> {
        let mut state = State::new(Settings::default());
        let mut key = None;
        let mut from = Position::START;
        if let (Some(store), Some(checkpoint)) = (&self.store, self.checkpoint) {
            load_definitions(store, &mut state)?;
            from = Position::new(checkpoint.position);
        }
        if let Some(store) = &self.store {
            key = store.run_key(namespace, id)?.map(|run| RunKey(run.0));
        }
        let mut events = RunEvents::new();
        for batch in self.batches(from) {
            for it in batch? {
                if let Event::Definition(_) = &it.event {
                    state.evolve(it.revision, it.at, &it.event, &mut Vec::new());
                }
                if starts(&it.event, namespace, id) && key.is_none_or(|key| key.0 < it.revision.0) {
                    key = Some(RunKey(it.revision.0));
                    events.clear();
                }
                if key.is_some() && it.event.run(it.revision) == key {
                    events.insert(it.revision, (it.at, it.event));
                }
            }
        }
        let not_found = || ReplayError::RunNotFound {
            namespace: namespace.clone(),
            id: id.clone(),
        };
        let key = key.ok_or_else(not_found)?;
        if let Some(store) = &self.store {
            for chunk in store.history(unisono_store::RunKey(key.0), 0)? {
                let (_, chunk) = chunk?;
                for (revision, at, event) in read_history(&chunk)? {
                    let told = events.entry(revision).or_insert_with(|| (at, event.clone()));
                    if *told != (at, event) {
                        return Err(ReplayError::HistoryDiffers { revision });
                    }
                }
            }
        }
        if !events.contains_key(&Revision(key.0)) {
            return Err(not_found());
        }
        Ok((state, key, events))
    }
}

fn starts(event: &Event, of: &Name, called: &Name) -> bool {
    matches!(event, Event::Orchestration(OrchestrationEvent::Started { namespace, id, .. })
        if namespace == of && id == called)
}

pub(crate) fn load_definitions(store: &Store, state: &mut State) -> Result<(), ReplayError> {
    for row in store.entities()? {
        let (kind, key, bytes) = row?;
        if kind == unisono_store::EntityKind::Definition {
            state.load(Entity::Definition(key), &bytes).map_err(NodeError::from)?;
        }
    }
    Ok(())
}
