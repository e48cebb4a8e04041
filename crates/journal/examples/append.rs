//! What the disk can do, and what the file journal makes of it: `cargo run --release --example append [DIR]`.

use std::{
    env, error::Error, future::Future, path::PathBuf, pin::pin, task::Context, task::Poll, task::Waker, time::Duration,
    time::Instant,
};

use bytes::Bytes;
use unisono_journal::{Epoch, FileJournal, FileOptions, Journal, disk_speed};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = env::args_os().nth(1).map_or_else(env::temp_dir, PathBuf::from);
    let disk = disk_speed::measure_disk(&dir, Duration::from_secs(2))?;
    println!("disk:    {:>9.0} syncs/s", disk.syncs_per_second);
    println!("disk:    {:>9.0} grouped appends/s", disk.grouped_appends_per_second);

    let journal_dir = dir.join(format!("append-{}", std::process::id()));
    let started = Instant::now();
    let mut journal = FileJournal::new(FileOptions::new(&journal_dir));
    let mut at = now(journal.open(Epoch::new(1)))?;
    println!(
        "journal: {:>9.1} ms to open anew",
        started.elapsed().as_secs_f64() * 1e3
    );
    for (what, group) in [("syncs", 1), ("grouped appends", 256)] {
        let batch = Bytes::from(vec![7; 200 * group]);
        let (started, mut appends) = (Instant::now(), 0);
        while started.elapsed() < Duration::from_secs(2) {
            at = now(journal.append(at, batch.clone()))?;
            appends += group;
        }
        let rate = appends as f64 / started.elapsed().as_secs_f64();
        println!("journal: {rate:>9.0} {what}/s");
    }
    drop(journal);
    let started = Instant::now();
    now(FileJournal::new(FileOptions::new(&journal_dir)).open(Epoch::new(2)))?;
    println!(
        "journal: {:>9.1} ms to open {at} bytes",
        started.elapsed().as_secs_f64() * 1e3
    );
    Ok(std::fs::remove_dir_all(journal_dir)?)
}

/// The result of a future of the file journal, which is always ready.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("the file journal blocks instead of waiting"),
    }
}
