//! What the system says: of processes, of directories, of the disk.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use tempfile::TempDir;
use unisono_journal::disk_speed::measure_disk;

use crate::failure::Failure;

/// How long the disk is measured.
const DISK: Duration = Duration::from_secs(2);

/// A directory for the data of one bench, removed when it is dropped.
///
/// # Errors
/// [`Failure::Work`] when there is no place for it.
pub(super) fn scratch(parent: Option<&Path>) -> Result<TempDir, Failure> {
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
    tempfile::Builder::new()
        .prefix("unisono-bench-")
        .tempdir_in(&parent)
        .map_err(|error| Failure::work(format!("cannot make a directory in {}: {error}", parent.display())))
}

/// What the disk can do alone, to be printed beside what the server does.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Disk {
    /// Durable writes of 512 bytes, one after the other.
    pub(super) syncs_per_second: f64,
    /// Appends of 200 bytes when 256 share a sync.
    pub(super) grouped_appends_per_second: f64,
}

impl Disk {
    /// Measures the disk under a directory.
    ///
    /// # Errors
    /// [`Failure::Work`] when it cannot be written.
    pub(super) async fn measure(directory: &Path) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::work(format!("cannot measure the disk: {error}"));
        let directory = directory.to_path_buf();
        let figures = tokio::task::spawn_blocking(move || measure_disk(&directory, DISK))
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        Ok(Self {
            syncs_per_second: figures.syncs_per_second,
            grouped_appends_per_second: figures.grouped_appends_per_second,
        })
    }

    /// The line for people.
    pub(super) fn print(&self) {
        println!(
            "this disk, alone: {:.0} syncs/s; {:.0} appends of 200 bytes/s when 256 share a sync",
            self.syncs_per_second, self.grouped_appends_per_second
        );
    }
}

/// A running process, as `/proc` shows it. What the system does not tell is 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process(pub(super) u32);

impl Process {
    /// Resident memory, in MiB.
    pub(super) fn resident_mib(self) -> f64 {
        self.status_kib("VmRSS:") / 1024.0
    }

    /// The most that was ever resident, in MiB.
    pub(super) fn peak_resident_mib(self) -> f64 {
        self.status_kib("VmHWM:") / 1024.0
    }

    /// CPU time of all its threads, user and system.
    pub(super) fn cpu(self) -> Duration {
        let stat = self.read("stat");
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
        let ticks: u64 = fields.skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum();
        // Linux says times to user space in hundredths of a second, whatever it counts in.
        Duration::from_millis(ticks * 10)
    }

    /// Bytes that it had written to disks.
    pub(super) fn written_bytes(self) -> u64 {
        let io = self.read("io");
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    }

    fn status_kib(self, name: &str) -> f64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next())
            .and_then(|kib| kib.parse().ok())
            .unwrap_or(0.0)
    }

    fn read(self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0)).unwrap_or_default()
    }
}

/// Lets this process open as many files as the system lets it.
pub(super) fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What does not fit is refused when it is opened, and says so.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Bytes of all files below a directory.
pub(super) fn bytes_below(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// One JSON object on a line.
///
/// # Errors
/// [`Failure::Work`] when the figures cannot be written.
pub(super) fn print_json(figures: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string(figures).map_err(|error| Failure::work(format!("cannot write the figures: {error}")))?;
    println!("{text}");
    Ok(())
}

/// Runs a bench to its end.
///
/// # Errors
/// [`Failure::Work`] when it could not be carried out.
pub(super) fn block_on(bench: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::work(format!("cannot start the runtime: {error}")))?
        .block_on(bench)
}
