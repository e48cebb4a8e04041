//! `unisono apply`: definitions from files to the server, all of them or none.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use miette::{MietteHandlerOpts, ReportHandler};
use unisono_client::ClientError;
use unisono_model::Source;
use unisono_model::api::{AppliedDefinition, ApplyRequest, ApplyResponse, DefinitionChange, Problem, SourceText};

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{Console, Grid, Tone};

/// What to apply.
#[derive(Args, Clone, Debug)]
pub(crate) struct ApplyArgs {
    /// A file with definitions in YAML or JSON, a directory (its .yaml, .yml and .json files), or - for standard input
    /// (repeatable)
    #[arg(short, long = "file", value_name = "FILE|DIR|-", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// Only validate, and store nothing
    #[arg(long)]
    dry_run: bool,
}

/// Applies definitions.
///
/// # Errors
/// [`Failure::Mistakes`] with all of them, and nothing is stored then.
pub(crate) async fn run(args: ApplyArgs, global: &Global) -> Result<(), Failure> {
    let console = global.console();
    let client = global.client()?;
    let sources = read_all(&args.files)?;
    let request = ApplyRequest {
        sources,
        dry_run: args.dry_run,
    };
    let answer = match client.apply(&request).await {
        Ok(answer) => answer,
        Err(error) => return Err(with_report(error, &request.sources, console)),
    };
    show(&answer, args.dry_run, console)
}

fn show(answer: &ApplyResponse, dry_run: bool, console: Console) -> Result<(), Failure> {
    if console.is_json() {
        return console.json(answer);
    }
    let mut grid = Grid::new(console, &["KIND", "TYPE", "VERSION", "CHANGE"]);
    for AppliedDefinition {
        kind,
        r#type,
        version,
        change,
    } in &answer.applied
    {
        let (tone, change) = match change {
            DefinitionChange::Created => (Tone::Good, "created"),
            DefinitionChange::Updated => (Tone::Busy, "updated"),
            DefinitionChange::Unchanged => (Tone::Quiet, "unchanged"),
        };
        grid.row([
            kind.describe().into(),
            r#type.as_str().into(),
            version.to_string().into(),
            (tone, change.to_owned()).into(),
        ]);
    }
    console.line(grid.text());
    if dry_run {
        console.note("dry run: everything is valid, and nothing was stored");
    }
    Ok(())
}

/// Mistakes become a report with the text around each of them.
pub(crate) fn with_report(error: ClientError, sources: &[SourceText], console: Console) -> Failure {
    match error {
        ClientError::Problem(problem) if !problem.mistakes.is_empty() => {
            let report = report(&problem, sources, console);
            Failure::Mistakes { problem, report }
        }
        error => error.into(),
    }
}

fn report(problem: &Problem, sources: &[SourceText], console: Console) -> String {
    let sources: Vec<Source> = sources
        .iter()
        .map(|source| Source {
            name: source.name.clone(),
            text: source.text.clone(),
        })
        .collect();
    let mut text = String::new();
    for report in unisono_model::report(&problem.mistakes, &sources) {
        let shown = Shown {
            report,
            handler: handler(console),
        };
        text.push_str(&format!("{shown}\n"));
    }
    text.push_str("Nothing was stored.");
    text
}

/// Colours and lines for a terminal; plain characters, unbroken lines and nothing else for a file.
fn handler(console: Console) -> impl ReportHandler {
    let options = MietteHandlerOpts::new()
        .force_graphical(true)
        .terminal_links(false)
        .color(console.errors_in_colour())
        .unicode(console.errors_on_terminal());
    if console.errors_on_terminal() {
        options.build()
    } else {
        options.wrap_lines(false).build()
    }
}

struct Shown<H> {
    report: miette::Report,
    handler: H,
}

impl<H: ReportHandler> std::fmt::Display for Shown<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.handler.debug(self.report.as_ref(), f)
    }
}

fn read_all(files: &[PathBuf]) -> Result<Vec<SourceText>, Failure> {
    let mut sources = Vec::new();
    for file in files {
        if file.as_os_str() == "-" {
            sources.push(standard_input()?);
        } else if file.is_dir() {
            for file in definitions_in(file)? {
                sources.push(read(&file)?);
            }
        } else {
            sources.push(read(file)?);
        }
    }
    Ok(sources)
}

fn read(file: &Path) -> Result<SourceText, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| cannot_read(file, &error))?;
    Ok(SourceText {
        name: file.display().to_string(),
        text,
    })
}

fn cannot_read(file: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(
        format!("cannot read {}: {error}", file.display()),
        "give the path of a file or directory with definitions",
    )
}

fn standard_input() -> Result<SourceText, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| cannot_read(Path::new("-"), &error))?;
    Ok(SourceText {
        name: "standard input".to_owned(),
        text,
    })
}

/// The files of a directory that can hold definitions, by name; not those of directories in it.
fn definitions_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(directory).map_err(|error| cannot_read(directory, &error))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| cannot_read(directory, &error))?.path();
        let holds = path
            .extension()
            .and_then(|ending| ending.to_str())
            .is_some_and(|ending| matches!(ending, "yaml" | "yml" | "json"));
        if holds && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        let message = format!("the directory {} has no .yaml, .yml or .json file", directory.display());
        return Err(Failure::usage(
            message,
            "give a directory with definitions; those in it are not searched",
        ));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_directory_gives_its_own_definition_files_in_order() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.json", "c.yml", "readme.md"] {
            std::fs::write(directory.path().join(name), "{}").unwrap();
        }
        std::fs::create_dir(directory.path().join("d.yaml")).unwrap();
        let names: Vec<_> = definitions_in(directory.path())
            .unwrap()
            .iter()
            .map(|file| file.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["a.json", "b.yaml", "c.yml"]);
    }

    #[test]
    fn a_directory_without_definitions_is_wrong_usage() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(definitions_in(directory.path()), Err(Failure::Usage { .. })));
    }
}
