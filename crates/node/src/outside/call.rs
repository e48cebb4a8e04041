//! One try of one call: somebody is asked, and the answer is told.

use futures_util::{StreamExt as _, stream};
use reqwest::Url;
use unisono_engine::rollout::{OpenCall, RolloutCommand, RolloutRejection};
use unisono_engine::{Command, Rejection};
use unisono_model::name::Name;
use unisono_model::rollout::{Answer, CallKind, CallRequest, CallTarget, Gate, Source, TargetId, fill, read_answer};

use super::caller::Asked;
use super::{At, LATER, activity, measure};
use crate::api::Api;

/// How often an answer is told that the partition did not take. After that the call is asked again.
const TOLD: usize = 5;
/// Targets that one older controller is asked about at a time.
const ONE_BY_ONE: usize = 8;

/// Asks, and tells the answer. What nobody in this process is registered for is left to whoever comes by.
pub(super) async fn make(api: &Api, at: At, call: OpenCall) {
    let endpoint = &call.view.endpoint;
    let answer = if let Some(url) = &endpoint.url {
        ask(api, &at, &call, url).await
    } else if let Some(activity) = &endpoint.activity {
        ask_activity(api, &at, &call, activity).await
    } else if let Some(name) = &endpoint.local {
        let request = request(&at, &call, call.targets.clone());
        match api.controllers.ask(name, &request).await {
            Some(answer) => Ok(answer),
            None => return,
        }
    } else {
        return;
    };
    let answer = answer.unwrap_or_else(|message| Answer::Unreachable { message });
    api.metrics.called(call.view.kind, &answer);
    tell(api, &at, &call, answer).await;
}

async fn ask(api: &Api, at: &At, call: &OpenCall, url: &str) -> Result<Answer, String> {
    let kind = call.view.kind;
    if let Some(analysis) = call.analysis.as_ref().filter(|it| it.source != Source::Call) {
        let measured = measure::measure(api, at, call, analysis).await?;
        return Ok(Answer::Measured { measured });
    }
    if kind == CallKind::Monitoring && call.view.endpoint.classic {
        return ask_one_by_one(api, at, call, url).await;
    }
    let request = request(at, call, call.targets.clone());
    let body = post(api, call, url, &request).await?;
    // Of a rollback it is told, and not asked.
    if call.view.subject.gate == Some(Gate::Rollback) {
        return Ok(Answer::Go);
    }
    read_answer(kind, call.view.endpoint.classic, &body)
}

/// An agent runs an activity, and what that gives is the answer.
async fn ask_activity(api: &Api, at: &At, call: &OpenCall, activity: &Name) -> Result<Answer, String> {
    let request = request(at, call, call.targets.clone());
    let output = activity::run(api, (&at.0, &at.1), activity, &request.call, &request).await?;
    if call.view.subject.gate == Some(Gate::Rollback) {
        return Ok(Answer::Go);
    }
    read_answer(call.view.kind, false, &output)
}

/// Older controllers say of one target at a time whether it is well.
async fn ask_one_by_one(api: &Api, at: &At, call: &OpenCall, url: &str) -> Result<Answer, String> {
    // A controller may be asked about a thousand targets, and is not to be asked at once.
    let asked: Vec<_> = call
        .targets
        .iter()
        .map(|it| is_well(api, at, (call, url), it))
        .collect();
    let answers: Vec<Result<Option<TargetId>, String>> =
        stream::iter(asked).buffer_unordered(ONE_BY_ONE).collect().await;
    let well: Result<Vec<Option<TargetId>>, String> = answers.into_iter().collect();
    let targets = well?.into_iter().flatten().collect();
    Ok(Answer::Targets { targets })
}

/// The target, if its controller says that it is well.
async fn is_well(
    api: &Api,
    at: &At,
    (call, url): (&OpenCall, &str),
    target: &CallTarget,
) -> Result<Option<TargetId>, String> {
    let mut request = request(at, call, Vec::new());
    request.target = Some(target.clone());
    let body = post(api, call, url, &request).await?;
    let answer = read_answer(CallKind::Monitoring, true, &body)?;
    let id = TargetId {
        group: target.group.clone(),
        name: target.name.clone(),
    };
    Ok((answer == Answer::Go).then_some(id))
}

async fn post(api: &Api, call: &OpenCall, url: &str, request: &CallRequest) -> Result<String, String> {
    let body = serde_json::to_vec(request).map_err(|error| format!("the request cannot be written: {error}"))?;
    // Each target is a question of its own.
    let key = match &request.target {
        Some(target) => format!("{}-{:016x}", call.view.key(), digest(target)),
        None => call.view.key(),
    };
    let asked = Asked {
        url: Url::parse(url).map_err(|error| format!("its URL makes no sense: {error}"))?,
        body: Some(body),
        key: &key,
    };
    let replied = api.caller.send(&call.view.endpoint, asked).await?;
    match replied.status.is_success() {
        true => Ok(replied.body),
        false => Err(replied.complaint()),
    }
}

fn digest(target: &CallTarget) -> u64 {
    let text = format!("{}\0{}", &*target.group, &*target.name);
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

/// What is sent.
fn request((namespace, entity): &At, call: &OpenCall, targets: Vec<CallTarget>) -> CallRequest {
    let view = &call.view;
    let subject = &view.subject;
    let counts = matches!(view.kind, CallKind::Selection | CallKind::Removal);
    let filled = |query: &Option<String>| {
        let query = query.as_deref()?;
        Some(fill(query, |name| {
            measure::placeholder(&(namespace.clone(), entity.clone()), subject, name)
        }))
    };
    CallRequest {
        call: view.key(),
        attempt: view.attempt,
        kind: view.kind,
        name: view.name.clone(),
        namespace: namespace.clone(),
        entity: entity.clone(),
        rollout: subject.rollout,
        version: subject.version.clone(),
        baseline: subject.baseline.clone(),
        gate: subject.gate,
        wave: subject.wave.clone(),
        count: counts.then_some(subject.count),
        targets,
        target: None,
        query: filled(&subject.query),
        baseline_query: filled(&subject.baseline_query),
        since: view.since,
        due_at: view.due_at,
    }
}

/// Tells what was answered. Nobody may wait for it any more: the call was given up, or somebody else has answered.
async fn tell(api: &Api, at: &At, call: &OpenCall, answer: Answer) {
    let of = format!("{} \"{}\" of {}/{}", kind_of(call), call.view.name, at.0, &*at.1);
    match &answer {
        Answer::Unreachable { message } => {
            tracing::warn!(attempt = call.view.attempt, "the {of} could not be asked: {message}");
        }
        _ => tracing::debug!("the {of} has answered"),
    }
    let mut answer = answer;
    for _ in 0..TOLD {
        let command = RolloutCommand::Answer {
            namespace: at.0.clone(),
            entity: at.1.clone(),
            call: call.view.id,
            answer: answer.clone(),
        };
        match api.partition.command(Command::Rollout(command)).await {
            Ok(Ok(_) | Err(Rejection::Rollout(RolloutRejection::CallNotFound { .. }))) => return,
            Ok(Err(rejection)) => {
                answer = Answer::Unreachable {
                    message: format!("its answer was not taken: {rejection}"),
                };
            }
            Err(error) => {
                tracing::warn!("the answer of the {of} is told again: {error}");
                tokio::time::sleep(LATER).await;
            }
        }
    }
}

fn kind_of(call: &OpenCall) -> &'static str {
    match call.view.kind {
        CallKind::Hook => "hook",
        CallKind::Analysis => "analysis",
        _ => "controller",
    }
}
