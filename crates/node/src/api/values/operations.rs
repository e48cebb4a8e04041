//! Reading and writing values, for whoever asks.

use unisono_engine::value::{
    Data, Expect, Failed, Operation, Outcome, Shown, ValueCommand, ValueRejection, Write, Written,
};
use unisono_engine::{Command, Rejection, Reply};
use unisono_model::ids::Revision;
use unisono_model::key::Key;
use unisono_model::name::Name;
use unisono_model::values::{
    DeleteResponse, OperationResult, PutRequest, PutResponse, TransactionRequest, TransactionResponse, ValuePage,
    ValueView,
};

use super::{ListParams, asked, same};
use crate::api::Api;
use crate::api::definitions::{DEFAULT_LIMIT, MOST_LIMIT, MOST_TRIES};
use crate::api::problem::{Answer, ApiError};

/// Bytes of the contents of one page.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// The value of a key, its content included.
pub(crate) async fn get_value(api: &Api, namespace: Name, key: Key) -> Answer<ValueView> {
    let at = key.clone();
    let read = move |state: &unisono_engine::State| -> Option<Shown> {
        let value = state.values().get(&namespace, &at)?;
        Some(value.shown(state.marks()))
    };
    let value = api.partition.query(read).await?;
    value.and_then(|value| value.view()).ok_or_else(|| not_found(&key))
}

pub(super) fn not_found(key: &Key) -> ApiError {
    ApiError::not_found("value-not-found", format!("\"{key}\" has no value"))
        .field("key")
        .help("`unisono value list` shows what there is; `unisono value await` waits until there is one")
}

/// Values by key.
pub(crate) async fn list_values(api: &Api, namespace: Name, params: ListParams) -> Answer<ValuePage> {
    let ListParams { prefix, keys_only, .. } = params;
    asked::prefix(&prefix)?;
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MOST_LIMIT);
    let page_token = params
        .page_token
        .map(|token| asked::key("pageToken", &token))
        .transpose()?;
    let read = move |state: &unisono_engine::State| {
        let after = page_token.as_deref();
        let mut bytes = 0;
        let values = state.values().range(&namespace, &prefix, after).take(limit + 1);
        let taken = values.take_while(|value| {
            let fits = bytes < PAGE_BYTES;
            bytes += if keys_only { 0 } else { value.bytes() };
            fits
        });
        let mut shown: Vec<Shown> = taken.map(|value| value.shown(state.marks())).collect();
        let mut rest = state.values().range(&namespace, &prefix, after).skip(shown.len());
        let more = shown.len() > limit || rest.next().is_some();
        shown.truncate(limit);
        (shown, more, state.revision)
    };
    let (shown, more, revision) = api.partition.query(read).await?;
    let mut items: Vec<ValueView> = shown.iter().filter_map(Shown::public_view).collect();
    if keys_only {
        for item in &mut items {
            (item.value, item.base64) = (None, None);
        }
    }
    let last = items.last().filter(|_| more);
    Ok(ValuePage {
        next_page_token: last.map(|last| last.key.to_string()),
        items,
        revision,
    })
}

/// Writes a value.
pub(crate) async fn put_value(
    api: &Api,
    (namespace, key): (Name, Key),
    request: PutRequest,
    writer: Option<String>,
) -> Answer<PutResponse> {
    let write = asked::single_put(namespace, key, request, writer)?;
    let written = self::write(api, write).await?;
    match written.outcomes.into_iter().next().map(result) {
        Some(OperationResult::Put(put)) => Ok(put),
        _ => Err(ApiError::internal("a put was answered with something else")),
    }
}

/// Deletes a value.
pub(crate) async fn delete_value(
    api: &Api,
    (namespace, key): (Name, Key),
    (revision, fence): (Option<Revision>, Option<unisono_engine::value::Fence>),
    writer: Option<String>,
) -> Answer<DeleteResponse> {
    let conditions = revision.map(|revision| unisono_engine::value::Condition {
        key: key.clone(),
        is: Expect::Revision(revision),
    });
    let write = Write {
        namespace,
        conditions: conditions.into_iter().collect(),
        operations: vec![Operation::Delete { key, fence }],
        writer,
        party: None,
        checked: Vec::new(),
    };
    let written = self::write(api, write).await?;
    match written.outcomes.into_iter().next().map(result) {
        Some(OperationResult::Delete(deleted)) => Ok(deleted),
        _ => Err(ApiError::internal("a deletion was answered with something else")),
    }
}

/// Does all of it, or nothing.
pub(crate) async fn transact(
    api: &Api,
    namespace: Name,
    request: TransactionRequest,
    writer: Option<String>,
) -> Answer<TransactionResponse> {
    let write = asked::transaction(namespace, request, writer)?;
    let written = self::write(api, write).await?;
    Ok(TransactionResponse {
        results: written.outcomes.into_iter().map(result).collect(),
    })
}

fn result(outcome: Outcome) -> OperationResult {
    match outcome {
        Outcome::Put {
            key,
            revision,
            created,
            version,
            expires_at,
        } => OperationResult::Put(PutResponse {
            key,
            revision,
            create_revision: created,
            version,
            expires_at,
        }),
        Outcome::Deleted { key, revision } => OperationResult::Delete(DeleteResponse { key, revision }),
        Outcome::Got(value) => OperationResult::Get(value.and_then(|value| value.view()).map(Box::new)),
    }
}

/// Decides a transaction. What the deciding thread does not look into is looked into here: whether a value fits the schema
/// of a future, and whether JSON that is written differently is the same.
async fn write(api: &Api, mut write: Write) -> Answer<Written> {
    for _ in 0..MOST_TRIES {
        let command = ValueCommand::Write(Box::new(write.clone()));
        match api.partition.command(Command::Value(command)).await? {
            Ok(Reply::Written(written)) => return Ok(*written),
            Ok(_) => return Err(ApiError::internal("a write was answered with something else")),
            Err(Rejection::Value(ValueRejection::Unchecked { key, schema, declared })) => {
                check_schema(api, &write, &key, (&schema, declared))?;
                write.checked.push(declared);
            }
            Err(Rejection::Value(ValueRejection::ConditionFailed { failed })) if same_json(&write, &failed) => {
                for failed in failed {
                    let revision = failed.current.map_or(Revision(0), |current| current.revision);
                    write.conditions[failed.index].is = Expect::Revision(revision);
                }
            }
            Err(rejection) => return Err(rejection.into()),
        }
    }
    Err(Rejection::Stale.into())
}

fn check_schema(
    api: &Api,
    write: &Write,
    key: &Key,
    (schema, declared): (&unisono_engine::payload::Payload, Revision),
) -> Answer<()> {
    let put = write.operations.iter().find_map(|operation| match operation {
        Operation::Put(put) if put.key == *key => Some(put),
        _ => None,
    });
    let Some(Data::Json(text)) = put.map(|put| &put.data) else {
        return Ok(());
    };
    let misfit = |violations: Vec<_>| {
        ApiError::violations(
            "value",
            &format!("the schema that \"{key}\" was declared with"),
            &violations,
        )
    };
    let schema = api.schemas.of(declared, schema).map_err(misfit)?;
    let value = serde_json::from_str(text).map_err(|error| ApiError::internal(error.to_string()))?;
    schema.validate(value).map_err(misfit)
}

/// Whether every condition that failed is about JSON that is the same, only written differently.
fn same_json(write: &Write, failed: &[Failed]) -> bool {
    failed.iter().all(|failed| {
        let (Expect::Content(Data::Json(expected)), Some(current)) =
            (&write.conditions[failed.index].is, &failed.current)
        else {
            return false;
        };
        let Data::Json(found) = &current.data else { return false };
        same::same(expected, found)
    })
}
