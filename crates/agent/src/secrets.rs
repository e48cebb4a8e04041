//! Secrets that processors need: passwords, tokens, keys.

use std::fmt;
use std::path::PathBuf;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use unisono_model::name::Name;

/// Bytes of the largest secret that is read.
const MAX_SECRET_BYTES: u64 = 1024 * 1024;

/// Where processors get secrets from.
pub trait SecretsClient: Send + Sync + 'static {
    /// The secret of this name, as it is now: implementations may read it anew each time, so that it can be rotated.
    fn secret<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Secret, SecretError>>;
}

/// A secret text. Its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Guards a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself; do not log it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why there is no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is no secret of that name.
    #[error("there is no secret {name:?}: {place} does not exist; create it, or correct the name")]
    Missing {
        /// The secret's name.
        name: String,
        /// Where it was looked for.
        place: String,
    },
    /// There is one, but it cannot be read.
    #[error("the secret {name:?} cannot be read from {place}: {reason}")]
    Unreadable {
        /// The secret's name.
        name: String,
        /// Where it is.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

/// Secrets from environment variables: the secret `api-token` of the prefix `TEST_SECRET` is `TEST_SECRET_API_TOKEN`.
#[derive(Clone, Debug)]
pub struct EnvironmentSecrets {
    prefix: String,
}

impl EnvironmentSecrets {
    /// Secrets from the variables that begin with `prefix` and an underscore.
    #[must_use]
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    fn variable(&self, name: &Name) -> String {
        let name = name.to_ascii_uppercase().replace(['-', '.'], "_");
        format!("{}_{name}", self.prefix)
    }
}

impl SecretsClient for EnvironmentSecrets {
    fn secret<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Secret, SecretError>> {
        let variable = self.variable(name);
        let secret = std::env::var(&variable).map(Secret::new).map_err(|error| {
            let (name, place) = (name.to_string(), format!("the environment variable {variable}"));
            match error {
                std::env::VarError::NotPresent => SecretError::Missing { name, place },
                std::env::VarError::NotUnicode(_) => SecretError::Unreadable {
                    name,
                    place,
                    reason: "it is not UTF-8".to_owned(),
                },
            }
        });
        std::future::ready(secret).boxed()
    }
}

/// Secrets from the files of a directory, as orchestrators of containers mount them: the file's name is the secret's
/// name; one line break at its end is not part of the secret. Files are read anew each time.
#[derive(Clone, Debug)]
pub struct DirectorySecrets {
    directory: PathBuf,
}

impl DirectorySecrets {
    /// Secrets from the files of `directory`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    async fn read(&self, name: &Name) -> Result<Secret, SecretError> {
        let path = self.directory.join(name.as_str());
        let (name, place) = (name.to_string(), format!("the file {}", path.display()));
        let unreadable = |reason: String| SecretError::Unreadable {
            name: name.clone(),
            place: place.clone(),
            reason,
        };
        // A name has no slash in it; these two are the only ones that leave the directory.
        if matches!(name.as_str(), "." | "..") {
            return Err(unreadable("it is no name of a file".to_owned()));
        }
        let size = match tokio::fs::metadata(&path).await {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(SecretError::Missing { name, place });
            }
            Err(error) => return Err(unreadable(error.to_string())),
        };
        if size > MAX_SECRET_BYTES {
            return Err(unreadable(format!("it has {size} bytes, more than {MAX_SECRET_BYTES}")));
        }
        let text = tokio::fs::read_to_string(&path)
            .await
            .map_err(|error| unreadable(error.to_string()))?;
        let text = text
            .strip_suffix('\n')
            .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        Ok(Secret::new(text.to_owned()))
    }
}

impl SecretsClient for DirectorySecrets {
    fn secret<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Secret, SecretError>> {
        self.read(name).boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[tokio::test]
    async fn a_secret_is_the_text_of_a_file_without_its_line_break() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("api-token"), "s3cret\n").unwrap();
        let secrets = DirectorySecrets::new(directory.path());
        let secret = secrets.secret(&name("api-token")).await.unwrap();
        assert_eq!(secret.reveal(), "s3cret");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[tokio::test]
    async fn a_missing_secret_says_where_it_was_looked_for() {
        let secrets = DirectorySecrets::new("/nowhere");
        let error = secrets.secret(&name("token")).await.unwrap_err().to_string();
        assert!(error.contains("/nowhere/token does not exist"), "{error}");
        assert!(secrets.secret(&name("..")).await.is_err());
        let secrets = EnvironmentSecrets::new("UNISONO_TEST_SECRET");
        let error = secrets.secret(&name("api-token")).await.unwrap_err().to_string();
        assert!(
            error.contains("UNISONO_TEST_SECRET_API_TOKEN does not exist"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_secret_can_come_from_the_environment() {
        let secrets = EnvironmentSecrets::new("CARGO_PKG");
        assert_eq!(secrets.secret(&name("name")).await.unwrap().reveal(), "unisono-agent");
    }
}
