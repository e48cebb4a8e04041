//! The few file operations that a journal needs, so that tests can put a disk underneath that fails as disks do.

use std::{io, path::PathBuf};

mod either;
#[cfg(any(test, feature = "simulation"))]
pub(crate) mod faulty;
mod real;

pub(crate) use either::EitherDisk;
pub(crate) use real::RealDisk;

/// One directory of files. Nothing that is done to its names is durable before [`Disk::sync_names`].
pub(crate) trait Disk: Clone + Send + Sync + 'static {
    type File: DiskFile;

    /// Makes the directory, durably, if it is not there.
    fn create_dir(&self) -> io::Result<()>;
    fn names(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file, in place of one that has this name.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// The same for who may not, or must not, write to it.
    fn open_to_read(&self, name: &str) -> io::Result<Self::File>;
    /// Renames a file, in place of one that has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    fn sync_names(&self) -> io::Result<()>;
    /// Room for more files, in bytes; none when nobody can tell.
    fn free_bytes(&self) -> Option<u64>;
    /// How a person calls the file of this name; the directory itself for an empty name.
    fn path(&self, name: &str) -> PathBuf;
}

/// One open file. Nothing that is written to it is durable before [`DiskFile::sync`].
pub(crate) trait DiskFile: Send + Sync {
    fn length(&self) -> io::Result<u64>;
    /// Reads up to the buffer's length; 0 at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes some of the bytes and returns how many.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;
    /// Makes the contents and the length durable. After a failure nobody knows what is on the disk.
    fn sync(&self) -> io::Result<()>;

    fn write_all_at(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(offset, bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_exact_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(offset, buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    offset += read as u64;
                    buffer = &mut buffer[read..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
