//! The configuration of an agent: a YAML (or JSON) file, and environment variables.
//!
//! The order, strongest first: environment variable, file, what the program itself said to the builder.

mod reader;
mod yaml;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use unisono_model::name::Name;

use crate::processors::{ExecSpec, HttpSpec};
pub use reader::ConfigError;
pub(crate) use reader::{Field, Fields};
use reader::{instead_of, nearest, parse_duration};

/// Bytes of a configuration file.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// What a configuration says; what it does not say is left to the program or to the defaults.
#[derive(Clone, Debug, Default)]
pub struct AgentConfig {
    /// `name`: the agent's name.
    pub name: Option<String>,
    /// `server`: the server's address.
    pub server: Option<String>,
    /// `namespace`: the namespace whose activities it runs.
    pub namespace: Option<String>,
    /// `concurrency`: attempts at the same time.
    pub concurrency: Option<u32>,
    /// `labels`: facts about the agent.
    pub labels: Option<BTreeMap<String, String>>,
    /// `drainTimeout`: how long a leaving agent waits for what it runs.
    pub drain_timeout: Option<Duration>,
    /// `callbacks.listen`: where the callback router listens; there is none when it is left out.
    pub callbacks_listen: Option<SocketAddr>,
    /// `callbacks.publicUrl`: how others reach that address.
    pub callbacks_public_url: Option<String>,
    /// `secrets.environment`: the prefix of the environment variables that hold secrets.
    pub secrets_environment: Option<String>,
    /// `secrets.directory`: the directory whose files are secrets; stronger than `secrets.environment`.
    pub secrets_directory: Option<PathBuf>,
    /// `activities`: what the built-in processors run.
    pub activities: Vec<ActivityConfig>,
}

/// An activity type that a built-in processor runs.
#[derive(Clone, Debug)]
pub struct ActivityConfig {
    /// The activity type.
    pub r#type: Name,
    /// How it is run.
    pub processor: ProcessorConfig,
}

/// A built-in processor.
#[derive(Clone, Debug)]
pub enum ProcessorConfig {
    /// Runs a command.
    Exec(ExecSpec),
    /// Sends an HTTP request.
    Http(Box<HttpSpec>),
}

/// Environment variables without their prefix, and the keys that they stand for.
const VARIABLES: [(&str, &str); 10] = [
    ("NAME", "name"),
    ("SERVER", "server"),
    ("NAMESPACE", "namespace"),
    ("CONCURRENCY", "concurrency"),
    ("LABELS", "labels"),
    ("DRAIN_TIMEOUT", "drainTimeout"),
    ("CALLBACKS_LISTEN", "callbacks.listen"),
    ("CALLBACKS_PUBLIC_URL", "callbacks.publicUrl"),
    ("SECRETS_ENVIRONMENT", "secrets.environment"),
    ("SECRETS_DIRECTORY", "secrets.directory"),
];

impl AgentConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or says something that is not understood.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |reason: String| {
            let fix = "give the path of an agent configuration that can be read";
            ConfigError::new(
                file.display().to_string(),
                format!("the file cannot be read: {reason}"),
                fix,
            )
        };
        let size = std::fs::metadata(file)
            .map_err(|error| unreadable(error.to_string()))?
            .len();
        if size > MAX_FILE_BYTES {
            return Err(unreadable(format!("it has {size} bytes, more than {MAX_FILE_BYTES}")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(&text, file)
    }

    /// Reads a text that stands in `file`: relative paths in it are relative to the file's directory.
    ///
    /// # Errors
    /// The text says something that is not understood.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let root = yaml::parse(text).map_err(|(line, reason)| {
            ConfigError::new(
                format!("{}:{line}", file.display()),
                reason,
                "correct the file at this line",
            )
        })?;
        let root = Field::root(file, root);
        let mut fields = root.fields()?;
        let mut config = Self {
            name: text_of(&mut fields, "name")?,
            server: text_of(&mut fields, "server")?,
            namespace: text_of(&mut fields, "namespace")?,
            concurrency: fields.take("concurrency").map(|field| field.number()).transpose()?,
            labels: fields.take("labels").map(|field| field.texts()).transpose()?,
            drain_timeout: fields.take("drainTimeout").map(|field| field.duration()).transpose()?,
            ..Self::default()
        };
        config.read_callbacks(&mut fields)?;
        config.read_secrets(&mut fields)?;
        if let Some(activities) = fields.take("activities") {
            config.activities = activities.list()?.iter().map(activity).collect::<Result<_, _>>()?;
        }
        fields.finish()?;
        Ok(config)
    }

    fn read_callbacks(&mut self, fields: &mut Fields) -> Result<(), ConfigError> {
        let Some(callbacks) = fields.take("callbacks") else {
            return Ok(());
        };
        let mut callbacks = callbacks.fields()?;
        if let Some(listen) = callbacks.take("listen") {
            let address = listen
                .text()?
                .parse()
                .map_err(|_| listen.error("this is no address", LISTEN_FIX))?;
            self.callbacks_listen = Some(address);
        }
        self.callbacks_public_url = text_of(&mut callbacks, "publicUrl")?;
        callbacks.finish()
    }

    fn read_secrets(&mut self, fields: &mut Fields) -> Result<(), ConfigError> {
        let Some(secrets) = fields.take("secrets") else {
            return Ok(());
        };
        let mut secrets = secrets.fields()?;
        self.secrets_environment = text_of(&mut secrets, "environment")?;
        if let Some(directory) = secrets.take("directory") {
            self.secrets_directory = Some(directory.base().join(directory.text()?));
        }
        secrets.finish()
    }

    /// Lets environment variables override what the configuration says: with the prefix `TEST`, `TEST_NAME`,
    /// `TEST_SERVER`, `TEST_NAMESPACE`, `TEST_CONCURRENCY`, `TEST_LABELS` (`zone=a,tier=b`; replaces all labels),
    /// `TEST_DRAIN_TIMEOUT`, `TEST_CALLBACKS_LISTEN`, `TEST_CALLBACKS_PUBLIC_URL`, `TEST_SECRETS_ENVIRONMENT`,
    /// `TEST_SECRETS_DIRECTORY`. Empty ones count as not there.
    ///
    /// # Errors
    /// A value is not understood, or a variable's name is close to one of these but not the same. Variables that only
    /// share the prefix are left alone: the prefix may be used by others.
    pub fn apply_environment(
        &mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let known = VARIABLES.map(|(variable, _)| variable);
        for (variable, value) in variables {
            let Some(rest) = variable.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else {
                continue;
            };
            match VARIABLES.iter().find(|(name, _)| *name == rest) {
                Some((_, key)) if !value.is_empty() => self.set(key, &value).map_err(|(reason, fix)| {
                    let place = format!("the environment variable {variable}");
                    ConfigError::new(place, reason, fix)
                })?,
                Some(_) => {}
                None if nearest(rest, &known).is_some() => {
                    let place = format!("the environment variable {variable}");
                    let fix = instead_of(rest, &known)
                        .replace('`', "")
                        .replace("mean ", &format!("mean {prefix}_"));
                    return Err(ConfigError::new(place, "no setting is called that", fix));
                }
                None => {}
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), (String, &'static str)> {
        let text = Some(value.to_owned());
        match key {
            "name" => self.name = text,
            "server" => self.server = text,
            "namespace" => self.namespace = text,
            "concurrency" => {
                let number = value
                    .parse()
                    .map_err(|_| (format!("{value:?} is no whole number"), "give, for example, 16"))?;
                self.concurrency = Some(number);
            }
            "labels" => self.labels = Some(labels(value)?),
            "drainTimeout" => {
                let fix = "give a time such as 500ms, 30s or 5m";
                self.drain_timeout = Some(parse_duration(value).map_err(|reason| (reason, fix))?);
            }
            "callbacks.listen" => {
                let address = value
                    .parse()
                    .map_err(|_| (format!("{value:?} is no address"), LISTEN_FIX))?;
                self.callbacks_listen = Some(address);
            }
            "callbacks.publicUrl" => self.callbacks_public_url = text,
            "secrets.environment" => self.secrets_environment = text,
            _ => self.secrets_directory = Some(PathBuf::from(value)),
        }
        Ok(())
    }

    /// What `stronger` says, and what it does not say as it is here. Activities of both are kept.
    #[must_use]
    pub fn overridden_by(mut self, stronger: Self) -> Self {
        self.activities.extend(stronger.activities);
        Self {
            name: stronger.name.or(self.name),
            server: stronger.server.or(self.server),
            namespace: stronger.namespace.or(self.namespace),
            concurrency: stronger.concurrency.or(self.concurrency),
            labels: stronger.labels.or(self.labels),
            drain_timeout: stronger.drain_timeout.or(self.drain_timeout),
            callbacks_listen: stronger.callbacks_listen.or(self.callbacks_listen),
            callbacks_public_url: stronger.callbacks_public_url.or(self.callbacks_public_url),
            secrets_environment: stronger.secrets_environment.or(self.secrets_environment),
            secrets_directory: stronger.secrets_directory.or(self.secrets_directory),
            activities: self.activities,
        }
    }
}

const LISTEN_FIX: &str = "give an address and a port, such as 127.0.0.1:7720";

fn labels(value: &str) -> Result<BTreeMap<String, String>, (String, &'static str)> {
    let label = |pair: &str| match pair.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err((format!("{pair:?} is no label"), "give labels such as zone=a,tier=b")),
    };
    value
        .split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(label)
        .collect()
}

fn text_of(fields: &mut Fields, key: &'static str) -> Result<Option<String>, ConfigError> {
    fields.take(key).map(|field| field.text()).transpose()
}

fn activity(field: &Field) -> Result<ActivityConfig, ConfigError> {
    let mut fields = field.fields()?;
    let kind = fields.required("type", "type: did.example.com")?;
    let name = Name::parse(&kind.text()?).map_err(|error| kind.error(error.to_string(), "give the activity's type"))?;
    let processor = match (fields.take("exec"), fields.take("http")) {
        (Some(exec), None) => ProcessorConfig::Exec(ExecSpec::read(&exec)?),
        (None, Some(http)) => ProcessorConfig::Http(Box::new(HttpSpec::read(&http)?)),
        (None, None) => {
            fields.finish()?;
            return Err(field.error(
                "nothing says how this activity is run",
                "add `exec: {…}` or `http: {…}`",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(fields.error("both `exec` and `http` stand here", "keep one of them"));
        }
    };
    fields.finish()?;
    Ok(ActivityConfig {
        r#type: name,
        processor,
    })
}

#[cfg(test)]
mod tests;
