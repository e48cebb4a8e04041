//! A queue that programs make of values: its ends are counters, and what is in it stands between them. Whoever puts or takes
//! moves an end in a transaction, on the condition that nobody has moved it meanwhile.

use std::sync::Arc;

use serde_json::json;
use unisono_linearizability::models::{Queue, QueueInput, QueueOutput};
use unisono_linearizability::{Call, Recorder};
use unisono_model::ids::Revision;
use unisono_model::key::Key;
use unisono_model::values::{
    Condition, Expectation, OperationRequest, OperationResult, PutRequest, TransactionRequest, ValueView,
};

use super::{User, finish, judge_history};
use crate::values::json as content;

pub(super) type Record = Recorder<&'static str, QueueInput, QueueOutput>;

const QUEUE: &str = "queue";
const HEAD: &str = "queue/head";
const TAIL: &str = "queue/tail";

pub(super) async fn use_it(mut user: User, record: Arc<Record>) {
    let mut fresh = 0;
    while !user.is_over() {
        // It stays short: the longer it is, the later shows what was lost.
        let input = if user.random.below(3) == 0 {
            fresh = user.fresh(fresh);
            QueueInput::Put(fresh)
        } else {
            QueueInput::Take
        };
        let call = record.call(user.number, QUEUE, input);
        while !try_it(&user, (&record, &call), input).await {}
    }
}

/// One end of the queue: how far it has come, and when it was last moved.
#[derive(Clone, Copy)]
struct End {
    key: &'static str,
    at: u64,
    moved: Option<Revision>,
}

/// Whether the call has ended; not, when somebody else was faster.
async fn try_it(user: &User, (record, call): (&Record, &Call<&'static str>), input: QueueInput) -> bool {
    let (head, tail) = ends(user).await;
    let end = match input {
        QueueInput::Take if head.at == tail.at => {
            record.returned(call, QueueOutput::Empty);
            return true;
        }
        QueueInput::Take => head,
        QueueInput::Put(_) => tail,
    };
    let came = user.client.transact(&transaction(end, input)).await;
    if came
        .as_ref()
        .is_err_and(|error| error.code() == Some("condition-failed"))
    {
        return false;
    }
    let came = came.map(|done| match &done.results[0] {
        OperationResult::Get(item) => number(item.as_deref()).map(QueueOutput::Took),
        _ => None,
    });
    let came = came.map(|taken| taken.unwrap_or(QueueOutput::Done));
    user.note((record, call), came, |_| None).await;
    true
}

/// Both ends, as of one moment.
async fn ends(user: &User) -> (End, End) {
    let get = |key| OperationRequest::Get { key: self::key(key) };
    let request = TransactionRequest {
        r#if: Vec::new(),
        then: vec![get(HEAD), get(TAIL)],
        party: None,
    };
    let read = user.insist(|| user.client.transact(&request)).await;
    let end = |index: usize, key| match &read.results[index] {
        OperationResult::Get(view) => End {
            key,
            at: number(view.as_deref()).unwrap_or_default(),
            moved: view.as_ref().map(|view| view.revision),
        },
        other => panic!("{other:?}"),
    };
    (end(0, HEAD), end(1, TAIL))
}

fn transaction(end: End, input: QueueInput) -> TransactionRequest {
    let item = key(&format!("queue/items/{:08}", end.at));
    let put = |key, number: u64| OperationRequest::Put {
        key,
        with: Box::new(PutRequest::new(content(json!(number)))),
    };
    let mut then = match input {
        QueueInput::Put(value) => vec![put(item, value)],
        QueueInput::Take => vec![
            OperationRequest::Get { key: item.clone() },
            OperationRequest::Delete {
                key: item,
                fence: None,
                lock: None,
            },
        ],
    };
    then.push(put(key(end.key), end.at + 1));
    let condition = Condition {
        key: key(end.key),
        is: end.moved.map_or_else(Expectation::absent, Expectation::revision),
    };
    TransactionRequest {
        r#if: vec![condition],
        then,
        party: None,
    }
}

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn number(view: Option<&ValueView>) -> Option<u64> {
    Some(view?.value.as_ref()?.get().parse().unwrap())
}

pub(super) fn judge(record: Arc<Record>) -> usize {
    judge_history("a queue of values", &Queue, &finish(record))
}
