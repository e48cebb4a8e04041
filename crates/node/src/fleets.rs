//! Who watches which entity, and what has changed of it since they last looked.
//!
//! A fleet of a million targets changes all the time, so watchers are not told each change: each has a note of what has
//! changed, and looks when it is ready to. Nothing is missed, and what happens meanwhile is seen together.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use unisono_engine::rollout::{RolloutEvent, Touched};

/// Targets that are remembered one by one; of more it is only known that there are some.
const REMEMBERED: usize = 1_024;

/// What has changed of entities, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Touches {
    entities: FxHashMap<u32, Changes>,
    /// Whether something has happened to all of them.
    everywhere: bool,
}

/// What has changed of an entity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// Targets that have changed, by their slots.
    pub(crate) slots: BTreeSet<u32>,
    /// Whether others have changed as well.
    pub(crate) more: bool,
}

impl Changes {
    fn add(&mut self, slot: u32) {
        if self.slots.len() < REMEMBERED {
            self.slots.insert(slot);
        } else if !self.slots.contains(&slot) {
            self.more = true;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.more |= other.more;
        other.slots.iter().for_each(|slot| self.add(*slot));
    }
}

impl Touches {
    /// Notes what an event changes.
    pub(crate) fn add(&mut self, event: &RolloutEvent) {
        let Some(entity) = event.entity() else {
            self.everywhere = true;
            return;
        };
        let changes = self.entities.entry(entity).or_default();
        match event.touched() {
            Touched::None => {}
            Touched::Any => changes.more = true,
            Touched::Some(slots) => slots.take(REMEMBERED * 2).for_each(|slot| changes.add(slot)),
        }
    }
}

/// Who watches which entity.
#[derive(Default)]
pub(crate) struct Fleets {
    watchers: Mutex<FxHashMap<u32, Vec<Arc<Watcher>>>>,
    count: AtomicUsize,
}

#[derive(Default)]
struct Watcher {
    changes: Mutex<Option<Changes>>,
    wake: Notify,
}

/// A watch of an entity, until it is dropped.
pub(crate) struct FleetWatch {
    fleets: Arc<Fleets>,
    entity: u32,
    watcher: Arc<Watcher>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fleets {
    /// Whether anybody watches anything.
    pub(crate) fn is_watched(&self) -> bool {
        self.count() > 0
    }

    /// How many watch.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Watches an entity: what is decided from now on is noted.
    pub(crate) fn watch(self: &Arc<Self>, entity: u32) -> FleetWatch {
        self.count.fetch_add(1, Ordering::AcqRel);
        let watcher = Arc::<Watcher>::default();
        lock(&self.watchers)
            .entry(entity)
            .or_default()
            .push(Arc::clone(&watcher));
        FleetWatch {
            fleets: Arc::clone(self),
            entity,
            watcher,
        }
    }

    /// These changes are durable.
    pub(crate) fn publish(&self, touches: &Touches) {
        if touches.entities.is_empty() && !touches.everywhere {
            return;
        }
        for (entity, watchers) in &*lock(&self.watchers) {
            let changes = touches.entities.get(entity);
            if changes.is_none() && !touches.everywhere {
                continue;
            }
            for watcher in watchers {
                let mut noted = lock(&watcher.changes);
                let noted = noted.get_or_insert_default();
                if let Some(changes) = changes {
                    noted.merge(changes);
                }
                watcher.wake.notify_one();
            }
        }
    }
}

impl FleetWatch {
    /// Waits until something has changed.
    pub(crate) async fn changed(&self) {
        while lock(&self.watcher.changes).is_none() {
            self.watcher.wake.notified().await;
        }
    }

    /// The watcher is to look again, whether something changes or not.
    pub(crate) fn again(&self) {
        lock(&self.watcher.changes).get_or_insert_default();
        self.watcher.wake.notify_one();
    }

    /// What has changed since this was last asked.
    pub(crate) fn take(&self) -> Changes {
        lock(&self.watcher.changes).take().unwrap_or_default()
    }
}

impl Drop for FleetWatch {
    fn drop(&mut self) {
        self.fleets.count.fetch_sub(1, Ordering::AcqRel);
        let mut watchers = lock(&self.fleets.watchers);
        if let Some(of_entity) = watchers.get_mut(&self.entity) {
            of_entity.retain(|watcher| !Arc::ptr_eq(watcher, &self.watcher));
            if of_entity.is_empty() {
                watchers.remove(&self.entity);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touches(entity: u32, slots: std::ops::Range<u32>) -> Touches {
        let mut changes = Changes::default();
        slots.for_each(|slot| changes.add(slot));
        Touches {
            entities: [(entity, changes)].into_iter().collect(),
            everywhere: false,
        }
    }

    #[tokio::test]
    async fn a_watcher_sees_what_has_changed_of_its_entity_together() {
        let fleets = Arc::<Fleets>::default();
        let watch = fleets.watch(1);
        fleets.publish(&touches(1, 0..3));
        fleets.publish(&touches(2, 7..9));
        fleets.publish(&touches(1, 2..5));
        watch.changed().await;
        let changes = watch.take();
        assert_eq!((changes.slots.len(), changes.more), (5, false));
        assert!(watch.take().slots.is_empty());
        drop(watch);
        assert!(!fleets.is_watched());
    }

    #[test]
    fn of_very_many_changes_it_is_known_that_there_are_more() {
        let fleets = Arc::<Fleets>::default();
        let watch = fleets.watch(1);
        fleets.publish(&touches(1, 0..5_000));
        let changes = watch.take();
        assert_eq!((changes.slots.len(), changes.more), (REMEMBERED, true));
    }
}
