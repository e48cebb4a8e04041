//! Waiters that each have a connection of their own.
//!
//! They share two cores with the server, so they read as cheaply as a client can: the bytes of an answer, whether it is a
//! good one, and that it holds the value.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::delivery::{ROUNDS, connection, ended, put};
use super::{path, text};
use crate::bench::target::{NAMESPACE, PATIENCE, Server};
use crate::bench::waiting::until;
use crate::failure::Failure;

/// Connections that are opened at the same time.
const OPENERS: u32 = 64;
/// More than an answer takes, head and all.
const ANSWER_BYTES: usize = 1_024;

/// From when a write is sent until the last of the waiters has it.
pub(super) async fn to_connections(server: &Server, waiters: u32) -> Result<Vec<Duration>, Failure> {
    let mut connections = open_all(server, waiters).await?;
    let mut writer = connection(server).await?;
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let path = path(&format!("delivery/shared/{round}"));
        let request: Arc<str> = request(server, &path).into();
        let value: Arc<str> = text(round.into()).into();
        let mut waiting = JoinSet::new();
        for mut connection in connections.drain(..) {
            let (request, value) = (Arc::clone(&request), Arc::clone(&value));
            waiting.spawn(async move {
                connection.write_all(request.as_bytes()).await.map_err(|_| ended())?;
                read(&mut connection, &value).await?;
                Ok::<_, Failure>((Instant::now(), connection))
            });
        }
        let all = f64::from(waiters);
        until(&server.client, "unisono_values_awaiting", PATIENCE, |count| {
            count >= all
        })
        .await?;
        let begin = Instant::now();
        put(&mut writer, &path, round).await?;
        let mut last = begin;
        while let Some(waited) = waiting.join_next().await {
            let (at, connection) = waited.map_err(|_| ended())??;
            last = last.max(at);
            connections.push(connection);
        }
        took.push(last.duration_since(begin));
    }
    Ok(took)
}

fn request(server: &Server, path: &str) -> String {
    format!(
        "GET /api/v1/namespaces/{NAMESPACE}{path}?waitMs={} HTTP/1.1\r\nhost: {}\r\n\r\n",
        PATIENCE.as_millis(),
        host(server)
    )
}

fn host(server: &Server) -> &str {
    server.url.trim_start_matches("http://")
}

/// Reads one whole answer, which has to hold the value.
async fn read(connection: &mut TcpStream, value: &str) -> Result<(), Failure> {
    let (mut buffer, mut filled) = ([0; ANSWER_BYTES], 0);
    loop {
        match connection.read(&mut buffer[filled..]).await {
            Ok(0) | Err(_) => return Err(ended()),
            Ok(bytes) => filled += bytes,
        }
        let answer = String::from_utf8_lossy(&buffer[..filled]);
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            continue;
        };
        if body.len() < content_length(head) {
            continue;
        }
        return match head.starts_with("HTTP/1.1 200 ") && body.contains(value) {
            true => Ok(()),
            false => Err(Failure::work(format!(
                "a waiter was answered with something else: {answer}"
            ))),
        };
    }
}

/// Bytes of the body; a head without it is no answer of the server's, and refused for what it is.
fn content_length(head: &str) -> usize {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths
        .next()
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

async fn open_all(server: &Server, count: u32) -> Result<Vec<TcpStream>, Failure> {
    let mut opening = JoinSet::new();
    for opener in 0..OPENERS.min(count) {
        let address = host(server).to_owned();
        let share = (opener..count).step_by(OPENERS as usize).len();
        opening.spawn(async move {
            let mut connections = Vec::with_capacity(share);
            for _ in 0..share {
                connections.push(TcpStream::connect(&address).await?);
            }
            Ok::<_, std::io::Error>(connections)
        });
    }
    let mut connections = Vec::new();
    while let Some(opened) = opening.join_next().await {
        let opened = opened.map_err(|_| ended())?;
        connections.extend(opened.map_err(|error| Failure::work(format!("cannot connect: {error}")))?);
    }
    Ok(connections)
}
