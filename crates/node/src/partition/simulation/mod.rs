//! A partition whose threads are steps of one, on a disk that fails as disks do: the same for the same seed.
//!
//! Driver, writer, projector and releaser are the real ones, and so is the store; who goes on next, what is asked, what
//! fails and when the power goes is random. Asked are runs and their activities, values, futures, leases with locks and elections,
//! and rollouts. After each crash the state that comes back must be one that was decided, with the
//! same hash, and not an earlier one than anybody was told of; everything acknowledged must be there, nothing that was refused,
//! and the histories of runs must be whole. That this would notice is shown with partitions that are broken on purpose.
//!
//! The store lies on the real disk. A crash mostly leaves all that it had written, and sometimes only what its last checkpoint
//! made durable.

#![allow(clippy::unwrap_used)]

mod load;
mod world;

use std::sync::Mutex;

use world::{Broken, Happened, Seen, World};

const SEEDS: u64 = 15;
const CRASHES: u64 = 200;

/// Seeds to run, from `PARTITION_SEED` if that is set.
fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("PARTITION_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..count,
    }
}

/// Does the same with each, on as many threads as there are cores.
fn each<T: Send, R: Send>(items: impl Iterator<Item = T> + Send, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let items = Mutex::new(items);
    let next = || items.lock().unwrap().next();
    let worker = || std::iter::from_fn(next).map(&work).collect::<Vec<R>>();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let done = workers.into_iter().map(|worker| worker.join().unwrap());
        done.flatten().collect()
    })
}

#[test]
fn every_acknowledged_fact_survives_any_crash_and_no_refused_one_appears() {
    let mut seen = Seen::new();
    for (seed, lived) in each(seeds(SEEDS), |seed| (seed, World::new(seed, None).run(CRASHES))) {
        let more = lived.unwrap_or_else(|wrong| panic!("with PARTITION_SEED={seed}: {wrong}"));
        for (what, times) in more {
            *seen.entry(what).or_default() += times;
        }
    }
    println!("{seen:?}");
    if std::env::var("PARTITION_SEED").is_err() {
        for what in Happened::ALL {
            let times = seen.get(&what).copied().unwrap_or_default();
            assert!(times >= 5, "{what:?} happened {times} times: {seen:?}");
        }
    }
}

#[test]
fn a_partition_that_is_broken_on_purpose_is_caught() {
    let caught = each(Broken::ALL.into_iter(), |broken| {
        let begin = std::time::Instant::now();
        let wrong = (0..10).find_map(|seed| World::new(seed, Some(broken)).run(CRASHES).err());
        (broken, wrong, begin.elapsed())
    });
    for (broken, wrong, took) in caught {
        let Some(wrong) = wrong else {
            panic!("{broken:?} was not noticed");
        };
        println!("{broken:?}: {wrong} ({took:?})");
    }
}
