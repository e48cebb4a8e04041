//! Whether the command of a host is well: another command says so.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use unisono_agent::{ProcessGroup, how};

/// How the health of the command is asked for.
#[derive(Clone, Debug)]
pub(super) struct Health {
    /// What `sh` runs; it exits with 0 when all is well.
    pub(super) script: String,
    /// From one question to the next, and before the first one.
    pub(super) every: Duration,
    /// How long an answer may take.
    pub(super) timeout: Duration,
    /// How many bad answers in a row are too many.
    pub(super) failures: u32,
}

impl Health {
    /// Asks until there were too many bad answers in a row, and gives the last one.
    pub(super) async fn fails(&self, environment: Vec<(String, String)>) -> String {
        let mut failures = 0;
        loop {
            tokio::time::sleep(self.every).await;
            match self.ask(&environment).await {
                Ok(()) => failures = 0,
                Err(why) => {
                    failures += 1;
                    tracing::warn!("the health check {why} ({failures} of {})", self.failures);
                    if failures >= self.failures {
                        return format!("is not healthy: the check {why}, {failures} times in a row");
                    }
                }
            }
        }
    }

    async fn ask(&self, environment: &[(String, String)]) -> Result<(), String> {
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.script])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let mut group = ProcessGroup::spawn(&mut command).map_err(|error| format!("was not started: {error}"))?;
        if tokio::time::timeout(self.timeout, group.ended()).await.is_err() {
            return Err(format!("took longer than {:?}", self.timeout));
        }
        match group.reap().await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(how(status)),
            Err(error) => Err(format!("was lost: {error}")),
        }
    }
}
