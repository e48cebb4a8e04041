//! Why an entity or a target stands where it stands, and what would move it.

use unisono_model::ids::Timestamp;
use unisono_model::name::Name;
use unisono_model::rollout::{EntityName, Health, Phase, Reason, ReasonCode, WhyView};

use super::advance::{around, next_due, unproven};
use super::fleet::Fleet;
use super::gates::{Around, unreachable};
use super::head::{CallState, Rollout, Stage};
use super::state::Rollouts;
use super::tally::plan_of;
use super::target::{ARRIVED, CATCHING_UP, DRIFTED, NEVER, PROVEN, Target};

/// What would move something that stands for this reason.
fn fix(code: ReasonCode) -> Option<&'static str> {
    use ReasonCode as C;
    Some(match code {
        C::NoTargets => "report targets; if there are some, look at what the waves select",
        C::NotStarted => "start it",
        C::WindowClosed => "wait for the window, or change the policy's windows",
        C::Freeze => "end the freeze",
        C::ApprovalNeeded => "approve it",
        C::PromotionNeeded => "promote it",
        C::DependencyUnmet => "roll the other entity out first, or change the policy's dependsOn",
        C::HookPending => "answer the call, or wait for its next try",
        C::HookUnreachable => "make it reachable, or take it out of the policy; it is asked again by itself",
        C::HookRefused => "see why it said no; it is asked again by itself",
        C::AnalysisPending => "wait for its measurements",
        C::TargetsInFlight => "wait until they have proved themselves or their deadline has passed",
        C::BudgetUsedUp => "repair the targets that are broken, or raise the budget",
        C::TargetsUnreachable => "bring them back, skip them, or forget them",
        C::TargetsBusy => "wait until they are free, or skip them",
        C::Baking => "wait, or promote it",
        C::PausedBy => "resume it",
        C::ToleranceExceeded | C::ToleranceUsedUp | C::AnalysisFailed | C::NothingToRollBackTo => {
            "retry or skip what failed and resume it, go back with `rollback`, set another version, or abort it"
        }
        C::NoProgress => "see what did not move, and set the version again",
        C::MonitorUnwell => "wait until the monitor says that all is well",
        C::TooFewProven => "see why no target proves itself; retry those that failed, or skip those that cannot",
        C::EndedBy | C::ReplacedBy | C::Complete | C::RolledBack => return None,
    })
}

fn reason(code: ReasonCode, message: impl Into<String>) -> Reason {
    Reason {
        code,
        message: message.into(),
        fix: fix(code).map(str::to_owned),
        since: None,
        until: None,
    }
}

/// Why the rollout stands where it stands, the most important first.
pub(crate) fn reasons(fleet: &Fleet, around: &Around, at: Timestamp) -> Vec<Reason> {
    let Some(rollout) = fleet.head.facts.rollout.as_deref() else {
        return Vec::new();
    };
    if let Some(end) = &rollout.end {
        let code = ReasonCode::from_code(end.code).unwrap_or(ReasonCode::EndedBy);
        return vec![Reason {
            since: rollout.ended_at.map(Timestamp),
            fix: None,
            ..reason(code, end.detail.clone())
        }];
    }
    let mut reasons = Vec::new();
    if let Some(pause) = &rollout.paused {
        let who = pause.actor.as_deref().unwrap_or("someone");
        let why = pause.reason.as_deref().map_or(String::new(), |why| format!(": {why}"));
        reasons.push(Reason {
            since: Some(Timestamp(pause.since)),
            ..reason(ReasonCode::PausedBy, format!("paused by {who}{why}"))
        });
    }
    if let Some(verdict) = &rollout.verdict {
        let code = ReasonCode::from_code(verdict.code).unwrap_or(ReasonCode::ToleranceExceeded);
        reasons.push(Reason {
            since: Some(Timestamp(verdict.at)),
            ..reason(code, verdict.detail.clone())
        });
        let wants_back = rollout.plan.policy.on_failure != unisono_model::rollout::OnFailure::Freeze;
        if rollout.stage == Stage::Frozen && verdict.to.is_none() && wants_back {
            reasons.push(reason(
                ReasonCode::NothingToRollBackTo,
                "there is no version to go back to",
            ));
        }
    }
    if let Some(hold) = &rollout.hold {
        reasons.push(Reason {
            since: Some(Timestamp(hold.since)),
            until: held_until(fleet, rollout, around),
            ..reason(hold.code(), hold.detail.clone())
        });
    }
    reasons.extend(unreached(rollout));
    reasons.extend(stage_reasons(fleet, rollout, at));
    reasons
}

/// Whoever is asked and cannot be reached, where that is not what holds everything.
fn unreached(rollout: &Rollout) -> impl Iterator<Item = Reason> {
    let held = rollout.hold.as_ref().map_or("", |hold| hold.detail.as_str());
    let calls = rollout
        .calls
        .iter()
        .filter(|call| call.standing() == CallState::Unreachable);
    let reasons = calls.map(|call| {
        let (code, message) = unreachable(call);
        Reason {
            since: Some(Timestamp(call.since)),
            until: Some(Timestamp(call.due)),
            ..reason(code, message)
        }
    });
    reasons.filter(move |reason| reason.message != held)
}

fn held_until(fleet: &Fleet, rollout: &Rollout, around: &Around) -> Option<Timestamp> {
    match rollout.hold.as_ref()?.code() {
        ReasonCode::HookUnreachable | ReasonCode::HookRefused => {
            let asked = rollout.calls.iter().filter(|call| call.due != i64::MAX);
            asked.map(|call| Timestamp(call.due)).min()
        }
        ReasonCode::WindowClosed => fleet
            .tally
            .zones
            .iter()
            .filter(|zone| !zone.open)
            .map(|zone| zone.until)
            .min(),
        ReasonCode::Freeze => around
            .freezes
            .iter()
            .find_map(|(_, freeze)| freeze.until)
            .map(Timestamp),
        _ => None,
    }
}

fn stage_reasons(fleet: &Fleet, rollout: &Rollout, at: Timestamp) -> Vec<Reason> {
    let group = &fleet.tally.all;
    let mut reasons = Vec::new();
    let moving = u64::from(group.moving);
    if moving > 0 {
        let until = fleet.next_target_due();
        let what = if rollout.stage == Stage::RollingBack {
            "going back"
        } else {
            "in flight"
        };
        reasons.push(Reason {
            until,
            ..reason(ReasonCode::TargetsInFlight, format!("{moving} targets are {what}"))
        });
    }
    match rollout.stage {
        Stage::Running => {
            reasons.extend(budget_reasons(fleet, rollout));
            if moving == 0 && fleet.tally.eligible(rollout.wave) == 0 {
                reasons.extend(unproven(fleet, rollout).map(|(code, detail)| reason(code, detail)));
            }
        }
        Stage::Baking => {
            let until = fleet.head.instant(rollout.bake_until);
            if until > at && !rollout.promoted {
                let detail = format!("wave {} is watched until {until}", rollout.wave + 1);
                reasons.push(Reason {
                    until: Some(until),
                    ..reason(ReasonCode::Baking, detail)
                });
            }
        }
        _ => {}
    }
    reasons
}

/// Budgets that keep targets from moving that otherwise could.
fn budget_reasons(fleet: &Fleet, rollout: &Rollout) -> Vec<Reason> {
    let eligible = fleet.tally.eligible(rollout.wave);
    let room = fleet.room(rollout);
    if eligible == 0 {
        return Vec::new();
    }
    let mut reasons = Vec::new();
    if room.available == 0 {
        let unavailable = fleet.tally.all.unavailable;
        let most = fleet.max_unavailable(rollout);
        let limit = most.map_or("the wave's limit".to_owned(), |most| format!("the limit of {most}"));
        let detail = format!("{unavailable} targets are in flight or broken, which is {limit}; {eligible} wait");
        reasons.push(reason(ReasonCode::BudgetUsedUp, detail));
    } else if room.targets > 0 {
        let policy = &rollout.plan.policy;
        let full = fleet.tally.domains.iter().find(|domain| {
            let budget = &policy.budgets[usize::from(domain.budget)];
            let total = u64::from(domain.group.targets);
            let over = |most: Option<unisono_model::rollout::Amount>, used: u32| {
                most.is_some_and(|most| u64::from(used) >= most.at_least_one(total))
            };
            total > 0
                && domain.group.eligible > 0
                && (over(budget.max_in_flight, domain.group.moving)
                    || over(budget.max_unavailable, domain.group.unavailable))
        });
        if let Some(domain) = full {
            let label = &policy.budgets[usize::from(domain.budget)].label;
            let value = domain.value.as_deref().unwrap_or("none");
            let detail = format!(
                "the budget of {label} {value} is used up; {} of it wait",
                domain.group.eligible
            );
            reasons.push(reason(ReasonCode::BudgetUsedUp, detail));
        }
    }
    reasons
}

impl Rollouts {
    /// Why an entity, or one of its targets, stands where it stands. `None` when there is no such entity or target.
    #[must_use]
    pub fn why(
        &self,
        namespace: &Name,
        entity: &EntityName,
        target: Option<(&str, &str)>,
        at: Timestamp,
    ) -> Option<WhyView> {
        let fleet = self.get(namespace, entity)?;
        let around = around(self, fleet.head.number);
        let rollout = reasons(fleet, &around, at);
        match target {
            None => Some(entity_why(fleet, &around, rollout, at)),
            Some((group, name)) => {
                let target = fleet.targets.get(fleet.find(group, name)?)?;
                Some(target_why(fleet, target, rollout))
            }
        }
    }
}

fn entity_why(fleet: &Fleet, around: &Around, reasons: Vec<Reason>, at: Timestamp) -> WhyView {
    let rollout = fleet.head.facts.rollout.as_deref();
    let state = rollout.map(Rollout::state);
    let summary = match (rollout, state) {
        (Some(rollout), Some(state)) => {
            let first = reasons
                .first()
                .map_or("nothing holds it", |reason| reason.message.as_str());
            format!(
                "rollout {} of version {} is {state}: {first}",
                rollout.id, rollout.version
            )
        }
        _ => "no version has been set, so nothing moves".to_owned(),
    };
    WhyView {
        state,
        phase: None,
        health: None,
        summary,
        reasons,
        next_decision_at: next_due(fleet, around, at),
    }
}

fn target_why(fleet: &Fleet, target: &Target, rollout_reasons: Vec<Reason>) -> WhyView {
    let rollout = fleet.head.facts.rollout.as_deref();
    let phase = fleet.phase(target);
    let expected = fleet.texts.versions.get(target.expected);
    let runs = match fleet.texts.versions.get(target.version) {
        "" => "no version",
        version => version,
    };
    let mut reasons = Vec::new();
    if let Some((code, message)) = health_reason(fleet, target) {
        reasons.push(reason(code, message));
    }
    let summary = match phase {
        Phase::InFlight if target.has(PROVEN) => {
            format!("it runs {expected}, and its monitor is asked whether it is well")
        }
        Phase::InFlight if target.has(ARRIVED) => {
            format!("it runs {expected}, and has to stay healthy to prove itself")
        }
        Phase::InFlight => format!("it was told {expected}, and runs {runs}"),
        Phase::RollingBack => format!("it was told to go back to {expected}, and runs {runs}"),
        Phase::Done => format!("it has proved itself on {expected}"),
        Phase::Failed => {
            let cause = target.cause().map_or("it failed", |cause| cause.meaning());
            format!("it failed on {expected}: {cause}")
        }
        Phase::Skipped => "someone, or the policy, took it out of the rollout".to_owned(),
        Phase::RolledBack => format!("it went back to {expected}"),
        Phase::NotRecovered => format!("it was told to go back to {expected}, and did not prove itself in time"),
        Phase::Pinned => format!("it is tied to {expected}; unpin it to let it follow rollouts"),
        Phase::Pending => pending(fleet, target, runs),
        Phase::Idle if target.has(CATCHING_UP) => format!("it was told {expected} after the rollout, and runs {runs}"),
        Phase::Idle if target.has(DRIFTED) => format!("it left {expected}, and runs {runs}"),
        Phase::Idle => format!("it takes part in no rollout, and runs {runs}"),
    };
    if matches!(phase, Phase::Pending) {
        reasons.extend(rollout_reasons);
    }
    WhyView {
        state: rollout.map(Rollout::state),
        phase: Some(phase),
        health: Some(target.health),
        summary,
        reasons,
        next_decision_at: (target.due != NEVER).then(|| fleet.head.instant(target.due)),
    }
}

fn pending(fleet: &Fleet, target: &Target, runs: &str) -> String {
    let (_, waves) = plan_of(&fleet.head);
    let home = fleet.tally.home_of(target).unwrap_or(super::waves::LEFT_OUT);
    let current = fleet.head.open().map_or(0, |rollout| rollout.wave);
    let name = waves.get(usize::from(home)).map_or("none", |wave| wave.name.as_str());
    let when = if home > current {
        "which has not begun"
    } else {
        "which is under way"
    };
    format!("it runs {runs}, and its turn has not come: it belongs to wave \"{name}\", {when}")
}

fn health_reason(fleet: &Fleet, target: &Target) -> Option<(ReasonCode, String)> {
    match target.health {
        Health::Unknown => {
            let seconds = fleet.head.policy.health.silent_after_seconds;
            let detail = format!("it has not been heard for {seconds} seconds, so nothing is known of it");
            Some((ReasonCode::TargetsUnreachable, detail))
        }
        Health::Offline => Some((ReasonCode::TargetsUnreachable, "it is switched off".to_owned())),
        Health::Busy => Some((ReasonCode::TargetsBusy, "it asked to be left alone".to_owned())),
        Health::Healthy | Health::Unhealthy | Health::InProgress => None,
    }
}
