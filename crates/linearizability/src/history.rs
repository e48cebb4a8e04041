//! What clients called, and what came back.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One operation of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// Who called.
    pub client: usize,
    /// What was called.
    pub input: I,
    /// When, among all calls and outcomes of the history.
    pub called: u64,
    /// What became of it.
    pub outcome: Outcome<O>,
}

/// What became of a call, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<O> {
    /// This came back.
    Returned(u64, O),
    /// It happened before this, or it never will, as when the server died with it.
    Lost(u64),
    /// It may have happened, and may still happen.
    Unknown,
}

impl<I, O> Operation<I, O> {
    /// What came back, if something did.
    pub fn output(&self) -> Option<&O> {
        match &self.outcome {
            Outcome::Returned(_, output) => Some(output),
            Outcome::Lost(_) | Outcome::Unknown => None,
        }
    }

    /// When it had happened, if it ever did.
    pub(crate) fn ended(&self) -> u64 {
        match self.outcome {
            Outcome::Returned(at, _) | Outcome::Lost(at) => at,
            Outcome::Unknown => u64::MAX,
        }
    }
}

/// What happened to each key, in the order of the calls.
pub type History<K, I, O> = BTreeMap<K, Vec<Operation<I, O>>>;

/// Records a history from many threads.
#[derive(Debug)]
pub struct Recorder<K, I, O>(Mutex<Record<K, I, O>>);

#[derive(Debug)]
struct Record<K, I, O> {
    clock: u64,
    history: History<K, I, O>,
}

/// An operation that was called and has not returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<K> {
    key: K,
    index: usize,
}

impl<K, I, O> Default for Recorder<K, I, O> {
    fn default() -> Self {
        Self(Mutex::new(Record {
            clock: 0,
            history: BTreeMap::new(),
        }))
    }
}

impl<K: Clone + Ord, I, O> Recorder<K, I, O> {
    /// Notes a call. It must be noted before anything is sent. Without more it may happen at any time from here on.
    pub fn call(&self, client: usize, key: K, input: I) -> Call<K> {
        let mut record = self.lock();
        let called = record.tick();
        let operations = record.history.entry(key.clone()).or_default();
        operations.push(Operation {
            client,
            input,
            called,
            outcome: Outcome::Unknown,
        });
        let index = operations.len() - 1;
        Call { key, index }
    }

    /// Notes what came back. It must be noted after it was received.
    pub fn returned(&self, call: &Call<K>, output: O) {
        self.end(call, |now| Outcome::Returned(now, output));
    }

    /// Notes that nothing came back, and that it will not happen any more: the server is dead that it was sent to.
    pub fn lost(&self, call: &Call<K>) {
        self.end(call, Outcome::Lost);
    }

    fn end(&self, call: &Call<K>, outcome: impl FnOnce(u64) -> Outcome<O>) {
        let mut record = self.lock();
        let now = record.tick();
        let operations = record.history.get_mut(&call.key);
        if let Some(operation) = operations.and_then(|operations| operations.get_mut(call.index)) {
            operation.outcome = outcome(now);
        }
    }

    /// The history.
    #[must_use]
    pub fn finish(self) -> History<K, I, O> {
        let record = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        record.history
    }

    fn lock(&self) -> MutexGuard<'_, Record<K, I, O>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, I, O> Record<K, I, O> {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}
