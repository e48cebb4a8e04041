//! Values and futures.

use std::time::{Duration, Instant};

use futures_util::{Stream, stream};
use reqwest::Method;
use unisono_model::api::Page;
use unisono_model::ids::Revision;
use unisono_model::values::{
    BreakRequest, Condition, Content, DeclareRequest, DeleteResponse, Expectation, FailedCondition, FutureView,
    OperationRequest, PutRequest, PutResponse, TransactionRequest, TransactionResponse, ValueChange, ValuePage,
    ValueView, WaiterView,
};

use crate::client::Client;
use crate::error::ClientError;
use crate::follow::Follow;
use crate::query::{PageRequest, Query, key_path, with_query};
use crate::request::Repeat;

/// How much longer than the server waits the client waits for its answer.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Between two tries while the server is away.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Which values to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchScope {
    /// One key.
    Key(String),
    /// All keys that begin like this; all keys when it is empty.
    Prefix(String),
}

/// What a watch of values tells.
#[derive(Clone, Debug)]
pub enum ValueWatchEvent {
    /// Something has changed.
    Change(Box<ValueChange>),
    /// Everything up to this revision has been told. Comes first, and now and then when nothing happens.
    Progress(Revision),
}

/// What a conditional write of one key did.
#[derive(Clone, Debug)]
pub enum Swap<T> {
    /// It was done.
    Done(T),
    /// The key was not as expected, and nothing was changed: what it holds, or nothing. What is sensitive comes without its
    /// content.
    Refused(Option<Box<ValueView>>),
}

impl Client {
    // ---- values

    /// The value of a key, its content included.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `value-not-found` when there is none; and as every method.
    pub async fn value(&self, key: &str) -> Result<ValueView, ClientError> {
        self.get(&key_path("/values", key)?, Query::default()).await
    }

    /// The value of a key, if it has one.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn find_value(&self, key: &str) -> Result<Option<ValueView>, ClientError> {
        match self.value(key).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.code() == Some("value-not-found") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One page of the values whose keys begin with `prefix`, by key. What is sensitive comes without its content.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn values(&self, prefix: &str, page: &PageRequest) -> Result<ValuePage, ClientError> {
        let mut query = page.query();
        query.option("prefix", Some(prefix).filter(|prefix| !prefix.is_empty()));
        self.get("/values", query).await
    }

    /// Writes a value.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `condition-failed` when its condition does not hold; and as every method.
    pub async fn put_value(&self, key: &str, request: &PutRequest) -> Result<PutResponse, ClientError> {
        let path = key_path("/values", key)?;
        self.send_json(Method::PUT, &path, request, Repeat::Never).await
    }

    /// Deletes a value; deleting none is no error. With a revision only if it was last written then.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `condition-failed` when it was written meanwhile; and as every method.
    pub async fn delete_value(&self, key: &str, revision: Option<Revision>) -> Result<DeleteResponse, ClientError> {
        let mut request = self.request(Method::DELETE, &key_path("/values", key)?);
        if let Some(revision) = revision {
            request = request.header("if-match", format!("\"{revision}\""));
        }
        self.read(request, Repeat::Never).await
    }

    /// Several reads and writes: all conditions hold and all of them happen, or nothing does.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `condition-failed` when a condition does not hold; and as every method.
    pub async fn transact(&self, request: &TransactionRequest) -> Result<TransactionResponse, ClientError> {
        self.post("/transactions", request, Repeat::Never).await
    }

    /// Waits until a key has a value, at most so long, also through a restart of the server. `party` is who waits, so that
    /// cycles of waiting are found.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `await-timeout`, `broken-promise`, `promise-expired` or `wait-cycle`; and as
    /// every method.
    pub async fn await_value(&self, key: &str, party: Option<&str>, wait: Duration) -> Result<ValueView, ClientError> {
        let path = key_path("/values", key)?;
        let until = Instant::now() + wait;
        let ask = |left: Duration| {
            let mut query = Query::default();
            query.option("waitMs", Some(millis_up(left)));
            query.option("party", party);
            self.request(Method::GET, &with_query(&path, &query))
                .timeout(left + ANSWER_WITHIN)
        };
        self.patiently(until, ask).await
    }

    /// Asks again while the server is away, until the time is over.
    pub(crate) async fn patiently<T: serde::de::DeserializeOwned>(
        &self,
        until: Instant,
        ask: impl Fn(Duration) -> reqwest::RequestBuilder,
    ) -> Result<T, ClientError> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.read(ask(left), Repeat::Never).await {
                Err(error) if error.may_pass() && !left.is_zero() => {
                    tokio::time::sleep(AGAIN_AFTER.min(left)).await;
                }
                answer => return answer,
            }
        }
    }

    /// Follows the changes of values after a revision, or from now on, in order and without gaps. A broken connection is
    /// opened again where it broke, also through a restart of the server of some seconds.
    ///
    /// The stream ends with an error after several failures in a row; and with a problem with the code `compacted` when
    /// the server no longer knows what happened after the revision: then list the values, and watch from the revision of
    /// that list. What is sensitive comes without its content.
    pub fn watch_values(
        &self,
        scope: &WatchScope,
        after: Option<Revision>,
    ) -> impl Stream<Item = Result<ValueWatchEvent, ClientError>> + Send + use<> {
        let mut query = Query::default();
        query.option("after", after);
        let path = match scope {
            WatchScope::Key(key) => key_path("/values", key),
            WatchScope::Prefix(prefix) => {
                query.option("prefix", Some(prefix));
                Ok("/values".to_owned())
            }
        };
        let begin = path.map(|path| Follow::new(self, with_query(&path, &query)));
        stream::unfold(Some(begin), |watch| async {
            let mut follow = match watch? {
                Ok(follow) => follow,
                Err(error) => return Some((Err(error), None)),
            };
            loop {
                let event = match follow.next().await {
                    Ok(event) => event,
                    Err(error) => return Some((Err(error), None)),
                };
                let revision = event.id.as_deref().and_then(|id| id.parse().ok()).map(Revision);
                let told = match (event.name.as_str(), revision) {
                    ("change", _) => follow.parse(&event.data).map(ValueWatchEvent::Change),
                    ("progress", Some(revision)) => Ok(ValueWatchEvent::Progress(revision)),
                    // Of later days.
                    _ => continue,
                };
                let next = told.is_ok().then_some(Ok(follow));
                return Some((told, next));
            }
        })
    }

    // ---- three operations with a time to live, on which leases can be made

    /// Writes the value if the key has none.
    ///
    /// # Errors
    /// As every method: see [`ClientError`]. After [`ClientError::is_unreachable`] it may have been done, or still be.
    pub async fn insert_if_absent(
        &self,
        key: &str,
        content: Content,
        ttl: Duration,
    ) -> Result<Swap<PutResponse>, ClientError> {
        self.swap(key, content, (ttl, Expectation::absent())).await
    }

    /// Writes the value if the key holds what is expected. Its `create_revision` stays the same.
    ///
    /// # Errors
    /// As [`Client::insert_if_absent`].
    pub async fn compare_and_swap(
        &self,
        key: &str,
        expected: Content,
        content: Content,
        ttl: Duration,
    ) -> Result<Swap<PutResponse>, ClientError> {
        self.swap(key, content, (ttl, Expectation::content(expected))).await
    }

    /// Deletes the value if the key holds what is expected.
    ///
    /// # Errors
    /// As [`Client::insert_if_absent`].
    pub async fn compare_and_delete(&self, key: &str, expected: Content) -> Result<Swap<()>, ClientError> {
        let key = unisono_model::key::Key::parse(key).map_err(|error| bad_key(key, &error))?;
        let condition = Condition {
            key: key.clone(),
            is: Expectation::content(expected),
        };
        let delete = OperationRequest::Delete {
            key,
            fence: None,
            lock: None,
        };
        let request = TransactionRequest {
            r#if: vec![condition],
            then: vec![delete],
            party: None,
        };
        swapped(self.transact(&request).await.map(drop))
    }

    async fn swap(
        &self,
        key: &str,
        content: Content,
        (ttl, is): (Duration, Expectation),
    ) -> Result<Swap<PutResponse>, ClientError> {
        let request = PutRequest {
            ttl_ms: Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
            r#if: Some(is),
            ..PutRequest::new(content)
        };
        swapped(self.put_value(key, &request).await)
    }

    // ---- futures

    /// Declares a future: who will give a key its value.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when somebody else has, or a cycle of waiting would close; and as every method.
    pub async fn declare_future(&self, key: &str, request: &DeclareRequest) -> Result<FutureView, ClientError> {
        let path = key_path("/futures", key)?;
        self.send_json(Method::PUT, &path, request, Repeat::Never).await
    }

    /// Breaks a promise: whoever awaits the value is told why there will be none.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when it is not declared, or settled; and as every method.
    pub async fn break_future(&self, key: &str, reason: &str) -> Result<(), ClientError> {
        let request = BreakRequest {
            reason: reason.to_owned(),
        };
        let request = self.request(Method::POST, &key_path("/futures", key)?).json(&request);
        self.send(request, Repeat::Never).await.map(drop)
    }

    /// Forgets a future; a pending promise is broken by that. Its value stays.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when it is not declared; and as every method.
    pub async fn withdraw_future(&self, key: &str) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &key_path("/futures", key)?);
        self.send(request, Repeat::Never).await.map(drop)
    }

    /// A declared future.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when it is not declared; and as every method.
    pub async fn future(&self, key: &str) -> Result<FutureView, ClientError> {
        self.get(&key_path("/futures", key)?, Query::default()).await
    }

    /// One page of the futures whose keys begin with `prefix`, by key.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn futures(&self, prefix: &str, page: &PageRequest) -> Result<Page<FutureView>, ClientError> {
        let mut query = page.query();
        query.option("prefix", Some(prefix).filter(|prefix| !prefix.is_empty()));
        self.get("/futures", query).await
    }

    /// Who awaits a key, who came first first.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn waiters(&self, key: &str) -> Result<Vec<WaiterView>, ClientError> {
        let page: Page<WaiterView> = self.get(&key_path("/waiters", key)?, Query::default()).await?;
        Ok(page.items)
    }
}

/// Whole milliseconds, and one more for what is left of one.
pub(crate) fn millis_up(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// A condition that does not hold is an answer, not an error.
fn swapped<T>(done: Result<T, ClientError>) -> Result<Swap<T>, ClientError> {
    match done {
        Ok(done) => Ok(Swap::Done(done)),
        Err(error) => match error.failed_condition() {
            Some(failed) => Ok(Swap::Refused(failed.current)),
            None => Err(error),
        },
    }
}

fn bad_key(key: &str, error: &unisono_model::key::KeyError) -> ClientError {
    ClientError::BadArgument {
        what: "the key",
        given: key.to_owned(),
        reason: error.to_string(),
    }
}

impl ClientError {
    /// What the first key of a failed condition is really like.
    #[must_use]
    pub fn failed_condition(&self) -> Option<FailedCondition> {
        match self {
            Self::Problem(problem) => problem.failed_condition(),
            _ => None,
        }
    }
}
