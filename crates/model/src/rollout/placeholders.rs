//! Texts in which `{{name}}` stands for something that is known when it is used.

/// What can be filled into the query of an analysis.
pub const QUERY_PLACEHOLDERS: [&str; 6] = ["version", "baseline", "namespace", "entity", "rollout", "wave"];

/// The next placeholder: what stands before it, its name, and what stands behind it.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{{")?;
    let (name, behind) = rest.split_once("}}")?;
    Some((before, name.trim(), behind))
}

/// The first placeholder that is none of those that can be filled in.
#[must_use]
pub fn unknown_placeholder(mut text: &str) -> Option<&str> {
    while let Some((_, name, behind)) = next(text) {
        if !QUERY_PLACEHOLDERS.contains(&name) {
            return Some(name);
        }
        text = behind;
    }
    None
}

/// The text with every placeholder filled in by `value`.
#[must_use]
pub fn fill(mut text: &str, value: impl Fn(&str) -> String) -> String {
    let mut filled = String::with_capacity(text.len());
    while let Some((before, name, behind)) = next(text) {
        filled.push_str(before);
        filled.push_str(&value(name));
        text = behind;
    }
    filled.push_str(text);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_and_braces_of_other_languages_stay() {
        let query = r#"sum(rate(errors{version="{{version}}",zone=~"a|b"}[5m])) / {{ rollout }}"#;
        let filled = fill(query, |name| format!("<{name}>"));
        assert_eq!(
            filled,
            r#"sum(rate(errors{version="<version>",zone=~"a|b"}[5m])) / <rollout>"#
        );
        assert_eq!(fill("{{open", |_| String::new()), "{{open");
    }

    #[test]
    fn a_misspelt_placeholder_is_found() {
        assert_eq!(unknown_placeholder("{{version}} {{versoin}}"), Some("versoin"));
        assert_eq!(unknown_placeholder("{a{version=\"x\"}}"), None);
    }
}
