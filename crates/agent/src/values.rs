//! Values and futures, as a processor reads, writes, awaits and watches them over the agent's connection.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::to_raw_value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use unisono_client::{Swap, ValueWatchEvent, WatchScope};
use unisono_model::ids::Revision;
use unisono_model::key::Key;
use unisono_model::name::Name;
use unisono_model::protocol::{Answered, Question};
use unisono_model::values::{
    BreakRequest, Content, DeclareRequest, DeleteResponse, Expectation, FailedCondition, FutureView, PutRequest,
    PutResponse, TransactionRequest, TransactionResponse, ValuePage, ValueView,
};

use crate::asks::{Answers, AskError, Asked, millis_up, next_id};
use crate::attempt::{AttemptEvent, AttemptHandle};

/// Between two tries while the server cannot answer.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How much longer than the server waits the agent waits for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Changes that may wait to be read; when there are more the watch begins again from where its reader is.
const READ_AHEAD: usize = 1_024;

/// The values of the attempt's namespace, from [`ActivityContext::values`](crate::ActivityContext::values).
///
/// What is asked travels over the agent's connection, many asks at a time, and waits while there is none. After a
/// reconnect everything is asked again that does nothing twice: reads, awaits, watches, and writes that expect a revision of
/// a key that they write. Any other write that has no answer when the connection is lost is [`AskError::OutcomeUnknown`].
///
/// The writer of what is written is the activity, as `ORCHESTRATION/ACTIVITY`; what it declares is broken when its
/// orchestration ends. When the attempt is cancelled every ask ends with [`AskError::Cancelled`].
#[derive(Clone, Debug)]
pub struct Values {
    attempt: AttemptHandle,
    party: Option<Name>,
}

/// An ask, which ends when nobody waits for it any more.
#[derive(Debug)]
struct Asking {
    attempt: AttemptHandle,
    id: u64,
}

impl Asking {
    fn begin(attempt: &AttemptHandle, question: Question, until: Option<Instant>, answers: Answers) -> Self {
        let (id, attempt) = (next_id(), attempt.clone());
        let asked = Asked {
            token: attempt.token(),
            question,
            until,
            answers,
        };
        attempt.tell(AttemptEvent::Ask(id, Box::new(asked)));
        Self { attempt, id }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.attempt.tell(AttemptEvent::StopAsking(self.id));
    }
}

impl Values {
    pub(crate) fn new(attempt: AttemptHandle) -> Self {
        Self { attempt, party: None }
    }

    /// The same for a party: it is the one that writes and awaits, so that it can keep the promises that it declared, and
    /// cycles of waiting are found.
    #[must_use]
    pub fn as_party(mut self, party: Name) -> Self {
        self.party = Some(party);
        self
    }

    /// The value of a key, its content included, if it has one.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn get(&self, key: &str) -> Result<Option<ValueView>, AskError> {
        let key = parse(key)?;
        match self.patiently(Question::Get { key }, None).await {
            Ok(Answered::Value(value)) => Ok(Some(*value)),
            Err(error) if error.code() == Some("value-not-found") => Ok(None),
            other => Err(unexpected(other)),
        }
    }

    /// One page of the values whose keys begin with `prefix`, by key; `page` is the token of the page before. What is
    /// sensitive comes without its content.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn list(&self, prefix: &str, page: Option<String>) -> Result<ValuePage, AskError> {
        let question = Question::List {
            prefix: prefix.to_owned(),
            limit: None,
            page_token: page,
        };
        match self.patiently(question, None).await {
            Ok(Answered::Values(page)) => Ok(page),
            other => Err(unexpected(other)),
        }
    }

    /// Writes a value as JSON, whatever the key held.
    ///
    /// # Errors
    /// [`AskError`]; [`AskError::OutcomeUnknown`] when the connection is lost before it is answered.
    pub async fn put(&self, key: &str, value: &impl Serialize) -> Result<PutResponse, AskError> {
        self.put_with(key, PutRequest::new(json(value)?)).await
    }

    /// Writes a value, with a time to live, a condition, a fencing token and what else a write can have.
    ///
    /// # Errors
    /// As [`Values::put`]; refused with the code `condition-failed` when the condition does not hold.
    pub async fn put_with(&self, key: &str, mut request: PutRequest) -> Result<PutResponse, AskError> {
        request.party = request.party.or_else(|| self.party.clone());
        let question = Question::Put {
            key: parse(key)?,
            with: Box::new(request),
        };
        match self.ask(question, None).await {
            Ok(Answered::Put(done)) => Ok(done),
            other => Err(unexpected(other)),
        }
    }

    /// Writes a value as JSON if the key was last written at `revision`; if it has no value when that is `None`.
    ///
    /// # Errors
    /// [`AskError`]. With a revision it is asked again when the connection is lost, and [`AskError::OutcomeUnknown`] says
    /// that the key has another revision by then: of this write, or of somebody else's.
    pub async fn compare_and_swap(
        &self,
        key: &str,
        revision: Option<Revision>,
        value: &impl Serialize,
    ) -> Result<Swap<PutResponse>, AskError> {
        let request = PutRequest {
            r#if: Some(revision.map_or_else(Expectation::absent, Expectation::revision)),
            ..PutRequest::new(json(value)?)
        };
        match self.put_with(key, request).await {
            Ok(done) => Ok(Swap::Done(done)),
            Err(error) => match failed_condition(&error) {
                Some(failed) => Ok(Swap::Refused(failed.current)),
                None => Err(error),
            },
        }
    }

    /// Deletes a value; deleting none is no error. With a revision only if it was last written then.
    ///
    /// # Errors
    /// As [`Values::put_with`].
    pub async fn delete(&self, key: &str, revision: Option<Revision>) -> Result<DeleteResponse, AskError> {
        let question = Question::Delete {
            key: parse(key)?,
            revision,
            fence: None,
            lock: None,
        };
        match self.ask(question, None).await {
            Ok(Answered::Delete(done)) => Ok(done),
            other => Err(unexpected(other)),
        }
    }

    /// Several reads and writes: all conditions hold and all of them happen, or nothing does.
    ///
    /// # Errors
    /// As [`Values::put_with`].
    pub async fn transact(&self, mut request: TransactionRequest) -> Result<TransactionResponse, AskError> {
        request.party = request.party.or_else(|| self.party.clone());
        match self.ask(Question::Transact(request), None).await {
            Ok(Answered::Transaction(done)) => Ok(done),
            other => Err(unexpected(other)),
        }
    }

    /// Promises a value. The promise is broken when the activity's orchestration ends without having given it.
    ///
    /// # Errors
    /// [`AskError`]; [`AskError::OutcomeUnknown`] when the connection is lost before it is answered.
    pub async fn declare(&self, key: &str, request: DeclareRequest) -> Result<FutureView, AskError> {
        let question = Question::Declare {
            key: parse(key)?,
            with: request,
        };
        match self.ask(question, None).await {
            Ok(Answered::Future(future)) => Ok(*future),
            other => Err(unexpected(other)),
        }
    }

    /// Breaks a promise: whoever awaits the value is told why there will be none.
    ///
    /// # Errors
    /// As [`Values::declare`].
    pub async fn break_promise(&self, key: &str, reason: impl Into<String>) -> Result<(), AskError> {
        let question = Question::Break {
            key: parse(key)?,
            with: BreakRequest { reason: reason.into() },
        };
        done(self.ask(question, None).await)
    }

    /// Forgets a promise; a pending one is broken by that.
    ///
    /// # Errors
    /// As [`Values::declare`].
    pub async fn withdraw(&self, key: &str) -> Result<(), AskError> {
        done(self.ask(Question::Withdraw { key: parse(key)? }, None).await)
    }

    /// Waits until a key has a value, at most so long, also through a restart of the server.
    ///
    /// # Errors
    /// [`AskError`]; refused with the code `await-timeout`, `broken-promise`, `promise-expired` or `wait-cycle`.
    pub async fn await_value(&self, key: &str, wait: Duration) -> Result<ValueView, AskError> {
        let question = Question::Await {
            key: parse(key)?,
            wait_ms: millis_up(wait),
            party: self.party.clone(),
        };
        let answered = self.patiently(question, Some(Instant::now() + wait)).await;
        match answered {
            Ok(Answered::Value(value)) => Ok(*value),
            other => Err(unexpected(other)),
        }
    }

    /// Follows the changes of values after a revision, or from now on, in order and without gaps, also through a restart of
    /// the server. Returns when the watch has begun.
    ///
    /// # Errors
    /// [`AskError`]; refused with the code `compacted` when the server no longer knows what happened after the revision.
    pub async fn watch(&self, scope: WatchScope, after: Option<Revision>) -> Result<ValueWatch, AskError> {
        let mut watch = ValueWatch {
            values: self.clone(),
            scope,
            after,
            open: None,
        };
        match watch.next().await? {
            ValueWatchEvent::Progress(_) => Ok(watch),
            ValueWatchEvent::Change(_) => Err(AskError::Unreadable(
                "the server did not say where the watch begins".to_owned(),
            )),
        }
    }

    /// Asks until the server can answer.
    async fn patiently(&self, question: Question, until: Option<Instant>) -> Result<Answered, AskError> {
        let asking = async {
            loop {
                match self.ask(question.clone(), until).await {
                    Err(error) if error.may_pass() => sleep(AGAIN_AFTER).await,
                    answered => return answered,
                }
            }
        };
        let Some(until) = until else { return asking.await };
        let answered = tokio::time::timeout_at(until + ANSWER_WITHIN, asking).await;
        answered.unwrap_or_else(|_| Err(AskError::Unreadable("the server did not answer in time".to_owned())))
    }

    async fn ask(&self, question: Question, until: Option<Instant>) -> Result<Answered, AskError> {
        let (sender, answer) = oneshot::channel();
        let _asking = Asking::begin(&self.attempt, question, until, Answers::Once(sender));
        tokio::select! {
            answered = answer => answered.unwrap_or(Err(AskError::Gone)),
            () = self.attempt.cancelled() => Err(AskError::Cancelled),
        }
    }
}

/// A watch of values. Dropped, it ends.
#[derive(Debug)]
pub struct ValueWatch {
    values: Values,
    scope: WatchScope,
    /// Everything up to here has been told.
    after: Option<Revision>,
    open: Option<OpenWatch>,
}

#[derive(Debug)]
struct OpenWatch {
    _asking: Asking,
    told: mpsc::Receiver<Result<ValueWatchEvent, AskError>>,
}

impl ValueWatch {
    /// What the watch tells next.
    ///
    /// # Errors
    /// As [`Values::watch`].
    pub async fn next(&mut self) -> Result<ValueWatchEvent, AskError> {
        loop {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.begin()?,
            };
            let told = tokio::select! {
                told = open.told.recv() => told,
                () = self.values.attempt.cancelled() => return Err(AskError::Cancelled),
            };
            match told {
                Some(Ok(event)) => {
                    self.after = Some(match &event {
                        ValueWatchEvent::Change(change) => change.revision,
                        ValueWatchEvent::Progress(revision) => *revision,
                    });
                    self.open = Some(open);
                    return Ok(event);
                }
                Some(Err(error)) if !error.may_pass() => return Err(error),
                // The server could not go on, or the connection, or this reader did not keep up.
                Some(Err(_)) | None => sleep(AGAIN_AFTER).await,
            }
        }
    }

    fn begin(&self) -> Result<OpenWatch, AskError> {
        let (key, prefix) = match &self.scope {
            WatchScope::Key(key) => (Some(parse(key)?), None),
            WatchScope::Prefix(prefix) => (None, Some(prefix.clone())),
        };
        let question = Question::Watch {
            key,
            prefix,
            after: self.after,
        };
        let (sender, told) = mpsc::channel(READ_AHEAD);
        let asking = Asking::begin(&self.values.attempt, question, None, Answers::Watch(sender));
        Ok(OpenWatch { _asking: asking, told })
    }
}

fn parse(key: &str) -> Result<Key, AskError> {
    Key::parse(key).map_err(|error| AskError::Unwritable(format!("{key:?} is no key: {error}")))
}

fn json(value: &impl Serialize) -> Result<Content, AskError> {
    let json = to_raw_value(value);
    json.map(Content::Json)
        .map_err(|error| AskError::Unwritable(format!("the value has no form in JSON: {error}")))
}

fn done(answered: Result<Answered, AskError>) -> Result<(), AskError> {
    match answered {
        Ok(Answered::Done {}) => Ok(()),
        other => Err(unexpected(other)),
    }
}

/// An error, or an answer to something else.
fn unexpected(answered: Result<Answered, AskError>) -> AskError {
    match answered {
        Err(error) => error,
        Ok(_) => AskError::Unreadable("the server answered something else than was asked".to_owned()),
    }
}

/// What the first key of a failed condition is really like.
fn failed_condition(error: &AskError) -> Option<FailedCondition> {
    let AskError::Refused(problem) = error else { return None };
    problem.failed_condition()
}
