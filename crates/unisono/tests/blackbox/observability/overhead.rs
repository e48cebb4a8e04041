//! What watching costs: CPU time of a server for 1,000 runs, against a build from before, and with traces.
//!
//! CPU time and not the clock, since machines are shared; the variants take turns, and the median counts. Run it with
//! `UNISONO_BASELINE=PROGRAM cargo test --release -p unisono --test blackbox overhead -- --ignored --nocapture`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use unisono_client::{Client, ClientOptions};

use super::otlp::Receiver;
use crate::harness::{Site, apply, eventually, free_port, program, request};

const CHAIN: &str = "{kind: ActivityDefinition, type: work}\n---\n
{type: chain, activities: [{id: a, type: work}, {id: b, type: work, dependsOn: a}, {id: c, type: work, dependsOn: b}]}";
/// Runs of one turn.
const RUNS: u32 = 6_000;
/// Runs before the measurement of a turn begins.
const WARM_UP: u32 = 1_000;
const CONCURRENCY: u32 = 64;
const TURNS: usize = 7;

struct Variant {
    name: &'static str,
    program: PathBuf,
    options: Vec<String>,
    /// Milliseconds of CPU for 1,000 runs, of each turn.
    spent: Vec<f64>,
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time of a process, user and system, in milliseconds.
fn cpu_millis(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    // Linux says times to user space in hundredths of a second, whatever it counts in.
    ticks * 10.0
}

async fn runs(client: &Client, prefix: &str, count: u32) {
    let next = Arc::new(AtomicU32::new(0));
    let starters = (0..CONCURRENCY).map(|_| {
        let (client, next, prefix) = (client.clone(), Arc::clone(&next), prefix.to_owned());
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                let start = request(&format!("{prefix}{number}"), "chain");
                client.start_and_wait(&start, Duration::from_secs(60)).await.unwrap();
            }
        })
    });
    for starter in starters.collect::<Vec<_>>() {
        starter.await.unwrap();
    }
}

async fn turn(variant: &Variant) -> f64 {
    let (site, port) = (Site::new(), free_port());
    let url = format!("http://127.0.0.1:{port}");
    let spawn = |command: &mut Command, log: &str| {
        let child = command.stdout(Stdio::null()).stderr(site.log(log)).spawn().unwrap();
        Killed(child)
    };
    let mut command = Command::new(&variant.program);
    let listen = format!("127.0.0.1:{port}");
    command
        .args(["server", "--listen", &listen, "--data"])
        .arg(site.path("data"))
        .args(&variant.options);
    let server = spawn(&mut command, "server");
    let agent = ["agent", "--echo", "work", "--concurrency", "256", "--server", &url];
    let _agent = spawn(program().args(agent), "agent");
    let client = Client::new(ClientOptions::new(&url, "default")).unwrap();
    eventually("the server is ready", || async { client.ready().await.ok() }).await;
    apply(&client, CHAIN).await;
    runs(&client, "w", WARM_UP).await;
    let before = cpu_millis(server.0.id());
    let scraped = client.clone();
    let scraper = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = scraped.metrics().await;
        }
    });
    runs(&client, "r", RUNS).await;
    scraper.abort();
    (cpu_millis(server.0.id()) - before) / f64::from(RUNS) * 1e3
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of minutes"]
async fn overhead() {
    let receiver = Receiver::start();
    let this = Path::new(program().get_program()).to_owned();
    let export = ["--otlp-endpoint".to_owned(), receiver.url()];
    let sampled = |ratio: &str| [export.to_vec(), vec!["--trace-sample".to_owned(), ratio.to_owned()]].concat();
    let variant = |name, program: &Path, options| Variant {
        name,
        program: program.to_owned(),
        options,
        spent: Vec::new(),
    };
    let mut variants = vec![
        variant("metrics, no traces", &this, Vec::new()),
        variant("metrics, 1 % traced", &this, export.to_vec()),
        variant("metrics, all traced", &this, sampled("1")),
    ];
    if let Some(baseline) = std::env::var_os("UNISONO_BASELINE") {
        variants.insert(0, variant("baseline", Path::new(&baseline), Vec::new()));
    }
    for _ in 0..TURNS {
        for variant in &mut variants {
            let spent = turn(variant).await;
            variant.spent.push(spent);
        }
    }
    let first = median(&variants[0].spent);
    for variant in &variants {
        let spent = median(&variant.spent);
        let all: Vec<String> = variant.spent.iter().map(|it| format!("{it:.0}")).collect();
        println!(
            "{:<22} {spent:>6.0} ms CPU per 1,000 runs  {:>+6.1} %  ({})",
            variant.name,
            (spent / first - 1.0) * 100.0,
            all.join(" ")
        );
    }
}
