//! How state comes back after a restart: the checkpoint's rows, then the journal's tail.

use futures_util::StreamExt;
use std::pin::pin;
use unisono_engine::codec::{Recorded, read_batch};
use unisono_engine::snapshot::Entity;
use unisono_engine::{Effect, State};
use unisono_journal::{Epoch, FileJournal, Journal, Position};
use unisono_model::ids::Revision;
use unisono_store::{EntityKind, Store};

use super::Shared;
use super::batch::RunEvent;
use super::projector::{CHECKPOINT_FORMAT, Durable, Projection, ProjectorHandle};
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
    let begin = std::time::Instant::now();
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
    if let Some(cut) = shared.store.cut_log() {
        tracing::warn!(
            "the store's log cannot be read from byte {} of {} on; what it held of events is made again from the journal, \
             and logs of the last moments may be missing. After a power loss this is normal, otherwise look at the disk",
            cut.offset,
            cut.path.display()
        );
    }
    let mut state = State::new(shared.settings);
    let checkpoint = shared.store.checkpoint()?;
    if let Some(checkpoint) = checkpoint {
        if checkpoint.format > CHECKPOINT_FORMAT {
            return Err(NodeError::NewerCheckpoint {
                found: checkpoint.format,
                known: CHECKPOINT_FORMAT,
            });
        }
        load(&shared.store, &mut state)?;
        state.loaded(Revision(checkpoint.revision));
        projector.found(Revision(checkpoint.revision));
    } else if journal.first_position() > Position::START {
        return Err(NodeError::CheckpointMissing {
            first: journal.first_position().get(),
        });
    } else {
        discard_rows(&shared.store)?;
    }
    let covered = checkpoint.map_or(Revision(0), |checkpoint| Revision(checkpoint.revision));
    shared.hub.feed.begins_after(covered);
    let from = checkpoint.map_or(Position::START, |checkpoint| Position::new(checkpoint.position));
    let mut replayed = 0_u64;
    {
        let mut batches = pin!(journal.read(from));
        while let Some(next) = batches.next().await {
            let (_, bytes) = next?;
            replayed += replay(&mut state, bytes, (projector, &shared.hub.feed))?;
        }
    }
    shared.metrics.recovered((position, state.revision), (from, covered));
    tracing::info!(
        open = state.runs().len(),
        replayed,
        revision = %state.revision,
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
    for row in store.entities_runs_last()? {
        let (kind, key, bytes) = row?;
        let entity = match kind {
            EntityKind::Run => Entity::Run(key),
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
            EntityKind::Partition => continue,
        };
        state.load(entity, &bytes)?;
    }
    Ok(())
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

/// Folds a batch, and projects it again: the store may have lost what it had of it.
fn replay(
    state: &mut State,
    bytes: bytes::Bytes,
    (projector, feed): (&ProjectorHandle, &Feed),
) -> Result<u64, NodeError> {
    let recorded = read_batch(&bytes)?;
    follows(state.revision, &recorded)?;
    let count = recorded.len() as u64;
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
    projector.send(Projection::Durable(Box::new(Durable {
        revision: state.revision,
        body: bytes,
        run_events: run_events.into(),
        listed: state.take_listed(),
        ended: effects.iter().filter_map(Effect::ended).cloned().collect(),
        rows: Vec::new(),
        checkpoint: None,
    })));
    Ok(count)
}
