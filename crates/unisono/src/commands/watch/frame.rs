//! What a person sees of an orchestration at one moment, as lines. Pure: drawing them is somebody else's.

use unisono_model::api::{ActivityState, ActivityView, OrchestrationView};
use unisono_model::ids::Timestamp;

use crate::commands::get::reason;
use crate::output::{Console, Tone, activity_tone, orchestration_tone, shortened, span};

/// Tiers shown; those around the first that is not done.
const MOST_TIERS: usize = 12;
/// Activities shown; with more, only those that something happens to or that something is the matter with.
const MOST_ACTIVITIES: usize = 16;
/// Characters of a reason.
const REASON: usize = 160;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Text.
    Text(String),
    /// How far a tier is.
    Tier {
        /// What it is called.
        label: String,
        /// Activities that completed.
        done: u64,
        /// All of its activities.
        total: u64,
    },
}

/// The lines for this moment.
pub(super) fn lines(view: &OrchestrationView, now: Timestamp, console: Console) -> Vec<Line> {
    let mut lines = vec![Line::Text(head(view, now, console))];
    let shown = shown_activities(view);
    let tiers = shown_tiers(view);
    if tiers.start > 0 {
        lines.push(quiet(console, format!("  {} earlier tiers are done", tiers.start)));
    }
    let after = view.tiers.len() - tiers.end;
    for tier in tiers {
        lines.push(tier_line(view, tier));
        lines.extend(
            shown
                .iter()
                .filter(|a| a.tier as usize == tier)
                .map(|a| activity_line(a, now, console)),
        );
    }
    if after > 0 {
        lines.push(quiet(console, format!("  {after} more tiers follow")));
    }
    lines
}

fn quiet(console: Console, text: String) -> Line {
    Line::Text(console.paint_error(Tone::Quiet, &text))
}

fn head(view: &OrchestrationView, now: Timestamp, console: Console) -> String {
    let summary = &view.summary;
    let took = span(summary.ended_at.unwrap_or(now).millis_since(summary.created_at));
    let state = console.paint_error(orchestration_tone(summary.state), summary.state.as_str());
    let id = console.paint_error(Tone::Strong, &summary.id);
    let about = console.paint_error(Tone::Quiet, &format!("{} version {}", summary.r#type, summary.version));
    format!("{id}  {state}  {took}  {about}")
}

fn tier_line(view: &OrchestrationView, tier: usize) -> Line {
    let of_tier = || view.activities.iter().filter(|activity| activity.tier as usize == tier);
    let done = of_tier()
        .filter(|activity| activity.state == ActivityState::Completed)
        .count();
    Line::Tier {
        label: format!("tier {}", tier + 1),
        done: done as u64,
        total: of_tier().count() as u64,
    }
}

fn activity_line(activity: &ActivityView, now: Timestamp, console: Console) -> Line {
    let state = console.paint_error(activity_tone(activity.state), &format!("{:<9}", activity.state));
    let mut text = format!("  {} {state} {:<20}", mark(activity.state), activity.id);
    if !activity.state.is_terminal() && activity.state != ActivityState::Pending {
        text += &format!(" {:>6}", span(now.millis_since(activity.since)));
    }
    if activity.attempts > 1 {
        text += &format!(" attempt {}", activity.attempts);
    }
    if activity.state != ActivityState::Completed {
        text += &format!(
            " {}",
            console.paint_error(Tone::Quiet, &shortened(&reason(activity), REASON))
        );
    }
    Line::Text(text)
}

fn mark(state: ActivityState) -> char {
    match state {
        ActivityState::Completed => '✔',
        ActivityState::Failed => '✘',
        ActivityState::Running => '▶',
        ActivityState::Ready | ActivityState::Waiting | ActivityState::Scheduled => '…',
        ActivityState::Pending | ActivityState::Skipped | ActivityState::Cancelled => '·',
    }
}

/// All of them when they are few; else those that are under way or failed.
fn shown_activities(view: &OrchestrationView) -> Vec<&ActivityView> {
    if view.activities.len() <= MOST_ACTIVITIES {
        return view.activities.iter().collect();
    }
    let matters = |activity: &&ActivityView| {
        matches!(
            activity.state,
            ActivityState::Failed
                | ActivityState::Running
                | ActivityState::Waiting
                | ActivityState::Scheduled
                | ActivityState::Ready
        )
    };
    let mut shown: Vec<&ActivityView> = view.activities.iter().filter(matters).collect();
    // What is the matter first: it must not be cut off.
    shown.sort_by_key(|activity| activity.state != ActivityState::Failed);
    shown.truncate(MOST_ACTIVITIES);
    shown
}

fn shown_tiers(view: &OrchestrationView) -> std::ops::Range<usize> {
    let tiers = view.tiers.len();
    if tiers <= MOST_TIERS {
        return 0..tiers;
    }
    let open = view
        .activities
        .iter()
        .filter(|activity| activity.state != ActivityState::Completed);
    let first_open = open.map(|activity| activity.tier as usize).min().unwrap_or(tiers);
    let start = first_open.saturating_sub(1).min(tiers - MOST_TIERS);
    start..start + MOST_TIERS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::output::{ColorChoice, Format};

    fn view(activities: &[(&str, u32, &str)]) -> OrchestrationView {
        let tiers = activities.iter().map(|activity| activity.1).max().unwrap() + 1;
        let tiers: Vec<Vec<&str>> = (0..tiers)
            .map(|tier| {
                activities
                    .iter()
                    .filter(|activity| activity.1 == tier)
                    .map(|activity| activity.0)
                    .collect()
            })
            .collect();
        let activities: Vec<_> = activities
            .iter()
            .map(|(id, tier, state)| {
                serde_json::json!({"id": id, "type": "t", "tier": tier, "state": state, "attempts": 1,
                    "reason": format!("it is {state}"), "since": "2023-11-14T22:13:20Z"})
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "id": "acme", "type": "tenant", "version": 1, "state": "running", "createdAt": "2023-11-14T22:13:20Z",
            "namespace": "default", "revision": 9, "reason": "r", "input": {}, "context": {},
            "tiers": tiers, "activities": activities
        }))
        .unwrap()
    }

    fn drawn(view: &OrchestrationView) -> Vec<String> {
        let console = Console::new(Format::Table, ColorChoice::Never);
        let text = |line| match line {
            Line::Text(text) => text.trim_end().to_owned(),
            Line::Tier { label, done, total } => format!("[{label} {done}/{total}]"),
        };
        lines(view, Timestamp(1_700_000_002_500), console)
            .into_iter()
            .map(text)
            .collect()
    }

    #[test]
    fn each_tier_shows_its_activities_and_why_they_wait() {
        let view = view(&[
            ("did", 0, "completed"),
            ("stage", 0, "running"),
            ("apply", 1, "pending"),
        ]);
        assert_eq!(
            drawn(&view),
            [
                "acme  running  2.5s  tenant version 1",
                "[tier 1 1/2]",
                "  ✔ completed did",
                "  ▶ running   stage                  2.5s it is running",
                "[tier 2 0/1]",
                "  · pending   apply                it is pending",
            ]
        );
    }

    #[test]
    fn of_many_activities_only_what_is_under_way_is_shown_and_what_failed_comes_first() {
        let names: Vec<String> = (0..60).map(|number| format!("a{number}")).collect();
        let state = |number| match number {
            0..30 => "completed",
            30..58 => "running",
            _ => "failed",
        };
        let activities: Vec<_> = (0..60)
            .map(|number| (names[number].as_str(), 0, state(number)))
            .collect();
        let drawn = drawn(&view(&activities));
        assert_eq!(drawn.len(), 2 + MOST_ACTIVITIES);
        assert!(drawn[2].contains("failed    a58"), "{drawn:#?}");
    }

    #[test]
    fn of_many_tiers_those_around_the_first_open_one_are_shown() {
        let names: Vec<String> = (0..40).map(|number| format!("a{number}")).collect();
        let state = |tier| if tier < 20 { "completed" } else { "pending" };
        let activities: Vec<_> = (0..40)
            .map(|tier| (names[tier].as_str(), tier as u32, state(tier)))
            .collect();
        let drawn = drawn(&view(&activities));
        assert_eq!(drawn[1], "  19 earlier tiers are done");
        assert_eq!(drawn[2], "[tier 20 1/1]");
        assert_eq!(drawn.last().unwrap(), "  9 more tiers follow");
    }
}
