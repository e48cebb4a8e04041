//! Durable writes, as many at the same time as there are connections.

use std::time::{Duration, Instant};

use hyper::Method;
use serde::Serialize;
use tokio::task::JoinSet;
use unisono_model::values::{Expectation, PutRequest, PutResponse};

use super::{ValuesArgs, content, path};
use crate::bench::load::Connection;
use crate::bench::quantiles::{MILLISECOND, Quantiles};
use crate::bench::target::{NAMESPACE, Server, name};
use crate::failure::Failure;

/// Keys that each connection writes, one after the other.
const KEYS: u64 = 16;

/// Writes of one kind.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Writes {
    pub(super) per_second: f64,
    pub(super) latency_ms: Quantiles,
}

/// Plain puts.
pub(super) async fn puts(server: &Server, args: &ValuesArgs) -> Result<Writes, Failure> {
    measure(server, args, "put", |number, _| content(number)).await
}

/// Puts of which each expects the revision of the one before it.
pub(super) async fn compare_and_swaps(server: &Server, args: &ValuesArgs) -> Result<Writes, Failure> {
    let swap = |number, before: Option<&PutResponse>| PutRequest {
        r#if: Some(before.map_or_else(Expectation::absent, |before| Expectation::revision(before.revision))),
        ..content(number)
    };
    measure(server, args, "swap", swap).await
}

async fn measure(
    server: &Server,
    args: &ValuesArgs,
    what: &str,
    request: impl Fn(u64, Option<&PutResponse>) -> PutRequest + Copy + Send + 'static,
) -> Result<Writes, Failure> {
    let namespace = name(NAMESPACE)?;
    let mut connections = Vec::new();
    for number in 0..args.concurrency {
        let paths: Vec<String> = (0..KEYS).map(|key| path(&format!("{what}/{number}/{key}"))).collect();
        connections.push((Connection::open(&server.url, &namespace).await?, paths));
    }
    let begin = Instant::now();
    let until = begin + Duration::from_secs(args.seconds);
    let mut writers = JoinSet::new();
    for (mut connection, paths) in connections {
        writers.spawn(async move {
            let mut last: Vec<Option<PutResponse>> = vec![None; paths.len()];
            let mut latencies = Vec::new();
            for (number, key) in (0..).zip((0..paths.len()).cycle()) {
                if Instant::now() >= until {
                    break;
                }
                let request = request(number, last[key].as_ref());
                let begin = Instant::now();
                let response: PutResponse = connection.send(Method::PUT, &paths[key], &request).await?;
                latencies.push(begin.elapsed());
                last[key] = Some(response);
            }
            Ok::<_, Failure>(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(written) = writers.join_next().await {
        latencies.extend(written.map_err(|error| Failure::work(format!("a writer failed: {error}")))??);
    }
    #[expect(clippy::cast_precision_loss, reason = "a count becomes a figure")]
    let per_second = latencies.len() as f64 / begin.elapsed().as_secs_f64();
    Ok(Writes {
        per_second,
        latency_ms: Quantiles::of(latencies, MILLISECOND),
    })
}
