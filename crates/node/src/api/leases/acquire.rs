//! Acquiring a lock, or leadership: at once, or after waiting in the queue.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::oneshot;
use unisono_engine::lease::{Acquire, LeaseCommand, LeftBecause, LockAddress, TicketEnd};
use unisono_engine::{Command, Rejection, Reply};
use unisono_model::ids::Revision;

use crate::api::Api;
use crate::api::problem::{Answer, ApiError};
use crate::hub::Hub;
use crate::partition::Unavailable;

/// After the deadline of the queue for so long the queue is waited for to say so.
const LATENESS: Duration = Duration::from_secs(10);

/// Who waits for the end of a place in a queue; swept when dropped.
struct Waiting {
    hub: Arc<Hub>,
    ticket: Revision,
    receiver: oneshot::Receiver<TicketEnd>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.receiver.close();
        self.hub.waits.sweep_ticket(self.ticket);
    }
}

/// The fencing token of the grant. Whoever is cut off while it waits keeps its place as long as its lease lives, and goes on
/// waiting when it asks again.
pub(super) async fn acquire(api: &Api, acquire: Acquire) -> Answer<Revision> {
    let (lock, wait_ms) = (acquire.lock.clone(), acquire.wait_ms);
    let (sender, receiver) = oneshot::channel();
    let hub = Arc::clone(&api.hub);
    // Before the end of the place can be told.
    let on_reply = move |outcome: &Result<Reply, Rejection>| {
        if let Ok(Reply::Queued { ticket }) = outcome {
            hub.waits.ticket(*ticket, sender);
        }
    };
    let command = Command::Lease(LeaseCommand::Acquire(acquire));
    let ticket = match api.partition.command_with(command, on_reply).await?? {
        Reply::Granted { token } => return Ok(token),
        Reply::Queued { ticket } => ticket,
        _ => return Err(ApiError::internal("an acquisition was answered with something else")),
    };
    let mut waiting = Waiting {
        hub: Arc::clone(&api.hub),
        ticket,
        receiver,
    };
    let patience = Duration::from_millis(wait_ms.unwrap_or_default()) + LATENESS;
    let end = tokio::select! {
        end = &mut waiting.receiver => end.map_err(|_| Unavailable::Lost)?,
        () = tokio::time::sleep(patience) => return Err(Unavailable::Lost.into()),
        () = api.stopping.cancelled() => return Err(Unavailable::Stopping.into()),
    };
    match end {
        TicketEnd::Granted(token) => Ok(token),
        TicketEnd::Left(because) => Err(left(&lock, because)),
    }
}

fn left(lock: &LockAddress, because: LeftBecause) -> ApiError {
    let what = format!("{} \"{}\"", lock.family().as_str(), lock.name);
    match because {
        LeftBecause::TimedOut => ApiError::new(
            StatusCode::CONFLICT,
            "lock-wait-timeout",
            format!("{what} was not free in time"),
        )
        .field("waitMs")
        .help(format!(
            "wait longer; `unisono get {} {}` shows who holds it",
            lock.family().as_str(),
            lock.name
        )),
        LeftBecause::LeaseEnded => {
            ApiError::not_found("lease-not-found", format!("the lease that waited for {what} has ended"))
                .field("lease")
                .help("renew the lease while it waits")
        }
        LeftBecause::Released => ApiError::conflict("lock-not-held", format!("the lease has left the queue of {what}"))
            .field("lease")
            .help("somebody released it while it waited; acquire again"),
    }
}
