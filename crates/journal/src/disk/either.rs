//! The disk of a [`FileJournal`](crate::FileJournal): the operating system's, or in simulations one that fails.

use std::{fs::File, io, path::PathBuf};

#[cfg(feature = "simulation")]
use super::faulty::{FaultyDisk, FaultyFile};
use super::{Disk, DiskFile, RealDisk};

#[derive(Clone)]
pub(crate) enum EitherDisk {
    Real(RealDisk),
    #[cfg(feature = "simulation")]
    Faulty(FaultyDisk),
}

pub(crate) enum EitherFile {
    Real(File),
    #[cfg(feature = "simulation")]
    Faulty(FaultyFile),
}

/// Does the same with whichever it is.
macro_rules! either {
    ($it:expr, $inner:ident => $does:expr) => {
        match $it {
            Self::Real($inner) => $does,
            #[cfg(feature = "simulation")]
            Self::Faulty($inner) => $does,
        }
    };
    ($it:expr, $inner:ident => file $does:expr) => {
        match $it {
            Self::Real($inner) => $does.map(EitherFile::Real),
            #[cfg(feature = "simulation")]
            Self::Faulty($inner) => $does.map(EitherFile::Faulty),
        }
    };
}

impl Disk for EitherDisk {
    type File = EitherFile;

    fn create_dir(&self) -> io::Result<()> {
        either!(self, disk => disk.create_dir())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        either!(self, disk => disk.names())
    }

    fn create(&self, name: &str) -> io::Result<EitherFile> {
        either!(self, disk => file disk.create(name))
    }

    fn open(&self, name: &str) -> io::Result<EitherFile> {
        either!(self, disk => file disk.open(name))
    }

    fn open_to_read(&self, name: &str) -> io::Result<EitherFile> {
        either!(self, disk => file disk.open_to_read(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        either!(self, disk => disk.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        either!(self, disk => disk.remove(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        either!(self, disk => disk.sync_names())
    }

    fn free_bytes(&self) -> Option<u64> {
        either!(self, disk => disk.free_bytes())
    }

    fn path(&self, name: &str) -> PathBuf {
        either!(self, disk => disk.path(name))
    }
}

impl DiskFile for EitherFile {
    fn length(&self) -> io::Result<u64> {
        either!(self, file => DiskFile::length(file))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, file => DiskFile::read_at(file, offset, buffer))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        either!(self, file => DiskFile::write_at(file, offset, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        either!(self, file => DiskFile::sync(file))
    }
}
