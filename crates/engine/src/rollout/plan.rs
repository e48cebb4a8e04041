//! What a rollout would do, before anything moves.

use unisono_model::rollout::{
    Batch, Gate, Health, PlanView, PlannedWave, Policy, StartMode, StepView, Version, rounding,
};

use super::fleet::Fleet;
use super::head::Mark;
use super::verbs::home_by_labels;
use super::waves::{LEFT_OUT, WavePlan, waves};

/// What one target is taken to need when nothing is known, in seconds.
const ASSUMED_SECONDS: u64 = 60;
/// Batches that are listed.
const MOST_BATCHES: usize = 64;

#[derive(Clone, Copy, Default)]
struct Census {
    targets: u64,
    there: u64,
    out_of_reach: u64,
    /// Of a wave that takes only some: how many it could.
    selected: u64,
}

impl Fleet {
    /// What rolling out a version would do, by this policy or the entity's own.
    #[must_use]
    pub fn plan(&self, version: &Version, policy: Option<&Policy>) -> PlanView {
        let policy = policy.unwrap_or(&self.head.policy);
        let plans = waves(policy, false);
        let (census, left_out) = self.census(version, &plans);
        let total: u64 = census.iter().map(|it| it.targets).sum();
        let tolerated = policy.failure_tolerance.of(total);
        let (each, basis) = self.each_takes(policy);
        let planned: Vec<PlannedWave> = (0_u16..)
            .zip(plans.iter().zip(&census))
            .map(|(number, (plan, census))| {
                let mut wave = planned(plan, *census, policy, each);
                wave.max_unavailable = plan.max_unavailable.map(|most| most.at_least_one(census.targets));
                wave.tolerated = plan
                    .tolerance
                    .map_or(tolerated, |tolerance| tolerance.of(census.targets));
                wave.waits_for = waits_for(policy, plan, number);
                wave
            })
            .collect();
        PlanView {
            version: version.clone(),
            rollback_to: policy
                .rollback_to
                .clone()
                .or_else(|| {
                    self.head
                        .facts
                        .good
                        .as_deref()
                        .and_then(|good| Version::parse(good).ok())
                })
                .filter(|to| to != version),
            targets: total,
            left_out,
            tolerated,
            estimate_seconds: planned.iter().map(|wave| wave.estimate_seconds).sum(),
            estimate_basis: basis,
            warnings: self.warnings(version, policy, total, &planned),
            waves: planned,
        }
    }

    /// How many targets each wave would have, and how many none has.
    fn census(&self, version: &Version, plans: &[WavePlan]) -> (Vec<Census>, u64) {
        let mut census = vec![Census::default(); plans.len()];
        let mut left_out = 0;
        let id = self.version_id(version);
        let mut kinds = rustc_hash::FxHashMap::default();
        for (_, target) in self.targets.iter() {
            let kind = (target.traits, target.group);
            let (home, takes) = *kinds.entry(kind).or_insert_with(|| home_by_labels(self, plans, kind));
            for (wave, it) in census.iter_mut().enumerate() {
                it.selected += takes >> wave & 1;
            }
            if home == LEFT_OUT {
                left_out += 1;
                continue;
            }
            let it = &mut census[usize::from(home)];
            it.targets += 1;
            it.there += u64::from(target.version == id && !version.is_empty());
            it.out_of_reach += u64::from(matches!(
                target.health,
                Health::Unknown | Health::Offline | Health::Busy
            ));
        }
        take(&mut census, plans);
        (census, left_out)
    }

    /// What one target takes, in seconds, and where that is from.
    fn each_takes(&self, policy: &Policy) -> (u64, String) {
        let proof = policy.health.healthy_for_seconds;
        match self.head.facts.typical_ms {
            0 => (
                ASSUMED_SECONDS + proof,
                format!("{ASSUMED_SECONDS} seconds assumed for one target to change, and {proof} to prove itself"),
            ),
            known => {
                let seconds = u64::try_from(known / 1_000).unwrap_or(0).max(proof).max(1);
                (
                    seconds,
                    format!("{seconds} seconds for one target, as in earlier rollouts"),
                )
            }
        }
    }

    fn warnings(&self, version: &Version, policy: &Policy, total: u64, waves: &[PlannedWave]) -> Vec<String> {
        let mut warnings = Vec::new();
        if total == 0 {
            warnings.push("no target is known: it waits until one is".to_owned());
        }
        if let Some(bad) = self.head.marked(version).filter(|marked| marked.mark == Mark::Bad) {
            warnings.push(format!("the version is marked as bad: {}", bad.reason));
        }
        if policy.rollback_to.is_none() && self.head.facts.good.is_none() {
            warnings.push("there is no version to go back to: a failure freezes it".to_owned());
        }
        let unavailable = u64::from(self.tally.all.unavailable);
        if let Some(most) = policy.max_unavailable.map(|most| most.at_least_one(self.len() as u64))
            && unavailable >= most
        {
            warnings.push(format!(
                "{unavailable} targets are broken, and {most} may be: no healthy target would move"
            ));
        }
        for wave in waves.iter().filter(|wave| wave.targets == 0 && total > 0) {
            warnings.push(format!("wave \"{}\" has no targets", wave.name));
        }
        warnings
    }
}

/// Waves that take only some take them from those that would come later.
fn take(census: &mut [Census], plans: &[WavePlan]) {
    for wave in 0..plans.len() {
        let Some(amount) = plans[wave].take else { continue };
        let selected = census[wave].selected;
        let mut wanted = amount.at_least_one(selected).min(selected);
        census[wave].targets = census[wave].targets.min(wanted);
        wanted -= census[wave].targets;
        for later in wave + 1..plans.len() {
            let taken = wanted.min(census[later].targets);
            census[later].targets -= taken;
            census[wave].targets += taken;
            wanted -= taken;
        }
    }
}

fn planned(plan: &WavePlan, census: Census, policy: &Policy, each: u64) -> PlannedWave {
    let total = census.targets;
    let batches = batches(&plan.batch, total);
    let rounds: u64 = batches.iter().map(|step| step.times).sum();
    let bake = u64::try_from(plan.bake_ms / 1_000).unwrap_or(0);
    let rounding = match &plan.batch {
        Batch::Window(amount) => rounding(*amount, total),
        Batch::Steps(steps) => steps
            .iter()
            .map(|step| rounding(*step, total))
            .collect::<Vec<_>>()
            .join("; "),
        Batch::Growing(growth) => format!("from {}, times {}", rounding(growth.start, total), growth.factor),
    };
    PlannedWave {
        name: plan.name.clone(),
        targets: total,
        already_there: census.there.min(total),
        out_of_reach: census.out_of_reach.min(total),
        batches,
        rounding: match plan.take {
            Some(take) => format!("takes {}", unisono_model::rollout::rounding(take, census.selected)),
            None => rounding,
        },
        max_unavailable: None,
        tolerated: policy.failure_tolerance.of(total),
        estimate_seconds: rounds * each + bake,
        waits_for: Vec::new(),
    }
}

/// The batches of so many targets, equal neighbours put together.
fn batches(batch: &Batch, total: u64) -> Vec<StepView> {
    let (mut left, mut step) = (total, 0);
    let mut batches: Vec<StepView> = Vec::new();
    while left > 0 && batches.len() < MOST_BATCHES {
        let size = batch.size(step, total).min(left);
        // What repeats for ever is counted and not walked through.
        let repeats = !batch.is_stepped() || matches!(batch, Batch::Steps(steps) if step as usize + 1 >= steps.len());
        let times = if repeats { left / size } else { 1 };
        match batches.last_mut().filter(|last| last.targets == size) {
            Some(last) => last.times += times,
            None => batches.push(StepView { targets: size, times }),
        }
        left -= size * times;
        step += 1;
    }
    batches
}

fn waits_for(policy: &Policy, plan: &WavePlan, wave: u16) -> Vec<String> {
    let mut waits = Vec::new();
    let first = wave == 0;
    if first && policy.start == StartMode::Manual {
        waits.push("someone to start it".to_owned());
    }
    for needs in policy.depends_on.iter().filter(|_| first) {
        waits.push(format!("\"{}\" to run at least {}", needs.entity, needs.version));
    }
    if let Some(approval) = &policy.approval {
        let at = |gate| approval.at.contains(&gate);
        if (first && at(Gate::Start)) || at(Gate::Wave) {
            waits.push(format!("{} approvals", approval.required));
        }
    }
    for hook in &policy.hooks {
        if (first && hook.on.contains(&Gate::Start)) || hook.on.contains(&Gate::Wave) {
            waits.push(format!("hook \"{}\"", hook.name));
        }
    }
    if !policy.windows.is_empty() {
        waits.push("a maintenance window".to_owned());
    }
    if plan.manual {
        waits.push("someone to promote it, once it has moved".to_owned());
    }
    waits
}
