//! What is asked, read and checked: sizes, times, and that a request means one thing.

use std::ops::RangeInclusive;

use serde_json::value::RawValue;
use unisono_engine::value::{Condition, Data, Expect, Fence, Operation, Put, Write};
use unisono_model::api::JsonText;
use unisono_model::ids::Revision;
use unisono_model::key::{Key, check_prefix};
use unisono_model::limits::{
    MAX_CONTENT_TYPE_BYTES, MAX_TRANSACTION_BYTES, MAX_TRANSACTION_PARTS, MAX_TTL_MS, MAX_VALUE_BYTES,
};
use unisono_model::name::Name;
use unisono_model::values::{Base64, Content, Expectation, OperationRequest, PutRequest, TransactionRequest};

use crate::api::problem::{Answer, ApiError};

/// Reads a key.
pub(crate) fn key(field: &str, text: &str) -> Answer<Key> {
    Key::parse(text).map_err(|error| {
        ApiError::bad_request("bad-key", format!("{field} {text:?} is no key: {error}"))
            .field(field)
            .help("a key is a path such as cells/north/database-url")
    })
}

/// Checks the beginning of keys.
pub(crate) fn prefix(text: &str) -> Answer<()> {
    check_prefix(text).map_err(|error| {
        ApiError::bad_request("bad-key", format!("no key begins with {text:?}: {error}"))
            .field("prefix")
            .help("give the beginning of a path, such as cells/north/")
    })
}

/// Checks a time in milliseconds.
pub(crate) fn millis(field: &str, given: u64, allowed: RangeInclusive<u64>) -> Answer<u64> {
    if allowed.contains(&given) {
        return Ok(given);
    }
    let (least, most) = (allowed.start(), allowed.end());
    Err(
        ApiError::bad_request("bad-time", format!("{field} is {given} milliseconds"))
            .field(field)
            .help(format!("give {least} to {most} milliseconds")),
    )
}

/// How long somebody waits at most.
pub(crate) fn wait(field: &str, given: u64) -> Answer<u64> {
    millis(field, given, 0..=MAX_TTL_MS)
}

fn too_large(field: &str, bytes: usize, limit: usize) -> ApiError {
    let detail = format!("{field} has {bytes} bytes; the limit is {limit}");
    ApiError::new(axum::http::StatusCode::PAYLOAD_TOO_LARGE, "value-too-large", detail)
        .field(field)
        .help("keep large data elsewhere and put a reference to it here")
}

/// JSON or bytes, one of them.
fn content(field: &str, value: Option<JsonText>, base64: Option<Base64>) -> Answer<Data> {
    let content = match (value, base64) {
        (Some(JsonText(json)), None) => Content::Json(json),
        (None, Some(Base64(bytes))) => Content::Bytes(bytes),
        (Some(_), Some(_)) => return Err(not_one(field, "`value` and `base64` are both given")),
        (None, None) => return Err(not_one(field, "neither `value` nor `base64` is given")),
    };
    match content.as_bytes().len() {
        bytes if bytes > MAX_VALUE_BYTES => Err(too_large(field, bytes, MAX_VALUE_BYTES)),
        _ => Ok(content.into()),
    }
}

fn not_one(field: &str, detail: &str) -> ApiError {
    ApiError::bad_request("bad-content", detail)
        .field(field)
        .help("give JSON as `value`, or bytes as `base64`")
}

fn content_type(given: Option<String>) -> Answer<Option<String>> {
    let Some(text) = given else { return Ok(None) };
    let is_plain = text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    if text.is_empty() || text.len() > MAX_CONTENT_TYPE_BYTES || !is_plain {
        return Err(
            ApiError::bad_request("bad-content-type", format!("{text:?} is no content type"))
                .field("contentType")
                .help(format!(
                    "give a media type such as text/plain, of up to {MAX_CONTENT_TYPE_BYTES} printable ASCII characters"
                )),
        );
    }
    Ok(Some(text))
}

pub(crate) fn fence(token: Option<Revision>, lock: Option<Name>) -> Answer<Option<Fence>> {
    match (token, lock) {
        (Some(token), lock) => Ok(Some(Fence { token, lock })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(
            ApiError::bad_request("fence-missing", "a lock is named, but no fencing token given")
                .field("fence")
                .help("give the token that came with the lock as `fence`"),
        ),
    }
}

/// What is expected of a key; exactly one thing is.
pub(crate) fn expectation(field: &str, is: Expectation) -> Answer<Expect> {
    let given = [
        is.absent.is_some(),
        is.revision.is_some(),
        is.value.is_some(),
        is.base64.is_some(),
    ];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(
            ApiError::bad_request("bad-condition", format!("{field} must say one thing"))
                .field(field)
                .help("give one of absent, revision, value and base64"),
        );
    }
    Ok(match is {
        Expectation { absent: Some(true), .. } => Expect::Absent,
        Expectation {
            absent: Some(false), ..
        } => Expect::Present,
        Expectation {
            revision: Some(revision),
            ..
        } => Expect::Revision(revision),
        Expectation { value, base64, .. } => Expect::Content(content(field, value, base64)?),
    })
}

/// One value to write.
fn put(key: Key, request: PutRequest) -> Answer<Put> {
    let ttl_ms = request
        .ttl_ms
        .map(|ttl| millis("ttlMs", ttl, 1..=MAX_TTL_MS))
        .transpose()?;
    Ok(Put {
        key,
        data: content("value", request.value, request.base64)?,
        content_type: content_type(request.content_type)?,
        ttl_ms,
        lease: request.lease,
        fence: fence(request.fence, request.lock)?,
        sensitive: request.sensitive,
    })
}

/// A plain put, with the condition that it may have.
pub(crate) fn single_put(namespace: Name, key: Key, mut request: PutRequest, writer: Option<String>) -> Answer<Write> {
    let is = request.r#if.take().map(|is| expectation("if", is)).transpose()?;
    let conditions = is.map(|is| Condition { key: key.clone(), is });
    Ok(Write {
        namespace,
        conditions: conditions.into_iter().collect(),
        party: request.party.take(),
        operations: vec![Operation::Put(put(key, request)?)],
        writer,
        checked: Vec::new(),
    })
}

/// A transaction.
pub(crate) fn transaction(namespace: Name, request: TransactionRequest, writer: Option<String>) -> Answer<Write> {
    let parts = request.r#if.len() + request.then.len();
    if parts > MAX_TRANSACTION_PARTS {
        let detail =
            format!("the transaction has {parts} conditions and operations; the limit is {MAX_TRANSACTION_PARTS}");
        return Err(ApiError::bad_request("transaction-too-large", detail)
            .field("then")
            .help("make several transactions of it"));
    }
    let conditions = (0..).zip(request.r#if).map(|(index, condition)| {
        let is = expectation(&format!("if[{index}].is"), condition.is)?;
        Ok(Condition { key: condition.key, is })
    });
    let conditions: Vec<Condition> = conditions.collect::<Answer<_>>()?;
    let operations = (0..).zip(request.then).map(|(index, it)| operation(index, it));
    let operations: Vec<Operation> = operations.collect::<Answer<_>>()?;
    let bytes = bytes_of(&conditions, &operations);
    if bytes > MAX_TRANSACTION_BYTES {
        return Err(too_large("then", bytes, MAX_TRANSACTION_BYTES));
    }
    Ok(Write {
        namespace,
        conditions,
        operations,
        writer,
        party: request.party,
        checked: Vec::new(),
    })
}

fn operation(index: usize, request: OperationRequest) -> Answer<Operation> {
    match request {
        OperationRequest::Put { key, with } if with.r#if.is_none() && with.party.is_none() => {
            let put = put(key, *with);
            put.map(Operation::Put)
                .map_err(|error| error.within(&format!("then[{index}].put.with")))
        }
        OperationRequest::Put { .. } => Err(ApiError::bad_request(
            "bad-operation",
            "a put in a transaction has no condition and no party of its own",
        )
        .field(format!("then[{index}].put.with"))
        .help("give `if` and `party` of the whole transaction")),
        OperationRequest::Delete {
            key,
            fence: token,
            lock,
        } => {
            let fence = fence(token, lock).map_err(|error| error.within(&format!("then[{index}].delete")))?;
            Ok(Operation::Delete { key, fence })
        }
        OperationRequest::Get { key } => Ok(Operation::Get { key }),
    }
}

fn bytes_of(conditions: &[Condition], operations: &[Operation]) -> usize {
    let compared = conditions.iter().map(|condition| match &condition.is {
        Expect::Content(data) => data.as_bytes().len(),
        _ => 0,
    });
    let written = operations.iter().map(|operation| match operation {
        Operation::Put(put) => put.data.as_bytes().len(),
        _ => 0,
    });
    compared.chain(written).sum()
}

/// JSON of a bounded size.
pub(crate) fn bounded_json(field: &str, json: &RawValue, limit: usize) -> Answer<()> {
    match json.get().len() {
        bytes if bytes > limit => Err(too_large(field, bytes, limit)),
        _ => Ok(()),
    }
}
