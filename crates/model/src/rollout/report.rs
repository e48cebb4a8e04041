//! What controllers and targets report: many targets at once, packed, because a fleet reports all the time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::classic::labels_from_tags;
use super::cron::zone;
use super::fault::Fault;
use super::text::{GroupName, TargetName, Version, check_label};
use crate::limits::{MAX_LABELS, MAX_MESSAGE_BYTES, MAX_REPORTED_TARGETS};

/// What a target says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Said {
    /// It is well.
    Healthy,
    /// It is not.
    Unhealthy,
    /// It is at work, and neither.
    InProgress,
    /// Its controller knows that it is switched off.
    Offline,
    /// It asks to be left alone.
    Busy,
}

/// One target, as it is reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Report<'a> {
    /// Its name.
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub name: Cow<'a, str>,
    /// Its group; none when left out.
    #[serde(default, borrow)]
    #[schema(value_type = String)]
    pub group: Cow<'a, str>,
    /// The version that it runs; what it ran before when left out.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub version: Option<Cow<'a, str>>,
    /// What it has to say, for people.
    #[serde(default, borrow)]
    #[schema(value_type = String)]
    pub message: Cow<'a, str>,
    /// Whether something is wrong with it. Not read when `health` is given.
    #[serde(default)]
    pub is_error: bool,
    /// How it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Said>,
    /// Facts about it, by which waves and budgets choose; those of the last report when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The same in one text: `zone=a,canary`. Not read when `labels` is given.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tags: Option<Cow<'a, str>>,
    /// Its time zone, such as `Europe/Berlin`; that of the last report when left out.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub time_zone: Option<Cow<'a, str>>,
}

impl Report<'_> {
    /// What it says about its health.
    #[must_use]
    pub fn said(&self) -> Said {
        match (self.health, self.is_error) {
            (Some(health), _) => health,
            (None, true) => Said::Unhealthy,
            (None, false) => Said::Healthy,
        }
    }
}

/// A report that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReportError(pub Fault);

/// Where a text stands in [`Reports`].
type Place = Range<u32>;

#[derive(Clone, Debug)]
struct Entry {
    group: Place,
    name: Place,
    version: Option<Place>,
    message: Place,
    labels: Option<Place>,
    time_zone: Option<Place>,
    said: Said,
}

/// Reports about many targets, checked, in one piece of memory.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    text: String,
    entries: Vec<Entry>,
}

/// One of [`Reports`].
#[derive(Clone, Copy, Debug)]
pub struct Reported<'a> {
    /// Its group.
    pub group: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The version that it runs, if it says so.
    pub version: Option<&'a str>,
    /// What it has to say.
    pub message: &'a str,
    /// Its labels in one text, sorted: each key, `\u{1}`, the value, `\u{2}`.
    pub labels: Option<&'a str>,
    /// Its time zone.
    pub time_zone: Option<&'a str>,
    /// How it is.
    pub said: Said,
}

impl Reports {
    /// None yet, with room for so many.
    #[must_use]
    pub fn with_capacity(targets: usize) -> Self {
        Self {
            text: String::with_capacity(targets * 24),
            entries: Vec::with_capacity(targets),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds one.
    ///
    /// # Errors
    /// [`ReportError`] when a field makes no sense, or there are as many as one request may hold.
    pub fn push(&mut self, report: &Report<'_>) -> Result<(), ReportError> {
        let index = self.entries.len();
        if index >= MAX_REPORTED_TARGETS {
            return Err(ReportError(Fault::new(
                "too-many-targets",
                format!("[{index}]"),
                format!("a report may name {MAX_REPORTED_TARGETS} targets"),
                "send the others in further requests",
            )));
        }
        check(report).map_err(|mut fault| {
            fault.field = format!("[{index}].{}", fault.field);
            ReportError(fault)
        })?;
        let labels = match (&report.labels, &report.tags) {
            (Some(labels), _) => Some(Cow::Borrowed(labels)),
            (None, Some(tags)) => Some(Cow::Owned(labels_from_tags(tags))),
            (None, None) => None,
        };
        let entry = Entry {
            group: self.add(&report.group),
            name: self.add(&report.name),
            version: report
                .version
                .as_deref()
                .filter(|it| !it.is_empty())
                .map(|it| self.add(it)),
            message: self.add(cut(&report.message)),
            labels: labels.map(|labels| self.add_labels(&labels)),
            time_zone: report.time_zone.as_deref().map(|zone| self.add(zone)),
            said: report.said(),
        };
        self.entries.push(entry);
        Ok(())
    }

    fn add(&mut self, text: &str) -> Place {
        let start = self.end();
        self.text.push_str(text);
        start..self.end()
    }

    fn add_labels(&mut self, labels: &BTreeMap<String, String>) -> Place {
        let start = self.end();
        for (key, value) in labels {
            // Writing to a text cannot fail.
            let _ = write!(self.text, "{key}\u{1}{value}\u{2}");
        }
        start..self.end()
    }

    fn end(&self) -> u32 {
        // A request of 100,000 targets is far below 4 GiB.
        u32::try_from(self.text.len()).unwrap_or(u32::MAX)
    }

    fn text(&self, place: &Place) -> &str {
        &self.text[place.start as usize..place.end as usize]
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, index: usize) -> Reported<'_> {
        self.reported(&self.entries[index])
    }

    fn reported(&self, entry: &Entry) -> Reported<'_> {
        let text = |place: &Option<Place>| place.as_ref().map(|place| self.text(place));
        Reported {
            group: self.text(&entry.group),
            name: self.text(&entry.name),
            version: text(&entry.version),
            message: self.text(&entry.message),
            labels: text(&entry.labels),
            time_zone: text(&entry.time_zone),
            said: entry.said,
        }
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Reported<'_>> {
        self.entries.iter().map(|entry| self.reported(entry))
    }
}

fn check(report: &Report<'_>) -> Result<(), Fault> {
    let text = |field: &'static str, result: Result<(), super::text::TextError>, fix: &'static str| {
        result.map_err(|error| Fault::new("invalid-target", field, error.to_string(), fix))
    };
    text("name", TargetName::check(&report.name), "give the target's name")?;
    text(
        "group",
        GroupName::check(&report.group),
        "give a group's name, or leave it out",
    )?;
    if let Some(version) = &report.version
        && !version.is_empty()
    {
        text(
            "version",
            Version::check(version),
            "give the version that the target runs, or leave it out",
        )?;
    }
    let labels = report.labels.iter().flatten();
    for (key, value) in labels.clone() {
        text("labels", check_label(key, value), "shorten the label")?;
    }
    if labels.count() > MAX_LABELS {
        let reason = format!("a target may have {MAX_LABELS} labels");
        return Err(Fault::new("invalid-target", "labels", reason, "leave some out"));
    }
    match report.time_zone.as_deref().filter(|name| !name.is_empty()).map(zone) {
        Some(Err(reason)) => Err(Fault::new(
            "invalid-target",
            "timeZone",
            reason,
            "write a name of the IANA database, such as Europe/Berlin, or leave it out",
        )),
        _ => Ok(()),
    }
}

/// As much of a message as is kept.
fn cut(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

impl<'de> Deserialize<'de> for Reports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Many;
        impl<'de> Visitor<'de> for Many {
            type Value = Reports;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of targets")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Reports, A::Error> {
                let mut reports = Reports::default();
                while let Some(report) = seq.next_element::<Report<'de>>()? {
                    reports.push(&report).map_err(serde::de::Error::custom)?;
                }
                Ok(reports)
            }
        }
        deserializer.deserialize_seq(Many)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reports_are_packed_and_read_back() {
        let json = r#"[
            {"name": "a/\"b\"", "group": "g.1", "version": "v1", "message": "fine", "labels": {"zone": "a", "rack": "7"}},
            {"name": "ü", "isError": true, "tags": "zone=b, canary"},
            {"name": "c", "health": "busy", "isError": true, "timeZone": "Europe/Berlin"}]"#;
        let reports: Reports = serde_json::from_str(json).unwrap();
        let first = reports.get(0);
        assert_eq!((first.group, first.name, first.version), ("g.1", "a/\"b\"", Some("v1")));
        assert_eq!(first.labels, Some("rack\u{1}7\u{2}zone\u{1}a\u{2}"));
        assert_eq!(reports.get(1).labels, Some("canary\u{1}\u{2}zone\u{1}b\u{2}"));
        let said: Vec<Said> = reports.iter().map(|it| it.said).collect();
        assert_eq!(said, [Said::Healthy, Said::Unhealthy, Said::Busy]);
        assert_eq!(reports.get(2).time_zone, Some("Europe/Berlin"));
    }

    #[test]
    fn a_bad_target_is_named_by_its_place_and_field() {
        for (json, part) in [
            (r#"[{"name": "a"}, {"name": ""}]"#, "[1].name"),
            (r#"[{"name": "a", "version": "\n"}]"#, "[0].version"),
            (r#"[{"name": "a", "timeZone": "Mars/Base"}]"#, "[0].timeZone"),
            (r#"[{"version": "v1"}]"#, "missing field `name`"),
            (r#"[{"name": "a", "versoin": "v1"}]"#, "versoin"),
        ] {
            let error = serde_json::from_str::<Reports>(json).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut reports = Reports::default();
        let message = "ü".repeat(600);
        let report = Report {
            name: "a".into(),
            message: message.as_str().into(),
            ..Report::default()
        };
        reports.push(&report).unwrap();
        assert_eq!(reports.get(0).message.len(), 1024);
    }
}
