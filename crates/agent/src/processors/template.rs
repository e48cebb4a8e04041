//! Texts with placeholders, such as `https://example.com/tenants/{input.tenant}`.
//!
//! `{input.PATH}` and `{context.PATH}` reach into the activity's input and the shared context; `{namespace}`,
//! `{orchestrationId}`, `{activityId}`, `{activityType}`, `{attempt}`, `{discriminator}`, `{correlationId}`, `{token}`
//! and `{callbackUrl}` are about the attempt. `{{` and `}}` are braces.

use serde_json::{Map, Value};

/// A text, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Literal(String),
    Placeholder(Placeholder),
}

/// What stands between braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placeholder {
    /// As it is written, for messages.
    pub(super) text: String,
    path: Vec<String>,
}

const ABOUT_THE_ATTEMPT: [&str; 9] = [
    "namespace",
    "orchestrationId",
    "activityId",
    "activityType",
    "attempt",
    "discriminator",
    "correlationId",
    "token",
    "callbackUrl",
];

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                literal.push_str(&from[..1]);
                rest = after;
                continue;
            }
            let inner = from.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let Some((inner, after)) = inner else {
                return Err("a brace stands alone; write `{{` or `}}` for a brace that is no placeholder's".to_owned());
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Placeholder(Placeholder::parse(inner)?));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }

    /// The placeholder that is the whole text.
    fn alone(&self) -> Option<&Placeholder> {
        match self.parts.as_slice() {
            [Part::Placeholder(placeholder)] => Some(placeholder),
            _ => None,
        }
    }

    /// The text, with every placeholder's value changed by `change` on its way in.
    pub(super) fn render(
        &self,
        values: &Value,
        mut change: impl FnMut(&Placeholder, String) -> Result<String, String>,
    ) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Placeholder(placeholder) => text.push_str(&change(placeholder, placeholder.text_in(values)?)?),
            }
        }
        Ok(text)
    }
}

impl Placeholder {
    fn parse(text: &str) -> Result<Self, String> {
        let path: Vec<String> = text.split('.').map(str::to_owned).collect();
        let known = match path.as_slice() {
            [source, rest @ ..] if source == "input" || source == "context" => !rest.iter().any(String::is_empty),
            [one] => ABOUT_THE_ATTEMPT.contains(&one.as_str()),
            _ => false,
        };
        if known {
            return Ok(Self {
                text: text.to_owned(),
                path,
            });
        }
        let all = ABOUT_THE_ATTEMPT.map(|name| format!("{{{name}}}")).join(", ");
        Err(format!(
            "{{{text}}} is no placeholder; there are {{input.PATH}}, {{context.KEY}}, {all}"
        ))
    }

    fn value_in<'v>(&self, values: &'v Value) -> Result<&'v Value, String> {
        let step = |value: &'v Value, key: &String| match value {
            Value::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
            value => value.get(key.as_str()),
        };
        let found = self.path.iter().try_fold(values, step);
        found.ok_or_else(|| format!("there is no value for {{{}}}", self.text))
    }

    /// Text, numbers and truth values have a form as text.
    fn text_in(&self, values: &Value) -> Result<String, String> {
        match self.value_in(values)? {
            Value::String(text) => Ok(text.clone()),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
            other => {
                let kind = match other {
                    Value::Null => "null",
                    Value::Array(_) => "a list",
                    _ => "an object",
                };
                Err(format!(
                    "the value for {{{}}} is {kind}; text, a number or a truth value can stand here",
                    self.text
                ))
            }
        }
    }
}

/// A JSON value whose texts are templates.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum JsonTemplate {
    Plain(Value),
    Text(Template),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl JsonTemplate {
    pub(super) fn parse(value: Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => Self::Text(Template::parse(&text)?),
            Value::Array(items) => Self::List(items.into_iter().map(Self::parse).collect::<Result<_, _>>()?),
            Value::Object(entries) => {
                let entry = |(key, value)| Ok((key, Self::parse(value)?));
                Self::Object(entries.into_iter().map(entry).collect::<Result<_, String>>()?)
            }
            plain => Self::Plain(plain),
        })
    }

    /// The value. A text that is exactly one placeholder becomes the placeholder's value, of whatever type.
    pub(super) fn render(&self, values: &Value) -> Result<Value, String> {
        Ok(match self {
            Self::Plain(value) => value.clone(),
            Self::Text(template) => match template.alone() {
                Some(placeholder) => placeholder.value_in(values)?.clone(),
                None => Value::String(template.render(values, |_, text| Ok(text))?),
            },
            Self::List(items) => items.iter().map(|item| item.render(values)).collect::<Result<_, _>>()?,
            Self::Object(entries) => {
                let entry = |(key, item): &(String, Self)| Ok((key.clone(), item.render(values)?));
                Value::Object(entries.iter().map(entry).collect::<Result<Map<_, _>, String>>()?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_body_keeps_the_type_of_a_lone_placeholder() {
        let template = json!({"n": "{input.n}", "all": ["{input.list}"], "text": "n={input.n} {{x}}", "fixed": 1});
        let values = json!({"input": {"n": 7, "list": [true]}});
        let body = JsonTemplate::parse(template).unwrap().render(&values).unwrap();
        assert_eq!(body, json!({"n": 7, "all": [[true]], "text": "n=7 {x}", "fixed": 1}));
    }

    #[test]
    fn wrong_templates_and_missing_values_say_so() {
        assert!(Template::parse("a{").unwrap_err().contains("a brace stands alone"));
        assert!(Template::parse("a}").unwrap_err().contains("a brace stands alone"));
        assert!(
            Template::parse("{inputs.x}")
                .unwrap_err()
                .contains("{inputs.x} is no placeholder")
        );
        let template = Template::parse("{input.a.0}").unwrap();
        let render = |values: Value| template.render(&values, |_, text| Ok(text));
        assert_eq!(render(json!({"input": {"a": ["x"]}})).unwrap(), "x");
        assert_eq!(
            render(json!({"input": {}})).unwrap_err(),
            "there is no value for {input.a.0}"
        );
        assert!(
            render(json!({"input": {"a": [{}]}}))
                .unwrap_err()
                .contains("is an object")
        );
    }
}
