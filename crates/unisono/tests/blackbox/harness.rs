//! Starts, kills and restarts servers and agents, and shows what they logged when a test fails.

mod agent;
mod api;
mod disk;
mod listener;
mod ports;
mod random;
mod server;
mod site;
mod wall;

pub(crate) use agent::{AgentProcess, AgentSetup};
pub(crate) use api::{
    activity, apply, eventually, finished, history, in_state, kinds, request, request_with, wait_for_activity,
};
pub(crate) use disk::SmallDisk;
pub(crate) use listener::{Listener, Received};
pub(crate) use ports::free as free_port;
pub(crate) use random::Random;
pub(crate) use server::{Server, ServerSetup, terminate};
pub(crate) use site::Site;
pub(crate) use wall::WallClock;

use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything takes on a busy machine, unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) fn program() -> Command {
    without_settings(Command::new(env!("CARGO_BIN_EXE_unisono")))
}

fn without_settings(mut command: Command) -> Command {
    // What the person who runs the tests has set must not reach the program.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("UNISONO_")) {
            command.env_remove(name);
        }
    }
    command
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Whether a process of this id lives (and is no zombie).
pub(crate) fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state stands behind the command's name, which stands in parentheses.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
