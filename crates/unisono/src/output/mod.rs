//! What people and programs are shown: the console, tables, times.

mod console;
mod json;
mod table;
mod time;

pub(crate) use console::{ColorChoice, Console, Format, Tone};
pub(crate) use json::pretty;
pub(crate) use table::{Field, Grid};
pub(crate) use time::{ago, clock, now, span};

use unisono_model::api::{ActivityState, OrchestrationState};

/// How the state of an orchestration is coloured.
pub(crate) fn orchestration_tone(state: OrchestrationState) -> Tone {
    match state {
        OrchestrationState::Completed => Tone::Good,
        OrchestrationState::Errored => Tone::Bad,
        OrchestrationState::Running => Tone::Busy,
        OrchestrationState::Initialized => Tone::Waiting,
        OrchestrationState::Cancelled => Tone::Quiet,
    }
}

/// How the state of an activity is coloured.
pub(crate) fn activity_tone(state: ActivityState) -> Tone {
    match state {
        ActivityState::Completed => Tone::Good,
        ActivityState::Failed => Tone::Bad,
        ActivityState::Running => Tone::Busy,
        ActivityState::Ready | ActivityState::Waiting | ActivityState::Scheduled => Tone::Waiting,
        ActivityState::Pending | ActivityState::Skipped | ActivityState::Cancelled => Tone::Quiet,
    }
}

/// At most so many characters of a text, on one line.
pub(crate) fn shortened(text: &str, characters: usize) -> String {
    let text = text.replace(['\n', '\r', '\t'], " ");
    if text.chars().count() <= characters {
        return text;
    }
    let mut short: String = text.chars().take(characters.saturating_sub(1)).collect();
    short.push('…');
    short
}
