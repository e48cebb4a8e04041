//! A backup of the server, as it comes in.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;

use crate::error::ClientError;
use crate::request;

/// For how long nothing may come before the server is taken for gone.
const SILENCE: Duration = Duration::from_secs(120);

/// A backup that the server is sending. That it ends is no proof that it is complete: it has to be verified.
#[derive(Debug)]
pub struct BackupDownload {
    pub(crate) server: String,
    pub(crate) response: Response,
}

impl BackupDownload {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when the connection broke, [`ClientError::Timeout`] when nothing came for two minutes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        match tokio::time::timeout(SILENCE, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| request::failure(&self.server, SILENCE, error)),
            Err(_) => Err(ClientError::Timeout {
                url: self.server.clone(),
                seconds: SILENCE.as_secs(),
            }),
        }
    }
}
