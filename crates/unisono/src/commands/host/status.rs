//! What a host tells of itself, and keeps telling as long as it lives.

use std::time::Duration;

use rustix::process::Pid;
use serde_json::value::to_raw_value;
use tokio::sync::watch;
use unisono_client::{Client, ClientError};
use unisono_host::{Holder, Leadership, Stage};
use unisono_model::hosts::{HostState, HostView, member};
use unisono_model::ids::Revision;
use unisono_model::name::Name;
use unisono_model::values::{Content, PutRequest};

use crate::cli::millis;
use crate::output::now;

/// What a host tells of itself.
#[derive(Clone, Debug)]
pub(super) struct Status(watch::Sender<HostView>);

impl Status {
    pub(super) fn new(service: Name, holder: &Holder, command: Vec<String>) -> Self {
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self(watch::Sender::new(HostView {
            service,
            id: holder.as_str().to_owned(),
            state: HostState::Candidate,
            since: now(),
            reason: String::new(),
            slot: None,
            token: None,
            machine,
            pid: std::process::id(),
            command_pid: None,
            command,
            restarts: 0,
        }))
    }

    /// It does this now, for this reason.
    pub(super) fn set(&self, state: HostState, reason: String) {
        self.change(state, |view| view.reason = reason);
    }

    /// It leads, and starts its command.
    pub(super) fn leads(&self, leadership: &Leadership) {
        self.change(HostState::Starting, |view| {
            view.slot = Some(leadership.key().slot);
            view.token = Some(Revision(leadership.token().0));
            view.reason.clear();
        });
    }

    /// Its command runs as this process, after so many restarts.
    pub(super) fn running(&self, leader: Pid, restarts: u64) {
        self.change(HostState::Running, |view| {
            view.reason.clear();
            view.command_pid = u32::try_from(leader.as_raw_nonzero().get()).ok();
            view.restarts = restarts;
        });
    }

    /// The host has come this far.
    fn reached(&self, stage: &Stage) {
        match stage {
            // The service tells of itself.
            Stage::Created | Stage::Leading { .. } | Stage::ShutDown => {}
            Stage::Candidate { reason } => self.set(HostState::Candidate, reason.clone()),
            Stage::Lost => self.set(HostState::Stopping, "it leads no longer".to_owned()),
            Stage::Stopping => self.set(HostState::Stopping, "it was asked to leave".to_owned()),
        }
    }

    fn change(&self, state: HostState, change: impl FnOnce(&mut HostView)) {
        self.0.send_modify(|view| {
            if view.state != state {
                view.since = now();
            }
            view.state = state;
            view.command_pid = view.command_pid.filter(|_| state == HostState::Stopping);
            change(view);
        });
    }

    /// Tells the server of the host whenever something has changed, and often enough that it is not forgotten.
    pub(super) async fn tell(self, client: Client, mut stage: watch::Receiver<Stage>, ttl: Duration) {
        let mut view = self.0.subscribe();
        loop {
            let latest = view.borrow_and_update().clone();
            if let Err(error) = put(&client, &latest, ttl).await {
                tracing::debug!("the server does not hear of this host: {error}");
            }
            tokio::select! {
                _ = view.changed() => {}
                Ok(()) = stage.changed() => self.reached(&stage.borrow_and_update().clone()),
                () = tokio::time::sleep(ttl / 4) => {}
            }
        }
    }

    /// Tells the server that there is nothing more to tell.
    pub(super) async fn withdraw(&self, client: &Client) -> Result<(), ClientError> {
        let key = key(&self.0.borrow());
        client.delete_value(&key, None).await.map(drop)
    }
}

async fn put(client: &Client, view: &HostView, ttl: Duration) -> Result<(), ClientError> {
    let Ok(json) = to_raw_value(view) else { return Ok(()) };
    let request = PutRequest {
        ttl_ms: Some(millis(ttl)),
        ..PutRequest::new(Content::Json(json))
    };
    client.put_value(&key(view), &request).await.map(drop)
}

fn key(view: &HostView) -> String {
    member(&view.service, &view.id)
}
