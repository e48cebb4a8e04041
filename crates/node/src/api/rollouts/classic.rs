//! The routes of older controllers, under `/v1/orchestrate`: their paths, their bodies, their errors.

use axum::Router;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use unisono_engine::rollout::{By, TargetFilter, Verb};
use unisono_model::name::Name;
use unisono_model::rollout::{
    ClassicInfo, ClassicOptions, ClassicTarget, Controllers, Endpoint, EntityName, GroupName, Instruction,
    OptionsChange, Phase, Reading, TargetName, Version, contradictions,
};
use utoipa::ToSchema;

use super::asked::{bad_name, no_entity};
use super::operations::{Asked, act, change_options, change_policy, faults_problem, report};
use super::reports::read;
use super::targets::LINES_AT_ONCE;
use crate::api::Api;
use crate::api::extract::{Actor, Raw, json, name};
use crate::api::problem::ApiError;

/// What all paths begin with.
const BELOW: &str = "/v1/orchestrate";

type Answer<T> = Result<T, Refused>;

/// What older controllers are answered when nothing else is to be said, or something is wrong.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct Said {
    /// `success` or `error`.
    status: &'static str,
    /// For people.
    message: String,
}

/// A problem as older controllers are told it.
pub(in crate::api) struct Refused(ApiError);

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<crate::partition::Unavailable> for Refused {
    fn from(error: crate::partition::Unavailable) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let problem = self.0.into_problem();
        // Whatever is wrong with a request was always 400. That the server cannot answer now is something else.
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let status = if status.is_client_error() {
            StatusCode::BAD_REQUEST
        } else {
            status
        };
        let field = problem
            .field
            .as_ref()
            .filter(|field| !problem.detail.contains(&***field));
        let mut message = field.map_or(String::new(), |field| format!("{field}: ")) + &problem.detail;
        if let Some(help) = problem.help.filter(|help| !message.contains(&**help)) {
            message = format!("{message}; {help}");
        }
        let said = Said {
            status: "error",
            message,
        };
        (status, Json(said)).into_response()
    }
}

fn ok() -> Response {
    let message = "ok".to_owned();
    Json(Said {
        status: "success",
        message,
    })
    .into_response()
}

/// What a path names. Segments are taken as they are: these controllers know of no marks.
pub(in crate::api) struct At {
    namespace: Name,
    entity: EntityName,
    group: Option<GroupName>,
    actor: Option<String>,
}

/// The route whose path has no place for the entity, since its last word is the name of a list: an entity may be called so.
#[derive(Clone, Copy)]
struct Named(&'static str);

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let Path(segments) = Path::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::bad_request("bad-path", rejection.body_text()))?;
        let Ok(Actor(actor)) = Actor::from_request_parts(parts, state).await;
        let mut texts = segments.into_iter().map(|(_, text)| text);
        let namespace = name("namespace", &texts.next().unwrap_or_default())?;
        let named = parts.extensions.get::<Named>().map(|named| named.0.to_owned());
        let entity = named.or_else(|| texts.next()).unwrap_or_default();
        let group = texts.next().map(|group| GroupName::parse(&group));
        Ok(Self {
            namespace,
            entity: EntityName::parse(&entity).map_err(|error| bad_name("entity", &error))?,
            group: group.transpose().map_err(|error| bad_name("group", &error))?,
            actor,
        })
    }
}

impl At {
    fn by(&self) -> By {
        By {
            actor: self.actor.clone(),
            ..By::default()
        }
    }
}

/// The routes.
pub(in crate::api) fn routes() -> Router<Api> {
    let called = post(orchestrate).layer(Extension(Named("entities")));
    let routes = Router::new()
        .route("/namespaces", get(namespaces))
        .route("/{namespace}/entities", called.get(entities))
        .route("/{namespace}/{entity}", post(orchestrate))
        .route("/{namespace}/{entity}/version", post(set_target_version))
        .route("/{namespace}/{entity}/options", post(set_rollout_options))
        .route("/{namespace}/{entity}/status", post(report_status))
        .route("/{namespace}/{entity}/target/controller", post(set_target_controller))
        .route(
            "/{namespace}/{entity}/monitoring/controller",
            post(set_monitoring_controller),
        )
        .route("/{namespace}/{entity}/rollout", get(rollout_info))
        .route("/{namespace}/{entity}/targets", get(all_targets))
        .route("/{namespace}/{entity}/{group}/status", get(targets_of_group))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_route);
    Router::new().nest(BELOW, routes)
}

async fn no_such_route(method: Method, uri: Uri) -> Refused {
    let detail = format!("there is no {method} {BELOW}{}", uri.path());
    Refused(ApiError::not_found("no-such-route", detail).help("/openapi.json lists every route with its methods"))
}

/// Report targets: the answer is the same list, with the version that each of them should run.
#[utoipa::path(post, path = "/v1/orchestrate/{namespace}/{entity}", tag = "older controllers",
    params(("namespace" = String, Path), ("entity" = String, Path)), request_body = Vec<ClassicTarget>,
    responses((status = 200, body = Vec<ClassicTarget>), (status = 400, body = Said)))]
pub(in crate::api) async fn orchestrate(
    State(api): State<Api>,
    at: At,
    body: Result<Raw, ApiError>,
) -> Answer<Response> {
    let Raw(body) = body?;
    let tags = tags(&body);
    let asked = taken(&api, &at, body).await?;
    let expected = expected(asked, |place| tags.get(place).cloned().unwrap_or_default())?;
    Ok(Json(expected).into_response())
}

/// What the reported targets should run, each with the tags that it was reported with.
pub(crate) fn expected(
    asked: Vec<Asked>,
    tags: impl Fn(usize) -> String,
) -> crate::api::problem::Answer<Vec<ClassicTarget>> {
    let mut expected: Vec<ClassicTarget> = Vec::with_capacity(asked.iter().map(|it| it.reports.len()).sum());
    for Asked { reports, told } in asked {
        for (reported, place) in reports.iter().zip(told.of) {
            let guidance = told.what.get(place as usize);
            let instruction = Instruction {
                group: GroupName::parse(reported.group).map_err(|error| bad_name("group", &error))?,
                name: TargetName::parse(reported.name).map_err(|error| bad_name("name", &error))?,
                version: guidance.and_then(|it| it.version.clone()),
                change: guidance.is_some_and(|it| it.change),
                phase: guidance.map_or(Phase::Idle, |it| it.phase),
                message: guidance.map_or("it was forgotten", |it| &it.message).to_owned(),
            };
            let tags = tags(expected.len());
            expected.push(instruction.into_classic(&ClassicTarget {
                tags,
                ..ClassicTarget::default()
            }));
        }
    }
    Ok(expected)
}

/// Report targets, without an answer about them.
#[utoipa::path(post, path = "/v1/orchestrate/{namespace}/{entity}/status", tag = "older controllers",
    params(("namespace" = String, Path), ("entity" = String, Path)), request_body = Vec<ClassicTarget>,
    responses((status = 200, body = Said), (status = 400, body = Said)))]
pub(in crate::api) async fn report_status(
    State(api): State<Api>,
    at: At,
    body: Result<Raw, ApiError>,
) -> Answer<Response> {
    taken(&api, &at, body?.0).await?;
    Ok(ok())
}

async fn taken(api: &Api, at: &At, body: bytes::Bytes) -> Answer<Vec<Asked>> {
    let read = read(body, Reading::Classic).await?.map_err(|fault| {
        ApiError::bad_request("invalid-target", fault.reason)
            .field(fault.field)
            .help(fault.fix)
    })?;
    Ok(report(api, &at.namespace, &at.entity, read.reports).await?)
}

/// The tags of each target, to be repeated as they were written. They are read once more: few controllers write any.
fn tags(body: &[u8]) -> Vec<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Tagged {
        #[serde(alias = "Tags")]
        tags: String,
    }
    let word = |place: &[u8]| place.eq_ignore_ascii_case(b"\"tags\"");
    if !body.windows(6).any(word) {
        return Vec::new();
    }
    let tagged: Vec<Tagged> = serde_json::from_slice(body).unwrap_or_default();
    tagged.into_iter().map(|it| it.tags).collect()
}

/// Reads a body as older controllers are used to: the case of fields does not matter, `null` is as good as nothing, and
/// fields that there are not are skipped.
fn lenient<T: DeserializeOwned>(body: &[u8], fields: &[&str]) -> crate::api::problem::Answer<T> {
    let written: Map<String, Value> = json(body)?;
    let known = written.into_iter().filter_map(|(field, value)| {
        let field = fields.iter().find(|it| it.eq_ignore_ascii_case(&field))?;
        (!value.is_null()).then(|| ((*field).to_owned(), value))
    });
    serde_path_to_error::deserialize(Value::Object(known.collect())).map_err(|error| {
        let problem = ApiError::bad_request("bad-field", error.inner().to_string());
        match error.path().to_string() {
            path if path == "." => problem.help(format!("write {}", fields.join(", "))),
            path => problem.field(path),
        }
    })
}

/// The version to roll out.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct TargetVersion {
    #[schema(value_type = String)]
    version: Version,
}

/// Set the version to roll out. Makes the namespace and the entity.
#[utoipa::path(post, path = "/v1/orchestrate/{namespace}/{entity}/version", tag = "older controllers",
    params(("namespace" = String, Path), ("entity" = String, Path)), request_body = TargetVersion,
    responses((status = 200, body = Said), (status = 400, body = Said)))]
pub(in crate::api) async fn set_target_version(
    State(api): State<Api>,
    at: At,
    body: Result<Raw, ApiError>,
) -> Answer<Response> {
    let TargetVersion { version } = lenient(&body?.0, &["version"])?;
    let by = at.by();
    let verb = Verb::SetVersion { version, force: false };
    act(&api, (at.namespace, at.entity), by, verb).await?;
    Ok(ok())
}

/// Set the four options; what is left out has its default. Makes the namespace and the entity. The rest of the policy stays.
#[utoipa::path(post, path = "/v1/orchestrate/{namespace}/{entity}/options", tag = "older controllers",
    params(("namespace" = String, Path), ("entity" = String, Path)), request_body = OptionsChange,
    responses((status = 200, body = Said), (status = 400, body = Said)))]
pub(in crate::api) async fn set_rollout_options(
    State(api): State<Api>,
    at: At,
    body: Result<Raw, ApiError>,
) -> Answer<Response> {
    let fields = [
        "batchpercent",
        "successpercent",
        "successtimeoutsecs",
        "durationtimeoutsecs",
    ];
    let change: OptionsChange = lenient(&body?.0, &fields)?;
    let (by, options) = (at.by(), change.of(ClassicOptions::default()));
    change_options(&api, (at.namespace, at.entity), by, |_| options).await?;
    Ok(ok())
}

/// Who decides about targets beside the plan, by their URLs. What is left out or empty is not asked.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub(in crate::api) struct TargetController {
    /// Chooses which targets move next.
    selection: String,
    /// Approves the targets that were chosen.
    approval: String,
    /// Names targets to be forgotten.
    removal: String,
    /// Says whether a target is well.
    monitoring: String,
}

/// Who says whether the whole is well, by its URL. When it is left out or empty, nobody is asked.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub(in crate::api) struct MonitoringController {
    /// Says whether the whole is well.
    externalmonitoring: String,
}

fn endpoint(url: &str) -> Option<Endpoint> {
    (!url.is_empty()).then(|| Endpoint::to_classic_url(url))
}

/// Set who decides about targets beside the plan. Makes the namespace and the entity. The rest of the policy stays.
#[utoipa::path(post, path = "/v1/orchestrate/{namespace}/{entity}/target/controller", tag = "older controllers",
    params(("namespace" = String, Path), ("entity" = String, Path)), request_body = TargetController,
    responses((status = 200, body = Said), (status = 400, body = Said)))]
pub(in crate::api) async fn set_target_controller(
    State(api): State<Api>,
    at: At,
    body: Result<Raw, ApiError>,
) -> Answer<Response> {
    let fields = ["selection", "approval", "removal", "monitoring"];
    let given: TargetController = lenient(&body?.0, &fields)?;
    set_controllers(&api, at, |controllers| {
        controllers.selection = endpoint(&given.selection);
        controllers.approval = endpoint(&given.approval);
        controllers.removal = endpoint(&given.removal);
        controllers.monitoring = endpoint(&given.monitoring);
    })
    .await
}

/// Set who says whether the whole is well. Makes the namespace and the entity. The rest of the policy stays.
#[utoipa::path(post, path = "/v1/orchestrate/{namespace}/{entity}/monitoring/controller", tag = "older controllers",
    params(("namespace" = String, Path), ("entity" = String, Path)), request_body = MonitoringController,
    responses((status = 200, body = Said), (status = 400, body = Said)))]
pub(in crate::api) async fn set_monitoring_controller(
    State(api): State<Api>,
    at: At,
    body: Result<Raw, ApiError>,
) -> Answer<Response> {
    let given: MonitoringController = lenient(&body?.0, &["externalmonitoring"])?;
    set_controllers(&api, at, |controllers| {
        controllers.external_monitoring = endpoint(&given.externalmonitoring);
    })
    .await
}

async fn set_controllers(api: &Api, at: At, set: impl Fn(&mut Controllers)) -> Answer<Response> {
    let by = at.by();
    change_policy(api, (at.namespace, at.entity), by, |before, classic| {
        let mut policy = before.cloned().unwrap_or_default();
        set(&mut policy.controllers);
        let faults = contradictions(&policy);
        if !faults.is_empty() {
            return Err(faults_problem(&faults, "the controllers make no sense"));
        }
        Ok(Verb::SetPolicy {
            policy: Box::new(policy),
            classic,
        })
    })
    .await?;
    Ok(ok())
}

/// Get which version is rolled out, and which ones are known to be good and bad.
#[utoipa::path(get, path = "/v1/orchestrate/{namespace}/{entity}/rollout", tag = "older controllers",
    params(("namespace" = String, Path), ("entity" = String, Path)),
    responses((status = 200, body = ClassicInfo), (status = 400, body = Said)))]
pub(in crate::api) async fn rollout_info(State(api): State<Api>, at: At) -> Answer<Json<ClassicInfo>> {
    let found = info(&api, at.namespace, at.entity.clone()).await?;
    Ok(Json(found.ok_or_else(|| no_entity(&at.entity))?))
}

/// The same; none when there is no such entity.
pub(crate) async fn info(
    api: &Api,
    namespace: Name,
    entity: EntityName,
) -> crate::api::problem::Answer<Option<ClassicInfo>> {
    let read = move |state: &unisono_engine::State| Some(state.rollouts().get(&namespace, &entity)?.classic_info());
    Ok(api.partition.query(read).await?)
}

/// Get all targets, with the version that each should run.
#[utoipa::path(get, path = "/v1/orchestrate/{namespace}/{entity}/targets", tag = "older controllers",
    params(("namespace" = String, Path), ("entity" = String, Path)),
    responses((status = 200, body = Vec<ClassicTarget>), (status = 400, body = Said)))]
pub(in crate::api) async fn all_targets(State(api): State<Api>, at: At) -> Answer<Response> {
    targets(&api, at).await
}

/// Get the targets of one group, with the version that each should run.
#[utoipa::path(get, path = "/v1/orchestrate/{namespace}/{entity}/{group}/status", tag = "older controllers",
    params(("namespace" = String, Path), ("entity" = String, Path), ("group" = String, Path)),
    responses((status = 200, body = Vec<ClassicTarget>), (status = 400, body = Said)))]
pub(in crate::api) async fn targets_of_group(State(api): State<Api>, at: At) -> Answer<Response> {
    targets(&api, at).await
}

/// A large fleet is looked at bit by bit, so that others have their turn.
async fn targets(api: &Api, at: At) -> Answer<Response> {
    let filter = TargetFilter {
        group: at.group.map(|group| group.to_string()),
        ..TargetFilter::default()
    };
    let (mut json, mut place) = (vec![b'['], Some(0));
    while let Some(from) = place {
        let (namespace, entity, filter) = (at.namespace.clone(), at.entity.clone(), filter.clone());
        let read = move |state: &unisono_engine::State| {
            let fleet = state.rollouts().get(&namespace, &entity)?;
            let (slots, next) = fleet.find_all(from, LINES_AT_ONCE, &filter);
            Some((fleet.classic_targets(&slots).collect::<Vec<_>>(), next))
        };
        let found = api.partition.query(read).await?;
        let (targets, next) = found.ok_or_else(|| no_entity(&at.entity))?;
        for target in targets {
            if json.len() > 1 {
                json.push(b',');
            }
            // Writing to memory cannot fail.
            let _ = serde_json::to_writer(&mut json, &target);
        }
        place = next;
    }
    json.push(b']');
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// List the namespaces that have entities.
#[utoipa::path(get, path = "/v1/orchestrate/namespaces", tag = "older controllers", responses((status = 200, body = Vec<String>)))]
pub(in crate::api) async fn namespaces(State(api): State<Api>) -> Answer<Json<Vec<String>>> {
    let names = api.partition.query(|state| state.rollouts().namespaces()).await?;
    Ok(Json(names.iter().map(ToString::to_string).collect()))
}

/// List the entities of a namespace.
#[utoipa::path(get, path = "/v1/orchestrate/{namespace}/entities", tag = "older controllers", params(("namespace" = String, Path)),
    responses((status = 200, body = Vec<String>), (status = 400, body = Said)))]
pub(in crate::api) async fn entities(
    State(api): State<Api>,
    Path(namespace): Path<String>,
) -> Answer<Json<Vec<String>>> {
    let namespace = name("namespace", &namespace)?;
    let read = move |state: &unisono_engine::State| state.rollouts().entities(&namespace, None, usize::MAX);
    let entities = api.partition.query(read).await?;
    Ok(Json(entities.into_iter().map(|it| it.name.to_string()).collect()))
}
