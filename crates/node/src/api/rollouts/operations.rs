//! What callers do, over HTTP or within the process.

use std::sync::Arc;

use axum::http::StatusCode;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use unisono_engine::rollout::{By, RolloutCommand, RolloutReply, TARGETS_AT_ONCE, Told, Verb};
use unisono_engine::{Command, Rejection, Reply, State};
use unisono_model::name::Name;
use unisono_model::problem::{Mistake, Span};
use unisono_model::rollout::{ClassicOptions, Done, EntityName, Fault, Policy, Reports, with_options};

use crate::api::Api;
use crate::api::problem::{Answer, ApiError};

/// Commands of one request that wait to be decided, or to be durable.
const COMMANDS_AT_ONCE: usize = 2;

/// Reports that were taken, and what each of their targets should do.
pub(crate) struct Asked {
    pub(crate) reports: Arc<Reports>,
    pub(crate) told: Told,
}

/// Targets report. What they should do is known once that is durable.
pub(crate) async fn report(api: &Api, namespace: &Name, entity: &EntityName, reports: Reports) -> Answer<Vec<Asked>> {
    let parts = reports.parts(TARGETS_AT_ONCE);
    let asked = parts.into_iter().map(|part| report_part(api, namespace, entity, part));
    let (mut taken, mut answers) = (0, Vec::new());
    let mut parts = stream::iter(asked).buffered(COMMANDS_AT_ONCE);
    while let Some(part) = parts.try_next().await.map_err(|error| some_taken(error, taken))? {
        taken += part.reports.len();
        answers.push(part);
    }
    Ok(answers)
}

fn some_taken(error: ApiError, taken: usize) -> ApiError {
    match taken {
        0 => error,
        taken => error.data(json!({"reportsTaken": taken})),
    }
}

async fn report_part(api: &Api, namespace: &Name, entity: &EntityName, reports: Reports) -> Answer<Asked> {
    let reports = Arc::new(reports);
    let command = Command::Rollout(RolloutCommand::Report {
        namespace: namespace.clone(),
        entity: entity.clone(),
        reports: Arc::clone(&reports),
    });
    let read = |state: &State, outcome: Result<Reply, Rejection>| match outcome? {
        Reply::Rollout(RolloutReply::Reported(reply)) => {
            let fleet = state.rollouts().fleet(reply.entity);
            Ok(fleet.map(|fleet| fleet.told(&reply.slots)).unwrap_or_default())
        }
        _ => Err(Rejection::Internal(
            "a report was answered with something else".to_owned(),
        )),
    };
    let told = api.partition.command_then(command, read).await?;
    let told = told.map_err(ApiError::from)?;
    Ok(Asked { reports, told })
}

/// Someone does something.
pub(crate) async fn act(api: &Api, (namespace, entity): (Name, EntityName), by: By, verb: Verb) -> Answer<Done> {
    let name = verb.name();
    let actor = by.actor.clone();
    let reason = by.reason.clone();
    let command = RolloutCommand::Do {
        namespace: namespace.clone(),
        entity: entity.clone(),
        by,
        verb,
    };
    match api.partition.command(Command::Rollout(command)).await?? {
        Reply::Rollout(RolloutReply::Done(done)) => {
            tracing::info!(
                %namespace, entity = entity.as_str(), verb = name.as_str(), actor, reason, changed = done.changed,
                "{}", done.message
            );
            Ok(done)
        }
        _ => Err(ApiError::internal("a verb was answered with something else")),
    }
}

/// How often a policy is read again that somebody has changed meanwhile.
const TRIES: usize = 16;

/// Sets a policy that is made of the one before, and of nothing that somebody has changed meanwhile.
pub(super) async fn change_policy(
    api: &Api,
    (namespace, entity): (Name, EntityName),
    by: By,
    make: impl Fn(Option<&Policy>, Option<ClassicOptions>) -> Answer<Verb>,
) -> Answer<Done> {
    let mut attempt = 1;
    loop {
        let (of, whose) = (namespace.clone(), entity.clone());
        let read = move |state: &State| {
            let classic = state.rollouts().get(&of, &whose)?.classic_info().options;
            Some((state.rollouts().entity_view(&of, &whose)?, classic))
        };
        let before = api.partition.query(read).await?;
        let (policy, classic) = before
            .as_ref()
            .map_or((None, None), |(view, classic)| (Some(&view.policy), *classic));
        let based_on = By {
            based_on: by.based_on.or(before.as_ref().map(|(view, _)| view.revision)),
            ..by.clone()
        };
        let at = (namespace.clone(), entity.clone());
        match act(api, at, based_on, make(policy, classic)?).await {
            Err(error) if error.is("changed-meanwhile") && by.based_on.is_none() && attempt < TRIES => attempt += 1,
            done => return done,
        }
    }
}

/// Sets the four options of older controllers in the policy, given those that were set last. The rest of the policy stays.
pub(crate) async fn change_options(
    api: &Api,
    at: (Name, EntityName),
    by: By,
    options: impl Fn(ClassicOptions) -> ClassicOptions,
) -> Answer<Done> {
    change_policy(api, at, by, |before, classic| {
        let options = options(classic.unwrap_or_default());
        let policy = with_options(&options, before.unwrap_or(&Policy::default()))
            .map_err(|faults| faults_problem(&faults, "the options make no sense"))?;
        Ok(Verb::SetPolicy {
            policy: Box::new(policy),
            classic: Some(options),
        })
    })
    .await
}

/// The problem for things that were written and make no sense; all of them are listed.
pub(crate) fn faults_problem(faults: &[Fault], detail: impl Into<String>) -> ApiError {
    let detail = match faults {
        [only] => format!("{}: {}", only.field, only.reason),
        _ => detail.into(),
    };
    let mistakes = faults.iter().map(mistake).collect();
    let problem = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", detail).mistakes(mistakes);
    match faults.first() {
        Some(fault) => problem.field(fault.field.clone()).help(fault.fix.clone()),
        None => problem,
    }
}

fn mistake(fault: &Fault) -> Mistake {
    Mistake {
        code: fault.code.clone(),
        file: "request".to_owned(),
        line: 0,
        column: 0,
        path: fault.field.clone(),
        message: fault.reason.clone(),
        help: fault.fix.clone(),
        span: Span::default(),
    }
}
