//! A value and where it stands.

use serde_json::{Number, Value};

use crate::problem::Span;

/// A JSON value with spans.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) data: Data,
}

/// The value of a [`Node`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// As written: in order, and with names that stand twice.
    Object(Vec<(Key, Node)>),
}

/// The name of a property.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) span: Span,
}

impl Node {
    /// The documents that a top-level value stands for: an array holds several, and nothing (an empty YAML document)
    /// holds none.
    pub(crate) fn into_documents(self) -> Vec<Self> {
        match self.data {
            Data::List(items) => items,
            Data::Null => Vec::new(),
            _ => vec![self],
        }
    }

    /// The property with this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match &self.data {
            Data::Object(properties) => properties
                .iter()
                .find(|(key, _)| key.text == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The value at a place below this one, or the deepest one on the way there.
    pub(crate) fn nearest(&self, place: &[String]) -> &Self {
        let Some((first, rest)) = place.split_first() else {
            return self;
        };
        let next = match &self.data {
            Data::List(items) => crate::path::index(first).and_then(|index| items.get(index)),
            _ => self.get(first),
        };
        next.map_or(self, |next| next.nearest(rest))
    }

    /// The value without spans. Of a name that stands twice the last counts.
    pub(crate) fn to_value(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(value) => Value::Bool(*value),
            Data::Number(number) => Value::Number(number.clone()),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(items) => items.iter().map(Self::to_value).collect(),
            Data::Object(properties) => properties
                .iter()
                .map(|(key, value)| (key.text.clone(), value.to_value()))
                .collect(),
        }
    }

    /// How many values this is, itself included.
    pub(crate) fn count(&self) -> usize {
        match &self.data {
            Data::List(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
            Data::Object(properties) => 1 + properties.iter().map(|(_, value)| value.count()).sum::<usize>(),
            _ => 1,
        }
    }

    /// What people call this kind of value.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null => "empty",
            Data::Bool(_) => "a boolean",
            Data::Number(_) => "a number",
            Data::Text(_) => "a string",
            Data::List(_) => "an array",
            Data::Object(_) => "an object",
        }
    }
}
