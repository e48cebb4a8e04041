//! One running server: the partition and its journal, the HTTP API, and the agents' WebSocket.
//!
//! [`Node::start`] locks the data directory, recovers state, and serves; [`Node::shutdown`] stops
//! taking work, lets what is under way become durable, writes a checkpoint, and returns.

mod api;
pub mod backup;
mod embedded;
mod error;
mod feed;
mod fleets;
mod host_leases;
mod hub;
pub mod inspect;
mod leadership;
mod limits;
mod metrics;
mod outside;
mod partition;
pub mod replay;
mod retention;
mod sessions;
mod space;
mod trace;
pub mod verify;
mod waits;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
pub use unisono_engine::Settings;
pub use unisono_engine::orchestration::RetryPolicy;
use unisono_host::{Host, ProblemHandle, Service, ServiceContext, service};
use unisono_model::api::{Problem, StartRequest, StartResponse};
use unisono_model::name::Name;
use unisono_model::protocol::{AgentMessage, ServerMessage};
use unisono_telemetry::logs::LogLevels;
use unisono_telemetry::trace::Spans;

use api::{AgentReader, AgentWriter, Api, ApiState, Expressions, LinkClosed, Notes, Schemas, serve_agent};
pub use error::NodeError;
pub use host_leases::HostLeases;
use leadership::DirectoryLease;
use limits::LimitedListener;
use metrics::Metrics;
pub use outside::{LocalControllers, MonitoringController, Said, SecretError, ServerSecrets, TargetController};
use space::Space;
use trace::Traces;

/// How a node is run.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Where everything is kept.
    pub data_directory: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Numbers that decisions depend on.
    pub settings: Settings,
    /// How often agents and node say something when there is nothing to say, in milliseconds.
    pub heartbeat_ms: u64,
    /// Bytes of events between two checkpoints.
    pub checkpoint_bytes: u64,
    /// Bytes of the disk that new work does not get; when left out 1 GiB, and less of a disk below 8 GiB.
    pub disk_reserve: Option<u64>,
    /// How often it is looked for orchestrations that ended long enough ago to be deleted.
    pub retention_interval: Duration,
    /// Where keys come from that sign what is sent to hooks, controllers and subscribers of rollouts, and tokens.
    pub secrets: Arc<dyn ServerSecrets>,
    /// Controllers of rollouts that are part of this process.
    pub controllers: LocalControllers,
    /// Where spans of traced runs go.
    pub spans: Spans,
    /// The fraction of starts without a trace of the caller's that begin one, from 0 to 1; one in a hundred when it is
    /// left out and spans are exported.
    pub trace_sample: Option<f64>,
    /// The log of the process, if its levels may be changed over the API.
    pub log: Option<LogLevels>,
}

impl NodeOptions {
    /// The defaults for a data directory and an address.
    #[must_use]
    pub fn new(data_directory: PathBuf, listen: SocketAddr) -> Self {
        Self {
            data_directory,
            listen,
            settings: Settings::default(),
            heartbeat_ms: 5_000,
            checkpoint_bytes: 32 * 1024 * 1024,
            disk_reserve: None,
            retention_interval: Duration::from_secs(60),
            secrets: Arc::new(outside::NoSecrets),
            controllers: LocalControllers::default(),
            spans: Spans::default(),
            trace_sample: None,
            log: None,
        }
    }
}

/// How long requests under way may take when the node stops.
const DRAIN: Duration = Duration::from_secs(10);

/// A running node: a server, hosted where it has the lock on its data directory.
pub struct Node {
    host: Host,
    problem: ProblemHandle,
    api: Api,
    address: SocketAddr,
}

impl Node {
    /// Locks the data directory, recovers state, and serves.
    ///
    /// # Errors
    /// [`NodeError`] when the directory is in use or damaged, or the address cannot be listened on.
    pub async fn start(options: NodeOptions) -> Result<Self, NodeError> {
        let path = options.data_directory.clone();
        if let Err(source) = std::fs::create_dir_all(&path) {
            return Err(NodeError::DataDirectory { path, source });
        }
        let lease = Arc::new(DirectoryLease::new(&path));
        let (ready, started) = oneshot::channel();
        let (host, problem) = leadership::launch(Arc::clone(&lease), hosted(options, ready))?;
        let refused = match started.await {
            Ok(Ok((api, address))) => {
                return Ok(Self {
                    host,
                    problem,
                    api,
                    address,
                });
            }
            Ok(Err(error)) => error,
            // The server was never run.
            Err(_) => match lease.refusal() {
                Some(refusal) => NodeError::Locked(refusal),
                None => problem.signalled().await.into(),
            },
        };
        // What is wrong is known already.
        let _ = leadership::shut_down(&host).await;
        Err(refused)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the node cannot go on, and says why.
    pub async fn problem(&self) -> NodeError {
        self.problem.signalled().await.into()
    }

    /// Serves an agent of this process: what it sends, and where it is sent to.
    pub fn connect_agent(
        &self,
        namespace: Name,
        from_agent: mpsc::Receiver<Vec<AgentMessage>>,
        to_agent: mpsc::Sender<Vec<ServerMessage>>,
    ) {
        tokio::spawn(serve_agent(
            self.api.clone(),
            namespace,
            ChannelReader(from_agent),
            ChannelWriter(to_agent),
        ));
    }

    /// Starts an orchestration without going through HTTP, and waits for its end if asked to.
    ///
    /// # Errors
    /// The problem that the HTTP API would answer with.
    pub async fn start_orchestration(
        &self,
        namespace: Name,
        request: StartRequest,
        wait: Option<Duration>,
    ) -> Result<StartResponse, Problem> {
        api::start_and_wait(&self.api, namespace, request, (wait, None, None))
            .await
            .map_err(api::ApiError::into_problem)
    }

    /// The leases of hosts in a namespace, without going through HTTP.
    #[must_use]
    pub fn host_leases(&self, namespace: Name) -> HostLeases {
        HostLeases::new(Arc::clone(&self.api), namespace)
    }

    /// Stops taking work, lets what is under way become durable, writes a checkpoint, and returns.
    ///
    /// # Errors
    /// [`NodeError`] when there was a problem, before or now.
    pub async fn shutdown(self) -> Result<(), NodeError> {
        leadership::shut_down(&self.host).await
    }
}

/// The service that a node's host runs. It says when it serves, or why it does not.
fn hosted(options: NodeOptions, ready: oneshot::Sender<Result<(Api, SocketAddr), NodeError>>) -> Box<dyn Service> {
    service("server", |context: ServiceContext| async move {
        let (server, address) = match Server::start(options).await {
            Ok(started) => started,
            Err(error) => {
                let why = error.to_string();
                // Nobody waits for it any more when the start was given up, and then nobody wants to know.
                let _ = ready.send(Err(error));
                return Err(why.into());
            }
        };
        let _ = ready.send(Ok((Arc::clone(&server.api), address)));
        context.started();
        tokio::select! {
            problem = server.problem() => return Err(problem.into()),
            () = context.stopping() => {}
        }
        Ok(server.stop().await?)
    })
}

/// What serves while it leads.
struct Server {
    api: Api,
    listener: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(options: NodeOptions) -> Result<(Self, SocketAddr), NodeError> {
        let cannot_listen = |source| NodeError::Listen {
            address: options.listen.to_string(),
            source,
        };
        let listener = TcpListener::bind(options.listen).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let api = recover(&options).await?;
        tokio::spawn(retention::run(Arc::clone(&api), options.retention_interval));
        tokio::spawn(outside::run(Arc::clone(&api)));
        let stopping = api.stopping.clone();
        let router = api::router(api.clone());
        let listener = LimitedListener::new(listener);
        let listener = tokio::spawn(async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(async move { stopping.cancelled().await })
                .await
        });
        Ok((Self { api, listener }, address))
    }

    /// Waits until the partition has ended by itself, and says why.
    async fn problem(&self) -> NodeError {
        let why = self.api.partition.ended().await;
        NodeError::Partition(why.unwrap_or_else(|| "the partition has stopped".to_owned()))
    }

    async fn stop(mut self) -> Result<(), NodeError> {
        self.api.partition.refuse_new_work();
        self.api.stopping.cancel();
        self.api.sessions.close_all("the server shuts down");
        if tokio::time::timeout(DRAIN, &mut self.listener).await.is_err() {
            tracing::warn!("some requests were still under way after {DRAIN:?}; they are cut off");
            self.listener.abort();
        }
        self.api.partition.stop();
        let ended = self.api.partition.ended().await;
        self.api.traces.finish().await;
        match ended {
            None => Ok(()),
            Some(problem) => Err(NodeError::Partition(problem)),
        }
    }
}

/// Recovers the partition on a thread of its own: it reads files for as long as it takes.
async fn recover(options: &NodeOptions) -> Result<Api, NodeError> {
    let metrics = Arc::new(Metrics::new(options.spans.counts()));
    let hub = Arc::new(hub::Hub::default());
    let sessions = sessions::Sessions::default();
    let traces = Traces::new(options.spans.clone(), options.trace_sample);
    let shared = (sessions.clone(), Arc::clone(&hub), Arc::clone(&metrics), traces.clone());
    let directory = options.data_directory.clone();
    let settings = (options.settings, options.checkpoint_bytes);
    let space = Space::new(&directory, options.disk_reserve);
    let caller = outside::Caller::new(Arc::clone(&options.secrets)).map_err(NodeError::Partition)?;
    let partition = tokio::task::spawn_blocking(move || partition::start(directory, settings, shared, space))
        .await
        .map_err(|error| NodeError::Partition(format!("recovery failed: {error}")))??;
    Ok(Arc::new(ApiState {
        partition,
        sessions,
        hub,
        metrics,
        traces,
        log: options.log.clone(),
        notes: Notes::default(),
        schemas: Schemas::default(),
        caller,
        controllers: options.controllers.clone(),
        expressions: Expressions::default(),
        heartbeat_ms: options.heartbeat_ms,
        grace_ms: options.settings.agent_grace_ms,
        stopping: CancellationToken::new(),
        retention_changed: Notify::new(),
        data_directory: options.data_directory.clone().into(),
    }))
}

struct ChannelReader(mpsc::Receiver<Vec<AgentMessage>>);

impl AgentReader for ChannelReader {
    async fn read(&mut self) -> Result<Vec<AgentMessage>, LinkClosed> {
        self.0
            .recv()
            .await
            .ok_or_else(|| LinkClosed::Gone("the agent has ended".to_owned()))
    }
}

struct ChannelWriter(mpsc::Sender<Vec<ServerMessage>>);

impl AgentWriter for ChannelWriter {
    async fn write(&mut self, frame: Vec<ServerMessage>) -> Result<(), LinkClosed> {
        self.0
            .send(frame)
            .await
            .map_err(|_| LinkClosed::Gone("the agent has ended".to_owned()))
    }

    async fn close(&mut self) {}
}
