//! Lists and counts of orchestrations.
//!
//! The store's index says which runs a list is about. What only the engine knows, such as what an open run waits for, is
//! asked of it for those runs that the index has found, some at a time, so that the partition never waits for a list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use unisono_engine::orchestration::RunKey;
use unisono_model::api::{
    OrchestrationCount, OrchestrationGroup, OrchestrationState, OrchestrationSummary, Page, WaitReason,
};
use unisono_model::ids::Timestamp;
use unisono_model::name::Name;
use unisono_store::{Group, GroupBy, MAX_PAGE_ITEMS, PageRequest, RunCount, RunFilter, RunPage, Store, StoreError};

use super::definitions::{DEFAULT_LIMIT, MOST_LIMIT};
use super::expression::{Expression, Found};
use super::extract::{Names, name};
use super::lines::accepts;
use super::problem::{Answer, ApiError};
use super::{Api, list_watch};
use crate::partition::Unavailable;

/// Activities that the engine looks at for one query.
const ACTIVITIES_PER_QUERY: usize = 100_000;
/// How long a page is looked for that the index alone cannot fill, before what was found is given out.
const LONGEST_PAGE: Duration = Duration::from_secs(1);
/// How long runs are counted that the index alone cannot count.
const LONGEST_COUNT: Duration = Duration::from_secs(2);
/// And how many.
const MOST_COUNTED: u64 = 10_000;

/// Which runs are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Question {
    filter: RunFilter,
    /// Any of these reasons; empty means whether it waits or not.
    waiting_for: Vec<WaitReason>,
    /// An expression that is true.
    text: Option<String>,
    expression: Option<Arc<Expression>>,
}

impl Question {
    /// Reads a parameter, if it is one of a filter.
    fn set(&mut self, key: &str, value: &str) -> Answer<bool> {
        let filter = &mut self.filter;
        match key {
            "state" => filter.states.extend(words::<OrchestrationState>(key, value)?),
            "type" => filter.r#type = Some(name("type", value)?),
            "version" => {
                let version = value.parse().map_err(|_| bad(key, value, "not a version number"))?;
                filter.version = Some(version);
            }
            "label" => {
                let label = value.split_once('=');
                let (label, wanted) = label.ok_or_else(|| bad(key, value, "write a label as key=value"))?;
                filter.labels.push((label.to_owned(), wanted.to_owned()));
            }
            "correlationId" => filter.correlation_id = Some(value.to_owned()),
            "createdAfter" => filter.created_after = Some(instant(key, value)?),
            "createdBefore" => filter.created_before = Some(instant(key, value)?),
            "endedAfter" => filter.ended_after = Some(instant(key, value)?),
            "endedBefore" => filter.ended_before = Some(instant(key, value)?),
            "filter" if self.text.is_some() => {
                return Err(bad(key, value, "there is one already; join them with &&"));
            }
            "filter" => self.text = Some(value.to_owned()),
            "waitingFor" => self.waiting_for.extend(words::<WaitReason>(key, value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// To be said when all parameters were read.
    async fn complete(&mut self, api: &Api) -> Answer<()> {
        self.wait();
        if let Some(text) = &self.text {
            self.expression = Some(api.expressions.compile(text).await?);
            let beyond = self.filter.beyond.take().unwrap_or_default();
            self.filter.beyond = Some(format!("{beyond}&filter={text}"));
        }
        Ok(())
    }

    fn wait(&mut self) {
        if self.waiting_for.is_empty() {
            return;
        }
        self.waiting_for.sort_unstable();
        self.waiting_for.dedup();
        // Whatever has ended waits for nothing.
        let states = &mut self.filter.states;
        if states.is_empty() {
            *states = vec![OrchestrationState::Initialized, OrchestrationState::Running];
        } else {
            states.retain(|state| !state.is_terminal());
        }
        let waiting_for: Vec<_> = self.waiting_for.iter().map(|reason| reason.as_str()).collect();
        self.filter.beyond = Some(format!("waitingFor={}", waiting_for.join(",")));
    }

    /// Whether an expression is part of it.
    pub(super) fn has_expression(&self) -> bool {
        self.expression.is_some()
    }

    /// Whether nothing can match.
    fn is_empty(&self) -> bool {
        !self.waiting_for.is_empty() && self.filter.states.is_empty()
    }

    /// Whether the index alone says what matches.
    fn is_indexed(&self) -> bool {
        self.filter.beyond.is_none()
    }

    /// Whether a run that the index has found matches as well in what the index does not know.
    fn takes(&self, run: &OrchestrationSummary) -> bool {
        self.waiting_for.is_empty() || self.waiting_for.iter().any(|reason| run.waiting_for.contains(reason))
    }
}

fn bad(key: &str, value: &str, why: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request("bad-parameter", format!("{key}={value}: {why}")).field(key)
}

/// Words out of a fixed set, joined by commas.
fn words<T: std::str::FromStr<Err: std::fmt::Display>>(key: &str, value: &str) -> Answer<Vec<T>> {
    let words = value.split(',').map(str::parse);
    words
        .collect::<Result<_, _>>()
        .map_err(|error: T::Err| bad(key, value, error))
}

fn instant(key: &str, text: &str) -> Answer<Timestamp> {
    let why = "not an instant; write it as in 2026-01-31T12:00:00Z";
    text.parse().map_err(|_| bad(key, text, why))
}

/// Parameters that may be given more than once. Of expressions it is said how to join them.
const REPEATABLE: [&str; 4] = ["state", "label", "waitingFor", "filter"];

/// Reads parameters by hand, because some may be repeated. `other` takes those that are no filter, if it knows them.
async fn read(
    api: &Api,
    uri: &Uri,
    others: &str,
    mut other: impl FnMut(&str, &str) -> Answer<bool>,
) -> Answer<Question> {
    let axum::extract::Query(pairs) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|rejection| ApiError::bad_request("bad-parameter", rejection.body_text()))?;
    let mut question = Question::default();
    for (number, (key, value)) in pairs.iter().enumerate() {
        if !REPEATABLE.contains(&key.as_str()) && pairs[..number].iter().any(|(before, _)| before == key) {
            return Err(bad(key, value, "it was given already"));
        }
        if !question.set(key, value)? && !other(key, value)? {
            return Err(bad(key, value, "there is no such parameter").help(format!(
                "there are state, type, version, label, correlationId, createdAfter, createdBefore, endedAfter, \
                 endedBefore, waitingFor, filter, {others}"
            )));
        }
    }
    question.complete(api).await?;
    Ok(question)
}

/// List orchestrations, newest first. With `Accept: text/event-stream` watch the first page: `snapshot`, then `changed` and `left`.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/orchestrations", tag = "orchestrations",
    params(("namespace" = String, Path), ("state" = Option<String>, Query, description = "One state or several, joined by commas"),
        ("type" = Option<String>, Query), ("version" = Option<u32>, Query), ("label" = Option<Vec<String>>, Query, description = "key=value; can be repeated"),
        ("correlationId" = Option<String>, Query), ("createdAfter" = Option<String>, Query), ("createdBefore" = Option<String>, Query),
        ("endedAfter" = Option<String>, Query), ("endedBefore" = Option<String>, Query),
        ("waitingFor" = Option<String>, Query, description = "One reason or several, joined by commas: no-agent, agents-full, external-call, time, retry"),
        ("filter" = Option<String>, Query, description = "An expression of CEL over id, type, version, state, correlationId, labels, createdAt, endedAt, waitingFor and now"),
        ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query)),
    responses((status = 200, body = Page<OrchestrationSummary>, description = "A page may hold fewer than `limit`, even none, and have a next one")))]
pub(super) async fn list(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Response> {
    let (mut limit, mut token) = (DEFAULT_LIMIT, None);
    let question = read(&api, &uri, "limit and pageToken", |key, value| {
        match key {
            "limit" => limit = value.parse().map_err(|_| bad(key, value, "not a number"))?,
            "pageToken" => token = Some(value.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    })
    .await?;
    let limit = limit.clamp(1, MOST_LIMIT);
    if accepts(&headers, "text/event-stream") {
        return list_watch::watch(api, namespace, question, limit).await;
    }
    api.partition.barrier().await?;
    let page = page(&api, &namespace, &question, (limit, token)).await?;
    Ok(Json(page).into_response())
}

pub(super) async fn page(
    api: &Api,
    namespace: &Name,
    question: &Question,
    (limit, mut token): (usize, Option<String>),
) -> Answer<Page<OrchestrationSummary>> {
    let begin = Instant::now();
    let (mut items, mut last) = (Vec::new(), None);
    loop {
        let wanted = if question.is_indexed() {
            limit - items.len()
        } else {
            MAX_PAGE_ITEMS
        };
        let (found, next) = candidates(api, namespace, question, (wanted, token)).await?;
        for (run, summary) in found {
            if items.len() == limit {
                let next = last.map(|run| question.filter.token_behind(namespace, run));
                return Ok(Page {
                    items,
                    next_page_token: next,
                });
            }
            items.push(summary);
            last = Some(run);
        }
        token = next;
        if token.is_none() || items.len() == limit || begin.elapsed() > LONGEST_PAGE {
            return Ok(Page {
                items,
                next_page_token: token,
            });
        }
    }
}

/// Runs that match, out of as many as were wanted that the index has found, and the token to go on with.
async fn candidates(
    api: &Api,
    namespace: &Name,
    question: &Question,
    (limit, token): (usize, Option<String>),
) -> Answer<(Found, Option<String>)> {
    if question.is_empty() {
        return Ok((Vec::new(), None));
    }
    let (of, filter) = (namespace.clone(), question.filter.clone());
    let read = move |store: &Store| store.list(&of, &filter, PageRequest { limit, token });
    let RunPage { mut items, next } = look_up(api, read).await?;
    add_reasons(api, &mut items).await?;
    items.retain(|(_, run)| question.takes(run));
    let Some(expression) = &question.expression else {
        return Ok((items, next));
    };
    let (kept, stopped_at) = api.expressions.keep(expression, items).await?;
    let behind = stopped_at.map(|run| question.filter.token_behind(namespace, run));
    Ok((kept, behind.or(next)))
}

/// Adds what open runs wait for.
async fn add_reasons(api: &Api, runs: &mut Found) -> Answer<()> {
    let open = |(_, run): &&mut (_, OrchestrationSummary)| !run.state.is_terminal();
    let mut open: Vec<_> = runs.iter_mut().filter(open).collect();
    let mut rest = open.as_mut_slice();
    while !rest.is_empty() {
        let keys: Vec<_> = rest.iter().map(|(run, _)| RunKey(run.0)).collect();
        let query = move |state: &unisono_engine::State| state.waiting_for(&keys, ACTIVITIES_PER_QUERY);
        let answers = api.partition.query(query).await?;
        let (answered, later) = rest.split_at_mut(answers.len());
        for ((_, run), reasons) in answered.iter_mut().zip(answers) {
            run.waiting_for = reasons.unwrap_or_default();
        }
        rest = later;
    }
    Ok(())
}

/// Reads the store where that may take its time.
async fn look_up<T: Send + 'static>(
    api: &Api,
    read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Answer<T> {
    let store = api.partition.store()?;
    tokio::task::spawn_blocking(move || read(&store))
        .await
        .map_err(|error| ApiError::internal(format!("the store could not be read: {error}")))?
        .map_err(|error| match error {
            StoreError::MalformedPageToken { .. } | StoreError::ForeignPageToken => {
                ApiError::bad_request("bad-page-token", error.to_string()).field("pageToken")
            }
            other => Unavailable::from(other).into(),
        })
}

/// Count orchestrations.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/orchestration-counts", tag = "orchestrations",
    params(("namespace" = String, Path), ("state" = Option<String>, Query, description = "One state or several, joined by commas"),
        ("type" = Option<String>, Query), ("version" = Option<u32>, Query), ("label" = Option<Vec<String>>, Query, description = "key=value; can be repeated"),
        ("correlationId" = Option<String>, Query), ("createdAfter" = Option<String>, Query), ("createdBefore" = Option<String>, Query),
        ("endedAfter" = Option<String>, Query), ("endedBefore" = Option<String>, Query),
        ("waitingFor" = Option<String>, Query, description = "One reason or several, joined by commas: no-agent, agents-full, external-call, time, retry"),
        ("filter" = Option<String>, Query, description = "An expression of CEL over id, type, version, state, correlationId, labels, createdAt, endedAt, waitingFor and now"),
        ("groupBy" = Option<String>, Query, description = "type, version, state, or several of them, joined by commas")),
    responses((status = 200, body = OrchestrationCount)))]
pub(super) async fn count(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    uri: Uri,
) -> Answer<Json<OrchestrationCount>> {
    let mut by = GroupBy::default();
    let question = read(&api, &uri, "groupBy", |key, value| {
        if key != "groupBy" {
            return Ok(false);
        }
        for word in value.split(',') {
            match word {
                "type" => by.r#type = true,
                "version" => by.version = true,
                "state" => by.state = true,
                _ => return Err(bad(key, value, "runs are grouped by type, version and state")),
            }
        }
        Ok(true)
    })
    .await?;
    api.partition.barrier().await?;
    let groups = if question.is_indexed() {
        let filter = question.filter.clone();
        look_up(&api, move |store| store.count_by(&namespace, &filter, by)).await?
    } else {
        count_one_by_one(&api, &namespace, &question, by).await?
    };
    Ok(Json(answer(groups, by)))
}

async fn count_one_by_one(
    api: &Api,
    namespace: &Name,
    question: &Question,
    by: GroupBy,
) -> Answer<BTreeMap<Group, RunCount>> {
    let begin = Instant::now();
    let (mut groups, mut counted, mut token) = (BTreeMap::<Group, RunCount>::new(), 0, None);
    loop {
        let (found, next) = candidates(api, namespace, question, (MAX_PAGE_ITEMS, token)).await?;
        for (_, run) in found {
            groups
                .entry(by.of(&run.r#type, run.version, run.state))
                .or_default()
                .runs += 1;
            counted += 1;
        }
        if next.is_none() {
            return Ok(groups);
        }
        if counted >= MOST_COUNTED || begin.elapsed() > LONGEST_COUNT {
            // Whichever group comes next may have more, one that has not been seen as well.
            groups.entry(Group::default()).or_default();
            groups.values_mut().for_each(|count| count.or_more = true);
            return Ok(groups);
        }
        token = next;
    }
}

fn answer(groups: BTreeMap<Group, RunCount>, by: GroupBy) -> OrchestrationCount {
    let grouped = by != GroupBy::default();
    OrchestrationCount {
        count: groups.values().map(|count| count.runs).sum(),
        exact: !groups.values().any(|count| count.or_more),
        groups: groups
            .into_iter()
            .filter(|(group, _)| grouped && *group != Group::default())
            .map(|(group, count)| OrchestrationGroup {
                r#type: group.r#type,
                version: group.version,
                state: group.state,
                count: count.runs,
                exact: !count.or_more,
            })
            .collect(),
    }
}
