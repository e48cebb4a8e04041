//! What every [`LeaseStore`] keeps, in code: for the tests of those who write one.

use std::time::{Duration, Instant};

use crate::lease::{FencingToken, Holder, Insertion, LeaseKey, LeaseStore};

/// Long enough that a busy machine does not lose the lease between two calls, and short enough to wait for.
const TTL: Duration = Duration::from_secs(2);
/// More than a store is late by.
const LATE: Duration = Duration::from_secs(5);

/// Checks a store, in real time. It must have no leases of this service.
///
/// # Panics
/// When the store does not keep what it must.
pub async fn check(store: &dyn LeaseStore, service: &str) {
    let [one, other] = ["one", "other"].map(Holder::fresh);
    let slot = |slot| LeaseKey {
        service: service.to_owned(),
        slot,
    };
    let (first, second) = (slot(1), slot(2));

    // One holder at a time, and slots are independent.
    let token = granted(store, &first, &one).await;
    refused(store, &first, &other, &one).await;
    granted(store, &second, &other).await;
    assert_eq!(
        renewed(store, &first, &one).await,
        Some(token),
        "a renewal keeps the token"
    );
    assert_eq!(
        renewed(store, &first, &other).await,
        None,
        "another's lease is not renewed"
    );
    assert!(!deleted(store, &first, &other).await, "another's lease is not ended");
    refused(store, &first, &one, &one).await;

    // Released, it is free at once, and who waits is told.
    let changed = store.changed(service);
    assert!(deleted(store, &first, &one).await);
    if let Some(changed) = changed {
        let told = tokio::time::timeout(LATE, changed).await;
        assert!(told.is_ok(), "a store that can watch tells of a release");
    }
    assert!(!deleted(store, &first, &one).await, "it is over");
    assert_eq!(
        renewed(store, &first, &one).await,
        None,
        "what is released is not renewed"
    );
    let newer = granted(store, &first, &other).await;
    assert!(newer > token, "tokens grow");

    // Not before its time, and not after it.
    let changed = store.changed(service);
    let sent = Instant::now();
    assert_eq!(renewed(store, &first, &other).await, Some(newer));
    let mut end_is_known = false;
    let newest = loop {
        match insert(store, &first, &one).await {
            Insertion::Granted(token) => break token,
            Insertion::Held { by, ends_in } => {
                assert_eq!(by, other);
                end_is_known |= ends_in.is_some();
            }
        }
        assert!(sent.elapsed() < TTL + LATE, "a lease that is not renewed ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(sent.elapsed() >= TTL, "a lease does not end before its time");
    assert!(newest > newer, "tokens grow when a lease has ended by itself");
    if let (Some(changed), false) = (changed, end_is_known) {
        let told = tokio::time::timeout(LATE, changed).await;
        assert!(
            told.is_ok(),
            "a store that can watch tells of the end of a lease, or says before when it comes"
        );
    }
    assert_eq!(
        renewed(store, &first, &other).await,
        None,
        "what has ended is not renewed"
    );
    assert!(
        !deleted(store, &first, &other).await,
        "what has ended is not ended again"
    );
    assert!(deleted(store, &first, &one).await);
}

async fn insert(store: &dyn LeaseStore, key: &LeaseKey, holder: &Holder) -> Insertion {
    answer(store.insert_if_absent(key, holder, TTL).await)
}

async fn granted(store: &dyn LeaseStore, key: &LeaseKey, holder: &Holder) -> FencingToken {
    match insert(store, key, holder).await {
        Insertion::Granted(token) => token,
        Insertion::Held { by, .. } => panic!("{key} is free, and is said to be held by {by}"),
    }
}

async fn refused(store: &dyn LeaseStore, key: &LeaseKey, holder: &Holder, holds: &Holder) {
    match insert(store, key, holder).await {
        Insertion::Granted(_) => panic!("{key} is held by {holds}, and was granted to {holder}"),
        Insertion::Held { by, .. } => assert_eq!(by, *holds, "who holds {key}"),
    }
}

async fn renewed(store: &dyn LeaseStore, key: &LeaseKey, holder: &Holder) -> Option<FencingToken> {
    answer(store.compare_and_swap(key, holder, TTL).await)
}

async fn deleted(store: &dyn LeaseStore, key: &LeaseKey, holder: &Holder) -> bool {
    answer(store.compare_and_delete(key, holder).await)
}

fn answer<T>(answer: Result<T, crate::lease::StoreError>) -> T {
    match answer {
        Ok(answer) => answer,
        Err(error) => panic!("the store cannot be checked: {error}"),
    }
}
