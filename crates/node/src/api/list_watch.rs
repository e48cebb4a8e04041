//! Watching a list of orchestrations: server-sent events.
//!
//! The stream begins with `snapshot` (the newest that match, as many as were asked for) and goes on with `changed` (one that
//! is new there or is shown differently) and `left` (one that is not there any more). What the list shows is looked up again
//! when something was decided, a few times a second at most, and compared with what was told: so every filter can be
//! watched, also by what is in no index and in no event. Without a decision nobody looks.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event as Sse, KeepAlive, Sse as SseResponse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use unisono_model::api::{OrchestrationSummary, Page};
use unisono_model::name::Name;

use super::Api;
use super::list::{Question, page};
use super::problem::Answer;
use super::watch::data;

/// The shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// A look that takes long is followed by a pause of so many times that.
const PAUSES: u32 = 4;
/// An expression may become true by the passing of time.
const WITHOUT_DECISION: Duration = Duration::from_secs(5);
/// Pages that are read for one look, of which some may hold little.
const MOST_PAGES: usize = 5;

/// Tells of the newest `limit` orchestrations that match.
pub(super) async fn watch(api: Api, namespace: Name, question: Question, limit: usize) -> Answer<Response> {
    // From here on nothing is missed.
    let mut decisions = api.hub.decisions.subscribe();
    decisions.mark_unchanged();
    let mut watch = ListWatch {
        api,
        namespace,
        question,
        limit,
        decisions,
        shown: Vec::new(),
        next_look: Instant::now(),
        ready: VecDeque::new(),
    };
    watch.shown = watch.look().await?;
    let snapshot = Page {
        items: watch.shown.clone(),
        next_page_token: None,
    };
    watch
        .ready
        .push_back(Sse::default().event("snapshot").data(data(&snapshot)));
    let events = stream::unfold(watch, |mut watch| async {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    Ok(SseResponse::new(events)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response())
}

struct ListWatch {
    api: Api,
    namespace: Name,
    question: Question,
    limit: usize,
    /// Changes when something was decided.
    decisions: watch::Receiver<()>,
    shown: Vec<OrchestrationSummary>,
    next_look: Instant,
    ready: VecDeque<Sse>,
}

impl ListWatch {
    async fn next(&mut self) -> Option<Sse> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            let stopping = self.api.stopping.clone();
            tokio::select! {
                () = self.decided() => {}
                () = stopping.cancelled() => return None,
            }
            // Whoever watches comes again, and begins anew.
            let now = self.look().await.ok()?;
            self.compare(now);
        }
    }

    /// Waits until there may be something new, and it may be looked for.
    async fn decided(&mut self) {
        let decided = self.decisions.changed();
        if self.question.has_expression() {
            let _ = tokio::time::timeout(WITHOUT_DECISION, decided).await;
        } else {
            let _ = decided.await;
        }
        tokio::time::sleep_until(self.next_look).await;
        self.decisions.mark_unchanged();
    }

    /// What the list shows now.
    async fn look(&mut self) -> Answer<Vec<OrchestrationSummary>> {
        let begin = Instant::now();
        self.api.partition.barrier().await?;
        let (mut items, mut token) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let limit = self.limit - items.len();
            let found = page(&self.api, &self.namespace, &self.question, (limit, token)).await?;
            items.extend(found.items);
            token = found.next_page_token;
            if token.is_none() || items.len() == self.limit {
                break;
            }
        }
        self.next_look = Instant::now() + PAUSE.max(begin.elapsed() * PAUSES);
        Ok(items)
    }

    fn compare(&mut self, now: Vec<OrchestrationSummary>) {
        let before = std::mem::replace(&mut self.shown, now);
        let find = |list: &[OrchestrationSummary], of: &OrchestrationSummary| {
            list.iter()
                .position(|it| it.id == of.id && it.created_at == of.created_at)
        };
        for gone in before.iter().filter(|it| find(&self.shown, it).is_none()) {
            let left = json!({"id": gone.id});
            self.ready.push_back(Sse::default().event("left").data(data(&left)));
        }
        // The oldest first, so that the newest comes last.
        for it in self.shown.iter().rev() {
            if find(&before, it).is_none_or(|place| before[place] != *it) {
                self.ready.push_back(Sse::default().event("changed").data(data(it)));
            }
        }
    }
}
