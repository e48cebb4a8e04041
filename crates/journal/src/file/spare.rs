//! Files that wait to become segments: full of written bytes, so that appending to them changes no metadata.

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::segment::{Segment, failed};
use crate::{
    JournalError,
    disk::{Disk, DiskFile},
};

const EXTENSION: &str = ".spare";
const UNFINISHED: &str = ".unfinished";
const PREPARED: &str = "prepared.spare";
const ODD: &str = "odd.spare";
const KEPT: usize = 2;
/// What stays free when a spare is made, as a part of it: others need room as well, and a disk that is filled to see whether
/// it is full is full for them.
const LEFT_PART: u64 = 8;
const STEP_BYTES: u64 = 1 << 20;
static ZEROS: [u8; STEP_BYTES as usize] = [0; STEP_BYTES as usize];

/// A file that can become a segment.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// The spare files of a journal.
pub(crate) struct Spares<D: Disk> {
    disk: D,
    segment_bytes: u64,
    /// What a spare has when there is no room for one of the usual size.
    small_bytes: u64,
    /// Whether a thread may prepare a spare before it is needed.
    background: bool,
    ready: Vec<String>,
    preparation: Option<Preparation>,
}

struct Preparation {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl<D: Disk> Spares<D> {
    pub(crate) fn new(disk: D, (segment_bytes, small_bytes): (u64, u64), background: bool) -> Self {
        Self {
            disk,
            segment_bytes,
            small_bytes,
            background,
            ready: Vec::new(),
            preparation: None,
        }
    }

    /// Finds what an earlier process left behind, and removes what is of no use.
    pub(crate) fn load(&mut self) -> Result<(), JournalError> {
        self.stop();
        self.ready.clear();
        let names = self
            .disk
            .names()
            .map_err(|source| failed("list", &self.disk, "", source))?;
        for name in names {
            if name.ends_with(EXTENSION) {
                self.keep_or_remove(name)?;
            } else if name.ends_with(UNFINISHED) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), JournalError> {
        self.disk
            .remove(name)
            .map_err(|source| failed("remove", &self.disk, name, source))
    }

    fn keep_or_remove(&mut self, name: String) -> Result<(), JournalError> {
        let length = self.disk.open(&name).and_then(|file| file.length());
        let length = length.map_err(|source| failed("open", &self.disk, &name, source))?;
        if name != ODD && length == self.segment_bytes && self.ready.len() < KEPT {
            self.ready.push(name);
            return Ok(());
        }
        self.remove(&name)
    }

    /// A spare of the usual size, or one that is large enough; a small one when there is no room for more.
    pub(crate) fn take(&mut self, needed: u64) -> Result<Spare, JournalError> {
        if needed > self.segment_bytes {
            return self.make(needed);
        }
        if self.finish_preparation() {
            self.ready.push(PREPARED.to_owned());
        }
        let bytes = self.segment_bytes;
        if let Some(name) = self.ready.pop() {
            return Ok(Spare { name, bytes });
        }
        match self.write(PREPARED, bytes) {
            Err(error) if error.is_disk_full() && needed <= self.small_bytes => self.make(self.small_bytes),
            written => written,
        }
    }

    /// A new spare of this size.
    pub(crate) fn make(&mut self, bytes: u64) -> Result<Spare, JournalError> {
        self.write(ODD, bytes)
    }

    fn write(&self, name: &str, bytes: u64) -> Result<Spare, JournalError> {
        write_zeros(&self.disk, name, bytes, &AtomicBool::new(false))
            .map_err(|source| failed("preallocate", &self.disk, name, source))?;
        Ok(Spare {
            name: name.to_owned(),
            bytes,
        })
    }

    /// Makes a spare of a segment that is no longer needed, or removes it if there are enough.
    pub(crate) fn recycle(&mut self, segment: &Segment) -> Result<(), JournalError> {
        let name = segment.name();
        if segment.bytes != self.segment_bytes || self.ready.len() >= KEPT {
            return self.remove(&name);
        }
        let spare = name.replace(".segment", EXTENSION);
        let renamed = self.disk.rename(&name, &spare);
        renamed.map_err(|source| failed("rename", &self.disk, &name, source))?;
        self.ready.push(spare);
        Ok(())
    }

    /// Starts a thread that writes a spare, unless there is one or will be.
    pub(crate) fn prepare(&mut self) {
        if !self.background || !self.ready.is_empty() || self.preparation.is_some() {
            return;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (disk, bytes, stopped) = (self.disk.clone(), self.segment_bytes, Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("journal-spare".to_owned())
            .spawn(move || write_zeros(&disk, PREPARED, bytes, &stopped));
        // Without a thread, the spare is written when it is needed.
        self.preparation = thread.ok().map(|thread| Preparation { stop, thread });
    }

    fn finish_preparation(&mut self) -> bool {
        let preparation = self.preparation.take();
        preparation.is_some_and(|preparation| matches!(preparation.thread.join(), Ok(Ok(()))))
    }

    fn stop(&mut self) {
        if let Some(preparation) = &self.preparation {
            preparation.stop.store(true, Ordering::Relaxed);
        }
        self.finish_preparation();
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.segment_bytes * self.ready.len() as u64
    }
}

impl<D: Disk> Drop for Spares<D> {
    /// Whoever opens the directory next must not meet a thread of ours in it.
    fn drop(&mut self) {
        self.stop();
    }
}

/// Only a file whose sync has succeeded gets the name of a spare: after a failed one, even its length may be a rumour. What
/// could not be finished goes: on a full disk, others need the room.
fn write_zeros<D: Disk>(disk: &D, name: &str, bytes: u64, stop: &AtomicBool) -> io::Result<()> {
    if disk.free_bytes().is_some_and(|free| free < bytes + bytes / LEFT_PART) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let unfinished = name.replace(EXTENSION, UNFINISHED);
    let file = disk.create(&unfinished)?;
    let written = zero(&file, 0..bytes, stop).and_then(|()| file.sync());
    drop(file);
    if written.is_err() {
        // The next open removes it as well.
        let _ = disk.remove(&unfinished);
    }
    written?;
    disk.rename(&unfinished, name)
}

/// Writes zeros over a range of a file, unless it is stopped.
pub(crate) fn zero<F: DiskFile>(file: &F, range: Range<u64>, stop: &AtomicBool) -> io::Result<()> {
    let mut offset = range.start;
    while offset < range.end {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let step = STEP_BYTES.min(range.end - offset);
        file.write_all_at(offset, &ZEROS[..step as usize])?;
        offset += step;
    }
    Ok(())
}
