//! A backup is read back as it was written, or refused with the place of what is wrong.
#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use unisono_engine::Event;
use unisono_engine::agent::AgentEvent;
use unisono_engine::codec::{BatchWriter, FinishedBatch};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;
use unisono_store::StoredRow;

use super::content::{self, End, Info, Totals};
use super::frame::{FrameWriter, Kind};
use super::{BackupError, restore, verify};

fn batch(first: u64, events: u64) -> Vec<u8> {
    let mut writer = BatchWriter::new(Revision(first));
    for number in 0..events {
        let event = Event::Agent(AgentEvent::Joined {
            namespace: Name::parse("default").unwrap(),
            name: Name::parse("worker").unwrap(),
            incarnation: Name::parse(&format!("i{}", first + number)).unwrap(),
            activity_types: Vec::new(),
            concurrency: 1,
            labels: Vec::new(),
            session: number,
        });
        writer.push(Timestamp(5), &event);
    }
    let FinishedBatch { bytes, start, .. } = writer.finish();
    bytes[start..].to_vec()
}

/// Frames, as a server would write them.
struct Made {
    writer: FrameWriter,
    bytes: Vec<u8>,
    totals: Totals,
}

impl Made {
    fn new() -> Self {
        let mut made = Self {
            writer: FrameWriter::new(),
            bytes: Vec::new(),
            totals: Totals::default(),
        };
        let info = Info {
            created_at: Timestamp(7),
            program: "1".to_owned(),
            checkpoint: None,
        };
        made.frame(Kind::Info, &serde_json::to_vec(&info).unwrap());
        made
    }

    fn frame(&mut self, kind: Kind, content: &[u8]) {
        let frame = self.writer.frame(kind, content).unwrap();
        self.writer.wrote(&frame);
        self.bytes.extend(frame);
    }

    fn batches(&mut self, batches: &[(u64, u64)]) {
        let mut content = Vec::new();
        for (first, events) in batches {
            content::push_batch(&mut content, &batch(*first, *events));
            self.totals.events += events;
            self.totals.revision = Revision(first + events - 1);
        }
        self.frame(Kind::Batches, &content);
    }

    fn rows(&mut self) {
        let mut content = Vec::new();
        for key in 0..3_u8 {
            let row = StoredRow {
                keyspace: Arc::from("archive"),
                key: Bytes::copy_from_slice(&[key]),
                value: Bytes::from(vec![b'x'; 100]),
            };
            content::push_row(&mut content, &row);
        }
        self.totals.rows.insert("archive".to_owned(), 3);
        self.frame(Kind::Rows, &content);
    }

    fn file(&mut self, path: &str, pieces: &[&[u8]]) {
        let mut offset = 0;
        self.totals.files += 1;
        for piece in pieces {
            self.frame(Kind::File, &content::piece(path, offset, piece));
            offset += piece.len() as u64;
        }
        self.totals.file_bytes += offset;
    }

    fn end(&mut self) {
        let end = End {
            totals: self.totals.clone(),
            checksum: self.writer.checksum(),
        };
        self.frame(Kind::End, &serde_json::to_vec(&end).unwrap());
    }

    fn complete() -> Self {
        let mut made = Self::new();
        made.batches(&[(1, 2), (3, 1)]);
        made.batches(&[(4, 5)]);
        made.rows();
        made.file("blobs/ab/cd", &[b"one ", b"two"]);
        made.file("blobs/empty", &[b""]);
        made.end();
        made
    }
}

fn refusal(bytes: &[u8]) -> BackupError {
    verify(bytes).unwrap_err()
}

#[test]
fn a_backup_says_what_it_holds() {
    let made = Made::complete();
    let contents = verify(made.bytes.as_slice()).unwrap();
    assert_eq!(contents.totals, made.totals);
    assert_eq!(contents.totals.revision, Revision(8));
    assert_eq!((contents.totals.files, contents.totals.file_bytes), (2, 7));
    assert_eq!(contents.bytes, made.bytes.len() as u64);
}

#[test]
fn a_backup_that_is_cut_anywhere_is_refused_with_the_place() {
    let bytes = Made::complete().bytes;
    for length in 0..bytes.len() {
        match refusal(&bytes[..length]) {
            BackupError::Cut { offset } => assert_eq!(offset, length as u64),
            other => panic!("cut after {length} bytes: {other}"),
        }
    }
}

#[test]
fn any_flipped_bit_is_found_and_its_frame_named() {
    let bytes = Made::complete().bytes;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match refusal(&flipped) {
            BackupError::Damaged { offset, .. } => assert!(offset <= (bit / 8) as u64, "bit {bit}"),
            BackupError::NotABackup | BackupError::NewerFormat { .. } => assert!(bit < 12 * 8, "bit {bit}"),
            other => panic!("bit {bit}: {other}"),
        }
    }
}

#[test]
fn frames_that_are_missing_doubled_or_of_another_backup_are_found() {
    let frames = |made: &mut Made| {
        let mut ends = vec![made.bytes.len()];
        made.batches(&[(1, 2)]);
        ends.push(made.bytes.len());
        made.rows();
        ends.push(made.bytes.len());
        made.end();
        ends
    };
    let mut made = Made::new();
    let ends = frames(&mut made);
    let (info, batches, rows, end) = (
        &made.bytes[..ends[0]],
        &made.bytes[ends[0]..ends[1]],
        &made.bytes[ends[1]..ends[2]],
        &made.bytes[ends[2]..],
    );
    for wrong in [
        [info, rows, end].concat(),
        [info, batches, batches, rows, end].concat(),
        [info, batches, rows, end, end].concat(),
        [info, batches, rows, end, b"."].concat(),
    ] {
        let error = refusal(&wrong);
        assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
    }
}

#[test]
fn events_that_are_missing_between_batches_are_found() {
    let mut made = Made::new();
    made.batches(&[(1, 2), (4, 1)]);
    made.end();
    let error = refusal(&made.bytes).to_string();
    assert!(error.contains("begins at revision 4 where 3 is due"), "{error}");
}

#[test]
fn a_backup_that_the_server_gave_up_says_why() {
    let mut made = Made::new();
    made.batches(&[(1, 2)]);
    made.frame(Kind::Aborted, b"the disk is gone");
    let error = refusal(&made.bytes).to_string();
    assert!(error.contains("gave up, because the disk is gone"), "{error}");
}

#[test]
fn what_is_no_backup_or_of_a_newer_release_is_named_so() {
    assert!(matches!(refusal(b"PK\x03\x04 something else"), BackupError::NotABackup));
    let mut newer = Made::complete().bytes;
    newer[8] = 9;
    assert!(matches!(refusal(&newer), BackupError::NewerFormat { found: 9, .. }));
}

#[test]
fn files_come_back_and_none_lands_outside() {
    let dir = tempfile::tempdir().unwrap();
    let mut made = Made::new();
    made.batches(&[(1, 2)]);
    made.file("blobs/ab/cd", &[b"one ", b"two"]);
    made.file("blobs/empty", &[b""]);
    made.end();
    let data = dir.path().join("data");
    // A store without its rows is none; a real one has them.
    let mut rows = made.bytes.as_slice();
    let restored = restore(rows.by_ref(), &data).unwrap();
    assert_eq!(
        (restored.state.revision, restored.state.checkpoint),
        (Revision(2), None)
    );
    assert_eq!(std::fs::read(data.join("blobs/ab/cd")).unwrap(), b"one two");
    assert_eq!(std::fs::read(data.join("blobs/empty")).unwrap(), b"");
    for path in ["blobs/../../evil", "/evil", "elsewhere/evil"] {
        let mut made = Made::new();
        made.file(path, &[b"evil"]);
        made.end();
        let error = restore(made.bytes.as_slice(), &dir.path().join("other")).unwrap_err();
        assert!(matches!(error, BackupError::BadTarget { .. }), "{error}");
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_restore_that_fails_leaves_the_place_as_it_was_and_cleans_up_after_one_that_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mut made = Made::complete();
    let end = made.bytes.len() - 40;
    made.bytes.truncate(end);
    let error = restore(made.bytes.as_slice(), &data).unwrap_err();
    assert!(
        matches!(error, BackupError::Cut { .. } | BackupError::Store(_)),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
    let nursery = dir.path().join(".data.restoring");
    assert!(!nursery.exists());
    std::fs::create_dir_all(nursery.join("blobs")).unwrap();
    std::fs::write(nursery.join("blobs/left"), "over").unwrap();
    let mut made = Made::new();
    made.batches(&[(1, 1)]);
    made.end();
    restore(made.bytes.as_slice(), &data).unwrap();
    assert!(data.join("journal").is_dir() && !data.join("blobs").exists() && !nursery.exists());
    let error = restore(made.bytes.as_slice(), &data).unwrap_err().to_string();
    assert!(error.contains("it holds LOCK, journal, store"), "{error}");
}
