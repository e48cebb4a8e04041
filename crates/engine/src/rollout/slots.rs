//! Sets of targets as they stand in events: ascending places, written as runs.

use minicbor::decode::Error;
use minicbor::encode::{Error as WriteError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

/// Places of targets in their fleet, ascending, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots(Vec<u32>);

impl Slots {
    /// These places, in any order.
    #[must_use]
    pub fn of(mut slots: Vec<u32>) -> Self {
        slots.sort_unstable();
        slots.dedup();
        Self(slots)
    }

    /// The places.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The places, one by one.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// Runs of neighbours: what lies between the end of the last one and the start, and the length less one.
    fn runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut end = 0;
        self.0.chunk_by(|a, b| a + 1 == *b).map(move |run| {
            let gap = run[0] - end;
            let more = u32::try_from(run.len() - 1).unwrap_or(u32::MAX);
            end = run[0] + more + 1;
            (gap, more)
        })
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn take(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

impl<C> Encode<C> for Slots {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), WriteError<W::Error>> {
        let mut bytes = Vec::new();
        for (gap, more) in self.runs() {
            put(&mut bytes, gap);
            put(&mut bytes, more);
        }
        e.bytes(&bytes)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Slots {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, Error> {
        let mut bytes = d.bytes()?;
        let (mut slots, mut end) = (Vec::new(), 0_u32);
        while !bytes.is_empty() {
            let run = take(&mut bytes).zip(take(&mut bytes)).and_then(|(gap, more)| {
                let start = end.checked_add(gap)?;
                let last = start.checked_add(more)?;
                // No fleet is larger, so no bytes can ask for more memory than one has.
                let limit = u32::try_from(unisono_model::limits::MAX_TARGETS).unwrap_or(u32::MAX);
                (last < limit).then_some((start, last))
            });
            let (start, last) = run.ok_or_else(|| Error::message("not a set of targets"))?;
            slots.extend(start..=last);
            end = last + 1;
        }
        Ok(Self(slots))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn slots_read_back_and_neighbours_cost_nothing() {
        for slots in [vec![], vec![0], vec![7, 3, 4, 5, 900_000], (0..100_000).collect()] {
            let slots = Slots::of(slots);
            let bytes = minicbor::to_vec(&slots).unwrap();
            assert_eq!(minicbor::decode::<Slots>(&bytes).unwrap(), slots);
        }
        assert!(minicbor::to_vec(Slots::of((5..100_000).collect())).unwrap().len() < 8);
        assert!(minicbor::decode::<Slots>(&[0x42, 0xff, 0xff]).is_err());
    }
}
