//! Single failures, one after the other, on purpose.

use super::*;
use crate::{
    AppendError, MAX_BATCH_BYTES,
    disk::{Disk, faulty::Faults},
    file::mark,
};

#[test]
fn a_failed_sync_is_never_retried_as_if_nothing_happened() {
    for seed in 0..50 {
        let disk = FaultyDisk::new(seed);
        let mut log = log_on(&disk);
        let at = log.open(Epoch::new(1)).unwrap();
        let at = log.append(at, b"acknowledged").unwrap();
        disk.set_faults(Faults {
            failed_syncs: 1,
            ..Faults::default()
        });
        log.append(at, &[7; 2000]).unwrap_err();
        disk.set_faults(Faults::default());
        let again = log.append(at, b"again").unwrap_err();
        assert!(
            matches!(again, AppendError::Unavailable(JournalError::Poisoned { .. })),
            "{again}"
        );

        log.open(Epoch::new(1)).unwrap();
        let served = batches(&log, Position::START).unwrap();
        disk.power_cycle();
        assert_eq!(batches(&log_on(&disk), Position::START).unwrap(), served, "seed {seed}");
    }
}

#[test]
fn a_poisoned_journal_names_the_first_failure_and_still_serves_what_was_acknowledged() {
    let (disk, appended) = journal_of(&[10]);
    let mut log = log_on(&disk);
    let at = log.open(Epoch::new(1)).unwrap();
    disk.set_faults(Faults {
        failed_writes: 1,
        ..Faults::default()
    });
    log.append(at, b"lost").unwrap_err();
    disk.set_faults(Faults::default());
    let AppendError::Unavailable(refusal) = log.append(at, b"more").unwrap_err() else {
        panic!()
    };
    assert_eq!(
        refusal.to_string(),
        "an earlier write failed (could not write to /journal/00000000000000000000.segment: write failed); \
         open the journal again, which reads back what is on disk"
    );
    assert!(matches!(log.trim(at), Err(JournalError::Poisoned { .. })));
    assert_eq!(batches(&log, Position::START).unwrap(), appended);
}

#[test]
fn a_full_disk_is_said_and_the_same_append_succeeds_when_there_is_room() {
    let disk = FaultyDisk::new(1);
    let mut log = log_on(&disk);
    let mut at = log.open(Epoch::new(1)).unwrap();
    disk.set_faults(Faults {
        full: true,
        ..Faults::default()
    });
    let mut appended = 0;
    let refusal = loop {
        match log.append(at, &[1; 500]) {
            Ok(end) => at = end,
            Err(error) => break error,
        }
        appended += 1;
    };
    assert!(
        matches!(
            refusal,
            AppendError::Full {
                needed: SEGMENT_BYTES,
                ..
            }
        ),
        "{refusal}"
    );
    assert!(matches!(log.append(at, &[1; 500]), Err(AppendError::Full { .. })));
    let left = disk_names(&disk)
        .into_iter()
        .filter(|name| name.ends_with("unfinished"));
    assert_eq!(left.count(), 0, "what could not be finished takes room");
    disk.set_faults(Faults::default());
    log.append(at, &[1; 500]).unwrap();
    assert_eq!(batches(&log, Position::START).unwrap().len(), appended + 1);
}

#[test]
fn a_nearly_full_disk_is_not_filled_and_gets_small_segments() {
    const MIB: u64 = 1 << 20;
    let disk = FaultyDisk::new(1);
    let mut log = Log::new(disk.clone(), 8 * MIB, false);
    let mut at = log.open(Epoch::new(1)).unwrap();
    let batch = vec![1; MIB as usize];
    let mut fill = |log: &mut Log<FaultyDisk>, free: u64, batches: usize| {
        disk.set_faults(Faults {
            free: Some(free),
            ..Faults::default()
        });
        let before = log.size_bytes();
        for _ in 0..batches {
            at = log.append(at, &batch)?;
        }
        Ok::<_, AppendError>(log.size_bytes() - before)
    };
    assert_eq!(fill(&mut log, 9 * MIB, 4).unwrap(), 8 * MIB);
    assert_eq!(fill(&mut log, 9 * MIB - 1, 7).unwrap(), 4 * MIB);
    let refusal = fill(&mut log, 4 * MIB, 4).unwrap_err();
    assert!(
        matches!(refusal, AppendError::Full { needed, .. } if needed == 4 * MIB),
        "{refusal}"
    );
    assert_eq!(fill(&mut log, 64 * MIB, 1).unwrap(), 8 * MIB);
}

#[test]
fn a_batch_over_the_limit_is_refused_and_harms_nothing() {
    let disk = FaultyDisk::new(1);
    let mut log = log_on(&disk);
    let at = log.open(Epoch::new(1)).unwrap();
    let refusal = log.append(at, &vec![0; MAX_BATCH_BYTES + 1]).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "a batch of 67108865 bytes is larger than the limit of 67108864 bytes; split it"
    );
    log.append(at, b"smaller").unwrap();
}

#[test]
fn an_unfinished_write_is_cut_told_and_written_over() {
    let (disk, appended) = journal_of(&[100]);
    let mut log = log_on(&disk);
    let torn = log.open(Epoch::new(1)).unwrap();
    // The power fails after the write and before its sync; one of its sectors is lost.
    disk.set_faults(Faults {
        power_cut: Some(2),
        ..Faults::default()
    });
    let batch = Random::new(9).bytes(2000);
    log.append(torn, &batch).unwrap_err();
    drop(log);
    disk.power_cycle_leaving(FIRST, |sector| sector != 3);

    let mut log = log_on(&disk);
    let at = log.open(Epoch::new(1)).unwrap();
    assert_eq!(at, torn);
    let cut = log.cut_tail().unwrap();
    assert_eq!((cut.offset, cut.position), (512 + torn.get(), torn));
    let left = &disk.contents(FIRST)[cut.offset as usize..];
    assert!(left.iter().all(|byte| *byte == 0), "the tail is not clean");

    log.append(at, b"anew").unwrap();
    log.open(Epoch::new(1)).unwrap();
    assert_eq!(log.cut_tail(), None);
    let expected = [appended[0].clone(), (torn, b"anew".to_vec())];
    assert_eq!(batches(&log, Position::START).unwrap(), expected);
}

#[test]
fn a_journal_whose_mark_cannot_be_written_goes_on_and_says_so() {
    let (disk, appended) = journal_of(&[100, 200]);
    disk.remove(mark::NAME).unwrap();
    disk.set_faults(Faults {
        full: true,
        ..Faults::default()
    });
    let mut log = log_on(&disk);
    let at = log.open(Epoch::new(1)).unwrap();
    assert!(log.mark_failure().is_some());
    let more = log.append(at, b"more").map(|_| (at, b"more".to_vec())).unwrap();
    disk.set_faults(Faults::default());
    log.open(Epoch::new(1)).unwrap();
    assert!(log.mark_failure().is_none());
    assert_eq!(batches(&log, Position::START).unwrap(), [appended, vec![more]].concat());
}

#[test]
fn a_recycled_segment_never_brings_back_its_old_batches() {
    let disk = FaultyDisk::new(1);
    let mut log = log_on(&disk);
    let start = log.open(Epoch::new(1)).unwrap();
    // All batches are alike, and so are the places of the frames in each segment.
    let mut at = start;
    let mut appended = Vec::new();
    for round in 0..60 {
        let size_before = log.size_bytes();
        appended.push((at, b"the same in each segment".repeat(20)));
        at = log.append(at, &appended[round].1).unwrap();
        log.trim(at).unwrap();
        if round > 20 {
            assert_eq!(log.size_bytes(), size_before, "segments are not recycled");
        }
        disk.power_cycle();
        let first = log.first_position();
        let kept: Vec<_> = appended.iter().filter(|batch| batch.0 >= first).cloned().collect();
        assert_eq!(batches(&log_on(&disk), first).unwrap(), kept);
    }
    let name = disk_names(&disk)
        .into_iter()
        .find(|name| name.ends_with(".segment"))
        .unwrap();
    let stale = &disk.contents(&name)[4096 - 600..];
    assert!(
        stale.iter().any(|byte| *byte != 0),
        "the segment was not a recycled one"
    );
    log.open(Epoch::new(1)).unwrap();
    assert_eq!(log.cut_tail(), None);
}

fn disk_names(disk: &FaultyDisk) -> Vec<String> {
    disk.names().unwrap()
}

#[test]
fn a_takeover_by_a_later_epoch_lasts_even_if_it_appends_nothing() {
    let (disk, appended) = journal_of(&[10]);
    log_on(&disk).open(Epoch::new(5)).unwrap();
    disk.power_cycle();
    let refusal = log_on(&disk).open(Epoch::new(4)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "epoch 4 is over: the journal has been opened by epoch 5; give up leadership"
    );
    let log = log_on(&disk);
    assert_eq!(batches(&log, Position::START).unwrap(), appended);
}
