//! What was decided about rollouts.
//!
//! Texts stand in events as they are; `time` is the fleet's listening time in milliseconds (see the room's head), every
//! other instant is in milliseconds since the Unix epoch. A target is named by its slot, which its `Joined` gave it.

use minicbor::{Decode, Encode};
use unisono_model::name::Name;

use super::slots::Slots;
use crate::payload::Payload;

/// A fact about an entity, its targets and its rollouts. `entity` is the number that its `Created` gave it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RolloutEvent {
    /// An entity was named for the first time.
    #[n(0)]
    Created {
        /// Its number: counted in the partition from 1.
        #[n(0)]
        number: u32,
        /// Where.
        #[cbor(n(1), with = "crate::payload::name")]
        namespace: Name,
        /// Its name.
        #[n(2)]
        name: String,
    },
    /// Targets said something that was not known.
    #[n(1)]
    Reported {
        /// Which entity.
        #[n(0)]
        entity: u32,
        /// The listening time.
        #[n(1)]
        time: i64,
        /// The listening window in which it was heard.
        #[n(2)]
        window: u8,
        /// The texts that the others refer to, by place.
        #[n(3)]
        texts: Vec<String>,
        /// Targets seen for the first time.
        #[n(4)]
        joined: Vec<Joined>,
        /// Targets of which something changed, each once.
        #[n(5)]
        changes: Vec<Change>,
        /// Whether a listening window begins here: nobody was listened to before.
        #[n(6)]
        opens: bool,
        /// How long targets take to prove themselves, in milliseconds, as far as is known by now.
        #[n(7)]
        typical: Option<i64>,
    },
    /// A listening window ended.
    #[n(2)]
    Heard {
        /// Which entity.
        #[n(0)]
        entity: u32,
        /// The listening time.
        #[n(1)]
        time: i64,
        /// The window that ended.
        #[n(2)]
        window: u8,
        /// The window that begins.
        #[n(3)]
        next: u8,
        /// Who was heard in it.
        #[n(4)]
        heard: Slots,
        /// Who has not been heard for too long.
        #[n(5)]
        silent: Vec<Judgement>,
    },
    /// The time has come to decide about targets.
    #[n(3)]
    Judged {
        /// Which entity.
        #[n(0)]
        entity: u32,
        /// The listening time.
        #[n(1)]
        time: i64,
        /// What was decided.
        #[n(2)]
        judgements: Vec<Judgement>,
        /// How long targets take to prove themselves, in milliseconds, as far as is known by now.
        #[n(3)]
        typical: Option<i64>,
    },
    /// Targets were told a version.
    #[n(4)]
    Assigned {
        /// Which entity.
        #[n(0)]
        entity: u32,
        /// The listening time.
        #[n(1)]
        time: i64,
        /// For which rollout.
        #[n(2)]
        rollout: u32,
        /// In which wave.
        #[n(3)]
        wave: u16,
        /// Which version.
        #[n(4)]
        version: String,
        /// Whether they go back.
        #[n(5)]
        back: bool,
        /// Which targets.
        #[n(6)]
        slots: Slots,
        /// Within how many milliseconds they have to prove themselves.
        #[n(7)]
        deadline: i64,
        /// For how many milliseconds they have to be healthy for that.
        #[n(8)]
        healthy_for: i64,
        /// The call by which they were chosen.
        #[n(9)]
        call: Option<u64>,
    },
    /// Something was decided about the entity or its rollout.
    #[n(5)]
    Decided {
        /// Which entity.
        #[n(0)]
        entity: u32,
        /// The listening time.
        #[n(1)]
        time: i64,
        /// The rollout that it is about; 0 when it is about none.
        #[n(2)]
        rollout: u32,
        /// Who; nobody when the rules did.
        #[n(3)]
        actor: Option<String>,
        /// Why, in their words.
        #[n(4)]
        reason: Option<String>,
        /// What.
        #[n(5)]
        decision: Decision,
    },
    /// The node started, or had been stopped: for a while nobody listened, and that time does not count.
    #[n(6)]
    Restarted {
        /// Milliseconds in which nobody listened.
        #[n(0)]
        lost: i64,
        /// Whether what was heard before is still known: the node had only been stopped.
        #[n(1)]
        #[cbor(default)]
        stopped: bool,
    },
    /// Nothing may move, in a namespace or everywhere.
    #[n(7)]
    Frozen {
        /// The namespace; everywhere when absent.
        #[n(0)]
        namespace: Option<String>,
        /// Until when; until it is ended when absent.
        #[n(1)]
        until: Option<i64>,
        /// Who.
        #[n(2)]
        actor: Option<String>,
        /// Why.
        #[n(3)]
        reason: Option<String>,
    },
    /// A freeze is over.
    #[n(8)]
    Thawed {
        /// The namespace; everywhere when absent.
        #[n(0)]
        namespace: Option<String>,
        /// Who.
        #[n(1)]
        actor: Option<String>,
        /// Why.
        #[n(2)]
        reason: Option<String>,
    },
}

/// A target seen for the first time. Numbers of texts are places in the event's list.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Joined {
    /// The slot that it gets.
    #[n(0)]
    pub slot: u32,
    /// Its name.
    #[n(1)]
    pub name: String,
    /// Its group.
    #[n(2)]
    pub group: u32,
    /// Its labels and time zone.
    #[n(3)]
    pub traits: u32,
    /// The version that it runs.
    #[n(4)]
    pub version: Option<u32>,
    /// What it said.
    #[n(5)]
    pub said: u8,
    /// How it is.
    #[n(6)]
    pub health: u8,
    /// Its message.
    #[n(7)]
    pub message: Option<u32>,
    /// The rollout that was under way.
    #[n(8)]
    pub born: u32,
    /// The version that it is told.
    #[n(9)]
    pub expected: Option<u32>,
    /// When something is decided about it by itself, in listening time.
    #[n(10)]
    pub due: Option<i64>,
}

/// What changed about a target. What is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Change {
    /// Which.
    #[n(0)]
    pub slot: u32,
    /// The version that it runs.
    #[n(1)]
    pub version: Option<u32>,
    /// What it said.
    #[n(2)]
    pub said: Option<u8>,
    /// How often in a row it has said so.
    #[n(3)]
    pub streak: Option<u8>,
    /// How it is.
    #[n(4)]
    pub health: Option<u8>,
    /// Its message.
    #[n(5)]
    pub message: Option<u32>,
    /// Its labels and time zone.
    #[n(6)]
    pub traits: Option<u32>,
    /// What that means for the rollout.
    #[n(7)]
    pub outcome: Option<u8>,
    /// Why, where it failed.
    #[n(8)]
    pub cause: Option<u8>,
    /// When something is decided about it by itself; `i64::MAX` for never.
    #[n(9)]
    pub due: Option<i64>,
    /// The version that it is told.
    #[n(10)]
    pub expected: Option<u32>,
    /// What is remembered of it: see `Target`.
    #[n(11)]
    pub marks: Option<u8>,
    /// The rollout that the outcome is about.
    #[n(12)]
    pub rollout: Option<u32>,
}

/// What was decided about several targets at once.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Judgement {
    /// Which.
    #[n(0)]
    pub slots: Slots,
    /// For which rollout.
    #[n(1)]
    pub rollout: u32,
    /// What.
    #[n(2)]
    pub outcome: u8,
    /// Why, where they failed.
    #[n(3)]
    pub cause: u8,
    /// How they are now.
    #[n(4)]
    pub health: Option<u8>,
    /// When something is decided about them by itself, in listening time; never when absent.
    #[n(5)]
    pub due: Option<i64>,
}

/// Something that was decided about an entity or its rollout.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Decision {
    /// The policy is this now.
    #[n(0)]
    PolicySet {
        /// It, JSON.
        #[n(0)]
        policy: Payload,
        /// The options of an older controller that it was made of.
        #[n(1)]
        classic: Option<(i64, i64, i64, i64)>,
    },
    /// A rollout was made.
    #[n(1)]
    Planned {
        /// The version that it brings.
        #[n(0)]
        version: String,
        /// Whether plan, budgets and gates are left aside.
        #[n(1)]
        overriding: bool,
        /// Whether the version was marked as bad, and someone forced it.
        #[n(2)]
        forced: bool,
    },
    /// A version waits for the end of the rollout under way.
    #[n(2)]
    Queued {
        /// Which.
        #[n(0)]
        version: String,
        /// Whether the version is marked as bad, and someone forced it.
        #[n(1)]
        forced: bool,
    },
    /// Someone let a rollout begin that waits for it.
    #[n(3)]
    Started,
    /// A gate was passed.
    #[n(4)]
    Passed {
        /// Which: the code of a `Gate`.
        #[n(0)]
        gate: u8,
        /// Before or after which wave.
        #[n(1)]
        wave: u16,
    },
    /// A wave began.
    #[n(5)]
    Began {
        /// Which.
        #[n(0)]
        wave: u16,
        /// Its name.
        #[n(1)]
        name: String,
        /// How many targets it takes, where it takes only some.
        #[n(2)]
        take: Option<u32>,
    },
    /// The next batch of a wave began.
    #[n(6)]
    Stepped {
        /// Which, counted from 0.
        #[n(0)]
        step: u32,
    },
    /// A wave has moved, and is watched.
    #[n(7)]
    Baking {
        /// Until when, in listening time.
        #[n(0)]
        until: i64,
    },
    /// A wave has targets to move again.
    #[n(8)]
    Reopened,
    /// Someone let it go on.
    #[n(9)]
    Promoted,
    /// Someone approved what comes next.
    #[n(10)]
    Approved {
        /// How many had approved with this one.
        #[n(0)]
        count: u32,
    },
    /// Someone paused it.
    #[n(11)]
    Paused,
    /// Someone let it go on after a pause or a freeze.
    #[n(12)]
    Resumed,
    /// Something holds it.
    #[n(13)]
    Held {
        /// The code of the reason.
        #[n(0)]
        code: u8,
        /// What, for people.
        #[n(1)]
        detail: String,
    },
    /// Nothing holds it any more.
    #[n(14)]
    Released,
    /// The version is bad: this is what follows.
    #[n(15)]
    Failed {
        /// The code of the reason.
        #[n(0)]
        code: u8,
        /// Why, for people.
        #[n(1)]
        detail: String,
        /// What follows.
        #[n(2)]
        then: Then,
        /// The version to go back to.
        #[n(3)]
        to: Option<String>,
        /// Targets that had proved themselves.
        #[n(4)]
        proven: u32,
        /// Targets that had failed.
        #[n(5)]
        failed: u32,
        /// Whether the version is marked as bad.
        #[n(6)]
        bad: bool,
    },
    /// It is over.
    #[n(16)]
    Ended {
        /// How: the code of a `RolloutState`.
        #[n(0)]
        state: u8,
        /// The code of the reason.
        #[n(1)]
        code: u8,
        /// Why, for people.
        #[n(2)]
        detail: String,
        /// How many targets stood in which phase, by the phase's code.
        #[n(3)]
        phases: Vec<u32>,
    },
    /// Targets that failed are tried once more.
    #[n(17)]
    Retried {
        /// Which.
        #[n(0)]
        slots: Slots,
    },
    /// Targets were taken out.
    #[n(18)]
    Skipped {
        /// Which.
        #[n(0)]
        slots: Slots,
    },
    /// Targets were declared failed.
    #[n(19)]
    Condemned {
        /// Which.
        #[n(0)]
        slots: Slots,
    },
    /// Targets were tied to a version of their own.
    #[n(20)]
    Pinned {
        /// Which.
        #[n(0)]
        slots: Slots,
        /// To which version.
        #[n(1)]
        version: String,
    },
    /// Targets follow rollouts again.
    #[n(21)]
    Unpinned {
        /// Which.
        #[n(0)]
        slots: Slots,
    },
    /// A version is no longer marked as bad.
    #[n(22)]
    Cleared {
        /// Which.
        #[n(0)]
        version: String,
    },
    /// Targets were forgotten.
    #[n(23)]
    Forgot {
        /// Which.
        #[n(0)]
        slots: Slots,
        /// Of each wave: how many of them were members of the rollout, and how many had failed or were in flight.
        #[n(1)]
        waves: Vec<(u16, u32, u32)>,
        /// The call by which they were named.
        #[n(2)]
        call: Option<u64>,
    },
    /// Nothing of this entity may move.
    #[n(24)]
    Frozen {
        /// Until when; until it is ended when absent.
        #[n(0)]
        until: Option<i64>,
    },
    /// Its freeze is over.
    #[n(25)]
    Thawed,
    /// Something outside is asked. The call's id is the revision of this event.
    #[n(26)]
    Asked {
        /// What kind of answer is asked for.
        #[n(0)]
        kind: u8,
        /// The hook's or analysis's name; empty for controllers.
        #[n(1)]
        name: String,
        /// Before what.
        #[n(2)]
        gate: Option<u8>,
        /// About which wave.
        #[n(3)]
        wave: u16,
        /// About which targets.
        #[n(4)]
        slots: Slots,
        /// How many are wanted.
        #[n(5)]
        count: u32,
        /// When it counts as unreachable.
        #[n(6)]
        due: i64,
    },
    /// It answered.
    #[n(27)]
    Answered {
        /// Which call.
        #[n(0)]
        call: u64,
        /// What: go, refused, targets.
        #[n(1)]
        answer: u8,
        /// For people.
        #[n(2)]
        detail: String,
        /// The targets that it named.
        #[n(3)]
        slots: Slots,
        /// When it is asked again, where that is to be.
        #[n(4)]
        again: Option<i64>,
    },
    /// It did not answer.
    #[n(28)]
    Unanswered {
        /// Which call.
        #[n(0)]
        call: u64,
        /// What went wrong.
        #[n(1)]
        detail: String,
        /// When it is asked again.
        #[n(2)]
        again: i64,
    },
    /// It is asked again.
    #[n(29)]
    AskedAgain {
        /// Which call.
        #[n(0)]
        call: u64,
        /// When it counts as unreachable.
        #[n(1)]
        due: i64,
    },
    /// A measurement was judged.
    #[n(30)]
    Measured {
        /// Which call.
        #[n(0)]
        call: u64,
        /// Of which analysis.
        #[n(1)]
        name: String,
        /// What it says: passed, failed, inconclusive.
        #[n(2)]
        outcome: u8,
        /// Why, for people.
        #[n(3)]
        detail: String,
        /// When it measures next, in listening time.
        #[n(4)]
        next: i64,
    },
    /// A subscriber has received everything up to here.
    #[n(31)]
    Acknowledged {
        /// Which.
        #[n(0)]
        subscriber: String,
        /// Up to which entry of the history.
        #[n(1)]
        sequence: u64,
    },
    /// The version that waited no longer does.
    #[n(32)]
    Unqueued,
    /// A request that brought a key of its own was answered like this.
    #[n(33)]
    Remembered {
        /// The key.
        #[n(0)]
        key: String,
        /// A digest of what was asked.
        #[n(1)]
        digest: u64,
        /// The code of the verb.
        #[n(2)]
        verb: u8,
        /// What it did, for people.
        #[n(3)]
        message: String,
        /// Whether it changed anything else.
        #[n(4)]
        changed: bool,
        /// The rollout that it was about.
        #[n(5)]
        rollout: Option<u32>,
    },
    /// A subscriber could not be told.
    #[n(34)]
    Undelivered {
        /// Which.
        #[n(0)]
        subscriber: String,
        /// How often in a row.
        #[n(1)]
        tries: u32,
        /// Since when.
        #[n(2)]
        since: i64,
        /// Since when it refuses.
        #[n(3)]
        refused_since: Option<i64>,
        /// When it is tried again; it is parked when absent.
        #[n(4)]
        again: Option<i64>,
        /// What went wrong.
        #[n(5)]
        detail: String,
    },
    /// Someone lets a subscriber be told again.
    #[n(35)]
    DeliveryResumed {
        /// Which.
        #[n(0)]
        subscriber: String,
        /// What comes after this entry; what it has not received when absent.
        #[n(1)]
        after: Option<u64>,
    },
}

/// What follows when a version is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Then {
    /// It is over.
    #[n(0)]
    End,
    /// Nothing moves until someone decides.
    #[n(1)]
    Freeze,
    /// Targets go back in batches.
    #[n(2)]
    GoBack,
    /// Targets go back at once.
    #[n(3)]
    GoBackAtOnce,
}

impl Decision {
    /// Whether it is about what subscribers have received, and so nothing that a request could be based on.
    pub(crate) fn is_delivery(&self) -> bool {
        matches!(
            self,
            Self::Acknowledged { .. } | Self::Undelivered { .. } | Self::DeliveryResumed { .. }
        )
    }
}

/// Which targets are shown differently after an event.
pub enum Touched<'a> {
    /// None.
    None,
    /// These, each once or several times.
    Some(Box<dyn Iterator<Item = u32> + 'a>),
    /// Any of them.
    Any,
}

fn judged(judgements: &[Judgement]) -> impl Iterator<Item = u32> + '_ {
    judgements.iter().flat_map(|it| it.slots.iter())
}

impl RolloutEvent {
    /// Which targets are shown differently after it.
    #[must_use]
    pub fn touched(&self) -> Touched<'_> {
        match self {
            Self::Reported { joined, changes, .. } => {
                let joined = joined.iter().map(|it| it.slot);
                Touched::Some(Box::new(joined.chain(changes.iter().map(|it| it.slot))))
            }
            Self::Heard { silent, .. } => Touched::Some(Box::new(judged(silent))),
            Self::Judged { judgements, .. } => Touched::Some(Box::new(judged(judgements))),
            Self::Assigned { slots, .. } => Touched::Some(Box::new(slots.iter())),
            Self::Decided { decision, .. } => match decision {
                Decision::Planned { .. } | Decision::Ended { .. } | Decision::PolicySet { .. } => Touched::Any,
                Decision::Retried { slots }
                | Decision::Skipped { slots }
                | Decision::Condemned { slots }
                | Decision::Pinned { slots, .. }
                | Decision::Unpinned { slots }
                | Decision::Forgot { slots, .. } => Touched::Some(Box::new(slots.iter())),
                _ => Touched::None,
            },
            Self::Created { .. } | Self::Restarted { .. } | Self::Frozen { .. } | Self::Thawed { .. } => Touched::None,
        }
    }

    /// The entity that it is about, if it is about one.
    #[must_use]
    pub fn entity(&self) -> Option<u32> {
        match self {
            Self::Created { number: entity, .. }
            | Self::Reported { entity, .. }
            | Self::Heard { entity, .. }
            | Self::Judged { entity, .. }
            | Self::Assigned { entity, .. }
            | Self::Decided { entity, .. } => Some(*entity),
            Self::Restarted { .. } | Self::Frozen { .. } | Self::Thawed { .. } => None,
        }
    }
}
