//! One run of the command: its pipes, and its end. No attempt leaves processes of the command's group behind.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, Command};
use tokio_util::sync::CancellationToken;
use unisono_model::limits::MAX_OUTPUT_BYTES;

use super::ExecSpec;
use super::environment;
use super::files::Files;
use crate::attempt::AttemptHandle;
use crate::context::ActivityContext;
use crate::group::ProcessGroup;
use crate::processor::ActivityFailure;

/// How long the command may clean up after SIGTERM.
const TERM_GRACE: Duration = Duration::from_secs(5);
/// How long the pipes are read after the whole group is gone: a process that left the group may hold them open.
const PIPE_GRACE: Duration = Duration::from_secs(1);
/// Bytes of stderr that an error's message shows.
const LAST_BYTES: usize = 2048;
/// Bytes of a line of stderr that are waited for before the line is sent in pieces.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// What is left of a command.
pub(super) struct Output {
    pub(super) ended: Ended,
    pub(super) stdout: Vec<u8>,
    /// The end of stderr.
    pub(super) last_lines: String,
}

/// How a command ended.
pub(super) enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// Because it had to.
    Stopped(Stopped),
}

/// Why a command had to end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stopped {
    Cancelled,
    TimedOut(Duration),
    OutputTooLarge,
}

/// Runs the command to its end.
pub(super) async fn run(spec: &ExecSpec, context: &ActivityContext, files: &Files) -> Result<Output, ActivityFailure> {
    let mut group = start(spec, context, files).map_err(|error| not_started(spec, &error))?;
    let child = group.leader();
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let attempt = context.handle();
    let overflow = CancellationToken::new();
    let (mut out, mut log) = (Vec::new(), Log::new(attempt.clone()));
    let ended = {
        let io = async {
            tokio::join!(
                write_input(stdin, context.raw_input().get()),
                read_output(stdout, &mut out, &overflow),
                log.read(stderr)
            );
        };
        let watch = watch(&mut group, &attempt, spec.timeout, &overflow);
        tokio::pin!(io, watch);
        let mut io_done = false;
        let ended = loop {
            tokio::select! {
                ended = &mut watch => break ended,
                () = &mut io, if !io_done => io_done = true,
            }
        };
        if !io_done {
            let _ = tokio::time::timeout(PIPE_GRACE, io).await;
        }
        ended
    };
    let ended =
        ended.map_err(|error| ActivityFailure::retry("agent", format!("the agent lost the command: {error}")))?;
    log.finish();
    // Also when the command ended by itself, perhaps because nobody read its stdout any more.
    let ended = if out.len() > MAX_OUTPUT_BYTES {
        Ended::Stopped(Stopped::OutputTooLarge)
    } else {
        ended
    };
    Ok(Output {
        ended,
        stdout: out,
        last_lines: log.last_lines(),
    })
}

fn start(spec: &ExecSpec, context: &ActivityContext, files: &Files) -> io::Result<ProcessGroup> {
    let mut command = Command::new(spec.program());
    command
        .args(spec.command.iter().skip(1))
        .current_dir(&spec.directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    environment::set(&mut command, context, files);
    command.envs(&spec.environment);
    ProcessGroup::spawn(&mut command)
}

/// A command that is not there will not be there next time; a machine out of processes may recover.
fn not_started(spec: &ExecSpec, error: &io::Error) -> ActivityFailure {
    let (program, directory) = (spec.program(), spec.directory.display());
    let program = program.display();
    match error.kind() {
        io::ErrorKind::NotFound if !spec.directory.is_dir() => ActivityFailure::fatal(
            "command-not-found",
            format!(
                "cannot run `{program}`: its directory {directory} does not exist; create it, or correct `directory`"
            ),
        ),
        io::ErrorKind::NotFound => ActivityFailure::fatal(
            "command-not-found",
            format!(
                "cannot run `{program}` in {directory}: there is no such program, or its interpreter is missing; \
                     install it on the agent's machine, or correct `command`"
            ),
        ),
        io::ErrorKind::PermissionDenied => ActivityFailure::fatal(
            "command-not-executable",
            format!(
                "cannot run `{program}` in {directory}: permission denied; make it executable (chmod +x) for the agent's user"
            ),
        ),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename | io::ErrorKind::NotADirectory => {
            ActivityFailure::fatal(
                "command-not-found",
                format!("cannot run `{program}` in {directory}: {error}"),
            )
        }
        _ => ActivityFailure::retry(
            "command-not-started",
            format!("cannot run `{program}` in {directory}: {error}"),
        ),
    }
}

/// Watches until the leader has ended, stopping the group when it has to; then kills what is left, and reaps the leader.
async fn watch(
    group: &mut ProcessGroup,
    attempt: &AttemptHandle,
    limit: Option<Duration>,
    overflow: &CancellationToken,
) -> io::Result<Ended> {
    let timed_out = async {
        match limit {
            Some(limit) => {
                tokio::time::sleep(limit).await;
                limit
            }
            None => std::future::pending().await,
        }
    };
    let stopped = tokio::select! {
        // A command that ended is not stopped, even if a reason to stop it came at the same moment.
        biased;
        () = group.ended() => None,
        () = attempt.cancelled() => Some(Stopped::Cancelled),
        limit = timed_out => Some(Stopped::TimedOut(limit)),
        () = overflow.cancelled() => Some(Stopped::OutputTooLarge),
    };
    match stopped {
        None => group.reap().await.map(Ended::Exited),
        Some(stopped) => group.stop(TERM_GRACE).await.map(|_| Ended::Stopped(stopped)),
    }
}

/// A command that does not read its input is free not to.
async fn write_input(stdin: Option<ChildStdin>, input: &str) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(input.as_bytes()).await;
        let _ = stdin.shutdown().await;
    }
}

async fn read_output(stdout: Option<impl AsyncRead + Unpin>, out: &mut Vec<u8>, overflow: &CancellationToken) {
    let Some(stdout) = stdout else { return };
    let mut stdout = stdout.take(MAX_OUTPUT_BYTES as u64 + 1);
    let _ = stdout.read_to_end(out).await;
    if out.len() > MAX_OUTPUT_BYTES {
        overflow.cancel();
    }
}

/// The attempt's log, as it comes from stderr.
struct Log {
    attempt: AttemptHandle,
    /// The line that has not ended.
    line: Vec<u8>,
    last: Vec<u8>,
}

impl Log {
    fn new(attempt: AttemptHandle) -> Self {
        Self {
            attempt,
            line: Vec::new(),
            last: Vec::new(),
        }
    }

    async fn read(&mut self, stderr: Option<impl AsyncRead + Unpin>) {
        let Some(mut stderr) = stderr else { return };
        let mut buffer = vec![0; 8192];
        while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
            self.take(&buffer[..length]);
        }
    }

    /// Sends all lines that are whole, together.
    fn take(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
        let surplus = self.last.len().saturating_sub(LAST_BYTES);
        self.last.drain(..surplus);
        self.line.extend_from_slice(bytes);
        let whole = match self.line.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => end + 1,
            None if self.line.len() > MAX_LINE_BYTES => self.line.len(),
            None => return,
        };
        let lines: Vec<u8> = self.line.drain(..whole).collect();
        self.attempt.log(String::from_utf8_lossy(&lines));
    }

    /// Sends a last line without a line break.
    fn finish(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.attempt.log(String::from_utf8_lossy(&line));
    }

    /// The end of stderr, from the beginning of a line when there is one.
    fn last_lines(&self) -> String {
        let text = String::from_utf8_lossy(&self.last);
        match text.split_once('\n') {
            Some((_, lines)) if self.last.len() == LAST_BYTES => lines.trim_end().to_owned(),
            _ => text.trim_end().to_owned(),
        }
    }
}
