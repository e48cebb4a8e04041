//! What people do to entities and rollouts.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use unisono_engine::rollout::{By, RolloutCommand, RolloutReply, Verb};
use unisono_engine::{Command, Reply};
use unisono_model::document::Source;
use unisono_model::ids::Revision;
use unisono_model::limits::{MAX_REASON_BYTES, MAX_REPORTED_TARGETS};
use unisono_model::name::Name;
use unisono_model::problem::Mistake;
use unisono_model::rollout::{
    ClassicOptions, Done, OptionsChange, Policy, ScopedFreeze, TakenView, VerbName, VerbRequest, change_policy_source,
    locate_faults, read_policy_source, with_options,
};

use super::asked::{Asker, At, invalid};
use super::operations::{act, change_options, change_policy};
use crate::api::Api;
use crate::api::extract::{Names, Params, Raw, json};
use crate::api::problem::{Answer, ApiError};

/// Milliseconds of the longest freeze that ends by itself: ten years.
const LONGEST_FREEZE_MS: u64 = 10 * 366 * 24 * 3_600_000;

/// Do something to an entity or its rollout. Each verb takes some of the fields of the body.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/entities/{entity}/{verb}", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path),
        ("verb" = String, Path, description = "start, pause, resume, promote, approve, abort, retry, skip, fail, rollback, override, unpin, clear-bad, forget, freeze or thaw"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the entity that this was decided on"),
        ("Idempotency-Key" = Option<String>, Header, description = "A request with a key that was answered before is answered the same, and not done again"),
        ("Unisono-Actor" = Option<String>, Header, description = "Who asks, for the history and for approvals")),
    request_body = VerbRequest,
    responses((status = 200, body = Done, description = "What it did, or why there was nothing to do"),
        (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json"),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "It makes no sense now; the problem says why, and what would"),
        (status = 412, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The entity has changed"),
        (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn act_on_entity(
    State(api): State<Api>,
    at: At,
    asker: Asker,
    Raw(body): Raw,
) -> Answer<Response> {
    let request: VerbRequest = json(&body)?;
    let reason = reason(request.reason.as_deref())?;
    let verb = verb(at.segment(), request)?;
    let by = asker.by(reason, &body);
    let done = act(&api, (at.namespace, at.entity), by, verb).await?;
    Ok(answered(done))
}

/// The answer, with the revision that it led to.
pub(super) fn answered(done: Done) -> Response {
    ([(header::ETAG, etag(done.revision))], Json(done)).into_response()
}

pub(super) fn etag(revision: Revision) -> String {
    format!("\"{revision}\"")
}

pub(super) fn reason(reason: Option<&str>) -> Answer<Option<String>> {
    match reason {
        Some(reason) if reason.len() > MAX_REASON_BYTES => Err(invalid(
            "reason",
            format!("a reason of {} bytes is longer than {MAX_REASON_BYTES}", reason.len()),
            "say it in fewer words",
        )),
        reason => Ok(reason.map(str::to_owned)),
    }
}

/// The word for a verb in a path: `clear-bad` for `clearBad`.
fn word(verb: VerbName) -> String {
    let mut word = String::new();
    for letter in verb.as_str().chars() {
        if letter.is_ascii_uppercase() {
            word.push('-');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

/// What a verb takes of a request.
#[derive(Clone, Copy, Default)]
struct Takes {
    targets: bool,
    version: bool,
    force: bool,
    time: bool,
}

fn takes(verb: VerbName) -> Takes {
    let nothing = Takes::default();
    match verb {
        VerbName::Retry | VerbName::Skip | VerbName::Fail | VerbName::Unpin | VerbName::Forget => Takes {
            targets: true,
            ..nothing
        },
        VerbName::Override => Takes {
            targets: true,
            version: true,
            force: true,
            ..nothing
        },
        VerbName::SetVersion => Takes {
            version: true,
            force: true,
            ..nothing
        },
        VerbName::ClearBad | VerbName::Rollback => Takes {
            version: true,
            ..nothing
        },
        VerbName::Freeze => Takes { time: true, ..nothing },
        _ => nothing,
    }
}

fn check(verb: VerbName, request: &VerbRequest) -> Answer<()> {
    let takes = takes(verb);
    let given = [
        ("targets", !request.targets.is_empty(), takes.targets),
        ("version", request.version.is_some(), takes.version),
        ("force", request.force, takes.force),
        ("forSeconds", request.for_seconds.is_some(), takes.time),
    ];
    for (field, given, taken) in given {
        if given && !taken {
            return Err(invalid(
                field,
                format!("{} takes no {field}", word(verb)),
                "leave it out",
            ));
        }
    }
    if request.targets.len() > MAX_REPORTED_TARGETS {
        return Err(invalid(
            "targets",
            format!("a request may name {MAX_REPORTED_TARGETS} targets"),
            "name the others in further requests",
        ));
    }
    Ok(())
}

fn verb(text: &str, request: VerbRequest) -> Answer<Verb> {
    let name = VerbName::ALL.into_iter().find(|verb| word(*verb) == text);
    let name = name.filter(|name| !matches!(name, VerbName::SetVersion | VerbName::SetPolicy));
    let Some(name) = name else {
        let verbs = VerbName::ALL
            .into_iter()
            .map(word)
            .filter(|word| !word.starts_with("set-"));
        return Err(
            ApiError::not_found("no-such-verb", format!("nobody can {text:?} an entity"))
                .field("verb")
                .help(format!("there are {}", verbs.collect::<Vec<_>>().join(", "))),
        );
    };
    check(name, &request)?;
    let needed = || {
        let missing = || invalid("version", format!("{} needs a version", word(name)), "name one");
        request.version.clone().ok_or_else(missing)
    };
    Ok(match name {
        VerbName::Start => Verb::Start,
        VerbName::Pause => Verb::Pause,
        VerbName::Resume => Verb::Resume,
        VerbName::Promote => Verb::Promote,
        VerbName::Approve => Verb::Approve,
        VerbName::Abort => Verb::Abort,
        VerbName::Retry => Verb::Retry(request.targets),
        VerbName::Skip => Verb::Skip(request.targets),
        VerbName::Fail => Verb::Fail(request.targets),
        VerbName::Rollback => Verb::Rollback { to: request.version },
        VerbName::Override => Verb::Override {
            version: needed()?,
            targets: request.targets,
            force: request.force,
        },
        VerbName::Unpin => Verb::Unpin(request.targets),
        VerbName::ClearBad => Verb::ClearBad { version: needed()? },
        VerbName::Forget => Verb::Forget(request.targets),
        VerbName::Freeze => Verb::Freeze {
            for_ms: freeze_ms(request.for_seconds)?,
        },
        VerbName::Thaw => Verb::Thaw,
        VerbName::SetVersion | VerbName::SetPolicy => return Err(ApiError::internal("a verb has a route of its own")),
    })
}

fn freeze_ms(seconds: Option<u64>) -> Answer<Option<u64>> {
    let millis = seconds.map(|seconds| seconds.saturating_mul(1_000));
    match millis {
        Some(0) => Err(invalid(
            "forSeconds",
            "a freeze of no time is none",
            "give at least 1, or leave it out",
        )),
        Some(millis) if millis > LONGEST_FREEZE_MS => Err(invalid(
            "forSeconds",
            "a freeze of more than ten years does not end by itself",
            "leave it out, and end it with thaw",
        )),
        millis => Ok(millis),
    }
}

/// Set the version to roll out. Makes the entity.
#[utoipa::path(put, path = "/api/v1/namespaces/{namespace}/entities/{entity}/version", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    request_body = VerbRequest,
    responses((status = 200, body = Done),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The version is marked as bad, or another one is under way"),
        (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn set_version(
    State(api): State<Api>,
    at: At,
    asker: Asker,
    Raw(body): Raw,
) -> Answer<Response> {
    let request: VerbRequest = json(&body)?;
    check(VerbName::SetVersion, &request)?;
    let reason = reason(request.reason.as_deref())?;
    let Some(version) = request.version else {
        let help = "name the version to roll out, as in {\"version\": \"v2\"}";
        return Err(invalid("version", "the version is missing", help));
    };
    let force = request.force;
    let by = asker.by(reason, &body);
    let verb = Verb::SetVersion { version, force };
    act(&api, (at.namespace, at.entity), by, verb).await.map(answered)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct PolicyParams {
    reason: Option<String>,
    file: Option<String>,
}

/// Set the policy, in YAML or JSON. Makes the entity. Every mistake is told with its line and column.
#[utoipa::path(put, path = "/api/v1/namespaces/{namespace}/entities/{entity}/policy", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("reason" = Option<String>, Query, description = "Why, for the history"),
        ("file" = Option<String>, Query, description = "What to call the text in mistakes"),
        ("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    request_body(description = "A policy as JSON or YAML", content = Policy),
    responses((status = 200, body = Done),
        (status = 412, body = unisono_model::api::Problem, content_type = "application/problem+json"),
        (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The policy has mistakes or contradictions; all of them are listed")))]
pub(in crate::api) async fn set_policy(
    State(api): State<Api>,
    at: At,
    Params(params): Params<PolicyParams>,
    asker: Asker,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Answer<Response> {
    let source = source(params.file, &headers, &body)?;
    let policy = read_policy_source(&source).map_err(bad_policy)?;
    let by = asker.by(reason(params.reason.as_deref())?, &body);
    let verb = Verb::SetPolicy {
        policy: Box::new(policy),
        classic: None,
    };
    let done = act(&api, (at.namespace, at.entity), by, verb).await;
    done.map(answered)
        .map_err(|error| error.relocated(|faults| locate_faults(&source, faults)))
}

/// Set some fields of the policy, in YAML or JSON. Fields that are not named stay, those of objects as well; a list is
/// replaced. Makes the entity. Every mistake is told with its line and column.
#[utoipa::path(patch, path = "/api/v1/namespaces/{namespace}/entities/{entity}/policy", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("reason" = Option<String>, Query, description = "Why, for the history"),
        ("file" = Option<String>, Query, description = "What to call the text in mistakes"),
        ("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    request_body(description = "Fields of a policy as JSON or YAML", content = Policy),
    responses((status = 200, body = Done),
        (status = 412, body = unisono_model::api::Problem, content_type = "application/problem+json"),
        (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "The policy would have mistakes or contradictions; all of them are listed")))]
pub(in crate::api) async fn patch_policy(
    State(api): State<Api>,
    at: At,
    Params(params): Params<PolicyParams>,
    asker: Asker,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Answer<Response> {
    let source = source(params.file, &headers, &body)?;
    let by = asker.by(reason(params.reason.as_deref())?, &body);
    let done = change_policy(&api, (at.namespace, at.entity), by, |before, classic| {
        let before = before.cloned().unwrap_or_default();
        let policy = change_policy_source(&source, &before).map_err(bad_policy)?;
        // The options are told as long as they say what the policy says.
        let classic = classic.filter(|options| with_options(options, &policy).as_ref() == Ok(&policy));
        Ok(Verb::SetPolicy {
            policy: Box::new(policy),
            classic,
        })
    })
    .await;
    done.map(answered)
        .map_err(|error| error.relocated(|faults| locate_faults(&source, faults)))
}

fn bad_policy(mistakes: Vec<Mistake>) -> ApiError {
    let count = mistakes.len();
    let many = if count == 1 { "mistake" } else { "mistakes" };
    let first = mistakes
        .first()
        .map(|mistake| (mistake.path.clone(), mistake.help.clone()));
    let (field, help) = first.unwrap_or_default();
    let detail = format!("{count} {many} in the policy; nothing was set");
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-policy", detail)
        .field(field)
        .help(help)
        .mistakes(mistakes)
}

/// The text of a policy. JSON that is called so is read as such; anything else may be either.
fn source(file: Option<String>, headers: &HeaderMap, body: &Bytes) -> Answer<Source> {
    let text = std::str::from_utf8(body)
        .map_err(|error| ApiError::bad_request("bad-encoding", format!("the body is not UTF-8: {error}")))?;
    let says_json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|it: &HeaderValue| it.as_bytes().starts_with(b"application/json"));
    let usual = if says_json { "request.json" } else { "request" };
    Ok(Source {
        name: file.unwrap_or_else(|| usual.to_owned()),
        text: text.to_owned(),
    })
}

/// Set the four options of older controllers in the policy; what is left out has its default. The rest of the policy
/// stays. Makes the entity.
#[utoipa::path(put, path = "/api/v1/namespaces/{namespace}/entities/{entity}/options", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    request_body = OptionsChange,
    responses((status = 200, body = Done), (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn set_options(
    State(api): State<Api>,
    at: At,
    asker: Asker,
    Raw(body): Raw,
) -> Answer<Response> {
    let change: OptionsChange = json(&body)?;
    let (by, options) = (asker.by(None, &body), change.of(ClassicOptions::default()));
    let done = change_options(&api, (at.namespace, at.entity), by, |_| options).await;
    done.map(answered)
}

/// Set some of the four options of older controllers in the policy; what is left out stays as it was set last, or has its
/// default. The rest of the policy stays. Makes the entity.
#[utoipa::path(patch, path = "/api/v1/namespaces/{namespace}/entities/{entity}/options", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    request_body = OptionsChange,
    responses((status = 200, body = Done), (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn patch_options(
    State(api): State<Api>,
    at: At,
    asker: Asker,
    Raw(body): Raw,
) -> Answer<Response> {
    let change: OptionsChange = json(&body)?;
    let by = asker.by(None, &body);
    let done = change_options(&api, (at.namespace, at.entity), by, |before| change.of(before)).await;
    done.map(answered)
}

// ---- freezes of more than one entity

/// Let nothing move in a namespace.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/freeze", tag = "rollouts", params(("namespace" = String, Path)),
    request_body = VerbRequest, responses((status = 200, body = TakenView)))]
pub(in crate::api) async fn freeze_namespace(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    asker: Asker,
    Raw(body): Raw,
) -> Answer<Json<TakenView>> {
    freeze(&api, Some(namespace), asker, &body).await
}

/// End the freeze of a namespace.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/thaw", tag = "rollouts", params(("namespace" = String, Path)),
    request_body = VerbRequest, responses((status = 200, body = TakenView),
        (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "It is not frozen")))]
pub(in crate::api) async fn thaw_namespace(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    asker: Asker,
    Raw(body): Raw,
) -> Answer<Json<TakenView>> {
    thaw(&api, Some(namespace), asker, &body).await
}

/// Let nothing move anywhere.
#[utoipa::path(post, path = "/api/v1/freeze", tag = "rollouts", request_body = VerbRequest, responses((status = 200, body = TakenView)))]
pub(in crate::api) async fn freeze_everything(
    State(api): State<Api>,
    asker: Asker,
    Raw(body): Raw,
) -> Answer<Json<TakenView>> {
    freeze(&api, None, asker, &body).await
}

/// End the freeze of everything.
#[utoipa::path(post, path = "/api/v1/thaw", tag = "rollouts", request_body = VerbRequest, responses((status = 200, body = TakenView),
    (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "It is not frozen")))]
pub(in crate::api) async fn thaw_everything(
    State(api): State<Api>,
    asker: Asker,
    Raw(body): Raw,
) -> Answer<Json<TakenView>> {
    thaw(&api, None, asker, &body).await
}

async fn freeze(api: &Api, namespace: Option<Name>, asker: Asker, body: &Bytes) -> Answer<Json<TakenView>> {
    let (request, by) = scoped(VerbName::Freeze, asker, body)?;
    let for_ms = freeze_ms(request.for_seconds)?;
    taken(api, RolloutCommand::Freeze { namespace, for_ms, by }).await
}

async fn thaw(api: &Api, namespace: Option<Name>, asker: Asker, body: &Bytes) -> Answer<Json<TakenView>> {
    let (_, by) = scoped(VerbName::Thaw, asker, body)?;
    taken(api, RolloutCommand::Thaw { namespace, by }).await
}

fn scoped(verb: VerbName, asker: Asker, body: &Bytes) -> Answer<(VerbRequest, By)> {
    let request: VerbRequest = json(body)?;
    check(verb, &request)?;
    let reason = reason(request.reason.as_deref())?;
    let by = asker.by(reason, body);
    if by.based_on.is_some() {
        let detail = format!(
            "only an entity has an ETag, and this is the {} of more than one",
            word(verb)
        );
        let problem = ApiError::bad_request("bad-header", detail).field("If-Match");
        return Err(problem.help("leave If-Match out"));
    }
    Ok((request, by))
}

pub(super) async fn taken(api: &Api, command: RolloutCommand) -> Answer<Json<TakenView>> {
    match api.partition.command(Command::Rollout(command)).await?? {
        Reply::Rollout(RolloutReply::Taken { message }) => Ok(Json(TakenView {
            message: message.to_owned(),
        })),
        _ => Err(ApiError::internal("a command was answered with something else")),
    }
}

/// List the freezes of everything and of namespaces.
#[utoipa::path(get, path = "/api/v1/freezes", tag = "rollouts", responses((status = 200, body = Vec<ScopedFreeze>)))]
pub(in crate::api) async fn list_freezes(State(api): State<Api>) -> Answer<Json<Vec<ScopedFreeze>>> {
    let freezes = api.partition.query(|state| state.rollouts().freezes()).await?;
    let scoped = |(namespace, freeze)| ScopedFreeze { namespace, freeze };
    Ok(Json(freezes.into_iter().map(scoped).collect()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use unisono_model::rollout::{TargetId, Version};

    use super::*;

    #[test]
    fn every_verb_has_a_word_and_takes_what_it_needs() {
        let full = VerbRequest {
            version: Some(Version::parse("v1").unwrap()),
            ..VerbRequest::default()
        };
        for name in VerbName::ALL {
            let request = if takes(name).version {
                full.clone()
            } else {
                VerbRequest::default()
            };
            match verb(&word(name), request) {
                Ok(verb) => assert_eq!(verb.name(), name),
                Err(error) => {
                    assert!(matches!(name, VerbName::SetVersion | VerbName::SetPolicy));
                    assert_eq!(error.into_problem().code, "no-such-verb");
                }
            }
        }
    }

    #[test]
    fn what_a_verb_does_not_take_is_refused_by_its_field() {
        let targets = VerbRequest {
            targets: vec![TargetId::parse("", "a").unwrap()],
            ..VerbRequest::default()
        };
        let problem = verb("pause", targets).unwrap_err().into_problem();
        assert_eq!(
            (&*problem.code, problem.field.as_deref()),
            ("invalid-request", Some("targets"))
        );
        let problem = verb("override", VerbRequest::default()).unwrap_err().into_problem();
        assert_eq!(problem.field.as_deref(), Some("version"));
        let short = VerbRequest {
            for_seconds: Some(0),
            ..VerbRequest::default()
        };
        assert_eq!(
            verb("freeze", short).unwrap_err().into_problem().field.as_deref(),
            Some("forSeconds")
        );
    }
}
