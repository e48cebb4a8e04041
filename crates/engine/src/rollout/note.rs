//! The history of an entity: what was decided and by whom, for people, and for subscribers outside.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::rollout::{Cause, HistoryEntry, ReasonCode, RolloutState};

use super::event::{Change, Decision, Judgement, RolloutEvent as E, Then};
use super::gates::gate_name;
use super::target::Outcome;

/// Entries that are kept; older ones are dropped.
const KEPT: usize = 4_096;
/// Entries in one chunk, which is one row of a checkpoint.
pub(crate) const NOTE_CHUNK: u64 = 64;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Note {
    #[n(0)]
    pub(crate) sequence: u64,
    #[n(1)]
    pub(crate) revision: u64,
    #[n(2)]
    pub(crate) at: i64,
    #[n(3)]
    pub(crate) what: String,
    #[n(4)]
    pub(crate) rollout: u32,
    #[n(5)]
    pub(crate) message: String,
    #[n(6)]
    pub(crate) actor: Option<String>,
    #[n(7)]
    pub(crate) reason: Option<String>,
    /// The code of the rollout's state after it, where it changes that.
    #[n(8)]
    pub(crate) state: Option<u8>,
}

impl Note {
    pub(crate) fn view(&self) -> HistoryEntry {
        HistoryEntry {
            sequence: self.sequence,
            revision: Revision(self.revision),
            at: Timestamp(self.at),
            what: self.what.clone(),
            rollout: (self.rollout != 0).then_some(self.rollout),
            message: self.message.clone(),
            actor: self.actor.clone(),
            reason: self.reason.clone(),
            state: self.state.and_then(RolloutState::from_code),
        }
    }
}

/// The entries of one entity, by their number.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    entries: BTreeMap<u64, Note>,
    /// The number of the last entry. While a journal is replayed, later ones may be there already.
    last: u64,
    changed: Vec<u64>,
    /// Chunks whose rows have to be removed.
    gone: Vec<u64>,
}

impl Notes {
    /// An event that may be one to be remembered; whether it is.
    pub(crate) fn add(&mut self, revision: Revision, at: Timestamp, event: &E) -> bool {
        let Some(mut note) = of(event) else { return false };
        self.last += 1;
        if self.entries.contains_key(&self.last) {
            return true;
        }
        (note.sequence, note.revision, note.at) = (self.last, revision.0, at.0);
        let chunk = self.last / NOTE_CHUNK;
        if self.changed.last() != Some(&chunk) {
            self.changed.push(chunk);
        }
        self.entries.insert(self.last, note);
        // Whole chunks go, so that no row has to be written again for that.
        while self.entries.len() > KEPT + NOTE_CHUNK_USIZE
            && let Some(first) = self.entries.keys().next().map(|it| it / NOTE_CHUNK)
        {
            self.entries = self.entries.split_off(&((first + 1) * NOTE_CHUNK));
            self.gone.push(first);
        }
        true
    }

    /// The number of the last entry.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Entries after a number, the oldest first.
    pub(crate) fn after(&self, sequence: u64) -> impl DoubleEndedIterator<Item = &Note> {
        self.entries.range(sequence.saturating_add(1)..).map(|(_, note)| note)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Note> {
        self.entries.values()
    }

    pub(crate) fn take_changed(&mut self) -> Vec<u64> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.append(&mut self.gone);
        changed
    }

    /// The entries of a chunk; none when it is gone.
    pub(crate) fn chunk(&self, number: u64) -> Vec<Note> {
        let entries = self.entries.range(number * NOTE_CHUNK..(number + 1) * NOTE_CHUNK);
        entries.map(|(_, note)| note.clone()).collect()
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = u64> {
        let mut chunks: Vec<u64> = self.entries.keys().map(|it| it / NOTE_CHUNK).collect();
        chunks.dedup();
        chunks.into_iter()
    }

    /// Puts back a chunk that a checkpoint kept.
    pub(crate) fn load(&mut self, notes: Vec<Note>) {
        self.entries.extend(notes.into_iter().map(|note| (note.sequence, note)));
    }

    /// All rows were loaded: events after `revision` are replayed, and get the numbers that they had.
    pub(crate) fn loaded(&mut self, revision: Revision) {
        let known = self.entries.values().rev().find(|note| note.revision <= revision.0);
        let first = self.entries.keys().next().map_or(0, |first| first - 1);
        self.last = known.map_or(first, |note| note.sequence);
    }
}

const NOTE_CHUNK_USIZE: usize = 64;

/// What an entry says of an event. It depends on nothing but the event.
fn of(event: &E) -> Option<Note> {
    let (what, rollout, message, actor, reason, state) = match event {
        E::Created { name, .. } => {
            let message = format!("entity \"{name}\" was named for the first time");
            ("entityCreated", 0, message, None, None, None)
        }
        E::Reported { changes, .. } => {
            let (rollout, message) = failures_of_changes(changes)?;
            ("targetsFailed", rollout, message, None, None, None)
        }
        E::Judged { judgements, .. } | E::Heard { silent: judgements, .. } => {
            let (rollout, message) = failures(judgements)?;
            ("targetsFailed", rollout, message, None, None, None)
        }
        E::Decided {
            rollout,
            actor,
            reason,
            decision,
            ..
        } => {
            let (what, message, state) = decided(decision)?;
            (what, *rollout, message, actor.clone(), reason.clone(), state)
        }
        E::Assigned { .. } | E::Restarted { .. } | E::Frozen { .. } | E::Thawed { .. } => return None,
    };
    Some(Note {
        sequence: 0,
        revision: 0,
        at: 0,
        what: what.to_owned(),
        rollout,
        message,
        actor,
        reason,
        state: state.map(RolloutState::code),
    })
}

fn targets(count: u32) -> String {
    match count {
        1 => "1 target".to_owned(),
        count => format!("{count} targets"),
    }
}

fn failed(counts: &BTreeMap<u8, u32>) -> Option<String> {
    if counts.is_empty() {
        return None;
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(cause, count)| {
            let cause = Cause::from_code(*cause).map_or("unknown", Cause::as_str);
            format!("{} ({cause})", targets(*count))
        })
        .collect();
    Some(format!("failed: {}", parts.join(", ")))
}

fn failures_of_changes(changes: &[Change]) -> Option<(u32, String)> {
    let bad = || {
        changes
            .iter()
            .filter(|change| change.outcome == Some(Outcome::Failed as u8))
    };
    let rollout = bad().next()?.rollout.unwrap_or(0);
    let mut counts = BTreeMap::new();
    for change in bad() {
        *counts.entry(change.cause.unwrap_or(0)).or_default() += 1;
    }
    Some((rollout, failed(&counts)?))
}

fn failures(judgements: &[Judgement]) -> Option<(u32, String)> {
    let bad = || {
        judgements
            .iter()
            .filter(|it| it.outcome == Outcome::Failed as u8 && !it.slots.is_empty())
    };
    let rollout = bad().next()?.rollout;
    let mut counts = BTreeMap::new();
    for judgement in bad() {
        *counts.entry(judgement.cause).or_default() += judgement.slots.len();
    }
    Some((rollout, failed(&counts)?))
}

fn wave(number: u16) -> u32 {
    u32::from(number) + 1
}

/// The word, the sentence, and the state that the rollout has after it, where that is the point.
fn decided(decision: &Decision) -> Option<(&'static str, String, Option<RolloutState>)> {
    use RolloutState as S;
    let said = |what, message: String| Some((what, message, None));
    let becomes = |what, message: String, state| Some((what, message, Some(state)));
    match decision {
        Decision::PolicySet { classic, .. } => {
            let how = if classic.is_some() { " from four options" } else { "" };
            said("policySet", format!("the policy was set{how}"))
        }
        Decision::Planned {
            version,
            overriding,
            forced,
        } => {
            let how = match (overriding, forced) {
                (true, _) => ", without plan, budgets and gates",
                (false, true) => ", although it was marked as bad",
                (false, false) => "",
            };
            becomes(
                "planned",
                format!("version {version} is to be rolled out{how}"),
                S::Planned,
            )
        }
        Decision::Queued { version, .. } => said(
            "queued",
            format!("version {version} waits for the end of the rollout under way"),
        ),
        Decision::Started => said("started", "it was started".to_owned()),
        Decision::Passed { gate, wave: number } => said(
            "gatePassed",
            format!("the gate \"{}\" of wave {} was passed", gate_name(*gate), wave(*number)),
        ),
        Decision::Began {
            wave: number,
            name,
            take,
        } => {
            let some = take.map_or(String::new(), |take| format!(" with {}", targets(take)));
            becomes(
                "waveBegan",
                format!("wave {} (\"{name}\") began{some}", wave(*number)),
                S::Running,
            )
        }
        Decision::Stepped { step } => said("batchBegan", format!("batch {} began", step + 1)),
        Decision::Baking { .. } => becomes("baking", "the wave has moved and is watched".to_owned(), S::Baking),
        Decision::Reopened => becomes(
            "waveReopened",
            "the wave has targets to move again".to_owned(),
            S::Running,
        ),
        Decision::Promoted => said("promoted", "what comes next was promoted".to_owned()),
        Decision::Approved { count } => said("approved", format!("approval {count} was given")),
        Decision::Paused => becomes("paused", "it was paused".to_owned(), S::Paused),
        Decision::Resumed => said("resumed", "it goes on".to_owned()),
        Decision::Held { code, detail } => {
            let people = [ReasonCode::ApprovalNeeded, ReasonCode::PromotionNeeded];
            let waits = people.iter().any(|it| it.code() == *code);
            Some(("held", format!("held: {detail}"), waits.then_some(S::AwaitingApproval)))
        }
        Decision::Released => said("released", "nothing holds it any more".to_owned()),
        Decision::Failed { detail, then, to, .. } => {
            let to = to.as_deref().unwrap_or("nothing");
            let (follows, state) = match then {
                Then::End => ("targets keep what they run".to_owned(), S::Failed),
                Then::Freeze => ("nothing moves until someone decides".to_owned(), S::Frozen),
                Then::GoBack => (format!("targets go back to {to}, in batches"), S::RollingBack),
                Then::GoBackAtOnce => (format!("targets go back to {to}, at once"), S::RollingBack),
            };
            becomes("verdict", format!("{detail}; {follows}"), state)
        }
        Decision::Ended { state, detail, .. } => {
            let state = RolloutState::from_code(*state).unwrap_or(S::Failed);
            becomes(state.as_str(), detail.clone(), state)
        }
        Decision::Retried { slots } => said("retried", format!("{} are tried once more", targets(slots.len()))),
        Decision::Skipped { slots } => said("skipped", format!("{} were taken out", targets(slots.len()))),
        Decision::Condemned { slots } => said("condemned", format!("{} were declared failed", targets(slots.len()))),
        Decision::Pinned { slots, version } => said(
            "pinned",
            format!("{} were tied to version {version}", targets(slots.len())),
        ),
        Decision::Unpinned { slots } => said("unpinned", format!("{} follow rollouts again", targets(slots.len()))),
        Decision::Cleared { version } => said("badCleared", format!("version {version} is no longer marked as bad")),
        Decision::Forgot { slots, .. } => said("forgotten", format!("{} were forgotten", targets(slots.len()))),
        Decision::Frozen { until } => {
            let until = until.map_or("someone ends it".to_owned(), |until| Timestamp(until).to_string());
            said("frozen", format!("nothing moves until {until}"))
        }
        Decision::Thawed => said("thawed", "the freeze is over".to_owned()),
        Decision::Unqueued => said("unqueued", "the version that waited no longer does".to_owned()),
        Decision::Answered { detail, .. } if !detail.is_empty() => said("answered", detail.clone()),
        Decision::Unanswered { detail, .. } => said("unanswered", format!("no answer: {detail}")),
        Decision::Measured { name, detail, .. } => said("measured", format!("analysis \"{name}\": {detail}")),
        Decision::Undelivered {
            subscriber,
            again: None,
            detail,
            ..
        } => said(
            "subscriberParked",
            format!("subscriber \"{subscriber}\" was parked: {detail}"),
        ),
        Decision::DeliveryResumed { subscriber, .. } => said(
            "subscriberResumed",
            format!("subscriber \"{subscriber}\" is told again"),
        ),
        Decision::Remembered { .. }
        | Decision::Answered { .. }
        | Decision::Asked { .. }
        | Decision::AskedAgain { .. }
        | Decision::Acknowledged { .. }
        | Decision::Undelivered { .. } => None,
    }
}
