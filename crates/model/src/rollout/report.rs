//! What controllers and targets report: many targets at once, packed, because a fleet reports all the time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::classic::labels_from_tags;
use super::cron::zone;
use super::fault::Fault;
use super::text::{GroupName, TargetName, Version, check_label};
use crate::limits::{MAX_LABELS, MAX_MESSAGE_BYTES};

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
    #[serde(default, borrow, skip_serializing_if = "str::is_empty")]
    #[schema(value_type = String)]
    pub group: Cow<'a, str>,
    /// The version that it runs; what it ran before when left out.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub version: Option<Cow<'a, str>>,
    /// What it has to say, for people.
    #[serde(default, borrow, skip_serializing_if = "str::is_empty")]
    #[schema(value_type = String)]
    pub message: Cow<'a, str>,
    /// Whether something is wrong with it. Not read when `health` is given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
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

/// A report that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReportError(pub Fault);

/// Where a text stands in [`Reports`].
pub(super) type Place = Range<u32>;

fn is_blank(place: &Place) -> bool {
    place.start == place.end
}

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

/// A report whose texts stand in [`Reports`] already, and that has yet to be judged.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) group: Place,
    pub(super) name: Place,
    pub(super) version: Option<Place>,
    pub(super) message: Place,
    pub(super) labels: Option<Place>,
    pub(super) time_zone: Option<Place>,
    pub(super) is_error: bool,
    pub(super) health: Option<Said>,
}

/// Reports about many targets, checked, in one piece of memory.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    text: String,
    entries: Vec<Entry>,
    /// The last time zone that was looked up: targets of one place come together.
    known_zone: Option<Place>,
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
            known_zone: None,
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
    /// [`ReportError`] when a field makes no sense. Nothing is added then.
    pub fn push(&mut self, report: &Report<'_>) -> Result<(), ReportError> {
        let begin = self.text.len();
        let draft = self.draft(report);
        draft.and_then(|draft| self.finish(draft)).map_err(|mut fault| {
            self.text.truncate(begin);
            fault.field = format!("[{}].{}", self.entries.len(), fault.field);
            ReportError(fault)
        })
    }

    fn draft(&mut self, report: &Report<'_>) -> Result<Draft, Fault> {
        let labels = match (&report.labels, &report.tags) {
            (Some(labels), _) => Some(Cow::Borrowed(labels)),
            (None, Some(tags)) => Some(Cow::Owned(labels_from_tags(tags))),
            (None, None) => None,
        };
        let mut pairs = |labels: &BTreeMap<String, String>| {
            self.add_labels(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())))
        };
        Ok(Draft {
            labels: labels.map(|labels| pairs(&labels)).transpose()?,
            group: self.add(&report.group),
            name: self.add(&report.name),
            version: report.version.as_deref().map(|it| self.add(it)),
            message: self.add(cut(&report.message)),
            time_zone: report.time_zone.as_deref().map(|zone| self.add(zone)),
            is_error: report.is_error,
            health: report.health,
        })
    }

    /// Judges a draft, and adds it.
    pub(super) fn finish(&mut self, draft: Draft) -> Result<(), Fault> {
        let entry = Entry {
            said: match (draft.health, draft.is_error) {
                (Some(health), _) => health,
                (None, true) => Said::Unhealthy,
                (None, false) => Said::Healthy,
            },
            version: draft.version.filter(|place| !is_blank(place)),
            group: draft.group,
            name: draft.name,
            message: draft.message,
            labels: draft.labels,
            time_zone: draft.time_zone,
        };
        check(
            &self.reported(&entry),
            self.known_zone.as_ref().map(|zone| self.text(zone)),
        )?;
        if entry.time_zone.is_some() {
            self.known_zone.clone_from(&entry.time_zone);
        }
        self.entries.push(entry);
        Ok(())
    }

    pub(super) fn add(&mut self, text: &str) -> Place {
        let start = self.end();
        self.text.push_str(text);
        start..self.end()
    }

    /// Labels, sorted by their keys.
    pub(super) fn add_labels<'a>(
        &mut self,
        labels: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Place, Fault> {
        let fault = |reason: String, fix| Fault::new("invalid-target", "labels", reason, fix);
        if labels.len() > MAX_LABELS {
            return Err(fault(
                format!("a target may have {MAX_LABELS} labels"),
                "leave some out",
            ));
        }
        let start = self.end();
        for (key, value) in labels {
            check_label(key, value).map_err(|error| fault(error.to_string(), "shorten the label, or correct it"))?;
            self.text.extend([key, "\u{1}", value, "\u{2}"]);
        }
        Ok(start..self.end())
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

    /// Cuts them into parts of at most so many targets: a large request is decided bit by bit, and holds nobody up.
    #[must_use]
    pub fn parts(self, targets: usize) -> Vec<Self> {
        if self.len() <= targets {
            return vec![self];
        }
        let Self { text, entries, .. } = self;
        let part = |entries: &[Entry]| {
            let (mut begin, mut end) = (u32::MAX, 0);
            for place in entries.iter().flat_map(Entry::places) {
                (begin, end) = (begin.min(place.start), end.max(place.end));
            }
            let begin = begin.min(end);
            let mut entries = entries.to_vec();
            for place in entries.iter_mut().flat_map(Entry::places_mut) {
                *place = place.start - begin..place.end - begin;
            }
            Self {
                text: text[begin as usize..end as usize].to_owned(),
                entries,
                known_zone: None,
            }
        };
        entries.chunks(targets.max(1)).map(part).collect()
    }
}

impl Entry {
    fn places(&self) -> impl Iterator<Item = &Place> {
        let some = [&self.version, &self.labels, &self.time_zone];
        [&self.group, &self.name, &self.message]
            .into_iter()
            .chain(some.into_iter().flatten())
            // An empty text may be said to stand anywhere.
            .filter(|place| !is_blank(place))
    }

    fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        let some = [&mut self.version, &mut self.labels, &mut self.time_zone];
        [&mut self.group, &mut self.name, &mut self.message]
            .into_iter()
            .chain(some.into_iter().flatten())
            .map(|place| {
                if is_blank(place) {
                    *place = 0..0;
                }
                place
            })
            .filter(|place| !is_blank(place))
    }
}

fn check(report: &Reported<'_>, known_zone: Option<&str>) -> Result<(), Fault> {
    let text = |field: &'static str, result: Result<(), super::text::TextError>, fix: &'static str| {
        result.map_err(|error| Fault::new("invalid-target", field, error.to_string(), fix))
    };
    text("name", TargetName::check(report.name), "give the target's name")?;
    text(
        "group",
        GroupName::check(report.group),
        "give a group's name, or leave it out",
    )?;
    if let Some(version) = report.version {
        text(
            "version",
            Version::check(version),
            "give the version that the target runs, or leave it out",
        )?;
    }
    let zone_name = report
        .time_zone
        .filter(|name| !name.is_empty() && Some(*name) != known_zone);
    match zone_name.map(zone) {
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
pub(super) fn cut(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn report(name: &str) -> Report<'_> {
        Report {
            name: name.into(),
            ..Report::default()
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut reports = Reports::default();
        let message = "ü".repeat(600);
        let report = Report {
            message: message.as_str().into(),
            ..report("a")
        };
        reports.push(&report).unwrap();
        assert_eq!(reports.get(0).message.len(), 1024);
    }

    #[test]
    fn what_is_refused_leaves_nothing_behind_and_no_label_hides_another() {
        let mut reports = Reports::default();
        for (key, value) in [("a", "x\u{2}b\u{1}c"), ("a\u{1}b", "c"), ("", "x")] {
            let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            let bad = Report {
                labels: Some(labels),
                ..report("a")
            };
            assert_eq!(reports.push(&bad).unwrap_err().0.field, "[0].labels");
        }
        assert_eq!((reports.len(), reports.text.len()), (0, 0));
    }

    #[test]
    fn parts_are_the_same_reports_in_the_same_order() {
        let mut reports = Reports::default();
        let names: Vec<String> = (0..10).map(|number| format!("target-{number}")).collect();
        for (number, name) in names.iter().enumerate() {
            let with_more = Report {
                version: (number % 2 == 0).then_some("v1".into()),
                time_zone: (number % 3 == 0).then_some("Europe/Berlin".into()),
                group: if number > 4 { "g".into() } else { "".into() },
                tags: (number % 4 == 0).then_some("zone=a".into()),
                ..report(name)
            };
            reports.push(&with_more).unwrap();
        }
        let said = |reports: &Reports| reports.iter().map(|it| format!("{it:?}")).collect::<Vec<_>>();
        let whole = said(&reports);
        for size in [1, 3, 10, 11] {
            let parts = reports.clone().parts(size);
            assert_eq!(parts.len(), 10_usize.div_ceil(size));
            assert_eq!(parts.iter().flat_map(said).collect::<Vec<_>>(), whole);
        }
    }
}
