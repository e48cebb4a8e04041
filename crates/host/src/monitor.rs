//! The leadership monitor: renews the lease, and sees to it that nothing is led without one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::clock::{Clock, Moment};
use crate::killer::Killer;
use crate::leadership::Leadership;
use crate::lease::StoreError;
use crate::life::{Life, Stage};
use crate::problem::{Loss, Problem};
use crate::storage::{Storage, within};
use crate::timing::Timing;

/// The store fails, and for how long and how often is told at growing intervals.
struct Outage {
    tries: u32,
    /// What the store said last.
    error: String,
    tell_at: Moment,
    pause: Duration,
}

impl Outage {
    fn begin(now: Moment) -> Self {
        Self {
            tries: 0,
            error: String::new(),
            tell_at: now,
            pause: Duration::from_secs(2),
        }
    }

    /// Counts a try; whether it is to be told.
    fn failed(&mut self, now: Moment, failure: &StoreError) -> bool {
        self.tries += 1;
        self.error = failure.to_string();
        let tells = now >= self.tell_at;
        if tells {
            self.tell_at = now + self.pause;
            self.pause *= 2;
        }
        tells
    }
}

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
        let mut outage = None::<Outage>;
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
                let error = outage.map(|outage| outage.error);
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
                    if let Some(outage) = outage.take() {
                        let (key, tries) = (self.leadership.key(), outage.tries);
                        tracing::warn!("the lease on {key} is renewed again, after {tries} tries that failed");
                    }
                    next = sent + self.timing.renew_every;
                }
                Some(Ok(_)) => return Loss::Taken,
                Some(Err(failure)) => {
                    let now = self.clock.now();
                    let outage = outage.get_or_insert_with(|| Outage::begin(now));
                    if outage.failed(now, &failure) {
                        let (key, tries) = (self.leadership.key(), outage.tries);
                        tracing::warn!("the lease on {key} is not renewed, at try {tries}: {failure}");
                    }
                    next = now.max(sent + self.timing.retry_every);
                }
                None => {
                    let error = outage.map_or_else(|| "the lease store did not answer".to_owned(), |it| it.error);
                    return Loss::NotRenewed { error: Some(error) };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_at_once_and_then_less_and_less_often() {
        let begin = Moment::after_start(Duration::from_secs(100));
        let mut outage = Outage::begin(begin);
        let failure = StoreError::TimedOut(Duration::from_secs(1));
        let told = (0..40).filter(|second| outage.failed(begin + Duration::from_secs(*second), &failure));
        assert_eq!(told.collect::<Vec<_>>(), [0, 2, 6, 14, 30]);
    }
}
