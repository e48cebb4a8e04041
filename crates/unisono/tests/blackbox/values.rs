//! Values, futures, leases, locks and elections of a running server.

mod agents;
mod crashes;
mod futures;
mod linearizable;
mod locks;
mod refused;
mod sharing;
mod watching;

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::value::to_raw_value;
use unisono_client::{Client, ClientError};
use unisono_model::ids::Revision;
use unisono_model::leases::{AcquireRequest, LeaseRequest, LeaseView, LockMode};
use unisono_model::name::Name;
use unisono_model::values::{Content, PutRequest, PutResponse};

use crate::harness::{Server, program};

pub(crate) fn json(value: serde_json::Value) -> Content {
    Content::Json(to_raw_value(&value).unwrap())
}

async fn put(client: &Client, key: &str, value: serde_json::Value) -> PutResponse {
    client.put_value(key, &PutRequest::new(json(value))).await.unwrap()
}

async fn put_for(client: &Client, key: &str, ttl_ms: u64) -> PutResponse {
    let request = PutRequest {
        ttl_ms: Some(ttl_ms),
        ..PutRequest::new(json("x".into()))
    };
    client.put_value(key, &request).await.unwrap()
}

async fn content(client: &Client, key: &str) -> Option<String> {
    let view = client.find_value(key).await.unwrap()?;
    Some(String::from_utf8(view.content().unwrap().as_bytes().to_vec()).unwrap())
}

fn code<T: std::fmt::Debug>(refused: Result<T, ClientError>) -> String {
    let error = refused.expect_err("it should have been refused");
    error.code().unwrap_or_else(|| panic!("{error}")).to_owned()
}

async fn lease(client: &Client, holder: &str, ttl: Duration) -> LeaseView {
    let request = LeaseRequest {
        holder: Name::parse(holder).unwrap(),
        ttl_ms: u64::try_from(ttl.as_millis()).unwrap(),
        party: Some(Name::parse(holder).unwrap()),
    };
    client.grant_lease(&request).await.unwrap()
}

fn exclusively(lease: Revision, wait: Option<Duration>) -> AcquireRequest {
    AcquireRequest {
        lease,
        mode: LockMode::Exclusive,
        permits: None,
        wait_ms: wait.map(|wait| u64::try_from(wait.as_millis()).unwrap()),
    }
}

/// The program as a person calls it, for this server.
fn unisono(server: &Server, arguments: &[&str]) -> Command {
    let mut command = program();
    command.args(["--server", &server.url()]).args(arguments);
    command.stdin(Stdio::null());
    command
}

fn run(server: &Server, arguments: &[&str]) -> Output {
    unisono(server, arguments).output().unwrap()
}

fn start(server: &Server, arguments: &[&str]) -> Child {
    let mut command = unisono(server, arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
