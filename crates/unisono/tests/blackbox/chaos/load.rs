//! What goes on while processes are killed: clients that start runs, and others that look at them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::json;
use unisono_client::{Client, WatchEvent};
use unisono_model::api::{ActivityState, StartRequest};
use unisono_model::ids::Revision;

use crate::harness::{AgentProcess, PATIENCE, Random, Server, request_with};

/// Chains, fans and diamonds out of activities that echo, run a script, fail at first, and ask to be run again.
pub(super) const DEFINITIONS: &str = "
{kind: ActivityDefinition, type: echo}
---
{kind: ActivityDefinition, type: step}
---
{kind: ActivityDefinition, type: flaky}
---
{kind: ActivityDefinition, type: poll}
---
type: chain
activities:
- {id: a, type: step, inputs: [number]}
- {id: b, type: echo, dependsOn: a, inputs: [a.number]}
- {id: c, type: step, dependsOn: b, inputs: [b.number]}
- {id: d, type: echo, dependsOn: c, inputs: [c.number]}
---
type: fan
activities:
- {id: root, type: echo, inputs: [number]}
- {id: f1, type: echo, dependsOn: root, inputs: [root.number]}
- {id: f2, type: echo, dependsOn: root, inputs: [root.number]}
- {id: f3, type: echo, dependsOn: root, inputs: [root.number]}
- {id: f4, type: step, dependsOn: root, inputs: [root.number]}
- {id: f5, type: step, dependsOn: root, inputs: [root.number]}
- {id: f6, type: flaky, dependsOn: root, inputs: [root.number]}
- {id: join, type: echo, dependsOn: [f1, f2, f3, f4, f5, f6], inputs: [f6.number]}
---
type: diamond
activities:
- {id: top, type: echo, inputs: [number]}
- {id: left, type: step, dependsOn: top, inputs: [top.number]}
- {id: right, type: poll, dependsOn: top, inputs: [top.number]}
- {id: bottom, type: step, dependsOn: [left, right], inputs: [right.number]}
";
const SHAPES: [&str; 3] = ["chain", "fan", "diamond"];
/// The types whose executions are written down outside, in `executions`.
pub(super) const SCRIPTS: [&str; 3] = ["step", "flaky", "poll"];

const STEP: &str = r#"note; printf '{"number": %s}' "$UNISONO_INPUT_NUMBER""#;
const FLAKY: &str = r#"note; [ "$UNISONO_ATTEMPT" -gt 1 ] || exit 75; printf '{"number": %s}' "$UNISONO_INPUT_NUMBER""#;
const POLL: &str = r#"note
case "$UNISONO_CONTEXT" in
*asked*) printf '{"number": %s}' "$UNISONO_INPUT_NUMBER" ;;
*) printf '{"schedule": {"afterMs": 200}}' > "$UNISONO_RESULT"; printf '{"set": {"asked": true}}' > "$UNISONO_CONTEXT_PATCH" ;;
esac"#;

/// Two agents that echo, and two that run scripts.
pub(super) fn agents(server: &Server) -> Vec<AgentProcess> {
    let echo = |name| server.agent(name).concurrency(16).echo("echo").start();
    let scripts = |name| {
        server
            .agent(name)
            .concurrency(4)
            .exec("step", STEP)
            .exec("flaky", FLAKY)
            .exec("poll", POLL)
            .start()
    };
    vec![
        echo("echo-1"),
        echo("echo-2"),
        scripts("scripts-1"),
        scripts("scripts-2"),
    ]
}

/// A run whose start was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Started {
    pub(super) id: String,
    pub(super) r#type: &'static str,
    pub(super) client: u32,
    pub(super) number: u64,
}

impl Started {
    fn request(&self) -> StartRequest {
        let mut request = request_with(&self.id, self.r#type, &json!({"number": self.number}));
        request.labels.insert("client".to_owned(), self.client.to_string());
        request.correlation_id = Some(format!("order {}", self.number));
        request
    }
}

/// What clients do, and what they were told.
pub(super) struct Load {
    client: Client,
    started: Mutex<Vec<Started>>,
    acknowledged: (Mutex<()>, Condvar),
    stop: AtomicBool,
}

/// How often an activity had been dispatched when it was seen as completed, by run and activity.
pub(super) type Observed = HashMap<(String, String), u32>;

/// What a watch showed of a run, in order.
pub(super) struct Watched {
    pub(super) run: String,
    pub(super) seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    Snapshot(Revision),
    Entry(Revision),
}

impl Load {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            started: Mutex::default(),
            acknowledged: <(Mutex<()>, Condvar)>::default(),
            stop: AtomicBool::new(false),
        }
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until a client is told that something is so; not longer than this.
    pub(super) fn wait_until_acknowledged(&self, longest: Duration) {
        let (lock, acknowledged) = &self.acknowledged;
        let _ = acknowledged.wait_timeout(lock.lock().unwrap(), longest).unwrap();
    }

    fn acknowledge(&self) {
        self.acknowledged.1.notify_all();
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Every run whose start was acknowledged.
    pub(super) fn started(&self) -> Vec<Started> {
        self.started.lock().unwrap().clone()
    }

    /// One of the runs that were started last.
    fn recent(&self, random: &mut Random) -> Option<Started> {
        let started = self.started.lock().unwrap();
        let recent = &started[started.len().saturating_sub(40)..];
        (!recent.is_empty()).then(|| random.pick(recent).clone())
    }

    /// Starts runs one after the other, each until it is acknowledged.
    pub(super) async fn start_runs(self: Arc<Self>, client: u32, mut random: Random) {
        for number in 0.. {
            if !self.goes_on() {
                return;
            }
            let id = format!("run-{client}-{number}");
            let run = Started {
                id,
                r#type: random.pick::<&str>(&SHAPES),
                client,
                number,
            };
            self.start(&run).await;
            self.acknowledge();
            self.started.lock().unwrap().push(run.clone());
            if random.below(5) == 0 {
                assert!(
                    !self.start(&run).await,
                    "{} was acknowledged, and then it did not exist",
                    run.id
                );
            }
            tokio::time::sleep(random.between(Duration::ZERO, Duration::from_millis(400))).await;
        }
    }

    /// Repeats the start until there is an answer: whether the run is new.
    async fn start(&self, run: &Started) -> bool {
        let begin = Instant::now();
        loop {
            match self.client.start(&run.request()).await {
                Ok(answer) => {
                    assert_eq!(answer.id.as_str(), run.id);
                    return answer.created;
                }
                Err(error) if error.is_unreachable() && begin.elapsed() < PATIENCE => {}
                Err(error) => panic!("the start of {}: {error}", run.id),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Looks at runs, and writes down what is shown as completed: it must stay as it is.
    pub(super) async fn observe(self: Arc<Self>, mut random: Random) -> Observed {
        let mut observed = Observed::new();
        while self.goes_on() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let Some(run) = self.recent(&mut random) else { continue };
            let view = match self.client.orchestration(&run.id).await {
                Ok(view) => view,
                Err(error) if error.is_unreachable() => continue,
                Err(error) => panic!("{} was acknowledged: {error}", run.id),
            };
            for activity in view.activities {
                let key = (run.id.clone(), activity.id.to_string());
                match observed.get(&key) {
                    Some(attempts) => {
                        assert_eq!(
                            activity.state,
                            ActivityState::Completed,
                            "{key:?} was shown as completed"
                        );
                        assert_eq!(activity.attempts, *attempts, "{key:?} was shown as completed");
                    }
                    None if activity.state == ActivityState::Completed => {
                        self.acknowledge();
                        observed.insert(key, activity.attempts);
                    }
                    None => {}
                }
            }
        }
        observed
    }

    /// Follows runs to their ends. A watch that gives up because the server is away is left out.
    pub(super) async fn watch(self: Arc<Self>, mut random: Random) -> Vec<Watched> {
        let mut watched = Vec::new();
        while self.goes_on() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let Some(run) = self.recent(&mut random) else { continue };
            let mut seen = Vec::new();
            let mut events = std::pin::pin!(self.client.watch(&run.id));
            loop {
                match events.next().await {
                    Some(Ok(WatchEvent::Snapshot(view))) => seen.push(Seen::Snapshot(view.revision)),
                    Some(Ok(WatchEvent::History(entry))) => seen.push(Seen::Entry(entry.revision)),
                    Some(Ok(WatchEvent::End)) => {
                        watched.push(Watched {
                            run: run.id.clone(),
                            seen,
                        });
                        break;
                    }
                    Some(Err(error)) if error.is_unreachable() => break,
                    Some(Err(error)) => panic!("the watch of {}: {error}", run.id),
                    None => panic!("the watch of {} ended without a word", run.id),
                }
            }
        }
        watched
    }
}
