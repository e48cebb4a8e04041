//! `unisono bench rollout`: a very large fleet in the middle of a rollout.
//!
//! What is decided is measured in this process, without a server; what is durable, and the restart, through a server of its
//! own with its journal, over HTTP.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;
use serde::Serialize;
use unisono_client::{Basis, Entity};
use unisono_engine::rollout::workload::Workload;
use unisono_model::rollout::{Report, TargetId, VerbRequest, Version, read_policy};

use super::quantiles::{MICROSECOND, Quantiles};
use super::system::{Disk, Process, block_on, print_json, scratch};
use super::target::{CHECKPOINT_BYTES, Server};
use crate::failure::Failure;
use crate::output::Format;

/// Single reports that are timed.
const SINGLE: usize = 20_000;
/// Times that everything is looked at.
const EVALUATIONS: u32 = 100;
/// Targets in one request.
const TOGETHER: usize = 10_000;
/// Requests under way at the same time.
const CONTROLLERS: usize = 4;

/// Measures rollouts: what a report costs, how many are durable, and the restart.
#[derive(Args, Clone, Debug)]
pub(crate) struct RolloutArgs {
    /// Targets of the fleet.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(100..=4_000_000))]
    pub(crate) targets: u32,
    /// Where to keep the data while it runs; a fresh folder for temporary files when left out. It must be on a real
    /// disk for the figures to mean anything.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// How to print the figures.
    #[arg(skip)]
    pub(crate) output: Format,
}

/// What was measured.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    targets: u32,
    #[serde(flatten)]
    decided: Decided,
    #[serde(flatten)]
    served: Served,
    disk: Disk,
}

/// In this process.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Decided {
    /// One report, with everything that follows from it decided, encoded and folded.
    report_decide_us: Quantiles,
    /// A million reports that say nothing new, in commands as the API makes them.
    million_reports_seconds: f64,
    /// The same of which each says something new.
    million_new_reports_seconds: f64,
    full_evaluation_ms: f64,
    /// Resident memory that the fleet took, without its names.
    bytes_per_target: f64,
}

/// Through a server.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Served {
    /// Each says something new, and is in the journal before it is answered.
    durable_reports_per_second: f64,
    /// From the start of the program after `kill -9` until it has told of the rollout.
    restart_seconds: f64,
    #[serde(rename = "serverRssMiB")]
    server_rss_mib: f64,
}

/// Runs the measurement and prints its figures.
///
/// # Errors
/// [`Failure::Work`] when it could not be carried out.
pub(crate) fn rollout(args: RolloutArgs) -> Result<(), Failure> {
    // Before there is anything else in this process, so that its memory is the fleet's.
    let decided = decided(args.targets as usize);
    block_on(run(args, decided))
}

async fn run(args: RolloutArgs, decided: Decided) -> Result<(), Failure> {
    let directory = scratch(args.data.as_deref())?;
    let disk = Disk::measure(directory.path()).await?;
    let mut server = Server::start(&directory.path().join("data"), CHECKPOINT_BYTES).await?;
    let served = served(args.targets as usize, &mut server).await;
    server.kill().await;
    let figures = Figures {
        targets: args.targets,
        decided,
        served: served?,
        disk,
    };
    match args.output {
        Format::Table => {
            print(&figures);
            Ok(())
        }
        _ => print_json(&figures),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts become figures")]
fn decided(targets: usize) -> Decided {
    let process = Process(std::process::id());
    let before = process.resident_mib();
    let mut workload = Workload::new(targets);
    let bytes = (process.resident_mib() - before) * 1024.0 * 1024.0 - workload.name_bytes() as f64;
    let rounds = 1_000_000_usize.div_ceil(targets);
    let a_million = 1_000_000.0 / (targets * rounds) as f64;
    let unchanged = workload.parts("v1", "running");
    let begin = Instant::now();
    for part in unchanged.iter().cycle().take(unchanged.len() * rounds) {
        workload.report(Arc::clone(part));
    }
    let million_reports_seconds = begin.elapsed().as_secs_f64() * a_million;
    drop(unchanged);
    let report_decide_us = singly(&mut workload);
    let begin = Instant::now();
    for _ in 0..EVALUATIONS {
        workload.evaluate();
    }
    let full_evaluation_ms = begin.elapsed().as_secs_f64() * 1e3 / f64::from(EVALUATIONS);
    let mut news = Duration::ZERO;
    for _ in 0..rounds {
        let parts = workload.news();
        let begin = Instant::now();
        parts.into_iter().for_each(|part| workload.report(part));
        news += begin.elapsed();
    }
    Decided {
        report_decide_us,
        million_reports_seconds,
        million_new_reports_seconds: news.as_secs_f64() * a_million,
        full_evaluation_ms,
        bytes_per_target: bytes / targets as f64,
    }
}

/// Targets that prove themselves one after the other, so that each time another one is told.
fn singly(workload: &mut Workload) -> Quantiles {
    let mut times = Vec::with_capacity(SINGLE);
    for _ in 0..SINGLE {
        let begin = Instant::now();
        if !workload.report_one() {
            break;
        }
        times.push(begin.elapsed());
    }
    Quantiles::of(times, MICROSECOND)
}

async fn served(targets: usize, server: &mut Server) -> Result<Served, Failure> {
    let entity = server.client.entity("fleet");
    let names: Vec<String> = (0..targets).map(|number| format!("host-{number:07}.example")).collect();
    set_policy(&entity, r#"{"batch": "1%", "health": {"healthyForSeconds": 0}}"#).await?;
    report(&entity, &names, "running").await?;
    set_version(&entity, "v1").await?;
    let policy = r#"{"batch": "1%", "maxUnavailable": "5%", "failureTolerance": "1%", "progressDeadlineSeconds": null,
        "health": {"healthyForSeconds": 0, "deadlineSeconds": 86400, "silentAfterSeconds": 86400}}"#;
    set_policy(&entity, policy).await?;
    set_version(&entity, "v2").await?;
    let begin = Instant::now();
    report(&entity, &names, "news").await?;
    #[expect(clippy::cast_precision_loss, reason = "a count becomes a figure")]
    let durable_reports_per_second = targets as f64 / begin.elapsed().as_secs_f64();
    let server_rss_mib = server.process().resident_mib();
    server.kill().await;
    let begin = Instant::now();
    server.restart().await?;
    let found = server.client.entity("fleet").rollout().await?.summary.counts.total;
    let restart_seconds = begin.elapsed().as_secs_f64();
    if found != targets as u64 {
        return Err(Failure::work(format!(
            "{found} of {targets} targets are there after the restart"
        )));
    }
    for name in names.iter().step_by(targets / 100) {
        let target = TargetId::parse("web", name).map_err(|error| Failure::work(error.to_string()))?;
        let says = entity.target(&target).await?.message;
        if says != "news" {
            return Err(Failure::work(format!(
                "{name} says \"{says}\" after the restart: a report was lost"
            )));
        }
    }
    Ok(Served {
        durable_reports_per_second,
        restart_seconds,
        server_rss_mib,
    })
}

async fn set_policy(entity: &Entity, json: &str) -> Result<(), Failure> {
    let policy = read_policy(json).map_err(|_| Failure::work("the policy of the bench is none".to_owned()))?;
    entity.set_policy(&policy, None, &Basis::default()).await?;
    Ok(())
}

async fn set_version(entity: &Entity, version: &str) -> Result<(), Failure> {
    let request = VerbRequest {
        version: Version::parse(version).ok(),
        ..VerbRequest::default()
    };
    entity.set_version(&request, &Basis::default()).await?;
    Ok(())
}

/// Every target says that it runs v1 and is well, with this message; several controllers report at the same time.
async fn report(entity: &Entity, names: &[String], message: &str) -> Result<(), Failure> {
    let share = names.len().div_ceil(CONTROLLERS);
    let controllers = names.chunks(share).map(|mine| async move {
        for part in mine.chunks(TOGETHER) {
            let reports: Vec<Report<'_>> = part
                .iter()
                .map(|name| Report {
                    name: name.as_str().into(),
                    group: "web".into(),
                    version: Some("v1".into()),
                    message: message.into(),
                    ..Report::default()
                })
                .collect();
            entity.report(&reports).await?;
        }
        Ok::<(), Failure>(())
    });
    try_join_all(controllers).await?;
    Ok(())
}

fn print(figures: &Figures) {
    let (decided, served) = (&figures.decided, &figures.served);
    println!(
        "{} targets: one report decided in {:.1} us (p50), {:.1} us (p99); the target is 20 us",
        figures.targets, decided.report_decide_us.p50, decided.report_decide_us.p99
    );
    println!(
        "1,000,000 reports decided in {:.2} s, the target is 0.5 s; in {:.2} s when each says something new",
        decided.million_reports_seconds, decided.million_new_reports_seconds
    );
    println!(
        "a full evaluation in {:.3} ms, the target is 5 ms; {:.0} bytes a target beyond its name, the target is 150",
        decided.full_evaluation_ms, decided.bytes_per_target
    );
    println!(
        "{:.0} durable reports/s over HTTP, the target is 100,000; killed and back in {:.2} s, the target is 2 s; the server \
         had {:.0} MiB resident",
        served.durable_reports_per_second, served.restart_seconds, served.server_rss_mib
    );
    figures.disk.print();
}
