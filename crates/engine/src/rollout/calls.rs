//! What something outside is asked, and what becomes of its answer: hooks, controllers, monitors, measurements.
//!
//! A call is asked by an event, and an effect of it tells the node; after a restart the node finds the calls that are
//! open in the state. An answer comes as a command. Without one in time the call counts as unreachable, and is asked
//! again, later each time.

use std::collections::BTreeSet;

use unisono_model::ids::Timestamp;
use unisono_model::limits::MAX_TARGETS;
use unisono_model::rollout::{Analysis, Answer, CallKind, Cause, Gate, Health, Said, TargetId};

use super::advance::rule;
use super::analysis::{self, Finding};
use super::event::{Decision, Joined, Judgement, RolloutEvent as E};
use super::fleet::Fleet;
use super::gates::{call_kind, endpoint, gate_code, kind_code};
use super::head::{Call, CallState, Rollout, Stage};
use super::health::millis;
use super::slots::Slots;
use super::tally::Room;
use super::target::{Outcome, said_code};
use super::untold;
use super::waves::WavePlan;

/// Targets that one call may be about.
const MOST_TARGETS: usize = 1_000;
/// A gate that said no is asked again after this long.
const ASK_AGAIN_MS: u64 = 30_000;
/// The longest wait between two tries, in milliseconds.
const LONGEST_BACKOFF_MS: u64 = 300_000;
/// How often the external monitor is asked when the policy does not say.
const EXTERNAL_SECONDS: u64 = 30;

/// Asks something.
pub(crate) fn ask(
    fleet: &Fleet,
    kind: CallKind,
    name: &str,
    (gate, wave, slots, count): (Option<Gate>, u16, Slots, u32),
    at: Timestamp,
) -> E {
    let decision = Decision::Asked {
        kind: kind_code(kind),
        name: name.to_owned(),
        gate: gate.map(gate_code),
        wave,
        slots,
        count,
        due: at.plus_millis(timeout_ms(fleet, kind, name)).0,
    };
    rule(fleet, at, decision)
}

fn timeout_ms(fleet: &Fleet, kind: CallKind, name: &str) -> u64 {
    let policy = super::tally::plan_of(&fleet.head).0;
    let seconds = endpoint(policy, kind, name).map_or(10, |it| it.timeout_seconds);
    millis(seconds).unsigned_abs()
}

pub(crate) fn backoff_ms(attempt: u32) -> u64 {
    let doubled = 5_000_u64.saturating_mul(1 << attempt.saturating_sub(1).min(10));
    doubled.min(LONGEST_BACKOFF_MS)
}

/// Calls whose time has come: no answer in time, or time to ask again.
pub(crate) fn due(fleet: &Fleet, rollout: &Rollout, at: Timestamp) -> Option<E> {
    let call = rollout.calls.iter().find(|call| call.due <= at.0)?;
    let decision = match call.state {
        CallState::Asked => Decision::Unanswered {
            call: call.id,
            detail: format!(
                "no answer within {} seconds",
                timeout_ms(fleet, call_kind(call.kind), &call.name) / 1_000
            ),
            again: at.plus_millis(backoff_ms(call.attempt)).0,
        },
        CallState::Unreachable | CallState::Refused => Decision::AskedAgain {
            call: call.id,
            due: at.plus_millis(timeout_ms(fleet, call_kind(call.kind), &call.name)).0,
        },
        CallState::Answered => return None,
    };
    Some(rule(fleet, at, decision))
}

/// Analyses that measure in a wave.
pub(crate) fn analyses<'a>(rollout: &'a Rollout, wave: &'a WavePlan) -> impl Iterator<Item = &'a Analysis> {
    let concerned = |it: &&Analysis| it.waves.is_empty() || it.waves.contains(&wave.name);
    rollout.plan.policy.analysis.iter().filter(concerned)
}

pub(crate) fn open_call<'a>(rollout: &'a Rollout, kind: CallKind, name: &str) -> Option<&'a Call> {
    rollout
        .calls
        .iter()
        .find(|it| call_kind(it.kind) == kind && it.name == name)
}

/// When an analysis measures next, in listening time; `None` while a measurement is under way or nothing can be measured.
fn next_measurement(fleet: &Fleet, rollout: &Rollout, analysis: &Analysis) -> Option<i64> {
    if open_call(rollout, CallKind::Analysis, &analysis.name).is_some() {
        return None;
    }
    // Without a target that runs the version there is nothing to measure.
    if fleet.tally.all.phase(unisono_model::rollout::Phase::Done) == 0 {
        return None;
    }
    let first = rollout.wave_began.saturating_add(millis(analysis.interval_seconds));
    Some(rollout.analyses.get(analysis.name.as_str()).map_or(first, |it| it.next))
}

/// What is to be asked now, besides gates and choices.
pub(crate) fn next(fleet: &Fleet, rollout: &Rollout, at: Timestamp) -> Option<E> {
    let time = fleet.head.time(at);
    external(fleet, rollout, at)
        .or_else(|| monitoring(fleet, rollout, at))
        .or_else(|| {
            let wave = rollout.wave_plan()?;
            let due = |it: &&Analysis| next_measurement(fleet, rollout, it).is_some_and(|due| due <= time);
            let analysis = analyses(rollout, wave).find(due)?;
            let about = (None, rollout.wave, Slots::default(), 0);
            Some(ask(fleet, CallKind::Analysis, &analysis.name, about, at))
        })
        .or_else(|| removal(fleet, rollout, at))
}

/// When something is to be asked next by itself, in listening time.
pub(crate) fn next_due(fleet: &Fleet, rollout: &Rollout) -> Option<i64> {
    let measurements = rollout
        .wave_plan()
        .into_iter()
        .flat_map(|wave| analyses(rollout, wave))
        .filter_map(|analysis| next_measurement(fleet, rollout, analysis));
    measurements.chain(external_due(rollout)).min()
}

/// When the external monitor is asked next, in listening time; `None` while it is.
pub(crate) fn external_due(rollout: &Rollout) -> Option<i64> {
    rollout.plan.policy.controllers.external_monitoring.as_ref()?;
    let open = open_call(rollout, CallKind::ExternalMonitoring, "").is_some();
    (!open && !rollout.overriding).then_some(rollout.external.next)
}

/// The external monitor is asked, if it is time to.
pub(crate) fn external(fleet: &Fleet, rollout: &Rollout, at: Timestamp) -> Option<E> {
    if external_due(rollout)? > fleet.head.time(at) {
        return None;
    }
    let mut slots = fleet.in_flight();
    slots.truncate(MOST_TARGETS);
    let about = (None, rollout.wave, Slots::of(slots), 0);
    Some(ask(fleet, CallKind::ExternalMonitoring, "", about, at))
}

/// Targets that have proved themselves as far as reports can tell.
fn monitoring(fleet: &Fleet, rollout: &Rollout, at: Timestamp) -> Option<E> {
    rollout.plan.policy.controllers.monitoring.as_ref()?;
    let asked: BTreeSet<u32> = rollout
        .calls
        .iter()
        .filter(|it| call_kind(it.kind) == CallKind::Monitoring)
        .flat_map(|it| it.slots.iter())
        .collect();
    let slots: Vec<u32> = fleet
        .tally
        .proven
        .iter()
        .copied()
        .filter(|slot| !asked.contains(slot))
        .take(MOST_TARGETS)
        .collect();
    if slots.is_empty() {
        return None;
    }
    let count = u32::try_from(slots.len()).unwrap_or(u32::MAX);
    let about = (None, rollout.wave, Slots::of(slots), count);
    Some(ask(fleet, CallKind::Monitoring, "", about, at))
}

/// Targets that may go away, because as many others have proved themselves.
fn removal(fleet: &Fleet, rollout: &Rollout, at: Timestamp) -> Option<E> {
    rollout.plan.policy.controllers.removal.as_ref()?;
    let done = fleet.tally.all.phase(unisono_model::rollout::Phase::Done);
    let count = done
        .saturating_sub(u64::from(rollout.removed))
        .min(fleet.batch(rollout));
    let busy = open_call(rollout, CallKind::Removal, "").is_some();
    if count == 0 || busy || rollout.stage != Stage::Running {
        return None;
    }
    let version = fleet.version_id(&rollout.version);
    let old = fleet
        .targets
        .iter()
        .filter(|(_, target)| target.version != version && !target.is_moving());
    let slots: Vec<u32> = old.map(|(slot, _)| slot).take(MOST_TARGETS).collect();
    if slots.is_empty() {
        return None;
    }
    let about = (
        None,
        rollout.wave,
        Slots::of(slots),
        u32::try_from(count).unwrap_or(u32::MAX),
    );
    Some(ask(fleet, CallKind::Removal, "", about, at))
}

/// Which targets of those that may move are chosen by someone outside: what is to be asked, or who was chosen.
pub(crate) enum Choice {
    /// Nobody outside chooses.
    Free,
    /// Something is asked.
    Event(Box<E>),
    /// An answer is awaited.
    Waits(super::gates::Held),
    /// These were chosen, by this call.
    Chosen(Vec<u32>, u64),
}

/// Goes one step on in choosing, where there is room for more.
pub(crate) fn choose_if_room(fleet: &mut Fleet, room: Room, at: Timestamp) -> Choice {
    if room.targets == 0 {
        return Choice::Free;
    }
    choose(fleet, at, room.targets)
}

fn choose(fleet: &mut Fleet, at: Timestamp, room: u64) -> Choice {
    let Some(rollout) = fleet.head.open() else {
        return Choice::Free;
    };
    let controllers = &rollout.plan.policy.controllers;
    let (selects, approves) = (controllers.selection.is_some(), controllers.approval.is_some());
    if (!selects && !approves) || rollout.overriding {
        return Choice::Free;
    }
    let wave = rollout.wave;
    if let Some(call) = open_call(rollout, CallKind::Approval, "") {
        return waits_for(call);
    }
    let chosen = match open_call(rollout, CallKind::Selection, "") {
        Some(call) => match waits_for(call) {
            Choice::Chosen(slots, id) if !approves => return Choice::Chosen(slots, id),
            Choice::Chosen(slots, _) => slots,
            waits => return waits,
        },
        None => {
            let count = usize::try_from(room).unwrap_or(MOST_TARGETS).min(MOST_TARGETS);
            let wanted = if selects { MOST_TARGETS } else { count };
            let candidates = fleet.candidates(wave, wanted);
            if candidates.is_empty() {
                return Choice::Free;
            }
            if selects {
                let about = (
                    None,
                    wave,
                    Slots::of(candidates),
                    u32::try_from(count).unwrap_or(u32::MAX),
                );
                return Choice::Event(Box::new(ask(fleet, CallKind::Selection, "", about, at)));
            }
            candidates
        }
    };
    let count = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
    let about = (None, wave, Slots::of(chosen), count);
    Choice::Event(Box::new(ask(fleet, CallKind::Approval, "", about, at)))
}

fn waits_for(call: &Call) -> Choice {
    use unisono_model::rollout::ReasonCode as R;
    let who = super::gates::who(call);
    match call.standing() {
        CallState::Answered => Choice::Chosen(call.named.as_slice().to_vec(), call.id),
        CallState::Asked => Choice::Waits((R::HookPending, format!("{who} has not answered yet"))),
        CallState::Unreachable => Choice::Waits(super::gates::unreachable(call)),
        CallState::Refused => Choice::Waits((R::HookRefused, format!("{who} has chosen no target"))),
    }
}

/// Why an answer was not taken.
pub(crate) enum Unfit {
    /// There is no such call, or it has been answered.
    Unknown,
    /// It is no answer to such a question.
    Kind(&'static str),
}

/// What an answer leads to.
pub(crate) fn answer(fleet: &Fleet, id: u64, answer: Answer, at: Timestamp, events: &mut Vec<E>) -> Result<(), Unfit> {
    if let Some(told) = untold::answer(fleet, id, &answer, at) {
        events.push(told?);
        return Ok(());
    }
    let rollout = fleet.head.open().ok_or(Unfit::Unknown)?;
    let call = rollout
        .calls
        .iter()
        .find(|it| it.id == id && it.state != CallState::Answered)
        .ok_or(Unfit::Unknown)?;
    let kind = call_kind(call.kind);
    let again = Some(at.plus_millis(ASK_AGAIN_MS).0);
    let mut decided = |decision: Decision| events.push(rule(fleet, at, decision));
    let said = |answer: u8, detail: String, slots: Vec<u32>, again| Decision::Answered {
        call: id,
        answer,
        detail,
        slots: Slots::of(slots),
        again,
    };
    match (kind, answer) {
        // A try that was given up before has failed already.
        (_, Answer::Unreachable { .. }) if call.state != CallState::Asked => return Err(Unfit::Unknown),
        (_, Answer::Unreachable { message }) => decided(Decision::Unanswered {
            call: id,
            detail: message,
            again: at.plus_millis(backoff_ms(call.attempt)).0,
        }),
        (CallKind::Hook, Answer::Go) => decided(said(0, String::new(), Vec::new(), None)),
        (CallKind::Hook, Answer::Refuse { message }) => decided(said(1, message, Vec::new(), again)),
        (CallKind::ExternalMonitoring, go @ (Answer::Go | Answer::Refuse { .. })) => {
            let controllers = &rollout.plan.policy.controllers;
            let seconds = controllers
                .external_monitoring_interval_seconds
                .unwrap_or(EXTERNAL_SECONDS);
            let next = fleet.head.time(at).saturating_add(millis(seconds));
            let decision = match go {
                Answer::Refuse { message } => said(1, message, Vec::new(), Some(next)),
                _ => said(0, String::new(), Vec::new(), Some(next)),
            };
            decided(decision);
        }
        (CallKind::Monitoring, monitored) => {
            let well = match monitored {
                Answer::Go => call.slots.as_slice().to_vec(),
                Answer::Refuse { .. } => Vec::new(),
                Answer::Targets { targets } => named(fleet, call, &targets),
                _ => return Err(Unfit::Kind("go, refuse, or targets")),
            };
            decided(said(0, String::new(), well.clone(), None));
            let bad: Vec<u32> = call.slots.iter().filter(|slot| !well.contains(slot)).collect();
            events.extend(monitored_targets(fleet, rollout, (well, bad), at));
        }
        (CallKind::Selection | CallKind::Approval, Answer::Targets { targets }) => {
            let mut slots = named(fleet, call, &targets);
            if kind == CallKind::Selection {
                let (event, new) = announced(fleet, &targets, at);
                slots.extend(new);
                events.extend(event);
            }
            let again = if slots.is_empty() { again } else { None };
            let decision = said(2, String::new(), slots, again);
            events.push(rule(fleet, at, decision));
        }
        (CallKind::Selection | CallKind::Approval, Answer::Refuse { message }) => {
            decided(said(1, message, Vec::new(), again));
        }
        (CallKind::Removal, Answer::Targets { targets }) => {
            let mut slots = named(fleet, call, &targets);
            slots.truncate(call.count as usize);
            if slots.is_empty() {
                decided(said(1, String::new(), Vec::new(), again));
            } else {
                let waves = super::verbs::forgotten_waves(fleet, &slots, false);
                decided(Decision::Forgot {
                    slots: Slots::of(slots),
                    waves,
                    call: Some(id),
                });
            }
        }
        (CallKind::Removal, Answer::Refuse { message }) => decided(said(1, message, Vec::new(), again)),
        (CallKind::Analysis, Answer::Measured { measured }) => {
            let analysis = rollout
                .plan
                .policy
                .analysis
                .iter()
                .find(|it| it.name == *call.name)
                .ok_or(Unfit::Unknown)?;
            let (finding, detail) = analysis::judge(&analysis.check, &measured);
            decided(Decision::Measured {
                call: id,
                name: call.name.clone(),
                outcome: match finding {
                    Finding::Passed => 0,
                    Finding::Failed => 1,
                    Finding::Inconclusive => 2,
                },
                detail,
                next: fleet.head.time(at).saturating_add(millis(analysis.interval_seconds)),
            });
        }
        (CallKind::Hook | CallKind::ExternalMonitoring, _) => return Err(Unfit::Kind("go or refuse")),
        (CallKind::Selection | CallKind::Approval | CallKind::Removal, _) => {
            return Err(Unfit::Kind("targets or refuse"));
        }
        (CallKind::Analysis, _) => return Err(Unfit::Kind("measured")),
    }
    Ok(())
}

/// Targets that whoever selects names, and that nobody has reported yet: they are about to be made, and get the version.
fn announced(fleet: &Fleet, targets: &[TargetId], at: Timestamp) -> (Option<E>, Vec<u32>) {
    let mut unknown: Vec<&TargetId> = targets
        .iter()
        .filter(|id| fleet.find(&id.group, &id.name).is_none())
        .collect();
    unknown.sort_unstable();
    unknown.dedup();
    unknown.truncate(MOST_TARGETS.min(MAX_TARGETS.saturating_sub(fleet.len())));
    if unknown.is_empty() {
        return (None, Vec::new());
    }
    let slots: Vec<u32> = fleet.targets.next_slots(unknown.len()).collect();
    // The texts of the event: none at all, and the groups.
    let mut texts = vec![String::new()];
    let joined = unknown.iter().zip(&slots).map(|(id, slot)| {
        let group = texts
            .iter()
            .position(|text| text.as_str() == id.group.as_str())
            .unwrap_or_else(|| {
                texts.push(id.group.as_str().to_owned());
                texts.len() - 1
            });
        Joined {
            slot: *slot,
            name: id.name.as_str().to_owned(),
            group: u32::try_from(group).unwrap_or(0),
            traits: 0,
            version: None,
            // It is not there yet, so it is not well.
            said: said_code(Said::Unhealthy),
            health: Health::Unhealthy.code(),
            message: None,
            born: 0,
            expected: None,
            due: None,
        }
    });
    let joined = joined.collect();
    let event = E::Reported {
        entity: fleet.head.number,
        time: fleet.head.time(at),
        window: fleet.head.window,
        texts,
        joined,
        changes: Vec::new(),
        opens: !fleet.listens(),
        typical: None,
    };
    (Some(event), slots)
}

/// The targets of a call that an answer names.
fn named(fleet: &Fleet, call: &Call, targets: &[TargetId]) -> Vec<u32> {
    targets
        .iter()
        .filter_map(|id| fleet.find(&id.group, &id.name))
        .filter(|slot| call.slots.as_slice().binary_search(slot).is_ok())
        .collect()
}

/// What the monitor's word means for the targets that it was asked about.
fn monitored_targets(fleet: &Fleet, rollout: &Rollout, (well, bad): (Vec<u32>, Vec<u32>), at: Timestamp) -> Option<E> {
    let waiting = |slots: Vec<u32>| {
        let still = slots.into_iter().filter(|slot| fleet.tally.proven.contains(slot));
        Slots::of(still.collect())
    };
    let judgement = |slots, outcome: Outcome, cause| Judgement {
        slots,
        rollout: rollout.id,
        outcome: outcome as u8,
        cause,
        health: Some(Health::Healthy.code()),
        due: None,
    };
    let mut judgements = vec![
        judgement(waiting(well), Outcome::Done, 0),
        judgement(waiting(bad), Outcome::Failed, Cause::Monitor.code()),
    ];
    judgements.retain(|judgement| !judgement.slots.is_empty());
    (!judgements.is_empty()).then(|| E::Judged {
        entity: fleet.head.number,
        time: fleet.head.time(at),
        judgements,
        typical: None,
    })
}
