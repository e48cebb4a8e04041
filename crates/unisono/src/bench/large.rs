//! `unisono bench large`: one orchestration of very many activities beside many small ones, from the definition to the end,
//! and through a crash.
//!
//! Both do the same number of activities on the same server and agent, and with as many side by side: a chain is compared
//! with a chain, and a graph that is 4,000 wide with small ones that are together as wide. So a quotient above 1 is what
//! size alone costs.

mod graph;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use unisono_client::{OrchestrationFilter, PageRequest};
use unisono_model::api::OrchestrationState;

use self::graph::{Graph, Shape};
use super::load::request;
use super::system::{Disk, block_on, print_json, scratch};
use super::target::{AGENT_CONCURRENCY, Agents, PATIENCE, STEP, Target, apply};
use crate::failure::Failure;
use crate::output::Format;

/// Measures one orchestration of very many activities beside many small ones of the same shape.
#[derive(Args, Clone, Debug)]
pub(crate) struct LargeArgs {
    /// What the orchestration looks like.
    #[arg(long, value_enum, default_value_t = Shape::Wide)]
    pub(crate) shape: Shape,
    /// Activities of the large orchestration.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) activities: u32,
    /// Activities of each small one [default: 100, in a chain 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) small: Option<u32>,
    /// The seed of a random graph.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
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

const LARGE: &str = "large";
const SMALL: &str = "small";

/// What was measured.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    shape: Shape,
    agents: Agents,
    activities: u32,
    dependencies: usize,
    depth: u32,
    seed: u64,
    definition_bytes: usize,
    apply_ms: f64,
    large: Cost,
    small: Cost,
    small_activities: u32,
    small_concurrency: u32,
    /// Time per activity of the large one, divided by that of the small ones.
    ratio: f64,
    /// The same of the server's CPU time, with websocket agents.
    cpu_ratio: Option<f64>,
    reads: Reads,
    crash: Option<Crash>,
    #[serde(rename = "serverPeakRssMiB")]
    server_peak_rss_mib: f64,
    disk: Disk,
}

/// What activities took.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    runs: u32,
    seconds: f64,
    activities_per_second: f64,
    micros_per_activity: f64,
    /// CPU time of the process that the server is in.
    cpu_micros_per_activity: f64,
}

/// What it takes to look at the large one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reads {
    /// While it runs.
    get_open_ms: f64,
    get_ended_ms: f64,
    get_bytes: usize,
    history_ms: f64,
    history_entries: usize,
    cancel_ms: f64,
}

/// What a `kill -9` in the middle of the large one costs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Crash {
    /// From the start of the program until it answers.
    restart_ms: f64,
    /// From the start of the orchestration to its end, the crash included.
    seconds: f64,
}

/// Runs the measurement and prints its figures.
///
/// # Errors
/// [`Failure::Work`] when it could not be carried out.
pub(crate) fn large(args: LargeArgs) -> Result<(), Failure> {
    block_on(run(&args))
}

async fn run(args: &LargeArgs) -> Result<(), Failure> {
    let directory = scratch(args.data.as_deref())?;
    let disk = Disk::measure(directory.path()).await?;
    let mut target = Target::start(args.agents, directory.path()).await?;
    let measured = measure(args, &mut target, disk).await;
    target.stop().await;
    let figures = measured?;
    match args.output {
        Format::Json | Format::Jsonl => print_json(&figures),
        Format::Table => {
            print(&figures);
            Ok(())
        }
    }
}

async fn measure(args: &LargeArgs, target: &mut Target, disk: Disk) -> Result<Figures, Failure> {
    let large = Graph::new(args.shape, args.activities, args.seed);
    let deep = args.shape == Shape::Deep;
    let small_activities = args
        .small
        .unwrap_or(if deep { 1_000 } else { 100 })
        .min(args.activities);
    let small = Graph::new(args.shape, small_activities, args.seed);
    let steps = format!("kind: ActivityDefinition\ntype: {STEP}\n");
    apply(target.client(), format!("{steps}---\n{}", small.definition(SMALL))).await?;
    let definition = large.definition(LARGE);
    let definition_bytes = definition.len();
    let begin = Instant::now();
    apply(target.client(), definition).await?;
    let apply_ms = millis(begin.elapsed());

    let small_concurrency = side_by_side(&large, &small);
    // A tenth is enough for a chain, which takes long.
    let of_small = if deep { args.activities / 10 } else { args.activities };
    let small_runs = (of_small / small_activities).max(small_concurrency);
    // The first runs pay for what later ones find ready.
    cost(
        target,
        (SMALL, small_activities),
        (small_concurrency, small_concurrency),
    )
    .await?;
    let of_small = cost(target, (SMALL, small_activities), (small_runs, small_concurrency)).await?;
    let of_large = cost(target, (LARGE, args.activities), (1, 1)).await?;
    let reads = reads(target, of_large.seconds).await?;
    let crash = crash(target, of_large.seconds).await?;
    Ok(Figures {
        shape: args.shape,
        agents: args.agents,
        activities: args.activities,
        dependencies: large.edges(),
        depth: large.depth,
        seed: args.seed,
        definition_bytes,
        apply_ms,
        large: of_large,
        small: of_small,
        small_activities,
        small_concurrency,
        ratio: of_large.micros_per_activity / of_small.micros_per_activity,
        cpu_ratio: (args.agents == Agents::Websocket)
            .then(|| of_large.cpu_micros_per_activity / of_small.cpu_micros_per_activity),
        reads,
        crash,
        server_peak_rss_mib: target.process().peak_resident_mib(),
        disk,
    })
}

/// How many small orchestrations at the same time are as wide as the large one, which has at most as many activities under
/// way as the agent takes.
fn side_by_side(large: &Graph, small: &Graph) -> u32 {
    let width = large.width().min(f64::from(AGENT_CONCURRENCY));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
    let runs = (width / small.width()).round() as u32;
    runs.max(1)
}

/// Runs orchestrations of a type to their ends.
async fn cost(
    target: &Target,
    (type_name, activities): (&'static str, u32),
    (runs, concurrency): (u32, u32),
) -> Result<Cost, Failure> {
    let mut starters = Vec::new();
    for _ in 0..concurrency {
        starters.push(target.starter().await?);
    }
    let (begin, cpu) = (Instant::now(), target.process().cpu());
    let mut workers = tokio::task::JoinSet::new();
    for (index, mut starter) in (0..).zip(starters) {
        let share = runs / concurrency + u32::from(index < runs % concurrency);
        workers.spawn(async move {
            for _ in 0..share {
                starter.run(type_name, PATIENCE).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(worked) = workers.join_next().await {
        worked.map_err(|error| Failure::work(format!("a worker failed: {error}")))??;
    }
    let (elapsed, cpu) = (begin.elapsed(), target.process().cpu().saturating_sub(cpu));
    let done = f64::from(runs) * f64::from(activities);
    Ok(Cost {
        runs,
        seconds: elapsed.as_secs_f64(),
        activities_per_second: done / elapsed.as_secs_f64(),
        micros_per_activity: elapsed.as_secs_f64() * 1e6 / done,
        cpu_micros_per_activity: cpu.as_secs_f64() * 1e6 / done,
    })
}

/// Looks at one that has ended, and at one that runs, which is cancelled after that.
async fn reads(target: &Target, seconds: f64) -> Result<Reads, Failure> {
    let client = target.client();
    let ended = ended(target).await?;
    let begin = Instant::now();
    let view = client.orchestration(&ended).await?;
    let get_ended_ms = millis(begin.elapsed());
    let get_bytes = serde_json::to_string(&view).map_or(0, |text| text.len());
    let (begin, mut after, mut history_entries) = (Instant::now(), None, 0);
    loop {
        let page = client.history(&ended, after, None).await?;
        history_entries += page.items.len();
        after = page.items.last().map(|last| last.revision);
        if page.next_page_token.is_none() {
            break;
        }
    }
    let history_ms = millis(begin.elapsed());
    let id = client.start(&request(LARGE)).await?.id;
    tokio::time::sleep(Duration::from_secs_f64(seconds / 4.0)).await;
    let begin = Instant::now();
    client.orchestration(&id).await?;
    let get_open_ms = millis(begin.elapsed());
    let begin = Instant::now();
    // One that is over already cannot be cancelled, which shows in the figures of a tiny one only.
    let _ = client.cancel(&id, &unisono_model::api::CancelRequest::default()).await;
    Ok(Reads {
        get_open_ms,
        get_ended_ms,
        get_bytes,
        history_ms,
        history_entries,
        cancel_ms: millis(begin.elapsed()),
    })
}

/// The id of the large one that has ended.
async fn ended(target: &Target) -> Result<String, Failure> {
    let filter = OrchestrationFilter {
        r#type: Some(LARGE.to_owned()),
        ..OrchestrationFilter::default()
    };
    let list = target.client().orchestrations(&filter, &PageRequest::default()).await?;
    let missing = || Failure::work("the large orchestration is not listed".to_owned());
    Ok(list.items.first().ok_or_else(missing)?.id.to_string())
}

/// Kills the server in the middle of a large one, and starts it again.
async fn crash(target: &mut Target, seconds: f64) -> Result<Option<Crash>, Failure> {
    let Target::Processes { server, .. } = target else {
        return Ok(None);
    };
    let begin = Instant::now();
    let id = server.client.start(&request(LARGE)).await?.id;
    tokio::time::sleep(Duration::from_secs_f64(seconds / 2.0)).await;
    server.kill().await;
    let restart = Instant::now();
    server.restart().await?;
    server.client.ready().await?;
    let restart_ms = millis(restart.elapsed());
    let ended = server.client.wait(&id).await?;
    if ended.summary.state != OrchestrationState::Completed {
        return Err(Failure::work(format!(
            "the orchestration that went through a crash is {}: {}",
            ended.summary.state, ended.reason
        )));
    }
    Ok(Some(Crash {
        restart_ms,
        seconds: begin.elapsed().as_secs_f64(),
    }))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn print(figures: &Figures) {
    println!(
        "one orchestration of {} activities, {} dependencies, {} deep: {:.2} s, {:.0} activities/s, {:.1} µs each",
        figures.activities,
        figures.dependencies,
        figures.depth,
        figures.large.seconds,
        figures.large.activities_per_second,
        figures.large.micros_per_activity
    );
    println!(
        "{} of {} activities, {} at a time: {:.0} activities/s, {:.1} µs each",
        figures.small.runs,
        figures.small_activities,
        figures.small_concurrency,
        figures.small.activities_per_second,
        figures.small.micros_per_activity
    );
    print!("an activity of the large one costs {:.2} times the time", figures.ratio);
    match figures.cpu_ratio {
        Some(ratio) => println!(
            " and {ratio:.2} times the server's CPU ({:.1} and {:.1} µs); the target is 1.5",
            figures.large.cpu_micros_per_activity, figures.small.cpu_micros_per_activity
        ),
        None => println!("; the target is 1.5"),
    }
    let reads = &figures.reads;
    println!(
        "applying its definition ({} KiB): {:.0} ms; get while it runs: {:.0} ms, after it: {:.0} ms ({} KiB)",
        figures.definition_bytes / 1024,
        figures.apply_ms,
        reads.get_open_ms,
        reads.get_ended_ms,
        reads.get_bytes / 1024
    );
    println!(
        "its history, page by page: {:.0} ms for {} entries; cancelling one: {:.0} ms",
        reads.history_ms, reads.history_entries, reads.cancel_ms
    );
    if let Some(crash) = &figures.crash {
        println!(
            "killed in the middle: {:.0} ms until it answers again, {:.2} s from start to end",
            crash.restart_ms, crash.seconds
        );
    }
    println!(
        "resident memory of the server at most: {:.0} MiB",
        figures.server_peak_rss_mib
    );
    figures.disk.print();
}
