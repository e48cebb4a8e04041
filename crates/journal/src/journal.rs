//! The port: what every backend of the journal can do.

use std::future::Future;

use bytes::Bytes;
use futures_core::Stream;

use crate::{AppendError, Epoch, JournalError, Position};

/// A fenced, ordered, durable log of batches: one per partition, with one writer at a time.
///
/// The conformance suite in `tests/conformance` says in code what every implementation keeps.
pub trait Journal: Send {
    /// Takes over as the writer and returns the position at which the next append must happen.
    ///
    /// That position may lie past the end of the last batch, since a backend may record the takeover in the log. Everything
    /// before it is durable. A journal that said it was unavailable is opened again with this, by the same epoch or a later
    /// one; one batch whose append failed may then turn out to be in the journal after all.
    ///
    /// # Errors
    /// [`JournalError::StaleEpoch`] when a later leader has been here; [`JournalError::Corrupt`] when the log cannot be
    /// trusted; the backend's own failures.
    fn open(&mut self, epoch: Epoch) -> impl Future<Output = Result<Position, JournalError>> + Send;

    /// Appends one batch at `at` and returns the position after it. The batch is durable when this returns.
    ///
    /// # Errors
    /// [`AppendError::Fenced`] when `at` is not where the journal ends; [`AppendError::Unavailable`] when the batch could not
    /// be made durable, and for every append after that until [`Journal::open`]; [`AppendError::TooLarge`], which changes
    /// nothing.
    fn append(&mut self, at: Position, batch: Bytes) -> impl Future<Output = Result<Position, AppendError>> + Send;

    /// All batches from `from` up to the end at the time of the call, in order, each with its position.
    ///
    /// `from` is [`Journal::first_position`], or a position that `open`, `append` or this stream has given. The stream ends
    /// after its first error.
    fn read(&self, from: Position) -> impl Stream<Item = Result<(Position, Bytes), JournalError>> + Send;

    /// Allows the journal to forget the batches before `before`; it may keep some of them.
    ///
    /// # Errors
    /// [`JournalError::BeyondEnd`] when `before` is past the end; the backend's own failures.
    fn trim(&mut self, before: Position) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// The oldest position that can still be read, as of the last `open`, `append` or `trim`.
    fn first_position(&self) -> Position;

    /// Bytes that the journal occupies, as of the last `open`, `append` or `trim`.
    fn size_bytes(&self) -> u64;
}
