//! Waiters that share the connections of a few agents.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use unisono_agent::{ActivityResult, Agent, OrFail as _, Values};

use super::delivery::{ROUNDS, connection, ended, put};
use super::path;
use crate::bench::load::request;
use crate::bench::target::{NAMESPACE, PATIENCE, Server, apply};
use crate::bench::waiting::until;
use crate::failure::Failure;

/// What holds an attempt as long as the bench awaits with its values.
const HOLD: &str = "bench.hold";
/// Awaits of one agent; a connection takes 4,096 asks at the same time.
const OF_ONE: u32 = 4_000;

/// From when a write is sent until the last of the waiters has it.
pub(super) async fn to_agents(server: &Server, waiters: u32) -> Result<Vec<Duration>, Failure> {
    apply(
        &server.client,
        format!("kind: ActivityDefinition\ntype: {HOLD}\n---\ntype: hold\nactivities:\n- id: hold\n  type: {HOLD}\n"),
    )
    .await?;
    // They leave when they are dropped.
    let (mut running, mut agents) = (JoinSet::new(), Vec::new());
    for number in 0..waiters.div_ceil(OF_ONE) {
        agents.push(agent(server, number, &mut running).await?);
    }
    let mut writer = connection(server).await?;
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let key = format!("delivery/agents/{round}");
        let mut waiting = JoinSet::new();
        for number in 0..waiters {
            let (values, key) = (agents[number as usize % agents.len()].clone(), key.clone());
            waiting.spawn(async move {
                let waited = values.await_value(&key, PATIENCE).await;
                waited.map(|_| Instant::now())
            });
        }
        let all = f64::from(waiters);
        until(&server.client, "unisono_values_awaiting", PATIENCE, |count| {
            count >= all
        })
        .await?;
        let begin = Instant::now();
        put(&mut writer, &path(&key), round).await?;
        let mut last = begin;
        while let Some(waited) = waiting.join_next().await {
            let at = waited.map_err(|_| ended())?;
            last = last.max(at.map_err(|error| Failure::work(error.to_string()))?);
        }
        took.push(last.duration_since(begin));
    }
    Ok(took)
}

/// The values as an attempt of an agent of this process sees them.
async fn agent(server: &Server, number: u32, running: &mut JoinSet<()>) -> Result<Values, Failure> {
    let (sender, mut values) = mpsc::unbounded_channel();
    let agent = Agent::builder()
        .name(format!("waiter-{number}"))
        .server(&server.url)
        .namespace(NAMESPACE)
        .concurrency(1)
        .function(HOLD, move |context| {
            let sender = sender.clone();
            Box::pin(async move {
                sender.send(context.values()).or_fatal("gone")?;
                context.cancelled().await;
                Ok(ActivityResult::Complete)
            })
        })
        .build()
        .map_err(|error| Failure::work(error.to_string()))?;
    running.spawn(async {
        let _ = agent.run(std::future::pending()).await;
    });
    server.client.start(&request("hold")).await?;
    values.recv().await.ok_or_else(ended)
}
