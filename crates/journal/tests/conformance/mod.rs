//! What every backend of the journal keeps. A backend states how its handles are made, and passes [`conforms`].

use std::pin::pin;

use bytes::Bytes;
use futures_util::StreamExt;
use unisono_journal::{AppendError, Epoch, Journal, JournalError, Position};

/// A place that holds one journal, new and empty.
pub(crate) trait Place {
    /// The backend.
    type Journal: Journal;
    /// A handle on the journal of this place, as another process would have.
    fn handle(&self) -> Self::Journal;
    /// Leaves the last batch half written, while no handle is open. `false` if nothing can do that to this backend.
    fn tear_last_batch(&self) -> bool;
}

type Batch = (Position, Bytes);

/// Runs the suite, each part in a place of its own.
pub(crate) async fn conforms<P: Place>(new_place: impl Fn() -> P) {
    a_new_journal_is_empty_and_starts_at_the_start(&new_place()).await;
    batches_are_read_in_the_order_of_their_appends(&new_place()).await;
    reading_starts_at_any_batch(&new_place()).await;
    an_append_anywhere_but_at_the_end_is_fenced(&new_place()).await;
    nothing_is_appended_before_opening(&new_place()).await;
    a_deposed_writer_cannot_write(&new_place()).await;
    an_older_epoch_is_refused(&new_place()).await;
    what_was_appended_is_there_after_reopening(&new_place()).await;
    a_torn_batch_is_gone_and_written_over(&new_place()).await;
    trimmed_batches_go_and_the_others_stay(&new_place()).await;
    large_batches_are_taken_and_larger_ones_refused(&new_place()).await;
}

async fn opened<P: Place>(place: &P, epoch: u64) -> (P::Journal, Position) {
    let mut journal = place.handle();
    let at = journal.open(Epoch::new(epoch)).await.unwrap();
    (journal, at)
}

async fn append(journal: &mut impl Journal, at: &mut Position, batch: impl Into<Bytes>) -> Batch {
    let appended = (*at, batch.into());
    *at = journal.append(*at, appended.1.clone()).await.unwrap();
    assert!(*at > appended.0, "positions grow");
    appended
}

async fn read(journal: &impl Journal, from: Position) -> Vec<Batch> {
    let batches: Vec<_> = pin!(journal.read(from)).collect().await;
    batches.into_iter().map(Result::unwrap).collect()
}

async fn a_new_journal_is_empty_and_starts_at_the_start<P: Place>(place: &P) {
    let (journal, at) = opened(place, 1).await;
    assert_eq!(at, Position::START);
    assert_eq!(journal.first_position(), Position::START);
    assert_eq!(read(&journal, Position::START).await, []);
}

async fn batches_are_read_in_the_order_of_their_appends<P: Place>(place: &P) {
    let (mut journal, mut at) = opened(place, 1).await;
    let mut appended = Vec::new();
    for number in 0..200_usize {
        let batch = vec![number as u8; number * 7];
        appended.push(append(&mut journal, &mut at, batch).await);
    }
    assert_eq!(read(&journal, Position::START).await, appended);
    assert!(journal.size_bytes() > 0);
}

async fn reading_starts_at_any_batch<P: Place>(place: &P) {
    let (mut journal, mut at) = opened(place, 1).await;
    let mut appended = Vec::new();
    for number in 0..20 {
        appended.push(append(&mut journal, &mut at, vec![number; 500]).await);
    }
    for (index, (position, _)) in appended.iter().enumerate() {
        assert_eq!(read(&journal, *position).await, appended[index..]);
    }
    assert_eq!(read(&journal, at).await, []);
    let beyond = pin!(journal.read(Position::new(at.get() + 1_000_000))).next().await;
    assert!(matches!(beyond, Some(Err(JournalError::BeyondEnd { .. }))));
}

async fn an_append_anywhere_but_at_the_end_is_fenced<P: Place>(place: &P) {
    let (mut journal, mut at) = opened(place, 1).await;
    let first = append(&mut journal, &mut at, "first").await;
    for wrong in [first.0, Position::new(at.get() + 8)] {
        let refusal = journal.append(wrong, Bytes::from("wrong")).await.unwrap_err();
        assert!(
            matches!(refusal, AppendError::Fenced { expected, given } if expected == at && given == wrong),
            "{refusal}"
        );
    }
    let second = append(&mut journal, &mut at, "second").await;
    assert_eq!(read(&journal, Position::START).await, [first, second]);
}

async fn nothing_is_appended_before_opening<P: Place>(place: &P) {
    let mut journal = place.handle();
    let refusal = journal.append(Position::START, Bytes::from("early")).await.unwrap_err();
    assert!(matches!(refusal, AppendError::Unavailable(_)), "{refusal}");
    assert!(journal.trim(Position::START).await.is_err());
}

/// Either nobody can take over while the writer lives, or whoever does takes the right to write.
async fn a_deposed_writer_cannot_write<P: Place>(place: &P) {
    let (mut deposed, mut at) = opened(place, 1).await;
    append(&mut deposed, &mut at, "kept").await;
    let mut successor = place.handle();
    match successor.open(Epoch::new(2)).await {
        Err(error) => assert!(matches!(error, JournalError::Held(_)), "{error}"),
        Ok(mut successor_at) => {
            append(&mut successor, &mut successor_at, "the successor's").await;
            let refusal = deposed.append(at, Bytes::from("too late")).await.unwrap_err();
            assert!(matches!(refusal, AppendError::Fenced { .. }), "{refusal}");
        }
    }
}

async fn an_older_epoch_is_refused<P: Place>(place: &P) {
    drop(opened(place, 3).await);
    drop(opened(place, 7).await);
    let mut late = place.handle();
    let refusal = late.open(Epoch::new(6)).await.unwrap_err();
    assert!(
        matches!(refusal, JournalError::StaleEpoch { given, on_disk }
            if given == Epoch::new(6) && on_disk == Epoch::new(7)),
        "{refusal}"
    );
    assert!(late.append(Position::START, Bytes::from("late")).await.is_err());
    drop(late);
    opened(place, 7).await;
}

async fn what_was_appended_is_there_after_reopening<P: Place>(place: &P) {
    let mut appended = Vec::new();
    for epoch in 1..8_u8 {
        let (mut journal, mut at) = opened(place, u64::from(epoch)).await;
        assert_eq!(read(&journal, Position::START).await, appended);
        for _ in 0..10 {
            appended.push(append(&mut journal, &mut at, vec![epoch; 300]).await);
        }
    }
    assert_eq!(read(&place.handle(), Position::START).await, appended);
}

async fn a_torn_batch_is_gone_and_written_over<P: Place>(place: &P) {
    let (mut journal, mut at) = opened(place, 1).await;
    let kept = append(&mut journal, &mut at, "kept").await;
    append(&mut journal, &mut at, vec![9; 3000]).await;
    drop(journal);
    if !place.tear_last_batch() {
        return;
    }
    let (mut journal, mut at) = opened(place, 1).await;
    assert_eq!(read(&journal, Position::START).await, std::slice::from_ref(&kept));
    let anew = append(&mut journal, &mut at, "anew").await;
    drop(journal);
    let (journal, _) = opened(place, 1).await;
    assert_eq!(read(&journal, Position::START).await, [kept, anew]);
}

async fn trimmed_batches_go_and_the_others_stay<P: Place>(place: &P) {
    let (mut journal, mut at) = opened(place, 1).await;
    let mut appended = Vec::new();
    for number in 0..100 {
        appended.push(append(&mut journal, &mut at, vec![number; 400]).await);
    }
    let (before, _) = appended[60];
    journal.trim(before).await.unwrap();
    journal.trim(before).await.unwrap();
    let beyond = journal.trim(Position::new(at.get() + 8)).await.unwrap_err();
    assert!(matches!(beyond, JournalError::BeyondEnd { .. }), "{beyond}");

    appended.push(append(&mut journal, &mut at, "goes on").await);
    drop(journal);
    let (journal, _) = opened(place, 1).await;
    let first = journal.first_position();
    assert!(first > Position::START && first <= before);
    appended.retain(|(position, _)| *position >= first);
    assert_eq!(read(&journal, first).await, appended);
    let trimmed = pin!(journal.read(Position::START)).next().await;
    assert!(matches!(trimmed, Some(Err(JournalError::Trimmed { .. }))));
}

async fn large_batches_are_taken_and_larger_ones_refused<P: Place>(place: &P) {
    let (mut journal, mut at) = opened(place, 1).await;
    let refusal = journal
        .append(at, Bytes::from(vec![1; (64 << 20) + 1]))
        .await
        .unwrap_err();
    assert!(matches!(refusal, AppendError::TooLarge { .. }), "{refusal}");
    let appended = [
        append(&mut journal, &mut at, vec![1; 64 << 20]).await,
        append(&mut journal, &mut at, "small").await,
        append(&mut journal, &mut at, vec![2; 3 << 20]).await,
    ];
    drop(journal);
    let (journal, _) = opened(place, 1).await;
    assert!(read(&journal, Position::START).await == appended);
}
