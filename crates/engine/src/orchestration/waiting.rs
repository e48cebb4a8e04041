//! What open runs wait for, in few words: what lists filter by. The view of a run says it in full.

use unisono_model::api::WaitReason;

use super::run::{Phase, Run, RunKey, ScheduledBecause};
use crate::State;
use crate::work::Served;

impl Run {
    /// What its activities wait for, each reason once, in order.
    pub(crate) fn waiting_for(&self, served: &Served) -> Vec<WaitReason> {
        let mut reasons = Vec::new();
        let mut add = |reason| {
            if let Err(place) = reasons.binary_search(&reason) {
                reasons.insert(place, reason);
            }
        };
        for (activity, record) in (0..).zip(&self.activities) {
            match &record.phase {
                Phase::Ready { .. } if served.has_agents(self.queue(activity)) => add(WaitReason::AgentsFull),
                Phase::Ready { .. } => add(WaitReason::NoAgent),
                Phase::Waiting { .. } => add(WaitReason::ExternalCall),
                Phase::Scheduled { because, .. } => {
                    add(WaitReason::Time);
                    if *because == ScheduledBecause::Retry {
                        add(WaitReason::Retry);
                    }
                }
                _ => {}
            }
        }
        reasons
    }
}

impl State {
    /// What each of these runs waits for; `None` for one that is not open. Stops behind the run with which `activities`
    /// have been looked at, so that there may be fewer answers than runs, but is one for the first.
    #[must_use]
    pub fn waiting_for(&self, runs: &[RunKey], activities: usize) -> Vec<Option<Vec<WaitReason>>> {
        let served = self.work.served();
        let mut left = activities;
        let mut answers = Vec::with_capacity(runs.len());
        for run in runs.iter().map(|key| self.runs.get(*key)) {
            if left == 0 {
                break;
            }
            left = left.saturating_sub(run.map_or(1, |run| run.activities.len()));
            answers.push(run.map(|run| run.waiting_for(&served)));
        }
        answers
    }
}
