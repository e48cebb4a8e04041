//! What the node counts, in the OpenMetrics text format.

use std::sync::Mutex;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use unisono_engine::{Counts, QueueDepth};
use unisono_model::api::OrchestrationState;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    namespace: String,
    activity_type: String,
}

/// Everything that the node counts.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    pub(crate) events: Counter,
    pub(crate) batch_events: Histogram,
    pub(crate) append_seconds: Histogram,
    pub(crate) journal_bytes: Gauge,
    pub(crate) journal_position: Gauge,
    pub(crate) store_bytes: Gauge,
    pub(crate) dispatches: Counter,
    pub(crate) rebuilds: Counter,
    pub(crate) agents: Gauge,
    pub(crate) last_backup: Gauge,
    backups: Family<Outcome, Counter>,
    open: Gauge,
    ended: Family<State, Counter>,
    activities: Family<State, Gauge>,
    results: Family<Outcome, Counter>,
    ready: Family<Queue, Gauge>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("unisono")),
            events: Counter::default(),
            batch_events: Histogram::new(exponential_buckets(1.0, 2.0, 16)),
            append_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            journal_bytes: Gauge::default(),
            journal_position: Gauge::default(),
            store_bytes: Gauge::default(),
            dispatches: Counter::default(),
            rebuilds: Counter::default(),
            agents: Gauge::default(),
            last_backup: Gauge::default(),
            backups: Family::default(),
            open: Gauge::default(),
            ended: Family::default(),
            activities: Family::default(),
            results: Family::default(),
            ready: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = self.registry();
        registry.register("events", "Events made durable", self.events.clone());
        registry.register("batch_events", "Events per journal append", self.batch_events.clone());
        registry.register_with_unit(
            "journal_append",
            "Time to make one batch durable",
            Unit::Seconds,
            self.append_seconds.clone(),
        );
        registry.register_with_unit(
            "journal",
            "Size of the journal",
            Unit::Bytes,
            self.journal_bytes.clone(),
        );
        registry.register(
            "journal_position",
            "Position after the last batch",
            self.journal_position.clone(),
        );
        registry.register_with_unit("store", "Size of the store", Unit::Bytes, self.store_bytes.clone());
        registry.register("dispatches", "Attempts handed to agents", self.dispatches.clone());
        registry.register(
            "rebuilds",
            "Times state was rebuilt after the journal failed",
            self.rebuilds.clone(),
        );
        registry.register("backups", "Backups, by outcome", self.backups.clone());
        registry.register_with_unit(
            "last_backup_timestamp",
            "When the last complete backup began, since the Unix epoch; 0 before the first",
            Unit::Seconds,
            self.last_backup.clone(),
        );
        registry.register("agents_connected", "Connected agents", self.agents.clone());
        registry.register(
            "orchestrations_open",
            "Orchestrations that have not ended",
            self.open.clone(),
        );
        registry.register(
            "orchestrations_ended",
            "Orchestrations ended, by state",
            self.ended.clone(),
        );
        registry.register(
            "activities",
            "Activities that wait or run, by state",
            self.activities.clone(),
        );
        registry.register(
            "attempt_results",
            "Results of attempts, by outcome",
            self.results.clone(),
        );
        registry.register(
            "activities_ready",
            "Activities that wait for an agent with room, by type",
            self.ready.clone(),
        );
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        match self.registry.lock() {
            Ok(registry) => registry,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    pub(crate) fn ended(&self, states: impl Iterator<Item = OrchestrationState>) {
        let mut counts = [0; OrchestrationState::ALL.len()];
        states.for_each(|state| counts[state as usize] += 1);
        for (state, count) in OrchestrationState::ALL.into_iter().zip(counts) {
            if count > 0 {
                self.ended.get_or_create(&State { state: state.as_str() }).inc_by(count);
            }
        }
    }

    pub(crate) fn backup(&self, outcome: &'static str) {
        self.backups.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn result(&self, outcome: &'static str) {
        self.results.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn observe(&self, open: usize, counts: Counts) {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.open.set(gauge(open as u64));
        for (state, count) in [
            ("ready", counts.ready),
            ("running", counts.running),
            ("waiting", counts.waiting),
            ("scheduled", counts.scheduled),
        ] {
            self.activities.get_or_create(&State { state }).set(gauge(count));
        }
    }

    pub(crate) fn queues(&self, depths: Vec<QueueDepth>) {
        for depth in depths {
            self.ready
                .get_or_create(&Queue {
                    namespace: depth.namespace.to_string(),
                    activity_type: depth.activity_type.to_string(),
                })
                .set(i64::try_from(depth.ready).unwrap_or(i64::MAX));
        }
    }

    /// The OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to memory cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry());
        text
    }
}
