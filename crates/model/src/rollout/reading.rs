//! Reports out of JSON, straight into the piece of memory that holds them: a fleet reports all the time.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::classic::labels_from_tags;
use super::fault::Fault;
use super::report::{Draft, Place, Reports, Said, cut};
use crate::limits::MAX_REPORTED_TARGETS;

/// How strictly reports are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A field that there is not is a mistake.
    Strict,
    /// As older controllers are used to: the case of fields does not matter, and those that there are not are skipped.
    Classic,
}

/// Reports, and whether one was written by itself instead of a list.
#[derive(Clone, Debug, Default)]
pub struct ReadReports {
    /// They.
    pub reports: Reports,
    /// Whether it was one, without brackets around it.
    pub single: bool,
}

/// Reads reports: a list of targets, or one target.
///
/// # Errors
/// The first [`Fault`], with its place: `[3].version`.
pub fn read_reports(json: &[u8], reading: Reading) -> Result<ReadReports, Fault> {
    let mut reader = Reader {
        read: ReadReports::default(),
        reading,
        field: "",
        fault: None,
        labels: Vec::new(),
    };
    let mut json = serde_json::Deserializer::from_slice(json);
    let read = Whole(&mut reader).deserialize(&mut json);
    // An older controller's reader stopped at the end of the list.
    let read = match reading {
        Reading::Strict => read.and_then(|()| json.end()),
        Reading::Classic => read,
    };
    match read {
        Ok(()) => Ok(reader.read),
        Err(error) => Err(reader.fault(&error)),
    }
}

struct Reader<'de> {
    read: ReadReports,
    reading: Reading,
    /// The field that is being read; empty between targets.
    field: &'static str,
    /// What is wrong with a target that could be read.
    fault: Option<Fault>,
    /// The labels of the target that is being read.
    labels: Vec<(Cow<'de, str>, Cow<'de, str>)>,
}

impl Reader<'_> {
    fn fault(self, error: &serde_json::Error) -> Fault {
        let text = error.to_string();
        let unknown = text
            .strip_prefix("unknown field `")
            .and_then(|rest| rest.split_once('`'));
        let field = unknown.map_or(self.field, |(field, _)| field);
        let index = self.read.reports.len();
        let place = |field: &str| match (self.read.single, field) {
            (true, field) => field.to_owned(),
            (false, "") => format!("[{index}]"),
            (false, field) => format!("[{index}].{field}"),
        };
        match self.fault {
            Some(mut fault) => {
                fault.field = place(&fault.field);
                fault
            }
            None if error.classify() == Category::Data => Fault::new(
                "invalid-target",
                place(field),
                text,
                "report a list of targets, each like {\"name\": \"a\", \"version\": \"v1\", \"health\": \"healthy\"}",
            ),
            None => Fault::new("bad-json", "", text, "correct the JSON at this place"),
        }
    }
}

/// The body: a list, or one target.
struct Whole<'r, 'de>(&'r mut Reader<'de>);

impl<'de> DeserializeSeed<'de> for Whole<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of targets, or one target")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(One(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.read.single = true;
        One(self.0).visit_map(map)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        match self.0.reading {
            Reading::Classic => Ok(()),
            Reading::Strict => Err(E::invalid_type(serde::de::Unexpected::Unit, &self)),
        }
    }
}

/// One target.
struct One<'r, 'de>(&'r mut Reader<'de>);

impl<'de> DeserializeSeed<'de> for One<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for One<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a target")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reader = self.0;
        let (mut draft, mut tags) = (Draft::default(), None::<Cow<'de, str>>);
        let (mut has_labels, mut seen) = (false, 0_u16);
        while let Some(field) = map.next_key_seed(FieldName(reader.reading))? {
            reader.field = field.as_str();
            let bit = 1 << field as u16;
            if field != Field::Unknown && seen & bit != 0 {
                return Err(A::Error::custom("the field is there twice"));
            }
            seen |= bit;
            let reports = &mut reader.read.reports;
            match field {
                Field::Name => draft.name = map.next_value_seed(Text(reports, usize::MAX))?.unwrap_or_default(),
                Field::Group => draft.group = map.next_value_seed(Text(reports, usize::MAX))?.unwrap_or_default(),
                Field::Version => draft.version = map.next_value_seed(Text(reports, usize::MAX))?,
                Field::Message => draft.message = map.next_value_seed(Text(reports, 0))?.unwrap_or_default(),
                Field::TimeZone => draft.time_zone = map.next_value_seed(Text(reports, usize::MAX))?,
                Field::IsError => draft.is_error = map.next_value::<Option<bool>>()?.unwrap_or_default(),
                Field::Health => draft.health = map.next_value::<Option<Said>>()?,
                Field::Tags => tags = map.next_value_seed(Borrowed)?,
                Field::Labels => has_labels = map.next_value_seed(Labels(&mut reader.labels))?,
                Field::Unknown => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        reader.field = "name";
        if seen & 1 << Field::Name as u16 == 0 {
            return Err(A::Error::missing_field("name"));
        }
        let done = reader.finish(draft, (has_labels, tags));
        reader.field = "";
        done.map_err(|fault| {
            reader.fault = Some(fault);
            A::Error::custom("a target makes no sense")
        })
    }
}

impl<'de> Reader<'de> {
    fn finish(&mut self, mut draft: Draft, (has_labels, tags): (bool, Option<Cow<'de, str>>)) -> Result<(), Fault> {
        let reports = &mut self.read.reports;
        if reports.len() >= MAX_REPORTED_TARGETS {
            return Err(Fault::new(
                "too-many-targets",
                "",
                format!("a report may name {MAX_REPORTED_TARGETS} targets"),
                "send the others in further requests",
            ));
        }
        if has_labels {
            // Of a label that is there twice the last one counts.
            self.labels.sort_by(|a, b| a.0.cmp(&b.0));
            self.labels.reverse();
            self.labels.dedup_by(|a, b| a.0 == b.0);
            let pairs = self.labels.iter().rev();
            draft.labels = Some(reports.add_labels(pairs.map(|(key, value)| (&**key, &**value)))?);
        } else if let Some(tags) = tags {
            let labels = labels_from_tags(&tags);
            draft.labels = Some(reports.add_labels(labels.iter().map(|(key, value)| (&**key, &**value)))?);
        }
        reports.finish(draft)
    }
}

/// Declares the fields of a target, with the words for them.
macro_rules! fields {
    ($($field:ident = $word:literal,)+) => {
        #[derive(Clone, Copy, PartialEq, Eq)]
        enum Field {
            $($field,)+
            Unknown,
        }

        impl Field {
            const WORDS: &[&str] = &[$($word),+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$field => $word,)+
                    Self::Unknown => "",
                }
            }

            fn of(word: &str, reading: Reading) -> Self {
                match word {
                    $($word => Self::$field,)+
                    $(_ if reading == Reading::Classic && word.eq_ignore_ascii_case($word) => Self::$field,)+
                    _ => Self::Unknown,
                }
            }
        }
    };
}

fields! {
    Name = "name",
    Group = "group",
    Version = "version",
    Message = "message",
    IsError = "isError",
    Health = "health",
    Labels = "labels",
    Tags = "tags",
    TimeZone = "timeZone",
}

struct FieldName(Reading);

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field of a target")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Field, E> {
        match Field::of(word, self.0) {
            Field::Unknown if self.0 == Reading::Strict => Err(E::unknown_field(word, Field::WORDS)),
            field => Ok(field),
        }
    }
}

/// A text that goes where the others are; of a message only as much as is kept (where the number is 0).
struct Text<'r>(&'r mut Reports, usize);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = Option<Place>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = Option<Place>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(self.0.add(if self.1 == 0 { cut(text) } else { text })))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// A text that is read where it stands, if it stands there as it is.
struct Borrowed;

impl<'de> DeserializeSeed<'de> for Borrowed {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Borrowed {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Labels, into a list that is used again; whether there were any to be read.
struct Labels<'r, 'de>(&'r mut Vec<(Cow<'de, str>, Cow<'de, str>)>);

impl<'de> DeserializeSeed<'de> for Labels<'_, 'de> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        self.0.clear();
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Labels<'_, 'de> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("labels, such as {\"zone\": \"a\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while let Some(key) = map.next_key_seed(Borrowed)? {
            let value = map.next_value_seed(Borrowed)?;
            self.0.push((key.unwrap_or_default(), value.unwrap_or_default()));
        }
        Ok(true)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(json: &str) -> Reports {
        read_reports(json.as_bytes(), Reading::Strict).unwrap().reports
    }

    fn fault(json: &str) -> Fault {
        read_reports(json.as_bytes(), Reading::Strict).unwrap_err()
    }

    #[test]
    fn reports_are_packed_and_read_back() {
        let reports = read(
            r#"[
            {"name": "a/\"b\"", "group": "g.1", "version": "v1", "message": "fine", "labels": {"zone": "a", "rack": "7"}},
            {"name": "ü", "isError": true, "tags": "zone=b, canary"},
            {"name": "c", "health": "busy", "isError": true, "timeZone": "Europe/Berlin", "version": null}]"#,
        );
        let first = reports.get(0);
        assert_eq!((first.group, first.name, first.version), ("g.1", "a/\"b\"", Some("v1")));
        assert_eq!(first.labels, Some("rack\u{1}7\u{2}zone\u{1}a\u{2}"));
        assert_eq!(reports.get(1).labels, Some("canary\u{1}\u{2}zone\u{1}b\u{2}"));
        let said: Vec<Said> = reports.iter().map(|it| it.said).collect();
        assert_eq!(said, [Said::Healthy, Said::Unhealthy, Said::Busy]);
        assert_eq!(
            (reports.get(2).time_zone, reports.get(2).version),
            (Some("Europe/Berlin"), None)
        );
    }

    #[test]
    fn one_target_needs_no_list() {
        let one = read_reports(br#"{"name": "a"}"#, Reading::Strict).unwrap();
        assert_eq!((one.reports.len(), one.single), (1, true));
        assert_eq!(fault(r#"{"name": " "}"#).field, "name");
        assert!(!read_reports(b"[]", Reading::Strict).unwrap().single);
    }

    #[test]
    fn a_bad_target_is_named_by_its_place_and_field() {
        for (json, field, reason) in [
            (r#"[{"name": "a"}, {"name": ""}]"#, "[1].name", "must not be empty"),
            (
                r#"[{"name": "a", "version": "\n"}]"#,
                "[0].version",
                "control character",
            ),
            (
                r#"[{"name": "a", "timeZone": "Mars/Base"}]"#,
                "[0].timeZone",
                "Mars/Base",
            ),
            (r#"[{"name": "a"}, {"version": "v1"}]"#, "[1].name", "missing field"),
            (r#"[{"name": "a", "version": 7}]"#, "[0].version", "expected a text"),
            (
                r#"[{"name": "a", "health": "ill"}]"#,
                "[0].health",
                "unknown variant `ill`",
            ),
            (
                r#"[{"name": "a", "labels": {"a": 1}}]"#,
                "[0].labels",
                "expected a text",
            ),
            (
                r#"[{"name": "a", "labels": {"": "x"}}]"#,
                "[0].labels",
                "must not be empty",
            ),
            (r#"[{"name": "a", "name": "b"}]"#, "[0].name", "twice"),
            (r#"["a"]"#, "[0]", "expected a target"),
            (r#"[{"name": "a"}"#, "", "EOF"),
            (r#"[{"name": "a"}] x"#, "", "trailing characters"),
        ] {
            let fault = fault(json);
            assert_eq!(fault.field, field, "{json}: {fault}");
            assert!(
                fault.reason.contains(reason) && !fault.fix.is_empty(),
                "{json}: {fault}"
            );
        }
        assert!(fault(r#"[{"name": "a", "versoin": "v1"}]"#).reason.contains("versoin"));
    }

    #[test]
    fn of_a_label_that_is_there_twice_the_last_one_counts() {
        let reports = read(r#"[{"name": "a", "labels": {"z": "1", "a": "2", "z": "3"}}]"#);
        assert_eq!(reports.get(0).labels, Some("a\u{1}2\u{2}z\u{1}3\u{2}"));
    }

    #[test]
    fn older_controllers_may_write_fields_in_any_case_and_more_of_them() {
        let json = br#"[{"Name": "a", "ISERROR": true, "Version": "v1", "lastSeen": {"at": [1]}}] ignored"#;
        let reports = read_reports(json, Reading::Classic).unwrap().reports;
        let first = reports.get(0);
        assert_eq!(
            (first.name, first.version, first.said),
            ("a", Some("v1"), Said::Unhealthy)
        );
        assert!(read_reports(b"null", Reading::Classic).unwrap().reports.is_empty());
    }
}
