//! The clock of the system that counts suspend: `CLOCK_BOOTTIME`.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

use super::{Alarm, Clock, Moment};

/// The clock of the system. Its tasks need a tokio runtime with I/O and time enabled.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Moment::after_start(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0)))
    }

    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()> {
        async move {
            if slept_until(moment).await.is_err() {
                // There is no timer, as when all files of the process are open: a look at the clock now and then will do.
                poll_until(moment).await;
            }
        }
        .boxed()
    }

    fn alarm(&self, deed: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Alarm>> {
        let alarm = Arc::new(Shared {
            timer: timer(TimerfdFlags::CLOEXEC)?,
            state: Mutex::default(),
        });
        let thread = Arc::clone(&alarm);
        std::thread::Builder::new().name("alarm".to_owned()).spawn(move || {
            if thread.goes_off() {
                deed();
            }
        })?;
        Ok(Box::new(SystemAlarm(alarm)))
    }
}

fn timer(flags: TimerfdFlags) -> io::Result<OwnedFd> {
    Ok(timerfd_create(TimerfdClockId::Boottime, flags)?)
}

/// Sets the timer to a moment, or to none.
fn set(timer: &OwnedFd, moment: Option<Moment>) -> io::Result<()> {
    // All zeros would mean none.
    let at = moment.map_or(Duration::ZERO, |moment| {
        moment.since_start().max(Duration::from_nanos(1))
    });
    let spec = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec {
            tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at.subsec_nanos().into(),
        },
    };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &spec)?;
    Ok(())
}

async fn slept_until(moment: Moment) -> io::Result<()> {
    let timer = timer(TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    set(&timer, Some(moment))?;
    // The type for pipes is the one by which tokio waits for any open file that becomes readable.
    let timer = Receiver::from_owned_fd_unchecked(timer)?;
    loop {
        timer.readable().await?;
        match timer.try_read(&mut [0; 8]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            expired => return expired.map(drop),
        }
    }
}

async fn poll_until(moment: Moment) {
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        let left = moment.since(SystemClock.now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(PAUSE)).await;
    }
}

/// The hand of an alarm whose thread waits for its timer.
struct SystemAlarm(Arc<Shared>);

struct Shared {
    timer: OwnedFd,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    at: Option<Moment>,
    /// Nobody can set it any more.
    abandoned: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the alarm's moment, as it is set and set again; not, when it can never come.
    fn goes_off(&self) -> bool {
        loop {
            match rustix::io::read(&self.timer, &mut [0; 8]) {
                Ok(_) | Err(Errno::INTR) => {}
                // The timer is gone, which the system has no reason for: better early than never.
                Err(_) => return self.lock().at.is_some(),
            }
            let state = self.lock();
            match state.at {
                Some(at) if at <= SystemClock.now() => return true,
                None if state.abandoned => return false,
                _ => {}
            }
        }
    }
}

impl Alarm for SystemAlarm {
    fn set(&self, moment: Option<Moment>) {
        let mut state = self.0.lock();
        state.at = moment;
        // The timer is open, and the time is valid; there is nothing that the system could refuse.
        let _ = set(&self.0.timer, moment);
    }
}

impl Drop for SystemAlarm {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.abandoned = true;
        if state.at.is_none() {
            let _ = set(&self.0.timer, Some(Moment::default()));
        }
    }
}
