//! Damage that no crash can do is refused, with its place, and never served.

use super::*;
use crate::{
    Corruption, Damage,
    disk::{Disk, DiskFile},
    file::{frame::frame_bytes, mark},
};

/// Several segments, the last of which holds several batches.
const SIZES: [usize; 14] = [900, 0, 1, 400, 1200, 800, 5000, 30, 700, 2000, 1500, 3, 64, 200];

fn damage_found(disk: &FaultyDisk) -> Corruption {
    let before: Vec<_> = names(disk).iter().map(|name| disk.contents(name)).collect();
    let error = log_on(disk).open(Epoch::new(1)).unwrap_err();
    let after: Vec<_> = names(disk).iter().map(|name| disk.contents(name)).collect();
    assert!(before == after, "a refused journal was changed");
    let JournalError::Corrupt(corruption) = error else {
        panic!("{error}")
    };
    *corruption
}

fn names(disk: &FaultyDisk) -> Vec<String> {
    let mut names = disk.names().unwrap();
    names.retain(|name| name.ends_with(".segment"));
    names
}

/// The segment and the byte of the frame at this position.
fn place(disk: &FaultyDisk, at: Position) -> (String, u64) {
    let start = |name: &str| name[..20].parse::<u64>().unwrap();
    let names = names(disk);
    let name = names.iter().rfind(|name| start(name) <= at.get()).unwrap();
    (name.clone(), 512 + at.get() - start(name))
}

#[test]
fn a_flipped_bit_before_the_last_batch_is_refused_with_segment_and_offset() {
    let (pristine, appended) = journal_of(&SIZES);
    let open = &mut log_on(&pristine);
    open.open(Epoch::new(1)).unwrap();
    assert!(names(&pristine).len() > 3);
    let mut random = Random::new(2);
    for (index, (at, batch)) in appended[..appended.len() - 1].iter().enumerate() {
        for _ in 0..40 {
            let byte = random.below(frame_bytes(batch.len())) as u64;
            let bit = random.below(8) as u32;
            let (name, offset) = place(&pristine, *at);
            pristine.flip(&name, offset + byte, bit);

            let found = damage_found(&pristine);
            assert_eq!(found.segment, pristine.path(&name), "batch {index}, byte {byte}");
            assert_eq!((found.offset, found.position), (offset, *at));
            assert!(matches!(found.damage, Damage::Frame { .. }));
            reading_stops_there(open, &appended[..index], *at);
            pristine.flip(&name, offset + byte, bit);
        }
    }
    assert_eq!(batches(open, Position::START).unwrap(), appended);
}

/// The mark says that it was durable: a process that ends, however it does, leaves it behind.
#[test]
fn a_flipped_bit_in_the_last_batch_is_refused_with_segment_and_offset() {
    for orderly in [true, false] {
        let (disk, appended) = journal_of(&SIZES[..3]);
        let mut log = log_on(&disk);
        let at = log.open(Epoch::new(1)).unwrap();
        let batch = Random::new(5).bytes(700);
        log.append(at, &batch).unwrap();
        if orderly {
            drop(log);
            disk.power_cycle();
        } else {
            std::mem::forget(log);
        }
        let (name, offset) = place(&disk, at);
        for bit in (0..frame_bytes(batch.len()) as u64 * 8).step_by(11) {
            disk.flip(&name, offset + bit / 8, (bit % 8) as u32);
            let found = damage_found(&disk);
            assert_eq!((found.offset, found.position), (offset, at), "bit {bit}");
            assert!(matches!(found.damage, Damage::Lost { .. }), "{found}");
            disk.flip(&name, offset + bit / 8, (bit % 8) as u32);
        }
        let served = batches(&log_on(&disk), Position::START).unwrap();
        assert_eq!(served, [appended, vec![(at, batch)]].concat());
    }
}

#[test]
fn a_flipped_bit_in_the_last_batch_is_refused_even_when_the_mark_is_gone() {
    let (disk, appended) = journal_of(&[10, 700]);
    disk.remove(mark::NAME).unwrap();
    let (at, batch) = appended.last().unwrap();
    let (name, offset) = place(&disk, *at);
    for bit in (0..frame_bytes(batch.len()) as u64 * 8).step_by(11) {
        disk.flip(&name, offset + bit / 8, (bit % 8) as u32);
        let found = damage_found(&disk);
        let expected = Damage::FlippedBit {
            byte: offset + bit / 8,
            bit: (bit % 8) as u8,
        };
        assert_eq!((found.offset, found.damage), (offset, expected));
        disk.flip(&name, offset + bit / 8, (bit % 8) as u32);
    }
}

#[test]
fn a_last_batch_that_is_gone_altogether_is_missed() {
    let (disk, appended) = journal_of(&[10, 700, 900]);
    let (at, batch) = appended.last().unwrap();
    let (name, offset) = place(&disk, *at);
    let zeros = vec![0; frame_bytes(batch.len())];
    disk.open(&name).unwrap().write_all_at(offset, &zeros).unwrap();
    let found = damage_found(&disk);
    let end = Position::new(at.get() + zeros.len() as u64);
    assert_eq!((found.position, found.damage), (*at, Damage::Lost { durable: end }));
}

#[test]
fn a_directory_without_its_segments_is_refused() {
    let (disk, appended) = journal_of(&[10]);
    disk.remove(FIRST).unwrap();
    let found = damage_found(&disk);
    let end = Position::new(appended[0].0.get() + frame_bytes(10) as u64);
    assert_eq!(found.damage, Damage::NoSegments { position: end });
}

#[test]
fn a_journal_without_a_mark_or_with_a_damaged_or_foreign_one_opens_and_gets_one() {
    let (other, _) = journal_of(&[10, 10, 10]);
    for case in 0..3 {
        let (disk, appended) = journal_of(&[10, 10]);
        match case {
            0 => disk.remove(mark::NAME).unwrap(),
            1 => disk.flip(mark::NAME, 33, 1),
            _ => {
                let foreign = other.contents(mark::NAME);
                disk.open(mark::NAME).unwrap().write_all_at(0, &foreign).unwrap();
            }
        }
        log_on(&disk).open(Epoch::new(1)).unwrap();
        assert_eq!(batches(&log_on(&disk), Position::START).unwrap(), appended);
        let (name, offset) = place(&disk, appended[1].0);
        let zeros = [0; 600];
        disk.open(&name).unwrap().write_all_at(offset, &zeros).unwrap();
        assert!(matches!(damage_found(&disk).damage, Damage::Lost { .. }));
    }
}

/// Reading serves all before the damage, and then says where it is.
fn reading_stops_there(log: &Log<FaultyDisk>, intact: &[Batch], at: Position) {
    let mut reading = log.read(Position::START);
    for (position, batch) in intact {
        let (found, bytes) = reading.next().unwrap().unwrap();
        assert_eq!((found, &bytes[..]), (*position, &batch[..]));
    }
    let error = reading.next().unwrap().unwrap_err();
    let JournalError::Corrupt(corruption) = error else {
        panic!("{error}")
    };
    assert_eq!(corruption.position, at);
    assert!(reading.next().is_none());
}

#[test]
fn the_refusal_says_what_to_do() {
    let (disk, appended) = journal_of(&[10, 10]);
    disk.flip(FIRST, 540, 0);
    assert_eq!(
        damage_found(&disk).to_string(),
        format!(
            "journal segment /journal/00000000000000000000.segment is damaged at byte 512 (position 0): \
             the frame is not intact, yet the log goes on at position {}; this is no unfinished write, \
             so nothing was cut and nothing after it is served. Copy the directory aside, check the disk, \
             and restore the data directory from a backup",
            appended[1].0
        )
    );
}

#[test]
fn any_missing_segment_but_the_first_is_refused() {
    let count = names(&journal_of(&SIZES).0).len();
    for missing in 1..count {
        let (disk, _) = journal_of(&SIZES);
        let name = names(&disk)[missing].clone();
        disk.remove(&name).unwrap();
        let start = Position::new(name[..20].parse().unwrap());
        let found = damage_found(&disk);
        assert_eq!(found.damage, Damage::MissingSegment { position: start });
        assert!(found.to_string().contains(&name), "{found}");
    }
}

#[test]
fn a_flipped_bit_in_a_segment_header_is_refused() {
    for byte in 0..512 {
        let (disk, _) = journal_of(&[10]);
        disk.flip(FIRST, byte, 5);
        let found = damage_found(&disk);
        assert_eq!((found.offset, found.damage), (0, Damage::Header), "byte {byte}");
    }
}

#[test]
fn a_segment_under_another_name_is_refused() {
    let (disk, _) = journal_of(&[10]);
    disk.rename(FIRST, "00000000000000000008.segment").unwrap();
    assert_eq!(damage_found(&disk).damage, Damage::Renamed { start: Position::START });
}

#[test]
fn a_segment_of_another_journal_is_refused() {
    let (disk, _) = journal_of(&SIZES);
    let (other, _) = journal_of(&SIZES);
    let name = &names(&disk)[1];
    disk.open(name).unwrap().write_all_at(0, &other.contents(name)).unwrap();
    assert_eq!(damage_found(&disk).damage, Damage::Foreign);
}

#[test]
fn a_truncated_segment_is_refused() {
    let (disk, _) = journal_of(&SIZES);
    let name = names(&disk).pop().unwrap();
    disk.cut_to(&name, 3000);
    assert_eq!(
        damage_found(&disk).damage,
        Damage::Truncated {
            found: 3000,
            expected: 4096
        }
    );
}

#[test]
fn reading_from_outside_or_inside_a_batch_is_refused_as_such() {
    let (disk, appended) = journal_of(&SIZES);
    let mut log = log_on(&disk);
    let end = log.open(Epoch::new(1)).unwrap();
    let (sixth, _) = appended[6];
    log.trim(sixth).unwrap();
    let first = log.first_position();
    assert!(first > Position::START && first <= sixth);

    let refusal = |from: Position| log.read(from).next().unwrap().unwrap_err();
    assert!(matches!(refusal(Position::START), JournalError::Trimmed { .. }));
    assert!(matches!(refusal(sixth.plus(8)), JournalError::NotABatch { .. }));
    assert!(matches!(refusal(end.plus(8)), JournalError::BeyondEnd { .. }));
    assert!(log.read(end).next().is_none());
    assert_eq!(batches(&log, sixth).unwrap(), appended[6..]);
}
