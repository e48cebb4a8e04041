//! A command that leads a process group of its own, and takes the whole group with it.
//!
//! When it has to go, the group gets SIGTERM, and SIGKILL when the leader is still there after a grace. When the leader
//! has ended, however it did, what is left of the group is killed: nothing is left behind but what has left the group. The
//! leader is reaped only after that, so that its id cannot belong to another group meanwhile.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// A command that leads a process group of its own. Dropped early, it takes the whole group with it.
#[derive(Debug)]
pub struct ProcessGroup {
    child: Child,
    leader: Option<Pid>,
    exited: Option<CancellationToken>,
}

impl ProcessGroup {
    /// Starts the command as the leader of a new group.
    ///
    /// # Errors
    /// When the system does not start it.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self {
            child,
            leader,
            exited: watch_exit(leader),
        })
    }

    /// The leader, with its pipes.
    pub fn leader(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The id of the leader, which is that of the group, until it is reaped.
    #[must_use]
    pub fn id(&self) -> Option<Pid> {
        self.leader
    }

    /// Resolves when the leader has ended, without reaping it.
    pub async fn ended(&mut self) {
        match &self.exited {
            Some(exited) => exited.cancelled().await,
            None => drop(self.child.wait().await),
        }
    }

    /// Ends the group: SIGTERM, and SIGKILL when the leader is still there after the grace.
    ///
    /// # Errors
    /// When the system has lost the leader.
    pub async fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        self.terminate();
        let _ = tokio::time::timeout(grace, self.ended()).await;
        self.reap().await
    }

    /// Kills what is left of the group, and says how the leader ended.
    ///
    /// # Errors
    /// When the system has lost the leader.
    pub async fn reap(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL);
        let status = self.child.wait().await?;
        self.leader = None;
        Ok(status)
    }

    /// Asks the group to leave: SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // It fails only when nobody is left in the group, which is what is wanted.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Waits for the end of a child in a thread of its own, and leaves the child to be reaped. A thread is small beside the
/// process that it waits for, and the system has no other way to wait without reaping that needs no unsafe code.
/// `None` when there can be no thread.
fn watch_exit(leader: Option<Pid>) -> Option<CancellationToken> {
    let leader = leader?;
    let exited = CancellationToken::new();
    let signal = exited.clone();
    let wait = move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(Errno::INTR) = waitid(WaitId::Pid(leader), options) {}
        signal.cancel();
    };
    let thread = std::thread::Builder::new()
        .name("exec-wait".to_owned())
        .stack_size(64 * 1024);
    thread.spawn(wait).ok().map(|_| exited)
}

/// How a process ended, for people.
#[must_use]
pub fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, number) => format!("was killed by {}", signal_name(number)),
    }
}

fn signal_name(number: Option<i32>) -> String {
    let Some(number) = number else {
        return "an unknown signal".to_owned();
    };
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        _ => return format!("signal {number}"),
    };
    format!("{name} (signal {number})")
}
