//! Texts that many targets share, by number. Numbers live in memory only: events and rows hold the texts.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// The number of no text.
pub(crate) const NONE: u32 = 0;

#[derive(Debug)]
struct Entry {
    text: Box<str>,
    users: u32,
}

/// Texts by number, each kept as long as someone uses it.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    entries: Vec<Entry>,
    /// Numbers by their texts.
    ids: HashTable<u32>,
    free: Vec<u32>,
}

fn hash(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

fn at(id: u32) -> usize {
    id as usize - 1
}

impl Interner {
    /// The number of a text, which gets one more user. The empty text is [`NONE`].
    pub(crate) fn acquire(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return NONE;
        }
        if let Some(id) = self.find(text) {
            self.entries[at(id)].users += 1;
            return id;
        }
        let entry = Entry {
            text: text.into(),
            users: 1,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[at(id)] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
            }
        };
        let entries = &self.entries;
        self.ids
            .insert_unique(hash(text), id, |id| hash(&entries[at(*id)].text));
        id
    }

    /// One user fewer.
    pub(crate) fn release(&mut self, id: u32) {
        if id == NONE {
            return;
        }
        let entry = &mut self.entries[at(id)];
        entry.users -= 1;
        if entry.users == 0 {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: u32) {
        let text = std::mem::take(&mut self.entries[at(id)].text);
        if let Ok(entry) = self.ids.find_entry(hash(&text), |it| *it == id) {
            entry.remove();
            self.free.push(id);
        }
    }

    /// One user fewer, as [`Interner::release`]; but the number is not used again before [`Interner::collect`].
    pub(crate) fn release_later(&mut self, id: u32) {
        if id != NONE {
            self.entries[at(id)].users -= 1;
        }
    }

    /// Frees the numbers that nobody uses.
    pub(crate) fn collect(&mut self) {
        for place in 0..self.entries.len() {
            if self.entries[place].users == 0 {
                self.forget(u32::try_from(place + 1).unwrap_or(u32::MAX));
            }
        }
    }

    /// Puts a text in the place of another.
    pub(crate) fn replace(&mut self, id: &mut u32, text: &str) {
        let new = self.acquire(text);
        self.release(*id);
        *id = new;
    }

    /// The text of a number.
    pub(crate) fn get(&self, id: u32) -> &str {
        match id {
            NONE => "",
            id => &self.entries[at(id)].text,
        }
    }

    /// The number of a text, if anybody uses it.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        if text.is_empty() {
            return Some(NONE);
        }
        let is_it = |id: &u32| *self.entries[at(*id)].text == *text;
        self.ids.find(hash(text), is_it).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_as_long_as_it_is_used_and_its_number_used_again() {
        let mut texts = Interner::default();
        let (one, two) = (texts.acquire("one"), texts.acquire("two"));
        assert_eq!(texts.acquire("one"), one);
        texts.release(one);
        assert_eq!(texts.find("one"), Some(one));
        texts.release(one);
        assert_eq!((texts.find("one"), texts.get(two)), (None, "two"));
        assert_eq!(texts.acquire("three"), one);
        assert_eq!((texts.acquire(""), texts.get(NONE)), (NONE, ""));
    }
}
