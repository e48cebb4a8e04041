//! `unisono bench values`: durable writes of values, what reaches those who watch and await them, and very many keys.
//!
//! A server process, and this one as all of its clients, over HTTP on loopback. A time runs from when a write is sent until
//! the waiter has it, with the sync in it, since nothing is told before it is durable.

mod agents;
mod connections;
mod delivery;
mod many;
mod writes;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use self::delivery::{Delivery, delivery};
use self::many::{Keys, keys};
use self::writes::{Writes, compare_and_swaps, puts};
use super::system::{Disk, block_on, print_json, raise_open_files, scratch};
use super::target::{CHECKPOINT_BYTES, Server};
use crate::failure::Failure;
use crate::output::Format;

/// Measures values: durable writes, delivery to those who wait, fan-out, memory.
#[derive(Args, Clone, Debug)]
pub(crate) struct ValuesArgs {
    /// Writes under way at the same time.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) concurrency: u32,
    /// How long puts are measured, and then compare-and-swaps.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) seconds: u64,
    /// Writes of which each is waited for by one: by a watch, and by an await.
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) deliveries: u32,
    /// Waiters for one write: each on a connection of its own (`ulimit -n` bounds them), and over those of agents.
    #[arg(long, value_name = "N", default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) waiters: u32,
    /// Keys with values of 100 bytes.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=50_000_000))]
    pub(crate) keys: u32,
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
    concurrency: u32,
    puts: Writes,
    compare_and_swaps: Writes,
    #[serde(flatten)]
    delivery: Delivery,
    #[serde(flatten)]
    keys: Keys,
    disk: Disk,
    targets: Targets,
}

/// What the figures are held against.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Targets {
    delivery_us_p50: f64,
    delivery_us_p99: f64,
    fan_out_ms: f64,
    #[serde(rename = "millionKeysRssMiB")]
    million_keys_rss_mib: f64,
}

const TARGETS: Targets = Targets {
    delivery_us_p50: 200.0,
    delivery_us_p99: 2_000.0,
    fan_out_ms: 150.0,
    million_keys_rss_mib: 400.0,
};

/// Runs the measurement and prints its figures.
///
/// # Errors
/// [`Failure::Work`] when it could not be carried out.
pub(crate) fn values(args: ValuesArgs) -> Result<(), Failure> {
    block_on(run(args))
}

async fn run(args: ValuesArgs) -> Result<(), Failure> {
    raise_open_files();
    let directory = scratch(args.data.as_deref())?;
    let disk = Disk::measure(directory.path()).await?;
    let mut server = Server::start(&directory.path().join("data"), CHECKPOINT_BYTES).await?;
    let measured = async {
        let puts = puts(&server, &args).await?;
        let swaps = compare_and_swaps(&server, &args).await?;
        Ok::<_, Failure>((puts, swaps, delivery(&server, &args).await?))
    };
    let measured = measured.await;
    server.kill().await;
    let (puts, compare_and_swaps, delivery) = measured?;
    // Of its own, so that its memory is that of the keys.
    let mut server = Server::start(&directory.path().join("keys"), CHECKPOINT_BYTES).await?;
    let keys = keys(&mut server, args.keys).await;
    server.kill().await;
    let figures = Figures {
        concurrency: args.concurrency,
        puts,
        compare_and_swaps,
        delivery,
        keys: keys?,
        disk,
        targets: TARGETS,
    };
    match args.output {
        Format::Table => {
            print(&figures);
            Ok(())
        }
        _ => print_json(&figures),
    }
}

/// The path of a key.
fn path(key: &str) -> String {
    format!("/values/{key}")
}

/// A value of 100 bytes, as JSON.
fn text(number: u64) -> String {
    format!("\"{number:098}\"")
}

/// The same, to be put.
fn content(number: u64) -> unisono_model::values::PutRequest {
    unisono_model::values::PutRequest {
        value: serde_json::value::RawValue::from_string(text(number))
            .ok()
            .map(unisono_model::api::JsonText),
        ..Default::default()
    }
}

fn print(figures: &Figures) {
    let concurrency = figures.concurrency;
    for (what, writes) in [
        ("puts", &figures.puts),
        ("compare-and-swaps", &figures.compare_and_swaps),
    ] {
        println!(
            "{:.0} durable {what}/s, {concurrency} at a time: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, at most {:.2} ms",
            writes.per_second,
            writes.latency_ms.p50,
            writes.latency_ms.p90,
            writes.latency_ms.p99,
            writes.latency_ms.max
        );
    }
    let Delivery {
        waiters,
        put_us,
        watch_us,
        future_us,
        fan_out_ms,
        fan_out_agents_ms,
    } = &figures.delivery;
    println!(
        "one put alone is answered after {:.0} us (p50), {:.0} us (p99)",
        put_us.p50, put_us.p99
    );
    for (who, delivered) in [("a watch", watch_us), ("an await", future_us)] {
        println!(
            "from a write to {who}: {:.0} us (p50), {:.0} us (p99); the target is {:.0} us and {:.0} us",
            delivered.p50, delivered.p99, TARGETS.delivery_us_p50, TARGETS.delivery_us_p99
        );
    }
    for (how, took) in [
        ("each on a connection of its own", fan_out_ms),
        ("over the connections of a few agents", fan_out_agents_ms),
    ] {
        println!(
            "from a write to the last of {waiters} waiters, {how}: {:.0} ms (p50), {:.0} ms at most; the target is {:.0} ms for \
             15,000",
            took.p50, took.max, TARGETS.fan_out_ms
        );
    }
    let keys = &figures.keys;
    println!(
        "{} keys of 100 bytes: {:.0} MiB resident, {:.0} bytes each ({:.0} MiB before the first, {:.0} MiB after a restart); \
         the target is {:.0} MiB for 1,000,000",
        keys.keys,
        keys.server_rss_mib,
        keys.bytes_per_key,
        keys.empty_rss_mib,
        keys.restarted_rss_mib,
        TARGETS.million_keys_rss_mib
    );
    figures.disk.print();
}
