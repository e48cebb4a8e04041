//! What decisions change in an entity. It depends on nothing but the entity and the event.

use unisono_model::ids::{Revision, Timestamp};
use unisono_model::rollout::{CallKind, ClassicOptions, RolloutState};

use super::event::{Decision, RolloutEvent as E, Then};
use super::gates::{call_kind, chooses};
use super::head::{
    Call, CallState, End, External, Freeze, Head, Hold, Mark, Marked, Pause, Queued, Rollout, Stage, Verdict,
};
use super::slots::Slots;
use super::{outbox, untold};
use crate::payload::Payload;

/// Who, and why.
struct By<'a> {
    actor: &'a Option<String>,
    reason: &'a Option<String>,
}

pub(crate) fn apply(head: &mut Head, (revision, at): (Revision, Timestamp), event: &E) {
    let E::Decided {
        time,
        actor,
        reason,
        decision,
        rollout,
        ..
    } = event
    else {
        return;
    };
    let by = By { actor, reason };
    match decision {
        Decision::PolicySet { policy, classic } => set_policy(head, policy, *classic),
        Decision::Planned {
            version, overriding, ..
        } => plan(head, (*rollout, version, *overriding), (at, *time), &by),
        Decision::Queued { version, forced } => {
            head.facts.asked = Some(version.clone());
            head.facts.queued = Some(Queued {
                version: version.clone(),
                actor: actor.clone(),
                reason: reason.clone(),
                forced: *forced,
            });
        }
        Decision::Unqueued => head.facts.queued = None,
        Decision::Cleared { version } => clear(head, version, (at, *rollout), &by),
        Decision::Frozen { until } => {
            head.facts.freeze = Some(Freeze {
                actor: actor.clone(),
                reason: reason.clone(),
                since: at.0,
                until: *until,
            });
        }
        Decision::Thawed => head.facts.freeze = None,
        Decision::Acknowledged { .. } | Decision::Undelivered { .. } | Decision::DeliveryResumed { .. } => {
            outbox::apply(&mut head.facts, decision);
        }
        Decision::Remembered { .. } => head.facts.requests.remember(revision, decision),
        Decision::Failed { .. } => fail(head, (*rollout, at), decision),
        Decision::Ended { .. } => end(head, (*rollout, at), decision),
        _ if untold::apply(&mut head.facts, at, decision) => {}
        _ => {
            let open = head.facts.rollout.as_deref_mut().filter(|open| open.id == *rollout);
            if let Some(open) = open {
                step(open, (revision, at, *time), decision, &by);
            }
        }
    }
}

fn set_policy(head: &mut Head, policy: &Payload, classic: Option<(i64, i64, i64, i64)>) {
    head.policy = std::sync::Arc::new(serde_json::from_str(policy.as_str()).unwrap_or_default());
    head.classic = classic.map(|(batch, success, healthy, deadline)| ClassicOptions {
        batch_percent: batch,
        success_percent: success,
        success_timeout_secs: healthy,
        duration_timeout_secs: deadline,
    });
    // A rollout under way keeps its waves, and follows the rest at once.
    if let Some(open) = head.facts.rollout.as_deref_mut().filter(|open| open.is_open()) {
        let mut merged = (*head.policy).clone();
        if open.stage != Stage::Planned {
            merged.canary.clone_from(&open.plan.policy.canary);
            merged.waves.clone_from(&open.plan.policy.waves);
            merged.unmatched = open.plan.policy.unmatched;
        }
        open.policy = to_payload(&merged);
        open.make_plan();
    }
}

/// A policy as it stands in rows.
pub(crate) fn to_payload(policy: &unisono_model::rollout::Policy) -> Payload {
    // A policy has nothing that JSON cannot say.
    match serde_json::value::to_raw_value(policy) {
        Ok(raw) => Payload::from(raw),
        Err(_) => Payload::empty_object(),
    }
}

fn plan(head: &mut Head, (id, version, overriding): (u32, &String, bool), (at, time): (Timestamp, i64), by: &By<'_>) {
    head.retire();
    let policy = to_payload(&head.policy);
    let facts = &mut head.facts;
    facts.asked = Some(version.clone());
    if facts.queued.as_ref().is_some_and(|queued| queued.version == *version) {
        facts.queued = None;
    }
    facts.last_rollout = id;
    let mut rollout = Rollout {
        id,
        version: version.clone(),
        from: facts.good.clone(),
        actor: by.actor.clone(),
        reason: by.reason.clone(),
        created_at: at.0,
        started_at: None,
        ended_at: None,
        overriding,
        stage: Stage::Planned,
        paused: None,
        hold: None,
        started: false,
        wave: 0,
        step: 0,
        step_told: 0,
        take: None,
        wave_began: time,
        bake_until: time,
        progress_at: time,
        passed: Vec::new(),
        approvals: Vec::new(),
        promoted: false,
        calls: Vec::new(),
        analyses: std::collections::BTreeMap::new(),
        external: External::default(),
        verdict: None,
        forgotten: std::collections::BTreeMap::new(),
        removed: 0,
        end: None,
        policy,
        plan: super::head::Plan::default(),
    };
    rollout.make_plan();
    facts.rollout = Some(Box::new(rollout));
}

fn clear(head: &mut Head, version: &str, (at, rollout): (Timestamp, u32), by: &By<'_>) {
    let actor = by.actor.as_deref().unwrap_or("someone");
    let reason = match by.reason {
        Some(reason) => format!("{actor} cleared it: {reason}"),
        None => format!("{actor} cleared it"),
    };
    if head.facts.bad.as_deref() == Some(version) {
        head.facts.bad = None;
    }
    let known = head.marked(version).cloned();
    head.mark(Marked {
        version: version.to_owned(),
        mark: Mark::Untried,
        reason,
        since: at.0,
        rollout,
        proven: known.as_ref().map_or(0, |it| it.proven),
        failed: known.as_ref().map_or(0, |it| it.failed),
        good_order: None,
    });
}

fn fail(head: &mut Head, (id, at): (u32, Timestamp), decision: &Decision) {
    let Decision::Failed {
        code,
        detail,
        then,
        to,
        proven,
        failed,
        bad,
    } = decision
    else {
        return;
    };
    let Some(open) = head.facts.rollout.as_deref_mut().filter(|open| open.id == id) else {
        return;
    };
    open.stage = match then {
        // One that is over ends by the event that follows.
        Then::Freeze | Then::End => Stage::Frozen,
        Then::GoBack | Then::GoBackAtOnce => Stage::RollingBack,
    };
    open.verdict = Some(Verdict {
        code: *code,
        detail: detail.clone(),
        at: at.0,
        to: to.clone(),
        at_once: *then == Then::GoBackAtOnce,
        ends: *then == Then::End,
    });
    open.hold = None;
    open.calls.clear();
    let version = open.version.clone();
    if *bad {
        head.facts.bad = Some(version.clone());
        head.mark(Marked {
            version,
            mark: Mark::Bad,
            reason: detail.clone(),
            since: at.0,
            rollout: id,
            proven: *proven,
            failed: *failed,
            good_order: None,
        });
    }
}

fn end(head: &mut Head, (id, at): (u32, Timestamp), decision: &Decision) {
    let Decision::Ended {
        state,
        code,
        detail,
        phases,
    } = decision
    else {
        return;
    };
    let Some(open) = head.facts.rollout.as_deref_mut().filter(|open| open.id == id) else {
        return;
    };
    open.stage = Stage::Ended;
    open.ended_at = Some(at.0);
    open.paused = None;
    open.hold = None;
    open.end = Some(End {
        state: *state,
        code: *code,
        detail: detail.clone(),
        phases: phases.clone(),
    });
    let (version, bad) = (open.version.clone(), open.verdict.is_some());
    let count = |phase: unisono_model::rollout::Phase| phases.get(usize::from(phase.code())).copied().unwrap_or(0);
    let proven = count(unisono_model::rollout::Phase::Done);
    let failed = count(unisono_model::rollout::Phase::Failed);
    let good = *state == RolloutState::Succeeded.code();
    if good {
        head.facts.good = Some(version.clone());
        if head.facts.bad.as_deref() == Some(&version) {
            head.facts.bad = None;
        }
    }
    untold::keep(&mut head.facts);
    let known = head.marked(&version).is_some();
    if good || (!known && !bad) {
        head.mark(Marked {
            version,
            mark: if good { Mark::Good } else { Mark::Untried },
            reason: detail.clone(),
            since: at.0,
            rollout: id,
            proven,
            failed,
            good_order: None,
        });
    }
}

/// Progress counts from here, less the time since `since`, which does not count.
fn not_counting(open: &mut Rollout, since: i64, time: i64) {
    let from = since.max(open.progress_at);
    open.progress_at = open.progress_at.saturating_add(time.saturating_sub(from).max(0));
}

fn next_gates(open: &mut Rollout) {
    open.passed.clear();
    open.approvals.clear();
    open.promoted = false;
    open.hold = None;
    open.calls.retain(|call| call_kind(call.kind) != CallKind::Hook);
}

/// What a decision changes in the rollout under way.
fn step(open: &mut Rollout, (revision, at, time): (Revision, Timestamp, i64), decision: &Decision, by: &By<'_>) {
    match decision {
        Decision::Started => open.started = true,
        Decision::Passed { gate, .. } => {
            open.passed.push(*gate);
            open.approvals.clear();
            open.promoted = false;
            open.calls.retain(|call| call.gate != Some(*gate));
        }
        Decision::Began { wave, take, .. } => {
            (open.stage, open.wave, open.take) = (Stage::Running, *wave, *take);
            (open.step, open.step_told) = (0, 0);
            (open.wave_began, open.progress_at) = (time, time);
            open.started_at.get_or_insert(at.0);
            open.analyses.clear();
            next_gates(open);
            open.calls.retain(|call| call_kind(call.kind) != CallKind::Analysis);
        }
        Decision::Stepped { step } => (open.step, open.step_told, open.progress_at) = (*step, 0, time),
        Decision::Baking { until } => {
            (open.stage, open.bake_until, open.progress_at) = (Stage::Baking, *until, time);
            next_gates(open);
        }
        Decision::Reopened => {
            (open.stage, open.progress_at) = (Stage::Running, time);
            next_gates(open);
        }
        Decision::Promoted => open.promoted = true,
        Decision::Approved { .. } => {
            if let Some(actor) = by.actor {
                open.approvals.retain(|(who, _)| who != actor);
                open.approvals.push((actor.clone(), at.0));
            }
        }
        Decision::Paused => {
            open.paused = Some(Pause {
                actor: by.actor.clone(),
                reason: by.reason.clone(),
                since: at.0,
                time,
            });
        }
        Decision::Resumed => resume(open, time),
        Decision::Held { code, detail } => {
            let since = open.hold.as_ref().map_or(time, |hold| hold.time);
            open.hold = Some(Hold {
                code: *code,
                detail: detail.clone(),
                since: at.0,
                time: since,
            });
        }
        Decision::Released => {
            if let Some(hold) = open.hold.take()
                && open.paused.is_none()
            {
                not_counting(open, hold.time, time);
            }
        }
        Decision::Retried { .. } => {
            open.progress_at = time;
            if open.stage == Stage::Frozen {
                open.stage = Stage::Running;
                open.verdict = None;
            }
        }
        Decision::Skipped { .. } | Decision::Condemned { .. } => {}
        Decision::Forgot { waves, call, slots } => {
            for (wave, members, failed) in waves {
                let gone = open.forgotten.entry(*wave).or_default();
                *gone = (gone.0 + members, gone.1 + failed);
            }
            if let Some(call) = call {
                open.removed += slots.len();
                open.calls.retain(|it| it.id != *call);
            }
        }
        Decision::Asked { .. }
        | Decision::Answered { .. }
        | Decision::Unanswered { .. }
        | Decision::AskedAgain { .. }
        | Decision::Measured { .. } => talk(open, (revision, at, time), decision),
        _ => {}
    }
}

fn resume(open: &mut Rollout, time: i64) {
    if let Some(pause) = open.paused.take() {
        let since = open.hold.as_ref().map_or(pause.time, |hold| hold.time.min(pause.time));
        not_counting(open, since, time);
        if let Some(hold) = &mut open.hold {
            hold.time = time;
        }
    } else if open.stage == Stage::Frozen {
        open.stage = Stage::Running;
        open.verdict = None;
        open.progress_at = time;
        open.analyses.clear();
    }
}

/// What is said to and by something outside.
fn talk(open: &mut Rollout, (revision, at, time): (Revision, Timestamp, i64), decision: &Decision) {
    match decision {
        Decision::Asked {
            kind,
            name,
            gate,
            wave,
            slots,
            count,
            due,
        } => open.calls.push(Call {
            id: revision.0,
            kind: *kind,
            name: name.clone(),
            gate: *gate,
            wave: *wave,
            slots: slots.clone(),
            count: *count,
            attempt: 1,
            asked_at: at.0,
            due: *due,
            state: CallState::Asked,
            detail: None,
            named: Slots::default(),
            was: CallState::Asked,
            since: at.0,
        }),
        Decision::Answered {
            call,
            answer,
            detail,
            slots,
            again,
        } => answered(open, (*call, *answer), (detail, slots, *again)),
        Decision::Unanswered { call, .. } | Decision::AskedAgain { call, .. } => {
            let Some(call) = open.calls.iter_mut().find(|it| it.id == *call) else {
                return;
            };
            call.follow(at, decision);
            match (call_kind(call.kind), decision) {
                (CallKind::ExternalMonitoring, Decision::Unanswered { .. }) => open.external.well = None,
                (CallKind::Analysis, Decision::Unanswered { detail, .. }) => {
                    let measured = open.analyses.entry(call.name.clone()).or_default();
                    measured.inconclusive += 1;
                    measured.last.clone_from(detail);
                }
                _ => {}
            }
        }
        Decision::Measured {
            call,
            name,
            outcome,
            detail,
            next,
        } => {
            open.calls.retain(|it| it.id != *call);
            let measured = open.analyses.entry(name.clone()).or_default();
            match outcome {
                0 => measured.passed += 1,
                1 => measured.failed += 1,
                _ => measured.inconclusive += 1,
            }
            (measured.next, measured.last) = (*next, detail.clone());
            open.progress_at = open.progress_at.max(time);
        }
        _ => {}
    }
}

fn answered(open: &mut Rollout, (id, answer): (u64, u8), (detail, slots, again): (&String, &Slots, Option<i64>)) {
    let Some(place) = open.calls.iter().position(|it| it.id == id) else {
        return;
    };
    let call = &mut open.calls[place];
    match call_kind(call.kind) {
        CallKind::ExternalMonitoring => {
            open.external = External {
                well: Some(answer == 0),
                detail: detail.clone(),
                next: again.unwrap_or(0),
            };
            open.calls.remove(place);
        }
        CallKind::Monitoring => drop(open.calls.remove(place)),
        _ => {
            call.state = if answer == 1 {
                CallState::Refused
            } else {
                CallState::Answered
            };
            call.detail = (!detail.is_empty()).then(|| detail.clone());
            call.named = slots.clone();
            call.due = again.unwrap_or(i64::MAX);
            if chooses(call.kind) && answer == 2 && again.is_some() {
                // It chose none: it is asked again.
                call.state = CallState::Refused;
            }
        }
    }
}
