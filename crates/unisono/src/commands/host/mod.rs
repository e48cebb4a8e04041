//! `unisono host`: runs a command on as many machines as there are slots, wherever this process leads.

mod health;
mod kept;
mod service;
mod status;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinHandle;
use unisono_client::{Client, ClientError};
use unisono_host::{Holder, Host, HostConfig, Problem, ProblemHandle, StoreError, Timing};
use unisono_model::hosts::slot;
use unisono_model::key::Key;
use unisono_model::name::Name;

use crate::cli::{Global, duration};
use crate::failure::Failure;
use crate::signals::Signals;
use health::Health;
use service::{CommandService, Group, Spec};
use status::Status;

/// How long to wait after leadership was lost before it is tried for again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the last word to the server may take.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What to run, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct HostArgs {
    /// The name of the service: hosts of the same name share its slots
    name: Name,
    /// In how many processes the command may run at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    slots: u32,
    /// How long a slot stays taken when its host falls silent
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = lease)]
    lease: Duration,
    /// How long the command may take to leave when leadership is lost, before it is killed [default: a quarter of the lease]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    grace: Option<Duration>,
    /// How long the command may take to leave otherwise, before it is killed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    stop_grace: Duration,
    /// Give up when there was no slot for this long [default: wait for as long as it takes]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    wait: Option<Duration>,
    /// Ask this command, run by `sh`, whether all is well; when it fails too often the service is started again
    #[arg(long, value_name = "COMMAND")]
    health: Option<String>,
    /// How often to ask
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, requires = "health")]
    health_every: Duration,
    /// How long the answer may take
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration, requires = "health")]
    health_timeout: Duration,
    /// How many bad answers in a row are too many
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..), requires = "health")]
    health_failures: u32,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Reads the time of a lease.
fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    if lease < Duration::from_secs(1) {
        return Err("a lease of less than a second is lost to any hiccup; give 1s or more".to_owned());
    }
    Ok(lease)
}

/// Runs the command wherever it leads, until a signal asks it to leave.
///
/// # Errors
/// [`Failure::Usage`] when it cannot work like that, [`Failure::Work`] when there was no slot in time, or something is
/// wrong that does not pass; [`Failure::Unreachable`] when the server could not be asked for a slot in time.
pub(crate) async fn run(args: HostArgs, global: &Global) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let client = global.client()?;
    check_program(&args.command[0])?;
    // A name may be what no part of a key may be.
    Key::parse(&slot(args.name.as_str(), 1)).map_err(|error| {
        let why = format!("no service can be called `{}`: {error}", args.name);
        Failure::usage(why, "give a name such as poller, or jobs.poller")
    })?;
    loop {
        let term = Term::begin(&args, global, &client)?;
        let problem = tokio::select! {
            problem = term.problem.signalled() => problem,
            name = signals.next() => {
                tracing::info!("{name}: leaving; the same signal again leaves at once");
                signals.leave_at_once();
                term.end(&client).await;
                return Ok(());
            }
        };
        term.end(&client).await;
        match problem {
            Problem::LeadershipLost { .. } => tracing::warn!("{problem}; trying for a slot again"),
            problem => return Err(failure(&problem)),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A problem that does not pass. A server that cannot be reached is one everywhere.
fn failure(problem: &Problem) -> Failure {
    let message = problem.to_string();
    let unreachable = match problem {
        Problem::NotElected { error: Some(error), .. } => match &**error {
            StoreError::TimedOut(_) => true,
            StoreError::Unavailable(error) => error
                .downcast_ref::<ClientError>()
                .is_some_and(ClientError::is_unreachable),
        },
        _ => false,
    };
    if unreachable {
        Failure::Unreachable { message }
    } else {
        Failure::work(message)
    }
}

/// One host, from its first try for a slot to its end.
struct Term {
    host: Host,
    problem: ProblemHandle,
    status: Status,
    teller: JoinHandle<()>,
}

impl Term {
    /// Makes the host, launches it, and begins to tell of it.
    fn begin(args: &HostArgs, global: &Global, client: &Client) -> Result<Self, Failure> {
        let holder = Holder::fresh(&label());
        let status = Status::new(args.name.clone(), &holder, args.command.clone());
        let group = Group::default();
        let service = CommandService {
            spec: args.spec(global),
            status: status.clone(),
            group: group.clone(),
        };
        let config = HostConfig {
            slots: args.slots,
            timing: args.timing(),
            window: args.wait,
            holder,
            deed: Arc::new(group),
            ..HostConfig::new(args.name.as_str(), Arc::new(client.host_leases()))
        };
        let host = Host::new(config.with(Box::new(service)));
        let host = host.map_err(|error| Failure::usage(error.to_string(), "see `unisono host --help`"))?;
        let problem = host.launch().map_err(|error| Failure::work(error.to_string()))?;
        let tell = status.clone().tell(client.clone(), host.stage(), args.lease);
        Ok(Self {
            host,
            problem,
            status,
            teller: tokio::spawn(tell),
        })
    }

    /// Stops the command, and gives the slot back.
    async fn end(self, client: &Client) {
        // It was launched, and its problem is known.
        let _ = self.host.shutdown().await;
        self.teller.abort();
        let _ = tokio::time::timeout(LAST_WORD, self.status.withdraw(client)).await;
    }
}

impl HostArgs {
    fn timing(&self) -> Timing {
        let usual = Timing::of_lease(self.lease);
        Timing {
            grace: self.grace.unwrap_or(usual.grace),
            ..usual
        }
    }

    fn spec(&self, global: &Global) -> Spec {
        let health = self.health.clone().map(|script| Health {
            script,
            every: self.health_every,
            timeout: self.health_timeout,
            failures: self.health_failures,
        });
        let environment = [
            ("UNISONO_SERVER", global.server_url()),
            ("UNISONO_NAMESPACE", global.namespace_name()),
        ];
        Spec {
            command: self.command.clone(),
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            stop_grace: self.stop_grace,
            health,
        }
    }
}

/// Who this process is, for people.
fn label() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '_'
        }
    };
    let name: String = name.chars().take(60).map(allowed).collect();
    format!("{name}:{}", std::process::id())
}

/// Says at once that there is no such program, and not only when it leads.
fn check_program(program: &str) -> Result<(), Failure> {
    missing(program).map_or(Ok(()), |(why, help)| Err(Failure::usage(why, help)))
}

/// Why a program cannot be started, if that is plain to see, and what to do.
fn missing(program: &str) -> Option<(String, &'static str)> {
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![program.into()]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|directory| directory.join(program))
            .collect()
    };
    if candidates.iter().any(|candidate| is_executable(candidate)) {
        return None;
    }
    let found = candidates.iter().any(|candidate| candidate.is_file());
    Some(if found {
        let why = format!("`{program}` cannot be executed");
        (why, "make it executable: chmod +x")
    } else {
        let why = format!("there is no program `{program}`");
        let help = "give a program of PATH, or a path to one; for a line of shell: -- sh -c '…'";
        (why, help)
    })
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
