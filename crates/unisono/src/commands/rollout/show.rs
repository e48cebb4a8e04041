//! Showing entities, rollouts, targets, reasons and histories.

use clap::Args;
use unisono_client::{Client, PageRequest, TargetQuery};
use unisono_model::api::Page;
use unisono_model::rollout::{
    FreezeView, Health, HistoryEntry, Phase, Reason, RolloutView, TargetView, VersionMark, WhyView,
};

use super::{Of, health_tone, phase_tone, rollout_tone, target};
use crate::cli::{Global, label};
use crate::commands::get::labels;
use crate::failure::Failure;
use crate::output::{Console, Field, Grid, Tone, ago, clock, now, span};

/// Items of one page.
const PAGE: u32 = 500;

/// Which targets to list.
#[derive(Args, Clone, Debug)]
pub(super) struct TargetsArgs {
    #[command(flatten)]
    of: Of,
    /// Where they stand in the rollout, such as inFlight
    #[arg(long, value_name = "STATE")]
    state: Option<Phase>,
    /// How they are, such as unknown
    #[arg(long, value_name = "HEALTH")]
    health: Option<Health>,
    /// The version that they run
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Their group, exactly
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// With this label: key=value; can be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Only those that have left their version
    #[arg(long)]
    drifted: bool,
    /// Only those that are told another version than they run
    #[arg(long)]
    change: bool,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// About what to ask.
#[derive(Args, Clone, Debug)]
pub(super) struct WhyArgs {
    #[command(flatten)]
    of: Of,
    /// One of its targets
    target: Option<String>,
    /// The target's group
    #[arg(long, value_name = "NAME", requires = "target")]
    group: Option<String>,
}

/// Which part of the history to show.
#[derive(Args, Clone, Debug)]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    of: Of,
    /// Only of this rollout
    #[arg(long, value_name = "N")]
    rollout: Option<u32>,
    /// Only entries with a greater number
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
}

/// Lists the entities of the namespace.
///
/// # Errors
/// [`Failure`] when the server cannot be asked.
pub(crate) async fn list_entities(client: &Client, console: Console) -> Result<(), Failure> {
    let entities = every(|page| async move { client.entities(&page).await }).await?;
    if console.is_json() {
        return console.json_values(&entities);
    }
    if entities.is_empty() {
        console.note("no entities; `unisono rollout version ENTITY VERSION` makes one");
        return Ok(());
    }
    let heads = [
        "ENTITY", "TARGETS", "VERSION", "ROLLOUT", "DONE", "FAILED", "GOOD", "BAD", "SINCE",
    ];
    let mut grid = Grid::new(console, &heads);
    let text = |version: &Option<unisono_model::rollout::Version>| version.as_deref().unwrap_or("-").to_owned();
    for it in &entities {
        let rollout = it.rollout.as_ref();
        let count = |of: fn(&unisono_model::rollout::Counts) -> u64| {
            rollout.map_or("-".to_owned(), |rollout| of(&rollout.counts).to_string())
        };
        let state: Field = match rollout {
            Some(rollout) => (rollout_tone(rollout.state), rollout.state.to_string()).into(),
            None => "-".into(),
        };
        grid.row([
            it.name.as_str().into(),
            it.targets.to_string().into(),
            text(&it.target_version).into(),
            state,
            count(|it| it.done).into(),
            count(|it| it.failed).into(),
            text(&it.last_known_good).into(),
            text(&it.last_known_bad).into(),
            rollout
                .map_or("-".to_owned(), |rollout| ago(rollout.created_at, now()))
                .into(),
        ]);
    }
    console.line(grid.text());
    Ok(())
}

/// Takes every page.
async fn every<T, F>(next: impl Fn(PageRequest) -> F) -> Result<Vec<T>, Failure>
where
    F: Future<Output = Result<Page<T>, unisono_client::ClientError>>,
{
    let (mut items, mut page_token) = (Vec::new(), None);
    loop {
        let page = next(PageRequest {
            limit: Some(PAGE),
            page_token,
        })
        .await?;
        items.extend(page.items);
        page_token = page.next_page_token;
        if page_token.is_none() {
            return Ok(items);
        }
    }
}

/// Shows everything about an entity, its targets left out.
///
/// # Errors
/// [`Failure::Refused`] when there is none.
pub(crate) async fn show_entity(client: &Client, name: &str, console: Console) -> Result<(), Failure> {
    let entity = client.entity(name);
    let view = entity.get().await?;
    if console.is_json() {
        return console.json(&view);
    }
    console.line(format!(
        "{}  revision {}",
        console.paint(Tone::Strong, name),
        view.revision
    ));
    let version = |label: &str, version: Option<&unisono_model::rollout::Version>| {
        if let Some(version) = version {
            console.line(format!("{label:<16}{version}"));
        }
    };
    version("version", view.summary.target_version.as_ref());
    version("last known good", view.summary.last_known_good.as_ref());
    version("last known bad", view.summary.last_known_bad.as_ref());
    version("waiting", view.queued.as_ref());
    let counted = |counts: &std::collections::BTreeMap<String, u64>| {
        let counts: Vec<String> = counts
            .iter()
            .filter(|it| *it.1 > 0)
            .map(|(word, n)| format!("{n} {word}"))
            .collect();
        counts.join(", ")
    };
    console.line(format!(
        "{:<16}{}  {}",
        "targets",
        view.summary.targets,
        counted(&view.health)
    ));
    if !view.versions_running.is_empty() {
        console.line(format!("{:<16}{}", "running", counted(&view.versions_running)));
    }
    for (label, count) in [("drifted", view.drifted), ("pinned", view.pinned)] {
        if count > 0 {
            console.line(format!("{label:<16}{count}"));
        }
    }
    for it in &view.freezes {
        console.line(format!("{:<16}{}: {}", "frozen", it.scope, freeze(it)));
    }
    if view.summary.rollout.is_some() {
        console.line("");
        rollout(&entity.rollout().await?, console);
    }
    Ok(())
}

/// By whom, why, and until when.
pub(super) fn freeze(freeze: &FreezeView) -> String {
    let by = freeze.actor.as_deref().unwrap_or("somebody");
    let why = freeze
        .reason
        .as_ref()
        .map_or(String::new(), |reason| format!(", {reason}"));
    let until = freeze
        .until
        .map_or("until it is ended".to_owned(), |until| format!("until {until}"));
    format!("by {by} {}{why}, {until}", ago(freeze.since, now()))
}

/// Shows where the rollout stands.
pub(super) async fn status(of: &Of, global: &Global) -> Result<(), Failure> {
    let (entity, console) = of.entity(global)?;
    let view = entity.rollout().await?;
    if console.is_json() {
        return console.json(&view);
    }
    rollout(&view, console);
    Ok(())
}

fn rollout(view: &RolloutView, console: Console) {
    let summary = &view.summary;
    let state = console.paint(rollout_tone(summary.state), summary.state.as_str());
    let from = summary
        .from
        .as_ref()
        .map_or(String::new(), |from| format!(" from {from}"));
    let took = span(summary.ended_at.unwrap_or(now()).millis_since(summary.created_at));
    console.line(format!(
        "rollout {} of version {}{from}  {state}  {took}",
        summary.id, summary.version
    ));
    reasons(&view.reasons, console);
    if view.waves.is_empty() {
        return;
    }
    let heads = [
        "WAVE",
        "STATE",
        "TARGETS",
        "DONE",
        "IN FLIGHT",
        "FAILED",
        "BACK",
        "PENDING",
        "AT ONCE",
        "MAY FAIL",
    ];
    let mut grid = Grid::new(console, &heads);
    for wave in &view.waves {
        let counts = &wave.counts;
        let failed = counts.failed + counts.not_recovered;
        let tone = if failed > 0 { Tone::Bad } else { Tone::Quiet };
        grid.row([
            wave.name.as_str().into(),
            wave.state.as_str().into(),
            counts.total.to_string().into(),
            counts.done.to_string().into(),
            (counts.in_flight + counts.rolling_back).to_string().into(),
            (tone, failed.to_string()).into(),
            counts.rolled_back.to_string().into(),
            counts.pending.to_string().into(),
            wave.batch.to_string().into(),
            wave.tolerated.map_or("-".to_owned(), |it| it.to_string()).into(),
        ]);
    }
    console.line(grid.text());
}

/// Each with what would move it.
fn reasons(reasons: &[Reason], console: Console) {
    for it in reasons {
        let code = console.paint(Tone::Waiting, it.code.as_str());
        let until = it.until.map_or(String::new(), |until| format!(", until {until}"));
        console.line(format!("  {code}  {}{until}", it.message));
        if let Some(fix) = &it.fix {
            console.line(console.paint(Tone::Quiet, &format!("    {fix}")));
        }
    }
}

/// Lists the rollouts of an entity.
pub(super) async fn past(of: &Of, global: &Global) -> Result<(), Failure> {
    let (entity, console) = of.entity(global)?;
    let rollouts = every(|page| {
        let entity = entity.clone();
        async move { entity.rollouts(&page).await }
    })
    .await?;
    if console.is_json() {
        return console.json_values(&rollouts);
    }
    let mut grid = Grid::new(
        console,
        &["ID", "VERSION", "STATE", "DONE", "FAILED", "BY", "BEGAN", "WHY"],
    );
    for it in &rollouts {
        grid.row([
            it.id.to_string().into(),
            it.version.as_str().into(),
            (rollout_tone(it.state), it.state.to_string()).into(),
            it.counts.done.to_string().into(),
            it.counts.failed.to_string().into(),
            it.actor.as_deref().unwrap_or("-").into(),
            ago(it.created_at, now()).into(),
            it.verdict.as_ref().map_or("-", |verdict| &verdict.message).into(),
        ]);
    }
    console.line(grid.text());
    Ok(())
}

/// Lists what is known of versions.
pub(super) async fn versions(of: &Of, global: &Global) -> Result<(), Failure> {
    let (entity, console) = of.entity(global)?;
    let versions = every(|page| {
        let entity = entity.clone();
        async move { entity.versions(None, &page).await }
    })
    .await?;
    if console.is_json() {
        return console.json_values(&versions);
    }
    let mut grid = Grid::new(
        console,
        &["VERSION", "MARK", "PROVEN", "FAILED", "RUNNING", "SINCE", "WHY"],
    );
    for it in &versions {
        let mark = match it.mark {
            VersionMark::Good => (Tone::Good, "good"),
            VersionMark::Bad => (Tone::Bad, "bad"),
            VersionMark::Untried => (Tone::Quiet, "untried"),
        };
        grid.row([
            it.version.as_str().into(),
            (mark.0, mark.1.to_owned()).into(),
            it.proven.to_string().into(),
            it.failed.to_string().into(),
            it.running.to_string().into(),
            ago(it.since, now()).into(),
            it.reason.as_str().into(),
        ]);
    }
    console.line(grid.text());
    Ok(())
}

/// Lists targets.
pub(super) async fn targets(args: TargetsArgs, global: &Global) -> Result<(), Failure> {
    let (entity, console) = args.of.entity(global)?;
    let query = TargetQuery {
        state: args.state,
        health: args.health,
        version: args.version,
        group: args.group,
        labels: args.label,
        drifted: args.drifted.then_some(true),
        change: args.change.then_some(true),
    };
    let wanted = if args.all { usize::MAX } else { args.limit as usize };
    let (mut items, mut page_token) = (Vec::new(), None);
    loop {
        let limit = u32::try_from(wanted - items.len()).unwrap_or(u32::MAX).min(PAGE);
        let page = PageRequest {
            limit: Some(limit),
            page_token,
        };
        let page = entity.targets(&query, &page).await?;
        items.extend(page.items);
        page_token = page.next_page_token;
        if page_token.is_none() || items.len() >= wanted {
            break;
        }
    }
    if console.is_json() {
        return console.json_values(&items);
    }
    if items.is_empty() {
        console.note("no targets");
        return Ok(());
    }
    console.line(table(&items, console));
    if page_token.is_some() {
        console.note("there are more: --limit N shows so many, --all shows all of them");
    }
    Ok(())
}

fn table(items: &[TargetView], console: Console) -> String {
    let heads = [
        "GROUP",
        "TARGET",
        "STATE",
        "HEALTH",
        "RUNS",
        "SHOULD RUN",
        "WAVE",
        "SINCE",
        "LABELS",
        "MESSAGE",
    ];
    let mut grid = Grid::new(console, &heads);
    let or_none = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    for it in items {
        let state = match it.cause {
            Some(cause) => format!("{} ({cause})", it.phase),
            None => it.phase.to_string(),
        };
        grid.row([
            or_none(Some(&it.group)).into(),
            it.name.as_str().into(),
            (phase_tone(it.phase), state).into(),
            (health_tone(it.health), it.health.to_string()).into(),
            or_none(it.version.as_deref()).into(),
            or_none(it.expected.as_deref()).into(),
            or_none(it.wave.as_deref()).into(),
            ago(it.since, now()).into(),
            or_none(Some(&labels(&it.labels))).into(),
            or_none(Some(&it.message)).into(),
        ]);
    }
    grid.text()
}

/// Says why.
pub(super) async fn why(args: WhyArgs, global: &Global) -> Result<(), Failure> {
    let (entity, console) = args.of.entity(global)?;
    let why: WhyView = match &args.target {
        Some(name) => entity.why_target(&target(args.group.as_deref(), name)?).await?,
        None => entity.why().await?,
    };
    if console.is_json() {
        return console.json(&why);
    }
    console.line(&why.summary);
    reasons(&why.reasons, console);
    if let Some(at) = why.next_decision_at {
        console.line(format!("the next decision by itself is at {at}"));
    }
    Ok(())
}

/// Shows what was decided.
pub(super) async fn history(args: HistoryArgs, global: &Global) -> Result<(), Failure> {
    let (entity, console) = args.of.entity(global)?;
    let mut page = PageRequest {
        limit: Some(PAGE),
        page_token: None,
    };
    let mut entries = Vec::new();
    loop {
        let found = entity.history(args.after, args.rollout, &page).await?;
        if console.is_json() {
            entries.extend(found.items);
        } else {
            found.items.iter().for_each(|entry| console.line(line(entry, console)));
        }
        page.page_token = found.next_page_token;
        if page.page_token.is_none() {
            break;
        }
    }
    if console.is_json() {
        return console.json_values(&entries);
    }
    Ok(())
}

/// An entry on one line.
pub(super) fn line(entry: &HistoryEntry, console: Console) -> String {
    let state = entry.state.map_or(String::new(), |state| {
        format!("  {}", console.paint(rollout_tone(state), state.as_str()))
    });
    let by = entry
        .actor
        .as_ref()
        .map_or(String::new(), |actor| format!(", by {actor}"));
    let why = entry
        .reason
        .as_ref()
        .map_or(String::new(), |reason| format!(": {reason}"));
    let at = console.paint(Tone::Quiet, &clock(entry.at));
    format!("{at}  {:<18}  {}{by}{why}{state}", entry.what, entry.message)
}
