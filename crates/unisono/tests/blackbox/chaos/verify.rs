//! What must be true when everything has calmed down.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use unisono_client::{Client, OrchestrationFilter, PageRequest};
use unisono_model::api::{ActivityState, ActivityView, HistoryEntry, OrchestrationState, OrchestrationView};
use unisono_model::ids::Revision;

use super::load::{Observed, SCRIPTS, Seen, Started, Watched};
use crate::harness::{Site, history};

/// A run that has ended, with everything that happened in it.
pub(super) struct Run {
    view: OrchestrationView,
    history: Vec<HistoryEntry>,
}

pub(super) type Runs = BTreeMap<String, Run>;

/// Requests at the same time.
const AT_ONCE: usize = 8;

/// Every acknowledged run is completed, exactly once, in order, and its history says the same as its view.
pub(super) async fn runs(client: &Client, started: &[Started]) -> Runs {
    let runs: Runs = stream::iter(started)
        .map(|run| async {
            let view = client.orchestration(&run.id).await.unwrap();
            (
                run.id.clone(),
                Run {
                    view,
                    history: history(client, &run.id).await,
                },
            )
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for start in started {
        let run = &runs[&start.id];
        run.completed_once(start);
        run.history_agrees();
        for activity in &run.view.activities {
            run.activity_completed_once(activity);
        }
    }
    runs
}

impl Run {
    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a HistoryEntry> {
        self.history.iter().filter(move |entry| entry.kind == kind)
    }

    fn completed_once(&self, start: &Started) {
        let (view, id) = (&self.view, &start.id);
        assert_eq!(
            view.summary.state,
            OrchestrationState::Completed,
            "{id}: {}",
            view.reason
        );
        assert_eq!(view.summary.r#type.as_str(), start.r#type, "{id}");
        assert_eq!(
            self.of_kind("orchestrationStarted").count(),
            1,
            "{id} was not started exactly once"
        );
        assert_eq!(
            self.of_kind("orchestrationCompleted").count(),
            1,
            "{id} did not complete exactly once"
        );
        let output: Value = serde_json::from_str(view.output.as_ref().unwrap().get()).unwrap();
        for (activity, output) in output.as_object().unwrap() {
            assert_eq!(output["number"], start.number, "{id}, {activity}");
        }
    }

    fn history_agrees(&self) {
        let (view, history) = (&self.view, &self.history);
        let id = &view.summary.id;
        let revisions: Vec<Revision> = history.iter().map(|entry| entry.revision).collect();
        assert!(
            revisions.is_sorted_by(|a, b| a < b),
            "the history of {id} is out of order: {revisions:?}"
        );
        let (first, last) = (history.first().unwrap(), history.last().unwrap());
        assert_eq!(first.kind, "orchestrationStarted", "{id}");
        assert_eq!(first.at, view.summary.created_at, "{id}");
        assert_eq!(last.kind, "orchestrationCompleted", "{id}");
        assert_eq!(Some(last.at), view.summary.ended_at, "{id}");
        assert_eq!(last.revision, view.revision, "{id}");
        assert!(
            history.is_sorted_by_key(|entry| entry.at),
            "time goes back in the history of {id}"
        );
    }

    fn activity_completed_once(&self, activity: &ActivityView) {
        let what = format!("activity {} of {}", activity.id, self.view.summary.id);
        let about = |kind| {
            self.of_kind(kind)
                .filter(|entry| entry.activity.as_ref() == Some(&activity.id))
        };
        assert_eq!(activity.state, ActivityState::Completed, "{what}: {}", activity.reason);
        let completed: Vec<Revision> = about("activityCompleted").map(|entry| entry.revision).collect();
        assert_eq!(completed.len(), 1, "{what} did not complete exactly once");
        let dispatched: Vec<Revision> = about("activityDispatched").map(|entry| entry.revision).collect();
        assert_eq!(
            dispatched.len(),
            activity.attempts as usize,
            "{what}: dispatches in its history"
        );
        assert!(
            dispatched.iter().all(|at| *at < completed[0]),
            "{what} was dispatched after its completion"
        );
        for dependency in &activity.depends_on {
            let done = self
                .of_kind("activityCompleted")
                .find(|entry| entry.activity.as_ref() == Some(dependency));
            assert!(
                done.unwrap().revision < dispatched[0],
                "{what} was dispatched before {dependency} was done"
            );
        }
    }

    fn attempts(&self, activity: &str) -> u32 {
        self.view
            .activities
            .iter()
            .find(|it| it.id.as_str() == activity)
            .unwrap()
            .attempts
    }
}

/// Lists show every run once, and nothing else.
pub(super) async fn lists(client: &Client, started: &[Started], runs: &Runs) {
    let all = listed(client, &OrchestrationFilter::default()).await;
    assert_eq!(all.len(), started.len(), "every run once");
    assert!(all.iter().eq(runs.keys()), "the list and what was started differ");
    for state in OrchestrationState::ALL {
        let found = listed(
            client,
            &OrchestrationFilter {
                states: vec![state],
                ..OrchestrationFilter::default()
            },
        )
        .await;
        let expected = if state == OrchestrationState::Completed {
            started.len()
        } else {
            0
        };
        assert_eq!(found.len(), expected, "{state}: {found:?}");
    }
    let clients: BTreeSet<u32> = started.iter().map(|run| run.client).collect();
    for client_number in clients {
        let labels = vec![("client".to_owned(), client_number.to_string())];
        let found = listed(
            client,
            &OrchestrationFilter {
                labels,
                ..OrchestrationFilter::default()
            },
        )
        .await;
        assert_eq!(
            found.len(),
            started.iter().filter(|run| run.client == client_number).count()
        );
    }
    let correlation_id = Some(format!("order {}", started[0].number));
    let found = listed(
        client,
        &OrchestrationFilter {
            correlation_id,
            ..OrchestrationFilter::default()
        },
    )
    .await;
    assert_eq!(
        found.len(),
        started.iter().filter(|run| run.number == started[0].number).count()
    );
}

async fn listed(client: &Client, filter: &OrchestrationFilter) -> BTreeSet<String> {
    let (mut ids, mut page_token) = (BTreeSet::new(), None);
    loop {
        let page = client
            .orchestrations(
                filter,
                &PageRequest {
                    limit: Some(97),
                    page_token,
                },
            )
            .await
            .unwrap();
        for summary in page.items {
            assert!(ids.insert(summary.id.to_string()), "{} is listed twice", summary.id);
        }
        page_token = page.next_page_token;
        if page_token.is_none() {
            return ids;
        }
    }
}

/// What the scripts wrote down: no attempt was executed twice, and none that was never dispatched.
pub(super) fn executions(site: &Site, runs: &Runs) {
    let lines = site.lines("executions");
    let mut seen = HashSet::new();
    let mut last: HashMap<(&str, &str), u32> = HashMap::new();
    for line in &lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [run, activity, attempt] = words[..] else {
            panic!("a torn line of a script: {line:?}")
        };
        let attempt: u32 = attempt.parse().unwrap();
        assert!(
            seen.insert((run, activity, attempt)),
            "attempt {attempt} of {activity} of {run} was executed twice"
        );
        let attempts = runs[run].attempts(activity);
        assert!(
            attempt <= attempts,
            "attempt {attempt} of {activity} of {run} was executed; there are {attempts}"
        );
        let last = last.entry((run, activity)).or_default();
        *last = attempt.max(*last);
    }
    for (id, run) in runs {
        for activity in run
            .view
            .activities
            .iter()
            .filter(|it| SCRIPTS.contains(&it.r#type.as_str()))
        {
            let executed = last.get(&(id, activity.id.as_str()));
            assert_eq!(
                executed,
                Some(&activity.attempts),
                "{} of {id} completed without its last attempt",
                activity.id
            );
        }
    }
}

/// What was shown as completed was not dispatched again.
pub(super) fn observations(observed: &Observed, runs: &Runs) {
    assert!(!observed.is_empty(), "nothing was observed");
    for ((run, activity), attempts) in observed {
        assert_eq!(
            runs[run].attempts(activity),
            *attempts,
            "{activity} of {run} was dispatched after it was completed"
        );
    }
}

/// Watches left nothing out and showed nothing twice, through every restart of the server.
pub(super) fn watches(watched: &[Watched], runs: &Runs) {
    assert!(!watched.is_empty(), "nothing was watched to its end");
    for watch in watched {
        let history: Vec<Revision> = runs[&watch.run].history.iter().map(|entry| entry.revision).collect();
        let mut position = None;
        for seen in &watch.seen {
            match seen {
                Seen::Snapshot(revision) => position = Some(*revision),
                Seen::Entry(revision) => {
                    let next = history.iter().find(|it| Some(**it) > position);
                    assert_eq!(
                        next,
                        Some(revision),
                        "the watch of {}: {:?} of {history:?}",
                        watch.run,
                        watch.seen
                    );
                    position = Some(*revision);
                }
            }
        }
        assert_eq!(
            position,
            history.last().copied(),
            "the watch of {} ended early: {:?}",
            watch.run,
            watch.seen
        );
    }
}

/// A restart changes nothing in what has ended.
pub(super) async fn unchanged(client: &Client, runs: &Runs) {
    stream::iter(runs)
        .for_each_concurrent(AT_ONCE, |(id, run)| async move {
            let json = |view: &OrchestrationView| serde_json::to_value(view).unwrap();
            let view = client.orchestration(id).await.unwrap();
            assert_eq!(json(&view), json(&run.view), "{id} after a restart");
            assert_eq!(
                history(client, id).await.len(),
                run.history.len(),
                "the history of {id} after a restart"
            );
        })
        .await;
}
