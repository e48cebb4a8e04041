//! The file journal on a disk that fails.

#![allow(clippy::unwrap_used)]

mod crashes;
mod damage;
mod failures;
mod inspecting;

use super::log::Log;
use crate::{
    Epoch, JournalError, Position,
    disk::faulty::{FaultyDisk, Random},
};

const SEGMENT_BYTES: u64 = 4096;
/// The first segment.
const FIRST: &str = "00000000000000000000.segment";

type Batch = (Position, Vec<u8>);

fn log_on(disk: &FaultyDisk) -> Log<FaultyDisk> {
    Log::new(disk.clone(), SEGMENT_BYTES, false)
}

fn batches(log: &Log<FaultyDisk>, from: Position) -> Result<Vec<Batch>, JournalError> {
    log.read(from)
        .map(|batch| batch.map(|(at, bytes)| (at, bytes.to_vec())))
        .collect()
}

/// Appends batches of these sizes, and returns them.
fn append_all(log: &mut Log<FaultyDisk>, mut at: Position, sizes: &[usize]) -> Vec<Batch> {
    let mut random = Random::new(1);
    let mut appended = Vec::new();
    for size in sizes {
        let batch = random.bytes(*size);
        let end = log.append(at, &batch).unwrap();
        appended.push((at, batch));
        at = end;
    }
    appended
}

/// A journal of one epoch with batches of these sizes, closed.
fn journal_of(sizes: &[usize]) -> (FaultyDisk, Vec<Batch>) {
    let disk = FaultyDisk::new(1);
    let mut log = log_on(&disk);
    let start = log.open(Epoch::new(1)).unwrap();
    let appended = append_all(&mut log, start, sizes);
    (disk, appended)
}
