//! The values, and how events change them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use rustc_hash::{FxHashMap, FxHashSet};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::key::Key;
use unisono_model::name::Name;
use unisono_model::values::WaiterView;

use super::awaits::{Awaited, Awaits};
use super::data::Data;
use super::event::ValueEvent as E;
use super::future::Futures;
use super::stored::{Kind, Parts, Rare, Value, Writer};
use crate::Effects;
use crate::clock::{Marks, Steady};

/// A key of a namespace.
pub(crate) type Address = (Name, Key);

/// How many values there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValueCounts {
    /// Values, without keys that only remember a token.
    pub values: u64,
    /// Bytes of their keys and contents.
    pub bytes: u64,
    /// Values that will expire.
    pub expiring: u64,
    /// Futures that have no value yet.
    pub pending: u64,
    /// Those who await a key.
    pub awaiting: u64,
}

/// The values and the futures of a partition, and who awaits them.
#[derive(Debug, Default)]
pub struct Values {
    /// Boxed, since the nodes of a tree are half empty when keys come in order.
    spaces: BTreeMap<Name, BTreeSet<Box<Value>>>,
    /// Values that expire. Derived.
    deadlines: BTreeMap<(Steady, Revision), Address>,
    /// Values that vanish with a lease. Derived.
    attached: FxHashMap<Revision, BTreeSet<Key>>,
    /// Keys that only remember a token, the oldest first. Derived.
    tombstones: BTreeMap<Revision, Address>,
    values: u64,
    bytes: u64,
    writers: Writers,
    pub(crate) futures: Futures,
    pub(crate) awaits: Awaits,
    rows: Rows,
}

/// The names of writers, each once.
#[derive(Debug, Default)]
struct Writers {
    names: FxHashSet<Writer>,
    /// How many there were when those that nobody uses were dropped last.
    swept: usize,
}

impl Writers {
    fn intern(&mut self, name: &str) -> Writer {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        if self.names.len() >= 2 * self.swept.max(512) {
            self.names.retain(Writer::is_shared);
            self.swept = self.names.len();
        }
        let writer = Writer::new(name);
        self.names.insert(writer.clone());
        writer
    }
}

/// Which rows a checkpoint has to write or remove. Values are found by their keys, and rows by the revision that created the
/// value, so what changed is remembered with both.
#[derive(Debug, Default)]
struct Rows {
    /// Changed since the last checkpoint began; `None` when the value is gone.
    changed: FxHashMap<Revision, Option<Address>>,
    /// Those of the checkpoint under way.
    under_way: FxHashMap<Revision, Option<Address>>,
    /// A value that was created later has no row.
    up_to: Revision,
}

impl Rows {
    fn gone(&mut self, created: Revision) {
        if created <= self.up_to {
            self.changed.insert(created, None);
        } else {
            self.changed.remove(&created);
        }
    }
}

impl Values {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, namespace: &str, key: &str) -> Option<&Value> {
        self.known(namespace, key).filter(|value| value.is_live())
    }

    /// The value of a key, or the token that it remembers.
    pub(crate) fn known(&self, namespace: &str, key: &str) -> Option<&Value> {
        self.spaces.get(namespace)?.get(key.as_bytes()).map(|value| &**value)
    }

    /// The values whose keys begin with `prefix` and come after `after`, by key.
    pub fn range<'a>(
        &'a self,
        namespace: &str,
        prefix: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Value> + use<'a> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after.as_bytes()),
            _ => Bound::Included(prefix.as_bytes()),
        };
        let space = self.spaces.get(namespace);
        let values = space.map(|space| space.range::<[u8], _>((from, Bound::Unbounded)));
        values
            .into_iter()
            .flatten()
            .map(|value| &**value)
            .take_while(move |value| value.key().starts_with(prefix))
            .filter(|value| value.is_live())
    }

    /// The namespaces that have values, or had.
    pub fn namespaces(&self) -> impl Iterator<Item = &Name> {
        self.spaces.keys()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Name, &Value)> {
        self.spaces
            .iter()
            .flat_map(|(namespace, values)| values.iter().map(move |value| (namespace, &**value)))
    }

    /// Up to so many of those who await a key, who came first first.
    #[must_use]
    pub fn waiters(&self, namespace: &Name, key: &Key, most: usize) -> Vec<WaiterView> {
        self.awaits.of_key(namespace, key, most)
    }

    pub(crate) fn counts(&self) -> ValueCounts {
        ValueCounts {
            values: self.values,
            bytes: self.bytes,
            expiring: self.deadlines.len() as u64,
            pending: self.futures.pending(),
            awaiting: self.awaits.len() as u64,
        }
    }

    /// The values that vanish with a lease.
    pub(crate) fn attached_to(&self, lease: Revision) -> impl Iterator<Item = &Key> {
        self.attached.get(&lease).into_iter().flatten()
    }

    pub(crate) fn attached_count(&self, lease: Revision) -> usize {
        self.attached.get(&lease).map_or(0, BTreeSet::len)
    }

    /// Keys that only remember a token, the oldest first.
    pub(crate) fn tombstones(&self) -> impl ExactSizeIterator<Item = &Address> {
        self.tombstones.values()
    }

    pub(crate) fn next_deadline(&self) -> Option<Steady> {
        let value = self.deadlines.keys().next().map(|(deadline, _)| *deadline);
        [value, self.futures.next_deadline()].into_iter().flatten().min()
    }

    /// The values whose time is over.
    pub(crate) fn due(&self, now: Steady) -> impl Iterator<Item = &Address> {
        let due = self.deadlines.iter().take_while(move |((at, _), _)| *at <= now);
        due.map(|(_, address)| address)
    }

    fn take(&mut self, namespace: &Name, key: &str) -> Option<Value> {
        let value = *self.spaces.get_mut(namespace)?.take(key.as_bytes())?;
        if let Some(deadline) = value.deadline() {
            self.deadlines.remove(&(deadline, value.created));
        }
        if let Some(lease) = value.lease()
            && let Some(keys) = self.attached.get_mut(&lease)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.attached.remove(&lease);
            }
        }
        if value.is_live() {
            self.values -= 1;
            self.bytes -= value.bytes() as u64;
        } else {
            self.tombstones.remove(&value.modified);
        }
        Some(value)
    }

    fn insert(&mut self, namespace: &Name, key: &Key, value: Value) {
        let address = || (namespace.clone(), key.clone());
        if let Some(deadline) = value.deadline() {
            self.deadlines.insert((deadline, value.created), address());
        }
        if let Some(lease) = value.lease() {
            self.attached.entry(lease).or_default().insert(key.clone());
        }
        if value.is_live() {
            self.values += 1;
            self.bytes += value.bytes() as u64;
        } else {
            self.tombstones.insert(value.modified, address());
        }
        let value = Box::new(value);
        match self.spaces.get_mut(namespace) {
            Some(values) => values.insert(value),
            None => self.spaces.entry(namespace.clone()).or_default().insert(value),
        };
    }

    /// Puts a changed value in its place, for the next checkpoint to write.
    fn change(&mut self, namespace: &Name, key: &Key, value: Value) {
        self.rows
            .changed
            .insert(value.created, Some((namespace.clone(), key.clone())));
        self.insert(namespace, key, value);
    }

    fn has_seen(&self, namespace: &Name, key: &str, revision: Revision) -> bool {
        self.known(namespace, key)
            .is_some_and(|value| value.modified >= revision)
    }

    fn put(&mut self, (revision, at): (Revision, Timestamp), event: &E) {
        let E::Put {
            namespace,
            key,
            data,
            sensitive,
            writer,
            expiry,
            lease,
            content_type,
            fence,
        } = event
        else {
            return;
        };
        let old = self.take(namespace, key);
        let kept = old.filter(|old| {
            if !old.is_live() {
                self.rows.gone(old.created);
            }
            old.is_live()
        });
        let parts = Parts {
            created: kept.as_ref().map_or(revision, |old| old.created),
            modified: revision,
            at,
            version: kept.as_ref().map_or(1, |old| old.version.saturating_add(1)),
            writer: writer.as_deref().map(|name| self.writers.intern(name)),
            sensitive: *sensitive,
            rare: Rare {
                expiry: expiry.map(|(ttl_ms, deadline)| (ttl_ms, Steady(deadline))),
                lease: lease.map(Revision),
                content_type: content_type.as_deref().map(Box::from),
                fence: Revision(fence.unwrap_or(0)),
            },
        };
        self.change(namespace, key, Value::new(key, Some(data), parts));
    }

    fn tell_those_who_await(&mut self, (namespace, key): (&Name, &Key), marks: &Marks, effects: &mut Effects) {
        if self.awaits.is_awaited(namespace, key)
            && let Some(value) = self.get(namespace, key)
        {
            let value = Awaited::Value(Box::new(value.shown(marks)));
            self.awaits.resolve(namespace, key, value, effects);
        }
    }

    fn remove(&mut self, (revision, at): (Revision, Timestamp), (namespace, key): (&Name, &Key), fence: Option<u64>) {
        let Some(value) = self.take(namespace, key) else {
            return;
        };
        let fence = value.fence().max(Revision(fence.unwrap_or(0)));
        if fence.0 > 0 {
            self.change(namespace, key, value.tombstone(revision, at, fence));
        } else {
            self.rows.gone(value.created);
        }
    }

    fn forget(&mut self, (namespace, key): (&Name, &Key)) {
        if self
            .known(namespace, key)
            .is_some_and(|value| value.kind == Kind::Tombstone)
            && let Some(value) = self.take(namespace, key)
        {
            self.rows.gone(value.created);
        }
    }

    // ---- checkpoints

    pub(crate) fn is_dirty(&self) -> bool {
        !self.rows.changed.is_empty() || !self.futures.dirty.is_empty()
    }

    /// The values that changed since this was last asked, by the revisions that created them.
    pub(crate) fn take_dirty(&mut self, revision: Revision) -> Vec<Revision> {
        self.rows.under_way = std::mem::take(&mut self.rows.changed);
        self.rows.up_to = revision;
        self.rows.under_way.keys().copied().collect()
    }

    /// The checkpoint under way has the row of a value: it need not be remembered any more.
    pub(crate) fn row_is_taken(&mut self, created: Revision) {
        self.rows.under_way.remove(&created);
        if self.rows.under_way.is_empty() {
            self.rows.under_way = FxHashMap::default();
        }
    }

    /// The value that was created at a revision, with its namespace.
    pub(crate) fn created_at(&self, created: Revision) -> Option<(&Name, &Value)> {
        let remembered = self
            .rows
            .changed
            .get(&created)
            .or_else(|| self.rows.under_way.get(&created));
        match remembered {
            Some(None) => None,
            Some(Some((namespace, key))) => {
                let value = self.known(namespace, key).filter(|value| value.created == created)?;
                Some((namespace, value))
            }
            // Only tests and tools ask for what has not changed.
            None => self.all().find(|(_, value)| value.created == created),
        }
    }

    /// Puts back what a checkpoint kept. A key may have two rows for a while: of a value that was deleted, and of one that
    /// was created after that, which counts.
    pub(crate) fn load(
        &mut self,
        namespace: &Name,
        key: &Key,
        (data, parts): (Option<Data>, Parts),
        writer: Option<&str>,
    ) {
        self.rows.up_to = self.rows.up_to.max(parts.created);
        let writer = writer.map(|name| self.writers.intern(name));
        let mut value = Value::new(key, data.as_ref(), Parts { writer, ..parts });
        if let Some(other) = self.take(namespace, key) {
            let older = if other.created < value.created {
                other.created
            } else {
                value.created
            };
            if other.created > value.created {
                value = other;
            }
            self.rows.changed.insert(older, None);
        }
        self.insert(namespace, key, value);
    }

    pub(crate) fn loaded(&mut self, revision: Revision) {
        self.rows.up_to = self.rows.up_to.max(revision);
    }
}

/// Folds one event of this room.
pub(crate) fn evolve(
    (values, marks): (&mut Values, &mut Marks),
    (revision, at): (Revision, Timestamp),
    event: &E,
    effects: &mut Effects,
) {
    let (namespace, key) = event.address();
    match event {
        E::Put { .. } if !values.has_seen(namespace, key, revision) => {
            values.put((revision, at), event);
            values.tell_those_who_await((namespace, key), marks, effects);
        }
        E::Deleted { fence, .. } if !values.has_seen(namespace, key, revision) => {
            values.remove((revision, at), (namespace, key), *fence);
        }
        E::Forgotten { token, .. } => {
            marks.forgotten_token = marks.forgotten_token.max(Revision(*token));
            if !values.has_seen(namespace, key, revision) {
                values.forget((namespace, key));
            }
        }
        _ => {}
    }
    let outcome = match event {
        E::Put { .. } => values.futures.kept((namespace, key), (revision, at)),
        E::Deleted { because, writer, .. } => {
            values
                .futures
                .value_gone((namespace, key), (revision, at), *because, writer.as_deref())
        }
        E::Forgotten { .. } => None,
        _ => values.futures.evolve((revision, at), event),
    };
    if let Some(outcome) = outcome {
        values.awaits.resolve(namespace, key, outcome, effects);
    }
}
