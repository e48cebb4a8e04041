//! What is wrong with a definition, where, and what would be right: for programs as data, for people as a report.

use std::borrow::Cow;

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, Severity, SourceCode, SourceSpan, SpanContents,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::document::{Source, lines};

/// A stretch of a source, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// Bytes before it.
    pub offset: u32,
    /// Its own bytes.
    pub length: u32,
}

/// One thing that is wrong with what was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mistake {
    /// The kind of mistake, in kebab-case, such as `unknown-dependency`. Stable.
    #[schema(value_type = String)]
    pub code: Cow<'static, str>,
    /// The source it stands in: a file's name, or what the caller called it.
    pub file: String,
    /// The line it starts in, from 1.
    pub line: u32,
    /// The character it starts at, from 1.
    pub column: u32,
    /// The field, such as `activities[1].dependsOn[0]`; empty for a whole document.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
    /// The text it is about.
    pub span: Span,
}

/// What a terminal shows: one report for each file that has mistakes, with the text of the file around each of them.
///
/// A mistake whose file is not among `sources` is reported without the text.
pub fn report(mistakes: &[Mistake], sources: &[Source]) -> Vec<miette::Report> {
    mistakes
        .chunk_by(|a, b| a.file == b.file)
        .map(|mistakes| {
            let file = &mistakes[0].file;
            let source = sources.iter().find(|source| source.name == *file);
            let text = source.map(|source| Text {
                name: file.clone(),
                lines: lines(&source.text),
                text: source.text.clone(),
            });
            let mistakes = mistakes.iter().cloned().map(Shown).collect();
            miette::Report::new(FileReport {
                file: file.clone(),
                text,
                mistakes,
            })
        })
        .collect()
}

#[derive(Debug, thiserror::Error)]
#[error("{file} has {}", count(mistakes.len()))]
struct FileReport {
    file: String,
    text: Option<Text>,
    mistakes: Vec<Shown>,
}

fn count(mistakes: usize) -> String {
    if mistakes == 1 {
        "a mistake".to_owned()
    } else {
        format!("{mistakes} mistakes")
    }
}

impl Diagnostic for FileReport {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.text.as_ref().map(|text| text as &dyn SourceCode)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.mistakes.iter().map(|mistake| mistake as &dyn Diagnostic)))
    }
}

/// A source that knows where its lines start: a report of many mistakes in a large file looks each of them up.
#[derive(Debug)]
struct Text {
    name: String,
    text: String,
    lines: Vec<usize>,
}

impl Text {
    /// The number of the line, from 0, that this place is in.
    fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    fn start(&self, line: usize) -> usize {
        self.lines.get(line).copied().unwrap_or(self.text.len())
    }
}

impl SourceCode for Text {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let end = span.offset() + span.len();
        let (first, last) = (self.line(span.offset()), self.line(end));
        let from = if before == 0 {
            span.offset()
        } else {
            self.start(first.saturating_sub(before))
        };
        let to = if after == 0 { end } else { self.start(last + after + 1) };
        let shown = self.text.get(from..to).ok_or(MietteError::OutOfBounds)?;
        let line = self.line(from);
        let column = self.text[self.start(line)..from].chars().count();
        let place = SourceSpan::new(from.into(), to - from);
        let contents = MietteSpanContents::new_named(
            self.name.clone(),
            shown.as_bytes(),
            place,
            line,
            column,
            self.lines.len(),
        );
        Ok(Box::new(contents))
    }
}

/// A mistake inside its file's report, which brings the text.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
struct Shown(Mistake);

impl Diagnostic for Shown {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(&self.0.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(&self.0.help))
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Span { offset, length } = self.0.span;
        let label = if self.0.path.is_empty() {
            "here".to_owned()
        } else {
            self.0.path.clone()
        };
        let span = SourceSpan::new((offset as usize).into(), length as usize);
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(Some(label), span))))
    }
}
