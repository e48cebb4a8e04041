//! How state comes back after a restart: the checkpoint's rows, then the journal's tail.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;
use unisono_engine::codec::{Recorded, read_batch};
use unisono_engine::snapshot::{Entity, RunReader};
use unisono_engine::{Effect, State};
use unisono_journal::{Epoch, FileBatches, FileJournal, Journal, Position};
use unisono_model::ids::Revision;
use unisono_store::{EntityKind, Store};

use super::Shared;
use super::batch::RunEvent;
use super::projector::{CHECKPOINT_FORMAT, Durable, Projection, ProjectorHandle, deleted, needed};
use crate::error::NodeError;
use crate::feed::{Feed, Told};

pub(super) struct Recovered {
    pub(super) state: State,
    pub(super) position: Position,
}

/// One machine has one leader, held by the lock on the data directory.
const EPOCH: u64 = 1;

pub(super) async fn recover(
    shared: &Shared,
    journal: &mut FileJournal,
    projector: &ProjectorHandle,
) -> Result<Recovered, NodeError> {
    let begin = Instant::now();
    let position = journal.open(Epoch::new(EPOCH)).await?;
    if let Some(cut) = journal.cut_tail() {
        tracing::warn!("an unfinished write at the end of the journal was cut: {cut:?}");
    }
    if let Some(error) = journal.mark_failure() {
        tracing::warn!(
            "the mark of how far the journal has reached cannot be written, so damage to its very last batch would be taken \
             for an unfinished write: {error}"
        );
    }
    let store = &shared
        .store
        .get()
        .map_err(|error| NodeError::Partition(error.to_string()))?;
    if let Some(cut) = store.cut_log() {
        tracing::warn!(
            "the store's log cannot be read from byte {} of {} on; what it held of events is made again from the journal, \
             and logs of the last moments may be missing. After a power loss this is normal, otherwise look at the disk",
            cut.offset,
            cut.path.display()
        );
    }
    let opened = Instant::now();
    let mut state = State::new(shared.settings);
    let checkpoint = store.checkpoint()?;
    if let Some(checkpoint) = checkpoint {
        if checkpoint.format > CHECKPOINT_FORMAT {
            return Err(NodeError::NewerCheckpoint {
                found: checkpoint.format,
                known: CHECKPOINT_FORMAT,
            });
        }
        load(store, &mut state)?;
        state.loaded(Revision(checkpoint.revision))?;
        projector.found(Revision(checkpoint.revision));
    } else if journal.first_position() > Position::START {
        return Err(NodeError::CheckpointMissing {
            first: journal.first_position().get(),
        });
    } else {
        discard_rows(store)?;
    }
    let loaded = Instant::now();
    let covered = checkpoint.map_or(Revision(0), |checkpoint| Revision(checkpoint.revision));
    shared.hub.feed.begins_after(covered);
    let from = checkpoint.map_or(Position::START, |checkpoint| Position::new(checkpoint.position));
    let (replayed, deleted) = replay(&mut state, journal.batches(from), (projector, &shared.hub.feed))?;
    if deleted {
        // Replaying has put back what was deleted: nobody is served before it is gone again.
        let (done, flushed) = oneshot::channel();
        projector.send(Projection::Flush(done));
        let _ = flushed.await;
    }
    shared.metrics.recovered((position, state.revision), (from, covered));
    tracing::info!(
        open = state.runs().len(),
        replayed,
        revision = %state.revision,
        journal = ?(opened - begin),
        checkpoint = ?(loaded - opened),
        tail = ?loaded.elapsed(),
        "state recovered in {:?}",
        begin.elapsed()
    );
    Ok(Recovered { state, position })
}

/// Removes what the first checkpoint wrote before a crash ended it: the journal is folded from its beginning, and knows
/// of no rows that would have to go when their runs end.
fn discard_rows(store: &Store) -> Result<(), NodeError> {
    let mut batch = store.batch();
    for row in store.entities()? {
        let (kind, key, _) = row?;
        batch.remove_entity(kind, key);
    }
    Ok(store.commit(batch)?)
}

/// Rows were written at different moments; whatever they show of a definition, an agent or a run
/// is complete. Runs come last, because they refer to the others.
pub(crate) fn load(store: &Store, state: &mut State) -> Result<(), NodeError> {
    for kind in EntityKind::ALL {
        for row in store.entities_of(kind)? {
            let (key, bytes) = row?;
            let entity = match kind {
                EntityKind::Definition => Entity::Definition(key),
                EntityKind::Agent => Entity::Agent(key),
                EntityKind::Value => Entity::Value(key),
                EntityKind::Future => Entity::Future(key),
                EntityKind::Lease => Entity::Lease(key),
                EntityKind::Lock => Entity::Lock(key),
                EntityKind::Marks => Entity::Marks,
                EntityKind::Fleet => Entity::Fleet(key),
                EntityKind::Targets => Entity::Targets(key),
                EntityKind::Heard => Entity::Heard(key),
                EntityKind::Notes => Entity::Notes(key),
                EntityKind::Freezes => Entity::Freezes(key),
                EntityKind::Retention => Entity::Retention(key),
                EntityKind::Run | EntityKind::RunPart | EntityKind::Partition => break,
            };
            state.load(entity, &bytes)?;
        }
    }
    load_runs(store, state)
}

/// Rows that are handed from one thread to the next at once, and how often before the next takes them.
const ROWS_AT_ONCE: usize = 1_024;
const HANDED: usize = 8;

/// One thread reads rows, one makes runs of them, and this one puts these into the state.
fn load_runs(store: &Store, state: &mut State) -> Result<(), NodeError> {
    let mut reader = RunReader::new(Arc::clone(state.definitions()));
    std::thread::scope(|scope| {
        let (rows, to_read) = crossbeam_channel::bounded(HANDED);
        let (read, to_put) = crossbeam_channel::bounded(HANDED);
        // Who stops early drops its end of a channel, and the others stop as well.
        let reading = scope.spawn(move || -> Result<(), NodeError> {
            for kind in [EntityKind::Run, EntityKind::RunPart] {
                let mut of_kind = store.entities_of(kind)?.map(|row| row.map(|(_, bytes)| bytes));
                loop {
                    let some: Vec<Bytes> = of_kind.by_ref().take(ROWS_AT_ONCE).collect::<Result<_, _>>()?;
                    if some.is_empty() || rows.send((kind, some)).is_err() {
                        break;
                    }
                }
            }
            Ok(())
        });
        let making = scope.spawn(move || -> Result<(), NodeError> {
            for (kind, rows) in to_read {
                let runs = rows.iter().map(|row| match kind {
                    EntityKind::RunPart => reader.part(row),
                    _ => reader.run(row),
                });
                if read.send(runs.collect::<Result<Vec<_>, _>>()?).is_err() {
                    break;
                }
            }
            Ok(())
        });
        for run in to_put.into_iter().flatten() {
            state.put(run);
        }
        let panicked = |_| NodeError::Partition("a thread that loads runs panicked".to_owned());
        making.join().map_err(panicked)??;
        reading.join().map_err(panicked)?
    })
}

/// A batch begins with the event after the last one that was folded.
pub(crate) fn follows(last: Revision, recorded: &[Recorded]) -> Result<(), NodeError> {
    let (expected, found) = (last.next(), recorded.first().map(|first| first.revision));
    match found {
        Some(found) if found != expected => Err(NodeError::RevisionGap {
            expected: expected.0,
            found: found.0,
        }),
        _ => Ok(()),
    }
}

/// Batches that are read before they are folded. They may be large.
const READ_AHEAD: usize = 4;

/// Folds the journal's tail, and says how many events it has, and whether runs were deleted. A thread of its own reads and decodes it.
fn replay(state: &mut State, batches: FileBatches, to: (&ProjectorHandle, &Feed)) -> Result<(u64, bool), NodeError> {
    std::thread::scope(|scope| {
        let (decoded, to_fold) = crossbeam_channel::bounded(READ_AHEAD);
        let reading = scope.spawn(move || -> Result<(), NodeError> {
            for batch in batches {
                let (_, bytes) = batch?;
                let recorded = read_batch(&bytes)?;
                // Nobody takes it when folding has stopped with an error.
                if decoded.send((bytes, recorded)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        let (mut replayed, mut deleted) = (0, false);
        for (bytes, recorded) in to_fold {
            replayed += recorded.len() as u64;
            deleted |= fold(state, (bytes, recorded), to)?;
        }
        let panicked = |_| NodeError::Partition("the thread that reads the journal panicked".to_owned());
        reading.join().map_err(panicked)??;
        Ok((replayed, deleted))
    })
}

/// Folds a batch, and projects it again: the store may have lost what it had of it. Says whether runs were deleted.
fn fold(
    state: &mut State,
    (bytes, recorded): (Bytes, Vec<Recorded>),
    (projector, feed): (&ProjectorHandle, &Feed),
) -> Result<bool, NodeError> {
    follows(state.revision, &recorded)?;
    let (mut effects, mut run_events, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for it in recorded {
        if let Some(run) = it.event.run(it.revision) {
            run_events.push(RunEvent {
                run,
                revision: it.revision,
                range: it.range,
            });
        } else if Told::is_told(&it.event) {
            told.push(Told {
                revision: it.revision,
                range: it.range,
            });
        }
        state.evolve(it.revision, it.at, &it.event, &mut effects);
    }
    feed.publish(state.revision, told, &bytes);
    let deleted = deleted(&effects);
    let any_deleted = !deleted.is_empty();
    projector.send(Projection::Durable(Box::new(Durable {
        revision: state.revision,
        body: needed(&bytes, &run_events),
        run_events: run_events.into(),
        listed: state.take_listed(),
        ended: effects.iter().filter_map(Effect::ended).cloned().collect(),
        deleted,
        rows: Vec::new(),
        checkpoint: None,
    })));
    Ok(any_deleted)
}
