//! What people and programs are shown.

use std::collections::BTreeMap;

use unisono_model::ids::Timestamp;
use unisono_model::name::Name;
use unisono_model::rollout::{
    Analysis, CallKind, CallSubject, CallTarget, CallView, ClassicInfo, ClassicTarget, Counts, DomainView, Endpoint,
    EntityName, EntitySummary, EntityView, FreezeView, GroupName, Health, HistoryEntry, Instruction, Phase, Reason,
    ReasonCode, RolloutState, RolloutSummary, RolloutView, TargetId, TargetName, TargetPage, TargetView, Version,
    VersionMark, VersionView, WaveView,
};

use super::advance::{around, way_back};
use super::fleet::Fleet;
use super::gates::{call_kind, endpoint, gate_of};
use super::head::{Call, Freeze, Mark, Past, Rollout, Stage};
use super::interner::NONE;
use super::state::Rollouts;
use super::tally::{Group, plan_of};
use super::target::{DRIFTED, NEVER, Target};
use super::targets::{labels, split_traits};
use super::untold::Untold;
use super::waves::LEFT_OUT;

/// Domains that a rollout shows.
const MOST_DOMAINS: usize = 1_000;
/// Targets that are looked at for one page: whoever searches a large fleet asks again, and others have their turn meanwhile.
const LOOKED_AT: u32 = 65_536;

/// Which targets a page shows. What is `None` is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetFilter {
    /// Of this group, exactly.
    pub group: Option<String>,
    /// In this health.
    pub health: Option<Health>,
    /// In this phase.
    pub phase: Option<Phase>,
    /// Running this version.
    pub version: Option<String>,
    /// Drifted, or not.
    pub drifted: Option<bool>,
    /// Told another version than it runs, or not.
    pub change: Option<bool>,
    /// With all of these labels.
    pub labels: Vec<(String, String)>,
}

/// A call that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenCall {
    /// It.
    pub view: CallView,
    /// The targets that it is about.
    pub targets: Vec<CallTarget>,
    /// The analysis that it measures for.
    pub analysis: Option<Analysis>,
}

/// What a call is about.
enum About<'a> {
    /// A rollout that is under way.
    Rollout(&'a Rollout),
    /// A rollback that may be over.
    Untold(&'a Untold),
}

impl About<'_> {
    fn endpoint(&self, call: &Call) -> Option<Endpoint> {
        match self {
            Self::Rollout(rollout) => endpoint(&rollout.plan.policy, call_kind(call.kind), &call.name).cloned(),
            Self::Untold(told) => told.endpoint(),
        }
    }

    fn analysis(&self, call: &Call) -> Option<&Analysis> {
        let Self::Rollout(rollout) = self else { return None };
        let all = &rollout.plan.policy.analysis;
        all.iter()
            .find(|it| call_kind(call.kind) == CallKind::Analysis && it.name == *call.name)
    }

    /// What it is about, as far as the rollout says.
    fn subject(&self, call: &Call) -> CallSubject {
        let (rollout, version, baseline, wave) = match self {
            Self::Rollout(it) => {
                let wave = it.plan.waves.get(usize::from(call.wave));
                (it.id, &it.version, it.from.as_ref(), wave.map(|wave| wave.name.clone()))
            }
            Self::Untold(it) => (it.rollout, &it.version, it.baseline.as_ref(), it.wave.clone()),
        };
        CallSubject {
            rollout,
            version: surely(version),
            baseline: optional(baseline),
            gate: None,
            wave,
            targets: Vec::new(),
            count: 0,
            query: None,
            baseline_query: None,
        }
    }
}

pub(crate) fn counts(group: &Group, gone: (u64, u64)) -> Counts {
    Counts {
        total: group.members() + gone.0,
        pending: group.phase(Phase::Pending),
        in_flight: group.phase(Phase::InFlight),
        done: group.phase(Phase::Done),
        failed: group.phase(Phase::Failed) + gone.1,
        skipped: group.phase(Phase::Skipped),
        rolling_back: group.phase(Phase::RollingBack),
        rolled_back: group.phase(Phase::RolledBack),
        not_recovered: group.phase(Phase::NotRecovered),
        unreachable: u64::from(group.unreachable),
        busy: u64::from(group.busy),
        unavailable: u64::from(group.unavailable),
    }
}

/// The counts of a rollout that is over.
fn counts_of(phases: &[u32]) -> Counts {
    let of = |phase: Phase| u64::from(phases.get(usize::from(phase.code())).copied().unwrap_or(0));
    let none = of(Phase::Idle) + of(Phase::Pinned);
    Counts {
        total: phases.iter().map(|it| u64::from(*it)).sum::<u64>() - none,
        pending: of(Phase::Pending),
        in_flight: of(Phase::InFlight),
        done: of(Phase::Done),
        failed: of(Phase::Failed),
        skipped: of(Phase::Skipped),
        rolling_back: of(Phase::RollingBack),
        rolled_back: of(Phase::RolledBack),
        not_recovered: of(Phase::NotRecovered),
        ..Counts::default()
    }
}

fn version(text: &str) -> Option<Version> {
    Version::parse(text).ok()
}

fn optional(text: Option<&String>) -> Option<Version> {
    text.and_then(|text| version(text))
}

/// A version that stands in state was one when it came in.
fn surely(text: &str) -> Version {
    version(text).unwrap_or_else(|| match Version::parse("unknown") {
        Ok(unknown) => unknown,
        Err(_) => unreachable!("a word is a version"),
    })
}

fn freeze_view(scope: &str, freeze: &Freeze) -> FreezeView {
    FreezeView {
        scope: scope.trim_start_matches("the ").to_owned(),
        actor: freeze.actor.clone(),
        reason: freeze.reason.clone(),
        since: Timestamp(freeze.since),
        until: freeze.until.map(Timestamp),
    }
}

/// How many entities there are, and where their rollouts and targets stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutCounts {
    /// Entities by the state of the rollout that is under way, or was last; those without one are left out.
    pub rollouts: BTreeMap<RolloutState, u64>,
    /// Entities.
    pub entities: u64,
    /// Targets by health.
    pub health: BTreeMap<Health, u64>,
    /// Targets by where they stand.
    pub phases: BTreeMap<Phase, u64>,
}

impl Rollouts {
    /// How much there is of everything. Costs as much as there are entities, however many targets they have.
    #[must_use]
    pub fn counts(&self) -> RolloutCounts {
        let mut counts = RolloutCounts::default();
        for fleet in self.all() {
            counts.entities += 1;
            if let Some(rollout) = fleet.head.facts.rollout.as_deref() {
                *counts.rollouts.entry(rollout.state()).or_default() += 1;
            }
            for health in Health::ALL {
                *counts.health.entry(health).or_default() += fleet.in_health(health);
            }
            for phase in Phase::ALL {
                *counts.phases.entry(phase).or_default() += fleet.tally.all.phase(phase);
            }
        }
        counts
    }

    /// The namespaces that have entities, in order.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Name> {
        let mut names: Vec<Name> = self.all().map(|fleet| fleet.head.namespace.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The entities of a namespace, by name: those after a name, so many of them.
    #[must_use]
    pub fn entities(&self, namespace: &Name, after: Option<&str>, limit: usize) -> Vec<EntitySummary> {
        let here = self.all().filter(|fleet| {
            fleet.head.namespace == *namespace && after.is_none_or(|after| fleet.head.name.as_str() > after)
        });
        let mut entities: Vec<&Fleet> = here.collect();
        entities.sort_unstable_by(|a, b| a.head.name.cmp(&b.head.name));
        entities.into_iter().take(limit).map(Fleet::summary).collect()
    }

    /// Everything about an entity, its targets left out.
    #[must_use]
    pub fn entity_view(&self, namespace: &Name, entity: &EntityName) -> Option<EntityView> {
        let fleet = self.get(namespace, entity)?;
        let around = around(self, fleet.head.number);
        let health = Health::ALL
            .into_iter()
            .map(|it| (it.as_str().to_owned(), fleet.in_health(it)));
        let running = fleet.tally.versions.iter().filter(|(id, _)| **id != NONE);
        Some(EntityView {
            summary: fleet.summary(),
            namespace: namespace.clone(),
            revision: fleet.head.revision,
            policy: (*fleet.head.policy).clone(),
            health: health.collect(),
            versions_running: running
                .map(|(id, count)| (fleet.texts.versions.get(*id).to_owned(), u64::from(*count)))
                .collect(),
            drifted: u64::from(fleet.tally.drifted),
            pinned: fleet.tally.all.phase(Phase::Pinned),
            freezes: around
                .freezes
                .iter()
                .map(|(scope, freeze)| freeze_view(scope, freeze))
                .collect(),
            queued: fleet
                .head
                .facts
                .queued
                .as_ref()
                .and_then(|queued| version(&queued.version)),
        })
    }

    /// Everything about the rollout that is under way, or was last.
    #[must_use]
    pub fn rollout_view(&self, namespace: &Name, entity: &EntityName, at: Timestamp) -> Option<RolloutView> {
        let fleet = self.get(namespace, entity)?;
        let rollout = fleet.head.facts.rollout.as_deref()?;
        let around = around(self, fleet.head.number);
        Some(RolloutView {
            summary: fleet.rollout_summary(rollout),
            namespace: namespace.clone(),
            entity: entity.clone(),
            revision: fleet.head.revision,
            reasons: super::why::reasons(fleet, &around, at),
            waves: fleet.wave_views(rollout),
            wave: u32::from(rollout.wave),
            tolerated: fleet.limits(rollout).tolerated,
            max_unavailable: fleet.max_unavailable(rollout),
            domains: fleet.domain_views(),
            approved_by: super::gates::approvals(rollout, at)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            calls: fleet.calls_of(rollout),
            rollback_to: match &rollout.verdict {
                Some(verdict) => optional(verdict.to.as_ref()),
                None => way_back(fleet, rollout).as_deref().and_then(version),
            },
            queued: fleet
                .head
                .facts
                .queued
                .as_ref()
                .and_then(|queued| version(&queued.version)),
            policy: (*rollout.plan.policy).clone(),
        })
    }

    /// Freezes of everything and of namespaces.
    #[must_use]
    pub fn freezes(&self) -> Vec<(Option<String>, FreezeView)> {
        let everything = self
            .board
            .everything
            .iter()
            .map(|it| (None, freeze_view("everything", it)));
        let namespaces = self.board.namespaces.iter();
        everything
            .chain(namespaces.map(|(name, it)| (Some(name.clone()), freeze_view("namespace", it))))
            .collect()
    }
}

impl Fleet {
    /// What lists show of the entity.
    #[must_use]
    pub fn summary(&self) -> EntitySummary {
        let facts = &self.head.facts;
        EntitySummary {
            name: self.head.name.clone(),
            targets: self.len() as u64,
            last_known_good: optional(facts.good.as_ref()),
            last_known_bad: optional(facts.bad.as_ref()),
            target_version: optional(facts.asked.as_ref()),
            rollout: facts.rollout.as_deref().map(|rollout| self.rollout_summary(rollout)),
        }
    }

    pub(crate) fn rollout_summary(&self, rollout: &Rollout) -> RolloutSummary {
        let verdict = match (&rollout.end, &rollout.verdict) {
            (Some(end), _) => Some((end.code, &end.detail, rollout.ended_at)),
            (None, Some(verdict)) => Some((verdict.code, &verdict.detail, Some(verdict.at))),
            (None, None) => None,
        };
        RolloutSummary {
            id: rollout.id,
            version: surely(&rollout.version),
            from: optional(rollout.from.as_ref()),
            state: rollout.state(),
            actor: rollout.actor.clone(),
            created_at: Timestamp(rollout.created_at),
            started_at: rollout.started_at.map(Timestamp),
            ended_at: rollout.ended_at.map(Timestamp),
            verdict: verdict.map(|(code, detail, since)| verdict_reason(code, detail, since)),
            counts: match &rollout.end {
                Some(end) => counts_of(&end.phases),
                None => counts(&self.tally.all, rollout.forgotten(None)),
            },
        }
    }

    /// The rollouts of the entity, the newest first.
    #[must_use]
    pub fn rollouts(&self) -> Vec<RolloutSummary> {
        let facts = &self.head.facts;
        let last = facts.rollout.as_deref().map(|rollout| self.rollout_summary(rollout));
        last.into_iter()
            .chain(facts.past.iter().rev().map(past_summary))
            .collect()
    }

    /// The versions that were ever tried, in the order in which they were first marked.
    #[must_use]
    pub fn versions(&self) -> Vec<VersionView> {
        let running = |version: &str| self.tally.versions.get(&self.version_id(version)).copied().unwrap_or(0);
        let view = |it: &super::head::Marked| VersionView {
            version: surely(&it.version),
            mark: match it.mark {
                Mark::Good => VersionMark::Good,
                Mark::Bad => VersionMark::Bad,
                Mark::Untried => VersionMark::Untried,
            },
            reason: it.reason.clone(),
            since: Timestamp(it.since),
            rollout: it.rollout,
            proven: u64::from(it.proven),
            failed: u64::from(it.failed),
            good_order: it.good_order,
            running: u64::from(running(&it.version)),
        };
        self.head.facts.versions.iter().map(view).collect()
    }

    /// The history after an entry, the oldest first; of one rollout, when it is named.
    #[must_use]
    pub fn history(&self, after: u64, rollout: Option<u32>, limit: usize) -> Vec<HistoryEntry> {
        let fits = |note: &&super::note::Note| rollout.is_none_or(|rollout| note.rollout == rollout);
        self.notes
            .after(after)
            .filter(fits)
            .take(limit)
            .map(super::note::Note::view)
            .collect()
    }

    /// The last entries of the history, the newest first.
    #[must_use]
    pub fn latest(&self, limit: usize) -> Vec<HistoryEntry> {
        self.notes
            .iter()
            .rev()
            .take(limit)
            .map(super::note::Note::view)
            .collect()
    }

    /// The numbers of the first and the last entry of the history that is kept; none when there is none.
    #[must_use]
    pub fn history_kept(&self) -> Option<(u64, u64)> {
        let first = self.notes.iter().next()?.sequence;
        Some((first, self.notes.last()))
    }

    fn wave_views(&self, rollout: &Rollout) -> Vec<WaveView> {
        let state = |wave: u16| match wave.cmp(&rollout.wave) {
            _ if rollout.stage == Stage::Planned => "toCome",
            std::cmp::Ordering::Less => "over",
            std::cmp::Ordering::Equal if rollout.state() == RolloutState::Succeeded => "over",
            std::cmp::Ordering::Equal => "underWay",
            std::cmp::Ordering::Greater => "toCome",
        };
        let view = |(wave, (plan, group)): (u16, (&super::waves::WavePlan, &Group))| {
            let total = group.members() + rollout.forgotten(Some(wave)).0;
            let here = wave == rollout.wave;
            let step = if here { rollout.step } else { 0 };
            let size = rollout.take.filter(|_| here).map_or(total, u64::from);
            WaveView {
                name: plan.name.clone(),
                state: state(wave).to_owned(),
                counts: counts(group, rollout.forgotten(Some(wave))),
                batch: plan.batch.size(step, size).min(size.max(1)),
                step: plan.batch.is_stepped().then_some(step + 1),
                max_unavailable: self.wave_max_unavailable(rollout, wave),
                tolerated: self.wave_limits(rollout, wave).map(|limits| limits.tolerated),
            }
        };
        (0..)
            .zip(rollout.plan.waves.iter().zip(&self.tally.waves))
            .map(view)
            .collect()
    }

    fn domain_views(&self) -> Vec<DomainView> {
        let policy = plan_of(&self.head).0;
        let used = self.tally.domains.iter().filter(|domain| domain.group.targets > 0);
        let mut views: Vec<DomainView> = used
            .take(MOST_DOMAINS)
            .map(|domain| {
                let budget = &policy.budgets[usize::from(domain.budget)];
                let total = u64::from(domain.group.targets);
                DomainView {
                    label: budget.label.clone(),
                    value: domain.value.as_deref().map(str::to_owned),
                    total,
                    in_flight: u64::from(domain.group.moving),
                    unavailable: u64::from(domain.group.unavailable),
                    max_in_flight: budget.max_in_flight.map(|most| most.at_least_one(total)),
                    max_unavailable: budget.max_unavailable.map(|most| most.at_least_one(total)),
                }
            })
            .collect();
        views.sort_unstable_by(|a, b| (&a.label, &a.value).cmp(&(&b.label, &b.value)));
        views
    }

    /// Calls of this entity that wait for an answer now.
    #[must_use]
    pub fn open_calls(&self) -> Vec<CallView> {
        self.asked()
            .filter_map(|(call, about)| self.call_view(call, &about))
            .collect()
    }

    /// The calls that wait for an answer now, with all that is needed to ask; without those that are known already by id
    /// and try. Whether any wait at all is cheap to find out.
    #[must_use]
    pub fn calls_to_make(&self, known: impl Fn(u64, u32) -> bool) -> Vec<OpenCall> {
        let new = self.asked().filter(|(call, _)| !known(call.id, call.attempt));
        new.filter_map(|(call, about)| {
            Some(OpenCall {
                view: self.call_view(call, &about)?,
                targets: call.slots.iter().filter_map(|slot| self.call_target(slot)).collect(),
                analysis: about.analysis(call).cloned(),
            })
        })
        .collect()
    }

    /// The ids and tries of the calls that wait for an answer now.
    pub fn calls_under_way(&self) -> impl Iterator<Item = (u64, u32)> {
        self.asked().map(|(call, _)| (call.id, call.attempt))
    }

    fn asked(&self) -> impl Iterator<Item = (&Call, About<'_>)> {
        let open = self.head.open().into_iter();
        let calls = open.flat_map(|rollout| rollout.calls.iter().map(|call| (call, About::Rollout(rollout))));
        let told = self
            .head
            .facts
            .untold
            .iter()
            .map(|told| (&told.call, About::Untold(told)));
        calls
            .chain(told)
            .filter(|(call, _)| call.state == super::head::CallState::Asked)
    }

    /// The calls of a rollout, its rollback's hooks that have yet to be told among them.
    fn calls_of(&self, rollout: &Rollout) -> Vec<CallView> {
        let told = self.head.facts.untold.iter().filter(|told| told.rollout == rollout.id);
        let told = told.filter_map(|told| self.call_view(&told.call, &About::Untold(told)));
        let calls = rollout.calls.iter();
        calls
            .filter_map(|call| self.call_view(call, &About::Rollout(rollout)))
            .chain(told)
            .collect()
    }

    fn call_view(&self, call: &Call, about: &About<'_>) -> Option<CallView> {
        let kind = call_kind(call.kind);
        let analysis = about.analysis(call);
        let name = match kind {
            CallKind::Hook | CallKind::Analysis => call.name.clone(),
            CallKind::Selection => "selection".to_owned(),
            CallKind::Approval => "approval".to_owned(),
            CallKind::Removal => "removal".to_owned(),
            CallKind::Monitoring => "monitoring".to_owned(),
            CallKind::ExternalMonitoring => "externalMonitoring".to_owned(),
        };
        Some(CallView {
            id: call.id,
            kind,
            name,
            endpoint: about.endpoint(call)?,
            subject: CallSubject {
                gate: call.gate.map(gate_of),
                targets: call.slots.iter().filter_map(|slot| self.id(slot)).collect(),
                count: u64::from(call.count),
                query: analysis.map(|it| it.query.clone()),
                baseline_query: analysis.and_then(|it| it.baseline_query.clone()),
                ..about.subject(call)
            },
            since: Timestamp(call.since),
            attempt: call.attempt,
            asked_at: Timestamp(call.asked_at),
            due_at: Timestamp(call.due),
            error: call.detail.clone(),
        })
    }

    fn call_target(&self, slot: u32) -> Option<CallTarget> {
        let target = self.targets.get(slot)?;
        let (text, _) = split_traits(self.texts.traits.get(target.traits));
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Some(CallTarget {
            name: self.target_name(slot),
            group: self.group_name(target),
            version: self.version(target.version),
            health: target.health,
            is_error: target.health == Health::Unhealthy,
            message: self.texts.messages.get(target.message).to_owned(),
            labels: labels(text).map(owned).collect(),
        })
    }

    fn group_name(&self, target: &Target) -> GroupName {
        match GroupName::parse(self.texts.groups.get(target.group)).or_else(|_| GroupName::parse("")) {
            Ok(name) => name,
            Err(_) => unreachable!("no group is a group"),
        }
    }

    fn target_name(&self, slot: u32) -> TargetName {
        match TargetName::parse(self.targets.name(slot)).or_else(|_| TargetName::parse("?")) {
            Ok(name) => name,
            Err(_) => unreachable!("a mark is a name"),
        }
    }

    /// The target in a slot.
    #[must_use]
    pub fn id(&self, slot: u32) -> Option<TargetId> {
        let target = self.targets.get(slot)?;
        Some(TargetId {
            group: self.group_name(target),
            name: self.target_name(slot),
        })
    }

    /// Where a target stands, as it is shown: the rollout that is under way, or was last.
    pub(crate) fn phase(&self, target: &Target) -> Phase {
        let rollout = self.head.facts.rollout.as_deref();
        let current = rollout.is_some_and(|rollout| rollout.id == target.rollout);
        let open = self.head.open().is_some();
        match target.phase {
            Phase::Pinned => Phase::Pinned,
            phase if current => phase,
            _ if open && self.takes_part(target) => Phase::Pending,
            _ => Phase::Idle,
        }
    }

    fn takes_part(&self, target: &Target) -> bool {
        let policy = plan_of(&self.head).0;
        let joiner = self.head.open().is_some_and(|open| open.id == target.born);
        let with_joiners = policy.joiners == unisono_model::rollout::Joiners::Join;
        self.tally.home_of(target).is_some_and(|home| home != LEFT_OUT) && (with_joiners || !joiner)
    }

    /// What a target should do.
    #[must_use]
    pub fn instruction(&self, slot: u32) -> Option<Instruction> {
        let target = self.targets.get(slot)?;
        let told = self.guidance(target);
        Some(Instruction {
            group: self.group_name(target),
            name: self.target_name(slot),
            version: told.version,
            change: told.change,
            phase: told.phase,
            message: told.message,
        })
    }

    /// The slots of targets that fit, from a slot on: as many as asked for, out of those that are looked at by one call.
    /// Where to go on, if there may be more.
    #[must_use]
    pub fn find_all(&self, from: u64, limit: usize, filter: &TargetFilter) -> (Vec<u32>, Option<u64>) {
        let from = u32::try_from(from).unwrap_or(u32::MAX);
        let end = from.saturating_add(LOOKED_AT);
        let mut found = Vec::new();
        for (slot, target) in self.targets.iter_from(from) {
            if slot >= end || (found.len() == limit && self.fits(target, filter)) {
                return (found, Some(u64::from(slot)));
            }
            if self.fits(target, filter) {
                found.push(slot);
            }
        }
        (found, None)
    }

    /// The targets from a slot on, as far as they fit, a page of them. A page may hold fewer than asked for and still have
    /// a next one: one call looks at so many targets and no more.
    #[must_use]
    pub fn page(&self, from: u64, limit: usize, filter: &TargetFilter) -> TargetPage {
        let (slots, next) = self.find_all(from, limit, filter);
        let targets = slots.into_iter().filter_map(|slot| self.target_view(slot)).collect();
        TargetPage { targets, next }
    }

    fn fits(&self, target: &Target, filter: &TargetFilter) -> bool {
        let group = filter.group.as_deref();
        let version = filter.version.as_deref();
        group.is_none_or(|group| self.texts.groups.get(target.group) == group)
            && filter.health.is_none_or(|health| target.health == health)
            && filter.phase.is_none_or(|phase| self.phase(target) == phase)
            && version.is_none_or(|version| self.texts.versions.get(target.version) == version)
            && filter.drifted.is_none_or(|drifted| target.has(DRIFTED) == drifted)
            && filter
                .change
                .is_none_or(|change| self.is_told_to_change(target) == change)
            && (filter.labels.is_empty() || self.has_labels(target, &filter.labels))
    }

    fn is_told_to_change(&self, target: &Target) -> bool {
        let instructed = target.instructed();
        instructed != NONE && instructed != target.version
    }

    fn has_labels(&self, target: &Target, wanted: &[(String, String)]) -> bool {
        let (text, _) = split_traits(self.texts.traits.get(target.traits));
        let has = |(key, value): &(String, String)| labels(text).any(|it| it == (key.as_str(), value.as_str()));
        wanted.iter().all(has)
    }

    /// Everything about the target in a slot.
    #[must_use]
    pub fn target_view(&self, slot: u32) -> Option<TargetView> {
        let target = self.targets.get(slot)?;
        let (text, zone) = split_traits(self.texts.traits.get(target.traits));
        let phase = self.phase(target);
        let home = self.tally.home_of(target).unwrap_or(LEFT_OUT);
        let current = self
            .head
            .facts
            .rollout
            .as_deref()
            .is_some_and(|rollout| rollout.id == target.rollout);
        let wave = if current && target.attempts > 0 {
            target.wave
        } else {
            home
        };
        let plan = plan_of(&self.head).1.get(usize::from(wave));
        let instant = |time: i64| self.head.instant(time);
        Some(TargetView {
            group: self.group_name(target),
            name: self.target_name(slot),
            version: self.version(target.version),
            expected: self.version(target.instructed()),
            health: target.health,
            since: instant(target.since),
            phase,
            cause: target.cause().filter(|_| phase == Phase::Failed),
            wave: plan
                .filter(|_| phase != Phase::Idle && phase != Phase::Pinned)
                .map(|plan| plan.name.clone()),
            message: self.texts.messages.get(target.message).to_owned(),
            labels: labels(text)
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            time_zone: (!zone.is_empty()).then(|| zone.to_owned()),
            assigned_at: (target.expected != NONE && target.told_at != 0).then(|| instant(target.told_at)),
            due_at: (target.due != NEVER).then(|| instant(target.due)),
            attempts: if current { target.attempts } else { 0 },
            drifted: target.has(DRIFTED),
        })
    }

    /// For grids: of each slot from `from` on, the code of its phase and that of its health, at most `limit`; vacant slots
    /// are left out.
    #[must_use]
    pub fn grid(&self, from: u32, limit: usize) -> (Vec<(u8, u8)>, Option<u32>) {
        let mut all = self.targets.iter_from(from);
        let cells = all
            .by_ref()
            .take(limit)
            .map(|(_, target)| (self.phase(target).code(), target.health.code()))
            .collect();
        (cells, all.next().map(|(slot, _)| slot))
    }

    /// Targets as older controllers are answered: with the version that each should run.
    pub fn classic_targets<'a>(&'a self, slots: &'a [u32]) -> impl Iterator<Item = ClassicTarget> + 'a {
        let targets = slots.iter().filter_map(|slot| Some((*slot, self.targets.get(*slot)?)));
        targets.map(|(slot, target)| {
            let told = self.guidance(target);
            ClassicTarget {
                name: self.targets.name(slot).to_owned(),
                group: self.texts.groups.get(target.group).to_owned(),
                tags: String::new(),
                version: told.version,
                message: told.message,
                is_error: target.phase == Phase::Failed || target.phase == Phase::NotRecovered,
            }
        })
    }

    /// Where the entity stands, in the words of older controllers.
    #[must_use]
    pub fn classic_info(&self) -> ClassicInfo {
        let facts = &self.head.facts;
        let rolling = facts.rollout.as_deref().map(|rollout| &rollout.version);
        ClassicInfo {
            target_version: optional(facts.asked.as_ref()),
            rolling_version: optional(rolling),
            last_known_good_version: optional(facts.good.as_ref()),
            last_known_bad_version: optional(facts.bad.as_ref()),
            options: self.head.classic,
        }
    }
}

fn verdict_reason(code: u8, detail: &str, since: Option<i64>) -> Reason {
    Reason {
        code: ReasonCode::from_code(code).unwrap_or(ReasonCode::EndedBy),
        message: detail.to_owned(),
        fix: None,
        since: since.map(Timestamp),
        until: None,
    }
}

fn past_summary(past: &Past) -> RolloutSummary {
    RolloutSummary {
        id: past.id,
        version: surely(&past.version),
        from: optional(past.from.as_ref()),
        state: RolloutState::from_code(past.end.state).unwrap_or(RolloutState::Failed),
        actor: past.actor.clone(),
        created_at: Timestamp(past.created_at),
        started_at: past.started_at.map(Timestamp),
        ended_at: Some(Timestamp(past.ended_at)),
        verdict: Some(verdict_reason(past.end.code, &past.end.detail, Some(past.ended_at))),
        counts: counts_of(&past.end.phases),
    }
}
