//! The feed of what happens to values, locks and elections: whoever watches hears of it once it is durable, from any
//! revision on that is still known.
//!
//! The last changes are kept in memory, as the bytes that were journaled. Older ones are read from the journal as far as it
//! reaches; what it no longer holds is *compacted*, and who asks for it is told so.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, watch};
use unisono_engine::Event;
use unisono_engine::codec::{EventRange, Recorded, read_event_bytes};
use unisono_engine::lease::LockAddress;
use unisono_engine::value::Data;
use unisono_engine::value::{Because, ValueEvent};
use unisono_model::api::JsonText;
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::key::Key;
use unisono_model::name::Name;
use unisono_model::values::{Base64, ChangeKind, JSON, OCTETS, ValueChange};

/// Changes that may wait for a slow watcher; then its watch ends, and it watches again from the last one that it has seen.
const MAX_BEHIND: usize = 4_096;
/// Bytes of changes that are kept in memory.
const KEPT_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of batches that are read at once, without a thread of their own.
const SMALL_BYTES: usize = 256 * 1024;
/// Batches that are kept in memory.
const KEPT_BATCHES: usize = 65_536;

/// An event that watches tell of: its revision, and where its bytes stand in the body of its batch.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) revision: Revision,
    pub(crate) range: EventRange,
}

impl Told {
    /// Whether watches tell of an event.
    pub(crate) fn is_told(event: &Event) -> bool {
        match event {
            Event::Value(event) => event.is_change(),
            Event::Lease(event) => event.lock().is_some(),
            Event::Definition(_)
            | Event::Orchestration(_)
            | Event::Agent(_)
            | Event::Rollout(_)
            | Event::Retention(_) => false,
        }
    }
}

/// One change of a value, shared by all who watch it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) revision: Revision,
    at: Timestamp,
    event: ValueEvent,
    sse: OnceLock<Bytes>,
}

impl Change {
    /// What the API says of it. Nothing that is sensitive is in it.
    pub(crate) fn view(&self) -> ValueChange {
        let (_, key) = self.event.address();
        let mut change = ValueChange {
            kind: ChangeKind::Deleted,
            key: key.clone(),
            revision: self.revision,
            at: self.at,
            value: None,
            base64: None,
            content_type: None,
            sensitive: false,
            expires_at: None,
            writer: None,
            reason: None,
        };
        match &self.event {
            ValueEvent::Put {
                data,
                sensitive,
                writer,
                expiry,
                content_type,
                ..
            } => {
                change.kind = ChangeKind::Put;
                change.sensitive = *sensitive;
                change.writer.clone_from(writer);
                change.expires_at = expiry.map(|(ttl_ms, _)| self.at.plus_millis(ttl_ms));
                let usual = if data.is_json() { JSON } else { OCTETS };
                change.content_type = Some(content_type.as_deref().unwrap_or(usual).to_owned());
                match data {
                    _ if *sensitive => {}
                    Data::Json(text) => change.value = raw(text),
                    Data::Bytes(bytes) => change.base64 = Some(Base64(bytes.to_vec())),
                }
            }
            ValueEvent::Deleted { because, writer, .. } => {
                change.writer.clone_from(writer);
                match because {
                    Because::Asked => {}
                    Because::Expired => change.kind = ChangeKind::Expired,
                    Because::LeaseEnded => change.reason = Some("its lease ended".to_owned()),
                    Because::NewEpoch => change.reason = Some("a new epoch of its future began".to_owned()),
                }
            }
            _ => {}
        }
        change
    }

    /// The same as a server-sent event.
    pub(crate) fn sse(&self) -> Bytes {
        let text = || {
            let view = self.view();
            // It is made of types that can always be written as JSON, which has no line breaks.
            let json = serde_json::to_string(&view).unwrap_or_default();
            Bytes::from(format!("id: {}\nevent: change\ndata: {json}\n\n", self.revision))
        };
        self.sse.get_or_init(text).clone()
    }
}

fn raw(text: &str) -> Option<JsonText> {
    serde_json::value::RawValue::from_string(text.to_owned())
        .ok()
        .map(JsonText)
}

/// What a watch is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One key.
    Key(Key),
    /// All keys that begin like this.
    Prefix(String),
}

impl Scope {
    fn holds(&self, key: &Key) -> bool {
        match self {
            Self::Key(only) => only == key,
            Self::Prefix(prefix) => key.starts_with(prefix.as_str()),
        }
    }
}

/// What a batch tells.
struct Kept {
    body: Bytes,
    told: Vec<Told>,
}

impl Kept {
    /// A copy of what is told alone: the batch may hold much else, and its buffer has room to spare.
    fn of(told: Vec<Told>, batch: &[u8]) -> Self {
        let mut body = Vec::with_capacity(told.iter().map(|told| told.range.len()).sum());
        let mut moved = Vec::with_capacity(told.len());
        for Told { revision, range } in told {
            let start = body.len();
            body.extend_from_slice(&batch[range]);
            let range = start..body.len();
            moved.push(Told { revision, range });
        }
        Self {
            body: body.into(),
            told: moved,
        }
    }

    fn bytes(&self) -> usize {
        self.body.len() + self.told.len() * size_of::<Told>()
    }
}

#[derive(Default)]
struct Inner {
    kept: VecDeque<Kept>,
    bytes: usize,
    /// Everything that happened later is kept.
    floor: Revision,
    /// The last event that was published.
    last: Revision,
    spaces: FxHashMap<Name, Space>,
    locks: FxHashMap<LockAddress, watch::Sender<Revision>>,
    /// Watches of values that ever began.
    watches: u64,
}

/// Who watches the same.
type Watchers = FxHashMap<WatchId, mpsc::Sender<Arc<Change>>>;

/// A watch of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WatchId(u64);

/// Who watches the values of one namespace.
#[derive(Default)]
struct Space {
    keys: FxHashMap<Key, Watchers>,
    prefixes: FxHashMap<String, Watchers>,
    /// How long the prefixes are.
    lengths: BTreeSet<usize>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Feed {
    inner: Mutex<Inner>,
    watchers: AtomicUsize,
}

/// How a watch begins.
pub(crate) enum Begin {
    /// These have happened, and everything else comes.
    From {
        /// To be given to [`Feed::unwatch`].
        id: WatchId,
        missed: Missed,
        coming: mpsc::Receiver<Arc<Change>>,
        /// The last event that is published.
        last: Revision,
    },
    /// What is asked for is not in memory: it begins after this.
    TooOld {
        /// What is kept begins after this.
        floor: Revision,
    },
    /// That revision has not been reached.
    Ahead {
        /// The last event that is published.
        last: Revision,
    },
}

/// What a watch has missed, to be read outside the lock.
pub(crate) struct Missed(Vec<(Bytes, Vec<Told>)>);

impl Missed {
    /// Whether reading it takes no time to speak of.
    pub(crate) fn is_small(&self) -> bool {
        self.0.iter().map(|(body, _)| body.len()).sum::<usize>() <= SMALL_BYTES
    }

    /// The changes of a namespace that are within the scope.
    pub(crate) fn read(self, namespace: &Name, scope: &Scope) -> Vec<Arc<Change>> {
        let read = |(body, told): (Bytes, Vec<Told>)| {
            told.into_iter()
                .filter_map(move |told| event_of(&body, &told))
                .collect::<Vec<_>>()
        };
        self.0
            .into_iter()
            .flat_map(read)
            .filter_map(|(revision, at, event)| within((revision, at), event, namespace, scope))
            .collect()
    }
}

fn within(moment: (Revision, Timestamp), event: Event, namespace: &Name, scope: &Scope) -> Option<Arc<Change>> {
    let Event::Value(event) = event else {
        return None;
    };
    let (of, key) = event.address();
    let told = event.is_change() && of == namespace && scope.holds(key);
    told.then(|| change(moment, event))
}

fn change((revision, at): (Revision, Timestamp), event: ValueEvent) -> Arc<Change> {
    Arc::new(Change {
        revision,
        at,
        event,
        sse: OnceLock::new(),
    })
}

/// What was just written, or has been read already, can be read.
fn event_of(body: &Bytes, told: &Told) -> Option<(Revision, Timestamp, Event)> {
    let (at, event) = read_event_bytes(&body[told.range.clone()]).ok()?;
    Some((told.revision, at, event))
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal is about to be replayed from the event after this one. When it is replayed once more, because it failed
    /// while it was written, what was published stays so.
    pub(crate) fn begins_after(&self, floor: Revision) {
        let mut inner = self.lock();
        if inner.last == Revision(0) {
            (inner.floor, inner.last) = (floor, floor);
        }
    }

    /// A batch up to `last` is durable: it is kept, and whoever watches is told.
    pub(crate) fn publish(&self, last: Revision, mut told: Vec<Told>, body: &Bytes) {
        let mut inner = self.lock();
        let published = inner.last;
        told.retain(|told| told.revision > published);
        inner.last = published.max(last);
        if told.is_empty() {
            return;
        }
        if self.watchers.load(Ordering::Relaxed) > 0 {
            tell(&mut inner, &told, body);
        }
        inner.keep(Kept::of(told, body));
    }

    /// Watches values from the change after `after` on; from now on when that is left out.
    pub(crate) fn watch(&self, namespace: &Name, scope: &Scope, after: Option<Revision>) -> Begin {
        let mut inner = self.lock();
        let last = inner.last;
        let after = after.unwrap_or(last);
        if after > last {
            return Begin::Ahead { last };
        }
        if after < inner.floor {
            return Begin::TooOld { floor: inner.floor };
        }
        let missed = Missed(inner.after(after));
        let (sender, coming) = mpsc::channel(MAX_BEHIND);
        inner.watches += 1;
        let id = WatchId(inner.watches);
        inner
            .spaces
            .entry(namespace.clone())
            .or_default()
            .add(scope, id, sender);
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Begin::From {
            id,
            missed,
            coming,
            last,
        }
    }

    /// A watch has ended.
    pub(crate) fn unwatch(&self, namespace: &Name, scope: &Scope, id: WatchId) {
        self.watchers.fetch_sub(1, Ordering::Relaxed);
        let mut inner = self.lock();
        if let Some(space) = inner.spaces.get_mut(namespace) {
            space.remove(scope, id);
            if space.is_empty() {
                inner.spaces.remove(namespace);
            }
        }
    }

    /// Watches a lock or an election: the revision of its last change, from now on.
    pub(crate) fn watch_lock(&self, lock: &LockAddress) -> watch::Receiver<Revision> {
        let mut inner = self.lock();
        self.watchers.fetch_add(1, Ordering::Relaxed);
        let last = inner.last;
        let sender = inner.locks.entry(lock.clone());
        sender.or_insert_with(|| watch::channel(last).0).subscribe()
    }

    /// A watch of a lock has ended.
    pub(crate) fn unwatch_lock(&self, lock: &LockAddress, watch: watch::Receiver<Revision>) {
        drop(watch);
        self.watchers.fetch_sub(1, Ordering::Relaxed);
        let mut inner = self.lock();
        if inner.locks.get(lock).is_some_and(watch::Sender::is_closed) {
            inner.locks.remove(lock);
        }
    }

    /// The last event that was published.
    pub(crate) fn last(&self) -> Revision {
        self.lock().last
    }

    /// How many watch.
    pub(crate) fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed)
    }
}

/// The changes within the scope that a batch of the journal holds, after a revision.
pub(crate) fn changes_in(
    batch: Vec<Recorded>,
    (namespace, scope): (&Name, &Scope),
    after: Revision,
) -> Vec<Arc<Change>> {
    let changes = batch.into_iter().filter(|it| it.revision > after);
    changes
        .filter_map(|it| within((it.revision, it.at), it.event, namespace, scope))
        .collect()
}

fn tell(inner: &mut Inner, told: &[Told], body: &Bytes) {
    for told in told {
        match event_of(body, told) {
            Some((revision, at, Event::Value(event))) => {
                let (namespace, key) = event.address();
                if let Some(space) = inner.spaces.get_mut(namespace) {
                    let key = key.clone();
                    space.tell(&key, &change((revision, at), event));
                }
            }
            Some((revision, _, Event::Lease(event))) => {
                let watchers = event.lock().and_then(|lock| inner.locks.get(lock));
                if let Some(watchers) = watchers {
                    watchers.send_replace(revision);
                }
            }
            _ => {}
        }
    }
}

impl Inner {
    fn keep(&mut self, kept: Kept) {
        self.bytes += kept.bytes();
        self.kept.push_back(kept);
        while self.bytes > KEPT_BYTES || self.kept.len() > KEPT_BATCHES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.bytes();
            let last = oldest.told.last().map(|told| told.revision);
            self.floor = self.floor.max(last.unwrap_or_default());
        }
    }

    /// What is kept and happened after a revision.
    fn after(&self, after: Revision) -> Vec<(Bytes, Vec<Told>)> {
        let is_after = |told: &Told| told.revision > after;
        let newest = self.kept.iter().rev();
        let mut missed: Vec<(Bytes, Vec<Told>)> = newest
            .take_while(|kept| kept.told.last().is_some_and(is_after))
            .map(|kept| {
                let told = kept.told.iter().filter(|told| is_after(told)).cloned();
                (kept.body.clone(), told.collect())
            })
            .collect();
        missed.reverse();
        missed
    }
}

impl Space {
    fn add(&mut self, scope: &Scope, id: WatchId, sender: mpsc::Sender<Arc<Change>>) {
        let watchers = match scope {
            Scope::Key(key) => self.keys.entry(key.clone()).or_default(),
            Scope::Prefix(prefix) => {
                self.lengths.insert(prefix.len());
                self.prefixes.entry(prefix.clone()).or_default()
            }
        };
        watchers.insert(id, sender);
    }

    fn tell(&mut self, key: &Key, change: &Arc<Change>) {
        let told = |watchers: &mut Watchers| {
            // Who is too slow is left out, and its watch ends.
            watchers.retain(|_, watcher| watcher.try_send(Arc::clone(change)).is_ok());
        };
        if let Some(watchers) = self.keys.get_mut(key) {
            told(watchers);
        }
        for length in self.lengths.iter().take_while(|length| **length <= key.len()) {
            // Keys are ASCII.
            if let Some(watchers) = self.prefixes.get_mut(&key[..*length]) {
                told(watchers);
            }
        }
    }

    fn remove(&mut self, scope: &Scope, id: WatchId) {
        let emptied = |watchers: &mut Watchers| {
            watchers.remove(&id);
            watchers.is_empty()
        };
        match scope {
            Scope::Key(key) => {
                if self.keys.get_mut(key).is_some_and(emptied) {
                    self.keys.remove(key);
                }
            }
            Scope::Prefix(prefix) => {
                if self.prefixes.get_mut(prefix).is_some_and(emptied) {
                    self.prefixes.remove(prefix);
                    self.lengths = self.prefixes.keys().map(String::len).collect();
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.prefixes.is_empty()
    }
}
