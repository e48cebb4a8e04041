//! The command line: every command, and the options that all of them share.

use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use unisono_client::{Client, ClientOptions};
use unisono_model::trace::TraceContext;

use crate::bench::{self, BenchArgs, IdleArgs, LargeArgs, OpenArgs, RolloutArgs, ValuesArgs};
use crate::commands::{
    act, agent, apply, backup, count, delete, demo, dev, election, get, history, host, journal, keep, list, lock,
    log_level, logs, restore, retention, rollout, server, start, steal, value, watch,
};
use crate::failure::Failure;
use crate::output::{ColorChoice, Console, Format};

/// Where the server is when nobody says otherwise.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:7717";
/// The namespace when nobody says otherwise.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

const EXIT_CODES: &str = "Exit codes: 0 done, 1 the work failed, 2 wrong usage, 3 the server cannot be reached.";

/// Runs activities in dependency order, on agents, reliably.
#[derive(Debug, Parser)]
#[command(name = "unisono", version, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The server's address [default: http://127.0.0.1:7717]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "UNISONO_SERVER",
        hide_env_values = true
    )]
    pub(crate) server: Option<String>,
    /// The namespace [default: default]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "UNISONO_NAMESPACE",
        hide_env_values = true
    )]
    pub(crate) namespace: Option<String>,
    /// Tables for people, JSON or lines of JSON for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub(crate) color: ColorChoice,
    /// Log more; twice logs everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// What to log: a level, or levels by module, such as info,unisono_node::partition=debug
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "UNISONO_LOG",
        hide_env_values = true
    )]
    pub(crate) log: Option<String>,
    /// How the log on standard error is written
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    // For people.
    #[value(alias = "plain")]
    Text,
    // One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show all of it in a minute: a server, an agent, a tenant deployed with real files
    Demo(demo::DemoArgs),
    /// Run a server and an agent on one data directory, to develop with
    Dev(dev::DevArgs),
    /// Run a server
    Server(server::ServerArgs),
    /// Run an agent
    Agent(agent::AgentArgs),
    /// Apply definitions: all of them, or none
    Apply(apply::ApplyArgs),
    /// Delete a definition, or what is kept of orchestrations that have ended
    Delete(delete::DeleteArgs),
    /// Start an orchestration
    Start(start::StartArgs),
    /// Show an orchestration, definitions, agents, an entity, what takes room on disk, a lock, an election or a host
    Get(get::GetArgs),
    /// List orchestrations, entities, locks, elections, leases or hosts
    List(list::ListArgs),
    /// Count orchestrations
    Count(count::CountArgs),
    /// Follow an orchestration, or the rollout of an entity, until it ends
    Watch(watch::WatchArgs),
    /// Show what happened in an orchestration
    History(history::HistoryArgs),
    /// Cancel an orchestration
    Cancel(act::CancelArgs),
    /// Complete a waiting activity
    Complete(act::CompleteArgs),
    /// Fail a waiting activity
    Fail(act::FailArgs),
    /// Show what the activities of an orchestration logged
    Logs(logs::LogsArgs),
    /// Read, write, watch and await values, and promise them
    Value(value::ValueArgs),
    /// Run a command wherever this process leads, as often as there are slots
    Host(host::HostArgs),
    /// Keep the command of a host
    #[command(hide = true)]
    Keep(keep::KeepArgs),
    /// Run a command under a lock
    Lock(lock::LockArgs),
    /// Stand for an election, lead it, and observe it
    Election(election::ElectionArgs),
    /// Show or change for how long orchestrations are kept after they have ended
    Retention(retention::RetentionArgs),
    /// Move a fleet from one version to the next, and watch it
    Rollout(rollout::RolloutArgs),
    /// Take a lock by force from who holds it
    Steal(steal::StealArgs),
    /// Show or change what a running server logs
    LogLevel(log_level::LogLevelArgs),
    /// Back up a running server to a file, or verify such a file
    Backup(backup::BackupArgs),
    /// Make a data directory of a backup
    Restore(restore::RestoreArgs),
    /// Look into the journal of a data directory, without its server
    Journal(journal::JournalArgs),
    /// Measure what this machine can do
    Bench(BenchCommand),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

impl Command {
    /// Whether it serves others, and so wants many threads.
    pub(crate) fn is_long_running(&self) -> bool {
        matches!(self, Self::Demo(_) | Self::Dev(_) | Self::Server(_) | Self::Agent(_))
    }

    /// Whether its log tells of normal events, and not only of trouble.
    pub(crate) fn tells_of_normal_events(&self) -> bool {
        matches!(self, Self::Dev(_) | Self::Server(_) | Self::Agent(_) | Self::Host(_))
    }
}

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct BenchCommand {
    #[command(subcommand)]
    what: BenchWhat,
}

#[derive(Debug, Subcommand)]
enum BenchWhat {
    /// Orchestrations from start to end, every step durable
    Orchestrations(BenchArgs),
    /// One orchestration of very many activities
    Large(LargeArgs),
    /// Very many open orchestrations, and a restart with them
    Open(OpenArgs),
    /// A server with nothing to do
    Idle(IdleArgs),
    /// A rollout over a very large fleet, durable reports, and a restart with it
    Rollout(RolloutArgs),
    /// Values: durable writes, what reaches those who watch and await, and very many keys
    Values(ValuesArgs),
}

impl BenchCommand {
    /// Measures, and prints the figures in this format.
    pub(crate) fn run(self, output: Format) -> Result<(), Failure> {
        match self.what {
            BenchWhat::Orchestrations(args) => bench::orchestrations(BenchArgs { output, ..args }),
            BenchWhat::Large(args) => bench::large(LargeArgs { output, ..args }),
            BenchWhat::Open(args) => bench::open(OpenArgs { output, ..args }),
            BenchWhat::Idle(args) => bench::idle(IdleArgs { output, ..args }),
            BenchWhat::Rollout(args) => bench::rollout(RolloutArgs { output, ..args }),
            BenchWhat::Values(args) => bench::values(ValuesArgs { output, ..args }),
        }
    }
}

impl Global {
    /// How to talk to the person or program that called.
    pub(crate) fn console(&self) -> Console {
        Console::new(self.output, self.color)
    }

    /// A client of the server and namespace that were named.
    ///
    /// # Errors
    /// [`Failure::Usage`] when one of them is not usable.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        self.client_of(self.server_url())
    }

    /// The server that was named, or the usual one.
    pub(crate) fn server_url(&self) -> &str {
        self.server.as_deref().unwrap_or(DEFAULT_SERVER)
    }

    /// A client of this server, in the namespace that was named.
    ///
    /// # Errors
    /// [`Failure::Usage`] when one of them is not usable.
    pub(crate) fn client_of(&self, server: &str) -> Result<Client, Failure> {
        let options = ClientOptions::new(server, self.namespace_name());
        Ok(Client::new(ClientOptions {
            actor: Some(actor()),
            trace: trace(),
            ..options
        })?)
    }

    /// The namespace that was named, or the default one.
    pub(crate) fn namespace_name(&self) -> &str {
        self.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
    }
}

/// The trace that this process is part of: whoever runs a command within one hands it over like this.
fn trace() -> Option<TraceContext> {
    let [parent, state] = ["TRACEPARENT", "TRACESTATE"].map(|name| std::env::var(name).ok());
    TraceContext::read(parent.as_deref(), state.as_deref())
}

/// Reads a fraction from 0 to 1.
pub(crate) fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "give a number from 0 (none) to 1 (all), such as 0.05".to_owned())
}

/// Who calls, for the history: user and host.
fn actor() -> String {
    let user = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let user = user.unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()));
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

/// Reads a time such as `500ms`, `15s`, `1h 30m` or `30d` (of 24 hours each): longer than nothing, and up to ten years.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const FIX: &str = "give a time such as 500ms, 15s, 1h30m or 30d";
    const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
    let span: jiff::Span = text.parse().map_err(|_| format!("this is no time; {FIX}"))?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let signed = span
        .to_duration(days)
        .map_err(|_| format!("it has units longer than weeks; {FIX}"))?;
    match Duration::try_from(signed) {
        Ok(Duration::ZERO) | Err(_) => Err(format!("it must be longer than nothing; {FIX}")),
        Ok(time) if time > LONGEST => Err(format!("it is longer than ten years; {FIX}")),
        Ok(time) if time < Duration::from_millis(1) => Err(format!("it is shorter than a millisecond; {FIX}")),
        Ok(time) => Ok(time),
    }
}

/// A duration that [`duration`] read, in whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Reads a number of bytes such as `4096`, `64MiB` or `2GiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    const FIX: &str = "give a number of bytes, or of KiB, MiB, GiB or TiB, such as 512MiB";
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let unit = units
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    let (number, shift) = unit.unwrap_or((text, 0));
    let number: u64 = number.trim().parse().map_err(|_| format!("this is no size; {FIX}"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("it is too large; {FIX}"))
}

/// Reads `key=value`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is key=value, such as team=payments".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_duration_is_a_number_with_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for bad in ["", "15", "0s", "-3s", "3 ago", "soon", "1ns", "99999999h"] {
            let error = duration(bad).unwrap_err();
            assert!(error.contains("500ms, 15s, 1h30m or 30d"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_size_is_a_number_with_a_binary_unit() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("2 GiB"), Ok(2 << 30));
        for bad in ["", "MiB", "-1", "1.5GiB", "64MB", "99999999TiB"] {
            assert!(size(bad).unwrap_err().contains("512MiB"), "{bad}");
        }
    }

    #[test]
    fn a_label_is_split_at_its_first_equals_sign() {
        assert_eq!(label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(label("a="), Ok(("a".into(), String::new())));
        assert!(label("=b").is_err());
        assert!(label("ab").is_err());
    }

    #[test]
    fn get_takes_a_thing_by_its_kind_or_an_orchestration_by_its_id() {
        for line in [
            "get acme",
            "get agents",
            "get definitions",
            "get orchestration-definition a.b --version 3",
        ] {
            let words = std::iter::once("unisono").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
        for line in ["get", "get acme other", "get orchestration-definition"] {
            let words = std::iter::once("unisono").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
