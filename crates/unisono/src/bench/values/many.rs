//! Very many keys, and what they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use hyper::Method;
use serde::Serialize;
use tokio::task::JoinSet;
use unisono_model::key::Key;
use unisono_model::limits::MAX_TRANSACTION_PARTS;
use unisono_model::values::{OperationRequest, TransactionRequest, TransactionResponse};

use super::content;
use crate::bench::load::Connection;
use crate::bench::target::{NAMESPACE, PATIENCE, Server, name};
use crate::bench::waiting::until;
use crate::failure::Failure;

/// Transactions under way at the same time.
const WRITERS: u32 = 16;

/// Keys with values of 100 bytes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Keys {
    pub(super) keys: u32,
    /// Durable, in transactions of 128 keys.
    pub(super) keys_per_second: f64,
    #[serde(rename = "emptyRssMiB")]
    pub(super) empty_rss_mib: f64,
    #[serde(rename = "serverRssMiB")]
    pub(super) server_rss_mib: f64,
    pub(super) bytes_per_key: f64,
    /// From the start of the program after `kill -9` until it has given the last of them.
    pub(super) restart_seconds: f64,
    #[serde(rename = "restartedRssMiB")]
    pub(super) restarted_rss_mib: f64,
}

fn key(number: u32) -> String {
    format!("cells/{number:08}/endpoint")
}

/// Writes so many, looks at the server's memory, and starts it again.
pub(super) async fn keys(server: &mut Server, count: u32) -> Result<Keys, Failure> {
    let empty_rss_mib = server.process().resident_mib();
    let begin = Instant::now();
    write(server, count).await?;
    let keys_per_second = f64::from(count) / begin.elapsed().as_secs_f64();
    until(&server.client, "unisono_projector_lag_events", PATIENCE, |lag| {
        lag == 0.0
    })
    .await?;
    let server_rss_mib = server.process().resident_mib();
    server.kill().await;
    let begin = Instant::now();
    server.restart().await?;
    server.client.value(&key(count - 1)).await?;
    let restart_seconds = begin.elapsed().as_secs_f64();
    until(&server.client, "unisono_values", PATIENCE, |keys| {
        keys == f64::from(count)
    })
    .await?;
    Ok(Keys {
        keys: count,
        keys_per_second,
        empty_rss_mib,
        server_rss_mib,
        bytes_per_key: (server_rss_mib - empty_rss_mib) * 1024.0 * 1024.0 / f64::from(count),
        restart_seconds,
        restarted_rss_mib: server.process().resident_mib(),
    })
}

async fn write(server: &Server, count: u32) -> Result<(), Failure> {
    let next = Arc::new(AtomicU32::new(0));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let mut connection = Connection::open(&server.url, &name(NAMESPACE)?).await?;
        let next = Arc::clone(&next);
        writers.spawn(async move {
            loop {
                #[expect(clippy::cast_possible_truncation, reason = "it is 128")]
                let first = next.fetch_add(MAX_TRANSACTION_PARTS as u32, Ordering::Relaxed);
                if first >= count {
                    return Ok::<_, Failure>(());
                }
                let numbers = (first..count).take(MAX_TRANSACTION_PARTS);
                let puts = numbers.map(put).collect::<Result<_, Failure>>()?;
                let request = TransactionRequest {
                    r#if: Vec::new(),
                    then: puts,
                    party: None,
                };
                let _: TransactionResponse = connection.send(Method::POST, "/transactions", &request).await?;
            }
        });
    }
    while let Some(written) = writers.join_next().await {
        written.map_err(|error| Failure::work(format!("a writer failed: {error}")))??;
    }
    Ok(())
}

fn put(number: u32) -> Result<OperationRequest, Failure> {
    Ok(OperationRequest::Put {
        key: Key::parse(&key(number)).map_err(|error| Failure::work(error.to_string()))?,
        with: Box::new(content(number.into())),
    })
}
