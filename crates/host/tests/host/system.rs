//! The clock of the system, and the killer on it, in real time.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use unisono_host::{
    Clock as _, Deed, Host, HostConfig, Killer, MemoryStore, Moment, ServiceContext, SystemClock, Timing, service,
};

use crate::world::millis;

/// More than a busy machine is late by.
const LATE: Duration = Duration::from_secs(5);

/// Tells when it was done.
struct Told(Mutex<mpsc::Sender<Moment>>);

impl Deed for Told {
    fn kill(&self, _: &str) {
        let _ = self.0.lock().unwrap().send(SystemClock.now());
    }
}

fn told() -> (Arc<Told>, mpsc::Receiver<Moment>) {
    let (sender, receiver) = mpsc::channel();
    (Arc::new(Told(Mutex::new(sender))), receiver)
}

fn killer() -> (Killer, mpsc::Receiver<Moment>) {
    let (deed, kills) = told();
    (Killer::new(&SystemClock, deed, "the test".to_owned()).unwrap(), kills)
}

#[test]
fn the_clock_goes_on() {
    let (before, begin) = (SystemClock.now(), Instant::now());
    std::thread::sleep(millis(5));
    let counted = SystemClock.now().since(before);
    assert!(
        counted >= millis(5) && counted <= begin.elapsed() + millis(1),
        "{counted:?}"
    );
}

#[tokio::test]
async fn a_sleep_ends_at_its_moment_and_at_once_when_that_has_passed() {
    let begin = SystemClock.now();
    SystemClock.sleep_until(begin + millis(30)).await;
    assert!(SystemClock.now() >= begin + millis(30));
    let begin = Instant::now();
    SystemClock.sleep_until(Moment::default()).await;
    assert!(begin.elapsed() < LATE);
}

#[test]
fn a_killer_kills_at_its_moment_without_any_runtime() {
    let (killer, kills) = killer();
    let at = SystemClock.now() + millis(30);
    killer.arm(at);
    let killed = kills.recv_timeout(LATE).unwrap();
    assert!(killed >= at);
}

#[test]
fn a_killer_can_be_put_off_and_hastened() {
    let (killer, kills) = killer();
    let begin = SystemClock.now();
    killer.arm(begin + millis(20));
    killer.arm(begin + millis(100_000));
    assert!(kills.recv_timeout(millis(80)).is_err(), "it was put off");
    killer.hasten(begin + millis(200_000));
    killer.hasten(begin + millis(100));
    assert!(kills.recv_timeout(LATE).unwrap() >= begin + millis(100));
}

#[test]
fn a_disarmed_killer_lets_live_for_good() {
    let (killer, kills) = killer();
    killer.arm(SystemClock.now() + millis(20));
    killer.disarm();
    killer.arm(SystemClock.now() + millis(20));
    assert!(kills.recv_timeout(millis(80)).is_err());
}

#[test]
fn a_killer_that_is_dropped_kills_nevertheless() {
    let (killer, kills) = killer();
    killer.arm(SystemClock.now() + millis(20));
    drop(killer);
    kills.recv_timeout(LATE).unwrap();
}

#[test]
fn a_killer_that_was_never_armed_goes_with_its_owner() {
    let (killer, kills) = killer();
    drop(killer);
    // Its thread has the sender, and has ended when that is gone.
    assert_eq!(kills.recv_timeout(LATE), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[tokio::test]
async fn a_blocked_runtime_does_not_outlive_its_lease() {
    let lease = millis(400);
    let (deed, kills) = told();
    let blocks = service("blocks", |context: ServiceContext| async move {
        context.started();
        // The only thread of the runtime: nothing renews, nothing notices, nothing stops.
        std::thread::sleep(millis(800));
        Ok(())
    });
    let config = HostConfig::new("web", Arc::new(MemoryStore::new(Arc::new(SystemClock))));
    let config = HostConfig {
        timing: Timing::of_lease(lease),
        deed,
        ..config
    }
    .with(blocks);
    let begin = SystemClock.now();
    let host = Host::new(config).unwrap();
    host.launch().unwrap();
    let blocked = Instant::now();
    host.stage()
        .wait_for(|stage| !matches!(stage, unisono_host::Stage::Created))
        .await
        .unwrap();
    while blocked.elapsed() < millis(800) {
        tokio::task::yield_now().await;
    }
    let killed = kills.try_recv().unwrap().since(begin);
    assert!(killed >= lease * 19 / 20 && killed < lease + millis(300), "{killed:?}");
}

#[tokio::test]
async fn the_store_in_memory_keeps_what_every_store_must() {
    unisono_host::conformance::check(&MemoryStore::new(Arc::new(SystemClock)), "web").await;
}
