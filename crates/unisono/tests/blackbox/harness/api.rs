//! What most tests ask of the API.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use unisono_client::Client;
use unisono_model::api::{
    ActivityState, ActivityView, ApplyRequest, ApplyResponse, HistoryEntry, OrchestrationView, SourceText, StartRequest,
};

use super::PATIENCE;

/// Waits until the probe finds what it looks for.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut probe: impl FnMut() -> F) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Applies definitions that have no mistakes.
pub(crate) async fn apply(client: &Client, text: &str) -> ApplyResponse {
    let sources = vec![SourceText {
        name: "test.yaml".to_owned(),
        text: text.to_owned(),
    }];
    client
        .apply(&ApplyRequest {
            sources,
            dry_run: false,
        })
        .await
        .unwrap()
}

/// A start with an id of the caller's.
pub(crate) fn request(id: &str, r#type: &str) -> StartRequest {
    request_with(id, r#type, &json!({}))
}

/// A start with an id of the caller's and an input.
pub(crate) fn request_with(id: &str, r#type: &str, input: &Value) -> StartRequest {
    StartRequest {
        id: Some(id.to_owned()),
        r#type: r#type.to_owned(),
        version: None,
        correlation_id: None,
        input: Some(serde_json::value::to_raw_value(input).unwrap()),
        labels: BTreeMap::new(),
    }
}

/// Waits until the run has ended.
pub(crate) async fn finished(client: &Client, id: &str) -> OrchestrationView {
    eventually(&format!("{id} ends"), || async {
        let view = client.orchestration(id).await.unwrap();
        view.summary.state.is_terminal().then_some(view)
    })
    .await
}

/// The activity of the run.
pub(crate) fn activity<'a>(view: &'a OrchestrationView, id: &str) -> &'a ActivityView {
    view.activities
        .iter()
        .find(|activity| activity.id.as_str() == id)
        .unwrap()
}

/// Waits until the activity is as the condition says.
pub(crate) async fn wait_for_activity(
    client: &Client,
    id: &str,
    of: &str,
    condition: impl Fn(&ActivityView) -> bool,
) -> ActivityView {
    eventually(&format!("activity {of} of {id} is as expected"), || async {
        let view = client.orchestration(id).await.unwrap();
        let found = activity(&view, of);
        condition(found).then(|| found.clone())
    })
    .await
}

/// Waits until the activity is in this state.
pub(crate) async fn in_state(client: &Client, id: &str, of: &str, state: ActivityState) -> ActivityView {
    wait_for_activity(client, id, of, |activity| activity.state == state).await
}

/// Everything that happened in the run.
pub(crate) async fn history(client: &Client, id: &str) -> Vec<HistoryEntry> {
    let mut entries: Vec<HistoryEntry> = Vec::new();
    loop {
        let after = entries.last().map(|entry| entry.revision);
        let page = client.history(id, after, Some(1000)).await.unwrap();
        entries.extend(page.items);
        if page.next_page_token.is_none() {
            return entries;
        }
    }
}

/// What happened in the run, as `activityCompleted a`.
pub(crate) async fn kinds(client: &Client, id: &str) -> Vec<String> {
    let said = |entry: &HistoryEntry| match &entry.activity {
        Some(activity) => format!("{} {activity}", entry.kind),
        None => entry.kind.to_string(),
    };
    history(client, id).await.iter().map(said).collect()
}
