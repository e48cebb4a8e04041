//! What agents ask of values and futures over their connection, and what they are told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::Problem;
use crate::ids::{AttemptToken, Revision};
use crate::key::Key;
use crate::name::Name;
use crate::values::{
    BreakRequest, DeclareRequest, DeleteResponse, FutureView, PutRequest, PutResponse, TransactionRequest,
    TransactionResponse, ValueChange, ValuePage, ValueView,
};

/// Asks something of the values of the agent's namespace. What is asked before an earlier ask is answered may be done
/// before it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ask {
    /// The agent's number for it, which no other open ask of the connection has.
    pub id: u64,
    /// The attempt that asks; refused when it is no longer the agent's. Then the activity is the writer of what is
    /// written, and what it declares is broken when its orchestration ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<AttemptToken>,
    /// What is asked.
    #[schemars(with = "Question")]
    pub what: Box<RawValue>,
}

/// What is asked: an object with one member. The bodies are those of the HTTP API.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Question {
    /// The value of a key; answered by `value`.
    Get {
        /// The key.
        key: Key,
    },
    /// Values by key, without what is sensitive; answered by `values`.
    List {
        /// Only keys that begin like this.
        #[serde(default)]
        prefix: String,
        /// How many at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        /// The `nextPageToken` of the page before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        page_token: Option<String>,
    },
    /// Write a value; answered by `put`.
    Put {
        /// The key.
        key: Key,
        /// What to write.
        with: Box<PutRequest>,
    },
    /// Delete a value, deleting none is no error; answered by `delete`.
    Delete {
        /// The key.
        key: Key,
        /// Only if it was last written at this revision.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<Revision>,
        /// The fencing token under which it is deleted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fence: Option<Revision>,
        /// The lock that gave the token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lock: Option<Name>,
    },
    /// All conditions hold and all operations happen, or nothing does; answered by `transaction`.
    Transact(TransactionRequest),
    /// Promise a value; answered by `future`.
    Declare {
        /// The key.
        key: Key,
        /// What is promised.
        with: DeclareRequest,
    },
    /// Break a promise; answered by `done`.
    Break {
        /// The key.
        key: Key,
        /// Why.
        with: BreakRequest,
    },
    /// Forget a promise, a pending one is broken by that; answered by `done`.
    Withdraw {
        /// The key.
        key: Key,
    },
    /// Wait until a key has a value; answered by `value` when it has, or `refused` when it will not, or did not in time.
    Await {
        /// The key.
        key: Key,
        /// How long at most, in milliseconds.
        wait_ms: u64,
        /// The party that awaits it, so that cycles of waiting are found.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        party: Option<Name>,
    },
    /// Follow the changes of a key or of a prefix; told by `change`, until `answer` ends it.
    Watch {
        /// The key; either this or `prefix`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<Key>,
        /// All keys that begin like this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix: Option<String>,
        /// From the change after this revision on; from now on when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Revision>,
    },
}

/// Nobody wants to know any more what was asked: an await or a watch ends without an answer, a write may have been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StopAsking {
    /// Which ask.
    pub id: u64,
}

/// The answer to an ask, which ends it. What was written is durable.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Which ask.
    pub id: u64,
    /// What is answered.
    #[schemars(with = "Answered")]
    pub outcome: Box<RawValue>,
}

/// What is answered: an object with one member.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Answered {
    /// The value, its content included.
    Value(Box<ValueView>),
    /// A page of values.
    Values(ValuePage),
    /// It was written.
    Put(PutResponse),
    /// It is gone.
    Delete(DeleteResponse),
    /// Everything was done.
    Transaction(TransactionResponse),
    /// The promise as it stands now.
    Future(Box<FutureView>),
    /// It was done.
    Done {},
    /// The watch has ended, because the agent does not keep up or the node leaves. It can go on after the last revision
    /// that it told.
    Ended {},
    /// Nothing was done, and this is why: the same problem that the HTTP API has.
    Refused(Box<Problem>),
}

/// What a watch tells: everything up to `revision` has been told.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WatchChange {
    /// The ask that began the watch.
    pub id: u64,
    /// The revision of the change; or how far the watch is, at its beginning and now and then when nothing happens.
    pub revision: Revision,
    /// What happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ValueChange>")]
    pub change: Option<Box<RawValue>>,
}
