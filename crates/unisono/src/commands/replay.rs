//! `unisono journal replay`: the state that a data directory holds, made again from its events.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use clap::Args;
use unisono_model::ids::Revision;
use unisono_model::name::Name;
use unisono_node::replay::{self, Replayed};

use crate::cli::Global;
use crate::failure::Failure;

/// What to replay.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReplayArgs {
    /// The data directory; no server may be using it
    #[arg(
        long,
        value_name = "DIR",
        env = "UNISONO_DATA",
        hide_env_values = true,
        default_value = "unisono-data"
    )]
    data: PathBuf,
    /// Only up to this revision
    #[arg(long, value_name = "REVISION")]
    to: Option<u64>,
    /// Only this orchestration: prints each of its events, and where it left the orchestration, one JSON object a line
    #[arg(long, value_name = "ID")]
    run: Option<String>,
}

/// Replays, and shows what it led to.
///
/// # Errors
/// [`Failure::Work`] when the directory is in use or damaged, or what was replayed is not what the store shows.
pub(crate) fn run(args: ReplayArgs, global: &Global) -> Result<(), Failure> {
    let to = args.to.map(Revision);
    if let Some(id) = &args.run {
        return run_steps(&args, id, to, global);
    }
    let replayed = replay::replay(&args.data, to)?;
    let console = global.console();
    if console.is_json() {
        return console.json(&replayed);
    }
    console.line(described(&replayed));
    Ok(())
}

/// The state for people.
fn described(replayed: &Replayed) -> String {
    let from = match replayed.checkpoint {
        Some(revision) => format!("after the checkpoint at revision {revision}"),
        None => "from the first one on".to_owned(),
    };
    format!(
        "revision    {}\nstate hash  {}\nopen        {}\nreplayed    {} events, {from}",
        replayed.revision, replayed.hash, replayed.open, replayed.events
    )
}

fn run_steps(args: &ReplayArgs, id: &str, to: Option<Revision>, global: &Global) -> Result<(), Failure> {
    let name = |what: &str, text: &str| {
        Name::parse(text)
            .map_err(|error| Failure::usage(format!("{what} {text:?} cannot be one: {error}"), "correct it"))
    };
    let (namespace, id) = (name("the namespace", global.namespace_name())?, name("the id", id)?);
    let mut out = BufWriter::new(io::stdout().lock());
    let events = replay::replay_run(&args.data, (&namespace, &id), to, |step| {
        serde_json::to_writer(&mut out, step)?;
        out.write_all(b"\n")
    })?;
    out.flush()
        .map_err(|error| Failure::work(format!("cannot write to standard output: {error}")))?;
    global.console().note(format!("{events} events"));
    Ok(())
}
