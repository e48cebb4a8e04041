//! What a report, or the time that has passed, means for a target: the rules for health, proof and failure.

use unisono_model::rollout::{Cause, Drift, Health, HealthPolicy, OnSilent, OnUnhealthy, Phase, Policy, Said};

use super::head::Head;
use super::target::{ARRIVED, CATCHING_UP, DRIFTED, NEVER, Outcome, PROVEN, STORED, Target, said_code};

/// What targets are judged by.
pub(crate) struct Rules<'a> {
    pub(crate) policy: &'a Policy,
    /// The rollout that is under way, or was last.
    pub(crate) rollout: u32,
    /// Whether it is open and brings the version; not when it goes back or is over.
    pub(crate) forward: bool,
    /// Whether it goes back.
    pub(crate) back: bool,
    /// Whether a monitor has the last word on whether a target is proven.
    pub(crate) monitored: bool,
}

impl<'a> Rules<'a> {
    pub(crate) fn of(head: &'a Head) -> Self {
        let rollout = head.facts.rollout.as_deref();
        let open = head.open();
        let policy = open.map_or(&head.policy, |open| &open.plan.policy);
        Self {
            policy,
            rollout: rollout.map_or(0, |rollout| rollout.id),
            forward: open.is_some_and(|open| open.is_forward() || open.stage == super::head::Stage::Frozen),
            back: open.is_some_and(|open| open.stage == super::head::Stage::RollingBack),
            monitored: policy.controllers.monitoring.is_some() && open.is_some_and(|open| !open.overriding),
        }
    }

    fn health(&self) -> &HealthPolicy {
        &self.policy.health
    }

    pub(crate) fn deadline_ms(&self) -> i64 {
        millis(self.health().deadline_seconds)
    }

    pub(crate) fn healthy_for_ms(&self) -> i64 {
        millis(self.health().healthy_for_seconds)
    }

    /// How long the word that proves a target may take, once the target has been healthy for long enough.
    fn word_ms(&self) -> i64 {
        self.healthy_for_ms().min(millis(self.health().silent_after_seconds))
    }
}

pub(crate) fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX / 4)
}

/// What a target is now, as far as it may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assessment {
    pub(crate) said: Said,
    pub(crate) streak: u8,
    pub(crate) health: Health,
    pub(crate) outcome: Outcome,
    pub(crate) cause: u8,
    pub(crate) due: i64,
    pub(crate) marks: u8,
}

/// What is known of a target when it is assessed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// What it says.
    pub(crate) said: Said,
    /// Whether it was just heard; otherwise time has passed.
    pub(crate) heard: bool,
    /// Whether it runs the version that it is told.
    pub(crate) there: bool,
    /// Whether that was so before.
    pub(crate) was_there: bool,
    /// Since when it has run the same version and said the same.
    pub(crate) since: i64,
    /// Now, in listening time.
    pub(crate) time: i64,
}

impl Seen {
    /// Nothing was heard of a target; time has passed.
    pub(crate) fn waiting(target: &Target, time: i64) -> Self {
        Self {
            said: target.said(),
            heard: false,
            there: target.is_where_expected(),
            was_there: target.is_where_expected(),
            since: target.since,
            time,
        }
    }
}

/// Judges one target.
pub(crate) fn assess(rules: &Rules<'_>, target: &Target, seen: Seen) -> Assessment {
    let same = seen.said == target.said() && target.streak > 0;
    let streak = match (seen.heard, same) {
        (false, _) => target.streak,
        (true, true) => target.streak.saturating_add(1),
        (true, false) => 1,
    };
    let mut now = Assessment {
        said: seen.said,
        streak,
        health: believed(rules.health(), target, &seen, streak),
        outcome: Outcome::Wait,
        cause: 0,
        due: NEVER,
        marks: target.marks & STORED,
    };
    // A suspicion becomes a fact by itself.
    if seen.said == Said::Unhealthy && !matches!(now.health, Health::Unhealthy | Health::Unknown) {
        now.due = seen.since.saturating_add(millis(rules.health().unhealthy_for_seconds));
    }
    arrivals(rules, target, &seen, &mut now);
    let current = rules.rollout != 0 && target.rollout == rules.rollout;
    match target.phase {
        Phase::InFlight if current && rules.forward => in_flight(rules, target, &seen, &mut now),
        Phase::RollingBack if current && rules.back => going_back(rules, target, &seen, &mut now),
        Phase::InFlight | Phase::RollingBack if !(current && (rules.forward || rules.back)) => {
            settling(rules, target, &seen, &mut now);
        }
        // It goes back as soon as it is told.
        Phase::InFlight if seen.time >= target.told_at.saturating_add(rules.deadline_ms()) => {
            fail(Cause::Deadline, &mut now);
        }
        Phase::InFlight => now.due = now.due.min(target.told_at.saturating_add(rules.deadline_ms())),
        Phase::Done if current && rules.forward => proven(rules, &seen, &mut now),
        _ => {}
    }
    if now.health == Health::Unknown
        && !target.is_moving()
        && let Some(seconds) = rules.health().forget_after_seconds
    {
        now.due = target.since.saturating_add(millis(seconds));
    }
    if now.outcome == Outcome::Failed && now.health == Health::InProgress {
        now.health = if seen.said == Said::Healthy {
            Health::Healthy
        } else {
            Health::InProgress
        };
    }
    now
}

/// The health that is believed: a change for the worse or the better counts when it was said often or long enough.
fn believed(policy: &HealthPolicy, target: &Target, seen: &Seen, streak: u8) -> Health {
    if !seen.heard && target.health == Health::Unknown {
        return Health::Unknown;
    }
    match seen.said {
        Said::Offline => Health::Offline,
        Said::Busy => Health::Busy,
        Said::InProgress => Health::InProgress,
        Said::Healthy if target.health == Health::Unhealthy && streak < policy.healthy_reports => Health::Unhealthy,
        Said::Healthy if target.is_moving() => Health::InProgress,
        Said::Healthy => Health::Healthy,
        Said::Unhealthy => {
            let long = seen.time.saturating_sub(seen.since) >= millis(policy.unhealthy_for_seconds);
            let often = streak >= policy.unhealthy_reports;
            match target.health {
                _ if long || often => Health::Unhealthy,
                Health::Unhealthy => Health::Unhealthy,
                Health::Unknown | Health::Offline | Health::Busy => Health::InProgress,
                before => before,
            }
        }
    }
}

/// Whether it has taken its version, left it, or come back to it.
fn arrivals(rules: &Rules<'_>, target: &Target, seen: &Seen, now: &mut Assessment) {
    if seen.there {
        now.marks |= ARRIVED;
        now.marks &= !(DRIFTED | CATCHING_UP);
        return;
    }
    let left = seen.was_there && target.has(ARRIVED) && !target.is_moving();
    if left && rules.policy.drift != Drift::Ignore && target.phase != Phase::Pinned {
        now.marks |= DRIFTED;
    }
}

/// Told the version, and not proven. What proves it is its own word, given after it has been healthy for long enough: one
/// that says so once and dies is no proof. Only what ran the version for long enough before it was told needs no new word.
fn in_flight(rules: &Rules<'_>, target: &Target, seen: &Seen, now: &mut Assessment) {
    let policy = rules.health();
    let deadline = target.told_at.saturating_add(rules.deadline_ms());
    if now.health == Health::Offline && policy.on_silent != OnSilent::Wait {
        return lost(policy.on_silent, Cause::Offline, now);
    }
    if seen.there && now.health == Health::Unhealthy && policy.on_unhealthy == OnUnhealthy::Fail {
        return fail(Cause::Unhealthy, now);
    }
    if target.has(PROVEN) && seen.there && seen.said == Said::Healthy {
        // Its monitor is asked, for as long as it takes.
        now.due = NEVER;
        return;
    }
    now.marks &= !PROVEN;
    let often = now.streak >= policy.healthy_reports;
    let well = seen.there && seen.said == Said::Healthy && often && target_is_heard(target, seen);
    let at = seen.since.saturating_add(rules.healthy_for_ms());
    let in_time = well && at <= deadline;
    if in_time && seen.time >= at && (seen.heard || at <= target.told_at) {
        now.due = NEVER;
        if rules.monitored {
            now.outcome = Outcome::Proven;
            now.marks |= PROVEN;
        } else {
            now.outcome = Outcome::Done;
            now.health = Health::Healthy;
        }
        return;
    }
    // The word that proves it may come a little later than the deadline.
    let deadline = if in_time {
        deadline.max(at.saturating_add(rules.word_ms()))
    } else {
        deadline
    };
    if seen.time >= deadline {
        let cause = if now.health == Health::Unknown {
            Cause::Silent
        } else {
            Cause::Deadline
        };
        return fail(cause, now);
    }
    now.due = now.due.min(deadline);
}

/// A silent target proves nothing, whatever it said before.
fn target_is_heard(target: &Target, seen: &Seen) -> bool {
    seen.heard || target.health != Health::Unknown
}

/// Told to go back, and not proven. What it said before that proves nothing: it may have taken the version since, and died
/// of it.
fn going_back(rules: &Rules<'_>, target: &Target, seen: &Seen, now: &mut Assessment) {
    let mut deadline = target.told_at.saturating_add(rules.deadline_ms());
    if seen.there && seen.said == Said::Healthy && target_is_heard(target, seen) {
        let at = seen.since.saturating_add(rules.healthy_for_ms()).min(deadline);
        if seen.heard && seen.time >= at {
            now.outcome = Outcome::RolledBack;
            now.health = Health::Healthy;
            now.due = NEVER;
            return;
        }
        deadline = deadline.max(at.saturating_add(rules.word_ms()));
    }
    if seen.time >= deadline {
        now.outcome = Outcome::NotRecovered;
        now.due = NEVER;
        return;
    }
    now.due = now.due.min(deadline);
}

/// In flight when its rollout ended, or another one took over.
fn settling(rules: &Rules<'_>, target: &Target, seen: &Seen, now: &mut Assessment) {
    let deadline = target.told_at.saturating_add(rules.deadline_ms());
    if seen.there || seen.time >= deadline {
        now.outcome = Outcome::Settled;
        now.health = match (now.health, seen.said) {
            (Health::InProgress, Said::Healthy) => Health::Healthy,
            (health, _) => health,
        };
        now.due = NEVER;
    } else {
        now.due = now.due.min(deadline);
    }
}

/// Proven, and watched for as long as the rollout goes on.
fn proven(rules: &Rules<'_>, seen: &Seen, now: &mut Assessment) {
    let policy = rules.health();
    if !seen.there {
        if rules.policy.drift != Drift::Ignore {
            fail(Cause::LeftVersion, now);
        }
    } else if now.health == Health::Unhealthy && policy.on_unhealthy == OnUnhealthy::Fail {
        fail(Cause::Unhealthy, now);
    } else if now.health == Health::Offline && policy.on_silent == OnSilent::Fail {
        fail(Cause::Offline, now);
    }
}

fn fail(cause: Cause, now: &mut Assessment) {
    now.outcome = Outcome::Failed;
    now.cause = cause.code();
    now.due = NEVER;
    now.marks &= !PROVEN;
}

fn lost(policy: OnSilent, cause: Cause, now: &mut Assessment) {
    match policy {
        OnSilent::Fail => fail(cause, now),
        OnSilent::Skip => {
            now.outcome = Outcome::Skipped;
            now.due = NEVER;
        }
        OnSilent::Wait => {}
    }
}

/// What it means that a target has not been heard for too long: the outcome, and why it failed.
///
/// A member of the rollout that vanishes is a failure of it, whether its turn had come or not: `phase` is where it stands.
pub(crate) fn vanished(rules: &Rules<'_>, phase: Phase) -> (Outcome, u8) {
    let counts = rules.forward && matches!(phase, Phase::Pending | Phase::InFlight | Phase::Done);
    match rules.health().on_silent {
        OnSilent::Fail if counts => (Outcome::Failed, Cause::Silent.code()),
        OnSilent::Skip if counts && phase != Phase::Done => (Outcome::Skipped, 0),
        _ => (Outcome::Wait, 0),
    }
}

/// Whether a report that repeats the last one still counts for something: it is what a suspicion or a proof waits for.
pub(crate) fn is_undecided(target: &Target, policy: &HealthPolicy, time: i64) -> bool {
    match target.said() {
        Said::Healthy if target.is_moving() => {
            let proves = time >= target.since.saturating_add(millis(policy.healthy_for_seconds));
            target.streak < policy.healthy_reports || (proves && target.is_where_expected() && !target.has(PROVEN))
        }
        Said::Healthy => target.health == Health::Unhealthy,
        Said::Unhealthy => target.health != Health::Unhealthy,
        Said::InProgress | Said::Offline | Said::Busy => false,
    }
}

/// The health of a target that is seen for the first time.
pub(crate) fn first_health(said: Said) -> Health {
    match said {
        Said::Healthy => Health::Healthy,
        Said::Unhealthy => Health::Unhealthy,
        Said::InProgress => Health::InProgress,
        Said::Offline => Health::Offline,
        Said::Busy => Health::Busy,
    }
}

/// Whether two things said are the same in events.
pub(crate) fn says_the_same(target: &Target, said: Said) -> bool {
    target.said == said_code(said)
}
