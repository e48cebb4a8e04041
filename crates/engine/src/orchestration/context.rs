//! What the activities of a run share.

use std::collections::BTreeMap;

use unisono_model::ids::Revision;

use crate::payload::{Patch, Payload};

/// A key of the shared context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextEntry {
    /// Its value, JSON.
    pub value: Payload,
    /// The activity that wrote it last.
    pub written_by: u32,
    /// The revision of that write.
    pub revision: Revision,
}

/// The shared context of a run, with how many bytes its keys and values have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Context {
    entries: BTreeMap<String, ContextEntry>,
    bytes: usize,
}

impl Context {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Its entries, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &ContextEntry)> {
        self.entries.iter()
    }

    pub(crate) fn patch(&mut self, patch: &Patch, written_by: u32, revision: Revision) {
        for (key, value) in &patch.set {
            let entry = ContextEntry {
                value: value.clone(),
                written_by,
                revision,
            };
            self.set(key.clone(), entry);
        }
        for key in &patch.delete {
            if let Some(old) = self.entries.remove(key) {
                self.bytes -= key.len() + old.value.len();
            }
        }
    }

    fn set(&mut self, key: String, entry: ContextEntry) {
        let key_bytes = key.len();
        self.bytes += key_bytes + entry.value.len();
        if let Some(old) = self.entries.insert(key, entry) {
            self.bytes -= key_bytes + old.value.len();
        }
    }

    /// Its bytes once the patch is in it. A patch may name a key more than once.
    pub(crate) fn bytes_after(&self, patch: &Patch) -> usize {
        let set = patch
            .set
            .iter()
            .map(|(key, value)| (key.as_str(), key.len() + value.len()));
        let deleted = patch.delete.iter().map(|key| (key.as_str(), 0));
        let becomes: BTreeMap<&str, usize> = set.chain(deleted).collect();
        let was = |key: &str| self.entries.get(key).map_or(0, |entry| key.len() + entry.value.len());
        let before: usize = becomes.keys().map(|key| was(key)).sum();
        (self.bytes + becomes.values().sum::<usize>()).saturating_sub(before)
    }
}

impl FromIterator<(String, ContextEntry)> for Context {
    fn from_iter<I: IntoIterator<Item = (String, ContextEntry)>>(entries: I) -> Self {
        let mut context = Self::default();
        for (key, entry) in entries {
            context.set(key, entry);
        }
        context
    }
}
