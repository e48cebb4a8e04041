//! `kill -9` again and again, under load: nothing acknowledged is lost, nothing completes twice, nothing is stuck.
//!
//! Clients start runs with ids of their own and repeat a start until it is acknowledged. Meanwhile the server and
//! random agents are killed at random moments and restarted. When that is over, every run must end by itself, and what
//! the API says of it must agree with itself and with what the scripts have written outside.
//!
//! `UNISONO_SEED=n` repeats the random choices, `UNISONO_SOAK=minutes` makes it longer.

mod killer;
mod load;
mod verify;

use std::sync::Arc;
use std::time::{Duration, Instant};

use unisono_client::{Client, OrchestrationFilter, PageRequest};
use unisono_model::api::{OrchestrationState, OrchestrationSummary};

use crate::harness::{Random, ServerSetup, apply};
use load::Load;

/// How long processes are killed.
const USUAL: Duration = Duration::from_secs(50);
/// How long the last runs may take to end once nothing is killed any more.
const SETTLE: Duration = Duration::from_secs(60);
const LEAST_SERVER_KILLS: u32 = 15;

fn duration() -> Duration {
    match std::env::var("UNISONO_SOAK") {
        Ok(minutes) => Duration::from_secs(60 * minutes.parse::<u64>().expect("UNISONO_SOAK is a number of minutes")),
        Err(_) => USUAL,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_survives_kill_9_of_server_and_agents() {
    let mut random = Random::seeded();
    // Small, so that checkpoints, trims and recoveries from them happen all the time.
    let server = ServerSetup::default().checkpoint_bytes(16 * 1024).start();
    let (client, site) = (server.client(), Arc::clone(server.site()));
    apply(&client, load::DEFINITIONS).await;
    let agents = load::agents(&server);
    let load = Arc::new(Load::new(client.clone()));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..4 {
        clients.spawn(Arc::clone(&load).start_runs(number, random.fork()));
    }
    let observed = tokio::spawn(Arc::clone(&load).observe(random.fork()));
    let watched = tokio::spawn(Arc::clone(&load).watch(random.fork()));
    let (witness, fate, killing) = (Arc::clone(&load), random.fork(), duration());
    let (mut server, _agents, kills) =
        tokio::task::spawn_blocking(move || killer::kill_and_restart(server, agents, &witness, fate, killing))
            .await
            .unwrap();
    load.stop();
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let (observed, watched) = (observed.await.unwrap(), watched.await.unwrap());
    let started = load.started();
    let recoveries = server.recoveries();
    let from_checkpoints = recoveries.iter().filter(|it| it.replayed < it.revision).count();
    eprintln!(
        "{} runs started, {} of them open; {} server kills, {} agent kills; {} recoveries, {from_checkpoints} of them \
         from checkpoints; {} completions observed, {} runs watched",
        started.len(),
        open(&client).await.len(),
        kills.server,
        kills.agents,
        recoveries.len(),
        observed.len(),
        watched.len()
    );
    assert!(kills.server >= LEAST_SERVER_KILLS, "only {} server kills", kills.server);
    assert!(
        from_checkpoints >= 10,
        "only {from_checkpoints} recoveries from checkpoints"
    );
    assert!(started.len() >= 200, "only {} runs", started.len());

    settle(&client).await;
    let runs = verify::runs(&client, &started).await;
    verify::lists(&client, &started, &runs).await;
    verify::executions(&site, &runs);
    verify::observations(&observed, &runs);
    verify::watches(&watched, &runs);

    let ended = server.terminate();
    assert!(ended.status.success(), "{ended:?}");
    server.restart();
    verify::unchanged(&client, &runs).await;
}

/// Waits until no run is open; otherwise says what the first open one waits for.
async fn settle(client: &Client) {
    let begin = Instant::now();
    loop {
        let open = open(client).await;
        let Some(first) = open.first() else { return };
        if begin.elapsed() > SETTLE {
            let view = client.orchestration(&first.id).await.unwrap();
            panic!("{} runs are stuck; {} waits: {}", open.len(), first.id, view.reason);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The runs that have not ended, or the first of them when there are many.
async fn open(client: &Client) -> Vec<OrchestrationSummary> {
    let mut open = Vec::new();
    for state in [OrchestrationState::Initialized, OrchestrationState::Running] {
        let filter = OrchestrationFilter {
            states: vec![state],
            ..OrchestrationFilter::default()
        };
        let page = PageRequest {
            limit: Some(1000),
            page_token: None,
        };
        open.extend(client.orchestrations(&filter, &page).await.unwrap().items);
    }
    open
}
