//! Numbers after rounding: how many may move, be unavailable, and fail.

use unisono_model::rollout::{Phase, ToleranceMode};

use super::fleet::Fleet;
use super::head::Rollout;
use super::tally::{Group, Room};

/// How a rollout stands against its limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Targets that take part, those that were forgotten among them.
    pub(crate) members: u64,
    /// How many may fail.
    pub(crate) tolerated: u64,
    /// How many have.
    pub(crate) failed: u64,
}

impl Fleet {
    fn limits_of(group: &Group, (gone, gone_failed): (u64, u64), tolerated: impl Fn(u64) -> u64) -> Limits {
        let members = group.members() + gone;
        Limits {
            members,
            tolerated: tolerated(members),
            failed: group.phase(Phase::Failed) + gone_failed,
        }
    }

    /// How the rollout as a whole stands.
    pub(crate) fn limits(&self, rollout: &Rollout) -> Limits {
        let tolerance = rollout.plan.policy.failure_tolerance;
        Self::limits_of(&self.tally.all, rollout.forgotten(None), |members| {
            tolerance.of(members)
        })
    }

    /// How a wave stands, where it has a tolerance of its own.
    pub(crate) fn wave_limits(&self, rollout: &Rollout, wave: u16) -> Option<Limits> {
        let tolerance = rollout.plan.waves.get(usize::from(wave))?.tolerance?;
        let group = self.tally.waves.get(usize::from(wave))?;
        let gone = rollout.forgotten(Some(wave));
        Some(Self::limits_of(group, gone, |members| tolerance.of(members)))
    }

    /// How many targets the wave has, or takes.
    pub(crate) fn wave_total(&self, rollout: &Rollout) -> u64 {
        let members = self
            .tally
            .waves
            .get(usize::from(rollout.wave))
            .map_or(0, Group::members);
        match rollout.take {
            Some(take) => u64::from(take),
            None => members + rollout.forgotten(Some(rollout.wave)).0,
        }
    }

    /// How many targets move at the same time now.
    pub(crate) fn batch(&self, rollout: &Rollout) -> u64 {
        let total = self.wave_total(rollout);
        let size = rollout
            .wave_plan()
            .map_or(1, |wave| wave.batch.size(rollout.step, total));
        size.min(total.max(1))
    }

    /// Targets of a wave that takes only some which it has taken.
    pub(crate) fn taken(&self, wave: u16) -> u64 {
        let group = self.tally.waves.get(usize::from(wave));
        group.map_or(0, |group| group.members() - group.phase(Phase::Pending))
    }

    /// How many targets may be told the version now.
    pub(crate) fn room(&self, rollout: &Rollout) -> Room {
        if rollout.overriding {
            return Room {
                targets: u64::MAX,
                available: u64::MAX,
            };
        }
        let Some(wave) = rollout.wave_plan() else {
            return Room {
                targets: 0,
                available: 0,
            };
        };
        let (batch, moving) = (self.batch(rollout), u64::from(self.tally.all.moving));
        let mut targets = batch.saturating_sub(moving);
        if wave.batch.is_stepped() {
            targets = targets.min(batch.saturating_sub(u64::from(rollout.step_told)));
        }
        if let Some(take) = rollout.take {
            targets = targets.min(u64::from(take).saturating_sub(self.taken(rollout.wave)));
        }
        if rollout.plan.policy.tolerance_mode == ToleranceMode::Strict {
            let all = self.limits(rollout);
            let in_wave = self.wave_limits(rollout, rollout.wave);
            for limits in [Some(all), in_wave].into_iter().flatten() {
                targets = targets.min(limits.tolerated.max(1).saturating_sub(limits.failed + moving));
            }
        }
        Room {
            targets,
            available: self.available(rollout),
        }
    }

    /// How many targets that are well may become unavailable.
    fn available(&self, rollout: &Rollout) -> u64 {
        let unavailable = |group: &Group| u64::from(group.unavailable);
        let all = self
            .max_unavailable(rollout)
            .map(|most| most.saturating_sub(unavailable(&self.tally.all)));
        let wave = self.wave_max_unavailable(rollout, rollout.wave).map(|most| {
            let group = self.tally.waves.get(usize::from(rollout.wave));
            most.saturating_sub(group.map_or(0, unavailable))
        });
        all.unwrap_or(u64::MAX).min(wave.unwrap_or(u64::MAX))
    }

    /// How many targets may be unavailable.
    pub(crate) fn max_unavailable(&self, rollout: &Rollout) -> Option<u64> {
        let most = rollout.plan.policy.max_unavailable?;
        Some(most.at_least_one(u64::from(self.tally.all.targets)))
    }

    /// How many targets of a wave may be unavailable.
    pub(crate) fn wave_max_unavailable(&self, rollout: &Rollout, wave: u16) -> Option<u64> {
        let most = rollout.plan.waves.get(usize::from(wave))?.max_unavailable?;
        let total = self
            .tally
            .waves
            .get(usize::from(wave))
            .map_or(0, |group| u64::from(group.targets));
        Some(most.at_least_one(total))
    }

    /// How many more targets may go back now.
    pub(crate) fn room_to_go_back(&self, rollout: &Rollout) -> u64 {
        let members = self.tally.all.members();
        let batch = rollout
            .wave_plan()
            .map_or(1, |wave| wave.batch.size(rollout.step, members));
        // What is broken already does not keep the rest from going back.
        let most = self.max_unavailable(rollout).unwrap_or(u64::MAX).min(batch);
        most.saturating_sub(u64::from(self.tally.all.moving))
    }

    /// How many targets stand in each phase, by its code.
    pub(crate) fn phases(&self) -> Vec<u32> {
        self.tally.all.phases.to_vec()
    }
}
