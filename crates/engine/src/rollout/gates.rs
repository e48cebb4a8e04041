//! What a rollout waits for: the gates before it begins, before each wave, and before a wave is promoted, and what holds
//! it at any time.

use unisono_model::ids::Timestamp;
use unisono_model::rollout::cron::{Cron, zone};
use unisono_model::rollout::{CallKind, Endpoint, Gate, Policy, ReasonCode, Window};

use super::calls::ask;
use super::event::{Decision, RolloutEvent as E};
use super::fleet::Fleet;
use super::head::{Call, CallState, Freeze, Rollout};
use super::health::millis;
use super::slots::Slots;

const GATES: [Gate; 4] = [Gate::Start, Gate::Wave, Gate::Promotion, Gate::Rollback];

/// The number of a gate in events.
pub(crate) fn gate_code(gate: Gate) -> u8 {
    match gate {
        Gate::Start => 0,
        Gate::Wave => 1,
        Gate::Promotion => 2,
        Gate::Rollback => 3,
    }
}

pub(crate) fn gate_of(code: u8) -> Gate {
    GATES
        .into_iter()
        .find(|gate| gate_code(*gate) == code)
        .unwrap_or(Gate::Start)
}

pub(crate) fn gate_name(code: u8) -> &'static str {
    match gate_of(code) {
        Gate::Start => "start",
        Gate::Wave => "wave",
        Gate::Promotion => "promotion",
        Gate::Rollback => "rollback",
    }
}

const KINDS: [CallKind; 7] = [
    CallKind::Hook,
    CallKind::Selection,
    CallKind::Approval,
    CallKind::Removal,
    CallKind::Monitoring,
    CallKind::ExternalMonitoring,
    CallKind::Analysis,
];

/// The number of a kind of call in events.
pub(crate) fn kind_code(kind: CallKind) -> u8 {
    match kind {
        CallKind::Hook => 0,
        CallKind::Selection => 1,
        CallKind::Approval => 2,
        CallKind::Removal => 3,
        CallKind::Monitoring => 4,
        CallKind::ExternalMonitoring => 5,
        CallKind::Analysis => 6,
    }
}

pub(crate) fn call_kind(code: u8) -> CallKind {
    KINDS
        .into_iter()
        .find(|kind| kind_code(*kind) == code)
        .unwrap_or(CallKind::Hook)
}

/// Whether a call chooses the targets that move next.
pub(crate) fn chooses(kind: u8) -> bool {
    matches!(call_kind(kind), CallKind::Selection | CallKind::Approval)
}

/// Where a call is asked.
pub(crate) fn endpoint<'a>(policy: &'a Policy, kind: CallKind, name: &str) -> Option<&'a Endpoint> {
    let controllers = &policy.controllers;
    match kind {
        CallKind::Hook => policy.hooks.iter().find(|it| it.name == *name).map(|it| &it.endpoint),
        CallKind::Analysis => policy
            .analysis
            .iter()
            .find(|it| it.name == *name)
            .map(|it| &it.endpoint),
        CallKind::Selection => controllers.selection.as_ref(),
        CallKind::Approval => controllers.approval.as_ref(),
        CallKind::Removal => controllers.removal.as_ref(),
        CallKind::Monitoring => controllers.monitoring.as_ref(),
        CallKind::ExternalMonitoring => controllers.external_monitoring.as_ref(),
    }
}

/// What surrounds an entity and can hold it.
#[derive(Debug, Default)]
pub(crate) struct Around {
    /// The freezes that concern it, the widest first.
    pub(crate) freezes: Vec<(&'static str, Freeze)>,
    /// What it depends on and does not have.
    pub(crate) unmet: Option<String>,
}

/// A reason to wait, and what it is, for people.
pub(crate) type Held = (ReasonCode, String);

/// What holds assignments, whatever the gates say.
pub(crate) fn hold(fleet: &Fleet, around: &Around, at: Timestamp) -> Option<Held> {
    let rollout = fleet.head.open()?;
    if rollout.overriding {
        return None;
    }
    let freeze = around.freezes.iter().find(|(_, freeze)| !freeze.is_over(at));
    if let Some((scope, freeze)) = freeze {
        return Some((ReasonCode::Freeze, describe_freeze(scope, freeze)));
    }
    if let Some(unmet) = &around.unmet {
        return Some((ReasonCode::DependencyUnmet, unmet.clone()));
    }
    window_hold(fleet, rollout).or_else(|| external_hold(rollout))
}

fn describe_freeze(scope: &str, freeze: &Freeze) -> String {
    let by = freeze
        .actor
        .as_deref()
        .map_or(String::new(), |actor| format!(" by {actor}"));
    let why = freeze
        .reason
        .as_deref()
        .map_or(String::new(), |reason| format!(": {reason}"));
    let until = freeze
        .until
        .map_or(String::new(), |until| format!(", until {}", Timestamp(until)));
    format!("{scope} is frozen{by}{until}{why}")
}

fn window_hold(fleet: &Fleet, rollout: &Rollout) -> Option<Held> {
    if rollout.plan.policy.windows.is_empty() {
        return None;
    }
    let (some, open) = fleet.tally.movable(rollout.wave);
    if !some || open {
        return None;
    }
    let next = fleet
        .tally
        .zones
        .iter()
        .filter(|zone| !zone.open)
        .map(|zone| zone.until)
        .min()?;
    Some((
        ReasonCode::WindowClosed,
        format!("the maintenance window is closed; it opens at {next}"),
    ))
}

fn external_hold(rollout: &Rollout) -> Option<Held> {
    rollout.plan.policy.controllers.external_monitoring.as_ref()?;
    let call = rollout
        .calls
        .iter()
        .find(|it| call_kind(it.kind) == CallKind::ExternalMonitoring);
    match (rollout.external.well, call) {
        (_, Some(call)) if call.standing() == CallState::Unreachable => Some(unreachable(call)),
        (Some(true), _) => None,
        (Some(false), _) => {
            let detail = format!("the external monitor says no: {}", rollout.external.detail);
            Some((ReasonCode::MonitorUnwell, detail))
        }
        (None, _) => Some((
            ReasonCode::HookPending,
            "the external monitor has not answered yet".to_owned(),
        )),
    }
}

/// Whom a call asks, for people.
pub(crate) fn who(call: &Call) -> String {
    match call_kind(call.kind) {
        CallKind::Hook => format!("hook \"{}\"", call.name),
        CallKind::Analysis => format!("analysis \"{}\"", call.name),
        CallKind::Selection => "the selection controller".to_owned(),
        CallKind::Approval => "the approval controller".to_owned(),
        CallKind::Removal => "the removal controller".to_owned(),
        CallKind::Monitoring => "the monitoring controller".to_owned(),
        CallKind::ExternalMonitoring => "the external monitor".to_owned(),
    }
}

pub(crate) fn unreachable(call: &Call) -> Held {
    let why = call.detail.as_deref().unwrap_or("no answer");
    (
        ReasonCode::HookUnreachable,
        format!("{} cannot be reached: {why}", who(call)),
    )
}

/// Opens and closes the windows of each time zone as they are now.
pub(crate) fn refresh_windows(fleet: &mut Fleet, at: Timestamp) {
    let Some(rollout) = fleet.head.open() else { return };
    let policy = std::sync::Arc::clone(&rollout.plan.policy);
    if policy.windows.is_empty() || rollout.overriding {
        return;
    }
    for place in 0..fleet.tally.zones.len() {
        let it = &fleet.tally.zones[place];
        if it.until <= at {
            let state = windows_in(&policy.windows, &it.name.clone(), at);
            fleet.tally.set_zone(place, state);
        }
    }
}

/// Whether any window is open for targets of a time zone, and when to look again.
fn windows_in(windows: &[Window], own: &str, at: Timestamp) -> (bool, Timestamp) {
    let (mut open, mut next) = (false, Timestamp(i64::MAX));
    for window in windows {
        // Both were checked when the policy was set.
        let name = window
            .time_zone
            .as_deref()
            .unwrap_or(if own.is_empty() { "UTC" } else { own });
        let (Ok(cron), Ok(zone)) = (Cron::parse(&window.cron), zone(name)) else {
            continue;
        };
        let length = millis(window.duration_seconds).unsigned_abs();
        // Open from the time itself to just before its end.
        let began = cron.last_within(at, length.saturating_sub(1), &zone);
        let change = match began {
            Some(began) => {
                open = true;
                Some(began.plus_millis(length))
            }
            None => cron.next_after(at, &zone),
        };
        next = change.map_or(next, |change| next.min(change));
    }
    (open, next)
}

/// What a gate says.
pub(crate) enum GateStep {
    /// Something has to be decided first.
    Event(Box<E>),
    /// It is closed.
    Held(Held),
    /// It is open.
    Open,
}

/// Looks at one gate.
pub(crate) fn gate_step(fleet: &Fleet, gate: Gate, wave: u16, at: Timestamp) -> GateStep {
    let Some(rollout) = fleet.head.open() else {
        return GateStep::Open;
    };
    if rollout.overriding || rollout.passed.contains(&gate_code(gate)) {
        return GateStep::Open;
    }
    let needs = [
        approval_needed(rollout, gate, at),
        promotion_needed(rollout, gate, wave),
        analysis_needed(rollout, gate),
    ];
    let asked_for = needs.iter().any(Option::is_some);
    if let Some(held) = needs.into_iter().flatten().find_map(Result::err) {
        return GateStep::Held(held);
    }
    let mut hooks = rollout
        .plan
        .policy
        .hooks
        .iter()
        .filter(|hook| hook.on.contains(&gate))
        .peekable();
    let any = hooks.peek().is_some();
    for hook in hooks {
        let call = rollout.calls.iter().find(|it| {
            call_kind(it.kind) == CallKind::Hook && it.name == *hook.name && it.gate == Some(gate_code(gate))
        });
        let Some(call) = call else {
            let about = (Some(gate), wave, Slots::default(), 0);
            return GateStep::Event(Box::new(ask(fleet, CallKind::Hook, &hook.name, about, at)));
        };
        let who = who(call);
        match call.standing() {
            CallState::Answered => {}
            CallState::Asked => {
                return GateStep::Held((ReasonCode::HookPending, format!("{who} has not answered yet")));
            }
            CallState::Unreachable => return GateStep::Held(unreachable(call)),
            CallState::Refused => {
                let why = call.detail.as_deref().unwrap_or("no reason was given");
                return GateStep::Held((ReasonCode::HookRefused, format!("{who} said no: {why}")));
            }
        }
    }
    if any || asked_for {
        let passed = Decision::Passed {
            gate: gate_code(gate),
            wave,
        };
        return GateStep::Event(Box::new(super::advance::rule(fleet, at, passed)));
    }
    GateStep::Open
}

/// Approvals that still count.
pub(crate) fn approvals(rollout: &Rollout, at: Timestamp) -> Vec<&str> {
    let Some(approval) = &rollout.plan.policy.approval else {
        return Vec::new();
    };
    let counts = |(who, when): &&(String, i64)| {
        let fresh = approval
            .expires_seconds
            .is_none_or(|seconds| when.saturating_add(millis(seconds)) > at.0);
        fresh && (approval.of.is_empty() || approval.of.contains(who))
    };
    rollout
        .approvals
        .iter()
        .filter(counts)
        .map(|(who, _)| who.as_str())
        .collect()
}

type Need = Option<Result<(), Held>>;

fn approval_needed(rollout: &Rollout, gate: Gate, at: Timestamp) -> Need {
    let approval = rollout
        .plan
        .policy
        .approval
        .as_ref()
        .filter(|it| it.at.contains(&gate))?;
    let given = approvals(rollout, at);
    if given.len() >= approval.required as usize {
        return Some(Ok(()));
    }
    let of = match approval.of.is_empty() {
        true => String::new(),
        false => format!(" of {}", approval.of.iter().cloned().collect::<Vec<_>>().join(", ")),
    };
    let detail = format!(
        "{} of {} approvals{of} before {}",
        given.len(),
        approval.required,
        gate_name(gate_code(gate))
    );
    Some(Err((ReasonCode::ApprovalNeeded, detail)))
}

fn promotion_needed(rollout: &Rollout, gate: Gate, wave: u16) -> Need {
    let plan = rollout.plan.waves.get(usize::from(wave))?;
    if gate != Gate::Promotion || !plan.manual {
        return None;
    }
    if rollout.promoted {
        return Some(Ok(()));
    }
    let detail = format!("wave \"{}\" waits for someone to promote it", plan.name);
    Some(Err((ReasonCode::PromotionNeeded, detail)))
}

fn analysis_needed(rollout: &Rollout, gate: Gate) -> Need {
    let wave = rollout.wave_plan().filter(|_| gate == Gate::Promotion)?;
    let mut concerned = super::calls::analyses(rollout, wave).peekable();
    concerned.peek()?;
    for analysis in concerned {
        let passed = rollout.analyses.get(analysis.name.as_str()).map_or(0, |it| it.passed);
        if passed < analysis.measurements {
            let call = super::calls::open_call(rollout, CallKind::Analysis, &analysis.name);
            if let Some(call) = call.filter(|call| call.standing() == CallState::Unreachable) {
                return Some(Err(unreachable(call)));
            }
            let detail = format!(
                "analysis \"{}\" has passed {passed} of {} measurements",
                analysis.name, analysis.measurements
            );
            return Some(Err((ReasonCode::AnalysisPending, detail)));
        }
    }
    Some(Ok(()))
}
