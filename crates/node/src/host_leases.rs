//! The leases of hosts, on the node that runs in the same process.
//!
//! They are the values that hosts elsewhere reach over HTTP, so hosts of this process and of others share the slots of a
//! service.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::value::to_raw_value;
use unisono_engine::value::{
    Condition, Data, Expect, Failed, Operation, Outcome, Put, ValueCommand, ValueRejection, Write,
};
use unisono_engine::{Command, Rejection, Reply};
use unisono_host::{FencingToken, Holder, Insertion, LeaseKey, LeaseStore, StoreCall, StoreError};
use unisono_model::hosts;
use unisono_model::key::Key;
use unisono_model::name::Name;
use unisono_model::values::{ChangeKind, Content};

use crate::api::{Api, Next, ValueWatch};
use crate::feed::Scope;

/// The leases of hosts, on the node that runs in the same process: a store for [`unisono_host::Host`].
#[derive(Clone)]
pub struct HostLeases {
    api: Api,
    namespace: Name,
}

impl HostLeases {
    pub(crate) fn new(api: Api, namespace: Name) -> Self {
        Self { api, namespace }
    }

    /// Does this if the key is like that; or else what the key is really like.
    async fn write(
        &self,
        (key, is): (Key, Expect),
        operation: Operation,
    ) -> Result<Result<Outcome, Option<Failed>>, StoreError> {
        let write = Write {
            namespace: self.namespace.clone(),
            conditions: vec![Condition { key, is }],
            operations: vec![operation],
            writer: None,
            party: None,
            checked: Vec::new(),
        };
        let command = Command::Value(ValueCommand::Write(Box::new(write)));
        let decided = self.api.partition.command(command).await;
        match decided.map_err(unavailable)? {
            Ok(Reply::Written(written)) => match written.outcomes.into_iter().next() {
                Some(outcome) => Ok(Ok(outcome)),
                None => Err(unavailable("a write was answered with nothing")),
            },
            Ok(_) => Err(unavailable("a write was answered with something else")),
            Err(Rejection::Value(ValueRejection::ConditionFailed { failed })) => Ok(Err(failed.into_iter().next())),
            Err(rejection) => Err(unavailable(rejection.to_string())),
        }
    }
}

impl LeaseStore for HostLeases {
    fn insert_if_absent<'a>(
        &'a self,
        key: &'a LeaseKey,
        holder: &'a Holder,
        ttl: Duration,
    ) -> StoreCall<'a, Insertion> {
        async move {
            let key = path(key)?;
            let put = put(key.clone(), holder, ttl)?;
            match self.write((key, Expect::Absent), put).await? {
                Ok(outcome) => Ok(Insertion::Granted(token(&outcome)?)),
                Err(failed) => Ok(Insertion::Held {
                    by: failed.map_or_else(|| Holder::read(""), holder_of),
                    ends_in: None,
                }),
            }
        }
        .boxed()
    }

    fn compare_and_swap<'a>(
        &'a self,
        key: &'a LeaseKey,
        holder: &'a Holder,
        ttl: Duration,
    ) -> StoreCall<'a, Option<FencingToken>> {
        async move {
            let key = path(key)?;
            let put = put(key.clone(), holder, ttl)?;
            let ours = Expect::Content(content(holder)?);
            let written = self.write((key, ours), put).await?;
            written.ok().map(|outcome| token(&outcome)).transpose()
        }
        .boxed()
    }

    fn compare_and_delete<'a>(&'a self, key: &'a LeaseKey, holder: &'a Holder) -> StoreCall<'a, bool> {
        async move {
            let key = path(key)?;
            let ours = Expect::Content(content(holder)?);
            let delete = Operation::Delete {
                key: key.clone(),
                fence: None,
            };
            Ok(self.write((key, ours), delete).await?.is_ok())
        }
        .boxed()
    }

    fn changed(&self, service: &str) -> Option<BoxFuture<'static, ()>> {
        let scope = Scope::Prefix(hosts::slots_of(service));
        // A watch of what comes begins at once.
        let begin = ValueWatch::begin(Arc::clone(&self.api), self.namespace.clone(), scope, None);
        let mut watch = begin.now_or_never()?.ok()?;
        let freed = async move {
            while let Some(next) = watch.next().await {
                if matches!(next, Next::Change(change) if change.view().kind != ChangeKind::Put) {
                    return;
                }
            }
        };
        Some(freed.boxed())
    }
}

fn path(key: &LeaseKey) -> Result<Key, StoreError> {
    Key::parse(&hosts::slot(&key.service, key.slot)).map_err(unavailable)
}

fn content(holder: &Holder) -> Result<Data, StoreError> {
    let json = to_raw_value(holder.as_str()).map_err(unavailable)?;
    Ok(Content::Json(json).into())
}

fn put(key: Key, holder: &Holder, ttl: Duration) -> Result<Operation, StoreError> {
    Ok(Operation::Put(Put {
        key,
        data: content(holder)?,
        content_type: None,
        ttl_ms: Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
        lease: None,
        fence: None,
        sensitive: None,
    }))
}

/// The revision that created the lease.
fn token(outcome: &Outcome) -> Result<FencingToken, StoreError> {
    match outcome {
        Outcome::Put { created, .. } => Ok(FencingToken(created.0)),
        _ => Err(unavailable("a put was answered with something else")),
    }
}

/// Who has the slot. What somebody else has written there is nobody that we know, and has it all the same.
fn holder_of(failed: Failed) -> Holder {
    let current = failed.current.map(|current| current.data);
    let text = current
        .as_ref()
        .and_then(|data| serde_json::from_slice::<String>(data.as_bytes()).ok());
    Holder::read(text.unwrap_or_else(|| "what is no host".to_owned()))
}

fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable(error.into())
}

#[cfg(test)]
mod tests;
