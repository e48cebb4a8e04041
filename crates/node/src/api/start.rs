//! Starting an orchestration.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use unisono_engine::definition::StoredDefinition;
use unisono_engine::orchestration::{OrchestrationCommand, OrchestrationEvent, Start, Trace, split_digest};
use unisono_engine::payload::Payload;
use unisono_engine::{Command, Rejection, Reply};
use unisono_model::api::{DefinitionKind, OrchestrationState, StartRequest, StartResponse};
use unisono_model::limits::{MAX_INPUT_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS};
use unisono_model::name::Name;
use unisono_model::trace::TraceContext;

use super::Api;
use super::definitions::MOST_TRIES;
use super::extract::{Actor, Body, Names, Params, name};
use super::problem::{Answer, ApiError};
use super::reads::{find, started};
use crate::trace;

/// Bytes of a correlation id.
const MAX_CORRELATION_BYTES: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StartParams {
    wait_seconds: Option<u32>,
}

/// Start an orchestration. With the caller's own id this can be repeated safely.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/orchestrations", tag = "orchestrations",
    params(("namespace" = String, Path), ("waitSeconds" = Option<u32>, Query, description = "Answer when it has ended, or after this time")),
    request_body = StartRequest,
    responses((status = 201, body = StartResponse), (status = 200, body = StartResponse, description = "It existed already"),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json"),
        (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn start(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    Params(params): Params<StartParams>,
    Actor(actor): Actor,
    headers: HeaderMap,
    Body(request): Body<StartRequest>,
) -> Answer<(StatusCode, Json<StartResponse>)> {
    let wait = params
        .wait_seconds
        .map(|seconds| Duration::from_secs(u64::from(seconds)));
    let traced = api.traces.request(caller(&headers));
    let trace = traced.as_ref().map(trace::Request::of_run);
    let asked = traced.map(|traced| (traced, namespace.clone(), request.r#type.clone()));
    let answer = start_and_wait(&api, namespace, request, (wait, actor, trace))
        .await
        .map(|response| {
            let status = if response.created {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            (status, Json(response))
        });
    if let Some(asked) = asked {
        answered(&api, asked, &answer);
    }
    answer
}

/// The trace that the caller is part of. One that is not valid is none.
fn caller(headers: &HeaderMap) -> Option<TraceContext> {
    let values = |name: &str| {
        headers
            .get_all(name)
            .into_iter()
            .map(|value| value.to_str().unwrap_or_default())
    };
    TraceContext::read(values("traceparent"), values("tracestate"))
}

/// Tells of the request in its trace.
fn answered(
    api: &Api,
    (traced, namespace, type_name): (trace::Request, Name, String),
    answer: &Answer<(StatusCode, Json<StartResponse>)>,
) {
    let mut attributes = vec![
        ("unisono.namespace", namespace.as_str().into()),
        ("unisono.orchestration.type", type_name.as_str().into()),
    ];
    let status = match answer {
        Ok((status, Json(response))) => {
            attributes.push(("unisono.orchestration.id", response.id.as_str().into()));
            attributes.push(("unisono.created", response.created.into()));
            status.as_u16()
        }
        Err(error) => error.status(),
    };
    api.traces.answered(traced, status, attributes);
}

/// Starts a run, and waits for its end if asked to.
pub(crate) async fn start_and_wait(
    api: &Api,
    namespace: Name,
    request: StartRequest,
    (wait, actor, trace): (Option<Duration>, Option<String>, Option<Trace>),
) -> Answer<StartResponse> {
    let wanted = Wanted {
        trace,
        ..Wanted::read(namespace, request, actor)?
    };
    let Some(wait) = wait else {
        return create(api, &wanted).await;
    };
    // Before the start, so that no end is missed.
    let mut waiter = api.hub.wait_for_end(&wanted.namespace, &wanted.id);
    let mut response = create(api, &wanted).await?;
    let state = async {
        if !response.created {
            let (_, view) = find(api, &wanted.namespace, &wanted.id).await?;
            if view.summary.state.is_terminal() {
                return Ok(view.summary.state);
            }
        }
        let ended = tokio::select! {
            ended = waiter.end() => ended,
            () = tokio::time::sleep(wait) => None,
            () = api.stopping.cancelled() => None,
        };
        match ended {
            Some(state) => Ok(state),
            None => find(api, &wanted.namespace, &wanted.id)
                .await
                .map(|(_, view)| view.summary.state),
        }
    };
    let state: Answer<OrchestrationState> = state.await;
    response.state = Some(state?);
    Ok(response)
}

async fn create(api: &Api, wanted: &Wanted) -> Answer<StartResponse> {
    let mut flushed = false;
    for _ in 0..MOST_TRIES {
        let absent_as_of = match wanted.digest {
            None => None,
            Some(digest) => {
                let up_to = api.partition.projected();
                if let Some(existing) = existing(api, wanted, digest)? {
                    return Ok(existing);
                }
                Some(up_to)
            }
        };
        let start = wanted.start(api, absent_as_of)?;
        let command = Command::Orchestration(OrchestrationCommand::Start(Box::new(start)));
        match api.partition.command(command).await? {
            Ok(Reply::Started { id, version, created }) => {
                tracing::debug!(namespace = %wanted.namespace, run = %id, created, "orchestration started");
                return Ok(StartResponse {
                    id,
                    version,
                    created,
                    state: None,
                });
            }
            Ok(_) => return Err(ApiError::internal("the start was answered with something else")),
            Err(Rejection::Stale) if !flushed => {
                api.partition.barrier().await?;
                flushed = true;
            }
            Err(Rejection::Stale) => flushed = false,
            Err(rejection) => return Err(rejection.into()),
        }
    }
    Err(Rejection::Stale.into())
}

/// An orchestration of this id that the store shows.
fn existing(api: &Api, wanted: &Wanted, digest: u128) -> Answer<Option<StartResponse>> {
    let Some((
        _,
        OrchestrationEvent::Started {
            digest: existing,
            version,
            ..
        },
    )) = started(api, &wanted.namespace, &wanted.id)?
    else {
        return Ok(None);
    };
    if existing != Some(split_digest(digest)) {
        return Err(Rejection::IdTaken { id: wanted.id.clone() }.into());
    }
    Ok(Some(StartResponse {
        id: wanted.id.clone(),
        version,
        created: false,
        state: None,
    }))
}

/// A start whose fields have been checked by themselves.
struct Wanted {
    namespace: Name,
    id: Name,
    /// Present when the caller gave the id.
    digest: Option<u128>,
    type_name: Name,
    version: Option<u32>,
    correlation_id: Option<String>,
    labels: BTreeMap<String, String>,
    input: Box<RawValue>,
    actor: Option<String>,
    trace: Option<Trace>,
}

impl Wanted {
    fn read(namespace: Name, request: StartRequest, actor: Option<String>) -> Answer<Self> {
        let type_name = name("type", &request.r#type)?;
        let input = request.input.unwrap_or_else(|| Payload::empty_object().to_raw());
        check_object("input", &input, MAX_INPUT_BYTES)?;
        check_labels(&request.labels)?;
        if let Some(correlation_id) = &request.correlation_id
            && correlation_id.len() > MAX_CORRELATION_BYTES
        {
            return Err(ApiError::bad_request(
                "field-too-long",
                format!(
                    "correlationId is {} bytes long; the limit is {MAX_CORRELATION_BYTES}",
                    correlation_id.len()
                ),
            )
            .field("correlationId"));
        }
        let (id, digest) = match &request.id {
            Some(id) => {
                let id = name("id", id)?;
                if matches!(id.as_str(), "." | "..") {
                    return Err(
                        ApiError::bad_request("bad-name", format!("id {id:?} cannot stand in a URL")).field("id"),
                    );
                }
                let digest = digest(
                    &type_name,
                    request.version,
                    request.correlation_id.as_deref(),
                    &request.labels,
                    &input,
                );
                (id, Some(digest))
            }
            None => (name("id", &uuid::Uuid::now_v7().to_string())?, None),
        };
        Ok(Self {
            namespace,
            id,
            digest,
            type_name,
            version: request.version,
            correlation_id: request.correlation_id,
            labels: request.labels,
            input,
            actor,
            trace: None,
        })
    }

    /// Checks the input against the schema of the version that will run.
    fn start(&self, api: &Api, absent_as_of: Option<unisono_model::ids::Revision>) -> Answer<Start> {
        let definitions = api.partition.definitions();
        let kind = DefinitionKind::Orchestration;
        let stored: Option<&std::sync::Arc<StoredDefinition>> =
            definitions
                .namespace(&self.namespace)
                .and_then(|definitions| match self.version {
                    Some(version) => definitions.version(kind, &self.type_name, version),
                    None => definitions.newest(kind, &self.type_name),
                });
        if let Some(plan) = stored.and_then(|stored| stored.plan()) {
            plan.validate_input(&self.input).map_err(|violations| {
                ApiError::violations(
                    "input",
                    &format!("the schema of \"{}\" version {}", self.type_name, plan.version),
                    &violations,
                )
            })?;
        }
        // What is missing or inactive is for the decider to say.
        Ok(Start {
            namespace: self.namespace.clone(),
            id: self.id.clone(),
            digest: self.digest.unwrap_or_default(),
            absent_as_of,
            type_name: self.type_name.clone(),
            version: stored.map_or(self.version.unwrap_or(0), |stored| stored.version),
            pinned: self.version.is_some(),
            correlation_id: self.correlation_id.clone(),
            labels: self.labels.clone(),
            input: Payload::from(&*self.input),
            actor: self.actor.clone(),
            trace: self.trace.clone(),
        })
    }
}

/// The payload is a JSON object of at most this size.
pub(super) fn check_object(field: &str, raw: &RawValue, limit: usize) -> Answer<()> {
    if !raw.get().starts_with('{') {
        return Err(
            ApiError::bad_request("not-an-object", format!("{field} is not a JSON object"))
                .field(field)
                .help(format!("write {field} as {{\"key\": value, …}}")),
        );
    }
    if raw.get().len() > limit {
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "payload-too-large",
            format!("{field} is {} bytes long; the limit is {limit}", raw.get().len()),
        )
        .field(field)
        .help("keep large data elsewhere and pass a reference to it"));
    }
    Ok(())
}

/// Labels within their limits.
pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Answer<()> {
    let bad = |detail: String| Err(ApiError::bad_request("bad-label", detail).field("labels"));
    if labels.len() > MAX_LABELS {
        return bad(format!("there are {} labels; the limit is {MAX_LABELS}", labels.len()));
    }
    for (key, value) in labels {
        if let Err(error) = Name::parse(key) {
            return bad(format!("label key {key:?} is no name: {error}"));
        }
        if value.len() > MAX_LABEL_VALUE_BYTES {
            return bad(format!(
                "the value of label {key:?} is {} bytes long; the limit is {MAX_LABEL_VALUE_BYTES}",
                value.len()
            ));
        }
    }
    Ok(())
}

/// A digest of what a caller asked for; the order of keys and the white space of the input do not
/// matter.
fn digest(
    type_name: &Name,
    version: Option<u32>,
    correlation_id: Option<&str>,
    labels: &BTreeMap<String, String>,
    input: &RawValue,
) -> u128 {
    let mut text = serde_json::json!([type_name.as_str(), version, correlation_id, labels]).to_string();
    match serde_json::from_str(input.get()) {
        Ok(input) if is_exact(&input) => canonical(&input, &mut text),
        // Deeper than is parsed here, or with numbers that no type holds exactly: then the text itself counts.
        _ => text.push_str(input.get()),
    }
    xxhash_rust::xxh3::xxh3_128(text.as_bytes())
}

fn is_exact(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().all(is_exact),
        Value::Array(items) => items.iter().all(is_exact),
        Value::Number(number) => !number.is_f64(),
        _ => true,
    }
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<&String, &Value> = members.iter().collect();
            text.push('{');
            for (key, value) in sorted {
                canonical(&Value::String(key.clone()), text);
                text.push(':');
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn digest_of(input: &str) -> u128 {
        let raw: Box<RawValue> = serde_json::from_str(input).unwrap();
        digest(&Name::parse("t").unwrap(), None, None, &BTreeMap::new(), &raw)
    }

    #[test]
    fn the_digest_ignores_the_order_of_keys_and_white_space_and_nothing_else() {
        let one = digest_of(r#"{"a": 1, "b": {"c": [1, 2], "d": null}}"#);
        assert_eq!(one, digest_of(r#"{"b":{"d":null,"c":[1,2]},"a":1}"#));
        assert_ne!(one, digest_of(r#"{"a": 1, "b": {"c": [2, 1], "d": null}}"#));
        assert_ne!(digest_of(r#"{"a": "1"}"#), digest_of(r#"{"a": 1}"#));
        let (one, two) = (r#"{"a": 12345678901234567890901}"#, r#"{"a": 12345678901234567890902}"#);
        assert_ne!(digest_of(one), digest_of(two));
    }
}
