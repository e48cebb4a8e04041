//! Secrets of a server: keys that sign requests, and tokens that these carry.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use unisono_model::name::Name;

/// Where a server gets its secrets from.
pub trait ServerSecrets: Debug + Send + Sync {
    /// The secret of this name, as it is now: it may be read anew each time, so that it can be rotated.
    fn secret<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<String, SecretError>>;
}

/// Why there is no secret, for people: where it was looked for, and never what it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(pub String);

/// There are none.
#[derive(Debug)]
pub(crate) struct NoSecrets;

impl ServerSecrets for NoSecrets {
    fn secret<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<String, SecretError>> {
        let error = SecretError(format!("there is no secret \"{name}\": this server was given none"));
        Box::pin(std::future::ready(Err(error)))
    }
}
