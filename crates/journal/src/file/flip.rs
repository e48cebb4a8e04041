//! Tells a frame with one flipped bit from one that was not written whole.
//!
//! A checksum is linear: whatever the message, flipping its bit *n* changes the checksum by a number that depends on *n*
//! alone. So the difference between the checksum that a frame should have and the one that it has names the bit, if it is
//! only one. What a crash leaves of a frame lacks whole sectors, and passes for a flipped bit as often as any random
//! number would: once in 32,000 for the largest frame that is looked at. Takeovers are not looked at: two that were tried
//! at the same place may differ in one bit, and nothing is lost with one.

use super::frame::{HEAD_BYTES, Head, JournalId, Kind};
use crate::Position;

/// Bytes of the largest frame that is looked at.
pub(crate) const LARGEST: usize = 16 << 10;
/// The polynomial of CRC-32C, reflected.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// The one bit, counted from the frame's first, that makes a batch of what begins at these bytes when it is flipped back.
pub(crate) fn flipped_bit(journal: &JournalId, bytes: &[u8], position: Position) -> Option<usize> {
    in_head(journal, bytes, position).or_else(|| in_payload(journal, bytes, position))
}

/// A flipped head may name another length or checksum, so each of its bits is tried.
fn in_head(journal: &JournalId, bytes: &[u8], position: Position) -> Option<usize> {
    let mut tried = bytes.get(..bytes.len().min(LARGEST))?.to_vec();
    (0..HEAD_BYTES.min(tried.len()) * 8).find(|bit| {
        tried[bit / 8] ^= 1 << (bit % 8);
        let whole = Head::parse(&tried, position)
            .filter(|head| head.kind == Kind::Batch)
            .and_then(|head| Some(head.verifies(journal, tried.get(..head.frame_bytes())?)))
            .unwrap_or(false);
        tried[bit / 8] ^= 1 << (bit % 8);
        whole
    })
}

fn in_payload(journal: &JournalId, bytes: &[u8], position: Position) -> Option<usize> {
    let head = Head::parse(bytes, position).filter(|head| head.kind == Kind::Batch)?;
    let frame = bytes.get(..head.frame_bytes().min(LARGEST + 1))?;
    if frame.len() > LARGEST {
        return None;
    }
    let difference = head.difference(journal, frame);
    // What each bit of a byte changes, when as many bytes follow it as have been passed.
    let mut changes: [u32; 8] = std::array::from_fn(|bit| passed_on(1 << bit));
    for byte in (HEAD_BYTES..frame.len()).rev() {
        if let Some(bit) = changes.iter().position(|change| *change == difference) {
            return Some(byte * 8 + bit);
        }
        changes = changes.map(passed_on);
    }
    None
}

/// A checksum's register when another byte of zeros has passed.
fn passed_on(register: u32) -> u32 {
    (0..8).fold(register, |register, _| {
        (register >> 1) ^ if register & 1 == 1 { POLYNOMIAL } else { 0 }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use uuid::Uuid;

    use super::*;
    use crate::{Epoch, disk::faulty::Random, file::frame};

    fn frame(random: &mut Random, payload: usize) -> (JournalId, Vec<u8>) {
        let journal = JournalId::new(Uuid::from_u128(7));
        let mut bytes = Vec::new();
        let payload = random.bytes(payload);
        frame::encode(
            &mut bytes,
            &journal,
            Kind::Batch,
            Position::new(40),
            Epoch::new(3),
            &payload,
        );
        (journal, bytes)
    }

    #[test]
    fn every_single_flipped_bit_is_found() {
        let mut random = Random::new(1);
        for payload in [0, 1, 300, 1000] {
            let (journal, mut bytes) = frame(&mut random, payload);
            for bit in (0..bytes.len() * 8).step_by(5) {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(flipped_bit(&journal, &bytes, Position::new(40)), Some(bit));
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn frames_that_were_not_written_whole_are_not_taken_for_flipped_ones() {
        let mut random = Random::new(2);
        for _ in 0..300 {
            let payload = 600 + random.below(9_000);
            let (journal, mut bytes) = frame(&mut random, payload);
            let sector = random.below(bytes.len() / 512) * 512;
            bytes[sector..sector + 512].fill(0);
            assert_eq!(flipped_bit(&journal, &bytes, Position::new(40)), None);
        }
    }

    #[test]
    fn zeros_and_several_flipped_bits_are_not_taken_for_one() {
        let mut random = Random::new(3);
        let (journal, bytes) = frame(&mut random, 900);
        assert_eq!(flipped_bit(&journal, &[0; 600], Position::new(40)), None);
        for _ in 0..500 {
            let mut flipped = bytes.clone();
            for _ in 0..2 + random.below(3) {
                let bit = random.below(bytes.len() * 8);
                flipped[bit / 8] ^= 1 << (bit % 8);
            }
            if flipped != bytes {
                let found = flipped_bit(&journal, &flipped, Position::new(40));
                assert!(found.is_none() || one_bit_apart(&flipped, &bytes));
            }
        }
    }

    fn one_bit_apart(one: &[u8], other: &[u8]) -> bool {
        one.iter().zip(other).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>() == 1
    }
}
