//! Definitions, as `unisono get` shows them.

use unisono_client::{Client, DefinitionFamily, PageRequest};
use unisono_model::api::DefinitionView;

use crate::failure::Failure;
use crate::output::{Console, Grid, Tone, ago, now, pretty};

/// All of them, the newest version of each.
pub(super) async fn all(client: &Client, console: Console) -> Result<(), Failure> {
    let orchestrations = every(client, DefinitionFamily::Orchestration).await?;
    let activities = every(client, DefinitionFamily::Activity).await?;
    if console.is_json() {
        return console.json(&serde_json::json!({
            "orchestrationDefinitions": orchestrations,
            "activityDefinitions": activities,
        }));
    }
    if orchestrations.is_empty() && activities.is_empty() {
        console.note("no definitions; apply some with `unisono apply -f FILE`");
        return Ok(());
    }
    let mut grid = Grid::new(
        console,
        &["KIND", "TYPE", "VERSION", "APPLIED", "ACTIVE", "DESCRIPTION"],
    );
    for view in &orchestrations {
        row(&mut grid, "orchestration", view);
    }
    for view in &activities {
        row(&mut grid, "activity", view);
    }
    console.line(grid.text());
    Ok(())
}

fn row(grid: &mut Grid, kind: &str, view: &DefinitionView) {
    let definition: serde_json::Value = serde_json::from_str(view.definition.get()).unwrap_or_default();
    let active = match definition.get("active").and_then(serde_json::Value::as_bool) {
        _ if kind == "activity" => "",
        Some(false) => "no",
        _ => "yes",
    };
    let description = definition
        .get("description")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default();
    grid.row([
        kind.into(),
        view.r#type.as_str().into(),
        view.version.to_string().into(),
        ago(view.applied_at, now()).into(),
        active.into(),
        description.into(),
    ]);
}

async fn every(client: &Client, family: DefinitionFamily) -> Result<Vec<DefinitionView>, Failure> {
    let mut all = Vec::new();
    let mut request = PageRequest::default();
    loop {
        let page = client.definitions(family, &request).await?;
        all.extend(page.items);
        match page.next_page_token {
            Some(token) => request.page_token = Some(token),
            None => return Ok(all),
        }
    }
}

/// One of them: what the server knows about it, then the definition itself, which can be applied again as it is.
pub(super) async fn one(
    client: &Client,
    family: DefinitionFamily,
    r#type: &str,
    version: Option<u32>,
    console: Console,
) -> Result<(), Failure> {
    let view = client.definition(family, r#type, version).await?;
    if console.is_json() {
        return console.json(&view);
    }
    let about = format!(
        "{} version {}, applied {} ({})",
        view.r#type,
        view.version,
        ago(view.applied_at, now()),
        view.applied_at
    );
    console.note(console.paint_error(Tone::Quiet, &about));
    for (tier, activities) in (1..).zip(&view.tiers) {
        let ids: Vec<&str> = activities.iter().map(|id| id.as_str()).collect();
        console.note(console.paint_error(Tone::Quiet, &format!("tier {tier}: {}", ids.join(", "))));
    }
    console.line(pretty(view.definition.get()));
    Ok(())
}
