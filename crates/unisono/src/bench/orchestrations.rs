//! `unisono bench orchestrations`: durable throughput and latency, beside what the disk can do.
//!
//! The server and the agents are processes of their own, started from this binary, and the load
//! comes over HTTP; with in-process agents everything is in one process and nothing crosses a
//! socket. Every start and every result is durable before it is acknowledged, as always.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use unisono_agent::{ActivityResult, Agent, Link};
use unisono_client::{Client, ClientOptions};
use unisono_journal::disk_speed::measure_disk;
use unisono_model::api::{ApplyRequest, SourceText};
use unisono_model::name::Name;
use unisono_node::{Node, NodeOptions};

use super::load::{Connection, Starter};
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "camelCase")]
/// Where the agents are.
pub(crate) enum Agents {
    /// In the server's process.
    Inprocess,
    /// In a process of their own, over WebSocket.
    Websocket,
}

const STEP: &str = "bench.step";
const NAMESPACE: &str = "bench";
/// Attempts that the agent holds at once: enough that it is never what is waited for.
const AGENT_CONCURRENCY: u32 = 4_096;
const WARM_UP: Duration = Duration::from_secs(1);
const DISK: Duration = Duration::from_secs(2);
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
    latency_ms: Latency,
    disk: Disk,
    #[serde(rename = "serverRssMiB")]
    server_rss_mib: f64,
}

#[derive(Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Disk {
    syncs_per_second: f64,
    grouped_appends_per_second: f64,
}

/// Runs the measurement and prints its figures.
///
/// # Errors
/// [`Failure::Work`] when it could not be carried out.
pub(crate) fn orchestrations(args: BenchArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::work(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(run(&args))
}

async fn run(args: &BenchArgs) -> Result<(), Failure> {
    let parent = args.data.clone().unwrap_or_else(std::env::temp_dir);
    let directory = tempfile::Builder::new()
        .prefix("unisono-bench-")
        .tempdir_in(&parent)
        .map_err(|error| Failure::work(format!("cannot make a directory in {}: {error}", parent.display())))?;
    let disk = disk_figures(directory.path()).await?;
    let target = match args.agents {
        Agents::Websocket => Target::processes(directory.path()).await?,
        Agents::Inprocess => Target::one_process(directory.path()).await?,
    };
    let measured = measure(args, &target).await;
    let rss = resident_mib(target.server_pid());
    target.stop().await;
    let (mut latencies, elapsed) = measured?;
    latencies.sort_unstable();
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
        latency_ms: Latency {
            p50: percentile(&latencies, 500),
            p90: percentile(&latencies, 900),
            p99: percentile(&latencies, 990),
            max: percentile(&latencies, 1_000),
        },
        disk,
        server_rss_mib: rss,
    };
    print(&figures, args.output == Format::Json)
}

async fn disk_figures(directory: &Path) -> Result<Disk, Failure> {
    let directory = directory.to_path_buf();
    let figures = tokio::task::spawn_blocking(move || measure_disk(&directory, DISK))
        .await
        .map_err(|error| Failure::work(format!("cannot measure the disk: {error}")))?
        .map_err(|error| Failure::work(format!("cannot measure the disk: {error}")))?;
    Ok(Disk {
        syncs_per_second: figures.syncs_per_second,
        grouped_appends_per_second: figures.grouped_appends_per_second,
    })
}

/// Keeps the wanted number of orchestrations in flight; the latencies of those that ended while it
/// was measured.
async fn measure(args: &BenchArgs, target: &Target) -> Result<(Vec<Duration>, Duration), Failure> {
    target.apply(args.shape.definitions()).await?;
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

fn percentile(sorted: &[Duration], per_mille: usize) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    sorted[last * per_mille / 1_000].as_secs_f64() * 1_000.0
}

fn print(figures: &Figures, json: bool) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string(figures)
            .map_err(|error| Failure::work(format!("cannot write the figures: {error}")))?;
        println!("{text}");
        return Ok(());
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
    println!(
        "this disk, alone: {:.0} syncs/s; {:.0} appends of 200 bytes/s when 256 share a sync",
        figures.disk.syncs_per_second, figures.disk.grouped_appends_per_second
    );
    println!("resident memory of the server: {:.0} MiB", figures.server_rss_mib);
    Ok(())
}

/// What is measured: a server with an agent.
enum Target {
    Processes {
        server: Box<Child>,
        agent: Box<Child>,
        url: String,
        client: Client,
    },
    OneProcess {
        node: Arc<Node>,
        stop_agent: oneshot::Sender<()>,
        agent: tokio::task::JoinHandle<()>,
        client: Client,
    },
}

fn client(url: &str) -> Result<Client, Failure> {
    let mut options = ClientOptions::new(url, NAMESPACE);
    options.timeout = PATIENCE * 2;
    Ok(Client::new(options)?)
}

impl Target {
    async fn processes(directory: &Path) -> Result<Self, Failure> {
        let program =
            std::env::current_exe().map_err(|error| Failure::work(format!("cannot find this program: {error}")))?;
        let spawn = |command: &mut Command| {
            command
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| Failure::work(format!("cannot start {}: {error}", program.display())))
        };
        let mut server = spawn(
            Command::new(&program)
                .args(["server", "--listen", "127.0.0.1:0", "--data"])
                .arg(directory.join("data"))
                .env("UNISONO_LOG", "warn")
                .stdout(std::process::Stdio::piped()),
        )?;
        let url = listening(&mut server).await?;
        let agent = spawn(
            Command::new(&program)
                .args(["agent", "--name", "bench", "--namespace", NAMESPACE, "--echo", STEP])
                .args(["--concurrency", &AGENT_CONCURRENCY.to_string(), "--server", &url])
                .stdout(std::process::Stdio::null())
                .env("UNISONO_LOG", "warn"),
        )?;
        Ok(Self::Processes {
            server: Box::new(server),
            agent: Box::new(agent),
            client: client(&url)?,
            url,
        })
    }

    async fn one_process(directory: &Path) -> Result<Self, Failure> {
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let node = Node::start(NodeOptions::new(directory.join("data"), listen))
            .await
            .map_err(|error| Failure::work(error.to_string()))?;
        let agent = Agent::builder()
            .name("bench")
            .namespace(NAMESPACE)
            .concurrency(AGENT_CONCURRENCY)
            .function(STEP, |_| Box::pin(async { Ok(ActivityResult::Complete) }))
            .build()
            .map_err(|error| Failure::work(error.to_string()))?;
        let (link, end) = Link::pair(64);
        node.connect_agent(name(NAMESPACE)?, end.incoming, end.outgoing);
        let (stop_agent, stopped) = oneshot::channel::<()>();
        let agent = tokio::spawn(async move {
            let _ = agent
                .run_on(link, async {
                    let _ = stopped.await;
                })
                .await;
        });
        let client = client(&format!("http://{}", node.address()))?;
        Ok(Self::OneProcess {
            node: Arc::new(node),
            stop_agent,
            agent,
            client,
        })
    }

    fn client(&self) -> &Client {
        match self {
            Self::Processes { client, .. } | Self::OneProcess { client, .. } => client,
        }
    }

    async fn apply(&self, definitions: String) -> Result<(), Failure> {
        let request = ApplyRequest {
            sources: vec![SourceText {
                name: "bench.yaml".to_owned(),
                text: definitions,
            }],
            dry_run: false,
        };
        self.client().apply(&request).await?;
        Ok(())
    }

    async fn starter(&self) -> Result<Starter, Failure> {
        let namespace = name(NAMESPACE)?;
        Ok(match self {
            Self::Processes { url, .. } => Starter::Http(Connection::open(url, &namespace, PATIENCE).await?),
            Self::OneProcess { node, .. } => Starter::Direct {
                node: Arc::clone(node),
                namespace,
            },
        })
    }

    fn server_pid(&self) -> u32 {
        match self {
            Self::Processes { server, .. } => server.id().unwrap_or_default(),
            Self::OneProcess { .. } => std::process::id(),
        }
    }

    /// The data is thrown away, so nothing has to end in order.
    async fn stop(self) {
        match self {
            Self::Processes {
                mut server, mut agent, ..
            } => {
                let _ = agent.kill().await;
                let _ = server.kill().await;
            }
            Self::OneProcess {
                node,
                stop_agent,
                agent,
                ..
            } => {
                let _ = stop_agent.send(());
                let _ = agent.await;
                if let Some(node) = Arc::into_inner(node) {
                    let _ = node.shutdown().await;
                }
            }
        }
    }
}

fn name(text: &str) -> Result<Name, Failure> {
    Name::parse(text).map_err(|error| Failure::work(error.to_string()))
}

/// The address that a server says it listens on.
async fn listening(server: &mut Child) -> Result<String, Failure> {
    let silent = || Failure::work("the server ended before it listened; its log above says why".to_owned());
    let stdout = server.stdout.take().ok_or_else(silent)?;
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(url) = line.strip_prefix("listening on ") {
            return Ok(url.trim().to_owned());
        }
    }
    Err(silent())
}

/// Resident memory of a process, in MiB; 0 where the system does not tell.
fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<f64>().ok())
        .map_or(0.0, |kib| kib / 1024.0)
}
