//! Standard output and standard error: for people or programs, with colours or without.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;
use unisono_model::api::Problem;

use super::pretty;
use crate::failure::Failure;

/// For whom the output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // Tables, for people.
    #[default]
    Table,
    // JSON, for programs.
    Json,
    // JSON, one value a line, for programs that read as they go.
    Jsonl,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    // On a terminal, unless `NO_COLOR` is set.
    Auto,
    // Always.
    Always,
    // Never.
    Never,
}

/// What a colour means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Done as it should be.
    Good,
    /// Failed.
    Bad,
    /// Something is being done.
    Busy,
    /// Waits for something.
    Waiting,
    /// Less important than what is around it.
    Quiet,
    /// More important than what is around it.
    Strong,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Busy => "36",
            Self::Waiting => "33",
            Self::Quiet => "2",
            Self::Strong => "1",
        }
    }
}

/// How to talk to whoever called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    format: Format,
    out_colour: bool,
    error_colour: bool,
    out_terminal: bool,
    error_terminal: bool,
}

impl Console {
    /// Looks where standard output and standard error go.
    pub(crate) fn new(format: Format, choice: ColorChoice) -> Self {
        let (out_terminal, error_terminal) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colour = |terminal: bool| match choice {
            ColorChoice::Auto => terminal && wanted,
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        Self {
            format,
            out_colour: colour(out_terminal),
            error_colour: colour(error_terminal),
            out_terminal,
            error_terminal,
        }
    }

    /// Whether the output is for programs.
    pub(crate) fn is_json(self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl)
    }

    /// Whether the output is one JSON value a line.
    pub(crate) fn is_lines(self) -> bool {
        self.format == Format::Jsonl
    }

    /// Whether progress can be drawn: a person looks at standard error.
    pub(crate) fn can_draw(self) -> bool {
        self.error_terminal && !self.is_json()
    }

    /// Whether standard output is a terminal.
    pub(crate) fn is_terminal(self) -> bool {
        self.out_terminal
    }

    /// Whether standard output takes colours.
    pub(crate) fn in_colour(self) -> bool {
        self.out_colour
    }

    /// Whether standard error takes colours.
    pub(crate) fn errors_in_colour(self) -> bool {
        self.error_colour
    }

    /// Whether standard error is a terminal.
    pub(crate) fn errors_on_terminal(self) -> bool {
        self.error_terminal
    }

    /// The text in a colour, for standard output.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        painted(self.out_colour, tone, text)
    }

    /// The text in a colour, for standard error.
    pub(crate) fn paint_error(self, tone: Tone, text: &str) -> String {
        painted(self.error_colour, tone, text)
    }

    /// Writes a line to standard output. A reader that went away, such as `head`, ends the process quietly.
    pub(crate) fn line(self, text: impl AsRef<str>) {
        let mut out = io::stdout().lock();
        let written = writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush());
        if let Err(error) = written {
            drop(out);
            leave(&error);
        }
    }

    /// Writes a line for people to standard output. Nothing when the output is for programs.
    pub(crate) fn tell(self, text: impl AsRef<str>) {
        if !self.is_json() {
            self.line(text);
        }
    }

    /// Writes a line for people to standard error. Nothing when the output is for programs.
    pub(crate) fn note(self, text: impl AsRef<str>) {
        if !self.is_json() {
            // Nobody can be told when standard error is gone.
            let _ = writeln!(io::stderr(), "{}", text.as_ref());
        }
    }

    /// Writes a value as JSON to standard output, with line breaks unless each value is to have one line.
    ///
    /// # Errors
    /// [`Failure::Work`] when the value has no form in JSON.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        if self.is_lines() {
            return self.json_line(value);
        }
        self.line(pretty(&serde_json::to_string(value).map_err(no_json)?));
        Ok(())
    }

    /// Writes values as a JSON array to standard output, or each on a line of its own.
    ///
    /// # Errors
    /// [`Failure::Work`] when a value has no form in JSON.
    pub(crate) fn json_values(self, values: &[impl Serialize]) -> Result<(), Failure> {
        if self.is_lines() {
            return values.iter().try_for_each(|value| self.json_line(value));
        }
        self.json(&values)
    }

    /// Writes a value as JSON on one line to standard output.
    ///
    /// # Errors
    /// [`Failure::Work`] when the value has no form in JSON.
    pub(crate) fn json_line(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(no_json)?;
        // What people gave as JSON is kept as they wrote it; a line break in it is white space.
        self.line(text.replace(['\n', '\r'], " "));
        Ok(())
    }

    /// Says on standard error why the command failed: as a problem object for programs, in words for people.
    pub(crate) fn failure(self, failure: &Failure) {
        let text = if self.is_lines() {
            serde_json::to_string(&failure.problem()).unwrap_or_default()
        } else if self.is_json() {
            serde_json::to_string_pretty(&failure.problem()).unwrap_or_default()
        } else {
            self.in_words(failure)
        };
        let _ = writeln!(io::stderr(), "{}", text.trim_end());
    }

    fn in_words(self, failure: &Failure) -> String {
        let error = self.paint_error(Tone::Bad, "error:");
        let with_help = |message: &str, help: Option<&String>| match help {
            Some(help) => format!("{error} {message}\n{} {help}", self.paint_error(Tone::Busy, "help:")),
            None => format!("{error} {message}"),
        };
        match failure {
            Failure::Work { message, help, .. } | Failure::Usage { message, help } => with_help(message, help.as_ref()),
            Failure::Unreachable { message } => with_help(message, None),
            Failure::Mistakes { report, .. } => report.clone(),
            Failure::Ended(code) => with_help(&format!("the command ended with exit code {code}"), None),
            Failure::Refused(problem) => with_help(&refusal(problem), problem.help.as_ref()),
        }
    }
}

/// What the server said, with every mistake when there are several: one alone stands in the detail.
fn refusal(problem: &Problem) -> String {
    let mut text = problem.detail.clone();
    if problem.mistakes.len() > 1 {
        for mistake in &problem.mistakes {
            text.push_str(&format!("\n  - {}: {}", mistake.path, mistake.message));
        }
    }
    text
}

fn painted(colour: bool, tone: Tone, text: &str) -> String {
    if colour {
        format!("\x1b[{}m{text}\x1b[0m", tone.code())
    } else {
        text.to_owned()
    }
}

fn no_json(error: serde_json::Error) -> Failure {
    Failure::work(format!("the answer cannot be written as JSON: {error}"))
}

fn leave(error: &io::Error) -> ! {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    let _ = writeln!(io::stderr(), "error: cannot write to standard output: {error}");
    std::process::exit(1);
}
