//! Keys. Numbers are big-endian, so that they sort; texts that can hold anything are hashed.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `meta` | a word | format, checkpoint, highest history revision |
//! | `entities` | kind (1), key (8) | the entity |
//! | `runs` | namespace, 0, ¬run (8) | the summary, see `row` |
//! | `ids` | namespace, 0, id | run (8) |
//! | `postings` | namespace, 0, digest of attribute and value (8), ¬block (8) | which runs of the block have it, see `block` |
//! | `ended` | namespace, 0, ¬block (8) | when the runs of the block ended, see `ended` |
//! | `counts` | namespace, 0, type, 0, version (4), state (1) | how many runs (8) |
//! | `history` | run (8), last revision (8), first revision (8) | the chunk |
//! | `logs` | run (8), activity (4), attempt (4), sequence (8) | the log |
//!
//! ¬run and ¬block (every bit inverted) sort the newest first. No name holds a zero byte, so the byte after a namespace
//! or a type keeps `a` apart from `ab`. Two attribute values with the same digest share postings; a list compares the
//! summary of every run that they name with the filter, so that sharing costs time, not truth.

use std::fmt;

use unisono_model::Name;

use crate::StoreError;
use crate::block::Block;

/// Identifies a run within a partition: the revision of the event that started it. A run that was created later has a
/// greater key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey(pub u64);

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a checkpointed entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntityKind {
    /// An open run.
    Run,
    /// A definition.
    Definition,
    /// An agent.
    Agent,
    /// What belongs to the partition as a whole.
    Partition,
    /// A part of an open run.
    RunPart,
    /// A value.
    Value,
    /// A future.
    Future,
    /// A lease.
    Lease,
    /// A lock or an election.
    Lock,
    /// What the partition remembers of its time and of tokens.
    Marks,
    /// An entity that versions are rolled out on, without its targets.
    Fleet,
    /// Some of its targets.
    Targets,
    /// Which of its targets were heard when.
    Heard,
    /// Some of its history.
    Notes,
    /// Freezes that concern more than one entity.
    Freezes,
    /// For how long runs of a namespace are kept.
    Retention,
}

impl EntityKind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Run,
        Self::Definition,
        Self::Agent,
        Self::Partition,
        Self::RunPart,
        Self::Value,
        Self::Future,
        Self::Lease,
        Self::Lock,
        Self::Marks,
        Self::Fleet,
        Self::Targets,
        Self::Heard,
        Self::Notes,
        Self::Freezes,
        Self::Retention,
    ];

    fn code(self) -> u8 {
        match self {
            Self::Run => 1,
            Self::Definition => 2,
            Self::Agent => 3,
            Self::Partition => 4,
            Self::Value => 10,
            Self::Future => 11,
            Self::Lease => 12,
            Self::Lock => 13,
            Self::Marks => 14,
            Self::RunPart => 15,
            Self::Fleet => 5,
            Self::Targets => 6,
            Self::Heard => 7,
            Self::Notes => 8,
            Self::Freezes => 9,
            Self::Retention => 40,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

pub(crate) fn entity(kind: EntityKind, key: u64) -> [u8; 9] {
    let mut bytes = [0; 9];
    bytes[0] = kind.code();
    bytes[1..].copy_from_slice(&key.to_be_bytes());
    bytes
}

pub(crate) fn read_entity(key: &[u8]) -> Result<(EntityKind, u64), StoreError> {
    let parts = key
        .split_first()
        .and_then(|(code, rest)| Some((EntityKind::from_code(*code)?, rest)));
    match parts {
        Some((kind, rest)) => Ok((kind, number(rest, "the key of an entity")?)),
        None => Err(StoreError::damaged(
            "the key of an entity",
            format_args!("unknown kind in {key:02x?}"),
        )),
    }
}

/// A run's key with every bit inverted, so that later runs sort first.
pub(crate) fn inverted(run: RunKey) -> u64 {
    !run.0
}

fn in_namespace(namespace: &Name, rest: &[&[u8]]) -> Vec<u8> {
    let length = rest.iter().map(|part| part.len()).sum::<usize>();
    let mut key = Vec::with_capacity(namespace.len() + 1 + length);
    key.extend_from_slice(namespace.as_bytes());
    key.push(0);
    for part in rest {
        key.extend_from_slice(part);
    }
    key
}

pub(crate) fn run(namespace: &Name, inverted: u64) -> Vec<u8> {
    in_namespace(namespace, &[&inverted.to_be_bytes()])
}

pub(crate) fn id(namespace: &Name, id: &str) -> Vec<u8> {
    in_namespace(namespace, &[id.as_bytes()])
}

pub(crate) fn posting(namespace: &Name, attribute: u64, block: Block) -> Vec<u8> {
    in_namespace(namespace, &[&attribute.to_be_bytes(), &(!block.0).to_be_bytes()])
}

pub(crate) fn ended(namespace: &Name, block: Block) -> Vec<u8> {
    in_namespace(namespace, &[&(!block.0).to_be_bytes()])
}

pub(crate) fn count(namespace: &Name, r#type: &str, version: u32, state: u8) -> Vec<u8> {
    in_namespace(namespace, &[r#type.as_bytes(), &[0], &version.to_be_bytes(), &[state]])
}

/// What the keys of the counts of a namespace, or of one type in it, begin with.
pub(crate) fn counts(namespace: &Name, r#type: Option<&str>) -> Vec<u8> {
    match r#type {
        Some(r#type) => in_namespace(namespace, &[r#type.as_bytes(), &[0]]),
        None => in_namespace(namespace, &[]),
    }
}

/// The type, the version and the state of a count in this namespace.
pub(crate) fn read_count<'a>(namespace: &Name, key: &'a [u8]) -> Result<(&'a str, u32, u8), StoreError> {
    let parts = || {
        let rest = key.get(namespace.len() + 1..)?;
        let (r#type, rest) = rest.split_at_checked(rest.len().checked_sub(6)?)?;
        let [0, a, b, c, d, state] = *rest else { return None };
        Some((
            std::str::from_utf8(r#type).ok()?,
            u32::from_be_bytes([a, b, c, d]),
            state,
        ))
    };
    parts().ok_or_else(|| StoreError::damaged("the key of a count", format_args!("{key:02x?}")))
}

/// The inverted run that ends a key of `runs`.
pub(crate) fn trailing_run(key: &[u8]) -> Result<u64, StoreError> {
    let start = key.len().saturating_sub(8);
    number(&key[start..], "the key of a summary")
}

/// The block that ends a key of `postings` or `ended`.
pub(crate) fn trailing_block(key: &[u8]) -> Result<Block, StoreError> {
    trailing_run(key).map(|inverted| Block(!inverted))
}

/// Which revisions of which run a chunk of history holds; the order is that of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Chunk {
    pub(crate) run: RunKey,
    pub(crate) last: u64,
    pub(crate) first: u64,
}

impl Chunk {
    /// Where the chunks begin that reach `revision` or beyond.
    pub(crate) fn reaching(run: RunKey, revision: u64) -> Self {
        Self {
            run,
            last: revision,
            first: 0,
        }
    }

    /// Where the chunks of `run` end.
    pub(crate) fn last_of(run: RunKey) -> Self {
        Self {
            run,
            last: u64::MAX,
            first: u64::MAX,
        }
    }

    pub(crate) fn holds(self, other: Self) -> bool {
        self.run == other.run && self.first <= other.first && other.last <= self.last
    }

    pub(crate) fn key(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.run.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.last.to_be_bytes());
        bytes[16..].copy_from_slice(&self.first.to_be_bytes());
        bytes
    }

    pub(crate) fn read(key: &[u8]) -> Result<Self, StoreError> {
        let what = "the key of a history chunk";
        Ok(Self {
            run: RunKey(number(key.get(..8).unwrap_or_default(), what)?),
            last: number(key.get(8..16).unwrap_or_default(), what)?,
            first: number(key.get(16..).unwrap_or_default(), what)?,
        })
    }
}

pub(crate) fn log(run: RunKey, activity: u32, attempt: u32, sequence: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&run.0.to_be_bytes());
    bytes[8..12].copy_from_slice(&activity.to_be_bytes());
    bytes[12..16].copy_from_slice(&attempt.to_be_bytes());
    bytes[16..].copy_from_slice(&sequence.to_be_bytes());
    bytes
}

/// The run of a log record.
pub(crate) fn run_of_log(key: &[u8; 24]) -> RunKey {
    let (run, _) = key.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    RunKey(u64::from_be_bytes(*run))
}

/// The activity, the attempt and the sequence of a log record.
pub(crate) fn read_log(key: &[u8]) -> Result<(u32, u32, u64), StoreError> {
    let what = "the key of a log record";
    let pair = number(key.get(8..16).unwrap_or_default(), what)?;
    let sequence = number(key.get(16..).unwrap_or_default(), what)?;
    let [a, b, c, d, e, f, g, h] = pair.to_be_bytes();
    Ok((
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
        sequence,
    ))
}

/// A big-endian number that fills `bytes`.
pub(crate) fn number(bytes: &[u8], what: &str) -> Result<u64, StoreError> {
    <[u8; 8]>::try_from(bytes)
        .map(u64::from_be_bytes)
        .map_err(|_| StoreError::damaged(what, format_args!("{} bytes where 8 belong", bytes.len())))
}

/// 64-bit FNV-1a over length-prefixed parts: stands in keys on disk and in page tokens, so it never changes.
pub(crate) struct Digest(u64);

impl Digest {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    #[must_use]
    pub(crate) fn part(self, bytes: &[u8]) -> Self {
        let length = bytes.len() as u64;
        self.fold(&length.to_be_bytes()).fold(bytes)
    }

    fn fold(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }

    pub(crate) fn finish(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn later_runs_sort_before_earlier_ones() {
        let key = |number| run(&name("prod"), inverted(RunKey(number)));
        assert!(key(2) < key(1));
        assert!(key(u64::MAX) < key(0));
        assert_eq!(trailing_run(&key(7)).unwrap(), !7);
    }

    #[test]
    fn a_namespace_is_no_prefix_of_another_ones_keys() {
        let short = id(&name("prod"), "");
        for longer in ["prod-2", "prod.eu", "prod_x", "prod0"] {
            assert!(!id(&name(longer), "a").starts_with(&short), "{longer}");
        }
    }

    #[test]
    fn moving_a_byte_from_one_part_to_the_next_changes_the_digest() {
        let digest = |a: &str, b: &str| Digest::new().part(a.as_bytes()).part(b.as_bytes()).finish();
        assert_ne!(digest("ab", "c"), digest("a", "bc"));
        assert_ne!(digest("a\0", ""), digest("a", "\0"));
        assert_eq!(Digest::new().fold(b"foobar").finish(), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn every_kind_of_entity_has_a_code_of_its_own() {
        for kind in EntityKind::ALL {
            assert_eq!(EntityKind::from_code(kind.code()), Some(kind));
        }
    }

    #[test]
    fn keys_read_back() {
        assert_eq!(
            read_entity(&entity(EntityKind::Agent, 9)).unwrap(),
            (EntityKind::Agent, 9)
        );
        let chunk = Chunk {
            run: RunKey(1),
            last: 30,
            first: 20,
        };
        assert_eq!(Chunk::read(&chunk.key()).unwrap(), chunk);
        assert_eq!(read_log(&log(RunKey(1), 2, 3, 4)).unwrap(), (2, 3, 4));
        assert!(read_entity(b"").is_err());
        assert!(Chunk::read(b"short").is_err());
    }
}
