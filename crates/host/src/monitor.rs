//! The leadership monitor: renews the lease, and sees to it that nothing is led without one.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::clock::Clock;
use crate::killer::Killer;
use crate::leadership::Leadership;
use crate::life::{Life, Stage};
use crate::problem::{Loss, Problem};
use crate::storage::{Storage, within};
use crate::timing::Timing;

/// Renews the lease of a leadership until the monitor shutdown.
pub(crate) struct Monitor {
    pub(crate) life: Arc<Life>,
    pub(crate) leadership: Leadership,
    pub(crate) killer: Arc<Killer>,
    pub(crate) storage: Storage,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timing: Timing,
}

impl Monitor {
    pub(crate) async fn run(self) {
        tokio::select! {
            biased;
            () = self.life.monitor_shutdown.cancelled() => {}
            loss = self.watch() => {
                self.lost(loss);
                self.life.monitor_shutdown.cancelled().await;
            }
        }
    }

    /// Renews the lease until leadership is lost.
    async fn watch(&self) -> Loss {
        let mut next = self.leadership.until() - self.timing.leads_for() + self.timing.renew_every;
        let mut error = None;
        let mut changed = self.changed();
        loop {
            tokio::select! {
                biased;
                () = self.clock.sleep_until(next.min(self.leadership.until())) => {}
                // A lease has ended. Where it is ours, that is not found out only when its renewal is due.
                () = &mut changed => {}
            }
            // From before the renewal, so that no change is missed between that and the wait.
            changed = self.changed();
            if !self.leadership.is_current() {
                return Loss::NotRenewed { error };
            }
            let sent = self.clock.now();
            let renewal = self.storage.renew(self.leadership.key());
            let renewal = within(&*self.clock, self.leadership.until(), renewal).await;
            match renewal {
                Some(Ok(Some(token))) if token == self.leadership.token() => {
                    let dead = sent + self.timing.lives_for();
                    if !self.leadership.extend(sent + self.timing.leads_for(), dead) {
                        return Loss::NotRenewed { error: None };
                    }
                    self.killer.arm(dead);
                    error = None;
                    next = sent + self.timing.renew_every;
                }
                Some(Ok(_)) => return Loss::Taken,
                Some(Err(failure)) => {
                    tracing::warn!("the lease on {} is not renewed: {failure}", self.leadership.key());
                    error = Some(failure.to_string());
                    next = self.clock.now().max(sent + self.timing.retry_every);
                }
                None => {
                    return Loss::NotRenewed {
                        error: error.or_else(|| Some("the lease store did not answer".to_owned())),
                    };
                }
            }
        }
    }

    /// Resolves when the store sees that a lease of the service has ended; never, where it cannot watch.
    fn changed(&self) -> BoxFuture<'static, ()> {
        let changed = self.storage.changed(&self.leadership.key().service);
        changed.unwrap_or_else(|| std::future::pending().boxed())
    }

    /// Leadership ends here before anything else happens; what still runs has the grace to stop.
    fn lost(&self, loss: Loss) {
        let dead = self.clock.now() + self.timing.grace;
        self.leadership.end_by(dead);
        self.killer.hasten(dead);
        self.life.stage.send_replace(Stage::Lost);
        let key = self.leadership.key().clone();
        self.life.problem.raise(Problem::LeadershipLost { key, loss });
        self.life.services_shutdown.cancel();
    }
}
