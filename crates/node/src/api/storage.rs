//! What the data takes on disk.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use unisono_model::name::Name;
use unisono_model::storage::{StorageView, StoredOrchestrations};
use unisono_store::{Store, StoreError};

use super::Api;
use super::problem::{Answer, ApiError};
use crate::partition::Unavailable;
use crate::space::Free;

/// Get what the server's data takes on disk, and how many orchestrations of each definition that is.
#[utoipa::path(get, path = "/api/v1/system/storage", tag = "system", responses((status = 200, body = StorageView)))]
pub(super) async fn get(State(api): State<Api>) -> Answer<Json<StorageView>> {
    api.partition.barrier().await?;
    let definitions = api.partition.definitions();
    let store = api.partition.store()?;
    let read = move || -> Result<_, StoreError> {
        let mut namespaces = BTreeMap::new();
        for (namespace, _) in definitions.namespaces() {
            namespaces.insert(namespace.clone(), stored(&store, namespace)?);
        }
        Ok((namespaces, store.size_bytes(), store.part_bytes()))
    };
    let (namespaces, store_bytes, parts) = tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| ApiError::internal(format!("the store could not be read: {error}")))?
        .map_err(Unavailable::from)?;
    let Free { free, needed } = api.partition.space().free();
    Ok(Json(StorageView {
        journal_bytes: u64::try_from(api.metrics.journal_bytes.get()).unwrap_or_default(),
        store_bytes,
        store: parts
            .into_iter()
            .map(|(part, bytes)| (part.to_owned(), bytes))
            .collect(),
        free_bytes: free,
        reserve_bytes: needed,
        namespaces,
    }))
}

fn stored(store: &Store, namespace: &Name) -> Result<BTreeMap<Name, StoredOrchestrations>, StoreError> {
    let mut stored: BTreeMap<Name, StoredOrchestrations> = BTreeMap::new();
    for tally in store.tallies(namespace, None)? {
        let of_type = stored.entry(tally.r#type).or_default();
        if tally.state.is_terminal() {
            of_type.ended += tally.runs;
        } else {
            of_type.open += tally.runs;
        }
    }
    Ok(stored)
}
