//! Paths into JSON, and reading a value at a path out of raw JSON text.
//!
//! Payloads are kept as raw text. Mapping an output to an input copies the text of one value from one place to another,
//! so nothing here builds a tree: the reader skips what no path asks for.

use std::{borrow::Cow, fmt};

use serde::{
    Deserializer as _,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// A place in a JSON value: property names and array indexes, at least one.
///
/// `tenant.name`, `/tenant/name` and `tenant/name` are the same place; `list.0` is the first item of a list. A path with
/// a `/` in it is split there and nowhere else, with the escapes of RFC 6901 (`~1` is `/`, `~0` is `~`), so `/a.b/c`
/// reaches the property `a.b`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Box<[Box<str>]>);

/// Why a text is no [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The text names nothing.
    #[error("the path is empty")]
    Empty,
    /// Two separators stand together, or one at the end.
    #[error("part {position} of the path {path:?} is empty")]
    EmptySegment {
        /// The whole text.
        path: String,
        /// The part that is empty, counted from 1.
        position: usize,
    },
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// [`PathError`] when the path or one of its parts is empty.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let pointer = text.contains('/');
        let body = text.strip_prefix('/').unwrap_or(text);
        if body.is_empty() {
            return Err(PathError::Empty);
        }
        body.split(if pointer { '/' } else { '.' })
            .zip(1..)
            .map(|(part, position)| match part {
                "" => Err(PathError::EmptySegment {
                    path: text.to_owned(),
                    position,
                }),
                part if pointer => Ok(unescape(part).into()),
                part => Ok(part.into()),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The parts of the path, outermost first.
    pub fn segments(&self) -> &[Box<str>] {
        &self.0
    }

    /// The first part.
    pub fn first(&self) -> &str {
        self.0.first().map_or("", |part| part)
    }

    /// The last part: the target of a mapping that names none.
    pub fn last(&self) -> &str {
        self.0.last().map_or("", |part| part)
    }
}

fn unescape(part: &str) -> Cow<'_, str> {
    if part.contains('~') {
        part.replace("~1", "/").replace("~0", "~").into()
    } else {
        part.into()
    }
}

/// Writes the dotted form, or the pointer form where a part has a `.` or a `/` in it.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.iter().any(|part| part.contains(['.', '/', '~'])) {
            return self
                .0
                .iter()
                .try_for_each(|part| write!(f, "/{}", part.replace('~', "~0").replace('/', "~1")));
        }
        f.write_str(&self.0.join("."))
    }
}

/// The value at `path`, as it is written in `json`; `None` when there is no such place.
///
/// Where an object names a property twice the last one counts, as it does for the validator of schemas.
pub fn extract<'a>(json: &'a RawValue, path: &Path) -> Option<&'a RawValue> {
    let mut wanted = [Wanted {
        rest: path.segments(),
        found: None,
    }];
    fill(json, &mut wanted);
    wanted[0].found
}

/// The values at several paths of one value, in one pass over it; the answers stand in the order of `paths`.
pub fn extract_all<'a, 'p>(json: &'a RawValue, paths: impl Iterator<Item = &'p Path>) -> Vec<Option<&'a RawValue>> {
    let mut wanted: Vec<Wanted<'a, '_>> = paths
        .map(|path| Wanted {
            rest: path.segments(),
            found: None,
        })
        .collect();
    fill(json, &mut wanted);
    wanted.into_iter().map(|wanted| wanted.found).collect()
}

struct Wanted<'a, 'p> {
    rest: &'p [Box<str>],
    found: Option<&'a RawValue>,
}

/// One pass over the outermost level of `json`, then one into each value that a longer path goes through.
fn fill<'a, 'p>(json: &'a RawValue, wanted: &mut [Wanted<'a, 'p>]) {
    let text = json.get();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let done = match text.as_bytes().first() {
        Some(b'{') => deserializer.deserialize_map(Level(wanted)),
        Some(b'[') => deserializer.deserialize_seq(Level(wanted)),
        _ => Ok(()),
    };
    if done.is_err() {
        wanted.iter_mut().for_each(|wanted| wanted.found = None);
        return;
    }
    // Paths that go on from the same value are followed together, so that it is read once for all of them.
    let goes_on = |(i, wanted): (usize, &Wanted<'a, 'p>)| match wanted.rest {
        [first, _, ..] => Some((&**first, i, wanted.found?)),
        _ => None,
    };
    let mut deeper: Vec<(&'p str, usize, &'a RawValue)> = wanted.iter().enumerate().filter_map(goes_on).collect();
    deeper.sort_by_key(|(first, i, _)| (*first, *i));
    for group in deeper.chunk_by(|a, b| a.0 == b.0) {
        let below = |&(_, i, _): &(&str, usize, &RawValue)| Wanted {
            rest: &wanted[i].rest[1..],
            found: None,
        };
        let mut inner: Vec<Wanted<'a, 'p>> = group.iter().map(below).collect();
        fill(group[0].2, &mut inner);
        group
            .iter()
            .zip(inner)
            .for_each(|((_, i, _), inner)| wanted[*i].found = inner.found);
    }
}

/// Notes for every path the value under its first part.
struct Level<'w, 'a, 'p>(&'w mut [Wanted<'a, 'p>]);

impl<'a> Visitor<'a> for Level<'_, 'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(hits) = map.next_key_seed(Matching(self.0))? {
            if hits.is_empty() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &'a RawValue = map.next_value()?;
            hits.into_iter().for_each(|i| self.0[i].found = Some(value));
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        let mut hits: Vec<(usize, usize)> = self
            .0
            .iter()
            .enumerate()
            .filter_map(|(i, wanted)| Some((index(wanted.rest.first()?)?, i)))
            .collect();
        hits.sort_unstable();
        let mut next = 0;
        for at in 0.. {
            if hits.get(next).is_none_or(|(position, _)| *position != at) {
                match items.next_element::<IgnoredAny>()? {
                    Some(IgnoredAny) => continue,
                    None => break,
                }
            }
            let Some(value) = items.next_element::<&'a RawValue>()? else {
                break;
            };
            while let Some((_, i)) = hits.get(next).filter(|(position, _)| *position == at) {
                self.0[*i].found = Some(value);
                next += 1;
            }
        }
        Ok(())
    }
}

/// Reads a property's name without keeping it: which paths want it?
struct Matching<'w, 'a, 'p>(&'w [Wanted<'a, 'p>]);

impl<'de> DeserializeSeed<'de> for Matching<'_, '_, '_> {
    type Value = Vec<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Vec<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Matching<'_, '_, '_> {
    type Value = Vec<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a property name")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Vec<usize>, E> {
        let wants = |wanted: &Wanted<'_, '_>| wanted.rest.first().is_some_and(|part| **part == *key);
        Ok((0..self.0.len()).filter(|&i| wants(&self.0[i])).collect())
    }
}

/// An array index as RFC 6901 writes it: digits without a leading zero.
pub(crate) fn index(part: &str) -> Option<usize> {
    let plain = part == "0" || (!part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit()));
    plain.then(|| part.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(json: &str, path: &str) -> Option<String> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        extract(raw, &Path::parse(path).unwrap()).map(|found| found.get().to_owned())
    }

    #[test]
    fn dots_and_slashes_reach_the_same_place() {
        let json = r#"{"tenant": {"name": "acme", "tags": ["a", {"b": 1}]}}"#;
        for path in ["tenant.name", "/tenant/name", "tenant/name"] {
            assert_eq!(at(json, path).as_deref(), Some("\"acme\""), "{path}");
        }
        assert_eq!(at(json, "tenant.tags.1.b").as_deref(), Some("1"));
        assert_eq!(at(json, "tenant/tags/0").as_deref(), Some("\"a\""));
    }

    #[test]
    fn the_text_of_a_value_is_taken_as_it_stands() {
        assert_eq!(
            at(r#"{"n": 1.0e+02, "o": { "k" : null }}"#, "n").as_deref(),
            Some("1.0e+02")
        );
        assert_eq!(
            at(r#"{"o": { "k" : null }}"#, "o").as_deref(),
            Some(r#"{ "k" : null }"#)
        );
        assert_eq!(at(r#"{"o": { "k" : null }}"#, "o.k").as_deref(), Some("null"));
    }

    #[test]
    fn a_pointer_reaches_names_with_dots_and_slashes() {
        let json = r#"{"a.b": {"c/d": 1, "~": 2}, "\u0061": 3}"#;
        assert_eq!(at(json, "/a.b/c~1d").as_deref(), Some("1"));
        assert_eq!(at(json, "/a.b/~0").as_deref(), Some("2"));
        assert_eq!(at(json, "a").as_deref(), Some("3"), "escapes in a name are read");
    }

    #[test]
    fn what_is_not_there_is_none() {
        for path in ["b", "a.b", "list.2", "list.01", "list.x", "list.0.x"] {
            assert_eq!(at(r#"{"a": 1, "list": [1, "x"]}"#, path), None, "{path}");
        }
        assert_eq!(at("3", "a"), None);
        assert_eq!(at("[]", "0"), None);
    }

    #[test]
    fn the_last_of_two_equal_names_counts() {
        assert_eq!(at(r#"{"a": 1, "a": 2}"#, "a").as_deref(), Some("2"));
        assert_eq!(at(r#"{"a": {"b": 1}, "a": 2}"#, "a.b"), None);
    }

    #[test]
    fn many_paths_are_read_in_one_pass_and_keep_their_order() {
        let raw: &RawValue = serde_json::from_str(r#"{"a": {"x": 1, "y": [5, 6]}, "b": 2}"#).unwrap();
        let paths: Vec<Path> = ["a.y.1", "b", "a", "a.x", "c", "a.y.0"]
            .iter()
            .map(|p| Path::parse(p).unwrap())
            .collect();
        let found: Vec<_> = extract_all(raw, paths.iter())
            .into_iter()
            .map(|f| f.map(RawValue::get))
            .collect();
        assert_eq!(
            found,
            [
                Some("6"),
                Some("2"),
                Some(r#"{"x": 1, "y": [5, 6]}"#),
                Some("1"),
                None,
                Some("5")
            ]
        );
    }

    #[test]
    fn a_deeply_nested_value_is_no_danger() {
        let deep = format!("{{\"a\": {}{}, \"b\": 1}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(at(&deep, "b").as_deref(), Some("1"));
    }

    #[test]
    fn a_path_is_written_the_way_it_reads() {
        for path in ["a.b.0", "/a.b/c", "/a~1b/~0"] {
            assert_eq!(Path::parse(path).unwrap().to_string(), path);
        }
        assert_eq!(Path::parse("/a/b").unwrap().to_string(), "a.b");
    }

    #[test]
    fn empty_parts_are_refused() {
        assert_eq!(Path::parse(""), Err(PathError::Empty));
        assert_eq!(Path::parse("/"), Err(PathError::Empty));
        assert_eq!(
            Path::parse("a..b"),
            Err(PathError::EmptySegment {
                path: "a..b".into(),
                position: 2
            })
        );
        assert!(Path::parse("a.").is_err());
    }
}
