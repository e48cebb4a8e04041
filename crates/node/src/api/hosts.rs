//! Hosts, as they tell of themselves.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use unisono_engine::State as Engine;
use unisono_engine::value::Data;
use unisono_model::api::Page;
use unisono_model::hosts::{HostState, HostView, MEMBERS, SLOTS, members_of, slot, slots_of};
use unisono_model::name::Name;

use super::Api;
use super::extract::{Names, Params};
use super::problem::Answer;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostsParams {
    service: Option<Name>,
}

/// List the hosts of all services, or of one: those that lead first, by service and slot.
#[utoipa::path(get, path = "/api/v1/namespaces/{namespace}/hosts", tag = "hosts",
    params(("namespace" = String, Path), ("service" = Option<String>, Query, description = "Only the hosts of this service")),
    responses((status = 200, body = Page<HostView>)))]
pub(super) async fn list(
    State(api): State<Api>,
    Names([namespace]): Names<1>,
    Params(params): Params<HostsParams>,
) -> Answer<Json<Page<HostView>>> {
    let service = params.service;
    let (members, slots) = match &service {
        Some(service) => (members_of(service), slots_of(service)),
        None => (MEMBERS.to_owned(), SLOTS.to_owned()),
    };
    let read = move |state: &Engine| [members, slots].map(|prefix| range(state, &namespace, &prefix));
    let [members, slots] = api.partition.query(read).await?;
    let held: BTreeSet<(&str, &str)> = slots.iter().map(|(key, data)| (key.as_str(), text(data))).collect();
    let views = members
        .iter()
        .filter_map(|(_, data)| serde_json::from_slice(data.as_bytes()).ok());
    let mut items: Vec<HostView> = views.map(|view| as_held(view, &held)).collect();
    items.sort_by(|one, other| order(one).cmp(&order(other)));
    Ok(Json(Page {
        items,
        next_page_token: None,
    }))
}

fn range(state: &Engine, namespace: &Name, prefix: &str) -> Vec<(String, Data)> {
    let values = state.values().range(namespace, prefix, None);
    values.map(|value| (value.key().to_owned(), value.data())).collect()
}

/// JSON text as it is.
fn text(data: &Data) -> &str {
    std::str::from_utf8(data.as_bytes()).unwrap_or_default()
}

/// A host that says it leads, and does not hold the slot any more, has not heard of it yet.
fn as_held(mut view: HostView, held: &BTreeSet<(&str, &str)>) -> HostView {
    let Some(number) = view.slot else { return view };
    let key = slot(&view.service, number);
    let id = serde_json::to_string(&view.id).unwrap_or_default();
    if !held.contains(&(key.as_str(), id.as_str())) {
        view.slot = None;
        view.token = None;
        view.state = HostState::Stopping;
        view.reason = format!("its lease on slot {number} has ended");
    }
    view
}

fn order(view: &HostView) -> (&Name, u32, &str) {
    (&view.service, view.slot.unwrap_or(u32::MAX), &view.id)
}
