//! Which entities something durable was decided about since that was last looked at.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{At, Entities};

/// See above.
#[derive(Default)]
pub(crate) struct Noted {
    what: Mutex<(Entities, bool)>,
    wake: Notify,
}

impl Noted {
    fn what(&self) -> MutexGuard<'_, (Entities, bool)> {
        self.what.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was decided about these.
    pub(crate) fn all(&self, entities: impl IntoIterator<Item = At>) {
        self.what().0.extend(entities);
        self.wake.notify_one();
    }

    /// Nobody knows what was decided: all are to be looked at.
    pub(crate) fn everywhere(&self) {
        self.what().1 = true;
        self.wake.notify_one();
    }

    /// Waits until there is something.
    pub(crate) async fn changed(&self) {
        loop {
            {
                let what = self.what();
                if what.1 || !what.0.is_empty() {
                    return;
                }
            }
            self.wake.notified().await;
        }
    }

    /// What there is, and whether everything is to be looked at.
    pub(super) fn take(&self) -> (Entities, bool) {
        std::mem::take(&mut *self.what())
    }
}
