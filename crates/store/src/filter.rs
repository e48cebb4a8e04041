//! Which runs a list shows, and what the index can say of that.

use unisono_model::Name;
use unisono_model::api::{OrchestrationState, OrchestrationSummary};
use unisono_model::ids::Timestamp;

use crate::StoreError;
use crate::count::Tally;
use crate::ended::TimeRange;
use crate::key::{Digest, RunKey};
use crate::row::{Attribute, Row};
use crate::token::PageToken;

/// Which runs a list shows: those that match everything given. The default shows all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Any of these states; empty means any state.
    pub states: Vec<OrchestrationState>,
    /// This definition type.
    pub r#type: Option<Name>,
    /// This version of the definition.
    pub version: Option<u32>,
    /// This correlation id.
    pub correlation_id: Option<String>,
    /// All of these labels, key and value.
    pub labels: Vec<(String, String)>,
    /// Created at this instant or later.
    pub created_after: Option<Timestamp>,
    /// Created earlier than this instant.
    pub created_before: Option<Timestamp>,
    /// Ended at this instant or later.
    pub ended_after: Option<Timestamp>,
    /// Ended earlier than this instant.
    pub ended_before: Option<Timestamp>,
    /// What whoever asks compares beyond all this. The store does not; its page tokens are good for the same text only.
    pub beyond: Option<String>,
}

impl RunFilter {
    /// Whether a run of this summary matches, apart from [`beyond`](Self::beyond).
    #[must_use]
    pub fn matches(&self, summary: &OrchestrationSummary) -> bool {
        self.fits(&Row::of(summary), summary.state)
    }

    /// The token with which a list of these runs goes on behind `run`.
    #[must_use]
    pub fn token_behind(&self, namespace: &Name, run: RunKey) -> String {
        let question = self.digest(namespace);
        PageToken { run, question }.encode()
    }

    /// Stands for the filter and the namespace in page tokens; the order of states and labels does not matter.
    pub(crate) fn digest(&self, namespace: &Name) -> u64 {
        let mut states: Vec<_> = self.states.iter().map(|state| state.as_str()).collect();
        states.sort_unstable();
        states.dedup();
        let mut labels: Vec<_> = self.labels.iter().collect();
        labels.sort_unstable();
        labels.dedup();
        let texts = [
            self.r#type.as_ref().map(|name| name.as_bytes()),
            self.correlation_id.as_deref().map(str::as_bytes),
            self.beyond.as_deref().map(str::as_bytes),
        ];
        let instants = [
            self.created_after,
            self.created_before,
            self.ended_after,
            self.ended_before,
        ];
        let version = self.version.map(i64::from);
        let numbers = instants.iter().map(|at| at.map(|at| at.0)).chain([version]);
        let numbers: Vec<_> = numbers.map(|number| number.map(i64::to_be_bytes)).collect();
        let optional = texts
            .into_iter()
            .chain(numbers.iter().map(|it| it.as_ref().map(<[u8; 8]>::as_slice)));
        let digest = Digest::new()
            .part(namespace.as_bytes())
            .part(states.join(",").as_bytes());
        let digest = optional.fold(digest, |digest, bytes| match bytes {
            Some(bytes) => digest.part(b"some").part(bytes),
            None => digest.part(b"none"),
        });
        let labels = labels.into_iter().flat_map(|(key, value)| [key, value]);
        labels
            .fold(digest, |digest, text| digest.part(text.as_bytes()))
            .finish()
    }

    pub(crate) fn matches_row(&self, run: RunKey, row: &Row<'_>) -> Result<bool, StoreError> {
        Ok(self.fits(row, row.state(run)?))
    }

    fn fits(&self, row: &Row<'_>, state: OrchestrationState) -> bool {
        (self.states.is_empty() || self.states.contains(&state))
            && self.r#type.as_ref().is_none_or(|name| row.r#type() == name.as_str())
            && self.version.is_none_or(|version| row.version() == version)
            && self
                .correlation_id
                .as_deref()
                .is_none_or(|id| row.correlation_id() == Some(id))
            && self.labels.iter().all(|(key, value)| row.has_label(key, value))
            && self.created().has(row.created_at())
            && (!self.ended().is_limited() || row.ended_at().is_some_and(|at| self.ended().has(at)))
    }

    pub(crate) fn created(&self) -> TimeRange {
        TimeRange {
            after: self.created_after,
            before: self.created_before,
        }
    }

    pub(crate) fn ended(&self) -> TimeRange {
        TimeRange {
            after: self.ended_after,
            before: self.ended_before,
        }
    }

    /// Whether the counts by type, version and state say how many match.
    pub(crate) fn is_counted(&self) -> bool {
        self.correlation_id.is_none()
            && self.labels.is_empty()
            && !self.created().is_limited()
            && !self.ended().is_limited()
    }

    /// Whether the runs of a tally may match.
    pub(crate) fn takes(&self, tally: &Tally) -> bool {
        (self.states.is_empty() || self.states.contains(&tally.state))
            && self.r#type.as_ref().is_none_or(|name| tally.r#type == *name)
            && self.version.is_none_or(|version| tally.version == version)
    }

    /// What the index is asked: a match is posted under one attribute of each of these sets, at the least.
    pub(crate) fn conditions(&self) -> Vec<Vec<u64>> {
        let one = |attribute: Attribute<'_>| vec![attribute.digest()];
        let mut conditions = Vec::new();
        conditions.extend(self.correlation_id.as_deref().map(|id| one(Attribute::Correlation(id))));
        let labels = self.labels.iter();
        conditions.extend(labels.map(|(key, value)| one(Attribute::Label(key, value))));
        conditions.extend(self.r#type.as_ref().map(|name| one(Attribute::Type(name))));
        conditions.extend(self.version.map(|version| one(Attribute::Version(version))));
        if !self.states.is_empty() {
            conditions.push(in_states(&self.states));
        }
        conditions
    }
}

/// The postings of all runs in these states.
pub(crate) fn in_states(states: &[OrchestrationState]) -> Vec<u64> {
    let mut digests: Vec<_> = states.iter().map(|state| Attribute::State(*state).digest()).collect();
    digests.sort_unstable();
    digests.dedup();
    digests
}
