//! A run from its history: what is kept of one that has ended is its events, and they say everything.

use std::sync::Arc;

use unisono_model::ids::{Revision, Timestamp};

use super::event::OrchestrationEvent;
use super::run::{Run, RunKey};
use super::runs::Runs;
use super::state::evolve;
use crate::definition::Definitions;
use crate::work::Work;
use crate::{Effect, Effects, Event};

/// Folds the history of one run, event by event, as the partition folded it.
#[derive(Debug)]
pub struct Replay<'a> {
    key: RunKey,
    definitions: &'a Definitions,
    runs: Runs,
    work: Work,
    effects: Effects,
    ended: Option<Arc<Run>>,
}

impl<'a> Replay<'a> {
    /// Begins with nothing folded. `definitions` hold the version that the run was started with.
    #[must_use]
    pub fn new(definitions: &'a Definitions, key: RunKey) -> Self {
        Self {
            key,
            definitions,
            runs: Runs::default(),
            work: Work::default(),
            effects: Effects::new(),
            ended: None,
        }
    }

    /// Folds the next event; one of another run, or that was folded already, changes nothing.
    pub fn fold(&mut self, revision: Revision, at: Timestamp, event: &Event) {
        let Event::Orchestration(event) = event else { return };
        if event.run().unwrap_or(revision.0) == self.key.0 {
            self.fold_own(revision, at, event);
        }
    }

    fn fold_own(&mut self, revision: Revision, at: Timestamp, event: &OrchestrationEvent) {
        if let OrchestrationEvent::Started {
            namespace,
            type_name,
            version,
            ..
        } = event
            && let Some(definition) = self.definitions.orchestration(namespace, type_name, *version)
            && let Some(runnable) = definition.runnable()
        {
            self.work.stand_in(namespace, &runnable.queues);
        }
        evolve(
            (&mut self.runs, &mut self.work, self.definitions),
            (revision, at),
            event,
            &mut self.effects,
        );
        for effect in self.effects.drain(..) {
            if let Effect::Ended(run) = effect {
                self.ended = Some(run);
            }
        }
    }

    /// The run as it stands after what was folded; `None` before its first event, or when its definition is missing.
    #[must_use]
    pub fn run(&self) -> Option<&Run> {
        self.ended.as_deref().or_else(|| self.runs.get(self.key))
    }

    /// Whether its end was folded.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }
}
