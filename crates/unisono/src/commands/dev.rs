//! `unisono dev`: a server and an agent on one data directory.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use unisono_node::Node;
use unisono_telemetry::logs::LogLevels;

use super::server::ServerArgs;
use crate::child::AgentProcess;
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::Tone;
use crate::signals::Signals;

/// The activity type that the agent runs when no configuration names others.
const ECHO: &str = "echo";
/// How long the leaving agent may take; a little more than it takes by itself.
const AGENT_LEAVES: Duration = Duration::from_secs(35);

/// How to develop.
#[derive(Args, Clone, Debug)]
pub(crate) struct DevArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The agent's configuration file; without one it runs activities of the type `echo`, which return their input
    #[arg(long, value_name = "FILE")]
    agent_config: Option<PathBuf>,
}

/// Runs both until a signal asks them to leave.
///
/// # Errors
/// [`Failure::Work`] when one of them cannot start or cannot go on.
pub(crate) async fn run(args: DevArgs, global: &Global, log: LogLevels) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let node = Node::start(args.server.options(log)?).await?;
    let url = format!("http://{}", node.address());
    let mut agent = AgentProcess::spawn(agent_arguments(&args, &url, global), [], Stdio::inherit())?;
    tell(&args, &url, &agent, global);
    let ended = tokio::select! {
        problem = node.problem() => Err(problem.into()),
        how = agent.ended() => Err(Failure::work(format!("the agent {how}; its log is above"))),
        name = signals.next() => {
            tracing::info!("{name}: finishing what is under way; the same signal again leaves at once");
            Ok(())
        }
    };
    signals.leave_at_once();
    // The agent first, so that the server takes its last results.
    agent.stop(AGENT_LEAVES).await;
    ended?;
    Ok(node.shutdown().await?)
}

fn agent_arguments(args: &DevArgs, url: &str, global: &Global) -> Vec<String> {
    let mut arguments: Vec<String> = ["--server", url, "--namespace", global.namespace_name()]
        .map(str::to_owned)
        .into();
    match &args.agent_config {
        Some(file) => arguments.extend(["--config".to_owned(), file.display().to_string()]),
        None => arguments.extend(["--name", "dev-agent", "--echo", ECHO].map(str::to_owned)),
    }
    if let Some(endpoint) = &args.server.telemetry.otlp_endpoint {
        arguments.extend(["--otlp-endpoint".to_owned(), endpoint.clone()]);
    }
    arguments
}

fn tell(args: &DevArgs, url: &str, agent: &AgentProcess, global: &Global) {
    let console = global.console();
    let data = std::path::absolute(&args.server.data).unwrap_or_else(|_| args.server.data.clone());
    let runs = match &args.agent_config {
        Some(file) => format!("what {} says", file.display()),
        None => format!("activities of the type {ECHO}"),
    };
    let agent = agent
        .id()
        .map_or_else(|| "ended".to_owned(), |id| format!("process {id}, runs {runs}"));
    console.line(format!("listening on {url}"));
    for (name, value) in [
        ("API", format!("{url}/api/v1/namespaces/{}", global.namespace_name())),
        ("OpenAPI", format!("{url}/openapi.json")),
        ("metrics", format!("{url}/metrics")),
        ("data", data.display().to_string()),
        ("agent", agent),
    ] {
        console.line(format!(
            "  {} {value}",
            console.paint(Tone::Quiet, &format!("{name:<8}"))
        ));
    }
    console.line("Apply definitions with `unisono apply -f FILE`; stop with Ctrl-C.");
}
