//! Clients that use values, locks and queues at the same time, while the server is killed again and again: there is an
//! order of everything that they did in which each of them was told the truth.
//!
//! The histories are judged by `unisono-linearizability`, whose own tests show what it catches. `UNISONO_SEED=n` repeats
//! the random choices, `UNISONO_SOAK=minutes` makes a run longer.

mod fair;
mod locks;
mod queue;
mod registers;

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use unisono_client::{Client, ClientError};
use unisono_linearizability::{Call, History, Model, Recorder, check};
use unisono_model::ids::Revision;
use unisono_model::leases::LeaseRequest;
use unisono_model::name::Name;

use crate::harness::{Random, Server, ServerSetup, eventually};

/// How long clients are at it, and how long the server lives between two kills.
const USUAL: Duration = Duration::from_secs(6);
const LIFE: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(1_300));
/// Time in which the server is away.
const ABSENCE: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(100));
/// Fewer would prove little.
const LEAST_KILLS: u32 = 3;
const LEAST_OPERATIONS: usize = 2_000;
/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_concurrent_clients_see_of_a_server_that_is_killed_has_an_order() {
    let mut random = Random::seeded();
    let server = ServerSetup::default().checkpoint_bytes(64 * 1024).start();
    let over = Arc::new(AtomicBool::new(false));
    let mut users = JoinSet::new();
    let mut number = 0;
    let mut user = || {
        number += 1;
        User {
            number,
            client: server.client(),
            random: random.fork(),
            over: Arc::clone(&over),
        }
    };
    let (registers, locks, fair, queue) = <(
        Arc<registers::Record>,
        Arc<locks::Records>,
        Arc<fair::Record>,
        Arc<queue::Record>,
    )>::default();
    for _ in 0..6 {
        users.spawn(registers::use_them(user(), Arc::clone(&registers)));
    }
    for _ in 0..4 {
        users.spawn(locks::use_them(user(), Arc::clone(&locks)));
        users.spawn(fair::use_it(user(), Arc::clone(&fair)));
        users.spawn(queue::use_it(user(), Arc::clone(&queue)));
    }
    let killed = tokio::task::spawn_blocking(move || kill_and_restart(server, random));
    let (_server, kills) = killed.await.unwrap();
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = users.join_next().await {
        ended.unwrap();
    }
    eprintln!("{kills} kills");
    let operations = registers::judge(registers) + locks::judge(locks) + fair::judge(fair) + queue::judge(queue);
    assert!(kills >= LEAST_KILLS, "only {kills} kills");
    assert!(operations >= LEAST_OPERATIONS, "only {operations} operations");
}

fn duration() -> Duration {
    match std::env::var("UNISONO_SOAK") {
        Ok(minutes) => Duration::from_secs(60 * minutes.parse::<u64>().expect("UNISONO_SOAK is a number of minutes")),
        Err(_) => USUAL,
    }
}

/// Kills the server again and again; in the end it runs.
fn kill_and_restart(mut server: Server, mut random: Random) -> (Server, u32) {
    let (begin, mut kills) = (Instant::now(), 0);
    while begin.elapsed() < duration() {
        std::thread::sleep(random.between(LIFE.0, LIFE.1));
        server.kill();
        kills += 1;
        std::thread::sleep(random.between(ABSENCE.0, ABSENCE.1));
        server.restart();
    }
    (server, kills)
}

/// Somebody who asks one thing after the other.
struct User {
    number: usize,
    client: Client,
    random: Random,
    over: Arc<AtomicBool>,
}

impl User {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// A number that nobody else has, other than the last one.
    fn fresh(&self, last: u64) -> u64 {
        let mine = 1_000_000 * self.number as u64;
        last.max(mine) + 1
    }

    /// A lease that nothing else ends than the user.
    async fn lease(&self) -> Revision {
        let holder = format!("user-{}", self.number);
        let request = LeaseRequest {
            holder: Name::parse(&holder).unwrap(),
            ttl_ms: u64::try_from(FOR_EVER.as_millis()).unwrap(),
            party: None,
        };
        self.insist(|| self.client.grant_lease(&request)).await.id
    }

    async fn until_the_server_is_back(&self) {
        eventually("the server is back", || async { self.client.ready().await.ok() }).await;
    }

    /// The answer to a question that may be asked again, through any number of kills.
    async fn insist<T, F: Future<Output = Result<T, ClientError>>>(&self, ask: impl Fn() -> F) -> T {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) if error.is_unreachable() => self.until_the_server_is_back().await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Notes what came of a call: an answer, a refusal, or nothing. In the latter case the server is waited for.
    async fn note<K: Clone + Ord, I, O: Copy>(
        &self,
        (record, call): (&Recorder<K, I, O>, &Call<K>),
        came: Result<O, ClientError>,
        refusal: impl Fn(&str) -> Option<O>,
    ) -> Option<O> {
        let output = match came {
            Ok(output) => output,
            Err(error) if error.is_unreachable() => {
                // A connection breaks when the server is dead, and what it had not done by then will not happen. An answer
                // that only takes too long leaves it open.
                if matches!(error, ClientError::Unreachable { .. }) {
                    record.lost(call);
                }
                self.until_the_server_is_back().await;
                return None;
            }
            Err(error) => error.code().and_then(refusal).unwrap_or_else(|| panic!("{error}")),
        };
        record.returned(call, output);
        Some(output)
    }
}

/// Panics unless the history of each key has an order, and tells how many operations it has.
fn judge_history<M, K>(what: &str, model: &M, history: &History<K, M::Input, M::Output>) -> usize
where
    M: Model,
    K: Debug,
{
    let operations = history.values().flatten();
    let answered = operations.clone().filter(|operation| operation.output().is_some());
    let (all, answered) = (operations.count(), answered.count());
    let begin = Instant::now();
    check(model, history).assert_linearizable();
    eprintln!(
        "{what}: {all} operations, {answered} of them answered, judged in {:?}",
        begin.elapsed()
    );
    all
}

/// The history, when nobody records any more.
fn finish<K: Clone + Ord + Debug, I: Debug, O: Debug>(record: Arc<Recorder<K, I, O>>) -> History<K, I, O> {
    Arc::try_unwrap(record).expect("nobody records any more").finish()
}
