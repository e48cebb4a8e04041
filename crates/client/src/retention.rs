//! How long orchestrations that have ended are kept, and deleting one at once.

use reqwest::Method;
use unisono_model::retention::{RetentionRule, RetentionView};

use crate::client::{Client, orchestration};
use crate::error::ClientError;
use crate::query::{Query, segment};
use crate::request::Repeat;

impl Client {
    /// Deletes what is kept of an orchestration that has ended: its summary, history and logs.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when it has not ended; and as every method.
    pub async fn delete_orchestration(&self, id: &str) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &orchestration(id, "")?);
        self.send(request, Repeat::Never).await.map(drop)
    }

    /// How long orchestrations of the namespace are kept after their end.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn retention(&self) -> Result<RetentionView, ClientError> {
        self.get("/retention", Query::default()).await
    }

    /// Sets how long orchestrations of a definition are kept; without one, those of each that has no rule of its own.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when there is no such definition or namespace; and as every method.
    pub async fn set_retention(&self, r#type: Option<&str>, rule: &RetentionRule) -> Result<(), ClientError> {
        let request = self.request(Method::PUT, &path(r#type)?).json(rule);
        self.send(request, Repeat::Safe).await.map(drop)
    }

    /// Takes away the rule of a definition, or the namespace's.
    ///
    /// # Errors
    /// As [`Client::set_retention`].
    pub async fn unset_retention(&self, r#type: Option<&str>) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &path(r#type)?);
        self.send(request, Repeat::Safe).await.map(drop)
    }
}

fn path(r#type: Option<&str>) -> Result<String, ClientError> {
    Ok(match r#type {
        Some(r#type) => format!("/retention/{}", segment("the type", r#type)?),
        None => "/retention".to_owned(),
    })
}
