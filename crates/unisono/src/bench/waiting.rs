//! Orchestrations that wait, by the hundred thousand: half of them for an external call, half for an agent that does not
//! exist.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use unisono_agent::{ActivityResult, Agent};
use unisono_client::Client;
use unisono_model::api::{CancelRequest, StartRequest};

use super::load::{Connection, request};
use super::target::{NAMESPACE, Server, apply, name};
use crate::failure::Failure;

/// What waits for an external call.
pub(super) const EXTERNAL: &str = "waits-for-a-call";
/// What waits for an agent that does not exist.
pub(super) const NOBODY: &str = "waits-for-an-agent";
/// The activity type that agents answer with a wait.
const WAIT: &str = "bench.wait";
/// Starts under way at the same time.
const STARTERS: u32 = 256;

/// Their definitions.
fn definitions() -> String {
    format!(
        "kind: ActivityDefinition\ntype: {WAIT}\n---\nkind: ActivityDefinition\ntype: bench.nobody\n---\n\
         type: {EXTERNAL}\nactivities:\n- id: ask\n  type: {WAIT}\n- id: go-on\n  type: bench.nobody\n  dependsOn: ask\n---\n\
         type: {NOBODY}\nactivities:\n- id: ask\n  type: bench.nobody\n- id: go-on\n  type: bench.nobody\n  dependsOn: ask\n"
    )
}

/// Applies the definitions of what waits.
///
/// # Errors
/// [`Failure`] when the server does not take them.
pub(super) async fn prepare(client: &Client) -> Result<(), Failure> {
    apply(client, definitions()).await.map(drop)
}

/// The id of one of them.
pub(super) fn id(number: u32) -> String {
    format!("order-{number:08}")
}

fn start(number: u32) -> StartRequest {
    let type_name = if number.is_multiple_of(2) { EXTERNAL } else { NOBODY };
    let input = format!(r#"{{"customer":{number},"country":"se"}}"#);
    StartRequest {
        id: Some(id(number)),
        input: serde_json::value::RawValue::from_string(input).ok(),
        ..request(type_name)
    }
}

/// Starts the orchestrations of these numbers.
///
/// # Errors
/// [`Failure`] when one of them cannot be started.
pub(super) async fn start_all(server: &Server, numbers: Range<u32>) -> Result<(), Failure> {
    work(server, numbers, false).await
}

/// Starts the orchestrations of these numbers, and cancels each at once.
///
/// # Errors
/// [`Failure`] when one of them cannot be started or cancelled.
pub(super) async fn start_and_cancel(server: &Server, numbers: Range<u32>) -> Result<(), Failure> {
    work(server, numbers, true).await
}

async fn work(server: &Server, numbers: Range<u32>, cancels: bool) -> Result<(), Failure> {
    let namespace = name(NAMESPACE)?;
    let next = Arc::new(AtomicU32::new(numbers.start));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..STARTERS.min(numbers.end - numbers.start) {
        let mut connection = Connection::open(&server.url, &namespace).await?;
        let (next, client) = (Arc::clone(&next), server.client.clone());
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return Ok::<_, Failure>(());
                }
                connection.start(&start(number), None).await?;
                if cancels {
                    client.cancel(&id(number), &CancelRequest::default()).await?;
                }
            }
        });
    }
    while let Some(worked) = workers.join_next().await {
        worked.map_err(|error| Failure::work(format!("a worker failed: {error}")))??;
    }
    Ok(())
}

/// Agents of this process that answer every activity of theirs with a wait. They leave when it is dropped.
pub(super) struct Waiters {
    agents: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Waiters {
    /// Connects so many.
    ///
    /// # Errors
    /// [`Failure`] when one cannot be made.
    pub(super) fn connect(server: &Server, count: u32, concurrency: u32) -> Result<Self, Failure> {
        let agents = (0..count)
            .map(|number| {
                let agent = Agent::builder()
                    .name(format!("waiter-{number}"))
                    .server(&server.url)
                    .namespace(NAMESPACE)
                    .concurrency(concurrency)
                    .function(WAIT, |_| Box::pin(async { Ok(ActivityResult::Wait { timeout: None }) }))
                    .build()
                    .map_err(|error| Failure::work(error.to_string()))?;
                let (stop, stopped) = oneshot::channel();
                let agent = tokio::spawn(async move {
                    let _ = agent
                        .run(async {
                            let _ = stopped.await;
                        })
                        .await;
                });
                Ok((stop, agent))
            })
            .collect::<Result<_, Failure>>()?;
        Ok(Self { agents })
    }

    /// Lets them leave.
    pub(super) async fn leave(self) {
        for (stop, agent) in self.agents {
            let _ = stop.send(());
            let _ = agent.await;
        }
    }
}

/// A number of a server's metrics; `name` is all of a line before the number.
///
/// # Errors
/// [`Failure`] when the server does not answer, or has no such number.
pub(super) async fn metric(client: &Client, name: &str) -> Result<f64, Failure> {
    let text = client.metrics().await?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.trim().parse().ok())
        .ok_or_else(|| Failure::work(format!("the server has no metric {name}")))
}

/// Waits until a metric has at least, or at most, a value.
///
/// # Errors
/// [`Failure`] when that takes longer than `patience`.
pub(super) async fn until(
    client: &Client,
    name: &str,
    patience: Duration,
    holds: impl Fn(f64) -> bool,
) -> Result<(), Failure> {
    let begin = std::time::Instant::now();
    loop {
        let value = metric(client, name).await?;
        if holds(value) {
            return Ok(());
        }
        if begin.elapsed() > patience {
            return Err(Failure::work(format!(
                "{name} is still {value} after {} s",
                patience.as_secs()
            )));
        }
        sleep(Duration::from_millis(100)).await;
    }
}
