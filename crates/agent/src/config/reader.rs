//! Reads values of a configuration with errors that name the file, the line, the key, the reason and the fix.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::yaml::{Data, Node};

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}; {fix}")]
pub struct ConfigError {
    /// The file, line and key, or the environment variable.
    pub place: String,
    /// What is wrong.
    pub reason: String,
    /// What would be right.
    pub fix: String,
}

impl ConfigError {
    pub(crate) fn new(place: impl Into<String>, reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            reason: reason.into(),
            fix: fix.into(),
        }
    }
}

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    file: Arc<Path>,
    path: String,
    node: Node,
}

impl Field {
    pub(crate) fn root(file: &Path, node: Node) -> Self {
        Self {
            file: file.into(),
            path: String::new(),
            node,
        }
    }

    pub(crate) fn error(&self, reason: impl Into<String>, fix: impl Into<String>) -> ConfigError {
        let place = format!("{}:{}", self.file.display(), self.node.line);
        let place = if self.path.is_empty() {
            place
        } else {
            format!("{place}: {}", self.path)
        };
        ConfigError::new(place, reason, fix)
    }

    fn wrong_kind(&self, wanted: &str, example: &str) -> ConfigError {
        self.error(
            format!("{wanted} is expected, and this is {}", self.node.kind()),
            format!("write {example}"),
        )
    }

    /// The directory of the file: what relative paths are relative to.
    pub(crate) fn base(&self) -> PathBuf {
        let parent = self.file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        std::path::absolute(parent).unwrap_or_else(|_| parent.to_owned())
    }

    pub(crate) fn json(&self) -> Value {
        self.node.to_json()
    }

    /// Text; numbers and truth values count as the text they are written as.
    pub(crate) fn text(&self) -> Result<String, ConfigError> {
        match &self.node.data {
            Data::Scalar(Value::String(text)) => Ok(text.clone()),
            Data::Scalar(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
            _ => Err(self.wrong_kind("text", "for example `name: value`")),
        }
    }

    pub(crate) fn number<T: TryFrom<u64>>(&self) -> Result<T, ConfigError> {
        let number = match &self.node.data {
            Data::Scalar(Value::Number(number)) => number.as_u64(),
            _ => None,
        };
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            self.error(
                "a whole number that is not negative is expected",
                "write, for example, 16",
            )
        })
    }

    pub(crate) fn duration(&self) -> Result<Duration, ConfigError> {
        parse_duration(&self.text()?).map_err(|reason| self.error(reason, "write a time such as 500ms, 30s, 5m or 1h"))
    }

    pub(crate) fn list(&self) -> Result<Vec<Self>, ConfigError> {
        let Data::List(items) = &self.node.data else {
            return Err(self.wrong_kind("a list", "for example `[a, b]`"));
        };
        let item = |(index, node): (usize, &Node)| Self {
            file: Arc::clone(&self.file),
            path: format!("{}[{index}]", self.path),
            node: node.clone(),
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    pub(crate) fn fields(&self) -> Result<Fields, ConfigError> {
        let entries = match &self.node.data {
            Data::Object(entries) => entries.clone(),
            Data::Scalar(Value::Null) => Vec::new(),
            _ => return Err(self.wrong_kind("an object", "for example `{key: value}`")),
        };
        Ok(Fields {
            of: self.clone(),
            entries,
            known: Vec::new(),
        })
    }

    /// The entries of an object whose keys are free.
    pub(crate) fn entries(&self) -> Result<Vec<(String, Self)>, ConfigError> {
        let fields = self.fields()?;
        Ok(fields
            .entries
            .iter()
            .map(|(key, node)| (key.clone(), fields.child(key, node.clone())))
            .collect())
    }

    pub(crate) fn texts(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        self.entries()?
            .into_iter()
            .map(|(key, field)| Ok((key, field.text()?)))
            .collect()
    }
}

/// The entries of an object whose keys are known: each is taken, and what is left is refused.
#[derive(Debug)]
pub(crate) struct Fields {
    of: Field,
    entries: Vec<(String, Node)>,
    known: Vec<&'static str>,
}

impl Fields {
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Field> {
        self.known.push(key);
        let index = self.entries.iter().position(|(name, _)| name == key)?;
        let (_, node) = self.entries.remove(index);
        Some(self.child(key, node)).filter(|field| field.node.data != Data::Scalar(Value::Null))
    }

    pub(crate) fn required(&mut self, key: &'static str, example: &str) -> Result<Field, ConfigError> {
        self.take(key).ok_or_else(|| {
            self.of
                .error(format!("`{key}` is missing"), format!("add, for example, `{example}`"))
        })
    }

    /// Where the object itself stands.
    pub(crate) fn error(&self, reason: impl Into<String>, fix: impl Into<String>) -> ConfigError {
        self.of.error(reason, fix)
    }

    fn child(&self, key: &str, node: Node) -> Field {
        let path = if self.of.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.of.path)
        };
        Field {
            file: Arc::clone(&self.of.file),
            path,
            node,
        }
    }

    /// Every key must have been taken.
    pub(crate) fn finish(self) -> Result<(), ConfigError> {
        let Some((key, node)) = self.entries.first() else {
            return Ok(());
        };
        let unknown = self.child(key, node.clone());
        Err(unknown.error(format!("no key is called `{key}` here"), instead_of(key, &self.known)))
    }
}

/// What was probably meant, or all that is known.
pub(crate) fn instead_of(key: &str, known: &[&str]) -> String {
    match nearest(key, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the keys here are {}", known.join(", ")),
    }
}

/// The known word that was probably meant: at most every third character of it wrong.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |word: &str| word.replace(['_', '-'], "").to_lowercase();
    let word = plain(word);
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), *candidate))
        .filter(|(distance, _)| *distance <= (word.chars().count() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.trim().parse();
    match parsed.map(Duration::try_from) {
        Ok(Ok(duration)) if !duration.is_zero() => Ok(duration),
        Ok(Ok(_)) => Err(format!("{text:?} is no time at all")),
        Ok(Err(_)) => Err(format!("{text:?} is a negative time")),
        Err(_) => Err(format!("{text:?} is not a time")),
    }
}
