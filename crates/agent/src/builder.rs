//! Describes an agent, and makes it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use unisono_client::{ClientError, ClientOptions, install_crypto_provider};
use unisono_model::name::{Name, NameError};
use unisono_telemetry::trace::Spans;

use crate::agent::{Agent, Identity};
use crate::callbacks::Listener;
use crate::config::{ActivityConfig, AgentConfig, ConfigError, ProcessorConfig};
use crate::holdings::Processors;
use crate::processor::{ActivityProcessor, DynProcessor, Processed};
use crate::processors::{ExecProcessor, HttpProcessor};
use crate::secrets::{DirectorySecrets, EnvironmentSecrets, SecretsClient};
use crate::services::{HttpClient, Services};
use crate::{ActivityContext, BoxError};

const DEFAULT_SERVER: &str = "http://127.0.0.1:7717";
const DEFAULT_NAMESPACE: &str = "default";
const DEFAULT_CONCURRENCY: u32 = 16;
const DEFAULT_DRAIN: Duration = Duration::from_secs(30);
/// How many attempts an agent can be asked to run at the same time.
const MAX_CONCURRENCY: u32 = 100_000;

type Maker = Box<dyn FnOnce(&Services) -> Result<Arc<dyn DynProcessor>, BoxError> + Send>;

/// Describes an agent. What is said here is weaker than the configuration file, which is weaker than the environment.
#[derive(Default)]
pub struct AgentBuilder {
    config: AgentConfig,
    file: Option<PathBuf>,
    prefix: Option<String>,
    services: Services,
    activities: Vec<(String, Maker)>,
    spans: Spans,
}

/// Why an agent cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A name is none.
    #[error("{what} {given:?} is not usable: {source}")]
    Name {
        /// What is named.
        what: &'static str,
        /// What was given.
        given: String,
        /// Why it is none.
        source: NameError,
    },
    /// A setting is out of range.
    #[error("{what} is not usable: {reason}")]
    Setting {
        /// Which one.
        what: &'static str,
        /// Why not, and what would be.
        reason: String,
    },
    /// The server's address is not usable.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// Two processors for one activity type.
    #[error(
        "the activity type {0:?} has two processors; keep one of them (look into the program and the configuration file)"
    )]
    Twice(Name),
    /// No processor at all.
    #[error(
        "the agent runs no activities; add `activities` to its configuration file, or processors with \
         `Agent::builder().activity(…)`"
    )]
    NoActivities,
    /// A processor could not be made.
    #[error("the processor of the activity type {activity_type:?} cannot be made: {reason}")]
    Processor {
        /// The type.
        activity_type: Name,
        /// Why not; a missing service says how to register it.
        reason: String,
    },
    /// The address for callbacks cannot be listened on.
    #[error("cannot listen for callbacks on {address}: {source}; choose another `callbacks.listen`")]
    Callbacks {
        /// The address.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
}

impl AgentBuilder {
    /// The agent's name, which people see; `agent` when nobody says another one.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// The server's address; `http://127.0.0.1:7717` when nobody says another one.
    #[must_use]
    pub fn server(mut self, server: impl Into<String>) -> Self {
        self.config.server = Some(server.into());
        self
    }

    /// The namespace whose activities the agent runs; `default` when nobody says another one.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.config.namespace = Some(namespace.into());
        self
    }

    /// Attempts at the same time; 16 when nobody says another number.
    #[must_use]
    pub fn concurrency(mut self, concurrency: u32) -> Self {
        self.config.concurrency = Some(concurrency);
        self
    }

    /// A fact about the agent, for people and selectors.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config
            .labels
            .get_or_insert_default()
            .insert(key.into(), value.into());
        self
    }

    /// How long the leaving agent waits for what it runs before it cancels it; 30 seconds when nobody says another time.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.config.drain_timeout = Some(timeout);
        self
    }

    /// Settings that were read elsewhere; they override what was said so far.
    #[must_use]
    pub fn config(mut self, config: AgentConfig) -> Self {
        self.config = self.config.overridden_by(config);
        self
    }

    /// A configuration file, read by [`build`](Self::build). It overrides what the program says.
    #[must_use]
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// The prefix of environment variables that override the file and the program; see
    /// [`AgentConfig::apply_environment`].
    #[must_use]
    pub fn env_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Where the spans of attempts of traced orchestrations go; nowhere when nobody says. Processors are handed the trace
    /// either way ([`ActivityContext::trace`]).
    #[must_use]
    pub fn spans(mut self, spans: Spans) -> Self {
        self.spans = spans;
        self
    }

    /// Registers a service, which processors find by its type.
    #[must_use]
    pub fn service<T: Send + Sync + 'static>(mut self, service: T) -> Self {
        self.services.insert(Arc::new(service));
        self
    }

    /// Registers a service that is shared already, or that is found by a trait:
    /// `.shared_service::<dyn SecretsClient>(Arc::new(…))`.
    #[must_use]
    pub fn shared_service<T: ?Sized + Send + Sync + 'static>(mut self, service: Arc<T>) -> Self {
        self.services.insert(service);
        self
    }

    /// The processor of an activity type, made out of services:
    /// `.activity("did.example.com", |services| Ok(Did { http: services.get()? }))`.
    #[must_use]
    pub fn activity<P, F>(mut self, activity_type: impl Into<String>, make: F) -> Self
    where
        P: ActivityProcessor,
        F: FnOnce(&Services) -> Result<P, BoxError> + Send + 'static,
    {
        let make: Maker = Box::new(|services| Ok(Arc::new(make(services)?)));
        self.activities.push((activity_type.into(), make));
        self
    }

    /// The processor of an activity type, as a closure: `|context| Box::pin(async move { … })`.
    #[must_use]
    pub fn function<F>(self, activity_type: impl Into<String>, function: F) -> Self
    where
        F: for<'a> Fn(&'a mut ActivityContext) -> futures_util::future::BoxFuture<'a, Processed>
            + Send
            + Sync
            + 'static,
    {
        self.activity(activity_type, move |_| Ok(function))
    }

    /// Makes the agent: reads the configuration, binds the address for callbacks, makes the processors.
    ///
    /// # Errors
    /// [`BuildError`]; nothing has been connected then.
    pub fn build(mut self) -> Result<Agent, BuildError> {
        install_crypto_provider();
        let config = self.settings()?;
        let identity = identity(&config)?;
        let server = config.server.clone().unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        let options = ClientOptions::new(&server, identity.namespace.as_str());
        let client = unisono_client::Client::new(options)?;
        let callbacks = match config.callbacks_listen {
            Some(address) => {
                let listener = Listener::bind(address, config.callbacks_public_url.clone(), client.clone());
                Some(listener.map_err(|source| BuildError::Callbacks {
                    address: address.to_string(),
                    source,
                })?)
            }
            None => None,
        };
        self.add_built_in_services(&config, callbacks.as_ref(), client);
        let processors = processors(&self.services, self.activities, config.activities)?;
        let drain_limit = config.drain_timeout.unwrap_or(DEFAULT_DRAIN);
        Ok(Agent {
            identity,
            server,
            processors,
            drain_limit,
            spans: self.spans,
            callbacks,
        })
    }

    /// Program, file, environment: the later the stronger.
    fn settings(&mut self) -> Result<AgentConfig, BuildError> {
        let mut config = std::mem::take(&mut self.config);
        if let Some(file) = &self.file {
            config = config.overridden_by(AgentConfig::load(file)?);
        }
        if let Some(prefix) = &self.prefix {
            let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
                Some((key.into_string().ok()?, value.into_string().ok()?))
            };
            config.apply_environment(prefix, std::env::vars_os().filter_map(text))?;
        }
        Ok(config)
    }

    fn add_built_in_services(
        &mut self,
        config: &AgentConfig,
        callbacks: Option<&Listener>,
        client: unisono_client::Client,
    ) {
        self.services
            .insert_missing::<HttpClient>(|| Arc::new(http_client().build().unwrap_or_default()));
        self.services.insert_missing(|| Arc::new(client));
        self.services
            .insert_missing::<dyn SecretsClient>(|| match &config.secrets_directory {
                Some(directory) => Arc::new(DirectorySecrets::new(directory)),
                None => {
                    let prefix = config
                        .secrets_environment
                        .clone()
                        .or_else(|| Some(format!("{}_SECRET", self.prefix.as_ref()?)));
                    Arc::new(EnvironmentSecrets::new(prefix.unwrap_or_else(|| "SECRET".to_owned())))
                }
            });
        if let Some(listener) = callbacks {
            self.services.insert_missing(|| listener.router());
        }
    }
}

fn identity(config: &AgentConfig) -> Result<Identity, BuildError> {
    let name = |what, given: Option<&String>, default: &str| {
        let given = given.map_or(default, String::as_str);
        Name::parse(given).map_err(|source| BuildError::Name {
            what,
            given: given.to_owned(),
            source,
        })
    };
    let concurrency = config.concurrency.unwrap_or(DEFAULT_CONCURRENCY);
    if !(1..=MAX_CONCURRENCY).contains(&concurrency) {
        let reason = format!("{concurrency} is not within 1 to {MAX_CONCURRENCY}");
        return Err(BuildError::Setting {
            what: "the concurrency",
            reason,
        });
    }
    Ok(Identity {
        name: name("the agent's name", config.name.as_ref(), "agent")?,
        namespace: name("the namespace", config.namespace.as_ref(), DEFAULT_NAMESPACE)?,
        incarnation: name("the incarnation", Some(&uuid::Uuid::now_v7().to_string()), "")?,
        concurrency,
        labels: labels(config.labels.clone().unwrap_or_default())?,
    })
}

fn labels(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, BuildError> {
    use unisono_model::limits::{MAX_LABEL_VALUE_BYTES, MAX_LABELS};
    let bad = |reason: String| {
        Err(BuildError::Setting {
            what: "the labels",
            reason,
        })
    };
    if labels.len() > MAX_LABELS {
        return bad(format!("there are {}, and {MAX_LABELS} are allowed", labels.len()));
    }
    for (key, value) in &labels {
        if let Err(error) = Name::parse(key) {
            return bad(format!("the key {key:?}: {error}"));
        }
        if value.len() > MAX_LABEL_VALUE_BYTES {
            return bad(format!(
                "the value of {key:?} has {} bytes, and {MAX_LABEL_VALUE_BYTES} are allowed",
                value.len()
            ));
        }
    }
    Ok(labels)
}

fn processors(
    services: &Services,
    made: Vec<(String, Maker)>,
    configured: Vec<ActivityConfig>,
) -> Result<Processors, BuildError> {
    let mut processors = Processors::new();
    for (given, make) in made {
        let activity_type = Name::parse(&given).map_err(|source| BuildError::Name {
            what: "the activity type",
            given,
            source,
        })?;
        let processor = make(services).map_err(|error| BuildError::Processor {
            activity_type: activity_type.clone(),
            reason: error.to_string(),
        })?;
        add(&mut processors, activity_type, processor)?;
    }
    for ActivityConfig { r#type, processor } in configured {
        let processor: Arc<dyn DynProcessor> = match processor {
            ProcessorConfig::Exec(spec) => Arc::new(ExecProcessor::new(spec)),
            ProcessorConfig::Http(spec) => Arc::new(HttpProcessor::new(*spec, services.find())),
        };
        add(&mut processors, r#type, processor)?;
    }
    if processors.is_empty() {
        return Err(BuildError::NoActivities);
    }
    Ok(processors)
}

fn add(processors: &mut Processors, activity_type: Name, processor: Arc<dyn DynProcessor>) -> Result<(), BuildError> {
    match processors.insert(activity_type.clone(), processor) {
        None => Ok(()),
        Some(_) => Err(BuildError::Twice(activity_type)),
    }
}

/// How HTTP clients are made here. The system's proxy settings count, save for the local machine.
pub(crate) fn http_client() -> reqwest::ClientBuilder {
    install_crypto_provider();
    let client = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .user_agent("unisono-agent");
    let proxied = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ];
    if proxied.iter().any(|name| std::env::var_os(name).is_some()) {
        client
    } else {
        client.no_proxy()
    }
}
