//! A small disk that can be filled: memory, mounted where only those see it who are started there.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::without_settings;

/// A small disk. It goes with the process that holds it, which ends when the test does, however that ends.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    holder: Child,
    at: PathBuf,
    as_root: bool,
}

impl SmallDisk {
    /// Mounts one at a folder; none where that is not allowed.
    pub(crate) fn mount(at: &Path, mebibytes: u32) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        [true, false]
            .into_iter()
            .find_map(|as_root| Self::try_mount(at, mebibytes, as_root))
    }

    fn try_mount(at: &Path, mebibytes: u32, as_root: bool) -> Option<Self> {
        let script = format!("mount -t tmpfs -o size={mebibytes}m small \"$0\" && echo mounted && exec cat");
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !as_root {
            command.args(["--user", "--map-root-user"]);
        }
        let mut holder = command
            .args(["sh", "-c", &script])
            .arg(at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take()?).read_line(&mut said).ok()?;
        let at = at.to_owned();
        if said == "mounted\n" {
            return Some(Self { holder, at, as_root });
        }
        let _ = holder.wait();
        None
    }

    /// The program under test where it sees this disk.
    pub(crate) fn program(&self) -> Command {
        let mut command = without_settings(Command::new("nsenter"));
        command.args(["--target", &self.holder.id().to_string(), "--mount"]);
        if !self.as_root {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg(env!("CARGO_BIN_EXE_unisono"));
        command
    }

    /// A file of the disk, as others reach it.
    fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.at.strip_prefix("/").unwrap()).join(name)
    }

    /// Fills it with something else, so that this much is free.
    pub(crate) fn leave(&self, bytes: u64) {
        self.empty();
        let size = self.free().saturating_sub(bytes);
        let zeros = vec![0; usize::try_from(size).unwrap()];
        // Whoever else writes meanwhile may get the last of it.
        let _ = std::fs::write(self.path("ballast"), zeros);
    }

    /// Takes away what it was filled with.
    pub(crate) fn empty(&self) {
        let _ = std::fs::remove_file(self.path("ballast"));
    }

    fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.path("")).unwrap();
        disk.f_bavail * disk.f_frsize
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
