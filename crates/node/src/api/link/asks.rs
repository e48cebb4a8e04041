//! What an agent asks of values: each ask is a task of its own, whose answer travels with everything else that is said to
//! the agent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use unisono_engine::orchestration::RunKey;
use unisono_model::ids::Revision;
use unisono_model::key::Key;
use unisono_model::name::Name;
use unisono_model::protocol::{Answer as Told, Answered, Ask, Question, ServerMessage, WatchChange};
use unisono_model::values::{OperationRequest, TransactionRequest};

use super::super::Api;
use super::super::problem::{Answer, ApiError};
use super::super::values::{self, ListParams, Next, ValueWatch, asked};
use super::{Attempts, lock as held};
use crate::feed::Scope;
use crate::sessions::{Outgoing, SessionSender};

/// Asks of one connection that may be open at the same time.
pub(super) const MAX_ASKS: u32 = 4_096;
/// Answers and changes that may wait to be written to one agent, in KiB; asks wait while there are more.
const MAX_WAITING_KIB: u32 = 8 * 1024;
/// Keys that a transaction may read over a connection: values of the largest size fit into one frame then.
const MAX_READS: usize = 16;

type Open = Arc<Mutex<FxHashMap<u64, AbortHandle>>>;

fn lock(open: &Open) -> MutexGuard<'_, FxHashMap<u64, AbortHandle>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The open asks of one connection. They end with it.
pub(super) struct Asks {
    asking: Asking,
    open: Open,
}

/// Who asks, and where the answers go.
#[derive(Clone)]
struct Asking {
    api: Api,
    namespace: Name,
    agent: Name,
    attempts: Attempts,
    sender: SessionSender,
    room: Arc<Semaphore>,
}

/// On whose behalf something is asked.
struct Asker {
    /// The writer of what is written.
    name: String,
    /// The run with which what is declared is broken.
    run: Option<RunKey>,
}

impl Asks {
    pub(super) fn new(api: Api, (namespace, agent): (Name, Name), sender: SessionSender, attempts: Attempts) -> Self {
        let asking = Asking {
            api,
            namespace,
            agent,
            attempts,
            sender,
            room: Arc::new(Semaphore::new(MAX_WAITING_KIB as usize)),
        };
        let open = Open::default();
        Self { asking, open }
    }

    /// Begins to answer.
    ///
    /// # Errors
    /// What the agent did wrong, which ends the connection.
    pub(super) fn begin(&self, ask: Ask) -> Result<(), String> {
        let mut open = lock(&self.open);
        let id = ask.id;
        if open.contains_key(&id) {
            return Err(format!(
                "ask {id} is open already; every open ask of a connection has an id of its own"
            ));
        }
        if open.len() >= MAX_ASKS as usize {
            let detail = format!("the agent has {MAX_ASKS} open asks, which is the limit of a connection");
            let refused = ApiError::new(axum::http::StatusCode::TOO_MANY_REQUESTS, "too-many-asks", detail)
                .help("wait for answers, or stop asks that nobody needs, before you ask more");
            let message = answer(id, Err(refused)).0;
            self.asking.sender.send(Outgoing::Message(message));
            return Ok(());
        }
        let (asking, still_open) = (self.asking.clone(), Arc::clone(&self.open));
        let task = tokio::spawn(async move {
            let outcome = asking.ask(ask).await;
            // Before the answer is sent, so that whoever has it may ask again.
            lock(&still_open).remove(&id);
            let (message, bytes) = answer(id, outcome);
            asking.say(message, bytes).await;
        });
        open.insert(id, task.abort_handle());
        Ok(())
    }

    /// Nobody wants to know any more.
    pub(super) fn stop(&self, id: u64) {
        if let Some(task) = lock(&self.open).remove(&id) {
            task.abort();
        }
    }
}

impl Drop for Asks {
    fn drop(&mut self) {
        lock(&self.open).drain().for_each(|(_, task)| task.abort());
    }
}

/// The message, and how many bytes it has.
fn answer(id: u64, outcome: Answer<Box<RawValue>>) -> (ServerMessage, usize) {
    let refused = |error: ApiError| json(&Answered::Refused(Box::new(error.into_problem())));
    let outcome = outcome.or_else(refused).unwrap_or_else(|_| RawValue::NULL.to_owned());
    let bytes = outcome.get().len();
    (ServerMessage::Answer(Told { id, outcome }), bytes)
}

fn json(of: &impl Serialize) -> Answer<Box<RawValue>> {
    to_raw_value(of).map_err(|error| ApiError::internal(error.to_string()))
}

impl Asking {
    /// Says it when there is room for it.
    async fn say(&self, message: ServerMessage, bytes: usize) {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(MAX_WAITING_KIB);
        if let Ok(room) = Arc::clone(&self.room).acquire_many_owned(kib).await {
            self.sender.send(Outgoing::Sized { message, bytes, room });
        }
    }

    async fn ask(&self, ask: Ask) -> Answer<Box<RawValue>> {
        let asker = self.asker(&ask)?;
        let question = serde_json::from_str(ask.what.get()).map_err(|error| {
            ApiError::bad_request("bad-ask", format!("what is asked cannot be read: {error}"))
                .field("what")
                .help("docs/protocol.md shows what can be asked")
        })?;
        let answered = match question {
            Question::Await { key, wait_ms, party } => return self.wait(key, wait_ms, (party, asker.name)).await,
            Question::Watch { key, prefix, after } => self.watch(ask.id, scope(key, prefix)?, after).await?,
            Question::Get { key } => Answered::Value(Box::new(
                values::get_value(&self.api, self.namespace.clone(), key).await?,
            )),
            Question::List {
                prefix,
                limit,
                page_token,
            } => {
                let params = ListParams {
                    prefix,
                    limit: limit.map(|limit| limit as usize),
                    page_token,
                    ..ListParams::default()
                };
                Answered::Values(values::list_values(&self.api, self.namespace.clone(), params).await?)
            }
            change => self.change(change, asker).await?,
        };
        json(&answered)
    }

    /// On whose behalf it is asked.
    fn asker(&self, ask: &Ask) -> Answer<Asker> {
        let Some(token) = ask.token else {
            return Ok(Asker {
                name: self.agent.to_string(),
                run: None,
            });
        };
        let attempts = held(&self.attempts);
        let attempt = attempts.get(&token).ok_or_else(|| {
            ApiError::conflict("stale-token", "the attempt that asks is no longer the agent's")
                .field("token")
                .help("stop the attempt and forget it: somebody else has it, or its result is reported")
        })?;
        Ok(Asker {
            name: attempt.name(),
            run: Some(attempt.run),
        })
    }

    async fn change(&self, question: Question, asker: Asker) -> Answer<Answered> {
        let Asker { name, run } = asker;
        let (api, writer) = (&self.api, Some(name));
        let at = |key: Key| (self.namespace.clone(), key);
        Ok(match question {
            Question::Put { key, with } => Answered::Put(values::put_value(api, at(key), *with, writer).await?),
            Question::Delete {
                key,
                revision,
                fence,
                lock,
            } => {
                let fence = asked::fence(fence, lock)?;
                Answered::Delete(values::delete_value(api, at(key), (revision, fence), writer).await?)
            }
            Question::Transact(request) => {
                few_reads(&request)?;
                Answered::Transaction(values::transact(api, self.namespace.clone(), request, writer).await?)
            }
            Question::Declare { key, with } => {
                Answered::Future(Box::new(values::declare(api, at(key), with, (run, writer)).await?))
            }
            Question::Break { key, with } => {
                values::break_promise(api, at(key), with, writer).await?;
                Answered::Done {}
            }
            Question::Withdraw { key } => {
                values::withdraw(api, at(key), writer).await?;
                Answered::Done {}
            }
            Question::Get { .. } | Question::List { .. } | Question::Await { .. } | Question::Watch { .. } => {
                return Err(ApiError::internal("a question was taken for a change"));
            }
        })
    }

    async fn wait(&self, key: Key, wait_ms: u64, who: (Option<Name>, String)) -> Answer<Box<RawValue>> {
        let wait = Duration::from_millis(asked::wait("waitMs", wait_ms)?);
        let at = (self.namespace.clone(), key);
        let answer = values::await_value(&self.api, at, who, wait).await?;
        let value = answer.value().unwrap_or_default();
        let text = format!("{{\"value\":{}}}", String::from_utf8_lossy(&value));
        RawValue::from_string(text).map_err(|error| ApiError::internal(error.to_string()))
    }

    /// Tells what changes until the watch ends.
    async fn watch(&self, id: u64, scope: Scope, after: Option<Revision>) -> Answer<Answered> {
        let mut watch = ValueWatch::begin(self.api.clone(), self.namespace.clone(), scope, after).await?;
        while let Some(next) = watch.next().await {
            let (revision, change) = match next {
                Next::Change(change) => (change.revision, Some(json(&change.view())?)),
                Next::Progress(revision) => (revision, None),
            };
            let bytes = change.as_ref().map_or(0, |change| change.get().len());
            self.say(ServerMessage::Change(WatchChange { id, revision, change }), bytes)
                .await;
        }
        Ok(Answered::Ended {})
    }
}

fn scope(key: Option<Key>, prefix: Option<String>) -> Answer<Scope> {
    match (key, prefix) {
        (Some(key), None) => Ok(Scope::Key(key)),
        (None, Some(prefix)) => {
            asked::prefix(&prefix)?;
            Ok(Scope::Prefix(prefix))
        }
        _ => Err(
            ApiError::bad_request("bad-ask", "a watch is about a key or about a prefix, one of them")
                .field("what.watch")
                .help("give `key`, or `prefix`: the empty one is for all keys"),
        ),
    }
}

fn few_reads(request: &TransactionRequest) -> Answer<()> {
    let is_read = |it: &&OperationRequest| matches!(it, OperationRequest::Get { .. });
    match request.then.iter().filter(is_read).count() {
        reads if reads > MAX_READS => Err(ApiError::bad_request(
            "transaction-too-large",
            format!("the transaction reads {reads} keys; over the connection of an agent the limit is {MAX_READS}"),
        )
        .field("then")
        .help("read fewer keys in it, or send it over HTTP")),
        _ => Ok(()),
    }
}
