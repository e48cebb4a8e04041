//! Runs a command for each attempt.
//!
//! The command is started as it is configured, never through a shell, and nothing of the input ever becomes an
//! argument: it arrives on stdin, in environment variables, and nowhere else. `docs/guides/agents.md` has the contract
//! between agent and command.

mod child;
mod environment;
mod files;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::value::RawValue;
use unisono_model::limits::MAX_OUTPUT_BYTES;
use unisono_model::protocol::{ActivityError, Outcome};

use crate::config::{ConfigError, Field};
use crate::context::ActivityContext;
use crate::group::how;
use crate::processor::{ActivityFailure, ActivityProcessor, ActivityResult, Processed};
use child::{Ended, Output, Stopped};
use files::Files;

/// The exit code that asks for another attempt: `EX_TEMPFAIL` of sysexits.h.
const EXIT_RETRY: i32 = 75;
/// Bytes of a wrong output that the error shows.
const SHOWN_OUTPUT: usize = 120;

/// What to run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Where it runs. A program with a slash in its name is relative to `base`, not to this.
    pub directory: PathBuf,
    /// What relative programs are relative to: the directory of the configuration file.
    pub base: PathBuf,
    /// Environment variables besides the agent's own and those that tell about the attempt.
    pub environment: BTreeMap<String, String>,
    /// After this long the command is stopped, and the attempt is a retry with the code `timeout`.
    pub timeout: Option<Duration>,
}

impl ExecSpec {
    pub(crate) fn read(field: &Field) -> Result<Self, ConfigError> {
        let mut fields = field.fields()?;
        let command = fields.required("command", "command: [\"./run.sh\"]")?;
        let words = command.list()?.iter().map(Field::text).collect::<Result<Vec<_>, _>>()?;
        if words.first().is_none_or(String::is_empty) {
            return Err(command.error(
                "there is no command",
                "write the program and its arguments, `[./run.sh, --fast]`",
            ));
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(command.error("a command cannot have NUL characters", "remove them"));
        }
        let base = field.base();
        let directory = fields.take("directory").map(|directory| directory.text()).transpose()?;
        let directory = directory.map_or_else(|| base.clone(), |directory| base.join(directory));
        let environment = match fields.take("environment") {
            Some(environment) => variables(&environment)?,
            None => BTreeMap::new(),
        };
        let timeout = fields.take("timeout").map(|timeout| timeout.duration()).transpose()?;
        fields.finish()?;
        Ok(Self {
            command: words,
            directory,
            base,
            environment,
            timeout,
        })
    }

    /// The program: as it is written when it is a bare name, which is then looked for in `PATH`; else an absolute path.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        let program = self.command.first().map_or("", String::as_str);
        if program.contains('/') {
            self.base.join(program)
        } else {
            PathBuf::from(program)
        }
    }
}

fn variables(field: &Field) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut variables = BTreeMap::new();
    for (name, value) in field.entries()? {
        let text = value.text()?;
        if name.is_empty() || name.contains(['=', '\0']) || text.contains('\0') {
            let fix = "use a name without `=`, and no NUL characters";
            return Err(value.error("this is no environment variable", fix));
        }
        if name.starts_with("UNISONO_") {
            return Err(value.error(
                "names that begin with UNISONO_ are the agent's own",
                "choose another name",
            ));
        }
        variables.insert(name, text);
    }
    Ok(variables)
}

/// The processor that runs commands.
#[derive(Clone, Debug)]
pub struct ExecProcessor {
    spec: ExecSpec,
}

impl ExecProcessor {
    /// A processor for this command.
    #[must_use]
    pub fn new(spec: ExecSpec) -> Self {
        Self { spec }
    }
}

impl ActivityProcessor for ExecProcessor {
    async fn process(&self, context: &mut ActivityContext) -> Processed {
        let files = Files::create().map_err(|error| {
            ActivityFailure::retry("agent", format!("the agent cannot make a temporary directory: {error}"))
        })?;
        let output = child::run(&self.spec, context, &files).await?;
        if let Some(patch) = files.patch().await? {
            context.apply_patch(patch);
        }
        match output.ended {
            Ended::Stopped(stopped) => Err(self.stopped(stopped, &output)),
            Ended::Exited(status) => match status.code() {
                Some(0) => finished(&self.spec.program(), &output, files.result().await?, context),
                Some(EXIT_RETRY) => {
                    let message = self.say(&output, format_args!("asked to be run again (exit code {EXIT_RETRY})"));
                    Err(ActivityFailure::retry("exit-code", message))
                }
                Some(code) => {
                    let message = self.say(&output, format_args!("failed with exit code {code}"));
                    Err(ActivityFailure::fatal("exit-code", message))
                }
                None => {
                    let message = self.say(&output, format_args!("{}", how(status)));
                    Err(ActivityFailure::fatal("signal", message))
                }
            },
        }
    }
}

impl ExecProcessor {
    fn stopped(&self, stopped: Stopped, output: &Output) -> ActivityFailure {
        match stopped {
            Stopped::Cancelled => ActivityFailure::retry(
                "cancelled",
                self.say(output, format_args!("was stopped: the attempt is cancelled")),
            ),
            Stopped::TimedOut(limit) => {
                let message = self.say(output, format_args!("was stopped: it took longer than {limit:?}"));
                ActivityFailure::retry("timeout", message)
            }
            Stopped::OutputTooLarge => {
                let why = format_args!("was stopped: it wrote more than {MAX_OUTPUT_BYTES} bytes to stdout");
                ActivityFailure::fatal("output-too-large", self.say(output, why))
            }
        }
    }

    /// "`./did.sh` failed with exit code 3: the last lines of stderr".
    fn say(&self, output: &Output, what: std::fmt::Arguments<'_>) -> String {
        let command = self.spec.command.first().map_or("", String::as_str);
        match output.last_lines.trim() {
            "" => format!("`{command}` {what}; it wrote nothing to stderr"),
            lines => format!("`{command}` {what}: {lines}"),
        }
    }
}

/// The command exited with 0: its stdout is the output, unless it asked for another result.
fn finished(program: &Path, output: &Output, asked: Option<Outcome>, context: &mut ActivityContext) -> Processed {
    let stdout = output.stdout.trim_ascii();
    let result = match asked {
        None => ActivityResult::Complete,
        Some(Outcome::Complete { output: None }) => ActivityResult::Complete,
        Some(Outcome::Complete { output: Some(output) }) => {
            context.set_whole_output(&output)?;
            return Ok(ActivityResult::Complete);
        }
        Some(Outcome::Wait { timeout_ms }) => {
            return Ok(ActivityResult::Wait {
                timeout: timeout_ms.map(Duration::from_millis),
            });
        }
        Some(Outcome::Schedule { after_ms }) => {
            return Ok(ActivityResult::Schedule {
                after: Duration::from_millis(after_ms),
            });
        }
        Some(Outcome::Retry { error }) => return Ok(ActivityResult::Retry(error)),
        Some(Outcome::Fatal { error }) => return Ok(ActivityResult::Fatal(error)),
    };
    if !stdout.is_empty() {
        let value = object(stdout).ok_or_else(|| ActivityFailure {
            error: no_object(program, stdout),
            retry: false,
        })?;
        context.set_whole_output(&value)?;
    }
    Ok(result)
}

fn object(stdout: &[u8]) -> Option<Box<RawValue>> {
    let value: Box<RawValue> = serde_json::from_slice(stdout).ok()?;
    value.get().starts_with('{').then_some(value)
}

fn no_object(program: &Path, stdout: &[u8]) -> ActivityError {
    let shown = String::from_utf8_lossy(&stdout[..stdout.len().min(SHOWN_OUTPUT)]);
    let message = format!(
        "the stdout of `{}` must be empty or one JSON object, and it begins with {shown:?}; write messages for people \
         to stderr",
        program.display()
    );
    ActivityError::new("bad-output", message)
}
