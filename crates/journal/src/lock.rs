//! One process at a time in a data directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
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
/// It is an advisory lock of the operating system on the file `LOCK`, which also names the holder's process id. The file
/// stays when the lock is gone: a file that comes and goes could be locked twice.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
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
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(name))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    dir: dir.to_owned(),
                    holder: holder(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        name_holder(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn name_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
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
    fn a_missing_directory_is_named() {
        let refusal = DataDirLock::acquire(Path::new("/nonexistent/data")).unwrap_err();
        assert!(refusal.to_string().contains("/nonexistent/data"));
    }
}
