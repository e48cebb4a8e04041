//! Reading rollouts: now, before, ahead of time, and why.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use unisono_engine::rollout::{Sample, simulate as run_simulation};
use unisono_model::api::Page;
use unisono_model::ids::Timestamp;
use unisono_model::rollout::{
    GridView, Health, HistoryEntry, Phase, PlanRequest, PlanView, RolloutSummary, RolloutView, SimulateRequest,
    SimulationView, WhyView, cell_word, contradictions,
};

use super::asked::{At, invalid, no_entity, no_target};
use super::entities::tagged;
use super::operations::faults_problem;
use crate::api::definitions::{DEFAULT_LIMIT, MOST_LIMIT};
use crate::api::extract::{Body, Params};
use crate::api::problem::{Answer, ApiError};
use crate::api::system::now;
use crate::api::{Api, lines};

/// Targets that one look at the state goes over, so that others have their turn.
const LOOK: usize = 65_536;
/// Targets that are copied for a simulation by one look.
const COPY: usize = 8_192;
/// Cells of a grid at most.
const MOST_CELLS: usize = 10_000;

/// The present, and never before what has been decided.
pub(super) fn present(state: &unisono_engine::State) -> Timestamp {
    now().max(state.now)
}

/// Get the rollout that is under way, or was last: its waves, its numbers, and why it stands where it stands.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/rollout", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path)),
    responses((status = 200, body = RolloutView),
        (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json", description = "There is no such entity, or it never had a rollout")))]
pub(in crate::api) async fn get_rollout(State(api): State<Api>, at: At) -> Answer<Response> {
    let view = current(&api, &at).await?.ok_or_else(|| {
        ApiError::not_found(
            "no-rollout",
            format!("no version of \"{}\" has been rolled out", at.entity),
        )
        .help("set a version, and it is")
    })?;
    Ok(tagged(view.revision, &view))
}

async fn current(api: &Api, at: &At) -> Answer<Option<RolloutView>> {
    let (namespace, entity) = (at.namespace.clone(), at.entity.clone());
    let read = move |state: &unisono_engine::State| {
        let rollouts = state.rollouts();
        rollouts.get(&namespace, &entity)?;
        Some(rollouts.rollout_view(&namespace, &entity, present(state)))
    };
    api.partition.query(read).await?.ok_or_else(|| no_entity(&at.entity))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct PageParams {
    limit: Option<usize>,
    page_token: Option<u64>,
}

/// List the rollouts of an entity, the newest first.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/rollouts", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query)),
    responses((status = 200, body = Page<RolloutSummary>), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn list_rollouts(
    State(api): State<Api>,
    at: At,
    Params(params): Params<PageParams>,
) -> Answer<Json<Page<RolloutSummary>>> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MOST_LIMIT);
    let mut items = summaries(&api, &at).await?;
    items.retain(|it| params.page_token.is_none_or(|before| u64::from(it.id) < before));
    let more = items.len() > limit;
    items.truncate(limit);
    let next_page_token = items.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(Page { items, next_page_token }))
}

async fn summaries(api: &Api, at: &At) -> Answer<Vec<RolloutSummary>> {
    let (namespace, entity) = (at.namespace.clone(), at.entity.clone());
    let read = move |state: &unisono_engine::State| Some(state.rollouts().get(&namespace, &entity)?.rollouts());
    api.partition.query(read).await?.ok_or_else(|| no_entity(&at.entity))
}

/// Get a rollout by its number: everything about the last one, and how earlier ones ended.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/rollouts/{number}", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("number" = u32, Path)),
    responses((status = 200, body = RolloutSummary, description = "Of the last one, everything"),
        (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn get_past_rollout(State(api): State<Api>, at: At) -> Answer<Response> {
    let number: u32 = at.segment().parse().map_err(|_| {
        ApiError::bad_request("bad-parameter", format!("{:?} is no number of a rollout", at.segment()))
            .field("number")
            .help("rollouts are counted from 1")
    })?;
    if let Some(view) = current(&api, &at).await?.filter(|view| view.summary.id == number) {
        return Ok(tagged(view.revision, &view));
    }
    let found = summaries(&api, &at).await?.into_iter().find(|it| it.id == number);
    let summary = found.ok_or_else(|| {
        ApiError::not_found(
            "rollout-not-found",
            format!("there is no rollout {number} of \"{}\"", at.entity),
        )
        .field("number")
        .help("list the rollouts; the oldest of many are forgotten")
    })?;
    Ok(Json(summary).into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct HistoryParams {
    after: Option<u64>,
    rollout: Option<u32>,
    limit: Option<usize>,
    page_token: Option<u64>,
    #[serde(default)]
    newest: bool,
}

/// List what was decided about an entity and by whom, the oldest first: a page of it, or all of it as JSON lines
/// (`Accept: application/x-ndjson`).
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/history", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("after" = Option<u64>, Query, description = "Only entries with a greater number"),
        ("rollout" = Option<u32>, Query, description = "Only of this rollout"), ("newest" = Option<bool>, Query, description = "The last entries instead, the newest first"),
        ("limit" = Option<usize>, Query), ("pageToken" = Option<String>, Query)),
    responses((status = 200, body = Page<HistoryEntry>), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn entity_history(
    State(api): State<Api>,
    at: At,
    Params(params): Params<HistoryParams>,
    headers: HeaderMap,
) -> Answer<Response> {
    let wanted = lines::wanted(&headers);
    let limit = match wanted {
        true => usize::MAX - 1,
        false => params.limit.unwrap_or(DEFAULT_LIMIT * 5).clamp(1, MOST_LIMIT),
    };
    let (namespace, entity) = (at.namespace, at.entity.clone());
    let after = params.page_token.or(params.after).unwrap_or(0);
    let read = move |state: &unisono_engine::State| {
        let fleet = state.rollouts().get(&namespace, &entity)?;
        Some(match params.newest {
            true => fleet.latest(limit),
            false => fleet.history(after, params.rollout, limit + 1),
        })
    };
    let mut items = api.partition.query(read).await?.ok_or_else(|| no_entity(&at.entity))?;
    if wanted {
        return Ok(lines::answer(items, |items| async { Ok((items, None)) }));
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let next_page_token = items.last().filter(|_| more).map(|last| last.sequence.to_string());
    Ok(Json(Page { items, next_page_token }).into_response())
}

/// Say what rolling out a version would do, before anything moves: waves, numbers after rounding, an estimate, warnings.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/entities/{entity}/plan", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path)), request_body = PlanRequest,
    responses((status = 200, body = PlanView), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json"),
        (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn plan(
    State(api): State<Api>,
    at: At,
    Body(request): Body<PlanRequest>,
) -> Answer<Json<PlanView>> {
    let faults = request.policy.as_ref().map(contradictions).unwrap_or_default();
    if !faults.is_empty() {
        return Err(faults_problem(&faults, "the policy makes no sense").within("policy"));
    }
    let (namespace, entity) = (at.namespace, at.entity.clone());
    let read = move |state: &unisono_engine::State| {
        let fleet = state.rollouts().get(&namespace, &entity)?;
        Some(fleet.plan(&request.version, request.policy.as_ref()))
    };
    let plan = api.partition.query(read).await?.ok_or_else(|| no_entity(&at.entity))?;
    Ok(Json(plan))
}

/// Run a rollout against a model of failures. The same seed gives the same simulation.
#[utoipa::path(post, path = "/api/v1/namespaces/{namespace}/entities/{entity}/simulate", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path)), request_body = SimulateRequest,
    responses((status = 200, body = SimulationView), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json"),
        (status = 422, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn simulate(
    State(api): State<Api>,
    at: At,
    Body(request): Body<SimulateRequest>,
) -> Answer<Json<SimulationView>> {
    let sample = sample(&api, &at, request.targets.is_none()).await?;
    // It takes as long as it takes, and nobody else waits for it.
    let simulated = tokio::task::spawn_blocking(move || run_simulation(&sample, &request)).await;
    simulated
        .map_err(|error| ApiError::internal(format!("the simulation failed: {error}")))?
        .map(Json)
        .map_err(|faults| faults_problem(&faults, "the simulation makes no sense"))
}

/// The targets to simulate with, copied bit by bit.
async fn sample(api: &Api, at: &At, with_targets: bool) -> Answer<Sample> {
    let (mut sample, mut place) = (Sample::default(), Some(0));
    let limit = if with_targets { COPY } else { 0 };
    while let Some(from) = place {
        let (namespace, entity) = (at.namespace.clone(), at.entity.clone());
        let mut taken = std::mem::take(&mut sample);
        let read = move |state: &unisono_engine::State| {
            let fleet = state.rollouts().get(&namespace, &entity)?;
            let next = taken.add(fleet, from, limit);
            Some((taken, next.filter(|_| limit > 0)))
        };
        (sample, place) = api.partition.query(read).await?.ok_or_else(|| no_entity(&at.entity))?;
    }
    Ok(sample)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct WhyParams {
    target: Option<String>,
    group: Option<String>,
}

/// Say why an entity, or one of its targets, stands where it stands, and what would move it.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/why", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("target" = Option<String>, Query), ("group" = Option<String>, Query, description = "The target's group")),
    responses((status = 200, body = WhyView), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn why(
    State(api): State<Api>,
    mut at: At,
    Params(params): Params<WhyParams>,
) -> Answer<Json<WhyView>> {
    match params.target {
        Some(target) => {
            at.rest = Some(target);
            explain_target(&api, at, params.group.as_deref()).await
        }
        None if params.group.is_some() => Err(invalid("target", "a group without a target", "name a target as well")),
        None => {
            let (namespace, entity) = (at.namespace, at.entity.clone());
            let read =
                move |state: &unisono_engine::State| state.rollouts().why(&namespace, &entity, None, present(state));
            let view = api.partition.query(read).await?.ok_or_else(|| no_entity(&at.entity))?;
            Ok(Json(view))
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct GroupParams {
    pub(super) group: Option<String>,
}

/// Say why a target stands where it stands, and what would move it.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/targets/{target}/why", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("target" = String, Path), ("group" = Option<String>, Query)),
    responses((status = 200, body = WhyView), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn why_target(
    State(api): State<Api>,
    at: At,
    Params(params): Params<GroupParams>,
) -> Answer<Json<WhyView>> {
    explain_target(&api, at, params.group.as_deref()).await
}

async fn explain_target(api: &Api, at: At, group: Option<&str>) -> Answer<Json<WhyView>> {
    let target = at.target(group)?;
    let (namespace, entity, id) = (at.namespace, at.entity.clone(), target.clone());
    let read = move |state: &unisono_engine::State| {
        let rollouts = state.rollouts();
        rollouts.get(&namespace, &entity)?;
        let target = Some((id.group.as_str(), id.name.as_str()));
        Some(rollouts.why(&namespace, &entity, target, present(state)))
    };
    let view = api.partition.query(read).await?.ok_or_else(|| no_entity(&at.entity))?;
    view.map(Json).ok_or_else(|| no_target(&target))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct GridParams {
    cells: Option<usize>,
}

/// Get the fleet in so many cells, each of which stands for equally many targets: to be drawn.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/entities/{entity}/grid", tag = "rollouts",
    params(("namespace" = String, Path), ("entity" = String, Path), ("cells" = Option<usize>, Query, description = "500 unless said otherwise, 10,000 at most")),
    responses((status = 200, body = GridView), (status = 404, body = unisono_model::api::Problem, content_type = "application/problem+json")))]
pub(in crate::api) async fn grid(
    State(api): State<Api>,
    at: At,
    Params(params): Params<GridParams>,
) -> Answer<Json<GridView>> {
    draw(&api, &at, params.cells.unwrap_or(500)).await.map(Json)
}

/// The grid of a fleet, looked at bit by bit.
pub(super) async fn draw(api: &Api, at: &At, cells: usize) -> Answer<GridView> {
    let cells = cells.clamp(1, MOST_CELLS) as u64;
    let (mut grid, mut place, mut seen) = (GridView::default(), Some(0), 0_u64);
    while let Some(from) = place {
        let (namespace, entity) = (at.namespace.clone(), at.entity.clone());
        let read = move |state: &unisono_engine::State| {
            let fleet = state.rollouts().get(&namespace, &entity)?;
            let (marks, next) = fleet.grid(from, LOOK);
            Some((fleet.len() as u64, marks, next))
        };
        let (targets, marks, next) = api.partition.query(read).await?.ok_or_else(|| no_entity(&at.entity))?;
        if seen == 0 {
            grid.targets = targets;
            grid.targets_per_cell = targets.div_ceil(cells).max(1);
        }
        for (phase, health) in marks {
            let cell = usize::try_from(seen / grid.targets_per_cell).unwrap_or(usize::MAX);
            if cell >= grid.cells.len() {
                grid.cells.push(Default::default());
            }
            let word = Phase::from_code(phase).zip(Health::from_code(health));
            let word = word.map_or("unknown", |(phase, health)| cell_word(phase, health));
            if let Some(cell) = grid.cells.last_mut() {
                match cell.get_mut(word) {
                    Some(count) => *count += 1,
                    None => drop(cell.insert(word.to_owned(), 1)),
                }
            }
            seen += 1;
        }
        place = next;
    }
    Ok(grid)
}
