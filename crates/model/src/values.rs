//! The bodies of the HTTP API about values and futures: what is asked and what is answered.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::{JsonText, Problem};
use crate::ids::{Revision, Timestamp};
use crate::key::Key;
use crate::name::Name;

/// The content type of JSON, and of a value that does not say another.
pub const JSON: &str = "application/json";
/// The content type of bytes that do not say another.
pub const OCTETS: &str = "application/octet-stream";

/// Bytes as base64 (RFC 4648, with padding).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
#[schema(value_type = String, format = Byte)]
pub struct Base64(pub Vec<u8>);

impl TryFrom<String> for Base64 {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        STANDARD.decode(text).map(Self)
    }
}

impl From<Base64> for String {
    fn from(bytes: Base64) -> Self {
        STANDARD.encode(bytes.0)
    }
}

impl std::fmt::Debug for Base64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What a condition expects of a key. Exactly one member is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expectation {
    /// `true`: the key has no value. `false`: it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<bool>,
    /// The revision of the last write of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub revision: Option<Revision>,
    /// The JSON that it holds; white space and the order of keys do not matter.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    #[schemars(with = "Option<serde_json::Value>")]
    #[schema(value_type = Option<Object>)]
    pub value: Option<JsonText>,
    /// The bytes that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<Base64>,
}

impl Expectation {
    /// There is no value.
    #[must_use]
    pub fn absent() -> Self {
        Self {
            absent: Some(true),
            ..Self::default()
        }
    }

    /// The value was last written at this revision.
    #[must_use]
    pub fn revision(revision: Revision) -> Self {
        Self {
            revision: Some(revision),
            ..Self::default()
        }
    }

    /// The key holds this.
    #[must_use]
    pub fn content(content: Content) -> Self {
        let (value, base64) = content.into_members();
        Self {
            value,
            base64,
            ..Self::default()
        }
    }
}

/// `null` is JSON like any other, and not the absence of JSON.
fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<JsonText>, D::Error> {
    JsonText::deserialize(deserializer).map(Some)
}

/// What a value holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// JSON.
    Json(Box<RawValue>),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Content {
    fn into_members(self) -> (Option<JsonText>, Option<Base64>) {
        match self {
            Self::Json(json) => (Some(JsonText(json)), None),
            Self::Bytes(bytes) => (None, Some(Base64(bytes))),
        }
    }

    /// The JSON text, or the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Json(json) => json.get().as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Writes a value.
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutRequest {
    /// The content as JSON; either this or `base64`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    #[schemars(with = "Option<serde_json::Value>")]
    #[schema(value_type = Option<Object>)]
    pub value: Option<JsonText>,
    /// The content as bytes; either this or `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<Base64>,
    /// What kind of content it is; `application/json` or `application/octet-stream` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// After this many milliseconds the value expires; never when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// The lease with which the value vanishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub lease: Option<Revision>,
    /// The value is shown only to who gets this very key. What is left out stays as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<bool>,
    /// The fencing token under which it is written: refused when the key has seen a newer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub fence: Option<Revision>,
    /// The lock that gave the token: refused as well when it is no longer held under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub lock: Option<Name>,
    /// The party that writes; the key of a declared future takes only its producer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub party: Option<Name>,
    /// Write only if the key is as this says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#if: Option<Expectation>,
}

impl PutRequest {
    /// Writes this, without an end and without conditions.
    #[must_use]
    pub fn new(content: Content) -> Self {
        let (value, base64) = content.into_members();
        Self {
            value,
            base64,
            ..Self::default()
        }
    }
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PutResponse {
    /// The key.
    #[schema(value_type = String)]
    pub key: Key,
    /// The revision of this write.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// The revision of the write that created the value.
    #[schema(value_type = u64)]
    pub create_revision: Revision,
    /// How often the value has been written since it was created.
    pub version: u32,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// What a deletion did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteResponse {
    /// The key.
    #[schema(value_type = String)]
    pub key: Key,
    /// The revision of the deletion; absent when there was nothing to delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub revision: Option<Revision>,
}

/// A value and what is known of it.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValueView {
    /// Its key.
    #[schema(value_type = String)]
    pub key: Key,
    /// The content, when it is JSON and may be shown.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    #[schemars(with = "Option<serde_json::Value>")]
    #[schema(value_type = Option<Object>)]
    pub value: Option<JsonText>,
    /// The content, when it is bytes and may be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<Base64>,
    /// What kind of content it is.
    pub content_type: String,
    /// The revision of the last write; the `ETag`.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// The revision of the write that created it.
    #[schema(value_type = u64)]
    pub create_revision: Revision,
    /// How often it has been written since it was created.
    pub version: u32,
    /// When it was written last.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Who wrote it last, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    /// After how many milliseconds it expires when it is not written again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// The lease with which it vanishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub lease: Option<Revision>,
    /// The newest fencing token that the key has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub fence: Option<Revision>,
    /// Its content is shown only to who gets this very key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
}

impl ValueView {
    /// The content as a type of yours.
    ///
    /// # Errors
    /// It is not JSON, is withheld, or does not fit the type.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        match &self.value {
            Some(JsonText(json)) => serde_json::from_str(json.get()),
            None => Err(serde::de::Error::custom(format!(
                "\"{}\" holds no JSON that is shown",
                self.key
            ))),
        }
    }

    /// The content, unless it is withheld.
    #[must_use]
    pub fn content(&self) -> Option<Content> {
        match (&self.value, &self.base64) {
            (Some(JsonText(json)), _) => Some(Content::Json(json.clone())),
            (None, Some(Base64(bytes))) => Some(Content::Bytes(bytes.clone())),
            (None, None) => None,
        }
    }
}

/// One page of values, as of one revision.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValuePage {
    /// The values, by key. What is sensitive comes without its content.
    pub items: Vec<ValueView>,
    /// To be given as `pageToken` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
    /// The revision at which the page was read: a watch after it misses nothing.
    #[schema(value_type = u64)]
    pub revision: Revision,
}

/// Several reads and writes together: all conditions hold and all of them happen, or nothing does.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransactionRequest {
    /// What must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub r#if: Vec<Condition>,
    /// What happens then, in this order; no key is written twice.
    pub then: Vec<OperationRequest>,
    /// The party that writes; the key of a declared future takes only its producer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub party: Option<Name>,
}

/// What must hold of one key.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// The key.
    #[schema(value_type = String)]
    pub key: Key,
    /// What it must be like.
    pub is: Expectation,
}

/// One operation of a transaction: an object with one member.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OperationRequest {
    /// Write a value.
    Put {
        /// The key.
        #[schema(value_type = String)]
        key: Key,
        /// What to write; without an `if`, which the transaction has.
        with: Box<PutRequest>,
    },
    /// Delete a value; deleting none is no error.
    Delete {
        /// The key.
        #[schema(value_type = String)]
        key: Key,
        /// The fencing token under which it is deleted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<u64>)]
        fence: Option<Revision>,
        /// The lock that gave the token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<String>)]
        lock: Option<Name>,
    },
    /// Read a value, as it is before the transaction.
    Get {
        /// The key.
        #[schema(value_type = String)]
        key: Key,
    },
}

/// What a transaction did.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransactionResponse {
    /// One entry for each operation, in their order.
    pub results: Vec<OperationResult>,
}

/// What one operation of a transaction did: an object with one member.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OperationResult {
    /// The value was written.
    Put(PutResponse),
    /// The value is gone.
    Delete(DeleteResponse),
    /// The value, or `null` when there was none.
    Get(Option<Box<ValueView>>),
}

/// Why a conditional write changed nothing: what the key is really like.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedCondition {
    /// The key.
    #[schema(value_type = String)]
    pub key: Key,
    /// Its value, or nothing when it has none. What is sensitive comes without its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Box<ValueView>>,
}

impl Problem {
    /// What the first key of a failed condition is really like.
    #[must_use]
    pub fn failed_condition(&self) -> Option<FailedCondition> {
        if self.code != "condition-failed" {
            return None;
        }
        let failed = self.data.as_ref()?.get("failed")?.get(0)?;
        // Written as text once more: raw JSON can only be read from text.
        serde_json::from_str(&failed.to_string()).ok()
    }
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ChangeKind {
    /// It was written.
    Put,
    /// It was deleted, by somebody or with its lease.
    Deleted,
    /// Its time was over.
    Expired,
}

/// One change of one key, as a watch tells it.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValueChange {
    /// What happened.
    pub kind: ChangeKind,
    /// The key.
    #[schema(value_type = String)]
    pub key: Key,
    /// The revision of the change.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `put`: the content, when it is JSON and not sensitive.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    #[schemars(with = "Option<serde_json::Value>")]
    #[schema(value_type = Option<Object>)]
    pub value: Option<JsonText>,
    /// `put`: the content, when it is bytes and not sensitive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<Base64>,
    /// `put`: what kind of content it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `put`: the content is withheld; get the key to see it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
    /// `put`: when it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Who did it, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    /// `deleted`: why, when nobody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Declares a future: who will give the key its value.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeclareRequest {
    /// The party that will give the value.
    #[schema(value_type = String)]
    pub producer: Name,
    /// A JSON Schema that the value must fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    #[schema(value_type = Option<Object>)]
    pub schema: Option<Box<RawValue>>,
    /// After this many milliseconds without a value the promise expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// The producer's lease: when it ends without a value, the promise is broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub lease: Option<Revision>,
    /// Begin a new epoch when the future has been kept, broken, or has expired: its value is deleted, and it can be given
    /// another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new_epoch: bool,
}

/// Breaks a promise.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BreakRequest {
    /// Why there will be no value; whoever awaits it is told.
    pub reason: String,
}

/// Where a declared future stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum FutureState {
    /// It has no value yet.
    Pending,
    /// It was given its value.
    Kept,
    /// Its producer failed or withdrew.
    Broken,
    /// Its time was over before it had a value, or its value has expired.
    Expired,
}

impl FutureState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Kept => "kept",
            Self::Broken => "broken",
            Self::Expired => "expired",
        }
    }
}

/// A declared future.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FutureView {
    /// The key that will have the value.
    #[schema(value_type = String)]
    pub key: Key,
    /// The party that gives it.
    #[schema(value_type = String)]
    pub producer: Name,
    /// Which assignment this is, from 1.
    pub epoch: u32,
    /// Where it stands.
    pub state: FutureState,
    /// Since when it stands there.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Why it is broken or has expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The JSON Schema that the value must fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    #[schema(value_type = Option<Object>)]
    pub schema: Option<JsonText>,
    /// `pending`: when the promise expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// The producer's lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub lease: Option<Revision>,
    /// The revision of the last change.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// How many await it.
    pub waiters: u64,
}

/// Somebody who awaits a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaiterView {
    /// The key.
    #[schema(value_type = String)]
    pub key: Key,
    /// The party, if it said which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub party: Option<Name>,
    /// Who it is in words: the caller, or the agent.
    pub who: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Until when at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// One step of a cycle of parties that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitStep {
    /// Who waits.
    #[schema(value_type = String)]
    pub party: Name,
    /// For what: `value KEY`, `lock NAME` or `election NAME`.
    pub waits_for: String,
    /// Who has to give it.
    #[schema(value_type = String)]
    pub held_by: Name,
    /// Whether that one does not have it yet, but comes first in the queue.
    #[serde(default)]
    pub queued: bool,
}

impl WaitStep {
    /// A cycle in words.
    #[must_use]
    pub fn told(cycle: &[Self]) -> String {
        let steps: Vec<String> = cycle.iter().map(Self::to_string).collect();
        format!("this would close a cycle of waiting: {}", steps.join("; "))
    }
}

impl fmt::Display for WaitStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            party,
            waits_for,
            held_by,
            queued,
        } = self;
        if *queued {
            write!(
                f,
                "{party} waits for {waits_for} behind {held_by}, who is to have it first"
            )
        } else {
            write!(f, "{party} waits for {waits_for}, which {held_by} has to give")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn null_is_a_value() {
        let put: PutRequest = serde_json::from_str(r#"{"value": null}"#).unwrap();
        assert_eq!(put.value.unwrap().get(), "null");
        let put: PutRequest = serde_json::from_str("{}").unwrap();
        assert!(put.value.is_none());
    }

    #[test]
    fn bytes_are_base64() {
        let put: PutRequest = serde_json::from_str(r#"{"base64": "AP8="}"#).unwrap();
        assert_eq!(put.base64.as_ref().unwrap().0, [0, 255]);
        assert_eq!(serde_json::to_string(&put).unwrap(), r#"{"base64":"AP8="}"#);
        assert!(serde_json::from_str::<PutRequest>(r#"{"base64": "?"}"#).is_err());
    }
}
