//! Definitions: apply, list, get, delete.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use unisono_engine::definition::{DefinitionCommand, NamespaceDefinitions};
use unisono_engine::{Command, Rejection, Reply};
use unisono_model::api::{
    AppliedDefinition, ApplyRequest, ApplyResponse, DefinitionKind, DefinitionView, Page, SourceText,
};
use unisono_model::definition::Document;
use unisono_model::document::{Parsed, Source, parse};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;
use unisono_model::validate::{Catalog, validate};

use super::Api;
use super::extract::{Names, Params, Raw, json};
use super::problem::{Answer, ApiError};

/// How often a command is repeated when definitions changed between its check and its decision.
pub(super) const MOST_TRIES: usize = 8;

/// Apply definitions of any kind, all or none.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/definitions", tag = "definitions",
    params(("namespace" = String, Path)),
    request_body(description = "ApplyRequest as JSON, or one source as application/yaml", content = ApplyRequest),
    responses((status = 200, body = ApplyResponse), (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn apply(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Answer<Json<ApplyResponse>> {
    let is_yaml = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|content_type| content_type.contains("yaml"));
    let request = if is_yaml {
        ApplyRequest {
            sources: vec![source("request.yaml", &body)?],
            dry_run: false,
        }
    } else {
        json(&body)?
    };
    run(&api, namespace, request, None).await.map(Json)
}

/// Apply orchestration definitions, all or none.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/orchestration-definitions", tag = "definitions",
    params(("namespace" = String, Path)), request_body(description = "One definition or several, JSON or YAML", content = Object),
    responses((status = 200, body = ApplyResponse), (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn apply_orchestrations(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    Raw(body): Raw,
) -> Answer<Json<ApplyResponse>> {
    apply_of(&api, namespace, &body, DefinitionKind::Orchestration).await
}

/// Apply activity definitions, all or none.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/activity-definitions", tag = "definitions",
    params(("namespace" = String, Path)), request_body(description = "One definition or several, JSON or YAML", content = Object),
    responses((status = 200, body = ApplyResponse), (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn apply_activities(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    Raw(body): Raw,
) -> Answer<Json<ApplyResponse>> {
    apply_of(&api, namespace, &body, DefinitionKind::Activity).await
}

async fn apply_of(api: &Api, namespace: Name, body: &[u8], kind: DefinitionKind) -> Answer<Json<ApplyResponse>> {
    let request = ApplyRequest {
        sources: vec![source("request", body)?],
        dry_run: false,
    };
    run(api, namespace, request, Some(kind)).await.map(Json)
}

/// Applies one orchestration definition, which is JSON.
pub(crate) async fn apply_definition(api: &Api, namespace: Name, json: String) -> Answer<()> {
    apply_of(api, namespace, json.as_bytes(), DefinitionKind::Orchestration)
        .await
        .map(drop)
}

fn source(name: &str, body: &[u8]) -> Answer<SourceText> {
    let text = std::str::from_utf8(body)
        .map_err(|error| ApiError::bad_request("bad-encoding", format!("the body is not UTF-8: {error}")))?;
    Ok(SourceText {
        name: name.to_owned(),
        text: text.to_owned(),
    })
}

/// The documents of an apply, all of this kind when one is asked for.
fn check(
    parsed: &[Parsed],
    existing: Option<&NamespaceDefinitions>,
    kind: Option<DefinitionKind>,
) -> Answer<Vec<Document>> {
    let documents = validate(parsed, &catalog(existing)).map_err(|mistakes| {
        let count = mistakes.len();
        let many = if count == 1 { "mistake" } else { "mistakes" };
        ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-definition",
            format!("{count} {many} in the definitions; nothing was applied"),
        )
        .mistakes(mistakes)
    })?;
    if documents.is_empty() {
        return Err(ApiError::bad_request(
            "no-definitions",
            "the request holds no definition",
        ));
    }
    let other = documents
        .iter()
        .find(|document| kind.is_some_and(|kind| kind != kind_of(document)));
    match other {
        Some(document) => Err(ApiError::bad_request(
            "wrong-kind",
            format!("\"{}\" is an {}", document.r#type(), kind_of(document).describe()),
        )
        .help("apply it to the route of its kind, or any mix to /definitions")),
        None => Ok(documents),
    }
}

fn kind_of(document: &Document) -> DefinitionKind {
    match document {
        Document::Orchestration(_) => DefinitionKind::Orchestration,
        Document::Activity(_) => DefinitionKind::Activity,
    }
}

/// What new definitions are validated against.
fn catalog(existing: Option<&NamespaceDefinitions>) -> Catalog {
    let mut catalog = Catalog::default();
    let Some(existing) = existing else {
        return catalog;
    };
    for stored in existing
        .of(DefinitionKind::Activity)
        .values()
        .filter_map(|versions| versions.newest())
    {
        if let Some(definition) = stored.activity() {
            catalog
                .activity_definitions
                .insert(stored.type_name.clone(), Arc::clone(definition));
        }
    }
    for stored in existing
        .of(DefinitionKind::Orchestration)
        .values()
        .filter_map(|versions| versions.newest())
    {
        if let Some(definition) = stored.orchestration() {
            catalog
                .orchestration_definitions
                .insert(stored.type_name.clone(), Arc::clone(definition));
        }
    }
    catalog
}

async fn run(api: &Api, namespace: Name, request: ApplyRequest, kind: Option<DefinitionKind>) -> Answer<ApplyResponse> {
    let sources: Vec<Source> = request
        .sources
        .into_iter()
        .map(|source| Source {
            name: source.name,
            text: source.text,
        })
        .collect();
    let mut parsed: Vec<Parsed> = Vec::new();
    for _ in 0..MOST_TRIES {
        let definitions = api.partition.definitions();
        let based_on = definitions
            .namespace(&namespace)
            .map_or(Revision(0), |existing| existing.revision);
        // Large definitions take a while to check; other requests must not wait for that.
        let (of, given, known) = (namespace.clone(), sources.clone(), std::mem::take(&mut parsed));
        let checked = tokio::task::spawn_blocking(move || {
            let parsed = if known.is_empty() {
                given.iter().map(parse).collect()
            } else {
                known
            };
            let documents = check(&parsed, definitions.namespace(&of), kind);
            (parsed, documents)
        })
        .await
        .map_err(|error| ApiError::internal(format!("the definitions could not be checked: {error}")))?;
        parsed = checked.0;
        let command = Command::Definition(DefinitionCommand::Apply {
            namespace: namespace.clone(),
            documents: checked.1?,
            based_on,
        });
        match decide(api, command, request.dry_run).await? {
            Ok(applied) => return Ok(ApplyResponse { applied }),
            Err(Rejection::Stale) => {}
            Err(rejection) => return Err(rejection.into()),
        }
    }
    Err(Rejection::Stale.into())
}

/// Decides for good, or only to see what would happen.
async fn decide(api: &Api, command: Command, dry_run: bool) -> Answer<Result<Vec<AppliedDefinition>, Rejection>> {
    let outcome = if dry_run {
        api.partition
            .query(move |state| state.decide(command, Timestamp::default(), &mut Vec::new()))
            .await?
    } else {
        api.partition.command(command).await?
    };
    Ok(outcome.map(|reply| match reply {
        Reply::Applied(applied) => applied,
        _ => Vec::new(),
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListParams {
    limit: Option<usize>,
    page_token: Option<String>,
}

/// Items of a page when the caller does not say.
pub(super) const DEFAULT_LIMIT: usize = 100;
/// Items of a page at most.
pub(super) const MOST_LIMIT: usize = 1_000;

/// List orchestration definitions, by type.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/orchestration-definitions", tag = "definitions",
    params(("namespace" = String, Path), ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query)),
    responses((status = 200, body = Page<DefinitionView>)))]
pub(super) async fn list_orchestrations(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    Params(params): Params<ListParams>,
) -> Json<Page<DefinitionView>> {
    list(&api, &namespace, &params, DefinitionKind::Orchestration)
}

/// List activity definitions, by type.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/activity-definitions", tag = "definitions",
    params(("namespace" = String, Path), ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query)),
    responses((status = 200, body = Page<DefinitionView>)))]
pub(super) async fn list_activities(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    Params(params): Params<ListParams>,
) -> Json<Page<DefinitionView>> {
    list(&api, &namespace, &params, DefinitionKind::Activity)
}

fn list(api: &Api, namespace: &Name, params: &ListParams, kind: DefinitionKind) -> Json<Page<DefinitionView>> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MOST_LIMIT);
    let after = params.page_token.as_deref().unwrap_or("");
    let definitions = api.partition.definitions();
    let mut items: Vec<DefinitionView> = definitions
        .namespace(namespace)
        .into_iter()
        .flat_map(|definitions| definitions.of(kind).values())
        .filter_map(|versions| versions.newest())
        .filter(|stored| stored.type_name.as_str() > after)
        .take(limit + 1)
        .map(|stored| stored.view())
        .collect();
    let next_page_token = (items.len() > limit).then(|| {
        items.truncate(limit);
        items.last().map(|last| last.r#type.to_string()).unwrap_or_default()
    });
    Json(Page { items, next_page_token })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GetParams {
    version: Option<u32>,
}

/// Get an orchestration definition.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/orchestration-definitions/{type}", tag = "definitions",
    params(("namespace" = String, Path), ("type" = String, Path), ("version" = Option<u32>, Query)),
    responses((status = 200, body = DefinitionView), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn get_orchestration(
    State(api): State<Api>,
    Names(names): Names<2>,
    Params(params): Params<GetParams>,
) -> Answer<Response> {
    get(&api, names, &params, DefinitionKind::Orchestration)
}

/// Get an activity definition.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/activity-definitions/{type}", tag = "definitions",
    params(("namespace" = String, Path), ("type" = String, Path), ("version" = Option<u32>, Query)),
    responses((status = 200, body = DefinitionView), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn get_activity(
    State(api): State<Api>,
    Names(names): Names<2>,
    Params(params): Params<GetParams>,
) -> Answer<Response> {
    get(&api, names, &params, DefinitionKind::Activity)
}

fn get(api: &Api, [namespace, type_name]: [Name; 2], params: &GetParams, kind: DefinitionKind) -> Answer<Response> {
    let definitions = api.partition.definitions();
    let newest = definitions
        .namespace(&namespace)
        .and_then(|definitions| definitions.newest(kind, &type_name));
    let stored = match (newest, params.version) {
        (None, _) => return Err(Rejection::DefinitionNotFound { kind, type_name }.into()),
        (Some(newest), None) => newest,
        (Some(newest), Some(version)) => definitions
            .namespace(&namespace)
            .and_then(|definitions| definitions.version(kind, &type_name, version))
            .ok_or(Rejection::VersionNotFound {
                kind,
                type_name,
                version,
                newest: newest.version,
            })?,
    };
    let etag = format!("\"{}\"", stored.revision);
    Ok(([(header::ETAG, etag)], Json(stored.view())).into_response())
}

/// Delete an orchestration definition. Runs in flight go on.
#[utoipa::path(delete, path = "/api/v1/namespaces/{namespace}/orchestration-definitions/{type}", tag = "definitions",
    params(("namespace" = String, Path), ("type" = String, Path)),
    responses((status = 204), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn delete_orchestration(State(api): State<Api>, Names(names): Names<2>) -> Answer<StatusCode> {
    delete(&api, names, DefinitionKind::Orchestration).await
}

/// Delete an activity definition that nothing uses.
#[utoipa::path(delete, path = "/api/v1/namespaces/{namespace}/activity-definitions/{type}", tag = "definitions",
    params(("namespace" = String, Path), ("type" = String, Path)),
    responses((status = 204), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json"), (status = 409, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(super) async fn delete_activity(State(api): State<Api>, Names(names): Names<2>) -> Answer<StatusCode> {
    delete(&api, names, DefinitionKind::Activity).await
}

async fn delete(api: &Api, [namespace, type_name]: [Name; 2], kind: DefinitionKind) -> Answer<StatusCode> {
    let command = DefinitionCommand::Delete {
        namespace,
        kind,
        type_name,
    };
    api.partition.command(Command::Definition(command)).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// List the namespaces that ever had a definition.
#[utoipa::path(get, path = "/api/v1/namespaces", tag = "definitions",
    responses((status = 200, body = Page<String>)))]
pub(super) async fn namespaces(State(api): State<Api>) -> Json<Page<Name>> {
    Json(Page {
        items: api
            .partition
            .definitions()
            .namespaces()
            .map(|(name, _)| name.clone())
            .collect(),
        next_page_token: None,
    })
}
