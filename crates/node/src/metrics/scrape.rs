//! What is found out when someone asks: numbers that are read from the state and not counted along the way.
//!
//! They live in a registry that is made for one answer, so that a namespace or an activity type that is gone is not shown
//! any more.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use unisono_engine::lease::LeaseCounts;
use unisono_engine::rollout::{OutboxCounts, RolloutCounts};
use unisono_engine::value::ValueCounts;
use unisono_engine::{AgentCounts, Counts, QueueDepth, State};
use unisono_model::hosts::{MEMBERS, SLOTS};
use unisono_model::ids::Timestamp;
use unisono_model::name::Name;
use unisono_model::rollout::{Health, Phase, RolloutState};
use unisono_telemetry::trace::ExportCounts;

use super::{float, gauge, small};
use crate::space::{Free, Room};

/// What the state shows.
pub(crate) struct Work {
    open: usize,
    counts: Counts,
    queues: Vec<QueueDepth>,
    agents: BTreeMap<Name, AgentCounts>,
    values: ValueCounts,
    leases: LeaseCounts,
    rollouts: RolloutCounts,
    outbox: OutboxCounts,
    /// Hosts that hold a slot, and hosts in all.
    hosts: [usize; 2],
}

impl Work {
    /// Reads it. Costs as much as there are queues, agents, entities and hosts, however many runs are open.
    pub(crate) fn read(state: &State) -> Self {
        Self {
            open: state.runs().len(),
            counts: state.counts(),
            queues: state.queue_depths(),
            agents: state.agents_by_namespace(),
            values: state.value_counts(),
            leases: state.lease_counts(),
            rollouts: state.rollouts().counts(),
            outbox: state.rollouts().outbox_counts(),
            hosts: [SLOTS, MEMBERS].map(|prefix| below(state, prefix)),
        }
    }
}

/// The values of all namespaces whose keys begin like this.
fn below(state: &State, prefix: &str) -> usize {
    let values = state.values();
    let of = |namespace: &Name| values.range(namespace, prefix, None).count();
    values.namespaces().map(of).sum()
}

/// What everything else shows.
pub(crate) struct Surroundings {
    /// Commands that wait to be decided.
    pub(crate) commands_waiting: usize,
    /// Durable batches that wait to be projected.
    pub(crate) batches_behind: usize,
    /// Up to where the store shows everything.
    pub(crate) projected: u64,
    /// Bytes of the store, and of its parts.
    pub(crate) store_bytes: u64,
    pub(crate) store_parts: Vec<(&'static str, u64)>,
    /// What may be written, and the room there is.
    pub(crate) disk: (Room, Free),
    /// Who watches lists, follows runs, who waits for the end of one, and who watches values, locks and elections.
    pub(crate) watchers: [(&'static str, usize); 5],
    /// Now.
    pub(crate) now: Timestamp,
}

type Labelled<V> = Family<Vec<(&'static str, String)>, V>;
type Float = Gauge<f64, AtomicU64>;

/// Adds what the state shows of open work.
pub(super) fn work(registry: &mut Registry, work: &Work, now: Timestamp) {
    registry.register(
        "orchestrations_open",
        "Orchestrations that have not ended",
        gauge(work.open as u64),
    );
    let Counts {
        ready,
        running,
        waiting,
        scheduled,
    } = work.counts;
    let states = [
        ("ready", ready),
        ("running", running),
        ("waiting", waiting),
        ("scheduled", scheduled),
    ];
    let help = "Activities that are to run, run, or wait, by state";
    registry.register("activities", help, by("state", states));
    let without: usize = work.queues.iter().filter(|it| it.agents == 0).map(|it| it.ready).sum();
    let without = without as u64;
    let reasons = [
        ("no-agent", without),
        ("agents-full", ready.saturating_sub(without)),
        ("external-call", waiting),
        ("time", scheduled),
    ];
    let help = "Activities that wait for something, by what they wait for";
    registry.register("activities_waiting", help, by("reason", reasons));
    queues(registry, &work.queues, now);
    agents(registry, &work.agents);
    values(registry, work.values);
    leases(registry, work.leases);
    rollouts(registry, &work.rollouts);
    outbox(registry, &work.outbox, now);
    let [leading, hosts] = work.hosts.map(|count| count as u64);
    let roles = [("leader", leading), ("candidate", hosts.saturating_sub(leading))];
    registry.register(
        "hosts",
        "Hosts that lead, and hosts that wait for a slot",
        by("role", roles),
    );
}

fn values(registry: &mut Registry, counts: ValueCounts) {
    registry.register(
        "values",
        "Values that are there, of all namespaces",
        gauge(counts.values),
    );
    let help = "Bytes of the keys and contents of values";
    registry.register_with_unit("values", help, Unit::Bytes, gauge(counts.bytes));
    registry.register("values_expiring", "Values that will expire", gauge(counts.expiring));
    let help = "Declared futures that have no value yet";
    registry.register("futures_pending", help, gauge(counts.pending));
    registry.register("values_awaiting", "Those who await a key", gauge(counts.awaiting));
}

fn rollouts(registry: &mut Registry, counts: &RolloutCounts) {
    let help = "Entities, whose targets versions are rolled out to";
    registry.register("entities", help, gauge(counts.entities));
    let count = |count: Option<&u64>| count.copied().unwrap_or(0);
    let states = RolloutState::ALL.map(|it| (it.as_str(), count(counts.rollouts.get(&it))));
    let help = "Rollouts that are under way, or were the last one of their entity, by state";
    registry.register("rollouts", help, by("state", states));
    let healths = Health::ALL.map(|it| (it.as_str(), count(counts.health.get(&it))));
    let help = "Targets of all entities, by how they are";
    registry.register("targets", help, by("health", healths));
    let phases = Phase::ALL.map(|it| (it.as_str(), count(counts.phases.get(&it))));
    let help = "Targets of all entities, by where they stand in the rollout";
    registry.register("rollout_targets", help, by("phase", phases));
}

fn outbox(registry: &mut Registry, counts: &OutboxCounts, now: Timestamp) {
    let well = counts.subscribers.saturating_sub(counts.failing + counts.parked);
    let states = [("well", well), ("failing", counts.failing), ("parked", counts.parked)];
    let help = "Subscribers of the histories of entities, by state";
    registry.register("rollout_subscribers", help, by("state", states));
    let help = "Entries of histories that subscribers have yet to receive";
    registry.register("rollout_entries_unsent", help, gauge(counts.waiting));
    let age = counts.oldest.map_or(0, |since| now.millis_since(since));
    #[expect(clippy::cast_precision_loss, reason = "a metric")]
    let age = float(age as f64 / 1e3);
    let help = "For how long the oldest entry waits that a subscriber has yet to receive";
    registry.register_with_unit("rollout_unsent_oldest", help, Unit::Seconds, age);
}

fn leases(registry: &mut Registry, counts: LeaseCounts) {
    registry.register(
        "leases",
        "Leases that have neither expired nor been revoked",
        gauge(counts.leases),
    );
    let help = "Locks and elections that leases hold, each as often as it is held";
    registry.register("locks_held", help, gauge(counts.held));
    let help = "Leases that wait for a lock or an election";
    registry.register("locks_waiting", help, gauge(counts.waiting));
}

fn queues(registry: &mut Registry, queues: &[QueueDepth], now: Timestamp) {
    let (ready, oldest) = (Labelled::<Gauge>::default(), Labelled::<Float>::default());
    for queue in queues {
        let labels = vec![
            ("namespace", queue.namespace.to_string()),
            ("activity_type", queue.activity_type.to_string()),
        ];
        ready.get_or_create(&labels).set(small(queue.ready as u64));
        // A queue whose oldest entry stands behind too many that no longer count has no age.
        if queue.ready == 0 || queue.oldest.is_some() {
            let age = queue.oldest.map_or(0, |since| now.millis_since(since));
            #[expect(clippy::cast_precision_loss, reason = "a metric")]
            oldest.get_or_create(&labels).set(age as f64 / 1e3);
        }
    }
    registry.register(
        "activities_ready",
        "Activities that wait for an agent with room, by type",
        ready,
    );
    registry.register_with_unit(
        "queue_oldest",
        "For how long the first activity waits for an agent with room, by type",
        Unit::Seconds,
        oldest,
    );
}

fn agents(registry: &mut Registry, namespaces: &BTreeMap<Name, AgentCounts>) {
    let (agents, capacity, held) = (
        Labelled::<Gauge>::default(),
        Labelled::<Gauge>::default(),
        Labelled::<Gauge>::default(),
    );
    for (namespace, counts) in namespaces {
        let name = || ("namespace", namespace.to_string());
        for (state, count) in [("connected", counts.connected), ("gone", counts.gone)] {
            let labels = vec![name(), ("state", state.to_owned())];
            agents.get_or_create(&labels).set(small(count as u64));
        }
        capacity.get_or_create(&vec![name()]).set(small(counts.capacity as u64));
        held.get_or_create(&vec![name()]).set(small(counts.held as u64));
    }
    registry.register(
        "agents",
        "Agents that are connected, or gone within the grace time",
        agents,
    );
    let help = "Attempts that the connected agents are willing to hold";
    registry.register("agent_capacity", help, capacity);
    registry.register("agent_attempts", "Attempts that agents hold", held);
}

/// Adds what the rest of the node shows.
pub(super) fn surroundings(registry: &mut Registry, around: &Surroundings, durable: u64) {
    let waiting = gauge(around.commands_waiting as u64);
    registry.register("commands_waiting", "Commands that wait to be decided", waiting);
    registry.register(
        "projector_lag_batches",
        "Durable batches that are not in the store yet",
        gauge(around.batches_behind as u64),
    );
    registry.register(
        "projector_lag_events",
        "Durable events that are not in the store yet",
        gauge(durable.saturating_sub(around.projected)),
    );
    registry.register_with_unit("store", "Size of the store", Unit::Bytes, gauge(around.store_bytes));
    let help = "Size of the parts of the store";
    registry.register_with_unit(
        "store_part",
        help,
        Unit::Bytes,
        by("part", around.store_parts.iter().copied()),
    );
    let (room, Free { free, needed }) = around.disk;
    let help = "What the disk has room for: 0 everything, 1 nothing new, 2 nothing";
    registry.register("disk_full", help, gauge(room as u64));
    let help = "Room on the disk of the data directory";
    registry.register_with_unit("disk_free", help, Unit::Bytes, gauge(free));
    let help = "Room below which new work is refused";
    registry.register_with_unit("disk_reserve", help, Unit::Bytes, gauge(needed));
    let watchers = around.watchers.map(|(kind, count)| (kind, count as u64));
    let help = "Who follows an orchestration or waits for its end, and who watches lists, entities, values, locks and elections";
    registry.register("watchers", help, by("kind", watchers));
}

/// How far the last checkpoint is behind.
pub(crate) struct CheckpointLag {
    pub(crate) bytes: u64,
    pub(crate) events: u64,
    pub(crate) age_seconds: f64,
}

/// Adds how far the last checkpoint is behind.
pub(super) fn checkpoint(registry: &mut Registry, lag: &CheckpointLag) {
    registry.register_with_unit(
        "checkpoint_lag",
        "Bytes of the journal since the last checkpoint, which a start would replay",
        Unit::Bytes,
        gauge(lag.bytes),
    );
    let help = "Events since the last checkpoint, which a start would replay";
    registry.register("checkpoint_lag_events", help, gauge(lag.events));
    registry.register_with_unit(
        "checkpoint_age",
        "Time since the last checkpoint, or since the start when there was none",
        Unit::Seconds,
        float(lag.age_seconds),
    );
}

/// Adds what became of spans.
pub(super) fn spans(registry: &mut Registry, spans: &ExportCounts) {
    let family = Family::<[(&'static str, &'static str); 1], Counter>::default();
    for (word, count) in [("exported", spans.exported()), ("dropped", spans.dropped())] {
        family.get_or_create(&[("result", word)]).inc_by(count);
    }
    let help = "Spans of traces, by whether they were exported or dropped";
    registry.register("trace_spans", help, family);
}

fn by(
    key: &'static str,
    values: impl IntoIterator<Item = (&'static str, u64)>,
) -> Family<[(&'static str, &'static str); 1], Gauge> {
    let family = Family::<[(&'static str, &'static str); 1], Gauge>::default();
    for (word, count) in values {
        family.get_or_create(&[(key, word)]).set(small(count));
    }
    family
}
