//! Hosts as processes: commands that run where they lead, and die in time.

mod losing;
mod running;

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use unisono_client::Client;
use unisono_model::hosts::{HostState, HostView};

use crate::harness::{PATIENCE, Server, eventually, lives};

/// Its command writes who it is, and then a line under its token every 20 ms.
const BEATS: &str = r#"echo "$UNISONO_HOST_TOKEN $UNISONO_HOST_SLOT $$" >> begun
while :; do echo "$UNISONO_HOST_TOKEN" >> beats; sleep 0.02; done"#;

/// A host of the service `pump`, on the server's machine.
struct HostProcess {
    child: Child,
}

impl HostProcess {
    fn start(server: &Server, name: &str, options: &[&str], script: &str) -> Self {
        Self::of(server, name, command(server, options, &["sh", "-c", script]))
    }

    fn of(server: &Server, name: &str, mut command: Command) -> Self {
        let log = || server.site().log(name);
        let child = command.stdout(log()).stderr(log()).spawn().unwrap();
        Self { child }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, with: Signal) {
        signal(self.pid(), with);
    }

    fn ended(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "the host has not ended");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn leave(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(server: &Server, options: &[&str], program: &[&str]) -> Command {
    let mut command = server.program();
    command
        .args(["host", "pump", "--server", &server.url()])
        .args(options)
        .arg("--")
        .args(program)
        .current_dir(server.site().path(""))
        .stdin(Stdio::null());
    command
}

fn signal(pid: u32, with: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, with).unwrap();
}

/// The parent of a process.
fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The host with this process, once it is like that.
async fn like(client: &Client, pid: u32, what: &str, is: impl Fn(&HostView) -> bool) -> HostView {
    eventually(what, || async {
        let hosts = client.hosts(Some("pump")).await.unwrap_or_default();
        hosts.into_iter().find(|host| host.pid == pid && is(host))
    })
    .await
}

async fn running(client: &Client, host: &HostProcess) -> HostView {
    like(client, host.pid(), "the host runs its command", |host| {
        host.state == HostState::Running
    })
    .await
}

async fn candidate(client: &Client, host: &HostProcess) -> HostView {
    like(client, host.pid(), "the host is a candidate", |host| {
        // At first it has not looked yet.
        host.state == HostState::Candidate && !host.reason.is_empty()
    })
    .await
}

/// Waits until a process is gone, and gives how long that took.
async fn gone(pid: u32) -> Duration {
    let begin = Instant::now();
    eventually("the process is gone", || async { (!lives(pid)).then_some(()) }).await;
    begin.elapsed()
}

/// The tokens in the order in which commands wrote them.
fn beats(server: &Server) -> Vec<u64> {
    let lines = server.site().lines("beats");
    lines.iter().map(|line| line.parse().unwrap()).collect()
}

/// No command wrote after one with a newer token had.
fn one_after_the_other(server: &Server) {
    let beats = beats(server);
    assert!(beats.is_sorted(), "two ran at the same time: {beats:?}");
}

fn folder(server: &Server) -> PathBuf {
    server.site().path("")
}
