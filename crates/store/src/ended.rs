//! When the runs of a block ended: what a time range, or the age of runs, is compared with.
//!
//! A row begins with the earliest and the latest end (8 bytes each, milliseconds), so that blocks which lie outside a
//! range are passed by unread. Then comes, for each run that has ended, by its place: how much further its place is, and
//! how much later it ended than the one before (the first: than the earliest), as variable-length numbers.

use std::collections::BTreeMap;

use unisono_model::ids::Timestamp;

use crate::StoreError;
use crate::block::{LAST_PLACE, RunSet};
use crate::key;

/// From an instant on, and before another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) after: Option<Timestamp>,
    pub(crate) before: Option<Timestamp>,
}

impl TimeRange {
    pub(crate) fn is_limited(self) -> bool {
        self != Self::default()
    }

    pub(crate) fn has(self, at: Timestamp) -> bool {
        self.after.is_none_or(|after| at >= after) && self.before.is_none_or(|before| at < before)
    }

    /// Whether some instant from `earliest` to `latest` may lie in it.
    fn touches(self, earliest: Timestamp, latest: Timestamp) -> bool {
        self.after.is_none_or(|after| latest >= after) && self.before.is_none_or(|before| earliest < before)
    }
}

/// The ends of the runs of a block, by their places.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends(pub(crate) BTreeMap<u16, Timestamp>);

impl Ends {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let earliest = self.0.values().min().copied().unwrap_or_default();
        let latest = self.0.values().max().copied().unwrap_or_default();
        let mut bytes = Vec::with_capacity(16 + self.0.len() * 5);
        bytes.extend_from_slice(&earliest.0.to_be_bytes());
        bytes.extend_from_slice(&latest.0.to_be_bytes());
        let (mut place, mut at) = (0, earliest.0);
        for (next, ended) in &self.0 {
            push(&mut bytes, u64::from(next - place));
            push(&mut bytes, zigzag(ended.0.wrapping_sub(at)));
            (place, at) = (*next, ended.0);
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        read(bytes)?.collect::<Result<_, _>>().map(Self)
    }

    /// The runs of a row whose ends lie in a range.
    pub(crate) fn within(bytes: &[u8], range: TimeRange) -> Result<RunSet, StoreError> {
        let mut set = RunSet::empty();
        let (earliest, latest) = span(bytes)?;
        if range.touches(earliest, latest) {
            for end in read(bytes)? {
                let (place, at) = end?;
                if range.has(at) {
                    set.insert(place);
                }
            }
        }
        Ok(set)
    }
}

/// The ends of a row, by place.
pub(crate) fn read(bytes: &[u8]) -> Result<impl Iterator<Item = Result<(u16, Timestamp), StoreError>>, StoreError> {
    let (earliest, _) = span(bytes)?;
    let (mut rest, mut place, mut at) = (&bytes[16..], 0_u16, earliest.0);
    let mut next = move || {
        let (further, later) = (pull(&mut rest)?, pull(&mut rest)?);
        let further = u16::try_from(further)
            .ok()
            .and_then(|further| place.checked_add(further));
        place = further
            .filter(|place| *place <= LAST_PLACE)
            .ok_or_else(|| damaged("a place is too large"))?;
        at = at.wrapping_add(unzigzag(later));
        Ok((place, Timestamp(at), rest.is_empty()))
    };
    let mut done = bytes.len() == 16;
    Ok(std::iter::from_fn(move || {
        if done {
            return None;
        }
        let end = next();
        done = end.as_ref().map_or(true, |(.., last)| *last);
        Some(end.map(|(place, at, _)| (place, at)))
    }))
}

/// The earliest and the latest end of a row.
pub(crate) fn span(bytes: &[u8]) -> Result<(Timestamp, Timestamp), StoreError> {
    let instant = |bytes: Option<&[u8]>| {
        key::number(bytes.unwrap_or_default(), "the ends of a block").map(|bits| Timestamp(bits.cast_signed()))
    };
    Ok((instant(bytes.get(..8))?, instant(bytes.get(8..16))?))
}

fn zigzag(number: i64) -> u64 {
    (number.wrapping_shl(1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Seven bits a byte, the lowest first; all bytes but the last have the highest bit set.
fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        bytes.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn pull(bytes: &mut &[u8]) -> Result<u64, StoreError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or_else(|| damaged("it ends early"))?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(damaged("a number is too long"))
}

fn damaged(reason: &str) -> StoreError {
    StoreError::damaged("the ends of a block", reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ends_read_back(ends in btree_map(0_u16..16_384, any::<i64>().prop_map(Timestamp), 0..200)) {
            let ends = Ends(ends);
            prop_assert_eq!(Ends::decode(&ends.encode()).unwrap(), ends);
        }

        #[test]
        fn those_within_a_range_are_found(
            ends in btree_map(0_u16..16_384, (0_i64..50).prop_map(Timestamp), 0..40),
            after in prop::option::of((0_i64..50).prop_map(Timestamp)),
            before in prop::option::of((0_i64..50).prop_map(Timestamp)),
        ) {
            let range = TimeRange { after, before };
            let found = Ends::within(&Ends(ends.clone()).encode(), range).unwrap();
            for (place, at) in ends {
                let expected = after.is_none_or(|after| at >= after) && before.is_none_or(|before| at < before);
                prop_assert_eq!(found.has(place), expected);
            }
        }
    }

    #[test]
    fn a_row_that_ends_early_is_damaged() {
        let ends = Ends(BTreeMap::from([(300, Timestamp(1)), (9_000, Timestamp(1 << 40))]));
        let bytes = ends.encode();
        for length in (0..bytes.len()).filter(|length| *length != 16) {
            let read = Ends::decode(&bytes[..length]);
            assert!(read.is_err() || read.unwrap().0.len() == 1, "{length}");
        }
    }
}
