//! The journal on plain files, on a real disk.

#![allow(clippy::unwrap_used)]

mod conformance;

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use bytes::Bytes;
use conformance::Place;
use tempfile::TempDir;
use unisono_journal::{Epoch, FileJournal, FileOptions, Journal, JournalError};

struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn journal_dir(&self) -> PathBuf {
        self.0.path().join("partitions/journal")
    }

    fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.journal_dir()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut segments: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|end| end == "segment"))
            .collect();
        segments.sort();
        segments
    }
}

impl Place for Dir {
    type Journal = FileJournal;

    fn handle(&self) -> FileJournal {
        FileJournal::new(FileOptions {
            dir: self.journal_dir(),
            segment_bytes: 8192,
        })
    }

    fn tear_last_batch(&self) -> bool {
        let path = self.segments().pop().unwrap();
        let bytes = fs::read(&path).unwrap();
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[0; 512], last - 600).unwrap();
        // As if the power had failed before anybody could say that it was durable.
        fs::remove_file(self.journal_dir().join("journal.mark")).unwrap();
        true
    }
}

#[tokio::test]
async fn the_file_journal_conforms() {
    conformance::conforms(Dir::new).await;
}

#[tokio::test]
async fn segments_are_prepared_in_the_background_recycled_and_bounded() {
    let dir = Dir::new();
    let mut journal = dir.handle();
    let mut at = journal.open(Epoch::new(1)).await.unwrap();
    for number in 0..300 {
        at = journal.append(at, Bytes::from(vec![number as u8; 1000])).await.unwrap();
        journal.trim(at).await.unwrap();
    }
    assert_eq!(dir.segments().len(), 1);
    drop(journal);
    let files = fs::read_dir(dir.journal_dir()).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 4 * 8192, "{bytes} bytes are kept for an empty journal");
}

#[tokio::test]
async fn a_second_process_is_refused_naming_the_first() {
    let dir = Dir::new();
    let mut holder = dir.handle();
    holder.open(Epoch::new(1)).await.unwrap();
    let refusal = dir.handle().open(Epoch::new(2)).await.unwrap_err();
    assert!(matches!(refusal, JournalError::Held(_)));
    assert!(
        refusal.to_string().contains(&format!("process {}", std::process::id())),
        "{refusal}"
    );
    drop(holder);
    dir.handle().open(Epoch::new(2)).await.unwrap();
}

#[tokio::test]
async fn damage_in_the_middle_is_refused_naming_the_file() {
    let dir = Dir::new();
    let mut journal = dir.handle();
    let mut at = journal.open(Epoch::new(1)).await.unwrap();
    for _ in 0..3 {
        at = journal.append(at, Bytes::from(vec![1; 100])).await.unwrap();
    }
    drop(journal);
    let segment = dir.segments().remove(0);
    let file = OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(b"!", 512 + 128 + 50).unwrap();
    let refusal = dir.handle().open(Epoch::new(1)).await.unwrap_err().to_string();
    assert!(refusal.contains(&segment.display().to_string()), "{refusal}");
    assert!(refusal.contains("at byte 640 (position 128)"), "{refusal}");
}
