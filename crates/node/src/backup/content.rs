//! What stands in the frames.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use serde::{Deserialize, Serialize};
use unisono_model::ids::{Revision, Timestamp};
use unisono_store::StoredRow;

/// Bytes that a frame gathers before it is written.
pub(super) const FRAME_BYTES: usize = 1024 * 1024;

/// What was backed up, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// When the backup began. Everything that was acknowledged before is in it.
    pub created_at: Timestamp,
    /// The version of the program that made it.
    pub program: String,
    /// The revision of the checkpoint in it, after which the batches begin; none when there was no checkpoint yet.
    pub checkpoint: Option<Revision>,
}

/// What a backup holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// The last event in it.
    pub revision: Revision,
    /// Events after the checkpoint.
    pub events: u64,
    /// Rows of the store, by keyspace.
    pub rows: BTreeMap<String, u64>,
    /// Files beside journal and store.
    pub files: u64,
    /// Bytes of those files.
    pub file_bytes: u64,
}

/// The last frame.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct End {
    #[serde(flatten)]
    pub(super) totals: Totals,
    /// The checksum of everything before this frame, as 32 hexadecimal digits.
    pub(super) checksum: String,
}

/// A piece of a file, which lies within the data directory.
pub(super) struct Piece {
    /// With slashes.
    pub(super) path: String,
    /// Bytes of the file before it.
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
}

/// A batch behind its length.
pub(super) fn push_batch(content: &mut Vec<u8>, batch: &[u8]) {
    push(content, batch);
}

/// A row behind the length of its key and that of its value. A frame holds rows of one keyspace, whose name stands first.
pub(super) fn push_row(content: &mut Vec<u8>, row: &StoredRow) {
    if content.is_empty() {
        push(content, row.keyspace.as_bytes());
    }
    push(content, &row.key);
    push(content, &row.value);
}

fn push(content: &mut Vec<u8>, bytes: &[u8]) {
    // A batch has 64 MiB at most, and the store takes no larger values than this counts.
    content.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    content.put_slice(bytes);
}

pub(super) fn piece(path: &str, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(bytes.len() + path.len() + 12);
    push(&mut content, path.as_bytes());
    content.put_u64_le(offset);
    content.put_slice(bytes);
    content
}

pub(super) fn read_batches(mut content: Bytes) -> Option<Vec<Bytes>> {
    let mut batches = Vec::new();
    while !content.is_empty() {
        batches.push(pull(&mut content)?);
    }
    Some(batches)
}

pub(super) fn read_rows(mut content: Bytes) -> Option<(String, Vec<(Bytes, Bytes)>)> {
    let keyspace = text(pull(&mut content)?)?;
    let mut rows = Vec::new();
    while !content.is_empty() {
        rows.push((pull(&mut content)?, pull(&mut content)?));
    }
    Some((keyspace, rows))
}

pub(super) fn read_piece(mut content: Bytes) -> Option<Piece> {
    let path = text(pull(&mut content)?)?;
    let offset = content.try_get_u64_le().ok()?;
    Some(Piece {
        path,
        offset,
        bytes: content,
    })
}

fn pull(content: &mut Bytes) -> Option<Bytes> {
    let length = content.try_get_u32_le().ok()? as usize;
    (length <= content.len()).then(|| content.split_to(length))
}

fn text(bytes: Bytes) -> Option<String> {
    String::from_utf8(bytes.into()).ok()
}
