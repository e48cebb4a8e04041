//! Room on the disk: how much there is, and what may still be written.
//!
//! A part of it is a reserve for work that was accepted. While it is touched, new work is refused: results, cancels and
//! deletions go through, and orchestrations that run go on. When most of it is used up, nothing more is written: agents keep
//! their results until there is room. So the store, which bears a full disk badly, does not meet one unless somebody else
//! fills it at once. Nobody polls while there is room: whoever writes looks on the way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

const MIB: u64 = 1024 * 1024;
/// The reserve, unless it is set: this much, or a part of the disk if that is less, but not less than the store may need at once,
/// unless that were more than half.
const RESERVE: u64 = 1024 * MIB;
const RESERVE_PART: u64 = 8;
const LEAST_RESERVE: u64 = 128 * MIB;
/// The part of the reserve that nobody gets.
const LAST_PART: u64 = 4;
/// How much more than a threshold there must be before it counts as passed again: this part of it.
const MARGIN_PART: u64 = 8;
/// What must be free before something that has failed for want of room is tried again, whatever the reserve is.
const LEAST: u64 = 16 * MIB;
/// How old an answer may be.
const FRESH_MS: u64 = 50;
/// How often is looked whether there is room again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Room {
    /// Everything.
    Enough,
    /// What belongs to work that was accepted.
    Reserve,
    /// Nothing.
    None,
}

impl Room {
    fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Enough,
            1 => Self::Reserve,
            _ => Self::None,
        }
    }
}

/// How much room there is, and how much there should be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Free {
    pub(crate) free: u64,
    /// With less than this, new work is refused.
    pub(crate) needed: u64,
}

impl std::fmt::Display for Free {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { free, needed } = self;
        write!(f, "{free} bytes are free, and {needed} are needed")
    }
}

/// The room on the disk of the data directory. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Space(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    /// As it was set.
    reserve: Option<u64>,
    room: AtomicU8,
    free: AtomicU64,
    needed: AtomicU64,
    began: Instant,
    /// When it was last looked at, in milliseconds since it began.
    looked_ms: AtomicU64,
    /// Whether a write has failed for want of room, and none has succeeded since: then what the disk says does not count.
    refused: AtomicBool,
    /// Whether the store has failed for want of room, and there has not been enough since.
    starved: AtomicBool,
    /// Whether there was too little room since the store was last written.
    tight: AtomicBool,
    changes: watch::Sender<Room>,
    runtime: Handle,
}

impl Inner {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Space {
    /// Looks at the disk of `directory`. Must be called within a runtime.
    pub(crate) fn new(directory: &Path, reserve: Option<u64>) -> Self {
        let space = Self(Arc::new(Inner {
            directory: directory.to_owned(),
            reserve,
            room: AtomicU8::new(Room::Enough as u8),
            free: AtomicU64::new(u64::MAX),
            needed: AtomicU64::new(0),
            began: Instant::now(),
            looked_ms: AtomicU64::new(0),
            refused: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            tight: AtomicBool::new(false),
            changes: watch::Sender::new(Room::Enough),
            runtime: Handle::current(),
        }));
        space.look();
        space
    }

    /// What may be written, as of a moment ago.
    pub(crate) fn room(&self) -> Room {
        if self.0.now_ms().saturating_sub(self.0.looked_ms.load(Ordering::Relaxed)) >= FRESH_MS {
            self.look();
        }
        self.last_room()
    }

    /// The same without looking.
    pub(crate) fn last_room(&self) -> Room {
        Room::from_code(self.0.room.load(Ordering::Relaxed))
    }

    /// Whether there is as much room as there should be, whatever was refused.
    pub(crate) fn suffices(&self) -> bool {
        self.look();
        let Free { free, needed } = self.free();
        is_enough(free, needed)
    }

    /// Whether a write has failed for want of room, and none has succeeded since.
    pub(crate) fn is_refused(&self) -> bool {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// The store has failed for want of room: nothing is written until there is enough. Says whether that had happened before,
    /// and there has not been enough since.
    pub(crate) fn starve(&self) -> bool {
        let before = self.0.starved.swap(true, Ordering::Relaxed);
        self.look();
        before
    }

    /// The store was written, so whatever fails from now on does not fail for want of the room that there was not.
    pub(crate) fn fed(&self) {
        if self.0.tight.load(Ordering::Relaxed) && self.suffices() {
            self.0.tight.store(false, Ordering::Relaxed);
        }
    }

    /// Whether there is too little room, or was since the store was last written: its own threads may have met that unseen.
    pub(crate) fn was_tight(&self) -> bool {
        !self.suffices() || self.0.tight.load(Ordering::Relaxed)
    }

    /// Whether nothing is written because something has failed for want of room, whatever the disk says.
    pub(crate) fn is_held(&self) -> bool {
        self.is_refused() || self.0.starved.load(Ordering::Relaxed)
    }

    /// How much there is.
    pub(crate) fn free(&self) -> Free {
        Free {
            free: self.0.free.load(Ordering::Relaxed),
            needed: self.0.needed.load(Ordering::Relaxed),
        }
    }

    /// Waits until something may be written.
    pub(crate) async fn writable(&self) {
        let mut changes = self.0.changes.subscribe();
        // It ends with the process at the latest.
        let _ = changes.wait_for(|room| *room != Room::None).await;
    }

    /// A write has failed for want of room: nothing more is written until one succeeds.
    pub(crate) fn refused(&self) {
        self.0.refused.store(true, Ordering::Relaxed);
        self.look();
    }

    /// A write that had failed for want of room has succeeded.
    pub(crate) fn granted(&self) {
        if self.is_refused() && self.0.refused.swap(false, Ordering::Relaxed) {
            self.look();
        }
    }

    /// Asks the file system.
    fn look(&self) {
        // One that others have looked at later is as good.
        self.0.looked_ms.fetch_max(self.0.now_ms(), Ordering::Relaxed);
        // A file system that cannot tell is not full as far as anybody knows.
        let Ok(disk) = rustix::fs::statvfs(&self.0.directory) else {
            return;
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let total = disk.f_blocks.saturating_mul(disk.f_frsize);
        let reserve = self.0.reserve.unwrap_or_else(|| usual_reserve(total));
        self.0.free.store(free, Ordering::Relaxed);
        self.0.needed.store(reserve, Ordering::Relaxed);
        let before = self.last_room();
        if is_enough(free, reserve) {
            self.0.starved.store(false, Ordering::Relaxed);
        } else {
            self.0.tight.store(true, Ordering::Relaxed);
        }
        let room = if self.is_held() {
            Room::None
        } else {
            room(free, reserve, before)
        };
        if self.0.room.swap(room as u8, Ordering::Relaxed) != room as u8 {
            self.changed(before, room);
        }
    }

    fn changed(&self, before: Room, room: Room) {
        let directory = self.0.directory.display();
        match room {
            Room::Enough => tracing::info!("there is room on the disk of {directory} again: {}", self.free()),
            Room::Reserve => tracing::error!(
                "the disk of {directory} is nearly full: {}; new work is refused until there is room, and what was accepted \
                 goes on",
                self.free()
            ),
            Room::None => tracing::error!(
                "the disk of {directory} is full: {}; nothing is written until there is room, and agents keep their results",
                self.free()
            ),
        }
        self.0.changes.send_replace(room);
        if before == Room::Enough {
            self.0.runtime.spawn(look_until_enough(Arc::downgrade(&self.0)));
        }
    }
}

/// Looks now and then until there is room again, or nobody wants to know.
async fn look_until_enough(inner: std::sync::Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let Some(inner) = inner.upgrade() else { return };
        let space = Space(inner);
        space.look();
        if space.last_room() == Room::Enough {
            return;
        }
    }
}

/// The reserve of a disk of this size.
fn usual_reserve(total: u64) -> u64 {
    let least = LEAST_RESERVE.min(total / 2);
    RESERVE.min((total / RESERVE_PART).max(least))
}

/// Whether there is as much as there should be, with a margin.
fn is_enough(free: u64, reserve: u64) -> bool {
    free >= (reserve + reserve / MARGIN_PART).max(LEAST)
}

/// What may be written with so much room: a little more is needed to go back than to go on.
fn room(free: u64, reserve: u64, before: Room) -> Room {
    let with_margin = |threshold: u64, counts: bool| threshold + if counts { threshold / MARGIN_PART } else { 0 };
    let last = reserve / LAST_PART;
    if free < with_margin(last, before == Room::None) {
        Room::None
    } else if free < with_margin(reserve, before != Room::Enough) {
        Room::Reserve
    } else {
        Room::Enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_left_with_a_margin() {
        let after = |frees: &[u64]| {
            let step = |before, free: &u64| room(*free, 800, before);
            frees.iter().fold(Room::Enough, step)
        };
        assert_eq!(after(&[800]), Room::Enough);
        assert_eq!(after(&[799]), Room::Reserve);
        assert_eq!(after(&[799, 899]), Room::Reserve);
        assert_eq!(after(&[799, 900]), Room::Enough);
        assert_eq!(after(&[200]), Room::Reserve);
        assert_eq!(after(&[199]), Room::None);
        assert_eq!(after(&[199, 224]), Room::None);
        assert_eq!(after(&[199, 225]), Room::Reserve);
        assert_eq!(after(&[199, 900]), Room::Enough);
    }

    #[test]
    fn a_small_disk_keeps_back_more_of_it() {
        let of = |mebibytes: u64| usual_reserve(mebibytes * MIB) / MIB;
        assert_eq!([100, 256, 1_024, 2_048].map(of), [50, 128, 128, 256]);
        assert_eq!([8_192, 1_000_000].map(of), [1_024, 1_024]);
    }

    #[test]
    fn a_reserve_of_nothing_is_never_touched() {
        assert_eq!(room(0, 0, Room::Enough), Room::Enough);
    }

    #[tokio::test]
    async fn a_refused_write_counts_more_than_what_the_disk_says() {
        let space = Space::new(Path::new("/"), Some(0));
        assert_eq!(space.room(), Room::Enough);
        space.refused();
        assert_eq!(space.room(), Room::None);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), space.writable())
                .await
                .is_err()
        );
        space.granted();
        space.writable().await;
        assert_eq!(space.room(), Room::Enough);
    }

    #[tokio::test]
    async fn a_store_that_has_starved_is_fed_when_there_is_room() {
        let nowhere = Space::new(Path::new("/"), Some(u64::MAX / 2));
        assert!(!nowhere.starve());
        assert!(nowhere.starve(), "there has been no room since");
        assert!(nowhere.is_held());
        let plenty = Space::new(Path::new("/"), Some(0));
        assert!(!plenty.starve());
        assert!(!plenty.is_held(), "there is room already");
        assert_eq!(plenty.room(), Room::Enough);
        assert!(nowhere.was_tight() && !plenty.was_tight());
    }
}
