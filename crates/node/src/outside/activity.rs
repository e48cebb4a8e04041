//! Asking by an activity: an orchestration of one activity, which an agent runs, and whose output is the answer.
//!
//! Its id is the key of what is asked, so a server that was killed finds it again. When it has failed, the next try is
//! another one.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use unisono_model::api::{DefinitionKind, OrchestrationState, OrchestrationView, StartRequest};
use unisono_model::name::Name;

use crate::api::{Api, ApiError, apply_definition, find_orchestration, start_and_wait};

/// How often one thing is asked by orchestrations that fail.
const MOST_RUNS: u32 = 200;
/// Bytes of a text that ties an orchestration to what it is about.
const MOST_CORRELATION_BYTES: usize = 256;

/// Runs an activity with this request as its input, under the name `request`, and returns its output.
///
/// # Errors
/// Why there is no output, for people.
pub(super) async fn run(
    api: &Api,
    (namespace, about): (&Name, &str),
    activity: &Name,
    key: &str,
    request: &impl Serialize,
) -> Result<String, String> {
    for number in 1..=MOST_RUNS {
        let id = if number == 1 {
            key.to_owned()
        } else {
            format!("{key}-{number}")
        };
        let id = Name::parse(&id).map_err(|error| error.to_string())?;
        match find_orchestration(api, namespace, &id).await {
            Ok(view) if has_failed(&view) => continue,
            Ok(_) => {}
            Err(error) if error.is("orchestration-not-found") => {
                start(api, (namespace, about), activity, &id, request).await?;
            }
            Err(error) => return Err(said(error)),
        }
        return output(ended(api, namespace, &id).await?);
    }
    Err(format!(
        "orchestration \"{key}\" and those after it have failed {MOST_RUNS} times"
    ))
}

fn said(error: ApiError) -> String {
    error.into_problem().detail
}

fn has_failed(view: &OrchestrationView) -> bool {
    view.summary.state.is_terminal() && view.summary.state != OrchestrationState::Completed
}

async fn start(
    api: &Api,
    (namespace, about): (&Name, &str),
    activity: &Name,
    id: &Name,
    request: &impl Serialize,
) -> Result<(), String> {
    let type_name = defined(api, namespace, activity).await?;
    let input: Box<RawValue> = to_raw_value(&serde_json::json!({ "request": request }))
        .map_err(|error| format!("the request cannot be written: {error}"))?;
    let request = StartRequest {
        id: Some(id.to_string()),
        r#type: type_name,
        version: None,
        correlation_id: (about.len() <= MOST_CORRELATION_BYTES).then(|| about.to_owned()),
        input: Some(input),
        labels: std::collections::BTreeMap::new(),
    };
    let started = start_and_wait(api, namespace.clone(), request, (None, None, None)).await;
    started.map(drop).map_err(said)
}

/// The orchestration definition that runs nothing but this activity. It is made when there is none.
async fn defined(api: &Api, namespace: &Name, activity: &Name) -> Result<String, String> {
    let type_name = format!("call.{activity}");
    let type_name = Name::parse(&type_name).map_err(|error| error.to_string())?;
    let definitions = api.partition.definitions();
    let known = definitions.namespace(namespace);
    if known.is_none_or(|known| known.newest(DefinitionKind::Orchestration, &type_name).is_none()) {
        let document = serde_json::json!({
            "type": type_name,
            "description": format!("Asks the activity {activity} on behalf of a rollout."),
            "schema": {"type": "object", "required": ["request"], "properties": {"request": {"type": "object"}}},
            "activities": [{"id": "answer", "type": activity, "inputs": ["request"]}]
        });
        apply_definition(api, namespace.clone(), document.to_string())
            .await
            .map_err(|error| {
                let problem = error.into_problem();
                let mistake = problem.mistakes.first();
                let why = mistake.map_or(problem.detail.clone(), |mistake| mistake.message.clone());
                format!("activity \"{activity}\" cannot be asked: {why}")
            })?;
    }
    Ok(type_name.to_string())
}

async fn ended(api: &Api, namespace: &Name, id: &Name) -> Result<OrchestrationView, String> {
    // Before the look, so that no end is missed.
    let mut waiter = api.hub.wait_for_end(namespace, id);
    let view = find_orchestration(api, namespace, id).await.map_err(said)?;
    if view.summary.state.is_terminal() {
        return Ok(view);
    }
    // None when the server stops; then nobody waits for this any more.
    waiter.end().await;
    find_orchestration(api, namespace, id).await.map_err(said)
}

fn output(view: OrchestrationView) -> Result<String, String> {
    let id = &view.summary.id;
    if view.summary.state != OrchestrationState::Completed {
        let why = view.error.map_or(view.reason, |error| error.error.message);
        return Err(format!(
            "orchestration \"{id}\" is {}: {why}",
            view.summary.state.as_str()
        ));
    }
    let text = view.output.map(|output| output.get().to_owned()).unwrap_or_default();
    let mut outputs: std::collections::BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(&text).unwrap_or_default();
    let answer = outputs.remove("answer");
    answer
        .map(|it| it.get().to_owned())
        .ok_or_else(|| format!("orchestration \"{id}\" has no output \"answer\""))
}
