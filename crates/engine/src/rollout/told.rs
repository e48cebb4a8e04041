//! What many targets should do, in little space: few of them differ.

use rustc_hash::FxHashMap;
use unisono_model::rollout::{Phase, Version};

use super::fleet::Fleet;
use super::interner::NONE;
use super::target::{ARRIVED, CATCHING_UP, DRIFTED, Target};

/// What targets should do, in the order in which they were asked for.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// What there is to be told; many targets share each.
    pub what: Vec<Guidance>,
    /// For each target, the place of what it is told; [`Told::GONE`] for one that is not there any more.
    pub of: Vec<u32>,
}

impl Told {
    /// The place of what is told to a target that is not there any more.
    pub const GONE: u32 = u32::MAX;
}

/// What a target should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guidance {
    /// The version to run; none when it runs none and was told none.
    pub version: Option<Version>,
    /// Whether that is another version than it said it runs.
    pub change: bool,
    /// Where it stands in the rollout.
    pub phase: Phase,
    /// For people.
    pub message: String,
}

/// Everything that what a target is told depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    instructed: u32,
    expected: u32,
    there: bool,
    change: bool,
    marks: u8,
    phase: Phase,
    shown: Phase,
}

impl Fleet {
    /// What the targets in these slots should do.
    #[must_use]
    pub fn told(&self, slots: &[u32]) -> Told {
        let mut told = Told {
            what: Vec::new(),
            of: Vec::with_capacity(slots.len()),
        };
        let mut places: FxHashMap<Kind, u32> = FxHashMap::default();
        let mut last: Option<(Kind, u32)> = None;
        for slot in slots {
            let Some(target) = self.targets.get(*slot) else {
                told.of.push(Told::GONE);
                continue;
            };
            let kind = self.kind(target);
            let place = match last {
                Some((before, place)) if before == kind => place,
                _ => *places.entry(kind).or_insert_with(|| {
                    told.what.push(self.guidance(target));
                    u32::try_from(told.what.len() - 1).unwrap_or(Told::GONE)
                }),
            };
            last = Some((kind, place));
            told.of.push(place);
        }
        told
    }

    fn kind(&self, target: &Target) -> Kind {
        Kind {
            instructed: target.instructed(),
            expected: target.expected,
            there: target.is_where_expected(),
            change: target.is_on_its_way(),
            marks: target.marks & (ARRIVED | CATCHING_UP | DRIFTED),
            phase: target.phase,
            shown: self.phase(target),
        }
    }

    pub(crate) fn guidance(&self, target: &Target) -> Guidance {
        let kind = self.kind(target);
        Guidance {
            version: self.version(kind.instructed),
            change: kind.change,
            phase: kind.shown,
            message: self.message(target),
        }
    }

    fn message(&self, target: &Target) -> String {
        let expected = self.texts.versions.get(target.expected);
        match target.phase {
            Phase::InFlight if target.has(ARRIVED) => format!("runs {expected}, and has to prove itself"),
            Phase::InFlight => format!("take version {expected}"),
            Phase::RollingBack if target.has(ARRIVED) => format!("is back at {expected}, and has to prove itself"),
            Phase::RollingBack => format!("go back to version {expected}"),
            Phase::Pinned => format!("is tied to version {expected}"),
            _ if target.has(CATCHING_UP) => format!("take version {expected}"),
            _ if target.has(DRIFTED) => format!("has left version {expected}, and is left alone"),
            _ if target.expected != NONE && !target.is_where_expected() => format!("take version {expected}"),
            _ => "keep what you run".to_owned(),
        }
    }
}
