//! The dashboard and the alert rules ask for metrics and labels that a server has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::metrics::{busy, families};
use super::text;

/// Labels that Prometheus and the format bring.
const GIVEN: [&str; 3] = ["job", "instance", "le"];

/// The labels of each sample, by its name.
type Known = BTreeMap<String, BTreeSet<String>>;

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The metrics in a query, each with the labels that stand in the braces behind it.
fn metrics(query: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(begin) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        rest = &rest[begin..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        let Some(inside) = after.strip_prefix('{') else {
            if word.starts_with("unisono_") || word.starts_with("process_") {
                found.push((word, Vec::new()));
            }
            continue;
        };
        // A quoted value may hold braces of a pattern.
        let quoted: Vec<&str> = inside.split('"').collect();
        let (mut labels, mut length) = (Vec::new(), 0);
        for (place, piece) in quoted.iter().enumerate() {
            if place % 2 == 0 {
                let outside = piece.split('}').next().unwrap();
                labels.extend(outside.split([',', '=', '!', '~']).filter(|it| !it.is_empty()));
                if piece.contains('}') {
                    length += outside.len() + 1;
                    break;
                }
            }
            length += piece.len() + 1;
        }
        found.push((word, labels));
        rest = &inside[length..];
    }
    found
}

/// The labels that a query sums or counts by.
fn grouping(query: &str) -> Vec<&str> {
    let lists = query.split("by (").skip(1).filter_map(|rest| rest.split_once(')'));
    lists.flat_map(|(list, _)| list.split(',').map(str::trim)).collect()
}

fn check(place: &str, query: &str, known: &Known) {
    let found = metrics(query);
    assert!(!found.is_empty(), "{place}: no metric in {query}");
    let mut all: BTreeSet<&str> = GIVEN.into();
    for (name, labels) in found {
        if name == "up" {
            continue;
        }
        let has = known
            .get(name)
            .unwrap_or_else(|| panic!("{place}: there is no {name}, in {query}"));
        all.extend(has.iter().map(String::as_str));
        for label in labels {
            assert!(
                has.contains(label) || GIVEN.contains(&label),
                "{place}: {name} has no label {label}, in {query}"
            );
        }
    }
    for label in grouping(query) {
        assert!(all.contains(label), "{place}: no label {label} to group by, in {query}");
    }
}

fn strings<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| match member {
            Value::String(text) if name == key => found.push(text),
            other => strings(other, key, found),
        }),
        Value::Array(items) => items.iter().for_each(|item| strings(item, key, found)),
        _ => {}
    }
}

/// The value of each `expr:` of a YAML file; a folded one goes on in lines that are indented further.
fn expressions(yaml: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = yaml.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(value) = line.trim_start().strip_prefix("expr: ") else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let mut query = if value == ">-" { String::new() } else { value.to_owned() };
        while value == ">-"
            && lines
                .peek()
                .is_some_and(|next| next.len() - next.trim_start().len() > indent)
        {
            query = format!("{query} {}", lines.next().unwrap().trim());
        }
        found.push(query);
    }
    found
}

#[test]
fn the_reader_of_queries_finds_metrics_and_labels() {
    let query = r#"sum by (a, le) (rate(unisono_x_total{b=~"4{2}",job="$job"}[5m])) / process_y > 0"#;
    assert_eq!(
        metrics(query),
        [("unisono_x_total", vec!["b", "job"]), ("process_y", vec![])]
    );
    assert_eq!(grouping(query), ["a", "le"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_and_alerts_ask_for_what_a_server_shows() {
    let (server, _agent) = busy().await;
    let mut known = Known::new();
    for family in families(&server).await.values() {
        for sample in &family.samples {
            known
                .entry(sample.name.clone())
                .or_default()
                .extend(sample.labels.keys().cloned());
        }
    }
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana/unisono.json")).unwrap();
    let mut queries = Vec::new();
    strings(&dashboard, "expr", &mut queries);
    assert!(queries.len() > 30);
    for query in &queries {
        check("deploy/grafana/unisono.json", query, &known);
    }
    let mut used: BTreeSet<String> = BTreeSet::new();
    queries
        .iter()
        .for_each(|query| used.extend(metrics(query).iter().map(|(name, _)| (*name).to_owned())));
    let alerts = expressions(&text("deploy/prometheus/alerts.yaml"));
    assert!(alerts.len() > 10);
    for query in &alerts {
        check("deploy/prometheus/alerts.yaml", query, &known);
    }
}
