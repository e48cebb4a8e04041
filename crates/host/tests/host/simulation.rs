//! Many hosts that compete for few slots, in random worlds: the store loses, delays and refuses calls, processes are
//! stopped, continued and killed, clocks run at different speeds, and services take their time to stop.
//!
//! A run can be repeated by its seed, which a failure names: `UNISONO_SEED=N cargo test -p unisono-host simulation`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use unisono_host::{Holder, HostConfig, LeaseKey, Service, ServiceContext, Stage, Timing, service};

use crate::world::{Fate, LEASE, Running, World, millis, slot};

/// With less room than usual, so that what is late is too late.
const TIMING: Timing = Timing {
    lease: LEASE,
    renew_every: Duration::from_secs(3),
    retry_every: Duration::from_secs(1),
    call_timeout: Duration::from_secs(5),
    grace: Duration::from_secs(4),
    margin: Duration::from_millis(500),
};
const PROCESSES: usize = 4;
const SLOTS: u32 = 2;
/// How long everything goes wrong, and how long after that nothing does.
const STORM: Duration = Duration::from_secs(240);
const CALM: Duration = Duration::from_secs(60);

#[test]
fn two_hosts_of_one_slot_never_lead_or_serve_at_the_same_time_whatever_goes_wrong() {
    let seeds = match std::env::var("UNISONO_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..60).collect::<Vec<u64>>(),
    };
    let mut leaderships = 0;
    for seed in &seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        leaderships += runtime.block_on(run(*seed));
    }
    assert!(
        leaderships >= 5 * seeds.len(),
        "only {leaderships} leaderships in {} runs prove little",
        seeds.len()
    );
}

/// Everything that one run knows.
struct Run {
    seed: u64,
    world: World,
    random: Mutex<Random>,
    hosts: Mutex<Vec<Arc<Simulated>>>,
    calm: AtomicBool,
}

/// A host, and whether its service runs.
struct Simulated {
    name: String,
    running: Running,
    serves: Arc<AtomicBool>,
    woken: Mutex<Duration>,
}

/// Returns how many leaderships there were.
async fn run(seed: u64) -> usize {
    let run = Arc::new(Run {
        seed,
        world: World::new(),
        random: Mutex::new(Random(seed)),
        hosts: Mutex::default(),
        calm: AtomicBool::new(false),
    });
    for index in 0..PROCESSES {
        tokio::spawn(Arc::clone(&run).process(index));
    }
    while run.world.elapsed() < STORM + CALM {
        tokio::time::sleep(millis(37)).await;
        run.calm.fetch_or(run.world.elapsed() >= STORM, Ordering::Relaxed);
        run.check();
    }
    run.check_that_all_slots_are_led();
    run.check_that_tokens_grow()
}

impl Run {
    fn chance(&self, percent: u64) -> bool {
        !self.is_calm() && self.random.lock().unwrap().below(100) < percent
    }

    fn time(&self, least: u64, most: u64) -> Duration {
        millis(least + self.random.lock().unwrap().below(most - least + 1))
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// One process after the other in one place, and one host after the other in each.
    async fn process(self: Arc<Self>, index: usize) {
        let speed = 990_000 + u32::try_from(self.random.lock().unwrap().below(20_001)).unwrap();
        for incarnation in 0.. {
            tokio::time::sleep(self.time(0, 5_000)).await;
            let host = self.launch(format!("{index}.{incarnation}"), speed);
            let disturbed = tokio::spawn(Arc::clone(&self).disturb(Arc::clone(&host)));
            let mut stage = host.running.host.stage();
            let ends = async {
                tokio::select! {
                    () = self.asks_to_stop() => {}
                    _ = stage.wait_for(|stage| *stage == Stage::Lost) => {}
                }
                host.running.shutdown().await;
            };
            tokio::select! {
                () = ends => {}
                () = host.running.process.dies() => {}
            }
            disturbed.abort();
            host.running.process.kill();
        }
    }

    fn launch(self: &Arc<Self>, name: String, speed: u32) -> Arc<Simulated> {
        let serves = Arc::new(AtomicBool::new(false));
        let service = self.service(Arc::clone(&serves));
        let weather = Arc::clone(self);
        let member = self
            .world
            .member(&name)
            .at_speed(speed)
            .fates(move |_| weather.fate())
            .config(move |config: &mut HostConfig| {
                config.slots = SLOTS;
                config.timing = TIMING;
                config.window = None;
                config.services.push(service);
            });
        let (running, _) = member.launch();
        let host = Arc::new(Simulated {
            name,
            running,
            serves,
            woken: Mutex::default(),
        });
        self.hosts.lock().unwrap().push(Arc::clone(&host));
        host
    }

    fn service(self: &Arc<Self>, serves: Arc<AtomicBool>) -> Box<dyn Service> {
        let run = Arc::clone(self);
        service("simulated", move |context: ServiceContext| async move {
            serves.store(true, Ordering::Relaxed);
            run.check();
            context.started();
            context.stopping().await;
            // Some stop at once, and some not within the grace.
            let slow = if run.chance(30) { run.time(0, 12_000) } else { millis(1) };
            tokio::time::sleep(slow).await;
            serves.store(false, Ordering::Relaxed);
            Ok(())
        })
    }

    fn fate(&self) -> Fate {
        if !self.chance(40) {
            return Fate {
                back: Some(self.time(0, 20)),
                ..Fate::FINE
            };
        }
        let answered = !self.chance(50);
        Fate {
            there: self.time(0, 5_500),
            done: !self.chance(40),
            back: answered.then(|| self.time(0, 5_500)),
            error: self.chance(50),
        }
    }

    /// Stops, continues and kills a process, as long as it lives.
    async fn disturb(self: Arc<Self>, host: Arc<Simulated>) {
        let process = &host.running.process;
        loop {
            tokio::time::sleep(self.time(1_000, 30_000)).await;
            if self.chance(15) {
                process.kill();
            } else if self.chance(60) {
                process.stop();
                tokio::time::sleep(self.time(10, 40_000)).await;
                *host.woken.lock().unwrap() = self.world.elapsed();
                process.go_on();
            }
        }
    }

    async fn asks_to_stop(&self) {
        loop {
            tokio::time::sleep(self.time(5_000, 60_000)).await;
            if self.chance(40) {
                return;
            }
        }
    }

    /// What must hold at every moment.
    fn check(&self) {
        let now = self.world.elapsed();
        let mut leads = BTreeMap::<LeaseKey, Vec<&str>>::new();
        let mut serves = BTreeMap::<LeaseKey, Vec<&str>>::new();
        let hosts = self.hosts.lock().unwrap();
        for host in hosts.iter().filter(|host| !host.running.process.is_dead()) {
            let Some(leadership) = host.running.leadership() else {
                continue;
            };
            let key = leadership.key().clone();
            if leadership.is_current() {
                let holder = self.world.store.holder(&key);
                assert_eq!(
                    holder,
                    Some(Holder::read(&host.name)),
                    "seed {}, {now:?}: {} believes to lead {key}",
                    self.seed,
                    host.name
                );
                leads.entry(key.clone()).or_default().push(&host.name);
            }
            // What was stopped past its lease dies at once when it goes on, but not before.
            let just_woken = *host.woken.lock().unwrap() == now;
            if host.serves.load(Ordering::Relaxed) && host.running.process.is_running() && !just_woken {
                serves.entry(key).or_default().push(&host.name);
            }
        }
        for (what, who) in [("leads", leads), ("serves", serves)] {
            for (key, names) in who {
                assert!(
                    names.len() < 2,
                    "seed {}, {now:?}: {names:?} each {what} {key}",
                    self.seed
                );
            }
        }
    }

    fn check_that_all_slots_are_led(&self) {
        for number in 1..=SLOTS {
            let hosts = self.hosts.lock().unwrap();
            let leads = |host: &&Arc<Simulated>| {
                let leadership = host.running.leadership();
                leadership.is_some_and(|leadership| leadership.is_current() && *leadership.key() == slot(number))
            };
            assert!(
                hosts.iter().any(|host| leads(&host)),
                "seed {}: nobody leads slot {number}",
                self.seed
            );
        }
    }

    /// Returns how many leaderships there were.
    fn check_that_tokens_grow(&self) -> usize {
        let hosts = self.hosts.lock().unwrap();
        let tokens: Vec<_> = hosts
            .iter()
            .filter_map(|host| host.running.leadership())
            .map(|led| led.token())
            .collect();
        let mut unique = tokens.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(
            unique.len(),
            tokens.len(),
            "seed {}: two leaderships with one token",
            self.seed
        );
        tokens.len()
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % end
    }
}
