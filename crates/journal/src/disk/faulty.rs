//! A disk in memory that fails as disks do, the same way for the same seed.
//!
//! It keeps what the operating system has in memory apart from what is on the disk, by sectors. A power cut leaves each
//! sector that was not synced as it was or as any write since has made it. A failed sync leaves the disk so as well, and
//! then takes everything for clean, as Linux does: another sync succeeds and writes nothing.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{Disk, DiskFile};

const SECTOR: usize = 512;

/// A small generator of random numbers (SplitMix64; Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number. (There is no end to them.)
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// True once in `times`, on average.
    pub fn once_in(&mut self, times: usize) -> bool {
        times != 0 && self.below(times) == 0
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// What goes wrong: each once in so many operations of its kind, never for 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The power fails during the operation of this number, counted from now.
    pub power_cut: Option<u64>,
    /// Syncs that lose some of what they should keep, and fail.
    pub failed_syncs: usize,
    /// Writes that write a part and say so.
    pub short_writes: usize,
    /// Writes that write a part and fail.
    pub failed_writes: usize,
    /// Whether files cannot grow.
    pub full: bool,
    /// What the disk says of its free room, when it says something.
    pub free: Option<u64>,
    /// Whether a sync does nothing and says that it did, as if nobody had asked for it.
    pub idle_syncs: bool,
    /// Whether a sync that fails does not say so, as if nobody had looked.
    pub silent_failures: bool,
}

/// A disk in memory that fails as it is told. Cheap to clone.
#[derive(Clone)]
pub struct FaultyDisk(Arc<Mutex<State>>);

pub(crate) struct FaultyFile {
    disk: FaultyDisk,
    inode: usize,
}

struct State {
    random: Random,
    faults: Faults,
    operations: u64,
    down: bool,
    /// Whether an operation has failed on purpose.
    failed: bool,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
}

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

#[derive(Default)]
struct Inode {
    memory: Vec<u8>,
    disk: Vec<u8>,
    /// For each sector written since the last sync, what it was after each write.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        self.memory[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let until = ((sector + 1) * SECTOR).min(self.memory.len());
            let content = self.memory[sector * SECTOR..until].to_vec();
            self.dirty.entry(sector).or_default().push(content);
        }
    }

    fn put(&mut self, sector: usize, content: &[u8]) {
        let end = sector * SECTOR + content.len();
        if self.disk.len() < end {
            self.disk.resize(end, 0);
        }
        self.disk[sector * SECTOR..end].copy_from_slice(content);
    }

    /// Writes what is dirty, and only that.
    fn sync(&mut self) {
        for (sector, states) in std::mem::take(&mut self.dirty) {
            if let Some(content) = states.last() {
                self.put(sector, content);
            }
        }
    }

    /// Each sector reaches the disk in any of its states, or not at all.
    fn lose_some(&mut self, random: &mut Random) {
        for (sector, states) in std::mem::take(&mut self.dirty) {
            let kept = random.below(states.len() + 1);
            if let Some(content) = states.get(kept) {
                self.put(sector, content);
            }
        }
    }
}

impl State {
    fn operation(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.faults.power_cut == Some(self.operations) {
            self.down = true;
        }
        self.up()
    }

    fn up(&self) -> io::Result<()> {
        if self.down {
            Err(io::Error::other("no power"))
        } else {
            Ok(())
        }
    }

    fn fail<T>(&mut self, error: impl Into<io::Error>) -> io::Result<T> {
        self.failed = true;
        Err(error.into())
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, inode) => {
                names.insert(name, inode);
            }
            Self::Rename(from, to, inode) => {
                names.remove(&from);
                names.insert(to, inode);
            }
            Self::Remove(name) => {
                names.remove(&name);
            }
        }
    }
}

impl FaultyDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random::new(seed),
            faults: Faults::default(),
            operations: 0,
            down: false,
            failed: false,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        state.operations = 0;
        state.faults = faults;
    }

    /// Whether the power has failed.
    pub fn is_down(&self) -> bool {
        self.state().down
    }

    /// Whether anything has failed on purpose since this was asked last.
    pub fn has_failed(&self) -> bool {
        let mut state = self.state();
        let failed = state.failed || state.down;
        state.failed = false;
        failed
    }

    /// The same, with those of the unsynced sectors of a file that `reaches` names in their last state, and no others.
    pub fn power_cycle_leaving(&self, name: &str, reaches: impl Fn(usize) -> bool) {
        let mut guard = self.state();
        let state = &mut *guard;
        let inode = state.inode(name).unwrap();
        state.inodes[inode].dirty.retain(|sector, _| reaches(*sector));
        state.inodes[inode].sync();
        drop(guard);
        self.power_cycle();
    }

    /// The power goes, and comes again without faults.
    pub fn power_cycle(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        for change in std::mem::take(&mut state.unsynced_names) {
            if state.random.once_in(2) {
                change.apply(&mut state.durable_names);
            }
        }
        for inode in &mut state.inodes {
            inode.lose_some(&mut state.random);
            inode.memory.clone_from(&inode.disk);
        }
        state.names.clone_from(&state.durable_names);
        for (inode, file) in state.inodes.iter_mut().enumerate() {
            if !state.names.values().any(|named| *named == inode) {
                *file = Inode::default();
            }
        }
        state.faults = Faults::default();
        state.down = false;
    }

    /// The names of all files.
    pub fn files(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// Flips a bit, in memory and on the disk.
    pub fn flip(&self, name: &str, byte: u64, bit: u32) {
        let mut state = self.state();
        let inode = state.inode(name).unwrap();
        let flipped = state.inodes[inode].memory[byte as usize] ^ 1 << bit;
        state.inodes[inode].write(byte as usize, &[flipped]);
        state.inodes[inode].sync();
    }

    /// What stands in a file.
    pub fn contents(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.inode(name).unwrap()].memory.clone()
    }

    /// Takes the end of a file away.
    pub fn cut_to(&self, name: &str, bytes: usize) {
        let mut state = self.state();
        let inode = state.inode(name).unwrap();
        state.inodes[inode].sync();
        state.inodes[inode].memory.truncate(bytes);
        state.inodes[inode].disk.truncate(bytes);
    }
}

impl Disk for FaultyDisk {
    type File = FaultyFile;

    fn create_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        state.up()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<FaultyFile> {
        let mut state = self.state();
        state.operation()?;
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(name.to_owned(), inode);
        state.unsynced_names.push(NameChange::Create(name.to_owned(), inode));
        Ok(FaultyFile {
            disk: self.clone(),
            inode,
        })
    }

    fn open(&self, name: &str) -> io::Result<FaultyFile> {
        let state = self.state();
        state.up()?;
        Ok(FaultyFile {
            disk: self.clone(),
            inode: state.inode(name)?,
        })
    }

    fn open_to_read(&self, name: &str) -> io::Result<FaultyFile> {
        self.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned(), state.inode(from)?);
        change.clone().apply(&mut state.names);
        state.unsynced_names.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        state.inode(name)?;
        let change = NameChange::Remove(name.to_owned());
        change.clone().apply(&mut state.names);
        state.unsynced_names.push(change);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut guard = self.state();
        let state = &mut *guard;
        state.operation()?;
        if state.random.once_in(state.faults.failed_syncs) {
            return state.fail(io::Error::other("sync failed"));
        }
        state.unsynced_names.clear();
        state.durable_names.clone_from(&state.names);
        Ok(())
    }

    fn free_bytes(&self) -> Option<u64> {
        self.state().faults.free
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/journal").join(name)
    }
}

impl DiskFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.up()?;
        Ok(state.inodes[self.inode].memory.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        state.up()?;
        let rest = state.inodes[self.inode]
            .memory
            .get(offset as usize..)
            .unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut guard = self.disk.state();
        guard.up()?;
        let State {
            random, faults, inodes, ..
        } = &mut *guard;
        let inode = &mut inodes[self.inode];
        if faults.full && offset as usize + bytes.len() > inode.memory.len() {
            return guard.fail(io::ErrorKind::StorageFull);
        }
        let (short, failed) = (
            random.once_in(faults.short_writes),
            random.once_in(faults.failed_writes),
        );
        let part = 1 + random.below(bytes.len());
        let powered = guard.operation().is_ok();
        let written = if powered && !short && !failed {
            bytes.len()
        } else {
            part
        };
        guard.inodes[self.inode].write(offset as usize, &bytes[..written]);
        match (powered, failed) {
            (true, false) => Ok(written),
            (true, true) => guard.fail(io::Error::other("write failed")),
            (false, _) => Err(io::Error::other("no power")),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut guard = self.disk.state();
        guard.operation()?;
        let State {
            random, faults, inodes, ..
        } = &mut *guard;
        let inode = &mut inodes[self.inode];
        if faults.idle_syncs {
            return Ok(());
        }
        if !random.once_in(faults.failed_syncs) {
            inode.sync();
            return Ok(());
        }
        inode.lose_some(random);
        if random.once_in(2) {
            inode.memory.clone_from(&inode.disk);
        }
        if faults.silent_failures {
            return Ok(());
        }
        guard.fail(io::Error::other("sync failed"))
    }
}
