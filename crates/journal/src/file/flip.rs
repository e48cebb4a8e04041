//! Tells a frame with one flipped bit from one that was not written whole.
//!
//! A checksum is linear: whatever the message, flipping its bit *n* changes the checksum by a number that depends on *n*
//! alone. So the difference between the checksum that a frame should have and the one that it has names the bit, if it is
//! only one. What a crash leaves of a frame lacks whole sectors, and passes for a flipped bit as often as any random
//! number would: once in 32,000 for the largest frame that is looked at. Takeovers are not looked at: two that were tried
//! at the same place may differ in one bit, and nothing is lost with one. Where a write that ended early, or lacks a sector,
//! leaves the same, that is what is believed: the frame has zeros there, and would have had no more than this one bit.

use super::frame::{HEAD_BYTES, Head, JournalId, Kind};
use crate::Position;

/// Bytes of the largest frame that is looked at.
pub(crate) const LARGEST: usize = 16 << 10;
/// The polynomial of CRC-32C, reflected.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// What a disk writes as a whole, or not at all.
const SECTOR: usize = 512;

/// The one bit, counted from the frame's first, that makes a batch of what begins at these bytes when it is flipped back.
/// They stand at `offset` of the file.
pub(crate) fn flipped_bit(journal: &JournalId, bytes: &[u8], position: Position, offset: u64) -> Option<usize> {
    let (bit, frame) = in_head(journal, bytes, position).or_else(|| in_payload(journal, bytes, position))?;
    let before = (offset % SECTOR as u64) as usize;
    (!may_be_unwritten(&bytes[..frame], before, bit / 8)).then_some(bit)
}

/// Whether nothing was written from this byte to the end of the frame, or nothing to this byte's sector, for all that can be
/// seen. The frame begins so many bytes after a sector.
fn may_be_unwritten(frame: &[u8], before: usize, byte: usize) -> bool {
    let is_zero = |range: std::ops::Range<usize>| frame[range].iter().all(|byte| *byte == 0);
    let sector = (before + byte) / SECTOR * SECTOR;
    let in_frame = |place: usize| place.saturating_sub(before).min(frame.len());
    is_zero(byte..frame.len()) || is_zero(in_frame(sector)..in_frame(sector + SECTOR))
}

/// A flipped head may name another length or checksum, so each of its bits is tried.
fn in_head(journal: &JournalId, bytes: &[u8], position: Position) -> Option<(usize, usize)> {
    let mut tried = bytes.get(..bytes.len().min(LARGEST))?.to_vec();
    (0..HEAD_BYTES.min(tried.len()) * 8).find_map(|bit| {
        tried[bit / 8] ^= 1 << (bit % 8);
        let whole = Head::parse(&tried, position)
            .filter(|head| head.kind == Kind::Batch)
            .and_then(|head| {
                tried
                    .get(..head.frame_bytes())
                    .filter(|frame| head.verifies(journal, frame))
            })
            .map(|frame| (bit, frame.len()));
        tried[bit / 8] ^= 1 << (bit % 8);
        whole
    })
}

fn in_payload(journal: &JournalId, bytes: &[u8], position: Position) -> Option<(usize, usize)> {
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
            return Some((byte * 8 + bit, frame.len()));
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
        frame_of(&random.bytes(payload))
    }

    fn frame_of(payload: &[u8]) -> (JournalId, Vec<u8>) {
        let journal = JournalId::new(Uuid::from_u128(7));
        let mut bytes = Vec::new();
        frame::encode(
            &mut bytes,
            &journal,
            Kind::Batch,
            Position::new(40),
            Epoch::new(3),
            payload,
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
                assert_eq!(flipped_bit(&journal, &bytes, Position::new(40), 40), Some(bit));
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
            assert_eq!(flipped_bit(&journal, &bytes, Position::new(40), 0), None);
        }
    }

    #[test]
    fn a_bit_that_may_never_have_been_written_is_not_taken_for_a_flipped_one() {
        let is_found = |payload: &[u8], byte: usize, offset: u64| {
            let (journal, mut bytes) = frame_of(payload);
            bytes[byte] ^= 4;
            flipped_bit(&journal, &bytes, Position::new(40), offset).is_some()
        };
        let mut payload = Random::new(4).bytes(2_000);
        let last = HEAD_BYTES + payload.len() - 1;
        payload[1_999] = 4;
        assert!(
            !is_found(&payload, last, 0),
            "the write may have ended before the last byte"
        );
        payload[1_999] = 5;
        assert!(is_found(&payload, last, 0));
        payload[SECTOR - HEAD_BYTES..2 * SECTOR - HEAD_BYTES].fill(0);
        payload[700] = 4;
        assert!(
            !is_found(&payload, HEAD_BYTES + 700, 0),
            "its sector may never have been written"
        );
        assert!(
            is_found(&payload, HEAD_BYTES + 700, 100),
            "something else of its sector was"
        );
        assert!(
            is_found(&payload, HEAD_BYTES + 701, 0),
            "what is there was never written"
        );
    }

    #[test]
    fn zeros_and_several_flipped_bits_are_not_taken_for_one() {
        let mut random = Random::new(3);
        let (journal, bytes) = frame(&mut random, 900);
        assert_eq!(flipped_bit(&journal, &[0; 600], Position::new(40), 40), None);
        for _ in 0..500 {
            let mut flipped = bytes.clone();
            for _ in 0..2 + random.below(3) {
                let bit = random.below(bytes.len() * 8);
                flipped[bit / 8] ^= 1 << (bit % 8);
            }
            if flipped != bytes {
                let found = flipped_bit(&journal, &flipped, Position::new(40), 40);
                assert!(found.is_none() || one_bit_apart(&flipped, &bytes));
            }
        }
    }

    fn one_bit_apart(one: &[u8], other: &[u8]) -> bool {
        one.iter().zip(other).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>() == 1
    }
}
