//! What a process may believe about its leadership.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Moment};
use crate::lease::{FencingToken, LeaseKey};

/// One leadership of one slot, which begins with the grant of its lease and ends once and for all.
///
/// It ends by itself, by the clock: also where nothing that could end it runs.
#[derive(Clone)]
pub struct Leadership(Arc<Inner>);

struct Inner {
    key: LeaseKey,
    token: FencingToken,
    clock: Arc<dyn Clock>,
    /// Nothing, when it has been ended.
    until: Mutex<Option<Moment>>,
    deadline: watch::Sender<Moment>,
    ended: CancellationToken,
}

impl Leadership {
    /// It ends at the first moment, and all that runs under it is dead at the second one, unless both are put off.
    pub(crate) fn new(
        key: LeaseKey,
        token: FencingToken,
        (until, deadline): (Moment, Moment),
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Inner {
            key,
            token,
            clock,
            until: Mutex::new(Some(until)),
            deadline: watch::Sender::new(deadline),
            ended: CancellationToken::new(),
        }))
    }

    /// Which slot of which service.
    #[must_use]
    pub fn key(&self) -> &LeaseKey {
        &self.0.key
    }

    /// What writes carry, so that they are refused when they come too late.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.0.token
    }

    /// Whether this process leads at this moment. Ask before every act that only a leader may do.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.lock().is_some_and(|until| self.0.clock.now() < until)
    }

    /// Resolves when it has ended.
    pub async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    /// The moment at which the killer kills whatever still runs under it, now and whenever it is put off or hastened: for
    /// services that run something outside this process, which the killer does not reach.
    #[must_use]
    pub fn deadline(&self) -> watch::Receiver<Moment> {
        self.0.deadline.subscribe()
    }

    /// Ends it now.
    pub(crate) fn end(&self) {
        *self.lock() = None;
        self.0.ended.cancel();
    }

    /// Ends it now, and brings the deadline forward to this moment.
    pub(crate) fn end_by(&self, deadline: Moment) {
        self.end();
        self.0.deadline.send_modify(|current| *current = deadline.min(*current));
    }

    /// Lets it go on until the first moment, with the second one as the deadline, unless it has ended meanwhile; says
    /// whether it goes on.
    pub(crate) fn extend(&self, moment: Moment, deadline: Moment) -> bool {
        let mut until = self.lock();
        let current = until.is_some_and(|until| self.0.clock.now() < until);
        if current {
            *until = Some(moment);
            self.0.deadline.send_replace(deadline);
        }
        current
    }

    /// When it ends if it is not extended; at once, when it has been ended.
    pub(crate) fn until(&self) -> Moment {
        self.lock().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Moment>> {
        self.0.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
