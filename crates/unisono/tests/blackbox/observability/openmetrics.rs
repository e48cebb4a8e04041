//! A strict reader of the OpenMetrics text format, as far as the specification goes for what a server says.

use std::collections::{BTreeMap, BTreeSet};

/// One family of samples.
#[derive(Debug, Default)]
pub(super) struct Family {
    pub(super) kind: String,
    pub(super) help: String,
    pub(super) samples: Vec<Sample>,
}

type Labels = BTreeMap<String, String>;

#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) value: f64,
}

impl Family {
    /// The names of its labels, without those that the format itself brings.
    pub(super) fn labels(&self) -> BTreeSet<&str> {
        let names = self.samples.iter().flat_map(|sample| sample.labels.keys());
        names.map(String::as_str).filter(|name| *name != "le").collect()
    }
}

/// The families by name; panics with the line where the text is not what the specification says.
pub(super) fn read(text: &str) -> BTreeMap<String, Family> {
    let body = text.strip_suffix("# EOF\n").expect("the text ends with EOF");
    let (mut families, mut units): (BTreeMap<String, Family>, BTreeMap<String, String>) = Default::default();
    let mut current = String::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (what, name, said) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            if what == "HELP" {
                assert!(
                    families.insert(name.to_owned(), Family::default()).is_none(),
                    "twice: {line}"
                );
                name.clone_into(&mut current);
            }
            assert_eq!(name, current, "what is said of a family stands together: {line}");
            let family = families.get_mut(name).unwrap();
            match what {
                "HELP" => said.clone_into(&mut family.help),
                "TYPE" => said.clone_into(&mut family.kind),
                "UNIT" => {
                    assert!(name.ends_with(&format!("_{said}")), "{line}");
                    units.insert(name.to_owned(), said.to_owned());
                }
                _ => panic!("{line}"),
            }
            continue;
        }
        let family = families.get_mut(&current).unwrap();
        let sample = sample(line);
        assert!(
            suffixes(&family.kind)
                .iter()
                .any(|suffix| sample.name == format!("{current}{suffix}")),
            "{line}"
        );
        let same = |other: &Sample| other.name == sample.name && other.labels == sample.labels;
        assert!(!family.samples.iter().any(same), "twice: {line}");
        family.samples.push(sample);
    }
    for (name, family) in &families {
        check(name, family);
        let is_unit = |unit: &str| name.ends_with(&format!("_{unit}"));
        assert!(
            units.contains_key(name) || !["seconds", "bytes"].into_iter().any(is_unit),
            "{name} has no unit"
        );
    }
    families
}

fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_sum", "_count"],
        _ => panic!("a family of the type {kind:?}"),
    }
}

fn check(name: &str, family: &Family) {
    assert!(family.help.len() > 8, "{name} has no help: {:?}", family.help);
    assert!(!family.samples.is_empty(), "{name}");
    let may_be_negative = family.kind == "gauge";
    assert!(
        family.samples.iter().all(|it| may_be_negative || it.value >= 0.0),
        "{name}"
    );
    if family.kind == "histogram" {
        histograms(name, family);
    }
}

/// Buckets are cumulative, and the last is the count.
fn histograms(name: &str, family: &Family) {
    let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in family.samples.iter().filter(|it| it.name.ends_with("_bucket")) {
        let mut labels = sample.labels.clone();
        let bound = labels.remove("le").unwrap().replace("+Inf", "inf").parse().unwrap();
        buckets.entry(labels).or_default().push((bound, sample.value));
    }
    for (labels, buckets) in buckets {
        let sample_of = |suffix: &str| {
            let of = |it: &&Sample| it.name == format!("{name}{suffix}") && it.labels == labels;
            family.samples.iter().find(of).unwrap().value
        };
        assert!(
            buckets.windows(2).all(|it| it[0].0 < it[1].0 && it[0].1 <= it[1].1),
            "{name}: {buckets:?}"
        );
        assert_eq!(*buckets.last().unwrap(), (f64::INFINITY, sample_of("_count")), "{name}");
        assert!(sample_of("_sum") >= 0.0);
    }
}

fn sample(line: &str) -> Sample {
    let (name, rest) = match line.split_once('{') {
        Some((name, rest)) if !name.contains(' ') => (name, Some(rest)),
        _ => (line.split_once(' ').unwrap().0, None),
    };
    let is_name = |text: &str| {
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        begins
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    let value = match rest {
        None => line.split_once(' ').unwrap().1,
        Some(rest) => {
            let (inside, value) = rest.rsplit_once("} ").unwrap();
            let mut inside = inside;
            while !inside.is_empty() {
                let (label, after) = inside.split_once("=\"").unwrap();
                let end = end_of_value(after);
                assert!(is_name(label), "{line}");
                assert!(
                    labels.insert(label.to_owned(), after[..end].to_owned()).is_none(),
                    "{line}"
                );
                inside = after[end + 1..].trim_start_matches(',');
            }
            value
        }
    };
    Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().unwrap_or_else(|_| panic!("no number: {line}")),
    }
}

/// The closing quote; one behind a backslash is part of the value.
fn end_of_value(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at
}
