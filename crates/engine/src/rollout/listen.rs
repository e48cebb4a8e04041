//! Who was heard when, coarsely: what tells silence from health.
//!
//! Time is cut into windows, each an eighth of the silence that is tolerated, between one and thirty seconds. A report
//! that says nothing new only sets a bit here, in memory; when the window ends, one `Heard` event makes all bits durable
//! together. A target that no window has heard for long enough is silent.
//!
//! A window that a crash cuts short begins anew with the restart: it counts as no window without a word, so nobody is
//! taken for silent because the server was not there to listen, and nobody is taken for heard who was not.

use std::sync::atomic::{AtomicU64, Ordering};

use unisono_model::ids::Revision;
use unisono_model::rollout::HealthPolicy;

/// Targets whose windows share one row of a checkpoint.
pub(crate) const HEARD_CHUNK: u32 = 4_096;

/// Not heard for so long that it is silent, or never.
pub(crate) const UNHEARD: u8 = 0;

#[derive(Debug, Default)]
struct Chunk {
    seen: Revision,
    dirty: bool,
}

/// By slot: the last window that heard the target.
#[derive(Debug)]
pub(crate) struct Listening {
    heard: Vec<u8>,
    chunks: Vec<Chunk>,
    changed: Vec<u32>,
    /// How many targets were last heard in each window.
    counts: [u32; 256],
    /// One bit for each target heard in the window that is open. Not durable; set while commands are decided, since that
    /// is all that such a report does.
    fresh: Vec<AtomicU64>,
}

impl Default for Listening {
    fn default() -> Self {
        Self {
            heard: Vec::new(),
            chunks: Vec::new(),
            changed: Vec::new(),
            counts: [0; 256],
            fresh: Vec::new(),
        }
    }
}

/// How long a window is, in milliseconds, and how many have to pass without a word.
pub(crate) fn windows(policy: &HealthPolicy) -> (i64, u32) {
    let silence = i64::try_from(policy.silent_after_seconds.saturating_mul(1_000)).unwrap_or(i64::MAX / 2);
    let length = (silence / 8).clamp(1_000, 30_000).max(silence / 200);
    (
        length,
        u32::try_from((silence + length - 1) / length).unwrap_or(1).max(1),
    )
}

/// The window after this one: they are counted from 1 to 255, over and over.
pub(crate) fn after(window: u8) -> u8 {
    if window == u8::MAX { 1 } else { window + 1 }
}

/// How many windows ago this one was.
fn age(current: u8, window: u8) -> u32 {
    let (current, window) = (u32::from(current), u32::from(window));
    (current + 255 - window) % 255
}

impl Listening {
    /// A target was heard, and nothing else is to be remembered of it.
    pub(crate) fn hear(&self, slot: u32) {
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        if let Some(word) = self.fresh.get(word) {
            let bits = word.load(Ordering::Relaxed);
            if bits & bit == 0 {
                word.store(bits | bit, Ordering::Relaxed);
            }
        }
    }

    /// Many targets were heard.
    pub(crate) fn hear_all(&self, slots: impl Iterator<Item = u32>) {
        for slot in slots {
            self.hear(slot);
        }
    }

    /// Whether anybody has to be listened to.
    pub(crate) fn is_open(&self) -> bool {
        self.counts[1..].iter().any(|count| *count > 0)
    }

    /// Targets heard since the window was opened, as far as only bits say so.
    pub(crate) fn fresh(&self) -> Vec<u32> {
        let mut slots = Vec::new();
        for (word, bits) in (0_u32..).zip(&self.fresh) {
            let mut bits = bits.load(Ordering::Relaxed);
            while bits != 0 {
                slots.push(word * 64 + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
        slots
    }

    fn is_fresh(&self, slot: u32) -> bool {
        let bits = self
            .fresh
            .get(slot as usize / 64)
            .map_or(0, |it| it.load(Ordering::Relaxed));
        bits >> (slot % 64) & 1 == 1
    }

    /// Targets that no window has heard for so long, when `current` ends.
    pub(crate) fn silent(&self, current: u8, windows: u32) -> Vec<u32> {
        let old = |window: u8| window != UNHEARD && age(current, window) >= windows;
        let any = (1..=u8::MAX).any(|window| self.counts[usize::from(window)] > 0 && old(window));
        if !any {
            return Vec::new();
        }
        (0..)
            .zip(&self.heard)
            .filter(|(slot, window)| old(**window) && !self.is_fresh(*slot))
            .map(|(slot, _)| slot)
            .collect()
    }

    /// An event says in which window a target was heard last.
    pub(crate) fn set(&mut self, slot: u32, revision: Revision, window: u8) {
        self.reach(slot);
        let number = slot / HEARD_CHUNK;
        let chunk = &mut self.chunks[number as usize];
        if chunk.seen >= revision {
            return;
        }
        if !chunk.dirty {
            chunk.dirty = true;
            self.changed.push(number);
        }
        let heard = &mut self.heard[slot as usize];
        self.counts[usize::from(*heard)] -= 1;
        self.counts[usize::from(window)] += 1;
        *heard = window;
    }

    fn reach(&mut self, slot: u32) {
        let needed = slot as usize + 1;
        if self.heard.len() < needed {
            self.counts[0] += u32::try_from(needed - self.heard.len()).unwrap_or(0);
            self.heard.resize(needed, UNHEARD);
            self.fresh.resize_with(needed.div_ceil(64), AtomicU64::default);
            self.chunks
                .resize_with(needed.div_ceil(HEARD_CHUNK as usize), Chunk::default);
        }
    }

    /// The bits of the window that ends are durable, or given up.
    pub(crate) fn clear_fresh(&mut self) {
        for word in &mut self.fresh {
            *word.get_mut() = 0;
        }
    }

    /// The chunks that changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> Vec<u32> {
        for number in &self.changed {
            self.chunks[*number as usize].dirty = false;
        }
        std::mem::take(&mut self.changed)
    }

    pub(crate) fn chunks(&self) -> u32 {
        u32::try_from(self.chunks.len()).unwrap_or(u32::MAX)
    }

    /// The windows of one chunk.
    pub(crate) fn chunk(&self, number: u32) -> Option<&[u8]> {
        let first = number as usize * HEARD_CHUNK as usize;
        let last = (first + HEARD_CHUNK as usize).min(self.heard.len());
        self.heard.get(first..last).filter(|windows| !windows.is_empty())
    }

    /// Puts back a chunk that a checkpoint kept.
    pub(crate) fn load(&mut self, number: u32, seen: Revision, windows: &[u8]) {
        let Some(last) = u32::try_from(windows.len()).ok().and_then(|count| count.checked_sub(1)) else {
            return;
        };
        let first = number * HEARD_CHUNK;
        self.reach(first + last);
        for (slot, window) in (first as usize..).zip(windows) {
            let heard = &mut self.heard[slot];
            self.counts[usize::from(*heard)] -= 1;
            self.counts[usize::from(*window)] += 1;
            *heard = *window;
        }
        self.chunks[number as usize].seen = seen;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(seconds: u64) -> HealthPolicy {
        HealthPolicy {
            silent_after_seconds: seconds,
            ..HealthPolicy::default()
        }
    }

    #[test]
    fn windows_are_an_eighth_of_the_silence_and_their_number_fits() {
        assert_eq!(windows(&policy(80)), (10_000, 8));
        assert_eq!(windows(&policy(1)), (1_000, 1));
        assert_eq!(windows(&policy(900)), (30_000, 30));
        let (length, count) = windows(&policy(7 * 24 * 3_600));
        assert!(count <= 200 && length * i64::from(count) >= 7 * 24 * 3_600_000);
    }

    #[test]
    fn who_is_not_heard_for_long_enough_is_silent_and_nobody_else() {
        let mut listening = Listening::default();
        listening.set(0, Revision(1), 250);
        assert_eq!(listening.silent(252, 3), Vec::<u32>::new());
        listening.set(1, Revision(1), 253);
        assert_eq!(listening.silent(253, 3), [0]);
        // Windows are counted over and over.
        assert_eq!(listening.silent(1, 3), [0, 1]);
        listening.hear(0);
        assert_eq!((listening.silent(253, 3), listening.fresh()), (vec![], vec![0]));
        listening.set(0, Revision(2), UNHEARD);
        assert!(listening.is_open());
        listening.set(1, Revision(3), UNHEARD);
        assert!(!listening.is_open());
    }
}
