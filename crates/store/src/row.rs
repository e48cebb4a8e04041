//! How a summary is stored: compact, and readable without copying what a filter only compares.

use minicbor::{Decode, Encode};
use unisono_model::Name;
use unisono_model::api::{OrchestrationState, OrchestrationSummary};
use unisono_model::ids::Timestamp;

use crate::StoreError;
use crate::key::{self, Digest, RunKey};

/// A summary as it stands in the store. Fields may be added with new numbers; a number never changes its meaning.
#[derive(Debug, Encode, Decode)]
pub(crate) struct Row<'a> {
    #[b(0)]
    id: &'a str,
    #[b(1)]
    r#type: &'a str,
    #[n(2)]
    version: u32,
    #[n(3)]
    state: u8,
    #[b(4)]
    correlation_id: Option<&'a str>,
    #[b(5)]
    labels: Vec<(&'a str, &'a str)>,
    #[n(6)]
    created_at: i64,
    #[n(7)]
    ended_at: Option<i64>,
}

/// An attribute that lists look runs up by.
pub(crate) enum Attribute<'a> {
    State(OrchestrationState),
    Type(&'a str),
    Version(u32),
    Correlation(&'a str),
    Label(&'a str, &'a str),
}

impl Attribute<'_> {
    /// What stands for the attribute and its value in the index.
    pub(crate) fn digest(&self) -> u64 {
        let digest = Digest::new();
        match self {
            Self::State(state) => digest.part(b"state").part(&[state_code(*state)]),
            Self::Type(name) => digest.part(b"type").part(name.as_bytes()),
            Self::Version(version) => digest.part(b"version").part(&version.to_be_bytes()),
            Self::Correlation(id) => digest.part(b"correlation").part(id.as_bytes()),
            Self::Label(key, value) => digest.part(b"label").part(key.as_bytes()).part(value.as_bytes()),
        }
        .finish()
    }
}

/// The number of a state in rows and keys.
pub(crate) fn state_code(state: OrchestrationState) -> u8 {
    match state {
        OrchestrationState::Initialized => 0,
        OrchestrationState::Running => 1,
        OrchestrationState::Completed => 2,
        OrchestrationState::Errored => 3,
        OrchestrationState::Cancelled => 4,
    }
}

/// The state of this number.
pub(crate) fn state_of(code: u8) -> Option<OrchestrationState> {
    OrchestrationState::ALL
        .into_iter()
        .find(|state| state_code(*state) == code)
}

impl<'a> Row<'a> {
    pub(crate) fn of(summary: &'a OrchestrationSummary) -> Self {
        Self {
            id: &summary.id,
            r#type: &summary.r#type,
            version: summary.version,
            state: state_code(summary.state),
            correlation_id: summary.correlation_id.as_deref(),
            labels: summary
                .labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect(),
            created_at: summary.created_at.0,
            ended_at: summary.ended_at.map(|at| at.0),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(96);
        match minicbor::encode(self, &mut bytes) {
            Ok(()) => bytes,
            Err(error) => unreachable!("writing to memory cannot fail: {error}"),
        }
    }

    pub(crate) fn decode(run: RunKey, bytes: &'a [u8]) -> Result<Self, StoreError> {
        minicbor::decode(bytes).map_err(|error| damaged(run, error))
    }

    pub(crate) fn state(&self, run: RunKey) -> Result<OrchestrationState, StoreError> {
        state_of(self.state).ok_or_else(|| damaged(run, format_args!("unknown state {}", self.state)))
    }

    pub(crate) fn id(&self) -> &'a str {
        self.id
    }

    pub(crate) fn r#type(&self) -> &'a str {
        self.r#type
    }

    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    pub(crate) fn correlation_id(&self) -> Option<&'a str> {
        self.correlation_id
    }

    pub(crate) fn has_label(&self, key: &str, value: &str) -> bool {
        self.labels.contains(&(key, value))
    }

    pub(crate) fn created_at(&self) -> Timestamp {
        Timestamp(self.created_at)
    }

    pub(crate) fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at.map(Timestamp)
    }

    /// The key of the count that the run is part of.
    pub(crate) fn count_key(&self, namespace: &Name) -> Vec<u8> {
        key::count(namespace, self.r#type, self.version, self.state)
    }

    /// The digests under which the run is posted, sorted.
    pub(crate) fn digests(&self, run: RunKey) -> Result<Vec<u64>, StoreError> {
        let mut digests = Vec::with_capacity(4 + self.labels.len());
        digests.push(Attribute::Type(self.r#type).digest());
        digests.push(Attribute::Version(self.version).digest());
        digests.push(Attribute::State(self.state(run)?).digest());
        digests.extend(self.correlation_id.map(|id| Attribute::Correlation(id).digest()));
        digests.extend(
            self.labels
                .iter()
                .map(|(key, value)| Attribute::Label(key, value).digest()),
        );
        digests.sort_unstable();
        digests.dedup();
        Ok(digests)
    }

    pub(crate) fn to_summary(&self, run: RunKey) -> Result<OrchestrationSummary, StoreError> {
        let name = |text| Name::parse(text).map_err(|error| damaged(run, error));
        Ok(OrchestrationSummary {
            id: name(self.id)?,
            r#type: name(self.r#type)?,
            version: self.version,
            state: self.state(run)?,
            correlation_id: self.correlation_id.map(str::to_owned),
            labels: self
                .labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            created_at: self.created_at(),
            ended_at: self.ended_at(),
            waiting_for: Vec::new(),
        })
    }
}

fn damaged(run: RunKey, reason: impl ToString) -> StoreError {
    StoreError::damaged(format!("the summary of run {run}"), reason)
}
