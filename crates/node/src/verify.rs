//! Reads everything in the data directory of a stopped server, and tells what is not as it was written, what that means, and
//! what to do.

mod journal;
mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use unisono_model::ids::Revision;

use crate::replay::{ReplayError, Replayed, journal_directory, lock, replay_locked};

/// What there is, and what is wrong with it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// The journal.
    pub journal: JournalContent,
    /// The store; none when the journal begins with the first event, and there is no store yet.
    pub store: Option<StoreContent>,
    /// What both lead to; left out when they cannot be trusted.
    pub state: Option<Replayed>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub more_problems: u64,
    /// What is worth knowing, and nothing to worry about.
    pub notes: Vec<String>,
}

/// What the journal holds.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalContent {
    /// Segment files.
    pub segments: u64,
    /// Bytes of the segment files.
    pub bytes: u64,
    /// Bytes of the files that wait to become segments.
    pub spare_bytes: u64,
    /// Batches that can be read.
    pub batches: u64,
    /// Events that can be read.
    pub events: u64,
    /// The first of them.
    pub first: Option<Revision>,
    /// The last of them.
    pub last: Option<Revision>,
    /// The position at which it ends.
    pub end: u64,
    /// The position up to which it was durable for certain, as the mark beside it says.
    pub durable: Option<u64>,
}

/// What the store holds.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreContent {
    /// The revision that its checkpoint covers.
    pub checkpoint: Option<Revision>,
    /// The position of the journal from which a start goes on.
    pub position: Option<u64>,
    /// Rows, by keyspace.
    pub rows: BTreeMap<String, u64>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What it is.
    pub what: String,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The byte of the file at which it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Where it begins in the journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// What follows from it.
    pub meaning: String,
    /// What to do.
    pub remedy: String,
}

/// Problems that are told one by one.
const MOST_PROBLEMS: usize = 100;
/// What helps against most of it.
const RESTORE: &str =
    "copy the directory aside, check the disk (its log, SMART), and restore a backup with `unisono restore`";

impl Verified {
    /// Whether everything is as it was written.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// Adds a problem, and says where it stands; nowhere when there are enough already.
    fn problem(&mut self, problem: Problem) -> Option<usize> {
        if self.problems.len() == MOST_PROBLEMS {
            self.more_problems += 1;
            return None;
        }
        self.problems.push(problem);
        Some(self.problems.len() - 1)
    }
}

impl Problem {
    /// One that is nowhere in particular.
    fn new(what: impl Into<String>, meaning: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            file: None,
            offset: None,
            position: None,
            meaning: meaning.into(),
            remedy: remedy.into(),
        }
    }
}

/// Verifies the data directory: checksums, order and revisions of the journal, its seals and its mark, every row of the
/// store, that both belong together, and that they lead to a state.
///
/// # Errors
/// [`ReplayError`] when a server uses the directory, there is no journal in it, or a file cannot be read at all. Damage is
/// none: it is in the answer.
pub fn verify(data: &Path) -> Result<Verified, ReplayError> {
    let directory = journal_directory(data)?;
    let _lock = lock(data)?;
    let mut verified = Verified::default();
    let read = journal::read(&directory, &mut verified)?;
    store::read(data, &read, &mut verified);
    if verified.is_sound() {
        match replay_locked(data, None) {
            Ok(state) => verified.state = Some(state),
            Err(error) => {
                verified.problem(Problem::new(
                    with_causes(&error),
                    "journal and store are as they were written, and lead to no state that can be relied on",
                    "keep the directory as it is, report it, and restore a backup with `unisono restore`",
                ));
            }
        }
    }
    Ok(verified)
}

/// An error and what brought it about.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let said = deeper.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = deeper.source();
    }
    text
}
