//! How long a write takes until it is where it is waited for.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use serde::Serialize;
use tokio::sync::mpsc;
use unisono_model::api::Page;
use unisono_model::values::{PutResponse, ValueView, WaiterView};

use super::agents::to_agents;
use super::connections::to_connections;
use super::{ValuesArgs, content, path};
use crate::bench::load::Connection;
use crate::bench::quantiles::{MICROSECOND, MILLISECOND, Quantiles};
use crate::bench::target::{NAMESPACE, PATIENCE, Server, name};
use crate::failure::Failure;

/// Writes that very many wait for.
pub(super) const ROUNDS: u32 = 10;

/// From when a write is sent until who waits has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delivery {
    pub(super) waiters: u32,
    /// Until the writer has its answer, for comparison.
    pub(super) put_us: Quantiles,
    #[serde(rename = "watchDeliveryUs")]
    pub(super) watch_us: Quantiles,
    #[serde(rename = "futureDeliveryUs")]
    pub(super) future_us: Quantiles,
    /// Until the last of the waiters has it, each on a connection of its own.
    pub(super) fan_out_ms: Quantiles,
    /// The same for waiters that share the connections of a few agents.
    pub(super) fan_out_agents_ms: Quantiles,
}

/// Measures one waiter at a time, and then all of them.
pub(super) async fn delivery(server: &Server, args: &ValuesArgs) -> Result<Delivery, Failure> {
    let (watch, put) = to_a_watch(server, args.deliveries).await?;
    let future = to_an_await(server, args.deliveries).await?;
    let fan_out = to_connections(server, args.waiters).await?;
    let fan_out_agents = to_agents(server, args.waiters).await?;
    Ok(Delivery {
        waiters: args.waiters,
        put_us: Quantiles::of(put, MICROSECOND),
        watch_us: Quantiles::of(watch, MICROSECOND),
        future_us: Quantiles::of(future, MICROSECOND),
        fan_out_ms: Quantiles::of(fan_out, MILLISECOND),
        fan_out_agents_ms: Quantiles::of(fan_out_agents, MILLISECOND),
    })
}

pub(super) async fn connection(server: &Server) -> Result<Connection, Failure> {
    Connection::open(&server.url, &name(NAMESPACE)?).await
}

pub(super) async fn put(writer: &mut Connection, path: &str, number: u32) -> Result<(), Failure> {
    let _: PutResponse = writer.send(Method::PUT, path, &content(number.into())).await?;
    Ok(())
}

pub(super) fn ended() -> Failure {
    Failure::work("a waiter has ended before it was told".to_owned())
}

/// One after the other; what is beside each is how long the writer waited for its answer.
async fn to_a_watch(server: &Server, count: u32) -> Result<(Vec<Duration>, Vec<Duration>), Failure> {
    let path = path("delivery/watched");
    let (mut writer, mut watcher) = (connection(server).await?, connection(server).await?);
    let events = watcher.events(&path).await?;
    let (sender, mut told) = mpsc::unbounded_channel();
    let follow = tokio::spawn(follow(events, sender));
    let (mut delivered, mut answered) = (Vec::new(), Vec::new());
    for number in 0..count {
        let begin = Instant::now();
        put(&mut writer, &path, number).await?;
        answered.push(begin.elapsed());
        let at = told.recv().await.ok_or_else(ended)?;
        delivered.push(at.duration_since(begin));
    }
    follow.abort();
    Ok((delivered, answered))
}

/// When each change was heard of.
async fn follow(mut events: Incoming, told: mpsc::UnboundedSender<Instant>) {
    while let Some(Ok(frame)) = events.frame().await {
        let at = Instant::now();
        let is_change = |data: &bytes::Bytes| data.windows(13).any(|line| line == b"event: change");
        if frame.data_ref().is_some_and(is_change) && told.send(at).is_err() {
            return;
        }
    }
}

async fn to_an_await(server: &Server, count: u32) -> Result<Vec<Duration>, Failure> {
    let (mut writer, mut waiter) = (connection(server).await?, connection(server).await?);
    let (mut looker, patience) = (connection(server).await?, PATIENCE.as_millis());
    let (keys, mut to_await) = mpsc::unbounded_channel::<String>();
    let (sender, mut told) = mpsc::unbounded_channel();
    let waiting = tokio::spawn(async move {
        while let Some(path) = to_await.recv().await {
            let _: ValueView = waiter.get(&format!("{path}?waitMs={patience}")).await?;
            let _ = sender.send(Instant::now());
        }
        Ok::<_, Failure>(())
    });
    let mut delivered = Vec::new();
    for number in 0..count {
        let key = format!("delivery/awaited/{number}");
        let _ = keys.send(path(&key));
        await_waiter(&mut looker, &key).await?;
        let begin = Instant::now();
        put(&mut writer, &path(&key), number).await?;
        let Some(at) = told.recv().await else {
            break;
        };
        delivered.push(at.duration_since(begin));
    }
    drop(keys);
    waiting.await.map_err(|_| ended())??;
    Ok(delivered)
}

/// Returns when somebody awaits the key.
async fn await_waiter(looker: &mut Connection, key: &str) -> Result<(), Failure> {
    loop {
        let waiters: Page<WaiterView> = looker.get(&format!("/waiters/{key}")).await?;
        if !waiters.items.is_empty() {
            return Ok(());
        }
    }
}
