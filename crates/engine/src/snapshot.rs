//! What a checkpoint keeps of one entity: a definition, an agent, an open run, a value, a lock.
//!
//! Rows are written at any time, each at its own revision; replaying the journal skips, for each
//! entity, what its row has seen. A row is CBOR with the same rule of evolution as events.

use minicbor::{Decode, Encode};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;

use crate::State;
use crate::agent::{Agent, AgentKey, Link, SessionId};
use crate::clock::Marks;
use crate::definition::{Definitions, Kind, Versions};
use crate::orchestration::{RunKey, part_key};
pub use crate::orchestration::{RunRead, RunReader};
use crate::payload::Payload;
use crate::rollout::RolloutEntity;

/// An entity that a checkpoint keeps.
///
/// The order is that of writing: a checkpoint that is cut short must not hold a run without the
/// definition that the run refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// A definition with all its versions.
    Definition(u64),
    /// An agent.
    Agent(u64),
    /// An open run; of one with many activities everything but these.
    Run(u64),
    /// A part of an open run's activities.
    RunPart(u64),
    /// A value, by the revision that created it.
    Value(u64),
    /// A future.
    Future(u64),
    /// A lease.
    Lease(u64),
    /// A lock or an election.
    Lock(u64),
    /// What the partition remembers as a whole.
    Marks,
    /// An entity that versions are rolled out on, without its targets.
    Fleet(u64),
    /// Some of its targets.
    Targets(u64),
    /// Which of its targets were heard when.
    Heard(u64),
    /// Some of its history.
    Notes(u64),
    /// Freezes that concern more than one entity.
    Freezes(u64),
    /// What the rules of a namespace say of how long runs are kept.
    Retention(u64),
}

impl From<RolloutEntity> for Entity {
    fn from(entity: RolloutEntity) -> Self {
        let key = entity.key();
        match entity {
            RolloutEntity::Head(_) => Self::Fleet(key),
            RolloutEntity::Targets(..) => Self::Targets(key),
            RolloutEntity::Heard(..) => Self::Heard(key),
            RolloutEntity::Notes(..) => Self::Notes(key),
            RolloutEntity::Freezes => Self::Freezes(key),
        }
    }
}

impl Entity {
    /// The row of the room of rollouts that it is, if it is one.
    fn of_rollouts(self) -> Option<RolloutEntity> {
        let pair = RolloutEntity::split;
        Some(match self {
            Self::Fleet(key) => RolloutEntity::Head(pair(key).1),
            Self::Targets(key) => RolloutEntity::Targets(pair(key).0, pair(key).1),
            Self::Heard(key) => RolloutEntity::Heard(pair(key).0, pair(key).1),
            Self::Notes(key) => RolloutEntity::Notes(pair(key).0, pair(key).1),
            Self::Freezes(_) => RolloutEntity::Freezes,
            _ => return None,
        })
    }
}

/// Why a row cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("a row of the checkpoint cannot be read: {0}")]
    Malformed(#[from] minicbor::decode::Error),
    /// The run's definition is missing or cannot be used.
    #[error(
        "run {id} needs version {version} of orchestration definition \"{type_name}\", which the checkpoint does not hold in a form that this program can run"
    )]
    DefinitionMissing {
        /// The run.
        id: Name,
        /// Its type.
        type_name: Name,
        /// Its version.
        version: u32,
    },
    /// The entity that a row belongs to is missing.
    #[error("a row of the checkpoint belongs to entity number {number}, which the checkpoint does not hold")]
    EntityMissing {
        /// Its number.
        number: u32,
    },
    /// A row of the run is missing.
    #[error("the checkpoint does not hold all activities of run {id}")]
    PartMissing {
        /// The run.
        id: Name,
    },
}

#[derive(Encode, Decode)]
pub(crate) struct DefinitionRow {
    #[n(0)]
    pub(crate) key: u64,
    #[n(1)]
    pub(crate) revision: u64,
    #[cbor(n(2), with = "crate::payload::name")]
    pub(crate) namespace: Name,
    #[n(3)]
    pub(crate) kind: Kind,
    #[cbor(n(4), with = "crate::payload::name")]
    pub(crate) type_name: Name,
    #[n(5)]
    pub(crate) deleted: bool,
    #[n(6)]
    pub(crate) versions: Vec<VersionRow>,
}

#[derive(Encode, Decode)]
pub(crate) struct VersionRow {
    #[n(0)]
    pub(crate) version: u32,
    #[n(1)]
    pub(crate) revision: u64,
    #[n(2)]
    pub(crate) applied_at: i64,
    #[n(3)]
    pub(crate) source: Payload,
    #[n(4)]
    pub(crate) uses: Option<Payload>,
}

#[derive(Encode, Decode)]
struct AgentRow {
    #[n(0)]
    key: u64,
    #[n(1)]
    revision: u64,
    #[cbor(n(2), with = "crate::payload::name")]
    namespace: Name,
    #[cbor(n(3), with = "crate::payload::name")]
    name: Name,
    #[cbor(n(4), with = "crate::payload::name")]
    incarnation: Name,
    #[cbor(n(5), with = "crate::payload::names")]
    activity_types: Vec<Name>,
    #[n(6)]
    concurrency: u32,
    #[n(7)]
    labels: Vec<(String, String)>,
    #[n(8)]
    session: Option<u64>,
    #[n(9)]
    until: i64,
    #[n(10)]
    reason: String,
    #[n(11)]
    since: i64,
}

#[derive(Encode, Decode)]
struct MarksRow {
    #[n(0)]
    key: u64,
    #[n(1)]
    revision: u64,
    #[n(2)]
    now: i64,
    #[n(3)]
    stepped_ms: i64,
    #[n(4)]
    forgotten_token: u64,
}

pub(crate) fn bytes(row: &impl Encode<()>) -> Vec<u8> {
    // Writing to memory cannot fail.
    minicbor::to_vec(row).unwrap_or_default()
}

/// The row of a definition.
pub(crate) fn definition(namespace: &Name, kind: Kind, type_name: &Name, versions: &Versions) -> Vec<u8> {
    bytes(&definition_row(namespace, kind, type_name, versions))
}

/// The last event that a row has seen.
///
/// # Errors
/// [`LoadError::Malformed`] when it cannot be read.
pub fn row_revision(row: &[u8]) -> Result<Revision, LoadError> {
    let mut decoder = minicbor::Decoder::new(row);
    decoder.array()?;
    decoder.u64()?;
    Ok(Revision(decoder.u64()?))
}

fn definition_row(namespace: &Name, kind: Kind, type_name: &Name, versions: &Versions) -> DefinitionRow {
    DefinitionRow {
        key: versions.key.0,
        revision: versions.revision.0,
        namespace: namespace.clone(),
        kind,
        type_name: type_name.clone(),
        deleted: versions.deleted,
        versions: versions
            .versions
            .values()
            .map(|stored| VersionRow {
                version: stored.version,
                revision: stored.revision.0,
                applied_at: stored.applied_at.0,
                source: stored.source.clone(),
                uses: stored.uses.clone(),
            })
            .collect(),
    }
}

fn agent_row(key: AgentKey, agent: &Agent) -> AgentRow {
    let (session, until, reason) = match &agent.link {
        Link::Up(session) => (Some(session.0), 0, String::new()),
        Link::Down { until, reason } => (None, until.0, reason.clone()),
    };
    AgentRow {
        key: key.0,
        revision: agent.revision.0,
        namespace: agent.namespace.clone(),
        name: agent.name.clone(),
        incarnation: agent.incarnation.clone(),
        activity_types: agent.activity_types.clone(),
        concurrency: agent.concurrency,
        labels: agent.labels.clone(),
        session,
        until,
        reason,
        since: agent.since.0,
    }
}

impl State {
    /// The row of an entity, of a run with all its activities; `None` when it is no longer open.
    #[must_use]
    pub fn row(&self, entity: Entity) -> Option<Vec<u8>> {
        if let Some(entity) = entity.of_rollouts() {
            return self.rollouts.row(entity, self.revision);
        }
        match entity {
            Entity::Run(key) => self.runs.get(RunKey(key)).map(|run| run.whole_row()),
            Entity::RunPart(_) => None,
            Entity::Agent(key) => self
                .work
                .agents
                .get(&AgentKey(key))
                .map(|agent| bytes(&agent_row(AgentKey(key), agent))),
            Entity::Definition(key) => self
                .definitions
                .all()
                .find(|(_, _, _, versions)| versions.key.0 == key)
                .map(|(namespace, kind, name, versions)| definition(namespace, kind, name, versions)),
            Entity::Value(key) => self.values.row(Revision(key)),
            Entity::Future(key) => self.values.future_row(Revision(key)),
            Entity::Lease(key) => self.leases.lease_row(Revision(key)),
            Entity::Lock(key) => self.leases.lock_row(Revision(key)),
            Entity::Retention(key) => self.retention.row(key),
            Entity::Marks => Some(bytes(&MarksRow {
                key: 0,
                revision: self.revision.0,
                now: self.now.0,
                stepped_ms: self.marks.stepped_ms,
                forgotten_token: self.marks.forgotten_token.0,
            })),
            _ => None,
        }
    }

    /// The rows that a checkpoint writes of an entity that [`State::take_dirty`] named: they belong into one commit.
    /// `None` stands for a row that is to be removed.
    pub fn take_rows(&mut self, entity: Entity) -> Vec<(Entity, Option<Vec<u8>>)> {
        let Entity::Run(key) = entity else {
            let row = self.row(entity);
            if let Entity::Value(created) = entity {
                self.values.row_is_taken(Revision(created));
            }
            return vec![(entity, row)];
        };
        if let Some(run) = self.runs.get_mut(RunKey(key)) {
            let (row, parts) = run.take_rows();
            let parts = parts.into_iter().map(|(part, row)| (Entity::RunPart(part), Some(row)));
            return std::iter::once((entity, Some(row))).chain(parts).collect();
        }
        match self.runs.take_gone(RunKey(key)) {
            Some(parts) => {
                let parts = (0..parts).map(|part| (Entity::RunPart(part_key(RunKey(key), part)), None));
                std::iter::once((entity, None)).chain(parts).collect()
            }
            None => Vec::new(),
        }
    }

    /// Puts back what a checkpoint kept. Definitions and agents come before runs, and runs before their parts.
    ///
    /// # Errors
    /// [`LoadError`] when a row cannot be read or a run's definition is missing.
    pub fn load(&mut self, entity: Entity, row: &[u8]) -> Result<(), LoadError> {
        if let Some(entity) = entity.of_rollouts() {
            let latest = self.rollouts.load(entity, row)?;
            self.now = self.now.max(latest);
            return Ok(());
        }
        match entity {
            Entity::Definition(_) => {
                let row: DefinitionRow = minicbor::decode(row)?;
                let times = row.versions.iter().map(|it| Timestamp(it.applied_at));
                self.now = times.fold(self.now, Timestamp::max);
                let definitions = std::sync::Arc::make_mut(&mut self.definitions);
                Definitions::load(definitions, row, &mut self.work);
            }
            Entity::Agent(_) => self.load_agent(minicbor::decode(row)?),
            Entity::Run(_) => {
                let read = RunReader::new(std::sync::Arc::clone(&self.definitions)).run(row)?;
                self.put(read);
            }
            Entity::RunPart(_) => {
                let read = RunReader::new(std::sync::Arc::clone(&self.definitions)).part(row)?;
                self.put(read);
            }
            Entity::Value(_) => self.now = self.now.max(self.values.load_row(row)?),
            Entity::Future(_) => self.now = self.now.max(self.values.load_future_row(row)?),
            Entity::Lease(_) => self.now = self.now.max(self.leases.load_lease(row)?),
            Entity::Lock(_) => {
                let older = self.leases.load_lock(row)?;
                self.dirty.extend(older);
            }
            Entity::Retention(_) => self.retention.load(row)?,
            Entity::Marks => self.load_marks(&minicbor::decode(row)?),
            _ => {}
        }
        Ok(())
    }

    /// Puts back a run that a [`RunReader`] has read.
    pub fn put(&mut self, read: RunRead) {
        let Some(run) = self.incomplete.take(read) else {
            return;
        };
        let times = run.activities.iter().map(|record| record.since);
        self.now = times.fold(self.now.max(run.created_at), Timestamp::max);
        self.work.loading = true;
        run.index(&mut self.work);
        self.runs.insert(run);
    }

    fn load_marks(&mut self, row: &MarksRow) {
        self.now = self.now.max(Timestamp(row.now));
        self.marks = Marks {
            stepped_ms: row.stepped_ms,
            forgotten_token: Revision(row.forgotten_token),
            revision: Revision(row.revision),
        };
    }

    fn load_agent(&mut self, row: AgentRow) {
        self.now = self.now.max(Timestamp(row.since));
        let link = match row.session {
            Some(session) => Link::Up(SessionId(session)),
            None => Link::Down {
                until: Timestamp(row.until),
                reason: row.reason,
            },
        };
        self.now = self.now.max(Timestamp(row.since));
        self.work.put_agent(
            AgentKey(row.key),
            Agent {
                namespace: row.namespace,
                name: row.name,
                incarnation: row.incarnation,
                activity_types: row.activity_types,
                concurrency: row.concurrency,
                labels: row.labels,
                link,
                since: Timestamp(row.since),
                revision: Revision(row.revision),
                held: std::collections::BTreeSet::new(),
                queues: Vec::new(),
            },
        );
    }
}
