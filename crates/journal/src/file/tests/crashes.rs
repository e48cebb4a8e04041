//! Random work, random faults, power cuts at random moments: what was acknowledged is there, and nothing else, save the one
//! batch that was in flight.

use super::*;
use crate::{AppendError, disk::faulty::Faults};

struct Case {
    random: Random,
    disk: FaultyDisk,
    epoch: u64,
    acknowledged: Vec<Batch>,
    /// The batch whose append failed last; opening decides whether it is in the journal.
    in_flight: Option<Batch>,
    trimmed: Position,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let disk = FaultyDisk::new(random.next());
        Self {
            random,
            disk,
            epoch: 1,
            acknowledged: Vec::new(),
            in_flight: None,
            trimmed: Position::START,
        }
    }

    fn faults(&mut self) -> Faults {
        let random = &mut self.random;
        Faults {
            power_cut: random.once_in(2).then(|| 1 + random.below(60) as u64),
            failed_syncs: [0, 0, 8, 30][random.below(4)],
            short_writes: [0, 3][random.below(2)],
            failed_writes: [0, 0, 0, 20][random.below(4)],
            full: random.once_in(12),
            ..Faults::default()
        }
    }

    fn run(&mut self) {
        for _ in 0..3 {
            let faults = self.faults();
            self.disk.set_faults(faults);
            let mut log = log_on(&self.disk);
            let mut at = self.open(&mut log);
            for _ in 0..self.random.below(24) {
                match self.work(&mut log, at) {
                    Some(end) => at = end,
                    None if self.disk.is_down() || self.random.once_in(2) => break,
                    None => at = self.open(&mut log),
                }
            }
            drop(log);
            if self.disk.is_down() || self.random.once_in(2) {
                self.disk.power_cycle();
            }
        }
        self.disk.power_cycle();
        self.open(&mut log_on(&self.disk.clone()));
    }

    /// Opens until it succeeds, and compares.
    fn open(&mut self, log: &mut Log<FaultyDisk>) -> Position {
        self.epoch += self.random.below(2) as u64;
        loop {
            match log.open(Epoch::new(self.epoch)) {
                // The mark is all that could not be written.
                Ok(_) if self.disk.is_down() => self.disk.power_cycle(),
                Ok(end) => {
                    self.compare(log);
                    return end;
                }
                Err(error) if !self.disk.has_failed() => panic!("failed without a fault: {error}"),
                Err(JournalError::Io { .. }) if self.disk.is_down() => self.disk.power_cycle(),
                Err(JournalError::Io { .. }) => self.disk.set_faults(Faults::default()),
                Err(error) => panic!("an honest crash was taken for damage: {error}"),
            }
            self.read_closed();
        }
    }

    fn compare(&mut self, log: &Log<FaultyDisk>) {
        let first = log.first_position();
        assert!(first <= self.trimmed, "{first} was never trimmed");
        let found = batches(log, first).unwrap();
        self.acknowledged.retain(|(at, _)| *at >= first);
        if found.len() > self.acknowledged.len() {
            self.acknowledged.extend(self.in_flight.clone());
        }
        assert_eq!(found, self.acknowledged);
        self.in_flight = None;
    }

    /// Reading what is not open tells the same, and changes nothing.
    fn read_closed(&mut self) {
        if self.disk.is_down() || self.acknowledged.is_empty() {
            return;
        }
        let (last, _) = self.acknowledged[self.acknowledged.len() - 1];
        let found = batches(&log_on(&self.disk), last).unwrap();
        let mut expected = self.acknowledged[self.acknowledged.len() - 1..].to_vec();
        if found.len() > 1 {
            expected.extend(self.in_flight.clone());
        }
        assert_eq!(found, expected);
    }

    /// One append or trim; nothing if the journal must be opened again.
    fn work(&mut self, log: &mut Log<FaultyDisk>, at: Position) -> Option<Position> {
        if self.random.once_in(8) {
            return self.trim(log).then_some(at);
        }
        let size = if self.random.once_in(12) { 6000 } else { 700 };
        let size = self.random.below(size);
        let batch = self.random.bytes(size);
        match log.append(at, &batch) {
            Ok(end) => {
                self.acknowledged.push((at, batch));
                Some(end)
            }
            Err(AppendError::Full { .. }) => {
                assert!(self.disk.has_failed(), "full without a fault");
                Some(at)
            }
            Err(error) => {
                assert!(matches!(error, AppendError::Unavailable(_)), "{error}");
                assert!(self.disk.has_failed(), "failed without a fault: {error:?}");
                let again = log.append(at, &batch).unwrap_err();
                let poisoned = matches!(again, AppendError::Unavailable(JournalError::Poisoned { .. }));
                assert!(poisoned, "{again}");
                self.in_flight = Some((at, batch));
                None
            }
        }
    }

    fn trim(&mut self, log: &mut Log<FaultyDisk>) -> bool {
        let count = self.acknowledged.len();
        if count > 0 {
            let (before, _) = self.acknowledged[self.random.below(count)];
            self.trimmed = self.trimmed.max(before);
            let trimmed = log.trim(before);
            assert!(
                trimmed.is_ok() || self.disk.has_failed(),
                "failed without a fault: {trimmed:?}"
            );
            return trimmed.is_ok();
        }
        true
    }
}

#[test]
fn every_acknowledged_batch_survives_any_crash_and_no_other_appears() {
    let seeds = std::env::var("JOURNAL_SEED").map(|seed| seed.parse().unwrap());
    let (first, count) = seeds.map_or((0, 3000), |seed| (seed, 1));
    for seed in first..first + count {
        let run = std::panic::catch_unwind(|| Case::new(seed).run());
        assert!(run.is_ok(), "failed with JOURNAL_SEED={seed}");
    }
}
