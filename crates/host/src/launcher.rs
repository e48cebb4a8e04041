//! The launcher: waits for leadership, and runs what it is for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::HostConfig;
use crate::killer::{Deed, Killer};
use crate::leadership::Leadership;
use crate::lease::{Insertion, LeaseKey, StoreError};
use crate::life::{Life, Stage};
use crate::monitor::Monitor;
use crate::pipeline::Pipeline;
use crate::problem::Problem;
use crate::service::Service;
use crate::storage::Storage;
use crate::timing::Timing;

/// Waits for leadership, starts the monitor and the services, and ends when the services have.
pub(crate) struct Launcher {
    life: Arc<Life>,
    storage: Storage,
    clock: Arc<dyn Clock>,
    deed: Arc<dyn Deed>,
    timing: Timing,
    window: Option<Duration>,
    service: String,
    slots: u32,
    services: Vec<Box<dyn Service>>,
    /// Slots that may be ours without our knowing: the store was asked for them and did not answer.
    doubtful: BTreeSet<LeaseKey>,
}

/// What is left of a leadership when its services have stopped.
pub(crate) struct Tenure {
    pub(crate) leadership: Leadership,
    pub(crate) monitor: JoinHandle<()>,
}

/// What one look at all slots found.
enum Round {
    Leads(Leadership),
    Waits {
        reason: String,
        pause: Duration,
        error: Option<Arc<StoreError>>,
    },
}

impl Launcher {
    pub(crate) fn new(config: HostConfig, life: Arc<Life>, storage: Storage) -> Self {
        Self {
            life,
            storage,
            clock: config.clock,
            deed: config.deed,
            timing: config.timing,
            window: config.window,
            service: config.service,
            slots: config.slots,
            services: config.services,
            doubtful: BTreeSet::new(),
        }
    }

    /// From the first try for a slot to the end of the last service.
    pub(crate) async fn run(mut self) -> Option<Tenure> {
        let why = format!(
            "killed: the lease of {} ends, and its services have not stopped",
            self.service
        );
        let killer = match Killer::new(&*self.clock, Arc::clone(&self.deed), why) {
            Ok(killer) => Arc::new(killer),
            Err(error) => {
                self.life.problem.raise(Problem::NoKiller(Arc::new(error)));
                return None;
            }
        };
        let leadership = self.campaign().await;
        let doubtful = tokio::spawn(forget(std::mem::take(&mut self.doubtful), self.storage.clone()));
        match leadership {
            Some(leadership) => Some(self.lead(leadership, killer).await),
            None => {
                let _ = doubtful.await;
                None
            }
        }
    }

    /// Tries for a slot until it has one, the window has passed, or the services have to stop.
    async fn campaign(&mut self) -> Option<Leadership> {
        let until = self.window.map(|window| self.clock.now() + window);
        loop {
            // From before the look, so that no change is missed between look and wait.
            let changed = self.storage.changed(&self.service);
            let usual = if changed.is_some() {
                self.timing.renew_every
            } else {
                self.timing.retry_every
            };
            let (reason, pause, error) = match self.look(usual).await {
                Round::Leads(leadership) => return Some(leadership),
                Round::Waits { reason, pause, error } => (reason, pause, error),
            };
            let now = self.clock.now();
            if let (Some(window), true) = (self.window, until.is_some_and(|until| until <= now)) {
                let service = self.service.clone();
                self.life.problem.raise(Problem::NotElected {
                    service,
                    window,
                    reason,
                    error,
                });
                return None;
            }
            self.waits(reason);
            let next = until.map_or(now + pause, |until| until.min(now + pause));
            tokio::select! {
                biased;
                () = self.life.services_shutdown.cancelled() => return None,
                () = async {
                    match changed {
                        Some(changed) => changed.await,
                        None => std::future::pending().await,
                    }
                } => {}
                () = self.clock.sleep_until(next) => {}
            }
        }
    }

    fn waits(&self, reason: String) {
        let stage = Stage::Candidate { reason };
        self.life.stage.send_if_modified(|former| {
            let is_new = *former != stage;
            if let (true, Stage::Candidate { reason }) = (is_new, &stage) {
                tracing::info!("waiting for a slot of {}: {reason}", self.service);
            }
            *former = stage;
            is_new
        });
    }

    /// Tries the slots in turn. A call under way is never dropped, since it may give us a slot. Where all are taken, it
    /// waits the usual time before the next look.
    async fn look(&mut self, usual: Duration) -> Round {
        let mut pause = usual;
        let mut reasons = Vec::new();
        let mut failure = None;
        for slot in 1..=self.slots {
            if self.life.services_shutdown.is_cancelled() {
                break;
            }
            let key = LeaseKey {
                service: self.service.clone(),
                slot,
            };
            let sent = self.clock.now();
            let insertion = self.storage.take(&key).await;
            let until = sent + self.timing.leads_for();
            match insertion {
                Ok(Insertion::Granted(token)) if self.clock.now() < until => {
                    self.doubtful.remove(&key);
                    let dead = sent + self.timing.lives_for();
                    let leadership = Leadership::new(key, token, (until, dead), Arc::clone(&self.clock));
                    return Round::Leads(leadership);
                }
                Ok(Insertion::Granted(_)) => {
                    reasons.push(format!("the lease store's answer on slot {slot} came too late"));
                    self.doubtful.insert(key);
                }
                Ok(Insertion::Held { by, ends_in }) => {
                    reasons.push(format!("slot {slot} is held by {by}"));
                    let soonest = self.timing.retry_every / 10;
                    pause = ends_in.map_or(pause, |ends_in| pause.min(ends_in.max(soonest)));
                }
                Err(error) => {
                    // The other slots would fare no better.
                    reasons = vec![error.to_string()];
                    pause = self.timing.retry_every;
                    failure = Some(Arc::new(error));
                    self.doubtful.insert(key);
                    break;
                }
            }
        }
        Round::Waits {
            reason: reasons.join(", "),
            pause,
            error: failure,
        }
    }

    async fn lead(self, leadership: Leadership, killer: Arc<Killer>) -> Tenure {
        killer.arm(*leadership.deadline().borrow());
        let (key, token) = (leadership.key().clone(), leadership.token());
        tracing::info!("leading {key} with the fencing token {token}");
        tracing::debug!("{}", self.timing);
        self.life.stage.send_replace(Stage::Leading { key, token });
        let monitor = Monitor {
            life: Arc::clone(&self.life),
            leadership: leadership.clone(),
            killer: Arc::clone(&killer),
            storage: self.storage,
            clock: self.clock,
            timing: self.timing,
        };
        let monitor = tokio::spawn(monitor.run());
        Pipeline::new(self.life, leadership.clone()).run(self.services).await;
        // Its services have stopped. Where they panicked on the way, this is not reached, and the killer stays armed.
        killer.disarm();
        Tenure { leadership, monitor }
    }
}

/// Gives back what may be ours without our knowing.
async fn forget(keys: BTreeSet<LeaseKey>, storage: Storage) {
    for key in keys {
        storage.release(&key).await;
    }
}
