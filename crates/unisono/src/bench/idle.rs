//! `unisono bench idle`: what a server does that has nothing to do.
//!
//! Orchestrations wait, agents are connected and send their heartbeats, nobody asks anything. Agents are tasks of this
//! process, each with a WebSocket of its own, so that the server's figures are the server's.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::sleep;

use super::system::{block_on, bytes_below, print_json, scratch};
use super::target::{CHECKPOINT_BYTES, PATIENCE, Server};
use super::waiting::{Waiters, prepare, start_all, until};
use crate::failure::Failure;
use crate::output::Format;

/// Measures what a server with nothing to do costs.
#[derive(Args, Clone, Debug)]
pub(crate) struct IdleArgs {
    /// Orchestrations that wait.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2..=50_000_000))]
    pub(crate) orchestrations: u32,
    /// Agents that are connected.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub(crate) agents: u32,
    /// How long to measure, in seconds.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Where to keep the data while it runs; a fresh folder for temporary files when left out.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Bytes of events between two checkpoints.
    #[arg(long, value_name = "BYTES", default_value_t = CHECKPOINT_BYTES, hide = true)]
    pub(crate) checkpoint_bytes: u64,
    /// How to print the figures.
    #[arg(skip)]
    pub(crate) output: Format,
}

/// What was measured.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    orchestrations: u32,
    agents: u32,
    seconds: u64,
    /// Of one core.
    cpu_percent: f64,
    /// Bytes that the server had written to disks.
    written_bytes: u64,
    /// By how much the files of journal and store have grown or shrunk.
    data_bytes_changed: u64,
    /// Resident memory that one connected agent adds to the server.
    bytes_per_agent: f64,
    #[serde(rename = "serverRssMiB")]
    server_rss_mib: f64,
}

/// Runs the measurement and prints its figures.
///
/// # Errors
/// [`Failure::Work`] when it could not be carried out.
pub(crate) fn idle(args: IdleArgs) -> Result<(), Failure> {
    block_on(run(args))
}

async fn run(args: IdleArgs) -> Result<(), Failure> {
    let directory = scratch(args.data.as_deref())?;
    let mut server = Server::start(&directory.path().join("data"), args.checkpoint_bytes).await?;
    let measured = measure(&args, &server).await;
    server.kill().await;
    let figures = measured?;
    match args.output {
        Format::Json | Format::Jsonl => print_json(&figures),
        Format::Table => {
            print(&figures);
            Ok(())
        }
    }
}

/// After the last change there is a checkpoint within a minute.
const CHECKPOINT: Duration = Duration::from_secs(120);

async fn measure(args: &IdleArgs, server: &Server) -> Result<Figures, Failure> {
    let client = &server.client;
    prepare(client).await?;
    let first = Waiters::connect(server, 1, 4_096)?;
    start_all(server, 0..args.orchestrations).await?;
    let external = f64::from(args.orchestrations.div_ceil(2));
    let waiting = "unisono_activities{state=\"waiting\"}";
    until(client, waiting, PATIENCE, |count| count >= external).await?;
    first.leave().await;
    until(client, "unisono_checkpoint_lag_events", CHECKPOINT, |lag| lag == 0.0).await?;

    let without_agents = server.process().resident_mib();
    let waiters = Waiters::connect(server, args.agents, 16)?;
    let connected = "unisono_agents{namespace=\"bench\",state=\"connected\"}";
    until(client, connected, PATIENCE, |count| count >= f64::from(args.agents)).await?;
    until(client, "unisono_checkpoint_lag_events", CHECKPOINT, |lag| lag == 0.0).await?;
    sleep(Duration::from_secs(2)).await;

    let (process, data) = (server.process(), server.data());
    let before = (process.cpu(), process.written_bytes(), bytes_below(data));
    sleep(Duration::from_secs(args.seconds)).await;
    let after = (process.cpu(), process.written_bytes(), bytes_below(data));
    let server_rss_mib = process.resident_mib();
    waiters.leave().await;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let cpu_percent = (after.0 - before.0).as_secs_f64() / args.seconds as f64 * 100.0;
    Ok(Figures {
        orchestrations: args.orchestrations,
        agents: args.agents,
        seconds: args.seconds,
        cpu_percent,
        written_bytes: after.1 - before.1,
        data_bytes_changed: after.2.abs_diff(before.2),
        bytes_per_agent: (server_rss_mib - without_agents) * 1024.0 * 1024.0 / f64::from(args.agents),
        server_rss_mib,
    })
}

fn print(figures: &Figures) {
    println!(
        "{} waiting orchestrations and {} connected agents: {:.2} % of a core over {} s; the target is 1 %",
        figures.orchestrations, figures.agents, figures.cpu_percent, figures.seconds
    );
    println!(
        "written meanwhile: {} bytes; journal and store changed by {} bytes; the target is 0",
        figures.written_bytes, figures.data_bytes_changed
    );
    println!(
        "resident memory of the server: {:.0} MiB; each agent adds {:.1} KiB",
        figures.server_rss_mib,
        figures.bytes_per_agent / 1024.0
    );
}
