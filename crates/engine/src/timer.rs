//! Timers: what becomes due by itself.
//!
//! They are derived from the phases of activities, the links of agents, and the deadlines of values, futures, leases and
//! places in queues; nothing else remembers them. The node asks for the next one, sleeps until then, and says tick, until
//! nothing is due any more.

use unisono_model::ids::Timestamp;

use crate::work::TimerKey;
use crate::{Event, State, agent, lease, orchestration, value};

/// Events of one tick, at most; the node ticks again at once while more is due.
const MOST_AT_ONCE: usize = 4_096;

/// Everything that is due.
pub(crate) fn decide(state: &State, at: Timestamp, events: &mut Vec<Event>) {
    for timer in state.work.due(at) {
        match timer {
            TimerKey::Activity(activity) => orchestration::due(state, activity, events),
            TimerKey::Agent(agent) => agent::lost(state, agent, events),
        }
        if events.len() >= MOST_AT_ONCE {
            return;
        }
    }
    value::expire(state, at, events);
    if events.is_empty() {
        lease::due(state, at, events);
    }
}
