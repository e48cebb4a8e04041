//! What people do to entities and rollouts: each verb says what it did, or why not.

use rustc_hash::FxHashSet;
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;
use unisono_model::rollout::{
    ClassicOptions, Done, EntityName, Fault, OnNewVersion, Phase, Policy, ReasonCode, RolloutState, StartMode,
    TargetId, VerbName, Version,
};

use super::advance::{by as decision_by, ended, failed, planned, verdict};
use super::command::{By, Verb};
use super::decided::to_payload;
use super::event::{Decision, RolloutEvent as E, Then};
use super::fleet::Fleet;
use super::gates::approvals;
use super::head::{Head, Mark, Rollout, Stage};
use super::rejection::RolloutRejection as R;
use super::request::{Known, RequestKey};
use super::slots::Slots;
use super::state::Rollouts;
use super::targets::{labels, split_traits};
use super::waves::{LEFT_OUT, place, waves};

impl Verb {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> VerbName {
        match self {
            Self::SetPolicy { .. } => VerbName::SetPolicy,
            Self::SetVersion { .. } => VerbName::SetVersion,
            Self::Start => VerbName::Start,
            Self::Pause => VerbName::Pause,
            Self::Resume => VerbName::Resume,
            Self::Promote => VerbName::Promote,
            Self::Approve => VerbName::Approve,
            Self::Abort => VerbName::Abort,
            Self::Retry(_) => VerbName::Retry,
            Self::Skip(_) => VerbName::Skip,
            Self::Fail(_) => VerbName::Fail,
            Self::Rollback { .. } => VerbName::Rollback,
            Self::Override { .. } => VerbName::Override,
            Self::Unpin(_) => VerbName::Unpin,
            Self::ClearBad { .. } => VerbName::ClearBad,
            Self::Forget(_) => VerbName::Forget,
            Self::Freeze { .. } => VerbName::Freeze,
            Self::Thaw => VerbName::Thaw,
        }
    }

    fn makes_the_entity(&self) -> bool {
        matches!(self, Self::SetPolicy { .. } | Self::SetVersion { .. })
    }
}

/// Decides what someone does.
pub(crate) fn decide(
    rollouts: &Rollouts,
    (namespace, entity): (Name, EntityName),
    by: By,
    verb: Verb,
    (revision, at): (Revision, Timestamp),
    events: &mut Vec<E>,
) -> Result<Done, R> {
    let before = events.len();
    let request = by.request.clone();
    let made;
    let fleet = match rollouts.get(&namespace, &entity) {
        Some(fleet) => fleet,
        None if verb.makes_the_entity() => {
            let number = rollouts.next_number();
            let mut head = Head::new(number, namespace.clone(), entity.clone());
            head.window_began = at.0;
            made = Fleet::new(head);
            events.push(E::Created {
                number,
                namespace,
                name: entity.as_str().to_owned(),
            });
            &made
        }
        None => return Err(R::EntityNotFound { entity }),
    };
    let name = verb.name();
    let known = request
        .as_ref()
        .and_then(|request| fleet.head.facts.requests.find(request));
    match (known, &request) {
        (Some(Known::Answered(done)), _) => return Ok(done),
        (Some(Known::Other), Some(request)) => {
            let key = request.key.clone();
            return Err(R::KeyTaken { key });
        }
        _ => {}
    }
    let mut act = Act {
        rollouts,
        fleet,
        by,
        verb: name,
        at,
        events,
    };
    let done = act.check_basis().and_then(|()| act.decide(verb));
    match done {
        Ok(message) => {
            let changed = act
                .events
                .iter()
                .skip(before)
                .any(|event| matches!(event, E::Decided { .. }));
            let planned = act.events.iter().skip(before).find_map(|event| match event {
                E::Decided {
                    rollout,
                    decision: Decision::Planned { .. },
                    ..
                } => Some(*rollout),
                _ => None,
            });
            let rollout = planned.or(fleet.head.open().map(|rollout| rollout.id));
            if let Some(RequestKey { key, digest }) = request {
                act.push(Decision::Remembered {
                    key,
                    digest,
                    verb: name.code(),
                    message: message.clone(),
                    changed,
                    rollout,
                });
            }
            let count = events.len() - before;
            Ok(Done {
                verb: name,
                message,
                changed,
                rollout,
                revision: match count {
                    0 => fleet.head.revision,
                    count => Revision(revision.0 + count as u64),
                },
            })
        }
        Err(rejection) => {
            events.truncate(before);
            Err(rejection)
        }
    }
}

struct Act<'a> {
    rollouts: &'a Rollouts,
    fleet: &'a Fleet,
    by: By,
    verb: VerbName,
    at: Timestamp,
    events: &'a mut Vec<E>,
}

type Said = Result<String, R>;

impl<'a> Act<'a> {
    fn check_basis(&self) -> Result<(), R> {
        let found = self.fleet.head.revision;
        match self.by.based_on {
            Some(expected) if expected != found => Err(R::Changed { expected, found }),
            _ => Ok(()),
        }
    }

    fn who(&self) -> (Option<String>, Option<String>) {
        (self.by.actor.clone(), self.by.reason.clone())
    }

    /// For sentences.
    fn someone(&self) -> String {
        let actor = self.by.actor.as_deref().unwrap_or("someone");
        match &self.by.reason {
            Some(reason) => format!("{actor} ({reason})"),
            None => actor.to_owned(),
        }
    }

    fn push(&mut self, decision: Decision) {
        let event = decision_by(self.fleet, self.at, self.who(), decision);
        self.events.push(event);
    }

    fn open(&self) -> Result<&'a Rollout, R> {
        self.fleet.head.open().ok_or_else(|| R::NoRollout {
            verb: self.verb,
            last: self.fleet.head.facts.rollout.as_deref().map(Rollout::state),
        })
    }

    fn not_now(&self, rollout: &Rollout, why: impl Into<String>, fix: impl Into<String>) -> R {
        R::NotNow {
            verb: self.verb,
            state: rollout.state(),
            code: rollout.hold.as_ref().map(super::head::Hold::code),
            why: why.into(),
            fix: fix.into(),
        }
    }

    fn decide(&mut self, verb: Verb) -> Said {
        match verb {
            Verb::SetPolicy { policy, classic } => self.set_policy(&policy, classic),
            Verb::SetVersion { version, force } => self.set_version(&version, force),
            Verb::Start => self.start(),
            Verb::Pause => self.pause(),
            Verb::Resume => self.resume(),
            Verb::Promote => self.promote(),
            Verb::Approve => self.approve(),
            Verb::Abort => self.abort(),
            Verb::Retry(targets) => self.retry(&targets),
            Verb::Skip(targets) => self.skip(&targets),
            Verb::Fail(targets) => self.fail(&targets),
            Verb::Rollback { to } => self.rollback(to),
            Verb::Override {
                version,
                targets,
                force,
            } => self.override_with(&version, &targets, force),
            Verb::Unpin(targets) => self.unpin(&targets),
            Verb::ClearBad { version } => self.clear_bad(&version),
            Verb::Forget(targets) => self.forget(&targets),
            Verb::Freeze { for_ms } => {
                let until = for_ms.map(|millis| self.at.plus_millis(millis).0);
                self.push(Decision::Frozen { until });
                Ok("nothing of this entity moves forward; going back is not held up".to_owned())
            }
            Verb::Thaw => {
                if self.fleet.head.facts.freeze.is_none() {
                    return Err(R::NotFrozen);
                }
                self.push(Decision::Thawed);
                Ok("the entity's freeze is over".to_owned())
            }
        }
    }

    fn set_policy(&mut self, policy: &Policy, classic: Option<ClassicOptions>) -> Said {
        let mut faults = unreached(self.fleet, policy);
        faults.extend(self.cycles(policy));
        if !faults.is_empty() {
            return Err(R::Faults(faults));
        }
        if *policy == *self.fleet.head.policy && classic == self.fleet.head.classic {
            return Ok("the policy is this already".to_owned());
        }
        // Before the policy, whose revision the answer names.
        self.events.extend(super::outbox::begin(self.fleet, policy, self.at));
        self.push(Decision::PolicySet {
            policy: to_payload(policy),
            classic: classic.map(|it| {
                (
                    it.batch_percent,
                    it.success_percent,
                    it.success_timeout_secs,
                    it.duration_timeout_secs,
                )
            }),
        });
        Ok(match self.fleet.head.open() {
            Some(rollout) if rollout.stage != Stage::Planned => format!(
                "the policy is set; rollout {} keeps its waves, and follows the rest of it at once",
                rollout.id
            ),
            _ => "the policy is set".to_owned(),
        })
    }

    /// Entities that wait for each other would wait for ever.
    fn cycles(&self, policy: &Policy) -> Vec<Fault> {
        let me = (self.fleet.head.namespace.clone(), self.fleet.head.name.clone());
        let mut faults = Vec::new();
        for (index, needs) in policy.depends_on.iter().enumerate() {
            let first = (
                needs.namespace.clone().unwrap_or_else(|| me.0.clone()),
                needs.entity.clone(),
            );
            let (mut seen, mut open) = (FxHashSet::default(), vec![first]);
            while let Some(entity) = open.pop() {
                if entity == me {
                    faults.push(Fault::new(
                        "dependency-cycle",
                        format!("dependsOn[{index}]"),
                        format!("\"{}\" depends, directly or not, on \"{}\" itself", needs.entity, me.1),
                        "leave one of these dependencies out",
                    ));
                    break;
                }
                if seen.insert(entity.clone())
                    && let Some(other) = self.rollouts.get(&entity.0, &entity.1)
                {
                    open.extend(other.head.policy.depends_on.iter().map(|needs| {
                        (
                            needs.namespace.clone().unwrap_or_else(|| entity.0.clone()),
                            needs.entity.clone(),
                        )
                    }));
                }
            }
        }
        faults
    }

    fn refuse_bad(&self, version: &Version, force: bool) -> Result<bool, R> {
        let bad = self
            .fleet
            .head
            .marked(version)
            .filter(|marked| marked.mark == Mark::Bad);
        match bad {
            Some(marked) if !force => Err(R::BadVersion {
                version: version.clone(),
                reason: marked.reason.clone(),
                since: Timestamp(marked.since),
            }),
            bad => Ok(bad.is_some()),
        }
    }

    fn unqueue(&mut self) {
        if self.fleet.head.facts.queued.is_some() {
            self.push(Decision::Unqueued);
        }
    }

    fn plan(&mut self, version: &str, overriding: bool, forced: bool) -> u32 {
        let event = planned(self.fleet, version, self.who(), (overriding, forced), self.at);
        self.events.push(event);
        self.fleet.head.facts.last_rollout + 1
    }

    fn supersede(&mut self, version: &Version) {
        let detail = format!("version {version} took its place, set by {}", self.someone());
        let event = ended(
            self.fleet,
            RolloutState::Superseded,
            ReasonCode::ReplacedBy,
            detail,
            self.at,
        );
        self.events.push(event);
    }

    fn set_version(&mut self, version: &Version, force: bool) -> Said {
        let forced = self.refuse_bad(version, force)?;
        let faults = unreached(self.fleet, &self.fleet.head.policy);
        if !faults.is_empty() {
            return Err(R::Faults(faults));
        }
        let Some(rollout) = self.fleet.head.open() else {
            if self.is_everywhere(version) {
                return Ok(format!(
                    "every target runs {version} already, and it is the last known good version"
                ));
            }
            self.unqueue();
            let id = self.plan(version, false, forced);
            return Ok(format!("rollout {id} of version {version} is planned"));
        };
        if rollout.version == version.as_str() && rollout.is_forward() {
            self.unqueue();
            return Ok(format!("rollout {} brings version {version} already", rollout.id));
        }
        let policy = match rollout.stage {
            // One that waits for someone has found someone.
            Stage::Frozen => OnNewVersion::Replace,
            _ => self.fleet.head.policy.on_new_version,
        };
        let queued = self.fleet.head.facts.queued.as_ref();
        match policy {
            OnNewVersion::Reject => Err(R::UnderWay {
                under_way: Version::parse(&rollout.version).unwrap_or_else(|_| version.clone()),
            }),
            OnNewVersion::Queue if queued.is_some_and(|it| it.version == version.as_str()) => Ok(format!(
                "version {version} waits for the end of rollout {} already",
                rollout.id
            )),
            OnNewVersion::Queue => {
                self.push(Decision::Queued {
                    version: version.as_str().to_owned(),
                    forced,
                });
                let instead = queued.map_or(String::new(), |it| format!(", instead of {}", it.version));
                Ok(format!(
                    "version {version} waits for the end of rollout {}{instead}",
                    rollout.id
                ))
            }
            OnNewVersion::Replace => {
                self.unqueue();
                self.supersede(version);
                let id = self.plan(version, false, forced);
                Ok(format!(
                    "rollout {id} of version {version} takes the place of rollout {}",
                    rollout.id
                ))
            }
        }
    }

    /// Whether the version is good and there is nothing to do for it.
    fn is_everywhere(&self, version: &Version) -> bool {
        let good = self.fleet.head.facts.good.as_deref() == Some(version.as_str());
        let id = self.fleet.version_id(version);
        let running = self.fleet.tally.versions.get(&id).copied().unwrap_or(0);
        good && running as usize == self.fleet.len()
    }

    fn start(&mut self) -> Said {
        let rollout = self.open()?;
        let waits = self.fleet.head.policy.start == StartMode::Manual && !rollout.started;
        if rollout.stage != Stage::Planned {
            return Err(self.not_now(rollout, "it has begun already", "look at it with `get`"));
        }
        if !waits {
            let why = rollout
                .hold
                .as_ref()
                .map_or("it begins by itself".to_owned(), |hold| hold.detail.clone());
            return Err(self.not_now(rollout, format!("it needs no start: {why}"), "remove what holds it"));
        }
        self.push(Decision::Started);
        Ok(format!("rollout {} begins as soon as its gates are open", rollout.id))
    }

    fn pause(&mut self) -> Said {
        let rollout = self.open()?;
        if let Some(pause) = &rollout.paused {
            let who = pause.actor.as_deref().unwrap_or("someone");
            return Ok(format!("it has been paused by {who} already"));
        }
        self.push(Decision::Paused);
        let moving = self.fleet.tally.all.moving;
        Ok(format!(
            "nothing more is assigned; {moving} targets in flight are watched as before"
        ))
    }

    fn resume(&mut self) -> Said {
        let rollout = self.open()?;
        if rollout.paused.is_none() && rollout.stage != Stage::Frozen {
            return Ok("it is not paused".to_owned());
        }
        if rollout.paused.is_none() {
            let mut again = rollout.clone();
            again.stage = Stage::Running;
            again.analyses.clear();
            if let Some((_, detail)) = verdict(self.fleet, &again) {
                let fix = "retry or skip the targets that failed, tolerate more, go back with `rollback`, or abort it";
                return Err(self.not_now(rollout, format!("it would fail again at once: {detail}"), fix));
            }
        }
        self.push(Decision::Resumed);
        if rollout.paused.is_some() && rollout.stage == Stage::Frozen {
            let id = rollout.id;
            return Ok(format!(
                "rollout {id} is no longer paused, but frozen as it was: resume it once more to go on"
            ));
        }
        Ok(format!("rollout {} goes on", rollout.id))
    }

    fn promote(&mut self) -> Said {
        let rollout = self.open()?;
        if rollout.stage != Stage::Baking {
            let (why, fix) = match rollout.stage {
                Stage::Planned => ("no wave has begun", "start it, or remove what holds it"),
                Stage::Running => (
                    "the wave has not moved yet",
                    "wait until all of its targets have been decided",
                ),
                _ => ("it brings the version no further", "set a version, or resume it"),
            };
            return Err(self.not_now(rollout, why, fix));
        }
        if rollout.promoted {
            return Ok("it has been promoted already".to_owned());
        }
        self.push(Decision::Promoted);
        Ok(format!("wave {} is promoted", rollout.wave + 1))
    }

    fn approve(&mut self) -> Said {
        let rollout = self.open()?;
        let waits = rollout
            .hold
            .as_ref()
            .is_some_and(|hold| hold.code() == ReasonCode::ApprovalNeeded);
        let approval = rollout.plan.policy.approval.as_ref().filter(|_| waits);
        let Some(approval) = approval else {
            return Err(self.not_now(
                rollout,
                "nothing waits for an approval",
                "approve when it is awaitingApproval",
            ));
        };
        let fault =
            |reason: String, fix: &str| Err(R::Faults(vec![Fault::new("may-not-approve", "actor", reason, fix)]));
        let Some(actor) = self.by.actor.clone() else {
            return fault("an approval needs to say whose it is".to_owned(), "name yourself");
        };
        if !approval.of.is_empty() && !approval.of.contains(&actor) {
            let people: Vec<&str> = approval.of.iter().map(String::as_str).collect();
            return fault(
                format!("{actor} is none of those who may approve"),
                &format!("ask one of {}", people.join(", ")),
            );
        }
        if !approval.by_requester && rollout.actor.as_deref() == Some(&actor) {
            return fault(format!("{actor} asked for the version"), "ask somebody else to approve");
        }
        let given = approvals(rollout, self.at);
        let count = given.len() + usize::from(!given.contains(&actor.as_str()));
        self.push(Decision::Approved {
            count: u32::try_from(count).unwrap_or(u32::MAX),
        });
        Ok(format!("{count} of {} approvals", approval.required))
    }

    fn abort(&mut self) -> Said {
        let rollout = self.open()?;
        self.unqueue();
        let detail = format!("ended by {}", self.someone());
        let event = ended(self.fleet, RolloutState::Aborted, ReasonCode::EndedBy, detail, self.at);
        self.events.push(event);
        let group = &self.fleet.tally.all;
        Ok(format!(
            "rollout {} is over: {} targets keep version {}, {} in flight are let go",
            rollout.id,
            group.phase(Phase::Done),
            rollout.version,
            group.phase(Phase::InFlight) + group.phase(Phase::RollingBack)
        ))
    }

    /// The slots of targets, each of which has to be in one of these phases of the rollout under way.
    fn slots_in(&self, targets: &[TargetId], fits: impl Fn(Phase) -> bool, what: &str) -> Result<Slots, R> {
        let rollout = self.fleet.head.open().map_or(0, |rollout| rollout.id);
        let slots = targets.iter().map(|id| {
            let slot = self.slot(id)?;
            let phase = match self.fleet.targets.get(slot) {
                Some(target) if target.phase == Phase::Pinned => Phase::Pinned,
                Some(target) if target.rollout == rollout => target.phase,
                _ => Phase::Pending,
            };
            if fits(phase) {
                return Ok(slot);
            }
            let why = format!("target {id} is {phase}, {what}");
            Err(R::NotThisTarget {
                target: id.clone(),
                why,
            })
        });
        Ok(Slots::of(slots.collect::<Result<Vec<u32>, R>>()?))
    }

    fn slot(&self, id: &TargetId) -> Result<u32, R> {
        self.fleet
            .find(&id.group, &id.name)
            .ok_or_else(|| R::TargetNotFound { target: id.clone() })
    }

    fn retry(&mut self, targets: &[TargetId]) -> Said {
        let rollout = self.open()?;
        if rollout.stage == Stage::RollingBack || rollout.stage == Stage::Planned {
            let fix = "wait for its end, and set the version again";
            return Err(self.not_now(rollout, "nothing can be tried again now", fix));
        }
        let slots = if targets.is_empty() {
            let failed = |phase: Phase, of: u32| phase == Phase::Failed && of == rollout.id;
            let all = self
                .fleet
                .targets
                .iter()
                .filter(|(_, target)| failed(target.phase, target.rollout));
            Slots::of(all.map(|(slot, _)| slot).collect())
        } else {
            self.slots_in(
                targets,
                |phase| phase == Phase::Failed,
                "and only one that failed can be tried again",
            )?
        };
        if slots.is_empty() {
            return Ok("no target has failed".to_owned());
        }
        let count = slots.len();
        self.push(Decision::Retried { slots });
        Ok(format!("{count} targets are tried once more, within the budgets"))
    }

    fn some(&self, targets: &[TargetId]) -> Result<(), R> {
        if targets.is_empty() {
            let reason = format!("{} needs to know which targets", self.verb);
            return Err(R::Faults(vec![Fault::new(
                "missing",
                "targets",
                reason,
                "name at least one target",
            )]));
        }
        Ok(())
    }

    fn skip(&mut self, targets: &[TargetId]) -> Said {
        self.some(targets)?;
        self.open()?;
        let fits = |phase| matches!(phase, Phase::Pending | Phase::InFlight | Phase::Failed);
        let slots = self.slots_in(targets, fits, "and cannot be taken out any more")?;
        let count = slots.len();
        self.push(Decision::Skipped { slots });
        Ok(format!("{count} targets were taken out of the rollout"))
    }

    fn fail(&mut self, targets: &[TargetId]) -> Said {
        let rollout = self.open()?;
        if !rollout.is_forward() {
            return Err(self.not_now(rollout, "it has failed already", "look at it with `get`"));
        }
        if !targets.is_empty() {
            let fits = |phase| matches!(phase, Phase::Pending | Phase::InFlight | Phase::Done);
            let slots = self.slots_in(targets, fits, "and cannot be declared failed")?;
            let count = slots.len();
            self.push(Decision::Condemned { slots });
            return Ok(format!("{count} targets were declared failed"));
        }
        let detail = format!("declared failed by {}", self.someone());
        let event = failed(self.fleet, ReasonCode::EndedBy, detail, self.who(), self.at);
        let follows = match &event {
            E::Decided {
                decision: Decision::Failed { then, to, .. },
                ..
            } => follows(*then, to.as_deref()),
            _ => String::new(),
        };
        self.events.push(event);
        Ok(format!("rollout {} has failed: {follows}", rollout.id))
    }

    fn rollback(&mut self, to: Option<Version>) -> Said {
        if let Some(to) = &to {
            self.refuse_bad(to, false)?;
        }
        let Some(rollout) = self.fleet.head.open() else {
            return self.rollback_after(to);
        };
        if rollout.stage == Stage::RollingBack {
            return Ok("targets go back already".to_owned());
        }
        let to = to
            .map(|to| to.as_str().to_owned())
            .or_else(|| super::advance::way_back(self.fleet, rollout));
        let Some(to) = to.filter(|to| *to != rollout.version) else {
            let fix = "name a version, or abort it";
            return Err(self.not_now(rollout, "there is no other version to go back to", fix));
        };
        let group = &self.fleet.tally.all;
        let count = |phase| u32::try_from(group.phase(phase)).unwrap_or(u32::MAX);
        self.push(Decision::Failed {
            code: ReasonCode::EndedBy.code(),
            detail: format!("taken back by {}", self.someone()),
            then: Then::GoBack,
            to: Some(to.clone()),
            proven: count(Phase::Done),
            failed: count(Phase::Failed),
            bad: true,
        });
        Ok(format!("targets go back to {to}, in batches"))
    }

    /// The last rollout is over: going back is a rollout of its own.
    fn rollback_after(&mut self, to: Option<Version>) -> Said {
        let last = self.fleet.head.facts.rollout.as_deref();
        let before = last.and_then(|last| last.from.clone());
        let to = to.map(|to| to.as_str().to_owned()).or(before);
        let Some(to) = to.filter(|to| Some(to.as_str()) != self.fleet.head.facts.good.as_deref()) else {
            return Err(R::NoRollout {
                verb: self.verb,
                last: last.map(Rollout::state),
            });
        };
        let id = self.plan(&to, false, false);
        Ok(format!("rollout {id} brings targets back to {to}"))
    }

    fn override_with(&mut self, version: &Version, targets: &[TargetId], force: bool) -> Said {
        let forced = self.refuse_bad(version, force)?;
        if !targets.is_empty() {
            let slots = self.slots_in(targets, |_| true, "")?;
            let count = slots.len();
            self.push(Decision::Pinned {
                slots,
                version: version.as_str().to_owned(),
            });
            return Ok(format!(
                "{count} targets are tied to version {version} until they are unpinned"
            ));
        }
        self.unqueue();
        if self.fleet.head.open().is_some() {
            self.supersede(version);
        }
        let id = self.plan(version, true, forced);
        Ok(format!(
            "rollout {id} gives version {version} to every target at once, without gates and budgets"
        ))
    }

    fn unpin(&mut self, targets: &[TargetId]) -> Said {
        let slots = if targets.is_empty() {
            let pinned = self
                .fleet
                .targets
                .iter()
                .filter(|(_, target)| target.phase == Phase::Pinned);
            Slots::of(pinned.map(|(slot, _)| slot).collect())
        } else {
            self.slots_in(targets, |phase| phase == Phase::Pinned, "and tied to nothing")?
        };
        if slots.is_empty() {
            return Ok("no target is tied to a version".to_owned());
        }
        let count = slots.len();
        self.push(Decision::Unpinned { slots });
        Ok(format!("{count} targets follow rollouts again"))
    }

    fn clear_bad(&mut self, version: &Version) -> Said {
        let bad = self
            .fleet
            .head
            .marked(version)
            .is_some_and(|marked| marked.mark == Mark::Bad);
        if !bad {
            return Ok(format!("version {version} is not marked as bad"));
        }
        self.push(Decision::Cleared {
            version: version.as_str().to_owned(),
        });
        Ok(format!("version {version} is no longer marked as bad"))
    }

    fn forget(&mut self, targets: &[TargetId]) -> Said {
        self.some(targets)?;
        let slots: Vec<u32> = targets.iter().map(|id| self.slot(id)).collect::<Result<_, R>>()?;
        let waves = forgotten_waves(self.fleet, &slots, true);
        let counted: u32 = waves.iter().map(|(_, _, failed)| failed).sum();
        let slots = Slots::of(slots);
        let count = slots.len();
        self.push(Decision::Forgot {
            slots,
            waves,
            call: None,
        });
        Ok(match counted {
            0 => format!("{count} targets are forgotten until they report again"),
            counted => format!("{count} targets are forgotten; {counted} of them go on counting as failures"),
        })
    }
}

fn follows(then: Then, to: Option<&str>) -> String {
    let to = to.unwrap_or("nothing");
    match then {
        Then::End => "targets keep what they run".to_owned(),
        Then::Freeze => "nothing moves until someone decides".to_owned(),
        Then::GoBack => format!("targets go back to {to}, in batches"),
        Then::GoBackAtOnce => format!("targets go back to {to}, at once"),
    }
}

/// What forgetting these targets must not change: by wave, how many were members, and how many count as failures. Targets
/// that are removed on purpose (`counted` is false) leave the rollout altogether.
pub(crate) fn forgotten_waves(fleet: &Fleet, slots: &[u32], counted: bool) -> Vec<(u16, u32, u32)> {
    let Some(rollout) = fleet.head.open().filter(|rollout| counted && rollout.is_forward()) else {
        return Vec::new();
    };
    let mut waves = std::collections::BTreeMap::<u16, (u32, u32)>::new();
    for slot in slots {
        let Some(target) = fleet.targets.get(*slot) else {
            continue;
        };
        if target.phase == Phase::Pinned {
            continue;
        }
        let current = target.rollout == rollout.id;
        let home = fleet.tally.home_of(target).unwrap_or(LEFT_OUT);
        let wave = if current && target.attempts > 0 {
            target.wave
        } else {
            home
        };
        let phase = if current { target.phase } else { Phase::Pending };
        if wave == LEFT_OUT || phase == Phase::Idle {
            continue;
        }
        let entry = waves.entry(wave).or_default();
        entry.0 += 1;
        entry.1 += u32::from(matches!(phase, Phase::Failed | Phase::InFlight));
    }
    waves
        .into_iter()
        .map(|(wave, (members, failed))| (wave, members, failed))
        .collect()
}

/// Waves that select none of the targets that there are. A fleet without targets may get some that fit.
fn unreached(fleet: &Fleet, policy: &Policy) -> Vec<Fault> {
    if fleet.is_empty() || (policy.waves.is_empty() && policy.canary.is_none()) {
        return Vec::new();
    }
    let mut kinds: FxHashSet<(u32, u32)> = FxHashSet::default();
    for (_, target) in fleet.targets.iter() {
        kinds.insert((target.traits, target.group));
    }
    let plans = waves(policy, false);
    let selects = |wave: usize| {
        kinds.iter().any(|(traits, group)| {
            let (text, _) = split_traits(fleet.texts.traits.get(*traits));
            let label = |key: &str| labels(text).find(|(it, _)| *it == key).map(|(_, value)| value);
            plans[wave].select.selects(fleet.texts.groups.get(*group), label)
        })
    };
    let offset = usize::from(policy.canary.is_some());
    let field = |wave: usize| match wave.checked_sub(offset) {
        None => "canary.select".to_owned(),
        Some(wave) => format!("waves[{wave}].select"),
    };
    (0..policy.waves.len() + offset)
        .filter(|wave| !selects(*wave))
        .map(|wave| {
            let reason = format!("wave \"{}\" selects none of {} targets", plans[wave].name, fleet.len());
            Fault::new(
                "selects-nothing",
                field(wave),
                reason,
                "correct the selector, or leave the wave out",
            )
        })
        .collect()
}

/// The wave of a target by its labels, for people who plan.
pub(crate) fn home_by_labels(
    fleet: &Fleet,
    plans: &[super::waves::WavePlan],
    (traits, group): (u32, u32),
) -> (u16, u64) {
    let (text, _) = split_traits(fleet.texts.traits.get(traits));
    let label = |key: &str| labels(text).find(|(it, _)| *it == key).map(|(_, value)| value);
    place(plans, fleet.texts.groups.get(group), label)
}
