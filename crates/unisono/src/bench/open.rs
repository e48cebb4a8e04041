//! `unisono bench open`: very many open orchestrations, in memory and through a restart.
//!
//! Half of them wait for an external call, half for an agent that does not exist. The restart is the slowest that there is:
//! a crash when the journal has nearly as many events after the last checkpoint as it ever has.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::system::{Disk, block_on, bytes_below, print_json, scratch};
use super::target::{CHECKPOINT_BYTES, PATIENCE, Server};
use super::waiting::{Waiters, id, metric, prepare, start_all, start_and_cancel, until};
use crate::failure::Failure;
use crate::output::Format;

/// Measures what open orchestrations cost: memory, and time to start again after a crash.
#[derive(Args, Clone, Debug)]
pub(crate) struct OpenArgs {
    /// Open orchestrations.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(2..=50_000_000))]
    pub(crate) orchestrations: u32,
    /// Where to keep the data while it runs; a fresh folder for temporary files when left out. It must be on a real
    /// disk for the figures to mean anything.
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
    starts_per_second: f64,
    #[serde(rename = "emptyRssMiB")]
    empty_rss_mib: f64,
    #[serde(rename = "serverRssMiB")]
    server_rss_mib: f64,
    #[serde(rename = "serverPeakRssMiB")]
    server_peak_rss_mib: f64,
    bytes_per_orchestration: f64,
    restart: Restart,
    disk: Disk,
}

/// How the server came back after `kill -9`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Restart {
    /// From the start of the program until it has answered a request about one of the orchestrations.
    seconds: f64,
    journal_tail_bytes: f64,
    journal_tail_events: f64,
    store_bytes: u64,
    #[serde(rename = "serverRssMiB")]
    server_rss_mib: f64,
    #[serde(rename = "serverPeakRssMiB")]
    server_peak_rss_mib: f64,
}

/// Runs the measurement and prints its figures.
///
/// # Errors
/// [`Failure::Work`] when it could not be carried out.
pub(crate) fn open(args: OpenArgs) -> Result<(), Failure> {
    block_on(run(args))
}

async fn run(args: OpenArgs) -> Result<(), Failure> {
    let directory = scratch(args.data.as_deref())?;
    let disk = Disk::measure(directory.path()).await?;
    let mut server = Server::start(&directory.path().join("data"), args.checkpoint_bytes).await?;
    let measured = measure(&args, &mut server, disk).await;
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

async fn measure(args: &OpenArgs, server: &mut Server, disk: Disk) -> Result<Figures, Failure> {
    let orchestrations = args.orchestrations;
    prepare(&server.client).await?;
    let waiters = Waiters::connect(server, 1, 4_096)?;
    let empty_rss_mib = server.process().resident_mib();
    let begin = Instant::now();
    start_all(server, 0..orchestrations).await?;
    let starts_per_second = f64::from(orchestrations) / begin.elapsed().as_secs_f64();
    let external = f64::from(orchestrations.div_ceil(2));
    let waiting = "unisono_activities{state=\"waiting\"}";
    until(&server.client, waiting, PATIENCE, |count| count >= external).await?;
    waiters.leave().await;
    until(&server.client, "unisono_projector_lag_events", PATIENCE, |lag| {
        lag == 0.0
    })
    .await?;
    let server_rss_mib = server.process().resident_mib();
    let server_peak_rss_mib = server.process().peak_resident_mib();
    let restart = restart(args, server).await?;
    Ok(Figures {
        orchestrations,
        starts_per_second,
        empty_rss_mib,
        server_rss_mib,
        server_peak_rss_mib,
        bytes_per_orchestration: (server_rss_mib - empty_rss_mib) * 1024.0 * 1024.0 / f64::from(orchestrations),
        restart,
        disk,
    })
}

/// Bytes of events that one orchestration leaves which is started and cancelled, about.
const CANCELLED_BYTES: u64 = 256;

/// Fills the journal behind the last checkpoint, kills the server, and starts it again.
async fn restart(args: &OpenArgs, server: &mut Server) -> Result<Restart, Failure> {
    let orchestrations = args.orchestrations;
    #[expect(clippy::cast_precision_loss, reason = "a bound for a figure")]
    let full = args.checkpoint_bytes as f64 * 0.9;
    let at_once = u32::try_from(args.checkpoint_bytes / CANCELLED_BYTES / 20)
        .unwrap_or(u32::MAX)
        .max(1);
    let mut next = orchestrations;
    // A checkpoint under way ends first; the tail grows after it.
    while metric(&server.client, "unisono_checkpoint_lag_bytes").await? < full {
        start_and_cancel(server, next..next + at_once).await?;
        next += at_once;
    }
    let journal_tail_bytes = metric(&server.client, "unisono_checkpoint_lag_bytes").await?;
    let journal_tail_events = metric(&server.client, "unisono_checkpoint_lag_events").await?;
    server.kill().await;
    let store_bytes = bytes_below(&server.data().join("store"));
    let begin = Instant::now();
    server.restart().await?;
    server.client.orchestration(&id(orchestrations / 2)).await?;
    let seconds = begin.elapsed().as_secs_f64();
    let open = metric(&server.client, "unisono_orchestrations_open").await?;
    if open < f64::from(orchestrations) {
        return Err(Failure::work(format!(
            "{open} of {orchestrations} orchestrations are open after the restart"
        )));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(Restart {
        seconds,
        journal_tail_bytes,
        journal_tail_events,
        store_bytes,
        server_rss_mib: server.process().resident_mib(),
        server_peak_rss_mib: server.process().peak_resident_mib(),
    })
}

fn print(figures: &Figures) {
    println!(
        "{} open orchestrations: {:.0} MiB resident, {:.0} bytes each ({:.0} MiB at most, {:.0} MiB before the first); the \
         target is 2048 MiB for 1,000,000",
        figures.orchestrations,
        figures.server_rss_mib,
        figures.bytes_per_orchestration,
        figures.server_peak_rss_mib,
        figures.empty_rss_mib
    );
    println!("started at {:.0}/s, each durable", figures.starts_per_second);
    let restart = &figures.restart;
    println!(
        "killed with {:.1} MiB ({:.0} events) in the journal behind the last checkpoint, and {:.0} MiB in the store: \
         {:.2} s until it answers again; the target is 10 s",
        restart.journal_tail_bytes / 1024.0 / 1024.0,
        restart.journal_tail_events,
        restart.store_bytes as f64 / 1024.0 / 1024.0,
        restart.seconds
    );
    println!(
        "after that {:.0} MiB resident, {:.0} MiB at most",
        restart.server_rss_mib, restart.server_peak_rss_mib
    );
    figures.disk.print();
}
