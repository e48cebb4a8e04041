//! Values: written, read, swapped by content and by revision, deleted.

use std::sync::Arc;

use serde_json::json;
use unisono_client::{Client, ClientError};
use unisono_linearizability::Recorder;
use unisono_linearizability::models::{Register, RegisterInput, RegisterOutput};
use unisono_model::ids::Revision;
use unisono_model::key::Key;
use unisono_model::values::{
    Condition, Expectation, OperationRequest, OperationResult, PutRequest, TransactionRequest, ValueView,
};

use super::{User, finish, judge_history};
use crate::values::json as content;

pub(super) type Record = Recorder<&'static str, RegisterInput, RegisterOutput>;

/// Few, so that they are fought for.
const KEYS: [&str; 3] = ["register/a", "register/b", "register/c"];

pub(super) async fn use_them(mut user: User, record: Arc<Record>) {
    let (mut fresh, mut seen) = (0, [(0, 0); KEYS.len()]);
    while !user.is_over() {
        let index = usize::try_from(user.random.below(KEYS.len() as u64)).unwrap();
        let key = KEYS[index];
        fresh = user.fresh(fresh);
        let input = choose(&mut user, fresh, seen[index]);
        let call = record.call(user.number, key, input);
        let came = ask(&user.client, key, input).await;
        let refused = |code: &str| match code {
            "condition-failed" => Some(RegisterOutput::Refused),
            "value-not-found" => Some(RegisterOutput::Absent),
            _ => None,
        };
        match user.note((&record, &call), came, refused).await {
            Some(RegisterOutput::Holds(value, revision)) => seen[index] = (value, revision),
            Some(RegisterOutput::Changed(revision)) => seen[index] = (fresh, revision),
            _ => {}
        }
    }
}

/// Mostly what is likely to be right by what was seen last.
fn choose(user: &mut User, new: u64, (value, revision): (u64, u64)) -> RegisterInput {
    match user.random.below(10) {
        0 | 1 => RegisterInput::Write(new),
        2 => RegisterInput::WriteIfAbsent(new),
        3 | 4 => RegisterInput::Swap { expected: value, new },
        5 if revision > 0 => RegisterInput::SwapAt {
            expected: revision,
            new,
        },
        6 => RegisterInput::DeleteIf(value),
        7 if user.random.below(3) == 0 => RegisterInput::Delete,
        _ => RegisterInput::Read,
    }
}

async fn ask(client: &Client, key: &str, input: RegisterInput) -> Result<RegisterOutput, ClientError> {
    let put = async |new: u64, condition: Option<Expectation>| {
        let request = PutRequest {
            r#if: condition,
            ..PutRequest::new(content(json!(new)))
        };
        let done = client.put_value(key, &request).await?;
        Ok(RegisterOutput::Changed(done.revision.0))
    };
    let holding = |value: u64| Expectation::content(content(json!(value)));
    match input {
        RegisterInput::Read => Ok(read(&client.value(key).await?)),
        RegisterInput::Write(new) => put(new, None).await,
        RegisterInput::WriteIfAbsent(new) => put(new, Some(Expectation::absent())).await,
        RegisterInput::Swap { expected, new } => put(new, Some(holding(expected))).await,
        RegisterInput::SwapAt { expected, new } => put(new, Some(Expectation::revision(Revision(expected)))).await,
        RegisterInput::Delete => {
            let done = client.delete_value(key, None).await?;
            let changed = done.revision.map(|revision| RegisterOutput::Changed(revision.0));
            Ok(changed.unwrap_or(RegisterOutput::Refused))
        }
        RegisterInput::DeleteIf(value) => delete_if(client, key, value).await,
    }
}

fn read(view: &ValueView) -> RegisterOutput {
    let number = view.value.as_ref().unwrap().get().parse().unwrap();
    RegisterOutput::Holds(number, view.revision.0)
}

async fn delete_if(client: &Client, key: &str, value: u64) -> Result<RegisterOutput, ClientError> {
    let key = Key::parse(key).unwrap();
    let condition = Condition {
        key: key.clone(),
        is: Expectation::content(content(json!(value))),
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
    let done = client.transact(&request).await?;
    let [OperationResult::Delete(deleted)] = &done.results[..] else {
        panic!("{done:?}");
    };
    let changed = deleted.revision.map(|revision| RegisterOutput::Changed(revision.0));
    // Which is wrong, as the condition held.
    Ok(changed.unwrap_or(RegisterOutput::Absent))
}

pub(super) fn judge(record: Arc<Record>) -> usize {
    judge_history("values", &Register, &finish(record))
}
