//! One orchestration, as `unisono get` shows it: its state, its activities by tier, and what everything waits for.

use unisono_client::Client;
use unisono_model::api::{ActivityState, ActivityView, OrchestrationView};
use unisono_model::ids::Timestamp;

use super::labels;
use crate::failure::Failure;
use crate::output::{Console, Grid, Tone, activity_tone, ago, now, orchestration_tone, pretty, span};

/// Shows it.
pub(super) async fn show(client: &Client, id: &str, console: Console) -> Result<(), Failure> {
    let view = client.orchestration(id).await?;
    if console.is_json() {
        return console.json(&view);
    }
    console.line(text(&view, now(), console).trim_end());
    Ok(())
}

/// Everything about it, for people.
pub(crate) fn text(view: &OrchestrationView, now: Timestamp, console: Console) -> String {
    let mut text = head(view, now, console);
    text.push('\n');
    text.push_str(&activities(view, now, console));
    text.push('\n');
    text.push_str(&to_do(view, console));
    text.push_str(&payloads(view, console));
    text
}

fn head(view: &OrchestrationView, now: Timestamp, console: Console) -> String {
    let summary = &view.summary;
    let line = |name: &str, value: &str| format!("{} {value}\n", console.paint(Tone::Quiet, &format!("{name:<12}")));
    let state = console.paint(orchestration_tone(summary.state), summary.state.as_str());
    let took = span(summary.ended_at.unwrap_or(now).millis_since(summary.created_at));
    let state = if summary.ended_at.is_some() {
        format!("{state}, took {took}")
    } else {
        format!("{state} for {took}")
    };
    let mut text = line("id", &console.paint(Tone::Strong, &summary.id));
    text += &line("type", &format!("{} version {}", summary.r#type, summary.version));
    text += &line("state", &state);
    text += &line("reason", &view.reason);
    text += &line(
        "started",
        &format!("{} ({})", summary.created_at, ago(summary.created_at, now)),
    );
    if let Some(ended) = summary.ended_at {
        text += &line("ended", &format!("{ended} ({})", ago(ended, now)));
    }
    if let Some(correlation) = &summary.correlation_id {
        text += &line("correlation", correlation);
    }
    if let Some(trace) = &view.trace_id {
        text += &line("trace", trace);
    }
    if !summary.labels.is_empty() {
        text += &line("labels", &labels(&summary.labels));
    }
    text
}

fn activities(view: &OrchestrationView, now: Timestamp, console: Console) -> String {
    let mut grid = Grid::new(
        console,
        &[
            "TIER", "ACTIVITY", "TYPE", "STATE", "SINCE", "ATTEMPTS", "AGENT", "REASON",
        ],
    );
    let mut activities: Vec<&ActivityView> = view.activities.iter().collect();
    // Stable: the definition's order within a tier.
    activities.sort_by_key(|activity| activity.tier);
    for activity in activities {
        let kind = match &activity.discriminator {
            Some(discriminator) => format!("{} ({discriminator})", activity.r#type),
            None => activity.r#type.to_string(),
        };
        grid.row([
            (activity.tier + 1).to_string().into(),
            activity.id.as_str().into(),
            kind.into(),
            (activity_tone(activity.state), activity.state.to_string()).into(),
            ago(activity.since, now).into(),
            activity.attempts.to_string().into(),
            activity.agent.as_deref().unwrap_or("-").into(),
            reason(activity).into(),
        ]);
    }
    grid.text() + "\n"
}

/// Why it is in its state, what it said last, and what went wrong last.
pub(crate) fn reason(activity: &ActivityView) -> String {
    let mut reason = activity.reason.clone();
    if let Some(note) = activity
        .note
        .as_ref()
        .filter(|_| activity.state == ActivityState::Running)
    {
        reason = format!("{reason}: {note}");
    }
    if let Some(error) = &activity.error
        && !reason.contains(&error.message)
    {
        let code = error.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        reason = format!("{reason}; last error{code}: {}", error.message);
    }
    reason
}

/// What a person can do about activities that wait for an answer.
fn to_do(view: &OrchestrationView, console: Console) -> String {
    let mut text = String::new();
    for activity in view
        .activities
        .iter()
        .filter(|activity| activity.state == ActivityState::Waiting)
    {
        let Some(token) = activity.token else { continue };
        let head = console.paint(Tone::Waiting, &format!("{} waits for an answer.", activity.id));
        text += &format!("{head} Give it with one of\n");
        let id = &view.summary.id;
        text += &format!(
            "  unisono complete {id} {} --token {token} --result '{{}}'\n",
            activity.id
        );
        text += &format!(
            "  unisono fail {id} {} --token {token} --message 'why'\n\n",
            activity.id
        );
    }
    text
}

fn payloads(view: &OrchestrationView, console: Console) -> String {
    let mut text = String::new();
    let mut section = |name: &str, json: &str| {
        text += &format!("{}\n{}\n\n", console.paint(Tone::Quiet, name), pretty(json));
    };
    section("input", view.input.get());
    if !view.context.is_empty() {
        let values: serde_json::Map<String, serde_json::Value> = view
            .context
            .iter()
            .map(|(key, value)| (key.clone(), serde_json::from_str(value.value.get()).unwrap_or_default()))
            .collect();
        section("context", &serde_json::Value::Object(values).to_string());
    }
    for activity in &view.activities {
        if let Some(output) = activity.output.as_ref().filter(|output| output.get() != "{}") {
            section(&format!("output of {}", activity.id), output.get());
        }
    }
    if let Some(output) = &view.output {
        section("output", output.get());
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::output::{ColorChoice, Format};

    fn shown(activity: serde_json::Value) -> String {
        let view = serde_json::from_value(serde_json::json!({
            "id": "acme", "type": "tenant", "version": 2, "state": "running", "createdAt": "2023-11-14T22:13:20Z",
            "labels": {"team": "a"}, "namespace": "default", "revision": 9, "reason": "waiting: ask", "input": {"a": 2, "b": 1},
            "context": {}, "tiers": [["ask"]], "activities": [activity]
        }));
        let console = Console::new(Format::Table, ColorChoice::Never);
        text(&view.unwrap(), Timestamp(1_700_000_065_000), console)
    }

    #[test]
    fn what_waits_for_an_answer_shows_how_to_give_it() {
        let text = shown(serde_json::json!({
            "id": "ask", "type": "approval", "tier": 0, "state": "waiting", "reason": "waits for an external call",
            "since": "2023-11-14T22:14:13Z", "attempts": 1, "agent": "clerk", "token": "1f3a-0123456789abcdef"
        }));
        let expected = "\
id           acme
type         tenant version 2
state        running for 1m05s
reason       waiting: ask
started      2023-11-14T22:13:20.000Z (1m05s ago)
labels       team=a

TIER  ACTIVITY  TYPE      STATE    SINCE    ATTEMPTS  AGENT  REASON
1     ask       approval  waiting  12s ago  1         clerk  waits for an external call

ask waits for an answer. Give it with one of
  unisono complete acme ask --token 1f3a-0123456789abcdef --result '{}'
  unisono fail acme ask --token 1f3a-0123456789abcdef --message 'why'

input
{
  \"a\": 2,
  \"b\": 1
}

";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_last_error_and_the_last_note_stand_behind_the_reason() {
        let text = shown(serde_json::json!({
            "id": "copy", "type": "copy", "tier": 0, "state": "running", "reason": "attempt 2 on agent a",
            "since": "2023-11-14T22:14:13Z", "attempts": 2, "agent": "a", "note": "3 of 7 files",
            "error": {"code": "exit-code", "message": "the disk is full"}
        }));
        assert!(
            text.contains("attempt 2 on agent a: 3 of 7 files; last error (exit-code): the disk is full"),
            "{text}"
        );
    }
}
