//! Time as leases need it: it goes on while the machine is suspended, and nobody sets it.

mod system;

use std::fmt;
use std::io;
use std::ops::{Add, Sub};
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use system::SystemClock;

/// A moment on a [`Clock`]. Moments of different machines, or of different starts of one, have nothing in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The moment so long after the clock began.
    #[must_use]
    pub const fn after_start(time: Duration) -> Self {
        Self(time)
    }

    /// How long after the clock began it is.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long after another moment it is; nothing when it is before it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(time))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.0.as_secs_f64())
    }
}

/// Tells the time, waits for it, and sets alarms.
///
/// It must never go back or stand still, also while the machine is suspended, and must not follow the time of day,
/// which people set. [`SystemClock`] is the one outside tests.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Moment;

    /// Resolves at the moment, or at once when it has passed.
    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()>;

    /// An alarm, not yet set. It must go off on time whatever the tasks of this process do, and so not be one of them.
    ///
    /// # Errors
    /// When the system has no timer or no thread for it.
    fn alarm(&self, deed: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Alarm>>;
}

/// Does its deed once, at the moment that it was last set to. It stays set when it is dropped.
pub trait Alarm: Send + Sync {
    /// Sets it to this moment, or to none.
    fn set(&self, moment: Option<Moment>);
}
