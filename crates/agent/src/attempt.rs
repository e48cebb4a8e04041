//! What an attempt shares with the session that reports on it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use unisono_model::ids::{AttemptToken, Timestamp};
use unisono_model::protocol::{AttemptResult, ContextPatch, LogLine};

use crate::asks::Asked;

/// Bytes of log that one attempt may send; what comes after is left out and said to be.
pub const MAX_LOG_BYTES: usize = 1024 * 1024;
/// Bytes of one log message; longer texts are sent in pieces.
const MAX_LOG_PIECE: usize = 16 * 1024;
/// Bytes of the note of a heartbeat; the rest is cut off.
const MAX_NOTE_BYTES: usize = 1024;

/// What attempts tell the session.
#[derive(Debug)]
pub(crate) enum AttemptEvent {
    /// The attempt's task ended. `None`: it was dropped, because it did not end in time after it was cancelled.
    Finished(AttemptToken, Option<AttemptResult>),
    /// Log text.
    Log(LogLine),
    /// The attempt has a note to send, see [`AttemptHandle::take_note`].
    Note(AttemptToken),
    /// A context change to make durable while the attempt goes on.
    Save(AttemptToken, ContextPatch, oneshot::Sender<Result<(), SaveError>>),
    /// A question about values, with a number of its own.
    Ask(u64, Box<Asked>),
    /// Nobody waits for its answer any more.
    StopAsking(u64),
}

/// Why context changes were not saved. They stay in the context and travel again with the next save or the result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// The node refused them.
    #[error("the server refused the context changes ({code}): {message}")]
    Refused {
        /// For programs, such as `stale-token`.
        code: String,
        /// For people.
        message: String,
    },
    /// They are larger than what the node takes at once.
    #[error(
        "the context changes take {bytes} bytes; the server takes at most {limit} bytes in one message; save fewer or smaller keys"
    )]
    TooLarge {
        /// Bytes of the changes.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The attempt was cancelled.
    #[error("the attempt was cancelled; its context changes no longer count")]
    Cancelled,
    /// Nobody answered.
    #[error("the server did not confirm the context changes within {seconds} seconds; they may or may not be durable")]
    NoAnswer {
        /// Seconds waited.
        seconds: u64,
    },
}

/// The part of an attempt that can be cloned and given to other tasks: signs of life, log, cancellation.
#[derive(Clone, Debug)]
pub struct AttemptHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    token: AttemptToken,
    cancellation: CancellationToken,
    events: mpsc::UnboundedSender<AttemptEvent>,
    logged: AtomicUsize,
    note: Mutex<Option<String>>,
    note_pending: AtomicBool,
}

impl AttemptHandle {
    pub(crate) fn new(token: AttemptToken, events: mpsc::UnboundedSender<AttemptEvent>) -> Self {
        Self {
            inner: Arc::new(Inner {
                token,
                cancellation: CancellationToken::new(),
                events,
                logged: AtomicUsize::new(0),
                note: Mutex::new(None),
                note_pending: AtomicBool::new(false),
            }),
        }
    }

    /// The token of the attempt.
    #[must_use]
    pub fn token(&self) -> AttemptToken {
        self.inner.token
    }

    /// Says that the attempt is alive, with a note for people about what it is doing.
    ///
    /// Cheap: notes that follow each other faster than they can be sent replace each other.
    pub fn heartbeat(&self, note: impl Into<String>) {
        let mut note: String = note.into();
        note.truncate(floor_char_boundary(&note, MAX_NOTE_BYTES));
        *self.inner.note.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
        if !self.inner.note_pending.swap(true, Ordering::AcqRel) {
            self.tell(AttemptEvent::Note(self.inner.token));
        }
    }

    /// Writes to the attempt's log, which `unisono logs` shows.
    ///
    /// Text may have several lines. After [`MAX_LOG_BYTES`] the rest of the attempt's log is left out, and the log
    /// says so.
    pub fn log(&self, text: impl AsRef<str>) {
        let mut rest = text.as_ref().trim_end_matches(['\n', '\r']);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(floor_char_boundary(rest, MAX_LOG_PIECE));
            rest = after;
            let before = self.inner.logged.fetch_add(piece.len(), Ordering::Relaxed);
            if before + piece.len() <= MAX_LOG_BYTES {
                self.send_log(piece.to_owned());
                continue;
            }
            // Only the piece that crosses the limit says so.
            if before <= MAX_LOG_BYTES {
                self.inner.logged.fetch_add(MAX_LOG_BYTES, Ordering::Relaxed);
                self.send_log(format!(
                    "… the rest of this attempt's log is left out: it is longer than {MAX_LOG_BYTES} bytes"
                ));
            }
            return;
        }
    }

    fn send_log(&self, text: String) {
        self.tell(AttemptEvent::Log(LogLine {
            token: self.inner.token,
            at: now(),
            text,
        }));
    }

    /// Resolves when the attempt is cancelled: its result no longer counts, and it should clean up and return.
    pub async fn cancelled(&self) {
        self.inner.cancellation.cancelled().await;
    }

    /// Whether the attempt is cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancellation.is_cancelled()
    }

    pub(crate) fn cancel(&self) {
        self.inner.cancellation.cancel();
    }

    /// The note to send, if there is a new one.
    pub(crate) fn take_note(&self) -> Option<String> {
        self.inner.note_pending.store(false, Ordering::Release);
        self.inner.note.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Events are lost only when the agent itself is gone, and then nobody is left to tell.
    pub(crate) fn tell(&self, event: AttemptEvent) {
        let _ = self.inner.events.send(event);
    }
}

/// The largest index up to `limit` at which `text` can be cut.
pub(crate) fn floor_char_boundary(text: &str, limit: usize) -> usize {
    if text.len() <= limit {
        return text.len();
    }
    (0..=limit)
        .rev()
        .find(|&index| text.is_char_boundary(index))
        .unwrap_or(0)
}

fn now() -> Timestamp {
    let millis = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    Timestamp(i64::try_from(millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use unisono_model::ids::Revision;

    fn handle() -> (AttemptHandle, mpsc::UnboundedReceiver<AttemptEvent>) {
        let (events, received) = mpsc::unbounded_channel();
        (
            AttemptHandle::new(
                AttemptToken {
                    revision: Revision(1),
                    nonce: 1,
                },
                events,
            ),
            received,
        )
    }

    #[test]
    fn a_log_longer_than_allowed_ends_with_a_word_about_it() {
        let (handle, mut events) = handle();
        for _ in 0..3 * MAX_LOG_BYTES / 1000 {
            handle.log("x".repeat(1000));
        }
        let (mut bytes, mut last) = (0, String::new());
        while let Ok(AttemptEvent::Log(line)) = events.try_recv() {
            bytes += line.text.len();
            last = line.text;
        }
        assert!(last.contains("left out"), "{last}");
        assert!(bytes <= MAX_LOG_BYTES + 200, "{bytes}");
    }

    #[test]
    fn notes_that_follow_each_other_fast_replace_each_other() {
        let (handle, mut events) = handle();
        handle.heartbeat("one");
        handle.heartbeat("two");
        assert!(matches!(events.try_recv(), Ok(AttemptEvent::Note(_))));
        assert!(events.try_recv().is_err());
        assert_eq!(handle.take_note().unwrap(), "two");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(floor_char_boundary("äöü", 3), 2);
        assert_eq!(floor_char_boundary("abc", 9), 3);
    }
}
