//! What is measured: a server with an agent, as processes of their own or in this one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use unisono_agent::{ActivityResult, Agent, Link};
use unisono_client::{Client, ClientOptions};
use unisono_model::api::{ApplyRequest, ApplyResponse, SourceText};
use unisono_model::name::Name;
use unisono_node::{Node, NodeOptions};

use super::load::{Connection, Starter};
use super::system::Process;
use crate::failure::Failure;

/// The activity type that the agent completes at once.
pub(super) const STEP: &str = "bench.step";
/// The namespace of every bench.
pub(super) const NAMESPACE: &str = "bench";
/// Attempts that the agent holds at once: enough that it is never what is waited for.
pub(super) const AGENT_CONCURRENCY: u32 = 4_096;
/// Bytes of events between two checkpoints, as a server has it unless told otherwise.
pub(super) const CHECKPOINT_BYTES: u64 = 32 * 1024 * 1024;
/// No request of a bench takes this long unless something is wrong.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

/// Where the agents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Agents {
    /// In the server's process.
    Inprocess,
    /// In a process of their own, over WebSocket.
    Websocket,
}

/// A server process on a data directory and a port that stay the same when it is started again. Killed when dropped.
pub(super) struct Server {
    child: Child,
    data: PathBuf,
    checkpoint_bytes: u64,
    pub(super) url: String,
    pub(super) client: Client,
}

impl Server {
    /// Starts it, with so many bytes of events between two checkpoints, and waits until it listens.
    ///
    /// # Errors
    /// [`Failure::Work`] when it does not.
    pub(super) async fn start(data: &Path, checkpoint_bytes: u64) -> Result<Self, Failure> {
        let (child, url) = serve(data, "127.0.0.1:0", checkpoint_bytes).await?;
        Ok(Self {
            child,
            data: data.to_path_buf(),
            checkpoint_bytes,
            client: client(&url)?,
            url,
        })
    }

    /// `kill -9`.
    pub(super) async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Starts it again after it was killed, and waits until it listens.
    ///
    /// # Errors
    /// [`Failure::Work`] when it does not.
    pub(super) async fn restart(&mut self) -> Result<(), Failure> {
        let (child, _) = serve(
            &self.data,
            self.url.trim_start_matches("http://"),
            self.checkpoint_bytes,
        )
        .await?;
        self.child = child;
        Ok(())
    }

    /// Where it keeps everything.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    pub(super) fn process(&self) -> Process {
        Process(self.child.id().unwrap_or_default())
    }
}

async fn serve(data: &Path, listen: &str, checkpoint_bytes: u64) -> Result<(Child, String), Failure> {
    let mut command = program()?;
    command.args([
        "server",
        "--listen",
        listen,
        "--checkpoint-bytes",
        &checkpoint_bytes.to_string(),
        "--data",
    ]);
    command.arg(data);
    let mut child = spawn(command.stdout(std::process::Stdio::piped()))?;
    let url = listening(&mut child).await?;
    Ok((child, url))
}

/// An agent process that completes every activity of [`STEP`] with its input.
///
/// # Errors
/// [`Failure::Work`] when it cannot be started.
pub(super) fn echo_agent(server: &str) -> Result<Child, Failure> {
    let mut command = program()?;
    command
        .args(["agent", "--name", "bench", "--namespace", NAMESPACE, "--echo", STEP])
        .args(["--concurrency", &AGENT_CONCURRENCY.to_string(), "--server", server])
        .stdout(std::process::Stdio::null());
    spawn(&mut command)
}

fn program() -> Result<Command, Failure> {
    let program =
        std::env::current_exe().map_err(|error| Failure::work(format!("cannot find this program: {error}")))?;
    let mut command = Command::new(program);
    command.env("UNISONO_LOG", "warn").kill_on_drop(true);
    Ok(command)
}

fn spawn(command: &mut Command) -> Result<Child, Failure> {
    command
        .spawn()
        .map_err(|error| Failure::work(format!("cannot start this program once more: {error}")))
}

/// The address that a server says it listens on.
async fn listening(server: &mut Child) -> Result<String, Failure> {
    let silent = || Failure::work("the server ended before it listened; its log above says why".to_owned());
    let stdout = server.stdout.take().ok_or_else(silent)?;
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(url) = line.strip_prefix("listening on ") {
            return Ok(url.trim().to_owned());
        }
    }
    Err(silent())
}

fn client(url: &str) -> Result<Client, Failure> {
    let mut options = ClientOptions::new(url, NAMESPACE);
    options.timeout = PATIENCE;
    Ok(Client::new(options)?)
}

pub(super) fn name(text: &str) -> Result<Name, Failure> {
    Name::parse(text).map_err(|error| Failure::work(error.to_string()))
}

/// Applies definitions.
///
/// # Errors
/// [`Failure`] when the server does not take them.
pub(super) async fn apply(client: &Client, definitions: String) -> Result<ApplyResponse, Failure> {
    let request = ApplyRequest {
        sources: vec![SourceText {
            name: "bench.yaml".to_owned(),
            text: definitions,
        }],
        dry_run: false,
    };
    Ok(client.apply(&request).await?)
}

/// A server with an agent.
pub(super) enum Target {
    Processes {
        server: Box<Server>,
        agent: Box<Child>,
    },
    OneProcess {
        node: Arc<Node>,
        stop_agent: oneshot::Sender<()>,
        agent: tokio::task::JoinHandle<()>,
        client: Client,
    },
}

impl Target {
    /// Starts them, with their data below `directory`.
    ///
    /// # Errors
    /// [`Failure::Work`] when they cannot be started.
    pub(super) async fn start(agents: Agents, directory: &Path) -> Result<Self, Failure> {
        match agents {
            Agents::Websocket => {
                let server = Server::start(&directory.join("data"), CHECKPOINT_BYTES).await?;
                let agent = echo_agent(&server.url)?;
                Ok(Self::Processes {
                    server: Box::new(server),
                    agent: Box::new(agent),
                })
            }
            Agents::Inprocess => Self::one_process(directory).await,
        }
    }

    async fn one_process(directory: &Path) -> Result<Self, Failure> {
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let node = Node::start(NodeOptions::new(directory.join("data"), listen))
            .await
            .map_err(|error| Failure::work(error.to_string()))?;
        let agent = Agent::builder()
            .name("bench")
            .namespace(NAMESPACE)
            .concurrency(AGENT_CONCURRENCY)
            .function(STEP, |_| Box::pin(async { Ok(ActivityResult::Complete) }))
            .build()
            .map_err(|error| Failure::work(error.to_string()))?;
        let (link, end) = Link::pair(64);
        node.connect_agent(name(NAMESPACE)?, end.incoming, end.outgoing);
        let (stop_agent, stopped) = oneshot::channel::<()>();
        let agent = tokio::spawn(async move {
            let _ = agent
                .run_on(link, async {
                    let _ = stopped.await;
                })
                .await;
        });
        let client = client(&format!("http://{}", node.address()))?;
        Ok(Self::OneProcess {
            node: Arc::new(node),
            stop_agent,
            agent,
            client,
        })
    }

    pub(super) fn client(&self) -> &Client {
        match self {
            Self::Processes { server, .. } => &server.client,
            Self::OneProcess { client, .. } => client,
        }
    }

    /// Something that starts runs and waits for their ends.
    ///
    /// # Errors
    /// [`Failure::Work`] when the server cannot be reached.
    pub(super) async fn starter(&self) -> Result<Starter, Failure> {
        let namespace = name(NAMESPACE)?;
        Ok(match self {
            Self::Processes { server, .. } => Starter::Http(Connection::open(&server.url, &namespace).await?),
            Self::OneProcess { node, .. } => Starter::Direct {
                node: Arc::clone(node),
                namespace,
            },
        })
    }

    /// The process that the server runs in.
    pub(super) fn process(&self) -> Process {
        match self {
            Self::Processes { server, .. } => server.process(),
            Self::OneProcess { .. } => Process(std::process::id()),
        }
    }

    /// The data is thrown away, so nothing has to end in order.
    pub(super) async fn stop(self) {
        match self {
            Self::Processes { mut server, mut agent } => {
                let _ = agent.kill().await;
                server.kill().await;
            }
            Self::OneProcess {
                node,
                stop_agent,
                agent,
                ..
            } => {
                let _ = stop_agent.send(());
                let _ = agent.await;
                if let Some(node) = Arc::into_inner(node) {
                    let _ = node.shutdown().await;
                }
            }
        }
    }
}
