//! The shutdowner: stops everything, in this order and no other.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::host::Launched;
use crate::launcher::Tenure;
use crate::life::{Life, Stage};
use crate::problem::Problem;
use crate::storage::Storage;

/// Waits for the host shutdown, and stops everything.
pub(crate) struct Shutdowner {
    life: Arc<Life>,
    storage: Storage,
    launched: oneshot::Receiver<Launched>,
}

impl Shutdowner {
    pub(crate) fn new(life: Arc<Life>, storage: Storage, launched: oneshot::Receiver<Launched>) -> Self {
        Self {
            life,
            storage,
            launched,
        }
    }

    /// The services, the monitor, the release of the lease, shut down.
    pub(crate) async fn run(mut self) {
        self.life.host_shutdown.cancelled().await;
        self.life.stage.send_replace(Stage::Stopping);
        self.life.services_shutdown.cancel();
        let tenure = self.services_stopped().await;
        self.life.monitor_shutdown.cancel();
        if let Some(tenure) = tenure {
            self.end(tenure).await;
        }
        self.life.stage.send_replace(Stage::ShutDown);
        self.life.shut_down.cancel();
    }

    /// Waits until the launcher has ended, which it does when its services have.
    async fn services_stopped(&mut self) -> Option<Tenure> {
        // An error means that the host was dropped without ever being launched.
        let launcher = (&mut self.launched).await.ok()?;
        launcher.await.unwrap_or_else(|panicked| {
            // Nothing is proven of its services, so the killer stays armed.
            self.life.problem.raise(Problem::Broken(panicked.to_string()));
            None
        })
    }

    /// Ends the leadership, for us before for others.
    async fn end(&self, tenure: Tenure) {
        // It panicked, or it ended in order: it renews nothing any more.
        let _ = tenure.monitor.await;
        tenure.leadership.end();
        self.storage.release(tenure.leadership.key()).await;
    }
}
