//! Deletes in the background what the retention rules let go of runs that have ended.
//!
//! The rules stand in the engine's state, and which runs they let go in the store. So this looks there, some runs at a
//! time, and asks the engine to delete them, as everybody asks: what was deleted is an event. Half of the time it waits, so
//! that whoever else writes the store is not held up. Without rules it sleeps until there are some.

use std::time::{Duration, Instant};

use unisono_engine::retention::{DeletedRun, RetentionCommand, Rule};
use unisono_engine::{Command, Rejection};
use unisono_model::ids::{Revision, Timestamp};
use unisono_model::name::Name;
use unisono_store::{Store, StoreError};

use crate::api::{Api, now};
use crate::partition::Unavailable;

/// Runs that are deleted at once, at first; and when there are more and more of them.
const AT_ONCE: usize = 512;
const MOST_AT_ONCE: usize = 4_096;
/// The shortest pause after that.
const PAUSE: Duration = Duration::from_millis(5);
/// The pause when the partition does not answer.
const LATER: Duration = Duration::from_secs(2);

/// Runs until the node stops. Looks again after `interval`, and when a rule was changed.
pub(crate) async fn run(api: Api, interval: Duration) {
    loop {
        let next = match expire_all(&api).await {
            Ok(true) => Some(interval),
            Ok(false) => None,
            Err(Stop::Stale) => Some(Duration::ZERO),
            Err(Stop::Failed(error)) => {
                tracing::warn!("ended orchestrations cannot be deleted just now: {error}");
                Some(LATER)
            }
        };
        let pause = async {
            match next {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = pause => {}
            () = api.retention_changed.notified() => {}
            () = api.stopping.cancelled() => return,
        }
    }
}

/// Why a look at all the rules was given up.
enum Stop {
    /// The rules have changed.
    Stale,
    Failed(String),
}

impl From<Unavailable> for Stop {
    fn from(error: Unavailable) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Deletes what the rules let go now, some of each definition in turn until there is no more; false when there are no rules.
async fn expire_all(api: &Api) -> Result<bool, Stop> {
    let (mut deleted, mut at_once) = (0, AT_ONCE);
    loop {
        let rules: Vec<_> = api
            .partition
            .query(|state| {
                let rules = state.retention().namespaces();
                rules
                    .map(|(namespace, rules)| (namespace.clone(), rules.clone()))
                    .collect()
            })
            .await?;
        let mut most = 0;
        for (namespace, rules) in &rules {
            for type_name in types(api, namespace).await? {
                let rule = rules.of(&type_name);
                if rule != Rule::default() && !api.stopping.is_cancelled() {
                    let some = expire(api, (namespace, &type_name), (rule, rules.revision), at_once).await?;
                    (deleted, most) = (deleted + some, most.max(some));
                }
            }
        }
        if most == 0 {
            if deleted > 0 {
                tracing::info!("{deleted} ended orchestrations were deleted by retention rules");
            }
            return Ok(!rules.is_empty());
        }
        if most == at_once {
            at_once = (at_once * 2).min(MOST_AT_ONCE);
        }
    }
}

/// The definitions of which there are orchestrations.
async fn types(api: &Api, namespace: &Name) -> Result<Vec<Name>, Stop> {
    api.partition.barrier().await?;
    let of = namespace.clone();
    let tallies = look(api, move |store| store.tallies(&of, None)).await?;
    let mut types: Vec<Name> = tallies.into_iter().map(|tally| tally.r#type).collect();
    types.dedup();
    Ok(types)
}

/// Deletes some of what a rule lets go of the runs of one definition, and says how many.
async fn expire(
    api: &Api,
    (namespace, type_name): (&Name, &Name),
    (rule, based_on): (Rule, Revision),
    at_once: usize,
) -> Result<usize, Stop> {
    let begin = Instant::now();
    let (of, which) = (namespace.clone(), type_name.clone());
    let runs = look(api, move |store| let_go(store, (&of, &which), rule, at_once)).await?;
    let some = runs.len();
    if some == 0 {
        return Ok(0);
    }
    let command = RetentionCommand::Expire {
        namespace: namespace.clone(),
        runs,
        based_on,
    };
    match api.partition.command(Command::Retention(command)).await? {
        Ok(_) => {}
        Err(Rejection::Stale) => return Err(Stop::Stale),
        Err(rejection) => return Err(Stop::Failed(rejection.to_string())),
    }
    // The next look must not find them again.
    api.partition.barrier().await?;
    tracing::debug!(%namespace, r#type = %type_name, "{some} ended orchestrations were deleted by a retention rule");
    tokio::time::sleep(begin.elapsed().max(PAUSE)).await;
    Ok(some)
}

/// Some of the runs that a rule lets go.
fn let_go(
    store: &Store,
    (namespace, type_name): (&Name, &Name),
    rule: Rule,
    at_once: usize,
) -> Result<Vec<DeletedRun>, StoreError> {
    let mut runs = Vec::new();
    if let Some(most) = rule.max_count {
        let tallies = store.tallies(namespace, Some(type_name))?;
        let ended = tallies.iter().filter(|tally| tally.state.is_terminal());
        let over = ended.map(|tally| tally.runs).sum::<u64>().saturating_sub(most);
        let some = usize::try_from(over).unwrap_or(at_once).min(at_once);
        if some > 0 {
            runs = store.oldest_ended(namespace, type_name, None, some)?;
        }
    }
    if let Some(age) = rule.max_age_ms
        && runs.is_empty()
    {
        let before = now().0.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX));
        runs = store.oldest_ended(namespace, type_name, Some(Timestamp(before)), at_once)?;
    }
    Ok(runs
        .into_iter()
        .map(|(key, id)| DeletedRun { run: key.0, id })
        .collect())
}

/// Reads the store where that may take its time.
async fn look<T: Send + 'static>(
    api: &Api,
    read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Stop> {
    let store = api.partition.store()?;
    let read = tokio::task::spawn_blocking(move || read(&store)).await;
    match read {
        Ok(read) => Ok(read.map_err(Unavailable::from)?),
        Err(error) => Err(Stop::Failed(error.to_string())),
    }
}
