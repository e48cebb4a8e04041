//! A folder of its own for each test.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Lines of each log that a failing test shows.
const SHOWN: usize = 60;

/// The folder of one test, with the logs of its processes.
pub(crate) struct Site(TempDir);

impl Site {
    pub(crate) fn new() -> Self {
        // Not in /tmp: a journal on a disk that is memory would hide what durability costs.
        Self(TempDir::with_prefix_in("site-", env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The log of a process; what it wrote before a restart stays.
    pub(crate) fn log(&self, process: &str) -> File {
        let path = self.path(&format!("{process}.log"));
        OpenOptions::new().create(true).append(true).open(path).unwrap()
    }

    /// What stands in a log.
    pub(crate) fn logged(&self, process: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{process}.log"))).unwrap_or_default()
    }

    /// The lines of a file; none when it is not there.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let entries = std::fs::read_dir(self.0.path()).into_iter().flatten().flatten();
        let mut logs: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_log(path)).collect();
        logs.sort();
        for log in logs {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(SHOWN)..];
            eprintln!(
                "---- the end of {}\n{}",
                log.file_name().unwrap().display(),
                tail.join("\n")
            );
        }
    }
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}
