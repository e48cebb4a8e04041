//! `unisono keep`: a process between a host and its command, so that the command ends in time whatever becomes of the host.
//!
//! The host says over a socket, which is the keeper's standard input, until when the command may live, and again with each
//! renewal of the lease. The keeper kills the command at that moment, on the same clock as the host's own killer. So a host
//! that is stopped, hangs or is killed leaves nothing running past its lease. A keeper that is stopped or killed leaves
//! nothing either: the host kills the command as well, and the system kills it when the keeper dies.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as Socket;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process_group, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Command;
use tokio::time::Instant;
use unisono_agent::{ProcessGroup, how};
use unisono_host::{Deed, EndProcess, Killer, Moment, SystemClock};

use crate::failure::Failure;

/// This program, also when its file has been replaced by a newer one.
pub(crate) const PROGRAM: &str = "/proc/self/exe";
/// How long the command may take to leave when its host is gone, unless its lease ends earlier.
const HOST_GONE: Duration = Duration::from_secs(10);

/// What a host says, one JSON text a line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum ToKeeper {
    /// The command may live until this moment, in nanoseconds since the machine was started.
    LiveUntil(u64),
    /// The command is to end: SIGTERM now, SIGKILL after so many milliseconds.
    Stop(u64),
}

/// What a keeper says, one JSON text a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum FromKeeper {
    /// The command runs, as this process.
    Started(i32),
    /// The command has ended, and so has its process group: how it ended, as in "ended with exit code 1".
    Ended(String),
}

/// The command to keep, in a process that a host has started.
#[derive(Args, Clone, Debug)]
pub(crate) struct KeepArgs {
    /// Become the command, as the child of this process
    #[arg(long, value_name = "PID")]
    leashed_to: Option<i32>,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Keeps the command until it has ended, or becomes it.
///
/// # Errors
/// [`Failure::Work`] when it cannot.
pub(crate) async fn run(args: KeepArgs) -> Result<(), Failure> {
    let ended = match args.leashed_to {
        Some(keeper) => Err(become_command(keeper, &args.command)),
        None => keep(&args.command).await,
    };
    ended.map_err(|error| Failure::work(format!("cannot run `{}`: {error}", args.command[0])))
}

/// The system kills this process when its parent dies, also after it has become another program. Returns only when it has
/// not.
fn become_command(keeper: i32, command: &[String]) -> io::Error {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // It may have died before the system was told.
    if getppid() != Pid::from_raw(keeper) {
        return io::Error::other("its keeper has died");
    }
    std::process::Command::new(&command[0]).args(&command[1..]).exec()
}

async fn keep(command: &[String]) -> io::Result<()> {
    let (mut said, mut host) = host()?;
    let pid = Arc::new(OnceLock::new());
    let deed = Arc::new(KillGroup(Arc::clone(&pid)));
    let why = format!("killed `{}`: the lease of its host has ended", command[0]);
    let killer = Killer::new(&SystemClock, deed, why)?;
    // Before the command starts there must be an end to it.
    match hear(&mut said).await? {
        Some(ToKeeper::LiveUntil(nanos)) => killer.arm(moment(nanos)),
        _ => return Err(io::Error::other("this is for `unisono host` to run")),
    }
    let mut group = ProcessGroup::spawn(&mut leashed(command))?;
    if let Some(leader) = group.id() {
        let _ = pid.set(leader);
        tell(&mut host, &FromKeeper::Started(leader.as_raw_nonzero().get())).await;
    }
    obey(&mut said, &mut group, &killer).await;
    let status = group.reap().await?;
    killer.disarm();
    tell(&mut host, &FromKeeper::Ended(how(status))).await;
    Ok(())
}

/// Does as the host says until the command has ended, or has to.
async fn obey(said: &mut Said, group: &mut ProcessGroup, killer: &Killer) {
    let mut kill_at = None::<Instant>;
    let mut host_lives = true;
    loop {
        let due = async {
            match kill_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = group.ended() => return,
            () = due => return,
            heard = hear(said), if host_lives => match heard {
                Ok(Some(ToKeeper::LiveUntil(nanos))) => killer.arm(moment(nanos)),
                Ok(Some(ToKeeper::Stop(grace_ms))) => {
                    group.terminate();
                    kill_at = Some(Instant::now() + Duration::from_millis(grace_ms));
                }
                Ok(None) | Err(_) => {
                    host_lives = false;
                    group.terminate();
                    kill_at = Some(Instant::now() + HOST_GONE);
                }
            },
        }
    }
}

type Said = Lines<BufReader<OwnedReadHalf>>;

/// The socket that the host has left as standard input.
fn host() -> io::Result<(Said, OwnedWriteHalf)> {
    let socket = Socket::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    let (read, write) = UnixStream::from_std(socket)?.into_split();
    Ok((BufReader::new(read).lines(), write))
}

async fn hear(said: &mut Said) -> io::Result<Option<ToKeeper>> {
    let line = said.next_line().await?;
    Ok(line.map(|line| serde_json::from_str(&line)).transpose()?)
}

/// A host that is gone need not be told.
async fn tell(host: &mut OwnedWriteHalf, what: &FromKeeper) {
    if let Ok(line) = serde_json::to_string(what) {
        let _ = host.write_all(format!("{line}\n").as_bytes()).await;
    }
}

fn moment(nanos: u64) -> Moment {
    Moment::after_start(Duration::from_nanos(nanos))
}

/// This program, about to become the command. The thread that starts it must last as long as the process, since the system
/// goes by its death; here that is the main thread.
fn leashed(command: &[String]) -> Command {
    let mut leashed = Command::new(PROGRAM);
    let keeper = getpid().as_raw_nonzero().to_string();
    leashed
        .args(["keep", "--leashed-to", &keeper, "--"])
        .args(command)
        .stdin(Stdio::null());
    leashed
}

/// Kills the command with its group, and the keeper.
struct KillGroup(Arc<OnceLock<Pid>>);

impl Deed for KillGroup {
    fn kill(&self, why: &str) {
        if let Some(leader) = self.0.get() {
            let _ = kill_process_group(*leader, Signal::KILL);
        }
        EndProcess.kill(why);
    }
}
