//! A damaged journal is shown as far as it can be read, and then from where it can be read again.

use std::ops::ControlFlow;

use super::*;
use crate::{
    Damage,
    disk::Disk,
    file::{
        frame::frame_bytes,
        inspect::{Finding, FrameContent, inspect_on},
    },
};

/// What is found, in a few words each.
fn findings(disk: &FaultyDisk) -> Vec<String> {
    let mut found = Vec::new();
    inspect_on(disk, |finding| {
        found.push(match finding {
            Finding::Segment(segment) => format!("segment {}", segment.start),
            Finding::Frame(frame) => match frame.content {
                FrameContent::Batch(batch) => format!("batch {} of {}", frame.position, batch.len()),
                FrameContent::Takeover => format!("takeover {} by {}", frame.position, frame.epoch),
                FrameContent::Seal => format!("seal {}", frame.position),
            },
            Finding::Damage(corruption) => format!("damage {} {}", corruption.position, kind(&corruption.damage)),
            Finding::Unfinished(cut) => format!("unfinished {}", cut.position),
            Finding::End(end) => format!("end {end}"),
        });
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

fn kind(damage: &Damage) -> &'static str {
    match damage {
        Damage::Frame { .. } => "frame",
        Damage::Lost { .. } => "lost",
        Damage::Header => "header",
        Damage::MissingSegment { .. } => "missing",
        Damage::Truncated { .. } => "truncated",
        _ => "other",
    }
}

/// Two segments: of the first, two batches and the seal; of the second, a takeover and two batches.
fn two_segments() -> (FaultyDisk, Vec<String>) {
    let (disk, _) = journal_of(&[1000, 2400]);
    let mut log = log_on(&disk);
    let at = log.open(Epoch::new(2)).unwrap();
    append_all(&mut log, at, &[600, 16]);
    drop(log);
    let found = findings(&disk);
    (disk, found)
}

#[test]
fn an_intact_journal_is_shown_frame_by_frame() {
    let (_, found) = two_segments();
    assert_eq!(
        found,
        [
            "segment 0",
            "batch 0 of 1000",
            "batch 1024 of 2400",
            "takeover 3448 by 2",
            "seal 3472",
            "segment 3472",
            "batch 3472 of 600",
            "batch 4096 of 16",
            "end 4136",
        ]
    );
}

#[test]
fn damage_is_told_once_and_what_stands_behind_it_is_shown() {
    let (disk, found) = two_segments();
    disk.flip(FIRST, 512 + 100, 0);
    let mut expected = found.clone();
    expected[1] = "damage 0 frame".to_owned();
    assert_eq!(findings(&disk), expected);

    disk.flip("00000000000000003472.segment", 512 + (4096 - 3472) + 8, 2);
    expected[7] = "damage 4096 lost".to_owned();
    expected[8] = "end 4096".to_owned();
    assert_eq!(findings(&disk), expected);
}

#[test]
fn the_frames_of_a_segment_without_a_header_are_shown() {
    let (disk, found) = two_segments();
    disk.flip(FIRST, 20, 0);
    let mut expected = found;
    expected.insert(0, "damage 0 header".to_owned());
    assert_eq!(findings(&disk), expected);
}

#[test]
fn a_segment_that_is_missing_or_cut_is_told() {
    let (disk, found) = two_segments();
    disk.cut_to(FIRST, 512 + 1100);
    let mut expected = found.clone();
    expected.insert(0, "damage 0 truncated".to_owned());
    expected.splice(3..6, ["damage 1024 frame".to_owned()]);
    assert_eq!(findings(&disk), expected);

    disk.remove("00000000000000003472.segment").unwrap();
    let (disk, _) = two_segments();
    disk.remove("00000000000000003472.segment").unwrap();
    let mut expected = found;
    expected.splice(5.., ["damage 3472 missing".to_owned(), "end 3472".to_owned()]);
    assert_eq!(findings(&disk), expected);
}

#[test]
fn an_unfinished_write_is_told_and_nothing_is_changed() {
    let (disk, appended) = journal_of(&[100, 900]);
    disk.remove(crate::file::mark::NAME).unwrap();
    let (torn, _) = appended[1];
    let zeros = [0; 512];
    let file = disk.open(FIRST).unwrap();
    crate::disk::DiskFile::write_all_at(&file, 512 + torn.get() + frame_bytes(900) as u64 - 512, &zeros).unwrap();
    let before = disk.contents(FIRST);
    assert_eq!(
        findings(&disk),
        ["segment 0", "batch 0 of 100", "unfinished 128", "end 128"]
    );
    assert!(disk.contents(FIRST) == before);
}

#[test]
fn an_empty_directory_holds_nothing() {
    assert_eq!(findings(&FaultyDisk::new(1)), [""; 0]);
}
