//! The command as a service of the host: started, watched, started again, stopped.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::Instant;
use unisono_host::{BoxError, Deed, EndProcess, Service, ServiceContext};
use unisono_model::hosts::HostState;

use super::health::Health;
use super::kept::Kept;
use super::status::Status;

/// The first pause before the command is started again, and the longest; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long after the grace a keeper has to have done what it was told.
const KEEPER_GRACE: Duration = Duration::from_secs(2);
/// A command that ran for so long begins with the first pause again.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// A command, and how it is run.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) command: Vec<String>,
    /// Variables besides those of this process and those of the leadership.
    pub(super) environment: Vec<(String, String)>,
    /// How long it may take to leave.
    pub(super) stop_grace: Duration,
    pub(super) health: Option<Health>,
}

/// Runs the command until the service is stopped.
pub(super) struct CommandService {
    pub(super) spec: Spec,
    pub(super) status: Status,
    pub(super) group: Group,
}

impl Service for CommandService {
    fn name(&self) -> &str {
        &self.spec.command[0]
    }

    fn run(self: Box<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), BoxError>> {
        async move {
            context.started();
            self.status.leads(context.leadership());
            self.keep_running(&context).await;
            Ok(())
        }
        .boxed()
    }
}

/// Why a run of the command ended.
enum End {
    /// The service stops.
    Stopped,
    /// Something else, as in "ended with exit code 1".
    Failed(String),
}

impl CommandService {
    async fn keep_running(&self, context: &ServiceContext) {
        let mut pause = FIRST_PAUSE;
        for restarts in 0.. {
            let begin = Instant::now();
            let why = match self.run_once(context, restarts).await {
                Ok(End::Stopped) => return,
                Ok(End::Failed(why)) => why,
                Err(error) => format!("was not started: {error}"),
            };
            if begin.elapsed() >= GOOD_RUN {
                pause = FIRST_PAUSE;
            }
            tracing::warn!("`{}` {why}; it is started again in {pause:?}", self.name());
            self.status.set(HostState::BackingOff, format!("the command {why}"));
            tokio::select! {
                () = context.stopping() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Runs the command until it has ended, however that comes about, and nothing of it is left.
    async fn run_once(&self, context: &ServiceContext, restarts: u64) -> io::Result<End> {
        let mut deadline = context.leadership().deadline();
        let until = *deadline.borrow_and_update();
        let environment = self.environment(context);
        // It may have gone since the host was started.
        if let Some((why, _)) = super::missing(self.name()) {
            return Ok(End::Failed(format!("was not started: {why}")));
        }
        let mut kept = Kept::start(&self.spec.command, environment.clone(), until).await?;
        self.group.set(Some(kept.leader()));
        self.status.running(kept.leader(), restarts);
        tracing::info!("`{}` runs as process {}", self.name(), kept.leader().as_raw_nonzero());
        let mut unhealthy = std::pin::pin!(unhealthy(self.spec.health.as_ref(), environment));
        let mut end = None;
        let mut overdue = None;
        let how = loop {
            tokio::select! {
                biased;
                how = kept.ended() => break how,
                () = context.stopping(), if !matches!(end, Some(End::Stopped)) => {
                    self.status.set(HostState::Stopping, String::new());
                    kept.stop(self.spec.stop_grace).await;
                    overdue = Some(Instant::now() + self.spec.stop_grace + KEEPER_GRACE);
                    end = Some(End::Stopped);
                }
                why = &mut unhealthy, if end.is_none() => {
                    self.status.set(HostState::Stopping, format!("the command {why}"));
                    kept.stop(self.spec.stop_grace).await;
                    overdue = Some(Instant::now() + self.spec.stop_grace + KEEPER_GRACE);
                    end = Some(End::Failed(why));
                }
                () = at(overdue), if overdue.is_some() => {
                    kept.kill();
                    overdue = None;
                }
                Ok(()) = deadline.changed() => {
                    let until = *deadline.borrow_and_update();
                    kept.live_until(until).await;
                }
            }
        };
        self.group.set(None);
        Ok(end.unwrap_or(End::Failed(how)))
    }

    /// What the command learns of its leadership, and of where the server is.
    fn environment(&self, context: &ServiceContext) -> Vec<(String, String)> {
        let (key, token) = (context.leadership().key(), context.leadership().token());
        let leadership = [
            ("UNISONO_HOST", key.service.clone()),
            ("UNISONO_HOST_SLOT", key.slot.to_string()),
            ("UNISONO_HOST_TOKEN", token.to_string()),
        ];
        let leadership = leadership.map(|(name, value)| (name.to_owned(), value));
        self.spec.environment.iter().cloned().chain(leadership).collect()
    }
}

/// Resolves at this moment; never, when there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Resolves when the command is not healthy; never, when nobody asks.
async fn unhealthy(health: Option<&Health>, environment: Vec<(String, String)>) -> String {
    match health {
        Some(health) => health.fails(environment).await,
        None => std::future::pending().await,
    }
}

/// The process group of the command, while it runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Group(Arc<Mutex<Option<Pid>>>);

impl Group {
    fn set(&self, leader: Option<Pid>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = leader;
    }
}

/// The killer's deed: the command with its group, and this process.
impl Deed for Group {
    fn kill(&self, why: &str) {
        if let Some(leader) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = kill_process_group(leader, Signal::KILL);
        }
        EndProcess.kill(why);
    }
}
