//! Reading definitions out of YAML and JSON sources, with the place of everything, and every mistake at once.
//!
//! A source becomes a tree of values with their spans (`json`, `yaml`), and each document of it a draft (`read`): the
//! definition as far as it could be read. Drafts go through [`mod@crate::validate`], which asks what they mean.

mod draft;
mod json;
mod node;
mod read;
mod yaml;

pub(crate) use draft::{Draft, DraftActivity, DraftActivityDefinition, DraftMapping, DraftOrchestration, DraftSchema};
pub(crate) use node::{Data, Node};

use std::borrow::Cow;

use crate::{
    Name,
    limits::MAX_DEFINITION_BYTES,
    problem::{Mistake, Span},
};

/// A text that holds definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What to call it in reports: a file's name. Decides the language when it ends in `.json`, `.yaml` or `.yml`.
    pub name: String,
    /// All of its text.
    pub text: String,
}

/// What was read from one [`Source`]: drafts of its definitions, with the place of each field, and the mistakes in how
/// they are written.
#[derive(Debug)]
pub struct Parsed {
    pub(crate) drafts: Vec<Draft>,
    mistakes: Vec<Mistake>,
    source: Source,
    /// Where each line starts, in bytes.
    lines: Vec<usize>,
}

/// A mistake before its line is looked up.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) code: &'static str,
    pub(crate) span: Span,
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) help: String,
    /// Activity types whose schemas have a part in it.
    pub(crate) types: Vec<Name>,
}

impl Finding {
    pub(crate) fn new(
        code: &'static str,
        (span, path): (Span, impl Into<String>),
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            code,
            span,
            path: path.into(),
            message: message.into(),
            help: help.into(),
            types: Vec::new(),
        }
    }
}

/// Reads every document of a source.
///
/// YAML documents are separated by `---`; a JSON source holds one document, several behind each other, or an array of
/// them. A source whose name does not tell its language is JSON if it reads as JSON, and otherwise YAML.
pub fn parse(source: &Source) -> Parsed {
    let mut parsed = Parsed::of(source);
    if source.text.len() > MAX_DEFINITION_BYTES {
        let message = format!(
            "the source has {} bytes, more than the {MAX_DEFINITION_BYTES} allowed",
            source.text.len()
        );
        let help = "apply the definitions from several smaller files";
        parsed.add(Finding::new("too-large", (Span::default(), ""), message, help));
        return parsed;
    }
    let mut findings = Vec::new();
    let nodes = nodes(source, &mut findings);
    let broken = !findings.is_empty();
    let documents: Vec<Node> = nodes.into_iter().flat_map(Node::into_documents).collect();
    if documents.is_empty() && !broken {
        let help = "write an orchestration definition or an activity definition";
        findings.push(Finding::new(
            "empty-source",
            (Span::default(), ""),
            "the source holds no definition",
            help,
        ));
    }
    parsed.drafts = documents
        .into_iter()
        .filter_map(|node| read::document(node, &mut findings))
        .collect();
    findings.into_iter().for_each(|finding| parsed.add(finding));
    parsed
}

/// The documents of a source, as far as they can be read.
pub(crate) fn nodes(source: &Source, findings: &mut Vec<Finding>) -> Vec<Node> {
    let name = source.name.to_ascii_lowercase();
    let says_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
    let looks_like_json = source
        .text
        .trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with(['{', '[']);
    if !name.ends_with(".json") && !looks_like_json {
        return yaml::parse(&source.text, findings);
    }
    let mut as_json = Vec::new();
    let nodes = json::parse(&source.text, &mut as_json);
    if as_json.is_empty() || name.ends_with(".json") {
        findings.append(&mut as_json);
        return nodes;
    }
    let mut as_yaml = Vec::new();
    let nodes = yaml::parse(&source.text, &mut as_yaml);
    let shown = if as_yaml.is_empty() || says_yaml {
        as_yaml
    } else {
        as_json
    };
    findings.extend(shown);
    nodes
}

/// Where each line starts.
pub(crate) fn lines(text: &str) -> Vec<usize> {
    std::iter::once(0)
        .chain(text.match_indices('\n').map(|(end, _)| end + 1))
        .collect()
}

impl Parsed {
    /// A source of which nothing has been read.
    pub(crate) fn of(source: &Source) -> Self {
        Self {
            drafts: Vec::new(),
            mistakes: Vec::new(),
            lines: lines(&source.text),
            source: source.clone(),
        }
    }

    /// The mistakes in how the source is written. What its definitions mean is judged by
    /// [`validate`](crate::validate::validate), which lists these as well.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    fn add(&mut self, finding: Finding) {
        let mistake = self.locate(finding);
        self.mistakes.push(mistake);
    }

    /// Says in which file and line a finding stands.
    pub(crate) fn locate(&self, finding: Finding) -> Mistake {
        let text = &self.source.text;
        let offset = boundary(text, finding.span.offset as usize);
        let line = self.lines.partition_point(|start| *start <= offset);
        let line_start = line
            .checked_sub(1)
            .and_then(|line| self.lines.get(line))
            .copied()
            .unwrap_or(0);
        // Only the first line is marked: a value of many lines would bury the mistake.
        let end = boundary(text, offset + finding.span.length as usize);
        let marked = text[offset..end].lines().next().unwrap_or_default().trim_end();
        Mistake {
            code: Cow::Borrowed(finding.code),
            file: self.source.name.clone(),
            line: number(line),
            column: number(text[line_start..offset].chars().count() + 1),
            path: finding.path,
            message: finding.message,
            help: finding.help,
            span: Span {
                offset: number(offset),
                length: number(marked.len()),
            },
        }
    }
}

/// The last place at or before `offset` that is not inside a character.
fn boundary(text: &str, offset: usize) -> usize {
    let within = offset.min(text.len());
    (0..=within).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Sizes are below [`MAX_DEFINITION_BYTES`], or not looked at.
pub(crate) fn number(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
