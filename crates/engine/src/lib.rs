//! The pure decider: what happens next.
//!
//! [`State::decide`] reads state and a command and returns events or a rejection; [`State::evolve`]
//! folds one event and cannot fail. There is no clock, no randomness, no I/O and no thread here:
//! time and nonces come in as arguments and stand in the events, so that folding a journal gives
//! the same state on every machine. This file is the only place where the rooms meet.

pub mod agent;
pub mod clock;
pub mod codec;
pub mod definition;
pub mod hash;
pub mod lease;
pub mod orchestration;
pub mod payload;
pub mod retention;
pub mod rollout;
pub mod snapshot;
mod timer;
pub mod value;
mod waits;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minicbor::{Decode, Encode};
use thiserror::Error;
use unisono_model::api::{
    ActivityState, AgentView, AppliedDefinition, DefinitionKind, OrchestrationState, OrchestrationView,
};
use unisono_model::ids::{AttemptToken, Revision, Timestamp};
use unisono_model::key::Key;
use unisono_model::leases::{HolderView, LeaseView};
use unisono_model::name::Name;
use unisono_model::rollout::EntityName;
use unisono_model::values::{FutureView, WaitStep};

use agent::{AgentCommand, AgentEvent, AgentKey, SessionId};
use clock::Marks;
use definition::{DefinitionCommand, DefinitionEvent, Definitions};
use lease::{LeaseCommand, LeaseCounts, LeaseEvent, LeaseRejection, Leases, TicketEnd};
use orchestration::{
    AttemptEnded, Incomplete, Listed, OrchestrationCommand, OrchestrationEvent, Phase, RetryPolicy, Run, RunKey, Runs,
    Task,
};
use retention::{Retention, RetentionCommand, RetentionEvent};
use rollout::{RolloutCommand, RolloutEvent, RolloutRejection, RolloutReply, Rollouts};
use snapshot::{Entity, LoadError};
use value::{Await, AwaitId, Awaited, Future, ValueCommand, ValueCounts, ValueEvent, ValueRejection, Values, Written};
use work::Work;
pub use work::{AgentCounts, Counts, QueueDepth};

pub(crate) use agent::timer as agent_timer;

/// Numbers that decisions depend on. They stand in events, so that changing them changes nothing
/// that was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// For how long an agent may be gone before its attempts go to others, in milliseconds.
    pub agent_grace_ms: u64,
    /// How recoverable errors are retried.
    pub retry: RetryPolicy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            agent_grace_ms: 15_000,
            retry: RetryPolicy::DEFAULT,
        }
    }
}

/// What someone asks.
#[derive(Clone, Debug)]
pub enum Command {
    /// About definitions.
    Definition(DefinitionCommand),
    /// About runs.
    Orchestration(OrchestrationCommand),
    /// About agents.
    Agent(AgentCommand),
    /// About values and futures.
    Value(ValueCommand),
    /// About leases, locks and elections.
    Lease(LeaseCommand),
    /// About rollouts.
    Rollout(RolloutCommand),
    /// About what is kept of runs that have ended.
    Retention(RetentionCommand),
    /// Time has passed.
    Tick,
}

/// What was decided; a fact.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    /// About a definition.
    #[n(0)]
    Definition(#[n(0)] DefinitionEvent),
    /// About a run.
    #[n(1)]
    Orchestration(#[n(0)] OrchestrationEvent),
    /// About an agent.
    #[n(2)]
    Agent(#[n(0)] AgentEvent),
    /// About a value or a future.
    #[n(4)]
    Value(#[n(0)] ValueEvent),
    /// About a lease, a lock or an election.
    #[n(5)]
    Lease(#[n(0)] LeaseEvent),
    /// About an entity, its targets and its rollouts.
    #[n(3)]
    Rollout(#[n(0)] RolloutEvent),
    /// About what is kept of runs that have ended.
    #[n(6)]
    Retention(#[n(0)] RetentionEvent),
}

impl Event {
    /// The run that an event is about; `revision` is the event's own.
    #[must_use]
    pub fn run(&self, revision: Revision) -> Option<RunKey> {
        match self {
            Self::Orchestration(event) => Some(RunKey(event.run().unwrap_or(revision.0))),
            _ => None,
        }
    }
}

/// The answer to a command, to be given once its events are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// There is nothing to say.
    Done,
    /// Definitions were applied.
    Applied(Vec<AppliedDefinition>),
    /// A run exists.
    Started {
        /// Its id.
        id: Name,
        /// The definition's version that it runs.
        version: u32,
        /// Whether this command started it.
        created: bool,
    },
    /// A run was cancelled.
    Cancelled {
        /// Activities that were stopped.
        cancelled: Vec<Name>,
        /// Activities that will never run.
        skipped: Vec<Name>,
    },
    /// What became of an activity.
    Activity {
        /// Its state.
        activity: ActivityState,
        /// The state of its run.
        orchestration: OrchestrationState,
    },
    /// An agent is known.
    Joined {
        /// Its key.
        agent: AgentKey,
        /// Attempts that it named and still holds.
        keep: Vec<AttemptToken>,
        /// Attempts that it named and no longer holds.
        drop: Vec<AttemptToken>,
    },
    /// What a transaction did.
    Written(Box<Written>),
    /// A future is declared.
    Future(Box<FutureView>),
    /// A lease was granted or renewed.
    Lease(Box<LeaseView>),
    /// A lock is held.
    Granted {
        /// The fencing token.
        token: Revision,
    },
    /// A lock is awaited; [`Effect::TicketEnded`] tells how that ends.
    Queued {
        /// The place in the queue.
        ticket: Revision,
    },
    /// A lock was taken by force from these.
    Stolen(Vec<HolderView>),
    /// About rollouts.
    Rollout(RolloutReply),
}

/// Why a command was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// What the command was based on has changed: look again and repeat it.
    #[error("what the request was checked against has changed meanwhile")]
    Stale,
    /// There is no such definition.
    #[error("there is no {} of type \"{type_name}\"", kind.describe())]
    DefinitionNotFound {
        /// Which kind.
        kind: DefinitionKind,
        /// Which type.
        type_name: Name,
    },
    /// There is no such version.
    #[error("{} \"{type_name}\" has no version {version}; its newest is {newest}", kind.describe())]
    VersionNotFound {
        /// Which kind.
        kind: DefinitionKind,
        /// Which type.
        type_name: Name,
        /// Which version.
        version: u32,
        /// The newest one.
        newest: u32,
    },
    /// The definition takes no new starts.
    #[error("orchestration definition \"{type_name}\" is inactive")]
    DefinitionInactive {
        /// Which type.
        type_name: Name,
    },
    /// The activity definition is used.
    #[error("activity definition \"{type_name}\" is used by {}", users.iter().map(|user| format!("\"{user}\"")).collect::<Vec<_>>().join(", "))]
    DefinitionInUse {
        /// Which type.
        type_name: Name,
        /// The orchestration definitions that use it.
        users: Vec<Name>,
    },
    /// The id belongs to another request.
    #[error("orchestration \"{id}\" exists and was started with other content")]
    IdTaken {
        /// Which id.
        id: Name,
    },
    /// The run is not open: it has ended or never was.
    #[error("orchestration \"{id}\" is not open")]
    NotOpen {
        /// Which id.
        id: Name,
    },
    /// The run has not ended.
    #[error("orchestration \"{id}\" has not ended")]
    StillOpen {
        /// Which id.
        id: Name,
    },
    /// There is no such namespace.
    #[error("there is no namespace \"{namespace}\"")]
    NamespaceNotFound {
        /// Which.
        namespace: Name,
    },
    /// The run has no such activity.
    #[error("orchestration \"{id}\" has no activity \"{activity}\"")]
    ActivityNotFound {
        /// Which run.
        id: Name,
        /// Which activity.
        activity: Name,
    },
    /// The token is not the current one of any attempt.
    #[error("token {token} is not current: the attempt has ended, was given to another agent, or never was")]
    StaleToken {
        /// The token.
        token: AttemptToken,
    },
    /// The token belongs to another activity.
    #[error("token {token} belongs to another activity")]
    TokenOfAnother {
        /// The token.
        token: AttemptToken,
    },
    /// The context would grow past its limit.
    #[error(
        "the shared context would grow past {} bytes",
        unisono_model::limits::MAX_CONTEXT_BYTES
    )]
    ContextTooLarge,
    /// What the command leads to is more than the journal takes at once.
    #[error("the request leads to {bytes} bytes of events; the limit is {limit}")]
    TooLarge {
        /// Bytes of the events.
        bytes: usize,
        /// How many bytes one command may lead to.
        limit: usize,
    },
    /// The agent has connected again since, or is gone.
    #[error("the agent's connection has been replaced")]
    SessionReplaced,
    /// About values and futures.
    #[error(transparent)]
    Value(#[from] ValueRejection),
    /// About leases, locks and elections.
    #[error(transparent)]
    Lease(#[from] LeaseRejection),
    /// Something about rollouts was refused.
    #[error(transparent)]
    Rollout(#[from] RolloutRejection),
    /// The program is at fault.
    #[error("{0}")]
    Internal(String),
}

/// What must happen outside once the events that caused it are durable.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Hand an attempt to an agent.
    Dispatch {
        /// On this connection.
        session: SessionId,
        /// The attempt.
        task: Box<Task>,
    },
    /// Tell an agent to stop an attempt.
    CancelAttempt {
        /// On this connection.
        session: SessionId,
        /// Which attempt.
        token: AttemptToken,
        /// Why.
        reason: String,
    },
    /// A run has ended and left the engine.
    Ended(Arc<Run>),
    /// Nothing is kept of these runs any more.
    Deleted {
        /// Where.
        namespace: Name,
        /// Which.
        runs: Vec<RunKey>,
        /// Whether a rule said so; otherwise somebody asked for it.
        by_rule: bool,
    },
    /// An attempt of a traced run is over.
    AttemptEnded(Box<AttemptEnded>),
    /// Definitions are these now.
    DefinitionsChanged(Arc<Definitions>),
    /// An entity, its rollout or its targets have changed: calls may be open, subscribers may have to be told.
    RolloutChanged {
        /// Where.
        namespace: Name,
        /// Which entity.
        entity: EntityName,
        /// The event.
        revision: Revision,
        /// Whether something was decided; otherwise targets said or did something.
        decided: bool,
    },
    /// Those who awaited a key have their answer.
    Awaited {
        /// Who.
        ids: Vec<AwaitId>,
        /// The answer.
        outcome: Arc<Awaited>,
    },
    /// A place in the queue of a lock has come to its end.
    TicketEnded {
        /// Which.
        ticket: Revision,
        /// How.
        end: TicketEnd,
    },
}

impl Effect {
    /// The runs that were deleted, and their namespaces.
    pub fn deleted(&self) -> impl Iterator<Item = (&Name, RunKey)> {
        let (namespace, runs) = match self {
            Self::Deleted { namespace, runs, .. } => (Some(namespace), runs.as_slice()),
            _ => (None, [].as_slice()),
        };
        namespace
            .into_iter()
            .flat_map(move |namespace| runs.iter().map(move |run| (namespace, *run)))
    }

    /// The run that has ended.
    #[must_use]
    pub fn ended(&self) -> Option<&Arc<Run>> {
        match self {
            Self::Ended(run) => Some(run),
            _ => None,
        }
    }
}

/// How an await begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwaitStart {
    /// The answer is there.
    Now(Awaited),
    /// [`Effect::Awaited`] will tell.
    Waits,
    /// It would close a cycle of parties that wait for each other.
    Cycle(Vec<WaitStep>),
}

/// The effects of a batch, in order.
pub type Effects = Vec<Effect>;

/// Everything that is open in a partition.
#[derive(Debug, Default)]
pub struct State {
    /// The last event folded.
    pub revision: Revision,
    /// The time of the last event folded; time never goes back.
    pub now: Timestamp,
    settings: Settings,
    definitions: Arc<Definitions>,
    runs: Runs,
    work: Work,
    values: Values,
    leases: Leases,
    marks: Marks,
    rollouts: Rollouts,
    retention: Retention,
    /// Definitions, agents, leases and locks that changed since the last checkpoint began.
    dirty: BTreeSet<Entity>,
    /// Runs that are being loaded.
    incomplete: Incomplete,
}

impl State {
    /// The state of an empty partition.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// What a command leads to.
    ///
    /// # Errors
    /// A [`Rejection`], with `events` as they were.
    pub fn decide(&self, command: Command, at: Timestamp, events: &mut Vec<Event>) -> Result<Reply, Rejection> {
        let settings = &self.settings;
        match command {
            Command::Definition(command) => definition::decide(&self.definitions, command, events),
            Command::Orchestration(command) => {
                let reply = orchestration::decide(self, command, at, settings, events)?;
                self.break_promises(events);
                Ok(reply)
            }
            Command::Agent(command) => {
                let started = matches!(command, AgentCommand::NodeStarted);
                let reply = agent::decide(self, command, at, settings, events)?;
                orchestration::leave_out_after_end(events);
                self.break_promises(events);
                if started && self.rollouts.all().next().is_some() {
                    let lost = i64::try_from(at.millis_since(self.now)).unwrap_or(i64::MAX);
                    events.push(Event::Rollout(RolloutEvent::Restarted { lost, stopped: false }));
                }
                Ok(reply)
            }
            Command::Value(command) => value::decide(self, command, at, events),
            Command::Lease(command) => lease::decide(self, command, at, events),
            Command::Rollout(command) => {
                let mut decided = Vec::new();
                let reply = rollout::decide(&self.rollouts, command, (self.revision, at), &mut decided)?;
                events.extend(decided.into_iter().map(Event::Rollout));
                Ok(Reply::Rollout(reply))
            }
            Command::Retention(command) => retention::decide(self, command, events),
            Command::Tick => {
                timer::decide(self, at, events);
                orchestration::leave_out_after_end(events);
                self.break_promises(events);
                Ok(Reply::Done)
            }
        }
    }

    /// The activities of a run that has ended give no more values.
    fn break_promises(&self, events: &mut Vec<Event>) {
        if self.values.counts().pending == 0 {
            return;
        }
        let ended: Vec<(RunKey, &'static str)> = events
            .iter()
            .filter_map(|event| match event {
                Event::Orchestration(event) => event.end(),
                _ => None,
            })
            .collect();
        for (run, how) in ended {
            value::broken_by_run(self, run, &format!("the orchestration of its producer {how}"), events);
        }
    }

    /// Somebody awaits a key: the answer if there is one already, or what came of it.
    pub fn await_value(&mut self, it: Await) -> AwaitStart {
        if let Some(value) = self.values.get(&it.namespace, &it.key) {
            return AwaitStart::Now(Awaited::Value(Box::new(value.shown(&self.marks))));
        }
        let future = self.values.futures.get(&it.namespace, &it.key);
        if let Some(settled) = future.and_then(Future::settled) {
            return AwaitStart::Now(settled);
        }
        let cycle = it
            .party
            .as_ref()
            .and_then(|party| waits::cycle_of_await(self, &it.namespace, &it.key, party));
        if let Some(cycle) = cycle {
            return AwaitStart::Cycle(cycle);
        }
        self.values.awaits.add(it);
        AwaitStart::Waits
    }

    /// Nobody waits for the answer of an await any more.
    pub fn stop_awaiting(&mut self, id: AwaitId) {
        self.values.awaits.remove(id);
    }

    /// Hands the next ready activity to an agent with room; `None` when there is no such pair.
    /// The event must be folded before the next is asked for. `nonce` is random.
    pub fn dispatch(&mut self, nonce: u64) -> Option<Event> {
        orchestration::dispatch(self, nonce)
    }

    /// What the rules for rollouts decide by themselves; `None` when there is nothing more to decide now. The event must be
    /// folded before the next is asked for.
    pub fn advance(&mut self, at: Timestamp) -> Option<Event> {
        rollout::advance(&mut self.rollouts, at).map(Event::Rollout)
    }

    /// Folds one event: the next one of the journal, or one that a checkpoint has seen already.
    pub fn evolve(&mut self, revision: Revision, at: Timestamp, event: &Event, effects: &mut Effects) {
        self.revision = self.revision.max(revision);
        self.now = self.now.max(at);
        match event {
            Event::Definition(event) => {
                // Only the last state counts; an earlier one that is kept would have to be copied.
                if let Some(Effect::DefinitionsChanged(_)) = effects.last() {
                    effects.pop();
                }
                Arc::make_mut(&mut self.definitions).evolve(revision, at, event, &mut self.work);
                self.mark_definition(event);
                effects.push(Effect::DefinitionsChanged(Arc::clone(&self.definitions)));
            }
            Event::Orchestration(event) => {
                orchestration::evolve(
                    (&mut self.runs, &mut self.work, &self.definitions),
                    (revision, at),
                    event,
                    effects,
                );
            }
            Event::Agent(event) => {
                let key = event.agent().unwrap_or(revision.0);
                self.dirty.insert(Entity::Agent(key));
                agent::evolve(&mut self.work, revision, at, event);
            }
            Event::Value(event) => {
                if let ValueEvent::Forgotten { .. } = event {
                    self.dirty.insert(Entity::Marks);
                }
                value::evolve((&mut self.values, &mut self.marks), (revision, at), event, effects);
            }
            Event::Lease(event) => lease::evolve(
                (&mut self.leases, &mut self.marks, &mut self.dirty),
                (revision, at),
                event,
                effects,
            ),
            Event::Rollout(event) => rollout::evolve(&mut self.rollouts, (revision, at), event, effects),
            Event::Retention(event) => retention::evolve(
                (&mut self.retention, &mut self.runs, &mut self.dirty),
                revision,
                event,
                effects,
            ),
        }
    }

    fn mark_definition(&mut self, event: &DefinitionEvent) {
        let (DefinitionEvent::Applied {
            namespace,
            kind,
            type_name,
            ..
        }
        | DefinitionEvent::Deleted {
            namespace,
            kind,
            type_name,
        }) = event;
        let versions = self
            .definitions
            .namespace(namespace)
            .and_then(|definitions| definitions.of((*kind).into()).get(type_name));
        if let Some(versions) = versions {
            self.dirty.insert(Entity::Definition(versions.key.0));
        }
    }

    /// A checkpoint begins: the entities that changed since the last one did, in the order in which they are to be
    /// written. [`State::take_rows`] has their rows.
    pub fn take_dirty(&mut self) -> Vec<Entity> {
        let marks = self.is_dirty().then_some(Entity::Marks);
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.extend(self.rollouts.take_dirty().into_iter().map(Entity::from));
        let values = self.values.take_dirty(self.revision);
        dirty.extend(values.into_iter().map(|key| Entity::Value(key.0)));
        let futures = std::mem::take(&mut self.values.futures.dirty);
        dirty.extend(futures.into_iter().map(|key| Entity::Future(key.0)));
        let runs = self.runs.take_dirty().map(|key| Entity::Run(key.0));
        dirty.into_iter().chain(runs).chain(marks).collect()
    }

    /// Whether any entity changed since [`State::take_dirty`].
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || self.runs.is_dirty() || self.values.is_dirty() || self.rollouts.is_dirty()
    }

    /// To be said once, after the rows of a checkpoint were loaded: `revision` is the checkpoint's.
    ///
    /// # Errors
    /// [`LoadError::PartMissing`] when not everything of a run was there.
    pub fn loaded(&mut self, revision: Revision) -> Result<(), LoadError> {
        if let Some(run) = self.incomplete.any() {
            return Err(LoadError::PartMissing { id: run.id.clone() });
        }
        self.revision = self.revision.max(revision);
        self.runs.forgotten_up_to = revision;
        self.values.loaded(revision);
        self.work.sort_lines();
        self.rollouts.loaded(revision);
        Ok(())
    }

    /// What lists show of the open runs that they show differently since this was last asked. What they show of a run that
    /// has ended follows from [`Effect::Ended`].
    pub fn take_listed(&mut self) -> Vec<Listed> {
        self.runs.take_listed()
    }

    /// When something becomes due by itself.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timestamp> {
        let steady = [self.values.next_deadline(), self.leases.next_deadline()];
        let steady = steady.into_iter().flatten().min().map(|at| self.marks.time(at));
        [self.work.next_timer(), steady, self.rollouts.next_timer()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The rules for what is kept of runs that have ended.
    #[must_use]
    pub fn retention(&self) -> &Retention {
        &self.retention
    }

    /// The entities with their targets and rollouts.
    #[must_use]
    pub fn rollouts(&self) -> &Rollouts {
        &self.rollouts
    }

    /// The same, for tests that count again.
    #[doc(hidden)]
    pub fn rollouts_mut(&mut self) -> &mut Rollouts {
        &mut self.rollouts
    }

    /// The definitions.
    #[must_use]
    pub fn definitions(&self) -> &Arc<Definitions> {
        &self.definitions
    }

    /// The open runs.
    #[must_use]
    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// The values and futures.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// How many values and futures there are.
    #[must_use]
    pub fn value_counts(&self) -> ValueCounts {
        self.values.counts()
    }

    /// The leases, locks and elections.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// How many leases there are, and what they hold.
    #[must_use]
    pub fn lease_counts(&self) -> LeaseCounts {
        self.leases.counts()
    }

    /// What the partition remembers as a whole.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// What the API shows of a lease.
    #[must_use]
    pub fn lease_view(&self, id: Revision) -> Option<LeaseView> {
        self.leases.view(id, &self.marks, self.values.attached_count(id))
    }

    /// What the API shows of a future.
    #[must_use]
    pub fn future_view(&self, namespace: &Name, key: &Key) -> Option<FutureView> {
        let future = self.values.futures.get(namespace, key)?;
        Some(self.view_of(future))
    }

    /// What the API shows of the futures of a namespace whose keys begin with `prefix` and come after `after`.
    pub fn future_views<'a>(
        &'a self,
        namespace: &Name,
        prefix: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = FutureView> + use<'a> {
        let futures = self.values.futures.range(namespace, prefix, after);
        futures.map(|future| self.view_of(future))
    }

    fn view_of(&self, future: &Future) -> FutureView {
        let waiters = self.values.awaits.count_of(&future.namespace, &future.key);
        future.view(&self.marks, waiters)
    }

    /// Everything about an open run.
    #[must_use]
    pub fn view(&self, namespace: &Name, id: &Name) -> Option<(RunKey, OrchestrationView)> {
        let run = self.runs.by_id(namespace, id)?;
        Some((run.key, run.view(Some((&self.work, &self.settings)))))
    }

    /// The open run, its activity and its definition's plan that a token is about.
    #[must_use]
    pub fn attempt(&self, token: AttemptToken) -> Option<(&Run, u32)> {
        let attempt = self.work.attempt(token)?;
        Some((self.runs.get(attempt.run)?, attempt.activity))
    }

    /// The agents of a namespace, by name.
    #[must_use]
    pub fn agents(&self, namespace: &Name) -> Vec<AgentView> {
        let mut agents: Vec<AgentView> = self
            .work
            .agents
            .values()
            .filter(|agent| agent.namespace == *namespace)
            .map(agent::Agent::view)
            .collect();
        agents.sort_unstable_by(|a, b| (&a.name, &a.incarnation).cmp(&(&b.name, &b.incarnation)));
        agents
    }

    /// How many agents are connected.
    #[must_use]
    pub fn connected_agents(&self) -> usize {
        self.work
            .agents
            .values()
            .filter(|agent| agent.session().is_some())
            .count()
    }

    /// How many activities wait in each way.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.work.counts
    }

    /// How deep each queue is. Queues of activity types that are gone are left out.
    #[must_use]
    pub fn queue_depths(&self) -> Vec<QueueDepth> {
        let mut depths = self.work.depths(|at, since| {
            let record = self.runs.get(at.run)?.activity(at.activity)?;
            let ready = matches!(record.phase, Phase::Ready { since: entered, .. } if entered == since);
            ready.then_some(record.since)
        });
        depths.retain(|depth| depth.ready > 0 || depth.agents > 0 || self.is_defined(depth));
        depths
    }

    fn is_defined(&self, queue: &QueueDepth) -> bool {
        let definitions = self.definitions.namespace(&queue.namespace);
        definitions.is_some_and(|it| it.newest(DefinitionKind::Activity, &queue.activity_type).is_some())
    }

    /// Agents and attempts by namespace.
    #[must_use]
    pub fn agents_by_namespace(&self) -> BTreeMap<Name, AgentCounts> {
        self.work.agents_by_namespace()
    }
}

/// Everything about a run that has ended.
#[must_use]
pub fn archived_view(run: &Run) -> OrchestrationView {
    run.view(None)
}
