//! What the node counts, in the OpenMetrics text format. `docs/guides/observability.md` lists it all.
//!
//! Counters are added to by whoever does the work: the deciding thread keeps plain numbers ([`Tally`]) that travel with
//! the batch and are added up once it is durable. What can be read from the state is read when someone asks
//! ([`scrape`]). No label has more values than people have made definitions and namespaces; ids are never labels.

mod http;
mod process;
mod scrape;
mod tally;
mod words;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use unisono_engine::rollout::Failing;
use unisono_engine::{Effect, Rejection};
use unisono_journal::Position;
use unisono_model::api::OrchestrationState;
use unisono_model::ids::Revision;
use unisono_model::rollout::{Answer, CallKind};
use unisono_telemetry::trace::ExportCounts;

use http::HttpMetrics;
pub(crate) use http::count_request;
use scrape::CheckpointLag;
pub(crate) use scrape::{Surroundings, Work};
pub(crate) use tally::Tally;
pub(crate) use words::CommandKind;
use words::{AttemptResult, CallWord, EventKind, refusal};

/// A counter for each word of one label.
type ByWord<const N: usize> = [Counter; N];
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// States in which a run ends, and the events by which it does.
const ENDS: [(EventKind, OrchestrationState); 3] = [
    (EventKind::Succeeded, OrchestrationState::Completed),
    (EventKind::Errored, OrchestrationState::Errored),
    (EventKind::Cancelled, OrchestrationState::Cancelled),
];

/// Frames and messages of agents' connections, one way.
pub(crate) struct Traffic {
    frames: Counter,
    messages: Counter,
}

impl Traffic {
    /// A frame with so many messages has passed.
    pub(crate) fn frame(&self, messages: usize) {
        self.frames.inc();
        self.messages.inc_by(messages as u64);
    }
}

/// Everything that the node counts.
pub(crate) struct Metrics {
    registry: Registry,
    accepted: ByWord<{ CommandKind::WORDS.len() }>,
    commands: Family<Labels<2>, Counter>,
    events: ByWord<{ EventKind::WORDS.len() }>,
    attempts: ByWord<{ AttemptResult::WORDS.len() }>,
    ended: ByWord<{ ENDS.len() }>,
    batch_events: Histogram,
    batch_bytes: Histogram,
    append_seconds: Histogram,
    decide_seconds: Histogram,
    checkpoint_seconds: Histogram,
    pub(crate) journal_bytes: Gauge,
    pub(crate) rebuilds: Counter,
    /// When the last complete backup began, in seconds since the Unix epoch.
    pub(crate) last_backup: Gauge,
    backups: ByWord<2>,
    /// Pieces of attempts' logs that were dropped, since the disk was nearly full.
    pub(crate) dropped_logs: Counter,
    deleted: ByWord<2>,
    /// What agents send.
    pub(crate) from_agents: Traffic,
    /// What agents are sent.
    pub(crate) to_agents: Traffic,
    calls: Family<Labels<2>, Counter>,
    deliveries: ByWord<4>,
    http: HttpMetrics,
    spans: ExportCounts,
    durable: AtomicU64,
    position: AtomicU64,
    checkpoint: Mutex<Checkpoint>,
    started_seconds: f64,
}

/// The last checkpoint, and when the one under way began.
struct Checkpoint {
    position: u64,
    revision: u64,
    at: Instant,
    began: Option<Instant>,
}

impl Metrics {
    /// Nothing counted yet. `spans` counts what is sent of traces.
    pub(crate) fn new(spans: ExportCounts) -> Self {
        let mut registry = Registry::with_prefix("unisono");
        let it = &mut registry;
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        it.register("build", "The version of the program", build);
        let commands = Family::<Labels<2>, Counter>::default();
        let help = "Commands decided, by kind and outcome: accepted, or the code of the refusal";
        it.register("commands", help, commands.clone());
        let accepted = |word| commands.get_or_create_owned(&[("command", word), ("outcome", "accepted")]);
        let [frames_in, frames_out] = by_word(
            it,
            ("agent_frames", "Frames of agents' connections"),
            ("direction", ["in", "out"]),
        );
        let [messages_in, messages_out] = by_word(
            it,
            ("agent_messages", "Messages in the frames of agents' connections"),
            ("direction", ["in", "out"]),
        );
        Self {
            accepted: CommandKind::WORDS.map(accepted),
            events: by_word(
                it,
                ("events", "Events made durable, by type"),
                ("type", EventKind::WORDS),
            ),
            attempts: by_word(
                it,
                ("attempts", "Ends of attempts, by result"),
                ("result", AttemptResult::WORDS),
            ),
            ended: by_word(
                it,
                ("orchestrations_ended", "Orchestrations ended, by state"),
                ("state", ENDS.map(|(_, state)| state.as_str())),
            ),
            batch_events: histogram(it, ("batch_events", "Events of one batch"), None, (1.0, 4.0, 10)),
            batch_bytes: histogram(it, ("batch", "Bytes of one batch"), Some(Unit::Bytes), (64.0, 4.0, 10)),
            append_seconds: histogram(
                it,
                ("journal_append", "Time to make one batch durable, its sync included"),
                Some(Unit::Seconds),
                (0.000_05, 2.0, 16),
            ),
            decide_seconds: histogram(
                it,
                ("decide", "Time to decide what one round took from the inbox"),
                Some(Unit::Seconds),
                (0.000_002, 4.0, 10),
            ),
            checkpoint_seconds: histogram(
                it,
                (
                    "checkpoint",
                    "Time from the beginning of a checkpoint until it is durable",
                ),
                Some(Unit::Seconds),
                (0.005, 2.0, 16),
            ),
            journal_bytes: registered(
                it,
                ("journal", "Size of the journal with its spare files"),
                Some(Unit::Bytes),
                Gauge::default(),
            ),
            rebuilds: registered(
                it,
                ("rebuilds", "Times that state was rebuilt after the journal failed"),
                None,
                Counter::default(),
            ),
            last_backup: registered(
                it,
                (
                    "last_backup_timestamp",
                    "When the last complete backup began, since the Unix epoch; 0 before the first",
                ),
                Some(Unit::Seconds),
                Gauge::default(),
            ),
            dropped_logs: registered(
                it,
                (
                    "log_pieces_dropped",
                    "Pieces of attempts' logs dropped while the disk was nearly full",
                ),
                None,
                Counter::default(),
            ),
            backups: by_word(
                it,
                ("backups", "Backups, by outcome"),
                ("outcome", ["complete", "failed"]),
            ),
            deleted: by_word(
                it,
                (
                    "orchestrations_deleted",
                    "Ended orchestrations deleted with everything that was kept of them, by who wanted it: a retention rule, or a request",
                ),
                ("by", ["retention", "request"]),
            ),
            from_agents: Traffic {
                frames: frames_in,
                messages: messages_in,
            },
            to_agents: Traffic {
                frames: frames_out,
                messages: messages_out,
            },
            calls: calls(it),
            deliveries: by_word(
                it,
                (
                    "rollout_deliveries",
                    "Entries of histories sent to subscribers of rollouts, by what became of them",
                ),
                ("result", ["received", "unreachable", "refused", "gone"]),
            ),
            http: HttpMetrics::new(it),
            spans,
            commands,
            durable: AtomicU64::new(0),
            position: AtomicU64::new(0),
            checkpoint: Mutex::new(Checkpoint {
                position: 0,
                revision: 0,
                at: Instant::now(),
                began: None,
            }),
            started_seconds: process::now_seconds(),
            registry,
        }
    }

    /// A batch of so many bytes is durable up to here; it took so long.
    pub(crate) fn appended(
        &self,
        tally: &Tally,
        bytes: usize,
        took: Duration,
        (position, revision): (Position, Revision),
    ) {
        let mut events = 0;
        for (counter, count) in self.events.iter().zip(tally.events) {
            add(counter, count);
            events += count;
        }
        for (kind, result) in EventKind::RESULTS {
            add(&self.attempts[result as usize], tally.events[kind as usize]);
        }
        for (counter, (kind, _)) in self.ended.iter().zip(ENDS) {
            add(counter, tally.events[kind as usize]);
        }
        self.batch_events.observe(f64::from(events));
        #[expect(clippy::cast_precision_loss, reason = "a metric")]
        self.batch_bytes.observe(bytes as f64);
        self.append_seconds.observe(took.as_secs_f64());
        self.position.store(position.get(), Ordering::Relaxed);
        self.durable.store(revision.0, Ordering::Relaxed);
    }

    /// What was accepted is released.
    pub(crate) fn accepted(&self, tally: &Tally) {
        for (counter, count) in self.accepted.iter().zip(tally.commands) {
            add(counter, count);
        }
    }

    /// A command was refused.
    pub(crate) fn refused(&self, command: CommandKind, rejection: &Rejection) {
        let labels = [
            ("command", CommandKind::WORDS[command as usize]),
            ("outcome", refusal(rejection)),
        ];
        self.commands.get_or_create(&labels).inc();
        if matches!(
            (command, rejection),
            (CommandKind::Report, Rejection::StaleToken { .. })
        ) {
            self.stale_result();
        }
    }

    /// A result came that nobody waits for.
    pub(crate) fn stale_result(&self) {
        self.attempts[AttemptResult::Stale as usize].inc();
    }

    /// A round of deciding is over.
    pub(crate) fn decided(&self, took: Duration) {
        self.decide_seconds.observe(took.as_secs_f64());
    }

    /// State was recovered up to here, from a checkpoint up to there.
    pub(crate) fn recovered(&self, to: (Position, Revision), from: (Position, Revision)) {
        self.position.store(to.0.get(), Ordering::Relaxed);
        self.durable.store(to.1.0, Ordering::Relaxed);
        let mut checkpoint = self.checkpoint();
        (checkpoint.position, checkpoint.revision) = (from.0.get(), from.1.0);
    }

    /// A checkpoint begins.
    pub(crate) fn checkpoint_begins(&self) {
        self.checkpoint().began = Some(Instant::now());
    }

    /// A checkpoint up to here is durable.
    pub(crate) fn checkpoint_ends(&self, position: Position, revision: Revision) {
        let mut checkpoint = self.checkpoint();
        let now = Instant::now();
        if let Some(began) = checkpoint.began.take() {
            self.checkpoint_seconds.observe(now.duration_since(began).as_secs_f64());
        }
        *checkpoint = Checkpoint {
            position: position.get(),
            revision: revision.0,
            at: now,
            began: None,
        };
    }

    fn checkpoint(&self) -> MutexGuard<'_, Checkpoint> {
        match self.checkpoint.lock() {
            Ok(checkpoint) => checkpoint,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    fn lag(&self) -> CheckpointLag {
        let checkpoint = self.checkpoint();
        CheckpointLag {
            bytes: self
                .position
                .load(Ordering::Relaxed)
                .saturating_sub(checkpoint.position),
            events: self.durable.load(Ordering::Relaxed).saturating_sub(checkpoint.revision),
            age_seconds: checkpoint.at.elapsed().as_secs_f64(),
        }
    }

    /// What was deleted is durable.
    pub(crate) fn deleted(&self, effects: &[Effect]) {
        let [retention, request] = &self.deleted;
        for effect in effects {
            if let Effect::Deleted { runs, by_rule, .. } = effect {
                let counter = if *by_rule { retention } else { request };
                counter.inc_by(runs.len() as u64);
            }
        }
    }

    /// Somebody outside was asked something about a rollout.
    pub(crate) fn called(&self, kind: CallKind, answer: &Answer) {
        let result = CALL_RESULTS[usize::from(matches!(answer, Answer::Unreachable { .. }))];
        let labels = [("kind", CallWord::of(kind)), ("result", result)];
        self.calls.get_or_create(&labels).inc();
    }

    /// A subscriber was sent an entry.
    pub(crate) fn delivered(&self, failed: Option<Failing>) {
        let place = match failed {
            None => 0,
            Some(Failing::Unreachable) => 1,
            Some(Failing::Refused) => 2,
            Some(Failing::Gone) => 3,
        };
        self.deliveries[place].inc();
    }

    /// A backup has ended.
    pub(crate) fn backup(&self, complete: bool) {
        let [completed, failed] = &self.backups;
        if complete { completed } else { failed }.inc();
    }

    /// The OpenMetrics text; without open work, when nobody can tell of that.
    pub(crate) fn text(&self, work: Option<&Work>, around: &Surroundings) -> String {
        let mut seen = Registry::default();
        let registry = seen.sub_registry_with_prefix("unisono");
        if let Some(work) = work {
            scrape::work(registry, work, around.now);
        }
        scrape::surroundings(registry, around, self.durable.load(Ordering::Relaxed));
        scrape::checkpoint(registry, &self.lag());
        scrape::spans(registry, &self.spans);
        process::fill(&mut seen, self.started_seconds);
        let mut text = String::new();
        // Writing to memory cannot fail.
        let _ = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &seen))
            .and_then(|()| encode_eof(&mut text));
        text
    }
}

/// Registers a metric.
fn registered<M: Metric + Clone>(
    registry: &mut Registry,
    (name, help): (&str, &str),
    unit: Option<Unit>,
    metric: M,
) -> M {
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, metric.clone()),
        None => registry.register(name, help, metric.clone()),
    }
    metric
}

/// Registers a histogram with so many buckets, from the first on each so many times the one before.
fn histogram(
    registry: &mut Registry,
    what: (&str, &str),
    unit: Option<Unit>,
    (first, factor, buckets): (f64, f64, u16),
) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(first, factor, buckets));
    registered(registry, what, unit, histogram)
}

/// What becomes of calls.
const CALL_RESULTS: [&str; 2] = ["answered", "unreachable"];

fn calls(registry: &mut Registry) -> Family<Labels<2>, Counter> {
    let help = "Tries of calls to hooks, controllers and measurements of rollouts, by what is asked and result";
    let calls = registered(
        registry,
        ("rollout_calls", help),
        None,
        Family::<Labels<2>, Counter>::default(),
    );
    for (kind, result) in CallWord::WORDS
        .iter()
        .flat_map(|kind| CALL_RESULTS.map(|result| (*kind, result)))
    {
        drop(calls.get_or_create(&[("kind", kind), ("result", result)]));
    }
    calls
}

/// Registers a counter for each word, so that all of them are shown from the beginning.
fn by_word<const N: usize>(
    registry: &mut Registry,
    what: (&str, &str),
    (key, words): (&'static str, [&'static str; N]),
) -> ByWord<N> {
    let family = registered(registry, what, None, Family::<Labels<1>, Counter>::default());
    words.map(|word| family.get_or_create_owned(&[(key, word)]))
}

fn add(counter: &Counter, count: u32) {
    if count > 0 {
        counter.inc_by(u64::from(count));
    }
}

fn small(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn gauge(value: u64) -> Gauge<i64, AtomicI64> {
    let gauge = Gauge::<i64, AtomicI64>::default();
    gauge.set(small(value));
    gauge
}

fn float(value: f64) -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(value);
    gauge
}

fn counter(value: f64) -> Counter<f64, AtomicU64> {
    let counter = Counter::<f64, AtomicU64>::default();
    counter.inc_by(value);
    counter
}
