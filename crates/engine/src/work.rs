//! What can be done next: queues, attempts in flight, agents and timers.
//!
//! Except for the agents themselves, all of it is derived from the runs: it is built again when
//! state is loaded, and each change of an activity's phase changes it in one place
//! ([`Work::leave`] and [`Work::enter`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rustc_hash::FxHashMap;
use unisono_model::ids::{AttemptToken, Revision, Timestamp};
use unisono_model::name::Name;

use crate::agent::{Agent, AgentKey};
use crate::orchestration::{AttemptRef, Phase};

/// A queue of ready activities: one for each activity type of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct QueueId(u32);

/// What a timer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    /// A scheduled activity is due, or a waiting one has waited long enough.
    Activity(AttemptRef),
    /// An agent's grace time is over.
    Agent(AgentKey),
}

#[derive(Debug)]
struct Queue {
    namespace: Name,
    activity_type: Name,
    /// In the order in which they became ready. Entries whose activity is no longer ready stay until they are met.
    ready: VecDeque<(AttemptRef, Revision)>,
    ready_count: usize,
    /// Agents that may have room, each at most once.
    free: VecDeque<AgentKey>,
    /// Whether the queue stands in `Work::hot`.
    hot: bool,
}

impl Queue {
    /// Puts an activity into the line, at its place. That is the end, except while a journal is
    /// replayed over rows that have seen some of it already.
    fn stand_in_line(&mut self, at: AttemptRef, since: Revision, loading: bool) {
        self.ready_count += 1;
        let behind = |(other, other_since): &(AttemptRef, Revision)| (*other_since, *other) > (since, at);
        if !loading && self.ready.back().is_some_and(behind) {
            let place = self.ready.partition_point(|entry| !behind(entry));
            self.ready.insert(place, (at, since));
        } else {
            self.ready.push_back((at, since));
        }
    }

    /// An activity is no longer ready. Its entry stays until it is met, or until no entry counts.
    fn leave_line(&mut self) {
        self.ready_count -= 1;
        if self.ready_count == 0 {
            self.ready.clear();
        }
    }
}

/// How many activities are in each of the phases that someone waits in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for an agent with room.
    pub ready: u64,
    /// Held by an agent.
    pub running: u64,
    /// Waiting for an external call.
    pub waiting: u64,
    /// Waiting for a time.
    pub scheduled: u64,
}

/// The depth of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// The namespace.
    pub namespace: Name,
    /// The activity type.
    pub activity_type: Name,
    /// Activities that wait for an agent with room.
    pub ready: usize,
    /// Since when the first of them waits; absent when none does, or when it stands behind too many that no longer do.
    pub oldest: Option<Timestamp>,
    /// Connected agents that run the type.
    pub agents: usize,
}

/// How many entries of a queue are looked at for the oldest activity.
const LOOKED_AT: usize = 4_096;

/// Queues, attempts, agents and timers.
#[derive(Debug, Default)]
pub(crate) struct Work {
    queues: Vec<Queue>,
    queue_ids: FxHashMap<(Name, Name), QueueId>,
    /// Queues that may have both a ready activity and a free agent.
    hot: VecDeque<QueueId>,
    attempts: FxHashMap<u64, AttemptRef>,
    /// Attempts held by agents that are not known yet: the row of a run may be newer than the
    /// checkpoint, and its agent may have joined after the checkpoint.
    unclaimed: FxHashMap<AgentKey, BTreeSet<u64>>,
    pub(crate) agents: FxHashMap<AgentKey, Agent>,
    incarnations: FxHashMap<(Name, Name), AgentKey>,
    timers: BTreeSet<(Timestamp, TimerKey)>,
    /// Whether rows are being loaded, so that lines are in no order until [`Work::sort_lines`].
    pub(crate) loading: bool,
    pub(crate) counts: Counts,
}

impl Work {
    /// The queue of an activity type, made when there is none.
    pub(crate) fn queue(&mut self, namespace: &Name, activity_type: &Name) -> QueueId {
        let key = (namespace.clone(), activity_type.clone());
        if let Some(id) = self.queue_ids.get(&key) {
            return *id;
        }
        let id = QueueId(u32::try_from(self.queues.len()).unwrap_or(u32::MAX));
        self.queues.push(Queue {
            namespace: key.0.clone(),
            activity_type: key.1.clone(),
            ready: VecDeque::new(),
            ready_count: 0,
            free: VecDeque::new(),
            hot: false,
        });
        self.queue_ids.insert(key, id);
        id
    }

    /// Makes nameless queues with these ids, for folding a run outside the state that gave the ids out.
    pub(crate) fn stand_in(&mut self, namespace: &Name, queues: &[QueueId]) {
        let last = queues.iter().max().map_or(0, |id| id.0 as usize + 1);
        while self.queues.len() < last {
            self.queues.push(Queue {
                namespace: namespace.clone(),
                activity_type: namespace.clone(),
                ready: VecDeque::new(),
                ready_count: 0,
                free: VecDeque::new(),
                hot: false,
            });
        }
    }

    fn queue_mut(&mut self, id: QueueId) -> &mut Queue {
        &mut self.queues[id.0 as usize]
    }

    fn heat(&mut self, id: QueueId) {
        let queue = self.queue_mut(id);
        if !queue.hot && queue.ready_count > 0 && !queue.free.is_empty() {
            queue.hot = true;
            self.hot.push_back(id);
        }
    }

    /// An activity enters a phase.
    pub(crate) fn enter(&mut self, at: AttemptRef, phase: &Phase, queue: QueueId) {
        match phase {
            Phase::Ready { since, .. } => {
                self.counts.ready += 1;
                let loading = self.loading;
                self.queue_mut(queue).stand_in_line(at, *since, loading);
                self.heat(queue);
            }
            Phase::Running { token, agent } => {
                self.counts.running += 1;
                self.attempts.insert(token.revision.0, at);
                let held = match self.agents.get_mut(agent) {
                    Some(agent) => &mut agent.held,
                    None => self.unclaimed.entry(*agent).or_default(),
                };
                held.insert(token.revision.0);
            }
            Phase::Waiting { token, deadline } => {
                self.counts.waiting += 1;
                self.attempts.insert(token.revision.0, at);
                if let Some(deadline) = deadline {
                    self.timers.insert((*deadline, TimerKey::Activity(at)));
                }
            }
            Phase::Scheduled { due, .. } => {
                self.counts.scheduled += 1;
                self.timers.insert((*due, TimerKey::Activity(at)));
            }
            _ => {}
        }
    }

    /// An activity leaves a phase.
    pub(crate) fn leave(&mut self, at: AttemptRef, phase: &Phase, queue: QueueId) {
        match phase {
            Phase::Ready { .. } => {
                self.counts.ready -= 1;
                self.queue_mut(queue).leave_line();
            }
            Phase::Running { token, agent } => {
                self.counts.running -= 1;
                self.attempts.remove(&token.revision.0);
                let had_room = self.agents.get(agent).is_some_and(Agent::has_room);
                if let Some(agent) = self.agents.get_mut(agent) {
                    agent.held.remove(&token.revision.0);
                } else if let Some(unclaimed) = self.unclaimed.get_mut(agent) {
                    unclaimed.remove(&token.revision.0);
                    if unclaimed.is_empty() {
                        self.unclaimed.remove(agent);
                    }
                }
                if !had_room {
                    self.offer(*agent);
                }
            }
            Phase::Waiting { token, deadline } => {
                self.counts.waiting -= 1;
                self.attempts.remove(&token.revision.0);
                if let Some(deadline) = deadline {
                    self.timers.remove(&(*deadline, TimerKey::Activity(at)));
                }
            }
            Phase::Scheduled { due, .. } => {
                self.counts.scheduled -= 1;
                self.timers.remove(&(*due, TimerKey::Activity(at)));
            }
            _ => {}
        }
    }

    /// Puts an agent with room into the lines of free agents.
    fn offer(&mut self, key: AgentKey) {
        let Some(agent) = self.agents.get_mut(&key) else {
            return;
        };
        if !agent.has_room() {
            return;
        }
        let mut entered = Vec::new();
        for (queue, in_line) in &mut agent.queues {
            if !*in_line {
                *in_line = true;
                entered.push(*queue);
            }
        }
        for queue in entered {
            self.queue_mut(queue).free.push_back(key);
            self.heat(queue);
        }
    }

    /// The next activity to hand out and the agent that gets it. `is_ready` tells whether an
    /// activity is still ready since that revision.
    pub(crate) fn next_assignment(
        &mut self,
        is_ready: impl Fn(AttemptRef, Revision) -> bool,
    ) -> Option<(AttemptRef, AgentKey)> {
        while let Some(id) = self.hot.pop_front() {
            let queue = &mut self.queues[id.0 as usize];
            queue.hot = false;
            while queue.ready.front().is_some_and(|(at, since)| !is_ready(*at, *since)) {
                queue.ready.pop_front();
            }
            let Some((at, _)) = queue.ready.front().copied() else {
                continue;
            };
            let Some(agent) = self.free_agent(id) else {
                continue;
            };
            // The activity leaves the line when the dispatch is folded: it is no longer ready then.
            let queue = self.queue_mut(id);
            queue.hot = true;
            self.hot.push_back(id);
            return Some((at, agent));
        }
        None
    }

    /// The free agent whose turn it is; it goes to the end of the line.
    fn free_agent(&mut self, id: QueueId) -> Option<AgentKey> {
        let queue = &mut self.queues[id.0 as usize];
        while let Some(key) = queue.free.pop_front() {
            let Some(agent) = self.agents.get_mut(&key) else {
                continue;
            };
            if agent.has_room() {
                queue.free.push_back(key);
                return Some(key);
            }
            if let Some((_, in_line)) = agent.queues.iter_mut().find(|(queue, _)| *queue == id) {
                *in_line = false;
            }
        }
        None
    }

    pub(crate) fn attempt(&self, token: AttemptToken) -> Option<AttemptRef> {
        self.attempt_at(token.revision.0)
    }

    pub(crate) fn attempt_at(&self, revision: u64) -> Option<AttemptRef> {
        self.attempts.get(&revision).copied()
    }

    pub(crate) fn agent_by_incarnation(&self, namespace: &Name, incarnation: &Name) -> Option<AgentKey> {
        self.incarnations
            .get(&(namespace.clone(), incarnation.clone()))
            .copied()
    }

    pub(crate) fn put_agent(&mut self, key: AgentKey, mut agent: Agent) {
        // An incarnation that was forgotten and came back has two rows for a while: the newer counts.
        let newest = self
            .incarnations
            .entry((agent.namespace.clone(), agent.incarnation.clone()))
            .or_insert(key);
        *newest = key.max(*newest);
        agent.held.extend(self.unclaimed.remove(&key).unwrap_or_default());
        self.agents.insert(key, agent);
        self.link_agent(key);
    }

    pub(crate) fn change_agent(&mut self, key: AgentKey, revision: Revision, change: impl FnOnce(&mut Agent)) {
        let Some(agent) = self.agents.get_mut(&key) else {
            return;
        };
        if agent.revision >= revision {
            return;
        }
        if let Some(timer) = crate::agent_timer(key, agent) {
            self.timers.remove(&timer);
        }
        agent.revision = revision;
        change(agent);
        self.unlink_agent(key);
        self.link_agent(key);
    }

    pub(crate) fn remove_agent(&mut self, key: AgentKey, revision: Revision) {
        if self.agents.get(&key).is_none_or(|agent| agent.revision >= revision) {
            return;
        }
        self.unlink_agent(key);
        if let Some(agent) = self.agents.remove(&key) {
            if let Some(timer) = crate::agent_timer(key, &agent) {
                self.timers.remove(&timer);
            }
            let incarnation = (agent.namespace, agent.incarnation);
            if self.incarnations.get(&incarnation) == Some(&key) {
                self.incarnations.remove(&incarnation);
            }
        }
    }

    /// Takes an agent out of every line of free agents.
    fn unlink_agent(&mut self, key: AgentKey) {
        let Some(agent) = self.agents.get_mut(&key) else {
            return;
        };
        for (queue, in_line) in std::mem::take(&mut agent.queues) {
            if in_line {
                self.queues[queue.0 as usize].free.retain(|free| *free != key);
            }
        }
    }

    fn link_agent(&mut self, key: AgentKey) {
        let Some(agent) = self.agents.get(&key) else {
            return;
        };
        let (namespace, types) = (agent.namespace.clone(), agent.activity_types.clone());
        let timer = crate::agent_timer(key, agent);
        let mut queues: Vec<(QueueId, bool)> = types
            .iter()
            .map(|activity_type| (self.queue(&namespace, activity_type), false))
            .collect();
        queues.sort_unstable();
        queues.dedup();
        if let Some(agent) = self.agents.get_mut(&key) {
            agent.queues = queues;
        }
        self.timers.extend(timer);
        self.offer(key);
    }

    /// Brings every line into the order of readiness, after state was loaded in another order.
    pub(crate) fn sort_lines(&mut self) {
        self.loading = false;
        for queue in &mut self.queues {
            queue
                .ready
                .make_contiguous()
                .sort_unstable_by_key(|(at, since)| (*since, *at));
        }
    }

    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _)| *due)
    }

    pub(crate) fn due(&self, at: Timestamp) -> impl Iterator<Item = TimerKey> + '_ {
        self.timers
            .iter()
            .take_while(move |(due, _)| *due <= at)
            .map(|(_, key)| *key)
    }

    /// Connected agents that run a type: how many there are, how many attempts they hold, and how many they would hold.
    pub(crate) fn capacity(&self, queue: QueueId) -> Capacity {
        let mut capacity = Capacity::default();
        let connected = self
            .agents
            .values()
            .filter(|agent| agent.session().is_some() && agent.queues.iter().any(|(id, _)| *id == queue));
        for agent in connected {
            capacity.agents += 1;
            capacity.held += agent.held.len();
            capacity.slots += agent.concurrency as usize;
        }
        capacity
    }

    /// Which queues have an agent that is connected.
    pub(crate) fn served(&self) -> Served {
        let mut served = vec![false; self.queues.len()];
        for agent in self.agents.values().filter(|agent| agent.session().is_some()) {
            for (queue, _) in &agent.queues {
                served[queue.0 as usize] = true;
            }
        }
        Served(served)
    }

    /// Each queue. `ready_since` tells since when an activity is ready, if it still is since that revision.
    pub(crate) fn depths(&self, ready_since: impl Fn(AttemptRef, Revision) -> Option<Timestamp>) -> Vec<QueueDepth> {
        let mut agents = vec![0; self.queues.len()];
        for agent in self.agents.values().filter(|agent| agent.session().is_some()) {
            for (queue, _) in &agent.queues {
                agents[queue.0 as usize] += 1;
            }
        }
        self.queues
            .iter()
            .zip(agents)
            .map(|(queue, agents)| {
                let mut line = queue.ready.iter().take(LOOKED_AT);
                QueueDepth {
                    namespace: queue.namespace.clone(),
                    activity_type: queue.activity_type.clone(),
                    ready: queue.ready_count,
                    oldest: line.find_map(|(at, since)| ready_since(*at, *since)),
                    agents,
                }
            })
            .collect()
    }

    /// Agents and attempts by namespace.
    pub(crate) fn agents_by_namespace(&self) -> BTreeMap<Name, AgentCounts> {
        let mut counts: BTreeMap<Name, AgentCounts> = BTreeMap::new();
        for agent in self.agents.values() {
            let counts = counts.entry(agent.namespace.clone()).or_default();
            counts.held += agent.held.len();
            if agent.session().is_some() {
                counts.connected += 1;
                counts.capacity += agent.concurrency as usize;
            } else {
                counts.gone += 1;
            }
        }
        counts
    }
}

/// The agents of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentCounts {
    /// Agents that are connected.
    pub connected: usize,
    /// Agents that are gone, and may come back within the grace time.
    pub gone: usize,
    /// Attempts that the connected ones are willing to hold.
    pub capacity: usize,
    /// Attempts that all of them hold.
    pub held: usize,
}

/// Which queues have an agent that is connected.
pub(crate) struct Served(Vec<bool>);

impl Served {
    pub(crate) fn has_agents(&self, queue: QueueId) -> bool {
        self.0.get(queue.0 as usize).is_some_and(|served| *served)
    }
}

/// What the connected agents of a queue can hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Capacity {
    pub(crate) agents: usize,
    pub(crate) held: usize,
    pub(crate) slots: usize,
}
