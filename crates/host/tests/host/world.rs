//! A world in virtual time: processes that can be stopped and killed, and a lease store that can fail.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use unisono_host::{
    Alarm, Clock, Deed, Holder, Host, HostConfig, Insertion, Leadership, LeaseKey, LeaseStore, MemoryStore, Moment,
    Problem, ProblemHandle, Service, ServiceContext, Stage, StoreCall, StoreError, Timing, service,
};

pub(crate) const LEASE: Duration = Duration::from_secs(20);

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn slot(slot: u32) -> LeaseKey {
    let service = "web".to_owned();
    LeaseKey { service, slot }
}

/// What is stopped with `SIGSTOP`, continued with `SIGCONT`, and killed, as a process is.
#[derive(Clone)]
pub(crate) struct Process(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Stopped,
    Dead,
}

impl Process {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::Running)))
    }

    pub(crate) fn stop(&self) {
        self.change(State::Running, State::Stopped);
    }

    pub(crate) fn go_on(&self) {
        self.change(State::Stopped, State::Running);
    }

    pub(crate) fn kill(&self) {
        self.0.send_replace(State::Dead);
    }

    pub(crate) fn is_dead(&self) -> bool {
        *self.0.borrow() == State::Dead
    }

    pub(crate) fn is_running(&self) -> bool {
        *self.0.borrow() == State::Running
    }

    /// Resolves when the process is dead.
    pub(crate) async fn dies(&self) {
        let _ = self.0.subscribe().wait_for(|state| *state == State::Dead).await;
    }

    fn change(&self, from: State, to: State) {
        self.0.send_if_modified(|state| {
            let changes = *state == from;
            if changes {
                *state = to;
            }
            changes
        });
    }

    /// Resolves when the process runs; never, when it is dead.
    pub(crate) async fn runs(&self) {
        // It cannot fail: we have the sender.
        let _ = self.0.subscribe().wait_for(|state| *state == State::Running).await;
    }
}

/// The time of tokio, which is virtual, as a process sees it: perhaps at another speed.
#[derive(Clone)]
pub(crate) struct VirtualClock {
    start: Instant,
    process: Process,
    /// Seconds that it counts in a million seconds.
    speed: u32,
}

impl VirtualClock {
    pub(crate) fn new(start: Instant, process: Process) -> Self {
        let speed = 1_000_000;
        Self { start, process, speed }
    }

    pub(crate) fn at_speed(self, speed: u32) -> Self {
        Self { speed, ..self }
    }

    fn instant(&self, moment: Moment) -> Instant {
        self.start + moment.since_start() * 1_000_000 / self.speed
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Moment {
        Moment::after_start(self.start.elapsed() * self.speed / 1_000_000)
    }

    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        async move {
            tokio::time::sleep_until(clock.instant(moment)).await;
            while clock.now() < moment {
                // A clock at another speed is rounded.
                tokio::time::sleep(millis(1)).await;
            }
            clock.process.runs().await;
        }
        .boxed()
    }

    fn alarm(&self, deed: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Alarm>> {
        let (hand, mut set) = watch::channel(None);
        let clock = self.clone();
        tokio::spawn(async move {
            loop {
                let at: Option<Moment> = *set.borrow_and_update();
                let moved = async {
                    if set.changed().await.is_err() {
                        std::future::pending().await
                    }
                };
                let due = async {
                    match at {
                        Some(at) => clock.sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = moved => {}
                    () = due => return deed(),
                }
            }
        });
        Ok(Box::new(VirtualAlarm(hand)))
    }
}

struct VirtualAlarm(watch::Sender<Option<Moment>>);

impl Alarm for VirtualAlarm {
    fn set(&self, moment: Option<Moment>) {
        self.0.send_replace(moment);
    }
}

/// What becomes of one call of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// How long it takes to the store.
    pub(crate) there: Duration,
    /// Whether the store does what is asked.
    pub(crate) done: bool,
    /// How long the answer takes, if one comes.
    pub(crate) back: Option<Duration>,
    /// Whether the answer is an error.
    pub(crate) error: bool,
}

impl Fate {
    pub(crate) const FINE: Self = Self {
        there: Duration::ZERO,
        done: true,
        back: Some(Duration::ZERO),
        error: false,
    };
    /// Refused at once.
    pub(crate) const FAILS: Self = Self {
        done: false,
        error: true,
        ..Self::FINE
    };
    /// Nothing happens, and no answer comes.
    pub(crate) const HANGS: Self = Self {
        done: false,
        back: None,
        ..Self::FINE
    };
    /// It is done, and no answer comes.
    pub(crate) const DONE_UNHEARD: Self = Self {
        back: None,
        ..Self::FINE
    };
}

/// Says what becomes of the next call: of which operation, and when.
type Fates = Box<dyn FnMut(&'static str) -> Fate + Send>;

/// The store as one process sees it. What is under way arrives, even when nobody waits for the answer.
pub(crate) struct View {
    store: Arc<MemoryStore>,
    process: Process,
    start: Instant,
    fates: Mutex<Fates>,
    watches: bool,
    calls: Arc<Mutex<Vec<(Duration, &'static str)>>>,
}

impl View {
    fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        act: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> StoreCall<'_, T> {
        let fate = (self.fates.lock().unwrap())(operation);
        self.calls.lock().unwrap().push((self.start.elapsed(), operation));
        let under_way = tokio::spawn(async move {
            tokio::time::sleep(fate.there).await;
            let answer = if fate.done { Some(act.await) } else { None };
            let Some(back) = fate.back else {
                return std::future::pending().await;
            };
            tokio::time::sleep(back).await;
            match answer {
                Some(answer) if !fate.error => answer,
                _ => Err(StoreError::Unavailable("the connection was reset".into())),
            }
        });
        let process = self.process.clone();
        async move {
            let answer = under_way.await.unwrap();
            process.runs().await;
            answer
        }
        .boxed()
    }
}

impl LeaseStore for View {
    fn insert_if_absent<'a>(
        &'a self,
        key: &'a LeaseKey,
        holder: &'a Holder,
        ttl: Duration,
    ) -> StoreCall<'a, Insertion> {
        let (store, key, holder) = (Arc::clone(&self.store), key.clone(), holder.clone());
        self.call(
            "insert",
            async move { store.insert_if_absent(&key, &holder, ttl).await },
        )
    }

    fn compare_and_swap<'a>(
        &'a self,
        key: &'a LeaseKey,
        holder: &'a Holder,
        ttl: Duration,
    ) -> StoreCall<'a, Option<unisono_host::FencingToken>> {
        let (store, key, holder) = (Arc::clone(&self.store), key.clone(), holder.clone());
        self.call("renew", async move { store.compare_and_swap(&key, &holder, ttl).await })
    }

    fn compare_and_delete<'a>(&'a self, key: &'a LeaseKey, holder: &'a Holder) -> StoreCall<'a, bool> {
        let (store, key, holder) = (Arc::clone(&self.store), key.clone(), holder.clone());
        self.call("release", async move { store.compare_and_delete(&key, &holder).await })
    }

    fn changed(&self, service: &str) -> Option<BoxFuture<'static, ()>> {
        if !self.watches {
            return None;
        }
        let (changed, process) = (self.store.changed(service)?, self.process.clone());
        let seen = async move {
            changed.await;
            process.runs().await;
        };
        Some(seen.boxed())
    }
}

/// One store, and what happened.
pub(crate) struct World {
    pub(crate) start: Instant,
    pub(crate) store: Arc<MemoryStore>,
    log: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let start = Instant::now();
        let clock = VirtualClock::new(start, Process::new());
        Self {
            start,
            store: Arc::new(MemoryStore::new(Arc::new(clock))),
            log: Arc::default(),
        }
    }

    /// A process that can have a host, with a view of the store that is not disturbed.
    pub(crate) fn member(&self, name: &str) -> Member {
        let process = Process::new();
        let clock = VirtualClock::new(self.start, process.clone());
        Member {
            name: name.to_owned(),
            process,
            clock,
            fates: Box::new(|_| Fate::FINE),
            watches: true,
            services: Vec::new(),
            config: Box::new(|_| {}),
            store: Arc::clone(&self.store),
            start: self.start,
            log: Arc::clone(&self.log),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// What happened, without the times.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().map(|(_, what)| what.clone()).collect()
    }

    /// When something happened first.
    pub(crate) fn when(&self, what: &str) -> Duration {
        let log = self.log.lock().unwrap();
        let found = log.iter().find(|(_, happened)| happened == what);
        found.unwrap_or_else(|| panic!("no {what} in {log:?}")).0
    }

    pub(crate) async fn until(&self, time: Duration) {
        tokio::time::sleep_until(self.start + time).await;
    }
}

/// A host to be, in a process of its own.
pub(crate) struct Member {
    name: String,
    process: Process,
    clock: VirtualClock,
    fates: Fates,
    watches: bool,
    services: Vec<Box<dyn Service>>,
    config: Box<dyn FnOnce(&mut HostConfig) + Send>,
    store: Arc<MemoryStore>,
    start: Instant,
    log: Arc<Mutex<Vec<(Duration, String)>>>,
}

/// How a recorded service behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manners {
    /// How long it takes to start.
    pub(crate) starts_in: Duration,
    /// Whether it fails to start.
    pub(crate) fails: bool,
    /// How long it runs if it is not stopped.
    pub(crate) runs_for: Option<Duration>,
    /// How long it takes to stop.
    pub(crate) stops_in: Duration,
}

impl Member {
    /// What becomes of its calls of the store.
    pub(crate) fn fates(mut self, fates: impl FnMut(&'static str) -> Fate + Send + 'static) -> Self {
        self.fates = Box::new(fates);
        self
    }

    /// The same for its calls in turn; those after them are fine.
    pub(crate) fn fates_in_turn(self, fates: impl IntoIterator<Item = Fate>) -> Self {
        let mut fates: VecDeque<Fate> = fates.into_iter().collect();
        self.fates(move |_| fates.pop_front().unwrap_or(Fate::FINE))
    }

    /// It must ask for a slot now and again.
    pub(crate) fn without_watch(mut self) -> Self {
        self.watches = false;
        self
    }

    pub(crate) fn at_speed(mut self, speed: u32) -> Self {
        self.clock = self.clock.at_speed(speed);
        self
    }

    pub(crate) fn config(mut self, change: impl FnOnce(&mut HostConfig) + Send + 'static) -> Self {
        self.config = Box::new(change);
        self
    }

    /// One more service, whose life is told in the log.
    pub(crate) fn service(mut self, name: &str, manners: Manners) -> Self {
        let (log, start, process) = (Arc::clone(&self.log), self.start, self.process.clone());
        let told = format!("{} {name}", self.name);
        let run = move |context: ServiceContext| async move {
            let tell = |what: &str| log.lock().unwrap().push((start.elapsed(), format!("{told} {what}")));
            tell("starts");
            tokio::time::sleep(manners.starts_in).await;
            process.runs().await;
            if manners.fails {
                return Err("the port is taken".into());
            }
            context.started();
            let own_end = async {
                match manners.runs_for {
                    Some(time) => tokio::time::sleep(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = context.stopping() => {}
                () = own_end => return Ok(()),
            }
            process.runs().await;
            tell("stops");
            tokio::time::sleep(manners.stops_in).await;
            process.runs().await;
            tell("stopped");
            Ok(())
        };
        self.services.push(service(name, run));
        self
    }

    /// Makes the host.
    pub(crate) fn host(self) -> Running {
        let calls = Arc::default();
        let view = View {
            store: self.store,
            process: self.process.clone(),
            start: self.start,
            fates: Mutex::new(self.fates),
            watches: self.watches,
            calls: Arc::clone(&calls),
        };
        let leadership = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&leadership);
        let witness = service("witness", |context: ServiceContext| async move {
            *seen.lock().unwrap() = Some(context.leadership().clone());
            context.started();
            context.stopping().await;
            Ok(())
        });
        let mut config = HostConfig {
            timing: Timing::of_lease(LEASE),
            holder: Holder::read(&self.name),
            clock: Arc::new(self.clock),
            deed: Arc::new(Kill(self.process.clone(), self.name.clone(), self.log, self.start)),
            ..HostConfig::new("web", Arc::new(view)).with(witness)
        };
        config.services.extend(self.services);
        (self.config)(&mut config);
        Running {
            host: Host::new(config).unwrap(),
            process: self.process,
            calls,
            leadership,
            start: self.start,
        }
    }

    /// Makes the host, and launches it.
    pub(crate) fn launch(self) -> (Running, Awaited) {
        let host = self.host();
        let problem = Awaited(host.host.launch().unwrap());
        (host, problem)
    }

    /// The same, and waits until it leads.
    pub(crate) async fn leads(self) -> (Running, Awaited) {
        let (host, problem) = self.launch();
        host.leading().await;
        (host, problem)
    }
}

/// The problem of a host, which must come some time: virtual time would pass for ever.
pub(crate) struct Awaited(ProblemHandle);

impl Awaited {
    pub(crate) async fn signalled(&self) -> Problem {
        in_an_hour(self.0.signalled()).await
    }

    pub(crate) fn so_far(&self) -> Option<Problem> {
        self.0.so_far()
    }
}

async fn in_an_hour<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(seconds(3600), future)
        .await
        .expect("nothing happens")
}

struct Kill(Process, String, Arc<Mutex<Vec<(Duration, String)>>>, Instant);

impl Deed for Kill {
    fn kill(&self, _: &str) {
        let Self(process, name, log, start) = self;
        process.kill();
        log.lock().unwrap().push((start.elapsed(), format!("{name} killed")));
    }
}

/// A host in its process.
pub(crate) struct Running {
    pub(crate) host: Host,
    pub(crate) process: Process,
    calls: Arc<Mutex<Vec<(Duration, &'static str)>>>,
    leadership: Arc<Mutex<Option<Leadership>>>,
    start: Instant,
}

impl Running {
    /// Waits until it leads and its services run, and says when that was.
    pub(crate) async fn leading(&self) -> Duration {
        let leads = |stage: &Stage| matches!(stage, Stage::Leading { .. });
        in_an_hour(self.host.stage().wait_for(leads)).await.unwrap();
        while self.leadership.lock().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        self.start.elapsed()
    }

    /// Whether it believes that it leads.
    pub(crate) fn believes(&self) -> bool {
        self.leadership().is_some_and(|leadership| leadership.is_current())
    }

    pub(crate) fn leadership(&self) -> Option<Leadership> {
        self.leadership.lock().unwrap().clone()
    }

    pub(crate) async fn shutdown(&self) -> Option<Problem> {
        in_an_hour(self.host.shutdown()).await.unwrap()
    }

    /// When it asked the store for this.
    pub(crate) fn calls(&self, operation: &str) -> Vec<Duration> {
        let calls = self.calls.lock().unwrap();
        calls
            .iter()
            .filter(|(_, called)| *called == operation)
            .map(|(at, _)| *at)
            .collect()
    }
}
