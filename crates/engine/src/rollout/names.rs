//! The names of the targets of one chunk, in one text: a name costs its bytes and where it ends.

use std::ops::Range;

use unisono_model::limits::MAX_TARGET_NAME_BYTES;

use super::targets::CHUNK;

/// Names by place. A place without a name is vacant.
#[derive(Debug)]
pub(crate) struct Names {
    text: String,
    /// Where the name of each place ends, which is where the next one begins.
    ends: [u16; CHUNK as usize],
}

const _: () = assert!(CHUNK as usize * MAX_TARGET_NAME_BYTES <= u16::MAX as usize);

impl Default for Names {
    fn default() -> Self {
        Self {
            text: String::new(),
            ends: [0; CHUNK as usize],
        }
    }
}

impl Names {
    fn range(&self, at: usize) -> Range<usize> {
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        usize::from(begin)..usize::from(self.ends[at])
    }

    pub(crate) fn get(&self, at: usize) -> &str {
        &self.text[self.range(at)]
    }

    pub(crate) fn is_vacant(&self, at: usize) -> bool {
        self.range(at).is_empty()
    }

    /// Puts a name, or none, in the place of another.
    pub(crate) fn set(&mut self, at: usize, name: &str) {
        let old = self.range(at);
        self.text.replace_range(old.clone(), name);
        let moved = |end: &u16| usize::from(*end) - old.len() + name.len();
        for end in &mut self.ends[at..] {
            // All names together fit: see above.
            *end = u16::try_from(moved(end)).unwrap_or(u16::MAX);
        }
        if at + 1 == CHUNK as usize {
            self.text.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_and_go_in_any_order() {
        let mut names = Names::default();
        let longest = "ü".repeat(MAX_TARGET_NAME_BYTES / 2);
        for (at, name) in [
            (0, "a"),
            (2, "ccc"),
            (1, "bb"),
            (63, "z"),
            (2, ""),
            (1, "ß"),
            (2, "new"),
        ] {
            names.set(at, name);
            assert_eq!(names.get(at), name);
        }
        let kept = [0, 1, 2, 3, 63].map(|at| names.get(at).to_owned());
        assert_eq!(kept, ["a", "ß", "new", "", "z"]);
        assert!(names.is_vacant(3) && !names.is_vacant(63));
        (0..CHUNK as usize).for_each(|at| names.set(at, &longest));
        assert!((0..CHUNK as usize).all(|at| names.get(at) == longest));
    }
}
