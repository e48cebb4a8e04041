//! The agent protocol: every message that crosses the WebSocket between an agent and a node.
//!
//! A frame is one JSON array of messages. A message is an object with exactly one member, whose
//! name says what it is: `[{"result": {…}}, {"heartbeat": {}}]`. `docs/protocol.md` tells the story
//! in order; `docs/protocol/*.schema.json` are generated from these types.

mod asks;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::asks::{Answer, Answered, Ask, Question, StopAsking, WatchChange};
use crate::ids::{AttemptToken, Timestamp};
use crate::name::Name;

/// The version of the protocol that this program speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// What an agent says to a node.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AgentMessage {
    /// The first message on a connection.
    Hello(Hello),
    /// How many attempts the agent is willing to hold from now on; 0 while it drains.
    Credits(Credits),
    /// The end of an attempt.
    Result(AttemptResult),
    /// Context changes made while an attempt goes on.
    Context(ContextUpdate),
    /// A sign of life of the agent, or of one attempt.
    Heartbeat(Heartbeat),
    /// Output of an attempt for people to read.
    Log(LogLine),
    /// A question about values: read, write, promise, await or watch them.
    Ask(Ask),
    /// Nobody wants to know any more what was asked.
    Stop(StopAsking),
    /// The agent leaves for good: attempts it still holds go to others at once.
    Goodbye(Goodbye),
}

/// What a node says to an agent.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ServerMessage {
    /// The answer to `hello`.
    Welcome(Welcome),
    /// An attempt to execute.
    Activity(ActivityTask),
    /// Stop this attempt; its result no longer counts.
    Cancel(CancelAttempt),
    /// The result is durable: the agent may forget it.
    Accepted(Accepted),
    /// The context change is durable. The context changes of one attempt are answered in the order they were sent,
    /// each by this or by `refused`.
    ContextAccepted(Accepted),
    /// The result or context change was refused and changed nothing.
    Refused(Refused),
    /// The answer to an `ask`.
    Answer(Answer),
    /// What a watch of values tells.
    Change(WatchChange),
    /// A sign of life of the node.
    Heartbeat(Heartbeat),
    /// Connect again: the node is about to leave.
    Reconnect(Reconnect),
    /// The connection ends because of this.
    Error(ProtocolError),
}

/// Who the agent is and what it can run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hello {
    /// The protocol version that the agent speaks; now 1.
    pub protocol: u32,
    /// The agent's name, for people.
    pub agent: Name,
    /// Fresh for every start of the agent's process, kept across reconnects: 1 to 128 of `[A-Za-z0-9._-]`, best a UUID.
    pub incarnation: Name,
    /// The activity types it runs.
    pub activity_types: Vec<Name>,
    /// How many attempts it is willing to hold at once, at least 1.
    pub concurrency: u32,
    /// Facts about the agent, for people and selectors.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Attempts it holds from an earlier connection of this incarnation, running or with a result not yet accepted.
    #[serde(default)]
    pub holding: Vec<AttemptToken>,
}

/// How many attempts the agent is willing to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credits {
    /// Attempts held at once, all told (not in addition); 0 drains.
    pub concurrency: u32,
}

/// The end of an attempt.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttemptResult {
    /// Which attempt.
    pub token: AttemptToken,
    /// How it ended.
    pub outcome: Outcome,
    /// Context changes that become durable together with the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<ContextPatch>,
}

/// The five results of an attempt.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Outcome {
    /// The activity is done.
    Complete {
        /// The activity's output, a JSON object; `{}` when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
        output: Option<Box<RawValue>>,
    },
    /// The attempt is acknowledged; someone else completes or fails the activity with this token.
    #[serde(rename_all = "camelCase")]
    Wait {
        /// After this many milliseconds without an answer the activity fails.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// Run the activity again after a while, with its context kept.
    #[serde(rename_all = "camelCase")]
    Schedule {
        /// Milliseconds until the activity is ready again.
        after_ms: u64,
    },
    /// A recoverable error: run the activity again after a backoff.
    Retry {
        /// What went wrong.
        error: ActivityError,
    },
    /// An error that no repetition mends: the orchestration ends as `errored`.
    Fatal {
        /// What went wrong.
        error: ActivityError,
    },
}

/// Why an attempt or an activity failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActivityError {
    /// For programs: a stable word, such as `exit-code` or `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// For people: what went wrong.
    pub message: String,
}

impl ActivityError {
    /// An error with a code.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: Some(code.into()),
            message: message.into(),
        }
    }
}

/// Changes to the shared context of an orchestration: keys that are not named stay as they are.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContextPatch {
    /// Keys to set, with any JSON value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    #[schema(value_type = Object)]
    pub set: BTreeMap<String, Box<RawValue>>,
    /// Keys to delete; deleting an absent key is no error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delete: Vec<String>,
}

impl ContextPatch {
    /// Whether the patch changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.delete.is_empty()
    }
}

/// Context changes made while an attempt goes on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContextUpdate {
    /// The attempt that makes them.
    pub token: AttemptToken,
    /// The changes.
    pub patch: ContextPatch,
}

/// A sign of life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Heartbeat {
    /// The attempt that is alive; without it the agent as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<AttemptToken>,
    /// What the attempt is doing, shown to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Output of an attempt for people to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogLine {
    /// The attempt that wrote it.
    pub token: AttemptToken,
    /// When it was written, by the agent's clock.
    pub at: Timestamp,
    /// One line or several, without the last line break.
    pub text: String,
}

/// The agent leaves for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Goodbye {
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The node's answer to `hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// The protocol version of the rest of the connection.
    pub protocol: u32,
    /// Say something at least this often, in milliseconds.
    pub heartbeat_ms: u64,
    /// After the connection is gone for this long, in milliseconds, the agent's attempts go to others.
    pub grace_ms: u64,
    /// The largest frame that the node accepts, in bytes.
    pub max_frame_bytes: u64,
    /// How many asks of the connection may be open at the same time; 0 when the node takes none.
    #[serde(default)]
    pub max_asks: u32,
    /// Of the attempts named in `holding`: those that are still the agent's.
    pub keep: Vec<AttemptToken>,
    /// Of the attempts named in `holding`: those to stop and forget.
    pub drop: Vec<AttemptToken>,
}

/// An attempt to execute.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivityTask {
    /// Names the attempt in everything said about it.
    pub token: AttemptToken,
    /// The namespace of the orchestration.
    pub namespace: Name,
    /// The orchestration that the activity is part of.
    pub orchestration_id: Name,
    /// The orchestration's type.
    pub orchestration_type: Name,
    /// The correlation id that the orchestration was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The activity within the orchestration.
    pub activity_id: Name,
    /// The activity's type, one of those that the agent named.
    pub activity_type: Name,
    /// The subtype, such as `deploy` or `dispose`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discriminator: Option<String>,
    /// 1 for the first execution of this activity, then counting.
    pub attempt: u32,
    /// The span of this attempt in a trace, as the W3C header of the same name; absent when the run is not traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What vendors pass along with it, as the W3C header of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// The activity's input, an object.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub input: Box<RawValue>,
    /// The orchestration's shared context when the attempt was dispatched, an object.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub context: Box<RawValue>,
}

/// Stop an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelAttempt {
    /// Which attempt.
    pub token: AttemptToken,
    /// Why, for people.
    pub reason: String,
}

/// The named attempt's result, or its oldest unanswered context change, is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// Which attempt's.
    pub token: AttemptToken,
}

/// A result or context change that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// Which attempt's.
    pub token: AttemptToken,
    /// For programs, such as `stale-token` or `too-large`.
    pub code: String,
    /// For people: why, and what to do.
    pub message: String,
}

/// Connect again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reconnect {
    /// Milliseconds to wait first.
    pub after_ms: u64,
    /// Why, for people.
    pub reason: String,
}

/// The connection ends because of this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProtocolError {
    /// For programs, such as `bad-message` or `unsupported-protocol`.
    pub code: String,
    /// For people: what was wrong and what would be right.
    pub message: String,
}
