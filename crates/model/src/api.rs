//! The bodies of the HTTP API: what is asked and what is answered.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ids::{AttemptToken, Revision, Timestamp};
use crate::name::Name;
use crate::problem::Mistake;
use crate::protocol::{ActivityError, ContextPatch};
pub use crate::states::{ActivityState, OrchestrationState, UnknownState, WaitReason};

/// The media type of every error answer (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error answer, RFC 9457 `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Stable and for programs, such as `orchestration-not-found`.
    pub code: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What kind of problem this is, the same text for every occurrence.
    pub title: String,
    /// What went wrong here.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The offending field of the request, as a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Every mistake, where there can be several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Mistake>,
    /// More for programs, by code: the guides say what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

/// One text with definitions, as it stood in a file.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceText {
    /// The file's name, used in mistakes.
    pub name: String,
    /// YAML or JSON, one document or several.
    pub text: String,
}

/// Definitions to apply together: all of them, or none.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// The texts.
    pub sources: Vec<SourceText>,
    /// Only validate; store nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What applying did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyResponse {
    /// One entry for each document, in the order given.
    pub applied: Vec<AppliedDefinition>,
}

/// What applying did with one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedDefinition {
    /// Which kind of definition.
    pub kind: DefinitionKind,
    /// Its type.
    #[schema(value_type = String)]
    pub r#type: Name,
    /// Its version now.
    pub version: u32,
    /// What happened.
    pub change: DefinitionChange,
}

/// The kinds of definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum DefinitionKind {
    /// An `OrchestrationDefinition`.
    Orchestration,
    /// An `ActivityDefinition`.
    Activity,
}

impl DefinitionKind {
    /// The word in messages: "orchestration definition" or "activity definition".
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Orchestration => "orchestration definition",
            Self::Activity => "activity definition",
        }
    }
}

/// What applying a definition changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum DefinitionChange {
    /// It is new.
    Created,
    /// It differs from the version before.
    Updated,
    /// It is the same as before; no new version was made.
    Unchanged,
}

/// One version of a definition, as stored.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefinitionView {
    /// Its type.
    #[schema(value_type = String)]
    pub r#type: Name,
    /// Its version.
    pub version: u32,
    /// When this version was applied.
    #[schema(value_type = String, format = DateTime)]
    pub applied_at: Timestamp,
    /// The revision of the event that stored it; the `ETag`.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// The definition itself.
    #[schema(value_type = Object)]
    pub definition: Box<RawValue>,
    /// Orchestration definitions: activity ids by tier, in the order of execution.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Vec<String>>)]
    pub tiers: Vec<Vec<Name>>,
}

/// What a server logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogFilter {
    /// A level (`off`, `error`, `warn`, `info`, `debug`, `trace`), or levels by module, such as
    /// `info,unisono_node::partition=debug`.
    pub filter: String,
}

/// Starts an orchestration.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartRequest {
    /// The caller's own id, which makes the start idempotent; made by the server when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The type of the orchestration definition.
    pub r#type: String,
    /// Its version; the newest when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Ties this orchestration to something of the caller's; any text up to 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The input, an object that fits the definition's schema; `{}` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub input: Option<Box<RawValue>>,
    /// Facts to find it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The answer to a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StartResponse {
    /// The orchestration's id.
    #[schema(value_type = String)]
    pub id: Name,
    /// The definition's version that it runs.
    pub version: u32,
    /// False when an orchestration with this id and the same content existed already.
    pub created: bool,
    /// With `waitSeconds`: its state when it ended, or when the time was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<OrchestrationState>,
}

/// What lists show of an orchestration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrchestrationSummary {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Name,
    /// Its definition's type.
    #[schema(value_type = String)]
    pub r#type: Name,
    /// Its definition's version.
    pub version: u32,
    /// Its state.
    pub state: OrchestrationState,
    /// The caller's correlation id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The caller's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it was started.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// What activities of it wait for, while it is open; empty when agents run all that can be run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<WaitReason>,
}

/// Everything about one orchestration.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", from = "FlatView")]
pub struct OrchestrationView {
    /// What lists show.
    #[serde(flatten)]
    pub summary: OrchestrationSummary,
    /// Its namespace.
    #[schema(value_type = String)]
    pub namespace: Name,
    /// The revision of the last event about it; the `ETag`.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// When its first activity was dispatched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// The trace that it belongs to, in hex; absent when it is not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Why it is in its state.
    pub reason: String,
    /// The input it was started with.
    #[schema(value_type = Object)]
    pub input: JsonText,
    /// Its result, once completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub output: Option<JsonText>,
    /// Why it is `errored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<OrchestrationError>,
    /// The shared context.
    pub context: BTreeMap<String, ContextValue>,
    /// Activity ids by tier, in the order of execution.
    #[schema(value_type = Vec<Vec<String>>)]
    pub tiers: Vec<Vec<Name>>,
    /// Its activities, in the definition's order.
    pub activities: Vec<ActivityView>,
}

/// [`OrchestrationView`] as it is read: raw JSON cannot be read from behind a flattened field.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FlatView {
    id: Name,
    r#type: Name,
    version: u32,
    state: OrchestrationState,
    correlation_id: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
    #[serde(default)]
    waiting_for: Vec<WaitReason>,
    namespace: Name,
    revision: Revision,
    started_at: Option<Timestamp>,
    trace_id: Option<String>,
    reason: String,
    input: JsonText,
    output: Option<JsonText>,
    error: Option<OrchestrationError>,
    context: BTreeMap<String, ContextValue>,
    tiers: Vec<Vec<Name>>,
    activities: Vec<ActivityView>,
}

impl From<FlatView> for OrchestrationView {
    fn from(flat: FlatView) -> Self {
        Self {
            summary: OrchestrationSummary {
                id: flat.id,
                r#type: flat.r#type,
                version: flat.version,
                state: flat.state,
                correlation_id: flat.correlation_id,
                labels: flat.labels,
                created_at: flat.created_at,
                ended_at: flat.ended_at,
                waiting_for: flat.waiting_for,
            },
            namespace: flat.namespace,
            revision: flat.revision,
            started_at: flat.started_at,
            trace_id: flat.trace_id,
            reason: flat.reason,
            input: flat.input,
            output: flat.output,
            error: flat.error,
            context: flat.context,
            tiers: flat.tiers,
            activities: flat.activities,
        }
    }
}

/// JSON text that is passed on as it is: numbers keep their digits, objects the order of their keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(pub Box<RawValue>);

/// The same text; whether it means the same is not asked.
impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for JsonText {}

impl JsonText {
    /// The JSON text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

/// The error that ended an orchestration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrchestrationError {
    /// The activity that failed.
    #[schema(value_type = String)]
    pub activity: Name,
    /// Its error.
    pub error: ActivityError,
}

/// One key of the shared context.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContextValue {
    /// The value.
    #[schema(value_type = Object)]
    pub value: JsonText,
    /// The activity that wrote it last.
    #[schema(value_type = String)]
    pub written_by: Name,
    /// The revision of that write.
    #[schema(value_type = u64)]
    pub revision: Revision,
}

/// Everything about one activity of an orchestration.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivityView {
    /// Its id within the orchestration.
    #[schema(value_type = String)]
    pub id: Name,
    /// Its type.
    #[schema(value_type = String)]
    pub r#type: Name,
    /// Its subtype.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discriminator: Option<String>,
    /// Which tier it stands in, from 0.
    pub tier: u32,
    /// The activities it depends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub depends_on: Vec<Name>,
    /// Its state.
    pub state: ActivityState,
    /// Why it is in its state and, while it waits, what would release it.
    pub reason: String,
    /// Since when it is in its state.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// How many attempts were dispatched.
    pub attempts: u32,
    /// The agent that holds or held the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// `running` and `waiting`: the token of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub token: Option<AttemptToken>,
    /// `scheduled`: when it runs again. `waiting`: when it fails without an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due_at: Option<Timestamp>,
    /// What it is doing, as it said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its output, once completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub output: Option<JsonText>,
    /// Its last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ActivityError>,
}

/// One fact in the life of an orchestration: what happened, when, who did it, in which attempt, why, and which values it
/// changed.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Its place in the partition's order.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// When it was decided.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What happened, such as `activityCompleted`.
    pub kind: Cow<'static, str>,
    /// The activity it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub activity: Option<Name>,
    /// The attempt it is about, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Who did it: an agent, the caller of an API, or `server` for what followed by itself. Absent when a caller did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The activity's state from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity_state: Option<ActivityState>,
    /// The orchestration's state from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<OrchestrationState>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it goes on, or fails, by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due_at: Option<Timestamp>,
    /// `orchestrationStarted`: what it was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<HistoryStart>,
    /// The output of the activity or the orchestration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub output: Option<JsonText>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ActivityError>,
    /// Context keys set and deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ContextPatch>)]
    pub context: Option<ContextPatchText>,
}

/// What an orchestration was started with.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryStart {
    /// Its definition's type.
    #[schema(value_type = String)]
    pub r#type: Name,
    /// Its definition's version.
    pub version: u32,
    /// The caller's correlation id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The caller's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The input.
    #[schema(value_type = Object)]
    pub input: JsonText,
}

/// A context patch inside an answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContextPatchText {
    /// Keys set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub set: BTreeMap<String, JsonText>,
    /// Keys deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delete: Vec<String>,
    /// What these keys held before, those that held something. A watch may leave it out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub previous: BTreeMap<String, JsonText>,
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Give this as `pageToken` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// How many orchestrations there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrchestrationCount {
    /// So many match.
    pub count: u64,
    /// Whether that is all of them. Otherwise counting was given up: there are at least so many.
    pub exact: bool,
    /// The same by group, where groups were asked for; those without any are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<OrchestrationGroup>,
}

/// Orchestrations of one type, version or state, as they were told apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrchestrationGroup {
    /// Their type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub r#type: Option<Name>,
    /// Their version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Their state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<OrchestrationState>,
    /// So many.
    pub count: u64,
    /// Whether that is all of them; otherwise there are at least so many.
    pub exact: bool,
}

/// Cancels an orchestration.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CancelRequest {
    /// Why, shown to people and agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a cancel did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelResponse {
    /// The orchestration's state now.
    pub state: OrchestrationState,
    /// The activities whose attempts were stopped.
    #[schema(value_type = Vec<String>)]
    pub cancelled: Vec<Name>,
    /// The activities that will never run.
    #[schema(value_type = Vec<String>)]
    pub skipped: Vec<Name>,
}

/// Completes a waiting activity.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompleteRequest {
    /// The token that the activity was given.
    pub token: String,
    /// The activity's output, an object; `{}` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub output: Option<Box<RawValue>>,
    /// Context changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextPatch>,
}

/// Fails a waiting activity.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailRequest {
    /// The token that the activity was given.
    pub token: String,
    /// What went wrong.
    pub error: ActivityError,
    /// Run the activity again after a backoff, instead of ending the orchestration.
    #[serde(default)]
    pub retry: bool,
}

/// What became of an activity that was completed or failed from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivityResponse {
    /// The activity's state now.
    pub activity_state: ActivityState,
    /// The orchestration's state now.
    pub state: OrchestrationState,
}

/// A piece of an attempt's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// The activity.
    #[schema(value_type = String)]
    pub activity: Name,
    /// The attempt, from 1.
    pub attempt: u32,
    /// When it was written, by the agent's clock.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What was written.
    pub text: String,
}

/// An agent as the node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// The incarnation, fresh for every start of its process.
    #[schema(value_type = String)]
    pub incarnation: Name,
    /// Whether a connection is up.
    pub connected: bool,
    /// Since when it is connected, or gone.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// What the state means and, when gone, when its attempts go to others.
    pub reason: String,
    /// The activity types it runs.
    #[schema(value_type = Vec<String>)]
    pub activity_types: Vec<Name>,
    /// How many attempts it is willing to hold.
    pub concurrency: u32,
    /// How many it holds.
    pub running: u32,
    /// Facts about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn payloads_pass_through_an_answer_unchanged() {
        let text = r#"{"id":"i","type":"t","version":1,"state":"completed","createdAt":"2026-01-31T12:00:00.000Z","namespace":"n","revision":3,"reason":"r","input":{"z": 12345678901234567890123, "a": 1.0, "e": 1e400},"output":{"b":-0.0,"a":[]},"context":{"k":{"value":1.50,"writtenBy":"a","revision":2}},"tiers":[["a"]],"activities":[]}"#;
        let view: OrchestrationView = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&view).unwrap(), text);
    }
}
