//! What the disk can do, to print beside what the server does.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const FILE_BYTES: usize = 8 << 20;
const SYNC_BYTES: usize = 512;
const APPEND_BYTES: usize = 200;
const GROUP: usize = 256;

/// The disk's limits for durable writes from one thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskFigures {
    /// Overwrites of 512 bytes in a preallocated file per second, each with its own `fdatasync`.
    pub syncs_per_second: f64,
    /// Appends of 200 bytes per second when 256 of them share one write and one `fdatasync`.
    pub grouped_appends_per_second: f64,
}

/// Measures the disk under `dir` for about `duration`, half of it for each figure, with a file of 8 MiB that it removes.
///
/// # Errors
/// Those of the file operations in `dir`.
pub fn measure_disk(dir: &Path, duration: Duration) -> io::Result<DiskFigures> {
    let scratch = Scratch::create(dir)?;
    let syncs = writes_per_second(&scratch.file, SYNC_BYTES, duration / 2)?;
    let groups = writes_per_second(&scratch.file, APPEND_BYTES * GROUP, duration / 2)?;
    Ok(DiskFigures {
        syncs_per_second: syncs,
        grouped_appends_per_second: groups * GROUP as f64,
    })
}

fn writes_per_second(file: &File, bytes: usize, duration: Duration) -> io::Result<f64> {
    let block = vec![0x5A; bytes];
    let started = Instant::now();
    let mut writes = 0_usize;
    while writes == 0 || started.elapsed() < duration {
        let offset = writes % (FILE_BYTES / bytes) * bytes;
        file.write_all_at(&block, offset as u64)?;
        file.sync_data()?;
        writes += 1;
    }
    Ok(writes as f64 / started.elapsed().as_secs_f64())
}

struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn create(dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!("disk-speed-{}.tmp", std::process::id()));
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        let scratch = Self { path, file };
        scratch.file.write_all_at(&vec![0; FILE_BYTES], 0)?;
        scratch.file.sync_all()?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The figures stand whether or not the scratch file could be removed.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_disk_is_measured_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let figures = measure_disk(dir.path(), Duration::from_millis(40)).unwrap();
        assert!(figures.syncs_per_second > 0.0);
        assert!(figures.grouped_appends_per_second > 0.0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
