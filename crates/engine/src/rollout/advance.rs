//! What the rules decide by themselves: one event at a time, each folded before the next is asked for.

use std::collections::BTreeMap;

use unisono_model::ids::Timestamp;
use unisono_model::rollout::{
    Amount, CallKind, Gate, Health, OnFailure, Phase, ReasonCode, RolloutState, StartMode, ToleranceMode, Unreachable,
};

use super::calls::{self, Choice, ask};
use super::event::{Decision, Judgement, RolloutEvent as E, Then};
use super::fleet::Fleet;
use super::gates::{Around, GateStep, Held, gate_code, gate_step, hold, refresh_windows};
use super::head::{Mark, Rollout, Stage};
use super::health::{Rules, Seen, assess, millis, vanished};
use super::listen::{after, windows};
use super::slots::Slots;
use super::state::Rollouts;
use super::tally::{Group, Room};
use super::target::{NEVER, Outcome};
use super::untold;

/// Targets that one event judges at most; the next one follows at once.
const MOST_AT_ONCE: usize = 16_384;

/// The next thing that the rules decide, in any entity; `None` when there is nothing more to decide now.
pub(crate) fn advance(rollouts: &mut Rollouts, at: Timestamp) -> Option<E> {
    rollouts.touch_due(at);
    while let Some(number) = rollouts.touched.first().copied() {
        let around = around(rollouts, number);
        if let Some(fleet) = rollouts.fleets.get_mut(&number) {
            if let Some(event) = next(fleet, &around, at) {
                return Some(event);
            }
            let due = next_due(fleet, &around, at);
            rollouts.set_timer(number, due);
        }
        rollouts.touched.remove(&number);
    }
    None
}

/// What holds an entity from outside.
pub(crate) fn around(rollouts: &Rollouts, number: u32) -> Around {
    let Some(fleet) = rollouts.fleets.get(&number) else {
        return Around::default();
    };
    let board = &rollouts.board;
    let namespace = board.namespaces.get(fleet.head.namespace.as_str());
    let freezes = [
        ("everything", board.everything.as_ref()),
        ("the namespace", namespace),
        ("the entity", fleet.head.facts.freeze.as_ref()),
    ];
    Around {
        freezes: freezes
            .into_iter()
            .filter_map(|(scope, it)| Some((scope, it?.clone())))
            .collect(),
        unmet: fleet.head.open().and_then(|rollout| unmet(rollouts, fleet, rollout)),
    }
}

/// The first dependency that does not hold, for people.
fn unmet(rollouts: &Rollouts, fleet: &Fleet, rollout: &Rollout) -> Option<String> {
    rollout.plan.policy.depends_on.iter().find_map(|needs| {
        let namespace = needs.namespace.as_ref().unwrap_or(&fleet.head.namespace);
        let Some(other) = rollouts.get(namespace, &needs.entity) else {
            return Some(format!(
                "there is no entity \"{}\" yet, and it has to run {}",
                needs.entity, needs.version
            ));
        };
        let order = |version: &str| other.head.marked(version).and_then(|marked| marked.good_order);
        let runs = other.head.facts.good.as_deref();
        let enough = order(&needs.version)
            .zip(runs.and_then(order))
            .is_some_and(|(needed, has)| has >= needed);
        (!enough).then(|| {
            let runs = runs.unwrap_or("no version yet");
            format!(
                "\"{}\" has to run at least {}, and runs {runs}",
                needs.entity, needs.version
            )
        })
    })
}

/// A decision of the rules about the rollout under way.
pub(crate) fn rule(fleet: &Fleet, at: Timestamp, decision: Decision) -> E {
    by(fleet, at, (None, None), decision)
}

/// A decision of the rules about a rollout that may be over.
pub(crate) fn about(fleet: &Fleet, at: Timestamp, rollout: u32, decision: Decision) -> E {
    E::Decided {
        entity: fleet.head.number,
        time: fleet.head.time(at),
        rollout,
        actor: None,
        reason: None,
        decision,
    }
}

/// A decision of someone.
pub(crate) fn by(
    fleet: &Fleet,
    at: Timestamp,
    (actor, reason): (Option<String>, Option<String>),
    decision: Decision,
) -> E {
    E::Decided {
        entity: fleet.head.number,
        time: fleet.head.time(at),
        rollout: fleet.head.open().map_or(0, |rollout| rollout.id),
        actor,
        reason,
        decision,
    }
}

fn next(fleet: &mut Fleet, around: &Around, at: Timestamp) -> Option<E> {
    listening(fleet, at)
        .or_else(|| timers(fleet, at))
        .or_else(|| rollout(fleet, around, at))
        .or_else(|| untold::due(fleet, at))
        .or_else(|| queued(fleet, at))
}

/// When something is decided next by itself.
pub(crate) fn next_due(fleet: &Fleet, around: &Around, at: Timestamp) -> Option<Timestamp> {
    let head = &fleet.head;
    let mut due: Vec<Timestamp> = Vec::new();
    if fleet.listens() {
        due.push(Timestamp(
            head.window_began.saturating_add(windows(&head.policy.health).0),
        ));
    }
    due.extend(fleet.next_target_due());
    due.extend(untold::next_due(&head.facts));
    if let Some(rollout) = head.open().filter(|rollout| rollout.paused.is_none()) {
        due.extend(
            rollout
                .calls
                .iter()
                .filter(|it| it.due != i64::MAX)
                .map(|it| Timestamp(it.due)),
        );
        if rollout.is_forward() && !rollout.overriding {
            let asked = match rollout.stage {
                Stage::Planned => calls::external_due(rollout).filter(|_| unready(fleet, rollout).is_none()),
                _ => calls::next_due(fleet, rollout),
            };
            due.extend(asked.map(|time| head.instant(time)));
            let thaws = around
                .freezes
                .iter()
                .filter_map(|(_, freeze)| freeze.until.map(Timestamp));
            due.extend(thaws.filter(|thaw| *thaw > at));
            if !rollout.plan.policy.windows.is_empty() {
                due.extend(fleet.tally.zones.iter().map(|zone| zone.until));
            }
        }
        let baked = head.instant(rollout.bake_until);
        if rollout.stage == Stage::Baking && !rollout.promoted && baked > at {
            due.push(baked);
        }
        due.extend(progress_due(rollout).map(|time| head.instant(time)));
    }
    due.into_iter().min()
}

/// A listening window ends.
fn listening(fleet: &mut Fleet, at: Timestamp) -> Option<E> {
    if !fleet.listens() {
        return None;
    }
    let head = &fleet.head;
    let (length, count) = windows(&head.policy.health);
    if at.0 < head.window_began.saturating_add(length) {
        return None;
    }
    let (window, time) = (head.window, head.time(at));
    let heard = Slots::of(fleet.listening.fresh());
    let silent = fleet.listening.silent(window, count);
    Some(E::Heard {
        entity: fleet.head.number,
        time,
        window,
        next: after(window),
        heard,
        silent: silences(fleet, silent, time),
    })
}

/// What it means for each of these targets that it is silent.
fn silences(fleet: &mut Fleet, slots: Vec<u32>, time: i64) -> Vec<Judgement> {
    let mut groups: BTreeMap<(u8, u8, i64), Vec<u32>> = BTreeMap::new();
    for slot in slots {
        let Some(standing) = fleet.standing(slot) else { continue };
        let rules = Rules::of(&fleet.head);
        let Some(target) = fleet.targets.get(slot) else {
            continue;
        };
        let (outcome, cause) = vanished(&rules, standing.phase);
        let forget = rules.policy.health.forget_after_seconds;
        let due = match outcome {
            Outcome::Wait if target.is_moving() => target.told_at.saturating_add(rules.deadline_ms()).max(time),
            _ => forget.map_or(NEVER, |seconds| time.saturating_add(millis(seconds))),
        };
        groups.entry((outcome as u8, cause, due)).or_default().push(slot);
    }
    let rollout = Rules::of(&fleet.head).rollout;
    let judgement = |((outcome, cause, due), slots)| Judgement {
        slots: Slots::of(slots),
        rollout,
        outcome,
        cause,
        health: Some(Health::Unknown.code()),
        due: (due != NEVER).then_some(due),
    };
    groups.into_iter().map(judgement).collect()
}

/// Targets whose time has come.
fn timers(fleet: &mut Fleet, at: Timestamp) -> Option<E> {
    let time = fleet.head.time(at);
    if fleet.tally.due.first().is_none_or(|(due, _)| *due > time) {
        return None;
    }
    let rules = Rules::of(&fleet.head);
    let mut groups: BTreeMap<(u8, u8, u8, i64), Vec<u32>> = BTreeMap::new();
    let (mut forgotten, mut took) = (Vec::new(), (0, 0));
    let due = fleet
        .tally
        .due
        .iter()
        .take_while(|(due, _)| *due <= time)
        .take(MOST_AT_ONCE);
    for (_, slot) in due {
        let Some(target) = fleet.targets.get(*slot) else {
            continue;
        };
        let now = assess(&rules, target, Seen::waiting(target, time));
        if now.outcome == Outcome::Wait && now.health == Health::Unknown && now.due <= time {
            forgotten.push(*slot);
            continue;
        }
        if now.outcome == Outcome::Done {
            took = (took.0 + time.saturating_sub(target.told_at), took.1 + 1);
        }
        // Whatever it waits for, it is looked at again later and not at once.
        let due = if now.due <= time { NEVER } else { now.due };
        groups
            .entry((now.outcome as u8, now.cause, now.health.code(), due))
            .or_default()
            .push(*slot);
    }
    if groups.is_empty() && !forgotten.is_empty() {
        let waves = super::verbs::forgotten_waves(fleet, &forgotten, true);
        let decision = Decision::Forgot {
            slots: Slots::of(forgotten),
            waves,
            call: None,
        };
        return Some(rule(fleet, at, decision));
    }
    let rollout = rules.rollout;
    let judgement = |((outcome, cause, health, due), slots)| Judgement {
        slots: Slots::of(slots),
        rollout,
        outcome,
        cause,
        health: Some(health),
        due: (due != NEVER).then_some(due),
    };
    Some(E::Judged {
        entity: fleet.head.number,
        time,
        judgements: groups.into_iter().map(judgement).collect(),
        typical: super::report::typical(&fleet.head, took),
    })
}

/// A version that waited takes its turn.
fn queued(fleet: &Fleet, at: Timestamp) -> Option<E> {
    if fleet.head.open().is_some() {
        return None;
    }
    let queued = fleet.head.facts.queued.as_ref()?;
    Some(planned(
        fleet,
        &queued.version,
        (queued.actor.clone(), queued.reason.clone()),
        (false, queued.forced),
        at,
    ))
}

/// A rollout is made.
pub(crate) fn planned(
    fleet: &Fleet,
    version: &str,
    (actor, reason): (Option<String>, Option<String>),
    (overriding, forced): (bool, bool),
    at: Timestamp,
) -> E {
    E::Decided {
        entity: fleet.head.number,
        time: fleet.head.time(at),
        rollout: fleet.head.facts.last_rollout + 1,
        actor,
        reason,
        decision: Decision::Planned {
            version: version.to_owned(),
            overriding,
            forced,
        },
    }
}

fn rollout(fleet: &mut Fleet, around: &Around, at: Timestamp) -> Option<E> {
    fleet.head.open()?;
    refresh_windows(fleet, at);
    let rollout = fleet.head.open()?;
    if let Some(verdict) = rollout.verdict.as_ref().filter(|verdict| verdict.ends) {
        let code = ReasonCode::from_code(verdict.code).unwrap_or(ReasonCode::EndedBy);
        return Some(ended(fleet, RolloutState::Failed, code, verdict.detail.clone(), at));
    }
    if let Some((code, detail)) = verdict(fleet, rollout) {
        return Some(failed(fleet, code, detail, (None, None), at));
    }
    if rollout.paused.is_some() {
        return None;
    }
    if let Some(event) = calls::due(fleet, rollout, at) {
        return Some(event);
    }
    match rollout.stage {
        Stage::Planned => begin(fleet, around, at),
        Stage::Running => run(fleet, around, at),
        Stage::Baking => bake(fleet, around, at),
        Stage::RollingBack => go_back(fleet, at),
        Stage::Frozen | Stage::Ended => None,
    }
}

/// Whether the version is bad: more failures than tolerated, or measurements that say so.
pub(crate) fn verdict(fleet: &Fleet, rollout: &Rollout) -> Option<Held> {
    if !matches!(rollout.stage, Stage::Running | Stage::Baking) {
        return None;
    }
    let all = fleet.limits(rollout);
    let wave = fleet.wave_limits(rollout, rollout.wave);
    for (limits, of) in [
        (Some(all), "".to_owned()),
        (wave, format!(" of wave {}", rollout.wave + 1)),
    ] {
        let Some(limits) = limits else { continue };
        if limits.failed > limits.tolerated {
            let detail = format!(
                "{} of {} targets{of} failed, and {} are tolerated",
                limits.failed, limits.members, limits.tolerated
            );
            return Some((ReasonCode::ToleranceExceeded, detail));
        }
        let strict = rollout.plan.policy.tolerance_mode == ToleranceMode::Strict && !rollout.overriding;
        let left = fleet.tally.all.phase(Phase::Pending) > 0;
        if strict && left && limits.failed > 0 && limits.failed >= limits.tolerated {
            let detail = format!(
                "{} of {} targets{of} failed, as many as are tolerated, and going on could exceed that",
                limits.failed, limits.members
            );
            return Some((ReasonCode::ToleranceUsedUp, detail));
        }
    }
    let measured = rollout.plan.policy.analysis.iter().find_map(|analysis| {
        let found = rollout.analyses.get(analysis.name.as_str())?;
        let unclear = analysis
            .inconclusive_limit
            .is_some_and(|limit| found.inconclusive > limit);
        (found.failed > analysis.failure_limit || unclear).then(|| {
            let what = if unclear {
                "could not be judged"
            } else {
                "speaks against the version"
            };
            format!("analysis \"{}\" {what}: {}", analysis.name, found.last)
        })
    });
    measured.map(|detail| (ReasonCode::AnalysisFailed, detail))
}

/// The version that targets go back to when this rollout fails.
pub(crate) fn way_back(fleet: &Fleet, rollout: &Rollout) -> Option<String> {
    let named = rollout
        .plan
        .policy
        .rollback_to
        .as_ref()
        .map(|version| version.as_str().to_owned());
    let to = named.or_else(|| fleet.head.facts.good.clone())?;
    let bad = fleet.head.marked(&to).is_some_and(|marked| marked.mark == Mark::Bad);
    (to != rollout.version && !bad).then_some(to)
}

/// A rollout fails, with what its policy does then.
pub(crate) fn failed(
    fleet: &Fleet,
    code: ReasonCode,
    detail: String,
    who: (Option<String>, Option<String>),
    at: Timestamp,
) -> E {
    let Some(rollout) = fleet.head.open() else {
        return rule(fleet, at, Decision::Released);
    };
    let to = way_back(fleet, rollout);
    let group = &fleet.tally.all;
    let touched = [Phase::InFlight, Phase::Done, Phase::Failed]
        .into_iter()
        .map(|phase| group.phase(phase))
        .sum::<u64>();
    let (then, detail) = match (rollout.plan.policy.on_failure, &to) {
        _ if touched == 0 || rollout.overriding => (Then::End, detail),
        (OnFailure::None, _) => (Then::End, detail),
        (OnFailure::Freeze, _) => (Then::Freeze, detail),
        (OnFailure::Budgeted | OnFailure::Immediate, None) => {
            (Then::Freeze, format!("{detail}; there is no version to go back to"))
        }
        (OnFailure::Budgeted, Some(_)) => (Then::GoBack, detail),
        (OnFailure::Immediate, Some(_)) => (Then::GoBackAtOnce, detail),
    };
    let failed = fleet.limits(rollout).failed;
    let decision = Decision::Failed {
        code: code.code(),
        detail,
        then,
        to: to.filter(|_| matches!(then, Then::GoBack | Then::GoBackAtOnce)),
        proven: u32::try_from(group.phase(Phase::Done)).unwrap_or(u32::MAX),
        failed: u32::try_from(failed).unwrap_or(u32::MAX),
        // A version that nobody had says nothing about itself.
        bad: touched > 0 && (code != ReasonCode::NoProgress || failed > 0),
    };
    by(fleet, at, who, decision)
}

/// A rollout is over.
pub(crate) fn ended(fleet: &Fleet, state: RolloutState, code: ReasonCode, detail: String, at: Timestamp) -> E {
    let decision = Decision::Ended {
        state: state.code(),
        code: code.code(),
        detail,
        phases: fleet.phases(),
    };
    rule(fleet, at, decision)
}

/// The hold changes, if it does.
fn held(fleet: &Fleet, wanted: Option<Held>, at: Timestamp) -> Option<E> {
    let rollout = fleet.head.open()?;
    match (&rollout.hold, wanted) {
        (None, None) => None,
        (Some(_), None) => Some(rule(fleet, at, Decision::Released)),
        (Some(hold), Some((code, detail))) if hold.code == code.code() && hold.detail == detail => None,
        (_, Some((code, detail))) => {
            let code = code.code();
            Some(rule(fleet, at, Decision::Held { code, detail }))
        }
    }
}

/// Goes through gates in order: the first that is not open decides.
fn through(fleet: &Fleet, gates: &[(Gate, u16)], at: Timestamp) -> GateStep {
    for (gate, wave) in gates {
        match gate_step(fleet, *gate, *wave, at) {
            GateStep::Open => {}
            step => return step,
        }
    }
    GateStep::Open
}

/// Why nobody outside is asked yet whether a rollout may begin.
fn unready(fleet: &Fleet, rollout: &Rollout) -> Option<Held> {
    if fleet.tally.all.members() == 0 {
        let detail = "no target is known that it could move";
        return Some((ReasonCode::NoTargets, detail.to_owned()));
    }
    let waits = rollout.plan.policy.start == StartMode::Manual && !rollout.started && !rollout.overriding;
    waits.then(|| (ReasonCode::NotStarted, "it waits for someone to start it".to_owned()))
}

/// A rollout that has not begun.
fn begin(fleet: &Fleet, around: &Around, at: Timestamp) -> Option<E> {
    let rollout = fleet.head.open()?;
    let unready = unready(fleet, rollout);
    if unready.is_none()
        && let Some(event) = calls::external(fleet, rollout, at)
    {
        return Some(event);
    }
    let wanted = unready.or_else(|| hold(fleet, around, at));
    if wanted.is_some() {
        return held(fleet, wanted, at);
    }
    match through(fleet, &[(Gate::Start, 0), (Gate::Wave, 0)], at) {
        GateStep::Event(event) => Some(*event),
        GateStep::Held(wanted) => held(fleet, Some(wanted), at),
        GateStep::Open => Some(wave_begins(fleet, 0, at)),
    }
}

fn wave_begins(fleet: &Fleet, wave: u16, at: Timestamp) -> E {
    let plan = fleet
        .head
        .open()
        .and_then(|rollout| rollout.plan.waves.get(usize::from(wave)));
    let take = plan.and_then(|plan| plan.take).map(|take| {
        let selected = fleet.tally.selected(wave);
        let take = match take {
            Amount::Count(count) => u64::from(count),
            share @ Amount::Percent(_) => share.at_least_one(selected),
        };
        u32::try_from(take.min(selected)).unwrap_or(u32::MAX)
    });
    let name = plan.map_or(String::new(), |plan| plan.name.clone());
    rule(fleet, at, Decision::Began { wave, name, take })
}

/// A wave that moves.
fn run(fleet: &mut Fleet, around: &Around, at: Timestamp) -> Option<E> {
    let rollout = fleet.head.open()?;
    if !rollout.overriding
        && let Some(event) = calls::next(fleet, rollout, at)
    {
        return Some(event);
    }
    let wanted = hold(fleet, around, at);
    if wanted.is_some() {
        return held(fleet, wanted, at);
    }
    let room = fleet.room(rollout);
    match calls::choose_if_room(fleet, room, at) {
        Choice::Event(event) => return Some(*event),
        Choice::Waits(wanted) => {
            // A question that has just been asked is no reason to say that everything is held.
            let wanted = (wanted.0 != ReasonCode::HookPending).then_some(wanted);
            return held(fleet, wanted, at).or_else(|| stuck(fleet, at));
        }
        Choice::Chosen(named, call) => {
            let wave = fleet.head.open()?.wave;
            let slots = fleet
                .tally
                .admit((&fleet.head, &fleet.texts), &fleet.targets, &named, wave, room);
            return Some(assigned(fleet, wave, slots, Some(call), at));
        }
        Choice::Free => {}
    }
    if let Some(event) = held(fleet, None, at) {
        return Some(event);
    }
    assign(fleet, room, at)
        .or_else(|| move_on(fleet, at))
        .or_else(|| stuck(fleet, at))
}

/// Tells the next targets the version: those of earlier waves first, which came later.
fn assign(fleet: &mut Fleet, room: Room, at: Timestamp) -> Option<E> {
    if room.targets == 0 {
        return None;
    }
    let (current, takes) = {
        let rollout = fleet.head.open()?;
        (rollout.wave, rollout.take.is_some())
    };
    let first = if takes { current } else { 0 };
    for wave in first..=current {
        if wave < current && fleet.tally.takes_some(wave) {
            continue;
        }
        let slots = fleet.pick(wave, room);
        if !slots.is_empty() {
            return Some(assigned(fleet, wave, slots, None, at));
        }
    }
    None
}

fn assigned(fleet: &Fleet, wave: u16, slots: Vec<u32>, call: Option<u64>, at: Timestamp) -> E {
    let rules = Rules::of(&fleet.head);
    let rollout = fleet.head.open();
    let back = fleet.goes_back();
    let to = rollout
        .and_then(|rollout| rollout.verdict.as_ref())
        .and_then(|verdict| verdict.to.clone());
    let forward = rollout.map_or(String::new(), |rollout| rollout.version.clone());
    E::Assigned {
        entity: fleet.head.number,
        time: fleet.head.time(at),
        rollout: rules.rollout,
        wave,
        version: to.filter(|_| back).unwrap_or(forward),
        back,
        slots: Slots::of(slots),
        deadline: rules.deadline_ms(),
        healthy_for: rules.healthy_for_ms(),
        call,
    }
}

/// Whether the wave under way, with those before it, has nothing left to move now.
fn moved(fleet: &Fleet, rollout: &Rollout) -> bool {
    let in_flight = fleet.tally.all.phase(Phase::InFlight) > 0;
    if in_flight {
        return false;
    }
    let full = rollout
        .take
        .is_some_and(|take| fleet.taken(rollout.wave) >= u64::from(take));
    full || !something_movable(fleet, rollout)
}

/// Whether there are targets that may be told the version in this wave.
fn something_movable(fleet: &Fleet, rollout: &Rollout) -> bool {
    match rollout.take {
        Some(_) => fleet.tally.movable(rollout.wave).0,
        None => fleet.tally.eligible(rollout.wave) > 0,
    }
}

/// What keeps a wave that has nothing left to move from being over.
pub(crate) fn unproven(fleet: &Fleet, rollout: &Rollout) -> Option<Held> {
    let sum = |of: fn(&Group) -> u64| fleet.tally.upto(rollout.wave).map(of).sum::<u64>();
    let waiting = |of: fn(&Group) -> u64| fleet.tally.whole(rollout.wave).map(of).sum::<u64>();
    let (busy, unreachable) = (
        waiting(|it| u64::from(it.busy)),
        waiting(|it| u64::from(it.unreachable)),
    );
    let done = sum(|it| it.phase(Phase::Done));
    if busy > 0 {
        return Some((
            ReasonCode::TargetsBusy,
            format!("{busy} targets that have yet to move are busy"),
        ));
    }
    let waits = rollout.plan.policy.health.unreachable == Unreachable::Wait;
    if unreachable > 0 && (waits || done <= unreachable) {
        let detail = format!("{unreachable} targets that have yet to move are silent or offline, {done} are proven");
        return Some((ReasonCode::TargetsUnreachable, detail));
    }
    let last = usize::from(rollout.wave) + 1 == rollout.plan.waves.len();
    let (expected, proven) = evidence(fleet, rollout);
    if (expected > 0 && proven == 0) || (last && done == 0) {
        let wave = rollout.wave_plan().map_or("", |wave| wave.name.as_str());
        let detail = format!("none of the {expected} targets of wave \"{wave}\" has proved itself");
        return Some((ReasonCode::TooFewProven, detail));
    }
    None
}

/// How many targets of the wave under way could prove the version, and how many have. A wave is promoted on what its own
/// targets have shown; one that has none passes on what there was before it.
fn evidence(fleet: &Fleet, rollout: &Rollout) -> (u64, u64) {
    let gone = rollout.forgotten(Some(rollout.wave)).0;
    let Some(here) = fleet.tally.waves.get(usize::from(rollout.wave)) else {
        return (gone, 0);
    };
    let members = rollout.take.map_or(here.members() + gone, u64::from);
    (
        members.saturating_sub(here.phase(Phase::Skipped)),
        here.phase(Phase::Done),
    )
}

/// The next batch, or the end of the wave.
fn move_on(fleet: &Fleet, at: Timestamp) -> Option<E> {
    let rollout = fleet.head.open()?;
    if fleet.tally.all.phase(Phase::InFlight) > 0 {
        return None;
    }
    let full = rollout
        .take
        .is_some_and(|take| fleet.taken(rollout.wave) >= u64::from(take));
    let stepped = rollout.wave_plan().is_some_and(|wave| wave.batch.is_stepped());
    let step_over = u64::from(rollout.step_told) >= fleet.batch(rollout);
    if !full && stepped && step_over && something_movable(fleet, rollout) {
        let step = rollout.step + 1;
        return Some(rule(fleet, at, Decision::Stepped { step }));
    }
    if !moved(fleet, rollout) || unproven(fleet, rollout).is_some() {
        return None;
    }
    let bake = rollout.wave_plan().map_or(0, |wave| wave.bake_ms);
    let until = fleet.head.time(at).saturating_add(bake);
    Some(rule(fleet, at, Decision::Baking { until }))
}

/// When nothing has got further for too long, in listening time.
fn progress_due(rollout: &Rollout) -> Option<i64> {
    let counts = rollout.stage == Stage::Running && rollout.hold.is_none() && rollout.paused.is_none();
    let seconds = rollout.plan.policy.progress_deadline_seconds.filter(|_| counts)?;
    Some(rollout.progress_at.saturating_add(millis(seconds)))
}

fn stuck(fleet: &Fleet, at: Timestamp) -> Option<E> {
    let rollout = fleet.head.open()?;
    if fleet.head.time(at) < progress_due(rollout)? {
        return None;
    }
    let seconds = rollout.plan.policy.progress_deadline_seconds.unwrap_or_default();
    let why = unproven(fleet, rollout).map_or(String::new(), |(_, detail)| format!(": {detail}"));
    let detail = format!("nothing got further for {seconds} seconds{why}");
    Some(failed(fleet, ReasonCode::NoProgress, detail, (None, None), at))
}

/// A wave that has moved and is watched.
fn bake(fleet: &Fleet, around: &Around, at: Timestamp) -> Option<E> {
    let rollout = fleet.head.open()?;
    if fleet.tally.all.phase(Phase::InFlight) > 0 || (!full(fleet, rollout) && something_movable(fleet, rollout)) {
        return Some(rule(fleet, at, Decision::Reopened));
    }
    if !rollout.overriding
        && let Some(event) = calls::next(fleet, rollout, at)
    {
        return Some(event);
    }
    if fleet.head.time(at) < rollout.bake_until && !rollout.promoted {
        return held(fleet, None, at);
    }
    let (wave, waves) = (rollout.wave, rollout.plan.waves.len());
    let last = usize::from(wave) + 1 >= waves;
    let gates: &[(Gate, u16)] = &[(Gate::Promotion, wave), (Gate::Wave, wave + 1)];
    match through(fleet, if last { &gates[..1] } else { gates }, at) {
        GateStep::Event(event) => return Some(*event),
        GateStep::Held(wanted) => return held(fleet, Some(wanted), at),
        GateStep::Open => {}
    }
    // Targets of the next wave are looked at by its windows, not by those of this one.
    let wanted = hold(fleet, around, at).filter(|(code, _)| !last && *code != ReasonCode::WindowClosed);
    if wanted.is_some() {
        return held(fleet, wanted, at);
    }
    // Targets may have failed or gone while the wave was watched.
    if let Some(wanted) = unproven(fleet, rollout) {
        return held(fleet, Some(wanted), at);
    }
    if !last {
        return Some(wave_begins(fleet, wave + 1, at));
    }
    let group = &fleet.tally.all;
    let detail = format!(
        "{} targets have proved themselves, {} failed",
        group.phase(Phase::Done),
        fleet.limits(rollout).failed
    );
    Some(ended(fleet, RolloutState::Succeeded, ReasonCode::Complete, detail, at))
}

fn full(fleet: &Fleet, rollout: &Rollout) -> bool {
    rollout
        .take
        .is_some_and(|take| fleet.taken(rollout.wave) >= u64::from(take))
}

/// Targets go back.
fn go_back(fleet: &mut Fleet, at: Timestamp) -> Option<E> {
    let rollout = fleet.head.open()?;
    if let Some(event) = tell_of_rollback(fleet, rollout, at) {
        return Some(event);
    }
    let (at_once, wave) = (
        rollout.verdict.as_ref().is_some_and(|verdict| verdict.at_once),
        rollout.wave,
    );
    let room = Room {
        targets: fleet.room_to_go_back(rollout),
        available: u64::MAX,
    };
    let in_flight = fleet.in_flight();
    if !in_flight.is_empty() {
        // They are in flight already, so this costs no budget.
        return Some(assigned(fleet, wave, in_flight, None, at));
    }
    if fleet.tally.all.eligible > 0 {
        let slots = if at_once {
            everything_told(fleet)
        } else {
            fleet.pick(0, room)
        };
        if !slots.is_empty() {
            return Some(assigned(fleet, wave, slots, None, at));
        }
    }
    let group = &fleet.tally.all;
    if group.eligible > 0 || group.phase(Phase::RollingBack) > 0 {
        return None;
    }
    let (back, lost) = (group.phase(Phase::RolledBack), group.phase(Phase::NotRecovered));
    let verdict = fleet.head.open()?.verdict.as_ref()?;
    let to = verdict.to.as_deref().unwrap_or_default();
    let detail = format!("{}; {back} targets went back to {to}, {lost} did not", verdict.detail);
    let code = ReasonCode::from_code(verdict.code).unwrap_or(ReasonCode::RolledBack);
    Some(ended(fleet, RolloutState::Failed, code, detail, at))
}

/// Every target that has to go back.
fn everything_told(fleet: &mut Fleet) -> Vec<u32> {
    let slots: Vec<u32> = fleet.targets.iter().map(|(slot, _)| slot).collect();
    slots
        .into_iter()
        .filter(|slot| fleet.standing(*slot).is_some_and(|standing| standing.eligible))
        .collect()
}

/// Hooks are told that targets go back, and not waited for.
fn tell_of_rollback(fleet: &Fleet, rollout: &Rollout, at: Timestamp) -> Option<E> {
    let code = gate_code(Gate::Rollback);
    let told = |name: &str| {
        rollout
            .calls
            .iter()
            .any(|call| call.gate == Some(code) && call.name == name)
    };
    let mut hooks = rollout
        .plan
        .policy
        .hooks
        .iter()
        .filter(|hook| hook.on.contains(&Gate::Rollback));
    let hook = hooks.find(|hook| !told(&hook.name))?;
    let about = (Some(Gate::Rollback), rollout.wave, Slots::default(), 0);
    Some(ask(fleet, CallKind::Hook, &hook.name, about, at))
}
