//! `unisono server`: one node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use unisono_node::{Node, NodeError, NodeOptions, Settings};
use unisono_telemetry::logs::LogLevels;
use unisono_telemetry::trace::Spans;

use crate::cli::{Global, duration, millis, ratio, size};
use crate::failure::Failure;
use crate::secrets::Secrets;
use crate::signals::Signals;

/// How a server is run.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// Where everything is kept; made when it is not there
    #[arg(
        long,
        value_name = "DIR",
        env = "UNISONO_DATA",
        hide_env_values = true,
        default_value = "unisono-data"
    )]
    pub(crate) data: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7717", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// For how long an agent may be gone before its activities go to others
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration)]
    pub(crate) agent_grace: Duration,
    /// How often server and agents say something when there is nothing to say
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) heartbeat: Duration,
    /// Bytes of events between two checkpoints; the node's default when left out
    #[arg(long, value_name = "BYTES", hide = true)]
    pub(crate) checkpoint_bytes: Option<u64>,
    /// How much of the disk is kept for work that was accepted: with less, new work is refused [default: 1GiB, less on
    /// a disk below 8GiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) disk_reserve: Option<u64>,
    /// How often it is looked for orchestrations that their retention rules let go
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
    pub(crate) retention_interval: Duration,
    /// The directory of the secrets that sign and authorize what is sent to hooks, controllers and subscribers of rollouts: a
    /// file for each, named as the secret [default: variables UNISONO_SECRET_…]
    #[arg(long, value_name = "DIR")]
    pub(crate) secrets: Option<PathBuf>,
    /// The fraction of starts without a trace of the caller's that begin one, 0 to 1 [default: 0.01 where spans are
    /// exported, else 0]
    #[arg(long, value_name = "RATIO", value_parser = ratio)]
    pub(crate) trace_sample: Option<f64>,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
}

/// Where spans of traces go.
#[derive(Args, Clone, Debug)]
pub(crate) struct TelemetryArgs {
    /// Export spans of traces over OTLP to here, such as http://127.0.0.1:4318; the variables OTEL_EXPORTER_OTLP_… and
    /// OTEL_SERVICE_NAME are honoured
    #[arg(long, value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
}

impl TelemetryArgs {
    /// Begins to export spans, when something says where to.
    ///
    /// # Errors
    /// [`Failure::Usage`] when they cannot be exported like that.
    pub(crate) fn spans(&self, service: &str) -> Result<Spans, Failure> {
        unisono_client::install_crypto_provider();
        Spans::export(self.otlp_endpoint.as_deref(), service).map_err(|error| {
            Failure::usage(
                error.to_string(),
                "give the base address of an OTLP receiver over HTTP, such as --otlp-endpoint http://127.0.0.1:4318",
            )
        })
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "give an IP address and a port, such as 127.0.0.1:7717 or [::]:7717".to_owned())
}

impl ServerArgs {
    /// The same for the node.
    ///
    /// # Errors
    /// [`Failure::Usage`] when spans cannot be exported as asked.
    pub(crate) fn options(&self, log: LogLevels) -> Result<NodeOptions, Failure> {
        let defaults = NodeOptions::new(self.data.clone(), self.listen);
        Ok(NodeOptions {
            settings: Settings {
                agent_grace_ms: millis(self.agent_grace),
                ..Settings::default()
            },
            heartbeat_ms: millis(self.heartbeat),
            checkpoint_bytes: self.checkpoint_bytes.unwrap_or(defaults.checkpoint_bytes),
            disk_reserve: self.disk_reserve,
            retention_interval: self.retention_interval,
            secrets: Arc::new(Secrets::new(self.secrets.clone())),
            spans: self.telemetry.spans("unisono-server")?,
            trace_sample: self.trace_sample,
            log: Some(log),
            ..defaults
        })
    }
}

/// Runs a server until a signal asks it to leave, or it cannot go on.
///
/// # Errors
/// [`Failure::Work`] when it cannot start or cannot go on.
pub(crate) async fn run(args: ServerArgs, global: &Global, log: LogLevels) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let options = args.options(log)?;
    let node = tokio::select! {
        node = Node::start(options) => node?,
        name = signals.next() => {
            tracing::info!("{name} before the server was ready: leaving");
            return Ok(());
        }
    };
    global.console().line(format!("listening on http://{}", node.address()));
    tokio::select! {
        problem = node.problem() => {
            signals.leave_at_once();
            // What still can, ends in order; and the problem is known.
            let _ = node.shutdown().await;
            Err(problem.into())
        }
        name = signals.next() => {
            signals.leave_at_once();
            shut_down(node, name).await.map_err(Failure::from)
        }
    }
}

async fn shut_down(node: Node, signal: &str) -> Result<(), NodeError> {
    tracing::info!("{signal}: finishing what is under way; the same signal again leaves at once");
    node.shutdown().await?;
    tracing::info!("everything is durable; bye");
    Ok(())
}
