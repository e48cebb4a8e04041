//! `unisono bench orchestrations`: durable throughput and latency, beside what the disk can do.
//!
//! The server and the agents are processes of their own, started from this binary, and the load
//! comes over HTTP; with in-process agents everything is in one process and nothing crosses a
//! socket. Every start and every result is durable before it is acknowledged, as always.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::quantiles::{MILLISECOND, Quantiles};
use super::system::{Disk, block_on, print_json, scratch};
use super::target::{Agents, STEP, Target, apply};
use crate::failure::Failure;
use crate::output::Format;

/// Measures durable orchestrations: how many in a second, how long each takes, and what the disk can do.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// What each orchestration is made of.
    #[arg(long, value_enum, default_value_t = Shape::Chain3)]
    pub(crate) shape: Shape,
    /// Orchestrations under way at the same time.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) concurrency: u32,
    /// How long to measure, in seconds, after one second of warming up.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Where the agents are.
    #[arg(long, value_enum, default_value_t = Agents::Websocket)]
    pub(crate) agents: Agents,
    /// Where to keep the data while it runs; a fresh folder for temporary files when left out. It must be on a real
    /// disk for the figures to mean anything.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// How to print the figures.
    #[arg(skip)]
    pub(crate) output: Format,
}

/// The shapes of orchestrations that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Shape {
    /// Three activities, one after the other.
    Chain3,
    /// Ten activities side by side.
    Fan10,
}

impl Shape {
    fn activities(self) -> u32 {
        match self {
            Self::Chain3 => 3,
            Self::Fan10 => 10,
        }
    }

    fn definitions(self) -> String {
        let mut text = format!("kind: ActivityDefinition\ntype: {STEP}\n---\ntype: bench\nactivities:\n");
        for index in 0..self.activities() {
            text.push_str(&format!("- id: step{index}\n  type: {STEP}\n"));
            if self == Self::Chain3 && index > 0 {
                text.push_str(&format!("  dependsOn: step{}\n", index - 1));
            }
        }
        text
    }
}

const WARM_UP: Duration = Duration::from_secs(1);
/// No orchestration of the bench takes this long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was measured.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    shape: Shape,
    agents: Agents,
    concurrency: u32,
    seconds: f64,
    runs: u64,
    runs_per_second: f64,
    activities_per_second: f64,
    latency_ms: Quantiles,
    disk: Disk,
    #[serde(rename = "serverRssMiB")]
    server_rss_mib: f64,
}

/// Runs the measurement and prints its figures.
///
/// # Errors
/// [`Failure::Work`] when it could not be carried out.
pub(crate) fn orchestrations(args: BenchArgs) -> Result<(), Failure> {
    block_on(run(&args))
}

async fn run(args: &BenchArgs) -> Result<(), Failure> {
    let directory = scratch(args.data.as_deref())?;
    let disk = Disk::measure(directory.path()).await?;
    let target = Target::start(args.agents, directory.path()).await?;
    let measured = measure(args, &target).await;
    let rss = target.process().resident_mib();
    target.stop().await;
    let (latencies, elapsed) = measured?;
    let runs = latencies.len() as u64;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let runs_per_second = runs as f64 / elapsed.as_secs_f64();
    let figures = Figures {
        shape: args.shape,
        agents: args.agents,
        concurrency: args.concurrency,
        seconds: elapsed.as_secs_f64(),
        runs,
        runs_per_second,
        activities_per_second: runs_per_second * f64::from(args.shape.activities()),
        latency_ms: Quantiles::of(latencies, MILLISECOND),
        disk,
        server_rss_mib: rss,
    };
    print(&figures, args.output == Format::Json)
}

/// Keeps the wanted number of orchestrations in flight; the latencies of those that ended while it
/// was measured.
async fn measure(args: &BenchArgs, target: &Target) -> Result<(Vec<Duration>, Duration), Failure> {
    apply(target.client(), args.shape.definitions()).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut starters = Vec::new();
    for _ in 0..args.concurrency {
        starters.push(target.starter().await?);
    }
    let begin = Instant::now() + WARM_UP;
    let mut workers = tokio::task::JoinSet::new();
    for mut starter in starters {
        let stop = Arc::clone(&stop);
        workers.spawn(async move {
            let mut latencies = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                starter.run("bench", PATIENCE).await?;
                if start >= begin {
                    latencies.push(start.elapsed());
                }
            }
            Ok::<_, Failure>(latencies)
        });
    }
    let end = begin + Duration::from_secs(args.seconds);
    tokio::time::sleep_until(end.into()).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    while let Some(latencies) = workers.join_next().await {
        let latencies = latencies.map_err(|error| Failure::work(format!("a worker failed: {error}")))?;
        all.extend(latencies?);
    }
    // The last ones ended after the time was over, and are counted with the time they took.
    Ok((all, begin.elapsed()))
}

fn print(figures: &Figures, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(figures);
    }
    let latency = &figures.latency_ms;
    println!(
        "{:.0} orchestrations/s, {:.0} activities/s, durable ({} ended in {:.1} s, {} in flight)",
        figures.runs_per_second, figures.activities_per_second, figures.runs, figures.seconds, figures.concurrency
    );
    println!(
        "latency of one: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        latency.p50, latency.p90, latency.p99, latency.max
    );
    figures.disk.print();
    println!("resident memory of the server: {:.0} MiB", figures.server_rss_mib);
    Ok(())
}
