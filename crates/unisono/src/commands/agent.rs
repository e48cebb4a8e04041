//! `unisono agent`: the built-in processors, for activities that are commands or HTTP requests.

use std::path::PathBuf;

use clap::Args;
use unisono_agent::{ActivityResult, Agent, AgentBuilder, AgentConfig, BuildError};

use super::server::TelemetryArgs;
use crate::cli::Global;
use crate::failure::Failure;
use crate::signals::Signals;

/// The prefix of the environment variables that configure an agent.
const PREFIX: &str = "UNISONO_AGENT";

/// How an agent is run. An option is stronger than the environment, which is stronger than the file.
#[derive(Args, Clone, Debug)]
pub(crate) struct AgentArgs {
    /// Configuration file, with the activities to run
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The agent's name
    #[arg(long)]
    name: Option<String>,
    /// Activities to run at the same time
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// Run activities of this type by completing them with their input as output (repeatable)
    #[arg(long, value_name = "TYPE")]
    echo: Vec<String>,
    /// Leave when standard input ends, as it does when the parent process is gone
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

/// Runs an agent until a signal asks it to leave, and it has finished what it runs.
///
/// # Errors
/// [`Failure::Usage`] when the configuration is wrong, [`Failure::Work`] when the server refuses the agent.
pub(crate) async fn run(args: AgentArgs, global: &Global) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let agent = build(&args, global)?;
    global.console().line(describe(&agent));
    let leave = async move {
        tokio::select! {
            name = signals.next() => {
                tracing::info!("{name}: finishing what is under way; the same signal again leaves at once");
                signals.leave_at_once();
            }
            () = stdin_ended(), if args.until_stdin_ends => {
                tracing::info!("the parent process is gone or asked to leave: finishing what is under way");
                signals.leave_at_second();
            }
        }
    };
    Ok(agent.run(leave).await?)
}

fn describe(agent: &Agent) -> String {
    let types: Vec<String> = agent.activity_types().iter().map(ToString::to_string).collect();
    format!(
        "agent {} runs {} for {}",
        agent.name(),
        types.join(", "),
        agent.server()
    )
}

fn build(args: &AgentArgs, global: &Global) -> Result<Agent, Failure> {
    let config = settings(args, global).map_err(BuildError::from)?;
    if config.activities.is_empty() && args.echo.is_empty() {
        return Err(Failure::usage(
            "the agent has no activities to run",
            "name a configuration file with --config FILE, or an activity type with --echo TYPE",
        ));
    }
    let builder = Agent::builder()
        .config(config)
        .spans(args.telemetry.spans("unisono-agent")?);
    Ok(args
        .echo
        .iter()
        .fold(builder, |builder, activity_type| echo(builder, activity_type))
        .build()?)
}

/// File, environment, command line: the later the stronger.
fn settings(args: &AgentArgs, global: &Global) -> Result<AgentConfig, unisono_agent::ConfigError> {
    let mut config = args
        .config
        .as_deref()
        .map(AgentConfig::load)
        .transpose()?
        .unwrap_or_default();
    let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((key.into_string().ok()?, value.into_string().ok()?))
    };
    config.apply_environment(PREFIX, std::env::vars_os().filter_map(text))?;
    let config = config.overridden_by(AgentConfig {
        name: args.name.clone(),
        server: global.server.clone(),
        namespace: global.namespace.clone(),
        concurrency: args.concurrency,
        ..AgentConfig::default()
    });
    let secrets_environment = config
        .secrets_environment
        .clone()
        .or_else(|| Some(format!("{PREFIX}_SECRET")));
    Ok(AgentConfig {
        secrets_environment,
        ..config
    })
}

fn echo(builder: AgentBuilder, activity_type: &str) -> AgentBuilder {
    builder.function(activity_type, |context| {
        Box::pin(async move {
            let input = context.raw_input().to_owned();
            context.set_whole_output(input)?;
            Ok(ActivityResult::Complete)
        })
    })
}

/// Waits for the end of standard input, on a thread that nobody waits for.
async fn stdin_ended() {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // An error is an end as well.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    });
    // The sender is never dropped without sending.
    let _ = end.await;
}
