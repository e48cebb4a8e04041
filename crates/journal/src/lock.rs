//! One process at a time in a data directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Why a directory could not be locked.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process holds it.
    #[error(
        "the data directory {} is in use by {}; stop that process, or give this one a directory of its own",
        dir.display(),
        holder.map_or("another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The process id of the holder, if it could be read.
        holder: Option<u32>,
    },
    /// The lock file could not be used.
    #[error("could not lock the data directory {}; it must exist and be writable", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// An exclusive lock on a data directory, held until it is dropped or the process ends, however it ends.
///
/// It is an advisory lock of the operating system on the file `LOCK`, which also names the holder's process id and counts
/// how often it was locked. The file stays when the lock is gone: a file that comes and goes could be locked twice.
#[derive(Debug)]
pub struct DataDirLock {
    file: File,
    path: PathBuf,
    number: u64,
}

impl DataDirLock {
    /// Locks `dir`, which must exist, without waiting.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process, or another lock of this one, holds it; [`LockError::Io`] otherwise.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        Self::acquire_file(dir, "LOCK")
    }

    pub(crate) fn acquire_file(dir: &Path, name: &str) -> Result<Self, LockError> {
        let failed = |source| LockError::Io {
            dir: dir.to_owned(),
            source,
        };
        let path = dir.join(name);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    dir: dir.to_owned(),
                    holder: line(&mut file, 0),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let number = line(&mut file, 1).unwrap_or(0_u64) + 1;
        name_holder(&mut file, number).map_err(failed)?;
        Ok(Self { file, path, number })
    }

    /// Lets go of the directory, whoever still looks at the lock. Closing the file does not suffice: a process that is just
    /// being started shares it for a moment, and keeps the lock until it runs its own program.
    pub fn unlock(&self) {
        // What is closed soon after is unlocked then at the latest.
        let _ = self.file.unlock();
    }

    /// How often the directory was locked, this time included. It begins again when the file was removed.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether the file that is locked is still the one in the directory. If it was removed or replaced, or the whole
    /// directory was, another process can lock the one that is there now.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_in_place(&self) -> io::Result<bool> {
        let held = self.file.metadata()?;
        match self.path.metadata() {
            Ok(there) => Ok((there.dev(), there.ino()) == (held.dev(), held.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for DataDirLock {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// A number that stands in a line of the file.
fn line<T: std::str::FromStr>(file: &mut File, index: usize) -> Option<T> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.lines().nth(index)?.trim().parse().ok()
}

fn name_holder(file: &mut File, number: u64) -> io::Result<()> {
    file.rewind()?;
    file.set_len(0)?;
    write!(file, "{}\n{number}\n", std::process::id())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_held_directory_is_refused_naming_it_its_holder_and_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = DataDirLock::acquire(dir.path()).unwrap();
        let refusal = DataDirLock::acquire(dir.path()).unwrap_err().to_string();
        assert!(refusal.contains(&dir.path().display().to_string()), "{refusal}");
        assert!(
            refusal.contains(&format!("process {}", std::process::id())),
            "{refusal}"
        );
        assert!(refusal.contains("stop that process"), "{refusal}");
    }

    #[test]
    fn a_released_directory_can_be_locked_again() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDirLock::acquire(dir.path()).unwrap());
        DataDirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_released_directory_can_be_locked_again_while_its_file_is_still_open_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DataDirLock::acquire(dir.path()).unwrap();
        let shared = lock.file.try_clone().unwrap();
        drop(lock);
        DataDirLock::acquire(dir.path()).unwrap();
        drop(shared);
    }

    #[test]
    fn it_is_counted_how_often_a_directory_was_locked() {
        let dir = tempfile::tempdir().unwrap();
        let numbers = [(); 3].map(|()| DataDirLock::acquire(dir.path()).unwrap().number());
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn a_lock_whose_file_was_removed_or_replaced_is_not_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DataDirLock::acquire(dir.path()).unwrap();
        assert!(lock.is_in_place().unwrap());
        std::fs::remove_file(dir.path().join("LOCK")).unwrap();
        assert!(!lock.is_in_place().unwrap());
        let _other = DataDirLock::acquire(dir.path()).unwrap();
        assert!(!lock.is_in_place().unwrap());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let refusal = DataDirLock::acquire(Path::new("/nonexistent/data")).unwrap_err();
        assert!(refusal.to_string().contains("/nonexistent/data"));
    }
}
