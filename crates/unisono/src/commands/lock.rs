//! `unisono lock NAME -- COMMAND`: runs a command under a lock.
//!
//! The lock is held through a lease that is renewed while the command runs. When the lock is lost, the command's process
//! group is asked to end, and killed before the lease could have gone to somebody else.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use unisono_client::{Client, ClientError, KeptLease, LeaseLost};
use unisono_model::ids::Revision;
use unisono_model::leases::{AcquireRequest, GrantView, HolderView, LeaseRequest, LockFamily, LockMode};
use unisono_model::limits::{MAX_LEASE_MS, MAX_PERMITS};
use unisono_model::name::Name;

use crate::cli::{Global, duration, millis};
use crate::failure::Failure;
use crate::signals::Signals;

/// The shortest lease with which a command can be ended in good order.
const SHORTEST_TTL: Duration = Duration::from_secs(1);
/// A lock that is watched in vain for so long is watched anew.
const WATCH_AGAIN: Duration = Duration::from_secs(1);
/// How often it is looked who is left of a command that has to end.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// For how long giving back what is held is tried.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// The lock, and what to run under it.
#[derive(Args, Clone, Debug)]
pub(crate) struct LockArgs {
    /// The lock's name
    name: String,
    /// Hold it together with other readers, and no writer
    #[arg(long, conflicts_with = "permits")]
    shared: bool,
    /// Take one of N permits: a semaphore. All who use it say the same N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PERMITS)))]
    permits: Option<u32>,
    #[command(flatten)]
    under: UnderArgs,
}

/// A command, and how it is run as long as this process holds something.
#[derive(Args, Clone, Debug)]
pub(super) struct UnderArgs {
    /// Wait for it for up to this long [default: only try]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) wait: Option<Duration>,
    /// After this long without a word from here it goes to who is next
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    ttl: Duration,
    /// When it is lost, the command has this long to end by itself [default: a quarter of --ttl]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    grace: Option<Duration>,
    /// Who runs it, so that cycles of waiting are found
    #[arg(long, value_name = "NAME")]
    party: Option<Name>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command under the lock, and passes its exit code on.
///
/// # Errors
/// [`Failure::Refused`] when the lock is held by somebody else; [`Failure::Ended`] with the command's exit code, unless it
/// is 0; [`Failure::Work`] when the lock was lost.
pub(crate) async fn run(args: LockArgs, global: &Global) -> Result<(), Failure> {
    let mode = match (args.shared, args.permits) {
        (true, _) => LockMode::Shared,
        (false, Some(_)) => LockMode::Permit,
        (false, None) => LockMode::Exclusive,
    };
    let wait_ms = args.under.wait.map(millis);
    let acquire = async |client: &Client, lease| {
        let request = AcquireRequest {
            lease,
            mode,
            permits: args.permits,
            wait_ms,
        };
        client.acquire_lock(&args.name, &request).await
    };
    args.under.run(global, (LockFamily::Lock, &args.name), acquire).await
}

/// What is held, and by which lease.
struct Held<'a> {
    family: LockFamily,
    name: &'a str,
    client: &'a Client,
    lease: &'a KeptLease,
    grant: &'a GrantView,
}

impl UnderArgs {
    /// Asks for the grant with a lease of its own, and runs the command under it.
    pub(super) async fn run(
        &self,
        global: &Global,
        (family, name): (LockFamily, &str),
        ask: impl AsyncFnOnce(&Client, Revision) -> Result<GrantView, ClientError>,
    ) -> Result<(), Failure> {
        let grace = self.grace.unwrap_or(self.ttl / 4);
        check(self.ttl, grace)?;
        let mut signals = Signals::catch()?;
        let client = global.client()?;
        let request = LeaseRequest {
            holder: incarnation(),
            ttl_ms: millis(self.ttl),
            party: self.party.clone(),
        };
        let lease = client.keep_lease(&request).await?;
        let granted = tokio::select! {
            granted = ask(&client, lease.id()) => granted.map_err(Failure::from),
            signal = signals.next() => Err(Failure::Ended(128 + number(signal))),
            lost = lease.lost() => Err(Failure::work(format!("the place in the queue is lost: {lost}"))),
        };
        let ended = match &granted {
            Ok(grant) => {
                let (client, lease) = (&client, &lease);
                let held = Held {
                    family,
                    name,
                    client,
                    lease,
                    grant,
                };
                supervise(&self.command, global, &held, (grace, &mut signals)).await
            }
            Err(_) => granted.map(drop),
        };
        give_back(&client, lease, self.ttl).await;
        ended
    }
}

/// Whoever is next has it at once. If that does not get through, the lease ends by itself.
async fn give_back(client: &Client, lease: KeptLease, ttl: Duration) {
    let id = lease.id();
    let begin = Instant::now();
    let mut failed = lease.end().await.err();
    while let Some(error) = failed.take_if(|error| error.code() != Some("lease-not-found")) {
        if begin.elapsed() >= GIVE_BACK {
            tracing::warn!("what was held could not be given back: {error}; others have it within {ttl:?}");
            return;
        }
        tokio::time::sleep(GIVE_BACK / 20).await;
        failed = client.revoke_lease(id).await.err();
    }
}

fn check(ttl: Duration, grace: Duration) -> Result<(), Failure> {
    if ttl < SHORTEST_TTL || millis(ttl) > MAX_LEASE_MS {
        return Err(Failure::usage(
            format!("--ttl is {ttl:?}"),
            "give 1s to 24h: shorter ones are lost by any hiccup",
        ));
    }
    // Renewed every third: what is left then must hold the grace.
    if grace > ttl / 2 {
        return Err(Failure::usage(
            format!("--grace is {grace:?}, and --ttl {ttl:?}"),
            "give a grace of half the lease at most: the command must have ended before the lease has",
        ));
    }
    Ok(())
}

/// A name that no process ever had.
fn incarnation() -> Name {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let unique = uuid::Uuid::now_v7();
    let host: String = host.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    let named = Name::parse(&format!("{host}.{}.{unique}", std::process::id()));
    named.unwrap_or_else(|error| unreachable!("made of letters that names have: {error}"))
}

/// Runs the command until it ends, or until what is held is lost.
async fn supervise(
    command: &[String],
    global: &Global,
    held: &Held<'_>,
    (grace, signals): (Duration, &mut Signals),
) -> Result<(), Failure> {
    let mut child = spawn(command, global, held)?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut lost = std::pin::pin!(held.lost(grace));
    let why = loop {
        tokio::select! {
            status = child.wait() => return passed_on(status),
            signal = signals.next() => send(group, signal_of(signal)),
            why = &mut lost => break why,
        }
    };
    // First of all: nothing that this process has to say may keep the command alive.
    send(group, Signal::TERM);
    let until = match held.lease.remaining() {
        // It was taken: the lease is still there, and what it held is not.
        remaining if remaining > grace => grace,
        remaining => remaining,
    };
    let kill = std::thread::spawn(move || end_of(group, until));
    let family = held.family.as_str();
    tracing::warn!("the {family} is lost, so the command is ended: {why}");
    // It cannot refuse.
    let _ = child.wait().await;
    let _ = tokio::task::spawn_blocking(|| kill.join()).await;
    Err(Failure::work(format!(
        "{family} \"{}\" was lost while the command ran: {why}",
        held.name
    )))
}

fn spawn(command: &[String], global: &Global, held: &Held<'_>) -> Result<Child, Failure> {
    let (program, arguments) = command
        .split_first()
        .unwrap_or_else(|| unreachable!("clap requires it"));
    let prefix = format!("UNISONO_{}", held.family.as_str().to_ascii_uppercase());
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env(&prefix, held.name)
        .env(format!("{prefix}_TOKEN"), held.grant.token.to_string())
        .env(format!("{prefix}_LEASE"), held.grant.lease.to_string())
        .env("UNISONO_SERVER", global.server_url())
        .env("UNISONO_NAMESPACE", global.namespace_name())
        .stdin(Stdio::inherit())
        .process_group(0)
        .kill_on_drop(true);
    let child = command.spawn().map_err(|error| Failure::Work {
        code: "command-not-started",
        message: format!("cannot start {program}: {error}"),
        help: Some("give a command that is there, behind --".to_owned()),
    })?;
    give_terminal_to(&child);
    Ok(child)
}

/// A command that reads from the terminal must be in the foreground there. The shell takes the terminal back.
fn give_terminal_to(child: &Child) {
    let stdin = std::io::stdin();
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group
        && rustix::termios::isatty(&stdin)
        && rustix::termios::tcsetpgrp(&stdin, group).is_ok()
    {
        // It may have tried to read before.
        send(Some(group), Signal::CONT);
    }
}

fn send(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // It may have ended meanwhile.
        let _ = kill_process_group(group, signal);
    }
}

/// Waits until nobody is left in the group, and kills who is when the time is over.
fn end_of(group: Option<Pid>, within: Duration) {
    let Some(group) = group else { return };
    let begin = Instant::now();
    while begin.elapsed() < within {
        if test_kill_process_group(group).is_err() {
            return;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    send(Some(group), Signal::KILL);
}

fn number(signal: &str) -> u8 {
    u8::try_from(signal_of(signal).as_raw()).unwrap_or(15)
}

fn signal_of(signal: &str) -> Signal {
    match signal {
        "SIGINT" => Signal::INT,
        "SIGHUP" => Signal::HUP,
        _ => Signal::TERM,
    }
}

impl Held<'_> {
    /// Waits until it is lost, or so little of its lease is left that the command has to end now; says why.
    async fn lost(&self, grace: Duration) -> String {
        let taken = match self.family {
            LockFamily::Lock => "somebody took it by force",
            LockFamily::Election => "it resigned, or somebody deposed it",
        };
        tokio::select! {
            biased;
            lost = self.lease.runs_short(grace) => lost.to_string(),
            () = self.lease.loses(self.grant.token) => taken.to_owned(),
            () = self.taken() => match self.client.lease(self.lease.id()).await {
                Err(error) if error.code() == Some("lease-not-found") => LeaseLost::Ended.to_string(),
                _ => taken.to_owned(),
            },
        }
    }

    /// Waits until the server shows it held by others, or by nobody.
    async fn taken(&self) {
        let later = |revision: Revision| revision >= self.grant.token;
        let ours = |holder: &HolderView| holder.token == self.grant.token;
        loop {
            match self.family {
                LockFamily::Lock => {
                    let mut views = std::pin::pin!(self.client.watch_lock(self.name));
                    while let Some(Ok(view)) = views.next().await {
                        if later(view.revision) && !view.holders.iter().any(ours) {
                            return;
                        }
                    }
                }
                LockFamily::Election => {
                    let mut views = std::pin::pin!(self.client.observe(self.name));
                    while let Some(Ok(view)) = views.next().await {
                        if later(view.revision) && !view.leader.iter().any(ours) {
                            return;
                        }
                    }
                }
            }
            tokio::time::sleep(WATCH_AGAIN).await;
        }
    }
}

/// The exit code of the command is ours; a signal that ended it counts as shells count it.
fn passed_on(status: std::io::Result<ExitStatus>) -> Result<(), Failure> {
    let status = status.map_err(|error| Failure::work(format!("the command cannot be waited for: {error}")))?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    match code.unwrap_or(1) {
        0 => Ok(()),
        code => Err(Failure::Ended(u8::try_from(code).unwrap_or(1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_time_to_end_before_the_lease_does() {
        let seconds = Duration::from_secs;
        assert!(check(seconds(20), seconds(5)).is_ok());
        assert!(check(seconds(20), seconds(11)).is_err());
        assert!(check(Duration::from_millis(500), Duration::from_millis(100)).is_err());
    }

    #[test]
    fn every_start_is_another_incarnation() {
        assert_ne!(incarnation(), incarnation());
    }
}
