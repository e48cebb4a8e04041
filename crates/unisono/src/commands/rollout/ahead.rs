//! Before anything moves: plans and simulations.

use clap::Args;
use unisono_client::Entity;
use unisono_model::document::Source;
use unisono_model::rollout::{FailureModel, PlanRequest, Policy, SimulateRequest, Version, read_policy_source};

use super::{Of, rollout_tone, set, version};
use crate::cli::{Global, ratio};
use crate::failure::Failure;
use crate::output::{Console, Grid, Tone, span};

/// What to plan.
#[derive(Args, Clone, Debug)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    of: Of,
    /// The version
    #[arg(value_parser = version)]
    version: Version,
    /// With the policy of this file [default: the entity's own]
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
}

/// What to simulate.
#[derive(Args, Clone, Debug)]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// The same seed gives the same simulation
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The share of targets that report errors on the version
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = ratio)]
    unhealthy: f64,
    /// The share that never reports again once it has the version
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = ratio)]
    silent: f64,
    /// The share that never takes the version
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = ratio)]
    stuck: f64,
    /// The share that reports an error once, and is well again
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = ratio)]
    flapping: f64,
    /// Seconds until a target has taken the version, in the median
    #[arg(long, value_name = "SECONDS", default_value_t = FailureModel::default().update_seconds)]
    update_seconds: f64,
    /// Seconds between two reports of a target
    #[arg(long, value_name = "SECONDS", default_value_t = FailureModel::default().report_seconds)]
    report_seconds: f64,
    /// With so many made-up targets [default: those of the entity]
    #[arg(long, value_name = "N")]
    targets: Option<u32>,
    /// Show what was decided as well
    #[arg(long)]
    events: bool,
}

impl PlanArgs {
    fn take(&self, global: &Global) -> Result<(Entity, Console, Option<Policy>), Failure> {
        let (entity, console) = self.of.entity(global)?;
        let policy = self.file.as_deref().map(policy).transpose()?;
        Ok((entity, console, policy))
    }
}

fn policy(file: &str) -> Result<Policy, Failure> {
    let source = set::read(file)?;
    let source = Source {
        name: source.name,
        text: source.text,
    };
    read_policy_source(&source).map_err(|mistakes| {
        let lines = mistakes.iter().map(|it| {
            format!(
                "{}:{}:{}: {}: {}; {}",
                it.file, it.line, it.column, it.path, it.message, it.help
            )
        });
        Failure::usage(lines.collect::<Vec<_>>().join("\n"), "correct the policy")
    })
}

/// Shows the waves and the numbers after rounding.
pub(super) async fn plan(args: PlanArgs, global: &Global) -> Result<(), Failure> {
    let (entity, console, policy) = args.take(global)?;
    let plan = entity
        .plan(&PlanRequest {
            version: args.version,
            policy,
        })
        .await?;
    if console.is_json() {
        return console.json(&plan);
    }
    let back = plan
        .rollback_to
        .as_ref()
        .map_or("nothing to go back to".to_owned(), |to| {
            format!("back to {to} if it fails")
        });
    console.line(format!(
        "version {} for {} targets, {} of which may fail; {back}; about {}",
        plan.version,
        plan.targets,
        plan.tolerated,
        span(plan.estimate_seconds * 1_000)
    ));
    console.line(console.paint(Tone::Quiet, &plan.estimate_basis));
    let heads = [
        "WAVE",
        "TARGETS",
        "THERE",
        "OUT OF REACH",
        "BATCHES",
        "MAY FAIL",
        "MAX UNAVAILABLE",
        "ABOUT",
        "WAITS FOR",
    ];
    let mut grid = Grid::new(console, &heads);
    for wave in &plan.waves {
        let steps = wave.batches.iter().map(|it| format!("{}×{}", it.times, it.targets));
        let batches = steps.collect::<Vec<_>>().join(", ");
        grid.row([
            wave.name.as_str().into(),
            wave.targets.to_string().into(),
            wave.already_there.to_string().into(),
            wave.out_of_reach.to_string().into(),
            format!("{batches} ({})", wave.rounding).into(),
            wave.tolerated.to_string().into(),
            wave.max_unavailable.map_or("-".to_owned(), |it| it.to_string()).into(),
            span(wave.estimate_seconds * 1_000).into(),
            if wave.waits_for.is_empty() {
                "-".to_owned()
            } else {
                wave.waits_for.join("; ")
            }
            .into(),
        ]);
    }
    console.line(grid.text());
    if plan.left_out > 0 {
        console.line(format!("{} targets are left out", plan.left_out));
    }
    for warning in &plan.warnings {
        console.line(format!("{} {warning}", console.paint(Tone::Waiting, "warning:")));
    }
    Ok(())
}

/// Shows how it went in a model of the world.
pub(super) async fn simulate(args: SimulateArgs, global: &Global) -> Result<(), Failure> {
    let (entity, console, policy) = args.plan.take(global)?;
    let default: SimulateRequest = serde_json::from_value(serde_json::json!({"version": args.plan.version}))
        .map_err(|error| Failure::work(error.to_string()))?;
    let request = SimulateRequest {
        policy,
        model: FailureModel {
            unhealthy: args.unhealthy,
            silent: args.silent,
            stuck: args.stuck,
            flapping: args.flapping,
            update_seconds: args.update_seconds,
            report_seconds: args.report_seconds,
        },
        seed: args.seed,
        targets: args.targets,
        ..default
    };
    let view = entity.simulate(&request).await?;
    if console.is_json() {
        return console.json(&view);
    }
    if args.events {
        for (seconds, what) in &view.events {
            console.line(format!("{:>8}  {what}", span(seconds * 1_000)));
        }
    }
    console.line(format!(
        "{} after {}, with seed {}: {} of {} targets had the version, {} failed; at most {} in flight and {} unavailable",
        console.paint(rollout_tone(view.state), view.state.as_str()),
        span(view.seconds * 1_000),
        view.seed,
        view.touched,
        view.counts.total,
        view.counts.failed + view.counts.not_recovered,
        view.most_in_flight,
        view.most_unavailable
    ));
    for reason in &view.reasons {
        console.line(format!("  {}  {}", reason.code, reason.message));
    }
    let mut grid = Grid::new(
        console,
        &["WAVE", "BEGAN", "ENDED", "DONE", "FAILED", "BACK", "PENDING"],
    );
    let at = |seconds: Option<u64>| seconds.map_or("-".to_owned(), |seconds| span(seconds * 1_000));
    for wave in &view.waves {
        grid.row([
            wave.name.as_str().into(),
            at(wave.began_seconds).into(),
            at(wave.ended_seconds).into(),
            wave.counts.done.to_string().into(),
            (wave.counts.failed + wave.counts.not_recovered).to_string().into(),
            wave.counts.rolled_back.to_string().into(),
            wave.counts.pending.to_string().into(),
        ]);
    }
    console.line(grid.text());
    Ok(())
}
