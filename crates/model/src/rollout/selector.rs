//! Which targets: by label and by group.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Selects targets. Everything that it says must hold; one that says nothing selects every target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selector {
    /// Labels with exactly these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What must hold for further labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expressions: Vec<Expression>,
    /// One of these groups; any group when empty.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
}

/// What must hold for one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expression {
    /// The label's key.
    pub key: String,
    /// What must hold.
    pub operator: Operator,
    /// For `in` and `notIn`: the values.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub values: BTreeSet<String>,
}

/// What an [`Expression`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Operator {
    /// The target has the label, with one of the values.
    In,
    /// The target does not have the label, or has another value.
    NotIn,
    /// The target has the label.
    Exists,
    /// The target does not have the label.
    DoesNotExist,
}

impl Expression {
    fn holds(&self, value: Option<&str>) -> bool {
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl Selector {
    /// Whether it selects every target.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        self.labels.is_empty() && self.expressions.is_empty() && self.groups.is_empty()
    }

    /// Whether it selects a target of this group whose labels `label` looks up.
    pub fn selects<'a>(&self, group: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        (self.groups.is_empty() || self.groups.contains(group))
            && self
                .labels
                .iter()
                .all(|(key, value)| label(key) == Some(value.as_str()))
            && self
                .expressions
                .iter()
                .all(|expression| expression.holds(label(&expression.key)))
    }

    /// Why no target can ever be selected, if that is so.
    #[must_use]
    pub fn contradiction(&self) -> Option<String> {
        let keys: BTreeSet<&String> = self
            .labels
            .keys()
            .chain(self.expressions.iter().map(|expression| &expression.key))
            .collect();
        keys.into_iter().find_map(|key| self.contradiction_about(key))
    }

    fn contradiction_about(&self, key: &str) -> Option<String> {
        let about = || self.expressions.iter().filter(|expression| expression.key == key);
        // The values that are still possible; the label's absence is another possibility.
        let named = self.labels.get(key).map(|value| BTreeSet::from([value.as_str()]));
        let lists = about()
            .filter(|expression| expression.operator == Operator::In)
            .map(|expression| expression.values.iter().map(String::as_str).collect::<BTreeSet<_>>());
        let possible = named
            .into_iter()
            .chain(lists)
            .reduce(|one, other| one.intersection(&other).copied().collect());
        let holds = |value: Option<&str>| about().all(|expression| expression.holds(value));
        let contradicts = match &possible {
            Some(values) => !values.iter().any(|value| holds(Some(value))),
            // Without a list of values, any value that no expression names stands for the rest.
            None => !holds(None) && !holds(Some("\u{0}")),
        };
        contradicts.then(|| format!("what it asks of label \"{key}\" holds for no value"))
    }

    /// Whether it surely selects everything that `other` selects.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let groups = self.groups.is_empty() || (!other.groups.is_empty() && other.groups.is_subset(&self.groups));
        let labels = self
            .labels
            .iter()
            .all(|(key, value)| other.labels.get(key) == Some(value));
        let expressions = self.expressions.iter().all(|expression| other.implies(expression));
        groups && labels && expressions
    }

    fn implies(&self, expression: &Expression) -> bool {
        if let Some(value) = self.labels.get(&expression.key) {
            return expression.holds(Some(value));
        }
        self.expressions.contains(expression)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn selector(json: &str) -> Selector {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_selector_asks_for_everything_it_says() {
        let selector = selector(
            r#"{"labels": {"zone": "a"}, "groups": ["web"],
                "expressions": [{"key": "tier", "operator": "notIn", "values": ["db"]}]}"#,
        );
        let with = |zone: &'static str, tier: Option<&'static str>| {
            move |key: &str| match key {
                "zone" => Some(zone),
                "tier" => tier,
                _ => None,
            }
        };
        assert!(selector.selects("web", with("a", None)));
        assert!(selector.selects("web", with("a", Some("app"))));
        assert!(!selector.selects("web", with("a", Some("db"))));
        assert!(!selector.selects("web", with("b", None)));
        assert!(!selector.selects("we", with("a", None)));
        assert!(!selector.selects("web2", with("a", None)));
    }

    #[test]
    fn a_selector_that_nothing_can_fit_is_found() {
        for json in [
            r#"{"expressions": [{"key": "a", "operator": "in", "values": []}]}"#,
            r#"{"expressions": [{"key": "a", "operator": "exists"}, {"key": "a", "operator": "doesNotExist"}]}"#,
            r#"{"labels": {"a": "1"}, "expressions": [{"key": "a", "operator": "notIn", "values": ["1"]}]}"#,
            r#"{"expressions": [{"key": "a", "operator": "in", "values": ["1", "2"]},
                                {"key": "a", "operator": "in", "values": ["3"]}]}"#,
        ] {
            assert!(selector(json).contradiction().is_some(), "{json}");
        }
        let possible = r#"{"expressions": [{"key": "a", "operator": "exists"},
                                           {"key": "a", "operator": "notIn", "values": ["1"]}]}"#;
        assert_eq!(selector(possible).contradiction(), None);
    }

    #[test]
    fn a_wider_selector_covers_a_narrower_one() {
        let (all, zone) = (Selector::default(), selector(r#"{"labels": {"zone": "a"}}"#));
        let both = selector(r#"{"labels": {"zone": "a", "rack": "1"}}"#);
        assert!(all.covers(&zone) && zone.covers(&both) && all.covers(&all));
        assert!(!zone.covers(&all) && !both.covers(&zone));
    }
}
