//! An agent in a process of its own, that does not outlive this one.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};

use crate::failure::Failure;

/// A child process that runs `unisono agent`.
///
/// Its standard input is a pipe that nothing is written to: when it ends, the agent drains and leaves. It ends when this
/// process drops it, and when this process dies, however that comes about.
pub(crate) struct AgentProcess {
    child: Child,
    lifeline: Option<ChildStdin>,
}

impl AgentProcess {
    /// Starts this very program as `unisono agent` with these arguments and additional environment variables.
    /// Its standard output is dropped; `log` takes its standard error.
    ///
    /// # Errors
    /// [`Failure::Work`] when the process cannot be started.
    pub(crate) fn spawn<A: Into<OsString>>(
        arguments: impl IntoIterator<Item = A>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        log: Stdio,
    ) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| Failure::work(format!("cannot start the agent's process: {error}"));
        let program = std::env::current_exe().map_err(cannot)?;
        let mut child = Command::new(program)
            .args(["agent", "--until-stdin-ends"])
            .args(arguments.into_iter().map(Into::into))
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        let lifeline = child.stdin.take();
        Ok(Self { child, lifeline })
    }

    /// The process's id, while it lives.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it has ended by itself, and says how.
    pub(crate) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => how(status),
            Err(error) => format!("cannot be waited for: {error}"),
        }
    }

    /// Lets it finish what it runs for at most this long, and then ends it.
    pub(crate) async fn stop(mut self, limit: Duration) {
        drop(self.lifeline.take());
        if tokio::time::timeout(limit, self.child.wait()).await.is_err() {
            tracing::warn!("the agent did not leave within {limit:?}; it is killed");
            // It may have ended meanwhile.
            let _ = self.child.kill().await;
        }
    }
}

fn how(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with the exit code {code}"),
        None => format!("was ended by a signal ({status})"),
    }
}
