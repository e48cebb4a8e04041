//! The secrets of a server, from the same places as those of an agent.

use std::fmt;
use std::path::PathBuf;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use unisono_agent::{DirectorySecrets, EnvironmentSecrets, SecretsClient};
use unisono_model::name::Name;
use unisono_node::{SecretError, ServerSecrets};

/// What the names of environment variables begin with that hold a secret.
const PREFIX: &str = "UNISONO_SECRET";

/// Secrets from a directory or from the environment.
pub(crate) struct Secrets(Box<dyn SecretsClient>);

impl Secrets {
    /// Those of a directory; of the environment when there is none.
    pub(crate) fn new(directory: Option<PathBuf>) -> Self {
        match directory {
            Some(directory) => Self(Box::new(DirectorySecrets::new(directory))),
            None => Self(Box::new(EnvironmentSecrets::new(PREFIX))),
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl ServerSecrets for Secrets {
    fn secret<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<String, SecretError>> {
        let secret = self.0.secret(name);
        let guarded = secret.map(|secret| match secret {
            Ok(secret) => Ok(secret.reveal().to_owned()),
            Err(error) => Err(SecretError(error.to_string())),
        });
        guarded.boxed()
    }
}
