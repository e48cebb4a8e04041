//! The name that was probably meant.

use std::cell::Cell;

/// Looks for names close to a wrong one, up to a total effort, so that many mistakes among many names stay cheap.
pub(crate) struct Nearest {
    comparisons_left: Cell<usize>,
}

impl Nearest {
    pub(crate) fn new() -> Self {
        Self {
            comparisons_left: Cell::new(5_000_000),
        }
    }

    /// The closest candidate, if any is close: at most every third character wrong, whatever the case.
    pub(crate) fn of<'c>(&self, word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
        let word = plain(word);
        let tolerated = (word.chars().count() / 3).clamp(1, 3);
        let mut best: Option<(usize, &str)> = None;
        for candidate in candidates {
            let left = self.comparisons_left.get().checked_sub(1)?;
            self.comparisons_left.set(left);
            if candidate.len().abs_diff(word.len()) > tolerated + 2 {
                continue;
            }
            let distance = strsim::damerau_levenshtein(&word, &plain(candidate));
            if distance <= tolerated && best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, candidate));
            }
        }
        best.map(|(_, candidate)| candidate)
    }

    /// A sentence that proposes the closest candidate, or else `otherwise`.
    pub(crate) fn help<'c>(
        &self,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str>,
        otherwise: impl FnOnce() -> String,
    ) -> String {
        self.of(word, candidates)
            .map_or_else(otherwise, |near| format!("did you mean `{near}`?"))
    }
}

/// `depends_on`, `depends-on` and `DependsOn` are all close to `dependsOn`.
fn plain(word: &str) -> String {
    word.chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Names for people: `a`, `b` and `c`; the first few when there are many.
pub(crate) fn listed<'c>(names: impl IntoIterator<Item = &'c str>) -> String {
    const SHOWN: usize = 8;
    let mut seen = std::collections::BTreeSet::new();
    let quoted: Vec<String> = names
        .into_iter()
        .filter(|name| seen.insert(*name))
        .take(SHOWN + 1)
        .map(|name| format!("`{name}`"))
        .collect();
    match quoted.as_slice() {
        many if many.len() > SHOWN => format!("{} and others", many[..SHOWN].join(", ")),
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        few => few.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_and_slips_are_close_and_other_words_are_not() {
        let nearest = Nearest::new();
        assert_eq!(
            nearest.of("depends_on", ["discriminator", "dependsOn"]),
            Some("dependsOn")
        );
        assert_eq!(nearest.of("activites", ["activities", "active"]), Some("activities"));
        assert_eq!(nearest.of("timeout", ["id", "type", "inputs"]), None);
    }

    #[test]
    fn names_are_listed_in_a_sentence() {
        assert_eq!(listed(["a", "b", "c"]), "`a`, `b` and `c`");
        assert_eq!(listed(["a"]), "`a`");
        assert_eq!(listed(["a", "b", "b"]), "`a` and `b`");
        let many = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        assert_eq!(listed(many), "`a`, `b`, `c`, `d`, `e`, `f`, `g`, `h` and others");
    }
}
