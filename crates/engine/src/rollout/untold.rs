//! Hooks that have yet to be told that targets went back, when their rollout is over already.
//!
//! Going back does not wait for anybody, so it may be over before a hook could be reached. What is left to be told then
//! leaves the rollout and stays with the entity, and is tried again until it was told or given up.

use minicbor::{Decode, Encode};
use unisono_model::ids::Timestamp;
use unisono_model::rollout::{Answer, CallKind, Endpoint};

use super::advance::about;
use super::calls::{Unfit, backoff_ms};
use super::event::{Decision, RolloutEvent as E};
use super::fleet::Fleet;
use super::gates::{call_kind, endpoint, gate_code};
use super::head::{Call, CallState, Facts, Rollout};
use super::health::millis;

/// Tries until a hook is given up: with the waits between them somewhat more than an hour.
const MOST_TRIES: u32 = 20;
/// Hooks of one entity that wait to be told; of more, the oldest are given up.
const MOST_WAITING: usize = 64;

/// A hook that has yet to be told, with what it is told.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) struct Untold {
    #[n(0)]
    pub(crate) call: Call,
    #[n(1)]
    pub(crate) rollout: u32,
    #[n(2)]
    pub(crate) version: String,
    #[n(3)]
    pub(crate) baseline: Option<String>,
    #[n(4)]
    pub(crate) wave: Option<String>,
    /// Where it is told, JSON.
    #[n(5)]
    pub(crate) endpoint: String,
}

impl Untold {
    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        serde_json::from_str(&self.endpoint).ok()
    }

    fn timeout_ms(&self) -> u64 {
        let seconds = self.endpoint().map_or(10, |it| it.timeout_seconds);
        millis(seconds).unsigned_abs()
    }
}

/// A rollout is over: what it has not told yet is kept.
pub(crate) fn keep(facts: &mut Facts) {
    let Some(rollout) = facts.rollout.as_deref_mut() else {
        return;
    };
    let calls = std::mem::take(&mut rollout.calls);
    let unanswered = |call: &Call| {
        let rollback = gate_code(unisono_model::rollout::Gate::Rollback);
        call.gate == Some(rollback) && call.state != CallState::Answered
    };
    let left = calls.into_iter().filter(unanswered);
    facts.untold.extend(left.filter_map(|call| kept(rollout, call)));
    let surplus = facts.untold.len().saturating_sub(MOST_WAITING);
    facts.untold.drain(..surplus);
}

fn kept(rollout: &Rollout, call: Call) -> Option<Untold> {
    let endpoint = endpoint(&rollout.plan.policy, call_kind(call.kind), &call.name)?;
    let wave = rollout.plan.waves.get(usize::from(call.wave));
    Some(Untold {
        rollout: rollout.id,
        version: rollout.version.clone(),
        baseline: rollout.from.clone(),
        wave: wave.map(|wave| wave.name.clone()),
        endpoint: serde_json::to_string(endpoint).ok()?,
        call,
    })
}

/// What a decision about a call changes, if the call is one of these.
pub(crate) fn apply(facts: &mut Facts, at: Timestamp, decision: &Decision) -> bool {
    let (Decision::Answered { call, .. } | Decision::Unanswered { call, .. } | Decision::AskedAgain { call, .. }) =
        decision
    else {
        return false;
    };
    let Some(place) = facts.untold.iter().position(|it| it.call.id == *call) else {
        return false;
    };
    if let Decision::Answered { .. } = decision {
        facts.untold.remove(place);
    } else {
        facts.untold[place].call.follow(at, decision);
    }
    true
}

/// Calls whose time has come: no answer in time, or time to ask again.
pub(crate) fn due(fleet: &Fleet, at: Timestamp) -> Option<E> {
    let untold = fleet.head.facts.untold.iter().find(|it| it.call.due <= at.0)?;
    let call = &untold.call;
    let decision = if call.state == CallState::Asked {
        Decision::Unanswered {
            call: call.id,
            detail: format!("no answer within {} seconds", untold.timeout_ms() / 1_000),
            again: at.plus_millis(backoff_ms(call.attempt)).0,
        }
    } else if call.attempt < MOST_TRIES {
        Decision::AskedAgain {
            call: call.id,
            due: at.plus_millis(untold.timeout_ms()).0,
        }
    } else {
        let last = call.detail.as_deref().unwrap_or_default();
        let detail = format!(
            "hook \"{}\" could not be told that targets went back; given up after {MOST_TRIES} tries: {last}",
            call.name
        );
        answered(call, detail)
    };
    Some(about(fleet, at, untold.rollout, decision))
}

fn answered(call: &Call, detail: String) -> Decision {
    Decision::Answered {
        call: call.id,
        answer: 0,
        detail,
        slots: super::slots::Slots::default(),
        again: None,
    }
}

/// When a call becomes due.
pub(crate) fn next_due(facts: &Facts) -> Option<Timestamp> {
    facts.untold.iter().map(|it| Timestamp(it.call.due)).min()
}

/// What an answer leads to, if its call is one of these. Whatever it says, the hook has been told.
pub(crate) fn answer(fleet: &Fleet, id: u64, answer: &Answer, at: Timestamp) -> Option<Result<E, Unfit>> {
    let untold = fleet.head.facts.untold.iter().find(|it| it.call.id == id)?;
    let call = &untold.call;
    let decision = match answer {
        Answer::Unreachable { .. } if call.state != CallState::Asked => return Some(Err(Unfit::Unknown)),
        Answer::Unreachable { message } => Decision::Unanswered {
            call: id,
            detail: message.clone(),
            again: at.plus_millis(backoff_ms(call.attempt)).0,
        },
        Answer::Go | Answer::Refuse { .. } => answered(call, String::new()),
        _ => return Some(Err(Unfit::Kind(CallKind::Hook.wanted()))),
    };
    Some(Ok(about(fleet, at, untold.rollout, decision)))
}
