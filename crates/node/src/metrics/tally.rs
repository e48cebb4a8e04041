//! What one batch adds to the counters: plain numbers of the deciding thread, added up once the batch is durable.

use unisono_engine::Event;

use super::words::{CommandKind, EventKind};

/// Counts of one batch.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(super) commands: [u32; CommandKind::WORDS.len()],
    pub(super) events: [u32; EventKind::WORDS.len()],
}

impl Tally {
    /// Nothing yet.
    pub(crate) const NONE: Self = Self {
        commands: [0; CommandKind::WORDS.len()],
        events: [0; EventKind::WORDS.len()],
    };

    pub(crate) fn accepted(&mut self, command: CommandKind) {
        self.commands[command as usize] += 1;
    }

    pub(crate) fn event(&mut self, event: &Event) {
        self.events[EventKind::of(event) as usize] += 1;
    }
}
