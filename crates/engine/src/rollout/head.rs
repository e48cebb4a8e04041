//! What is known of an entity besides its targets: policy, versions, and the rollout under way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use minicbor::{Decode, Encode};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;
use unisono_model::rollout::{ClassicOptions, EntityName, Health, Phase, Policy, ReasonCode, RolloutState};

use super::event::Decision;
use super::outbox::Undelivered;
use super::untold::Untold;
use super::waves::WavePlan;

/// Rollouts that are kept after their end.
const KEPT_ROLLOUTS: usize = 64;
/// Versions whose marks are kept.
const KEPT_VERSIONS: usize = 1_024;

/// An entity without its targets.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) number: u32,
    pub(crate) namespace: Name,
    pub(crate) name: EntityName,
    /// What the row that it was loaded from has seen already.
    pub(crate) seen: Revision,
    /// The last decision about it.
    pub(crate) revision: Revision,
    pub(crate) policy: Arc<Policy>,
    pub(crate) classic: Option<ClassicOptions>,
    /// Milliseconds in which nobody listened: listening time is the time less these.
    pub(crate) offset: i64,
    /// The listening window that is open.
    pub(crate) window: u8,
    /// When it was opened.
    pub(crate) window_began: i64,
    pub(crate) facts: Facts,
}

/// What rows keep of an entity, besides what its [`Head`] names itself.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub(crate) struct Facts {
    /// The last known good version.
    #[n(0)]
    pub(crate) good: Option<String>,
    /// The last known bad version.
    #[n(1)]
    pub(crate) bad: Option<String>,
    /// The version that was set last.
    #[n(2)]
    pub(crate) asked: Option<String>,
    /// The version that waits.
    #[n(3)]
    pub(crate) queued: Option<Queued>,
    /// The id of the last rollout.
    #[n(4)]
    pub(crate) last_rollout: u32,
    /// The rollout under way, or the last one.
    #[n(5)]
    pub(crate) rollout: Option<Box<Rollout>>,
    /// Rollouts that are over, the oldest first, without the last one.
    #[n(6)]
    pub(crate) past: VecDeque<Past>,
    /// Versions with their marks, in the order in which they were first marked.
    #[n(7)]
    pub(crate) versions: Vec<Marked>,
    /// How many times a version became good that was not good before.
    #[n(8)]
    pub(crate) goods: u32,
    /// The entity's own freeze.
    #[n(9)]
    pub(crate) freeze: Option<Freeze>,
    /// Up to which entry each subscriber has received the history.
    #[n(10)]
    pub(crate) received: BTreeMap<String, u64>,
    /// How long targets took from being told to proving themselves, in milliseconds; 0 when nothing is known.
    #[n(11)]
    pub(crate) typical_ms: i64,
    /// Requests that were answered, in case they come again.
    #[n(12)]
    pub(crate) requests: super::request::Requests,
    /// What could not be delivered, by subscriber.
    #[n(13)]
    #[cbor(default)]
    pub(crate) undelivered: BTreeMap<String, Undelivered>,
    /// Hooks that have yet to be told of a rollback that is over, the oldest first.
    #[n(14)]
    #[cbor(default)]
    pub(crate) untold: Vec<Untold>,
}

impl Facts {
    /// Answers may come later by so much: nobody was there to take them.
    pub(crate) fn wait_longer(&mut self, lost: i64) {
        let open = self.rollout.iter_mut().flat_map(|rollout| &mut rollout.calls);
        let calls = open.chain(self.untold.iter_mut().map(|told| &mut told.call));
        for call in calls.filter(|call| call.state == CallState::Asked) {
            call.due = call.due.saturating_add(lost);
        }
    }
}

/// A version that waits for the end of a rollout.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) struct Queued {
    #[n(0)]
    pub(crate) version: String,
    #[n(1)]
    pub(crate) actor: Option<String>,
    #[n(2)]
    pub(crate) reason: Option<String>,
    #[n(3)]
    pub(crate) forced: bool,
}

/// A freeze.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Freeze {
    #[n(0)]
    pub(crate) actor: Option<String>,
    #[n(1)]
    pub(crate) reason: Option<String>,
    #[n(2)]
    pub(crate) since: i64,
    #[n(3)]
    pub(crate) until: Option<i64>,
}

impl Freeze {
    pub(crate) fn is_over(&self, at: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= at.0)
    }
}

/// What is known of a version.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Marked {
    #[n(0)]
    pub(crate) version: String,
    #[n(1)]
    pub(crate) mark: Mark,
    #[n(2)]
    pub(crate) reason: String,
    #[n(3)]
    pub(crate) since: i64,
    #[n(4)]
    pub(crate) rollout: u32,
    #[n(5)]
    pub(crate) proven: u32,
    #[n(6)]
    pub(crate) failed: u32,
    /// Its place among the versions that became good, from 1; kept when it is bad later.
    #[n(7)]
    pub(crate) good_order: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum Mark {
    #[n(0)]
    Untried,
    #[n(1)]
    Good,
    #[n(2)]
    Bad,
}

/// A rollout that is over.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Past {
    #[n(0)]
    pub(crate) id: u32,
    #[n(1)]
    pub(crate) version: String,
    #[n(2)]
    pub(crate) from: Option<String>,
    #[n(3)]
    pub(crate) actor: Option<String>,
    #[n(4)]
    pub(crate) created_at: i64,
    #[n(5)]
    pub(crate) started_at: Option<i64>,
    #[n(6)]
    pub(crate) ended_at: i64,
    #[n(7)]
    pub(crate) end: End,
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct End {
    /// The code of its state.
    #[n(0)]
    pub(crate) state: u8,
    #[n(1)]
    pub(crate) code: u8,
    #[n(2)]
    pub(crate) detail: String,
    /// How many targets stood in which phase, by the phase's code.
    #[n(3)]
    pub(crate) phases: Vec<u32>,
}

/// Where a rollout stands, besides pauses and what holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum Stage {
    /// Nothing has moved.
    #[n(0)]
    Planned,
    /// A wave moves.
    #[n(1)]
    Running,
    /// A wave has moved, and is watched.
    #[n(2)]
    Baking,
    /// Targets go back.
    #[n(3)]
    RollingBack,
    /// It has failed, and waits for someone.
    #[n(4)]
    Frozen,
    /// It is over.
    #[n(5)]
    Ended,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) struct Rollout {
    #[n(0)]
    pub(crate) id: u32,
    #[n(1)]
    pub(crate) version: String,
    /// The last known good version when it was made.
    #[n(2)]
    pub(crate) from: Option<String>,
    #[n(3)]
    pub(crate) actor: Option<String>,
    #[n(4)]
    pub(crate) reason: Option<String>,
    #[n(5)]
    pub(crate) created_at: i64,
    #[n(6)]
    pub(crate) started_at: Option<i64>,
    #[n(7)]
    pub(crate) ended_at: Option<i64>,
    /// Whether plan, budgets and gates are left aside.
    #[n(8)]
    pub(crate) overriding: bool,
    #[n(9)]
    pub(crate) stage: Stage,
    /// Who paused it, and when.
    #[n(10)]
    pub(crate) paused: Option<Pause>,
    #[n(11)]
    pub(crate) hold: Option<Hold>,
    /// Whether someone said start, where that is needed.
    #[n(12)]
    pub(crate) started: bool,
    #[n(13)]
    pub(crate) wave: u16,
    #[n(14)]
    pub(crate) step: u32,
    /// Targets told in this step.
    #[n(15)]
    pub(crate) step_told: u32,
    /// How many targets the wave takes, where it takes only some.
    #[n(16)]
    pub(crate) take: Option<u32>,
    /// When the wave began, in listening time.
    #[n(17)]
    pub(crate) wave_began: i64,
    /// Until when it is watched, in listening time.
    #[n(18)]
    pub(crate) bake_until: i64,
    /// The last progress, in listening time; moved on by the time for which it was held or paused.
    #[n(19)]
    pub(crate) progress_at: i64,
    /// Gates passed since the wave began, by code.
    #[n(20)]
    pub(crate) passed: Vec<u8>,
    /// Who approved what comes next, and when.
    #[n(21)]
    pub(crate) approvals: Vec<(String, i64)>,
    #[n(22)]
    pub(crate) promoted: bool,
    #[n(23)]
    pub(crate) calls: Vec<Call>,
    #[n(24)]
    pub(crate) analyses: BTreeMap<String, Measurements>,
    /// What the external monitor said last.
    #[n(25)]
    pub(crate) external: External,
    #[n(26)]
    pub(crate) verdict: Option<Verdict>,
    /// Of each wave: targets that were forgotten, as members and as failures.
    #[n(27)]
    pub(crate) forgotten: BTreeMap<u16, (u32, u32)>,
    /// Targets that were removed because others had proved themselves.
    #[n(28)]
    pub(crate) removed: u32,
    #[n(29)]
    pub(crate) end: Option<End>,
    /// The policy that it follows, JSON.
    #[n(30)]
    pub(crate) policy: crate::payload::Payload,
    /// The policy read, and the waves that follow from it. Derived.
    #[cbor(skip)]
    pub(crate) plan: Plan,
}

/// What a rollout follows: derived from its policy text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) policy: Arc<Policy>,
    pub(crate) waves: Arc<[WavePlan]>,
}

/// It is derived, so it is no difference.
impl PartialEq for Plan {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Pause {
    #[n(0)]
    pub(crate) actor: Option<String>,
    #[n(1)]
    pub(crate) reason: Option<String>,
    #[n(2)]
    pub(crate) since: i64,
    /// The same in listening time.
    #[n(3)]
    pub(crate) time: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Hold {
    #[n(0)]
    pub(crate) code: u8,
    #[n(1)]
    pub(crate) detail: String,
    #[n(2)]
    pub(crate) since: i64,
    /// The same in listening time.
    #[n(3)]
    pub(crate) time: i64,
}

impl Hold {
    pub(crate) fn code(&self) -> ReasonCode {
        ReasonCode::from_code(self.code).unwrap_or(ReasonCode::Freeze)
    }
}

/// Why a rollout failed, from the moment it did.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Verdict {
    #[n(0)]
    pub(crate) code: u8,
    #[n(1)]
    pub(crate) detail: String,
    #[n(2)]
    pub(crate) at: i64,
    #[n(3)]
    pub(crate) to: Option<String>,
    #[n(4)]
    pub(crate) at_once: bool,
    /// Whether it is over with this.
    #[n(5)]
    pub(crate) ends: bool,
}

/// What something outside is asked.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Call {
    #[n(0)]
    pub(crate) id: u64,
    #[n(1)]
    pub(crate) kind: u8,
    #[n(2)]
    pub(crate) name: String,
    #[n(3)]
    pub(crate) gate: Option<u8>,
    #[n(4)]
    pub(crate) wave: u16,
    #[n(5)]
    pub(crate) slots: super::slots::Slots,
    #[n(6)]
    pub(crate) count: u32,
    #[n(7)]
    pub(crate) attempt: u32,
    #[n(8)]
    pub(crate) asked_at: i64,
    /// When it counts as unreachable, or is asked again.
    #[n(9)]
    pub(crate) due: i64,
    #[n(10)]
    pub(crate) state: CallState,
    #[n(11)]
    pub(crate) detail: Option<String>,
    /// What it answered, where it named targets.
    #[n(12)]
    pub(crate) named: super::slots::Slots,
    /// What became of the last try, while it is asked again.
    #[n(13)]
    #[cbor(default)]
    pub(crate) was: CallState,
    /// When it was asked for the first time.
    #[n(14)]
    #[cbor(default)]
    pub(crate) since: i64,
}

impl Call {
    /// Where it stands: while it is asked again, where it stood before.
    pub(crate) fn standing(&self) -> CallState {
        if self.state == CallState::Asked {
            self.was
        } else {
            self.state
        }
    }

    /// It did not answer, or is asked again.
    pub(crate) fn follow(&mut self, at: Timestamp, decision: &Decision) {
        match decision {
            Decision::Unanswered { detail, again, .. } => {
                (self.state, self.due) = (CallState::Unreachable, *again);
                self.detail = Some(detail.clone());
            }
            Decision::AskedAgain { due, .. } => {
                (self.was, self.state, self.due, self.asked_at) = (self.state, CallState::Asked, *due, at.0);
                self.attempt = self.attempt.saturating_add(1);
            }
            _ => {}
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum CallState {
    /// An answer may come.
    #[n(0)]
    #[default]
    Asked,
    /// No answer came; it is asked again.
    #[n(1)]
    Unreachable,
    /// Yes, or these targets.
    #[n(2)]
    Answered,
    /// No; it is asked again.
    #[n(3)]
    Refused,
}

/// Where an analysis stands in a wave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Measurements {
    #[n(0)]
    pub(crate) passed: u32,
    #[n(1)]
    pub(crate) failed: u32,
    #[n(2)]
    pub(crate) inconclusive: u32,
    /// When it measures next, in listening time.
    #[n(3)]
    pub(crate) next: i64,
    #[n(4)]
    pub(crate) last: String,
}

/// What the external monitor said last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct External {
    /// Whether it said that the whole is well; nothing when it was never asked.
    #[n(0)]
    pub(crate) well: Option<bool>,
    #[n(1)]
    pub(crate) detail: String,
    /// When it is asked next, in listening time.
    #[n(2)]
    pub(crate) next: i64,
}

impl Rollout {
    pub(crate) fn is_open(&self) -> bool {
        self.stage != Stage::Ended
    }

    /// Whether it brings the version, or may yet.
    pub(crate) fn is_forward(&self) -> bool {
        matches!(self.stage, Stage::Planned | Stage::Running | Stage::Baking)
    }

    /// The word for where it stands.
    pub(crate) fn state(&self) -> RolloutState {
        if let Some(end) = &self.end {
            return RolloutState::from_code(end.state).unwrap_or(RolloutState::Failed);
        }
        if self.paused.is_some() {
            return RolloutState::Paused;
        }
        let held = self.hold.as_ref().map(Hold::code);
        let people = matches!(held, Some(ReasonCode::ApprovalNeeded | ReasonCode::PromotionNeeded));
        match self.stage {
            Stage::Planned | Stage::Running | Stage::Baking if people => RolloutState::AwaitingApproval,
            Stage::Planned => RolloutState::Planned,
            Stage::Running => RolloutState::Running,
            Stage::Baking => RolloutState::Baking,
            Stage::RollingBack => RolloutState::RollingBack,
            Stage::Frozen => RolloutState::Frozen,
            Stage::Ended => RolloutState::Failed,
        }
    }

    pub(crate) fn wave_plan(&self) -> Option<&WavePlan> {
        self.plan.waves.get(usize::from(self.wave))
    }

    /// Members of a wave, or of all, that were forgotten, and those of them that count as failures.
    pub(crate) fn forgotten(&self, wave: Option<u16>) -> (u64, u64) {
        let of = self
            .forgotten
            .iter()
            .filter(|(it, _)| wave.is_none_or(|wave| wave == **it));
        of.fold((0, 0), |(members, failed), (_, (more, bad))| {
            (members + u64::from(*more), failed + u64::from(*bad))
        })
    }
}

impl Head {
    /// The listening time.
    pub(crate) fn time(&self, at: Timestamp) -> i64 {
        at.0 - self.offset
    }

    /// The instant at which it will be this listening time, if everything goes on.
    pub(crate) fn instant(&self, time: i64) -> Timestamp {
        Timestamp(time.saturating_add(self.offset))
    }

    /// The rollout that is under way.
    pub(crate) fn open(&self) -> Option<&Rollout> {
        self.facts.rollout.as_deref().filter(|rollout| rollout.is_open())
    }

    pub(crate) fn marked(&self, version: &str) -> Option<&Marked> {
        self.facts.versions.iter().find(|marked| marked.version == version)
    }

    /// Remembers what is known of a version.
    pub(crate) fn mark(&mut self, mut marked: Marked) {
        let facts = &mut self.facts;
        let known = facts.versions.iter().position(|it| it.version == marked.version);
        marked.good_order = known.and_then(|place| facts.versions[place].good_order);
        if marked.mark == Mark::Good && marked.good_order.is_none() {
            facts.goods += 1;
            marked.good_order = Some(facts.goods);
        }
        match known {
            Some(place) => facts.versions[place] = marked,
            None => facts.versions.push(marked),
        }
        if facts.versions.len() > KEPT_VERSIONS {
            let needed = |it: &Marked| facts.good.as_deref() == Some(&it.version) || it.mark == Mark::Bad;
            let oldest = facts.versions.iter().position(|it| !needed(it)).unwrap_or(0);
            facts.versions.remove(oldest);
        }
    }

    /// Puts the last rollout among those that are over.
    pub(crate) fn retire(&mut self) {
        let Some(rollout) = self.facts.rollout.take() else {
            return;
        };
        if let Some(end) = rollout.end {
            self.facts.past.push_back(Past {
                id: rollout.id,
                version: rollout.version,
                from: rollout.from,
                actor: rollout.actor,
                created_at: rollout.created_at,
                started_at: rollout.started_at,
                ended_at: rollout.ended_at.unwrap_or(rollout.created_at),
                end,
            });
        }
        if self.facts.past.len() > KEPT_ROLLOUTS {
            self.facts.past.pop_front();
        }
    }
}

/// How many phases and healths there are, for tables by their codes.
pub(crate) const PHASES: usize = Phase::ALL.len();
pub(crate) const HEALTHS: usize = Health::ALL.len();
